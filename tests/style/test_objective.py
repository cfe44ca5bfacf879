"""The hand-written gradient against autograd of the formula as the documentation writes it."""

from dataclasses import replace

import pytest
import torch
from small_vgg import composed, random_pixels, relative_error, small_convs

from tiler.geometry import Rect, TileGrid
from tiler.style.backbone import Backbone
from tiler.style.grams import StyleTarget, measure
from tiler.style.guides import Areas, pooled
from tiler.style.losses import Objective

STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
LAYERS = [
    (STYLE, ("relu4_2",)),
    (("relu1_2", "relu3_1"), ("relu3_1", "relu2_2")),
    (("relu2_1",), ("relu4_2", "relu1_1")),
]
WEIGHTS = [(1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0), (1.3, 0.15, 0.05), (0.7, 2.0, 0)]
CONVS = small_convs(seed=4)


def gram(features):
    matrix = features.flatten(1)
    return matrix @ matrix.T / matrix.shape[1]


def written_out(pixels, content, target, layers, weights, content_weights):
    """L, term by term, from the module's documentation."""
    (style_layers, content_layers), (style_weight, content_weight, tv_weight) = layers, weights
    ours, theirs = composed(CONVS, pixels), composed(CONVS, content)
    style = sum(
        (gram(ours[layer]) - target.grams[layer]).square().sum() / target.grams[layer].square().sum()
        for layer in style_layers
    )
    content_term = sum(
        (content_weights.get(layer, 1) * (ours[layer] - theirs[layer]).square()).mean() / target.energies[layer]
        for layer in content_layers
    )
    _, height, width = pixels.shape
    tv = (pixels[:, 1:] - pixels[:, :-1]).square().sum() + (pixels[:, :, 1:] - pixels[:, :, :-1]).square().sum()
    return (
        style_weight * style / len(style_layers),
        content_weight * content_term / len(content_layers),
        tv_weight * tv / (height * width),
    )


class Case:
    def __init__(self, size, layers, weights):
        self.pixels, self.content = random_pixels(*size, seed=1), random_pixels(*size, seed=2)
        used = dict.fromkeys((*layers[0], *layers[1]))
        style = composed(CONVS, random_pixels(24, 40, seed=3) ** 2)
        self.target = StyleTarget.blended([{layer: gram(style[layer])[None] for layer in used}], [1.0])
        self.layers, self.weights = layers, weights
        self.backbone = Backbone(CONVS, tuple(used), dtype=torch.float64)
        self.objective = Objective(self.target, *layers, *weights, *size, Areas.everywhere(used, *size))
        self.whole = Rect(0, 0, *size)
        self.content_weights = {}

    def protect(self, strength):
        plane = random_pixels(*self.pixels.shape[1:], seed=5)[:1]
        planes = pooled(plane, self.layers[1])
        self.content_weights = {layer: 1 + strength * planes[layer] for layer in self.layers[1]}

    def terms(self, pixels):
        return written_out(pixels, self.content, self.target, self.layers, self.weights, self.content_weights)

    def computed(self, core):
        """(gradient, style errors, content loss, tv loss) as one tile whose core is `core` computes them."""
        features = self.backbone.forward(self.content)
        activations, sums = measure(self.backbone, self.pixels, self.layers[0], self.whole)
        errors, slopes = self.objective.style_terms(sums.normalised())
        content = {layer: features[layer] for layer in self.layers[1]}
        gradient, content_loss = self.objective.features_gradient(
            activations, slopes, content, core, content_weights=self.content_weights
        )
        smooth, tv_loss = self.objective.smoothness(self.pixels, core)
        return gradient + smooth, errors, content_loss, tv_loss


@pytest.mark.parametrize("strength", [0, 7])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("size", [(32, 48), (37, 23), (9, 5), (1, 30)])
def test_gradient_and_losses_are_those_of_the_formula(size, layers, weights, strength):
    case = Case(size, layers, weights)
    if strength:
        case.protect(strength)
    pixels = case.pixels.clone().requires_grad_()
    style, content, tv = case.terms(pixels)
    (style + content + tv).backward()
    style, content, tv = (float(term.detach()) for term in (style, content, tv))
    gradient, errors, content_loss, tv_loss = case.computed(case.whole)
    # Gradients are those of L times the level's pixels.
    assert pixels.grad.abs().max() > 0
    assert relative_error(gradient, pixels.grad * size[0] * size[1]) < 1e-9
    assert weights[0] * sum(errors.values()) / len(errors) == pytest.approx(style, rel=1e-9)
    assert content_loss == pytest.approx(content, rel=1e-9)
    assert tv_loss == pytest.approx(tv, rel=1e-9)


def test_losses_of_cores_add_to_the_whole():
    case = Case((50, 37), LAYERS[0], (1.0, 0.5, 0.25))
    _, _, content, tv = case.computed(case.whole)
    parts = [case.computed(tile.core)[2:] for tile in TileGrid(50, 37, 16, 16)]
    assert sum(part[0] for part in parts) == pytest.approx(content, rel=1e-12)
    assert sum(part[1] for part in parts) == pytest.approx(tv, rel=1e-12)
    assert min(min(part) for part in parts) > 0


def test_balance_of_terms_does_not_depend_on_the_size():
    """A picture repeated side by side has the same statistics, so its loss is that of one copy but for the joints."""
    layers, weights = (("relu1_1",), ("relu1_1",)), (1.0, 1.0, 1.0)
    small = Case((64, 64), layers, weights)
    large = Case((128, 128), layers, weights)
    large.pixels, large.content = small.pixels.tile(1, 2, 2), small.content.tile(1, 2, 2)
    (_, one_style, one_content, one_tv), (_, style, content, tv) = (
        small.computed(small.whole),
        large.computed(large.whole),
    )
    assert style["relu1_1"] == pytest.approx(one_style["relu1_1"], rel=0.05)
    assert content == pytest.approx(one_content, rel=0.05)
    assert tv == pytest.approx(one_tv, rel=0.05)


def test_a_dead_style_layer_gives_no_nan():
    case = Case((16, 16), (("relu1_1",), ("relu1_1",)), (1.0, 1.0, 0.1))
    zeros = {"relu1_1": torch.zeros(1, 5, 5, dtype=torch.float64)}
    case.objective = replace(case.objective, target=StyleTarget.blended([zeros], [1]))
    gradient, errors, *_ = case.computed(case.whole)
    assert gradient.isfinite().all()
    assert errors["relu1_1"] > 0

"""The hand-written gradient against autograd of the formula as the documentation writes it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_vgg import composed, random_pixels, relative_error, small_convs

from tiler.geometry import Rect, TileGrid
from tiler.style.backbone import Backbone
from tiler.style.grams import StyleTarget, measure
from tiler.style.guides import Areas, Guides, pooled
from tiler.style.losses import Objective, lines_of
from tiler.style.terms import Dream, Terms

STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
LAYERS = [
    (STYLE, ("relu4_2",)),
    (("relu1_2", "relu3_1"), ("relu3_1", "relu2_2")),
    (("relu2_1",), ("relu4_2", "relu1_1")),
]
WEIGHTS = [*((*[0] * one, 1.0, *[0] * (4 - one)) for one in range(5)), (1.3, 0.15, 0.05, 0.4, 0.2), (0.7, 2.0, 0, 0, 0)]
ROUGH = (0.02, 0.05)
CONVS = small_convs(seed=4)


def gram(features, guide=None):
    matrix = features.flatten(1)
    weights = torch.ones(matrix.shape[1], dtype=matrix.dtype) if guide is None else guide.flatten()
    return (weights * matrix) @ matrix.T / weights.sum()


def with_means(features, guide=None):
    """[C + 1, C]."""
    matrix = features.flatten(1)
    weights = torch.ones(matrix.shape[1], dtype=matrix.dtype) if guide is None else guide.flatten()
    return torch.cat([gram(features, guide), (matrix @ weights / weights.sum())[None]])


MEASURES = {"gram": gram, "moments": with_means, "w2": with_means}


def root(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.sqrt() @ vectors.T


def compared(statistics, found, target):
    """The relative error of one matrix, as `tiler.style.statistics` writes it."""
    c = target.shape[1]
    (ours, mean), (theirs, wanted) = ((one[:c], one[-1]) for one in (found, target))
    off = (ours - theirs).square().sum() / theirs.square().sum()
    if statistics == "gram":
        return off
    power, blur = theirs.trace(), 1e-3 * theirs.trace() / c * torch.eye(c, dtype=target.dtype)
    ours, theirs = ours - mean.outer(mean) + blur, theirs - wanted.outer(wanted) + blur
    moved = (mean - wanted).square().sum()
    if statistics == "moments":
        return off + (moved + (ours.diagonal().sqrt() - theirs.diagonal().sqrt()).square().sum()) / power
    half = root(theirs)
    return (moved + (ours + theirs - 2 * root(half @ ours @ half)).trace()) / power


def written_out(pixels, content, target, layers, weights, content_weights, statistics="gram"):
    """L, term by term, from the module's documentation."""
    (style_layers, content_layers), (style_weight, content_weight, tv_weight, chroma_weight, light_weight) = (
        layers,
        weights,
    )
    ours, theirs = composed(CONVS, pixels), composed(CONVS, content)
    style = sum(
        compared(statistics, MEASURES[statistics](ours[layer]), target.grams[layer][0]) for layer in style_layers
    )
    content_term = sum(
        (content_weights.get(layer, 1) * (ours[layer] - theirs[layer]).square()).mean() / target.energies[layer]
        for layer in content_layers
    )
    height, width = pixels.shape[1:]
    rough = torch.tensor(ROUGH, dtype=torch.float64)[:, None, None].expand(2, height, width)
    return (
        style_weight * style / len(style_layers),
        content_weight * content_term / len(content_layers),
        smooth(pixels, (tv_weight, chroma_weight, light_weight), rough),
    )


def smooth(pixels, weights, rough):
    """The last three terms. rough: (chroma, light) of each pixel [2, h, w]."""
    tv = specks = glints = 0
    for end, start in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[:, :, 1:], np.s_[:, :, :-1])):
        steps, (of_chroma, of_light) = pixels[end] - pixels[start], rough[start]
        light = steps.mean(0)
        bright = 1 + 3 * light.square() / of_light
        tv = tv + steps.square().sum()
        specks = specks + torch.log(1 + (steps - light).square().sum(0) / of_chroma / bright.detach()).sum() / 2
        glints = glints + torch.log(bright).sum() / 2
    return (weights[0] * tv + weights[1] * specks + weights[2] * glints) / pixels[0].numel()


class Case:
    def __init__(self, size, layers, weights, statistics="gram"):
        self.statistics = statistics
        self.pixels, self.content = random_pixels(*size, seed=1), random_pixels(*size, seed=2)
        used = dict.fromkeys((*layers[0], *layers[1]))
        style = composed(CONVS, random_pixels(24, 40, seed=3) ** 2)
        measure = MEASURES[statistics]
        self.target = StyleTarget.blended([{layer: measure(style[layer])[None] for layer in used}], [ROUGH], [1.0])
        self.layers, self.weights = layers, weights
        self.backbone = Backbone(CONVS, tuple(used), dtype=torch.float64)
        terms = Terms(*layers, *weights, statistics=statistics)
        self.objective = Objective(self.target, terms, *size, Areas.everywhere(used, *size))
        self.whole = Rect(0, 0, *size)
        self.content_weights = {}

    def protect(self, strength):
        plane = random_pixels(*self.pixels.shape[1:], seed=5)[:1]
        planes = pooled(plane, self.layers[1])
        self.content_weights = {layer: 1 + strength * planes[layer] for layer in self.layers[1]}

    def terms(self, pixels):
        given = self.content, self.target, self.layers, self.weights, self.content_weights
        return written_out(pixels, *given, self.statistics)

    def computed(self, core):
        """(gradient, style errors, content loss, tv loss) as one tile whose core is `core` computes them."""
        features = self.backbone.forward(self.content)
        activations, sums = measure(
            self.backbone, self.pixels, self.layers[0], self.whole, means=self.objective.terms.means
        )
        errors, slopes = self.objective.style_terms(sums.normalised())
        content = {layer: features[layer] for layer in self.layers[1]}
        gradient, content_loss = self.objective.features_gradient(
            activations, slopes, content, core, content_weights=self.content_weights
        )
        smooth, tv_loss = self.objective.smoothness(self.pixels, core, self.objective.usual(None))
        errors = {layer: float(error) for layer, error in errors.items()}
        return gradient + smooth, errors, float(content_loss), float(tv_loss)


@pytest.mark.parametrize("strength", [0, 7])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("size", [(32, 48), (37, 23), (9, 5), (1, 30)])
def test_gradient_and_losses_are_those_of_the_formula(size, layers, weights, strength):
    check_formula(Case(size, layers, weights), strength)


def check_formula(case, strength=0):
    size, weights = case.pixels.shape[1:], case.weights
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


@pytest.mark.parametrize("size", [(37, 23), (9, 5), (1, 30)])
def test_lines_are_those_of_the_formula(size):
    case = Case(size, LAYERS[0], (1.0, 0.5, 0.25, 0.5))
    case.objective = replace(case.objective, terms=replace(case.objective.terms, lines=3.0))
    wanted = lines_of(case.content, random_pixels(*size, seed=8))
    pixels = case.pixels.clone().requires_grad_()
    steps = [(pixels - wanted[:3]).diff(dim=axis) for axis in (1, 2)]
    strength = wanted[3:, :-1], wanted[3:, :, :-1]
    term = 3 * sum((e * d.square()).sum() for e, d in zip(strength, steps, strict=True)) / (size[0] * size[1])
    term.backward()
    begun = random_pixels(*size, seed=9)
    gradient = begun.clone()
    loss = case.objective.keep_lines_(gradient, case.pixels, wanted, case.whole)
    assert relative_error(gradient - begun, pixels.grad * size[0] * size[1]) < 1e-9
    assert float(loss) == pytest.approx(float(term.detach()), rel=1e-9)
    parts = [
        float(case.objective.keep_lines_(gradient, case.pixels, wanted, tile.core)) for tile in TileGrid(*size, 16, 16)
    ]
    assert sum(parts) == pytest.approx(float(loss), rel=1e-9)


@pytest.mark.parametrize("statistics", ["moments", "w2"])
@pytest.mark.parametrize("size", [(32, 48), (37, 23)])
def test_gradient_of_richer_statistics_is_that_of_the_formula(size, statistics):
    check_formula(Case(size, LAYERS[0], (1.3, 0.15, 0.05, 0.4, 0.2), statistics))


def test_losses_of_cores_add_to_the_whole():
    case = Case((50, 37), LAYERS[0], (1.0, 0.5, 0.25, 0.5))
    _, _, content, tv = case.computed(case.whole)
    parts = [case.computed(tile.core)[2:] for tile in TileGrid(50, 37, 16, 16)]
    assert sum(part[0] for part in parts) == pytest.approx(content, rel=1e-12)
    assert sum(part[1] for part in parts) == pytest.approx(tv, rel=1e-12)
    assert min(min(part) for part in parts) > 0


def test_balance_of_terms_does_not_depend_on_the_size():
    """A picture repeated side by side has the same statistics, so its loss is that of one copy but for the joints."""
    layers, weights = (("relu1_1",), ("relu1_1",)), (1.0, 1.0, 1.0, 1.0)
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


@pytest.mark.parametrize("statistics", MEASURES)
def test_a_dead_style_layer_gives_no_nan(statistics):
    case = Case((16, 16), (("relu1_1",), ("relu1_1",)), (1.0, 1.0, 0.1, 0.1), statistics)
    zeros = {"relu1_1": torch.zeros_like(case.target.grams["relu1_1"])}
    case.objective = replace(case.objective, target=StyleTarget.blended([zeros], [ROUGH], [1]))
    gradient, errors, *_ = case.computed(case.whole)
    assert gradient.isfinite().all()
    assert errors["relu1_1"] > 0


REGION_WEIGHTS = (1.3, 0.15, 0.05, 0.7, 0.4)
REGIONS_ROUGH = ((0.02, 0.05), (0.2, 0.01), (0.06, 0.4))


def shrunk(plane, layer):
    """[h, w] at a layer's size."""
    for _ in range(int(layer[4]) - 1):
        plane = torch.nn.functional.avg_pool2d(plane[None], 2, ceil_mode=True, count_include_pad=False)[0]
    return plane


class Regions(Case):
    """Three regions of unlike sizes that overlap softly, each with its own target, and a layer that is amplified."""

    def __init__(self, size, dream, statistics="gram"):
        super().__init__(size, LAYERS[0], REGION_WEIGHTS, statistics)
        height, width = size
        across = torch.linspace(0, 1, width, dtype=torch.float64).expand(height, width)
        down = torch.linspace(0, 1, height, dtype=torch.float64)[:, None].expand(height, width)
        first, second = (3 * (0.4 - across)).clamp(0, 1), (4 * (down - 0.8)).clamp(0, 1)
        self.planes = torch.stack([first, second * (1 - first), (1 - second) * (1 - first)])
        used = dict.fromkeys((*self.layers[0], *self.layers[1], dream.layer))
        styles = [composed(CONVS, random_pixels(24, 40, seed=seed) ** seed) for seed in (1, 2, 3)]
        taken = MEASURES[statistics]
        single = [
            StyleTarget.blended([{layer: taken(one[layer])[None] for layer in used}], [rough], [1.0])
            for one, rough in zip(styles, REGIONS_ROUGH, strict=True)
        ]
        self.shares = self.planes.mean((1, 2)).tolist()
        self.target, self.dream = StyleTarget.joined(single, self.shares), dream
        areas = Areas.summed([self.planes], tuple(used))
        self.backbone = Backbone(CONVS, tuple(used), dtype=torch.float64)
        terms = Terms(*self.layers, *self.weights, dream=dream, statistics=statistics, protect_strength=3.0)
        self.objective = Objective(self.target, terms, *size, areas)
        self.guides = Guides.of(range(3), self.planes, used)
        self.kept, self.strength = random_pixels(height, width, seed=6)[:1], 3.0

    def energy(self, layer):
        """Mean square of the styles' features, by the regions' shares."""
        return sum(
            share * float(one.diagonal().mean()) for share, one in zip(self.shares, self.grams(layer), strict=True)
        )

    def thinness(self, layer):
        """[1, h, w], the mean of 1 over the energies of a cell's regions."""
        pairs = zip(self.planes, self.grams(layer), strict=True)
        return sum(shrunk(plane[None], layer) / float(one.diagonal().mean()) for plane, one in pairs)

    def grams(self, layer):
        return self.target.grams[layer]

    def value(self, pixels):
        """(style, content with dream, tv) as the module's documentation writes them."""
        ours, theirs = composed(CONVS, pixels), composed(CONVS, self.content)
        style = 0
        for region, share in enumerate(self.shares):
            for layer in self.layers[0]:
                wanted = self.grams(layer)[region]
                found = MEASURES[self.statistics](ours[layer], shrunk(self.planes[region][None], layer)[0])
                style = style + share * compared(self.statistics, found, wanted) / len(self.layers[0])
        content = sum(
            (
                (ours[one] - theirs[one]).square() * (1 + self.strength * shrunk(self.kept, one)) * self.thinness(one)
            ).mean()
            for one in self.layers[1]
        )
        seen = ours[self.dream.layer]
        seen = seen if self.dream.channel is None else seen[self.dream.channel]
        dreamt = self.dream.weight * seen.square().mean() / self.energy(self.dream.layer)
        rough = sum(
            plane * torch.tensor(pair, dtype=torch.float64)[:, None, None]
            for plane, pair in zip(self.planes, REGIONS_ROUGH, strict=True)
        )
        specks = smooth(pixels, self.weights[2:], rough)
        return self.weights[0] * style, self.weights[1] * content / len(self.layers[1]) - dreamt, specks


@pytest.mark.parametrize("dream", [Dream("relu3_2", None, 0.4), Dream("relu4_1", 3, 2.5)])
@pytest.mark.parametrize(
    ("size", "statistics"),
    [((48, 32), "gram"), ((37, 23), "gram"), ((9, 30), "gram"), ((37, 48), "moments"), ((37, 48), "w2")],
)
def test_regions_and_dreams_are_those_of_the_formula(size, statistics, dream):
    case = Regions(size, dream, statistics)
    free = case.pixels.clone().requires_grad_()
    terms = case.value(free)
    sum(terms).backward()
    activations, sums = measure(
        case.backbone, case.pixels, case.layers[0], case.whole, case.guides, means=case.objective.terms.means
    )
    errors, slopes = case.objective.style_terms(sums.normalised())
    features = case.backbone.forward(case.content)
    content = {layer: features[layer] for layer in case.layers[1]}
    weights = case.objective.content_weights(case.planes, case.kept)
    gradient, loss = case.objective.features_gradient(activations, slopes, content, case.whole, case.guides, weights)
    smooth, tv = case.objective.smoothness(case.pixels, case.whole, case.objective.usual(case.planes))
    found = case.weights[0] * float(sum(errors.values())) / len(errors), float(loss), float(tv)
    assert found == pytest.approx([float(one.detach()) for one in terms], rel=1e-9)
    assert relative_error(gradient + smooth, free.grad * size[0] * size[1]) < 1e-9


def test_a_dream_is_amplified():
    """Along the negative gradient, which is where the optimiser goes, the layer's activations grow."""
    case = Regions((32, 48), Dream("relu3_2", None, 1.0))
    terms = replace(case.objective.terms, style_weight=0.0, content_weight=0.0, tv_weight=0.0)
    alone = replace(case.objective, terms=terms)
    gradient, loss = alone.features_gradient(case.backbone.forward(case.pixels), {}, {}, case.whole)
    before, after = (composed(CONVS, one)["relu3_2"].square().mean() for one in (case.pixels, case.pixels - gradient))
    assert loss < 0
    assert after > 1.01 * before


def test_a_tile_that_holds_some_regions_has_their_part_of_the_objective():
    objective = Regions((32, 48), Dream("relu3_2", None, 1.0)).objective
    part = objective.within([2, 0])
    assert part.areas.shares == (objective.areas.shares[2], objective.areas.shares[0])
    for layer in STYLE:
        assert torch.equal(part.target.grams[layer], objective.target.grams[layer][[2, 0]])
    assert objective.within([0, 1, 2]) is objective


def test_half_precision_features_are_squared_in_float32():
    """1 + 2^-7 squared has more bits than bfloat16; the sum of 300 of them, too."""
    case = Case((15, 20), (("relu1_1",), ("relu1_1",)), (1.0, 1.0, 0.0, 0.0))
    features = torch.full((5, 15, 20), 1 + 2**-7, dtype=torch.bfloat16)
    objective = replace(case.objective, terms=replace(case.objective.terms, dream=Dream("relu1_1", None, 1.0)))
    wanted = (1 + 2**-7) ** 2 / case.target.energies["relu1_1"]
    zeros = torch.zeros_like(features)
    content = objective._content(zeros.clone(), features, zeros, "relu1_1", case.whole, None, False)
    _, dream = objective._dream(features, case.whole.slices)
    assert float(content) == pytest.approx(wanted, rel=1e-6)
    assert dream == pytest.approx(-wanted, rel=1e-6)


def test_dark_styles_divide_by_no_less_than_the_floor():
    case = Case((4, 4), (("relu1_1",), ("relu1_1",)), (1.0, 0.5, 0.0, 0.0))
    dark = replace(case.objective, target=replace(case.target, energies={"relu1_1": 0.0}))
    assert dark.content_scale("relu1_1", 5) == pytest.approx(0.5 / (5 * 1e-12))
    dreaming = replace(dark, terms=replace(dark.terms, dream=Dream("relu1_1", None, 3.0)))
    gradient, loss = dreaming._dream(torch.ones(5, 4, 4, dtype=torch.float64), case.whole.slices)
    assert float(loss) == pytest.approx(-3e12)
    assert gradient.unique().item() == pytest.approx(-2 * 3 / (5 * 1e-12))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_loss_of_style_alone_is_nothing_of_a_type_that_sums_keep_their_digits_in(dtype):
    """What content and dreams add over tiles."""
    case = Case((9, 14), (("relu1_1",), ("relu1_1",)), (1.0, 0.0, 0.0))
    activations = Backbone(CONVS, ("relu1_1",), dtype=dtype).forward(case.pixels.to(dtype))
    slopes = {"relu1_1": torch.eye(5, dtype=torch.float32 if dtype == torch.bfloat16 else dtype)[None]}
    gradient, loss = case.objective.features_gradient(activations, slopes, {}, case.whole)
    assert (gradient.shape, loss.shape, loss.dtype, float(loss)) == ((3, 9, 14), (), torch.float32, 0)
    assert gradient.any()

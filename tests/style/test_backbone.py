import pytest
import torch
from small_vgg import NAMES, composed, random_pixels, relative_error, small_convs

from tiler.errors import ConfigError
from tiler.style.backbone import Backbone
from tiler.style.layers import LAYERS, check_layers, deepest, stride_of

SIZES = [(48, 32), (37, 23), (16, 16), (15, 9), (33, 17), (5, 2), (1, 1), (1, 40), (40, 1)]


@pytest.mark.parametrize("pooling", ["avg", "max"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ringed", [False, True])
def test_forward_is_the_plain_network(size, pooling, ringed):
    convs, pixels = small_convs(), random_pixels(*size)
    activations = Backbone(convs, ["relu5_4"], pooling, torch.float64, ringed=ringed).forward(pixels)
    for layer, expected in composed(convs, pixels, pooling).items():
        stride = stride_of(layer)
        assert activations[layer].shape[1:] == (-(-size[0] // stride), -(-size[1] // stride))
        assert expected.abs().max() > 0
        assert relative_error(activations[layer], expected) < 1e-12


@pytest.mark.parametrize("pooling", ["avg", "max"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "layers", [("relu1_1",), ("relu2_2", "relu5_4"), ("relu1_2", "relu3_1", "relu3_4", "relu4_1", "relu5_1")]
)
@pytest.mark.parametrize("ringed", [False, True])
@pytest.mark.parametrize("at_all", [False, True])
def test_backward_is_autograd(size, pooling, layers, ringed, at_all):
    """Also where layers without a term of their own are left to the backbone."""
    convs = small_convs(seed=2)
    pixels = random_pixels(*size).requires_grad_()
    features = composed(convs, pixels, pooling)
    generator = torch.Generator().manual_seed(5)
    cotangents = {
        layer: torch.randn(features[layer].shape, generator=generator, dtype=torch.float64) for layer in layers
    }
    sum((features[layer] * cotangents[layer]).sum() for layer in layers).backward()

    def inject(layer, found, grad):
        if layer in cotangents:
            grad = cotangents[layer] if grad is None else grad + cotangents[layer]
        return None if grad is None else grad * (found > 0)

    backbone = Backbone(convs, layers, pooling, torch.float64, ringed=ringed)
    found = backbone.forward(pixels.detach()).backward(inject, None if at_all else layers)
    assert pixels.grad.abs().max() > 0
    assert found.shape == pixels.shape
    assert relative_error(found, pixels.grad) < 1e-10


def test_layers_are_visited_from_deep_to_shallow_with_the_gradient_from_above():
    seen = []

    def inject(layer, features, grad):
        seen.append((layer, grad is None))
        return torch.ones_like(features) if layer == "relu2_2" else grad

    Backbone(small_convs(), ["relu3_2"], dtype=torch.float64).forward(random_pixels(8, 8)).backward(inject)
    assert [layer for layer, _ in seen] == ["relu3_2", "relu3_1", "relu2_2", "relu2_1", "relu1_2", "relu1_1"]
    assert [first for _, first in seen] == [True] * 3 + [False] * 3


def test_only_layers_with_terms_are_visited_where_these_are_told():
    seen = []

    def inject(layer, features, grad):
        seen.append(layer)
        return torch.ones_like(features) if grad is None else grad * (features > 0)

    activations = Backbone(small_convs(), ["relu3_2"], dtype=torch.float64).forward(random_pixels(8, 8))
    activations.backward(inject, {"relu2_2", "relu1_1"})
    assert seen == ["relu2_2", "relu1_1"]


def test_nothing_injected_is_an_error():
    activations = Backbone(small_convs(), ["relu1_2"], dtype=torch.float64).forward(random_pixels(8, 8))
    with pytest.raises(ValueError, match="no layer"):
        activations.backward(lambda layer, features, grad: None)


def test_the_trunk_ends_at_the_deepest_layer_in_use():
    backbone = Backbone(small_convs(), ["relu3_1", "relu1_2"], dtype=torch.float64)
    assert backbone.names == ["relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1"]
    assert (backbone.channels("relu2_1"), backbone.channels("relu3_1")) == (6, 7)
    with pytest.raises(IndexError):
        backbone.forward(random_pixels(8, 8), to="relu2_2")["relu3_1"]


def test_pixels_are_left_alone_and_taken_in_any_float_type():
    pixels = random_pixels(20, 20, dtype=torch.float32)
    before = pixels.clone()
    backbone = Backbone(small_convs(), ["relu2_1"], dtype=torch.float64)
    found = backbone.forward(pixels)["relu2_1"]
    assert found.dtype == torch.float64
    assert torch.equal(pixels, before)
    assert torch.equal(found, backbone.forward(pixels.double())["relu2_1"])


def test_strides_and_names():
    assert [f"relu{name}" for name in NAMES] == list(LAYERS)
    assert [stride_of(layer) for layer in ("relu1_2", "relu2_1", "relu3_4", "relu4_2", "relu5_1")] == [1, 2, 4, 8, 16]
    assert deepest(["relu4_2", "relu1_1", "relu4_1"]) == "relu4_2"


@pytest.mark.parametrize("layer", ["conv1_1", "relu3_5", "relu6_1", "", "relu1_1 "])
def test_unknown_layers_are_refused(layer):
    with pytest.raises(ConfigError, match=r"style_layers: unknown layer .*relu4_1") as error:
        check_layers(["relu1_1", layer], "style_layers")
    assert "\n" not in str(error.value)

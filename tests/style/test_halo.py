"""How far layers see, found by poking pixels of a network whose features are 0 where every pixel they see is 0.

Nothing is negative and nothing cancels, so that "depends on" is an exact comparison with 0.
"""

import pytest
import torch
from small_vgg import counting_convs

from tiler.geometry import Rect, TileGrid
from tiler.style.backbone import Backbone
from tiler.style.layers import gradient_halo, statistics_halo, stride_of

HEIGHT, BOX = 640, (320, 352)
SETS = [
    ("relu1_1",),
    ("relu1_2",),
    ("relu2_1",),
    ("relu2_2",),
    ("relu3_1", "relu1_1"),
    ("relu4_2",),
    ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
    ("relu4_2", "relu5_4"),
]
DEFAULT = SETS[-2]


def outside(start, stop):
    """A one pixel wide image that is 0 in rows start..stop-1 and 1 elsewhere."""
    pixels = torch.ones(3, HEIGHT, 1, dtype=torch.float64)
    pixels[:, start:stop] = 0
    return pixels


def row(y):
    pixels = torch.zeros(3, HEIGHT, 1, dtype=torch.float64)
    pixels[:, y] = 1
    return pixels


def statistics_move(layers, pixels):
    activations = Backbone(counting_convs(), layers, dtype=torch.float64).forward(pixels)
    y0, y1 = BOX
    return any(activations[layer][:, y0 // stride_of(layer) : y1 // stride_of(layer)].any() for layer in layers)


def gradient_moves(layers, pixels, y0, y1):
    """Whether the gradient of sum F^2 in rows y0..y1-1 differs from that of a black image, which is 0."""

    def inject(layer, features, grad):
        own = features if layer in layers else None
        return own if grad is None else grad if own is None else grad + own

    activations = Backbone(counting_convs(), layers, dtype=torch.float64).forward(pixels)
    return bool(activations.backward(inject)[:, y0:y1].any())


@pytest.mark.parametrize("layers", SETS, ids=lambda layers: layers[-1])
def test_statistics_depend_on_the_halo_and_on_nothing_beyond(layers):
    (y0, y1), halo = BOX, statistics_halo(layers)
    assert not statistics_move(layers, outside(y0 - halo, y1 + halo))
    assert statistics_move(layers, row(y0 - halo))
    assert statistics_move(layers, row(y1 + halo - 1))


@pytest.mark.parametrize("layers", SETS, ids=lambda layers: layers[-1])
def test_gradients_depend_on_the_halo_and_on_nothing_beyond(layers):
    (y0, y1), halo = BOX, gradient_halo(layers)
    assert not gradient_moves(layers, outside(y0 - halo, y1 + halo), y0, y1)
    assert gradient_moves(layers, row(y0 - halo), y0, y1)
    assert gradient_moves(layers, row(y1 + halo - 1), y0, y1)


def test_the_default_layers_reach():
    assert (statistics_halo(DEFAULT), gradient_halo(DEFAULT)) == (70, 150)


@pytest.mark.parametrize("feather", range(0, 33, 3))
def test_a_tiles_read_area_is_enough_for_its_blend_area_at_any_feather(feather):
    """A blend area may start anywhere, and then sees up to a stride farther; alignment of `read` makes up for it."""
    tile = TileGrid(HEIGHT, 1, 64, 1, feather, gradient_halo(DEFAULT)).tile(5)
    assert 0 < tile.read.y0 < tile.read.y1 < HEIGHT
    assert not gradient_moves(DEFAULT, outside(tile.read.y0, tile.read.y1), tile.blend.y0, tile.blend.y1)


def test_a_tile_cut_out_with_its_halo_sees_what_the_whole_image_sees():
    pixels = torch.rand(3, HEIGHT, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    backbone = Backbone(counting_convs(), DEFAULT, dtype=torch.float64)
    whole, core = backbone.forward(pixels), Rect(320, 0, 352, 1)
    read = core.grown(statistics_halo(DEFAULT)).aligned(16).clipped(HEIGHT, 1)
    part = backbone.forward(pixels[:, read.y0 : read.y1])
    for layer in DEFAULT:
        inner = core.relative_to(read).strided(stride_of(layer)).slices
        torch.testing.assert_close(
            part[layer][:, *inner], whole[layer][:, *core.strided(stride_of(layer)).slices], rtol=1e-12, atol=0
        )

"""What is minimised, in numbers and names, and which way convolutions go."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tiler.style import convolutions
from tiler.style.backbone import Backbone
from tiler.style.convolutions import FUSED_DTYPES, _suits, fused
from tiler.style.guides import Areas
from tiler.style.losses import lines_of
from tiler.style.terms import Dream, Terms, rows
from tiler.style.weights import Conv

TERMS = Terms(("relu1_1", "relu2_1"), ("relu2_1", "relu4_2"), 1.0, 0.5, 0.1)


def test_what_is_not_said_counts_nothing():
    nothing = dict(chroma_weight=0, light_weight=0, lines=0, protect_strength=0, dream=None, statistics="gram")
    assert replace(TERMS, **nothing) == TERMS
    assert not TERMS.means


@pytest.mark.parametrize(("statistics", "found"), [("gram", 7), ("moments", 8), ("w2", 8)])
def test_sums_have_a_row_more_where_means_are_compared(statistics, found):
    assert rows(statistics, 7) == found
    assert replace(TERMS, statistics=statistics).means is (found == 8)


def test_layers_are_those_of_what_counts_each_once():
    assert TERMS.compared == ("relu2_1", "relu4_2")
    assert TERMS.layers == ("relu1_1", "relu2_1", "relu4_2")
    dreaming = replace(TERMS, dream=Dream("relu3_3", 2, 0.5))
    assert dreaming.layers == ("relu1_1", "relu2_1", "relu4_2", "relu3_3")
    without = replace(dreaming, content_weight=0.0)
    assert (without.compared, without.layers) == ((), ("relu1_1", "relu2_1", "relu3_3"))


@pytest.mark.parametrize(
    ("content_weight", "lines", "sees"), [(0.5, 0.0, True), (0.0, 0.25, True), (0.0, 0.0, False)]
)  # fmt: skip
def test_a_content_is_seen_where_anything_is_compared_with_it(content_weight, lines, sees):
    assert replace(TERMS, content_weight=content_weight, lines=lines).sees_content is sees


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"style_layers": ("relu1_1", "relu1_3")}, "its layers are unknown"),
        ({"content_layers": ("conv1_1",)}, "its layers are unknown"),
        ({"style_layers": ()}, "its layers are none"),
        ({"statistics": "means"}, "its statistics are unknown"),
        ({"protect_strength": -0.1}, "its content weighs less than nothing"),
        ({"dream": Dream("relu6_1", None, 1.0)}, "its dream's layer is unknown"),
        ({"dream": Dream("relu5_1", -1, 1.0)}, "its dream's channel is unknown"),
        ({"dream": Dream("relu5_1", 4096, 1.0)}, "its dream's channel is unknown"),
    ],
)
def test_what_does_not_hold(wrong, what):
    assert [said for holds, said in replace(TERMS, **wrong).rules() if not holds] == [what]


@pytest.mark.parametrize("channel", [None, 0, 4095])
def test_what_holds(channel):
    right = replace(TERMS, dream=Dream("relu5_4", channel, 1.0), protect_strength=0.0, content_layers=())
    assert all(holds for holds, _ in right.rules())


# Areas ---------------------------------------------------------------------------------------------------------------


def test_areas_are_foreseen_from_parts():
    """Of 100 pixels that count three times and 50 that count once; a region with no cell there has one."""
    parts = [
        (3.0, 100, Areas((0.5, 0.5, 0.0), {"relu1_1": (50.0, 50.0, 0.0), "relu2_1": (12.0, 13.0, 0.2)})),
        (1.0, 50, Areas((1.0, 0.0, 0.0), {"relu1_1": (50.0, 0.0, 0.0), "relu2_1": (13.0, 0.0, 0.1)})),
    ]
    found = Areas.estimated(iter(parts))
    assert found.shares == pytest.approx((200 / 350, 150 / 350, 0.0))
    assert found.weights == {"relu1_1": (200.0, 150.0, 1.0), "relu2_1": (49.0, 39.0, 1.0)}


# Lines ---------------------------------------------------------------------------------------------------------------


def test_lines_are_where_neighbours_differ():
    """Half an edge is a difference of 0.1 in length; the last row and column differ from nothing."""
    content = torch.zeros(3, 2, 3, dtype=torch.float64)
    content[0, 0, 1], content[1, 0, 1] = 0.08, 0.06
    found = lines_of(content, content + 5)
    assert found.shape == (4, 2, 3)
    assert torch.equal(found[:3], content + 5)
    half, twice = 0.5, 0.02 / 0.03
    assert found[3].tolist() == [[pytest.approx(half), pytest.approx(twice), 0], [0, 0, 0]]
    content[:, 1] = content[:, 0]
    assert lines_of(content, content)[3].tolist() == [[pytest.approx(half), pytest.approx(half), 0]] * 2


# Convolutions --------------------------------------------------------------------------------------------------------


def _planes(height=8, width=8, dtype=torch.float16, kind="cuda"):
    return SimpleNamespace(shape=(1, 8, height, width), dtype=dtype, device=torch.device(kind, 0))


def test_where_convolutions_are_fused(monkeypatch):
    monkeypatch.setattr(convolutions, "_unfused", {})
    monkeypatch.setattr(torch.version, "hip", None)
    assert all(_suits(_planes(dtype=dtype)) for dtype in FUSED_DTYPES)
    assert _suits(_planes(2, 32))
    for other in (_planes(9, 7), _planes(1, 63), _planes(dtype=torch.float64), _planes(kind="cpu")):
        assert not _suits(other)
    with monkeypatch.context() as patched:
        patched.setattr(torch.version, "hip", "6")
        assert not _suits(_planes())
    with torch.backends.cudnn.flags(enabled=False):
        assert not _suits(_planes())
    convolutions._unfused[torch.device("cuda", 1)] = "why"
    assert _suits(_planes())
    convolutions._unfused[torch.device("cuda", 0)] = "why"
    assert not _suits(_planes())


def test_convolutions_are_padded_on_a_cpu_and_come_to_hand_worked_numbers():
    """A kernel that takes red of the upper left neighbour, and half of green of the lower right; the bias is -5."""
    weight = torch.zeros(1, 3, 3, 3)
    weight[0, 0, 0, 0], weight[0, 1, 2, 2] = 1.0, 0.5
    pixels = torch.arange(18.0).view(3, 2, 3)
    expected = [[0.0, 0.5, 1.5]] * 2
    for ringed in (None, True, False):
        backbone = Backbone([Conv("1_1", weight, torch.tensor([-5.0]))], ["relu1_1"], ringed=ringed)
        assert type(backbone.convolutions).__name__ == ("Ringed" if ringed else "Padded")
        assert backbone.forward(pixels)["relu1_1"].tolist() == [expected]
    x = torch.ones(1, 3, 1, 1)
    assert fused(x, weight + 1, torch.tensor([-2.0])).tolist() == [[[[1.0]]]]
    assert fused(x, weight + 1, torch.tensor([-4.0])).tolist() == [[[[0.0]]]]

"""In which precision a tile is measured and relaxed, how often it is tried, and what is said of each try."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tiler.engine import finite
from tiler.engine.finite import Relaxed, Relaxing
from tiler.engine.optimize import TileLosses
from tiler.errors import NotFiniteError
from tiler.geometry import Rect
from tiler.style.grams import GramSums

CORE = Rect(1, 2, 5, 9)
LAYERS = ("relu1_1", "relu2_1")
NAN, INFINITE = math.nan, math.inf


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """measured(of): what comes of backbones that measure what `of` says, a number of each layer; and who was asked."""

    def measure(of: dict[str, tuple[float, float]]) -> tuple[Any, list[Any]]:
        asked: list[Any] = []

        def one(backbone: str, *given: Any) -> GramSums:
            asked.append((backbone, *given))
            sums = {layer: torch.tensor([[[1.0, value]]]) for layer, value in zip(LAYERS, of[backbone], strict=True)}
            return GramSums(sums, {layer: torch.ones(1) for layer in sums})

        monkeypatch.setattr(finite, "measure_pixels", one)
        given: Any = {name: name for name in of}, "pixels", LAYERS, CORE, "guides", True, "level 2, tile 7"
        try:
            return finite.measured(*given), asked
        except NotFiniteError as error:
            return str(error), asked

    return measure


def test_statistics_are_those_of_the_first_precision_that_reaches(measured: Callable[..., Any]) -> None:
    given = "pixels", LAYERS, CORE, "guides", True
    found, asked = measured({"fp16": (1.0, 2.0), "fp32": (3.0, 4.0)})
    assert [float(one[0, 0, 1]) for one in found.sums.values()] == [1, 2]
    assert asked == [("fp16", *given)]
    found, asked = measured({"fp16": (1.0, INFINITE), "fp32": (3.0, 4.0)})
    assert [float(one[0, 0, 1]) for one in found.sums.values()] == [3, 4]
    assert asked == [("fp16", *given), ("fp32", *given)]


@pytest.mark.parametrize(
    ("of", "layer", "last"),
    [
        ({"fp16": (NAN, 1.0), "fp32": (1.0, -INFINITE)}, "relu2_1", "fp32"),
        ({"fp16": (1.0, NAN), "fp32": (NAN, INFINITE)}, "relu1_1", "fp32"),
        ({"fp64": (1.0, NAN)}, "relu2_1", "fp64"),
    ],
)
def test_statistics_that_no_precision_reaches_are_named(
    of: Any, layer: str, last: str, measured: Callable[..., Any]
) -> None:
    said, asked = measured(of)
    assert said.startswith(f"level 2, tile 7: the statistics of {layer} are not finite in {last}; ")
    assert len(asked) == len(of)


def relaxed(
    *, loss: float = 1.0, content: float = 1.0, tv: float = 1.0, pixel: float = 0.5, moment: float = 2.0
) -> Relaxed:
    pixels, moments = torch.full((3, 4, 7), 0.5), torch.zeros(6, 4, 7)
    pixels[2, 1, 6], moments[5, 3, 0] = pixel, moment
    losses = TileLosses({"relu1_1": 1.0, "relu2_1": loss}, content, tv)
    return Relaxed(pixels, moments, {"relu1_1": torch.ones(1, 2, 2)}, (3,), lambda: losses, SimpleNamespace())  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [NAN, INFINITE, -INFINITE])
@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((), ""), (("loss",), "loss"), (("content",), "loss"), (("tv",), "loss"), (("pixel",), "pixels"),
        (("moment",), "moments"), (("tv", "moment"), "loss, moments"),
        (("loss", "pixel", "moment"), "loss, pixels, moments"),
    ],
)  # fmt: skip
def test_what_is_not_finite_is_named(value: float, parts: tuple[str, ...], said: str) -> None:
    found = relaxed(**dict.fromkeys(parts, value))
    assert found.not_finite() == said
    assert (found.regions, [*found.sums], found.pixels.shape, found.moments.shape) == (
        (3,),
        ["relu1_1"],
        (3, 4, 7),
        (6, 4, 7),
    )


def relaxing(precisions: tuple[str, ...], bad: int) -> tuple[Relaxing, list[Any], list[Any]]:
    """A round whose first `bad` tries come out with pixels that are not finite; what was tried, and what was told."""
    tried, told = list[Any](), list[Any]()

    def relax(precision: str, scale: float) -> Any:
        tried.append((precision, scale))
        fails = len(tried) <= bad
        return SimpleNamespace(not_finite=lambda: f"pixels {precision}" if fails else "", tried=tried[-1])

    return Relaxing(precisions, relax, 4, 7, "steps 3 to 9", told.append), tried, told


@pytest.mark.parametrize("precisions", [("fp16", "fp32"), ("fp32",)])
@pytest.mark.parametrize("bad", [0, 1, 2, 3])
def test_a_round_is_done_in_the_first_way_that_comes_out_finite(precisions: tuple[str, ...], bad: int) -> None:
    ways = [*((one, 1.0) for one in precisions), ("fp32", 0.1)]
    going, tried, told = relaxing(precisions, bad)
    assert tried == ways[:1]
    assert told == []
    if bad < len(ways):
        assert going.end().tried == ways[bad]  # type: ignore[attr-defined]
    else:
        with pytest.raises(NotFiniteError) as error:
            going.end()
        assert str(error.value) == (
            "level 5, tile 7, steps 3 to 9: not finite, even in fp32 with a tenth of the step: pixels fp32"
        )
    assert tried == ways[: bad + 1]
    assert told == [
        {"event": "not finite", "level": 4, "tile": 7,
         "text": f"level 5, tile 7, steps 3 to 9: not finite in {one} with {scale:g} of the step: pixels {one}"}
        for one, scale in ways[:bad]
    ]  # fmt: skip

"""What may be asked for when land is learned and grown: up to which number, and what comes of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from small_land import of_lands

from tiler.errors import ConfigError
from tiler.geometry import Rect
from tiler.growing import growth
from tiler.growing.growth import Asked, Growth
from tiler.growing.learn import Lesson
from tiler.growing.noise import Path, Plane
from tiler.growing.shares import Everywhere, Wild


@pytest.mark.parametrize(
    ("name", "allowed", "refused", "words"),
    [
        ("seed", [0, 2**63 - 1], [-1, 2**63], "0 to 9223372036854775807"),
        ("to_seed", [0, 2**63 - 1], [-1, 2**63], "0 to 9223372036854775807"),
        ("blend", [0.0, 65536.0], [-0.1, 65536.1, float("inf")], "0 to 65536 pixels"),
        ("walk", [2, 10_000], [1, 10_001], "2 to 10000 frames"),
        ("wrap", ["none", "x", "y", "xy"], ["yx"], "none, x, y, xy"),
        ("device", ["auto", "cpu", "cuda"], ["gpu"], "auto, cpu, cuda"),
    ],
)
def test_a_growth_up_to_its_limits(name: str, allowed: list[Any], refused: list[Any], words: str) -> None:
    more = {"walk": 2} if name == "to_seed" else {}
    for value in allowed:
        assert getattr(Growth("land", "out.png", **more, **{name: value}), name) == value
    for value in refused:
        with pytest.raises(ConfigError, match=f"^{name} = {value}; allowed: {words}$"):
            Growth("land", "out.png", **more, **{name: value})


@pytest.mark.parametrize(
    ("name", "allowed", "refused", "words"),
    [
        ("minutes", [0.0, 1e5], [-0.1, 100000.1, float("inf")], "0.0 to 100000.0"),
        ("steps", [1, 10**8], [0, 10**8 + 1], "1 to 100000000"),
        ("channels", [1, 512], [0, 513], "1 to 512"),
        ("patch", [64, 1024], [63, 1025], "64 to 1024"),
        ("batch", [1, 1024], [0, 1025], "1 to 1024"),
        ("seed", [0, 2**63 - 1], [-1, 2**63], "0 to 9223372036854775807"),
        ("threads", [1, 1024], [0, 1025], "1 to 1024"),
        ("checkpoint_seconds", [0.0, 86400.0], [-1.0, 86400.5], "0.0 to 86400.0"),
    ],
)
def test_a_lesson_up_to_its_limits(name: str, allowed: list[Any], refused: list[Any], words: str) -> None:
    for value in allowed:
        assert getattr(Lesson(("a.png",), "x.safetensors", **{name: value}), name) == value
    for value in refused:
        with pytest.raises(ConfigError) as caught:
            Lesson(("a.png",), "x.safetensors", **{name: value})
        assert str(caught.value) == f"{name} = {value}; allowed: {words}"


def test_what_a_lesson_does_not_say_its_architecture_does() -> None:
    """The plain one as in its paper, but for the batch; what is said is kept."""
    for kind, wanted in (("spatial", (16, 128, 4)), ("dcgan", (128, 64, 32))):
        lesson = Lesson(("a.png",), "lands/x.safetensors", kind)
        assert (lesson.channels, lesson.patch, lesson.batch) == wanted
        assert lesson.folder.as_posix() == "lands/x.training"
    said = Lesson(("a.png",), "x.safetensors", channels=3, patch=96, batch=5)
    assert (said.channels, said.patch, said.batch) == (3, 96, 5)
    assert Lesson(("a.png",), "x.safetensors", "dcgan", patch=64).patch == 64
    with pytest.raises(ConfigError, match=r"^patch = 65; allowed with architecture dcgan: 64$"):
        Lesson(("a.png",), "x.safetensors", "dcgan", patch=65)


def grown(**asked: Any) -> Growth:
    return Growth("land", "out.png", **asked)


@pytest.mark.parametrize(
    ("size", "wrap", "height", "width"),
    [
        ("150x90", "none", 90, 150), ("150x90", "x", 90, 144), ("150x90", "y", 96, 150), ("150x90", "xy", 96, 144),
        ("90x150", "xy", 144, 96), ("160x64", "xy", 64, 160), ("7x5", "xy", 16, 16), (None, "xy", 1024, 1024),
    ],
)  # fmt: skip
def test_what_closes_is_made_of_whole_cells(size: str | None, wrap: str, height: int, width: int) -> None:
    """The nearest number of them, at least one; and it is said where that is another size."""
    found = grown(size=size, wrap=wrap)._size(None, 16)
    assert found[:2] == (height, width)
    same = f"{width}x{height}" == (size or "1024x1024")
    assert found[2] == (() if same else (f"{width} x {height} px, since what closes is made of whole cells of 16 px",))


def test_labels_give_the_size_where_none_is_said() -> None:
    labels: Any = SimpleNamespace(height=30, width=50)
    assert grown()._size(labels, 16) == (30, 50, ())
    assert grown(size="90x70")._size(labels, 16) == (70, 90, ())
    with pytest.raises(ConfigError, match="size = big; allowed: "):
        grown(size="big")._size(None, 16)


def test_a_picture_begins_less_than_so_far_away() -> None:
    most = 2**30 - 1
    assert grown(offset=" 7 , -3 ")._offset() == (-3, 7)
    for x, y in ((most, 0), (0, most), (-most, -most)):
        assert grown(offset=f"{x},{y}")._offset() == (y, x)
    for text in (f"{most + 1},0", f"0,{-most - 1}", "1;2", "1,2,3", "0x1,2"):
        with pytest.raises(ConfigError) as caught:
            grown(offset=text)._offset()
        assert str(caught.value) == f"offset = {text}; allowed: X,Y in pixels, less than 1073741824 each"


@pytest.mark.parametrize(
    ("wrap", "period"), [("none", (None, None)), ("x", (None, 9)), ("y", (4, None)), ("xy", (4, 9))]
)
def test_what_closes_repeats_after_its_own_cells(wrap: str, period: tuple[int | None, int | None]) -> None:
    box = Rect(-16, 32, 48, 176)
    assert grown(wrap=wrap, seed=5)._noises(box, 16) == (Plane(5, period),)
    start, end = Plane(5, period), Plane(8, period)
    frames = grown(wrap=wrap, seed=5, to_seed=8, walk=5)._noises(box, 16)
    assert frames == tuple(Path(start, end, share) for share in (0, 0.25, 0.5, 0.75, 1))
    for seed, following in ((5, 6), (2**63 - 1, 0)):
        assert grown(seed=seed, walk=2)._noises(box, 16)[1].end.seed == following  # type: ignore[attr-defined]


def test_lands_that_are_not_laid_out_lie_where_chance_has_it() -> None:
    several, one = {"sea": 0, "moor": 1, "ice": 2}, {"sea": 0}
    box = Rect(0, 0, 64, 64)
    assert grown()._shares(of_lands("spatial", *several), several, None, box)() == Wild(3)
    assert grown()._shares(of_lands("spatial", *one), one, None, box)() == Everywhere(0, 1)
    assert grown(only="ice")._shares(of_lands("spatial", *several), several, None, box)() == Everywhere(2, 3)
    assert grown(only="sea")._shares(of_lands("spatial", *one), one, None, box)() == Everywhere(0, 1)
    for name, words in (("mooor", "sea, moor, ice (did you mean moor?)"), ("city", "sea, moor, ice")):
        with pytest.raises(ConfigError) as caught:
            grown(only=name)._shares(of_lands("spatial", *several), several, None, box)
        assert str(caught.value) == f"only: the land knows no {name!r}; allowed: {words}"


def test_labels_lie_over_all_cells_that_the_picture_touches(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the cell that it begins in, and half a cell more is one; the blend is counted in cells, too."""
    monkeypatch.setattr(growth, "Labelled", lambda *given: given)
    asked = grown(labels="l.png", label=("#010203=moor", "#ff0000= sea "), blend=40.0, wrap="y")
    known, labels = {"sea": 0, "moor": 1}, SimpleNamespace()
    found = asked._shares(of_lands("spatial", *known), known, labels, Rect(-40, 50, 8, 147))()  # type: ignore[arg-type]
    wanted = (labels, [((1, 2, 3), 1), ((255, 0, 0), 0)], 2, Rect(-3, 3, 0, 10), 2.5, (True, False))
    assert found == wanted  # type: ignore[comparison-overlap]


def test_frames_of_a_walk_lie_side_by_side() -> None:
    frames = tuple(Plane(seed) for seed in range(3))
    asked = Asked(grown(), b"", of_lands("spatial", "sea"), frames, Rect(-10, 5, 20, 45), lambda: Wild(1), None, ())
    assert (asked.height, asked.width) == (30, 120)


def test_what_belongs_together_is_asked_for_together() -> None:
    for asked, words in (
        ({"labels": "l.png"}, "labels and label belong together: --labels FILE --label '#RRGGBB=NAME'"),
        ({"label": ("#000000=sea",)}, "labels and label belong together: --labels FILE --label '#RRGGBB=NAME'"),
        ({"labels": "l.png", "label": ("#000000=sea",), "only": "sea"}, "only and labels: allowed is one of them"),
        ({"to_seed": 0}, "to_seed = 0: belongs to --walk"),
    ):
        with pytest.raises(ConfigError) as caught:
            grown(**asked)
        assert str(caught.value) == words

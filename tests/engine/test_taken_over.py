"""A preview is the beginning of its poster: a finished job makes way for another, with the levels that are the same."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image
from serial_pool import Here, StoppedError, render_module
from turnstile import Dead

from tiler.engine import workplace
from tiler.engine.folder import Folder
from tiler.engine.lineage import Lineage
from tiler.engine.machine import ANY
from tiler.engine.store import RenderStore
from tiler.errors import StoreError
from tiler.jobs import Request
from tiler.output.info import describe
from tiler.output.verify import verify
from tiler.rendering import render
from tiler.request import identity
from tiler.request.config import RenderConfig

SMALL: dict[str, Any] = dict(
    long_edge=48, min_edge=24, steps=(2,), tile=64, feather=8, halo=16, precision="fp32", threads=1, device="cpu",
    style_layers=("relu1_1", "relu2_1"), content_layers=("relu2_2",),
)  # fmt: skip
LARGE = dict(long_edge=96)
CLEAR = dict(content="clear.png", init="mask.png")


class Place:
    """Where one poster after the other is rendered."""

    def __init__(self, folder: Path, weights: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        for name, seed in (("content", 1), ("style", 2), ("mask", 3)):
            coarse = np.random.default_rng(seed).integers(0, 255, (7, 9, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((128, 96), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
        clear = Image.open(folder / "content.png")
        clear.putalpha(Image.open(folder / "mask.png").convert("L"))
        clear.save(folder / "clear.png")
        self._weights = weights
        self.url = str(folder / "poster.zarr")
        self.events: list[dict[str, Any]] = []

    def config(self, **options: Any) -> RenderConfig:
        files = dict(content=str(self.folder / "content.png"), styles=(str(self.folder / "style.png"),))
        for name in {"content", "init"} & {*options}:
            options[name] = str(self.folder / options[name])
        return RenderConfig(
            **{**files, **SMALL, "weights": self._weights, **options}, output=str(self.folder / "poster.png")
        )

    def render(self, tiles: int = 10**9, replace_finished: bool = True, **options: Any) -> list[int]:
        """The levels that were rendered. tiles: how many are, before it is stopped."""
        self.events = []
        workplace._CURRENT.clear()
        with (
            mock.patch.object(render_module(), "Pool", Here),
            mock.patch.object(Here, "tiles", tiles),
        ):
            render(self.config(**options), self.events.append, replace_finished=replace_finished)
        return [event["level"] for event in self.events if event["event"] == "level"]

    @property
    def notes(self) -> str:
        return "\n".join(event["text"] for event in self.events if event["event"] == "note")

    def made(self) -> dict[str, bytes]:
        """The poster, and all that the store has but what levels cost and where it lies."""
        files = [path for path in Path(self.url).rglob("*") if path.is_file()]
        kept = [path for path in files if len(path.relative_to(self.url).parts) > 3]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in (*kept, self.folder / "poster.png")}


@pytest.fixture
def place(tmp_path: Path, small_weights: str) -> Place:
    return Place(tmp_path / "here", small_weights)


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory, small_weights: str) -> Callable[..., dict[str, bytes]]:
    """What options make at a new place."""
    known: dict[str, dict[str, bytes]] = {}

    def made(**options: Any) -> dict[str, bytes]:
        if repr(options) not in known:
            there = Place(tmp_path_factory.mktemp("fresh"), small_weights)
            there.render(**options)
            known[repr(options)] = there.made()
        return known[repr(options)]

    return made


@pytest.mark.parametrize(
    ("before", "after", "rendered"),
    [
        ({}, LARGE, [2]),
        (LARGE, {}, []),
        ({}, dict(steps=(2, 5)), [1]),
        (dict(color="content", lines=1.0), dict(color="content", lines=1.0, **LARGE), [2]),
        (dict(color="match"), dict(color="match", **LARGE), [0, 1, 2]),
        (CLEAR, dict(**CLEAR, **LARGE), [2]),
        (CLEAR, dict(init="style.png"), [0, 1]),
        (dict(keep_detail=True, mode="exact"), dict(keep_detail=True, mode="exact", **LARGE), [2]),
        ({}, dict(tile=16), [0, 1]),
        ({}, dict(style_blend_weights=(1.0,), steps_per_round=2, levels=3, **LARGE), [2]),
    ],
    ids=str,
)
def test_levels_that_are_the_same_are_not_rendered_again(
    place: Place, fresh, before: dict[str, Any], after: dict[str, Any], rendered: list[int]
) -> None:
    place.render(**before)
    first = {name: path for name, path in place.made().items() if name.startswith("poster.zarr/levels/0")}
    assert place.render(**after) == rendered
    assert place.made() == fresh(**after)
    levels = len(describe(place.url)["levels"])
    kept = levels - len(rendered)
    assert f"{kept} of {levels} levels {'is' if kept == 1 else 'are'} the same and taken over" in place.notes
    assert (first.items() <= place.made().items()) == (0 not in rendered)


OTHER = dict(
    content_weight=3.0, style_scale=(0.5,), color="luminance", init="mask.png", stretch="5,95", keep_detail=True,
    learning_rate=0.01, pooling="max", style_layers=("relu1_1",), precision="fp64", mode="exact", seed=4, threads=2,
    protect="mask.png", size="48x48",
)  # fmt: skip


@pytest.mark.parametrize("name", ["content_weight", "stretch", "size", "protect"])
def test_nothing_is_taken_over_where_an_option_is_another(place: Place, name: str) -> None:
    value = str(place.folder / "mask.png") if name == "protect" else OTHER[name]
    place.render()
    before = place.made()
    assert place.render(**{name: value, **({"long_edge": None} if name == "size" else {})}) == [0, 1]
    assert ("protect file differs" if name == "protect" else f"{name} was") in place.notes
    assert "0 of 2 levels are the same" in place.notes
    assert place.made() != before


def _known(config: RenderConfig) -> list[str | None]:
    """By what each level of its job is known."""
    request = Request.of(config)
    line, below, found = Lineage(request.seen, lambda: {"device": "x"}), "", []
    _, job = request.asked.on(ANY)
    for level in range(len(job.cut.levels)):
        below = line.of(job, level, below)
        found.append(below)
    return found


@pytest.mark.parametrize("name", OTHER)
def test_a_level_is_known_by_all_that_it_depends_on(place: Place, name: str) -> None:
    value = str(place.folder / "mask.png") if name in ("protect", "init") else OTHER[name]
    config = place.config()
    other = replace(config, **{name: value, **({"long_edge": None} if name == "size" else {})})
    assert {*_known(config)}.isdisjoint(_known(other))
    assert _known(config) == _known(replace(config, output="other.png", workers=3, state="store", dpi=200))


def test_a_level_is_known_by_its_machine_if_that_is_one(place: Place) -> None:
    request = Request.of(place.config())
    _, job = request.asked.on(ANY)
    one, other, mixed = (Lineage({}, partial(dict, torch=torch)) for torch in ("2", "3", "2 + 3"))
    assert one.of(job, 0, "") not in (None, other.of(job, 0, ""))
    assert mixed.of(job, 0, "") is None
    assert one.of(job, 1, None) is None
    assert one.of(job, 1, "a") != one.of(job, 1, "b")


def test_levels_of_another_part_of_the_content_are_others(place: Place) -> None:
    """The larger one has a row less of the content, and levels of the same sizes."""
    whole, part = (replace(place.config(), long_edge=None, size=size) for size in ("48x36", "384x286"))
    sizes = [
        [(level.height, level.width) for level in Request.of(config).asked.job.cut.levels[:2]]
        for config in (whole, part)
    ]
    assert sizes[0] == sizes[1]
    assert {*_known(whole)}.isdisjoint(_known(part))


def test_a_level_that_was_cut_anew_is_another_where_that_cuts_it(place: Place) -> None:
    request = Request.of(place.config())
    _, job = request.asked.on(ANY)
    line = Lineage({}, dict)
    assert [line.of(job, level, "") == line.of(job.with_tile(32), level, "") for level in (0, 1)] == [True, False]


def test_a_picture_that_is_another_by_now(place: Place) -> None:
    place.render()
    shutil.copy(place.folder / "mask.png", place.folder / "style.png")
    with pytest.raises(StoreError, match="the style file 1 differs"):
        place.render(replace_finished=False, **LARGE)
    assert place.render(**LARGE) == [0, 1, 2]
    assert "style file 1 differs" in place.notes


def test_an_unfinished_job_is_refused_and_what_went_on_counts(place: Place, fresh) -> None:
    with pytest.raises(StoppedError):
        place.render(tiles=1)
    with pytest.raises(StoreError, match=r"holds another job: size was 48x36, now 96x72; .*--force-new"):
        place.render(**LARGE)
    place.render()
    assert place.render(**LARGE) == [2]
    assert place.made() == fresh(**LARGE)


def test_a_poster_that_was_not_written_is_not_finished(place: Place) -> None:
    with mock.patch("tiler.output.export.write_view", side_effect=StoppedError), pytest.raises(StoppedError):
        place.render()
    with pytest.raises(StoreError, match="holds another job"):
        place.render(**LARGE)


@pytest.mark.parametrize("said", [None, "", "x", 7, {}, ["x"]])
def test_what_a_store_says_that_is_no_lineage_is_not_heard(place: Place, fresh, said: Any) -> None:
    place.render()
    group = RenderStore.open(place.url)._node("levels/0")
    group.attrs["lineage"] = said
    assert place.render(**LARGE) == [0, 1, 2]


def test_a_level_that_is_damaged_is_computed_again(place: Place, fresh) -> None:
    place.render()
    chunk = next(path for path in Path(place.url, "levels/0/image/c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    assert place.render(**LARGE) == [0, 2]
    assert place.made() == fresh(**LARGE)


def test_a_long_word_of_a_store_is_cut_short(place: Place) -> None:
    place.render()
    store = RenderStore.open(place.url)
    store.update(asked={**store.attributes["asked"], "pooling": "x" * 10**5})
    place.render(pooling="max")
    assert "pooling was xxx" in place.notes
    assert len(place.notes) < 1000


def test_what_was_spent_on_levels_is_spent(place: Place) -> None:
    place.render()
    spent = describe(place.url)["levels"]
    place.render(**LARGE)
    told = describe(place.url)
    assert told["levels"][:2] == spent
    assert told["seconds"] > sum(level["seconds"] for level in told["levels"])


def _asked(config: RenderConfig) -> tuple[RenderConfig, dict[str, str]]:
    request = Request.of(config)
    return request.asked.config, request.inputs


def _dying(method: Callable[..., None], left: list[int]) -> Callable[..., None]:
    def call(*arguments: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Dead
        method(*arguments)

    return call


@pytest.mark.parametrize(("other", "rendered"), [(LARGE, [2]), (dict(content_weight=3.0), [0, 1])], ids=str)
def test_a_kill_leaves_the_old_job_or_the_new_one(
    place: Place, fresh, tmp_path: Path, other: dict[str, Any], rendered: list[int]
) -> None:
    """At each file that is written or deleted until the first new level has begun."""
    place.render()
    shutil.copytree(place.url, tmp_path / "first.zarr")
    found: set[bool] = set()
    for files in range(200):
        shutil.rmtree(place.url)
        shutil.copytree(tmp_path / "first.zarr", place.url)
        left = [files]
        with (
            mock.patch.object(Folder, "write", _dying(Folder.write, left)),
            mock.patch.object(Folder, "delete", _dying(Folder.delete, left)),
            contextlib.suppress(Dead),
        ):
            place.render(**other)
        if any(event["event"] == "level" for event in place.events):
            break
        levels = [level["state"] == "done" for level in describe(place.url)["levels"]]
        is_old = not identity.differences(RenderStore.open(place.url).attributes, *_asked(place.config()))
        assert verify(place.url) == []
        if is_old:
            assert levels == [True, True]
        else:
            assert [number for number, done in enumerate(levels) if not done] == rendered
            if False not in found:  # nothing is dropped yet
                with pytest.raises(StoreError, match="holds another job"):
                    place.render()
                assert place.render(**other) == rendered
                assert place.made() == fresh(**other)
        found.add(is_old)
    assert found == {True, False}
    assert place.render(**other) in (rendered, rendered[1:])
    assert place.made() == fresh(**other)

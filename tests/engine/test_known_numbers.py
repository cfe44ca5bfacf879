"""What the engine's parts come to, written out or counted by hand: both sides of a comparison may share a mistake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tiler import pictures
from tiler.engine import layout, optimize, place, seeding
from tiler.engine.blend import composite, noise, upscale
from tiler.engine.home import DEVICE, STORE
from tiler.engine.job import Job
from tiler.engine.plain import typed
from tiler.engine.rounds import LevelRun
from tiler.engine.store import RenderStore
from tiler.engine.turn import Turns
from tiler.errors import StoreError
from tiler.geometry import Rect, TileGrid
from tiler.output.info import describe
from tiler.output.view import View
from tiler.request import identity
from tiler.request.config import RenderConfig
from tiler.request.resolve import resolve_config
from tiler.style.backbone import Backbone
from tiler.style.grams import StyleTarget, measure_pixels
from tiler.style.guides import Areas
from tiler.style.losses import Objective
from tiler.style.terms import Terms
from tiler.style.weights import load_weights
from tiler.version import __version__

Render = Callable[..., np.ndarray]
LAYERS = ("relu1_1", "relu3_1")


def job_of(pictures_dir: Path, weights: str, **options: Any) -> tuple[Job, RenderConfig]:
    paths = [str(pictures_dir / name) for name in ("content.png", "style.png")]
    config = RenderConfig(
        paths[0], (paths[1],), "poster.png", weights=weights, **{"device": "cpu", "threads": 1, **options}
    )
    opened = [pictures.open_picture(path) for path in paths]
    resolved, job = resolve_config(config, opened[0], opened[1:])
    return job, resolved


# The job ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [("relu3_1", "relu1_1"), ("relu1_1", "relu3_1")])
def test_the_first_of_a_style_s_measures_is_its_first_layer(layers, pictures_dir: Path, small_weights: str) -> None:
    """Whichever order a user names them in: that one is asked whether all are there."""
    job, _ = job_of(pictures_dir, small_weights, long_edge=96, style_layers=layers)
    assert list(job.measured) == [*job.terms.layers, "roughness"]
    assert next(iter(job.measured)) == layers[0]


def test_jitter_differs_by_level_and_step_and_keeps_its_range(pictures_dir: Path, small_weights: str) -> None:
    dream = dict(content_weight=0, dream_weight=1.0, long_edge=96, jitter=13, seed=5)
    job, _ = job_of(pictures_dir, small_weights, **dream)
    by_level = [[job.look.shift(level, step) for step in range(400)] for level in range(3)]
    assert all(one != other for i, one in enumerate(by_level) for other in by_level[:i])
    for shifts in by_level:
        for axis in (0, 1):
            assert {shift[axis] for shift in shifts} == set(range(14))
        assert len({*shifts}) > 100
        assert [down for down, _ in shifts] != [right for _, right in shifts]
    other, _ = job_of(pictures_dir, small_weights, **{**dream, "seed": 6})
    assert [other.look.shift(0, step) for step in range(9)] != by_level[0][:9]


@pytest.mark.parametrize(
    ("options", "rounds", "after"),
    [
        (dict(long_edge=96, tile=32, steps=(5,), levels=1, steps_per_round=2), [(0, 2), (2, 2), (4, 1)], [0, 2, 4, 5]),
        (dict(long_edge=96, tile=32, steps=(3,), levels=1, mode="exact"), [(0, 1), (1, 1), (2, 1)], [0, 1, 2, 3]),
        (dict(long_edge=96, tile=1024, steps=(60,), levels=1), [(0, 25), (25, 25), (50, 10)], [0, 25, 50, 60]),
        (dict(long_edge=96, tile=1024, steps=(60,), levels=1, optimizer="lbfgs"), [(0, 60)], [0, 60]),
        (dict(long_edge=96, tile=32, steps=(0,), levels=1), [], [0]),
    ],
)
def test_rounds_are_counted_by_hand(options, rounds, after, pictures_dir: Path, small_weights: str) -> None:
    job, _ = job_of(pictures_dir, small_weights, **options)
    assert job.cut.rounds(0) == rounds
    assert [job.cut.steps_after(0, k) for k in range(len(rounds) + 1)] == after


def test_styles_are_measured_with_a_halo(
    pictures_dir: Path, small_weights: str, render_serially: Render, tmp_path
) -> None:
    """A style larger than a tile: its totals are those of the whole picture, and each tile reads what they need."""
    rough = np.random.default_rng(3).integers(0, 255, (40, 700, 3), dtype=np.uint8)
    Image.fromarray(rough).save(tmp_path / "long.png")
    seen: dict[str, np.ndarray] = {}
    finish = RenderStore.finish_level

    def look(self: RenderStore, level: int, report: Any, known: None) -> None:
        seen.update({layer: self.read_total("styles/0/0", layer)[0] for layer in LAYERS})
        seen["picture"] = self.read_picture("styles/0/0/picture", Rect(0, 0, 40, 700))
        finish(self, level, report, known)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RenderStore, "finish_level", look)
        style = (str(tmp_path / "long.png"),)
        render_serially(long_edge=70, levels=1, steps=1, style_scale=10, styles=style, style_layers=LAYERS)
    backbone = Backbone(load_weights(small_weights), LAYERS, dtype=torch.float64)
    whole = Rect(0, 0, 40, 700)
    sums = measure_pixels(backbone, torch.tensor(seen["picture"], dtype=torch.float64), LAYERS, whole, means=True)
    for layer, cells in (("relu1_1", 40 * 700), ("relu3_1", 10 * 175)):
        expected = sums.sums[layer][0].numpy() / cells
        np.testing.assert_allclose(seen[layer], expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())
    job, _ = job_of(pictures_dir, small_weights)
    grid = replace(job, styles=replace(job.styles, sizes=(((600, 1100),),))).style_grid(0, 0)
    assert [tile.core for tile in grid][4] == Rect(304, 368, 600, 736)
    assert [tile.read for tile in grid][4] == Rect(224, 288, 600, 816)


# One tile ---------------------------------------------------------------------------------------------------------


def test_rates_warm_up_then_fall_as_a_cosine() -> None:
    rates = [optimize.step_rate(step, 105, 0.6) for step in range(105)]
    np.testing.assert_allclose(rates[:6], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert rates[55] == pytest.approx(0.3)
    assert rates[30] == pytest.approx(0.6 * 0.5 * (1 + np.sqrt(0.5)))
    assert 0 < rates[-1] < 0.6 * 0.001
    np.testing.assert_allclose([optimize.step_rate(step, 8, 0.3) for step in range(3)], [0.1, 0.2, 0.3])
    assert optimize.step_rate(0, 3, 0.3) == 0.3


@pytest.mark.parametrize("shift", [(16, 0), (0, 32), (16, 32)])
def test_a_tile_s_sums_are_its_core_s_wherever_the_grid_lies(shift: tuple[int, int], small_weights: str) -> None:
    """Moved by whole strides, the features of the core are the same; those of another box are not."""
    backbone = Backbone(load_weights(small_weights), LAYERS, dtype=torch.float64)
    pixels = torch.rand(3, 128, 160, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    core = Rect(48, 48, 80, 112)
    none = {layer: torch.zeros(1, c, c, dtype=torch.float64) for layer, c in (("relu1_1", 4), ("relu3_1", 8))}
    areas = Areas((1.0,), dict.fromkeys(LAYERS, (128.0 * 160,)))
    target = StyleTarget.blended(
        [{layer: one + 1 for layer, one in none.items()}], [(1, 1)], [1.0], [dict.fromkeys(LAYERS, 1.0)]
    )
    target = StyleTarget.joined([target], areas.shares)
    objective = Objective(target, Terms(LAYERS, (), 1.0, 0.0, 0.0), 128, 160, areas)

    def sums(by: tuple[int, int]) -> dict[str, np.ndarray]:
        given = optimize.Inputs(), optimize.Extent(core, core), optimize.Exchanged(none, none)
        problem = optimize.TileProblem(backbone, objective, pixels.clone(), *given, lambda step: by)
        return {layer: value.numpy() for layer, value in problem.evaluate(1)[1].sums.items()}

    still, moved = sums((0, 0)), sums(shift)
    for layer in LAYERS:
        np.testing.assert_allclose(moved[layer], still[layer], rtol=1e-9)


def test_a_start_with_the_content_s_detail_stays_within_the_range() -> None:
    """Where the level before is white and the content has an edge, the two together would be brighter than white."""
    size, before = SimpleNamespace(height=8, width=8), SimpleNamespace(height=4, width=4)
    content = np.zeros((3, 8, 8), np.float32)
    content[:, :, 4:] = 1
    store = SimpleNamespace(
        read_image=lambda level, rect: (
            np.full((3, rect.height, rect.width), 0.5, np.float32) + content[:, :4, 2:6] * 0.5
        ),
        read_picture=lambda path, rect: (
            content[:, *rect.slices]
            if path.endswith("content")
            else np.full((3, rect.height, rect.width), 0.4, np.float32)
        ),
    )
    grid = SimpleNamespace(wrap_y=False, wrap_x=False)
    whole = dict(estimates=lambda level: False, touched=None)
    cut = SimpleNamespace(levels=(before, size), grid=lambda level: grid, **whole)
    job = SimpleNamespace(cut=cut, look=SimpleNamespace(keep_detail=True, grey=False))
    here: Any = SimpleNamespace(store=store, job=job, optimised=lambda pixels: pixels, tensor=torch.tensor)
    start = seeding.start(here, 1, Rect(0, 0, 8, 8)).numpy()
    assert start.min() >= 0
    assert start.max() == 1
    np.testing.assert_allclose(start[:, :, 0], 0.1, atol=1e-6)


# A level ----------------------------------------------------------------------------------------------------------


def test_the_loss_of_a_report_is_the_sum_of_its_parts(render_serially: Render, last_report, monkeypatch) -> None:
    """One step from a known start: tv, with that of chroma, is written out, and all three terms weigh."""
    targets: list[StyleTarget] = []
    joined = StyleTarget.joined

    def kept(*arguments: Any) -> StyleTarget:
        targets.append(joined(*arguments))
        return targets[-1]

    monkeypatch.setattr(StyleTarget, "joined", kept)
    weights = dict(tv_weight=0.7, chroma_weight=1.5, light_weight=0.8, style_weight=3.0, content_weight=0.4)
    options = dict(long_edge=60, levels=1, tile=32, **weights)
    start = render_serially(steps=0, **options)
    render_serially(steps=1, mode="exact", **options)
    report = last_report()
    (chroma, light), changes, specks = targets[-1].units[0].roughness, 0.0, 0.0
    for axis in (1, 2):
        steps = np.diff(start, axis=axis)
        mean = steps.mean(0)
        changes += float((steps**2).sum())
        bright = 1 + 3 * mean**2 / light
        specks += 1.5 * float(np.log1p(((steps - mean) ** 2).sum(0) / chroma / bright).sum()) / 2
        specks += 0.8 * float(np.log(bright).sum()) / 2
    assert report["tv"] == pytest.approx((0.7 * changes + specks) / start[0].size, rel=1e-9)
    assert report["content"] > 0
    assert report["style"] == pytest.approx(np.mean(list(report["layers"].values())), rel=1e-12)
    assert report["loss"] == pytest.approx(3.0 * report["style"] + report["content"] + report["tv"], rel=1e-12)
    assert report["tv"] > 1e-3 * report["loss"]


@pytest.mark.parametrize("color", ["content", "luminance", "style"])
def test_an_unfinished_level_is_shown_in_the_content_s_chroma(color: str, render_serially: Render, tmp_path) -> None:
    class StopError(Exception):
        pass

    def stop(*arguments: Any) -> Any:
        raise StopError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Turns, "begin", stop)
        with pytest.raises(StopError):
            render_serially(long_edge=64, levels=1, steps=2, tile=32, color=color, state=STORE)
    store = RenderStore.open(str(tmp_path / "1.zarr"), writable=False)
    view = View.of(store, identity.load_job(store), 0)
    assert view.state == (0, 0)
    shown, content = view.read(Rect(8, 0, 40, 64)), store.read_picture("levels/0/content", Rect(8, 0, 40, 64))
    # Blue and red less luma, as of any video: Rec. 601.
    apart = [one[c] - (0.299 * one[0] + 0.587 * one[1] + 0.114 * one[2]) for one in (shown, content) for c in (0, 2)]
    difference = max(np.abs(apart[0] - apart[2]).max(), np.abs(apart[1] - apart[3]).max())
    assert (difference < 1e-6) == (color != "style")
    assert color == "luminance" or np.abs(shown - content).max() > 0.01


# The store --------------------------------------------------------------------------------------------------------


def test_what_is_said_of_a_job_that_has_just_begun(pictures_dir: Path, small_weights: str, tmp_path: Path) -> None:
    job, config = job_of(pictures_dir, small_weights, long_edge=100, levels=2, steps=(7, 5), tile=32, precision="fp32")
    url = str(tmp_path / "job.zarr")
    RenderStore.create(
        url, {"job": job.to_dict(), "config": identity.travels(config), "seconds": 2.5, "version": __version__}
    )
    found = describe(url)
    assert {key: found[key] for key in ("height", "width", "mode", "precision", "device", "seconds", "version")} == {
        "height": 79, "width": 100, "mode": "fast", "precision": "fp32", "device": "cpu", "seconds": 2.5,
        "version": __version__,
    }  # fmt: skip
    assert found["tile_pitch"] == [32, 32]
    common = {"home": None, "why": None, "state": "not begun", "steps_done": 0}  # where it lives is settled by workers
    assert found["levels"] == [
        {"level": 0, "height": 39, "width": 50, "tiles": 4, "steps": 7, **common},
        {"level": 1, "height": 79, "width": 100, "tiles": 12, "steps": 5, **common},
    ]


def test_the_disk_of_arrays_is_counted_by_hand() -> None:
    plain = layout.Array((2, 3, 60, 80), (1, 1, 60, 80), "float64")
    # Six chunks of 38400 + 4 bytes are 10 blocks each; 2 + 6 + 6 folders; three blocks of its own.
    assert plain.disk_bytes() == (6 * 10 + 2 + 6 + 6 + 3) * 4096
    assert layout.Array((3, 128, 1024), (3, 128, 512), "uint16", 0.5).disk_bytes() == (2 * 49 + 1 + 1 + 3) * 4096
    assert layout.picture(1000, 300).chunks == (3, 128, 300)
    assert layout.picture(60, 3000, 1).chunks == (1, 60, 512)
    state = layout.state(TileGrid(600, 300, 304, 304, 8), {"relu1_1": (64, 64)}, "float32", "bfloat16", 2)
    assert {name: (array.shape, array.chunks, array.dtype) for name, array in state.items()} == {
        "grams/relu1_1": ((2, 2, 2, 64, 64), (1, 1, 1, 64, 64), "float32"),
        "regions": ((2, 2, 2), (1, 1, 2), "uint8"),
        "marks": ((2, 2), (1, 1), "int32"),
        "pixels": ((2, 2, 3, 312, 300), (1, 1, 3, 156, 150), "float32"),
        "moments": ((2, 2, 6, 312, 300), (1, 1, 3, 156, 150), "uint16"),
        "losses": ((2, 2, 2), (1, 1, 2), "float64"),
    }
    assert layout.totals({"relu1_1": (64, 64)}, "float64") == {
        "totals/relu1_1": layout.Array((1, 64, 64), (1, 64, 64), "float64")
    }


def test_places_are_told_by_their_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place.absolute("a/b.zarr") == str(tmp_path / "a/b.zarr")
    assert place.absolute("file:///a/b") == "/a/b"
    assert place.absolute("S3://bucket/a") == "S3://bucket/a"
    for wrong in ("http://a/b", "s3://", "s3:///", "file://a/b", "ftp://x"):
        with pytest.raises(StoreError, match="this address cannot be used; allowed: a folder, or s3://BUCKET/NAME"):
            place.absolute(wrong)
    assert [place.is_remote(one) for one in ("s3://a/b", "/a/b", "a:b")] == [True, False, False]
    assert place.first_line(ValueError("one\ntwo")) == "one"
    assert place.first_line(ValueError()) == "ValueError"
    assert len(place.first_line(ValueError("x" * 999))) == 200


def test_no_checkpoint_is_made_of_what_a_level_starts_from_or_comes_to() -> None:
    """Both are kept in any case; nor where the state lives in the store, nor before it is due."""
    made: list[str] = []

    def slots(home: str, due: bool) -> list[int | None]:
        checkpoints = SimpleNamespace(due=lambda: due, settled=lambda *given: None, slot=1)
        run = SimpleNamespace(
            _home=home, _rounds=[0, 2, 4], _checkpoints=checkpoints, _make_room=lambda: made.append(home), _site=None,
            _workers=[],
        )  # fmt: skip
        return [LevelRun._slot(run, state) for state in range(4)]  # type: ignore[arg-type]

    assert slots(DEVICE, True) == [None, 1, 1, None]
    assert made == [DEVICE, DEVICE]
    assert slots(DEVICE, False) == slots(STORE, True) == [None] * 4


def test_records_are_what_they_say() -> None:
    assert typed({"a": 1, "b": 2.5}, dict[str, float], "x") == {"a": 1.0, "b": 2.5}
    for value, hint in (
        ([1], dict[str, float]), ({"a": "1"}, dict[str, float]), (True, int), (1, bool), (1, str),
        (float("nan"), float),
        (float("inf"), float), (2**63, int), (2**63, float), ("1", int), ([1, 2], tuple[int, int, int]), (None, str),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"^x"):
            typed(value, hint, "x")


# Seams ------------------------------------------------------------------------------------------------------------


def test_two_patches_cross_over_by_numbers_written_out() -> None:
    """A feather of 4: over eight columns the weights of the left go down, those of the right go up, and sum to 1."""
    grid = TileGrid(16, 32, 16, 16, feather=4)
    found = composite(
        grid,
        Rect(0, 0, 16, 32),
        lambda tile, part: torch.full((1, part.height, part.width), float(tile.index)).double(),
    )
    row = found[0, 3].numpy()
    assert row[:12].tolist() == [0] * 12
    assert row[20:].tolist() == [1] * 12
    ramp = row[12:20]
    assert (np.diff(ramp) > 0).all()
    np.testing.assert_allclose(ramp + ramp[::-1], 1, atol=1e-12)
    assert 0 < ramp[0] < 0.1 < ramp[2] < 0.5 < ramp[4] < ramp[5]


def test_enlarging_by_two_by_numbers_written_out() -> None:
    """A line stays the line that it is, away from the edges; a step overshoots on both sides, within the range."""
    line = torch.from_numpy(np.tile(np.linspace(0.1, 0.8, 8), (1, 8, 1)))
    twice = upscale(Rect(0, 0, 16, 16), (16, 16), (8, 8), lambda rect: line[:, *rect.slices])
    np.testing.assert_allclose(twice[0, 8, 4:12], 0.1 + 0.1 * (np.arange(4, 12) - 0.5) / 2, atol=1e-12)
    step = torch.from_numpy(np.tile(np.where(np.arange(8) < 4, 0.3, 0.7), (1, 8, 1)))
    sharp = upscale(Rect(0, 0, 16, 16), (16, 16), (8, 8), lambda rect: step[:, *rect.slices])[0, 8].numpy()
    assert sharp.min() < 0.3 < 0.7 < sharp.max()
    np.testing.assert_allclose(sharp + sharp[::-1], 1, atol=1e-12)


def test_noise_is_the_generator_s_own_numbers() -> None:
    field = noise(Rect(2, 1, 4, 5), 6, 9).numpy()
    rows = [np.random.Generator(np.random.Philox(key=[9, y])).random((6, 3), np.float32) for y in (2, 3)]
    assert field.shape == (3, 2, 4)
    for i, row in enumerate(rows):
        np.testing.assert_allclose(field[:, i], (0.4 + 0.2 * row[1:5]).T, atol=1e-7)

"""A part of a poster as large as it will be there: its bytes do not depend on who computes it or where its state lies,
and a part that is the whole poster is the poster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from serial_pool import Here, StoppedError

from tiler.engine import cut, workplace
from tiler.engine.address import Address
from tiler.engine.blend import upscale
from tiler.engine.seeding import ground
from tiler.engine.store import RenderStore
from tiler.geometry import Rect, TileGrid, parts
from tiler.geometry.tiles import Part
from tiler.output.info import describe
from tiler.output.verify import verify
from tiler.rendering import render
from tiler.request import identity
from tiler.request.config import RenderConfig
from tiler.series import foretelling
from tiler.series import proof as series
from tiler.series.foretelling import Foretold, foretold

# 6 x 7 tiles, of which a part is rendered.
SMALL: dict[str, Any] = dict(
    long_edge=112, levels=2, steps=(1, 2), tile=16, feather=4, halo=8, steps_per_round=1, threads=1, device="cpu",
    precision="fp32", style_layers=("relu1_1", "relu2_1"), content_layers=("relu2_2",),
)  # fmt: skip
# 11 x 14 and 6 x 7 tiles, of both a part.
LARGE: dict[str, Any] = dict(long_edge=219, levels=3, steps=(2, 2, 2))
Proof = Callable[..., np.ndarray]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Spots that stand for the rest."""
    cut._parts.cache_clear()
    monkeypatch.setattr(parts, "SAMPLE", 4)
    yield
    cut._parts.cache_clear()


@pytest.fixture
def proof(small_weights: str, pictures_dir: Path, tmp_path: Path) -> Proof:
    """proof(at, edge, options...) -> the file's pixels; without `at` the poster's. Each has a store of its own, whose
    name is that of `name`."""

    def run(
        at: tuple[float, float] | None,
        edge: int = 16,
        name: str = "x",
        blocks: int = 1,
        tiles: int = 10**9,
        **options: Any,
    ) -> np.ndarray:
        workplace._CURRENT.clear()
        files = dict(content=str(pictures_dir / "content.png"), styles=(str(pictures_dir / "style.png"),))
        output = tmp_path / f"{name}.png"
        config = RenderConfig(**{**files, **SMALL, **options}, output=str(output), weights=small_weights)
        pool: Any = Here()
        pool.addresses, pool._left = [f"worker {number}" for number in range(blocks)], tiles
        render(config, pool=pool) if at is None else series.proof(config, at, edge, pool=pool)
        return np.asarray(Image.open(output))

    return run


def _parts(tmp_path: Path, name: str) -> list[tuple[int, int]]:
    """(tiles that were rendered, tiles there are) of each level."""
    job = identity.load_job(RenderStore.open(str(tmp_path / f"{name}.zarr"), writable=False))
    grids = [job.cut.grid(level) for level in range(len(job.cut.levels))]
    return [(len(grid), grid.places) for grid in grids]


def test_a_part_that_is_the_whole_poster_is_the_poster_byte_for_byte(proof: Proof, tmp_path: Path) -> None:
    poster = proof(None, name="poster")
    whole = proof((0.1, 0.9), edge=1000, name="whole")
    assert whole.shape == (88, 112, 3)
    assert np.array_equal(whole, poster)
    assert _parts(tmp_path, "whole") == _parts(tmp_path, "poster")
    assert foretold(str(tmp_path / "whole.zarr")) == Foretold(1.0, 0.0)


def test_a_part_foretells_the_poster_there_and_nowhere_else(proof: Proof) -> None:
    poster, found = proof(None, name="poster").astype(int), proof((0.4, 0.6)).astype(int)
    assert found.shape == (16, 16, 3)
    y0, x0 = round(0.6 * 88 - 8), round(0.4 * 112 - 8)

    def off(y: int, x: int) -> float:
        return float(np.abs(poster[y : y + 16, x : x + 16] - found).mean())

    elsewhere = [off(y, x) for y in range(0, 73, 8) for x in range(0, 97, 8) if abs(y - y0) + abs(x - x0) > 8]
    assert off(y0, x0) < 4
    assert off(y0, x0) < min(elsewhere) / 3


def test_little_else_is_rendered_and_each_level_begins_with_the_part_of_the_one_before(
    proof: Proof, tmp_path: Path
) -> None:
    proof((0.4, 0.6), **LARGE)
    (all_of_it, first), (some, second), (few, last) = _parts(tmp_path, "x")
    assert (all_of_it, first, second, last) == (4 * 3, 4 * 3, 7 * 6, 14 * 11)
    assert some <= second / 2
    assert few < last / 4
    assert verify(str(tmp_path / "x.zarr")) == []
    said = foretold(str(tmp_path / "x.zarr"))
    assert few / last * 0.8 < said.known < few / last * 1.25
    assert 0 < said.error < 1
    assert [level["tiles"] for level in describe(str(tmp_path / "x.zarr"))["levels"]] == [all_of_it, some, few]


def test_what_a_sample_has_not_seen_it_foretells_badly() -> None:
    """A bright half, of which no tile is rendered: all of its energy is missing."""
    grid = TileGrid(64, 64, 16, 16, 0, 0, part=Part((0, 1), (1.0, 15.0)))
    assert foretelling._error(np.full((3, 32, 32), 0.5, np.float32), grid) < 1e-9
    image = np.full((3, 32, 32), 0.1, np.float32)
    image[:, 16:] = 0.9
    assert foretelling._error(image, grid) > 0.9
    seen = replace(grid, part=Part((0, 8), (8.0, 8.0)))
    assert foretelling._error(image, seen) < 0.1


def test_the_ground_beside_the_tiles_is_the_level_before_enlarged(proof: Proof, tmp_path: Path) -> None:
    """Also farther right than the level is high, and on beyond an edge that wraps."""
    proof((0.9, 0.5), wrap="x")
    url = str(tmp_path / "x.zarr")
    store = RenderStore.open(url, writable=False)
    job = identity.load_job(store)
    here = workplace.Workplace(Address(url, job.id, store.holder()))
    small, size = ((job.cut.levels[k].height, job.cut.levels[k].width) for k in (0, 1))
    before = np.pad(store.read_image(0, Rect(0, 0, *small)), ((0, 0), (0, 0), (4, 4)), "wrap")

    def read(part: Rect) -> torch.Tensor:
        return torch.from_numpy(before[:, part.y0 : part.y1, part.x0 + 4 : part.x1 + 4])

    whole = upscale(Rect(0, 0, *size), size, small, read, (False, True)).numpy()
    beyond = Rect(20, size[0] + 3, 40, size[1] + 12)
    found = ground(here, 1, beyond).numpy()
    np.testing.assert_allclose(
        found, np.pad(whole, ((0, 0), (0, 0), (0, 12)), "wrap")[:, 20:40, beyond.x0 :], atol=1e-6
    )


@pytest.mark.parametrize("options", [{}, {"mode": "exact", "wrap": "xy", "at": (0.0, 1.0)}], ids=str)
def test_neither_blocks_nor_homes_nor_a_stop_show(
    proof: Proof, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = options.pop("at", (0.4, 0.6))
    alone = proof(at, name="alone", **options)
    assert np.array_equal(proof(at, name="stored", state="store", blocks=2, **options), alone)
    with pytest.raises(StoppedError):
        proof(at, name="stopped", tiles=24, checkpoint_seconds=0.0, **options)
    assert np.array_equal(proof(at, name="stopped", blocks=3, **options), alone)


def test_regions_transparency_detail_and_colours_come_in_part_as_well(
    proof: Proof, pictures_dir: Path, tmp_path: Path
) -> None:
    """The files that are read in part hold what the whole ones do: a part's seams and colours are the poster's."""
    left = np.zeros((173, 219), np.uint8)
    left[:, :100] = 255
    Image.fromarray(left).save(tmp_path / "left.png")
    clear = Image.open(pictures_dir / "content.png")
    clear.putalpha(Image.fromarray(np.tile(np.linspace(40, 255, 219).astype(np.uint8), (173, 1))))
    clear.save(tmp_path / "clear.png")
    options: dict[str, Any] = dict(
        content=str(tmp_path / "clear.png"), protect=str(tmp_path / "left.png"), keep_detail=True, color="content",
        region=(f"left={pictures_dir / 'content.png'}",), mask=(f"left={tmp_path / 'left.png'}",),
    )  # fmt: skip
    poster, found = proof(None, name="poster", **options), proof((0.45, 0.6), name="proof", **options)
    assert found.shape == (16, 16, 4)
    y0, x0 = round(0.6 * 88 - 8), round(0.45 * 112 - 8)
    there = poster[y0 : y0 + 16, x0 : x0 + 16].astype(int)
    assert np.array_equal(found[..., 3], there[..., 3])
    assert np.abs(found - there).mean() < 4
    assert np.array_equal(proof((0.45, 0.6), name="two", blocks=2, **options), found)


def test_another_spot_takes_over_the_small_levels(proof: Proof, tmp_path: Path) -> None:
    proof((0.4, 0.6))
    before = RenderStore.open(str(tmp_path / "x.zarr")).level_report(0)
    found = proof((0.8, 0.2))
    assert RenderStore.open(str(tmp_path / "x.zarr")).level_report(0) == before
    assert np.array_equal(found, proof((0.8, 0.2), name="fresh"))

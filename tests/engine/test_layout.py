"""The disk that a plan foresees, against a real store."""

from __future__ import annotations

from pathlib import Path

import pytest
import zarr

from tiler.engine import layout
from tiler.engine.store import RenderStore
from tiler.geometry import TileGrid
from tiler.planning.plan import plan_job
from tiler.request.resolve import resolve_config

BLOCK = 4096


def used_bytes(folder: Path) -> int:
    """In blocks, whatever file system the test runs on."""
    return sum(BLOCK if path.is_dir() else -(-path.stat().st_size // BLOCK) * BLOCK for path in folder.rglob("*"))


@pytest.fixture
def planned_and_taken(render_serially, tmp_path, monkeypatch):
    """planned_and_taken(...): renders; its plan, and the bytes that its store took at most and takes at the end."""
    peaks, plans, finish = [], [], RenderStore.finish_level

    def resolve(*arguments):
        resolved, job = resolve_config(*arguments)
        plans.append(plan_job(resolved, job))
        return resolved, job

    def finish_level(self, level, report, known):
        peaks.append(used_bytes(Path(self.url)))
        finish(self, level, report, known)

    def render(**options):
        monkeypatch.setattr(RenderStore, "finish_level", finish_level)
        monkeypatch.setitem(render_serially.__globals__, "resolve_config", resolve)
        render_serially(precision="fp32", **{"levels": 2, "halo": 32, **options})
        return plans[0], max(peaks), used_bytes(tmp_path / "1.zarr")

    return render


@pytest.mark.parametrize(
    "options",
    [
        dict(long_edge=200, tile=96, steps=4, levels=2),
        dict(long_edge=200, tile=96, steps=(3, 1), mode="exact"),
        dict(long_edge=300, tile=128, steps=(2, 0), init="noise"),
        dict(long_edge=300, tile=128, steps=(2, 1), keep_detail=True),
        dict(long_edge=300, tile=128, steps=(2, 0), keep_detail=True),
    ],
    ids=["fast", "exact", "without steps", "detail", "detail without steps"],
)
def test_disk_is_what_the_plan_says(options, planned_and_taken):
    plan, peak, kept = planned_and_taken(state="store", **options)
    assert plan.store_bytes == pytest.approx(peak, rel=0.2)
    assert plan.kept_bytes == pytest.approx(kept, rel=0.3)


@pytest.mark.parametrize(("checkpoint_seconds", "least", "most"), [(0.0, 0.8, 1.2), (3600.0, 0.0, 0.3)])
def test_a_state_in_memory_takes_the_disk_of_its_checkpoints(checkpoint_seconds, least, most, planned_and_taken):
    """The plan counts two, as a level that takes long has them."""
    how = dict(state="device", checkpoint_seconds=checkpoint_seconds)
    plan, peak, kept = planned_and_taken(long_edge=200, tile=96, steps=(2, 8), **how)
    assert least * plan.store_bytes < peak < most * plan.store_bytes
    assert plan.kept_bytes == pytest.approx(kept, rel=0.3)


def test_image_chunks_never_cross_cores():
    for core in (16, 96, 496, 976, 1024, 4096):
        grid = TileGrid(3 * core - 5, 2 * core, core, core)
        rows, columns = layout.image(grid, "float32").chunks[1:]
        assert core % rows == core % columns == 0
        assert rows == core // 8
    assert layout.image(TileGrid.balanced(501, 333, 1024, 16, 48), "float64").chunks == (3, 64, 333)


@pytest.mark.parametrize(("height", "width"), [(500, 190), (190, 500), (333, 333), (64, 1000)])
@pytest.mark.parametrize("align", [1, 16])
def test_a_level_may_have_the_chunks_of_any_coarser_cut(height, width, align):
    """It keeps those that it was finished with, when tiles are cut smaller for the levels after it."""
    tiles = [tile for tile in (64, 96, 128, 192, 256, 512, 1024) if tile % align == 0]
    cuts = [TileGrid.balanced(height, width, tile, 4, 16, align) for tile in tiles]
    for finer, now in enumerate(cuts):
        allowed = layout.image_chunks(now)
        for cut in cuts[finer:]:
            assert layout.image(cut, "float32").chunks in allowed
        assert all(rows <= height and columns <= width for _, rows, columns in allowed)
        assert max(columns for *_, columns in allowed) == width


def test_an_array_takes_the_blocks_that_its_files_take(tmp_path):
    array = layout.Array((2, 3, 60, 80), (1, 1, 60, 80), "float64")
    made = zarr.create_array(
        str(tmp_path / "group" / "a"), shape=array.shape, chunks=array.chunks, dtype=array.dtype, compressors=None
    )
    made[:] = 1
    assert array.disk_bytes() == used_bytes(tmp_path / "group")
    assert array.disk_bytes(0.5) == pytest.approx(array.disk_bytes() / 2, rel=0.1)

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
def test_disk_is_what_the_plan_says(options, render_serially, tmp_path, monkeypatch):
    peaks, plans, finish = [], [], RenderStore.finish_level

    def resolve(*arguments):
        resolved, job = resolve_config(*arguments)
        plans.append(plan_job(resolved, job))
        return resolved, job

    def finish_level(self, level, report):
        peaks.append(used_bytes(Path(self.url)))
        finish(self, level, report)

    monkeypatch.setattr(RenderStore, "finish_level", finish_level)
    monkeypatch.setitem(render_serially.__globals__, "resolve_config", resolve)
    render_serially(precision="fp32", **{"levels": 2, "halo": 32, **options})
    assert plans[0].store_bytes == pytest.approx(max(peaks), rel=0.2)
    assert plans[0].kept_bytes == pytest.approx(used_bytes(tmp_path / "1.zarr"), rel=0.3)


def test_image_chunks_never_cross_cores():
    for core in (16, 96, 496, 976, 1024, 4096):
        grid = TileGrid(3 * core - 5, 2 * core, core, core)
        rows, columns = layout.image(grid, "float32").chunks[1:]
        assert core % rows == core % columns == 0
        assert rows == core // 8
    assert layout.image(TileGrid.balanced(501, 333, 1024, 16, 48), "float64").chunks == (3, 64, 333)


def test_an_array_takes_the_blocks_that_its_files_take(tmp_path):
    array = layout.Array((2, 3, 60, 80), (1, 1, 60, 80), "float64")
    made = zarr.create_array(
        str(tmp_path / "group" / "a"), shape=array.shape, chunks=array.chunks, dtype=array.dtype, compressors=None
    )
    made[:] = 1
    assert array.disk_bytes() == used_bytes(tmp_path / "group")
    assert array.disk_bytes(0.5) == pytest.approx(array.disk_bytes() / 2, rel=0.1)

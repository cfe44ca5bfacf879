"""Timing a machine by the tasks that a render runs."""

from __future__ import annotations

import pytest

from tiler import pictures
from tiler.engine.store import RenderStore
from tiler.planning.probe import time_tile
from tiler.request.config import RenderConfig
from tiler.request.resolve import resolve_config

# The first style does not count at every layer.
ONE_EACH = dict(style_layer_weights=((1, 1, 0, 0, 0), (0, 0, 1, 1, 1)))


@pytest.mark.parametrize("options", [dict(), dict(mode="exact"), dict(init="content", content_weight=0), ONE_EACH])
def test_a_tile_of_any_job_can_be_timed(options, small_weights, pictures_dir, tmp_path):
    paths = [str(pictures_dir / name) for name in ("content.png", "style.png", "style.png")]
    config = RenderConfig(paths[0], tuple(paths[1:]), "poster.png", weights=small_weights, device="cpu", **options)
    opened = [pictures.open_picture(path) for path in paths]
    _, job = resolve_config(config, opened[0], opened[1:])
    found = time_tile(job.to_dict(), str(tmp_path / "probe.zarr"), 48)
    assert found["pixels"] == 48 * 48
    assert found["step"] > 0
    assert found["measure"] > 0
    assert found["round"] > found["held_round"] > 0, "the store costs more than memory"
    assert RenderStore.exists(str(tmp_path / "probe.zarr"))

"""Timing a machine by the tasks that a render runs."""

from __future__ import annotations

import numpy as np
import pytest

from tiler import pictures
from tiler.engine.store import RenderStore
from tiler.planning.probe import MOST_REGIONS, time_tile
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


@pytest.mark.parametrize("count", [2, 3, MOST_REGIONS + 1])
def test_a_tile_is_timed_with_the_jobs_regions(count, small_weights, pictures_dir, tmp_path):
    """Every pixel is of one of them, and each has a style: with two a step takes a sixth more than with none."""
    style, content = str(pictures_dir / "style.png"), str(pictures_dir / "content.png")
    options = dict(calm=30.0)
    if count > 2:
        names = [f"part {index}" for index in range(count - 1)]
        options = dict(region=[f"{name}={style}" for name in names], mask=[f"{name}={content}" for name in names])
    config = RenderConfig(content, (style,), "poster.png", weights=small_weights, device="cpu", **options)
    styles = [pictures.open_picture(source.picture) for source in config.regions.sources]
    _, job = resolve_config(config, pictures.open_picture(content), styles)
    assert len(job.styles.regions) == count
    time_tile(job.to_dict(), str(tmp_path / "probe.zarr"), 48)
    store, seen = RenderStore.open(str(tmp_path / "probe.zarr"), writable=False), min(count, MOST_REGIONS)
    guides = np.concatenate([*store.picture_bands("levels/0/guides")], 1)
    rows = np.arange(48) * seen // 48
    assert guides.shape == (seen, 48, 48)
    assert (guides == (rows == np.arange(seen)[:, None])[..., None]).all()
    assert sum(store.read_areas("levels/0/guides")["shares"]) == pytest.approx(1)
    assert len(store.attributes["job"]["styles"]["regions"]) == seen

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serial_pool import SerialPool

from tiler import pictures
from tiler.engine.store import RenderStore
from tiler.geometry import Rect
from tiler.levels import Levels
from tiler.request.asked import Sources
from tiler.request.config import RenderConfig
from tiler.request.places import pictures_of
from tiler.request.resolve import resolve_config


@pytest.fixture(scope="session")
def pictures_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """content.png and style.png: smooth random fields of odd sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, (height, width), seed in (("content", (173, 219), 1), ("style", (149, 131), 2)):
        coarse = np.random.default_rng(seed).integers(0, 255, (9, 11, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def last_report(tmp_path: Path) -> Callable[[], dict[str, Any]]:
    """The report of the finest level of the last serial render of a test."""

    def read() -> dict[str, Any]:
        newest = max(tmp_path.glob("*.zarr"), key=lambda path: int(path.stem))
        store = RenderStore.open(str(newest), writable=False)
        report = store.level_report(len(store.attributes["job"]["cut"]["levels"]) - 1)
        assert report is not None
        return report

    return read


@pytest.fixture
def render_serially(small_weights: str, pictures_dir: Path, tmp_path: Path) -> Callable[..., np.ndarray]:
    """Render with the small backbone, without workers, and return the finest level's image [3, H, W]."""
    count = 0

    def run(blocks: int = 1, **options: Any) -> np.ndarray:
        nonlocal count
        count += 1
        defaults = {"weights": small_weights, "precision": "fp64", "threads": 1, "device": "cpu"}
        files = {"content": str(pictures_dir / "content.png"), "styles": (str(pictures_dir / "style.png"),)}
        config = RenderConfig(output=str(tmp_path / f"{count}.png"), **{**files, **defaults, **options})
        opened = {path: pictures.open_picture(path) for path in pictures_of(config)}
        content, *styles = (opened[path] for path in (config.content, *(s.picture for s in config.regions.sources)))
        resolved, job = resolve_config(config, content, styles)
        facts = {"job": job.to_dict(), "config": resolved.to_dict(), "asked": config.to_dict()}
        store = RenderStore.create(str(tmp_path / f"{count}.zarr"), facts)
        homes = (options.get("state", "device"),) * len(job.cut.levels)
        sources = Sources(opened, content, styles)
        Levels(resolved, job, store, SerialPool(blocks), lambda event: None, sources, homes).run()
        size = job.cut.last
        return store.read_image(len(job.cut.levels) - 1, Rect(0, 0, size.height, size.width), job.look.images[-1])

    return run

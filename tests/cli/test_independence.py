"""How many workers ran does not show, and tiles do not show, with the real backbone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_one_and_two_workers_write_the_same_bytes(tiler, inputs: Path, mode: str) -> None:
    options = ("--long-edge", "96", "--steps", "2,3", "--tile", "32", "--min-edge", "48", "--mode", mode)
    for workers in ("1", "2"):
        done = tiler(
            *("render", "content.png", "style.png", "-o", f"{workers}.png", "--quiet", *options),
            *("--workers", workers, "--threads", "1"),
        )
        assert done.returncode == 0, done.stderr
    one, two = (np.asarray(Image.open(inputs / f"{workers}.png")) for workers in "12")
    assert one.std() > 10
    assert np.array_equal(one, two)
    assert (inputs / "1.png").read_bytes() == (inputs / "2.png").read_bytes()


def _psnr(tiler, inputs: Path, edge: str, steps: str, tile: str) -> float:
    options = ("--long-edge", edge, "--levels", "1", "--steps", steps, "--mode", "exact", "--precision", "fp32")
    for name, size in (("whole", edge), ("tiled", tile)):
        done = tiler(
            *("render", "content.png", "style.png", "-o", f"{name}.tif", "--quiet", *options, "--tile", size),
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
    whole, tiled = (np.asarray(Image.open(inputs / f"{name}.tif"), np.float64) / 255 for name in ("whole", "tiled"))
    return float(-10 * np.log10(max(np.mean((whole - tiled) ** 2), 1e-12)))


def test_exact_mode_hides_the_tiles(tiler, inputs: Path) -> None:
    assert _psnr(tiler, inputs, edge="112", steps="4", tile="64") >= 50


@pytest.mark.slow
def test_exact_mode_hides_the_tiles_at_512(tiler, inputs: Path) -> None:
    assert _psnr(tiler, inputs, edge="512", steps="10", tile="256") >= 50

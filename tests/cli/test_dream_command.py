"""`tiler dream` and its flight into the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SMALL = ("--layer", "relu2_2", "--octaves", "2", "--steps", "2", "--long-edge", "64")


def test_dreams_and_zooms(tiler, inputs: Path) -> None:
    done = tiler("dream", "content.png", "-o", "frames", "--zoom", "2", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "ffmpeg" in done.stderr
    assert sorted(path.name for path in (inputs / "frames").iterdir()) == [
        "frame-0000.png",
        "frame-0001.png",
        "zoom.json",
    ]
    first, second = (np.asarray(Image.open(inputs / "frames" / f"frame-000{i}.png")).astype(float) for i in (0, 1))
    assert first.shape == second.shape
    assert np.abs(first - second).mean() > 1
    again = tiler("dream", "content.png", "-o", "frames", "--zoom", "2", *SMALL)
    assert again.returncode == 0, again.stderr
    other = tiler("dream", "content.png", "-o", "frames", "--zoom", "2", *SMALL, "--channel", "3")
    assert other.returncode == 2
    assert "holds the frames of another dream" in other.stderr
    wrong = tiler("dream", "content.png", "-o", "d.png", "--layer", "relu9_9")
    assert wrong.returncode == 2
    assert "unknown layer 'relu9_9'" in wrong.stderr


def test_a_flight_takes_no_overlay(tiler, inputs: Path) -> None:
    """What is drawn on top would become part of the next frame's content."""
    refused = tiler("dream", "content.png", "-o", "frames", "--zoom", "2", "--overlay", "style.png", *SMALL)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert "overlay" in refused.stderr
    assert "--zoom" in refused.stderr
    assert not (inputs / "frames").exists()

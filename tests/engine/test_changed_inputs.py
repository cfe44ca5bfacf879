"""Pictures are read again at every level: one that was edited in between is noticed, not mixed in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from test_damage import Begun

from tiler.errors import RenderError, WeightsError
from tiler.ingest import Ingest

# As a level reads them: what has been read before a render ends is not read again.
ORDER = ("content", "labels", "mask", "part", "protect", "style", "other")


@pytest.fixture
def files(tmp_path: Path, pictures_dir: Path) -> dict[str, str]:
    """A file for each part that a picture can have in a render."""
    for name in ("content", "style", "other"):
        shutil.copy(pictures_dir / ("content.png" if name == "content" else "style.png"), tmp_path / f"{name}.png")
    for name, like in (("mask", "content"), ("labels", "content"), ("protect", "content"), ("part", "style")):
        width, height = Image.open(tmp_path / f"{like}.png").size
        half = np.where(np.arange(width) < 60, 255, 0).astype(np.uint8)
        Image.fromarray(np.tile(half, (height, 1))).save(tmp_path / f"{name}.png")
    return {path.stem: str(path) for path in tmp_path.glob("*.png")}


def test_a_picture_that_changes_during_the_render_ends_it(
    files, tmp_path: Path, small_weights: str, monkeypatch
) -> None:
    monkeypatch.setattr(Ingest, "begin", lambda *_: None)  # else the next level may have been read before the change
    regions = dict(
        region=(f"r={files['other']}",), mask=(f"r={files['mask']}",), style_mask=(f"r={files['part']}",),
        labels=files["labels"], label=("#ffffff=r",),
    )  # fmt: skip
    begun = Begun(tmp_path, tmp_path, small_weights, protect=files["protect"], **regions)
    begun.go(tiles=1, level=0)
    for name in ORDER:
        path = files[name]
        before, data = os.stat(path), Path(path).read_bytes()
        Path(path).write_bytes(data + b"edited")
        with pytest.raises(RenderError, match=rf"{name}\.png: has changed since .*--force-new"):
            begun.go()
        Path(path).write_bytes(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [event["level"] for event in begun.go() if event["event"] == "level done"] == [1]


def test_weights_that_change_during_the_render_end_it(tmp_path: Path, pictures_dir: Path, small_weights: str) -> None:
    """A worker that is started again would compute the rest with others."""
    file = tmp_path / "weights.safetensors"
    shutil.copy(small_weights, file)
    begun = Begun(tmp_path, pictures_dir, str(file))
    begun.go(tiles=1, level=0)
    state = load_file(small_weights)
    state["features.28.bias"] = state["features.28.bias"] + 1e-3
    save_file(state, file)
    with pytest.raises(WeightsError, match=r"weights\.safetensors: holds other numbers than when .*--force-new"):
        begun.go()
    save_file(load_file(small_weights), file)
    assert [event["level"] for event in begun.go() if event["event"] == "level done"] == [0, 1]

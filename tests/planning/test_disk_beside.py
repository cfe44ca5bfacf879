"""What lies on the disk for a while beside a store and a poster, against real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiler import pictures
from tiler.pictures import tiff
from tiler.pictures.write import spare_bytes
from tiler.request.asked import Asked
from tiler.request.config import RenderConfig


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Pictures of every number of channels and type."""
    rng = np.random.default_rng(1)
    for name, shape in (("rgb", (40, 30, 3)), ("rgba", (41, 31, 4)), ("grey", (50, 20))):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    Image.fromarray(rng.integers(0, 2**16, (33, 22), dtype=np.uint16)).save(tmp_path / "deep.png")
    return tmp_path


def test_decoded_pictures_take_what_is_counted(files: Path, small_weights: str) -> None:
    names = {name: str(files / f"{name}.png") for name in ("rgb", "rgba", "grey", "deep")}
    asked = Asked.of(
        RenderConfig(
            content=names["rgba"], styles=(names["rgb"], names["deep"]), output=str(files / "x.png"), long_edge=40,
            overlay=names["grey"], weights=small_weights,
        )
    )  # fmt: skip
    opened = asked.sources.opened
    for picture in opened.values():
        picture.check()
    kept = {file: picture.kept for file, picture in opened.items() if picture.kept}
    assert {*kept} == {names[name] for name in ("rgba", "rgb", "deep")}, "an overlay is read at the end only"
    real = sum(len(one._decoded.values) for one in kept.values() if one._decoded)
    assert asked.sources.kept_bytes == real == 41 * 31 * 4 + 40 * 30 * 3 + 33 * 22 * 2


@pytest.mark.parametrize(("height", "width"), [(100, 200), (600, 900), (1025, 513)])
@pytest.mark.parametrize(("bits", "channels"), [(8, 3), (16, 4)])
def test_a_tiff_s_coarser_pages_wait_in_what_is_counted(
    height: int, width: int, bits: int, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: list[int] = []

    class Seen(tiff._Coarser):
        def __exit__(self, *what: Any) -> None:
            real.append(self._file.seek(0, 2))
            super().__exit__(*what)

    monkeypatch.setattr(tiff, "_Coarser", Seen)
    path = tmp_path / "x.tif"
    pictures.write_picture(path, height, width, [np.full((channels, height, width), 0.5, np.float32)], bits=bits)
    assert spare_bytes(path, height, width, channels, bits) == sum(real)
    assert (sum(real) > 0) == (max(height, width) > 256)
    assert spare_bytes(tmp_path / "x.png", height, width, channels, bits) == 0
    copied = spare_bytes(path, height, width, channels, bits, cog=True)
    assert copied > pictures.outputs.typical_bytes(path, height, width, channels, bits)

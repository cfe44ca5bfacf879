"""Files whose names are bytes of another encoding are files like any other."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiler.errors import PictureError
from tiler.pictures import open_picture

PIXELS = np.random.default_rng(4).integers(0, 256, (18, 25, 3), dtype=np.uint8)
NAME = os.fsdecode(b"Carte g\xe9n\xe9rale")


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "webp", "gif", "bmp", "ppm", "avif"])
def test_a_name_in_latin_1_is_read(tmp_path: Path, kind: str) -> None:
    plain, other = tmp_path / f"plain.{kind}", tmp_path / NAME / f"{NAME}.{kind}"
    other.parent.mkdir()
    Image.fromarray(PIXELS).save(plain)
    other.write_bytes(plain.read_bytes())
    one, two = (open_picture(path) for path in (plain, other))
    assert (two.height, two.width) == (18, 25)
    for expected, found in zip(one.bands(18, 25, 7), two.bands(18, 25, 7), strict=True):
        assert np.array_equal(expected, found)


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "webp", "gif"])
def test_a_damaged_file_of_such_a_name_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"{NAME}.{kind}"
    Image.fromarray(np.tile(PIXELS, (9, 9, 1))).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    known = "damaged TIFF" if kind == "tif" else f"damaged or unsupported {dict(jpg='jpeg').get(kind, kind).upper()}"
    with pytest.raises(PictureError, match=known):
        open_picture(path).check()

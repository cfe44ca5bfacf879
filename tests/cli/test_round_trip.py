"""Inputs of every kind through `tiler render` without steps: an upright poster in the right colours.

The start of a render is the content in the style's colours. Where both are one file, its colours stay.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from tiler.cli import main

# Quarters in known colours, one with a ramp: any turn, flip or mix-up of channels shows.
HEIGHT, WIDTH = 48, 64
COLOURS = {"red": (200, 30, 40), "green": (20, 160, 60), "blue": (40, 60, 220)}


def picture() -> np.ndarray:
    """[48, 64, 3] uint8."""
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:24, :32], pixels[:24, 32:], pixels[24:, :32] = COLOURS.values()
    pixels[24:, 32:] = np.linspace(0, 255, 32).astype(np.uint8)[None, :, None]
    return pixels


@pytest.fixture
def poster(cluster: str, tmp_path: Path, monkeypatch) -> Callable[..., Path]:
    """poster(content file, options...) -> the poster's path; the style is the same file."""

    def run(name: str, *options: str, output: str = "poster.png", style: str | None = None) -> Path:
        monkeypatch.chdir(tmp_path)
        size = () if "--size" in options else ("--scale", "1x")
        fixed = ("--levels", "1", "--steps", "0", "--quiet", "--scheduler", cluster)
        monkeypatch.setattr("sys.argv", ["tiler", "render", name, style or name, "-o", output, *size, *fixed, *options])
        main()
        return tmp_path / output

    return run


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def close(found: np.ndarray, expected: np.ndarray, levels: float = 1) -> bool:
    return found.shape == expected.shape and bool(np.abs(found.astype(float) - expected).max() <= levels)


def test_16_bits_stay_16_bits(poster, tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, HEIGHT * WIDTH * 3).reshape(HEIGHT, WIDTH, 3).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", ramp, photometric="rgb")
    found = tifffile.imread(poster("a.tif", "--bits", "16", "--compression", "none", output="poster.tif"))
    assert found.dtype == np.uint16
    assert close(found, ramp, levels=3)


@pytest.mark.parametrize("deep", [False, True])
def test_grey(poster, tmp_path: Path, deep: bool) -> None:
    grey = np.linspace(0, 65535, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    Image.fromarray(grey.astype(np.uint16) if deep else (grey / 257).astype(np.uint8)).save(tmp_path / "a.png")
    found = read(poster("a.png"))
    assert close(found, np.repeat(grey[..., None] / 257, 3, 2), levels=2)
    assert np.ptp(found.astype(int), axis=2).max() <= 1


def test_palette(poster, tmp_path: Path) -> None:
    Image.fromarray(picture()).quantize(64).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(image.convert("RGB"))
    assert close(read(poster("a.png")), expected)


def test_alpha(poster, tmp_path: Path) -> None:
    alpha = np.broadcast_to(np.linspace(0, 255, WIDTH).astype(np.uint8)[None, :, None], (HEIGHT, WIDTH, 1))
    before = np.concatenate([picture(), alpha], 2)
    Image.fromarray(before).save(tmp_path / "a.png")
    weight = before[..., 3:] / 255
    on_white = before[..., :3] * weight + 255 * (1 - weight)
    # As a style only what is opaque would count, and so its colours would be others.
    Image.fromarray(np.rint(on_white).astype(np.uint8)).save(tmp_path / "white.png")
    found = read(poster("a.png", style="white.png"))
    assert np.array_equal(found[..., 3], before[..., 3])
    seen = before[..., 3] > 25
    assert close(found[seen], before[seen], levels=2)
    on_paper = read(poster("a.png", "--jpeg-quality", "100", output="poster.jpg", style="white.png"))
    assert np.abs(on_paper - on_white).mean() < 3


def test_grey_with_alpha(poster, tmp_path: Path) -> None:
    before = np.zeros((HEIGHT, WIDTH, 2), np.uint8)
    before[..., 0], before[8:40, 8:56, 1] = 90, 255
    Image.fromarray(before, "LA").save(tmp_path / "a.png")
    found = read(poster("a.png"))
    assert np.array_equal(found[..., 3], before[..., 1])
    assert close(found[8:40, 8:56, :3], np.full((32, 48, 3), 90))


FLIPS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,  # stored turned to the left, to be shown turned to the right
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", FLIPS)
def test_rotated_by_exif(poster, tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(picture()).transpose(FLIPS[orientation]).save(tmp_path / "a.png", exif=exif)
    path = poster("a.png")
    assert close(read(path), picture())
    with Image.open(path) as image:
        assert image.getexif().get(274, 1) == 1


def rotated_primaries() -> bytes:
    """sRGB with its primaries renamed: what the file calls red is green, green is blue, and blue is red."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    names = {b"rXYZ": b"gXYZ", b"gXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}
    for at in range(132, 132 + 12 * struct.unpack(">I", data[128:132])[0], 12):
        data[at : at + 4] = names.get(bytes(data[at : at + 4]), data[at : at + 4])
    return bytes(data)


def test_icc_profile(poster, tmp_path: Path) -> None:
    Image.fromarray(picture()[..., [2, 0, 1]]).save(tmp_path / "a.png", icc_profile=rotated_primaries())
    path = poster("a.png")
    with Image.open(path) as image:
        assert close(np.asarray(image), picture(), levels=3)
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    assert "srgb" in ImageCms.getProfileDescription(profile).lower()


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk(poster, tmp_path: Path, suffix: str) -> None:
    inks = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    inks[:24, :32], inks[:24, 32:], inks[24:, :32] = (0, 255, 255, 0), (0, 0, 0, 0), (255, 255, 0, 0)
    inks[24:, 32:] = 255
    Image.fromarray(inks, "CMYK").save(tmp_path / f"a.{suffix}", **({"quality": 100} if suffix == "jpg" else {}))
    found = read(poster(f"a.{suffix}")).astype(int)
    red, white, blue, black = (found[y, x] for y, x in ((12, 16), (12, 48), (36, 16), (36, 48)))
    assert red[0] > 200
    assert red[1:].max() < 70
    assert white.min() > 245
    assert blue[2] > 100
    assert blue[:2].max() < 80
    assert black.max() < 30


def test_a_crop_shows_the_middle(poster, tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    middle = picture()[:, 12:52]
    Image.fromarray(middle).save(tmp_path / "middle.png")
    assert close(read(poster("a.png", "--size", "40x48", style="middle.png")), middle)

"""What a file says of its colours: obeyed where it is a profile, said where it is not used, and numbers that no colour
has are refused whatever profile they come with."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from tiler.errors import PictureError
from tiler.pictures import mask_bands, open_picture, read_picture
from tiler.pictures.stream import load_vips

HEIGHT, WIDTH = 20, 28
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH]
RGB = np.stack([X * 9, Y * 12, X * 3 + Y * 5], -1).astype(np.uint8)
FLOATS = (RGB / 255).astype(np.float32)
SRGB_PRIMARIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
P3_PRIMARIES = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)


def profile(name: str) -> bytes:
    return bytes(load_vips().Operation.call("profile_load", name))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(path: Path, *chunks: bytes, **options: Any) -> Path:
    held = io.BytesIO()
    Image.fromarray(RGB).save(held, "PNG", **options)
    path.write_bytes(held.getvalue()[:33] + b"".join(chunks) + held.getvalue()[33:])
    return path


def said(path: Path) -> list[str]:
    """The notes, without the file's name."""
    np.testing.assert_allclose(read_picture(path), FLOATS.transpose(2, 0, 1), atol=0.02)
    return [note.removeprefix(f"{path}: ") for note in open_picture(path).notes]


def adobe(index: str, space: int = 65535) -> Image.Exif:
    """Of a camera: how it says that its colours are Adobe RGB."""
    exif = Image.Exif()
    exif[0x8769] = {0xA001: space, 0xA005: {1: index}}
    return exif


GAMMA, PRIMARIES = chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"cHRM", struct.pack(">8I", *P3_PRIMARIES))
TAKEN = "which is not used: its values are taken as sRGB"


@pytest.mark.parametrize(
    ("chunks", "notes"),
    [
        ([], []),
        ([chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"cHRM", struct.pack(">8I", *SRGB_PRIMARIES))], []),
        ([GAMMA], [f"says by gAMA that its gamma is 1, {TAKEN}"]),
        ([chunk(b"gAMA", bytes(4))], []),
        ([chunk(b"gAMA", struct.pack(">I", 44000))], []),
        ([chunk(b"gAMA", struct.pack(">I", 50000))], [f"says by gAMA that its gamma is 2, {TAKEN}"]),
        ([chunk(b"cHRM", struct.pack(">8I", *(side + 500 for side in SRGB_PRIMARIES)))], []),
        ([chunk(b"cHRM", struct.pack(">8I", *(side + 1500 for side in SRGB_PRIMARIES)))],
         [f"says by cHRM that it is of other primaries than sRGB, {TAKEN}"]),
        ([chunk(b"gAMA", struct.pack(">I", 55556))], [f"says by gAMA that its gamma is 1.8, {TAKEN}"]),
        ([PRIMARIES], [f"says by cHRM that it is of other primaries than sRGB, {TAKEN}"]),
        ([chunk(b"sRGB", b"\0"), GAMMA, PRIMARIES], []),
        ([chunk(b"cICP", bytes((1, 13, 0, 1))), GAMMA], []),
        ([chunk(b"cICP", bytes((12, 13, 0, 1)))],
         [f"says by cICP that it is of other colours (12 and 13 of H.273), {TAKEN}"]),
        ([chunk(b"cICP", bytes((1, 16, 0, 1)))],
         [f"says by cICP that it is of other colours (1 and 16 of H.273), {TAKEN}"]),
    ],
)  # fmt: skip
def test_a_png_says_it_in_chunks(chunks: list[bytes], notes: list[str], tmp_path: Path) -> None:
    assert said(png(tmp_path / "a.png", *chunks)) == notes


def test_of_a_profile_nothing_is_to_be_said(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    wide = chunk(b"cICP", bytes((12, 13, 0, 1)))
    assert said(png(tmp_path / "a.png", GAMMA, PRIMARIES, icc_profile=srgb)) == []
    assert said(png(tmp_path / "a.png", wide, icc_profile=srgb)) == []
    Image.fromarray(RGB).save(tmp_path / "a.jpg", quality=100, subsampling=0, exif=adobe("R03"), icc_profile=srgb)
    assert said(tmp_path / "a.jpg") == []
    Image.fromarray(RGB).save(tmp_path / "a.avif", quality=100, subsampling="4:4:4", icc_profile=srgb)
    data = (tmp_path / "a.avif").read_bytes()
    if (at := data.find(b"colrnclx") + 8) >= 8:
        (tmp_path / "a.avif").write_bytes(data[:at] + struct.pack(">HH", 12, 13) + data[at + 4 :])
    assert said(tmp_path / "a.avif") == []


def test_of_what_moves_one_picture_is_read_and_it_is_said(tmp_path: Path) -> None:
    turned = [Image.fromarray(RGB).rotate(180)]
    Image.fromarray(RGB).save(tmp_path / "a.png", save_all=True, append_images=turned)
    assert said(tmp_path / "a.png") == ["is an animation; its still picture is read"]
    Image.fromarray(RGB).save(
        tmp_path / "a.avif", save_all=True, append_images=turned, quality=100, subsampling="4:4:4"
    )
    assert said(tmp_path / "a.avif") == ["is a sequence of pictures; the first is read"]


def test_an_avif_says_it_by_numbers(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.avif", quality=100, subsampling="4:4:4")
    data = (tmp_path / "a.avif").read_bytes()
    at = data.index(b"colrnclx") + 8
    alike, others = ((1, 13), (2, 2), (1, 6), (2, 1)), ((12, 13), (1, 16))
    for numbers in (*alike, *others):
        (tmp_path / "b.avif").write_bytes(data[:at] + struct.pack(">HH", *numbers) + data[at + 4 :])
        note = f"says that it is of other colours ({numbers[0]} and {numbers[1]} of H.273), {TAKEN}"
        assert said(tmp_path / "b.avif") == ([note] if numbers in others else [])


def test_a_bmps_profile(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.bmp")
    plain = (tmp_path / "a.bmp").read_bytes()
    pixels = plain[int.from_bytes(plain[10:14], "little") :]
    for kind, notes in ((b"BGRs", []), (b"DEBM", [f"has a colour profile, which, of a BMP, {TAKEN[6:]}"])):
        header = struct.pack("<I", 124) + plain[18:54] + bytes(16) + kind + bytes(64)
        whole = plain[:2] + struct.pack("<IHHI", 14 + len(header) + len(pixels), 0, 0, 14 + len(header))
        (tmp_path / "b.bmp").write_bytes(whole + header + pixels)
        assert said(tmp_path / "b.bmp") == notes


def test_a_cameras_adobe_rgb(tmp_path: Path) -> None:
    for name, notes in (
        ("R98", []),
        ("R03", [f"says by EXIF that it is Adobe RGB, which without a profile is {TAKEN[9:]}"]),
    ):
        Image.fromarray(RGB).save(tmp_path / "a.jpg", quality=100, subsampling=0, exif=adobe(name))
        assert said(tmp_path / "a.jpg") == notes
    Image.fromarray(RGB).save(tmp_path / "a.jpg", quality=100, subsampling=0, exif=adobe("R03", space=1))
    assert said(tmp_path / "a.jpg") == []


@pytest.mark.parametrize(("name", "mode"), [("junk", "RGB"), ("cmyk", "RGB"), ("srgb", "L")])
@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_a_profile_that_cannot_be_used_is_said(name: str, mode: str, suffix: str, tmp_path: Path) -> None:
    path, made = tmp_path / f"a{suffix}", b"x" * 300 if name == "junk" else profile(name)
    Image.fromarray(RGB).convert(mode).save(path, icc_profile=made)
    assert open_picture(path).notes == (
        f"{path}: its colour profile is damaged, or for other channels than it has, and not used; its values are taken "
        "as sRGB",
    )


# Numbers --------------------------------------------------------------------------------------------------------------


def written(path: Path, values: np.ndarray, **options: Any) -> Path:
    tifffile.imwrite(path, values, metadata=None, **{"photometric": "rgb", **options})
    return path


def test_floats_with_a_profile_are_colours_as_others_are(tmp_path: Path) -> None:
    wide = dict(iccprofile=profile("p3"))
    found = read_picture(written(tmp_path / "a.tif", FLOATS, **wide))
    whole = read_picture(written(tmp_path / "b.tif", np.rint(FLOATS * 65535).astype(np.uint16), **wide))
    np.testing.assert_allclose(found, whole, atol=1e-4)
    grey = dict(photometric="minisblack", iccprofile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert np.abs(read_picture(written(tmp_path / "c.tif", FLOATS[..., 0], **grey))[0] - FLOATS[..., 0]).max() < 1e-4


def test_of_16_bits_a_profile_is_as_exact_as_of_8(tmp_path: Path) -> None:
    """Of 8 bits LittleCMS computes each colour; the table that it takes for 16 is off by 0.05 in some."""
    colours = np.random.default_rng(3).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    narrow, wide, floats = (
        read_picture(written(tmp_path / "a.tif", values, iccprofile=profile("p3")))
        for values in (colours, colours.astype(np.uint16) * 257, (colours / 255).astype(np.float32))
    )
    assert np.abs(wide - narrow).max() < 0.006
    assert np.abs(floats - narrow).max() < 0.006


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_and_refused_where_they_are_none(compression: str | None, tmp_path: Path) -> None:
    wide: dict[str, Any] = dict(iccprofile=profile("p3"), compression=compression)
    hole = FLOATS.copy()
    hole[3, 4, 1] = np.nan
    inks = np.asarray(Image.fromarray(RGB).convert("CMYK")).astype(np.float32)
    cases = [
        (RGB.astype(np.float32), wide, "holds float values from 0 to 243"),
        (-FLOATS, wide, "holds float values from -0.95"),
        (hole, wide, "holds NaN or infinite values"),
        (inks / 2.55, dict(photometric="separated", compression=compression), "holds float values from"),
    ]
    for values, options, words in cases:
        picture = open_picture(written(tmp_path / "a.tif", values, **options))
        with pytest.raises(PictureError, match=words):
            picture.check()
        with pytest.raises(PictureError, match=words):
            read_picture(tmp_path / "a.tif")
    np.testing.assert_allclose(
        read_picture(written(tmp_path / "b.tif", inks / 255, photometric="separated")),
        read_picture(written(tmp_path / "c.tif", inks.astype(np.uint8), photometric="separated")), atol=2e-4,
    )  # fmt: skip


def test_what_is_cut_off_is_said(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", FLOATS * 1.4 - 0.1)
    assert open_picture(path).check() == [f"{path}: holds values from -0.1 to 1.234; what is beyond 0..1 is cut off"]
    assert read_picture(path).max() == 1
    assert open_picture(written(tmp_path / "a.tif", FLOATS * 1.05)).check() == []


@pytest.mark.parametrize("compression", [None, "zlib", "zstd"])
def test_white_is_zero_of_floats_too(compression: str | None, tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", FLOATS[..., 0], photometric="miniswhite", compression=compression)
    np.testing.assert_allclose(read_picture(path)[0], 1 - FLOATS[..., 0], atol=1e-6)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd"])
def test_ycbcr_is_not_shown_as_rgb(compression: str | None, tmp_path: Path) -> None:
    values = np.asarray(Image.fromarray(RGB).convert("YCbCr"))
    path = written(tmp_path / "a.tif", values, photometric="ycbcr", subsampling=(1, 1), compression=compression)
    with pytest.raises(PictureError, match=r"TIFF of YCbCr in .*; RGB, or YCbCr in JPEG, is allowed"):
        open_picture(path)


@pytest.mark.parametrize("most", [1.4, 300.0])
def test_what_alpha_is_divided_out_of_is_looked_at_as_well(most: float, tmp_path: Path) -> None:
    values = np.concatenate([FLOATS * most, np.ones((HEIGHT, WIDTH, 1), np.float32)], -1)
    picture = open_picture(written(tmp_path / "a.tif", values, extrasamples=["assocalpha"]))
    if most < 2:
        assert "what is beyond 0..1 is cut off" in picture.check()[0]
    else:
        with pytest.raises(PictureError, match="holds float values from 0 to 28"):
            picture.check()
    spread = picture.stretched(0, 100).spread
    assert spread is not None
    assert spread.high == pytest.approx(FLOATS.max() * most)


def test_a_glow_at_an_edge_is_no_other_number(tmp_path: Path) -> None:
    values = np.concatenate([FLOATS, np.ones((HEIGHT, WIDTH, 1), np.float32)], -1)
    values[5:9, :, 3] = 0.01
    picture = open_picture(written(tmp_path / "a.tif", values, extrasamples=["assocalpha"]))
    assert picture.check() == []
    found = np.concatenate(list(picture.bands(HEIGHT, WIDTH, 9, "rgba")), 1)
    np.testing.assert_allclose(found[:3, 6], np.minimum(FLOATS[6] / 0.01, 1).T, atol=1e-5)


def test_numbers_that_are_too_large_for_what_is_read(tmp_path: Path) -> None:
    values = FLOATS[..., 0].astype(np.float64)
    values[2, 3] = -1.79e308
    seen = open_picture(written(tmp_path / "a.tif", values, photometric="minisblack")).stretched(0, 100)
    assert np.argwhere(np.concatenate(list(seen.bands(HEIGHT, WIDTH, 5, "alpha")), 1)[0] == 0).tolist() == [[2, 3]]


def test_white_of_ten_bits_is_white(tmp_path: Path) -> None:
    import imagecodecs

    values = np.rint(FLOATS * 1023).astype(np.uint16)
    values[0] = 1023
    data = imagecodecs.avif_encode(values, level=100, pixelformat="444", bitspersample=10)
    (tmp_path / "a.avif").write_bytes(data)
    found = read_picture(tmp_path / "a.avif")
    assert found[:, 0].min() == 1
    np.testing.assert_allclose(found, values.transpose(2, 0, 1) / 1023, atol=0.005)


@pytest.mark.parametrize("most", [256, 1023, 65535])
def test_a_ppm_of_16_bits(most: int, tmp_path: Path) -> None:
    values = np.rint(FLOATS * most).astype(">u2")
    head = b"P6\n# who made it\n%d %d\n%d\n" % (WIDTH, HEIGHT, most)
    (tmp_path / "a.ppm").write_bytes(head + values.tobytes())
    assert open_picture(tmp_path / "a.ppm").bits == 16
    np.testing.assert_allclose(read_picture(tmp_path / "a.ppm"), values.transpose(2, 0, 1) / most, atol=1e-5)
    (tmp_path / "a.ppm").write_bytes(head + values.tobytes()[:-2])
    with pytest.raises(PictureError, match="damaged, unsupported or too large"):
        open_picture(tmp_path / "a.ppm")


def test_a_mask_of_numbers_that_are_no_colours(tmp_path: Path) -> None:
    hole = FLOATS[..., 0].copy()
    hole[0, 0] = np.nan
    for values, words in ((hole, "NaN"), (hole * 0 + 99, "NaN"), (RGB[..., 0].astype(np.float32), "float values"),
                          (RGB[..., 0].astype(np.int16), "signed integer values")):  # fmt: skip
        picture = open_picture(written(tmp_path / "a.tif", values, photometric="minisblack"))
        with pytest.raises(PictureError, match=words):
            list(mask_bands(picture, HEIGHT, WIDTH, 8))


def test_what_is_turned_lies_nowhere(tmp_path: Path) -> None:
    lies = [(33550, 12, 3, (10.0, 10.0, 0.0)), (33922, 12, 6, (0.0, 0.0, 0.0, 500.0, 900.0, 0.0))]
    for turned in (1, 6):
        path = written(tmp_path / "a.tif", RGB, extratags=[*lies, (274, 3, 1, turned)])
        picture, note = open_picture(path), "is turned by its EXIF, so where it lies on the map is not used"
        assert (picture.georef is None, f"{path}: {note}" in picture.notes) == ((turned == 6,) * 2)


def test_an_address_is_no_file() -> None:
    with pytest.raises(
        PictureError, match=r"^https://example\.com/a\.png: is an address; pictures are read from files"
    ):
        open_picture("https://example.com/a.png")

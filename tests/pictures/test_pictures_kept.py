"""A picture that is kept is decoded once, and read to the same bytes and the same errors as one that is not."""

import io
import logging
import os
import pickle
import shutil
import threading
from collections import namedtuple

import numpy as np
import pytest
import tifffile
from PIL import Image
from test_pictures_numbers import grey_profile

from tiler.errors import PictureChangedError, PictureError
from tiler.pictures import kept, label_bands, mask_bands, open_picture, picture
from tiler.pictures.stream import GivenUpError, reading_until

RNG = np.random.default_rng(7)
RGB8 = RNG.integers(0, 256, (37, 53, 3), dtype=np.uint8)
RGBA8 = np.dstack([RGB8, RNG.integers(0, 256, (37, 53), dtype=np.uint8)])
RGB16 = RNG.integers(0, 65536, (37, 53, 3), dtype=np.uint16)
FLOATS = (RGB16 / np.float32(65535)).astype(np.float32)


def _turned(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return {"exif": exif}


def _tiff(pixels, **options):
    return lambda path: tifffile.imwrite(path, pixels, **{"photometric": "rgb", **options})


def _image(pixels, mode=None, **options):
    image = Image.fromarray(pixels) if mode is None else Image.fromarray(pixels).convert(mode)
    return lambda path: image.save(path, **options)


FILES = {
    "rgb.png": _image(RGB8),
    "rgba.png": _image(RGBA8),
    "grey16.png": _image(RGB16[..., 0]),
    "palette.png": _image(RGB8, "P"),
    "cmyk.jpg": _image(RGB8, "CMYK"),
    "turned2.jpg": _image(RGB8, **_turned(2)),
    "turned6.jpg": _image(RGB8, **_turned(6)),
    "rgba.webp": _image(RGBA8, lossless=True),
    "a.avif": _image(RGB8),
    "a.gif": _image(RGB8, "P"),
    "a.bmp": _image(RGB8),
    "profile.png": _image(RGB8[..., 0], icc_profile=grey_profile([256])),
    "uint32.tif": _tiff(RGB16.astype(np.uint32) * 65537),
    "float.tif": _tiff(FLOATS),
    "turned.tif": _tiff(RGB16, compression="zstd", extratags=[(274, "H", 1, 6, True)]),
    "planes.tif": _tiff(RGBA8, compression="lzma", extrasamples=["unassalpha"]),
}


def pixels(bands):
    return np.concatenate(list(bands), 1)


def views(one):
    """What a render makes of a picture, and more."""
    yield from (pixels(one.bands(one.height, one.width, 10, channels)) for channels in ("rgb", "rgba", "grey", "alpha"))
    yield pixels(one.bands(20, 17, 7, "rgba"))
    yield pixels(one.cropped((3, 5, 20, 30)).bands(40, 50, 16))
    yield pixels(mask_bands(one, 12, 20, 5))
    yield pixels(label_bands(one, [(0, 0, 0), (255, 255, 255)], 12, 20, 5))
    yield pixels(one.stretched(10, 90).bands(30, 30, 9))


@pytest.fixture
def decoded(monkeypatch):
    """How often each file was opened to be decoded."""
    counts, opener = {}, picture.opener

    def counted(path, *rest):
        counts[path.name] = counts.get(path.name, 0) + 1
        return opener(path, *rest)

    monkeypatch.setattr(picture, "opener", counted)
    return counts


@pytest.mark.parametrize("name", FILES)
def test_the_same_pixels_from_one_decoding(tmp_path, name, decoded):
    FILES[name](tmp_path / name)
    expected = list(views(open_picture(tmp_path / name)))
    decoded.clear()
    found = open_picture(tmp_path / name).kept_in(tmp_path)
    assert decoded == {}
    for one, other in zip(views(found), expected, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
    assert decoded == {name: 1}
    assert [path.name for path in tmp_path.iterdir()] == [name]
    found.kept.drop()
    np.testing.assert_array_equal(next(views(found)), expected[0], strict=True)
    assert decoded == {name: 2}


def test_readers_at_the_same_time_wait_for_the_one_decoding(tmp_path, decoded):
    FILES["rgb.png"](tmp_path / "a.png")
    found, seen = open_picture(tmp_path / "a.png").kept_in(tmp_path), []
    readers = [threading.Thread(target=lambda: seen.append(pixels(found.bands(20, 20, 9)))) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(seen) == 4
    assert all((one == seen[0]).all() for one in seen)
    assert decoded == {"a.png": 1}


LARGE = np.repeat(np.repeat(RGB8, 8, 0), 8, 1)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_damage_is_told_every_time_in_the_same_words(tmp_path, name):
    path = tmp_path / name
    (_tiff(LARGE, compression="zstd", rowsperstrip=8) if name == "a.tif" else _image(LARGE))(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    with pytest.raises(PictureError) as expected:
        pixels(open_picture(path).bands(20, 20, 9))
    found = open_picture(path).kept_in(tmp_path)
    for _ in range(2):
        with pytest.raises(PictureError) as told:
            pixels(found.bands(20, 20, 9))
        assert str(told.value) == str(expected.value)


def test_what_a_reader_warns_of_is_not_kept(tmp_path, monkeypatch):
    FILES["rgb.png"](tmp_path / "a.png")
    found = open_picture(tmp_path / "a.png").kept_in(tmp_path)
    monkeypatch.setattr(picture, "is_harmless", lambda warning: False)
    monkeypatch.setattr(kept, "bands_of", warning(kept.bands_of))
    for _ in range(2):
        with pytest.raises(PictureError, match=r"damaged PNG \(made up\)"):
            pixels(found.bands(20, 20, 9))


def warning(bands_of):
    """The last band comes with a warning of the reader's."""

    def warned(*arguments):
        yield from bands_of(*arguments)
        logging.getLogger("pyvips").warning("made up")

    return warned


def test_a_picture_that_changes_is_noticed_though_it_is_kept(tmp_path):
    FILES["rgb.png"](tmp_path / "a.png")
    found = open_picture(tmp_path / "a.png").kept_in(tmp_path)
    pixels(found.bands(20, 20, 9))
    FILES["grey16.png"](tmp_path / "a.png")
    with pytest.raises(PictureChangedError, match="has changed since it was opened"):
        pixels(found.bands(20, 20, 9))


def test_a_picture_that_changes_while_it_is_decoded_is_not_kept(tmp_path, monkeypatch):
    FILES["rgb.png"](tmp_path / "a.png")
    shutil.copy2(tmp_path / "a.png", tmp_path / "before.png")
    found = open_picture(tmp_path / "a.png").kept_in(tmp_path)
    bands_of = kept.bands_of

    def meanwhile(*arguments):
        yield from bands_of(*arguments)
        os.replace(tmp_path / "before.png", tmp_path / "a.png")

    monkeypatch.setattr(kept, "bands_of", meanwhile)
    with pytest.raises(PictureChangedError):
        pixels(found.bands(20, 20, 9))
    assert found.kept._decoded is None


@pytest.mark.parametrize("trouble", ["no folder", "full", "full at the end"])
def test_without_room_it_is_decoded_each_time(tmp_path, monkeypatch, decoded, trouble):
    FILES["float.tif"](tmp_path / "a.tif")
    expected = pixels(open_picture(tmp_path / "a.tif").bands(20, 20, 9))
    (tmp_path / "room").mkdir()
    found = open_picture(tmp_path / "a.tif").kept_in(tmp_path / "room")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    if trouble == "no folder":
        (tmp_path / "room").rmdir()
    elif trouble == "full":
        monkeypatch.setattr(kept.tempfile, "TemporaryFile", lambda **_: io.FileIO("/dev/full", "r+"))
    else:
        monkeypatch.setattr(kept.mmap, "mmap", full)
    decoded.clear()
    for _ in range(2):
        np.testing.assert_array_equal(pixels(found.bands(20, 20, 9)), expected, strict=True)
    assert decoded["a.tif"] >= 2


def test_little_room_is_left_alone_and_said(tmp_path, monkeypatch):
    FILES["rgb.png"](tmp_path / "a.png")
    usage = namedtuple("usage", "free")
    for free, note in ((4 * RGB8.size, 0), (4 * RGB8.size - 1, 1)):
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, free=free: usage(free))
        found = open_picture(tmp_path / "a.png").kept_in(tmp_path)
        assert (found.kept is None, len(found.notes)) == (bool(note), note)
    assert found.notes[0].startswith(f"{tmp_path}/a.png: is decoded anew for every level, since its pixels take")


@pytest.mark.parametrize(
    ("array", "bytes_each"),
    [(RGB8, 3), (RGB8[..., 0], 1), (np.dstack([RGB8, RGB8[..., :1]]), 4), (RGB8.astype(np.uint16) * 257, 6),
     (RGB8.astype(np.float32) / 255, 12), (RGB8[..., 0] > 99, 1)],
)  # fmt: skip
def test_the_room_that_pixels_take(tmp_path, monkeypatch, array, bytes_each):
    alpha = dict(extrasamples=["unassalpha"]) if array.shape[2:] == (4,) else {}
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack" if array.ndim == 2 else "rgb", **alpha)
    asked = []
    monkeypatch.setattr(picture, "keep", lambda path, need, folder: asked.append(need) or (None, ()))
    open_picture(tmp_path / "a.tif").cropped((1, 1, 3, 4)).kept_in(tmp_path)
    assert asked == [array.shape[0] * array.shape[1] * bytes_each]


def test_who_gives_up_waits_for_nothing(tmp_path):
    FILES["rgb.png"](tmp_path / "a.png")
    found, left = open_picture(tmp_path / "a.png").kept_in(tmp_path), []
    with reading_until(lambda: bool(left)):
        bands = found.bands(37, 53, 8)
        next(bands)
        left.append(True)
        with pytest.raises(GivenUpError):
            list(bands)
    pixels(found.bands(20, 20, 9))
    with reading_until(lambda: True), pytest.raises(GivenUpError):
        pixels(open_picture(tmp_path / "a.png").kept_in(tmp_path).bands(20, 20, 9))


def test_it_travels_without_its_pixels(tmp_path):
    FILES["rgb.png"](tmp_path / "a.png")
    found = open_picture(tmp_path / "a.png").kept_in(tmp_path)
    expected = pixels(found.bands(20, 20, 9))
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    np.testing.assert_array_equal(pixels(again.bands(20, 20, 9)), expected)


def test_what_is_decoded_another_way_is_kept_as_well(tmp_path, decoded):
    heights = np.linspace(0, 900, 300, dtype=np.float32).reshape(15, 20)
    heights[3, 4] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", heights, photometric="minisblack")
    seen = open_picture(tmp_path / "a.tif").kept_in(tmp_path).stretched(2, 98)
    decoded.clear()
    for _ in range(3):
        assert pixels(seen.bands(15, 20, 4, "alpha"))[0, 3, 4] == 0
    assert decoded == {"a.tif": 1}

"""Kinds of a few bytes of head and bare pixels, by numbers that are known: PBM, PGM and PPM, in text and in bytes."""

from __future__ import annotations

import numpy as np
import pytest

from tiler.errors import PictureError
from tiler.pictures import open_picture, read_picture

GREYS = np.arange(45, dtype=np.uint16).reshape(9, 5) * 5
COLOURS = np.arange(135, dtype=np.uint16).reshape(9, 5, 3)
SPACES = ["P%d 5 9 %s", "P%d\n5\n9\n%s", "P%d\t5\r\n9 %s", "P%d\r5\r9\r%s", "P%d\n# of a film\n5 # wide\n9\n%s"]


def _written(number: int, head: str, values: np.ndarray, most: int) -> bytes:
    """number: of its magic. values: 1 is black in a bitmap."""
    start = (head % (number, "" if number in (1, 4) else f"{most}\n")).encode()
    if number <= 3:
        return start + b" ".join(b"%d" % one for one in values.reshape(-1))
    if number == 4:
        return start + np.packbits(values.astype(np.uint8), axis=1).tobytes()
    return start + values.astype(">u2" if most > 255 else "u1").tobytes()


@pytest.mark.parametrize("head", SPACES)
@pytest.mark.parametrize("number", range(1, 7))
def test_every_portable_map(tmp_path, number: int, head: str) -> None:
    """A portrait of 9 x 5."""
    values = {1: GREYS // 5 % 2, 2: GREYS, 3: COLOURS}[(number - 1) % 3 + 1]
    (tmp_path / "a").write_bytes(_written(number, head, values, 255))
    picture = open_picture(tmp_path / "a")
    assert (picture.kind, picture.height, picture.width, picture.bits) == ("ppm", 9, 5, 8)
    assert (picture.channels, picture.has_alpha, picture.notes) == (3 if number in (3, 6) else 1, False, ())
    shown = 255 * (1 - values) if number in (1, 4) else values
    expected = shown.transpose(2, 0, 1) if shown.ndim == 3 else np.broadcast_to(shown, (3, 9, 5))
    np.testing.assert_allclose(read_picture(tmp_path / "a") * 255, expected, atol=1e-4)


@pytest.mark.parametrize("number", [2, 5])
@pytest.mark.parametrize("most", [1000, 65535])
def test_grey_of_many_levels(tmp_path, number: int, most: int) -> None:
    values = np.linspace(0, most, 45).round().astype(np.uint16).reshape(9, 5)
    (tmp_path / "a.pgm").write_bytes(_written(number, "P%d 5 9 %s", values, most))
    picture = open_picture(tmp_path / "a.pgm")
    assert (picture.channels, picture.bits) == (1, 16)
    np.testing.assert_allclose(read_picture(tmp_path / "a.pgm", channels="grey")[0], values / most, atol=1e-5)


@pytest.mark.parametrize("head", [b"P0 5 9 ", b"P7\nWIDTH 5\nHEIGHT 9\n", b"P 5 9 ", b"P55 9 255\n", b"P5\v5 9 255\n"])
def test_no_portable_map(tmp_path, head: bytes) -> None:
    (tmp_path / "a.pgm").write_bytes(head + bytes(45))
    with pytest.raises(PictureError, match="is not a picture of a known kind"):
        open_picture(tmp_path / "a.pgm")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_map_in_text_has_64_bytes_a_pixel_beyond_its_first_16_kilobytes(tmp_path, number: int) -> None:
    start = b"P%d 3 2 %s" % (number, b"" if number == 1 else b"255\n") + b"1 " * (18 if number == 3 else 6)
    for more, fine in ((0, True), (1, False)):
        (tmp_path / "a").write_bytes(start.ljust(2**14 + 64 * 3 * 2 + more))
        if fine:
            assert open_picture(tmp_path / "a").width == 3
            continue
        with pytest.raises(PictureError, match="more text than its 3 x 2 pixels need"):
            open_picture(tmp_path / "a")


def test_a_maps_size_stands_in_its_first_16_kilobytes(tmp_path) -> None:
    for more, fine in ((0, True), (1, False)):
        head = b"P5\n#".ljust(2**14 - len("\n3 2 ") + more, b"-") + b"\n3 2 255\n"
        (tmp_path / "a").write_bytes(head + bytes([9] * 6))
        if fine:
            np.testing.assert_allclose(read_picture(tmp_path / "a") * 255, 9, atol=1e-4)
            continue
        with pytest.raises(PictureError, match="no size within its first 16384 bytes"):
            open_picture(tmp_path / "a")

"""What lies before a JPEG's pixels, byte by byte."""

from __future__ import annotations

import pytest

from tiler.errors import PictureError
from tiler.pictures.jpeg import stray_bytes, without_strays

START, SCAN, END = b"\xff\xd8", b"\xff\xda\0\4ab", b"\xff\xd9"
TEXT = b"\xff\xfe\0\5abc"
BARE = b"\xff\xd0\xff\x01"


@pytest.mark.parametrize(
    ("data", "strays"),
    [
        (START + TEXT + TEXT + SCAN, 0),
        (START + SCAN + bytes(70_000), 0),
        (START + END + bytes(70_000), 0),
        (START + TEXT + END + b"a film", 0),
        (START + BARE + TEXT + BARE + SCAN + b"x", 0),
        (START + b"\xff" * 7 + TEXT[1:] + SCAN, 0),
        (START + b"12345" + TEXT + SCAN, 5),
        (START + TEXT + b"12\xff\0" + TEXT + b"\0" + SCAN + b"123", 5),
        (START + TEXT + b"12\xff\xff\0" + SCAN, 5),
        (START + b"\0" * 65_000 + SCAN, 65_000),
        (START + TEXT + b"no marker follows", 0),
        (START + TEXT + b"\xff\xfe\0", 0),
        (START + b"\xff\xfe\0\0" + SCAN, 0),
    ],
)
def test_stray_bytes_are_counted_and_left_out(tmp_path, data: bytes, strays: int) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    assert stray_bytes(path) == strays
    clean = without_strays(path)
    assert (clean is None) == (strays == 0)
    if clean is not None:
        assert len(clean) == len(data) - strays
        path.write_bytes(clean)
        assert stray_bytes(path) == 0


def test_what_no_jpeg_needs_is_refused(tmp_path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(START + TEXT * 4999 + SCAN)
    assert stray_bytes(path) == 0
    path.write_bytes(START + TEXT * 5000 + SCAN)
    with pytest.raises(PictureError, match="5000 segments"):
        stray_bytes(path)
    path.write_bytes(START + TEXT + bytes(70_000) + SCAN)
    with pytest.raises(PictureError, match="from byte 9 on"):
        stray_bytes(path)


@pytest.mark.parametrize("marker", [0x01, *range(0xD0, 0xD8)])
def test_what_follows_a_marker_without_a_length_is_no_part_of_it(tmp_path, marker: int) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(START + bytes((0xFF, marker)) + bytes(2) + TEXT + SCAN)
    assert stray_bytes(path) == 2


@pytest.mark.parametrize("marker", [0x02, 0xCF])
def test_other_markers_have_one(tmp_path, marker: int) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(START + bytes((0xFF, marker)) + bytes(2) + TEXT + SCAN)
    assert stray_bytes(path) == 0

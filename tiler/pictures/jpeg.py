"""A JPEG's segments before its pixels. libjpeg would look through any number of bytes for the next one, and libvips
takes those between segments, of which no pixel is made, for damage."""

from __future__ import annotations

from pathlib import Path

from tiler.errors import PictureError

# Of stray bytes, and of segments: cameras and editors write some dozens, and 255 for a large profile.
_MOST_STRAY, _MOST_SEGMENTS = 2**16, 5000
# A file with stray bytes is read whole, without them.
_MOST_BYTES = 2**30
_SCAN, _END = 0xDA, 0xD9
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # without a length


def stray_bytes(path: Path) -> int:
    """How many bytes lie between the segments. PictureError for more of either than is read."""
    return sum(after - before for before, after in _gaps(path))


def without_strays(path: Path) -> bytes | None:
    """The file without them; None where it has none, and can be read as it is."""
    gaps = _gaps(path)
    if not gaps or path.stat().st_size > _MOST_BYTES:
        return None
    data = path.read_bytes()
    starts, ends = [0, *(after for _, after in gaps)], [*(before for before, _ in gaps), len(data)]
    return b"".join(data[start:end] for start, end in zip(starts, ends, strict=True))


def _gaps(path: Path) -> list[tuple[int, int]]:
    """(from, to) of stray bytes; what else is wrong with the segments libjpeg says."""
    at = 2
    found: list[tuple[int, int]] = []
    with open(path, "rb") as file:
        for _ in range(_MOST_SEGMENTS):
            file.seek(at)
            head = file.read(4)
            if len(head) < 4:
                return found
            if head[0] != 0xFF:
                file.seek(at)
                ahead = file.read(_MOST_STRAY)
                length = _next_marker(ahead)
                if length is None and len(ahead) == _MOST_STRAY:
                    raise PictureError(f"{path}: damaged JPEG (nothing but stray bytes from byte {at} on)")
                if length is None:
                    return found
                found.append((at, at + length))
                at += length
            elif head[1] == 0xFF:  # may be repeated
                file.seek(at)
                fill = file.read(_MOST_STRAY)
                at += max(1, len(fill) - len(fill.lstrip(b"\xff")) - 1)
            elif head[1] in (_SCAN, _END):
                return found
            else:
                at += 2 if head[1] in _BARE else 2 + max(2, int.from_bytes(head[2:4], "big"))
    raise PictureError(f"{path}: holds more than {_MOST_SEGMENTS} segments before its pixels, which no JPEG needs")


def _next_marker(data: bytes) -> int | None:
    at = data.find(b"\xff")
    while 0 <= at < len(data) - 1:
        if data[at + 1] not in (0, 0xFF):
            return at
        at = data.find(b"\xff", at + 1)
    return None

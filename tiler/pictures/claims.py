"""What a file says of its colours, or of itself, that is not used: ICC profiles are obeyed, and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What stands before the pixels, or beside them, is looked at no farther than this.
_HEAD_BYTES, _CHUNKS = 2**21, 1000
_SRGB_GAMMA, _SRGB_PRIMARIES = 45455, (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)  # of 100000
_GAMMA_APART, _PRIMARIES_APART = 2300, 1000
# Of ITU-T H.273: BT.709's or none, and curves that are shown as sRGB's.
_LIKE_SRGB = ({1, 2}, {1, 2, 6, 13})
_PROFILED_BMP = (b"DEBM", b"KNIL")
_TAKEN = "not used: its values are taken as sRGB"


def unused(path: Path, kind: str, image: Any) -> list[str]:
    """Notes. image: of libvips, from the file's header."""
    profiled = bool(image.get_typeof("icc-profile-data"))
    look = {"png": _png, "heif": _heif, "bmp": _bmp}.get(kind)
    if kind == "jpeg":
        return [] if profiled else list(_jpeg(image))
    if look is None:
        return []
    with open(path, "rb") as file:
        return list(look(file.read(_HEAD_BYTES), profiled))


def _png(head: bytes, profiled: bool) -> Iterator[str]:
    chunks = dict(_chunks(head))
    if b"acTL" in chunks:
        yield "is an animation; its still picture is read"
    if profiled:
        return
    if len(chunks.get(b"cICP", b"")) == 4:  # goes before all others
        if not _is_like_srgb(*chunks[b"cICP"][:2]):
            of = " and ".join(map(str, chunks[b"cICP"][:2]))
            yield f"says by cICP that it is of other colours ({of} of H.273), which is {_TAKEN}"
    elif b"sRGB" not in chunks:
        gamma, primaries = chunks.get(b"gAMA", b""), chunks.get(b"cHRM", b"")
        found = int.from_bytes(gamma, "big") if len(gamma) == 4 else _SRGB_GAMMA
        if found and abs(found - _SRGB_GAMMA) > _GAMMA_APART:
            yield f"says by gAMA that its gamma is {1e5 / found:.2g}, which is {_TAKEN}"
        sides = struct.unpack(">8I", primaries) if len(primaries) == 32 else _SRGB_PRIMARIES
        if any(abs(one - other) > _PRIMARIES_APART for one, other in zip(sides, _SRGB_PRIMARIES, strict=True)):
            yield f"says by cHRM that it is of other primaries than sRGB, which is {_TAKEN}"


def _chunks(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Before the pixels."""
    at = 8
    for _ in range(_CHUNKS):
        size, name = int.from_bytes(head[at : at + 4], "big"), head[at + 4 : at + 8]
        if name in (b"IDAT", b""):
            return
        yield name, head[at + 8 : at + 8 + min(size, 64)]
        at += 12 + size


def _heif(head: bytes, profiled: bool) -> Iterator[str]:
    if head[8:12] == b"avis":
        yield "is a sequence of pictures; the first is read"
    at = head.find(b"colrnclx")
    if not profiled and at >= 0 and len(head) >= at + 12:
        primaries, curve = struct.unpack(">HH", head[at + 8 : at + 12])
        if not _is_like_srgb(primaries, curve):
            yield f"says that it is of other colours ({primaries} and {curve} of H.273), which is {_TAKEN}"


def _is_like_srgb(primaries: int, curve: int) -> bool:
    return primaries in _LIKE_SRGB[0] and curve in _LIKE_SRGB[1]


def _bmp(head: bytes, profiled: bool) -> Iterator[str]:
    if int.from_bytes(head[14:18], "little") >= 108 and head[70:74] in _PROFILED_BMP:
        yield f"has a colour profile, which, of a BMP, is {_TAKEN}"


def _jpeg(image: Any) -> Iterator[str]:
    """A camera's Adobe RGB, which only its EXIF tells of."""
    said = [
        str(image.get(name)) if image.get_typeof(name) else ""
        for name in ("exif-ifd2-ColorSpace", "exif-ifd4-InteroperabilityIndex")
    ]
    if said[0].startswith("65535") and said[1].startswith("R03"):
        yield f"says by EXIF that it is Adobe RGB, which without a profile is {_TAKEN}"

"""SVG: drawn by librsvg at whatever size is asked for, a part at a time.

A drawing is looked through before librsvg sees it, and what it sees are the very bytes that were looked through.
Nothing is fetched, nothing in it runs, and what would be missing in the picture by that is a reason to refuse it."""

from __future__ import annotations

import base64
import io
import os
import re
import zlib
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any
from xml.parsers import expat

from tiler.errors import PictureError
from tiler.pictures.stream import load_vips

_MOST_BYTES, _MOST_ELEMENTS, _DEEPEST = 2**28, 2_000_000, 256
# Of all pictures inside a drawing, which librsvg decodes whole.
_MOST_PIXELS = 2**27
_BYTES_AT_ONCE = 2**20
_EMBEDDED = re.compile(r"\s*data:image/(png|jpe?g|gif|webp)(?:;[\w=-]+)*;base64,", re.I)
_ADDRESS = re.compile(r"url\(\s*(?P<quote>['\"]?)(?P<to>[^'\")]*)", re.I)
_LOOK_EDGE = 256


@dataclass(frozen=True)
class Drawing:
    """data: the document. notes: what the user should know of how it is drawn."""

    data: bytes
    notes: tuple[str, ...]

    def image(self, scale: float) -> Any:
        """The libvips image of it, RGBA of 8 bits, `scale` times as large as it says. Raises what libvips does."""
        _let_in()
        return load_vips().Image.svgload_buffer(self.data, scale=scale, unlimited=True, fail_on="warning")

    @cached_property
    def is_opaque(self) -> bool:
        """Whether it covers all that a small picture of it shows."""
        whole = self.image(1.0)
        alpha = self.image(min(1.0, _LOOK_EDGE / max(whole.width, whole.height))).extract_band(3)
        # Where its size is no whole number of pixels, it is drawn in their middle: up to half a one is left at a rim.
        inner = alpha.crop(1, 1, alpha.width - 2, alpha.height - 2) if min(alpha.width, alpha.height) > 2 else alpha
        return bool(inner.min() == 255 and alpha.min() >= 127)


@cache
def _let_in() -> None:
    """Of the loaders that libvips does not call safe, this one, which gets what was looked through."""
    pyvips = load_vips()
    pyvips.operation_block_set("VipsForeignLoadSvgBuffer", False)


def is_svg(head: bytes) -> bool:
    """Whether a file that begins so is one; head: some hundred bytes at least."""
    if head[:2] == b"\x1f\x8b":
        try:
            head = zlib.decompressobj(31).decompress(head, 4096)
        except zlib.error:
            return False
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return head.startswith((b"<svg", b"<?xml", b"<!--", b"<!DOCTYPE svg")) and bool(
        re.search(rb"<(\w+:)?svg[\s>]", head)
    )


def read_svg(path: Path) -> Drawing:
    """Raises PictureError, in one line, for what is damaged, too large, or needs what is not in the file."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise PictureError(f"{path}: cannot be opened ({error.strerror})") from None
    return _read(path, (found.st_mtime_ns, found.st_size, found.st_ino))


@lru_cache(2)
def _read(path: Path, stamp: tuple[int, ...]) -> Drawing:
    data = _unpacked(path)
    look = _Look(path)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler = look.begin, look.end
    parser.CharacterDataHandler, parser.ProcessingInstructionHandler = look.text, look.instruction
    parser.EntityDeclHandler = look.entity
    parser.buffer_text = True
    try:
        for at in range(0, len(data), _BYTES_AT_ONCE):
            parser.Parse(data[at : at + _BYTES_AT_ONCE], at + _BYTES_AT_ONCE >= len(data))
    except expat.ExpatError as error:
        raise PictureError(f"{path}: damaged SVG ({error})") from None
    return Drawing(data, look.notes)


def _unpacked(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise PictureError(f"{path}: cannot be opened ({error.strerror})") from None
    if data[:2] == b"\x1f\x8b":
        try:
            data = zlib.decompressobj(31).decompress(data, _MOST_BYTES + 1)
        except zlib.error as error:
            raise PictureError(f"{path}: damaged SVG ({error})") from None
    if len(data) > _MOST_BYTES:
        raise PictureError(f"{path}: an SVG of more than {_MOST_BYTES // 2**20} MB; as a TIFF it may be larger")
    return data


class _Look:
    """Goes through a document's parts. Raises PictureError at the first that is not allowed."""

    def __init__(self, path: Path) -> None:
        self._path, self._elements, self._depth, self._pixels = path, 0, 0, 0
        self._style: list[str] | None = None
        self._seen: set[str] = set()

    @property
    def notes(self) -> tuple[str, ...]:
        words = {
            "text": "its text is drawn in fonts of this machine",
            "font-face": "its own fonts are not used: text is drawn in fonts of this machine",
            "foreignObject": "HTML inside it is not drawn",
        }
        return tuple(text for name, text in words.items() if name in self._seen)

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        self._elements, self._depth = self._elements + 1, self._depth + 1
        if self._elements > _MOST_ELEMENTS or self._depth > _DEEPEST:
            raise self._refused(f"more than {_MOST_ELEMENTS} elements, or {_DEEPEST} inside each other")
        local = name.rpartition(" ")[2]
        if local in ("text", "foreignObject"):
            self._seen.add(local)
        if local == "script":
            raise self._refused("a script; only what is drawn without one is a picture here")
        if local == "style":
            self._style = []
        for key, value in attributes.items():
            self._attribute(local, key.rpartition(" ")[2], value)

    def _attribute(self, element: str, name: str, value: str) -> None:
        if name[:2] == "on" and name[2:].isalpha():
            raise self._refused(f"a script ({name}); only what is drawn without one is a picture here")
        if name == "href" and element not in ("a", "metadata"):
            self._reference(value)
        elif "(" in value:
            self._css(value)

    def _reference(self, to: str) -> None:
        to = to.strip()
        if to.startswith("#") or not to:
            return
        if not _EMBEDDED.match(to):
            raise self._refused(f"a reference to {to[:60]!r}; pictures must be inside it, as PNG, JPEG, GIF or WebP")
        self._picture(to[to.index(",") + 1 :])

    def _picture(self, data: str) -> None:
        from PIL import Image

        try:
            with Image.open(io.BytesIO(base64.b64decode(data)), formats=["PNG", "JPEG", "GIF", "WEBP"]) as picture:
                self._pixels += picture.width * picture.height
        except Exception as error:  # Pillow's are of many types
            raise self._refused(f"a damaged picture ({type(error).__name__})") from None
        if self._pixels > _MOST_PIXELS:
            raise self._refused(f"pictures of more than {_MOST_PIXELS // 10**6} million pixels")

    def _css(self, text: str) -> None:
        for found in _ADDRESS.finditer(text):
            to = found["to"].strip()
            if not (to.startswith("#") or to.lower().startswith("data:") or not to):
                raise self._refused(f"a reference to {to[:60]!r}; all must be inside it")

    def end(self, name: str) -> None:
        self._depth -= 1
        if self._style is not None and name.rpartition(" ")[2] == "style":
            text, self._style = "".join(self._style), None
            if "@import" in text.lower():
                raise self._refused("a reference (@import); all must be inside it")
            if "@font-face" in text.lower():
                self._seen.add("font-face")
            self._css(text)

    def text(self, data: str) -> None:
        if self._style is not None:
            self._style.append(data)

    def instruction(self, target: str, data: str) -> None:
        if target == "xml-stylesheet":
            raise self._refused("a reference (xml-stylesheet); all must be inside it")

    def entity(self, *about: Any) -> None:
        raise self._refused(f"an entity of its own, {str(about[0])[:40]!r}; none are allowed")

    def _refused(self, what: str) -> PictureError:
        return PictureError(f"{self._path}: an SVG that holds {what}")

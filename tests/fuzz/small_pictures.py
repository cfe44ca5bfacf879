"""Small drawings, PDFs and map tiles that are read, to be changed."""

from __future__ import annotations

import contextlib
import io
import sqlite3
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

_NOISE = np.random.default_rng(31).integers(0, 256, (16, 16, 3), dtype=np.uint8)
_NAMES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
GOOD_SVG = (
    f'<?xml version="1.0"?><svg {_NAMES} width="20" height="10" viewBox="0 0 20 10"><style>.a{{fill:url(#g)}}</style>'
    '<defs><linearGradient id="g"><stop stop-color="#0ac81e"/></linearGradient><filter id="f"><feGaussianBlur '
    'stdDeviation="1"/></filter><symbol id="s"><path d="M1,1 H9 V9 C2,2 3,3 1,9 Z"/></symbol></defs><g transform='
    '"rotate(9)" filter="url(#f)"><rect class="a" width="9" height="9"/><use xlink:href="#s" x="5"/></g>'
    '<image width="4" height="4" xlink:href="data:image/png;base64,'
    'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNg+M8AAAICAQB7CYF4AAAAAElFTkSuQmCC"/></svg>'
).encode()
GOOD_FACTS = b'{"scheme": "tms", "maxzoom": 4, "height": 20, "width": 30, "transform": [1, 0, 2, 0, -1, 3]}'
SIDE, ZOOM = 16, 4


def tile(form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(_NOISE).save(file, form)
    return file.getvalue()


def good_pdf() -> bytes:
    """A page of a path, a picture and a shade, its streams as they are, so that changes reach what they say."""
    drawn = b"q 0.2 0.5 0.9 rg 2 2 m 30 4 l 20 28 20 28 8 20 c f Q q 12 0 0 12 4 4 cm /I Do Q /S sh"
    pixels = _NOISE.tobytes()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 36 30]/Rotate 90/Contents 4 0 R/Resources<</XObject<</I 5 0 R>>"
        b"/Shading<</S 6 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(drawn), drawn),
        b"<</Type/XObject/Subtype/Image/Width 16/Height 16/ColorSpace/DeviceRGB/BitsPerComponent 8/Length %d>>stream\n"
        b"%s\nendstream" % (len(pixels), pixels),
        b"<</ShadingType 2/ColorSpace/DeviceRGB/Coords[0 0 9 9]/Function<</FunctionType 2/Domain[0 1]/C0[1 0 0]"
        b"/C1[0 0 1]/N 1>>>>",
    ]
    whole, places = bytearray(b"%PDF-1.5\n"), []
    for number, one in enumerate(objects, 1):
        places.append(len(whole))
        whole += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n"
    return bytes(whole) + end % (len(places) + 1, table, len(places) + 1, len(whole))


def good_mbtiles() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mbtiles"
        with contextlib.closing(sqlite3.connect(path)) as file:
            file.executescript(
                "PRAGMA page_size=512; CREATE TABLE metadata (name TEXT, value TEXT); CREATE TABLE shared (id INT, "
                "tile BLOB); CREATE TABLE map (zoom_level INT, tile_column INT, tile_row INT, id INT); CREATE VIEW "
                "tiles AS SELECT zoom_level, tile_column, tile_row, tile AS tile_data FROM map JOIN shared USING (id); "
                "INSERT INTO metadata VALUES ('format', 'png'); "
                "INSERT INTO map VALUES (4, 5, 6, 0), (4, 6, 6, 1), (4, 5, 7, 0);"
            )
            file.executemany("INSERT INTO shared VALUES (?, ?)", enumerate([tile(), tile("JPEG")]))
            file.commit()
        return path.read_bytes()


SMALL = {"svg": GOOD_SVG, "pdf": good_pdf(), "mbtiles": good_mbtiles()}


def changed(good: bytes, changes: list[tuple[int, int]], cut: int | None = None) -> bytes:
    data = bytearray(good)
    for at, value in changes:
        data[at % len(data)] = value
    return bytes(data[:cut])


def write_folder(path: Path, tiles: list[bytes], facts: bytes) -> Path:
    """Map tiles {z}/{x}/{y}.png of these bytes, and what their tiles.json says."""
    for column, data in enumerate(tiles):
        place = path / str(ZOOM) / str(column) / "6.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    (path / "tiles.json").write_bytes(facts)
    return path

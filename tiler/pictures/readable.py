"""Which of the formats that not every machine's readers know are read here: each is tried on a few pixels."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path

from tiler.errors import PictureError
from tiler.pictures.read import open_picture

_PDF = (
    "%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    "3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 8 8]>>endobj\ntrailer<</Root 1 0 R/Size 4>>\n%%EOF\n"
)
_SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><rect width="4" height="4"/></svg>'
# Sixteen pixels a side, by libvips, libheif and libjxl.
_AVIF = (
    "AAAAHGZ0eXBhdmlmAAAAAG1pZjFhdmlmbWlhZgAAANZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9j"
    "AAAAAERAAAEAAQAAAAAA+gABAAAAAAAAACAAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABhdjAxAAAAAA5waXRtAAAAAAABAAAAVmlw"
    "cnAAAAA4aXBjbwAAAAxhdjFDgQAMAAAAABRpc3BlAAAAAAAAABAAAAAQAAAAEHBpeGkAAAAAAwgICAAAABZpcG1hAAAAAAAAAAEAAQOBAgMA"
    "AAAobWRhdBIACgkYDP/aICGg0IAyERlHh4YhgABoAAB1hk3a5lKf"
)
_HEIC = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9j"
    "AAAAAERAAAEAAQAAAAABoAABAAAAAAAAADMAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/Glw"
    "cnAAAADcaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AA"
    "AAMAkAAAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABA"
    "AAAAQAAAAChjbGFwAAAAEAAAAAEAAAAQAAAAAf///9AAAAAC////0AAAAAIAAAAQcGl4aQAAAAADCAgIAAAAGGlwbWEAAAAAAAAAAQABBYEC"
    "AwWEAAAAO21kYXQAAAAvKAGvEyFkY0D4EPdn/tUl/6iuj/sjsenOyEdAwNIggJtASJNdUAsWEICHdqVW3Pg="
)
_JXL = "/wpDQCQIBAEAHABLGIsVggMA"
_SAMPLES = {
    "AVIF": ("a.avif", base64.b64decode(_AVIF)),
    "HEIC": ("a.heic", base64.b64decode(_HEIC)),
    "JPEG XL": ("a.jxl", base64.b64decode(_JXL)),
    "SVG": ("a.svg", _SVG.encode()),
    "PDF": ("a.pdf", _PDF.encode()),
}


def readable() -> dict[str, str]:
    """Of each such format, why it is not read; empty where it is."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="tiler-") as folder:
        for name, (file, data) in _SAMPLES.items():
            path = Path(folder) / file
            path.write_bytes(data)
            try:
                open_picture(path).check()
                found[name] = ""
            except PictureError as error:
                found[name] = str(error).partition(": ")[2]
    return found

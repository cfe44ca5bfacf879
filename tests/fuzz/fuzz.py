"""Coverage-guided fuzzing of whatever reads files of others: `python tests/fuzz/fuzz.py TARGET SECONDS`, TARGET
one of job, picture, tiff, svg, pdf, mbtiles, folder.

Anything but an answer or a TilerError is a finding: a traceback, 20 s for one input, 3 GiB of memory.
libFuzzer's own options may follow (a folder of inputs to start from, -seed=N).
"""

from __future__ import annotations

import contextlib
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tiler", "tomllib", "PIL"]):
    from tiler.errors import TilerError
    from tiler.pictures import open_picture, read_picture
    from tiler.request.config import RenderConfig
    from tiler.request.jobfile import read_job_file

from small_pictures import GOOD_FACTS, SMALL, changed, tile, write_folder
from small_tiffs import GOOD_TIFFS

MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0", b"RIFF\0\0\0\0WEBPVP8L", b"GIF89a", b"BM", b"P6\n", b"")
FILE = Path(tempfile.mkdtemp(prefix="tiler-fuzz-")) / "input"


def job(data: bytes) -> None:
    """A job file's bytes, then what they say."""
    FILE.write_bytes(data)
    RenderConfig.from_dict({"content": "a", "styles": ["b"], "output": "c", **read_job_file(FILE)}, "job")


def picture(data: bytes) -> None:
    """A picture's bytes under one of the kinds' beginnings."""
    FILE.write_bytes(MAGIC[data[0] % len(MAGIC)] + data[1:] if data else b"")
    read_picture(FILE, 16, 16)


def tiff(data: bytes) -> None:
    """A small TIFF of the second reader, with bytes changed: pairs of place and value."""
    FILE.write_bytes(changed(GOOD_TIFFS[data[0] % len(GOOD_TIFFS)] if data else b"", _changes(data[1:])))
    read_picture(FILE, 16, 16, "rgba")


def _changes(data: bytes) -> list[tuple[int, int]]:
    return [(int.from_bytes(data[i : i + 2], "big"), data[i + 2]) for i in range(0, len(data) - 2, 3)]


def _small(kind: str) -> Callable[[bytes], None]:
    """A file of this kind: changed in places or, of drawings, written anew."""

    def read(data: bytes) -> None:
        file = FILE.with_name(f"input.{kind}")
        whole = b"<svg " + data[1:] if kind == "svg" and data[:1] < b"\x40" else changed(SMALL[kind], _changes(data))
        file.write_bytes(whole)
        _look(file)

    return read


def folder(data: bytes) -> None:
    """A folder of two map tiles and what it says of itself."""
    third = len(data) // 3
    parts = [_changes(data[at : at + third]) for at in (0, third, 2 * third)]
    tiles = [changed(tile(), parts[0]), changed(tile("JPEG"), parts[1])]
    _look(write_folder(FILE.with_name("tiles"), tiles, changed(GOOD_FACTS, parts[2])))


def _look(path: Path) -> None:
    picture = open_picture(path)
    if picture.height * picture.width <= 2**20:  # a large one that is drawn small is no finding
        read_picture(path, 16, 16, "rgba")


def one(data: bytes) -> None:
    with contextlib.suppress(TilerError):
        TARGETS[sys.argv[-1]](data)


TARGETS = {"job": job, "picture": picture, "tiff": tiff, "folder": folder, **{kind: _small(kind) for kind in SMALL}}

if __name__ == "__main__":
    target, seconds, *more = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    sys.argv = [sys.argv[0], target]
    limits = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=3072", "-max_len=4096", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *limits, *more], one)
    atheris.Fuzz()

"""Coverage-guided fuzzing of whatever reads files of others: `python tests/fuzz/fuzz.py job|picture|tiff SECONDS`.

Anything but an answer or a TilerError is a finding: a traceback, 20 s for one input, 3 GiB of memory.
libFuzzer's own options may follow (a folder of inputs to start from, -seed=N).
"""

from __future__ import annotations

import contextlib
import resource
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tiler", "tomllib", "PIL"]):
    from tiler.errors import TilerError
    from tiler.pictures import read_picture
    from tiler.request.config import RenderConfig
    from tiler.request.jobfile import read_job_file

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
    changed = bytearray(GOOD_TIFFS[data[0] % len(GOOD_TIFFS)] if data else b"")
    for i in range(1, len(data) - 2, 3):
        changed[int.from_bytes(data[i : i + 2], "big") % len(changed)] = data[i + 2]
    FILE.write_bytes(changed)
    read_picture(FILE, 16, 16, "rgba")


def one(data: bytes) -> None:
    with contextlib.suppress(TilerError):
        TARGETS[sys.argv[-1]](data)


TARGETS = {"job": job, "picture": picture, "tiff": tiff}

if __name__ == "__main__":
    target, seconds, *more = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    sys.argv = [sys.argv[0], target]
    limits = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=3072", "-max_len=4096", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *limits, *more], one)
    atheris.Fuzz()

"""How fast a poster becomes a file: `python benchmarks/output.py [--sides 8192] [--output FILE]`.

Pixels that look like a poster's, made in advance, are handed to `write_picture` band by band. `threads`: cores that may
be used; the system's own limits hold. `cpu_s`: processor seconds of all threads. `libvips_png`: what wrote PNG files
before. `scaled_s`: on paper, at 16384 x 16384 and 16 cores: the processor seconds of the thread that hands out bands,
or of the one that writes and of the rest over as many cores as the format's encoder uses, whichever is more.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

import _report
import numpy as np

from tiler.pictures import write_picture
from tiler.pictures.stream import consume

COLUMNS = ("format", "side", "bits", "threads", "seconds", "cpu_s", "bands_s", "mvalues_s", "mb", "scaled_s")
PACKAGES = ("numpy", "pyvips", "pyvips-binary")
ROWS, PAPER_SIDE = 512, 16384
# Format, bits, and how many cores of sixteen its encoder uses.
FORMATS = ((".png", 8, 16), (".png", 16, 16), ("libvips_png", 8, 1), (".jpg", 8, 1), (".tif", 8, 16), (".tif", 16, 16))


def poster_band(side: int) -> np.ndarray:
    """[3, ROWS, side] in 0..1: hills of several sizes under fine grain, about as hard to compress as a poster."""
    x, y = np.arange(side) / 40, np.arange(ROWS)[:, None] / 40
    grain = np.random.default_rng(0).normal(0, 0.012, (3, ROWS, side))
    hills = [np.sin(x + 0.3 * k) * np.cos(y * (1 + k / 5)) + np.sin(x / 9 - k) * 0.7 for k in range(3)]
    return np.clip(0.5 + 0.2 * np.stack(hills) + grain, 0, 1).astype(np.float32)


def by_libvips(path: Path, side: int, bands: Iterator[np.ndarray]) -> None:
    """A PNG file as libvips writes it."""
    pixels = (np.rint(band * 255).astype(np.uint8).transpose(1, 2, 0) for band in bands)
    consume(pixels, side, side, lambda image: image.pngsave(str(path), filter="all", compression=6))


def measure(form: str, bits: int, cores: int, side: int, folder: Path, band: np.ndarray) -> _report.Row:
    """One row."""
    old, spent = form == "libvips_png", [0.0]
    path = folder / ("old.png" if old else f"poster{form}")

    def bands() -> Iterator[np.ndarray]:
        for top in range(0, side, ROWS):
            yield band[:, : min(ROWS, side - top)]
            spent[0] = time.thread_time()  # of the thread that hands out bands and rounds them

    cpu, began, own = time.process_time(), time.perf_counter(), time.thread_time()
    if old:
        by_libvips(path, side, bands())
    else:
        write_picture(path, side, side, bands(), bits=bits)
    seconds, cpu, own = time.perf_counter() - began, time.process_time() - cpu, time.thread_time() - own
    longest = max(spent[0], own + (cpu - spent[0] - own) / cores)
    size = path.stat().st_size / 1e6
    path.unlink()
    return {
        "format": form, "side": side, "bits": bits, "threads": len(os.sched_getaffinity(0)), "seconds": seconds,
        "cpu_s": cpu, "bands_s": spent[0], "mvalues_s": 3 * side * side / seconds / 1e6, "mb": size,
        "scaled_s": longest * (PAPER_SIDE / side) ** 2,
    }  # fmt: skip


def main() -> None:
    """Run, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="*", default=[8192], help="pixels")
    parser.add_argument("--output", type=Path, help="write the rows as JSON to this file")
    options, rows = parser.parse_args(), []
    where = _report.environment("cpu", PACKAGES)
    with tempfile.TemporaryDirectory() as name:
        for side in options.sides:
            band = poster_band(side)
            for form, bits, cores in FORMATS:
                rows.append(measure(form, bits, cores, side, Path(name), band))
                print(_report.table(rows[-1:], COLUMNS), file=sys.stderr)
    _report.publish(rows, COLUMNS, where, options.output)


if __name__ == "__main__":
    main()

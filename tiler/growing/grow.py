"""From a land to a picture of any size: blocks that workers make, streamed to a file from top to bottom.

Blocks lie at fixed places of the endless plane and are always made whole: whatever is cut from it, by however many
workers, is the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from tiler.engine.host import cores
from tiler.engine.schedule import Pool, Promise
from tiler.errors import RenderError
from tiler.geometry import Rect
from tiler.growing.growth import Asked, Growth
from tiler.growing.land import Land
from tiler.growing.noise import Noise
from tiler.pictures import write_picture
from tiler.version import __version__

Progress = Callable[[dict[str, Any]], None]
BLOCK = 512
# Rows of a wide picture are made in lower blocks: what waits for its row to be whole must fit into memory.
_BAND_BYTES, _LEAST_ROWS = 2**25, 16
_PEAK, _ROWS_AT_ONCE = 65535, 64
# Blocks that are made or wait, for each worker, which makes two at a time.
_AHEAD = 6


@dataclass(frozen=True)
class Grown:
    """output: the picture, and its size in pixels."""

    output: str
    height: int
    width: int


def grow(growth: Growth, progress: Progress | None = None, pool: Pool | None = None) -> Grown:
    """Make a picture of a land. pool: workers that are there already, and stay.

    progress(event) is called with small dicts: `note` and `status` (text), `grow` (rows, of how many), `write`, and
    what befalls workers. Raises TilerError; an existing file stays as it was then. In a script, call this under
    `if __name__ == "__main__":`, since workers are processes of their own.
    """
    tell = progress or (lambda event: None)
    asked = growth.checked()
    for note in asked.notes:
        tell({"event": "note", "text": note})
    if pool is not None:
        _write(asked, pool, tell)
    else:
        with Pool(growth.scheduler, growth.workers or max(1, cores() // 2), 1) as own:
            _write(asked, own, tell)
    return Grown(growth.output, asked.height, asked.width)


def _write(asked: Asked, pool: Pool, tell: Progress) -> None:
    growth, facts = asked.growth, asked.facts
    pool.on_report(tell)
    said = {name: value for name, value in asdict(growth).items() if name not in ("workers", "scheduler", "output")}
    learned = {"steps": facts.steps, "lands": facts.lands, "seed": facts.seed, "photos": facts.photos}
    metadata = {"Software": f"tiler {__version__}", "Description": json.dumps({"grown": said, "learned": learned})}
    write_picture(
        growth.output, asked.height, asked.width, _bands(asked, pool, tell), bits=growth.bits, dpi=growth.dpi,
        georef=asked.georef, metadata=metadata, compression=growth.compression, quality=growth.jpeg_quality,
        cog=growth.cog,
    )  # fmt: skip
    tell({"event": "write", "output": growth.output})


def _same(data: bytes) -> bytes:
    """On a worker: what others ask it for, so that it leaves this process once."""
    return data


def block(data: bytes, device: str, noise: Noise, box: Rect, shares: np.ndarray) -> np.ndarray:
    """On a worker: [3, h, w] uint16 of a box of the plane. data: of the land's file; shares: [lands, h, w] of the cells
    that the box is made from."""
    land = _land(data, device)
    where = next(land.generator.parameters()).device.type
    numbers = land.facts.kind.numbers(noise, box).to(where).of(torch.from_numpy(shares)[None].to(where))
    with torch.inference_mode():
        pixels = land.facts.colours.pixels(land.generator(numbers, box))[0].cpu().numpy()
    found: np.ndarray = np.rint(pixels * _PEAK).astype(np.uint16)
    return found


_LANDS: dict[tuple[bytes, str], Land] = {}


def _land(data: bytes, device: str) -> Land:
    """A worker keeps the last one."""
    key = hashlib.sha256(data).digest(), device
    found = _LANDS.get(key)
    if found is None:
        there = torch.cuda.is_available()
        if device == "cuda" and not there:
            raise RenderError("device = cuda: a worker has no GPU that torch can use")
        if there and device != "cpu":
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        found = Land.of(data, "the land")
        found.generator.to("cuda" if there and device != "cpu" else "cpu")
        _LANDS.clear()
        _LANDS[key] = found
    return found


def rows_of(width: int, cell: int) -> int:
    """How high the blocks of so wide a picture are."""
    rows = BLOCK
    while rows > max(_LEAST_ROWS, cell) and rows * width * 3 * 2 > _BAND_BYTES:
        rows //= 2
    return rows


def _bands(asked: Asked, pool: Pool, tell: Progress) -> Iterator[np.ndarray]:
    """The picture from top to bottom: [3, rows, width] in 0..1."""
    box, wide = asked.box, asked.box.width
    down = rows_of(asked.width, asked.facts.kind.cell)
    made = _blocks(asked, pool, down)
    for top in range(box.y0 // down * down, box.y1, down):
        part = Rect(max(top, box.y0), box.x0, min(top + down, box.y1), box.x1)
        band = np.empty((3, part.height, asked.width), np.uint16)
        for frame in range(len(asked.noises)):
            for _ in range(box.x0 // BLOCK, -(-box.x1 // BLOCK)):
                place, pixels = next(made)
                shown = place.intersection(part)
                assert shown is not None
                inner, outer = shown.relative_to(place).slices, shown.relative_to(part).shifted(0, frame * wide).slices
                band[:, outer[0], outer[1]] = pixels[:, inner[0], inner[1]]
        for y in range(0, part.height, _ROWS_AT_ONCE):
            yield band[:, y : y + _ROWS_AT_ONCE].astype(np.float32) / np.float32(_PEAK)
        done = part.y1 - box.y0
        tell({"event": "grow", "rows": done, "of": box.height})
        tell({"event": "status", "text": f"{done} of {box.height} rows, {100 * done / box.height:.0f} %"})


def _blocks(asked: Asked, pool: Pool, down: int) -> Iterator[tuple[Rect, np.ndarray]]:
    """(place, pixels) of all blocks, row by row, in each row frame by frame."""
    box, shares, kind = asked.box, asked.shares(), asked.facts.kind
    land = pool.submit(_same, asked.data)
    going: deque[tuple[Rect, Promise]] = deque()
    for top in range(box.y0 // down * down, box.y1, down):
        for noise in asked.noises:
            for left in range(box.x0 // BLOCK * BLOCK, box.x1, BLOCK):
                place = Rect(top, left, top + down, left + BLOCK)
                part = shares(noise, kind.cells(place))
                going.append((place, pool.submit(block, land, asked.growth.device, noise, place, part)))
                if len(going) >= _AHEAD * pool.workers:
                    first, promise = going.popleft()
                    yield first, promise.result()
    for first, promise in going:
        yield first, promise.result()

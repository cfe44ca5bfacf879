"""What several workers say to each other, and what passes by the client: `python benchmarks/traffic.py [--workers 8]`.

Renders one level of 4 x 4 tiles with a tiny backbone, at several sizes with the same cut, by one worker and by several
processes, and compares the posters' bytes. A round's bytes: of all that the client's process, in which the scheduler
lives, sends and receives from the first tile of the second round to the first of the last, over the rounds in between.
Strips and statistics go from worker to worker: of the whole level, over its rounds.

And the links of this machine: bytes a second over a loopback socket, and of an array that one worker hands to another.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

import _report
import numpy as np
from _inputs import picture, tiny_backbone
from _traffic import CHANNELS, Traffic, between_workers, counted

from tiler import RenderConfig
from tiler.engine.schedule import Pool

# The package has a function of its name.
rendering = importlib.import_module("tiler.rendering")

COLUMNS = (
    "what", "workers", "size", "tiles", "rounds", "same_bytes", "client_kb", "scheduler_kb", "beats_kb", "messages",
    "between_kb", "between_answers", "round_s", "gb_s",
)  # fmt: skip
PACKAGES = ("torch", "distributed", "numpy")
SHALLOW = {"style_layers": ("relu1_1", "relu2_1", "relu3_1"), "content_layers": ("relu2_2",), "halo": 16, "feather": 8}


def rendered(pool: Pool, folder: Path, size: int, rounds: int) -> tuple[bytes, _report.Row]:
    """The poster's file, and a row."""
    name, seen = f"{size}-{pool.workers}.tif", list[tuple[float, Traffic]]()
    config = RenderConfig(
        content=str(folder / "content.png"), styles=(str(folder / "style.png"),), output=str(folder / name), levels=1,
        long_edge=size, tile=size // 4, steps=(rounds,), steps_per_round=1, device="cpu", precision="fp32",
        state="device",
        checkpoint_seconds=3600, workers=pool.workers, threads=1, weights=str(folder / "tiny.safetensors"), **SHALLOW,
    )  # fmt: skip
    original, rendering.Pool = rendering.Pool, lambda *_: contextlib.nullcontext(pool)
    try:
        with counted(pool) as traffic:

            def progress(event: dict[str, Any]) -> None:
                if event["event"] == "tile" and event["round"] == len(seen):
                    seen.append((time.perf_counter(), traffic.copied()))

            before = between_workers(pool)
            rendering.render(config, progress, force_new=True)
            after = between_workers(pool)
    finally:
        rendering.Pool = original
    row: _report.Row = {"what": "level", "workers": pool.workers, "size": size, "tiles": 16, "rounds": rounds}
    row |= {"between_kb": (after[0] - before[0]) / 1e3 / rounds, "between_answers": (after[1] - before[1]) / rounds}
    return (folder / name).read_bytes(), {**row, **_a_round(seen)}


def _a_round(seen: list[tuple[float, Traffic]]) -> _report.Row:
    """seen: when each round's first tile was told of, and what had moved until then. beats: by the clock, more a round
    where rounds take long."""
    (began, first), (ended, last), rounds = seen[1], seen[-1], len(seen) - 2

    def kilobytes(*channels: str, beats: bool = True) -> float:
        return (last.kilobytes(*channels, beats=beats) - first.kilobytes(*channels, beats=beats)) / rounds

    counts = {key: (count - first.messages[key]) / rounds for key, count in last.messages.items()}
    told = {f"{channel}: {kind}": round(count, 2) for (channel, kind), count in sorted(counts.items()) if count}
    return {
        "client_kb": kilobytes(*CHANNELS[:2]),
        "scheduler_kb": kilobytes(*CHANNELS),
        "beats_kb": kilobytes(*CHANNELS) - kilobytes(*CHANNELS, beats=False),
        "messages": sum(counts.values()),
        "round_s": (ended - began) / rounds,
        "channels_kb": {channel: kilobytes(channel) for channel in CHANNELS},
        "messages_a_round": told,
    }


def loopback(size: int = 2**28) -> float:
    """GB a second through a socket of this machine's own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        data, got = memoryview(bytearray(2**22)), memoryview(bytearray(2**22))
        sender = socket.create_connection(server.getsockname())
        receiver, _ = server.accept()

        def send() -> None:
            for _ in range(size // len(data)):
                sender.sendall(data)
            sender.close()

        thread, began = threading.Thread(target=send), time.perf_counter()
        thread.start()
        while receiver.recv_into(got):
            pass
        seconds = time.perf_counter() - began
        thread.join()
        receiver.close()
    return size / seconds / 1e9


def _array(megabytes: int) -> np.ndarray:
    return np.ones(megabytes * 2**17)


def _seen(array: np.ndarray) -> dict[str, int]:
    return {"bytes": array.nbytes}


def handed(pool: Pool, megabytes: int = 64) -> float:
    """GB a second of an array on its way from one worker to another, encrypted, less what an empty one takes."""
    one, other = pool.addresses[:2]
    took = []
    for size in (0, megabytes, 0, megabytes):
        made = pool.submit(_array, size, worker=one)
        made.done(60)
        began = time.perf_counter()
        pool.submit(_seen, made, worker=other).result()
        took.append(time.perf_counter() - began)
    return megabytes * 2**20 / max(1e-9, min(took[1], took[3]) - min(took[0], took[2])) / 1e9


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[8])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512], help="edges in pixels")
    parser.add_argument("--rounds", type=int, default=8, help="of one step")
    parser.add_argument("--output", type=Path, help="write the rows as JSON to this file")
    return parser.parse_args(arguments)


def main() -> None:
    """Run, print the table and the messages, write the JSON."""
    options, rows, posters = parse(), list[_report.Row](), dict[int, bytes]()
    where = _report.environment("cpu", PACKAGES)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny_backbone(folder / "tiny.safetensors")
        picture(folder / "content.png", max(options.sizes), 1)
        picture(folder / "style.png", 128, 2)
        for workers in (1, *options.workers):
            with Pool(None, workers, 1) as pool:
                for size in options.sizes:
                    poster, row = rendered(pool, folder, size, options.rounds)
                    posters.setdefault(size, poster)
                    rows.append({**row, "same_bytes": poster == posters[size]})
                if workers == options.workers[-1] > 1:
                    rows.append({"what": "from worker to worker", "workers": workers, "gb_s": handed(pool)})
    rows.append({"what": "loopback socket", "gb_s": max(loopback() for _ in range(3))})
    _report.publish(rows, COLUMNS, where, options.output)
    for row in rows:
        if row["what"] == "level" and row["size"] == max(options.sizes):
            print(f"\n{row['workers']} workers, {row['size']} px, messages a round:")
            print("\n".join(f"  {count:8.2f}  {kind}" for kind, count in row["messages_a_round"].items()))


if __name__ == "__main__":
    main()

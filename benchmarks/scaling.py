"""A table on paper of renders on several GPUs: `python benchmarks/scaling.py [--traffic FILE] [--output FILE]`.

What passes between blocks is counted by the code that cuts tiles and shares them out; what it takes is arithmetic, from
the step that was measured on one GPU and from links. No render is made.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

from tiler.geometry import Rect, Tile, TileGrid
from tiler.geometry.blocks import seen, shares
from tiler.request.resolve import FAST_HALO, FEATHER, STEPS_PER_ROUND

# Measured on one H100 80GB: bf16, a read area of 2176 x 2176 px, the step as one CUDA graph.
STEP_MS, STEP_EDGE = 17.4, 2176
CORE, HALO, STEPS = 2048, FAST_HALO, 50
# fp32 pixels; moments are bf16 where they lie, fp32 on their way.
SENT_PIXEL, SENT_MOMENTS = 3 * 4, 6 * 4
HELD = 2 * (3 * 4 + 6 * 2)
CONTENT = 512 * 2 / 64
GRAMS = sum(channels**2 for channels in (64, 128, 256, 512, 512))
CARD_GB, SHARE = 80, 0.6
LINKS = {"PCIe 5, 25 GB/s": 25.0, "TCP, 5 GB/s": 5.0, "TCP, 1 GB/s": 1.0}


@dataclass(frozen=True)
class Cut:
    """Of a level among some GPUs. tiles: of the largest block; border: of these, those that others see. strips: bytes
    that the block which sends most sends in a round. state: bytes that the largest keeps. nodes: sums that the largest
    reports. read: pixels of all read areas of the largest block."""

    tiles: int
    border: int
    strips: int
    state: float
    nodes: int
    read: int


@cache
def cut(size: int, gpus: int) -> Cut:
    """A square level's blocks."""
    grid = TileGrid.balanced(size, size, CORE, FEATHER, HALO)
    parts = shares(grid, gpus)
    numbers = [[index for node in nodes for index in node.tiles(grid)] for nodes in parts]
    strips, borders = [], []
    for own in numbers:
        sent, border = 0, set[int]()
        for others in numbers:
            if others is own:
                continue
            for box, each in ((_read, SENT_PIXEL), (_blend, SENT_MOMENTS)):
                found = seen(grid, others, {*own}, box)
                sent += sum(part.area * each for part in found.values())
                border |= {*found}
        strips.append(sent)
        borders.append(len(border))
    held = [sum(grid.tile(i).blend.area * HELD + grid.tile(i).read.area * CONTENT for i in own) for own in numbers]
    read = [sum(grid.tile(i).read.area for i in own) for own in numbers]
    largest = max(map(len, numbers))
    return Cut(largest, max(borders), max(strips), max(held), max(map(len, parts)), max(read))


def _read(tile: Tile) -> Rect:
    return tile.read


def _blend(tile: Tile) -> Rect:
    return tile.blend


def row(size: int, gpus: int, link: float) -> dict[str, float | int | str]:
    """Seconds of a round. link: GB/s, of each GPU's own, in and out at once."""
    found = cut(size, gpus)
    steps = found.read / STEP_EDGE**2 * STEP_MS / 1e3 * STEPS_PER_ROUND
    interior = steps * (1 - found.border / found.tiles)
    sending = found.strips / link / 1e9
    # Every GPU's sums go to one of them, in float64, and the total goes back in fp32.
    sums = (gpus - 1) * GRAMS * (8 * found.nodes + 4) / link / 1e9
    streamed = 0.0
    if found.state > SHARE * CARD_GB * 1e9:  # the state is in the host's memory: in and out once a round
        streamed = max(0.0, found.read * (HELD // 2) / 25e9 - steps)
    waited = max(0.0, sending - interior) + sums + streamed
    return {
        "steps": steps, "strips_mb": found.strips / 1e6, "interior": interior, "sending": sending, "sums": sums,
        "waited": waited, "share": steps / (steps + waited), "state_gb": found.state / 1e9, "tiles": found.tiles,
        "border": found.border, "home": "host" if found.state > SHARE * CARD_GB * 1e9 else "device",
        "level_s": (steps + waited) * STEPS / STEPS_PER_ROUND,
    }  # fmt: skip


def table(links: dict[str, float]) -> list[str]:
    """Lines of Markdown."""
    lines = []
    for size in (16384, 65536):
        lines += [
            "",
            f"## {size} x {size} px, {len(TileGrid.balanced(size, size, CORE, FEATHER, HALO))} tiles",
            "",
            "| GPUs | tiles each | of these at a border | state each | lives in | strips a round | steps a round |",
            "|---|---|---|---|---|---|---|",
        ]
        for gpus in (1, 2, 4, 8):
            one = row(size, gpus, 25.0)
            lines.append(
                f"| {gpus} | {one['tiles']} | {one['border']} | {one['state_gb']:.1f} GB | {one['home']} | "
                f"{one['strips_mb']:.1f} MB | {one['steps']:.2f} s |"
            )
        lines += ["", "| link | GPUs | strips travel | beside interior tiles | sums and total | waited for a round |"]
        lines[-1] += f" steps' share | {STEPS} steps |"
        lines.append("|---|---|---|---|---|---|---|---|")
        for name, link in links.items():
            for gpus in (2, 4, 8):
                one = row(size, gpus, link)
                lines.append(
                    f"| {name} | {gpus} | {1e3 * float(one['sending']):.1f} ms | {1e3 * float(one['interior']):.0f} ms"
                    f" | {1e3 * float(one['sums']):.1f} ms | {1e3 * float(one['waited']):.1f} ms | "
                    f"{float(one['share']):.1%} | {float(one['level_s']):.0f} s |"
                )
        alone = row(size, 1, 25.0)
        lines.append(
            f"| none | 1 | - | - | - | {1e3 * float(alone['waited']):.1f} ms | {float(alone['share']):.1%} | "
            f"{float(alone['level_s']):.0f} s |"
        )
    return lines


def main() -> None:
    """Print the tables, or write them to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traffic", type=Path, default=Path(__file__).parent / "results/traffic-cpu.json")
    parser.add_argument("--output", type=Path, help="a Markdown file")
    options = parser.parse_args()
    links, measured = dict(LINKS), ["Links were not measured."]
    if options.traffic.exists():
        rows = json.loads(options.traffic.read_text())
        rates = {one["what"]: one["gb_s"] for one in rows if one.get("gb_s")}
        links |= {f"{what} here, {rate:.2g} GB/s": rate for what, rate in rates.items() if "worker" in what}
        said = "; ".join(f"{what} {rate:.2g} GB/s" for what, rate in rates.items())
        level = max((one for one in rows if one["what"] == "level"), key=lambda one: (one["workers"], one["size"]))
        measured = [
            f"Measured by benchmarks/traffic.py on {rows[0]['cpu']}, load {rows[0]['load']}: {said}.",
            f"{level['workers']} workers on 16 tiles: {level['scheduler_kb']:.0f} kB a round pass by the client and"
            f" the scheduler, in {level['messages']:.0f} messages, however large the tiles.",
        ]
    text = [
        "# Several GPUs, on paper", "",
        "`python benchmarks/scaling.py --output benchmarks/results/scaling.md`. No render of this size was made.", "",
        f"- Measured on one H100: a step of {STEP_MS} ms on a read area of {STEP_EDGE} px in bf16.",
        *(f"- {one}" for one in measured),
        f"- Counted by tiler.geometry: tiles of {CORE} px, feather {FEATHER}, halo {HALO}, the blocks, what each sees",
        "  of the others. What travels is fp32: pixels 12 B, moments 24 B.",
        f"- Arithmetic: the rest. Every GPU has a link of its own; {STEPS_PER_ROUND} steps a round, {STEPS} steps.",
        "  Strips leave when the border's tiles are done and travel beside the interior's; statistics leave when all",
        "  are done, and are waited for, as is what streams slower through a card than it computes. Not counted: the",
        "  scheduler's part (a few ms a task), checkpoints, content features, seeding, the file.",
        *table(links), "",
    ]  # fmt: skip
    if options.output:
        options.output.write_text("\n".join(text))
    else:
        print("\n".join(text))


if __name__ == "__main__":
    main()

"""Ours at each quality against neural-style and pastiche, over ten pairs, at equal content distance: who hangs on the
wall? And which of our looks is the best? `python benchmarks/duel.py [--device cuda] [--seconds N] [--quick]`

For every pair `tiler render` at its defaults says how far from the content a poster is; the content weight of each
other contender is then searched until its poster is as far (within --tolerance), so that nobody wins by ignoring the
layout. All use the bundled VGG-19, one size and average pooling, and start from the content; the peers keep their own
optimiser (L-BFGS), layers, loss weights and number of steps, and on a GPU the TF32 that torch has by default. A peer's
poster is given up after a fifth of its steps where its content distance will be too far off; how far that still goes
is learnt from those before. What is judged and how: benchmarks/_measures.py.

With --curves the looks of benchmarks/_contenders.py, which might be better than the defaults, are rendered at that
content distance, too, what comes first there first; and the defaults, and what they were `before`, at more weights.

Writes into --into with every poster points.jsonl, all rows, also of how the peers' losses and measures went; every
minute duel.md and curves.md, the tables, and duel.json, the rows of the first; in the end index.html, a page for
people, its posters in random order and under letters, and key.json, which letter was whose. --bundle: all but the
first as one file.
Renders are kept in --work, by contender, size and weight: a run that was stopped goes on. neural-style comes with the
extra `bench`, beside a CPU-only torch by `pip install --no-deps neural-style==0.5.7`.

--jobs processes share the device. What a poster takes without the others is measured before (`alone`).
`--quick` takes two pairs at 64 px and few steps, to see that all works: no verdict.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

import _arena
import _contenders
import _curves
import _duel_page
import _duel_pairs
import _report
from _programme import Programme, earlier_rows

Row = dict[str, Any]
RESULTS = Path(__file__).resolve().parent / "results" / "duel"
POINTS = "points.jsonl"
# Seconds: between two times at which the tables are written; for the page in the end.
EVERY, LAST_SECONDS = 60, 12
FEW = 3
# Lower is better in these; of `light` and `chroma` what is nearer to 1, of `layout` what is higher.
COLUMNS = ("content", "held_out", "swd", "spectrum", "light", "chroma", "layout")
COMPARED = ("held_out", "swd", "spectrum", "light", "chroma")


def worse(measure: str, value: float) -> float:
    """How far from right: to be compared, lower is better."""
    if measure in ("light", "chroma"):
        return abs(math.log(max(value, 1e-6)))
    return -value if measure == "layout" else value


def line(row: Row) -> str:
    cells = [f"{row[name]:.3g}" if name in row else "" for name in (*COLUMNS, "weight")]
    reached = "" if row.get("reached", True) else " *"
    return f"| {row['pair']} | {row['contender']}{reached} | {' | '.join(cells)} | {row.get('seconds', math.nan):.3g} |"


def verdicts(rows: Sequence[Row]) -> list[str]:
    """Of each of ours: on how many pairs it beats every peer, by measure, and the median of its share of their best."""
    peers = {one.name for one in _contenders.PEERS}
    lines = ["| ours | measure | better than every peer | median of ours over their best |", "|---|---|---|---|"]
    for ours in _contenders.OURS:
        for measure in COMPARED:
            pairs = [
                (row[measure], min((worse(measure, other[measure]), other[measure]) for other in rivals)[1])
                for row in rows
                if row["contender"] == ours.name and row.get("reached", True)
                for rivals in [
                    [
                        one
                        for one in rows
                        if one["pair"] == row["pair"] and one["contender"] in peers and one.get("reached", True)
                    ]
                ]
                if rivals
            ]
            if pairs:
                won = sum(worse(measure, mine) < worse(measure, best) for mine, best in pairs)
                ratio = statistics.median(mine / max(best, 1e-9) for mine, best in pairs)
                lines.append(f"| {ours.name} | {measure} | {won} of {len(pairs)} | {ratio:.2f} |")
    return lines


def beside(rows: Sequence[Row], edge: int) -> list[str]:
    """The peers' posters, and what the defaults come to at the content distance of each, by lines through posters at
    several weights (`_curves.at`): a verdict also where no weight of a peer's is as far from the content as ours."""
    peers = {one.name for one in _contenders.PEERS}
    posters = [row for row in rows if row["what"] == "poster" and row["whole"] and row["edge"] == edge]
    known = {row["pair"]: [] for row in posters}
    for row in posters:
        if row["contender"] == _contenders.REFERENCE:
            known[row["pair"]].append(row)
    theirs = sorted(
        (row for row in posters if row["contender"] in peers), key=lambda row: (row["pair"], row["contender"])
    )
    found = [(row, mine) for row in theirs if (mine := _curves.at(known[row["pair"]], row["content"]))]
    names = (*COMPARED, "layout")
    lines = [f"| pair | peer | content | {' | '.join(names)} |", "|---" * (len(names) + 3) + "|"]
    for row, mine in found:
        cells = [f"{mine[name]:.3g} / {row[name]:.3g}" if name in row else "" for name in names]
        lines.append(f"| {row['pair']} | {row['contender']} | {row['content']:.3g} | {' | '.join(cells)} |")
    pairs = [*dict.fromkeys(row["pair"] for row, _ in found)]
    lines += ["", "| measure | better than every peer | median of ours over theirs |", "|---|---|---|"]
    for name in COMPARED:
        won = [all(worse(name, mine[name]) < worse(name, row[name]) for row, mine in found if row["pair"] == pair)
               for pair in pairs]  # fmt: skip
        ratio = statistics.median(mine[name] / max(row[name], 1e-9) for row, mine in found) if found else math.nan
        lines.append(f"| {name} | {sum(won)} of {len(pairs)} | {ratio:.2f} |")
    return lines


class Record:
    """Keeps every row as it comes, and from time to time what they come to."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options, self._into = options, options.into
        self.rows: list[Row] = []
        self.programme: Programme | None = None
        self._where = _report.environment(options.device, ("torch", "neural-style", "pastiche", "numpy", "pillow"))
        self._written, self._new = time.monotonic(), False
        self._into.mkdir(parents=True, exist_ok=True)
        (self._into / POINTS).write_text(json.dumps({"what": "environment", **self._where}) + "\n")

    def keep(self, row: Row) -> None:
        self.rows.append(row)
        with (self._into / POINTS).open("a") as file:
            file.write(json.dumps(row) + "\n")
        self._new = True
        if row["what"] == "failed":
            print(f"failed: {row['pair']}, {row['contender']}: {row['error']}", file=sys.stderr, flush=True)
        elif row["what"] == "poster":
            print(f"{row['edge']} px {line(row)}", flush=True)

    def tick(self) -> None:
        if self._new and time.monotonic() - self._written > EVERY:
            self.write_tables()

    def write_tables(self) -> list[Row]:
        """Of what there is so far; the duel's rows."""
        assert self.programme is not None
        options, names = self._options, self._options.contenders
        keys = [(pair, options.long_edge, name) for pair in options.pairs for name in names]
        rows = [found for key in keys if (found := self.programme.found(key)) is not None]
        self._duel(rows)
        if options.curves:
            lines = ["# Curves\n", *_curves.tables(self.rows, _contenders.REFERENCE)]
            (self._into / "curves.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._written, self._new = time.monotonic(), False
        return rows

    def write(self) -> None:
        """The tables and the page."""
        rows, options = self.write_tables(), self._options
        posters: dict[str, list[tuple[str, Path]]] = {}
        for row in rows:
            posters.setdefault(row["pair"], []).append((row["contender"], Path(row["poster"])))
        folder = options.work.resolve()
        inputs = {pair: [folder / pair / f"{role}.png" for role in ("content", "style")] for pair in posters}
        _duel_page.write(self._into, posters, inputs, options.seed)
        if options.bundle:
            _pack(self._into, options.bundle)

    def _duel(self, rows: list[Row]) -> None:
        options, where = self._options, self._where
        far = "*: no content weight that was tried is as far from the content; it does not count below"
        said = (
            f"{options.long_edge} px, {options.peer_steps} steps of the peers, content within {options.tolerance:.0%}"
        )
        head = [f"# Duel\n\n{where['device']}, {where['time'][:10]}; {said}. `python benchmarks/duel.py`; see there.\n"]
        titles = f"| pair | contender | {' | '.join(COLUMNS)} | content weight | seconds |"
        table = [titles, "|---" * (len(COLUMNS) + 4) + "|", *map(line, rows), "", far, ""]
        at_theirs = [
            "## At the content distances of the peers: ours / theirs",
            "",
            *beside(self.rows, options.long_edge),
        ]
        lines = [*head, *table, *verdicts(rows), "", *alone(self.rows), "", *at_theirs]
        (self._into / "duel.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        kept = [{**where, **{name: value for name, value in row.items() if name != "poster"}} for row in rows]
        (self._into / "duel.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def alone(rows: Sequence[Row]) -> list[str]:
    """What a poster takes in a process that has rendered before, while nobody else renders."""
    lines = ["| contender, alone | seconds | ms a step |", "|---|---|---|"]
    for row in rows:
        if row["what"] == "alone":
            lines.append(f"| {row['contender']} | {row['seconds']:.3g} | {row.get('step_ms', math.nan):.3g} |")
    return lines


def _pack(folder: Path, bundle: Path) -> None:
    """In place of what is there at once: whoever is cut off keeps the one before."""
    beside = bundle.with_suffix(".part")
    with tarfile.open(beside, "w") as archive:
        archive.add(folder, "duel", filter=lambda one: None if one.name.endswith(POINTS) else one)
    os.replace(beside, bundle)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = [one.name for one in (*_contenders.OURS, *_contenders.PEERS)]
    parser.add_argument("--pairs", nargs="+", choices=_duel_pairs.NAMES, default=list(_duel_pairs.NAMES))
    parser.add_argument("--contenders", nargs="+", choices=_contenders.BY_NAME, default=usual)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--curves", action="store_true", help="also other looks of ours")
    parser.add_argument("--seconds", type=float, default=math.inf, help="then it stops, with what there is")
    parser.add_argument("--jobs", type=int, default=1, help="processes that render side by side")
    parser.add_argument("--long-edge", type=int, default=512)
    parser.add_argument("--peer-steps", type=int, default=1000, help="both peers' own default")
    parser.add_argument("--tolerance", type=float, default=0.03, help="of the content distance")
    parser.add_argument("--tries", type=int, default=5, help="renders that a weight is searched by, at most")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU, in each process")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of the page's order; default: any")
    parser.add_argument("--work", type=Path, default=Path("duel-work"), help="where renders are kept")
    parser.add_argument("--into", type=Path, default=RESULTS)
    parser.add_argument("--bundle", type=Path, help="a .tar of what is written, but for the rows")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    if options.quick:
        options.pairs, options.long_edge, options.peer_steps = list(_duel_pairs.QUICK), 64, 20
        options.tolerance, options.tries = 0.1, 3
    return options


def main() -> None:
    options = parse()
    ends = time.monotonic() + options.seconds - LAST_SECONDS
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads of waiting processes must not spin
    folder = options.work.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    few = FEW if options.quick else None
    setting = _contenders.Setting(options.long_edge, options.peer_steps, options.threads, folder, options.device, few)
    earlier = earlier_rows(RESULTS / "duel.json")
    record = Record(options)
    record.programme = Programme(
        options.pairs, options.contenders, options.long_edge, options.tolerance, options.tries, options.jobs,
        options.curves, options.device != "cpu" or options.quick, earlier, record.keep, record.tick,
    )  # fmt: skip
    try:
        _arena.run(record.programme, setting, options.jobs, ends)
    finally:
        record.write()


if __name__ == "__main__":
    main()

"""Ours at each quality against neural-style and pastiche, over ten pairs, at equal content distance: who hangs on the
wall? `python benchmarks/duel.py [--quick]`

For every pair `tiler render` at its defaults says how far from the content a poster is; the content weight of each
other contender is then searched until its poster is as far (within --tolerance), so that nobody wins by ignoring the
layout. All use the bundled VGG-19, one size and average pooling, and start from the content; the peers keep their own
optimiser (L-BFGS), layers, loss weights and number of steps. What is judged and how: benchmarks/_measures.py.

Writes into --into: duel.md, the table; duel.json, all rows; index.html, a page for people, its posters in random order
and under letters; key.json, which letter was whose. Renders are kept in --work, by contender, size and weight: a run
that was stopped goes on. neural-style comes with the extra `bench`, beside a CPU-only torch by
`pip install --no-deps neural-style==0.5.7`.

`seconds` is of the poster that is judged, from the shell, start and loading included, on the machine as it was.
`--quick` takes two pairs at 128 px and 60 steps of the peers, to see that all works: no verdict.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

import _contenders
import _duel_page
import _duel_pairs
import _measures
import _report
import torch

Row = dict[str, Any]
RESULTS = Path(__file__).resolve().parent / "results" / "duel"
# A poster's content distance goes down by about this power of its content weight.
SLOPE = -0.35
# Lower is better in these; of `light` and `chroma` what is nearer to 1, of `layout` what is higher.
COLUMNS = ("content", "held_out", "swd", "spectrum", "light", "chroma", "layout")
COMPARED = ("held_out", "swd", "spectrum", "light", "chroma")


def worse(measure: str, value: float) -> float:
    """How far from right: to be compared, lower is better."""
    if measure in ("light", "chroma"):
        return abs(math.log(max(value, 1e-6)))
    return -value if measure == "layout" else value


def search(distance: Callable[[float], float], start: float, wanted: float, tolerance: float, tries: int) -> float:
    """The weight whose poster is nearest to a content distance; each of `tries` renders one."""
    known: dict[float, float] = {}
    weight = start
    for _ in range(tries):
        known[weight] = distance(weight)
        if abs(known[weight] / wanted - 1) <= tolerance:
            break
        weight = _next(known, wanted)
    return min(known, key=lambda one: abs(math.log(known[one] / wanted)))


def _next(known: Mapping[float, float], wanted: float) -> float:
    """By the line through the two nearest posters, in logarithms; the usual slope where theirs says nothing."""
    near = sorted(known, key=lambda one: abs(math.log(known[one] / wanted)))
    slope = SLOPE
    if len(near) > 1:
        rise, run = math.log(known[near[1]] / known[near[0]]), math.log(near[1] / near[0])
        slope = min(-0.1, max(-1.5, rise / run))
    return near[0] * math.exp(max(-3.0, min(3.0, math.log(wanted / known[near[0]]) / slope)))


class Duel:
    """One pair's."""

    def __init__(self, pair: _duel_pairs.Pair, setting: _contenders.Setting) -> None:
        self._pair, self._setting = pair, setting
        self.judge = _measures.Judge(pair.content, pair.style, pair.mask, setting.edge)

    def poster(self, contender: _contenders.Contender, weight: float) -> Path:
        """Where it is, rendered unless it is there."""
        name = f"{contender.name.replace(' ', '-')}-{self._setting.edge}-{self._steps(contender)}-{weight:.6g}"
        path = self._setting.folder / self._pair.name / f"{name}.png"
        seconds = path.with_suffix(".seconds")
        if not seconds.exists():
            pair = self._pair
            took = contender.render(self._setting, pair.content, pair.style, path, weight)
            seconds.write_text(f"{took}\n")
        return path

    def _steps(self, contender: _contenders.Contender) -> str:
        return str(self._setting.steps) if contender in _contenders.PEERS else "own"

    def row(self, contender: _contenders.Contender, weight: float) -> Row:
        path = self.poster(contender, weight)
        seconds = float(path.with_suffix(".seconds").read_text())
        about = {"pair": self._pair.name, "contender": contender.name, "weight": weight, "seconds": seconds}
        return {**about, **self.judge.all(path), "poster": str(path)}

    def fight(
        self, contenders: Sequence[_contenders.Contender], tolerance: float, tries: int, found: dict[str, list[float]]
    ) -> list[Row]:
        """A row of each, ours at its default weight and the others at a weight of as much content. found: by
        contender, where the searches of other pairs ended; this one begins in their middle, and is added."""
        reference = _contenders.BY_NAME[_contenders.REFERENCE]
        rows = [self.row(reference, reference.weight)]
        print(line(rows[0]), flush=True)
        for contender in contenders:
            if contender is reference:
                continue

            def distance(weight: float, contender: _contenders.Contender = contender) -> float:
                return self.judge.content(self.poster(contender, weight))

            known = found.setdefault(contender.name, [])
            start = statistics.geometric_mean(known) if known else contender.weight
            weight = search(distance, start, rows[0]["content"], tolerance, tries)
            known.append(weight)
            rows.append(self.row(contender, weight))
            rows[-1]["reached"] = abs(rows[-1]["content"] / rows[0]["content"] - 1) <= tolerance
            print(line(rows[-1]), flush=True)
        return rows


def line(row: Row) -> str:
    cells = [f"{row[name]:.3g}" if name in row else "" for name in (*COLUMNS, "weight")]
    reached = "" if row.get("reached", True) else " *"
    return f"| {row['pair']} | {row['contender']}{reached} | {' | '.join(cells)} | {row['seconds']:.0f} |"


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


def write(into: Path, rows: Sequence[Row], options: argparse.Namespace, inputs: Mapping[str, Sequence[Path]]) -> None:
    """The table, the rows and the page, of what there is so far."""
    into.mkdir(parents=True, exist_ok=True)
    packages = ("torch", "neural-style", "pastiche", "numpy", "pillow")
    where = _report.environment("cpu", packages)
    far = "*: no content weight that was tried is as far from the content; it does not count below"
    said = f"{options.long_edge} px, {options.peer_steps} steps of the peers, content within {options.tolerance:.0%}"
    head = [f"# Duel\n\n{where['device']}, {where['time'][:10]}; {said}. `python benchmarks/duel.py`; see there.\n"]
    titles = f"| pair | contender | {' | '.join(COLUMNS)} | content weight | seconds |"
    table = [titles, "|---" * (len(COLUMNS) + 4) + "|", *map(line, rows), "", far, ""]
    (into / "duel.md").write_text("\n".join([*head, *table, *verdicts(rows)]) + "\n", encoding="utf-8")
    kept = [{**where, **{name: value for name, value in row.items() if name != "poster"}} for row in rows]
    (into / "duel.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    posters: dict[str, list[tuple[str, Path]]] = {}
    for row in rows:
        posters.setdefault(row["pair"], []).append((row["contender"], Path(row["poster"])))
    _duel_page.write(into, posters, inputs, options.seed)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", choices=_duel_pairs.NAMES, default=list(_duel_pairs.NAMES))
    parser.add_argument("--contenders", nargs="+", choices=_contenders.BY_NAME, default=list(_contenders.BY_NAME))
    parser.add_argument("--long-edge", type=int, default=512)
    parser.add_argument("--peer-steps", type=int, default=1000, help="both peers' own default")
    parser.add_argument("--tolerance", type=float, default=0.03, help="of the content distance")
    parser.add_argument("--tries", type=int, default=5, help="renders that a weight is searched by, at most")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of the page's order; default: any")
    parser.add_argument("--work", type=Path, default=Path("duel-work"), help="where renders are kept")
    parser.add_argument("--into", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    if options.quick:
        options.pairs, options.long_edge, options.peer_steps = list(_duel_pairs.QUICK), 128, 60
        options.tolerance, options.tries = 0.1, 3
    return options


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    folder = options.work.resolve()
    setting = _contenders.Setting(options.long_edge, options.peer_steps, options.threads, folder)
    contenders, rows, inputs = [_contenders.BY_NAME[name] for name in options.contenders], [], {}
    found: dict[str, list[float]] = {}
    for name in options.pairs:
        pair = _duel_pairs.make(name, folder)
        inputs[name] = (pair.content, pair.style)
        rows += Duel(pair, setting).fight(contenders, options.tolerance, options.tries, found)
        write(options.into, rows, options, inputs)


if __name__ == "__main__":
    main()

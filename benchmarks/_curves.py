"""Curves of content distance against each measure, and what looks come to where they are as far from the content."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = dict[str, Any]
MEASURES = ("held_out", "swd", "spectrum", "light", "chroma")
# As share of the content distance: what lies so far beyond a look's last poster is still said of it.
_BEYOND, _LAYOUT = 0.1, "layout"
# And so far off in ln a poster speaks for itself, without another one to draw a line through.
_ALONE = 0.05
CALM_CHROMA, CALM_LIGHT = 1.3, (0.8, 1.25)
COMPARED_WITH = "before"


def at(points: Iterable[Mapping[str, Any]], wanted: float) -> dict[str, float] | None:
    """Measures of one pair's contender at a content distance: by straight lines in logarithms between its posters,
    and a little beyond; None where none is near enough."""
    known = {float(point["content"]): point for point in points}
    near = sorted(known, key=lambda one: abs(math.log(one / wanted)))
    if not near:
        return None
    if len(near) == 1 or min(near) * (1 - _BEYOND) > wanted or max(near) * (1 + _BEYOND) < wanted:
        return _measures(known[near[0]]) if abs(math.log(near[0] / wanted)) < _ALONE else None
    below, above = [one for one in near if one <= wanted], [one for one in near if one > wanted]
    a, b = (below[0], above[0]) if below and above else near[:2]
    if abs(math.log(b / a)) < 0.02:  # too near to each other to say more than one
        return _measures(known[near[0]])
    share = math.log(wanted / a) / math.log(b / a)
    ends = _measures(known[a]), _measures(known[b])
    return {name: ends[0][name] ** (1 - share) * ends[1][name] ** share for name in ends[0]}


def _measures(point: Mapping[str, Any]) -> dict[str, float]:
    return {name: max(1e-6, float(point[name])) for name in (*MEASURES, _LAYOUT) if name in point}


def calm(found: Mapping[str, float]) -> bool:
    return found["chroma"] <= CALM_CHROMA and CALM_LIGHT[0] <= found["light"] <= CALM_LIGHT[1]


def tables(rows: Sequence[Row], reference: str) -> list[str]:
    """Of all that was rendered: at the reference's content distance, each look against `before`, and by pairs."""
    posters = [row for row in rows if row.get("what") == "poster" and row["whole"]]
    wanted = {(row["pair"], row["edge"]): row["content"] for row in reversed(posters) if row["contender"] == reference}
    lines: list[str] = []
    for edge in sorted({row["edge"] for row in posters}):
        here = {pair: content for (pair, one), content in wanted.items() if one == edge}
        found = {
            name: {
                pair: value
                for pair, content in here.items()
                if (value := at([row for row in points if row["pair"] == pair], content)) is not None
            }
            for name, points in _by_contender(posters, edge).items()
        }
        lines += [f"\n## {edge} px, at the content distance of {reference}\n", *_summary(found), "", *_pairs(found)]
    return lines


def _by_contender(posters: Sequence[Row], edge: int) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in posters:
        if row["edge"] == edge:
            found.setdefault(row["contender"], []).append(row)
    return found


def _summary(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    titles = ("look", "pairs", *(f"{name} / before" for name in MEASURES[:3]), "worst held_out", "worst swd",
              "chroma <= 1.3", "light 0.8..1.25", "both", "chroma", "light")  # fmt: skip
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    before = found.get(COMPARED_WITH, {})
    for name, pairs in found.items():
        if not pairs:
            continue
        ratios = {measure: [value[measure] / before[pair][measure] for pair, value in pairs.items() if pair in before]
                  for measure in MEASURES[:3]}  # fmt: skip
        middle = [statistics.median(ratios[measure]) if ratios[measure] else math.nan for measure in ratios]
        worst = [max(ratios[measure], default=math.nan) for measure in ("held_out", "swd")]
        values = list(pairs.values())
        counts = [
            sum(value["chroma"] <= CALM_CHROMA for value in values),
            sum(CALM_LIGHT[0] <= value["light"] <= CALM_LIGHT[1] for value in values),
            sum(map(calm, values)),
        ]
        medians = [statistics.median(value[measure] for value in values) for measure in ("chroma", "light")]
        cells = [name, str(len(pairs)), *(f"{one:.2f}" for one in (*middle, *worst)), *map(str, counts),
                 *(f"{one:.2f}" for one in medians)]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _pairs(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    lines = [f"| pair | look | {' | '.join((*MEASURES, _LAYOUT))} |", "|---" * (len(MEASURES) + 3) + "|"]
    pairs = dict.fromkeys(itertools.chain.from_iterable(found.values()))
    for pair, (name, values) in itertools.product(pairs, found.items()):
        if pair in values:
            cells = [f"{values[pair][one]:.3g}" if one in values[pair] else "" for one in (*MEASURES, _LAYOUT)]
            lines.append(f"| {pair} | {name} | {' | '.join(cells)} |")
    return lines

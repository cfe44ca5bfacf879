"""What a duel renders, in order of worth, and at which content weights, as these come to be known."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import _contenders
from _arena import GROWTH, Task

Row = dict[str, Any]
Key = tuple[str, int, str]
# A poster's content distance goes down by about this power of its content weight.
SLOPE = -0.35
# In logarithms: a peer's poster may be foretold to be so far off where nothing is known of how far it still goes.
_WIDE, _NARROW = 0.3, 0.08
# Of the jobs, peers have so many at most: what ours do is short.
_PEERS_SHARE = 0.7
LARGE_PAIRS = ("relief-satellite", "labels-satellite", "terrain-ink")
_LARGE_AFTER = 4  # of the candidates
_CURVE = (0.15, 0.6)
_PAIRS, _ALONE, _REFERENCE, _DUEL, _CURVES = range(5)


def next_weight(known: Mapping[float, float], wanted: float) -> float:
    """To be tried after posters with these content distances: by the line through the two nearest, in logarithms; the
    usual slope where theirs says nothing."""
    near = sorted(known, key=lambda one: abs(math.log(known[one] / wanted)))
    slope = SLOPE
    if len(near) > 1 and abs(math.log(near[1] / near[0])) > 0.02:
        rise, run = math.log(known[near[1]] / known[near[0]]), math.log(near[1] / near[0])
        slope = min(-0.1, max(-1.5, rise / run))
    return near[0] * math.exp(max(-3.0, min(3.0, math.log(wanted / known[near[0]]) / slope)))


def nearest(rows: Sequence[Row], wanted: float) -> Row | None:
    """Of the posters that came to an end, the one that is nearest to a content distance."""
    whole = [row for row in rows if row["whole"]]
    return min(whole, key=lambda row: abs(math.log(row["content"] / wanted)), default=None)


class Programme:
    """See `_arena.Programme`. pairs, contenders: names. timed: begin with what each takes alone. earlier: rows of
    another duel, where searches begin. keep: called with each row; tick: every second or so."""

    def __init__(
        self, pairs: Sequence[str], contenders: Sequence[str], edge: int, tolerance: float, tries: int, jobs: int,
        curves: bool, timed: bool, earlier: Sequence[Row], keep: Callable[[Row], None], tick: Callable[[], None],
    ) -> None:  # fmt: skip
        self._contenders, self._edge, self._curves = contenders, edge, curves
        self._tolerance, self._tries = tolerance, tries
        self._most_peers = max(1, round(_PEERS_SHARE * jobs))
        self._earlier = {(row["pair"], row["contender"]): float(row["weight"]) for row in earlier}
        self._keep, self.tick = keep, tick
        self._pending = [Task((_PAIRS,), pair) for pair in pairs]
        self._alone = pairs[0] if timed else None
        self._by_key: dict[Key, list[Row]] = {}
        self._tried: dict[Key, int] = {}

    def next(self, running: list[Task]) -> Task | None:
        first_things = self._alone is not None or any(task.alone for task in running)
        peers = sum(_is_peer(task) for task in running)
        for task in sorted(self._pending, key=lambda one: one.order):
            if (first_things and task.contender) or (_is_peer(task) and peers >= self._most_peers):
                continue
            self._pending.remove(task)
            if task.alone:
                self._alone = None
            return self._prepared(task)
        return None

    def wanted(self, pair: str, edge: int) -> float | None:
        """The content distance of the reference at its own weight."""
        rows = self._by_key.get((pair, edge, _contenders.REFERENCE), [])
        own = _contenders.BY_NAME[_contenders.REFERENCE].weight
        return next((float(row["content"]) for row in rows if row["weight"] == own), None)

    def found(self, key: Key) -> Row | None:
        """A contender's poster that is nearest to the reference's content distance, with whether that is `reached`."""
        wanted = self.wanted(*key[:2])
        row = nearest(self._by_key.get(key, []), wanted) if wanted else None
        if row is None or wanted is None:
            return None
        return {**row, "reached": abs(row["content"] / wanted - 1) <= self._tolerance}

    def hear(self, row: Row) -> None:
        self._keep(row)
        if row["what"] == "pair":
            self._begin(row["pair"])
        if row["what"] == "failed" and row["pair"] == self._alone:
            self._alone = None  # nobody waits for pictures that there won't be
        if row["what"] != "poster":
            return
        key = row["pair"], row["edge"], row["contender"]
        known = self.wanted(*key[:2]) is not None
        self._by_key.setdefault(key, []).append(row)
        if not known and self.wanted(*key[:2]) is not None:
            self._go_on(row["pair"], row["edge"])
        elif key in self._tried:
            self._again(key)

    def _begin(self, pair: str) -> None:
        weight = _contenders.BY_NAME[_contenders.REFERENCE].weight
        reference = Task((_REFERENCE,), pair, self._edge, _contenders.REFERENCE, weight)
        self._pending.append(reference)
        if pair == self._alone:
            self._pending.append(Task((_ALONE,), pair, self._edge))
        if self._curves and pair in LARGE_PAIRS:
            self._pending.append(replace(reference, order=(_CURVES, _LARGE_AFTER), edge=2 * self._edge))

    def _go_on(self, pair: str, edge: int) -> None:
        """Once a pair's reference is there."""
        main = edge == self._edge
        rivals = [name for name in self._contenders if name != _contenders.REFERENCE]
        if main:
            for name in rivals:
                self._search((_DUEL, not _contenders.BY_NAME[name].peer), pair, edge, name)
        if not self._curves:
            return
        late = _LARGE_AFTER + 0.5
        self._search((_DUEL, 2) if main else (_CURVES, late), pair, edge, _contenders.BEFORE.name)
        if not main:
            self._search((_CURVES, late), pair, edge, _contenders.OURS[-1].name)
        for number, one in enumerate(_contenders.CANDIDATES):
            if main or number < _LARGE_AFTER:
                self._search((_CURVES, number + 1) if main else (_CURVES, late), pair, edge, one.name)
        for one in (*_contenders.OURS, _contenders.BEFORE) if main else ():
            order = (_CURVES, 0 if one.name in (_contenders.REFERENCE, _contenders.BEFORE.name) else _LARGE_AFTER + 0.7)
            self._pending += [Task(order, pair, edge, one.name, weight) for weight in _CURVE]

    def _search(self, order: tuple[float, ...], pair: str, edge: int, contender: str) -> None:
        self._tried[pair, edge, contender] = 0
        self._pending.append(Task(order, pair, edge, contender))

    def _again(self, key: Key) -> None:
        """Another try, if the posters so far are not as far from the content; before everything that is not begun."""
        found = self.found(key)
        waits = any((task.pair, task.edge, task.contender) == key and task.weight is None for task in self._pending)
        if waits or (found and found["reached"]) or self._tried[key] >= self._most_tries(key):
            return
        order = (_DUEL, -1) if _contenders.BY_NAME[key[2]].peer else (_DUEL, 3)
        self._pending.append(Task(order, *key))

    def _most_tries(self, key: Key) -> int:
        """A curve needs no more than two of its points near by."""
        return self._tries if key[1] == self._edge and key[2] in self._contenders else 2

    def _prepared(self, task: Task) -> Task:
        if not task.contender or task.weight is not None:
            return task
        key = task.pair, task.edge, task.contender
        wanted, known, growth = self.wanted(*key[:2]), self._distances(key), self._growth()
        assert wanted is not None
        weight = next_weight(known, wanted) if known else self._start(key)
        self._tried[key] += 1
        last = self._tried[key] >= self._most_tries(key)
        berth = math.inf if last else _WIDE if growth is None else max(_NARROW, 2 * self._tolerance)
        return replace(task, weight=weight, wanted=wanted, berth=berth, growth=growth or GROWTH)

    def _growth(self) -> float | None:
        """Of content distance, from the step at which posters are given up to the end: the median so far."""
        ratios = [row["content"] / row["early"] for rows in self._by_key.values() for row in rows
                  if row["whole"] and row.get("early")]  # fmt: skip
        return statistics.median(ratios) if ratios else None

    def _distances(self, key: Key) -> dict[float, float]:
        growth = self._growth() or GROWTH
        rows = self._by_key.get(key, [])
        return {row["weight"]: row["content"] if row["whole"] else growth * row["early"] for row in rows}

    def _start(self, key: Key) -> float:
        """Where an earlier duel ended, moved as others had to move: the same pair's, if they are known."""
        pair, edge, contender = key
        peer = _contenders.BY_NAME[contender].peer
        moved: dict[Key, float] = {}
        for other in self._by_key:
            if (_contenders.BY_NAME[other[2]].peer if peer else other[2] == contender) and other[1] == edge:
                found = self.found(other)
                if found and (found["reached"] or (other[0] == pair and other[2] != contender)):
                    moved[other] = found["weight"] / self._first(other[0], other[2])
        same = [factor for other, factor in moved.items() if other[0] == pair]
        factors = same or [*moved.values()]
        return self._first(pair, contender) * (statistics.geometric_mean(factors) if factors else 1.0)

    def _first(self, pair: str, contender: str) -> float:
        one = _contenders.BY_NAME[contender]
        return self._earlier.get((pair, contender), one.weight) if one.peer else one.weight


def _is_peer(task: Task) -> bool:
    return bool(task.contender) and _contenders.BY_NAME[task.contender].peer


def earlier_rows(path: Path) -> list[Row]:
    """Of a duel's own file; none where there is none."""
    return list(json.loads(path.read_text())) if path.exists() else []

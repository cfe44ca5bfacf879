"""What this side of the round protocol decides by itself: how it waits, counts and grades, without a worker."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tiler.engine import rounds
from tiler.engine.address import Address
from tiler.engine.home import DEVICE
from tiler.engine.rounds import LevelRun, Site, _Checkpoints, _MoreHandsError, measure_rest, measure_styles
from tiler.errors import RenderError, StateLostError, StoreError, WorkerDiedError
from tiler.geometry import TileGrid

FOUR = TileGrid(128, 32, 32, 32)


class Waited:
    """A promise that is kept at the last of some glances."""

    def __init__(self, glances: int = 1, comes_to: Any = "done") -> None:
        self.left, self.comes_to, self.glances = glances, comes_to, list[float]()

    def done(self, seconds: float = 0.0) -> bool:
        self.glances.append(seconds)
        self.left -= 1
        return self.left <= 0

    def result(self) -> Any:
        if isinstance(self.comes_to, Exception):
            raise self.comes_to
        return self.comes_to


class Watched:
    """A store and a pool that write down what they are asked for. left: workers that are gone."""

    addresses = ("a", "b")

    def __init__(self, left: tuple[str, ...] = (), totals: tuple[str, ...] = ()) -> None:
        self.left, self.totals, self.told = left, totals, list[Any]()

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **named: self.told.append((name, *given, *named.values()))

    def gone(self, holders: tuple[str, ...]) -> list[str]:
        return [one for one in holders if one in self.left]

    def submit(self, task: Any, address: Address, *given: Any) -> Waited:
        self.told.append((task.__name__, *given))
        return Waited()

    def has_totals(self, path: str, layers: tuple[str, ...]) -> bool:
        self.told.append(("has_totals", path, layers))
        return path in self.totals


def site(watched: Watched, job: Any = None, **options: Any) -> Site:
    return Site(watched, job, watched, Address("url", "id", "before"), **options)  # type: ignore[arg-type]


# Waiting ----------------------------------------------------------------------------------------------------------


def test_who_waits_looks_at_each_glance_whether_it_may_still_write() -> None:
    watched, promise = Watched(), Waited(3)
    assert site(watched).wait(promise, ("a",)) == "done"  # type: ignore[arg-type]
    assert promise.glances == [1.0] * 3
    assert watched.told == [("check_writer",)] * 3
    site(watched, glance=0.25).wait(again := Waited(2))  # type: ignore[arg-type]
    assert again.glances == [0.25] * 2


def test_who_waits_for_a_worker_that_is_gone_waits_no_longer() -> None:
    watched, promise = Watched(left=("b", "c")), Waited(9)
    with pytest.raises(StateLostError, match=r"^worker b is gone$"):
        site(watched).wait(promise, ("a", "b"))  # type: ignore[arg-type]
    assert watched.told == [("check_writer",), ("drop",)]
    assert site(watched).wait(Waited(2), ("a",)) == "done"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "rests"), [(RenderError("x"), True), (StateLostError("x"), True), (OSError(), False)]
)
def test_what_goes_wrong_is_raised_once_nothing_is_written_any_more(error: Exception, rests: bool) -> None:
    watched = Watched()
    with pytest.raises(type(error)):
        site(watched).wait_all([Waited(), Waited(comes_to=error), Waited()])  # type: ignore[list-item]
    assert watched.told == [("check_writer",)] * 2 + [("rest",)] * rests


def test_who_may_not_write_any_more_takes_no_result() -> None:
    watched = Watched()

    def taken() -> None:
        raise StoreError("in use")

    watched.check_writer = taken  # type: ignore[attr-defined]
    for glances in (1, 2):
        with pytest.raises(StoreError, match="in use"):
            site(watched).wait(Waited(glances, comes_to=AssertionError("taken")))  # type: ignore[arg-type]


def test_a_run_that_is_taken_over_is_told_to_the_store_and_to_whoever_is_asked_next() -> None:
    watched = Watched()
    before = site(watched, "job", glance=3.0)
    after = before.taken_over()
    assert watched.told == [("update", after.address.run)]
    assert after.address.run not in ("before", before.taken_over().address.run)
    assert after == replace(before, address=replace(before.address, run=after.address.run))


# Checkpoints ------------------------------------------------------------------------------------------------------


def test_checkpoints_are_due_by_the_clock_and_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(rounds, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    checkpoints = _Checkpoints(30.0, 1)
    for now, left in ((100.0, 30.0), (129.5, 0.5), (130.0, 0.0), (171.0, 0.0)):
        clock[0] = now
        assert checkpoints.seconds_left == left
        assert checkpoints.due() == (left == 0)
    checkpoints.begun(iter([Waited(2), Waited(3)]))  # type: ignore[list-item]
    assert (checkpoints.slot, checkpoints.seconds_left) == (0, 30.0)
    clock[0] = 201.0
    assert [checkpoints.due() for _ in range(4)] == [False, False, False, True]
    checkpoints.begun([Waited(2)])  # type: ignore[list-item]
    with pytest.raises(StateLostError, match="worker b is gone"):
        checkpoints.settled(site(Watched(left=("b",))), ("a", "b"))
    assert checkpoints.slot == 1
    watched = Watched()
    checkpoints.settled(site(watched), ())
    assert watched.told == [("check_writer",)]
    checkpoints.settled(site(watched), ())
    assert watched.told == [("check_writer",)]


@pytest.mark.parametrize(
    ("found", "base", "next_slot"),
    [(None, 0, 0), ((2, 0), 0, 1), ((2, 1), 1, 0), ((3, 0), 1, 1), ((3, 1), 0, 0)],
)
def test_a_level_goes_on_where_its_last_checkpoint_is_and_writes_the_next_beside_it(
    found: tuple[int, int] | None, base: int, next_slot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a state in the store, which is a state's slot follows from where one of them was found."""
    grid, begun = TileGrid(64, 96, 32, 32), list[Any]()
    store = SimpleNamespace(state_path=str, has=lambda path: found is not None, latest=lambda path, grid: found)
    job = SimpleNamespace(cut=SimpleNamespace(rounds=lambda level: [(0, 1)] * 4, grid=lambda level: grid))
    pool = SimpleNamespace(addresses=["a", "b", "c"])
    where = SimpleNamespace(store=store, job=job, pool=pool, wait_all=list)
    run = LevelRun(where, 5, DEVICE, 30.0)  # type: ignore[arg-type]
    monkeypatch.setattr(run, "_call", lambda task, block, *given: begun.append((task.__name__, block, *given)))
    monkeypatch.setattr(run, "_wait_all", list)
    monkeypatch.setattr(run, "_together", lambda state, passed: (state, len(passed)))
    state, slot = found or (0, None)
    assert run._attempt() == (state, 3)
    assert [(name, block.number, *given) for name, block, *given in begun] == [
        *(("begin", number, state, slot) for number in range(3)),
        *(("let_go", number) for number in range(3)),
    ]
    assert {(block.level, block.home, block.base) for _, block, *_ in begun} == {(5, DEVICE, base)}
    assert (run._checkpoints.slot, run._checkpoints.every, run._came_to) == (next_slot, 30.0, state)


BACK = "level 3 goes back to its last checkpoint: worker b is gone"


def run_of(came_to: list[Any], monkeypatch: pytest.MonkeyPatch) -> tuple[LevelRun, list[str]]:
    """A level whose attempts go to these states before a worker is lost; None: workers have come, a text: its end. And
    what is told of it."""
    taken, left = list[str](), iter(came_to)
    cut = SimpleNamespace(rounds=lambda level: [], grid=lambda level: None)
    pool = SimpleNamespace(note=lambda text: taken.append(text))
    where = SimpleNamespace(job=SimpleNamespace(cut=cut), taken_over=lambda: where, pool=pool)
    run = LevelRun(where, 2, DEVICE, 30.0)  # type: ignore[arg-type]

    def attempt() -> dict[str, Any]:
        reached = next(left)
        if isinstance(reached, str):
            return {"end": reached}
        if reached is None:
            raise _MoreHandsError
        run._came_to = reached
        raise StateLostError("worker b is gone")

    monkeypatch.setattr(run, "_attempt", attempt)
    return run, taken


@pytest.mark.parametrize("came_to", [[0, 0, 0, 0], [3, 3, 3, 3], [0, 0, 0, 2, 2, 1, 2], [1, None, 1, None, 1, None, 0]])
def test_a_level_that_gets_no_further_four_times_is_given_up(
    came_to: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, taken = run_of([*came_to, "more"], monkeypatch)
    with pytest.raises(WorkerDiedError, match=r"^level 3: 4 times in a row .* \(worker b is gone\), .* keeps"):
        run.run()
    assert taken == [BACK] * sum(one is not None for one in came_to)


@pytest.mark.parametrize(
    "came_to", [["end"], [0, 0, 0, "end"], [0, 0, 0, 1, 1, 1, 2, 2, 2, "end"], [None] * 9 + ["end"]]
)
def test_a_level_that_gets_further_is_not_given_up(came_to: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    run, taken = run_of(came_to, monkeypatch)
    assert run.run() == {"end": "end"}
    assert taken == [BACK] * sum(isinstance(one, int) for one in came_to)


@pytest.mark.parametrize(("left", "told"), [(0.0, 0.0), (59.0, 59.0), (60.0, 60.0), (61.0, 60.0), (math.inf, 60.0)])
def test_a_task_ends_at_the_next_checkpoint_and_after_a_minute_at_the_latest(left: float, told: float) -> None:
    asked: list[Any] = []
    comes: dict[str, Any] = {"advance": {"state": 3, "losses": {0: (1, 2)}}, "begin": {"losses": {}}}

    def call(task: Any, block: str, *given: Any) -> str:
        asked.append((task.__name__, *given))
        return str(task.__name__)

    checkpoints = SimpleNamespace(seconds_left=left, settled=lambda *given: asked.append("settled"))
    run = SimpleNamespace(
        _blocks=["all"], _rounds=[(0, 2), (2, 2), (4, 1)], _came_to=1, _checkpoints=checkpoints, _call=call,
        _wait=lambda promise: comes.get(promise), _site="site", _workers=["a"], _slot=pytest.fail,
        _graded=lambda block, state, total, losses: (block, state, total, losses),
        _make_images=lambda: asked.append("images"),
    )  # fmt: skip
    assert LevelRun._alone(run, 1, "begin") == ("all", 3, None, {0: (1, 2)})  # type: ignore[arg-type]
    assert asked == [("advance", 1, [(2, 2), (4, 1)], told), "settled", "images", ("finish", 3, [])]


def test_no_checkpoint_is_begun_after_one_that_went_wrong_and_nobody_gets_a_block_by_it() -> None:
    """Neither is the slot that is whole written over, nor is the level begun again from what is not whole."""

    def settled(where: Any, workers: list[str]) -> None:
        assert (where, workers) == (here, ["a"])
        raise RenderError("it was not written")

    here = SimpleNamespace(pool=SimpleNamespace(addresses=["a", "b", "c", "d", "e"]))
    checkpoints = SimpleNamespace(due=lambda: True, settled=settled)
    run: Any = SimpleNamespace(
        _site=here, _workers=["a"], _home=DEVICE, _rounds=[1, 2, 3], _checkpoints=checkpoints, _make_room=pytest.fail,
        _grid=FOUR, _blocks=["one"],
    )  # fmt: skip
    for call in (lambda: LevelRun._slot(run, 1), lambda: LevelRun._look_for_hands(run)):
        with pytest.raises(RenderError, match="it was not written"):
            call()
    run._blocks = ["one"] * 4
    LevelRun._look_for_hands(run)


def test_a_round_is_asked_for_while_the_one_before_it_is_computed_and_no_further() -> None:
    told: list[Any] = []

    class Promised(str):
        def part(self, name: Any) -> str:
            return f"{self}.{name}"

    def call(task: Any, block: Any, state: int, *given: Any) -> Promised:
        told.append(name := Promised(f"{task.__name__} {block.number} {state}"))
        return name

    blocks = [SimpleNamespace(number=number) for number in range(2)]
    run: Any = SimpleNamespace(
        _rounds=[(0, 2), (2, 2)], _blocks=blocks, _call=call, _wait_all=lambda found: told.append([*found]),
        _total=lambda state, passed, strips: told.append(f"total {state}"),
        _sent_to=lambda block, strips: None,
        _checkpoint_together=lambda state, passed: told.append((state, passed)),
        _end_together=lambda passed, strips: (passed, strips),
    )  # fmt: skip
    begun: Any = [Promised("begin 0"), Promised("begin 1")]

    def of(task: str, state: int) -> list[str]:
        return [f"{task} {number} {state}" for number in range(2)]

    ended = LevelRun._together(run, 0, begun)
    assert ended == (of("relax_interior", 1), of("relax_border", 1))
    assert told == [
        "total 0", *of("relax_border", 0), ["begin 0.state", "begin 1.state"], *of("relax_interior", 0),
        (1, of("relax_interior", 0)),
        "total 1", *of("relax_border", 1), [f"{one}.state" for one in of("relax_interior", 0)],
        *of("relax_interior", 1), (2, of("relax_interior", 1)),
    ]  # fmt: skip


# What it comes to -------------------------------------------------------------------------------------------------


def test_a_level_s_loss_is_its_tiles_by_their_weights_and_the_mean_of_its_layers() -> None:
    run = SimpleNamespace(
        _wait=lambda promise: promise, _call=lambda task, block, state, total: {"relu1_1": 0.25, "relu2_1": 0.75},
        _grid=SimpleNamespace(weight=lambda tile: {0: 1.0, 3: 2.5}[tile]),
        _site=SimpleNamespace(job=SimpleNamespace(terms=SimpleNamespace(style_weight=8.0))),
    )  # fmt: skip

    def graded(state: int) -> dict[str, Any]:
        return LevelRun._graded(run, "block", state, None, {3: (2.0, 0.5), 0: (1.0, 0.125)})  # type: ignore[arg-type]

    assert graded(0) == {"rounds": 0}
    assert graded(7) == {
        "rounds": 7, "style": 0.5, "content": 6.0, "tv": 1.375, "loss": 11.375,
        "layers": {"relu1_1": 0.25, "relu2_1": 0.75},
    }  # fmt: skip


def test_styles_are_measured_where_the_store_has_not_all_of_them() -> None:
    """In as many parts as there are workers, and each once, whatever the other has."""
    grids = {0: TileGrid(64, 32, 32, 32), 1: TileGrid(32, 96, 32, 32), 2: TileGrid(32, 32, 32, 32)}
    job = SimpleNamespace(
        styles=SimpleNamespace(sizes=((), ((64, 32), (32, 96), (32, 32)))),
        style_grid=lambda level, style: grids[style],
        terms=SimpleNamespace(layers=("relu1_1",)),
    )
    watched = Watched(totals=("styles/1/1",))
    measure_styles(site(watched, job), 1)
    asked = [told[:3] for told in watched.told if told[0] != "check_writer"]
    assert asked == [
        ("has_totals", "styles/1/0", ("relu1_1",)), ("measure_style", 1, 0), ("measure_style", 1, 0),
        ("add_up_style", 1, 0), ("has_totals", "styles/1/1", ("relu1_1",)), ("has_totals", "styles/1/2", ("relu1_1",)),
        ("measure_style", 1, 2), ("add_up_style", 1, 2),
    ]  # fmt: skip
    assert [len(told[3]) for told in watched.told if told[0] == "add_up_style"] == [2, 1]
    assert watched.told.count(("check_writer",)) == 2


@pytest.mark.parametrize(("grid", "kept", "parts"), [(None, False, 0), (FOUR, True, 0), (FOUR, False, 2)])
def test_what_stays_is_measured_once(grid: TileGrid | None, kept: bool, parts: int) -> None:
    terms = SimpleNamespace(layers=("relu1_1", "relu4_2"), style_layers=("relu1_1",))
    job = SimpleNamespace(cut=SimpleNamespace(rest=lambda level: grid), terms=terms)
    watched = Watched(totals=("levels/4/rest",) if kept else ())
    measure_rest(site(watched, job), 4)
    asked = [told[0] for told in watched.told if told[0] in ("measure_rest", "add_up_rest")]
    assert asked == ["measure_rest"] * parts + ["add_up_rest"] * bool(parts)
    looked = [told for told in watched.told if told[0] == "has_totals"]
    assert looked == [("has_totals", "levels/4/rest", ("relu1_1",))] * bool(grid)

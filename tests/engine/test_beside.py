"""What goes on beside computing: in order, bounded, nothing lost, and every error comes out."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tiler.engine import behind
from tiler.engine.ahead import in_turn
from tiler.engine.behind import Behind
from tiler.engine.inputs import Inputs, LevelInputs
from tiler.style.guides import EVERYWHERE, Guides


def test_items_are_read_worked_on_and_kept_in_turn() -> None:
    seen: list[str] = []
    in_turn("abc", lambda one: one * 2, lambda one, given: given + one, lambda one, made: seen.append(one + made))
    assert seen == ["aaaa", "bbbb", "cccc"]
    in_turn("", lambda one: 1 / 0, lambda one, given: 1 / 0, lambda one, made: None)


@pytest.mark.parametrize("hands", [1, 3])
def test_the_last_is_kept_before_it_returns_and_no_more_than_allowed_are_there(hands: int) -> None:
    there, most, kept = set[str](), [0], list[str]()
    lock = threading.Lock()

    def read(one: str) -> str:
        with lock:
            there.add(one)
            most[0] = max(most[0], len(there))
        return one

    def keep(one: str, made: str) -> None:
        time.sleep(0.02)
        with lock:
            there.remove(one)
        kept.append(made)

    in_turn("abcdefgh", read, lambda one, given: given, keep, hands)
    assert sorted(kept) == list("abcdefgh")
    assert hands > 1 or kept == sorted(kept)
    assert most[0] <= 2 * hands + 1
    assert hands == 1 or most[0] > 3


@pytest.mark.parametrize("where", ["read", "work", "keep"])
@pytest.mark.parametrize("which", ["a", "b", "c"])
def test_every_error_comes_out_and_nothing_is_begun_after_it(where: str, which: str) -> None:
    done: list[tuple[str, str]] = []

    def doing(what: str) -> Any:
        def do(one: str, *given: str) -> str:
            if (what, one) == (where, which):
                raise KeyError(one)
            done.append((what, one))
            return one

        return do

    with pytest.raises(KeyError, match=which):
        in_turn("abc", doing("read"), doing("work"), doing("keep"))
    kept = [one for what, one in done if what == "keep"]
    assert kept == list("abc"[: "abc".index(which)])


class Store:
    """As much of a worker's place and of what it holds as writing behind asks for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
        self.store, self.job, self.written = self, SimpleNamespace(device=SimpleNamespace(kind=device)), list[Any]()
        self.go_on, self.begun = threading.Event(), threading.Event()
        self.wrong: Exception | None = None
        self.held = set[int]()
        monkeypatch.setattr(behind, "write_kept", self.write)

    def check_run(self) -> None:
        pass

    def write(self, store: Any, level: int, slot: int, state: int, tile: int, kept: Any, check: Any) -> None:
        assert (store, check) == (self, self.check_run)
        self.begun.set()
        assert self.go_on.wait(5)
        if self.wrong:
            raise self.wrong
        self.written.append((level, slot, state, tile, kept.what, {*self.held}))

    def hold(self, state: int, tiles: list[int]) -> list[Any]:
        self.held |= {*tiles}
        copied = SimpleNamespace(what=f"a copy of {state}")
        kept = SimpleNamespace(what=f"{state} itself", copied=lambda: copied)
        return [SimpleNamespace(kept=kept, let_go=lambda tile=tile: self.held.discard(tile)) for tile in tiles]


@pytest.mark.parametrize(
    ("device", "what", "held"), [("cpu", "4 itself", [{0, 1}, {1}]), ("cuda", "a copy of 4", [set(), set()])]
)
def test_what_is_written_behind_is_held_until_then(
    monkeypatch: pytest.MonkeyPatch, device: str, what: str, held: list[set[int]]
) -> None:
    """Tile by tile; on a GPU no longer than it takes to copy it."""
    here = Store(monkeypatch, device)
    writing = Behind(here, 7)  # type: ignore[arg-type]
    writing.settle()
    writing.begin(here, [0, 1], 4, 1)  # type: ignore[arg-type, list-item]
    assert here.begun.wait(5)
    assert here.held == held[0]
    here.go_on.set()
    writing.settle()
    assert here.written == [(7, 1, 4, 0, what, held[0]), (7, 1, 4, 1, what, held[1])]
    assert not here.held


def test_one_checkpoint_at_a_time_and_one_that_failed_comes_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Store(monkeypatch, "cpu")
    writing = Behind(here, 0)  # type: ignore[arg-type]
    here.wrong = OSError("the disk is full")
    writing.begin(here, [0], 2, 0)  # type: ignore[arg-type, list-item]
    beginning: list[BaseException] = []

    def begin() -> None:
        try:
            writing.begin(here, [0], 3, 1)  # type: ignore[arg-type, list-item]
        except OSError as error:
            beginning.append(error)

    second = threading.Thread(target=begin, daemon=True)
    second.start()
    second.join(0.1)
    assert second.is_alive()
    here.go_on.set()
    second.join(5)
    assert [str(one) for one in beginning] == ["the disk is full"]
    assert not here.held
    here.wrong = None
    writing.begin(here, [0], 3, 1)  # type: ignore[arg-type, list-item]
    writing.settle()
    assert here.written == [(0, 0, 2, 0, "2 itself", {0}), (0, 1, 3, 0, "3 itself", {0})]


def test_inputs_are_kept_as_far_as_they_fit() -> None:
    """Of the job's own precision, and none gives way to another."""
    made: list[tuple[int, str]] = []

    class Level(LevelInputs):
        def _read(self, tile: Any) -> Any:
            return tile.index

        def _made(self, raw: Any, precision: str) -> Inputs:
            made.append((raw, precision))
            return Inputs({"relu1_1": torch.zeros(raw, 2, dtype=torch.float32)}, {}, EVERYWHERE)

    def tile(index: int) -> Any:
        return SimpleNamespace(index=index)

    here: Any = SimpleNamespace(job=SimpleNamespace(device=SimpleNamespace(precision="bf16")))
    level = Level(here, 0, 8 * 9)  # a tile of index n takes 8 n bytes
    for index, kept in ((3, False), (4, False), (3, True), (7, False), (2, False), (7, False), (4, True), (1, False)):
        raw = level.read(tile(index))
        assert (raw is None) == kept
        level.of(tile(index), raw, "bf16")
    assert made == [(3, "bf16"), (4, "bf16"), (7, "bf16"), (2, "bf16"), (7, "bf16"), (1, "bf16")]
    level.of(tile(3), None, "fp32")
    assert made[-1] == (3, "fp32")
    assert level.read(tile(2)) is None
    assert level.read(tile(1)) == 1


def test_inputs_take_the_bytes_of_all_that_they_hold() -> None:
    planes = {"relu1_1": torch.zeros(2, 5, 7), "relu2_1": torch.zeros(2, 3, 4)}
    content, weights = {"relu4_2": torch.zeros(8, 3, dtype=torch.bfloat16)}, {"relu4_2": torch.zeros(1, 3)}
    assert Inputs(content, weights, Guides((0, 1), planes)).held_bytes == 48 + 12 + 4 * (70 + 24)
    assert Inputs(content, weights, EVERYWHERE).held_bytes == 60

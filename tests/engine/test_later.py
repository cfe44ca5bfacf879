"""A GPU has more to do before what came of it is read, which changes nothing; on a CPU nothing is put off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tiler.engine import optimize
from tiler.engine.later import Later, Span, moved, sent
from tiler.engine.turn import Turns
from tiler.engine.workplace import Workplace

TILED: dict[str, Any] = dict(long_edge=40, levels=1, steps=(4,), tile=16, feather=4, halo=8, steps_per_round=2)


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """(what, round, tile) of the finest level as they come."""
    found: list[tuple[str, int, int]] = []
    begin, tell = Turns.begin, Turns.tell

    def begun(self: Turns, now: Any, tile: Any, given: Any) -> Any:
        found.append(("begin", now.state, tile.index))
        return begin(self, now, tile, given)

    def told(self: Turns, now: Any, tile: Any, done: Any) -> None:
        found.append(("told", now.state, tile.index))
        tell(self, now, tile, done)

    monkeypatch.setattr(Turns, "begin", begun)
    monkeypatch.setattr(Turns, "tell", told)
    return found


def late(monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    """As on a GPU, in so far as it shows here."""
    monkeypatch.setattr(Workplace, "ahead", property(lambda self: ahead, lambda self, found: None), raising=False)
    monkeypatch.setattr(optimize, "on_cpu", lambda tensor: False)


@pytest.mark.parametrize("mode", ["fast", "exact"])
@pytest.mark.parametrize(("home", "ahead"), [("device", 1), ("device", 99), ("store", 1)])
def test_what_is_read_late_is_the_same(
    home: str, ahead: int, mode: str, render_serially: Callable[..., np.ndarray], monkeypatch, order
) -> None:
    expected, at_once = render_serially(mode=mode, state=home, **TILED), list(order)
    order.clear()
    late(monkeypatch, ahead)
    np.testing.assert_array_equal(render_serially(mode=mode, state=home, **TILED), expected)
    for found, waiting in ((at_once, 1), (order, 1 if home == "store" else ahead + 1)):
        unread, most = 0, 0
        for what, *_ in found:
            unread += 1 if what == "begin" else -1
            most = max(most, unread)
        tiles = len({tile for _, _, tile in found})
        assert unread == 0
        assert most <= min(waiting, tiles) + (home == "store")  # one more is on its way to the store
        assert home == "store" or most == min(waiting, tiles)
        assert [one[1:] for one in found if one[0] == "begin"] == [one[1:] for one in found if one[0] == "told"]


class _NoReading(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert function is not torch.ops.aten._local_scalar_dense.default, "a number is read"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "more",
    [{}, {"statistics": "w2"}, {"content_weight": 0.0, "jitter": 3, "tile": 32, "halo": 16, "long_edge": 80}],
    ids=str,
)
def test_nothing_is_read_between_two_tiles(
    more: dict[str, Any], render_serially: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the second round on: in the first, what every round needs is made."""
    late(monkeypatch, 1)
    begin, given, read, begun = Turns.begin, Turns.given, Later.read, 0

    def quiet(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(self: Turns, now: Any, *arguments: Any) -> Any:
            nonlocal begun
            if not now.state:
                return call(self, now, *arguments)
            begun += 1
            with pytest.MonkeyPatch.context() as patch, _NoReading():
                patch.setattr(Later, "read", lambda self: pytest.fail("read"))
                return call(self, now, *arguments)

        return called

    monkeypatch.setattr(Turns, "begin", quiet(begin))
    monkeypatch.setattr(Turns, "given", quiet(given))
    render_serially(**{**TILED, **more})
    assert begun
    assert Later.read is read


def test_numbers_of_a_cpu_are_there_at_once() -> None:
    like = torch.zeros(2, dtype=torch.float32)
    assert Later(torch.tensor([[1.5, -2.0]])).read() == [[1.5, -2.0]]
    assert sent([1, 2.5], like).tolist() == [1, 2.5]
    found = moved(torch.tensor([0.1], dtype=torch.float64), like)
    assert (found.dtype, found.device) == (like.dtype, like.device)
    span = Span(like.device)
    assert span.seconds == 0
    span.end()
    assert 0 <= span.seconds < 60


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_numbers_of_a_gpu_are_those_of_then() -> None:
    """Whatever becomes of the tensor after they were asked for; and the time is the device's."""
    one = torch.ones(3, device="cuda")
    span = Span(one.device)
    torch.cuda._sleep(2**28)
    found = Later(one)
    span.end()
    one.zero_()
    assert found.read() == [1.0, 1.0, 1.0]
    assert span.seconds > 0.05
    assert sent([1, 2], one).tolist() == [1, 2]
    assert moved(torch.tensor([2.0], dtype=torch.float64), one).tolist() == [2]

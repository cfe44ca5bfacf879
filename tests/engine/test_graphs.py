"""A round's updates recorded once and replayed for all tiles of a kind give the bytes that they give one by one."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from serial_pool import SerialPool
from shallow import SHALLOW
from step_problem import moments, tile_problem
from taped import Tapes
from torch.utils._pytree import tree_leaves

from tiler.engine import graphs, optimize, workplace
from tiler.engine.address import Address
from tiler.engine.graphs import Graphs
from tiler.engine.workplace import Workplace
from tiler.errors import RenderError
from tiler.style.weights import load_weights

KINDS = ("plain", "regions", "jitter", "w2")
# Of each turn on the one stage: which tile, updates before it, rates.
ROUNDS = ((0, 0, [0.02] * 5), (1, 3, [0.03, 0.01]), (0, 5, [0.01] * 3), (2, 0, [0.05]), (1, 5, [0.02, 0.04]))
Outcome = list[torch.Tensor]


def other_tile(problem: optimize.TileProblem, seed: int) -> optimize.TileProblem:
    """Of the same level, with other numbers in all tensors that a tile brings."""
    generator, found = torch.Generator().manual_seed(seed), copy.copy(problem)
    own = {name: value for name, value in vars(problem).items() if name not in ("_backbone", "_of_level", "_objective")}
    vars(found).update(copy.deepcopy(own))
    inputs = found._inputs
    tensors = tree_leaves([value for name, value in vars(found).items() if name in own])
    for part in (inputs.content, inputs.content_weights, inputs.guides.planes or {}):
        tensors += part.values()
    statistics = {id(one) for part in (found._total, found._reported) for one in part.values()}
    for tensor in tensors:
        if isinstance(tensor, torch.Tensor):
            shape = (len(tensor), 1, 1) if id(tensor) in statistics else tensor.shape  # they stay symmetric
            factors = 0.6 + 0.4 * torch.rand(shape, generator=generator, dtype=torch.float64)
            tensor.mul_(factors.to(tensor))
    return found


def played(first: optimize.TileProblem, begin: Any) -> Outcome:
    """All that rounds of three tiles of a kind come to."""
    tiles = [other_tile(first, seed) for seed in range(3)]
    states, found = [moments(tile) for tile in tiles], list[torch.Tensor]()
    for which, start, rates in ROUNDS:
        told: list[optimize.TileLosses] = []
        keep = lambda step, losses, told=told: told.append(losses)  # noqa: E731
        after, sums, last = optimize.relax(tiles[which], *states[which], start, rates, keep, begin)
        assert last() == told[-1]
        found += [after.pixels.clone(), *(one.clone() for one in states[which]), *sums.sums.values()]
        found += [*sums.weights.values(), *(torch.tensor([*one.style.values(), one.content, one.tv]) for one in told)]
    return found


def same(one: Outcome, other: Outcome) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "pooling"), [(torch.float32, "avg"), (torch.bfloat16, "max")], ids=str)
def test_replayed_and_not_the_bytes_are_the_same(
    kind: str, dtype: torch.dtype, pooling: str, small_weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "LAUNCHED", 1)
    monkeypatch.setattr(optimize, "on_cpu", lambda tensor: False)  # so that figures are told after a round
    first = tile_problem(load_weights(small_weights), dtype, ringed=True, kind=kind, pooling=pooling)
    tapes = Tapes()
    assert same(played(first, Graphs(lambda: tapes).begin), played(first, optimize.Directly))
    # Of thirteen updates all but the first, or but the first of each of six moves, of which one comes only once.
    assert (tapes.recorded, tapes.replayed) == ((5, 7) if kind == "jitter" else (1, 12))


def test_a_tape_is_no_better_than_a_graph() -> None:
    """Nothing happens while it is recorded, and numbers of Python's stay what they were."""
    counter, total = [0], torch.zeros(2)

    def run() -> None:
        counter[0] += 1
        total.add_(torch.ones(2) * counter[0])

    replay = Tapes()(run)
    assert total.tolist() == [0, 0]
    replay()
    replay()
    assert total.tolist() == [2, 2]
    with pytest.raises(AssertionError):
        Tapes()(lambda: print(float(total[0])))


def counted(problem: optimize.TileProblem, tapes: Tapes, made: Graphs, updates: int = 6) -> int:
    """Recordings after a round."""
    optimize.relax(problem, *moments(problem), 0, [0.01] * updates, begin=made.begin)
    return tapes.recorded


def test_each_kind_is_recorded_once(small_weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    convs, tapes = load_weights(small_weights), Tapes()
    made = Graphs(lambda: tapes)
    plain, regions = (tile_problem(convs, torch.float32, kind=kind) for kind in ("plain", "regions"))
    assert [counted(one, tapes, made) for one in (plain, regions, plain, other_tile(plain, 3))] == [1, 2, 2, 2]
    gone = [weakref.ref(stage) for stage in made._stages.values()]
    gc.disable()
    made.drop()
    gc.enable()
    assert [ref() for ref in gone] == [None, None]
    assert counted(plain, tapes, made, graphs.LAUNCHED) == 2
    assert counted(plain, tapes, made, 1) == 3
    monkeypatch.setattr(optimize.TileProblem, "feedback", 0.5)  # a number, so another kind
    assert counted(plain, tapes, made) == 4


@pytest.mark.parametrize("limit", ["LARGEST_PIXELS", "MOST_STAGES", "MOST_GRAPHS"])
def test_beyond_a_limit_nothing_is_recorded(limit: str, small_weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, limit, 9 * 14 - 1 if limit == "LARGEST_PIXELS" else 0)
    problem, tapes = tile_problem(load_weights(small_weights), torch.float32), Tapes()
    assert counted(problem, tapes, Graphs(lambda: tapes)) == 0
    monkeypatch.setattr(graphs, limit, 9 * 14)
    assert counted(problem, tapes, Graphs(lambda: tapes)) == 1


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (RuntimeError("not while\ncapturing"), "its end fails, too"),
        (torch.OutOfMemoryError("full"), "GPU memory is short"),
    ],
)
def test_what_cannot_be_recorded_goes_on_as_before(error: Exception, why: str, small_weights: str) -> None:
    """In the midst of a round, of a recording that has begun; that it cannot be had is found out once."""
    first, tries = tile_problem(load_weights(small_weights), torch.float32), list[int]()

    def record(run: Callable[[], None]) -> Callable[[], None]:
        tries.append(1)
        if len(tries) == 1:
            return Tapes()(run)
        Tapes()(run)
        raise RuntimeError("its end fails, too") from error

    made = Graphs(lambda: record)
    counted(tile_problem(load_weights(small_weights), torch.float32, kind="regions"), Tapes(), made)
    assert same(played(first, made.begin), played(first, optimize.Directly))
    assert (len(tries), made.off) == (2, why)


def test_nothing_is_recorded_on_a_cpu_nor_where_nobody_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert graphs.graphs_for("cpu", "torch") is None
    assert graphs.graphs_for("cuda", "torch") is None
    assert graphs.graphs_for("cuda", "triton") is not None
    monkeypatch.setenv(graphs.VARIABLE, "off")
    assert graphs.graphs_for("cuda", "triton") is None


def test_room_is_made_before_a_tile_is_too_large(small_weights: str) -> None:
    """Once, and only by what is held."""
    made, calls = Graphs(Tapes), list[str]()
    here = SimpleNamespace(graphs=made)
    full = RuntimeError("CUDA error: out of memory")

    def call(bearable: int) -> str:
        calls.append("")
        if len(calls) <= bearable:
            raise full
        return "done"

    with pytest.raises(RuntimeError, match="out of memory"):
        Workplace.roomy(here, lambda: call(1))  # type: ignore[arg-type]
    assert len(calls) == 1
    counted(tile_problem(load_weights(small_weights), torch.float32), Tapes(), made)
    with pytest.raises(ValueError, match="other"):
        Workplace.roomy(here, lambda: int("other"))  # type: ignore[arg-type]
    assert not made.off
    assert Workplace.roomy(here, lambda: call(2)) == "done"  # type: ignore[arg-type]
    assert (len(calls), made.off, made._stages) == (3, "GPU memory is short", {})


@pytest.mark.parametrize(("kind", "asked"), [("cuda", ["gpu"]), ("mps", [])])
def test_a_worker_takes_its_gpu_before_it_looks_for_one(
    kind: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    job = SimpleNamespace(id="x", device=SimpleNamespace(kind=kind))
    store = SimpleNamespace(attributes={"job": {}}, hold_to=lambda job: None)
    monkeypatch.setattr(workplace.RenderStore, "open", lambda url: store)
    monkeypatch.setattr(workplace.Job, "from_dict", lambda found: job)
    monkeypatch.setattr(workplace, "settle_gpu", lambda: taken.append("gpu"))
    for device in (torch.cuda, torch.backends.mps):
        monkeypatch.setattr(device, "is_available", lambda: False)
    with pytest.raises(RenderError, match="GPU, and the job was begun on one"):
        Workplace(Address("x.zarr", "x"))
    assert taken == asked


def test_what_did_not_fit_is_let_go_before_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the error is held by one of its own frames, which would keep a tile's tensors until garbage is looked
    for."""
    held: list[weakref.ref[torch.Tensor]] = []
    there: list[bool] = []

    def call() -> None:
        there.append(any(one() is not None for one in held))
        if len(there) < 2:
            tile = torch.zeros(3)
            held.append(weakref.ref(tile))
            try:
                raise RuntimeError("CUDA error: out of memory")
            except RuntimeError as error:
                kept = error
            raise kept

    here = SimpleNamespace(graphs=SimpleNamespace(make_room=lambda: True))
    Workplace.roomy(here, call)  # type: ignore[arg-type]
    assert there == [False, False]


# Renders --------------------------------------------------------------------------------------------------------------

FAST = {"mode": "fast", "precision": "fp32", "long_edge": 64, "tile": 32, "levels": 2, "steps": (6, 6), "min_edge": 32}


@pytest.fixture
def taped(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Tapes]:
    """From when it is called, what a worker on a GPU records."""
    tapes = Tapes()

    def use() -> Tapes:
        monkeypatch.setattr(graphs, "LAUNCHED", 1)
        monkeypatch.setattr(workplace, "graphs_for", lambda device, kernels: Graphs(lambda: tapes))
        return tapes

    return use


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "fast"},
        {"mode": "exact", "wrap": "x", "steps": (4, 4)},
        {"jitter": 1, "content_weight": 0, "state": "store"},
        {"tile": 1024},
    ],
    ids=str,
)
def test_renders_are_the_same(render_serially: Callable[..., np.ndarray], taped: Any, options: dict[str, Any]) -> None:
    wanted = {**FAST, **SHALLOW, **options}
    expected = render_serially(**wanted)
    tapes = taped()
    assert np.array_equal(render_serially(**wanted), expected)
    assert tapes.replayed > 0


def test_memory_that_runs_out_costs_the_graphs_first(
    render_serially: Callable[..., np.ndarray], taped: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the midst of a tile's round, whose pixels have changed by then: no tile is cut, no byte differs."""
    expected = render_serially(**FAST, **SHALLOW)
    tapes, heard = taped(), list[dict[str, Any]]()
    update, failed = graphs._Stage.update, list[int]()
    monkeypatch.setattr(SerialPool, "on_report", lambda self, handler: setattr(self, "_handler", heard.append))

    def short(stage: Any, *arguments: Any) -> torch.Tensor:
        if tapes.replayed > 4 and not failed:
            failed.append(1)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return update(stage, *arguments)

    monkeypatch.setattr(graphs._Stage, "update", short)
    assert np.array_equal(render_serially(**FAST, **SHALLOW), expected)
    texts = [event["text"] for event in heard if event["event"] == "note"]
    assert failed
    assert len(texts) == 1
    assert texts[0].endswith(": steps run without CUDA graphs from here on: GPU memory is short")


# On a GPU -------------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_graphs_of_a_gpu(kind: str, dtype: torch.dtype, small_weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded, and with the bytes of steps that are not; its memory is free again once it is dropped."""
    monkeypatch.setattr(graphs, "LAUNCHED", 1)
    first, made = tile_problem(load_weights(small_weights), dtype, device="cuda", kind=kind), Graphs()
    expected = played(first, optimize.Directly)
    for _ in range(2):
        assert same(played(first, made.begin), expected)
        assert not made.off
        assert made._recorded == (5 if kind == "jitter" else 1)
        made.drop()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_what_a_gpu_cannot_record(small_weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a number ends a recording; after that steps run as without it, and on the stream that they ran on."""
    first, made = tile_problem(load_weights(small_weights), torch.bfloat16, device="cuda"), Graphs()
    expected, stream = played(first, optimize.Directly), torch.cuda.current_stream()
    real = optimize.TileProblem.update

    def reading(problem: Any, *arguments: Any) -> Any:
        found = real(problem, *arguments)
        if torch.cuda.is_current_stream_capturing():
            float(found[1].tv)
        return found

    monkeypatch.setattr(optimize.TileProblem, "update", reading)
    assert same(played(first, made.begin), expected)
    assert made.off
    assert torch.cuda.current_stream() == stream
    monkeypatch.setattr(optimize.TileProblem, "update", real)
    assert same(played(first, Graphs().begin), expected)

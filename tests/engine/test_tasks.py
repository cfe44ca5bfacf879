"""What each task asks of a block and gives back, by a workplace and a block that write down what they are asked."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tiler.engine import tasks
from tiler.engine.address import Address, Block
from tiler.engine.home import DEVICE
from tiler.geometry import Rect, TileGrid
from tiler.geometry.blocks import root, shares
from tiler.style.guides import Areas
from tiler.style.terms import ROUGHNESS

GRID = TileGrid(48, 96, 32, 32)
WHERE = Address("s.zarr", "x", "run")
PARTS = tuple(shares(GRID, 2))
LAYERS = ("relu1_1", "relu3_1")


def block(*, alone: bool = False) -> Block:
    return Block(3, "attempt", ((root(GRID),),) if alone else PARTS, 0 if alone else 1, DEVICE)


class Held:
    """A block's tiles. found: what its methods give."""

    border, interior, tiles = "border", "interior", "tiles"

    def __init__(self, **found: Any) -> None:
        self.told: list[tuple[Any, ...]] = []
        self._found = found

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            self.told.append((name, *given))
            found = self._found.get(name)
            return found(*given) if callable(found) else found

        return call

    def total(self, state: int, find: Callable[[], Any]) -> Any:
        return find()

    def names(self) -> list[tuple[Any, ...]]:
        """What it was asked, but for a round's totals and reporters."""
        return [
            (one[0], one[1].state, one[1].start, one[1].steps, one[2]) if one[0] == "relax" else one
            for one in self.told
        ]


def sums_of(holding: Any, state: int) -> dict[Any, dict[str, torch.Tensor]]:
    return {node: {"relu1_1": torch.full((1, 2, 2), state + 0.5)} for node in PARTS[1]}


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """placed(held): a workplace that holds it."""

    def make(holding: Held | None = None, *, exact: bool = False, **more: Any) -> Any:
        cut = SimpleNamespace(
            measures_every_round=lambda level: {3: exact}[level],
            grid=lambda level: {3: GRID}[level],
            rest=lambda level: more.get("rest_grid"),
        )
        device = SimpleNamespace(kind="cpu", state_dtype="float32")
        job = SimpleNamespace(cut=cut, device=device, terms=SimpleNamespace(layers=LAYERS), **more.pop("job", {}))
        here = SimpleNamespace(
            job=job, compute=lambda function, *given: function(*given), dtype=torch.float32, told=list[Any](), **more
        )
        here.check_run = lambda: here.told.append("check")
        monkeypatch.setattr(tasks, "workplace", lambda address: {WHERE: here}[address])
        monkeypatch.setattr(tasks, "reporter", lambda: "send")
        for name in ("held", "hold"):
            monkeypatch.setattr(tasks, name, lambda here, block, name=name: here.told.append((name, block)) or holding)
        return here

    return make


# The blocks of a level --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "slot", "exact", "alone", "sums"),
    [
        (0, None, False, False, False), (4, 1, False, False, True), (4, 0, True, False, False),
        (4, 1, False, True, False), (0, 1, False, False, False),
    ],
)  # fmt: skip
def test_a_block_begins_with_a_checkpoint_or_seeded_and_says_what_others_need(
    state: int, slot: int | None, exact: bool, alone: bool, sums: bool, placed: Callable[..., Any]
) -> None:
    holding = Held(losses={5: (1.0, 2.0)}, strips=lambda state: {0: {("pixels", 3): state}})
    holding._found["sums"] = lambda state: sums_of(holding, state)
    here, mine = placed(holding, exact=exact), block(alone=alone)
    found = tasks.begin(WHERE, mine, state, slot)
    assert here.told == [("hold", mine)]
    assert holding.told[0] == (("seed",) if slot is None else ("restore", slot, state))
    assert found.keys() == {"state", "losses", "strips"} | ({"sums"} if sums else set())
    assert (found["state"], found["losses"]) == (state, {5: (1.0, 2.0)})
    assert found["strips"] == {0: {("pixels", 3): state}}
    if sums:
        assert {node: float(one["relu1_1"].max()) for node, one in found["sums"].items()} == dict.fromkeys(
            PARTS[1], state + 0.5
        )
    asked = [("losses", state), ("strips", state), *([("sums", state)] if sums else [])]
    assert sorted(holding.told[1:]) == sorted(asked)


def test_a_block_is_measured_with_what_others_sent(placed: Callable[..., Any]) -> None:
    holding = Held(sums=lambda state: sums_of(None, state))
    here = placed(holding)
    found = tasks.measure(WHERE, block(), 4, ["theirs"])  # type: ignore[list-item]
    assert here.told == [("held", block())]
    assert holding.told == [("receive", 4, ["theirs"]), ("measure", 4), ("sums", 4)]
    assert found.keys() == {*PARTS[1]}


def test_a_round_goes_over_the_border_and_then_over_what_nobody_sees(placed: Callable[..., Any]) -> None:
    holding = Held(losses=lambda state: {0: state}, strips=lambda state: {0: state}, sums=lambda s: sums_of(None, s))
    placed(holding)
    total = {"relu1_1": torch.full((1, 2, 2), 3.0)}
    sent: Any = ["theirs"]
    assert tasks.relax_border(WHERE, block(), 4, (20, 5), total, sent) == {0: 5}
    assert holding.names() == [("receive", 4, ["theirs"]), ("relax", 4, 20, 5, "border"), ("strips", 5)]
    assert holding.told[1][1].total == total
    assert holding.told[1][3] == "send"
    holding.told.clear()
    found = tasks.relax_interior(WHERE, block(), 4, (20, 5), total, None)
    assert holding.names() == [("relax", 4, 20, 5, "interior"), ("losses", 5), ("sums", 5)]
    assert holding.told[0][1].total == total
    assert holding.told[0][3] == "send"
    assert (found["state"], found["losses"], found.keys()) == (5, {0: 5}, {"state", "losses", "sums"})


@pytest.mark.parametrize(
    ("newest", "seconds", "relaxed"),
    [
        (-1, 5.0, [2]), (2, 5.0, [2]), (2, 5.5, [2, 3]), (2, 10.0, [2, 3]), (2, 10.5, [2, 3, 4]), (2, 99.0, [2, 3, 4]),
        (3, 99.0, [3, 4]), (3, 0.0, [3]), (5, 99.0, []),
    ],
)  # fmt: skip
def test_a_block_alone_does_the_rounds_that_begin_in_time_and_none_twice(
    newest: int, seconds: float, relaxed: list[int], placed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of five seconds each; the first in any case."""
    clock = [100.0]
    monkeypatch.setattr(tasks, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    totals: list[tuple[int, int]] = []

    def relax(*given: Any) -> None:
        clock[0] += 5

    holding = Held(relax=relax, newest=newest, sums=lambda state: state, losses=lambda state: {0: state})
    placed(holding)
    monkeypatch.setattr(
        tasks, "add_up", lambda address, level, parts: totals.append((level, *parts)) or {"a": torch.ones(1)}
    )
    found = tasks.advance(WHERE, block(alone=True), 2, [(10, 5), (15, 5), (20, 3)], seconds)
    steps = {2: (10, 5), 3: (15, 5), 4: (20, 3)}
    assert [one for one in holding.names() if one[0] == "relax"] == [
        ("relax", state, *steps[state], "tiles") for state in relaxed
    ]
    assert totals == [(3, state) for state in relaxed]
    reached = max([newest, 2, *(state + 1 for state in relaxed)])
    assert found == {"state": reached, "losses": {0: reached}}
    assert not [one for one in holding.told if one[0] == "measure"]


@pytest.mark.parametrize(("state", "exact", "measured"), [(0, False, True), (1, False, False), (1, True, True)])
def test_a_block_alone_is_measured_where_its_tiles_reported_nothing(
    state: int, exact: bool, measured: bool, placed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    holding = Held(newest=-1, sums="sums")
    placed(holding, exact=exact)
    monkeypatch.setattr(tasks, "add_up", lambda *given: {"a": torch.ones(1)})
    tasks.advance(WHERE, block(alone=True), state, [(0, 1)], 0.0)
    asked = [one for one in holding.told if one[0] in ("measure", "sums")]
    assert asked == [("measure", state)] * measured + [("sums", state)]


def test_what_a_task_says_of_a_checkpoint_goes_to_its_block(placed: Callable[..., Any]) -> None:
    holding = Held()
    here = placed(holding)
    for call, told in (
        (lambda: tasks.checkpoint(WHERE, block(), 6, 1), [("checkpoint", 6, 1)]),
        (lambda: tasks.settle(WHERE, block()), [("settle",)]),
        (lambda: tasks.finish(WHERE, block(), 6, [{}]), [("receive", 6, [{}]), ("finish", 6)]),
    ):
        assert call() == {}
        assert holding.told == told
        assert here.told == [("held", block())]
        holding.told.clear()
        here.told.clear()


def test_who_lets_a_block_go_gives_its_room_back_and_does_so_again(placed: Callable[..., Any]) -> None:
    made: list[str] = []
    here = placed(None, held={("attempt", 1): "mine", ("attempt", 0): "another"}, make_room=lambda: made.append("room"))
    for _ in range(2):
        assert tasks.let_go(WHERE, block()) == {}
    assert here.held == {("attempt", 0): "another"}
    assert made == ["room"] * 2


@pytest.mark.parametrize("total", [{"relu1_1": torch.full((1, 2, 2), 3.0)}, None])
def test_a_level_is_graded_by_its_total_or_by_its_one_block(
    total: Any, placed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def terms(found: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], None]:
        return {layer: value.max() / 2 for layer, value in found.items()}, None

    holding = Held(sums=lambda state: f"sums {state}")
    placed(holding, objective=lambda level: {3: SimpleNamespace(style_terms=terms)}[level])
    added: list[Any] = []
    monkeypatch.setattr(
        tasks, "add_up", lambda address, level, parts: added.append((level, parts)) or {"relu3_1": torch.ones(2)}
    )
    assert tasks.grade(WHERE, block(), 7, total) == ({"relu1_1": 1.5} if total else {"relu3_1": 0.5})
    assert added == ([] if total else [(3, ["sums 7"])])


# Sums -------------------------------------------------------------------------------------------------------------


def parts_of(grid: TileGrid, layers: tuple[str, ...] = LAYERS) -> list[dict[Any, dict[str, torch.Tensor]]]:
    """Of two workers, whose sums come to 6 and 60 in the first of two regions and to 12 and 120 in the other."""
    found = []
    for number, nodes in enumerate(shares(grid, 2)):
        worth = [(2.0, 4.0)[number], *[0.0] * (len(nodes) - 1)]
        regions = torch.tensor([1.0, 2.0], dtype=torch.float64)[:, None, None].expand(2, 3, 3)
        each = zip(nodes, worth, strict=True)
        found.append({node: {layer: part * 10**k * regions for k, layer in enumerate(layers)} for node, part in each})
    return found


def test_a_level_s_total_is_by_cell_of_each_region_and_rounded_as_its_state(placed: Callable[..., Any]) -> None:
    """A region that the level is too small for has no cells, and is not divided by them."""
    areas = Areas((0.5, 0.5), {"relu1_1": (3.0, 0.0), "relu3_1": (0.5, 4.0)})
    placed(level_areas=lambda level: {3: areas}[level])
    found = tasks.add_up(WHERE, 3, parts_of(GRID))
    assert {layer: one[:, 1, 2].tolist() for layer, one in found.items()} == {
        "relu1_1": [2.0, 12.0], "relu3_1": [120.0, 30.0],
    }  # fmt: skip
    assert {one.dtype for one in found.values()} == {torch.float32}


def test_what_stays_as_it_was_is_part_of_a_level_s_total(placed: Callable[..., Any]) -> None:
    areas = Areas((0.5, 0.5), dict.fromkeys(LAYERS, (2.0, 4.0)))
    rest = {
        layer: torch.full((2, 3, 3), worth, dtype=torch.float64) for layer, worth in zip(LAYERS, (8, 16), strict=True)
    }
    placed(level_areas=lambda level: areas, rest=lambda level: {3: rest}[level], rest_grid=GRID)
    found = tasks.add_up(WHERE, 3, parts_of(GRID))
    assert {layer: one[:, 1, 2].tolist() for layer, one in found.items()} == {
        "relu1_1": [7.0, 5.0], "relu3_1": [38.0, 34.0],
    }  # fmt: skip


class Wrote:
    """A store that writes down what it is told to keep."""

    def __init__(self, here: list[Any]) -> None:
        self._here = here

    def write_totals(self, path: str, totals: dict[str, np.ndarray]) -> None:
        found = {layer: (value[:, 0, 0].tolist(), value.dtype.name) for layer, value in totals.items()}
        self._here.append((path, found))


def test_a_style_s_total_is_by_cell_of_what_counts_and_its_roughness_by_pixel(placed: Callable[..., Any]) -> None:
    """Of a picture of 48 x 96 pixels of which a quarter counts: 1152."""
    asked: list[Any] = []
    areas = Areas((0.25,), {"relu1_1": (2.0,), "relu3_1": (4.0,)})
    job = {
        "style_grid": lambda level, style: {(2, 5): GRID}[level, style],
        "style_guides_path": lambda level, style: f"{level}/{style}/guides",
    }
    here = placed(job=job, areas=lambda *given: asked.append(given) or areas)
    here.store = Wrote(here.told)
    parts = [
        {node: {layer: value[:1] for layer, value in sums.items()} for node, sums in part.items()}
        for part in parts_of(GRID, (*LAYERS, ROUGHNESS))
    ]
    assert tasks.add_up_style(WHERE, 2, 5, parts) == {}
    assert asked == [("2/5/guides", LAYERS, 48, 96)]
    expected = {"relu1_1": ([3.0], "float32"), "relu3_1": ([15.0], "float32"),
                ROUGHNESS: ([float(np.float32(600 / 1152))], "float32")}  # fmt: skip
    assert here.told == ["check", ("styles/2/5", expected)]


def test_what_stays_is_kept_in_full_and_not_by_cell(placed: Callable[..., Any]) -> None:
    here = placed(rest_grid=GRID)
    here.store = Wrote(here.told)
    assert tasks.add_up_rest(WHERE, 3, parts_of(GRID)) == {}
    expected = {"relu1_1": ([6.0, 12.0], "float64"), "relu3_1": ([60.0, 120.0], "float64")}
    assert here.told == ["check", ("levels/3/rest", expected)]


def test_guides_are_added_up_band_by_band_and_kept_beside_them(placed: Callable[..., Any]) -> None:
    here = placed(tensor=torch.tensor)
    planes = np.zeros((2, 5, 8))
    planes[0, :2], planes[1, 2:] = 1, 1
    here.store = SimpleNamespace(
        picture_bands=lambda path: {"a/guides": (planes[:, :3], planes[:, 3:])}[path],
        write_areas=lambda path, found: here.told.append((path, found)),
    )
    assert tasks.add_up_guides(WHERE, "a/guides", ("relu1_1",)) == {}
    check, (path, found) = here.told
    assert (check, path) == ("check", "a/guides")
    assert found["shares"] == pytest.approx((0.4, 0.6))
    assert found["weights"]["relu1_1"] == pytest.approx((16, 24))


def test_maps_of_colours_are_told_as_lists(placed: Callable[..., Any]) -> None:
    placed(match_content=lambda: [np.eye(3, 4), np.full((3, 4), 0.5)])
    assert tasks.match_colours(WHERE) == {tasks.COLOURS: [np.eye(3, 4).tolist(), [[0.5] * 4] * 3]}


# Tiles ------------------------------------------------------------------------------------------------------------


def test_a_style_tile_without_anything_that_counts_has_sums_of_0(placed: Callable[..., Any]) -> None:
    grid = TileGrid(32, 64, 32, 32)
    job = {
        "style_grid": lambda level, style: {(2, 1): grid}[level, style],
        "measured": {"relu1_1": (3, 2), ROUGHNESS: (1, 2)},
    }
    placed(job=job, style_guides=lambda level, style, rect: ((), np.zeros((0, rect.height, rect.width))))
    node = root(grid)
    found = tasks.measure_style(WHERE, 2, 1, node)[node]
    assert {name: (tuple(one.shape), one.dtype) for name, one in found.items()} == {
        "relu1_1": ((1, 3, 2), torch.float64), ROUGHNESS: ((1, 1, 2), torch.float64),
    }  # fmt: skip
    assert not any(one.any() for one in found.values())


@pytest.mark.parametrize("counted", [False, True])
def test_a_style_tile_is_measured_over_its_core_with_what_counts(
    counted: bool, placed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, asked = TileGrid(48, 40, 32, 32, halo=8), list[Any]()
    box = grid.tile(1).read
    planes = ((0,), np.full((1, box.height, box.width), 0.5) if counted else None)
    pixels = np.random.default_rng(1).random((3, box.height, box.width))

    def measured(*given: Any) -> Any:
        asked.append(given)
        return SimpleNamespace(sums={"relu1_1": torch.ones(1, 2, 2, dtype=torch.float32)})

    job = {"style_grid": lambda level, style: {(2, 1): grid}[level, style]}
    here = placed(
        job=job, tensor=torch.tensor, backbones="backbones", shaped=lambda shape: here.told.append(tuple(shape)),
        style_guides=lambda level, style, rect: {(2, 1, box): planes}[level, style, rect],
        guides=lambda regions, planes, layers: ("guides", regions, planes is None, layers),
        store=SimpleNamespace(read_picture=lambda path, rect: {("styles/2/1/picture", box): pixels}[path, rect]),
    )  # fmt: skip
    here.job.terms.means = "means"
    monkeypatch.setattr(tasks.finite, "measured", measured)
    seen: list[Any] = []
    monkeypatch.setattr(tasks, "roughness_sums", lambda *given: seen.append(given) or torch.zeros(1, 1, 2))
    found = tasks._style_tile(here, 2, 1, 1)
    assert here.told == [tuple(pixels.shape)]
    core = Rect(0, 16, 32, 24)
    backbones, tensor, layers, inner, guides, means, what = asked[0]
    assert (backbones, layers, inner, means, what) == ("backbones", LAYERS, core, "means", "styles/2/1, tile 1")
    assert guides == ("guides", (0,), not counted, LAYERS)
    assert torch.equal(tensor, torch.tensor(pixels))
    assert torch.equal(seen[0][0], tensor)
    assert seen[0][1] == core
    assert (seen[0][2] == 0.5).all() if counted else seen[0][2] is None
    assert found.keys() == {"relu1_1", ROUGHNESS}
    assert found["relu1_1"].dtype == torch.float64


def test_a_tile_that_stays_is_measured_as_it_was_in_all_regions(
    placed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, asked = TileGrid(48, 40, 32, 32, halo=8), list[Any]()
    box, pixels = Rect(24, 8, 48, 40), torch.rand(3, 24, 32)
    sums = torch.rand(1, 2, 2)
    monkeypatch.setattr(tasks, "before", lambda here, level, rect: {(3, box): (pixels, None)}[level, rect])
    monkeypatch.setattr(
        tasks.finite, "measured", lambda *given: asked.append(given) or SimpleNamespace(sums={"relu1_1": sums})
    )
    here = placed(
        rest_grid=grid,
        job={"measure_box": lambda tile: {3: box}[tile.index], "styles": SimpleNamespace(regions=("a", "b", "c"))},
        level_guides=lambda level, rect: {(3, box): ((1,), "planes")}[level, rect],
        guides=lambda *given: given, backbones="backbones", shaped=lambda shape: here.told.append(tuple(shape)),
    )  # fmt: skip
    here.job.terms.style_layers, here.job.terms.means = ("relu1_1",), "means"
    found = tasks._rest_tile(here, 3, grid.tile(3))
    assert torch.equal(found["relu1_1"], torch.stack([0 * sums[0], sums[0], 0 * sums[0]]).double())
    backbones, tensor, layers, core, guides, means, what = asked[0]
    assert (backbones, layers, means, what) == ("backbones", ("relu1_1",), "means", "level 4, tile 3")
    assert core == Rect(8, 24, 24, 32)
    assert tensor is pixels
    assert guides == ((1,), "planes", ("relu1_1",))
    assert here.told == [(3, 24, 32)]
    node = root(grid)
    monkeypatch.setattr(tasks, "_rest_tile", lambda here, level, tile: {"a": torch.full((1,), level + tile.index)})
    assert tasks.measure_rest(WHERE, 3, node) == {node: {"a": torch.full((1,), 3 * 4 + 6)}}

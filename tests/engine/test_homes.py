"""Where the state lives and how many blocks it is cut into does not show, whatever is asked for."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiler.engine.holding import Holding
from tiler.engine.inputs import LevelInputs
from tiler.engine.resident import Resident
from tiler.planning.homes import held_bytes

# All pairs of what two columns can be occur.
CASES = [
    ("regions", "none", "fast", "store", 1),
    ("regions", "x", "exact", "device", 2),
    ("regions", "y", "fast", "host", 4),
    ("regions", "xy", "exact", "store", 4),
    ("protect", "none", "exact", "host", 2),
    ("protect", "x", "fast", "store", 4),
    ("protect", "y", "exact", "device", 1),
    ("protect", "xy", "fast", "device", 4),
    ("chroma", "none", "fast", "device", 4),
    ("chroma", "x", "exact", "host", 1),
    ("chroma", "y", "fast", "store", 2),
    ("chroma", "xy", "exact", "host", 2),
    ("dream", "none", "exact", "store", 2),
    ("dream", "x", "fast", "host", 4),
    ("dream", "y", "exact", "device", 2),
    ("dream", "xy", "fast", "device", 1),
]
# Uneven last tiles: 32 and 24 or less.
SMALL: dict[str, Any] = dict(
    long_edge=56, levels=2, steps=(1, 3), tile=32, feather=6, halo=16, steps_per_round=1, precision="fp32",
    style_layers=("relu1_1", "relu2_1", "relu3_1"), content_layers=("relu2_2",),
)  # fmt: skip


@pytest.fixture(scope="module")
def asked(pictures_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Options, by what is asked for."""
    mask, style = tmp_path_factory.mktemp("mask") / "mask.png", str(pictures_dir / "style.png")
    plane = np.clip((80 - np.arange(219)) * 25, 0, 255).astype(np.uint8)
    Image.fromarray(np.tile(plane, (173, 1))).save(mask)
    return {
        "regions": dict(
            lines=20.0, region=(f"r={pictures_dir / 'content.png'}",), mask=(f"r={mask}",), style_mask=(f"r={mask}",)
        ),
        "protect": dict(protect=str(mask), keep_detail=True),
        "chroma": dict(color="content", styles=(style, str(pictures_dir / "content.png")), style_blend_weights=(2, 1)),
        "dream": dict(style_weight=0.0, content_weight=0.0, dream_weight=1.0, dream_layer="relu3_1", jitter=9),
    }


def test_cases_cover_all_pairs() -> None:
    columns = [sorted({str(value) for value in column}) for column in zip(*CASES, strict=True)]
    for one, other in itertools.combinations(range(len(columns)), 2):
        found = {(str(case[one]), str(case[other])) for case in CASES}
        missing = {*itertools.product(columns[one], columns[other])} - found
        assert not missing


@pytest.mark.parametrize(("what", "wrap", "mode", "home", "blocks"), CASES)
def test_the_same_bytes(
    render_serially: Callable[..., np.ndarray], last_report: Callable[[], dict[str, Any]], asked: dict[str, Any],
    what: str, wrap: str, mode: str, home: str, blocks: int,
) -> None:  # fmt: skip
    options = {**SMALL, **asked[what], "wrap": wrap, "mode": mode}
    expected, said = render_serially(state="device", **options), last_report()
    assert expected.std() > 0.01
    assert render_serially(blocks, state=home, **options).tobytes() == expected.tobytes()
    assert {**last_report(), "seconds": 0} == {**said, "seconds": 0}


@pytest.mark.parametrize("what", ["regions", "protect"])
def test_what_a_level_holds_is_what_a_plan_counts(
    render_serially: Callable[..., np.ndarray], asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """So the share of the memory that `auto` keeps to is kept."""
    finish, put = Holding.finish, Resident.put
    found, most = list[tuple[int, int]](), [0]

    def kept(self: Resident, *what: Any) -> None:
        put(self, *what)
        rooms = [*self._rooms._free, *(room for _, room in self._found.values())]
        sums = [one for kept, _ in self._found.values() for one in kept.grams.values()]
        tensors = [*sums, *(part for room in rooms for part in (room.pixels, room.moments))]
        most.append(max(most.pop(), sum(tensor.nbytes for tensor in tensors)))

    def finished(self: Holding, state: int) -> None:
        inputs = sum(one.held_bytes for one in self._inputs._kept.values())
        found.append((most.pop() + inputs, sum(held_bytes(self._here.job, self._block.level, "device", 1))))
        most.append(0)
        finish(self, state)

    monkeypatch.setattr(Holding, "finish", finished)
    monkeypatch.setattr(Resident, "put", kept)
    render_serially(state="device", **{**SMALL, **asked[what], "mode": "fast"})
    assert len(found) == 2
    for held, planned in found:
        assert 0.8 * planned < held <= 1.01 * planned


@pytest.mark.parametrize("state", ["device", "store"])
def test_what_tiles_lie_on_is_read_beside_computing(
    render_serially: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    threads: dict[str, set[int]] = {"read": set(), "of": set()}
    for name, seen in threads.items():
        whole = getattr(LevelInputs, name)

        def watched(*what: Any, whole: Any = whole, seen: set[int] = seen) -> Any:
            seen.add(threading.get_ident())
            return whole(*what)

        monkeypatch.setattr(LevelInputs, name, watched)
    render_serially(state=state, **SMALL)
    assert threads["read"]
    assert len(threads["of"]) == 1
    assert not threads["read"] & threads["of"]

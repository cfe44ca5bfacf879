"""Plans, proofs, retouches, and what is done to a render that is watched: each with what it was asked for."""

from __future__ import annotations

import base64
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tiler.errors import ConfigError, RenderError, StoreError
from tiler.planning.plan import Plan
from tiler.request.config import RenderConfig
from tiler.series.foretelling import Foretold
from tiler.series.proof import spot
from tiler.studio import errands, steering
from tiler.studio.errands import Planning, Proofing, Retouching, checked_spot, decoded
from tiler.studio.folder import Folder
from tiler.studio.steering import Steered, kept

CONFIG = RenderConfig(content="c.png", styles=("s.png",), output="p.png")
POOL: Any = SimpleNamespace()
PLAN = Plan(**{**dict.fromkeys(Plan.__dataclass_fields__, 0), "refusal": "no room"})


def _never() -> bool:
    return False


def _deaf(event: dict[str, Any]) -> None:
    pass


def test_a_plan_says_its_notes_and_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    def planned(config: RenderConfig, notes: list[str], pool: Any) -> Any:
        assert (config, pool) == (CONFIG, POOL)
        notes += ["one", "two"]
        return PLAN

    monkeypatch.setattr(errands, "plan", planned)
    monkeypatch.setattr(errands, "free_disk", {"p.png": 4321}.get)
    task, heard = Planning(CONFIG, str.upper), []
    before = task.told()
    assert (before["plan"], before["free_bytes"], before["error"]) == (None, 4321, "")
    task.work(POOL, _never, heard.append)
    assert heard == [{"event": "note", "text": "one"}, {"event": "note", "text": "two"}]
    assert task.told()["plan"] == {**asdict(PLAN), "refusal": "NO ROOM"}


def test_a_proof_is_made_in_the_studio_s_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def proof(config: RenderConfig, at: Any, edge: int, progress: Any, pool: Any, **more: Any) -> None:
        progress({"event": "plan", "part": "a part"})
        progress({"event": "step", "part": "no part"})
        asked.append((config, at, edge, pool, more))

    monkeypatch.setattr(errands, "proof", proof)
    monkeypatch.setattr(errands, "foretold", lambda url: Foretold(0.25, 0.5) if url.endswith("/proof.zarr") else None)
    task, heard = Proofing(Folder(tmp_path), CONFIG, (0.25, 0.75), 64), []
    before = task.told()
    assert (before["there"], before["foretells"], before["part"], before["at"]) == (False, None, "", (0.25, 0.75))
    task.work(POOL, _never, heard.append)
    ((config, *given, more),) = asked
    place = Path(str(config.output)).parent
    assert given == [(0.25, 0.75), 64, POOL]
    assert more == {"force_new": True, "cancelled": _never}  # nothing readable is there
    assert place.parent == tmp_path / ".tiler-studio" / "proofs"
    assert (config.output, config.store) == (str(place / "proof.png"), str(place / "proof.zarr"))
    assert task.file == place / "proof.png"
    assert [event["event"] for event in heard] == ["plan", "step"]
    after = task.told()
    assert (after["there"], after["part"]) == (True, "a part")
    assert after["foretells"] == {"known": 0.25, "error": 0.5}


@pytest.mark.parametrize(
    ("at", "edge", "attributes", "anew"),
    [
        ((0.25, 0.75), 64, {}, False),
        ((0.25, 0.5), 64, {}, True),
        ((0.25, 0.75), 65, {}, True),
        ((0.25, 0.5), 65, {"wrote": "p.png"}, False),
    ],
)
def test_what_was_begun_of_another_spot_makes_way(
    monkeypatch: pytest.MonkeyPatch, at: tuple[float, float], edge: int, attributes: dict[str, str], anew: bool
) -> None:
    before = RenderConfig(content="c.png", styles=("s.png",), output="p.png", at=spot((0.25, 0.75)), edge=64)
    opened = {("/x/proof.zarr", False): SimpleNamespace(attributes=attributes)}
    monkeypatch.setattr(errands.RenderStore, "open", lambda url, writable: opened[url, writable])
    monkeypatch.setattr(errands.identity, "asked_for", lambda url, attributes: before)
    config = RenderConfig(content="c.png", styles=("s.png",), output="p.png", store="/x/proof.zarr")
    assert errands._is_other(config, at, edge) is anew


def test_a_retouch_has_its_mask_as_long_as_it_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, asked, error = Folder(tmp_path), [], None

    def retouch(url: str, mask: str, output: str, changes: Any, feather: int, **more: Any) -> None:
        asked.append((url, Path(mask).read_bytes(), output, changes, feather, more))
        if error:
            raise error

    monkeypatch.setattr(errands, "retouch", retouch)
    task = Retouching(held, "/p.zarr", b"mask", "/q/p-retouched.png", {"seed": 3}, 7)
    assert task.told()["name"] == ""
    error = RenderError("out of luck")
    with pytest.raises(RenderError):
        task.work(POOL, _never, _deaf)
    assert (task.told()["name"], list(held.own.iterdir())) == ("", [])
    error = None
    task.work(POOL, _never, _deaf)
    assert task.told()["name"] == "", "it is not done before its bench says so"
    task.done = True
    assert task.told()["name"] == "p-retouched"
    assert list(held.own.iterdir()) == []
    hears = {"progress": _deaf, "pool": POOL, "cancelled": _never}
    assert asked == [("/p.zarr", b"mask", "/q/p-retouched.png", {"seed": 3}, 7, hears)] * 2


def test_a_picture_is_sent_as_a_data_address() -> None:
    assert decoded("data:image/png;base64," + base64.b64encode(b"\x00picture").decode()) == b"\x00picture"
    for wrong in (None, 3, ["data:;base64,aaaa"], "data:;base64,a", "data:;base64,aa a", "data:;base64,ää=="):
        with pytest.raises(ConfigError, match=r"^mask: allowed: a PNG as a data address$"):
            decoded(wrong)


@pytest.mark.parametrize(
    ("at", "edge", "found"),
    [([0, 1], 16, ((0.0, 1.0), 16)), ([1, 0], 2048, ((1.0, 0.0), 2048)), ([0.25, 0.75], 64, ((0.25, 0.75), 64))],
)
def test_a_spot_is_two_shares_and_an_edge(at: Any, edge: Any, found: Any) -> None:
    assert checked_spot(at, edge) == found


@pytest.mark.parametrize(
    ("at", "edge"),
    [([0, 1], 15), ([0, 1], 2049), ([0, 1], 64.0), ([0, 1], True), ([0, 1], "64"), ([1.01, 0], 64), ([0, 1.01], 64),
     ([-0.01, 0], 64), ([0, -0.01], 64), ([0, 1, 0], 64), (["0", 1], 64), (None, 64), ([float("nan"), 0], 64)],
)  # fmt: skip
def test_what_is_no_spot(at: Any, edge: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        checked_spot(at, edge)
    assert str(caught.value) == f"at = {at}, edge = {edge}; allowed: two shares, and 16 to 2048 px"


# Keeping what there is -----------------------------------------------------------------------------------------------


def _level(report: Any = None, whole: Any = None, steps_done: int = 0) -> Any:
    return SimpleNamespace(report=report, whole=whole, steps_done=steps_done)


@pytest.mark.parametrize(
    ("levels", "which"),
    [
        ([_level({}), _level({}), _level()], 1),
        ([_level({}), _level(None, (3, 1), 2), _level()], 1),
        ([_level({}), _level(None, (0, 1), 0)], 0),
        ([_level({}), _level(None, None, 3)], 0),
        ([_level({}), _level({}), _level({})], 2),
        ([_level(None, (1, 0), 1), _level()], 0),
    ],
)
def test_the_finest_level_that_is_to_be_seen_as_a_whole_is_kept(
    monkeypatch: pytest.MonkeyPatch, levels: list[Any], which: int
) -> None:
    written: list[Any] = []
    monkeypatch.setattr(steering.Watched, "of", lambda url: SimpleNamespace(levels={"/p.zarr": levels}[url]))
    monkeypatch.setattr(steering, "export", lambda *given: written.append(given))
    assert Steered("/p.zarr", "so-far.png").keep(None) == "so-far.png"  # type: ignore[arg-type]
    assert written == [("/p.zarr", "so-far.png", which)]


def test_of_nothing_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steering.Watched, "of", lambda url: SimpleNamespace(levels=[_level(), _level(None, (0, 1))]))
    monkeypatch.setattr(steering, "export", pytest.fail)
    with pytest.raises(StoreError, match=r"^store /p\.zarr: nothing is to be seen of it yet$"):
        kept("/p.zarr", "so-far.png")


def test_a_page_stops_the_one_render_that_it_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[str] = []
    monkeypatch.setattr(steering, "stop_writer", stopped.append)
    Steered("/p.zarr", "so-far.png").stop(None)  # type: ignore[arg-type]
    assert stopped == ["/p.zarr"]

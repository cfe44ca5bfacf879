"""What is looked at of a level that is finished and of one that is not; of a store that notes what is asked for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tiler.errors import DamageError
from tiler.geometry import Rect, TileGrid
from tiler.output import verify as module
from tiler.output.verify import verify

GRIDS = TileGrid(32, 48, 32, 48), TileGrid(64, 96, 32, 32, feather=8)


class Cut:
    levels = (None, None)

    def grid(self, level: int) -> TileGrid:
        return GRIDS[level]

    def read(self, level: int) -> str:
        return f"of {level}"

    def read_below(self, level: int) -> str:
        return f"below {level}"

    def measures_every_round(self, level: int) -> bool:
        return False


JOB: Any = SimpleNamespace(
    cut=Cut(), look=SimpleNamespace(images=("image", "poster")), styles=SimpleNamespace(count=2),
    measured={"relu1_1": 1, "roughness": 2}, terms=SimpleNamespace(style_layers=("relu1_1", "relu2_1")),
    guides_path=lambda level: f"levels/{level}/guides", protect_path=lambda level: None,
    style_guides_path=lambda level, style: f"styles/{level}/{style}/guides" if style else None,
)  # fmt: skip


class Store:
    """Keeps what is read of it; of damaged paths it says so."""

    url = "s"

    def __init__(self, finished: Any = (), damaged: Any = (), marks: Any = (), absent: Any = ()) -> None:
        self.finished, self.damaged, self.marks, self.absent = set(finished), set(damaged), np.array(marks), set(absent)
        self.read: list[Any] = []

    def _seen(self, path: str, *what: Any) -> bool:
        self.read.append((path, *what))
        if path in self.damaged:
            raise DamageError(f"{path} {len(self.read)}", path)
        return True

    def level_report(self, level: int) -> Any:
        return {} if level in self.finished else None

    def has_picture(self, path: str) -> bool:
        return path not in self.absent

    def read_back(self, path: str, read: Any) -> None:
        self._seen(path, read)

    def read_image(self, level: int, rect: Rect, name: str) -> None:
        self._seen(f"levels/{level}/{name}", rect)

    def has_totals(self, path: str, layers: list[str]) -> bool:
        assert layers == ["relu1_1", "roughness"]
        return path not in self.absent

    def read_total(self, path: str, layer: str) -> None:
        self._seen(f"{path}/{layer}")

    def state_path(self, level: int) -> str:
        return f"levels/{level}/state"

    def has(self, path: str) -> bool:
        return path == "levels/1/state/marks" and bool(len(self.marks))

    def read_marks(self, path: str) -> None:
        self._seen(f"{path}/marks")

    def states(self, path: str) -> np.ndarray:
        return self.marks

    def read_patch(self, level: int, slot: int, index: int, rect: Rect, kind: str) -> None:
        self._seen(kind, level, slot, index, rect)

    def read_loss(self, level: int, slot: int, index: int) -> None:
        self._seen("loss", level, slot, index)

    def read_grams(self, path: str, slot: int, index: int, layer: str) -> None:
        self._seen("grams", path, slot, index, layer)


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> Any:
    """verified(store) -> its faults."""

    def run(store: Store, job: Any = JOB) -> list[str]:
        monkeypatch.setattr(module.RenderStore, "open", lambda *what, **how: store)
        monkeypatch.setattr(module.identity, "load_job", lambda found: job)
        return verify("s")

    return run


def test_of_a_finished_level_its_images_and_its_transparency_are_read(verified: Any) -> None:
    store = Store(finished={0, 1})
    assert verified(store) == []
    cores = [tile.core for tile in GRIDS[1]]
    assert len(cores) == 6
    assert store.read == [
        *((f"levels/0/{name}", Rect(0, 0, 32, 48)) for name in ("image", "poster")), ("levels/0/alpha", "of 0"),
        *((f"levels/1/{name}", core) for name in ("image", "poster") for core in cores), ("levels/1/alpha", "of 1"),
    ]  # fmt: skip


def test_of_a_level_that_is_not_finished_all_is_read_that_it_begins_with(verified: Any) -> None:
    store = Store(absent={"styles/1/0/guides", "styles/1/1", "levels/0/alpha"})
    assert verified(store) == []
    assert store.read == [
        ("levels/0/content", "of 0"), ("levels/0/guides", "of 0"), ("styles/0/0/picture", None),
        ("styles/0/1/picture", None), ("styles/0/1/guides", None), ("init", None),
        *((f"styles/0/{style}/{layer}",) for style in (0, 1) for layer in ("relu1_1", "roughness")),
        ("levels/1/content", "of 1"), ("levels/1/guides", "of 1"), ("levels/1/coarse", "below 1"),
        ("styles/1/0/picture", None), ("styles/1/1/picture", None), ("styles/1/1/guides", None),
        *((f"styles/1/0/{layer}",) for layer in ("relu1_1", "roughness")), ("levels/1/alpha", "of 1"),
    ]  # fmt: skip


def states(store: Store) -> list[Any]:
    return [one for one in store.read if one[0] in ("pixels", "moments", "loss", "grams", "levels/1/state/marks")]


@pytest.mark.parametrize("measures", [False, True])
def test_of_a_checkpoint_each_tile_that_is_marked_is_read(
    verified: Any, monkeypatch: pytest.MonkeyPatch, measures: bool
) -> None:
    """Of a beginning nothing was measured; and tiles report none where their level is measured as a whole."""
    monkeypatch.setattr(Cut, "measures_every_round", lambda self, level: measures)
    store = Store(finished={0}, marks=[[0, -1, -1, -1, -1, -1], [-1, -1, -1, -1, 1, -1]])
    assert verified(store) == []
    first, last = Rect(0, 0, 40, 40), Rect(0, 0, 40, 48)
    assert [(tile.blend.height, tile.blend.width) for tile in (GRIDS[1].tile(0), GRIDS[1].tile(4))] == [
        (40, 40),
        (40, 48),
    ]
    grams = [("grams", "levels/1/state", 1, 4, layer) for layer in ("relu1_1", "relu2_1")]
    assert states(store) == [
        ("levels/1/state/marks",),
        ("pixels", 1, 0, 0, first), ("moments", 1, 0, 0, first), ("loss", 1, 0, 0),
        ("pixels", 1, 1, 4, last), ("moments", 1, 1, 4, last), ("loss", 1, 1, 4), *([] if measures else grams),
    ]  # fmt: skip


def test_without_marks_there_is_no_checkpoint(verified: Any) -> None:
    store = Store()
    assert verified(store) == []
    assert states(store) == []


def test_of_each_array_twenty_faults_are_told_and_the_rest_is_not_read(verified: Any) -> None:
    """25 tiles of two images, of which one is all damaged."""

    class Large(Cut):
        levels = (None,)  # type: ignore[assignment]

        def grid(self, level: int) -> TileGrid:
            return TileGrid(80, 80, 16, 16)

    store = Store(finished={0}, damaged={"levels/0/image"})
    faults = verified(store, SimpleNamespace(**{**vars(JOB), "cut": Large()}))
    assert len(faults) == 21
    assert faults[0] == "levels/0/image 1"
    assert faults[19:] == [
        "levels/0/image 20", "store s: levels/0/image: so much is damaged or missing that the rest was not read",
    ]  # fmt: skip
    assert [len([one for one in store.read if one[0].endswith(name)]) for name in ("image", "poster")] == [20, 25]


def test_twenty_faults_are_all_told_of_what_has_no_more(verified: Any) -> None:
    store = Store(damaged={"styles/0/1/roughness", "levels/1/coarse"}, absent={"levels/0/alpha"})
    assert [fault.split(" ")[0] for fault in verified(store)] == ["styles/0/1/roughness", "levels/1/coarse"]


def test_what_a_render_drops_as_it_finishes_is_no_fault(verified: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(finished={1}, damaged={"levels/0/content"})
    reports = iter([None, {}, {}])
    monkeypatch.setattr(store, "level_report", lambda level: {} if level else next(reports))
    assert verified(store) == []
    assert ("levels/0/image", Rect(0, 0, 32, 48)) in store.read

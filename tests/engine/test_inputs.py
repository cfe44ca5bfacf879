"""What a tile sees and does not change: what is read of it, what is kept, and for how long."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tiler.engine import inputs
from tiler.engine.inputs import LevelInputs, Raw
from tiler.geometry import Rect, TileGrid
from tiler.style.guides import EVERYWHERE, Guides

GRID = TileGrid(50, 90, 32, 32, feather=4, halo=8)
TILE, OTHER = GRID.tile(4), GRID.tile(1)
LEVEL = 2
BOX = Rect(24, 32, 40, 64)  # of the tile's read area, 16..50 x 16..80
REGIONS = (0, 3)


class Site:
    """A workplace whose parts say what they were asked for. guided: its level has regions."""

    def __init__(self, guided: bool = True, sees: bool = True, compared: bool = True, lines: float = 0.0) -> None:
        self.asked: list[Any] = []
        self.guided = guided
        terms = SimpleNamespace(
            sees_content=sees,
            compared=("relu3_1",) if compared else (),
            lines=lines,
            style_layers=("relu1_1", "relu3_1"),
        )
        self.here: Any = SimpleNamespace(
            job=SimpleNamespace(terms=terms, device=SimpleNamespace(precision="bf16")),
            backbones={"bf16": "short", "fp32": "long"},
            picture=self._picture,
            optimised=lambda pixels: pixels / 2,
            level_guides=self._guides,
            protected=lambda level, rect: self.asked.append(("protected", level, rect)),
            guides=lambda regions, planes, layers: Guides.of(
                regions, None if planes is None else torch.from_numpy(planes), layers
            ),
            tensor=torch.from_numpy,
            objective=lambda level: self.asked.append(("objective", level)) or SimpleNamespace(within=self._within),
            content_colours=[np.eye(3, 4) * number for number in (0.1, 9, 9, 0.4)],
        )

    def _picture(self, level: int, path: str, rect: Rect) -> np.ndarray:
        self.asked.append((path, level, rect))
        return np.ones((3, rect.height, rect.width), np.float32)

    def _guides(self, level: int, rect: Rect) -> Any:
        self.asked.append(("guides", level, rect))
        planes = np.zeros((2, rect.height, rect.width), np.float32)
        planes[0, :, : rect.width // 2], planes[1, :, rect.width // 2 :] = 1, 1
        return (REGIONS, planes) if self.guided else ((0,), None)

    def _within(self, regions: tuple[int, ...]) -> Any:
        self.asked.append(("within", regions))
        return SimpleNamespace(
            content_weights=lambda planes, protected: {"weights": (planes, protected)},
            usual=lambda planes: planes.sum(0, keepdim=True),
        )


def test_what_a_tile_sees_is_read_over_all_that_it_reads() -> None:
    site = Site()
    raw = LevelInputs(site.here, LEVEL, 0).read(TILE)
    assert raw is not None
    assert site.asked == [
        ("levels/2/content", 2, TILE.read), ("guides", 2, TILE.read), ("protected", 2, TILE.read),
    ]  # fmt: skip
    assert raw.content is not None
    assert raw.content.shape == (3, 34, 64)
    assert (raw.content == 0.5).all(), "as the optimiser sees it"
    assert (raw.planes[0], raw.protected) == (REGIONS, None)


def test_a_content_that_nobody_asks_for_is_not_read() -> None:
    site = Site(sees=False)
    raw = LevelInputs(site.here, LEVEL, 0).read(TILE)
    assert raw is not None
    assert raw.content is None
    assert [what for what, *_ in site.asked] == ["guides", "protected"]


@pytest.mark.parametrize("content", [True, False])
@pytest.mark.parametrize("compared", [True, False])
@pytest.mark.parametrize("guided", [True, False])
def test_what_is_made_of_it(monkeypatch: pytest.MonkeyPatch, content: bool, compared: bool, guided: bool) -> None:
    """Features where there is a content and it is compared; what is usual where there are regions."""
    site, seen = Site(guided, compared=compared), list[Any]()
    features = {"relu3_1": torch.zeros(2)}
    monkeypatch.setattr(inputs, "content_features", lambda *given: seen.append(given) or features)
    raw = Raw(
        np.full((3, 34, 64), 0.5, np.float32) if content else None,
        site._guides(LEVEL, TILE.read),
        np.full((1, 34, 64), 0.25, np.float32),
    )
    site.asked.clear()
    found = LevelInputs(site.here, LEVEL, 0)._made(raw, "fp32")
    assert found.content == (features if content and compared else {})
    assert [(one, tuple(pixels.shape), layers) for one, pixels, layers in seen] == [
        ("long", (3, 34, 64), ("relu3_1",))
    ] * (content and compared)
    assert site.asked == [("objective", 2), ("within", REGIONS if guided else (0,))]
    planes, protected = found.content_weights["weights"]
    assert protected.shape == (1, 34, 64)
    assert found.lines == {}
    if guided:
        assert planes.shape == (2, 34, 64)
        assert found.usual["all"].shape == (1, 34, 64)
        assert found.guides.regions == REGIONS
        assert {layer: tuple(one.shape) for layer, one in (found.guides.planes or {}).items()} == {
            "relu1_1": (2, 34, 64), "relu3_1": (2, 9, 16),
        }  # fmt: skip
    else:
        assert (planes, found.usual, found.guides) == (None, {}, EVERYWHERE)


@pytest.mark.parametrize(("content", "lines"), [(True, 0.5), (True, 0.0), (False, 0.5)])
def test_lines_are_the_content_s_in_the_colours_of_its_regions(content: bool, lines: float) -> None:
    site = Site(lines=lines)
    raw = Raw(np.full((3, 34, 64), 0.5, np.float32) if content else None, site._guides(LEVEL, TILE.read), None)
    found = LevelInputs(site.here, LEVEL, 0)._lines(raw)
    if not (content and lines):
        assert found == {}
        return
    assert found["all"].shape == (4, 34, 64)
    np.testing.assert_allclose(found["all"][:3, :, :32], 0.05, rtol=1e-6)
    np.testing.assert_allclose(found["all"][:3, :, 32:], 0.2, rtol=1e-6)
    assert not found["all"][3].any(), "no edges"


# What is kept -----------------------------------------------------------------------------------------------------


def made(
    monkeypatch: pytest.MonkeyPatch, site: Site, limit: float, sizes: dict[str, int]
) -> tuple[LevelInputs, list[Any]]:
    """Inputs of so many bytes, by precision; and for what they were made."""
    level, seen = LevelInputs(site.here, LEVEL, limit), list[Any]()

    def make(raw: Any, precision: str) -> Any:
        seen.append((raw, precision))
        return SimpleNamespace(held_bytes=sizes[precision], number=len(seen))

    monkeypatch.setattr(level, "_made", make)
    return level, seen


@pytest.mark.parametrize(("limit", "kept"), [(49, []), (50, [4]), (99, [4]), (100, [4, 1]), (101, [4, 1])])
def test_as_many_are_kept_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch, limit: float, kept: list[int]) -> None:
    level, seen = made(monkeypatch, Site(), limit, {"bf16": 50})
    for _ in range(2):
        for tile in (TILE, OTHER):
            level.of(tile, f"raw {tile.index}", "bf16")  # type: ignore[arg-type]
    once = [("raw 4", "bf16"), ("raw 1", "bf16")]
    assert seen == once + [one for one in once if int(one[0][-1]) not in kept]
    assert [level.read(tile) is None for tile in (TILE, OTHER)] == [tile in kept for tile in (4, 1)]


def test_those_of_a_longer_precision_are_made_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And take no room; what was kept stays."""
    level, seen = made(monkeypatch, Site(), 50, {"bf16": 50, "fp32": 1})
    assert level.of(TILE, "a", "fp32").number == 1  # type: ignore[attr-defined, arg-type]
    assert level.of(TILE, "b", "bf16").number == 2  # type: ignore[attr-defined, arg-type]
    assert level.of(TILE, "c", "fp32").number == 3  # type: ignore[attr-defined, arg-type]
    assert level.of(TILE, None, "bf16").number == 2  # type: ignore[attr-defined]
    assert [raw for raw, _ in seen] == ["a", "b", "c"]
    again = level.of(TILE, None, "fp32")
    assert again.number == 4  # type: ignore[attr-defined]
    assert isinstance(seen[-1][0], Raw), "it is read again where nobody has"


def test_guides_of_a_part_are_read_until_the_tile_s_own_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    level, _ = made(monkeypatch, site, 50, {"bf16": 50})
    planes = level.read_guides(TILE, BOX)
    assert planes is not None
    assert site.asked == [("guides", 2, BOX)]
    first = level.guides(TILE, BOX, planes)
    assert first.regions == REGIONS
    assert level.read_guides(TILE, BOX) is not None, "the tile's are not kept"
    level.of(TILE, None, "bf16")
    assert level.read_guides(OTHER, BOX) is not None
    assert level.read_guides(TILE, Rect(24, 32, 40, 48)) is not None, "of a part that nobody has read"
    assert level.read_guides(TILE, BOX) is None


def test_guides_of_a_part_are_cut_out_of_the_tile_s_own() -> None:
    """Where they lie in what the tile reads, with the regions that were found there."""
    site = Site()
    level = LevelInputs(site.here, LEVEL, 10**9)
    whole = torch.arange(2 * 34 * 64).reshape(2, 34, 64).float()
    level._kept[4] = inputs.Inputs(guides=Guides.of(REGIONS, whole, ("relu1_1",)))
    level.guides(TILE, BOX, ((3,), np.zeros((1, 16, 32), np.float32)))
    found = level.guides(TILE, BOX, None)
    assert found.regions == (3,)
    torch.testing.assert_close(found.at("relu1_1"), whole[1:, 8:24, 16:48])

"""The content's lines in the engine: how a poster is cut does not show, whoever goes on knows the colours, and edges
stay where they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tiler.engine import workplace
from tiler.engine.contents import COLOURS
from tiler.engine.holding import Holding
from tiler.errors import StoreError
from tiler.style.losses import lines_of

Render = Callable[..., np.ndarray]
EXACT = {"mode": "exact", "long_edge": 96, "levels": 2, "steps": (3, 3), "min_edge": 32, "lines": 20.0}


@pytest.mark.parametrize("options", [{}, {"wrap": "xy"}, {"content_weight": 0.0, "init": "noise"}])
def test_how_it_is_cut_does_not_show(render_serially: Render, options: dict) -> None:
    whole, tiled = (render_serially(tile=tile, **EXACT | options) for tile in (1024, 32))
    assert np.abs(whole - tiled).max() < 1e-9
    assert np.abs(whole - render_serially(tile=1024, **EXACT | options | {"lines": 0.0})).max() > 1e-3


def test_workers_that_come_later_know_the_colours(render_serially: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their level has no more of the pictures that the colours were matched by."""
    expected, whole = render_serially(tile=32, **EXACT), Holding.seed
    opened: list[int] = []

    def afresh(holding: Holding) -> None:
        opened.append(1)
        vars(holding._here).pop("content_colours", None)
        whole(holding)

    monkeypatch.setattr(Holding, "seed", afresh)
    assert render_serially(tile=32, **EXACT).tobytes() == expected.tobytes()
    assert len(opened) == 2


@pytest.mark.parametrize("said", [None, 7, [[[1.0] * 4] * 2], [[[1.0] * 4] * 3] * 2, [[["a"] * 4] * 3]])
def test_colours_that_are_none_are_refused(
    render_serially: Render, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: object
) -> None:
    """Whatever a store that was sent says."""
    monkeypatch.setattr(workplace.Workplace, "match_content", lambda here: [])
    monkeypatch.setattr("tiler.engine.tasks.COLOURS", "other")
    whole = workplace.Workplace.content_colours.func

    def damaged(here: workplace.Workplace) -> list[np.ndarray]:
        path = Path(here.store.url) / "zarr.json"
        found = json.loads(path.read_text())
        found["attributes"]["tiler"][COLOURS] = said
        path.write_text(json.dumps(found))
        return whole(here)

    monkeypatch.setattr(workplace.Workplace, "content_colours", property(damaged))
    with pytest.raises(StoreError, match="colours"):
        render_serially(tile=32, **EXACT)


def test_edges_stay_what_they_are_in_the_styles_colours(render_serially: Render, tmp_path: Path) -> None:
    """Of a map of two plain parts, its border: with lines it is the border that the poster starts from."""
    y, x = np.mgrid[0:72, 0:96]
    land = x > 48 + 12 * np.sin(y / 7)
    plain = np.where(land[..., None], (150, 180, 160), (130, 175, 210)).astype(np.uint8)
    Image.fromarray(plain).save(tmp_path / "m.png")
    options = {"content": str(tmp_path / "m.png"), "long_edge": 96, "levels": 1, "content_weight": 0.0}
    border = np.broadcast_to(land[:, 1:] != land[:, :-1], (3, 72, 95))
    wanted = np.diff(render_serially(steps=(0,), **options), axis=2)[border]

    def apart(lines: float) -> float:
        image = render_serially(lines=lines, learning_rate=0.05, steps=(40,), **options)
        return float(np.square(np.diff(image, axis=2)[border] - wanted).mean() / np.square(wanted).mean())

    assert apart(300.0) < 0.1
    assert apart(0.0) > 0.3


def test_what_is_an_edge() -> None:
    """Half where neighbours differ by a tenth; whatever the picture does not reach is none."""
    content = torch.full((3, 2, 3), 0.5, dtype=torch.float64)
    content[0, :, 2] += 0.1
    content[:, 1, 0] += 0.2 / 3**0.5
    found = lines_of(content, 1 - content)
    torch.testing.assert_close(found[:3], 1 - content)
    steep = torch.tensor([[0.2**2, 0.1**2, 0], [0.2**2, 0.1**2, 0]], dtype=torch.float64)
    torch.testing.assert_close(found[3], steep / (steep + 0.01))

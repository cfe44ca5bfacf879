"""Where a poster lies on the map: where its content does, at its own size, and known before anything is rendered."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from here import run_main
from PIL import Image

from tiler.output.export import georef_of, place
from tiler.pictures import open_picture
from tiler.request.config import RenderConfig


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """A portrait whose pixels show 30 m to the right and 20 m down, from (500 km, 4600 km) on; a style beside it."""
    grain = np.random.default_rng(5).integers(0, 255, (40, 24, 3), dtype=np.uint8)
    for name in ("content.png", "style.png"):
        Image.fromarray(grain).save(tmp_path / name)
    (tmp_path / "content.pgw").write_text("30\n0\n0\n-20\n500015\n4599990\n")
    return tmp_path / "content.png"


def test_a_poster_lies_where_its_content_lies(content: Path) -> None:
    layout = open_picture(content)
    found = georef_of(RenderConfig("c", ("s",), "p.png"), layout, 80, 96)
    assert found is not None
    assert found.transform == (7.5, 0, 500_000, 0, -10, 4_600_000)
    texture = RenderConfig(None, ("s",), "p.png", content_weight=0, init="noise")
    assert georef_of(texture, layout, 80, 96) is None
    assert georef_of(RenderConfig("c", ("s",), "p.png"), open_picture(content.with_name("style.png")), 8, 9) is None


def test_a_store_keeps_size_and_place_of_the_content(content: Path) -> None:
    kept = place(open_picture(content))
    assert kept["size"] == [40, 24]
    assert kept["georef"]["transform"] == (30, 0, 500_000, 0, -20, 4_600_000)
    assert place(open_picture(content.with_name("style.png"))) == {"size": [40, 24], "georef": None}


def test_a_world_file_of_others_is_no_reason_to_render_first(content: Path) -> None:
    (content.parent / "poster.pgw").write_text("1\n0\n0\n-1\n0\n0\n")
    before = sorted(content.parent.iterdir())
    with contextlib.chdir(content.parent):
        done = run_main("render", "content.png", "style.png", "-o", "poster.png", "--long-edge", "64")
    assert done.returncode == 2
    assert "poster.pgw beside it would be replaced" in done.stderr
    assert sorted(content.parent.iterdir()) == before

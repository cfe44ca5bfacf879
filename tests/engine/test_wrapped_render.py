"""With --wrap no place of the poster is special: what is rolled before comes out rolled, and tiles do not show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

Render = Callable[..., np.ndarray]
SLOW_FIXTURE = settings(
    phases=(Phase.explicit, Phase.generate),
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
# Shallow layers see less far, so that halos stay small; test_torus.py goes as deep as posters do.
SHALLOW = {"style_layers": ("relu1_1", "relu3_1"), "content_layers": ("relu2_2",)}
ROLLS = {"x": (0, 32), "y": (64, 0), "xy": (32, 64)}


def rolled(source: Path, size: tuple[int, int], by: tuple[int, int]) -> str:
    """The picture in `size`, turned `by` pixels, beside the original."""
    path = source.parent / f"{source.stem}-{size[0]}x{size[1]}-{by[0]}-{by[1]}.png"
    with Image.open(source) as picture:
        Image.fromarray(np.roll(picture.resize(size[::-1]), by, (0, 1))).save(path)
    return str(path)


@SLOW_FIXTURE
@given(
    wrap=st.sampled_from(["x", "y", "xy"]),
    feather=st.integers(0, 8),
    # In fast mode a roll by whole cores changes nothing either: all tiles are alike.
    cut=st.sampled_from([("exact", 1024), ("exact", 32), ("fast", 32)]),
)
def test_the_poster_of_a_rolled_content_is_the_rolled_poster(
    render_serially: Render, pictures_dir: Path, last_report, wrap: str, feather: int, cut: tuple[str, int]
) -> None:
    (mode, tile), size, by = cut, (64, 96), ROLLS[wrap]
    options = {"mode": mode, "long_edge": 96, "levels": 1, "steps": (3,), "wrap": wrap, "tile": tile, **SHALLOW}
    still = render_serially(content=rolled(pictures_dir / "content.png", size, (0, 0)), feather=feather, **options)
    statistics = last_report()["layers"]
    turned = render_serially(content=rolled(pictures_dir / "content.png", size, by), feather=feather, **options)
    assert np.abs(np.roll(still, by, (1, 2)) - turned).max() < 1e-9
    assert last_report()["layers"] == pytest.approx(statistics, rel=1e-9)


def test_tiles_and_the_poster_they_wrap_around_do_not_show(render_serially: Render) -> None:
    options = {"mode": "exact", "long_edge": 96, "levels": 2, "steps": (2, 2), "wrap": "xy", **SHALLOW}
    alone, tiled = render_serially(tile=1024, **options), render_serially(tile=32, **options)
    assert np.abs(alone - tiled).max() < 1e-7
    assert np.abs(alone - render_serially(tile=32, **{**options, "steps": (2, 1)})).max() > 1e-3


def test_levels_are_enlarged_over_the_edge(render_serially: Render, pictures_dir: Path) -> None:
    """Without content and with a start of the coarsest level's own size, no picture is resized on the way."""
    options = {"mode": "exact", "long_edge": 128, "levels": 2, "steps": (1, 1), "wrap": "x", "tile": 32, **SHALLOW}
    content = rolled(pictures_dir / "content.png", (96, 128), (0, 0))
    starts = [rolled(pictures_dir / "content.png", (48, 64), (0, by)) for by in (0, 16)]
    still, turned = (render_serially(content=content, init=one, content_weight=0, **options) for one in starts)
    assert np.abs(np.roll(still, 32, 2) - turned).max() < 1e-7


def test_without_wrap_a_rolled_content_is_another_poster(render_serially: Render, pictures_dir: Path) -> None:
    options = {"mode": "exact", "long_edge": 96, "levels": 1, "steps": (3,), "tile": 32, **SHALLOW}
    still, turned = (
        render_serially(content=rolled(pictures_dir / "content.png", (64, 96), (0, by)), **options) for by in (0, 32)
    )
    assert np.abs(np.roll(still, 32, 2) - turned).max() > 1e-3

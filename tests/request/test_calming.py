"""Calm parts of a content and its styles, alike in their shares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiler import pictures
from tiler.errors import ConfigError
from tiler.pictures.calm import calmest
from tiler.request.asked import Asked
from tiler.request.calming import Calm
from tiler.request.config import RenderConfig
from tiler.request.guiding import guide_bands
from tiler.request.places import pictures_of
from tiler.request.resolve import resolve_config

SIZE = (120, 200)


def wildly() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """content: busy right of 0.7 and below the middle. wild, flat: alike all over. style: calm in its upper quarter."""
    wild = wildly()
    content, style, half, clear = (wild.copy() for _ in range(4))
    content[:60, :140] = 90
    style[:30] = 40
    half[:] = 0
    half[:, 100:] = 255
    clear = np.dstack([content, np.full(SIZE, 255, np.uint8)])
    clear[:60, :70] = 0
    rest = {"content": content, "style": style, "half": half, "clear": clear, "wild": wild, "flat": wild * 0 + 128}
    for name, pixels in rest.items():
        Image.fromarray(pixels.repeat(4, 0).repeat(4, 1)).save(tmp_path / f"{name}.png")
    return tmp_path


def found(folder: Path, content: str = "content", styles: tuple[str, ...] = ("style",), **options: Any) -> Any:
    """(configuration, what is calm, the regions' guides [R, 120, 200])."""
    paths = {
        name: [f"{text.partition('=')[0]}={folder}/{text.partition('=')[2]}.png" for text in value]
        for name, value in options.items()
        if name in ("region", "mask", "style_mask")
    }
    files = [f"{folder}/{name}.png" for name in styles]
    config = RenderConfig(f"{folder}/{content}.png", tuple(files), "p.png", **{"calm": 30, **options, **paths})
    opened = {file: pictures.open_picture(file) for file in pictures_of(config)}
    layout = opened[str(config.content)]
    calm = Calm.of(config, layout, opened, [pictures.as_style(opened[one.picture]) for one in config.regions.sources])
    bands = calm.guides(guide_bands(config, layout, opened, *SIZE, 33), *SIZE, 33)
    return config, calm, np.concatenate(list(bands), 1)


def test_what_is_calm_takes_after_what_is_calm_and_as_much_of_it(folder: Path) -> None:
    _, calm, guides = found(folder, region_edge=0)
    assert guides.shape == (2, *SIZE)
    assert np.abs(guides.sum(0) - 1).max() < 1e-6
    busy, quiet = guides
    assert quiet[20, 20] == 1 == busy[100, 20] == busy[20, 180]
    share = quiet.mean()
    assert 0.27 < share < 0.36
    assert calm.styles[1].mean() == pytest.approx(share, abs=0.03)
    assert (calm.styles[0] + calm.styles[1]).tolist() == np.ones_like(calm.styles[0]).tolist()
    assert calm.styles[1][:60].min() == 1
    band = np.concatenate(list(calm.parts(1, iter([np.full((1, *SIZE), 0.5, np.float32)]), *SIZE, SIZE[0])), 1)
    assert band[0, 5, 5] == 0.5
    assert band[0, 110, 5] == 0


def test_an_edge_is_as_soft_as_a_regions(folder: Path) -> None:
    hard, soft = (found(folder, region_edge=edge)[2][1, 20] for edge in (0, 10))
    between = [int(((row > 0.03) & (row < 0.97)).sum()) for row in (hard, soft)]
    assert between[0] <= 2 < 12 <= between[1] <= 24


def test_each_region_has_calm_parts_of_its_own(folder: Path) -> None:
    options = {"region": ["east=wild"], "mask": ["east=half"], "region_edge": 0, "calm": 20}
    config, calm, guides = found(folder, **options)
    assert guides.shape == (4, *SIZE)
    rest, east, rest_calm, east_calm = guides
    assert rest_calm[:, 102:].max() == 0 == east_calm[:, :98].max()
    assert 0.2 <= rest_calm.sum() / (rest + rest_calm).sum() < 0.55
    assert 0.2 <= east_calm.sum() / (east + east_calm).sum() < 0.45
    assert len(calm.styles) == 4
    layout, *styles = (pictures.open_picture(f"{folder}/{name}.png") for name in ("content", "style", "wild"))
    _, job = resolve_config(config, layout, styles)
    assert job.styles.regions == ("rest", "east", "rest, calm", "east, calm")
    assert job.styles.owners == (0, 1, 2, 3)
    assert job.styles.guided
    assert job.styles.masked == (True,) * 4


def test_styles_have_their_shares_and_sizes_in_both_parts(folder: Path) -> None:
    options: dict[str, Any] = dict(style_blend_weights=(2, 1), style_scale=(1, 0.5), long_edge=200)
    config, calm, _ = found(folder, styles=("style", "wild"), **options)
    assert len(calm.styles) == 4
    layout, *styles = (pictures.open_picture(f"{folder}/{name}.png") for name in ("content", "style", "wild"))
    resolved, job = resolve_config(config, layout, styles)
    assert job.styles.shares == (2, 1, 2, 1)
    assert job.styles.owners == (0, 0, 1, 1)
    assert job.styles.sizes[-1] == ((120, 200), (60, 100)) * 2
    assert resolved.style_blend_weights == (2, 1)
    plain, _ = resolve_config(found(folder, styles=("style", "wild"))[0], layout, styles)
    assert plain.style_blend_weights == (1, 1)


def test_what_is_flat_all_over_stays_in_one_piece(folder: Path) -> None:
    _, calm, guides = found(folder, content="flat")
    assert guides[1].min() == 1
    assert guides[0].max() == 0
    assert [plane.min() for plane in calm.styles] == [1, 1], "all of the content is as all of the style"
    _, calm, guides = found(folder, styles=("flat",))
    assert guides[1].max() == 1
    assert [plane.min() for plane in calm.styles] == [1, 1]


def test_what_is_transparent_is_not_the_calm_part(folder: Path) -> None:
    _, _, guides = found(folder, content="clear", region_edge=0, calm=25)
    opaque = np.ones(SIZE, bool)
    opaque[:60, :70] = False
    share = guides[1][opaque].mean()
    assert 0.24 <= share < 0.3
    assert guides[1][20, 100] == 1
    np.testing.assert_allclose(guides[1][5:55, 5:65], share, atol=0.02)  # what is not shown says nothing


@pytest.mark.parametrize(
    "options",
    [
        {"content": None, "content_weight": 0, "init": "noise"},
        {"jitter": 2, "content_weight": 0},
        {"transfer": "color"},
    ],
)
def test_where_nothing_says_what_is_calm_it_is_not_asked_for(options: dict[str, Any]) -> None:
    given = {"content": "content.png", **options}
    with pytest.raises(ConfigError, match=r"calm = 30 .*allowed: 0"):
        RenderConfig(styles=("style.png",), output="p.png", calm=30, **given)
    for calm in (None, 0):
        assert RenderConfig(styles=("style.png",), output="p.png", calm=calm, **given).calm_share == 0


@pytest.mark.parametrize(
    "options",
    [
        {"content_weight": 0, "init": "noise"},
        {"jitter": 2, "content_weight": 0},
        {"transfer": "color"},
        {"style_weight": 0},
        {"styles": ("wild", "style"), "style_blend_weights": (1, 0)},
        {"region": ("sea=wild",), "mask": ("sea=half",)},
    ],
)
def test_by_itself_it_is_told_only_where_a_style_counts_and_nothing_else_says_where(
    folder: Path, options: dict[str, Any]
) -> None:
    """By a style that stands out."""
    config = RenderConfig(f"{folder}/content.png", (f"{folder}/style.png",), str(folder / "p.png"))
    assert Asked.of(config).config.calm == 30
    for name in ("region", "mask"):
        if name in options:
            options = {**options, name: [f"sea={folder}/{one.removeprefix('sea=')}.png" for one in options[name]]}
    if "styles" in options:
        options = {**options, "styles": tuple(f"{folder}/{name}.png" for name in options["styles"])}
    asked = Asked.of(replace(config, **options))
    assert not asked.config.calm_share
    assert len(asked.job.styles.regions) == (2 if "region" in options else 1)


@pytest.mark.parametrize("seed", range(5))
def test_soft_masks_over_what_is_alike_leave_it_in_one_piece(seed: int) -> None:
    """Fractions add up to what they add up to, in whatever order: no share is more than 1."""
    counts = np.random.default_rng(seed).random((64, 96))
    alike, ramp = np.zeros((64, 96)), np.arange(64.0 * 96).reshape(64, 96)
    part, share = calmest(alike, counts, 0.3)
    assert part.all()
    assert share == 1
    whole, all_of_it = calmest(ramp, counts[::-1], share)
    assert whole.all()
    assert all_of_it == 1


def test_the_share_is_of_the_whole() -> None:
    assert RenderConfig("content.png", ("style.png",), "p.png", calm=45).calm_share == 0.45
    assert RenderConfig("content.png", ("style.png",), "p.png", calm=90).calm_share == 0.9


@pytest.mark.parametrize(("style", "share"), [("plain", 30), ("wild", 0), ("flat", 0), ("faint", 0)])
def test_where_a_style_has_far_calmer_parts_they_are_told_apart(folder: Path, style: str, share: float) -> None:
    wild = wildly()
    plain, faint = wild.copy(), wild.copy()
    plain[:, :80] = 100
    faint[:, :80] = 100 + wild[:, :80] // 4
    for name, pixels in {"plain": plain, "faint": faint}.items():
        Image.fromarray(pixels.repeat(4, 0).repeat(4, 1)).save(folder / f"{name}.png")
    config = RenderConfig(f"{folder}/content.png", (f"{folder}/{style}.png",), "p.png")
    asked = Asked.of(config)
    assert asked.config.calm == share
    assert len(asked.job.styles.regions) == (2 if share else 1)
    said = [note for note in asked.notes if "calm 0" in note]
    why = "has parts far calmer than the rest, which the calmest 30 % of the content take after"
    assert said == [f"{folder}/{style}.png: {why}; calm 0: all of it is treated alike"] * bool(share)
    second = Asked.of(replace(config, styles=(f"{folder}/wild.png", f"{folder}/{style}.png")))
    assert [note.split(": ")[0] for note in second.notes if "calm 0" in note] == [f"{folder}/{style}.png"] * bool(share)
    chosen = Asked.of(replace(config, calm=20))
    assert chosen.config.calm == 20
    assert not any("calm 0" in note for note in chosen.notes)
    masked = replace(config, style_mask=(f"rest={folder}/half.png",))
    assert Asked.of(masked).config.calm == 0, "of what counts nothing is calm"


@pytest.mark.parametrize("calm", [-0.1, 90.1, float("nan"), "much"])
def test_it_is_a_share_in_percent_that_leaves_something(calm: Any) -> None:
    with pytest.raises(ConfigError, match=r"calm = "):
        RenderConfig("content.png", ("style.png",), "p.png", calm=calm)

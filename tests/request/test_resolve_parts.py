"""What a job comes to where a square of it is asked for, something is amplified, or wishes are met in part only."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from test_resolve import picture, resolved, tiny_weights  # noqa: F401 (a fixture)

from tiler.errors import ConfigError
from tiler.request import ground, resolve
from tiler.request.config import RenderConfig
from tiler.style.terms import Dream

BASE = RenderConfig("a.png", ("b.png",), "x/p.png")


@pytest.mark.parametrize(
    ("content", "at", "edge", "crop"),
    [
        # A poster of 400 x 300 or 300 x 400 pixels.
        ((300, 400), "0.25,0.75", 100, (175, 50, 275, 150)),
        ((400, 300), "0.25,0.75", 100, (250, 25, 350, 125)),
        ((300, 400), "0,0", 100, (0, 0, 100, 100)),
        ((300, 400), "1,1", 100, (200, 300, 300, 400)),
        ((300, 400), "0.5,1", 101, (199, 150, 300, 251)),
        ((300, 400), "0.5,0.5", 350, (0, 25, 300, 375)),
        ((400, 300), "0.5,0.5", 350, (25, 0, 375, 300)),
        ((300, 400), "0,1", 900, (0, 0, 300, 400)),
    ],
)  # fmt: skip
def test_a_square_lies_where_the_poster_has_all_of_it(
    content: tuple[int, int], at: str, edge: int, crop: tuple[int, ...]
) -> None:
    _, job = resolved(content, at=at, edge=edge, long_edge=400, tile=64)
    assert job.cut.crop == crop
    assert resolved(content, edge=edge, long_edge=400, tile=64)[1].cut.crop is None


def test_wishes_that_are_met_in_part_are_said_in_turn() -> None:
    """The part of a content first, the size it comes to, and styles that cannot be as large as they are in truth."""
    values = dict(size="1000x400", wrap="y", content_gsd=100, style_gsd=250)
    content = SimpleNamespace(path="c.png", height=400, width=1000, file_size=(700, 1000), in_part=False)
    config = replace(BASE, **values)
    settled, job = resolve.resolve_config(config, content, [picture(300, 200)])  # type: ignore[arg-type, list-item]
    first, *others = resolve.notes(settled, job, content, [picture(300, 200)])  # type: ignore[arg-type, list-item]
    assert first == "c.png: cropped to the middle 1000 x 400 px of 1000 x 700, to have the poster's shape"
    assert [note.partition(":")[0] for note in others] == ["p.png"]
    narrow = replace(config, size="1000x410")
    settled, job = resolve.resolve_config(narrow, content, [picture(300, 200)])  # type: ignore[arg-type, list-item]
    said = resolve.notes(settled, job, content, [picture(300, 200)])  # type: ignore[arg-type, list-item]
    assert said[1].startswith(f"wrap y: {job.cut.last.width} x {job.cut.last.height} px instead of 1000 x 410, since")
    assert job.cut.last.height % 16 == 0
    assert len(said) == 3


@pytest.mark.parametrize(("size", "axis"), [("300x100", "y"), ("100x300", "x")])
def test_what_would_be_cropped_of_a_content_that_wraps(size: str, axis: str) -> None:
    content: Any = SimpleNamespace(height=400, width=500, cropped=lambda crop: crop)
    for wrap in ("xy", axis):
        with pytest.raises(ConfigError) as error:
            resolve.fitted(replace(BASE, size=size, wrap=wrap), content)
        assert str(error.value) == (
            f"wrap = {wrap}: {size.replace('x', ' x ')} px would crop the content along {axis}; allowed: the content's "
            "shape, 500:400"
        )
    other = "x" if axis == "y" else "y"
    assert resolve.fitted(replace(BASE, size=size, wrap=other), content) != (0, 0, 400, 500)


def test_a_store_is_called_as_its_poster(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for values, name in (
        ({}, "x/p.zarr"),
        (dict(output="p.ZARR"), "p.job.zarr"),
        (dict(output="p.tif.zarr"), "p.tif.job.zarr"),
        (dict(output=None, tiles="t"), "t.zarr"),
        (dict(tiles="t"), "x/p.zarr"),
        (dict(store="s/j"), "s/j"),
    ):
        assert resolve.store_url(replace(BASE, **values)) == f"{tmp_path}/{name}"
    assert resolve.store_url(replace(BASE, store="s3://b/j")) == "s3://b/j"


def test_what_is_minimised_is_what_was_asked_for() -> None:
    _, job = resolved(dream_weight=2.5, dream_layer="relu3_2", dream_channel=1, protect="p.png", protect_strength=4)
    assert (job.terms.dream, job.terms.protect_strength) == (Dream("relu3_2", 1, 2.5), 4.0)
    assert job.cut.halo > resolved()[1].cut.halo == 48
    assert "relu3_2" in dict(job.network.channels)
    _, plain = resolved(protect_strength=4, dream_layer="relu3_2")
    assert (plain.terms.dream, plain.terms.protect_strength) == (None, 0.0)
    names = dict(
        style_weight=2, content_weight=3, tv_weight=4, chroma_weight=5, light_weight=6, lines=7, statistics="w2"
    )
    terms = resolved(**names)[1].terms
    assert {name: getattr(terms, name) for name in names} == names


def test_styles_know_their_shares_regions_and_masks() -> None:
    config = replace(
        BASE, styles=("b", "c"), region=("sea=d", "ice=e"), mask=("ice=m", "sea=m"), style_mask=("rest=n,o", "ice=p"),
        style_blend_weights=(1, 2, 3, 4), style_scale=(1, 0.5, 0.25, 0.125), long_edge=256, levels=1,
    )  # fmt: skip
    pictures = [picture(900, 450), picture(400, 900), picture(800, 600), picture(300, 900)]
    pictures[2].in_part = True
    styles = resolve.resolve_config(config, picture(60, 80), pictures)[1].styles  # type: ignore[arg-type]
    assert styles.sizes == (((256, 128), (57, 128), (64, 48), (11, 32)),)
    assert (styles.shares, styles.owners, styles.regions) == ((1, 2, 3, 4), (0, 0, 1, 2), ("rest", "sea", "ice"))
    assert (styles.masked, styles.guided) == ((True, True, True, True), True)
    assert styles.layer_weights == ((1.0,) * 5,) * 4
    by_layer = ((1, 2, 3, 4, 5), (5, 4, 3, 2, 1))
    plain = resolved(styles=((30, 20), (30, 40)), style_layer_weights=by_layer)[1].styles
    assert (plain.layer_weights, plain.shares, plain.masked) == (by_layer, (1.0, 1.0), (False, False))


def test_levels_follow_the_size_before_it_was_rounded() -> None:
    """A tenth of a pixel more or less shows below."""
    _, job = resolved((301, 400), long_edge=411, levels=3)
    assert [(one.height, one.width) for one in job.cut.levels] == [(77, 103), (155, 206), (309, 411)]
    assert [one.peak_rate for one in job.cut.levels] == pytest.approx([0.02, 0.02 / 2**0.5, 0.01])
    _, moved = resolved((301, 400), long_edge=411, transfer="color")
    assert [(one.height, one.width, one.steps) for one in moved.cut.levels] == [(309, 411, 0)]


def test_ground_scales_are_compared_by_the_longer_sides() -> None:
    """Styles that show as much ground as the poster's longer side are as long."""
    config = replace(BASE, styles=("b", "c"), content_gsd="30", style_gsd=(10.0, 60.0))
    content = picture(200, 500)
    found = ground.style_scales(config, content, [picture(900, 300), picture(100, 250)])
    assert found == pytest.approx([900 * 10 / (500 * 30), 250 * 60 / (500 * 30)])
    scaled = replace(BASE, styles=("b", "c"), style_scale=(2.0, 3.0))
    assert ground.style_scales(scaled, content, [content] * 2) == [2, 3]
    assert ground.style_scales(replace(BASE, style_scale=(2.0,)), content, [content] * 3) == [2, 2, 2]


@pytest.mark.parametrize(("gsd", "lines"), [(1.009, 0), (1.02, 1), (0.2134, 0), (0.2, 1)])
def test_styles_that_are_a_little_too_small_are_not_said(gsd: float, lines: int) -> None:
    """A hundredth beyond their pixels; and down to 64 pixels a side."""
    config = replace(BASE, content_gsd="1", style_gsd=(gsd,), long_edge=1000, levels=1)
    content, style = picture(500, 1000), picture(200, 300)
    settled, job = resolve.resolve_config(config, content, [style])
    assert len(ground.notes(settled, job, content, [style])) == lines

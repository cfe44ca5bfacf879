"""Whether options fit each other: each pair that does not, by the whole of what is said, and the nearest that does."""

from __future__ import annotations

from typing import Any

import pytest

from tiler.errors import ConfigError
from tiler.request.config import RenderConfig

NEEDED: dict[str, Any] = dict(content="a.png", styles=("b.png", "c.png"), output="d.png")
TEXTURE: dict[str, Any] = dict(content=None, content_weight=0, init="noise")
SEA: dict[str, Any] = dict(region=["sea=s.png"], mask=["sea=m.png"])


def made(**values: Any) -> RenderConfig:
    return RenderConfig(**{**NEEDED, **values})


def refusal(**values: Any) -> str:
    with pytest.raises(ConfigError) as error:
        made(**values)
    return str(error.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (dict(TEXTURE, **SEA), "regions lie on a content; without one, allowed: styles for the whole poster"),
        (dict(TEXTURE, content_gsd="5"), "content_gsd and style_gsd compare the styles with a content"),
        (dict(TEXTURE, style_gsd=5), "content_gsd and style_gsd compare the styles with a content"),
        (dict(TEXTURE, lines=0.5), "lines = 0.5 keeps a content's edges; without a content, allowed: 0"),
        (dict(TEXTURE, transfer="color"), "transfer = color gives a content other colours; allowed: with a content"),
        (dict(at="0.5,0.5", tiles="t"), "tiles = t: is of a whole poster; with at, allowed: none"),
        (dict(at="0.5,0.5", overlay="o.png"), "overlay = o.png: is of a whole poster; with at, allowed: none"),
        (dict(at="0.5,0.5", overlay="o.png", tiles="t"), "tiles = t: is of a whole poster"),
        (dict(long_edge=5, size="4x3"), "long_edge and size are given; allowed: one of long_edge, size, scale, print"),
        (dict(jitter=3), "jitter = 3 moves the grid that regions and content features lie on; allowed: with"),
        (dict(jitter=3, content_weight=0, **SEA), "jitter = 3 moves the grid"),
        (dict(jitter=3, content_weight=0, optimizer="lbfgs"), "jitter = 3 moves the grid"),
        (dict(protect="p.png", content_weight=0), "protect = p.png raises the content's weight, which is 0; allowed"),
        (dict(style_layers=["relu1_1", "relu1_1"]), "style_layers = ['relu1_1', 'relu1_1']; allowed: each layer once"),
        (dict(content_layers=["relu1_1"] * 2), "content_layers = ['relu1_1', 'relu1_1']; allowed: each layer once"),
        (dict(style_layers=["relu1_1"] * 2, content_layers=["relu1_1"] * 2), "style_layers = "),
        (dict(style_gsd=[1, 2, 3]), "style_gsd = [1.0, 2.0, 3.0]; allowed: one, or one per style (2)"),
        (dict(style_scale=[1, 2, 3]), "style_scale = [1.0, 2.0, 3.0]; allowed: one, or one per style (2)"),
        (dict(style_scale=[]), "style_scale = []; allowed: one, or one per style (2)"),
    ],
)
def test_what_does_not_fit_another_is_said(values: dict[str, Any], words: str) -> None:
    assert refusal(**values).startswith(words)


@pytest.mark.parametrize(
    "values",
    [
        dict(jitter=3, content_weight=0),
        dict(TEXTURE, tiles="t"),
        dict(at="0.5,0.5"),
        dict(tiles="t", overlay="o.png"),
        dict(output=None, tiles="t"),
        dict(lines=0.5),
        dict(wrap="x"),
        dict(optimizer="lbfgs"),
        dict(content_layers=["relu1_1"], style_layers=["relu1_1"]),
        dict(style_gsd=[1, 2]),
        dict(style_scale=[1, 2]),
        dict(style_scale=3),
        dict(SEA, style_scale=[1, 2, 3]),
        dict(style_gsd=3, style_scale=1.0),
        dict(style_blend_weights=[0, 3], style_layer_weights=[[0] * 5, [1, 2, 3, 4, 5]]),
    ],
)
def test_what_fits_another_is_taken(values: dict[str, Any]) -> None:
    config = made(**values)
    assert RenderConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("name", ["style_weight", "content_weight", "tv_weight", "dream_weight"])
def test_one_weight_above_nothing_is_enough(name: str) -> None:
    nothing = dict.fromkeys(("style_weight", "content_weight", "tv_weight", "dream_weight"), 0)
    assert getattr(made(**nothing | {name: 0.1}), name) == 0.1
    assert refusal(**nothing).startswith("style_weight, content_weight and tv_weight are all 0")


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("init", "noise", "content"),
        ("color", "match", "style"),
        ("keep_detail", True, "False"),
        ("protect", "p.png", "none"),
        ("lines", 2.0, "0.0"),
        ("dream_weight", 2.0, "0.0"),
        ("optimizer", "lbfgs", "adam"),
        ("at", "0.5,0.25", "none"),
    ],
)
def test_where_colours_alone_are_transferred_nothing_is_minimised(name: str, value: Any, plain: str) -> None:
    said = f"{name} = {value}: with transfer color, which takes no steps, allowed: {plain}"
    assert refusal(transfer="color", **{name: value}) == said
    assert getattr(made(**{name: value}), name) == value


def test_colours_alone_are_transferred_in_one_level_without_steps() -> None:
    moved = dict(transfer="color", jitter=2, content_weight=0)
    assert refusal(**moved) == "jitter = 2: with transfer color, which takes no steps, allowed: 0"
    for values in (dict(steps=0), dict(steps=[0, 0]), dict(levels=1), {}):
        assert made(transfer="color", **values).transfer == "color"
    said = "with transfer color, which takes none, allowed: 0"
    assert refusal(transfer="color", steps=[0, 3]) == f"steps = [0, 3]: {said}"
    assert refusal(transfer="color", levels=2) == "levels = 2: with transfer color, which is done at once, allowed: 1"
    assert made(steps=[0, 3], levels=2).levels == 2


def test_each_style_has_a_number_for_each_layer() -> None:
    two = dict(style_layers=["relu1_1", "relu2_1", "relu3_1"])
    each = "2 lists, one per style, of 3 numbers, one per style layer"
    said = f"style_layer_weights = 1,0.5,2 and 1,3; allowed: {each}"
    assert refusal(**two, style_layer_weights=[[1, 0.5, 2], [1, 3]]) == said
    assert refusal(**two, style_layer_weights=[[1, 0.5, 2]]) == f"style_layer_weights = 1,0.5,2; allowed: {each}"
    assert made(**two, style_layer_weights=[[1, 0.5, 2], [1, 3, 0]]).style_layer_weights[1] == (1, 3, 0)


def test_a_layer_counts_what_its_styles_share_counts() -> None:
    """Of each region for itself: weights at a layer times the style's share."""
    by_layer = [[1, 0, 1, 1, 1], [1, 2, 1, 1, 1]]
    assert made(style_layer_weights=by_layer).style_blend_weights is None
    assert made(style_layer_weights=by_layer, style_blend_weights=[0, 0.5]).style_blend_weights == (0, 0.5)
    said = refusal(style_layer_weights=by_layer, style_blend_weights=[0.5, 0])
    assert said == "style_layer_weights are all 0 at relu2_1; allowed: one above 0"
    by_layer[1][1] = 0
    assert refusal(style_layer_weights=by_layer) == said
    of_sea = refusal(**SEA, style_layer_weights=[[1] * 5, [1] * 5, [1, 1, 0, 1, 1]])
    assert of_sea == "style_layer_weights are all 0 at relu3_1 of region 'sea'; allowed: one above 0"
    every = refusal(**SEA, style_blend_weights=[1, 2, 0])
    assert every == "style_blend_weights = [1.0, 2.0, 0.0]; allowed: one per style of region 'sea', not all 0"
    assert refusal(style_blend_weights=[0, 0]).endswith("allowed: one per style, not all 0")
    assert refusal(style_blend_weights=[1, 2, 3]).endswith("allowed: one per style (2), not all 0")
    assert made(**SEA, style_blend_weights=[0, 2, 3]).regions.names == ("rest", "sea")

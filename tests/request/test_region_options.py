"""What --region, --mask, --label, --style-mask and the per-style lists may say."""

import json

import pytest

from tiler.errors import ConfigError
from tiler.request.config import RenderConfig
from tiler.request.regions import Source

NEEDED = dict(content="a.png", styles=("b.png",), output="c.png")
LABELLED = dict(NEEDED, styles=(), labels="l.png", label=["#2244aa=sea.jpg", "2e8B3d=wood.jpg,moss.jpg"])


def refusal(**values):
    with pytest.raises(ConfigError) as error:
        RenderConfig(**{**NEEDED, **values})
    assert "\n" not in str(error.value)
    return str(error.value)


def test_without_any_there_is_one_region_and_it_is_everywhere():
    regions = RenderConfig(**NEEDED, style_mask=["rest=part.png"]).regions
    assert (regions.names, regions.guided) == (("rest",), False)
    assert regions.sources == (Source(0, "b.png", "part.png"),)


def test_masks_and_labels_meet_in_regions_by_name():
    regions = RenderConfig(
        **NEEDED, region=["sea=s.jpg,t=1.jpg", "ice=i.jpg"], mask=["ice=m.png", "sea=n.png", "ice=o.png"],
        labels="l.png", label=["#0000ff=sea", "#fff000=town.jpg", "#00ff00=rest"], style_mask=["sea=x.png,y.png"],
    ).regions  # fmt: skip
    assert regions.names == ("rest", "sea", "ice", "#fff000")
    assert regions.sources == (
        Source(0, "b.png"), Source(1, "s.jpg", "x.png"), Source(1, "t=1.jpg", "y.png"), Source(2, "i.jpg"),
        Source(3, "town.jpg"),
    )  # fmt: skip
    assert regions.masks == ((2, "m.png"), (1, "n.png"), (2, "o.png"))
    assert regions.labels == (((0, 0, 255), 1), ((255, 240, 0), 3), ((0, 255, 0), 0))
    assert regions.guided


def test_labels_need_no_default_style():
    regions = RenderConfig(**LABELLED).regions
    assert regions.names == ("#2244aa", "2e8B3d")
    assert [source.region for source in regions.sources] == [0, 1, 1]


def test_a_table_says_the_same_as_a_list():
    table = {"region": {"sea": "s.jpg", "wood": ["w.jpg", "v.jpg"]}, "mask": {"sea": "m.png", "wood": "n.png"}}
    texts = {"region": ["sea=s.jpg", "wood=w.jpg,v.jpg"], "mask": ["sea=m.png", "wood=n.png"]}
    assert RenderConfig(**NEEDED, **table) == RenderConfig(**NEEDED, **texts)


def test_a_config_with_everything_makes_the_round_trip():
    config = RenderConfig(
        **LABELLED, style_scale=[1, 2, 0.5], style_blend_weights=[1, 2, 3], style_mask=["#2244aa=m.png"],
        style_layer_weights=[[1, 1, 2, 2, 1], [0, 1, 1, 1, 1], [1, 0, 1, 1, 1]],
    )  # fmt: skip
    assert RenderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


WRONG = {
    "no equals sign": (dict(region=["sea"]), ["region = 'sea'", "NAME=STYLE"]),
    "no style": (dict(region=["sea="]), ["region = 'sea='"]),
    "a comma too many": (dict(region=["sea=a,,b"], mask=["sea=m"]), ["region = 'sea=a,,b'"]),
    "twice": (dict(region=["sea=a", "sea=b"]), ["sea", "each name once"]),
    "a reserved name": (dict(region=["rest=a"]), ["'rest'"]),
    "nowhere": (dict(region=["sea=a"]), ["region 'sea' is nowhere", "--mask sea=FILE"]),
    "mask of an unknown region": (
        dict(region=["sea=a"], mask=["see=m"]),
        ["'see=...'", "rest, sea", "did you mean sea"],
    ),
    "style mask of an unknown region": (dict(style_mask=["sea=m"]), ["style_mask", "unknown region", "rest"]),
    "style masks of another number": (dict(style_mask=["rest=m,n"]), ["one per style of the region (1)"]),
    "labels without a label": (dict(labels="l.png"), ["belong together"]),
    "a label without labels": (dict(label=["#112233=a"]), ["belong together", "--labels"]),
    "a colour that is none": (dict(labels="l", label=["#12345g=a"]), ["'#12345g=...'", "six hexadecimal digits"]),
    "a short colour": (dict(labels="l", label=["#123=a"]), ["six hexadecimal digits"]),
    "a colour twice": (dict(labels="l", label=["#AABBCC=a", "aabbcc=b"]), ["each colour once"]),
    "rest without a default": (dict(styles=(), labels="l", label=["#112233=rest"]), ["no default STYLE"]),
    "masks without a default": (dict(styles=(), region=["sea=a"], mask=["sea=m"]), ["STYLE is missing"]),
    "not a text": (dict(region=[5]), ["region = 5"]),
    "scales": (dict(style_scale=[1, 2]), ["style_scale", "one per style (1)"]),
    "scales with regions": (dict(LABELLED, style_scale=[1, 2]), ["one per style (3)"]),
    "blend of a region": (dict(LABELLED, style_blend_weights=[0, 1, 1]), ["region '#2244aa'", "not all 0"]),
    "layer weights of another number": (dict(style_layer_weights=[[1] * 5] * 2), ["1 lists, one per style"]),
    "layer weights too short": (dict(style_layer_weights=[[1, 2]]), ["style_layer_weights = 1,2", "of 5 numbers"]),
    "layer without a style": (dict(style_layer_weights=[[1, 0, 1, 1, 1]]), ["all 0 at relu2_1"]),
    "negative layer weight": (dict(style_layer_weights=[[1, -1, 1, 1, 1]]), ["style_layer_weights = -1", "0 or more"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_named(case):
    values, words = WRONG[case]
    message = refusal(**values)
    for word in words:
        assert word in message

import json
import math
import pkgutil
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiler
from tiler.errors import ConfigError
from tiler.request.config import RenderConfig
from tiler.request.jobfile import read_job_file
from tiler.request.sizes import SIZES
from tiler.request.together import _OF_STEPS

NEEDED = dict(content="a.png", styles=("b.png",), output="c.png")


def refusal(**values):
    """The one-line message that these values get."""
    with pytest.raises(ConfigError) as error:
        RenderConfig(**{**NEEDED, **values})
    assert "\n" not in str(error.value)
    return str(error.value)


# name: (too low, lowest, highest, too high), None where there is no bound.
RANGES = {
    "long_edge": (0, 1, 2**20, 2**20 + 1),
    "bits": (7, 8, 16, 17),
    "jpeg_quality": (0, 1, 100, 101),
    "edge": (15, 16, 16384, 16385),
    "dpi": (0.5, 1, 100_000, 100_001),
    "style_weight": (-0.1, 0, None, None),
    "content_weight": (-0.1, 0, None, None),
    "tv_weight": (-1e-9, 0, None, None),
    "chroma_weight": (-1e-9, 0, None, None),
    "light_weight": (-1e-9, 0, None, None),
    "lines": (-1e-9, 0, None, None),
    "style_scale": (0.009, 0.01, 100, 100.1),
    "style_blend_weights": (-1.0, 0.5, None, None),
    "region_edge": (-0.1, 0, 100, 100.1),
    "dream_weight": (-0.1, 0, None, None),
    "dream_channel": (-1, 0, 511, 512),
    "seed": (-1, 0, 2**63 - 1, 2**63),
    "steps": (-1, 0, 10**6, 10**6 + 1),
    "levels": (0, 1, 24, 25),
    "min_edge": (0, 1, None, None),
    "protect_strength": (-1, 0, 1e6, 1e7),
    "learning_rate": (0, 1e-6, 1, 1.01),
    "steps_per_round": (0, 1, 10**6, 10**6 + 1),
    "style_gsd": (0, 1e-3, 1e6, 2e6),
    "tile": (15, 16, 65536, 65537),
    "feather": (-1, 0, 4096, 4097),
    "halo": (-1, 0, 4096, 4097),
    "workers": (0, 1, 1024, 1025),
    "threads": (0, 1, 1024, 1025),
    "checkpoint_seconds": (-1, 0, 86400, 86401),
}
CHOICES = {
    "optimizer": ("adam", "lbfgs"),
    "compression": ("deflate", "zstd", "lzw", "none", "lossy", "lossless"),
    "pooling": ("avg", "max"),
    "quality": ("draft", "standard", "best"),
    "statistics": ("gram", "moments", "w2"),
    "precision": ("auto", "fp32", "bf16", "fp16", "fp64"),
    "mode": ("fast", "exact"),
    "wrap": ("none", "x", "y", "xy"),
    "device": ("auto", "cpu", "cuda", "mps"),
    "state": ("auto", "device", "host", "store"),
    "color": ("style", "grey", "content", "luminance", "match"),
    "transfer": ("style", "color"),
}
# name: texts that it takes, in their final spelling.
SPELLED = {
    "size": ("1024x768", "1x1048576"),
    "scale": ("4x", "0.5", "1.25x"),
    "print": ("90x60cm", "36x24in", "A0", "b10", "90cm"),
    "content_gsd": ("30", "0.5", "auto", "1e3"),
    "stretch": ("2,98", "0,100", "0.5,99.5"),
}
TEXTS = ("content", "styles", "output", "init", "weights", "content_layers", "style_layers", "store", "scheduler",
         "tiles", "overlay", "protect", "dream_layer")  # fmt: skip
# What these say must fit each other; see test_region_options.py.
REGIONS = ("region", "mask", "labels", "label", "style_mask", "style_layer_weights")
FLAGS = ("cog", "keep_detail")
LINKED = ("jitter", "at", "calm")  # allowed with some values of others only
WHOLE = ("dream_channel", "edge", "bits", "jpeg_quality", "long_edge", "seed", "steps", "levels", "min_edge",
         "steps_per_round", "tile", "feather", "halo", "workers", "threads")  # fmt: skip
OPTIONAL = (*SPELLED, "at", "calm", "dream_channel", "output", "compression", "tiles", "overlay", "protect",
            "labels", "long_edge", "dpi", "style_gsd", "style_blend_weights", "steps", "levels", "steps_per_round",
            "tile", "feather", "halo", "store", "workers", "threads", "scheduler")  # fmt: skip
LISTS = ("styles", "style_scale", "style_gsd", "style_blend_weights", "steps", "content_layers", "style_layers")


def test_every_field_is_in_exactly_one_table():
    names = [item.name for item in fields(RenderConfig)]
    assert sorted([*RANGES, *CHOICES, *TEXTS, *SPELLED, *FLAGS, *LINKED, *REGIONS]) == sorted(names)


def test_help_shows_of_every_list_that_it_is_one():
    shown = {item.name: item.metadata["metavar"] for item in fields(RenderConfig)}
    for name in (*LISTS, "style_layer_weights"):
        assert name == "styles" or str(shown[name]).endswith(",..."), name
    for name in ("region", "mask", "label", "style_mask"):
        assert "=" in str(shown[name]), name


@pytest.mark.parametrize("name", RANGES)
def test_ranges(name):
    too_low, lowest, highest, too_high = RANGES[name]
    allowed = f"allowed: {lowest if name != 'style_blend_weights' else 0}"
    assert refusal(**{name: too_low}).startswith(f"{name} = ")
    assert allowed in refusal(**{name: too_low})
    assert str(too_low) in refusal(**{name: too_low})
    for value in (lowest, *([highest] if highest is not None else [])):
        found = getattr(RenderConfig(**{**NEEDED, name: value}), name)
        assert found == ((value,) if name in LISTS else value)
    if too_high is not None:
        message = refusal(**{name: too_high})
        assert f"{name} = {too_high}" in message
        assert f"to {highest}" in message
    else:
        assert "or more" in refusal(**{name: too_low})


@pytest.mark.parametrize("value", [-1, 65, 1.5, "4", True, math.nan])
def test_jitter_is_a_small_whole_number(value):
    assert RenderConfig(**NEEDED, content_weight=0, jitter=64).jitter == 64
    assert refusal(content_weight=0, jitter=value).startswith("jitter = ")


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, -(10**400)])
def test_numbers_that_are_none_are_refused(name, value):
    if name == "min_edge" and value == 10**400:
        assert RenderConfig(**{**NEEDED, name: value}).min_edge == value
    else:
        assert refusal(**{name: value}).startswith(f"{name} = ")


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("value", ["5", True, b"5", [[5]], {"a": 5}, object()])
def test_ranged_fields_take_numbers_only(name, value):
    message = refusal(**{name: value})
    assert message.startswith(f"{name} = ")
    assert "allowed: a whole number" in message or "allowed: a number" in message or "allowed: a list" in message


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", [20.0, 20.5])
def test_whole_numbers_take_no_fractions(name, value):
    assert refusal(**{name: value}) == f"{name} = {value}; allowed: a whole number"


@pytest.mark.parametrize("name", [*TEXTS, *CHOICES])
@pytest.mark.parametrize("value", ["", "a\0b", 5, 1.5, True, b"text"])
def test_texts(name, value):
    message = refusal(**{name: value})
    assert message.startswith(f"{name} = {value!r}; allowed: ")


@pytest.mark.parametrize("name", SPELLED)
@pytest.mark.parametrize("value", ["", "a\0b", "five", "-4", "nan", True, b"text", [5], {}])
def test_spelled_texts(name, value):
    message = refusal(**{name: value})
    assert message.startswith(f"{name} = {value!r}; allowed: ")
    for text in SPELLED[name]:
        assert getattr(RenderConfig(**{**NEEDED, name: f" {text} "}), name) == text


def test_a_scale_may_be_a_number():
    assert [RenderConfig(**NEEDED, scale=value).scale for value in (4, 1.5)] == ["4", "1.5"]


@pytest.mark.parametrize("name", FLAGS)
def test_flags(name):
    for value in (True, False):
        assert getattr(RenderConfig(**{**NEEDED, name: value}), name) is value
    for value in ("true", 1, 0.0, [True]):
        assert refusal(**{name: value}) == f"{name} = {value!r}; allowed: true or false"


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name):
    for choice in CHOICES[name]:
        assert getattr(RenderConfig(**{**NEEDED, name: choice}), name) == choice
    assert refusal(**{name: "zzzz"}) == f"{name} = 'zzzz'; allowed: {', '.join(CHOICES[name])}"


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("optimizer", "adm", "adam"),
        ("mode", "exakt", "exact"),
        ("precision", "bf-16", "bf16"),
        ("device", "cud", "cuda"),
    ],
)
def test_a_choice_nearby_is_suggested(name, value, meant):
    assert refusal(**{name: value}).endswith(f"(did you mean {meant}?)")


@pytest.mark.parametrize("name", [item.name for item in fields(RenderConfig)])
def test_only_what_can_be_derived_may_be_left_open(name):
    if name in OPTIONAL:
        other = {"tiles": "folder"} if name == "output" else {}
        assert getattr(RenderConfig(**{**NEEDED, **other, name: None}), name) is None
    else:
        assert refusal(**{name: None}).startswith(f"{name} = None; allowed: ")


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("styles", "x.png", ("x.png",)),
        ("styles", Path("x.png"), ("x.png",)),
        ("styles", [Path("x.png"), "y.png"], ("x.png", "y.png")),
        ("content", Path("x.png"), "x.png"),
        ("steps", 7, (7,)),
        ("steps", [7, 8], (7, 8)),
        ("style_blend_weights", 2, (2.0,)),
        ("style_layers", "relu2_1", ("relu2_1",)),
        ("style_weight", 2, 2.0),
    ],
)
def test_one_value_stands_for_a_list_and_types_are_settled(name, value, found):
    config = RenderConfig(**{**NEEDED, name: value})
    assert getattr(config, name) == found
    assert type(getattr(config, name)) is type(found)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (dict(styles=[]), "STYLE is missing: at least one"),
        (dict(style_weight=0, content_weight=0, tv_weight=0), "all 0"),
        (dict(output=None), "output and tiles are missing"),
        (dict(long_edge=5, print="A0"), "long_edge and print are given; allowed: one of long_edge, size, scale, print"),
        (dict(style_gsd=[1, 2]), "style_gsd = [1.0, 2.0]; allowed: one, or one per style (1)"),
        (dict(style_gsd=[]), "style_gsd = []; allowed: one, or one per style (1)"),
        (dict(style_gsd=5, style_scale=2), "style_scale and a ground scale are given"),
        (dict(content_gsd="auto", style_scale=2), "style_scale and a ground scale are given"),
        (dict(style_layers=[]), "style_layers is empty"),
        (dict(wrap="x", optimizer="lbfgs"), "optimizer = lbfgs needs tiles without neighbours"),
        (dict(content_layers=[]), "content_layers is empty"),
        (dict(style_blend_weights=[1, 2]), "style_blend_weights = [1.0, 2.0]; allowed: one per style (1)"),
        (dict(style_blend_weights=[0]), "not all 0"),
        (dict(styles=["a", "b"], style_blend_weights=[1]), "one per style (2)"),
    ],
)
def test_values_that_do_not_fit_each_other(values, named):
    assert named in refusal(**values)


def test_content_layers_may_be_empty_without_content():
    assert RenderConfig(**NEEDED, content_layers=[], content_weight=0).content_layers == ()


def test_configs_cannot_be_changed():
    with pytest.raises(AttributeError):
        RenderConfig(**NEEDED).long_edge = 5


def from_dict_refusal(values, source="job.toml"):
    with pytest.raises(ConfigError) as error:
        RenderConfig.from_dict(values, source)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("key", "meant"), [("long_egde", "long_edge"), ("contents", "content"), ("style-weight", "style_weight")]
)
def test_a_key_nearby_is_suggested(key, meant):
    assert from_dict_refusal({**NEEDED, key: 1}) == f"job.toml: unknown key '{key}'; did you mean '{meant}'?"


def test_unknown_and_missing_keys_are_named():
    assert from_dict_refusal({**NEEDED, "zzzz": 1}) == "job.toml: unknown key 'zzzz'"
    for name in NEEDED:
        values = {key: value for key, value in NEEDED.items() if key != name}
        assert from_dict_refusal(values) == f"job.toml: '{name}' is missing"


TEXT = st.text(st.characters(exclude_characters="\0~", exclude_categories=("Cs",)), min_size=1, max_size=8)


def value_of(name):
    if name in FLAGS:
        return st.booleans()
    if name in SPELLED:
        return st.sampled_from(SPELLED[name])
    if name in CHOICES:
        return st.sampled_from(CHOICES[name])
    if name in TEXTS:
        return TEXT
    _, lowest, highest, _ = RANGES[name]
    if name in WHOLE:
        return st.integers(lowest, highest if highest is not None else 10**9)
    return st.floats(max(lowest, 1e-6), highest if highest is not None else 1e9)


@st.composite
def configs(draw):
    values = {"styles": draw(st.lists(TEXT, min_size=1, max_size=3))}
    one_size = draw(st.sampled_from(SIZES))
    for name in [*TEXTS, *CHOICES, *RANGES, *SPELLED, *FLAGS]:
        if name in SIZES and name != one_size:
            continue
        if name == "styles" or (name not in NEEDED and draw(st.booleans())):
            continue
        one = value_of(name)
        if name in ("style_blend_weights", "style_scale", "style_gsd"):
            one = st.lists(one, min_size=len(values["styles"]), max_size=len(values["styles"]))
        elif name in LISTS:
            one = st.lists(one, min_size=1, max_size=4, unique=name.endswith("_layers"))
        values[name] = draw(one)
    if values.get("wrap", "none") != "none":
        values["optimizer"] = "adam"
    if values.get("style_gsd") or values.get("content_gsd"):
        values.pop("style_scale", None)
    if values.get("transfer") == "color":
        values = {name: value for name, value in values.items() if name not in (*_OF_STEPS, "steps", "levels")}
    return RenderConfig(**values)


@given(configs())
def test_dicts_and_json_round_trip(config):
    assert RenderConfig.from_dict(config.to_dict()) == config
    assert RenderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_job_file_is_a_config(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text('content = "a.png"\nstyles = ["b.png"]\noutput = "c.png"\nsteps = 5\nmode = "exact"\n')
    placed = dict(content=str(tmp_path / "a.png"), styles=(str(tmp_path / "b.png"),), output=str(tmp_path / "c.png"))
    assert RenderConfig.from_dict(read_job_file(path)) == RenderConfig(**placed, steps=5, mode="exact")


@pytest.mark.parametrize(
    "content",
    [b"content = ", b"a = 1\na = 2", b"\xff\xfe", b"[" * 5000, b"n = " + b"9" * 5000, b"<xml/>"],
    ids=["cut off", "twice", "not text", "nested", "endless number", "xml"],
)
def test_files_that_are_not_toml_are_refused(tmp_path, content):
    path = tmp_path / "job.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not a TOML file") as error:
        read_job_file(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_job_files_that_cannot_be_read_are_refused(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match="--job") as error:
            read_job_file(path)
        assert str(path) in str(error.value)


TEXTURE = dict(content=None, content_weight=0, init="noise")


def test_a_texture_needs_no_content():
    assert RenderConfig(**{**NEEDED, **TEXTURE}).content is None
    values = {key: value for key, value in {**NEEDED, **TEXTURE}.items() if key != "content"}
    assert RenderConfig.from_dict(values).content is None
    assert RenderConfig(**{**NEEDED, **TEXTURE, "init": "clouds.png"}).content is None


@pytest.mark.parametrize(
    "shown", [dict(content_weight=0.1), dict(init="content"), dict(color="match"), dict(content_gsd="5")]
)
def test_where_a_content_would_show_one_is_needed(shown):
    message = refusal(**{**TEXTURE, **shown})
    assert "content" in message
    assert "allowed: " in message


def test_no_module_is_called_as_what_is_public(monkeypatch):
    """It would take its place once anybody imports it, such as whoever unpickles a result."""
    for name in tiler.__all__:
        monkeypatch.delitem(vars(tiler), name, raising=False)
    modules = {one.name for one in pkgutil.iter_modules(tiler.__path__)}
    assert modules & {*tiler.__all__} == set()
    assert callable(tiler.render)


# Posters change with these: whoever changes one says so in the change log.
DEFAULTS = dict(
    edge=768, bits=8, jpeg_quality=95, cog=False, quality="standard", style_weight=1.0, statistics="moments",
    content_weight=0.3, keep_detail=False,
    protect_strength=10.0, lines=0.0, tv_weight=0.05, chroma_weight=0.02, light_weight=0.02, style_scale=(1.0,),
    init="content", wrap="none", color="style", transfer="style", seed=0, region_edge=1.0,
    dream_weight=0.0, dream_layer="relu4_3", jitter=0, min_edge=128, optimizer="adam", learning_rate=0.02,
    pooling="avg", content_layers=("relu4_2",),
    style_layers=("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), weights="bundled", precision="auto",
    mode="fast", device="auto", state="auto", checkpoint_seconds=60.0,
)  # fmt: skip


def test_what_is_not_said():
    config = RenderConfig(**NEEDED)
    found = {item.name: getattr(config, item.name) for item in fields(config) if item.name not in NEEDED}
    assert {name: value for name, value in found.items() if value not in (None, ())} == DEFAULTS

"""What a page may say of each option, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from tiler.errors import ConfigError
from tiler.request.config import RenderConfig
from tiler.studio.controls import changed, command, config_of, controls, varied

FILES = {"content": "c.png", "styles": ["a.png", "b.png"]}


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in controls()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("content", {"kind": "file", "group": None, "words": [], "part": False, "default": None}),
        ("styles", {"kind": "files", "whole": False, "default": None, "part": False}),
        ("init", {"kind": "file", "words": ["content", "noise"], "default": "content", "part": False}),
        ("region", {"kind": "lines", "default": None, "metavar": "NAME=STYLE[,STYLE]"}),
        ("keep_detail", {"kind": "flag", "default": False, "choices": None, "reach": None, "part": True}),
        ("wrap", {"kind": "choice", "choices": ["none", "x", "y", "xy"], "default": "none", "reach": None}),
        ("steps", {"kind": "text", "low": 0, "high": 1000000, "whole": False, "default": None, "part": True}),
        ("content_layers", {"kind": "text", "default": "relu4_2", "choices": None}),
        ("style_layers", {"kind": "text", "default": "relu1_1,relu2_1,relu3_1,relu4_1,relu5_1"}),
        ("seed", {"kind": "number", "whole": True, "low": 0, "default": 0, "reach": None, "part": True}),
        ("halo", {"kind": "number", "whole": True, "low": 0, "high": 4096, "metavar": "PX", "reach": None}),
        ("jpeg_quality", {"kind": "number", "whole": True, "default": 95, "reach": (1, 100, False)}),
        ("dpi", {"kind": "number", "whole": False, "reach": None, "group": "The file"}),
        ("region_edge", {"kind": "number", "whole": False, "reach": (0, 100, False), "low": 0, "high": 100}),
        ("lines", {"kind": "number", "default": 0.0, "high": None, "reach": None}),
        ("style_weight", {"kind": "number", "default": 1.0, "reach": (1 / 32, 32.0, True), "part": True}),
        ("learning_rate", {"kind": "number", "reach": (1e-6, 1, False), "part": True}),
        ("protect_strength", {"kind": "number", "reach": (10 / 32, 320.0, True)}),
    ],
)
def test_a_control_is_its_option(found: dict[str, dict[str, Any]], name: str, expected: dict[str, Any]) -> None:
    assert {key: found[name][key] for key in expected} == expected
    assert found[name]["help"] == RenderConfig.__dataclass_fields__[name].metadata["help"]


@pytest.mark.parametrize("name", ["output", "tiles", "store", "workers", "scheduler", "state", "at", "edge", "weights"])
def test_what_is_another_s_to_say_has_no_control(found: dict[str, dict[str, Any]], name: str) -> None:
    assert name in RenderConfig.__dataclass_fields__
    assert name not in found
    with pytest.raises(ConfigError, match=f"^{name}: a page cannot say that$"):
        config_of({**FILES, name: ""})


def test_what_is_empty_is_not_said() -> None:
    empty = {"seed": "", "content_weight": None, "region": [], "keep_detail": False}
    config = config_of({**FILES, **empty})
    assert config == RenderConfig(content="c.png", styles=("a.png", "b.png"), output="preview.png")
    assert config_of({**FILES, "region": ["sea=s.png"], "mask": ["sea=m.png"]}).region == ("sea=s.png",)


@pytest.mark.parametrize(
    "said",
    [
        {"keep_detail": "yes"},
        {"seed": 3},
        {"seed": ["3"]},
        {"seed": True},
        {"styles": "a.png"},
        {"styles": [3]},
        {"region": "sea=a.png"},
        {"region": ["sea=a.png", 3]},
        {"content": ["c.png"]},
        {"wrap": True},
    ],
)
def test_a_page_says_texts_lists_of_them_and_flags(said: dict[str, Any]) -> None:
    ((name, value),) = said.items()
    with pytest.raises(ConfigError) as caught:
        config_of({**FILES, **said})
    assert str(caught.value).startswith(f"{name} = {value}; allowed: a text, or a list of texts")


def test_what_is_no_text_is_shown_in_part() -> None:
    with pytest.raises(ConfigError, match=r"^seed = \['x{78}; allowed"):
        config_of({**FILES, "seed": ["x" * 200]})


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, []),
        (FILES, ["c.png", "a.png", "b.png"]),
        ({"styles": ["-a.png"], "content": ""}, ["./-a.png"]),
    ],
)
def test_a_command_begins_with_its_files(said: dict[str, Any], words: list[str]) -> None:
    assert command(said) == " ".join(["tiler", "render", *words, "-o", "poster.png"])


def test_a_command_says_what_a_page_said() -> None:
    said = {**FILES, "content_weight": "2", "keep_detail": True, "cog": False, "seed": "", "size": None, "mask": [],
            "region": ["sea=a b.png", "land=c.png"]}  # fmt: skip
    assert command(said) == (
        "tiler render c.png a.png b.png -o poster.png --content-weight=2 --keep-detail '--region=sea=a b.png' "
        "--region=land=c.png"
    )


@pytest.mark.parametrize("vary", [3, None, {}, [3], ["ab"], [["seed"]], [["seed", "12"]], [["seed", [1]]],
                                  [["seed", ["1"], 3]], [[3, ["1"]]]])  # fmt: skip
def test_what_varies_is_an_option_with_a_list_of_texts(vary: Any) -> None:
    with pytest.raises(ConfigError, match=r"^vary: allowed: one or two options, each with a list of values$"):
        varied(vary)


def test_one_or_two_options_vary() -> None:
    (one,) = varied([["content_weight", ["0.5", "2"]]])
    assert (one.name, one.values) == ("content_weight", (0.5, 2.0))
    with pytest.raises(ConfigError):
        varied([[name, ["1", "2"]] for name in ("content_weight", "style_weight", "tv_weight")])


def test_a_part_of_a_poster_may_be_other() -> None:
    said = {"content_weight": "2", "steps": "5,4", "keep_detail": "yes"}
    found = changed(said)
    assert {**found, "steps": (*found["steps"],)} == {"content_weight": 2.0, "steps": (5, 4), "keep_detail": True}
    assert changed({}) == {}
    for wrong in (None, [], {"seed": 3}):
        with pytest.raises(ConfigError, match=r"^set: allowed: a text for each option$"):
            changed(wrong)
    for name in ("content", "wrap", "output", "nothing"):
        with pytest.raises(ConfigError, match=f"^set = {name}: is the same in all of a poster, or a file$"):
            changed({"seed": "1", name: "x"})

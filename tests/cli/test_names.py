"""Options as neural-style names and spells them: they work, or the one line that refuses them says what does."""

from __future__ import annotations

from dataclasses import fields

import click
import pytest

from tiler.cli.commands import cli
from tiler.cli.render import render
from tiler.errors import ConfigError
from tiler.request import names
from tiler.request.config import RenderConfig

# All that neural_style.lua has.
LISTED = """style_image content_image image_size style_blend_weights gpu multigpu_strategy content_weight style_weight
tv_weight num_iterations normalize_gradients init init_image optimizer learning_rate lbfgs_num_correction print_iter
save_iter output_image style_scale original_colors pooling proto_file model_file backend cudnn_autotune seed
content_layers style_layers"""
THEIRS = LISTED.split()
OURS = {item.name for item in fields(RenderConfig)}


def refusal(*words: str) -> str:
    with pytest.raises(click.UsageError) as error:
        cli(["render", "content.png", "style.png", "-o", "p.png", *words], standalone_mode=False)
    return error.value.format_message()


@pytest.mark.parametrize("name", THEIRS)
def test_every_option_of_neural_style_works_or_is_answered(name: str) -> None:
    works = name in OURS
    assert works == (names.option_for(name) is None)
    assert works or names.key_for(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("original_colors", "here it is --color content"),
        ("init_image", "here it is --init FILE"),
        ("image_size", "here it is --long-edge PX"),
        ("num_iterations", "here it is --steps N"),
        ("model_file", "here it is --weights FILE"),
        ("gpu", "here it is --device cuda (or cpu)"),
        ("output_image", "tiler render CONTENT STYLE -o POSTER"),
        ("save_iter", "tiler export"),
        ("print_iter", "--log-json"),
        ("cudnn_autotune", "leave it out"),
    ],
)
@pytest.mark.parametrize("dashes", ["-", "--"])
def test_the_command_line_points_to_our_option(name: str, words: str, dashes: str) -> None:
    for said in ([f"{dashes}{name}", "1"], [f"{dashes}{name}=1"]):
        message = refusal(*said)
        assert message.startswith(f"No such option: {dashes}{name}; ")
        assert words in message


def test_options_that_are_pointed_to_exist() -> None:
    for name in set(THEIRS) - OURS:
        hint = str(names.key_for(name))
        assert "here it is" not in hint or hint.split("'")[1] in OURS


@pytest.mark.parametrize("spelled", ["--content_weight", "-content_weight", "--content-weight"])
def test_our_options_may_be_spelled_as_theirs(spelled: str) -> None:
    for said in ([spelled, "0.7"], [f"{spelled}=0.7"]):
        with render.make_context("render", ["a.png", "b.png", "-o", "p.png", *said, "-seed", "3"]) as context:
            assert (context.params["content_weight"], context.params["seed"]) == (0.7, 3)
            assert context.params["pictures"] == ("a.png", "b.png")


def test_what_follows_two_dashes_is_a_file() -> None:
    with render.make_context("render", ["-o", "p.png", "--", "-content_weight", "-gpu"]) as context:
        assert context.params["pictures"] == ("-content_weight", "-gpu")


@pytest.mark.parametrize(("key", "words"), [("original_colors", "'color'"), ("content_image", "'content'"),
                                            ("num_iterations", "'steps'"), ("backend", "leave it out")])  # fmt: skip
def test_a_job_file_is_pointed_to_our_key(key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"job.toml: unknown key '{key}'; .*{words}"):
        RenderConfig.from_dict({"content": "a", "styles": "b", "output": "c.png", key: 1}, "job.toml")

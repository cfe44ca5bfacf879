"""Options over several values, and what may be other in a part of a poster: how they are said, and up to how many."""

from __future__ import annotations

import pytest

from tiler.errors import ConfigError
from tiler.request.changing import changes
from tiler.request.config import RenderConfig
from tiler.request.varying import Varied, varied


def test_values_are_read_as_their_option_wants_them() -> None:
    found = Varied.of(" --content-weight = 0.05, 0.2 ,1")
    assert found == Varied("content_weight", ("0.05", "0.2", "1"), (0.05, 0.2, 1.0))
    assert found.title == "content weight"
    config = found.on(RenderConfig("a.png", ("b.png",), "c.png"), 1)
    assert config == RenderConfig("a.png", ("b.png",), "c.png", content_weight=0.2)
    assert Varied.of("seed=3,4").values == (3, 4)
    assert Varied.of("color=style,content").values == ("style", "content")


def test_as_many_values_as_fit_on_a_sheet() -> None:
    numbers = [str(number) for number in range(25)]
    assert Varied.over("seed", numbers[:24]).values == tuple(range(24))
    for texts in (numbers, [], ["1", "2", "1"]):
        with pytest.raises(ConfigError) as caught:
            Varied.over("seed", texts)
        assert str(caught.value) == f"vary = seed: {len(texts)} values; allowed: up to 24, each once"


@pytest.mark.parametrize("said", ["", "seed", "seed=", "=1", "seed=1,,2", "seed=1, "])
def test_what_varies_nothing(said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Varied.of(said)
    assert str(caught.value).startswith(f"vary = {said!r}; allowed: NAME=VALUE,VALUE,... such as content-weight=")


@pytest.mark.parametrize("name", ["long_edge", "output", "workers", "region", "content"])
def test_what_is_the_same_on_all_of_a_sheet(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Varied.over(name, ["1"])
    assert str(caught.value) == f"vary: {name} is the same for all; allowed: options of the look and the work"


def test_one_or_two_options_vary() -> None:
    assert [one.name for one in varied(["seed=1", "steps=2,3"])] == ["seed", "steps"]
    assert len(varied(["seed=1"])) == 1
    for said, names in (
        ([], "nothing"),
        (["seed=1", "seed=2"], "seed, seed"),
        (["seed=1", "steps=2", "mode=exact"], "seed, steps, mode"),
    ):
        with pytest.raises(ConfigError) as caught:
            varied(said)
        assert str(caught.value) == f"vary: {names}; allowed: one or two different options"


def test_changes_are_read_as_their_options_want_them() -> None:
    found = changes(["content-weight= 1", "--style_scale=0.5,2", "seed=7"])
    assert found == {"content_weight": 1.0, "style_scale": [0.5, 2.0], "seed": 7}
    for said in (["seed"], ["seed= "], ["=1"], ["seed=1", "seed=2"]):
        with pytest.raises(ConfigError) as caught:
            changes(said)
        words = f"set = {said[-1]!r}; allowed: NAME=VALUE such as content-weight=1, each name once"
        assert str(caught.value) == words
    for name in ("wrap", "color", "tile", "long_edge", "output", "workers"):
        with pytest.raises(ConfigError, match=f"^set = {name}: is the same in all of a poster; allowed: "):
            changes([f"{name}=1"])

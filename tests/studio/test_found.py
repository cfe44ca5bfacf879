"""Regions that find themselves, as a page has them, without looking for any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tiler.errors import ConfigError
from tiler.request.config import RenderConfig
from tiler.studio import found as module
from tiler.studio.folder import Folder
from tiler.studio.found import regions


@pytest.fixture
def held(tmp_path: Path) -> Folder:
    for name in ("maps/sub/c.png", "maps/s.png", "maps/t.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (7, 5)).save(tmp_path / name)
    return Folder(tmp_path / "maps")


@pytest.fixture
def asked(held: Folder, monkeypatch: pytest.MonkeyPatch) -> list[tuple[RenderConfig, int]]:
    """What was looked for; found are two regions."""
    seen: list[tuple[RenderConfig, int]] = []

    def proposed(config: RenderConfig, count: int) -> tuple[RenderConfig, str]:
        seen.append((config, count))
        root = held.root
        labels = (f"#112233={root}/s.png", f"#445566={root}/t.png")
        masks = (f"#112233={root}/c-1.png", f"#445566={root}/sub/c-2.png")
        return replace(config, styles=(), labels=f"{root}/c-labels.png", label=labels, style_mask=masks), "a note"

    monkeypatch.setattr(module, "with_regions", proposed)
    return seen


def _config(**more: Any) -> RenderConfig:
    return RenderConfig(**{"content": "sub/c.png", "styles": ("s.png", "t.png"), "output": "preview.png", **more})


@pytest.mark.parametrize("count", [2, 8])
def test_what_is_found_is_said_as_a_page_would(held: Folder, asked: list[Any], count: int) -> None:
    said = regions(held, _config(seed=3), count)
    assert said == {
        "styles": [], "labels": "c-labels.png", "label": ["#112233=s.png", "#445566=t.png"],
        "style_mask": ["#112233=c-1.png", "#445566=sub/c-2.png"],
    }  # fmt: skip
    expected = held.confined(_config(seed=3, output=str(held.root / "c.png")))
    assert asked == [(expected, count)]


def test_regions_before_make_way(held: Folder, asked: list[Any]) -> None:
    """Their styles are those that are looked for again, each once."""
    before = _config(styles=(), labels="gone.png", label=("#010203=t.png", "#040506=s.png", "#070809=t.png"))
    nothing = {"labels": None, "label": None, "style_mask": None}
    assert regions(held, before, 1) == {"styles": ("t.png", "s.png"), **nothing}
    assert asked == []
    regions(held, before, 2)
    ((config, _),) = asked
    assert config.styles == (str(held.root / "t.png"), str(held.root / "s.png"))
    assert (config.labels, config.label, config.style_mask) == (None, (), ())


@pytest.mark.parametrize("count", [0, 9, 2.0, "2", None, True, "x" * 30])
def test_there_are_one_to_eight(held: Folder, asked: list[Any], count: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        regions(held, _config(), count)
    assert str(caught.value) == f"count = {str(count)[:20]}; allowed: 1 to 8"


@pytest.mark.parametrize("name", ["c-labels.png", "c-labels.toml"])
def test_a_link_in_their_place_is_left_alone(held: Folder, asked: list[Any], name: str) -> None:
    (held.root / name).symlink_to("/nowhere")
    with pytest.raises(ConfigError, match=rf"{name}: is a link; regions are written beside their content"):
        regions(held, _config(), 2)
    assert asked == []
    assert regions(held, _config(), 1)["styles"] == ("s.png", "t.png")


def test_regions_of_a_poster_that_waits_stay_as_they_are(held: Folder, asked: list[Any]) -> None:
    """Others are called otherwise; the same ones are the same."""
    used = [held.root / "c-labels.png", held.root / "c-2-labels.png"]
    regions(held, _config(), 2, used[:1])
    regions(held, _config(), 2, used)
    regions(held, _config(), 2, [held.root / "other-labels.png"])
    assert [Path(str(config.output)).name for config, _ in asked] == ["c-2.png", "c-3.png", "c.png"]
    asked.clear()
    plain = held.confined(_config())
    made = module.is_of.__globals__["_made_of"](plain.content, plain.styles, 2)
    (held.root / "c-2-labels.toml").write_text(f"# regions: {made}\nwhat it says")
    regions(held, _config(), 2, used)
    regions(held, _config(), 3, used)
    assert [Path(str(config.output)).name for config, _ in asked] == ["c-2.png", "c-3.png"]

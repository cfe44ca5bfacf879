"""What is asked for, with its pictures opened: which of them gives the layout, and what else is known of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiler.engine.machine import ANY
from tiler.errors import ConfigError
from tiler.request import asked as asking
from tiler.request.asked import Asked, Sources
from tiler.request.config import RenderConfig
from tiler.style.layers import NAMES
from tiler.style.trunk import Trunk


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """content.png, 80 x 60 and veiled; style.png, 30 x 50; start.png, 40 x 40."""
    monkeypatch.setattr("tiler.request.resolve.trunk_of", lambda source: Trunk({f"relu{one}": 4 for one in NAMES}, "0"))
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((60, 80, 4), 99, np.uint8)).save("content.png")
    Image.new("RGB", (30, 50), "tan").save("style.png")
    Image.fromarray(np.full((40, 41, 4), 99, np.uint8)).save("start.png")
    return tmp_path


def asked(**values: Any) -> Asked:
    plain = {"content": "content.png", "styles": ("style.png",), "output": "p.png"}
    return Asked.of(RenderConfig(**{**plain, "long_edge": None if "size" in values else 90, **values}))


TEXTURE: dict[str, Any] = dict(content=None, content_weight=0, init="noise")


def test_the_content_gives_the_layout_or_the_start_or_the_first_style() -> None:
    for values, size, layout, transparent in (
        ({}, "90x68", "content.png", True),
        (dict(size="90x90"), "90x90", "content.png", True),
        (dict(TEXTURE), "54x90", "style.png", False),
        (dict(TEXTURE, init="start.png"), "90x88", "start.png", False),
    ):
        found = asked(**values)
        assert (found.config.size, found.sources.layout.path.name) == (size, layout)
        assert found.sources.transparent is transparent
        assert found.sources.has_content is (layout == "content.png")
        assert found.landed == ()
    cropped = asked(size="90x90").sources.layout
    assert (cropped.height, cropped.width, cropped.origin) == (60, 60, (0, 10))


def test_styles_and_overlays_are_those_of_the_request() -> None:
    found = asked(styles=("style.png", "start.png"), overlay="content.png")
    assert [one.path.name for one in found.sources.styles] == ["style.png", "start.png"]
    assert [one.in_part for one in found.sources.styles] == [False, True]
    assert found.overlay is found.sources.opened["content.png"]
    assert asked().overlay is None
    assert found.notes == ["start.png: its transparent parts do not count as style"]
    assert [one.path.name for one in found.sources.opened.values()] == ["content.png", "style.png", "start.png"]


def test_pixels_wait_beside_the_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "there").mkdir()
    kept: list[Any] = []
    opened_by = asking.guiding.opened_by
    monkeypatch.setattr(
        asking.guiding, "opened_by", lambda config, files, keep_in: kept.append(keep_in) or opened_by(config, files)
    )  # type: ignore[func-returns-value]
    monkeypatch.setattr(asking.tempfile, "gettempdir", lambda: "/anywhere")
    for values in ({}, dict(output="there/p.png"), dict(store="there/new/j.zarr"), dict(store="s3://b/j")):
        asked(**values)
    assert kept == [folder, folder / "there", folder / "there", Path("/anywhere")]


def test_what_decoded_pixels_take_is_added_up() -> None:
    opened: Any = {
        name: SimpleNamespace(kept=need and SimpleNamespace(need=need))
        for name, need in dict(a=5, b=None, c=70).items()
    }
    assert Sources(opened, None, []).kept_bytes == 75  # type: ignore[arg-type]


def test_a_machine_decides_the_rest() -> None:
    found = asked(content_gsd="5", style_gsd=9, levels=1)
    assert (found.config.style_gsd, found.settled.style_gsd, found.settled.content_gsd) == ((9.0,), (9.0,), "5.0")
    config, job = found.on(ANY)
    assert (config.device, config.content_gsd, job.cut.levels) == ("cpu", "5.0", found.job.cut.levels)
    with pytest.raises(ConfigError, match="no CUDA GPU"):
        asked(device="cuda").on(ANY)


def test_guides_are_looked_at_when_pictures_are_opened() -> None:
    Image.new("L", (80, 60)).save("black.png")
    with pytest.raises(ConfigError, match=r"protect black\.png: is black all over"):
        asked(protect="black.png")

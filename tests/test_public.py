"""What `import tiler` gives: a few names, all of them there, and things that show themselves in notebooks."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tiler
from tiler.planning.plan import LevelPlan, Plan


@pytest.mark.parametrize("first", ["render", "export", "preview"])
def test_every_public_name_is_there_whichever_is_asked_for_first(first: str) -> None:
    code = f"""import tiler
for name in {[first, *tiler.__all__]!r}:
    assert callable(getattr(tiler, name)) or name == '__version__', name"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


def test_completion_knows_what_is_not_imported_yet() -> None:
    code = "import tiler; print({*tiler.__all__} <= {*dir(tiler)}, 'Poster' in vars(tiler))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True False\n"


CONFIG = tiler.RenderConfig("no.png", ("no.png",), "p.png")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tiler.render({"content": "a.png"}), "config is of type dict; allowed: a RenderConfig"),
        (lambda: tiler.plan("map.png"), "config is of type str; allowed: a RenderConfig"),
        (lambda: tiler.render(None), "config is of type NoneType; allowed: a RenderConfig"),
        (lambda: tiler.render(CONFIG, progress="x"), "progress = 'x'; allowed: a function of an event"),
        (lambda: tiler.render(CONFIG, cancelled=True), "cancelled = True; allowed: a function without arguments"),
    ],
)
def test_what_is_no_such_thing_is_said_in_one_line(call: Any, words: str) -> None:
    with pytest.raises(tiler.TilerError) as error:
        call()
    assert str(error.value).startswith(words)


def test_no_other_name_is() -> None:
    with pytest.raises(AttributeError, match="'tiler' has no attribute 'paint'"):
        tiler.paint  # noqa: B018


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_result_shows_its_poster_made_small(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"poster{suffix}"
    Image.new("RGB", (3000, 1500), (10, 200, 90)).save(path)
    shown = tiler.Result(str(path), "s.zarr", 1500, 3000, 0.1, 1.0)._repr_png_()
    assert shown is not None
    pixels = np.asarray(Image.open(io.BytesIO(shown)).convert("RGB")).astype(int)
    assert pixels.shape == (512, 1024, 3)
    assert np.abs(pixels - (10, 200, 90)).max() <= 2


def test_a_poster_that_is_a_folder_is_shown_by_its_text(tmp_path: Path) -> None:
    assert tiler.Result(str(tmp_path), "s.zarr", 1, 1, 0.1, 1.0)._repr_png_() is None


def test_a_plan_shows_its_levels() -> None:
    level = LevelPlan(0, 96, 128, 1, 150, 6, 12288, 10, 10, "device", "it fits", 3.0)
    whole = dict.fromkeys(Plan.__dataclass_fields__, 0) | {
        "levels": (level,), "seconds": 7200.0, "memory_bytes": 3 * 10**9, "store_bytes": 10**9, "output_bytes": 10**9,
    }  # fmt: skip
    shown = Plan(**whole)._repr_html_()
    assert "<td>1</td><td>128 x 96</td><td>1</td><td>150</td><td>device</td>" in shown
    assert shown.endswith("<p>3.0 GB of memory, 2.0 GB of disk, about 2.00 h</p>")

"""What those who use tiler from Python write, as type checkers see it: it is checked, never run. A line that ends in an
ignored error must be one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import numpy as np
import xarray
from PIL import Image

import tiler


def in_place_of_names(array: np.ndarray[Any, np.dtype[np.uint8]], labelled: xarray.DataArray) -> None:
    image = Image.new("RGB", (4, 3))
    one = tiler.RenderConfig(content=array, styles=image, output=Path("poster.png"), steps=3, overlay=array)
    tiler.RenderConfig(content=labelled, styles=[array, image, "a.png", Path("b.png")], output="c.png", init=image)
    tiler.RenderConfig("a.png", ("b.png",), "c.png", region={"sea": image}, mask={"sea": [array, "m.png"]})
    assert_type(one.content, str | None)
    assert_type(one.styles, tuple[str, ...])
    assert_type(one.steps, tuple[int, ...] | None)
    tiler.render(tiler.RenderConfig(content=array, styles=[array], output="poster.png", style_scale=[1, 2.5]))


def no_pictures() -> None:
    tiler.RenderConfig(content=3, styles="b.png", output="c.png")  # type: ignore[arg-type]
    tiler.RenderConfig(content="a.png", styles=None, output="c.png")  # type: ignore[arg-type]
    tiler.RenderConfig(content="a.png", styles="b.png", output=np.zeros(3))  # type: ignore[arg-type]

"""Flying into a picture: each frame is the middle of the one before, enlarged and rendered again."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

from tiler import identity
from tiler.config import RenderConfig
from tiler.errors import ConfigError
from tiler.pictures import open_picture, write_picture
from tiler.render import Progress, render

_FACTS = "zoom.json"
_ROWS = 256
# Each later frame's picture is a part of the frame before: drawn upon, of another extent, and with edges of its own.
_OF_ONE_FRAME = ("overlay", "init", "wrap", "protect", "mask", "labels", "style_mask")


def zoom_in(
    config: RenderConfig, frames: int, factor: float, progress: Progress | None = None, force_new: bool = False
) -> list[Path]:
    """Render `frames` frames into the folder `config.output`; frame-0000.png is `config`'s own picture.

    factor: of the enlargement from frame to frame, above 1. Every later frame takes a third of the steps, since most of
    it has been rendered before. Frames that are there are kept, so the same call goes on where it was stopped.
    Raises ConfigError when the folder holds something else, and for options that belong to the first frame only.
    """
    for name in _OF_ONE_FRAME:
        value, default = getattr(config, name), getattr(RenderConfig, name)
        if value != default:
            allowed = f"with --zoom, allowed: {default or 'none'}"
            raise ConfigError(f"{name} = {value}: belongs to the picture, not to the later frames; {allowed}")
    folder = _folder(config, factor, force_new)
    done: list[Path] = []
    for number in range(frames):
        frame = folder / f"frame-{number:04}.png"
        if not frame.exists():
            one = config if not done else _next(config, done[-1], factor, folder)
            store = folder / f"frame-{number:04}.zarr"
            render(replace(one, output=str(frame), store=str(store)), progress, force_new)
            shutil.rmtree(store)
        done.append(frame)
        if progress:
            progress({"event": "note", "text": f"frame {number + 1} of {frames}: {frame}"})
    (folder / "next.png").unlink(missing_ok=True)
    return done


def _folder(config: RenderConfig, factor: float, force_new: bool) -> Path:
    """The folder for the frames of just this job."""
    folder = Path(config.target)
    facts = {"config": identity.words(config), "inputs": identity.inputs(config), "factor": factor}
    try:
        held = json.loads((folder / _FACTS).read_text(encoding="utf-8")) if (folder / _FACTS).exists() else None
        if held is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"-o {folder}: exists and holds no frames of ours; with --zoom, allowed: a new folder")
        if held not in (None, facts) and not force_new:
            raise ConfigError(f"-o {folder}: holds the frames of another dream; choose another, or --force-new")
        if held not in (None, facts):
            shutil.rmtree(folder)
        folder.mkdir(exist_ok=True)
        (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"-o {folder}: {getattr(error, 'strerror', None) or error}") from None
    return folder


def _next(config: RenderConfig, last: Path, factor: float, folder: Path) -> RenderConfig:
    """The job of the frame after `last`."""
    picture = open_picture(last)
    height, width = (max(1, round(side / factor)) for side in (picture.height, picture.width))
    y0, x0 = (picture.height - height) // 2, (picture.width - width) // 2
    middle = picture.bands(picture.height, picture.width, _ROWS, crop=(y0, x0, y0 + height, x0 + width))
    content = str(folder / "next.png")
    write_picture(content, picture.height, picture.width, middle, bits=16)
    steps = tuple(math.ceil(n / 3) for n in config.steps) if config.steps else None
    size = f"{picture.width}x{picture.height}"
    return replace(
        config, content=content, styles=(content,), steps=steps, size=size, long_edge=None, scale=None, print=None
    )

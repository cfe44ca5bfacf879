"""Flying into a picture: each frame is the middle of the one before, enlarged and rendered again."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiler.errors import ConfigError
from tiler.jobs import Progress
from tiler.pictures import open_picture, write_picture
from tiler.pictures.ours import FRAMES, check_ours, read_list, remove_ours, write_list
from tiler.pictures.replace import new_file, sweep
from tiler.pictures.sidecars import sidecar_names
from tiler.rendering import render
from tiler.request import identity
from tiler.request.config import RenderConfig
from tiler.style.trunk import trunk_of

# What the folder holds beside the frames: what they are of, and the picture that the next frame is made from.
_FACTS, _CONTENT = "zoom.json", "next.png"
_ROWS = 256
# Each later frame's picture is a part of the frame before: drawn upon, of another extent, and with edges of its own;
# and each frame has files of its own.
_OF_ONE_FRAME = ("overlay", "init", "wrap", "protect", "mask", "labels", "style_mask", "at", "tiles", "store")


def zoom_in(
    config: RenderConfig, frames: int, factor: float, progress: Progress | None = None, force_new: bool = False
) -> list[Path]:
    """Render `frames` frames into the folder `config.output`; frame-0000.png is `config`'s own picture.

    factor: of the enlargement from frame to frame, above 1, to 2. Every later frame takes a third of the steps, since
    most of it has been rendered before. Frames that are there are kept, so the same call goes on where it was stopped.
    Raises ConfigError when the folder holds something else, and for options that belong to the first frame only.
    """
    if not 1 < factor <= 2:
        raise ConfigError(f"zoom-factor = {factor}; allowed: above 1, to 2")
    for name in _OF_ONE_FRAME:
        value, default = getattr(config, name), getattr(RenderConfig, name)
        if value != default:
            allowed = f"with --zoom, allowed: {default or 'none'}"
            raise ConfigError(f"{name} = {value}: belongs to the picture, not to the later frames; {allowed}")
    folder = _Frames(config, factor, force_new)
    done: list[Path] = []
    for number in range(frames):
        frame = folder.path / f"frame-{number:04}.png"
        if not frame.exists():
            store = frame.with_suffix(".zarr")
            written = [frame.name, *(file.name for file in sidecar_names(frame))]
            folder.add(f"{store.name}/", *written)
            one = config if not done else _next(config, done[-1], factor, folder.path)
            render(replace(one, output=str(frame), store=str(store)), progress, force_new)
            shutil.rmtree(store)
            folder.finish(written)
        done.append(frame)
        if progress:
            progress({"event": "note", "text": f"frame {number + 1} of {frames}: {frame}"})
    (folder.path / _CONTENT).unlink(missing_ok=True)
    return done


class _Frames:
    """The folder for the frames of just this job, and the list of what we wrote into it."""

    def __init__(self, config: RenderConfig, factor: float, force_new: bool) -> None:
        self.path = Path(config.target)
        inputs = {**identity.inputs(config), "weights": trunk_of(config.weights).sha256}
        facts = {"config": identity.words(config), "inputs": inputs, "factor": factor}
        try:
            sweep(self.path)
            check_ours(self.path, FRAMES)
            held = self._held()
            if held not in (None, facts) and not force_new:
                raise ConfigError(f"-o {self.path}: holds the frames of another dream; choose another, or --force-new")
            if held != facts or force_new:
                if self.path.exists():
                    remove_ours(self.path)
                self.path.mkdir(exist_ok=True)
                text = json.dumps(facts)
                write_list(self.path, FRAMES, {_FACTS: len(text), _CONTENT: None})
                with new_file(self.path / _FACTS) as temporary:
                    temporary.write_text(text, encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ConfigError(f"-o {self.path}: {getattr(error, 'strerror', None) or error}") from None

    def add(self, *names: str) -> None:
        """What is about to be written; with "/" a folder with all it holds."""
        write_list(self.path, FRAMES, {**read_list(self.path, FRAMES), **dict.fromkeys(names)})

    def finish(self, names: list[str]) -> None:
        """What is written now, if it is there: when it changes, it is not ours any more."""
        files = [self.path / name for name in names]
        sizes = {file.name: file.stat().st_size if file.exists() else None for file in files}
        write_list(self.path, FRAMES, {**read_list(self.path, FRAMES), **sizes})

    def _held(self) -> Any:
        """The facts of the frames that are there, None in a new or empty folder."""
        try:
            return json.loads((self.path / _FACTS).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None


def _next(config: RenderConfig, last: Path, factor: float, folder: Path) -> RenderConfig:
    """The job of the frame after `last`, whose colours are what they are to be: only the first picture is stretched."""
    picture = open_picture(last)
    height, width = (max(1, round(side / factor)) for side in (picture.height, picture.width))
    y0, x0 = (picture.height - height) // 2, (picture.width - width) // 2
    middle = picture.bands(picture.height, picture.width, _ROWS, crop=(y0, x0, y0 + height, x0 + width))
    content = str(folder / _CONTENT)
    write_picture(content, picture.height, picture.width, middle, bits=16)
    steps = tuple(math.ceil(n / 3) for n in config.steps) if config.steps else None
    size = f"{picture.width}x{picture.height}"
    return replace(
        config, content=content, styles=(content,), steps=steps, size=size, long_edge=None, scale=None, print=None,
        stretch=None,
    )  # fmt: skip

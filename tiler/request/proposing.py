"""Regions that find themselves: which part of a content is like which part of its styles, as files to look at, to mend
by hand, and to render with."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tiler import pictures
from tiler.errors import ConfigError
from tiler.pictures.classes import Classes, find_classes, pair
from tiler.request.config import RenderConfig
from tiler.request.jobfile import read_job_file
from tiler.request.regions import spelled

MOST = 8
_SAID = ("labels", "label", "region", "mask", "style_mask")
_PER_STYLE = ("style_scale", "style_gsd", "style_blend_weights", "style_layer_weights")
# How a proposal's job file begins: by what it was found, and what was written beside it.
_MADE_OF, _WRITTEN = "# regions: ", "# written: "
# Of all pixels: less than that is no class of its own, neither of the content nor of the styles.
_SHARE = 0.002


@dataclass(frozen=True)
class Proposal:
    """labels: the content's label picture. options: what to set of a render, its files beside `labels`. file: the same
    as a job file. found: how many regions there are."""

    labels: Path
    file: Path
    options: dict[str, Any]
    found: int


def propose(content: str, styles: Sequence[str], count: int, labels: str | os.PathLike[str]) -> Proposal:
    """Find up to `count` regions of a content, each with its part of the styles, and write them: the label picture
    `labels`, beside it a mask for each region and style, and a job file. What is there already of the same pictures and
    the same number stays as it is, also where it was mended by hand; what was found of others, or is gone in part, is
    found anew unless anything of it was mended.

    Raises ConfigError where files of those names are of anything else or nothing is to be told apart, PictureError for
    pictures that cannot be read.
    """
    path = Path(labels)
    if path.suffix.lower() != ".png":
        raise ConfigError(f"{path}: labels are written as .png")
    if not 2 <= count <= MOST:
        raise ConfigError(f"{count} regions; allowed: 2 to {MOST}")
    if not styles:
        raise ConfigError("STYLE is missing: regions are found by what the content and its styles have in common")
    job = path.with_suffix(".toml")
    there, gone = _as_written(job)
    if gone or not is_of(content, styles, count, path):
        planes = _found([content], styles, count)
        made_of = f"{_MADE_OF}{_made_of(content, styles, count)}\n"
        _write(path, job, there, made_of, content, styles, *planes)
    return _read(path, job)


def is_of(content: str, styles: Sequence[str], count: int, labels: Path) -> bool:
    """Whether what is at `labels` was found of the same, so that `propose` leaves it as it is. Raises PictureError."""
    job = labels.with_suffix(".toml")
    made_of = f"{_MADE_OF}{_made_of(content, styles, count)}\n"
    return job.is_file() and job.read_text(errors="replace").startswith(made_of)


def with_regions(config: RenderConfig, count: int, folder: Path | None = None) -> tuple[RenderConfig, str]:
    """The configuration with regions that find themselves, and a note on where they are: beside the poster, or in
    `folder`.

    Raises ConfigError as `propose` does, and where the configuration says itself where regions are.
    """
    said = says_where(config)
    if said or config.content is None:
        beside = said[0] if said else "no content"
        raise ConfigError(f"auto_regions = {count} beside {beside}; allowed: a content and styles, one value for all")
    poster = Path(config.target)
    labels = (folder or poster.parent) / f"{poster.stem}-labels.png"
    found = propose(config.content, config.styles, count, labels)
    options = {name: found.options[name] for name in ("labels", "label", "style_mask")}
    note = f"{found.found} regions, as {found.labels} has them; paint over it where it is wrong"
    return replace(config, styles=(), **options), note


def says_where(config: RenderConfig) -> list[str]:
    """The fields by which a configuration says itself where regions are, or what each of several styles is to do."""
    said = [name for name in _SAID if getattr(config, name)]
    return said + [name for name in _PER_STYLE if len(getattr(config, name) or ()) > 1]


def _made_of(content: str, styles: Sequence[str], count: int) -> str:
    parts = [str(count), *(str(pictures.fingerprint(file)) for file in (content, *styles))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _found(content: Sequence[str], styles: Sequence[str], count: int) -> tuple[Classes, Classes]:
    """Classes of the content and of all styles, the first's number k like the second's number k."""
    ours, theirs = ([pictures.open_picture(file) for file in files] for files in (content, styles))
    for number in range(count, 1, -1):
        mine, other = find_classes(ours, number), find_classes(theirs, number)
        if min(mine.shares.min(), other.shares.min()) >= _SHARE:
            return mine, other.reordered(pair(mine, other))
    raise ConfigError(f"{content[0]}: nothing in it and its styles is to be told apart by colour and texture")


def _write(
    path: Path,
    job: Path,
    replaced: Sequence[Path],
    made_of: str,
    content: str,
    styles: Sequence[str],
    mine: Classes,
    theirs: Classes,
) -> None:
    colours = _apart(mine.colours)
    names = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in colours]
    files: dict[Path, np.ndarray] = {path: colours[np.maximum(mine.planes[0], 0)].transpose(2, 0, 1) / 255}
    label, style_mask = [], []
    for number, name in enumerate(names):
        shown = {index: plane == number for index, plane in enumerate(theirs.planes) if (plane == number).any()}
        masks = {index: path.with_name(f"{path.stem}-{number + 1}-style-{index + 1}.png") for index in shown}
        files |= {masks[index]: white[None].repeat(3, 0) for index, white in shown.items()}
        label.append(f"{name}={spelled([_beside(styles[index], path.parent) for index in shown])}")
        style_mask.append(f"{name}={spelled([mask.name for mask in masks.values()])}")
    there = [file for file in (job, *files) if os.path.lexists(file) and file not in replaced]
    if there:
        other = "of other pictures or another number of regions"
        raise ConfigError(f"{there[0]}: is there already, {other}; allowed: a name where nothing is")
    lines = {"content": _beside(content, path.parent), "labels": path.name, "label": label, "style_mask": style_mask}
    # TOML's basic strings and arrays are JSON's.
    text = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in lines.items())
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{content}: a job file can only name files whose names are UTF-8") from None
    for file in replaced:
        file.unlink()
    for file, pixels in files.items():
        _, height, width = pixels.shape
        pictures.write_picture(file, height, width, [pixels.astype(np.float32)])
    written = {file.name: _digest(file.read_bytes()) for file in files} | {job.name: _digest(encoded)}
    job.write_bytes(f"{made_of}{_WRITTEN}{json.dumps(written)}\n".encode() + encoded)


def _as_written(job: Path) -> tuple[list[Path], list[Path]]:
    """A proposal's files: those that are there, all as they were written, and those that are gone. None of either where
    anything was mended."""
    try:
        made_of, written, options = job.read_bytes().decode().split("\n", 2)
        names = json.loads(written.removeprefix(_WRITTEN))
        ours = re.compile(re.escape(job.stem) + r"(-\d+-style-\d+)?\.png")
        digests = {job.with_name(name): digest for name, digest in names.items() if ours.fullmatch(name)}
        there = [file for file in digests if os.path.lexists(file)]
        alike = all(not file.is_symlink() and _digest(file.read_bytes()) == digests[file] for file in there)
        alike = alike and not job.is_symlink() and names.get(job.name) == _digest(options.encode())
    except (OSError, ValueError, AttributeError):
        return [], []
    said = made_of.startswith(_MADE_OF) and written.startswith(_WRITTEN)
    if not (said and alike and len(digests) == len(names) - 1):
        return [], []
    return [*there, job], [file for file in digests if file not in there]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _beside(file: str, folder: Path) -> str:
    """A file's name as seen from a folder."""
    return os.path.relpath(os.path.abspath(file), os.path.abspath(folder))


def _apart(colours: np.ndarray) -> np.ndarray:
    """[N, 3] of 0..255, no two alike: the classes' mean colours, so that the labels look like the map."""
    found: list[tuple[int, ...]] = []
    for colour in np.rint(colours * 255).astype(int):
        while tuple(colour) in found:
            colour = (colour + np.array((1, 0, 0))) % 256
        found.append(tuple(int(value) for value in colour))
    return np.array(found, np.uint8)


def _read(path: Path, job: Path) -> Proposal:
    options = read_job_file(job)
    return Proposal(path, job, options, len(options.get("label", ())))

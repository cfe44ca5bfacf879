"""DeepZoom: a picture cut into many small ones for viewers, a file that describes and a page that shows them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tiler.pictures.bands import halvings
from tiler.pictures.held import same_bytes
from tiler.pictures.ours import DEEPZOOM
from tiler.pictures.outputs import dzi_files
from tiler.pictures.replace import is_passing, new_folder
from tiler.pictures.stream import consume
from tiler.pictures.viewer import page, tile_format

DZI_TILE, DZI_OVERLAP = 254, 1
# Copies of what lies beside the folder of tiles (see `new_folder`).
_DESCRIPTOR, _PAGE = ".tiler-shown.dzi", ".tiler-shown.html"


def write_dzi(
    path: Path,
    height: int,
    width: int,
    pixels: Iterable[np.ndarray],
    quality: int,
    with_alpha: bool,
    metadata: Mapping[str, str],
) -> None:
    """`name.dzi`, `name_files/` and `name.html`; JPEG tiles, or PNG where there is alpha. Pixels as `consume`."""
    files, html = dzi_files(path), path.with_suffix(".html")
    beside = {path: _DESCRIPTOR, **({html: _PAGE} if _is_ours(html, files / _PAGE) else {})}
    with new_folder(files, DEEPZOOM, beside) as new:
        suffix, options = tile_format(with_alpha, quality)

        def save(image: Any) -> None:
            image.dzsave(
                os.fspath(new / "poster"),
                layout="dz",
                suffix=suffix + options,
                tile_size=DZI_TILE,
                overlap=DZI_OVERLAP,
                keep="none",
            )

        consume(pixels, height, width, save)
        (new / "poster.dzi").rename(new / _DESCRIPTOR)
        for level in (new / "poster_files").iterdir():
            if level.is_dir():
                level.rename(new / level.name)
        shutil.rmtree(new / "poster_files")
        levels, pattern = halvings(height, width, 1), f"{{z}}/{{x}}_{{y}}{suffix}"
        text = page(path.stem, levels, DZI_TILE, DZI_OVERLAP, files.name, pattern, metadata)
        (new / _PAGE).write_text(text, encoding="utf-8")


def _is_ours(html: Path, copy: Path) -> bool:
    """Whether the page may be replaced: a page of somebody else's stays, and so does a link that leads to none of ours,
    since nobody typed its name."""
    return not os.path.lexists(html) or is_passing(html) or same_bytes(Path(os.path.realpath(html)), copy)

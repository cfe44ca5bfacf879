"""A folder of map tiles, {z}/{x}/{y}, with a page that shows them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import OutputError
from tiler.pictures.bands import failed, halvings, peek, to_integers
from tiler.pictures.georef import Georef
from tiler.pictures.ours import TILES, check_ours
from tiler.pictures.outputs import check_folder
from tiler.pictures.replace import new_folder
from tiler.pictures.stream import VipsError, consume
from tiler.pictures.viewer import page, tile_format

XYZ_TILE = 256


def check_xyz(folder: str | os.PathLike[str]) -> None:
    """OutputError if `write_xyz` could not write to `folder`: only a new, an empty or an earlier one is allowed."""
    folder = Path(folder)
    if folder.name in ("", ".."):
        raise OutputError(f"{folder}: cannot be replaced; the name of a folder for map tiles is needed")
    check_folder(folder)
    check_ours(folder, TILES)


def write_xyz(
    folder: str | os.PathLike[str],
    height: int,
    width: int,
    bands: Iterable[np.ndarray],
    *,
    georef: Georef | None = None,
    metadata: Mapping[str, str] | None = None,
    quality: int = 95,
) -> None:
    """Writes `folder/{z}/{x}/{y}.jpg` (.png with alpha), 256 px a tile, `index.html` showing them, `tiles.json`.

    z = 0 is the whole picture in one tile; y counts down from the top. Tiles are of the picture's own pixel
    grid (Leaflet's CRS.Simple), not reprojected to Web Mercator; `tiles.json` carries size, georef transform
    and metadata. bands, errors and all-or-nothing as in `write_picture`; see `check_xyz` for what is replaced.
    """
    folder = Path(folder)
    first, bands = peek(folder, bands)
    check_xyz(folder)
    with_alpha = len(first) == 4
    suffix, options = tile_format(with_alpha, quality)
    try:
        with new_folder(folder, TILES) as new:

            def save(image: Any) -> None:
                background = [0, 0, 0, 0] if with_alpha else [255, 255, 255]
                image.dzsave(
                    os.fspath(new / "tiles"),
                    layout="google",
                    suffix=suffix + options,
                    tile_size=XYZ_TILE,
                    background=background,
                    keep="none",
                )

            consume(to_integers(folder, bands, height, width, 8), height, width, save)
            (new / "vips-properties.xml").unlink(missing_ok=True)
            _rows_to_columns(new / "tiles", new)
            _describe(new, folder.name, halvings(height, width, XYZ_TILE), suffix, georef, metadata or {})
    except (VipsError, OSError) as error:
        raise failed(folder, error) from None


def _rows_to_columns(rows: Path, columns: Path) -> None:
    """libvips writes z/y/x, every map program asks for z/x/y."""
    for level in [entry for entry in rows.iterdir() if entry.is_dir()]:
        for row in level.iterdir():
            for tile in row.iterdir():
                column = columns / level.name / tile.stem
                column.mkdir(parents=True, exist_ok=True)
                tile.rename(column / f"{row.name}{tile.suffix}")
    shutil.rmtree(rows)


def _describe(
    tiles: Path,
    title: str,
    levels: list[tuple[int, int]],
    suffix: str,
    georef: Georef | None,
    metadata: Mapping[str, str],
) -> None:
    height, width = levels[-1]
    facts = {
        "height": height,
        "width": width,
        "tile_size": XYZ_TILE,
        "minzoom": 0,
        "maxzoom": len(levels) - 1,
        "tiles": [f"{{z}}/{{x}}/{{y}}{suffix}"],
        "transform": list(georef.transform) if georef else None,
        "metadata": dict(metadata),
    }
    (tiles / "tiles.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    html = page(title, levels, XYZ_TILE, 0, ".", f"{{z}}/{{x}}/{{y}}{suffix}", metadata)
    (tiles / "index.html").write_text(html, encoding="utf-8")

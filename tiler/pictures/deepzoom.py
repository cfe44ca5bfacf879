"""Pictures cut into many small ones for viewers: DeepZoom (.dzi) and a folder of XYZ tiles, each with a page."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import OutputError
from tiler.pictures.georef import Georef
from tiler.pictures.outputs import check_folder, dzi_files, publish, remove, replace_folder, scratch
from tiler.pictures.stream import VipsError, consume
from tiler.pictures.viewer import MARKER, page
from tiler.pictures.write import failed, peek, to_integers

DZI_TILE, DZI_OVERLAP = 254, 1
XYZ_TILE = 256


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
    with scratch(path) as folder:
        folder.mkdir()
        suffix, options = _tile_format(with_alpha, quality)

        def save(image: Any) -> None:
            image.dzsave(
                os.fspath(folder / "poster"),
                layout="dz",
                suffix=suffix + options,
                tile_size=DZI_TILE,
                overlap=DZI_OVERLAP,
                keep="none",
            )

        consume(pixels, height, width, save)
        files = dzi_files(path)
        (folder / "poster_files" / "vips-properties.xml").unlink(missing_ok=True)
        url = f"{files.name}/{{z}}/{{x}}_{{y}}{suffix}"
        html = page(path.stem, halvings(height, width, 1), DZI_TILE, DZI_OVERLAP, url, metadata)
        (folder / "page").write_text(html, encoding="utf-8")
        replace_folder(folder / "poster_files", files, folder / "old")
        shown = path.with_suffix(".html")
        if not shown.exists() or MARKER in shown.read_text(encoding="utf-8", errors="replace"):
            os.replace(folder / "page", shown)
        publish(folder / "poster.dzi", path)


def check_xyz(folder: str | os.PathLike[str]) -> None:
    """OutputError if `write_xyz` could not write to `folder`: only a new, an empty or an earlier one is allowed."""
    folder = Path(folder)
    if folder.name in ("", ".."):
        raise OutputError(f"{folder}: cannot be replaced; the name of a folder for map tiles is needed")
    check_folder(folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder}: is a file; a folder for map tiles is needed")
    if any(folder.iterdir()) and not (folder / "tiles.json").is_file():
        raise OutputError(f"{folder}: holds other files; a new or empty folder, or one of earlier tiles, is needed")


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
    suffix, options = _tile_format(with_alpha, quality)
    try:
        with scratch(folder) as temporary:
            temporary.mkdir()

            def save(image: Any) -> None:
                background = [0, 0, 0, 0] if with_alpha else [255, 255, 255]
                image.dzsave(
                    os.fspath(temporary / "tiles"),
                    layout="google",
                    suffix=suffix + options,
                    tile_size=XYZ_TILE,
                    background=background,
                    keep="none",
                )

            consume(to_integers(folder, bands, height, width, 8), height, width, save)
            tiles = temporary / "tiles"
            _rows_to_columns(tiles)
            levels = halvings(height, width, XYZ_TILE)
            _describe(tiles, folder.name, levels, suffix, georef, metadata or {})
            replace_folder(tiles, folder, temporary / "old")
    except (VipsError, OSError) as error:
        raise failed(folder, error) from None


def _tile_format(with_alpha: bool, quality: int) -> tuple[str, str]:
    return (".png", "") if with_alpha else (".jpg", f"[Q={quality}]")


def halvings(height: int, width: int, smallest: int) -> list[tuple[int, int]]:
    """(height, width) of each level, coarsest first: halved, rounding up, until both fit into `smallest`."""
    levels = [(height, width)]
    while max(levels[-1]) > smallest:
        levels.append(((levels[-1][0] + 1) // 2, (levels[-1][1] + 1) // 2))
    return levels[::-1]


def _rows_to_columns(tiles: Path) -> None:
    """libvips writes z/y/x, every map program asks for z/x/y."""
    (tiles / "blank.png").unlink(missing_ok=True)
    for level in [entry for entry in tiles.iterdir() if entry.is_dir()]:
        old = level.rename(level.with_name(f"{level.name}.rows"))
        for row in old.iterdir():
            for tile in row.iterdir():
                column = level / tile.stem
                column.mkdir(parents=True, exist_ok=True)
                tile.rename(column / f"{row.name}{tile.suffix}")
        remove(old)


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
    html = page(title, levels, XYZ_TILE, 0, f"{{z}}/{{x}}/{{y}}{suffix}", metadata)
    (tiles / "index.html").write_text(html, encoding="utf-8")

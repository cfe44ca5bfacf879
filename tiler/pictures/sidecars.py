"""Files beside a poster that say where it lies: a world file, a .prj, and GDAL's .aux.xml, which lists what is ours."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tiler.errors import OutputError
from tiler.pictures.crs import texts, with_keys
from tiler.pictures.georef import Georef, world_suffixes
from tiler.pictures.replace import new_file, settled

_AUX, _DOMAIN = ".aux.xml", "tiler"
_LARGEST_BYTES = 2**20


def sidecars(path: Path, georef: Georef | None) -> dict[Path, str]:
    """The text of every file that belongs beside the poster `path`. A TIFF holds it itself, but for what only rasterio
    could put there."""
    if georef is None or path.suffix.lower() in (".dzi", ".zarr"):
        return {}
    inside = path.suffix.lower() in (".tif", ".tiff")
    if inside and (georef.prj is None or with_keys(georef).prj is None):
        return {}
    prj, srs = texts(georef)
    found = {} if inside else {path.with_suffix(world_suffixes(path.suffix)[0]): georef.world_file()}
    if prj:
        found[path.with_suffix(".prj")] = prj
    listed = "".join(f'<MDI key="{escape(_key(file))}">{_digest(text.encode())}</MDI>' for file, text in found.items())
    of_crs = f"<SRS>{escape(srs)}</SRS>" if srs else ""
    a, b, c, d, e, f = georef.transform
    # GDAL's order; it knows no world file of some formats, such as WebP.
    place = "" if inside else f"<GeoTransform>{c!r}, {a!r}, {b!r}, {f!r}, {d!r}, {e!r}</GeoTransform>"
    found[_aux(path)] = f'<PAMDataset>{of_crs}{place}<Metadata domain="{_DOMAIN}">{listed}</Metadata></PAMDataset>\n'
    return found


def sidecar_names(path: Path) -> list[Path]:
    """The places of all files that `write_sidecars` may write."""
    return [path.with_suffix(world_suffixes(path.suffix)[0]), path.with_suffix(".prj"), _aux(path)]


def check_sidecars(path: str | os.PathLike[str], georef: Georef | None) -> None:
    """Raise OutputError where `write_sidecars` would replace a file that we did not write."""
    path = settled(path)
    ours = _listed(path)
    for file, text in sidecars(path, georef).items():
        try:
            held = _held(file)
        except OSError as error:
            raise OutputError(f"{path}: {file.name} beside it cannot be written ({error.strerror})") from None
        mine = held is None or held == text.encode() or ours.get(_key(file)) == _digest(held)
        if not mine and not (file == _aux(path) and ours):
            raise OutputError(
                f"{path}: {file.name} beside it would be replaced, which tiler did not write; choose another name"
            )


def write_sidecars(path: str | os.PathLike[str], georef: Georef | None) -> None:
    """Write what belongs beside the poster, and remove what we wrote beside an earlier one of its name."""
    path = settled(path)
    wanted, ours = sidecars(path, georef), _listed(path)
    check_sidecars(path, georef)
    for file in sidecar_names(path)[:-1]:
        held = _held(file) if _key(file) in ours and file not in wanted else None
        if held is not None and _digest(held) == ours[_key(file)]:
            file.unlink()
    if ours and not wanted:
        _aux(path).unlink()
    # The list of what is ours comes first, so that what a process killed in between has written is known as such.
    for file in sorted(wanted, key=lambda one: one != _aux(path)):
        with new_file(file) as temporary:
            temporary.write_bytes(wanted[file].encode())


def _aux(path: Path) -> Path:
    return path.with_name(path.name + _AUX)


def _key(file: Path) -> str:
    """A sidecar in the list: by what it is, since the poster may be renamed with all its files."""
    return file.suffix


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _held(file: Path) -> bytes | None:
    """A file's bytes, None where there is none. Raises OSError for what is no file of a sidecar's size."""
    if not os.path.lexists(file):
        return None
    if not file.is_file() or file.stat().st_size > _LARGEST_BYTES:
        raise OSError(0, "is there and is no such file")
    return file.read_bytes()


def _listed(path: Path) -> dict[str, str]:
    """The digests of the sidecars that we wrote beside `path`, and an entry for the list itself; empty without one."""
    try:
        held = _held(_aux(path))
        root = ElementTree.fromstring(held) if held else ElementTree.Element("none")
    except (OSError, ValueError, LookupError, ElementTree.ParseError):
        return {}
    ours = root.find(f"Metadata[@domain='{_DOMAIN}']")
    if ours is None:
        return {}
    return {_AUX: "", **{item.get("key", ""): item.text or "" for item in ours.findall("MDI")}}

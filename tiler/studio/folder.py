"""The studio's folder: what is read and written lies in it, whatever a page asks for."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import time
import unicodedata
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tiler import pictures
from tiler.errors import ConfigError, PictureError, TilerError
from tiler.request.config import RenderConfig
from tiler.request.option import Places

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".ppm", ".pgm", ".heic", ".heif", ".avif",
    ".jp2",
)  # fmt: skip
# The studio's own, in the folder: previews, and what is being uploaded.
OWN = ".tiler-studio"
MOST_SHOWN, MOST_UPLOAD, MOST_REMEMBERED = 500, 2**31, 2**18
_DEPTH, _NAME_BYTES, _THUMB = 3, 200, 256
_STALE_SECONDS = 86400.0


class Folder:
    """root: exists already. most: bytes of an upload."""

    def __init__(self, root: str | Path, most: int = MOST_UPLOAD) -> None:
        self.root, self.most = Path(root).resolve(), most
        if not self.root.is_dir():
            raise ConfigError(f"{root}: is no folder")

    @property
    def own(self) -> Path:
        """Made when it is needed. Raises ConfigError where it is a link, which somebody else must have put there."""
        return self.own_folder()

    def own_folder(self, *names: str) -> Path:
        """A folder below `own`, which it is made in where it is needed. Raises ConfigError as `own` does."""
        path = self.root
        for name in (OWN, *names):
            path /= name
            with contextlib.suppress(FileExistsError):
                path.mkdir()
            if path.is_symlink() or not path.is_dir():
                where = path.relative_to(self.root)
                raise ConfigError(
                    f"{where}: is no folder, or a link; the studio keeps its own in a folder of that name"
                )
        return path

    def inside(self, name: str) -> Path:
        """The regular file of that name, relative to the folder; links count as what they lead to. Raises ConfigError
        for whatever is not in the folder, and for what is hidden."""
        try:
            path = (self.root / name).resolve(strict=True)
            parts = path.relative_to(self.root).parts
            mode = path.stat().st_mode
        except (OSError, ValueError, RuntimeError):
            raise ConfigError(f"{name}: there is no such picture in the studio's folder") from None
        if any(part.startswith(".") for part in parts) or not stat.S_ISREG(mode):
            raise ConfigError(f"{name}: there is no such picture in the studio's folder")
        return path

    def confined(self, config: RenderConfig) -> RenderConfig:
        """The same with the names of all files to be read made absolute. Raises ConfigError as `inside`."""

        def place(name: str, places: Places) -> str:
            return name if places.written else str(self.inside(name))

        return config.moved(place)

    def names(self) -> list[str]:
        """Of what may be pictures, by their suffixes, relative to the folder and in order; links are not followed."""
        found: list[str] = []
        for above, folders, files in os.walk(self.root):
            depth = len(Path(above).relative_to(self.root).parts)
            hidden = [one for one in folders if one.startswith(".") or one.endswith((".zarr", "_files"))]
            folders[:] = [] if depth >= _DEPTH else sorted({*folders} - {*hidden})
            for name in sorted(files):
                if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                    found.append(os.path.relpath(os.path.join(above, name), self.root))
                    if len(found) == MOST_SHOWN:
                        return found
        return found

    def about(self, name: str) -> dict[str, Any]:
        """What a picture is, as JSON values; `error` where it cannot be used."""
        try:
            path = self.inside(name)
            picture = pictures.open_picture(path)
        except (PictureError, ConfigError) as error:
            return {"name": name, "error": self.said(error)}
        told: dict[str, Any] = {
            "name": name,
            "height": picture.height,
            "width": picture.width,
            "channels": picture.channels,
            "alpha": picture.has_alpha,
            "bits": picture.bits,
            "kind": picture.kind,
            "colours": picture.meaning.space,
            "georeference": picture.georef is not None,
            "metres": None,
            "bytes": path.stat().st_size,
            "notes": [self.said(note) for note in picture.notes],
        }
        if picture.georef is not None:
            with contextlib.suppress(PictureError):
                told["metres"] = pictures.metres_per_pixel(picture)
        return told

    def thumbnail(self, name: str) -> bytes:
        """A PNG. Raises PictureError and ConfigError."""
        return pictures.shown_small(self.inside(name), _THUMB)

    def said(self, words: object) -> str:
        """A message for a page: without where the folder lies."""
        return str(words).replace(f"{self.root}{os.sep}", "").replace(str(self.root), self.root.name)

    @contextlib.contextmanager
    def clearly(self) -> Iterator[None]:
        """Errors of tiler's without where the folder lies."""
        try:
            yield
        except TilerError as error:
            raise type(error)(self.said(error)) from None

    # What a page was left with --------------------------------------------------------------------------------------

    def remembered(self) -> dict[str, Any]:
        """What `remember` was told last, also by another run; nothing where that cannot be read."""
        try:
            file = os.open(self._memory(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(file, "rb") as held:
                found = json.loads(held.read(MOST_REMEMBERED))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def remember(self, values: dict[str, Any]) -> None:
        """JSON values."""
        with self.arriving() as waiting:
            waiting.write_text(json.dumps(values))
            waiting.replace(self._memory())

    def _memory(self) -> Path:
        return self.own / "page.json"

    # Uploads ------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def arriving(self) -> Iterator[Path]:
        """Where an upload goes until it is known to be a picture; gone at the block's end, or a day later where its
        process was killed."""
        for old in self.own.glob("*.upload"):
            with contextlib.suppress(OSError):
                if time.time() - old.stat().st_mtime > _STALE_SECONDS:
                    old.unlink()
        waiting = self.own / f"{uuid.uuid4().hex}.upload"
        try:
            yield waiting
        finally:
            waiting.unlink(missing_ok=True)

    def keep(self, waiting: Path, name: str) -> str:
        """Look at what has arrived with our own readers, all of its pixels, and give it its name; nothing that is there
        is replaced. Returns the name that it got. Raises PictureError, and ConfigError for a name that is none."""
        name = checked_name(name)
        try:
            pictures.shown_small(waiting, _THUMB)
        except PictureError as error:
            raise PictureError(str(error).replace(str(waiting), name)) from None
        stem, suffix = os.path.splitext(name)
        for number in range(1, 1000):
            given = name if number == 1 else f"{stem} {number}{suffix}"
            try:
                _placed(waiting, self.root / given)
            except FileExistsError:
                continue
            return given
        raise ConfigError(f"{name}: there are too many of that name")


def _placed(waiting: Path, to: Path) -> None:
    """The file under another name, where there is none. Raises FileExistsError where there is."""
    try:
        os.link(waiting, to)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        with open(waiting, "rb") as source, open(to, "xb") as target:
            try:
                shutil.copyfileobj(source, target)
            except BaseException:
                to.unlink()
                raise


def checked_name(name: str) -> str:
    """A file's name, if it is one and no way to somewhere else. Raises ConfigError."""
    odd = any(one in "/\\:" or unicodedata.category(one)[0] == "C" for one in name)
    if odd or not name or name.startswith(".") or name != name.strip() or len(name.encode()) > _NAME_BYTES:
        raise ConfigError(f"{name!r}: cannot be a picture's name; allowed: letters, numbers, spaces and the like")
    if Path(name).suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{name}: unknown format; allowed: {' '.join(SUFFIXES)}")
    return name

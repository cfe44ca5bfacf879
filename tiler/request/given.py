"""Pictures that are given as pixels in place of a file's name: each becomes a file of its own beside the poster.

The file is named after what it holds, so the same picture given again is the same file, and a job goes on from its
store alone. It is written when the pictures are opened, and stays with the poster: `tidy` drops those that the poster's
present job does not read."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiler.errors import ConfigError, OutputError, PictureError
from tiler.request.regions import with_files

if TYPE_CHECKING:
    from tiler.pictures.pixels import Pixels
    from tiler.request.config import RenderConfig

_NAME = re.compile(r"[0-9a-f]{64}\.tif")


class Given(str):
    """The name of such a file, with what is to be in it."""

    pixels: Pixels

    @classmethod
    def of(cls, value: Any) -> Given:
        """Raises PictureError for what no picture can be made of."""
        from tiler.pictures.pixels import Pixels

        pixels = Pixels.of(value)
        return cls.called(f"{pixels.digest()}.tif", pixels)

    @classmethod
    def called(cls, name: str, pixels: Pixels) -> Given:
        given = cls(name)
        given.pixels = pixels
        return given

    def beside(self, poster: str) -> Given:
        """The same, for this poster."""
        return Given.called(os.path.join(folder_of(poster), os.path.basename(self)), self.pixels)

    def __reduce__(self) -> tuple[Any, ...]:
        return Given.called, (str(self), self.pixels)


class Named(str):
    """NAME=FILE[,FILE] of an option, some of whose files are such."""

    held: dict[str, Given]

    @classmethod
    def of(cls, text: str, files: Iterable[str]) -> str:
        """The text alone where no file is given as pixels."""
        held = {str(one): one for one in files if isinstance(one, Given)}
        if not held:
            return text
        named = cls(text)
        named.held = held
        return named

    def __reduce__(self) -> tuple[Any, ...]:
        return Named.of, (str(self), [*self.held.values()])


def with_named(text: str, change: Callable[[str], str], names: Sequence[str]) -> str:
    """See `regions.with_files`, also of what is given as pixels."""
    held, files = text.held if isinstance(text, Named) else {}, []

    def changed(file: str) -> str:
        files.append(change(held.get(file, file)))
        return files[-1]

    return Named.of(with_files(text, changed, names), files)


def is_given(value: Any) -> bool:
    """Whether a value is pixels, or may be no name at all."""
    if value is None or isinstance(value, str | int | float | list | tuple | dict | os.PathLike):
        return False
    from tiler.pictures.pixels import is_pixels

    return is_pixels(value)


def given(name: str, value: Any) -> Given:
    """Raises ConfigError naming the field."""
    try:
        return Given.of(value)
    except PictureError as error:
        raise ConfigError(f"{name}: {error}") from None


def folder_of(poster: str) -> str:
    """Where a poster's given pictures are."""
    return str(Path(poster).with_suffix(".pictures"))


def _all(config: RenderConfig) -> Iterator[Given]:
    for item in fields(config):
        value = getattr(config, item.name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Given):
                yield one
            elif isinstance(one, Named):
                yield from one.held.values()


@contextlib.contextmanager
def landed(config: RenderConfig) -> Iterator[tuple[str, ...]]:
    """Write what is not there yet; yields the names of those. They are gone again where the block raises."""
    new = tuple(dict.fromkeys(one for one in _all(config) if not os.path.lexists(one)))
    try:
        for one in new:
            try:
                os.makedirs(os.path.dirname(one) or ".", exist_ok=True)
                one.pixels.write(Path(one), os.path.basename(one).partition(".")[0])
            except OSError as error:
                raise OutputError(f"{one}: cannot be written ({error.strerror})") from None
        yield new
    except BaseException:
        dropped(new)
        raise


def dropped(names: Iterable[str]) -> None:
    """Delete files that `landed` wrote, and their folder when nothing else is in it."""
    names = list(names)
    for name in names:
        with contextlib.suppress(OSError):
            os.unlink(name)
    for folder in {os.path.dirname(name) for name in names}:
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def tidy(before: Iterable[str], now: Iterable[str]) -> None:
    """Drop what the job before was given and this one does not read. before, now: the files that they read."""
    read = {os.path.realpath(name) for name in now}
    dropped([name for name in before if _is_ours(name) and os.path.realpath(name) not in read])


def _is_ours(name: str) -> bool:
    place = Path(name)
    return place.parent.suffix == ".pictures" and bool(_NAME.fullmatch(place.name))

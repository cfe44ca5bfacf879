"""What a type checker hears of options that take more than they hold: a picture is a file's name or pixels when it is
given, and a name from then on.

At run time each of these is the type that is held, which `tiler.request.option` checks values by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Generic, Protocol, TypeAlias, TypeVar

    from PIL import Image

    class Raster(Protocol):
        """An array of numpy, Dask or zarr, or an xarray DataArray: [height, width] or [height, width, 1, 3 or 4]."""

        @property
        def shape(self) -> tuple[int, ...]: ...
        @property
        def dtype(self) -> Any: ...
        def __getitem__(self, place: Any, /) -> Any: ...

    Picture: TypeAlias = str | Path | Raster | Image.Image

    Held = TypeVar("Held", covariant=True)
    Given = TypeVar("Given", contravariant=True)

    class _Taken(Generic[Held, Given]):
        def __get__(self, instance: object, owner: Any = None) -> Held: ...
        def __set__(self, instance: object, value: Given) -> None: ...

    OneFile = _Taken[str | None, str | Path | None]
    OnePicture = _Taken[str | None, Picture | None]
    OnePictureOrWord = _Taken[str, Picture]
    OneFileOrWord = _Taken[str, str | Path]
    Pictures = _Taken[tuple[str, ...], Picture | Sequence[Picture]]
    NamedPictures = _Taken[tuple[str, ...], str | Sequence[str] | Mapping[str, Picture | Sequence[Picture]]]
    Texts = _Taken[tuple[str, ...], str | Sequence[str]]
    Numbers = _Taken[tuple[float, ...], float | Sequence[float]]
    NumbersOrNone = _Taken[tuple[float, ...] | None, float | Sequence[float] | None]
    WholesOrNone = _Taken[tuple[int, ...] | None, int | Sequence[int] | None]
else:
    Picture = Any
    OneFile = OnePicture = str | None
    OnePictureOrWord = OneFileOrWord = str
    Pictures = NamedPictures = Texts = tuple[str, ...]
    Numbers = tuple[float, ...]
    NumbersOrNone = tuple[float, ...] | None
    WholesOrNone = tuple[int, ...] | None

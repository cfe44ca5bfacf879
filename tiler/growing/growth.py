"""What is asked for when a land is grown, checked as a whole before anything is begun."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass

from tiler.errors import ConfigError, OutputError
from tiler.geometry import Rect
from tiler.growing import land
from tiler.growing.land import Facts, Land
from tiler.growing.noise import Noise, Path, Plane
from tiler.growing.shares import Everywhere, Labelled, Shares, Wild
from tiler.pictures import Georef, Picture, check_output, check_sidecars, open_picture, replaced_by
from tiler.request.regions import Colour, pairs, parse_colour
from tiler.request.sizes import parse_size

SIZE, BLEND = "1024x1024", 64.0
_WRAPS = {"none": (False, False), "x": (False, True), "y": (True, False), "xy": (True, True)}
_FARTHEST, _MOST_FRAMES = 2**30, 10_000


@dataclass(frozen=True)
class Growth:
    """What is to be grown. size: WxH in pixels; default 1024x1024, or the labels' own. offset: X,Y, where on the
    endless plane of the seed the picture begins. wrap: axes along which it continues at its opposite edge; its size
    there becomes a multiple of a cell. only: the one land to grow. labels: a picture whose colours say where each land
    is; label: '#RRGGBB=NAME' of each; blend: pixels over which one passes into the next. walk: so many frames, side by
    side, from one seed to the next (`to_seed`). workers: processes, each of which keeps two cores busy; default: cores
    / 2."""

    land: str
    output: str
    size: str | None = None
    seed: int = 0
    offset: str = "0,0"
    wrap: str = "none"
    only: str | None = None
    labels: str | None = None
    label: tuple[str, ...] = ()
    blend: float = BLEND
    walk: int | None = None
    to_seed: int | None = None
    dpi: float | None = None
    bits: int = 8
    compression: str | None = None
    jpeg_quality: int = 95
    cog: bool = False
    device: str = "auto"
    workers: int | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        _check("wrap", self.wrap, self.wrap in _WRAPS, ", ".join(_WRAPS))
        _check("device", self.device, self.device in ("auto", "cpu", "cuda"), "auto, cpu, cuda")
        for name, value in (("seed", self.seed), ("to_seed", self.to_seed)):
            _check(name, value, value is None or 0 <= value < 2**63, f"0 to {2**63 - 1}")
        _check("blend", self.blend, math.isfinite(self.blend) and 0 <= self.blend <= 65536, "0 to 65536 pixels")
        _check("walk", self.walk, self.walk is None or 2 <= self.walk <= _MOST_FRAMES, f"2 to {_MOST_FRAMES} frames")
        if bool(self.labels) != bool(self.label):
            raise ConfigError("labels and label belong together: --labels FILE --label '#RRGGBB=NAME'")
        if self.labels and self.only:
            raise ConfigError("only and labels: allowed is one of them")
        if self.to_seed is not None and self.walk is None:
            raise ConfigError(f"to_seed = {self.to_seed}: belongs to --walk")

    def checked(self) -> Asked:
        """Raises TilerError for what cannot be grown, or not be written where and as it was asked for."""
        data = land.read(self.land)
        facts = Land.of(data, self.land).facts
        cell = facts.kind.cell
        labels = None if self.labels is None else open_picture(self.labels)
        height, width, notes = self._size(labels, cell)
        y, x = self._offset()
        box = Rect(y, x, y + height, x + width)
        across = width * (self.walk or 1)
        check_output(self.output, height, across, 3, self.bits, self.compression, self.cog)
        inputs = [file for file in (self.land, self.labels) if file]
        for place in replaced_by(self.output):
            for file in inputs:
                if os.path.realpath(file) == os.path.realpath(place):
                    raise OutputError(f"{self.output}: would replace one of the inputs, {file}; choose another name")
        georef = None
        if labels is not None and labels.georef and self.walk is None:
            georef = labels.georef.scaled((labels.height, labels.width), (height, width))
        check_sidecars(self.output, georef)
        known = {name: number for number, name in enumerate(facts.lands)}
        shares = self._shares(facts, known, labels, box)
        return Asked(self, data, facts, self._noises(box, cell), box, shares, georef, notes)

    def _size(self, labels: Picture | None, cell: int) -> tuple[int, int, tuple[str, ...]]:
        """(height, width, what the user should know of them)."""
        if self.size is None and labels is not None:
            height, width = labels.height, labels.width
        else:
            try:
                height, width = parse_size(self.size or SIZE)
            except ValueError as error:
                raise ConfigError(f"size = {self.size}; allowed: {error}") from None
        wanted = height, width
        height, width = (
            max(1, round(side / cell)) * cell if wraps else side
            for side, wraps in zip(wanted, _WRAPS[self.wrap], strict=True)
        )
        note = f"{width} x {height} px, since what closes is made of whole cells of {cell} px"
        return height, width, () if (height, width) == wanted else (note,)

    def _offset(self) -> tuple[int, int]:
        """(y, x)."""
        match = re.fullmatch(r"\s*(-?\d{1,12})\s*,\s*(-?\d{1,12})\s*", self.offset)
        x, y = (int(match[1]), int(match[2])) if match else (_FARTHEST, _FARTHEST)
        _check("offset", self.offset, max(abs(x), abs(y)) < _FARTHEST, f"X,Y in pixels, less than {_FARTHEST} each")
        return y, x

    def _noises(self, box: Rect, cell: int) -> tuple[Noise, ...]:
        """Of each frame, from left to right."""
        period = tuple(
            side // cell if wraps else None
            for side, wraps in zip((box.height, box.width), _WRAPS[self.wrap], strict=True)
        )
        start = Plane(self.seed, (period[0], period[1]))
        if self.walk is None:
            return (start,)
        to = (self.seed + 1) % 2**63 if self.to_seed is None else self.to_seed
        end = Plane(to, start.period)
        return tuple(Path(start, end, frame / (self.walk - 1)) for frame in range(self.walk))

    def _shares(self, facts: Facts, known: dict[str, int], labels: Picture | None, box: Rect) -> Callable[[], Shares]:
        """What to make once workers are there: a label picture may be large."""
        count = len(known)
        if labels is None:
            if self.only is not None:
                number = _known("only", self.only, known)
                return lambda: Everywhere(number, count)
            return lambda: Everywhere(0, 1) if count == 1 else Wild(count)
        colours: dict[Colour, int] = {}
        for text, name in pairs("label", self.label, "'#RRGGBB=NAME'"):
            colour = parse_colour(text)
            if colour in colours:
                raise ConfigError(f"label = '{text}=...' is given twice; allowed: each colour once")
            colours[colour] = _known(f"label = '{text}=...'", name.strip(), known)
        cell, wraps = facts.kind.cell, _WRAPS[self.wrap]
        y, x = box.y0 // cell, box.x0 // cell
        cells = Rect(y, x, y + -(-box.height // cell), x + -(-box.width // cell))
        return lambda: Labelled(labels, [*colours.items()], count, cells, self.blend / cell, wraps)


@dataclass(frozen=True)
class Asked:
    """What a growth means. data: of the land's file. noises: of each frame, from left to right. box: of the plane, what
    each frame shows. shares: makes the lands' shares. notes: what the user should know."""

    growth: Growth
    data: bytes
    facts: Facts
    noises: tuple[Noise, ...]
    box: Rect
    shares: Callable[[], Shares]
    georef: Georef | None
    notes: tuple[str, ...]

    @property
    def height(self) -> int:
        return self.box.height

    @property
    def width(self) -> int:
        """Of all frames."""
        return self.box.width * len(self.noises)


def _check(name: str, value: object, fits: bool, allowed: str) -> None:
    if not fits:
        raise ConfigError(f"{name} = {value}; allowed: {allowed}")


def _known(option: str, name: str, known: dict[str, int]) -> int:
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"{option}: the land knows no {name!r}; allowed: {', '.join(known)}{hint}")
    return known[name]

"""The sizes an image passes through on its way from coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Level:
    """One size of the pyramid and the work done there.

    index: 0 is the coarsest. height, width: pixels. steps: optimiser updates (0 = only upscale).
    peak_rate: Adam's learning rate at the top of this level's schedule, in units of the 0..1 pixel range.
    """

    index: int
    height: int
    width: int
    steps: int
    peak_rate: float

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"level {self.index}: size {self.height} x {self.width} has no pixels")
        if self.steps < 0:
            raise ValueError(f"level {self.index}: steps = {self.steps}, allowed: 0 or more")


def level_sizes(
    height: float, width: float, min_edge: int = 128, levels: int | None = None, multiples: tuple[int, int] = (1, 1)
) -> list[tuple[int, int]]:
    """(height, width) of every level, coarsest first; the last is the poster itself. height, width: of the poster, and
    perhaps not rounded to pixels yet.

    Without `levels`, sizes are halved as long as the long edge stays at `min_edge` pixels or more. Every size is
    rounded from the poster's, so rounding does not add up over levels: to the nearest multiple of `multiples` along
    each axis, the poster's own too, and never below one of them.
    """
    if min(height, width, min_edge, *multiples) < 1 or (levels is not None and levels < 1):
        found = f"{height} x {width}, min_edge = {min_edge}, levels = {levels}, multiples = {multiples}"
        raise ValueError(f"{found}; allowed: 1 or more each")

    def rounded(size: float, multiple: int) -> int:
        return max(1, round(size / multiple)) * multiple

    sizes: list[tuple[int, int]] = []
    while True:
        scale = 2.0 ** -len(sizes)
        enough = len(sizes) >= levels if levels else max(height, width) * scale < min_edge
        if sizes and enough:
            return sizes[::-1]
        sizes.append((rounded(height * scale, multiples[0]), rounded(width * scale, multiples[1])))

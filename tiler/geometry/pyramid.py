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

    @property
    def pixels(self) -> int:
        return self.height * self.width


def level_sizes(
    height: int, width: int, min_edge: int = 128, levels: int | None = None, factor: float = 2.0
) -> list[tuple[int, int]]:
    """(height, width) of every level, coarsest first; the last is the poster itself.

    Without `levels`, sizes are divided by `factor` as long as the long edge stays at `min_edge` pixels or more.
    Every size is rounded from the poster's, so rounding does not add up over levels; no edge falls below 1.
    """
    if min(height, width, min_edge) < 1 or (levels is not None and levels < 1) or factor <= 1:
        found = f"{height} x {width}, min_edge = {min_edge}, levels = {levels}, factor = {factor}"
        raise ValueError(f"{found}; allowed: 1 or more each, and a factor above 1")
    sizes = [(height, width)]
    while True:
        scale = factor ** -len(sizes)
        enough = len(sizes) >= levels if levels else max(height, width) * scale < min_edge
        if enough:
            return sizes[::-1]
        sizes.append((max(1, round(height * scale)), max(1, round(width * scale))))

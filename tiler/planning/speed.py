"""How fast a machine is, as `tiler.planning.probe` finds it."""

from __future__ import annotations

from dataclasses import dataclass

# Seconds per pixel on one core of 2024, for what is too small a part of a render to be worth probing: reading and
# resizing pictures, seeding and compositing; and writing the poster, in any format or as PNG, which is deflated on all
# cores: the seconds are those of one, so that it takes no longer.
MOVE, WRITE, WRITE_PNG = 0.4e-6, 0.15e-6, 0.056e-6


@dataclass(frozen=True)
class Speed:
    """Seconds. start: until workers run. task: a task's way there and back. one_step, one_measure, one_round,
    one_held_round: (for any tile, per pixel of its read area), for an optimiser's step, for measuring statistics, and
    for what a round takes beside its steps, with the state in the store or in memory. move: per pixel of a level;
    write, write_png: of the poster."""

    start: float
    task: float
    one_step: tuple[float, float]
    one_measure: tuple[float, float]
    one_round: tuple[float, float]
    one_held_round: tuple[float, float]
    move: float = MOVE
    write: float = WRITE
    write_png: float = WRITE_PNG

    def step(self, pixels: int) -> float:
        return self.one_step[0] + self.one_step[1] * pixels

    def round(self, pixels: int) -> float:
        return self.one_round[0] + self.one_round[1] * pixels

    def held_round(self, pixels: int) -> float:
        return self.one_held_round[0] + self.one_held_round[1] * pixels

    def measure(self, pixels: int) -> float:
        return self.one_measure[0] + self.one_measure[1] * pixels

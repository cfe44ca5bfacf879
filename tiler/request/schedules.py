"""How many steps each level gets, by the quality that is asked for.

Coarse levels are cheap and decide the composition; fine ones add the texture that the enlarged start lacks. A draft
takes half of `standard`'s steps: at 512 px, with fewer than that on the finest level, style and texture lose most; at
256 px it loses up to 6 % of both and 7 % of content. `best`, in twice the time at 512 px and up to three times above,
had a quarter less error in style, texture and spectrum than `standard` at equal content, when that had 150, 100 and 60
steps (benchmarks/results/curves.md, defaults.md). Of both, levels above 512 px follow from that, and were not measured.
"""

from __future__ import annotations

from typing import Any

_BEYOND = 1 << 30
# Steps by the level's long edge in pixels, coarse to fine.
_SCHEDULES = {
    "draft": ((128, 50), (256, 40), (512, 40), (1024, 20), (_BEYOND, 10)),
    "standard": ((128, 100), (256, 80), (512, 80), (1024, 40), (_BEYOND, 20)),
    "best": ((128, 300), (256, 200), (512, 150), (1024, 120), (_BEYOND, 60)),
}
QUALITIES = tuple(_SCHEDULES)
DEFAULT = "standard"
# A level this much larger than a schedule's still counts as one of its: sizes are no powers of two.
_SLACK = 1.25


def steps_of(quality: str, height: int, width: int) -> int:
    """Of a level of so many pixels. quality: one of QUALITIES."""
    return next(steps for edge, steps in _SCHEDULES[quality] if max(height, width) <= edge * _SLACK)


def not_of_jpegs(value: Any) -> Any:
    """The same. Raises ValueError for the number that --quality takes in programs that write JPEGs."""
    if str(value).isdecimal():
        raise ValueError(f"{', '.join(QUALITIES)}; a JPEG's is --jpeg-quality {value}")
    return value

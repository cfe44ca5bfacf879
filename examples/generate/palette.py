"""The colours of label images: flat, far apart, and the same for every map."""

from __future__ import annotations

from pathlib import Path

import numpy as np

PALETTE = {
    "ocean": "#1a3a8c",
    "shallows": "#4aa8e0",
    "beach": "#f0e0a0",
    "grass": "#8cc850",
    "forest": "#1e6a2a",
    "desert": "#e09a3c",
    "rock": "#807468",
    "snow": "#ffffff",
    "river": "#00d8d8",
    "town": "#c8203c",
}
NAMES = tuple(PALETTE)
WATER = ("ocean", "shallows", "river")


def rgb(colour: str) -> tuple[int, int, int]:
    """(red, green, blue) of '#rrggbb', each 0..255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def colour_labels(labels: np.ndarray) -> np.ndarray:
    """[H, W] indices into NAMES -> [H, W, 3] uint8 in the palette's colours."""
    return np.array([rgb(colour) for colour in PALETTE.values()], np.uint8)[labels]


def write_palette(path: str | Path) -> None:
    """One line a label: its colour and its name."""
    Path(path).write_text("".join(f"{colour} {name}\n" for name, colour in PALETTE.items()), encoding="utf-8")

"""OME-Zarr 0.5 metadata (https://ngff.openmicroscopy.org/0.5/): what makes arrays a picture with a pyramid.

The store and the .zarr output share it, so that the field's viewers open both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

AXES = ("c", "y", "x")
_CHANNELS = (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"), ("alpha", "FFFFFF"))


def image_attributes(name: str, arrays: Sequence[tuple[str, int, int]], channels: int, peak: int) -> dict[str, Any]:
    """The value of a group's attribute "ome".

    arrays: (path, height, width) of every resolution, finest first; scales are in pixels of the finest. channels: 3,
    or 4 with alpha. peak: the value of full brightness.
    """
    _, height, width = arrays[0]
    datasets = [
        {"path": path, "coordinateTransformations": [{"type": "scale", "scale": [1.0, height / h, width / w]}]}
        for path, h, w in arrays
    ]
    kinds = {"c": "channel", "y": "space", "x": "space"}
    axes = [{"name": axis, "type": kinds[axis]} for axis in AXES]
    window = {"min": 0, "max": peak, "start": 0, "end": peak}
    colours = [
        {"label": label, "color": colour, "window": window, "active": label != "alpha"}
        for label, colour in _CHANNELS[:channels]
    ]
    return {
        "version": "0.5",
        "multiscales": [{"name": name, "axes": axes, "datasets": datasets}],
        "omero": {"channels": colours},
    }

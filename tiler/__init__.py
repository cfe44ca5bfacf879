"""Neural style transfer at poster size: overlapping tiles of a coarse-to-fine pyramid, one poster without seams.

import tiler
tiler.render(tiler.RenderConfig(content="map.png", styles=("photo.jpg",), output="poster.png"))
"""

import os
import sys
from typing import TYPE_CHECKING, Any

# `python -m tiler` looks for modules in the current folder first, where the pictures are and perhaps a signal.py.
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path and sys.path[:1] != [os.path.dirname(__path__[0])]:
    del sys.path[:1]

from tiler.version import __version__

if TYPE_CHECKING:
    from tiler.errors import TilerError
    from tiler.output.export import Exported, export
    from tiler.planning.plan import Plan, plan
    from tiler.render import Result, render
    from tiler.request.config import RenderConfig

__all__ = ["Exported", "Plan", "RenderConfig", "Result", "TilerError", "__version__", "export", "plan", "render"]

_PLACES = {
    "Exported": "tiler.output.export",
    "Plan": "tiler.planning.plan",
    "RenderConfig": "tiler.request.config",
    "Result": "tiler.render",
    "TilerError": "tiler.errors",
    "export": "tiler.output.export",
    "plan": "tiler.planning.plan",
    "render": "tiler.render",
}


def __getattr__(name: str) -> Any:
    # torch, dask and zarr take seconds to import; `tiler --help` should not. The command line is to hear signals
    # before anything else is imported.
    import importlib

    if name not in _PLACES:
        raise AttributeError(f"module 'tiler' has no attribute {name!r}")
    module = importlib.import_module(_PLACES[name])
    # All of it at once: importing tiler.render has put that module in the function's place.
    globals().update({one: getattr(module, one) for one, place in _PLACES.items() if place == _PLACES[name]})
    return globals()[name]

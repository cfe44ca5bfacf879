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
    from tiler.render import Result, render
    from tiler.request.config import RenderConfig

__all__ = ["RenderConfig", "Result", "TilerError", "__version__", "render"]


def __getattr__(name: str) -> Any:
    # torch, dask and zarr take seconds to import; `tiler --help` should not. The command line is to hear signals
    # before anything else is imported.
    import importlib

    if name == "RenderConfig":
        globals()[name] = importlib.import_module("tiler.request.config").RenderConfig
    elif name == "TilerError":
        globals()[name] = importlib.import_module("tiler.errors").TilerError
    elif name in ("render", "Result"):
        module = importlib.import_module("tiler.render")
        # Importing it has put the module in the function's place.
        globals().update(render=module.render, Result=module.Result)
    else:
        raise AttributeError(f"module 'tiler' has no attribute {name!r}")
    return globals()[name]

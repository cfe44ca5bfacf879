"""Neural style transfer at poster size: overlapping tiles of a coarse-to-fine pyramid, one poster without seams.

import tiler
tiler.render(tiler.RenderConfig(content="map.png", styles=("photo.jpg",), output="poster.png"))
"""

from typing import TYPE_CHECKING, Any

from tiler.config import RenderConfig
from tiler.errors import TilerError
from tiler.version import __version__

if TYPE_CHECKING:
    from tiler.render import Result, render

__all__ = ["RenderConfig", "Result", "TilerError", "__version__", "render"]


def __getattr__(name: str) -> Any:
    # torch, dask and zarr take seconds to import; `tiler --help` should not.
    if name in ("render", "Result"):
        import importlib

        module = importlib.import_module("tiler.render")
        # Importing it has put the module in the function's place.
        globals().update(render=module.render, Result=module.Result)
        return globals()[name]
    raise AttributeError(f"module 'tiler' has no attribute {name!r}")

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
    from tiler.engine.schedule import Pool
    from tiler.errors import CancelledError, TilerError
    from tiler.growing.grow import Grown, grow
    from tiler.growing.growth import Growth
    from tiler.growing.learn import Learned, Lesson, learn
    from tiler.output.export import Exported, export
    from tiler.output.poster import Poster, open_poster
    from tiler.planning.measured import plan
    from tiler.planning.plan import Plan
    from tiler.queue.queue import Queue
    from tiler.rendering import Result, render
    from tiler.request.config import RenderConfig
    from tiler.series.foretelling import Foretold, foretold
    from tiler.series.preview import Preview, preview
    from tiler.series.proof import proof
    from tiler.series.retouch import retouch

__all__ = [
    "CancelledError",
    "Exported",
    "Foretold",
    "Grown",
    "Growth",
    "Learned",
    "Lesson",
    "Plan",
    "Pool",
    "Poster",
    "Preview",
    "Queue",
    "RenderConfig",
    "Result",
    "TilerError",
    "__version__",
    "export",
    "foretold",
    "grow",
    "learn",
    "open_poster",
    "plan",
    "preview",
    "proof",
    "render",
    "retouch",
]

_PLACES = {
    "CancelledError": "tiler.errors",
    "Exported": "tiler.output.export",
    "Foretold": "tiler.series.foretelling",
    "Grown": "tiler.growing.grow",
    "Growth": "tiler.growing.growth",
    "Learned": "tiler.growing.learn",
    "Lesson": "tiler.growing.learn",
    "Plan": "tiler.planning.plan",
    "Pool": "tiler.engine.schedule",
    "Poster": "tiler.output.poster",
    "Preview": "tiler.series.preview",
    "Queue": "tiler.queue.queue",
    "RenderConfig": "tiler.request.config",
    "Result": "tiler.rendering",
    "TilerError": "tiler.errors",
    "export": "tiler.output.export",
    "foretold": "tiler.series.foretelling",
    "grow": "tiler.growing.grow",
    "learn": "tiler.growing.learn",
    "open_poster": "tiler.output.poster",
    "plan": "tiler.planning.measured",
    "preview": "tiler.series.preview",
    "proof": "tiler.series.proof",
    "render": "tiler.rendering",
    "retouch": "tiler.series.retouch",
}


def __dir__() -> list[str]:
    """Also what is not imported yet."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    # torch, dask and zarr take seconds to import; `tiler --help` should not. The command line is to hear signals
    # before anything else is imported.
    import importlib

    if name not in _PLACES:
        raise AttributeError(f"module 'tiler' has no attribute {name!r}")
    globals()[name] = found = getattr(importlib.import_module(_PLACES[name]), name)
    return found

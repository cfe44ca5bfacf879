"""What a worker keeps between tasks."""

from __future__ import annotations

import ctypes
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch

from tiler.engine.address import Address
from tiler.engine.blend import repeated
from tiler.engine.colours import as_seen
from tiler.engine.contents import COLOURS
from tiler.engine.faults import let_go, out_of_memory
from tiler.engine.graphs import graphs_for
from tiler.engine.job import Job
from tiler.engine.measuring import settle_gpu, settle_torch
from tiler.engine.plain import typed
from tiler.engine.stages import HANDS
from tiler.engine.store import RenderStore
from tiler.errors import RenderError, StoreError, WeightsError
from tiler.geometry import Rect
from tiler.style.backbone import DTYPES, Backbone, kernels_on
from tiler.style.colour import GREY, OKLAB_FLOOR, ColourMoments, colour_match, recolour
from tiler.style.grams import StyleTarget
from tiler.style.guides import Areas, Guides
from tiler.style.losses import Objective
from tiler.style.roughness import usual
from tiler.style.terms import ROUGHNESS
from tiler.style.weights import Conv, read_weights

# Of `noise`: independent channels, uniform in 0.4..0.6.
NOISE_MOMENTS = ColourMoments(1, np.full(3, 0.5), np.full((3, 3), 0.25) + np.eye(3) * 0.2**2 / 12)
Computed = TypeVar("Computed")
# The regions that lie somewhere, and where [R, h, w]; None: the one region is everywhere.
Planes = tuple[tuple[int, ...], np.ndarray | None]


class Workplace:
    """The open store, the job and the backbone on its device.

    A worker runs two tasks at once, so that one reads or writes the store while the other computes. All of torch's work
    is done on one thread, hence one tile at a time.
    """

    def __init__(self, address: Address) -> None:
        self._run = address.run
        self.store = RenderStore.open(address.url)
        self.job = Job.from_dict(self.store.attributes["job"])
        if self.job.id != address.id:
            raise StoreError(f"store {address.url}: holds job {self.job.id}, expected {address.id}")
        self.store.hold_to(self.job)
        settle_torch()
        if self.job.device.kind == "cuda":
            settle_gpu()
        if self.job.device.kind == "cuda" and not torch.cuda.is_available():
            raise RenderError(f"worker {socket.gethostname()}: has no GPU, and the job was begun on one")
        if self.job.device.kind == "mps" and not torch.backends.mps.is_available():
            raise RenderError(f"worker {socket.gethostname()}: has no Apple GPU, and the job was begun on one")
        # Tiles that the device is asked for before what came of the last is read, as a GPU would wait for the asking;
        # and threads that read, and as many that write.
        self.ahead, self.hands = (1, HANDS) if self.job.device.kind == "cuda" else (0, 1)
        self._thread = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(self.job.device.threads,))
        self._shape: tuple[int, ...] = ()
        self._objectives: dict[int, Objective] = {}
        self._areas: dict[int, Areas] = {}
        self._rests: dict[int, dict[str, torch.Tensor]] = {}
        self._convs = self._same_weights()
        self.backbones: Mapping[str, Backbone] = _Backbones(self.job, self._convs)
        # Blocks by (attempt, number), see `holding`.
        self.held: dict[tuple[str, int], Any] = {}
        self.dtype = getattr(torch, self.job.device.state_dtype)
        implementation, self._why_kernels = kernels_on(self.job.device.kind)
        self.graphs = graphs_for(self.job.device.kind, implementation)
        self._why_no_graphs = ""

    def _same_weights(self) -> list[Conv]:
        network = self.job.network
        found = read_weights(network.weights)
        if found.sha256 != network.weights_sha256:
            raise WeightsError(
                f"--weights {network.weights}: holds other numbers than when the job was begun, which would give a "
                "mixed poster; go on with the same command when it is again as it was, or start over with --force-new"
            )
        return found.convs

    def let_go(self, but: str = "") -> None:
        """Of blocks, but for those of one attempt. What is being written of them is waited for: it would fall between
        what comes next, and perhaps upon it."""
        for key in [key for key in self.held if key[0] != but]:
            held = self.held.pop(key, None)
            if held is not None:  # another task may let it go as well
                held.rest()

    def check_run(self) -> None:
        """Raise StoreError when another run holds the store by now: to be called once a task is about to write."""
        check_run(self.store, self._run)

    def fallen_kernels(self) -> tuple[str, str]:
        """(implementation of the kernels, why it is another than before; empty where it is none, or was told)."""
        kernels, why = kernels_on(self.job.device.kind)
        told, self._why_kernels = self._why_kernels, why
        return kernels, "" if why == told else why

    def tell_kernels(self, send: Callable[[dict[str, Any]], None]) -> None:
        """Where Triton has failed since this worker was asked what it is, somebody should know."""
        kernels, why = self.fallen_kernels()
        if why:
            where = socket.gethostname()
            text = f"worker {where}: Triton fails, {kernels} takes its place from here on: {why}"
            send({"event": "kernels", "kernels": kernels, "text": text})
        off = self.graphs.off if self.graphs else ""
        if off != self._why_no_graphs:
            self._why_no_graphs = off
            text = f"worker {socket.gethostname()}: steps run without CUDA graphs from here on: {off}"
            send({"event": "note", "text": text})

    def roomy(self, call: Callable[[], Computed]) -> Computed:
        """call(), and once more where it does not fit beside what can be done without. On the computing thread."""
        try:
            return call()
        except (MemoryError, RuntimeError) as error:
            if not (out_of_memory(error) and self.graphs and self.graphs.make_room()):
                raise
            let_go(error)
        return call()

    def compute(self, function: Callable[..., Computed], *arguments: Any) -> Computed:
        """Call `function` where torch's work is done, and wait for it."""
        return self._thread.submit(function, *arguments).result()

    def shaped(self, shape: tuple[int, ...]) -> None:
        """Say what is computed next, on the computing thread. Buffers of one shape fit the next of the same, and are
        kept between tiles (see `Pool`); those of another would leave holes, and are given back to the system. A GPU's
        are not the system's."""
        if shape != self._shape and self.job.device.kind == "cpu":
            self._shape = shape
            _trim(0)

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """A writable copy on the device, in the state's dtype."""
        return torch.tensor(array, dtype=self.dtype, device=self.job.device.kind)

    def level_guides(self, level: int, rect: Rect) -> Planes:
        """The regions that lie in `rect` of a level, which may reach beyond an edge that wraps, and their guides
        [R, h, w]; None where the one region is everywhere."""
        path = self.job.guides_path(level)
        return self._present(None if path is None else self.picture(level, path, rect))

    def protected(self, level: int, rect: Rect) -> np.ndarray | None:
        """[1, h, w]: how much of the content is to be kept in `rect`; None where all of it weighs the same."""
        path = self.job.protect_path(level)
        return None if path is None else self.picture(level, path, rect)

    def style_guides(self, level: int, style: int, rect: Rect) -> Planes:
        """The same for what counts of a style picture, as its region 0."""
        path = self.job.style_guides_path(level, style)
        return self._present(None if path is None else self.store.read_picture(path, rect))

    def _present(self, planes: np.ndarray | None) -> Planes:
        if planes is None:
            return (0,), None
        regions = tuple(np.flatnonzero(planes.any(axis=(1, 2))).tolist())
        return regions, planes[list(regions)]

    def guides(self, regions: tuple[int, ...], planes: np.ndarray | None, layers: tuple[str, ...]) -> Guides:
        return Guides.of(regions, None if planes is None else self.tensor(planes), layers)

    def areas(self, path: str | None, layers: tuple[str, ...], height: int, width: int) -> Areas:
        """How much of a picture of this size each of the guides at `path` has."""
        if path is None:
            return Areas.everywhere(layers, height, width)
        stored = self.store.read_areas(path) or {}
        try:
            shares = typed(stored.get("shares"), tuple[float, ...], "shares")
            weights = {layer: typed(stored["weights"][layer], tuple[float, ...], layer) for layer in layers}
        except (KeyError, TypeError, ValueError):
            raise StoreError(f"store {self.store.url}: {path} does not say how much of it each region has") from None
        return Areas(shares, weights)

    def level_areas(self, level: int) -> Areas:
        """How much of a level each region has."""
        if level not in self._areas:
            job, size, grid = self.job, self.job.cut.levels[level], self.job.cut.grid(level)
            path, layers = job.guides_path(level), job.terms.style_layers
            if not job.cut.estimates(level):
                found = self.areas(path, layers, size.height, size.width)
            else:
                cores = ((grid.weight(tile.index), tile.core) for tile in grid)
                found = Areas.estimated((w, core.area, self._areas_in(path, core, layers)) for w, core in cores)
            self._areas = {level: found}
        return self._areas[level]

    def rest(self, level: int) -> dict[str, torch.Tensor]:
        """Sums of a level's tiles that stay as they were, by layer, in float64."""
        if level not in self._rests:
            path, layers = f"levels/{level}/rest", self.job.terms.style_layers
            found = {layer: torch.from_numpy(self.store.read_total(path, layer)) for layer in layers}
            self._rests = {level: found}
        return self._rests[level]

    def _areas_in(self, path: str | None, core: Rect, layers: tuple[str, ...]) -> Areas:
        """The same of a part of a level."""
        if path is None:
            return Areas.everywhere(layers, core.height, core.width)
        return Areas.summed([torch.from_numpy(self.store.read_picture(path, core))], layers)

    @cached_property
    def colours(self) -> list[np.ndarray]:
        """Of each region, the [3, 4] map from the colours that the start has there, the content's or noise's, to its
        styles', as the coarsest level has them."""
        return self._to_styles(self._start_colours)

    def match_content(self) -> list[np.ndarray]:
        """The same from the content's colours, whatever the start. While the coarsest level's pictures are there."""
        return self._to_styles(self._colours_of_content)

    @cached_property
    def content_colours(self) -> list[np.ndarray]:
        """What `match_content` found, as the store keeps it for all levels."""
        self.store.check_there()  # this process may have opened it before
        try:
            kept = typed(self.store.attributes.get(COLOURS), tuple[tuple[tuple[float, ...], ...], ...], COLOURS)
            found = [np.array(one, np.float64) for one in kept]
            if [one.shape for one in found] != [(3, 4)] * len(self.job.styles.regions):
                raise ValueError(f"{COLOURS} are no maps of the regions' colours")
        except ValueError as error:
            raise StoreError(f"store {self.store.url}: {error}") from None
        return found

    def _to_styles(self, start_of: Callable[[int], ColourMoments]) -> list[np.ndarray]:
        job = self.job
        mean_weights = [sum(weights) / len(weights) for weights in job.styles.layer_weights]
        shares = [share * weight for share, weight in zip(job.styles.shares, mean_weights, strict=True)]
        styles = [self._colours(f"styles/0/{s}/picture", job.style_guides_path(0, s), 0) for s in range(len(shares))]
        maps = []
        for region in range(len(job.styles.regions)):
            start, mine = start_of(region), job.styles.of(region)
            wanted = ColourMoments.blended([styles[s] for s in mine], [shares[s] for s in mine])
            floor = (OKLAB_FLOOR,) if job.look.transfer == "color" else ()
            maps.append(colour_match(start, wanted, *floor) if start.count else np.eye(3, 4))
        return maps

    def _start_colours(self, region: int) -> ColourMoments:
        if self.job.look.init == "noise":
            return NOISE_MOMENTS
        return self._colours_of_content(region)

    def _colours_of_content(self, region: int) -> ColourMoments:
        return self._colours("levels/0/content", self.job.guides_path(0), region)

    def _colours(self, picture: str, guides: str | None, region: int) -> ColourMoments:
        planes = None if guides is None else (band[region] for band in self.store.picture_bands(guides))
        if self.job.look.transfer == "color":
            return as_seen(self.store, picture, planes)
        return ColourMoments.of(map(self.optimised, self.store.picture_bands(picture)), planes)

    def optimised(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels [3, h, w] as the optimiser sees them."""
        return recolour(pixels, [GREY]) if self.job.look.grey else pixels

    def objective(self, level: int) -> Objective:
        if level not in self._objectives:
            self.drop_graphs()
            self._objectives = {level: self._objective(level)}
        return self._objectives[level]

    def drop_graphs(self) -> None:
        """Those of a level that has ended. On the computing thread."""
        if self.graphs:
            self.graphs.drop()

    def make_room(self) -> None:
        """Give back what a level that has ended took: the next one's tensors have other sizes, and would lie beside.
        On the computing thread."""
        self.drop_graphs()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _objective(self, level: int) -> Objective:
        job, size = self.job, self.job.cut.levels[level]
        areas = self.level_areas(level)
        targets = [self._target(level, region) for region in range(len(job.styles.regions))]
        target = StyleTarget.joined(targets, areas.shares)
        return Objective(target, job.terms, size.height, size.width, areas, job.look.grey)

    def _target(self, level: int, region: int) -> StyleTarget:
        job, styles = self.job, self.job.styles.of(region)
        grams = [
            {layer: self.tensor(self.store.read_total(f"styles/{level}/{s}", layer)) for layer in job.terms.layers}
            for s in styles
        ]
        rough = [usual(self.store.read_total(f"styles/{level}/{s}", ROUGHNESS)) for s in styles]
        by_layer = [dict(zip(job.terms.style_layers, job.styles.layer_weights[s], strict=True)) for s in styles]
        return StyleTarget.blended(grams, rough, [job.styles.shares[s] for s in styles], by_layer)

    def picture(self, level: int, path: str, rect: Rect) -> np.ndarray:
        """[3, h, w] of a picture of a level's size; `rect` may reach beyond an edge that wraps."""
        size = self.job.cut.levels[level]

        def read(part: Rect) -> torch.Tensor:
            return torch.from_numpy(self.store.read_picture(path, part))

        return repeated(rect, (size.height, size.width), read).numpy()


def check_run(store: RenderStore, run: str) -> None:
    """Raise StoreError when another run holds the store."""
    if store.holder() != run:
        raise StoreError(f"store {store.url}: another run has taken it over; this task has written nothing")


class _Backbones(Mapping[str, Backbone]):
    """By precision, made when one is asked for: the job's, and one that reaches further where that is a short one."""

    def __init__(self, job: Job, convs: list[Conv]) -> None:
        self._job, self._convs, self._made = job, convs, dict[str, Backbone]()

    def __iter__(self) -> Iterator[str]:
        short = self._job.device.precision not in ("fp32", "fp64")
        return iter((self._job.device.precision, "fp32") if short else (self._job.device.precision,))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, precision: str) -> Backbone:
        if precision not in self._made:
            job, dtype = self._job, DTYPES[precision]
            self._made[precision] = Backbone(self._convs, job.terms.layers, job.network.pooling, dtype, job.device.kind)
        return self._made[precision]


def _no_trim(pad: int) -> int:
    return 0


# Of glibc; elsewhere memory is the allocator's business.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", _no_trim) if sys.platform == "linux" else _no_trim


def workplace(address: Address) -> Workplace:
    """The worker's one workplace; another job's takes the place of the last."""
    with _ONE_AT_A_TIME:
        if address not in _CURRENT:
            check_run(RenderStore.open(address.url), address.run)  # a late task must not take the place of what is held
        if _CURRENT and next(iter(_CURRENT)) != address:
            _CURRENT.popitem()[1].let_go()  # before the next is made, which would not fit beside it
        if address not in _CURRENT:
            _CURRENT[address] = Workplace(address)
        return _CURRENT[address]


_ONE_AT_A_TIME = threading.Lock()
_CURRENT: dict[Address, Workplace] = {}

"""What this machine is, what a render would use of it and why, and whether the parts of it work: the first thing that a
report of a fault should hold."""

from __future__ import annotations

import importlib.metadata
import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tiler import pictures
from tiler.engine.asking import ask
from tiler.engine.host import cores
from tiler.engine.machine import Machine
from tiler.engine.schedule import Pool
from tiler.planning import selftest
from tiler.planning.plan import plan_job
from tiler.planning.selftest import Check
from tiler.request.asked import Asked
from tiler.request.config import RenderConfig
from tiler.version import __version__

_PACKAGES = (
    "torch",
    "triton",
    "numpy",
    "zarr",
    "numcodecs",
    "dask",
    "distributed",
    "pyvips",
    "pyvips-binary",
    "pillow",
)
# What each extra of this package brings.
_EXTRAS = {
    "geo": "rasterio",
    "regions": "scikit-learn",
    "s3": "obstore",
    "demo": "basemap-data",
    "notebook": "tqdm",
    "pdf": "pypdfium2",
    "studio": "starlette",
}
# Of the poster whose plan is shown, in pixels.
EDGE = 4096


@dataclass(frozen=True)
class Findings:
    """versions: of Python, the system and packages, `none` where one is missing. extras: by their names. machine: what
    a worker told. chosen: of a poster of EDGE x EDGE pixels. checks: each on its own. reads: formats that not every
    machine reads, with the reason where this one does not."""

    versions: dict[str, str]
    extras: dict[str, str]
    machine: dict[str, Any]
    chosen: dict[str, Any]
    checks: list[Check]
    reads: dict[str, str] = field(default_factory=dict)

    @property
    def well(self) -> bool:
        return not any(check.error for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "well": self.well}


def examine() -> Findings:
    """Start one worker, ask it, and try everything. Raises TilerError where no worker starts."""
    began = time.perf_counter()
    with Pool(None, 1, cores()) as pool:
        machine = ask(pool)
        started = Check(
            "worker", time.perf_counter() - began, "started, by a connection that nobody else has the key to"
        )
        config, chosen = _chosen(machine)
        told = pool.submit(selftest.on_worker, config.device, config.precision).result()
    checks = [started, *(Check(**one) for one in told), *selftest.here()]
    return Findings(_versions(), _installed(_EXTRAS), _shown(machine), chosen, checks, pictures.readable())


def _installed(names: Mapping[str, str]) -> dict[str, str]:
    return {name: _version(package) for name, package in names.items()}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _versions() -> dict[str, str]:
    system = {"tiler": __version__, "python": platform.python_version(), "system": platform.platform()}
    return system | _installed({name: name for name in _PACKAGES})


def _shown(machine: Machine) -> dict[str, Any]:
    """Unbounded numbers are said by none."""
    gpus = asdict(machine.gpus) if machine.gpus else None
    return {"host": asdict(machine.host), "gpus": gpus, "bf16": list(machine.bf16)}


def _chosen(machine: Machine) -> tuple[RenderConfig, dict[str, Any]]:
    """What a render of two plain pictures would be on this machine."""
    with tempfile.TemporaryDirectory(prefix="tiler-") as folder:
        content, style = (str(Path(folder) / f"{name}.png") for name in ("content", "style"))
        for path in (content, style):
            pictures.write_picture(path, 64, 64, [np.full((3, 64, 64), 0.5, np.float32)])
        asked = Asked.of(RenderConfig(content, (style,), str(Path(folder) / "poster.png"), long_edge=EDGE))
        config, job = asked.on(machine)
        plan = plan_job(config, job, machine=machine, pictures_bytes=0)
    names = ("device", "precision", "workers", "tile", "memory_bytes", "gpu_bytes")
    homes = [{"level": one.level, "home": one.home, "why": one.why} for one in plan.levels]
    found = {name: getattr(plan, name) for name in names} | {"threads": config.threads, "homes": homes, "edge": EDGE}
    kernels = machine.gpus.kernels if plan.device == "cuda" and machine.gpus else "torch"
    return config, found | {"kernels": kernels, "why_not_triton": machine.trouble(plan.device)}

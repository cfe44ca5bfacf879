"""How far our step is from this machine's limit: `python benchmarks/floor.py [--device cuda] [--output FILE]`.

Work: the floating-point operations that one step of an untiled, square image can't do without. They are taken from the
backbone's own list of layers: each convolution once forward and once for the gradient of its input (multiply and add
count 2), the Gram sums of each style layer (symmetric, so C (C + 1) a cell) and their backward (2 C^2 a cell).

Rate: the most that this machine was seen to do in the same run with the library's own kernels, best of all samples of
large torch.mm and of F.conv2d in each of the step's shapes, channels-last, in the step's number type. A direct
convolution's operations are counted; where the library does fewer (Winograd), the rate says so by being higher.

`floor_s` is work / rate; `of_rate` the part of that rate which the whole step reaches; `over_floor` its reciprocal.
`convs_s` is what the step's convolutions take on their own, channels-last and with nothing between them (no border,
pooling, ReLU or loss): what lies above it is ours to save, what lies between it and the floor is the library's. The
steps and the single operations run in turns, in one process.

`--ways` compares instead the two ways of having a convolution's border repeat (tiler/style/convolutions.py): all
convolutions of a step, forward and back to the pixels, by each way in turns; `vs_padded` is the median over the rounds.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before benchmarks/kernels.py, which hides the package

import _report
import step
import torch
import torch.nn.functional as F
from torch import Tensor

from tiler.style.backbone import Backbone
from tiler.style.convolutions import Padded, Ringed
from tiler.style.guides import level_cells
from tiler.style.layers import deepest, stride_of
from tiler.style.weights import load_weights

PRODUCTS = {
    "cpu": ((2048, 2048, 2048), (512, 4608, 4096), (256, 2304, 8192)),
    "cuda": ((8192, 8192, 8192), (512, 4608, 65536)),
}
COLUMNS = (
    "size", "dtype", "gflop", "gram_gflop", "rate_gflop_s", "rate_of", "floor_s", "convs_s", "median_s", "q25_s",
    "q75_s", "over_floor", "of_rate", "over_convs",
)  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """A 3x3 convolution of `inputs` to `outputs` channels on [side, side] cells."""

    inputs: int
    outputs: int
    side: int

    @property
    def flop(self) -> int:
        return 2 * 9 * self.inputs * self.outputs * self.side**2

    def __str__(self) -> str:
        return f"conv {self.inputs}-{self.outputs} at {self.side}"


def convolutions(backbone: Backbone, size: int) -> Counter[Shape]:
    """Those of one step and how often each occurs: every layer forward, and turned round for its input's gradient."""
    found: Counter[Shape] = Counter()
    inputs = 3
    for name in backbone.names:
        side, outputs = -(-size // stride_of(name)), backbone.channels(name)
        found[Shape(inputs, outputs, side)] += 1
        found[Shape(outputs, inputs, side)] += 1
        inputs = outputs
    return found


def gram_flop(backbone: Backbone, size: int) -> int:
    """Gram sums and their backward in all style layers."""
    layers = [(backbone.channels(layer), level_cells(layer, size, size)) for layer in step.CONFIG.style_layers]
    return sum((c * (c + 1) + 2 * c * c) * cells for c, cells in layers)


def products(device: str, dtype: torch.dtype) -> dict[str, tuple[int, Callable[[], object]]]:
    """name -> (operations, call) of large matrix products."""
    found: dict[str, tuple[int, Callable[[], object]]] = {}
    for m, k, n in PRODUCTS[device]:
        left, right = (torch.randn(shape, device=device).to(dtype) for shape in ((m, k), (k, n)))
        found[f"mm {m}x{k}x{n}"] = (2 * m * k * n, functools.partial(torch.mm, left, right))
    return found


def single(shapes: Counter[Shape], device: str, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Each convolution as a call; inputs of one shape are one tensor."""
    inputs: dict[tuple[int, int], Tensor] = {}
    found: dict[str, Callable[[], object]] = {}
    for shape in shapes:
        if (shape.inputs, shape.side) not in inputs:
            features = torch.rand(1, shape.inputs, shape.side, shape.side, device=device, dtype=dtype)
            inputs[shape.inputs, shape.side] = features.contiguous(memory_format=torch.channels_last)
        weight = torch.randn(shape.outputs, shape.inputs, 3, 3, device=device).div_(3 * shape.inputs**0.5).to(dtype)
        weight = weight.contiguous(memory_format=torch.channels_last)
        found[str(shape)] = functools.partial(F.conv2d, inputs[shape.inputs, shape.side], weight, padding=1)
    return found


@torch.no_grad()
def measure(setting: step.Setting, name: str, repeats: int) -> _report.Row:
    """One size in one number type."""
    dtype = step.DTYPES[name]
    layers = (*step.CONFIG.style_layers, *step.CONFIG.content_layers)
    backbone = Backbone(load_weights("bundled"), (deepest(layers),))
    shapes, gram = convolutions(backbone, setting.size), gram_flop(backbone, setting.size)
    del backbone
    large = products(setting.device, dtype)
    calls = {**single(shapes, setting.device, dtype), **{title: call for title, (_, call) in large.items()}}
    samples = _report.interleaved({"step": step.ours(setting, name), **calls}, repeats, setting.device)

    flop = {**{str(shape): shape.flop for shape in shapes}, **{title: count for title, (count, _) in large.items()}}
    rates = {title: count / min(samples[title]) for title, count in flop.items()}
    best = max(rates, key=rates.__getitem__)
    work = gram + sum(count * shape.flop for shape, count in shapes.items())
    convs = sum(count * statistics.median(samples[str(shape)]) for shape, count in shapes.items())
    times = _report.timing(samples["step"])
    return {
        "size": setting.size, "dtype": name, "gflop": work / 1e9, "gram_gflop": gram / 1e9,
        "rate_gflop_s": rates[best] / 1e9, "rate_of": best, "floor_s": work / rates[best], "convs_s": convs, **times,
        "over_floor": times["median_s"] * rates[best] / work, "of_rate": work / rates[best] / times["median_s"],
        "over_convs": times["median_s"] / convs, "rates_gflop_s": {title: r / 1e9 for title, r in rates.items()},
    }  # fmt: skip


@torch.no_grad()
def compare_ways(setting: step.Setting, name: str, repeats: int) -> list[_report.Row]:
    """Rows of one size in one number type: every convolution once forward and once backward."""
    dtype, device = step.DTYPES[name], torch.device(setting.device)
    layer = deepest((*step.CONFIG.style_layers, *step.CONFIG.content_layers))
    names = Backbone(load_weights("bundled"), (layer,)).names
    convs = load_weights("bundled")[: len(names)]
    made = {"padded": Padded(convs, dtype, device), "ringed": Ringed(convs, dtype, device)}
    inputs: dict[str, list[Tensor]] = {}
    for way, one in made.items():
        sides = [-(-setting.size // stride_of(name)) for name in names]
        shapes = [(conv.weight.shape[1], side, side) for conv, side in zip(convs, sides, strict=True)]
        planes = [torch.rand(shape, device=device) for shape in shapes]
        first = one.start(planes[0])
        inputs[way] = [first, *(p.to(dtype).permute(1, 2, 0).contiguous().permute(2, 0, 1) for p in planes[1:])]

    def trunk(way: str) -> None:
        for i, features in enumerate(inputs[way]):
            made[way].backward(made[way].forward(features, i), i)

    samples = _report.interleaved({way: functools.partial(trunk, way) for way in made}, repeats, setting.device)
    return [
        {"size": setting.size, "dtype": name, "way": way, **_report.timing(times),
         "vs_padded": statistics.median(a / b for a, b in zip(times, samples["padded"], strict=True))}
        for way, times in samples.items()
    ]  # fmt: skip


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024], help="sides in pixels")
    parser.add_argument("--dtypes", nargs="+", choices=step.DTYPES, default=["fp32", "bf16"])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch on the CPU")
    parser.add_argument("--ways", action="store_true", help="compare the ways of repeating a convolution's border")
    parser.add_argument("--quick", action="store_true", help="256 px only, 5 repeats")
    parser.add_argument("--output", type=Path, help="write the rows as JSON to this file")
    options = parser.parse_args(arguments)
    if options.quick:
        options.sizes, options.repeats = [256], 5
    return options


def main() -> None:
    """Run, print the table, write the JSON."""
    options = parse()
    torch.set_num_threads(options.threads)
    where, rows = _report.environment(options.device), []
    with tempfile.TemporaryDirectory() as name:
        for size in options.sizes:
            setting = step.Setting(size, options.device, options.threads, Path(name))
            step.prepare(setting.folder, size)
            for dtype in options.dtypes:
                if options.ways:
                    rows += compare_ways(setting, dtype, options.repeats)
                else:
                    rows.append(measure(setting, dtype, options.repeats))
                print(f"{size} px {dtype} done", file=sys.stderr)
    columns = ("size", "dtype", "way", "median_s", "q25_s", "q75_s", "vs_padded") if options.ways else COLUMNS
    _report.publish(rows, columns, where, options.output)


if __name__ == "__main__":
    main()

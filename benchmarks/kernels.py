"""Time the Gram kernels against plain torch: `python benchmarks/kernels.py [--quick] [--device cuda] [--output FILE]`.

The five style layers of VGG-19 at square tiles of 512, 1024 and 2048 px, features as the ReLU left them. Forward is
features -> Gram -> loss; backward is loss and upstream gradient -> gradient in front of the ReLU; both is one after
the other. The variants compute the same numbers, which is checked before anything is timed:

  naive        autograd on F F^T, in the features' type
  custom       an autograd function with one symmetric product, accumulation by addmm, a mask
  decompose_k  the naive forward compiled by inductor with its split-K products allowed (CUDA only)
  kernels      this package

`bytes` is what the method has to move at least, from the tile's T bytes of features: forward 1 T, backward 13, 6 and
3 T (naive, custom, kernels). `of_copy` is bytes / median over the copy bandwidth measured in the same run.

`--family step` times the other operations of a step instead: see benchmarks/_step_ops.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

import _report
import _step_ops

import kernels

LAYERS = {"relu1_1": (64, 1), "relu2_1": (128, 2), "relu3_1": (256, 4), "relu4_1": (512, 8), "relu5_1": (512, 16)}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BACKWARD_BYTES = {"naive": 13, "custom": 6, "decompose_k": 13, "kernels": 3}
COLUMNS = (
    "tile", "layer", "C", "N", "dtype", "layout", "part", "variant", "median_ms", "q25_ms", "q75_ms",
    "vs_naive", "vs_custom", "bytes", "of_copy",
)  # fmt: skip
WEIGHT = 2.0


@dataclass(frozen=True)
class Problem:
    """One layer of one tile: features [C, H, W] after the ReLU, the gradient from above, the target [C, C]."""

    features: Tensor
    upstream: Tensor
    target: Tensor

    @property
    def scale(self) -> float:
        """From Gram sums to a Gram."""
        return 1 / (self.features.shape[1] * self.features.shape[2])


@dataclass(frozen=True)
class Variant:
    """Forward and backward of one method; the backward takes what the forward gave."""

    forward: Callable[[], Any]
    backward: Callable[[Any], Tensor]


def problem(c: int, side: int, dtype: torch.dtype, layout: str, device: str) -> Problem:
    """Random tensors of a layer, the same for the same arguments."""
    generator = torch.Generator(device).manual_seed(c + side)

    def planes() -> Tensor:
        shape = (c, side, side) if layout == "planes" else (side, side, c)
        made = torch.randn(shape, generator=generator, device=device).to(dtype)
        return made if layout == "planes" else made.permute(2, 0, 1)

    root = torch.randn(c, 2 * c, generator=generator, device=device)
    return Problem(planes().relu_(), planes().mul_(1e-6), root @ root.mT / c)


def plain_loss(features: Tensor, target: Tensor, scale: float) -> Tensor:
    """The style term as one would write it."""
    matrix = features.flatten(1)
    error = (matrix @ matrix.mT).float() * scale - target
    return WEIGHT * error.square().sum() / target.square().sum()


def autograd_variant(given: Problem, loss_of: Callable[[Tensor, Tensor, float], Tensor]) -> Variant:
    """Autograd from the loss and the upstream gradient to what went into the ReLU."""
    z = given.features.clone().requires_grad_()
    features = z.relu()

    def forward() -> Tensor:
        return loss_of(features, given.target, given.scale)

    def backward(loss: Tensor) -> Tensor:
        # The ReLU's node serves every repetition.
        return torch.autograd.grad([loss, features], [z], [None, given.upstream], retain_graph=True)[0]

    return Variant(forward, backward)


def custom_variant(given: Problem) -> Variant:
    """What a custom autograd function in plain torch would run, without autograd's own cost."""
    matrix = given.features.flatten(1)
    grad = torch.empty_like(given.features)

    def forward() -> Tensor:
        error = (matrix @ matrix.mT).float() * given.scale - given.target
        loss = WEIGHT * error.square().sum() / given.target.square().sum()
        return loss, error

    def backward(state: Any) -> Tensor:
        factor = 4 * WEIGHT * given.scale / given.target.square().sum()
        s = (state[1] * factor).to(matrix.dtype)
        torch.addmm(given.upstream.flatten(1), s, matrix, out=grad.flatten(1))
        return grad.mul_(given.features > 0)

    return Variant(forward, backward)


def kernels_variant(given: Problem) -> Variant:
    """This package, in the order in which a hand-written backward calls it."""
    grad = torch.empty_like(given.features)

    def forward() -> Any:
        return kernels.gram_style(given.features, given.target, WEIGHT, given.scale)

    def backward(state: Any) -> Tensor:
        # The upstream gradient is overwritten in use; here it accumulates from call to call, which costs the same.
        return kernels.gram_backward_(grad, given.features, state[2], given.scale)

    grad.copy_(given.upstream)
    return Variant(forward, backward)


def variants(given: Problem) -> dict[str, Variant]:
    """All that can run on this device."""
    found = {"naive": autograd_variant(given, plain_loss), "custom": custom_variant(given)}
    if given.features.device.type == "cuda":
        import torch._inductor.config as inductor

        inductor.max_autotune_gemm = True
        compiled = torch.compile(plain_loss, mode="max-autotune-no-cudagraphs")
        found["decompose_k"] = autograd_variant(given, compiled)
    return found | {"kernels": kernels_variant(given)}


def check(given: Problem, found: dict[str, Variant]) -> None:
    """All variants give the same gradient, up to the rounding of their type."""
    tolerance = 40 * torch.finfo(given.features.dtype).eps
    naive = found["naive"].backward(found["naive"].forward()).float()
    for name, variant in found.items():
        difference = (variant.backward(variant.forward()).float() - naive).norm() / naive.norm()
        if not difference <= tolerance:
            raise SystemExit(f"{name} differs from naive by {difference:.2e}: must be at most {tolerance:.2e}")


def runs(variant: Variant) -> dict[str, Callable[[], object]]:
    """The three parts, each a call of its own."""
    state = variant.forward()
    return {
        "forward": variant.forward,
        "backward": lambda: variant.backward(state),
        "both": lambda: variant.backward(variant.forward()),
    }


def copy_bandwidth(device: str, bytes_: int) -> float:
    """Bytes a second, read and written, of copying a tensor too large for the caches."""
    source = torch.empty(bytes_, dtype=torch.uint8, device=device).fill_(1)
    target = torch.empty_like(source).fill_(2)
    samples = _report.interleaved({"copy": lambda: target.copy_(source)}, 10, device)["copy"]
    return 2 * bytes_ / _report.quantiles(samples)[1]


def measure(given: Problem, repeats: int, bandwidth: float) -> list[_report.Row]:
    """Rows for one layer, all variants in turns."""
    found = variants(given)
    check(given, found)
    size = given.features.numel() * given.features.element_size()
    device = given.features.device
    rows = []
    parts = {name: runs(variant) for name, variant in found.items()}
    for part in ("forward", "backward", "both"):
        samples = _report.interleaved({name: parts[name][part] for name in found}, repeats, device)
        medians = {name: _report.quantiles(times)[1] for name, times in samples.items()}
        for name, times in samples.items():
            moved = size * ((part != "backward") + (part != "forward") * BACKWARD_BYTES[name])
            rows.append({
                "part": part, "variant": name, **_report.timing([1e3 * t for t in times], "ms"),
                "vs_naive": medians[name] / medians["naive"], "vs_custom": medians[name] / medians["custom"],
                "bytes": moved, "of_copy": moved / medians[name] / bandwidth,
            })  # fmt: skip
    return rows


def benchmark(options: argparse.Namespace) -> list[_report.Row]:
    """All rows that the options ask for."""
    bandwidth = copy_bandwidth(options.device, 1 << (30 if options.device == "cuda" else 28))
    print(f"copy bandwidth {bandwidth / 1e9:.1f} GB/s", file=sys.stderr)
    if options.family == "step":
        dtypes = {name: DTYPES[name] for name in options.dtypes}
        return list(_step_ops.rows(options.tiles, dtypes, options.device, options.repeats, bandwidth))
    rows = []
    for tile in options.tiles:
        for layer, (c, stride) in LAYERS.items():
            for dtype in options.dtypes:
                side = max(1, tile // stride)
                given = problem(c, side, DTYPES[dtype], options.layout, options.device)
                same = {
                    "tile": tile, "layer": layer, "C": c, "N": side * side, "dtype": dtype, "layout": options.layout,
                    "implementation": kernels.implementation(given.features.device, DTYPES[dtype]),
                    "copy_bytes_per_s": bandwidth,
                }  # fmt: skip
                rows += [{**same, **row} for row in measure(given, options.repeats, bandwidth)]
                print(f"{tile} {layer} {dtype} done", file=sys.stderr)
    return rows


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--family", choices=["gram", "step"], default="gram", help="which operations")
    parser.add_argument("--tiles", type=int, nargs="+", default=[512, 1024, 2048], help="sides in pixels")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["fp32", "bf16"])
    parser.add_argument("--layout", choices=["planes", "pixels"], default="pixels", help="NCHW or channels-last")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, help="of torch on a CPU; 1 is steadier where others work as well")
    parser.add_argument("--quick", action="store_true", help="tiles of 512 px only, 7 repeats")
    parser.add_argument("--output", type=Path, help="write the rows as JSON to this file")
    options = parser.parse_args(arguments)
    if options.quick:
        options.tiles, options.repeats = [512], 7
    return options


def main() -> None:
    """Run, print the table, write the JSON."""
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    where = _report.environment(options.device)
    columns = _step_ops.COLUMNS if options.family == "step" else COLUMNS
    _report.publish(benchmark(options), columns, where, options.output)


if __name__ == "__main__":
    main()

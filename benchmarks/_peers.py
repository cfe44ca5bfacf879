"""The peers' own optimisations (L-BFGS), layers and loss weights, called in this process and watched step by step."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import step
import torch
from torch import Tensor

from tiler.style.weights import load_weights

# Called with each step's number, its loss, and a function that gives the pixels [3, H, W] in 0..1 that it was taken of.
Watch = Callable[[int, float, Callable[[], Tensor]], None]
_MEAN = (103.939, 116.779, 123.68)


@contextlib.contextmanager
def as_torch_has_it() -> Iterator[None]:
    """Convolutions in TF32 on a GPU, by whichever algorithm: what a program gets that sets nothing."""
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark, cudnn.enabled
    cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = True, False, False
    try:
        yield
    finally:
        cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark, cudnn.enabled = before


def neural_style(
    content: Path, style: Path, output: Path, weight: float, edge: int, steps: int, device: str, folder: Path,
    watch: Watch,
) -> None:  # fmt: skip
    """Its main(), from the content, as all others start. It has its options from the command line when it is imported,
    and takes the architecture from the path of the model, so that must be short."""
    peer, model = _program(), folder / "vgg19.pth"
    wanted = {
        "content_image": str(content), "style_image": str(style), "output_image": str(output), "image_size": edge,
        "content_weight": weight, "num_iterations": steps, "pooling": "avg", "init": "image",
        "gpu": "c" if device == "cpu" else 0, "backend": "nn" if device == "cpu" else "cudnn",
        "model_file": str(model), "disable_check": True, "print_iter": 0, "save_iter": 0,
    }  # fmt: skip
    for name, value in wanted.items():
        setattr(peer.params, name, value)
    set_up = peer.setup_optimizer
    peer.setup_optimizer = lambda image: _watched(set_up(image), image, watch)
    try:
        with as_torch_has_it(), contextlib.redirect_stdout(io.StringIO()):
            peer.main()
    finally:
        peer.setup_optimizer = set_up


def _program() -> Any:
    step._import_torchvision()
    words, sys.argv = sys.argv, ["neural-style"]
    try:
        return importlib.import_module("neural_style.neural_style")
    finally:
        sys.argv = words


def _watched(made: tuple[Any, int], image: Tensor, watch: Watch) -> tuple[Any, int]:
    optimizer, last = made
    take, taken = optimizer.step, 0

    def step_(closure: Callable[[], Tensor]) -> Any:
        def counted() -> Tensor:
            nonlocal taken
            loss = closure()
            taken += 1
            watch(taken, loss.item(), lambda: _shown(image, 256))
            return loss

        return take(counted)

    optimizer.step = step_
    return optimizer, last


def pastiche(
    content: Path, style: Path, output: Path, weight: float, edge: int, steps: int, device: str, folder: Path,
    watch: Watch,
) -> None:  # fmt: skip
    """Its class, as its command line builds it and steps it."""
    from pastiche import pastiche as peer

    peer.VGG19.from_quantized_bin = _backbone  # its own reads the same file element by element
    with as_torch_has_it():
        artist = peer.PasticheArtist(
            str(content), [str(style)], pooling="avg", device=device, content_weight=weight, size=edge, style_size=edge
        )
        for number in range(1, steps + 1):
            artist.draw()
            watch(number, artist.loss, lambda: _shown(artist.pastiche, 255))
        peer.save_image(artist.pastiche, str(output))


def _backbone(path: str, pooling: str) -> Any:
    from pastiche.vgg19 import VGG19

    convs = load_weights("bundled")
    tensors = iter(step.caffe_state(convs).values())
    names = [f"block{conv.name[0]}_conv{conv.name[2:]}" for conv in convs]
    found = {name: (next(tensors), next(tensors)) for name in names}
    behind = torch.zeros(512, 512, 3, 3), torch.zeros(512)  # no layer that is looked at
    return VGG19(VGG19.Weights(**{name: found.get(name, behind) for name in VGG19.Weights._fields}), pooling=pooling)


def _shown(image: Tensor, white: int) -> Tensor:
    """[3, H, W] RGB in 0..1, in steps of a file's eight bits, of theirs: [1, 3, H, W] BGR less the mean."""
    pixels = (image.detach()[0] + image.new_tensor(_MEAN)[:, None, None]).flip(0) / white
    return pixels.clamp(0, 1).mul(255).round().div(255)

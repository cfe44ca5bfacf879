"""VGG-19's trunk, run forward and backward by hand.

Simonyan & Zisserman, "Very Deep Convolutional Networks", 2015. Only the gradient of the pixels is ever wanted, so the
backward pass is written out: no graph, no gradient of weights, activations released as soon as they were used. Every
convolution pads by repeating the border; with zeros the optimiser darkens the poster's edge to soften the false edge
that it sees there, and each poster gets a dark frame.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch

import kernels
from tiler.style.convolutions import Padded, Ringed
from tiler.style.layers import block_of, deepest, trunk_to
from tiler.style.weights import Conv

# By the names that precisions have everywhere.
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}

Inject = Callable[[str, torch.Tensor, torch.Tensor | None], torch.Tensor | None]


def best_precision(device: str) -> str:
    """`bf16` where the hardware multiplies it faster than fp32, else `fp32`."""
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if device == "cuda" else kernels.fast_bfloat16()
    return "bf16" if fast else "fp32"


def kernels_on(device: str | torch.device) -> tuple[str, str]:
    """(implementation of the Gram operations there, why it is not the fast one of a GPU; empty where it is).

    Asked again after a render has run, it may have become another: what Triton cannot compile shows only then.
    """
    at = torch.device(device)
    why = kernels.why_not_triton(at)
    return kernels.implementation(at, torch.float32), why


class Backbone:
    """The trunk up to the deepest layer in use, in one dtype on one device.

    Activations are channels_last throughout: oneDNN and cuDNN then need no reordering between layers (measured on
    2 CPU cores at 512 px: 0.97 s against 1.37 s for all convolutions of a step). ringed: which way convolutions are
    done (see `convolutions`); by default the faster one there, on CUDA.
    """

    def __init__(
        self,
        convs: Sequence[Conv],
        layers: Sequence[str],
        pooling: str = "avg",
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        ringed: bool | None = None,
    ) -> None:
        self.names = trunk_to(deepest(layers))
        self.pooling, self.device = pooling, torch.device(device)
        way = Ringed if (self.device.type == "cuda" if ringed is None else ringed) else Padded
        self.convolutions = way(convs[: len(self.names)], dtype, self.device)

    def channels(self, layer: str) -> int:
        return self.convolutions.channels(self.names.index(layer))

    def pools_before(self, i: int) -> bool:
        return i > 0 and block_of(self.names[i]) != block_of(self.names[i - 1])

    @torch.no_grad()
    def forward(
        self,
        pixels: torch.Tensor,
        to: str | None = None,
        see: Callable[[str, torch.Tensor], None] = lambda layer, features: None,
    ) -> Activations:
        """pixels: [3, H, W] RGB 0..1 of any float dtype -> the ReLU outputs up to layer `to` (default: all).

        `see(layer, features)` is called as soon as there are features [C, h, w], while the processor's caches still
        hold much of them.
        """
        x = self.convolutions.start(pixels)
        kept: list[torch.Tensor] = []
        for i in range(self.names.index(to) + 1 if to else len(self.names)):
            if self.pools_before(i):
                # The last rows and columns of an odd size count like all others instead of being dropped.
                x = kernels.pool(x, self.pooling)
            x = self.convolutions.forward(x, i)
            kept.append(x)
            see(self.names[i], x)
        return Activations(self, kept)


class Activations:
    """ReLU outputs of one forward pass. `backward` consumes them."""

    def __init__(self, backbone: Backbone, kept: list[torch.Tensor]) -> None:
        self._backbone, self._kept = backbone, kept

    def __getitem__(self, layer: str) -> torch.Tensor:
        """[C, ceil(H / stride), ceil(W / stride)], channels_last strides."""
        return self._kept[self._backbone.names.index(layer)]

    @torch.no_grad()
    def backward(self, inject: Inject, layers: Collection[str] | None = None) -> torch.Tensor:
        """Gradient of the pixels, [3, H, W] float.

        `inject(layer, features, grad)` is called from deep to shallow with the gradient that arrives from above (None
        at the top); it returns that gradient plus the layer's own terms, masked by features > 0 (the ReLU). layers:
        those that have terms, all by default; at the others only the mask is taken, together with what else is done.
        """
        net, grad, masked = self._backbone, None, False
        while self._kept:
            i = len(self._kept) - 1
            features = self._kept.pop()
            if layers is None or net.names[i] in layers:
                grad = inject(net.names[i], features, grad)
            elif grad is not None and not masked:
                torch.ops.aten.threshold_backward.grad_input(grad, features, 0, grad_input=grad)
            del features
            if grad is None:
                continue
            grad, masked = net.convolutions.backward(grad, i), False
            if i == 0:
                return grad
            if net.pools_before(i):
                masked = layers is not None and net.names[i - 1] not in layers
                grad = kernels.pool_backward(grad, self._kept[-1], net.pooling, masked)
        raise ValueError("no layer contributed a gradient")

"""VGG-19's trunk, run forward and backward by hand, and how far its layers see.

Simonyan & Zisserman, "Very Deep Convolutional Networks", 2015. Only the gradient of the pixels is ever wanted, so the
backward pass is written out: no graph, no gradient of weights, activations released as soon as they were used. Every
convolution pads by repeating the border; with zeros the optimiser darkens the poster's edge to soften the false edge
that it sees there, and each poster gets a dark frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

import kernels
from tiler.errors import ConfigError
from tiler.style.weights import NAMES, Conv

LAYERS = tuple(f"relu{name}" for name in NAMES)
Inject = Callable[[str, torch.Tensor, torch.Tensor | None], torch.Tensor | None]


def check_layers(layers: Sequence[str], option: str) -> None:
    """Raise ConfigError when a layer is not one of VGG-19's ReLUs."""
    for layer in layers:
        if layer not in LAYERS:
            raise ConfigError(f"{option}: unknown layer '{layer}'; allowed: relu1_1 to relu5_4, such as relu4_1")


def block_of(layer: str) -> int:
    return int(layer[4])


def stride_of(layer: str) -> int:
    """Pixels per feature cell of a layer, along each axis."""
    return 2 ** (block_of(layer) - 1)


def deepest(layers: Sequence[str]) -> str:
    return max(layers, key=LAYERS.index)


def _trunk_to(layer: str) -> list[str]:
    return list(LAYERS[: LAYERS.index(layer) + 1])


def _receptive_reach(layer: str, cell: int) -> int:
    """First pixel row that feature row `cell` depends on, in an image without borders (negative: above row 0)."""
    names = _trunk_to(layer)
    for i in reversed(range(len(names))):
        cell -= 1
        if i and block_of(names[i]) != block_of(names[i - 1]):
            cell *= 2
    return cell


def statistics_halo(layers: Sequence[str]) -> int:
    """Pixels around a box (on multiples of the stride) that its feature cells depend on."""
    return max(-_receptive_reach(layer, 0) for layer in layers)


def gradient_halo(layers: Sequence[str]) -> int:
    """Pixels around a box that the gradient of its pixels depends on: out to the farthest cell that sees the box, and
    from there to the farthest pixel that this cell sees."""
    reach = 0
    for layer in layers:
        names = _trunk_to(layer)
        cell = 0
        for i in range(len(names)):
            if i and block_of(names[i]) != block_of(names[i - 1]):
                cell = cell // 2
            cell -= 1
        reach = max(reach, -_receptive_reach(layer, cell))
    return reach


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
    2 CPU cores at 512 px: 0.97 s against 1.37 s for all convolutions of a step).
    """

    def __init__(
        self,
        convs: Sequence[Conv],
        layers: Sequence[str],
        pooling: str = "avg",
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self.names = _trunk_to(deepest(layers))
        self.pooling, self.dtype, self.device = pooling, dtype, torch.device(device)
        self.weights, self.biases, self.flipped = [], [], []
        for conv in convs[: len(self.names)]:
            weight = conv.weight.to(self.device, dtype)
            self.weights.append(weight.contiguous(memory_format=torch.channels_last))
            self.biases.append(conv.bias.to(self.device, dtype))
            # The gradient of a convolution's input is a convolution with the kernel turned by 180 degrees.
            turned = weight.transpose(0, 1).flip(2, 3)
            self.flipped.append(turned.contiguous(memory_format=torch.channels_last))

    def channels(self, layer: str) -> int:
        return len(self.biases[self.names.index(layer)])

    def _pools_before(self, i: int) -> bool:
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
        x = pixels.to(self.device, self.dtype)[None].contiguous(memory_format=torch.channels_last)
        kept: list[torch.Tensor] = []
        indices: dict[int, torch.Tensor] = {}
        for i in range(self.names.index(to) + 1 if to else len(self.names)):
            if self._pools_before(i):
                x, indices[i] = self._pool(x)
            x = self._convolve(x, i)
            kept.append(x.relu_())
            see(self.names[i], x[0])
        return Activations(self, kept, indices)

    def _pool(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # ceil_mode: the last rows and columns of an odd size count like all others instead of being dropped.
        if self.pooling == "max":
            return torch.ops.aten.max_pool2d_with_indices(x, [2, 2], [2, 2], [0, 0], [1, 1], True)
        return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False), x

    def _pool_backward(self, grad: torch.Tensor, inputs: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        if self.pooling == "max":
            return torch.ops.aten.max_pool2d_with_indices_backward(
                grad, inputs, [2, 2], [2, 2], [0, 0], [1, 1], True, indices
            )
        return torch.ops.aten.avg_pool2d_backward(grad, inputs, [2, 2], [2, 2], [0, 0], True, False, None)

    def _convolve(self, x: torch.Tensor, i: int) -> torch.Tensor:
        """3x3 convolution of [1, C, H, W] whose border pixels repeat outwards."""
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), self.weights[i], self.biases[i])

    def _convolve_backward(self, grad: torch.Tensor, i: int) -> torch.Tensor:
        padded = F.conv2d(grad, self.flipped[i], padding=2)
        for axis in (2, 3):
            padded.select(axis, 1).add_(padded.select(axis, 0))
            padded.select(axis, -2).add_(padded.select(axis, -1))
        return padded[:, :, 1:-1, 1:-1].contiguous(memory_format=torch.channels_last)


class Activations:
    """ReLU outputs of one forward pass. `backward` consumes them."""

    def __init__(self, backbone: Backbone, kept: list[torch.Tensor], indices: dict[int, torch.Tensor]) -> None:
        self._backbone, self._kept, self._indices = backbone, kept, indices

    def __getitem__(self, layer: str) -> torch.Tensor:
        """[C, ceil(H / stride), ceil(W / stride)], channels_last strides."""
        return self._kept[self._backbone.names.index(layer)][0]

    @torch.no_grad()
    def backward(self, inject: Inject) -> torch.Tensor:
        """Gradient of the pixels, [3, H, W] float.

        `inject(layer, features, grad)` is called from deep to shallow with the gradient that arrives from above (None
        at the top); it returns that gradient plus the layer's own terms, masked by features > 0 (the ReLU).
        """
        net, grad = self._backbone, None
        while self._kept:
            i = len(self._kept) - 1
            features = self._kept.pop()
            here = inject(net.names[i], features[0], None if grad is None else grad[0])
            del features
            if here is None:
                continue
            grad = net._convolve_backward(here[None], i)
            if i == 0:
                return grad[0]
            if i in self._indices:
                grad = net._pool_backward(grad, self._kept[-1], self._indices.pop(i))
        raise ValueError("no layer contributed a gradient")

"""3x3 convolutions whose border repeats outwards, with their ReLU, and the way back: two ways that give the same.

Padded: every activation is copied into a frame of its own border. Ringed: zeros lie outside, which cuDNN pads with for
nothing, and the outermost ring of cells, the only one that differs, is taken anew by a kernel of ours; bias and ReLU
are cuDNN's as well. On an H100 the copies took more time than the convolutions (19 of 65 ms a step at 2176 px); on a
CPU, whose small convolutions along the border cost more each, the ring is no faster: forward and backward took 1.0 to
1.6 times as long at 256 and 512 px, in fp32 and bf16, in turns on two busy cores; `benchmarks/floor.py --ways` measures
it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F

import kernels
from tiler.style.weights import Conv

# Channels that the pixels' three are filled up to: tensor cores take eight at a time.
FILLED = 8
# Cells from which on cuDNN's fused convolution has been run; below, torch's plain one is as fast as anything.
LEAST_CELLS = 64
FUSED_DTYPES = (torch.float32, torch.bfloat16, torch.float16)

_unfused: dict[torch.device, str] = {}  # where cuDNN's fused convolution has failed, and why


def image(planes: torch.Tensor) -> torch.Tensor:
    """[C, H, W] as [1, C, H, W], of channels-last planes with the strides that torch knows channels-last by."""
    return planes.permute(1, 2, 0)[None].permute(0, 3, 1, 2)


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


class Padded:
    """Convolutions of one dtype on one device."""

    def __init__(self, convs: Sequence[Conv], dtype: torch.dtype, device: torch.device) -> None:
        self._dtype, self._device = dtype, device
        placed = self._filled([conv.weight.to(device, dtype) for conv in convs])
        self._biases = [conv.bias.to(device, dtype) for conv in convs]
        self._weights = [_channels_last(weight) for weight in placed]
        # The gradient of a convolution's input is a convolution with the kernel turned by 180 degrees.
        self._turned = [_channels_last(weight.transpose(0, 1).flip(2, 3)) for weight in placed]

    def _filled(self, weights: list[torch.Tensor]) -> list[torch.Tensor]:
        return weights

    def channels(self, i: int) -> int:
        return len(self._biases[i])

    def start(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the first convolution takes, channels last, of pixels [3, H, W]."""
        return _channels_last(pixels.to(self._device, self._dtype)[None])[0]

    def forward(self, x: torch.Tensor, i: int) -> torch.Tensor:
        """relu(convolution i of [C, H, W])."""
        return F.conv2d(F.pad(image(x), (1, 1, 1, 1), mode="replicate"), self._weights[i], self._biases[i]).relu_()[0]

    def backward(self, grad: torch.Tensor, i: int) -> torch.Tensor:
        """Gradient of what convolution i took, from that of its results before the ReLU; of the pixels [3, H, W]."""
        padded = F.conv2d(image(grad), self._turned[i], padding=2)
        for axis in (2, 3):
            padded.select(axis, 1).add_(padded.select(axis, 0))
            padded.select(axis, -2).add_(padded.select(axis, -1))
        return _channels_last(padded[:, :, 1:-1, 1:-1])[0]


class Ringed(Padded):
    """The same with zeros outside and the ring taken anew. The pixels come with FILLED channels, of which all but three
    are zero."""

    def _filled(self, weights: list[torch.Tensor]) -> list[torch.Tensor]:
        return [F.pad(weights[0], (0, 0, 0, 0, 0, FILLED - weights[0].shape[1])), *weights[1:]]

    def start(self, pixels: torch.Tensor) -> torch.Tensor:
        filled = torch.zeros(*pixels.shape[1:], FILLED, dtype=self._dtype, device=self._device).permute(2, 0, 1)
        filled[:3] = pixels
        return filled

    def forward(self, x: torch.Tensor, i: int) -> torch.Tensor:
        features = fused(image(x), self._weights[i], self._biases[i])[0]
        return kernels.ring_(features, x, self._weights[i], self._biases[i])

    def backward(self, grad: torch.Tensor, i: int) -> torch.Tensor:
        found, turned = F.conv2d(image(grad), self._turned[i], padding=1)[0], self._turned[i]
        if i == 0:
            found, turned = found[:3], turned[:3]
        return kernels.ring_backward_(found, grad, turned)


def fused(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """relu(3x3 convolution of [1, C, H, W] with zeros outside): by cuDNN in one go where it has that, since torch adds
    the bias in a pass of its own and the ReLU in another."""
    if _suits(x):
        try:
            return torch.ops.aten.cudnn_convolution_relu(x, weight, bias, [1, 1], [1, 1], [1, 1], 1)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, AttributeError) as error:
            if kernels.capturing():
                raise  # it may be what cannot be recorded, and no more
            _unfused[x.device] = str(error).partition("\n")[0]
            warnings.warn(
                f"cuDNN's convolution with ReLU can't run on {x.device}, using torch's: {_unfused[x.device]}",
                RuntimeWarning,
                stacklevel=2,
            )
    return F.conv2d(x, weight, bias, padding=1).relu_()


def _suits(x: torch.Tensor) -> bool:
    """By what is known beforehand and never by a clock, so that the same work gives the same bytes."""
    usable = x.device.type == "cuda" and torch.version.hip is None and torch.backends.cudnn.enabled
    large = x.shape[2] * x.shape[3] >= LEAST_CELLS
    return bool(usable and large and x.dtype in FUSED_DTYPES and x.device not in _unfused)

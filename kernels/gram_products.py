"""F F^T of one block of features, by whatever multiplies fastest and is exact enough."""

from __future__ import annotations

import torch
from torch import Tensor

# Below this many channels BLAS adds up the pixels of a channels-last matrix one by one: ten times the rounding error.
NARROW = 16
# Below this many pixels a sample of them would say too little about all; above, about so many are enough.
FEW_PIXELS, SAMPLED_PIXELS = 4096, 2048
# A sample's steps: primes, about each twice the one before, and some to spare for sizes that they divide.
STEPS = (3, 5, 7, 11, 13, 31, 61, 127, 251, 509, 1021, 1031)
# Images a convolution's gradient is taken over: with fewer, torch with a single thread leaves oneDNN for BLAS.
IMAGES = 16


def suits_onednn(matrix: Tensor) -> bool:
    """Whether oneDNN can read and write [C, n] in place, as the pixels of a channels-last image in float32."""
    c, n = matrix.shape
    dense = matrix.stride() == (1, c) and c >= NARROW and n >= IMAGES
    usable = torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled
    return bool(dense and usable and matrix.dtype == torch.float32 and matrix.device.type == "cpu")


def as_images(matrix: Tensor, count: int) -> Tensor:
    """[C, n] that suits oneDNN as [count, C, 1, n / count]; these strides are what torch knows channels-last by."""
    return matrix.mT.view(count, 1, -1, matrix.shape[0]).permute(0, 3, 1, 2)


def _guess(left: Tensor, right: Tensor) -> Tensor:
    """About left @ right, in bfloat16, to be subtracted inside the product proper.

    A CPU returns bfloat16 products only, but rounds the sum of a product and its addend just once: the product minus
    a guess that is itself exact in bfloat16 loses only the last digits of the small difference. Where every few
    pixels can be read in place they make the guess (measured: error 1e-5 to 2e-4, against 2e-3 of a bare product);
    elsewhere the full product does (3e-6). The step is prime to the row's length, or it would see some columns only.
    """
    pixels = left.shape[1]
    in_place = left.stride(0) == 1 and pixels >= FEW_PIXELS
    enough = min(pixels / SAMPLED_PIXELS, STEPS[-2])
    step = next((step for step in STEPS if step >= enough and pixels % step), 1) if in_place else 1
    sample = left[:, ::step] @ right[::step]
    return sample.mul_(pixels / len(right[::step]))


def add_products(total: Tensor, matrix: Tensor) -> None:
    """Add the upper triangle of matrix @ matrix^T to `total` [C, C]; what lies below it is left undefined."""
    c, n = matrix.shape
    if suits_onednn(matrix):
        # x x^T is the gradient of a 1x1 convolution's weight, for x as both its input and its output's gradient
        whole = n - n % IMAGES
        x, weight = as_images(matrix[:, :whole], IMAGES), matrix.new_empty(c, c, 1, 1)
        plain = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)
        product = torch.ops.aten.convolution_backward(x, x, weight, None, *plain, [False, True, False])[1]
        total.add_(product.view(c, c))
        if whole < n:
            total.addmm_(matrix[:, whole:], matrix[:, whole:].mT)
        return
    narrow = matrix.dtype != total.dtype
    parts = min(2 if narrow else 4, max(1, c // 64)) if matrix.device.type == "cpu" else 1
    rows = -(-c // parts)
    for i in range(0, c, rows):
        left, right = matrix[i : i + rows], matrix[i:].mT
        corner = total[i : i + rows, i:]
        if not narrow:
            corner.addmm_(left, right)
        elif matrix.device.type == "cuda":
            corner.add_(torch.mm(left, right, out_dtype=total.dtype))
        else:
            guess = _guess(left, right)
            corner.add_(guess).add_(torch.addmm(guess, left, right, beta=-1))

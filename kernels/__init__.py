"""Kernels for style transfer: torch custom ops with a reference, a torch and a Triton implementation.

Importing this package imports torch but never Triton; that happens at the first operation on a CUDA device. The
environment variable TILER_KERNELS=reference|torch|triton forces one implementation.
"""

from kernels.choice import capturing, implementation, why_not_triton
from kernels.gram import gram, gram_backward_, gram_style, gram_sums, style_loss, style_term
from kernels.gram_torch import fast_bfloat16
from kernels.reference import changes
from kernels.step import adam_step_, content_term_
from kernels.trunk import pool, pool_backward, ring_, ring_backward_

__all__ = [
    "adam_step_",
    "capturing",
    "changes",
    "content_term_",
    "fast_bfloat16",
    "gram",
    "gram_backward_",
    "gram_style",
    "gram_sums",
    "implementation",
    "pool",
    "pool_backward",
    "ring_",
    "ring_backward_",
    "style_loss",
    "style_term",
    "why_not_triton",
]

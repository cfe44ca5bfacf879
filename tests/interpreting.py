"""Triton's interpreter without what it works out and never says.

Sums and products of whole numbers are also taken in 64 bits, to see whether they fit; without `debug`, which is off,
nobody looks at the outcome. It would be a third of the time.
"""

from __future__ import annotations

from dataclasses import replace

from triton.runtime import interpreter

builder = interpreter.interpreter_builder
assert not builder.options.debug
builder.options = replace(builder.options, sanitize_overflow=False)

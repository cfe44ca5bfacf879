"""The one way to the terminal: what a file's name, a store or a cluster puts into a line can neither break it nor steer
what shows it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from typing import Any, TextIO

from tiler.errors import TilerError


class _StreamError(TilerError):
    """Standard output takes no more."""

    exit_code = 1


def clean(text: str) -> str:
    """One line in which everything is printed as it is seen: controls, marks that turn the direction of writing, and
    bytes that are no letters are spelled as Python does."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def say(text: str, err: bool = False, end: str = "\n") -> None:
    """Print a line. What cannot be told on standard error is no reason to stop; standard output is what was asked for:
    _StreamError (a TilerError) where it takes no more, SystemExit(141), as a pipe's end does it, where nobody reads on.
    """
    _write(clean(text) + end, err)


def say_json(value: Any) -> None:
    """Print a value as one line of JSON, all in ASCII. What JSON has no number for becomes null."""
    _write(json.dumps(_finite(value), allow_nan=False) + "\n", False)


def show(text: str) -> None:
    """Draw over the terminal's present line, which is not ended. text: "" wipes it."""
    _write("\r\x1b[K" + clean(text), True)


def _write(text: str, err: bool) -> None:
    stream = sys.stderr if err else sys.stdout
    if stream is None:
        return
    try:
        stream.write(_encodable(text, stream))
        stream.flush()
    except (OSError, ValueError) as error:  # a stream that was closed is a ValueError
        if err:
            return
        with contextlib.suppress(OSError, ValueError):  # or Python would try again at its end, and complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if isinstance(error, BrokenPipeError):
            raise SystemExit(141) from None
        raise _StreamError(f"standard output: {getattr(error, 'strerror', None) or error}") from None


def _encodable(text: str, stream: TextIO) -> str:
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def open_streams() -> None:
    """Standard streams that were closed lead nowhere from now on. Else the next file that is opened would get their
    number, and with it all that some library prints there."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115

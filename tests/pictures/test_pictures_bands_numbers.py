"""Bands on their way to a file, and values that are spread: worked out by hand."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiler.errors import OutputError
from tiler.pictures import stream
from tiler.pictures.bands import failed, halved, halvings, peek, to_integers
from tiler.pictures.stream import load_vips, stored_png
from tiler.pictures.stretch import Found, Spread, percentiles

A = Path("a.png")


@pytest.mark.parametrize(
    ("channels", "width", "heights"),
    [(3, 1024, [682, 682, 36]), (4, 1024, [512, 512, 376]), (1, 1500, [1398, 2])],
)
def test_two_million_values_are_rounded_at_once(channels: int, width: int, heights: list[int]) -> None:
    band = np.broadcast_to(np.float32(0.2), (channels, sum(heights), width))
    found = list(to_integers(A, [band], sum(heights), width, 8))
    assert [part.shape for part in found] == [(rows, width, channels) for rows in heights]
    assert {int(part[-1, -1, -1]) for part in found} == {51}


@pytest.mark.parametrize(
    ("bits", "expected"), [(8, [0, 0, 51, 128, 255, 255]), (16, [0, 0, 13107, 32896, 65535, 65535])]
)
def test_values_fill_their_bits(bits: int, expected: list[int]) -> None:
    values = np.array([-0.5, 0, 0.2, 128 / 255, 1, 1.7])
    [found] = to_integers(A, [np.stack([values[None], values[None, ::-1], values[None]])], 1, 6, bits)
    assert found.dtype == f"u{bits // 8}"
    np.testing.assert_array_equal(found[0], np.stack([expected, expected[::-1], expected], -1))


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ([(3, 7)], r"a band of shape \(3, 7\) at row 0 does not fit 3 x 5 x 7"),
        ([(3, 2, 7), (4, 3, 7)], r"a band of shape \(4, 3, 7\) at row 2 does not fit 3 x 5 x 7"),
        ([(3, 2, 7), (3, 3, 8)], r"a band of shape \(3, 3, 8\) at row 2 does not fit 3 x 5 x 7"),
        ([(3, 2, 7), (3, 4, 7)], r"a band of shape \(3, 4, 7\) at row 2 does not fit 3 x 5 x 7"),
        ([(3, 2, 7), (3, 2, 7)], "the bands end at row 4 of 5; nothing was written"),
        ([(3, 2, 7), (3, 3, 7)], ""), ([(3, 0, 7), (3, 5, 7), (3, 0, 7)], ""),
    ],
)  # fmt: skip
def test_bands_fit_together(shapes: list[tuple[int, ...]], said: str) -> None:
    bands = [np.zeros(shape, np.float32) for shape in shapes]
    if not said:
        assert sum(len(one) for one in to_integers(A, bands, 5, 7, 8)) == 5
        return
    with pytest.raises(OutputError, match=f"a.png: {said}"):
        list(to_integers(A, bands, 5, 7, 8))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_rows_that_are_not_finite_are_named(value: float) -> None:
    """To the part that is looked at at once: of 2**21 values, 699 rows of 1000 px."""
    band = np.zeros((3, 1400, 1000), np.float32)
    band[1, 702, 3] = value
    bands = to_integers(A, [band[:, :2], band], 1402, 1000, 8)
    assert [len(next(bands)), len(next(bands))] == [2, 699]
    with pytest.raises(OutputError, match=r"a\.png: rows from 701 on hold NaN or infinite values; nothing was written"):
        next(bands)


def test_the_first_band_is_looked_at_and_comes_again() -> None:
    first, bands = peek(A, iter([np.full((3, 1, 2), 1), np.full((3, 1, 2), 2)]))
    assert first.max() == 1
    assert [int(band.max()) for band in bands] == [1, 2]
    with pytest.raises(OutputError, match=r"a\.png: there are no pixels to write"):
        peek(A, [])


@pytest.mark.parametrize(
    ("error", "said"),
    [(OSError(28, "No space"), "No space"), (OSError("odd"), "odd"), (KeyError(3), "3")],
)
def test_a_write_that_broke_off_says_why(error: Exception, said: str) -> None:
    assert str(failed(A, error)) == f"a.png: could not be written ({said})"


@pytest.mark.parametrize(
    ("size", "smallest", "levels"),
    [
        ((700, 901), 256, [(175, 226), (350, 451), (700, 901)]),
        ((901, 700), 256, [(226, 175), (451, 350), (901, 700)]),
        ((256, 255), 256, [(256, 255)]), ((257, 1), 256, [(129, 1), (257, 1)]), ((1, 257), 256, [(1, 129), (1, 257)]),
        ((3, 2), 1, [(1, 1), (2, 1), (3, 2)]), ((1, 1), 1, [(1, 1)]),
    ],
)  # fmt: skip
def test_levels_are_halves_rounded_up(size: tuple[int, int], smallest: int, levels: list[tuple[int, int]]) -> None:
    assert halvings(*size, smallest) == levels


def test_halves_of_colours_by_hand() -> None:
    """An odd side's last is there twice; ties go to even."""
    rows = np.array([[[10, 20, 31], [30, 40, 50], [7, 8, 9]]], np.uint8)
    assert halved(rows).tolist() == [[[25, 40], [8, 9]]]
    assert halved(rows[:, :2, :2]).tolist() == [[[25]]]
    assert halved(rows[:, :1]).tolist() == [[[15, 31]]]
    assert halved(np.array([[[65535, 65535], [65535, 65533]]], np.uint16)).tolist() == [[[65534]]]


def test_halves_of_what_is_transparent_by_hand() -> None:
    """A colour counts as much as it shows, however little that is; where nothing shows, all count the same."""
    colours = np.array([[[200, 100, 8, 4], [60, 40, 0, 0]]] * 3, np.uint8)
    colours[1] //= 2
    for alpha, red, opacity in (
        ([[255, 0, 0, 0], [0, 0, 0, 0]], [200, 3], [64, 0]), ([[1, 0, 1, 1], [0, 0, 0, 0]], [200, 6], [0, 0]),
        ([[0, 0, 0, 0], [0, 0, 0, 0]], [100, 3], [0, 0]), ([[100, 50, 0, 0], [50, 0, 0, 200]], [140, 0], [50, 50]),
    ):  # fmt: skip
        found = halved(np.concatenate([colours, np.array([alpha], np.uint8)]))
        assert found[[0, 2, 3]].tolist() == [[red], [red], [opacity]]
        assert found[1].tolist() == [[one / 2 if one != 3 else 2 for one in red]]


Band = tuple[np.ndarray, np.ndarray | None]


def raw(*bands: Band) -> Iterator[Band]:
    for colours, alpha in bands:
        yield colours.reshape(1, -1, 1), None if alpha is None else alpha.reshape(1, -1)


def ends(found: Found) -> tuple[float, float] | None:
    return found.spread and (found.spread.low, found.spread.high)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 100, (0, 9)), (2, 98, (0, 9)), (10, 90, (0, 8)), (11, 89, (1, 8)), (25, 70, (2, 6)), (20.1, 80, (2, 7)),
     (41, 50, None), (41, 51, (4, 5))],
)  # fmt: skip
def test_percentiles_by_hand(dtype: str, low: float, high: float, expected: tuple[int, int] | None) -> None:
    """Of ten values, in two bands, the others transparent."""
    values = np.array([9, 1, 5, 3, 7, 0, 2, 4, 6, 8], np.uint8) + (100 if dtype == "u2" else 0)
    values = np.array([*values, 250, 251]).astype(dtype)
    opaque = np.array([1, 255, 9, 1, 1, 1, 1, 1, 1, 1, 0, 0], np.uint8)
    more = 100 if dtype == "u2" else 0
    found = percentiles(lambda: raw((values[:4], opaque[:4]), (values[4:], opaque[4:])), low, high)
    assert ends(found) == (expected and (expected[0] + more, expected[1] + more))
    assert not found.holes


@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=60),
    st.floats(0, 100), st.floats(0, 100),
)  # fmt: skip
def test_percentiles_of_floats_are_exact(values: list[float], low: float, high: float) -> None:
    """However far apart they are, and however close."""
    array = np.array(values, np.float32)
    ranks = [max(1, int(np.ceil(len(values) * part / 100))) for part in sorted((low, high))]
    expected = tuple(float(np.sort(array)[rank - 1]) for rank in ranks)
    found = percentiles(lambda: raw((array, None)), *sorted((low, high)))
    assert ends(found) == (expected if expected[0] < expected[1] else None)


@pytest.mark.parametrize(
    ("values", "expected", "holes"),
    [([], None, False), ([5.0, 5.0], None, False), ([np.nan], None, True), ([np.inf, 1.0, -np.inf], None, True),
     ([np.nan, 1, 2, np.inf], (1, 2), True), ([-0.0, 0.0], None, False), ([-3.4e38, 1, 2], (-3.4e38, 2), False)],
)  # fmt: skip
def test_what_is_not_finite_does_not_count(values: list[float], expected: Any, holes: bool) -> None:
    found = percentiles(lambda: raw((np.array(values, np.float32), None)), 0, 100)
    assert ends(found) == (expected and pytest.approx(expected))
    assert found.holes is holes
    hidden = percentiles(lambda: raw((np.array([np.nan, 1, 2], np.float32), np.array([0, 1, 1], np.float32))), 0, 100)
    assert (ends(hidden), hidden.holes) == ((1, 2), False)


@pytest.mark.parametrize(
    ("bands", "space", "becomes"),
    [(1, "b-w", "grey16"), (3, "srgb", "rgb16"), (4, "cmyk", "cmyk"), (1, "cmyk", "cmyk")],
)
def test_values_are_spread_over_16_bits(bands: int, space: str, becomes: str) -> None:
    values = np.array([[-7, 10, 15], [30, 31, 18]], np.float32)
    image = load_vips().Image.new_from_array(np.dstack([values] * bands)).copy(interpretation=space)
    found = Spread(10, 30).applied(image)
    assert (found.interpretation, found.format, found.bands) == (becomes, "ushort", bands)
    expected = [[0, 0, 16384], [65535, 65535, 26214]]
    np.testing.assert_array_equal(found.numpy().reshape(2, 3, bands)[..., -1], expected)


@pytest.mark.parametrize(("channels", "colour"), [(1, 0), (3, 2), (4, 6)])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_stored_png_to_its_last_byte(channels: int, colour: int, bits: int) -> None:
    pixels = np.random.default_rng(4).integers(0, 2**bits, (5, 3 * channels)).astype(f"u{bits // 8}")
    data, found = b"".join(stored_png([pixels[:2], pixels[2:]], 5, 3, channels, bits)), []
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at = 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        found.append((kind, data[at + 8 : at + 8 + size]))
        at += 12 + size
    assert found[0] == (b"IHDR", struct.pack(">IIBBBBB", 3, 5, bits, colour, 0, 0, 0))
    assert found[-1] == (b"IEND", b"")
    assert {kind for kind, _ in found[1:-1]} == {b"IDAT"}
    lines = np.frombuffer(zlib.decompress(b"".join(body for _, body in found[1:-1])), np.uint8).reshape(5, -1)
    assert not lines[:, 0].any()
    np.testing.assert_array_equal(np.ascontiguousarray(lines[:, 1:]).view(f">u{bits // 8}"), pixels)


class Pipe:
    """Takes three bytes, then nothing at once, then three, ...; raises what is given after so many."""

    def __init__(self, error: OSError | None = None, after: int = 10**9) -> None:
        self.got, self.calls, self.error, self.after = b"", 0, error, after
        self.ends = os.pipe()

    def fileno(self) -> int:
        return self.ends[1]

    def write(self, data: memoryview) -> int | None:
        self.calls += 1
        if len(self.got) >= self.after and self.error:
            raise self.error
        if self.calls % 2 == 0:
            return None
        self.got += bytes(data[:3])
        return min(3, len(data))


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    one = Pipe()
    yield one
    for end in one.ends:
        os.close(end)


def test_all_bytes_are_written_in_their_order(pipe: Pipe) -> None:
    assert stream._write_all(pipe, b"0123456789", lambda: True) is True
    assert pipe.got == b"0123456789"


def test_nothing_more_is_written_once_nobody_wants_it(pipe: Pipe) -> None:
    assert stream._write_all(pipe, b"0123456789", lambda: len(pipe.got) < 6) is False
    assert pipe.got == b"012345"


@pytest.mark.parametrize("polled", [True, False])
def test_a_pipe_that_breaks_is_an_end_and_other_errors_are_told(
    pipe: Pipe, polled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But on Windows, which says of a broken pipe that its argument is invalid."""
    monkeypatch.setattr(stream, "POLLED", polled)
    pipe.error, pipe.after = BrokenPipeError(32, "Broken pipe"), 3
    assert stream._write_all(pipe, b"0123456789", lambda: True) is False
    pipe.error = OSError(22, "Invalid argument")
    if not polled:
        assert stream._write_all(pipe, b"0123456789", lambda: True) is False
        return
    with pytest.raises(OSError, match="Invalid argument"):
        stream._write_all(pipe, b"0123456789", lambda: True)

"""Bands on their way to a file, and values that are spread: worked out by hand."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tiler.errors import OutputError
from tiler.pictures import stream
from tiler.pictures.bands import failed, halved, halvings, peek, to_integers
from tiler.pictures.stream import load_vips, stored_png
from tiler.pictures.stretch import Spread, Values

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


def test_values_of_16_bits_are_counted_as_they_are() -> None:
    values = np.array([3, 70, 70, 65535], np.uint16)
    found = Values.of(lambda: raw((values, None), (values[:2], np.array([0, 1], np.uint8))), 16)
    assert (found.least, found.step, len(found.counts)) == (0, 1, 65536)
    assert {int(at): int(found.counts[at]) for at in np.flatnonzero(found.counts)} == {3: 1, 70: 3, 65535: 1}


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_longer_values_are_counted_between_their_ends(dtype: type) -> None:
    """What is transparent or not finite has no part in it: from 100 to 100 + 2 * 65535 in steps of 2."""
    values = np.array([100, 104, 131170, 9, 200000], dtype)
    opaque = np.array([1, 255, 3, 0, 0], np.uint8)
    more = (np.array([np.nan, np.inf, 110], np.float32), None) if dtype == np.float32 else (values[1:2], None)
    found = Values.of(lambda: raw((values[3:], opaque[3:]), (values, opaque), more), 17)
    assert (found.least, found.step) == (100, 2)
    counts = {int(at): int(found.counts[at]) for at in np.flatnonzero(found.counts)}
    assert counts == ({0: 1, 2: 1, 5: 1, 65535: 1} if dtype == np.float32 else {0: 1, 2: 2, 65535: 1})


def test_steps_between_floats_are_finer_than_theirs() -> None:
    found = Values.of(lambda: raw((np.array([0, 0.5, 1], np.float32), None)), 32)
    assert (found.least, found.step) == (0, 1 / 65535)


@pytest.mark.parametrize("values", [[], [5.0, 5.0], [np.nan], [np.inf, 1.0, np.inf]])
def test_values_that_span_nothing_are_not_counted(values: list[float]) -> None:
    found = Values.of(lambda: raw((np.array(values, np.float32), None)), 32)
    assert (found.counts.sum(), len(found.counts), found.least, found.step) == (0, 65536, 0, 1)
    assert found.spread(0, 100) is None


@pytest.mark.parametrize(
    ("low", "high", "ends"),
    [(0, 100, (0, 9)), (2, 98, (0, 9)), (10, 90, (0, 8)), (11, 89, (1, 8)), (25, 70, (2, 6)), (20.1, 80, (2, 7)),
     (41, 50, None), (41, 51, (4, 5))],
)  # fmt: skip
def test_percentiles_by_hand(low: float, high: float, ends: tuple[int, int] | None) -> None:
    """Of ten values 7, 7.5, ... 11.5, in bins that begin at 5.5."""
    counts = np.zeros(20, np.int64)
    counts[3:13] = 1
    found = Values(counts, 5.5, 0.5).spread(low, high)
    assert (found and (found.low, found.high)) == (ends and (7 + ends[0] / 2, 7 + ends[1] / 2))


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

"""Rows made by Python as a libvips image: their numbers, whatever their type, and how it ends."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from tiler.pictures import stream
from tiler.pictures.feed import streaming
from tiler.pictures.stream import (
    POLLED,
    Feeder,
    GivenUpError,
    VipsError,
    bands_of,
    consume,
    first_line,
    heard,
    load_vips,
    reading_until,
)

RNG = np.random.default_rng(31)
HEIGHT, WIDTH = 37, 11


def feeders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tiler-feeder"]


@pytest.mark.parametrize("access", ["sequential", "random"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_numbers_come_through_as_they_are(access: str, channels: int, dtype: type) -> None:
    values = RNG.integers(0, 2**16, (channels, HEIGHT, WIDTH)).astype(dtype)
    if dtype == np.float32:
        values = (values / 7 - 1000).astype(np.float32)
        values[0, 0, :3] = np.nan, np.inf, -0.0
    cuts = (0, 1, 9, 30, HEIGHT)
    bands = [values[:, top:end] for top, end in itertools.pairwise(cuts)]
    with streaming(lambda: iter(bands), channels, HEIGHT, WIDTH, np.dtype(dtype)) as opened:
        for _ in range(2):
            found = np.concatenate(list(bands_of(opened(access), 8)))
            np.testing.assert_array_equal(found, values.transpose(1, 2, 0))
    assert feeders() == []


def _failing(after: int, error: BaseException) -> Iterator[np.ndarray]:
    for _ in range(after):
        yield np.zeros((1, 1, WIDTH), np.uint8)
    raise error


@pytest.mark.parametrize("after", [0, 1, HEIGHT - 1])
@pytest.mark.parametrize("error", [ValueError("the file ends early"), OSError(5, "no disk")])
def test_what_goes_wrong_comes_out_in_place_of_what_libvips_makes_of_it(after: int, error: Exception) -> None:
    def read() -> None:
        with streaming(lambda: _failing(after, error), 1, HEIGHT, WIDTH, np.dtype(np.uint8)) as opened:
            for _ in bands_of(opened("sequential"), 8):
                pass

    with pytest.raises(type(error)) as caught:
        read()
    assert caught.value is error
    assert caught.value.__suppress_context__
    assert feeders() == []


def test_what_goes_wrong_behind_the_last_row_comes_out_too() -> None:
    error = ValueError("a mask of other rows")

    def bands() -> Iterator[np.ndarray]:
        yield np.zeros((1, HEIGHT, WIDTH), np.uint8)
        raise error

    def read() -> None:
        with streaming(bands, 1, HEIGHT, WIDTH, np.dtype(np.uint8)) as opened:
            for _ in bands_of(opened("random"), HEIGHT):
                pass

    with pytest.raises(ValueError, match="other rows"):
        read()


@pytest.mark.parametrize("end", [KeyboardInterrupt, KeyError, GeneratorExit])
def test_who_leaves_half_way_leaves_no_thread(end: type[BaseException]) -> None:
    endless = (np.zeros((1, 1, WIDTH), np.uint8) for _ in range(10**6))

    def read() -> None:
        with streaming(lambda: endless, 1, 10**6, WIDTH, np.dtype(np.uint8)) as opened:
            image = opened("sequential")
            assert len(feeders()) == 1
            next(iter(bands_of(image, 4)))
            raise end

    with pytest.raises(end):
        read()
    assert feeders() == []


@pytest.mark.parametrize("end", ["closed", "unread"])
def test_a_feeder_asks_for_nothing_more_once_it_is_closed_or_nobody_reads(end: str) -> None:
    if end == "closed" and not POLLED:
        pytest.skip("a full pipe is not given up here before its reader is gone")
    asked: list[int] = []
    read_end, write_end = os.pipe()
    feeder = Feeder((asked.append(n) or bytes(2**20) for n in range(9)), write_end)  # more than a pipe holds
    assert os.read(read_end, 1) == b"\0"
    if end == "unread":
        os.close(read_end)
    feeder.close()
    assert (asked, feeder.error) == ([0], None)
    if end == "closed":
        os.close(read_end)


def test_who_cannot_save_them_does_not_ask_for_all_rows() -> None:
    asked: list[int] = []
    bands = (asked.append(n) or np.zeros((64, 4096, 3), np.uint8) for n in range(100))  # more than a pipe holds

    def save(image: object) -> None:
        raise VipsError("no")

    with pytest.raises(VipsError, match="no"):
        consume(bands, 6400, 4096, save)
    assert len(asked) < 50


def test_rows_that_nobody_waits_for_any_more() -> None:
    black = load_vips().Image.black(50, 50)
    with reading_until(lambda: True), pytest.raises(GivenUpError):
        next(bands_of(black, 8))
    with reading_until(lambda: False):
        assert [len(band) for band in bands_of(black, 8)] == [8] * 6 + [2]
    assert len(list(bands_of(black, 50))) == 1


def test_no_thread_and_no_pipe_is_left_of_rows_that_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[int] = []
    pipe = os.pipe

    def noted() -> tuple[int, int]:
        ends.extend(pipe())
        return ends[-2], ends[-1]

    monkeypatch.setattr(os, "pipe", noted)
    assert sum(len(band) for band in bands_of(load_vips().Image.black(5, 37), 8)) == 37
    saved: list[tuple[int, int]] = []
    consume([np.zeros((37, 5, 3), np.uint8)], 37, 5, lambda image: saved.append((image.height, image.width)))
    assert saved == [(37, 5)]
    assert "tiler-pictures" not in [thread.name for thread in threading.enumerate()]
    for end in ends:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(end)
    assert stream._Job(lambda: None).daemon  # a program may end meanwhile


@pytest.mark.parametrize("told", ["libpng: odd", None])
@pytest.mark.parametrize("closed", [True, False])
def test_rows_that_do_not_come_any_more(told: str | None, closed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that has ended, with an error or without one; ticks come meanwhile."""
    read_end, write_end = os.pipe()
    os.write(write_end, b"abc")
    if closed:
        os.close(write_end)
    job = SimpleNamespace(is_alive=lambda: False, join=lambda: None, error=told)
    ticks, waited, has_arrived = [], [], stream._has_arrived
    monkeypatch.setattr(stream, "_has_arrived", lambda pipe, seconds: waited.append(seconds) or has_arrived(pipe, 0))
    band = np.zeros((1, 2, 4), np.uint8)
    with open(read_end, "rb", buffering=0) as pipe, pytest.raises(VipsError, match=told or "the pixels ended early"):
        stream._fill(pipe, band, job, lambda: ticks.append(1))
    assert band.tobytes() == b"abc" + bytes(5)
    assert len(ticks) == 2
    assert set(waited) == {stream._TICK_SECONDS, 0}
    if not closed:
        os.close(write_end)


def test_the_most_telling_line_of_an_error_is_its_first_that_says_something() -> None:
    assert first_line(OSError("\n  pngload: libpng read error \nunable to call")) == "pngload: libpng read error"
    assert first_line(OSError(" \n")) == "OSError"


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (4, 4), (5, 4), (64, 4)])
def test_libvips_keeps_nothing_and_takes_four_threads_at_most(
    cores: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vips, asked = load_vips(), []
    monkeypatch.setattr(vips, "concurrency_get", lambda: cores)
    for name in ("concurrency_set", "cache_set_max", "block_untrusted_set"):
        monkeypatch.setattr(vips, name, lambda value, name=name: asked.append((name, value)))
    assert load_vips.__wrapped__() is vips
    assert sorted(asked) == [("block_untrusted_set", True), ("cache_set_max", 0), ("concurrency_set", threads)]


def test_warnings_are_heard_by_all_who_listen_and_by_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    """Its first line, of those of one library, as long as somebody listens."""
    caplog.set_level(logging.ERROR)
    logger = logging.getLogger("somebodys.library")
    with heard("somebodys.library") as outer:
        logger.warning("one\nand more")
        with heard("somebodys.library") as inner, heard("anothers.library") as other:
            logger.error("two of %d", 3)
            logger.info("no warning")
            logger.warning("")
        logger.warning("four")
    logger.warning("five")
    assert (outer, inner, other) == (["one", "two of 3", "", "four"], ["two of 3", ""], [])
    assert caplog.records == []

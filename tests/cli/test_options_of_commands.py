"""How the command line becomes a configuration: what wins, what counts as said, and what is typed again later."""

from __future__ import annotations

import signal
import sys
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from tiler.cli import demo, echo, progress, stop
from tiler.cli.homes import where_states_live
from tiler.cli.options import build_config, typed_words
from tiler.cli.progress import _Printer
from tiler.errors import ConfigError
from tiler.request.config import RenderConfig

TEXTURE = {"content_weight": 0.0, "init": "noise", "output": "p.png"}


def test_the_command_line_wins_over_the_job_file_over_defaults(tmp_path: Path) -> None:
    job = tmp_path / "job.toml"
    job.write_text('content = "c.png"\nstyles = ["s.png"]\noutput = "o.png"\nseed = 3\nlevels = 4\nprint = "A4"\n')
    given = {"seed": 0, "long_edge": None, "region": [], "style_weight": None, "keep_detail": False}
    found = build_config(given, str(job))
    assert (found.seed, found.levels, found.print, found.style_weight, found.keep_detail) == (0, 4, "A4", 1.0, False)
    assert Path(str(found.output)).name == "o.png"
    sized = build_config({"long_edge": 500, "output": "q.tif"}, str(job))
    assert (sized.long_edge, sized.print, sized.output) == (500, None, "q.tif")
    tiled = build_config({"tiles": "t"}, None, ("c.png", "s.png"))
    assert (tiled.output, tiled.tiles) == (None, "t")
    assert build_config({"tiles": "t", "output": "p.png"}, None, ("c.png", "s.png")).output == "p.png"


def test_the_first_picture_is_the_content_where_one_is_needed(tmp_path: Path) -> None:
    found = build_config({"output": "p.png"}, None, ("c.png", "s.png", "t.png"))
    assert (found.content, found.styles) == ("c.png", ("s.png", "t.png"))
    found = build_config(dict(TEXTURE), None, ("s.png", "t.png"))
    assert (found.content, found.styles) == (None, ("s.png", "t.png"))
    job = tmp_path / "job.toml"
    job.write_text('content = "c.png"\nstyles = ["s.png"]\noutput = "o.png"\n')
    found = build_config({}, str(job), ("other.png",))
    assert (found.content, [Path(one).name for one in found.styles]) == ("other.png", ["s.png"])


@pytest.mark.parametrize(
    ("given", "pictures", "words"),
    [
        ({"output": "p.png"}, (), "CONTENT is missing: tiler render CONTENT STYLE -o POSTER"),
        ({}, ("c.png", "s.png"), "-o POSTER (or --tiles DIR) is missing: tiler render CONTENT STYLE -o POSTER"),
        ({**TEXTURE, "output": None}, ("s.png",), "-o POSTER (or --tiles DIR) is missing: tiler render STYLE -o"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_with_how_to_say_it(given: Any, pictures: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        build_config(given, None, pictures)
    assert str(error.value).startswith(words)


def test_what_is_typed_again_is_what_this_run_decided() -> None:
    config = RenderConfig("c.png", ("s.png",), "p.png", seed=4, store="x.zarr")
    assert typed_words(config) == []
    decided = dict(workers=2, state="host", checkpoint_seconds=5.0, scheduler="tcp://a:1")
    words = typed_words(RenderConfig("c.png", ("s.png",), "p.png", seed=4, **decided))
    assert dict(zip(words[::2], words[1::2], strict=True)) == {
        "--workers": "2", "--state": "host", "--checkpoint-seconds": "5.0", "--scheduler": "tcp://a:1",
    }  # fmt: skip


def test_levels_in_a_row_with_one_home_are_one_line() -> None:
    homes = [
        (1, "device", "a"),
        (2, "device", "b"),
        (3, "host", "c"),
        (4, "device", "d"),
        (5, "store", "e"),
        (6, "store", "f"),
    ]
    for device, where in (("cuda", "in the GPU's memory"), ("cpu", "in memory"), ("mps", "in memory")):
        assert list(where_states_live(device, homes)) == [
            f"state:  levels 1 to 2 {where}: b", "state:  level 3 in the host's memory: c",
            f"state:  level 4 {where}: d", "state:  levels 5 to 6 in the store: f",
        ]  # fmt: skip
    assert list(where_states_live("cpu", [])) == []


def test_a_stream_is_flushed_line_by_line_and_one_that_fails_on_standard_error_is_no_matter(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[str] = []
    stream = SimpleNamespace(encoding=None, write=written.append, flush=lambda: written.append("flushed"))
    monkeypatch.setattr(sys, "stdout", stream)
    echo.say("ä", end="; ")
    echo.say_json({1: (2, float("inf"))})
    assert written == ["ä; ", "flushed", '{"1": [2, null]}\n', "flushed"]

    def closed(text: str) -> None:
        raise ValueError("I/O operation on closed file")

    monkeypatch.setattr(sys, "stderr", SimpleNamespace(encoding="ascii", write=closed, flush=None))
    echo.say("a line", err=True)
    echo.show("a line")
    stream.write, stream.fileno = closed, lambda: closed("")
    with pytest.raises(echo._StreamError, match="standard output: I/O operation on closed file") as error:
        echo.say("a line")
    assert error.value.exit_code == 1


@pytest.fixture
def printer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """printer(live) and its clock, `now`."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress, "monotonic", lambda: clock.now)
    clock.made = lambda live: _Printer(live=live)
    return clock


@pytest.mark.parametrize(("live", "soon", "later"), [(True, 100.19, 100.2), (False, 104.9, 105.0)])
def test_how_far_it_is_is_said_as_often_as_somebody_may_read_it(
    printer: Any, capsys: pytest.CaptureFixture[str], live: bool, soon: float, later: float
) -> None:
    told = printer.made(live)
    for number, printer.now in enumerate((100.0, soon, later)):
        told({"event": "status", "text": f"at {number}"})
    found = capsys.readouterr().err
    assert found == ("\r\x1b[Kat 0\r\x1b[Kat 2" if live else "at 0\nat 2\n")


def test_what_is_drawn_is_wiped_once_and_never_wraps(
    printer: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "12")
    told = printer.made(True)
    told.clear()
    assert capsys.readouterr().err == ""
    told({"event": "write", "output": "poster.png"})
    told.clear()
    told.clear()
    assert capsys.readouterr().err == "\r\x1b[Kwriting pos\r\x1b[K"


def test_a_level_is_told_without_a_loss_where_it_has_none(printer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    told = printer.made(False)
    levels = [dict(height=48, width=64, tiles=3, steps=0, done=False, work=1)]
    told({"event": "start", "levels": levels, "mode": "fast", "precision": "fp32", "device": "cpu", "workers": 1,
          "tile": 64, "output": "p", "store": "s"})  # fmt: skip
    told({"event": "level done", "level": 0, "seconds": 3.0})
    assert capsys.readouterr().err.splitlines()[-1] == "level 1 of 1: 64 x 48 px, 3 tile(s), 0 steps, 3 s"


def test_memory_is_that_of_all_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    def process(size: int | None) -> Any:
        def info() -> Any:
            if size is None:
                raise psutil.NoSuchProcess(1)
            return SimpleNamespace(rss=size)

        return SimpleNamespace(memory_info=info)

    me = process(5)
    me.children = lambda recursive: [process(20), process(None), process(300)] if recursive else []
    monkeypatch.setattr(psutil, "Process", lambda: me)
    assert progress._memory() == 325


def test_an_extension_that_begins_is_known_by_any_frame_below(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = ExtensionFileLoader("one", "one.so")

    def frame(name: str, back: Any = None, **local: Any) -> Any:
        return SimpleNamespace(f_code=SimpleNamespace(co_name=name), f_locals=local, f_back=back)

    for name in ("create_module", "exec_module"):
        assert stop._begins(frame("g", frame("f", frame(name, self=loader))))
    assert not stop._begins(frame("f", frame("exec_module", self="a loader of another kind")))
    assert not stop._begins(frame("f", frame("other", self=loader)))
    assert not stop._begins(frame("exec_module"))
    assert not stop._begins(None)


def test_a_block_that_ends_by_itself_leaves_hooks_as_they_were() -> None:
    hook, wakeup = sys.unraisablehook, signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *what: None)
    with stop.Stoppable() as block:
        assert sys.unraisablehook == block._unraisable
        assert signal.getsignal(signal.SIGINT) == block._stop
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop.when_stopped("how to go on")
        assert block.words == "how to go on"
        stop.when_stopped()
        assert block.words == ""
    assert (sys.unraisablehook, signal.set_wakeup_fd(wakeup)) == (hook, wakeup)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN, "whoever took it meanwhile keeps it"


def test_what_cannot_be_raised_is_told_unless_a_signal_did_it() -> None:
    block, told = stop.Stoppable(), list[Any]()
    block._before = -1, told.append
    block._unraisable("one")
    block._number = 15
    block._unraisable("two")
    assert told == ["one"]


@pytest.mark.parametrize(
    ("size", "edge"),
    [({"long_edge": 2048}, 2048), ({"long_edge": 2049}, 2049), ({"size": "3000x100"}, 3000), ({"scale": "2x"}, 4096)],
)
def test_the_demo_s_content_is_as_large_as_its_poster(size: Any, edge: int) -> None:
    assert demo._content_edge(RenderConfig("c.png", ("s.png",), "p.png", **size)) == edge


def test_its_own_pictures_are_known_by_their_beginning(tmp_path: Path) -> None:
    mark = b"cut by tiler demo"
    for name, text, known in (
        ("last", b"x" * (2**16 - len(mark)) + mark, True), ("late", b"x" * (2**16 - len(mark) + 1) + mark, False),
        ("none", b"cut by hand", False),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(text)
        assert demo._is_cut(tmp_path / name) == known
    (tmp_path / "link").symlink_to("last")
    assert not demo._is_cut(tmp_path / "link")
    assert not demo._is_cut(tmp_path)


def test_a_place_at_home_is_meant_by_its_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    from tiler.cli.options import PLACE

    monkeypatch.setenv("HOME", "/home/me")
    assert PLACE.convert("~/p.png", None, None) == "/home/me/p.png"
    assert PLACE.convert("a~/p.png", None, None) == "a~/p.png"


def test_completion_takes_words_that_are_not_whole() -> None:
    from tiler.cli.render import render

    # As its group has it: a command remembers what its help was called when it was first asked.
    within = {"help_option_names": ["-h", "--help"]}
    with pytest.raises(click.UsageError, match="No such option: -gpu; here it is"):
        render.make_context("render", ["-gpu", "1"], **within)
    context = render.make_context("render", ["c.png", "-gpu"], resilient_parsing=True, **within)
    assert context.resilient_parsing

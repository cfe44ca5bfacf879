"""What reaches a terminal: no byte of a name, an attribute or an event can steer it, and closed or full streams end in
the right code."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiler.cli import echo

EVIL = "\x1b]0;owned\x07\x9b31m\u202e\r\n\ud800"
NAME = "evil\x1b]0;t\x07\x9b2J\u202e.png"


@given(st.text())
def test_a_clean_line_is_one_printable_line(text: str) -> None:
    shown = echo.clean(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()


def test_what_is_spelled_out() -> None:
    assert echo.clean(EVIL) == r"\x1b]0;owned\x07\x9b31m\u202e\r\n\ud800"
    assert echo.clean("Åland, 大地 – 5 °") == "Åland, 大地 – 5 °"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_stream_of_any_encoding_takes_any_line(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    echo.say("大 é")
    shown = {"ascii": r"\u5927 \xe9", "latin-1": r"\u5927 é", "utf-8": "大 é"}[encoding]
    assert raw.getvalue().decode(encoding) == shown + "\n"


def test_json_is_ascii_and_has_no_numbers_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    echo.say_json({"a": EVIL, "b": [math.nan, (math.inf, 1.5)], "c": {"d": -math.inf}})
    text = capsys.readouterr().out
    assert text.count("\n") == 1
    assert text.strip().isascii()
    assert text.strip().isprintable()
    assert json.loads(text, parse_constant=pytest.fail) == {"a": EVIL, "b": [None, [None, 1.5]], "c": {"d": None}}


@pytest.fixture
def hostile(here, inputs: Path, small_weights: str) -> Path:
    """A job whose every text tries to steer the terminal."""
    for name in ("content.png", "style.png"):
        (inputs / name).rename(inputs / f"{name}{NAME}")
    options = ("--long-edge=32", "--levels=1", "--steps=1", "--threads=1", "--weights", small_weights)
    done = here("render", f"content.png{NAME}", f"style.png{NAME}", "-o", NAME, "--store", "job\x1b[2J.zarr", *options)
    assert done.returncode == 0, done.stderr
    _check(done)
    return inputs / "job\x1b[2J.zarr"


def _check(done: subprocess.CompletedProcess[str]) -> None:
    for line in (done.stdout + done.stderr).splitlines():
        assert line.isprintable(), repr(line)
    assert "x1b" in done.stdout + done.stderr or "u001b" in done.stdout


@pytest.mark.parametrize(
    "command",
    [("info",), ("export", "-o", f"other{NAME}"), ("resume",), ("resume", "--log-json"), ("info", "--json"),
     ("verify",), ("export", "-o", f"nowhere\x1b/{NAME}")],
)  # fmt: skip
def test_no_command_prints_what_steers(here, hostile: Path, command: tuple[str, ...]) -> None:
    path = hostile / "zarr.json"
    document = json.loads(path.read_text())
    document["attributes"]["tiler"]["config"].update(content=EVIL.replace("\ud800", ""), output=NAME)
    path.write_text(json.dumps(document))
    if command[0] == "verify":
        next(hostile.glob("levels/0/image/c/*/*/*")).write_bytes(b"damaged")
    json_only = "json" in command[-1]
    done = here(command[0], str(hostile), *command[1:])
    _check(done)
    if json_only:
        assert "\\u001b" in done.stdout
        for line in done.stdout.splitlines():
            json.loads(line)


SCRIPT = "import sys; from tiler.cli import main; sys.argv = ['tiler', *sys.argv[1:]]; main()"


def _closing(stream: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = f'exec "$0" "$@" {stream}'
    words = ["sh", "-c", command, sys.executable, "-c", SCRIPT, *arguments]
    return subprocess.run(words, capture_output=True, timeout=60)


@pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full", ">&- 2>&-", "<&- >&- 2>&-"])
def test_an_error_that_nobody_can_read_still_has_its_code(stream: str, tmp_path: Path) -> None:
    assert _closing(stream, "render", "--job", str(tmp_path / "none.toml")).returncode == 2


def test_no_file_gets_the_number_of_a_closed_stream() -> None:
    script = "import os; from tiler.cli.echo import open_streams; open_streams(); print(os.open('/dev/null', 0))"
    words = ["sh", "-c", 'exec "$0" "$@" <&- 2>&-', sys.executable, "-c", script]
    assert int(subprocess.run(words, capture_output=True, timeout=60).stdout) > 2


def test_a_stream_that_is_not_there_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for missing, other in (("stdout", "stderr"), ("stderr", "stdout")):
        monkeypatch.setattr(sys, missing, None)
        monkeypatch.setattr(sys, other, io.StringIO())
        echo.say("a line", err=missing == "stderr")
        assert getattr(sys, other).getvalue() == ""


def test_standard_output_that_is_full_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(echo._StreamError, match="standard output: No space left on device"):
            echo.say("a line")
        echo.say("and no more trouble")


def test_a_reader_that_went_away_ends_it_as_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with pytest.raises(SystemExit) as stop:
            echo.say("a line")
        assert stop.value.code == 141

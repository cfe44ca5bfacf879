"""What a signal does to a block at the worst moments, in small programs."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

BEGIN = """
import ctypes, hashlib, os, signal, sys, threading, time
from tiler.cli import stop
from tiler.cli.stop import Stoppable, when_stopped
me = os.getpid()
with Stoppable():
"""
LINE = "\ntiler: stopped; go on\n"


def _of_a_terminal() -> None:
    """Whoever runs the tests may have done so by nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _run(body: str, begun: bool = True, preexec_fn=_of_a_terminal) -> subprocess.CompletedProcess[str]:
    lines = ["when_stopped('go on')"] * begun + textwrap.dedent(body).strip().splitlines()
    program = BEGIN + textwrap.indent("\n".join(lines), "    ")
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, preexec_fn=preexec_fn
    )


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_block_is_unwound_and_its_process_ends_with_the_number_of_the_first_signal(number: str, code: int) -> None:
    body = f"""
    try:
        os.kill(me, signal.{number})
        time.sleep(30)
    finally:
        os.kill(me, signal.SIGINT), os.kill(me, signal.SIGTERM)
        time.sleep(0.2)
        print("unwound")
    """
    done = _run(body)
    assert (done.returncode, done.stdout, done.stderr) == (code, "unwound\n", LINE)


@pytest.mark.parametrize(
    "body",
    [
        "try:\n  os.kill(me, signal.SIGTERM)\nfinally:\n  raise ValueError('masked')",
        "try:\n  os.kill(me, signal.SIGTERM)\nfinally:\n  sys.exit(0)",
        "try:\n  os.kill(me, signal.SIGTERM)\nfinally:\n  print('late', file=sys.stderr)\n  os.write(2, b'late')",
        # Swallowed, as a finaliser or foreign code does; the block goes on.
        "class Last:\n  def __del__(self):\n    os.kill(me, signal.SIGTERM)\n    for _ in range(99): pass\n"
        "one = Last()\ndel one\ntime.sleep(30)\nprint('never')",
        "try:\n  os.kill(me, signal.SIGTERM)\nexcept BaseException:\n  pass\ntime.sleep(30)\nprint('never')",
        # The lock that starting a thread takes.
        "with threading._active_limbo_lock:\n  os.kill(me, signal.SIGTERM)\n  time.sleep(30)",
        # Unwinding hangs; and the main thread is in foreign code, which no exception reaches.
        "stop._PATIENCE = 0.5\ntry:\n  os.kill(me, signal.SIGTERM)\nfinally:\n  time.sleep(30)",
        "stop._PATIENCE = 0.5\nthreading.Timer(0.3, os.kill, (me, signal.SIGTERM)).start()\n"
        "hashlib.pbkdf2_hmac('sha512', b'', b'', 10**9)",
    ],
)
def test_nothing_masks_swallows_or_delays_a_signal(body: str) -> None:
    done = _run(body)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", LINE)


def test_a_block_whose_end_is_struck_as_it_begins_is_ended_all_the_same() -> None:
    """Of what the exception leaves behind only its frames know."""
    body = """
    import contextlib
    @contextlib.contextmanager
    def block():
        try:
            yield
        finally:
            print("ended")
    def work():
        held = block()
        held.__enter__()
        os.kill(me, signal.SIGTERM)
        time.sleep(30)
    def outer():
        try:
            work()
        finally:
            raise ValueError("masked")
    outer()
    """
    done = _run(body)
    assert (done.returncode, done.stdout, done.stderr) == (143, "ended\n", LINE)


def test_before_anything_is_begun_the_process_ends_at_once() -> None:
    done = _run("try:\n  os.kill(me, signal.SIGINT)\n  time.sleep(30)\nfinally:\n  print('unwound')", begun=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\ntiler: stopped\n")


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_after_the_end_kills_without_a_word(number: str) -> None:
    done = _run(f"print('done')\nsys.stdout.flush()\nimport atexit\n"
                f"atexit.register(os.kill, me, signal.{number})")  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (-getattr(signal, number), "done\n", "")


def test_who_starts_it_with_nohup_is_obeyed() -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    done = _run("os.kill(me, signal.SIGHUP)\ntime.sleep(0.1)\nprint('went on')", preexec_fn=ignore)
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")


def test_what_the_block_itself_ends_with_is_left_alone() -> None:
    assert _run("print('done')").returncode == 0
    assert _run("sys.exit(3)").returncode == 3
    failed = _run("raise KeyError('mine')")
    assert failed.returncode == 1
    assert failed.stderr.strip().endswith("KeyError: 'mine'")


def test_an_extension_that_begins_is_not_cut_short() -> None:
    """What a library of C++ calls when it is loaded must not raise."""
    body = """
    from importlib.machinery import ExtensionFileLoader
    class Loader(ExtensionFileLoader):
        def exec_module(self, module):
            os.kill(me, signal.SIGTERM)
            time.sleep(0.3)
            print("begun")
    try:
        Loader("one", "one.so").exec_module(None)
        time.sleep(30)
    finally:
        print("unwound")
    """
    done = _run(body)
    assert (done.returncode, done.stdout, done.stderr) == (143, "begun\nunwound\n", LINE)

"""What Ctrl-C, SIGTERM and a closed terminal do to a command: the one place that decides what it ends with then."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
import weakref
from importlib.machinery import ExtensionFileLoader
from types import FrameType, TracebackType
from typing import Any

_HANGUP = getattr(signal, "SIGHUP", None)  # no terminal hangs up on Windows
_SIGNALS = tuple(filter(None, (signal.SIGINT, signal.SIGTERM, _HANGUP)))
_PATIENCE, _LOOK_EVERY = 10.0, 0.05
_BEGINNINGS = ("create_module", "exec_module")


class Stopped(SystemExit):
    """Unwinds the main thread after a signal."""


class Stoppable:
    """A block that signals end: it is unwound, one line says how to go on, and the process ends with 128 + the signal's
    number, whatever the unwinding meets.

    Until `when_stopped` is called there is nothing to unwind and the process ends at once. Later the exception may
    strike anywhere: within a finaliser, which swallows it, or a library's lock, which the unwinding needs; and within
    the initialisation of a C++ library, which it would abort, so that it waits for its end. A thread that is there from
    the start raises it again when it was lost, and ends the process when unwinding takes longer than ten seconds, or
    when the main thread is away in foreign code. Further signals change nothing. When the block has ended by itself,
    they kill the process.
    """

    def __init__(self) -> None:
        self.words: str | None = None
        self._number = 0
        self._raised: weakref.ref[Stopped] | None = None
        self._again = self._over = False
        self._said = threading.Lock()

    def __enter__(self) -> Stoppable:
        global _current
        _current = self
        read, write = os.pipe()
        os.set_blocking(write, False)
        threading.Thread(target=self._watch, args=(read,), daemon=True).start()
        self._pipe = write
        self._before = signal.set_wakeup_fd(write, warn_on_full_buffer=False), sys.unraisablehook
        for each in _SIGNALS:
            # Of a terminal that is closed, who started this with nohup has said what to think.
            if each != _HANGUP or signal.getsignal(each) != signal.SIG_IGN:
                signal.signal(each, self._stop)
        sys.unraisablehook = self._unraisable
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        if self._number:
            _let_go(error)
            self._leave()
        for each in _SIGNALS:
            if signal.getsignal(each) == self._stop:
                signal.signal(each, signal.SIG_DFL)
        signal.set_wakeup_fd(self._before[0])
        sys.unraisablehook = self._before[1]
        os.close(self._pipe)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._number and not self._again:
            return
        self._number, self._again = self._number or number, False
        self._say()
        if self.words is None:
            self._leave()
        if _begins(frame):
            self._raised = weakref.ref(Stopped())  # lost, so that it is raised again
            return
        error = Stopped(128 + self._number)
        self._raised = weakref.ref(error)
        try:
            raise error
        finally:
            del error  # else this frame would keep it

    def _watch(self, pipe: int) -> None:
        main = threading.main_thread().ident
        numbers = b""
        while not any(number in _SIGNALS for number in numbers):
            numbers = os.read(pipe, 64)
            if not numbers:
                return os.close(pipe)
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY)
            if self._raised and self._raised() is None and not self._over and main is not None:
                self._again = True
                signal.pthread_kill(main, self._number)
        self._number = self._number or next(number for number in numbers if number in _SIGNALS)
        self._say()
        return self._leave()

    def _say(self) -> None:
        """From here on nothing else is printed: neither Python's streams nor libraries can stand what happens now."""
        if not self._said.acquire(blocking=False):
            return
        with contextlib.suppress(OSError):  # the terminal may be gone
            os.write(2, os.fsencode("\n" + "; ".join(filter(None, ("tiler: stopped", self.words))) + "\n"))
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

    def _unraisable(self, seen: Any) -> None:
        if not self._number:
            self._before[1](seen)

    def _leave(self) -> None:
        """Workers end with this process. What libraries would do at its end they may not be able to any more."""
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(128 + self._number)


def _begins(frame: FrameType | None) -> bool:
    """Whether the initialisation of an extension module is going on."""
    while frame is not None:
        if frame.f_code.co_name in _BEGINNINGS and isinstance(frame.f_locals.get("self"), ExtensionFileLoader):
            return True
        frame = frame.f_back
    return False


def _let_go(error: BaseException | None) -> None:
    """A signal that strikes at the very beginning of a block's end keeps it from being ended: it is when the frames
    that hold it are cleared."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


_current = Stoppable()


def when_stopped(words: str = "") -> None:
    """From now on there is something to unwind, should a signal end the command; words: what to say then."""
    _current.words = words

"""What a lock of a folder leaves, says and reads."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import runpy
import socket
from pathlib import Path

import pytest

from tiler.engine import lock
from tiler.engine.lock import LOCK_FILE, Hold, holder_of, record_in, sole_writer
from tiler.errors import StoreError, StoreInUseError


@pytest.mark.parametrize("fails", [False, True])
def test_who_holds_a_folder_is_written_there_as_long_as_that_is(tmp_path: Path, fails: bool) -> None:
    where = tmp_path / "deep" / "job.zarr"
    for _ in range(2):
        try:
            with sole_writer(str(where)) as hold:
                record = json.loads(str(holder_of(where)))
                assert (record["pid"], record["host"], hold.notes) == (os.getpid(), socket.gethostname(), ())
                assert json.loads(record_in(where / LOCK_FILE)) == record
                hold.check()  # type: ignore[union-attr]
                if fails:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert list(tmp_path.iterdir()) == []


def test_a_second_holder_is_refused_and_takes_nothing_away(tmp_path: Path) -> None:
    where = tmp_path / "job.zarr"
    with sole_writer(str(where)):
        before = (where / LOCK_FILE).read_text()
        with pytest.raises(StoreInUseError, match=f"^store {where}: in use by process {os.getpid()} on "):
            sole_writer(str(where)).__enter__()
        assert (where / LOCK_FILE).read_text() == before
        assert holder_of(where) == before
    assert not where.exists()


def test_nobody_waits_for_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits, whole = list[float](), lock.filelock.FileLock

    def noted(path: Path, timeout: float = -1) -> lock.filelock.BaseFileLock:
        waits.append(timeout)
        return whole(path, timeout=timeout)

    monkeypatch.setattr(lock.filelock, "FileLock", noted)
    with sole_writer(str(tmp_path)):
        pass
    assert waits == [0]


def test_folders_that_were_there_stay(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    with sole_writer(str(tmp_path / "deep" / "deeper" / "job.zarr")):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["deep"]
    with sole_writer(str(tmp_path / "deep")):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["deep"]


def test_a_store_that_was_made_meanwhile_stays(tmp_path: Path) -> None:
    with sole_writer(str(tmp_path / "deep/job.zarr")):
        (tmp_path / "deep/job.zarr/zarr.json").touch()
    assert [path.name for path in (tmp_path / "deep/job.zarr").iterdir()] == ["zarr.json"]


def test_a_lock_holds_without_a_name_where_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    where = tmp_path / "job.zarr"
    monkeypatch.setattr(Path, "write_text", full)
    with sole_writer(str(where)):
        assert holder_of(where) == ""
        with pytest.raises(StoreInUseError, match="in use by another process"):
            sole_writer(str(where)).__enter__()


@pytest.mark.parametrize("there", [True, False])
def test_a_lock_file_that_was_there_before_stays_where_there_are_no_locks_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    if there:
        (tmp_path / "job.zarr").mkdir()
        (tmp_path / "job.zarr" / LOCK_FILE).write_text("of somebody")

    def flock(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StoreError, match=rf"^store {tmp_path}/job\.zarr: cannot be written: No locks available$"):
        sole_writer(str(tmp_path / "job.zarr")).__enter__()
    assert (tmp_path / "job.zarr" / LOCK_FILE).exists() is there
    assert (tmp_path / "job.zarr").exists() is there


HERE = socket.gethostname()


@pytest.mark.parametrize(
    ("record", "locked"),
    [
        (f"12\n{HERE}\n", True), (f"13\n{HERE}", False), ("13\nelsewhere", True), (f"x\n{HERE}", True), ("13", True),
        ("", True), (f"{HERE}\n13", True),
    ],
)  # fmt: skip
def test_without_locks_whoever_may_live_counts_as_a_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: str, locked: bool
) -> None:
    """Process 12 lives."""

    def flock(file: int, operation: int) -> None:
        assert operation == fcntl.LOCK_SH | fcntl.LOCK_NB
        raise OSError(errno.ENOSYS, "no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(lock.psutil, "pid_exists", lambda pid: pid == 12)
    (tmp_path / LOCK_FILE).write_text(record)
    assert holder_of(tmp_path) == (record if locked else None)


def test_what_is_no_lock_file_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / LOCK_FILE
    assert record_in(path) == ""
    (tmp_path / "precious").write_text("precious")
    path.symlink_to(tmp_path / "precious")
    assert record_in(path) == ""
    path.unlink()
    os.mkfifo(path)
    assert record_in(path) == ""
    path.unlink()
    path.write_bytes(b"\xff\xfe")
    assert record_in(path) == ""
    assert holder_of(tmp_path) is None
    path.write_text("who")
    assert record_in(path) == "who"
    path.write_text("x" * 5000)
    assert len(record_in(path)) == 1024


def test_flags_that_a_system_has_not_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lock._LOOK == os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    for name in ("O_NOFOLLOW", "O_NONBLOCK"):
        monkeypatch.delattr(os, name)
    assert runpy.run_path(str(lock.__file__))["_LOOK"] == os.O_RDONLY


def test_files_that_are_looked_at_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, closed = list[int](), list[int]()
    opening, closing = os.open, os.close

    def noted(*given: object) -> int:
        opened.append(opening(*given))  # type: ignore[call-overload]
        return opened[-1]

    (tmp_path / LOCK_FILE).write_text("who")
    monkeypatch.setattr(lock.os, "open", noted)
    monkeypatch.setattr(lock.os, "close", lambda file: (closed.append(file), closing(file)))
    record_in(tmp_path / LOCK_FILE)
    holder_of(tmp_path)
    (tmp_path / LOCK_FILE).unlink()
    os.mkfifo(tmp_path / LOCK_FILE)
    record_in(tmp_path / LOCK_FILE)
    holder_of(tmp_path)
    assert len(opened) == 4
    assert closed == opened


def test_who_holds_what_has_no_locks_has_nothing_to_say() -> None:
    assert Hold().notes == ()
    assert Hold().check() is None  # type: ignore[func-returns-value]

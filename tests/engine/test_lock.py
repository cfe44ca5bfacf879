"""One writer per store, for folders and for object stores."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from obstore.exceptions import GenericError
from obstore.store import LocalStore, MemoryStore, S3Store

from tiler.engine import lease, place
from tiler.engine.lock import LOCK_FILE, holder_of, sole_writer
from tiler.errors import StoreError

HOLD = """
import sys, time
from obstore.store import LocalStore
from tiler.engine import lease, lock, place
lease.BEAT, lease.EXPIRY = 0.2, 1.0
place.connect = lambda url: LocalStore(url.removeprefix("s3:/"), mkdir=True)
with lock.sole_writer(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["folder", "url"])
def where(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(place, "connect", lambda url: LocalStore(url.removeprefix("s3:/"), mkdir=True))
    monkeypatch.setattr(lease, "BEAT", 0.2)
    monkeypatch.setattr(lease, "EXPIRY", 1.0)
    path = tmp_path / "deep" / "job.zarr"
    return str(path) if request.param == "folder" else f"s3:/{path}"


def test_a_second_process_is_refused_by_name_until_the_first_is_dead(where: str) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, where], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(StoreError, match=rf"in use by process {holder.pid} on .* since 20") as error,
            sole_writer(where),
        ):
            pass
        assert error.value.exit_code == 2
        assert "\n" not in str(error.value)
    finally:
        holder.kill()
        holder.wait()
    with sole_writer(where):
        pass


def test_nothing_is_left_behind(where: str, tmp_path: Path) -> None:
    for _ in range(2):
        with sole_writer(where):
            assert (tmp_path / "deep/job.zarr" / LOCK_FILE).exists()
    assert not list(tmp_path.rglob(LOCK_FILE))
    if "://" not in where:
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "deep/job.zarr").mkdir(parents=True, exist_ok=True)
    (tmp_path / "deep/job.zarr/zarr.json").touch()
    with sole_writer(where):
        pass
    assert [path.name for path in (tmp_path / "deep/job.zarr").iterdir()] == ["zarr.json"]


def test_a_lease_outlives_its_expiry_while_its_holder_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = MemoryStore()
    monkeypatch.setattr(place, "connect", lambda url: bucket)
    monkeypatch.setattr(lease, "BEAT", 0.1)
    monkeypatch.setattr(lease, "EXPIRY", 0.5)
    with sole_writer("s3://bucket/job.zarr"):
        time.sleep(1)
        with pytest.raises(StoreError, match="in use"), sole_writer("s3://bucket/job.zarr"):
            pass
    assert list(bucket.list()) == []


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreError, match="cannot be written: Not a directory"),
        sole_writer(str(tmp_path / "file/x.zarr")),
    ):
        pass


# Where there are no locks ------------------------------------------------------------------------------------------

WITHOUT = """
import errno, fcntl, os
def flock(file, operation):
    raise OSError({number}, os.strerror({number}))
fcntl.flock = flock
"""


@pytest.fixture
def without_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_where_there_is_no_flock_a_dead_holder_is_recognised(tmp_path: Path, without_flock: None, recwarn) -> None:
    where = str(tmp_path / "job.zarr")
    program = WITHOUT.format(number=errno.ENOSYS) + HOLD
    holder = subprocess.Popen([sys.executable, "-c", program, where], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=rf"in use by process {holder.pid} on "), sole_writer(where):
            pass
    finally:
        holder.kill()
        holder.wait()
    with sole_writer(where) as hold:
        assert len(hold.notes) == 1
        assert "has no locks" in hold.notes[0]
    assert not list(tmp_path.rglob(LOCK_FILE))
    assert not recwarn.list, "it is said by a note"


def test_a_lock_that_cannot_be_had_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StoreError, match="No locks available"), sole_writer(str(tmp_path / "deep/job.zarr")):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_that_is_a_pipe_or_a_link_is_no_way_to_wait_or_to_write(tmp_path: Path) -> None:
    for name in ("pipe", "link"):
        store = tmp_path / name
        store.mkdir()
        (tmp_path / "precious").write_text("precious")
        if name == "pipe":
            os.mkfifo(store / LOCK_FILE)
        else:
            (store / LOCK_FILE).symlink_to(tmp_path / "precious")
        began = time.monotonic()
        with contextlib.suppress(StoreError), sole_writer(str(store)):
            pass
        assert time.monotonic() - began < 5
        assert (tmp_path / "precious").read_text() == "precious"


# A lease that is lost ---------------------------------------------------------------------------------------------


class Cut:
    """A way to a bucket that can be cut. heeds: whether the server heeds conditions."""

    def __init__(self, bucket: MemoryStore, heeds: bool = True) -> None:
        self._bucket, self._heeds, self.cut = bucket, heeds, False

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            if self.cut:
                raise GenericError("timed out")
            if not self._heeds:
                more.pop("mode", None)
            return getattr(self._bucket, name)(*arguments, **more)

        return call


@pytest.mark.parametrize("heeds", [True, False])
def test_who_was_cut_off_learns_that_another_took_over(heeds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.1)
    monkeypatch.setattr(lease, "EXPIRY", 0.5)
    bucket = MemoryStore()
    first, second = Cut(bucket, heeds), Cut(bucket, heeds)
    ways = iter((first, second))
    monkeypatch.setattr(place, "connect", lambda url: next(ways))
    with sole_writer("s3://bucket/job.zarr") as lost:
        lost.check()
        first.cut = True
        time.sleep(0.3)
        with pytest.raises(StoreError, match="cannot be reached: timed out"):
            lost.check()
        with sole_writer("s3://bucket/job.zarr") as held:
            taken = bytes(bucket.get(LOCK_FILE).bytes())
            first.cut = False
            time.sleep(0.3)
            with pytest.raises(StoreError, match="in use by process"):
                lost.check()
            lost._release()
            assert json.loads(bytes(bucket.get(LOCK_FILE).bytes()))["id"] == json.loads(taken)["id"]
            held.check()
        assert bool(held.notes) == bool(lost.notes) == (not heeds)
    assert list(bucket.list()) == []


def test_a_short_outage_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.1)
    monkeypatch.setattr(lease, "EXPIRY", 0.5)
    bucket = MemoryStore()
    way = Cut(bucket)
    monkeypatch.setattr(place, "connect", lambda url: way)
    with sole_writer("s3://bucket/job.zarr") as hold:
        way.cut = True
        time.sleep(0.7)
        way.cut = False
        hold.check()
    assert list(bucket.list()) == []


def test_a_renewal_whose_answer_was_lost_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent again, and finds that the lease has changed: by itself."""
    monkeypatch.setattr(lease, "BEAT", 60)
    bucket = MemoryStore()
    monkeypatch.setattr(place, "connect", lambda url: Cut(bucket))
    with sole_writer("s3://bucket/job.zarr") as hold:
        stale = hold._version
        hold._renew()
        hold._version = stale
        hold._renew()
        hold._renew()
    assert list(bucket.list()) == []


def test_of_two_that_find_an_expired_lease_one_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.1)
    monkeypatch.setattr(lease, "EXPIRY", 0.3)
    bucket = MemoryStore()
    bucket.put(LOCK_FILE, b'{"pid": 1, "host": "dead", "since": "long ago"}')
    monkeypatch.setattr(place, "connect", lambda url: Cut(bucket))
    wait, both = lease._wait_for_expiry, threading.Barrier(2)

    def together(*arguments: Any) -> str:
        version = wait(*arguments)
        both.wait(10)
        return version

    monkeypatch.setattr(lease, "_wait_for_expiry", together)
    outcomes: list[str] = []

    def compete() -> None:
        try:
            with sole_writer("s3://bucket/job.zarr"):
                outcomes.append("held")
                time.sleep(0.5)
        except StoreError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=compete) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(outcomes) == 2
    assert outcomes.count("held") == 1
    assert any("in use by process" in one for one in outcomes)


def test_a_real_server_that_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """moto's, over HTTP; its conditions are those of S3."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    urllib.request.urlopen(urllib.request.Request(f"{address}/posters", method="PUT")).close()
    config = {"access_key_id": "a", "secret_access_key": "b", "region": "us-east-1", "endpoint": address}
    quick = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}

    def connect(url: str) -> S3Store:
        return S3Store("posters", config=config, client_options={"allow_http": True}, retry_config=quick)

    monkeypatch.setattr(place, "connect", connect)
    monkeypatch.setattr(lease, "BEAT", 0.2)
    monkeypatch.setattr(lease, "EXPIRY", 1.0)
    with sole_writer("s3://posters/job") as hold:
        assert hold.notes == ()
        server.stop()
        time.sleep(0.8)
        with pytest.raises(StoreError, match="cannot be reached"):
            hold.check()
        # What another process did meanwhile, which had a way to the server.
        server = pytest.importorskip("moto.server").ThreadedMotoServer(
            ip_address="127.0.0.1", port=int(address.rpartition(":")[2])
        )
        server.start()
        other = b'{"pid": 7, "host": "elsewhere", "since": "now", "id": "x"}'
        connect("").put(LOCK_FILE, other)
        time.sleep(0.5)
        with pytest.raises(StoreError, match="in use by process 7 on elsewhere since now"):
            hold.check()
    assert bytes(connect("").get(LOCK_FILE).bytes()) == other
    server.stop()


# Who holds it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, errno.ENOSYS])
def test_who_holds_a_folder_is_seen_without_touching_it(
    tmp_path: Path, number: int, request: pytest.FixtureRequest
) -> None:
    where = tmp_path / "job.zarr"
    assert holder_of(where) is None
    program = (WITHOUT.format(number=number) if number else "") + HOLD
    holder = subprocess.Popen([sys.executable, "-c", program, str(where)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        if number:
            request.getfixturevalue("without_flock")
        for _ in range(3):
            assert str(holder.pid) in str(holder_of(where))
    finally:
        holder.kill()
        holder.wait()
    assert holder_of(where) is None
    assert os.path.lexists(where / LOCK_FILE)
    with sole_writer(str(where)):
        assert str(os.getpid()) in str(holder_of(where))


def test_a_pipe_or_a_link_in_place_of_a_lock_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    os.mkfifo(tmp_path / LOCK_FILE)
    assert holder_of(tmp_path) is None
    (tmp_path / LOCK_FILE).unlink()
    (tmp_path / LOCK_FILE).symlink_to(tmp_path / "precious")
    assert holder_of(tmp_path) is None


@pytest.mark.parametrize(
    ("seconds", "lost", "renews"), [(0.0, "", 0), (9.75, "", 0), (10.0, "", 1), (99.0, "", 1), (0.0, "another", 1)]
)
def test_a_lease_is_renewed_before_a_write_where_half_of_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch, seconds: float, lost: str, renews: int
) -> None:
    monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: 50.0 + seconds))
    held, asked = lease.Lease.__new__(lease.Lease), list[bool]()
    held._url, held._lost, held._renewed, held._turn = "s3://a/b", lost, 50.0, threading.Lock()
    monkeypatch.setattr(held, "_renew", lambda: asked.append(held._turn.locked()))
    held.check()
    assert asked == [True] * renews
    assert not held._turn.locked()


@pytest.mark.parametrize(
    ("found", "waits", "ends"),
    [
        ([("", "")], 0, ""),
        ([("x", "1"), ("", "")], 1, ""),
        ([("x", "1"), ("x", "2")], 20, "2"),
        ([("x", "1"), ("x", "1"), ("y", "2")], 2, None),
    ],
)
def test_a_lease_is_taken_over_once_its_holder_has_been_still_for_twenty_seconds(
    monkeypatch: pytest.MonkeyPatch, found: list[tuple[str, str]], waits: int, ends: str | None
) -> None:
    clock, waited, left = [7.0], list[float](), list(found)

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    monkeypatch.setattr(lease, "_read", lambda store: left.pop(0) if len(left) > 1 else left[0])
    if ends is None:
        with pytest.raises(StoreError, match="s3://a/b"):
            lease._wait_for_expiry(None, "s3://a/b")
    else:
        assert lease._wait_for_expiry(None, "s3://a/b") == ends
    assert waited == [1.0] * waits


def test_a_lease_that_is_no_lease_is_not_read() -> None:
    bucket = MemoryStore()
    assert lease._read(bucket) == ("", "")
    for size, said in ((2**16 - 1, "x" * (2**16 - 1)), (2**16, "?")):
        version = bucket.put(LOCK_FILE, b"x" * size)["e_tag"]
        assert lease._read(bucket) == (said, version)

"""One writer per store, for folders and for object stores."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore

from tiler.engine import lease, place
from tiler.engine.lock import LOCK_FILE, sole_writer
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

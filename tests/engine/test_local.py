"""What lies in a store's folder never leads elsewhere, never waits and never ends in something that has no end."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tiler.engine.store import RenderStore
from tiler.errors import StoreError
from tiler.geometry import Rect, TileGrid

GRID = TileGrid(50, 70, 32, 32, feather=8, halo=16)
STATE = "levels/0/state-x"


@pytest.fixture
def store(tmp_path: Path) -> RenderStore:
    made = RenderStore.create(str(tmp_path / "job.zarr"), {"job": {"id": "x"}})
    made.create_state(0, GRID, {"relu1_1": (4, 4)}, "float32", "float32")
    made.create_image(0, GRID, "float32")
    made.write_picture("styles/0/0/picture", 50, 70, [np.ones((3, 50, 70))])
    made.write_image(0, Rect(0, 0, 50, 70), np.ones((3, 50, 70)))
    return made


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that holds what a store holds, and something precious; unchanged at the end."""
    folder = tmp_path / "outside"
    for name in ("0", "0/0", "0/state-x", "0/image", "c", "image"):
        (folder / name).mkdir(parents=True)
        (folder / name / "precious").write_bytes(b"precious")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    yield folder
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert len(before) == 6


def replaced(store: RenderStore, path: str, outside: Path) -> None:
    place = Path(store.url) / path
    place.rename(place.with_name("moved"))
    place.symlink_to(outside)


ACTS: dict[str, Callable[[RenderStore], object]] = {
    "create": lambda store: store.create_state(1, GRID, {"relu1_1": (4, 4)}, "float32", "float32"),
    "picture": lambda store: store.write_picture("styles/1/0/picture", 50, 70, [np.ones((3, 50, 70))]),
    "write": lambda store: store.write_image(0, Rect(0, 0, 50, 70), np.zeros((3, 50, 70))),
    "mark": lambda store: store.mark(STATE, 0, 0, 0),
    "read": lambda store: store.read_image(0, Rect(0, 0, 50, 70)),
    "tidy": lambda store: store.tidy_level(0),
    "finish": lambda store: store.finish_level(0, {"seconds": 1, "rounds": 1}),
    "forget": lambda store: store.forget("levels/0/image", ()),
    "report": lambda store: store.level_report(0),
    "states": lambda store: store.states(STATE),
    "force new": lambda store: RenderStore.create(store.url, {"job": {"id": "y"}}, overwrite=True),
}


@pytest.mark.parametrize(
    ("path", "acts"),
    [
        ("levels", ["create", "write", "mark", "read", "tidy", "finish", "forget", "report", "states", "force new"]),
        ("styles", ["picture", "tidy", "finish", "force new"]),
        ("levels/0", ["write", "mark", "read", "tidy", "finish", "forget", "report", "states"]),
        ("styles/0", ["tidy", "finish"]),
        (STATE, ["mark", "tidy", "finish", "states"]),
        ("levels/0/image", ["write", "read", "forget"]),
        ("levels/0/image/c", ["write", "read"]),
        ("levels/0/image/c/0/0", ["write", "read"]),
    ],
)
def test_a_link_is_refused_and_never_followed(store: RenderStore, outside: Path, path: str, acts: list[str]) -> None:
    replaced(store, path, outside)
    for act in acts:
        with pytest.raises(StoreError, match="a link; allowed in a store: folders and regular files only") as error:
            ACTS[act](RenderStore.open(store.url))
        assert "\n" not in str(error.value)
    assert (Path(store.url) / path).is_symlink()


@pytest.mark.parametrize("path", ["zarr.json", "levels/0/image/zarr.json", "levels/0/image/c/0/0/0"])
@pytest.mark.parametrize("kind", ["link", "fifo", "socket", "device", "zero"])
def test_only_regular_files_are_opened(store: RenderStore, tmp_path: Path, path: str, kind: str, monkeypatch) -> None:
    file, kept = Path(store.url) / path, tmp_path / "kept"
    file.rename(kept)
    if kind == "link":
        file.symlink_to(kept)
    elif kind == "zero":
        file.symlink_to("/dev/zero")
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "socket":
        monkeypatch.chdir(file.parent)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(file.name)
    else:
        try:
            os.mknod(file, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("devices are for root to make")
    with pytest.raises(StoreError, match="folders and regular files only"):
        RenderStore.open(store.url).read_image(0, Rect(0, 0, 50, 70))


def test_the_root_may_be_a_link(store: RenderStore, tmp_path: Path) -> None:
    os.symlink(store.url, tmp_path / "short.zarr")
    again = RenderStore.open(str(tmp_path / "short.zarr"))
    again.write_image(0, Rect(0, 0, 50, 70), np.zeros((3, 50, 70)))
    assert not store.read_image(0, Rect(0, 0, 50, 70)).any()


def test_a_link_that_is_deleted_with_what_holds_it_is_not_followed(store: RenderStore, outside: Path) -> None:
    (Path(store.url) / STATE / "away").symlink_to(outside)
    store.finish_level(0, {"seconds": 1, "rounds": 1})
    assert not (Path(store.url) / STATE).exists()


def test_what_is_no_job_s_stays_where_a_level_is_tidied(store: RenderStore) -> None:
    mine = Path(store.url) / "levels/0/mine"
    mine.mkdir()
    (mine / "photo.jpg").write_bytes(b"precious")
    store.finish_level(0, {"seconds": 1, "rounds": 1})
    assert (mine / "photo.jpg").read_bytes() == b"precious"


def test_a_file_is_old_or_new_and_obeys_the_umask(store: RenderStore) -> None:
    chunk = Path(store.url) / "levels/0/image/c/0/0/0"
    before, one = chunk.read_bytes(), os.stat(chunk)
    os.link(chunk, chunk.with_name("same"))
    store.write_image(0, Rect(0, 0, 50, 70), np.full((3, 50, 70), 0.25))
    assert chunk.with_name("same").read_bytes() == before != chunk.read_bytes()
    assert os.stat(chunk).st_ino != one.st_ino
    assert not list(Path(store.url).rglob("*.partial"))
    mask = os.umask(0o027)
    try:
        store.write_image(0, Rect(0, 0, 50, 70), np.full((3, 50, 70), 0.5))
    finally:
        os.umask(mask)
    assert stat.S_IMODE(os.stat(chunk).st_mode) == 0o640

"""A folder in which perhaps somebody else has put things: what is opened, closed, refused and left in it."""

from __future__ import annotations

import errno
import os
import runpy
from pathlib import Path
from typing import Any

import pytest

from tiler.engine import folder as of_folder
from tiler.engine import handle
from tiler.engine.folder import Folder
from tiler.errors import StoreError

KINDS = [handle.ByNumber, handle.ByName]
Kind = type[handle.ByNumber] | type[handle.ByName]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    monkeypatch.setattr(handle, "KIND", request.param)
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """With a file, a folder with a file, a link to each and a pipe."""
    (tmp_path / "root" / "in").mkdir(parents=True)
    (tmp_path / "root" / "in" / "deep").write_bytes(b"deep")
    (tmp_path / "root" / "file").write_bytes(b"0123456789")
    (tmp_path / "root" / "to-file").symlink_to(tmp_path / "root" / "file")
    (tmp_path / "root" / "to-folder").symlink_to(tmp_path / "root" / "in")
    os.mkfifo(tmp_path / "root" / "pipe")
    return tmp_path / "root"


# A folder that is open --------------------------------------------------------------------------------------------


def test_a_way_that_is_no_folder_is_told_as_the_system_tells_it(kind: Kind, root: Path) -> None:
    with pytest.raises(NotADirectoryError):
        kind.of(root / "file")
    with pytest.raises(FileNotFoundError):
        kind.of(root / "none")
    here = kind.of(root)
    for name in ("file", "to-file", "to-folder", "pipe"):
        with pytest.raises(NotADirectoryError) as error:
            here.step(name)
        assert error.value.errno == errno.ENOTDIR
        assert Path(str(error.value.filename)).name == name
    with pytest.raises(FileNotFoundError):
        here.step("none")
    inner = here.step("in")
    assert inner.names() == ["deep"]
    inner.close()
    here.close()


def test_by_name_only_regular_files_are_opened_to_be_read(root: Path) -> None:
    here = handle.ByName.of(root)
    for name in ("to-file", "to-folder", "in", "pipe"):
        with pytest.raises(PermissionError) as error:
            here.open(name, handle.READ)
        assert (error.value.errno, error.value.filename) == (errno.EACCES, str(root / name))
    os.close(here.open("file", handle.READ))


def test_what_is_there_is_neither_followed_nor_written_over(kind: Kind, root: Path) -> None:
    here = kind.of(root)
    for name in ("file", "to-file"):
        with pytest.raises(FileExistsError):
            here.open(name, handle.WRITE)
    before = os.umask(0o027)
    try:
        os.close(here.open("new", handle.WRITE))
    finally:
        os.umask(before)
    assert os.stat(root / "new").st_mode & 0o777 == 0o640, "whoever may, by the user's own mask"
    (root / "new").write_bytes(b"new")
    here.replace("file", "new")
    assert (root / "file").read_bytes() == b"new"
    here.make("made")
    assert (root / "made").is_dir()
    here.unlink("to-folder")
    here.remove_all("in")
    assert sorted(here.names()) == ["file", "made", "pipe", "to-file"]
    here.close()


def test_a_folder_is_closed_again_whatever_is_at_its_end(
    kind: Kind, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, fails in (("", False), ("in", False), ("in", True)):
        open_now: list[handle.Handle] = []
        step, close, of = kind.step, kind.close, kind.of

        def noted(found: Any, open_now: list[Any] = open_now) -> Any:
            open_now.append(found)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(kind, "of", lambda root, of=of, noted=noted: noted(of(root)))
            patch.setattr(kind, "step", lambda self, name, step=step, noted=noted: noted(step(self, name)))
            patch.setattr(
                kind, "close", lambda self, close=close, open_now=open_now: (open_now.remove(self), close(self))
            )
            try:
                with Folder(root)._folder(path):
                    assert len(open_now) == 1 + bool(path)
                    if fails:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                pass
            assert open_now == []


def test_flags_that_a_system_has_not_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_DIRECTORY"):
        monkeypatch.delattr(os, name)
    monkeypatch.setattr(os, "O_BINARY", 2**29, raising=False)
    found = runpy.run_path(str(handle.__file__))
    assert found["READ"] == os.O_RDONLY | 2**29
    assert found["WRITE"] == os.O_WRONLY | os.O_CREAT | os.O_EXCL | 2**29
    assert found["KIND"] is found["ByName"]
    monkeypatch.undo()
    found = runpy.run_path(str(handle.__file__))
    assert found["READ"] & os.O_NOFOLLOW
    assert found["READ"] & os.O_NONBLOCK
    assert found["WRITE"] & os.O_NOFOLLOW
    assert found["KIND"] is found["ByNumber"]


# What is in it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("./file", ".: is a way out"),
        ("in/../file", "in/..: is a way out"),
        ("to-folder/deep", "to-folder: 'to-folder' is a link"),
        ("to-file", "to-file: is a link"),
        ("pipe", "pipe: is no regular file"),
    ],
)
def test_a_way_out_is_refused_in_the_words_of_what_it_is(kind: Kind, root: Path, path: str, said: str) -> None:
    with pytest.raises(StoreError) as error:
        Folder(root, "job").read(path)
    assert str(error.value) == f"job {root}: {said}; allowed in a job: folders and regular files only"
    with pytest.raises(StoreError, match=r"^store .*; allowed in a store: "):
        Folder(root).read(path)


@pytest.mark.parametrize(("most", "read"), [(None, 10), (0, 0), (9, 9), (10, 10), (11, 10)])
def test_so_much_is_read_of_a_file_at_most(kind: Kind, root: Path, most: int | None, read: int) -> None:
    assert Folder(root).read("file", most) == b"0123456789"[:read]


def test_what_is_no_file_is_none(kind: Kind, root: Path) -> None:
    here = Folder(root)
    for path in ("none", "in", "file/x", "none/x"):
        assert here.read(path) is None
        assert not here.is_file(path)
    assert not here.is_file("to-file")
    assert here.is_file("in/deep")
    assert here.names("none") == here.names("file") == Folder(root / "none").names() == []
    assert here.names("in") == ["deep"]


def test_a_pipe_that_was_opened_is_closed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handle, "KIND", handle.ByNumber)
    closed: list[int] = []
    close = os.close
    monkeypatch.setattr(of_folder.os, "close", lambda file: (closed.append(os.fstat(file).st_mode), close(file)))
    with pytest.raises(StoreError):
        Folder(root).read("pipe")
    assert os.stat(root / "pipe").st_mode in closed


@pytest.mark.parametrize("key", ["", "/"])
def test_the_root_is_not_deleted(kind: Kind, root: Path, key: str) -> None:
    with pytest.raises(ValueError, match="the root is not deleted"):
        Folder(root).delete(key)


def test_what_is_deleted_is_a_file_or_a_folder_with_all_that_is_in_it(kind: Kind, root: Path) -> None:
    here = Folder(root)
    for key in ("none", "none/x", "file/x"):
        here.delete(key)
    for key in ("to-file", "pipe"):
        with pytest.raises(StoreError):
            here.delete(key)
    here.delete("in/")
    here.delete("file")
    assert sorted(here.names()) == ["pipe", "to-file", "to-folder"]


def test_a_root_that_is_gone_does_not_come_back(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Folder(tmp_path / "gone").write("a/b", b"x")
    assert not (tmp_path / "gone").exists()


def test_a_file_is_written_whole_or_not_at_all(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few bytes the system takes at a time."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    here, names = Folder(tmp_path / "a" / "b"), list[str]()
    whole = os.fdopen

    class Slow:
        def __init__(self, *given: Any, **how: Any) -> None:
            self._file, self.left = whole(*given, **how), 2

        def __enter__(self) -> Slow:
            return self

        def __exit__(self, *exc_info: object) -> None:
            self._file.close()

        def write(self, data: Any) -> int:
            names.extend(path.name for path in (tmp_path / "a" / "b" / "c").iterdir())
            if bytes(data).startswith(b"!"):
                raise OSError(errno.ENOSPC, "No space left on device")
            return int(self._file.write(data[:3]))

    monkeypatch.setattr(of_folder.os, "fdopen", lambda file, mode, buffering: Slow(file, mode, buffering=buffering))
    here.write("c/zarr.json", memoryview(b"abcdefgh").cast("H"))
    assert (tmp_path / "a/b/c/zarr.json").read_bytes() == b"abcdefgh"
    assert {(name.split(".")[0], name.split(".")[2]) for name in names} == {("zarr", "partial")}
    with pytest.raises(OSError, match="No space"):
        here.write("c/zarr.json", b"abc!")
    assert (tmp_path / "a/b/c/zarr.json").read_bytes() == b"abcdefgh"
    assert here.names("c") == ["zarr.json"]


def test_a_folder_that_is_removed_as_fast_as_it_is_made_is_not_made_for_ever(tmp_path: Path) -> None:
    made: list[str] = []

    class Above:
        def step(self, name: str) -> Any:
            raise FileNotFoundError(name)

        def make(self, name: str) -> None:
            made.append(name)
            if len(made) == 1:
                raise FileExistsError  # by somebody else

    with pytest.raises(FileNotFoundError, match=r"^a/b$"):
        Folder(tmp_path)._step(Above(), "b", "a/b", True)  # type: ignore[arg-type]
    assert made == ["b", "b"]
    made.clear()
    with pytest.raises(FileNotFoundError, match=r"^b$"):
        Folder(tmp_path)._step(Above(), "b", "a/b", False)  # type: ignore[arg-type]
    assert made == []

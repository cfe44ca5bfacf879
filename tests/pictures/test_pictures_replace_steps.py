"""Single steps of putting an output in its place."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tiler.pictures import replace
from tiler.pictures.ours import TILES, write_list


def no_locks(number: int, how: int) -> None:
    raise OSError(errno.ENOLCK, "no locks")


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_scratch_folder_is_its_owner_s_alone_and_has_a_name_that_is_swept(
    tmp_path: Path, still_open: Callable[[], list[str]]
) -> None:
    before = os.umask(0)
    try:
        with replace.scratch(tmp_path / "a.png") as folder:
            assert folder.parent == tmp_path
            assert re.fullmatch(r"\.tiler-[0-9a-f]{12}\.part", folder.name)
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert still_open() == [str(folder)]
            (folder / "new").mkdir()
            (folder / "new" / "file").touch()
            (folder / "link").symlink_to(tmp_path)
    finally:
        os.umask(before)
    assert (names(tmp_path), still_open()) == ([], [])


def test_a_folder_is_locked_by_one_and_not_when_it_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    one, other = (os.open(tmp_path / "a", os.O_RDONLY) for _ in range(2))
    try:
        assert replace._lock(one) is True
        assert replace._lock(other) is False
        (tmp_path / "a").rmdir()
        assert replace._lock(one) is False
        with monkeypatch.context() as patch:  # some file systems count no more than this
            patch.setattr(os, "fstat", lambda number: SimpleNamespace(st_nlink=1))
            assert replace._lock(one) is True
        monkeypatch.setattr(fcntl, "flock", no_locks)
        assert replace._lock(other) is True
    finally:
        os.close(one)
        os.close(other)


def test_a_folder_that_somebody_sweeps_away_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, False, True])
    monkeypatch.setattr(replace, "_lock", lambda descriptor: next(answers))
    with replace.scratch(tmp_path / "a") as folder:
        assert names(tmp_path) == [folder.name]
    assert (next(answers, None), names(tmp_path)) == (None, [])


@pytest.mark.parametrize("suffix", ["", ".tif"])
def test_bytes_lie_on_the_disk_before_a_file_has_its_name(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    final, seen = tmp_path / "a", []
    final.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda number: seen.append((os.fstat(number).st_size, final.read_bytes(), number)))
    with replace.new_file(final, suffix) as temporary:
        assert (temporary.name, temporary.exists()) == (f"new{suffix}", False)
        temporary.write_bytes(b"longer")
    [(size, before, number)] = seen
    assert (size, before, final.read_bytes(), names(tmp_path)) == (6, b"old", b"longer", ["a"])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_all_of_a_folder_is_written_through_where_the_system_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def syncfs(number: int) -> None:
        assert os.path.samestat(os.fstat(number), tmp_path.stat())
        seen.append(number)

    monkeypatch.setattr(replace, "_system", lambda: SimpleNamespace(syncfs=syncfs))
    replace._write_through(tmp_path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(seen[0])
    monkeypatch.setattr(replace, "_system", lambda: SimpleNamespace())
    replace._write_through(tmp_path / "none")


def pair(tmp_path: Path) -> tuple[Path, Path]:
    new, final = tmp_path / "new", tmp_path / "tiles"
    for folder in (new, final):
        folder.mkdir()
        (folder / folder.name).touch()
    return new, final


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES])
def test_where_names_cannot_be_exchanged_the_old_one_goes_aside(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And any other failure is one."""
    new, final = pair(tmp_path)
    write_list(final, TILES)

    def exchange(one: Path, other: Path) -> None:
        assert (one, other) == (new, final)
        raise OSError(number, "no")

    monkeypatch.setattr(replace, "exchange", exchange)
    if number == errno.EACCES:
        with pytest.raises(OSError, match="no"):
            replace._change_places(new, final)
        assert (names(tmp_path), (final / "tiles").exists()) == (["new", "tiles"], True)
        return
    replace._change_places(new, final)
    assert (names(tmp_path), names(final)) == (["tiles"], ["new"])


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "a folder"])
def test_folders_change_places_where_there_is_something(tmp_path: Path, there: str) -> None:
    new, final = pair(tmp_path)
    final.chmod(0o750)
    if there != "a folder":
        (final / "tiles").unlink()
    if there == "nothing":
        final.rmdir()
    replace._change_places(new, final)
    assert names(final) == ["new"]
    assert names(tmp_path) == (["new", "tiles"] if there == "a folder" else ["tiles"])
    if there == "a folder":
        assert names(new) == ["tiles"]
        assert stat.S_IMODE(final.stat().st_mode) == 0o750


def test_a_folder_that_was_put_aside_is_found_by_its_name(tmp_path: Path) -> None:
    """Also by a later version; where there is a new one, it is removed if it is ours."""
    final = tmp_path / "tiles"
    aside = tmp_path / f".tiler-{hashlib.sha256(b'tiles').hexdigest()[:12]}.old"
    assert replace._aside(final) == aside
    replace.restore(final)
    assert names(tmp_path) == []
    aside.mkdir()
    (aside / "a").touch()
    replace.restore(final)
    assert (names(tmp_path), names(final)) == (["tiles"], ["a"])
    aside.mkdir()
    (aside / "b").touch()
    replace.restore(final)
    assert names(aside) == ["b"]
    write_list(aside, TILES)
    replace.restore(final)
    assert (names(tmp_path), names(final)) == (["tiles"], ["a"])
    aside.touch()
    replace.restore(final)
    assert aside.is_file()


@pytest.mark.parametrize(
    ("made", "passes"),
    [("another", True), ("none", False), ("a folder", False), ("no old", False), ("the same", False)],
)
def test_what_shows_a_folder_leads_there_while_it_changes_places(tmp_path: Path, made: str, passes: bool) -> None:
    file, old, new = tmp_path / "a.dzi", tmp_path / "a_files" / ".tiler-shown.dzi", tmp_path / "w" / ".tiler-shown.dzi"
    for folder in (old.parent, new.parent):
        folder.mkdir()
    new.write_text("new")
    if made != "no old":
        old.write_text("old")
    if made == "a folder":
        file.mkdir()
    elif made != "none":
        file.write_text("new" if made == "the same" else "old")
    replace._pass_through(file, old, new, new.parent)
    assert replace.is_passing(file) == passes
    if passes:
        assert os.readlink(file) == "a_files/.tiler-shown.dzi"
        assert file.read_text() == "old"
        assert replace.settled(file) == file
    assert names(new.parent) == [".tiler-shown.dzi"]


def test_only_links_of_the_moment_are_passing(tmp_path: Path) -> None:
    """And any other leads to where is written."""
    for name, target in (("a", ".tiler-shown.dzi"), ("b", "c/.tiler-shown.html"), ("d", "e"), ("f", ".tiler-shown/g")):
        (tmp_path / name).symlink_to(target)
    assert [replace.is_passing(tmp_path / name) for name in "abdf"] == [True, True, False, False]
    (tmp_path / ".tiler-shown.txt").touch()
    assert not replace.is_passing(tmp_path / ".tiler-shown.txt")
    assert replace.settled(tmp_path / "d") == tmp_path.resolve() / "e"
    assert replace.settled(tmp_path / "a") == tmp_path / "a"
    assert replace.settled(str(tmp_path / "none")) == tmp_path / "none"


@pytest.mark.parametrize(("before", "file", "folder"), [(0o4755, 0o755, 0o755), (0o640, 0o640, 0o740),
                                                        (0o057, 0o057, 0o757), (0o2500, 0o500, 0o700)])  # fmt: skip
def test_a_mode_is_taken_without_rights_of_another_kind(tmp_path: Path, before: int, file: int, folder: int) -> None:
    """A folder stays its owner's to write into."""
    for name, expected in (("file", file), ("folder", folder)):
        old, new = tmp_path / f"old {name}", tmp_path / name
        old.touch() if name == "file" else old.mkdir()
        new.touch() if name == "file" else new.mkdir()
        old.chmod(before)
        replace._take_mode(new, old)
        assert stat.S_IMODE(new.stat().st_mode) == expected
        replace._take_mode(new, tmp_path / "none")
        assert stat.S_IMODE(new.stat().st_mode) == expected


def test_what_a_scratch_folder_holds_goes_but_not_what_it_leads_to(tmp_path: Path) -> None:
    """And of a poster in it what others put there stays."""
    mine, scratch = tmp_path / "mine", tmp_path / ".tiler-0123456789ab.part"
    (mine / "deep").mkdir(parents=True)
    (scratch / "poster").mkdir(parents=True)
    (scratch / "rest" / "deep").mkdir(parents=True)
    (scratch / "link").symlink_to(mine)
    (scratch / "gone").symlink_to("nowhere")
    (scratch / "poster" / "tile.jpg").touch()
    write_list(scratch / "poster", TILES)
    (scratch / "poster" / "thesis.txt").write_text("mine")
    replace._discard(scratch)
    assert (names(mine), names(scratch)) == (["deep"], ["poster"])
    assert (scratch / "poster" / "thesis.txt").read_text() == "mine"
    assert not (scratch / "poster" / "tile.jpg").exists()
    (scratch / "poster" / "thesis.txt").unlink()
    replace.sweep(tmp_path)
    assert names(tmp_path) == ["mine"]


def test_scratch_that_another_process_holds_is_not_swept(tmp_path: Path) -> None:
    folder = tmp_path / ".tiler-0123456789ab.part"
    folder.mkdir()
    held = os.open(folder, os.O_RDONLY)
    assert replace._lock(held)
    for name in (".tiler-0123456789abc.part", ".tiler-0123456789a.part", "x.tiler-0123456789ab.part"):
        (tmp_path / name).mkdir()
    (tmp_path / ".tiler-ab0123456789.part").symlink_to(folder)
    before = names(tmp_path)
    replace.sweep(tmp_path)
    assert names(tmp_path) == before
    os.close(held)
    replace.sweep(tmp_path)
    assert names(tmp_path) == [name for name in before if name != folder.name]
    replace.sweep(tmp_path / "none")

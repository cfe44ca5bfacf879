"""What of a folder is ours to remove, file by file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tiler.errors import OutputError
from tiler.pictures.ours import (
    DEEPZOOM,
    FRAMES,
    OMEZARR,
    TILES,
    check_ours,
    is_marked,
    read_list,
    remove_ours,
    stranger,
    write_list,
)

KINDS = (TILES, DEEPZOOM, OMEZARR, FRAMES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ours: `a` of 3 bytes, `b` of any number, all that is in `sub`, `deep/c` of none."""
    write_list(tmp_path, TILES, {"a": 3, "b": None, "sub/": None, "deep/c": 0})
    for name, size in (("a", 3), ("b", 7), ("sub/x/y", 1), ("deep/c", 0)):
        put(tmp_path, name, size)
    return tmp_path


def put(folder: Path, name: str, size: int = 1) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(bytes(size))


@pytest.mark.parametrize(
    ("name", "size", "ours"),
    [
        ("a", 3, True), ("a", 2, False), ("a", 4, False), ("b", 0, True), ("b", 9, True), ("deep/c", 0, True),
        ("deep/c", 1, False), ("c", 0, False), ("sub/z", 1, True), ("sub/x/z", 1, True), ("subz", 1, False),
        ("deep/sub/z", 1, False), ("z", 1, False), (".DS_Store", 9, True), ("deep/Thumbs.db", 9, True),
        ("deep/desktop.ini", 9, True), (".tiler-output.new", 9, True), ("deep/a", 3, False),
        ("deep/x.DS_Store", 9, False),
    ],
)  # fmt: skip
def test_a_file_is_ours_by_its_name_and_size(folder: Path, name: str, size: int, ours: bool) -> None:
    put(folder, name, size)
    assert stranger(folder, TILES) == (None if ours else name)
    assert remove_ours(folder) == ours
    left = {str(place.relative_to(folder)) for place in folder.rglob("*") if place.is_file()}
    assert left == (set() if ours else {name, ".tiler-output"})
    assert folder.exists() != ours


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_of_the_kind_that_its_mark_says(kind: str, tmp_path: Path) -> None:
    put(tmp_path, "0/1")
    assert (is_marked(tmp_path), read_list(tmp_path, kind)) == (False, {})
    write_list(tmp_path, kind)
    mark = "0/.tiler-output" if kind == OMEZARR else ".tiler-output"
    assert (is_marked(tmp_path), read_list(tmp_path, kind)) == (True, {"0/1": 1, mark: None})
    for other in KINDS:
        assert (stranger(tmp_path, other) is None) == (other == kind)
    assert remove_ours(tmp_path)
    assert not tmp_path.exists()


def test_what_may_not_be_replaced_is_said_by_the_name_that_was_given(folder: Path) -> None:
    check_ours(folder, TILES)
    check_ours(folder / "nowhere", TILES)
    put(folder, "mine")
    held = "holds something else than map tiles that tiler wrote (mine), which would not be replaced; choose another"
    for output, shown in ((None, str(folder)), (Path("out.dzi"), f"out.dzi: {folder.name}")):
        with pytest.raises(OutputError) as refused:
            check_ours(folder, TILES, output)
        assert str(refused.value) == f"{shown}: {held} name"
    with pytest.raises(OutputError) as refused:
        check_ours(folder / "mine", DEEPZOOM)
    assert str(refused.value) == f"{folder / 'mine'}: is no folder, which DeepZoom tiles would be; choose another name"


@pytest.mark.parametrize("make", [os.mkfifo, lambda place: os.symlink("b", place)])
def test_what_is_no_file_is_nobodys_even_by_a_name_of_ours(folder: Path, make) -> None:
    (folder / "a").unlink()
    make(folder / "a")
    assert stranger(folder, TILES) == "a"
    assert not remove_ours(folder)
    assert sorted(os.listdir(folder)) == [".tiler-output", "a"]

"""The hash by which an output is known again: any change of what was written shows, its place does not."""

import os
import shutil

import numpy as np
import pytest

from tiler.errors import OutputError
from tiler.pictures import fingerprint, write_picture, write_xyz

GREY = np.full((3, 300, 280), 0.5, np.float32)


@pytest.mark.parametrize("name", ["a.png", "a.dzi", "a.zarr", "tiles"])
def test_the_same_everywhere_and_another_after_any_change(tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    for folder in (tmp_path, tmp_path / "elsewhere"):
        if name == "tiles":
            write_xyz(folder / name, 300, 280, [GREY])
        else:
            write_picture(folder / name, 300, 280, [GREY])
    first = fingerprint(tmp_path / name)
    assert first
    assert first == fingerprint(tmp_path / "elsewhere" / name)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and "elsewhere" not in path.parts]
    seen = {first}
    for file in [one for one in files if one.suffix != ".html" or name == "tiles"][:8]:
        kept = file.read_bytes()
        file.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        seen.add(fingerprint(tmp_path / name))
        file.write_bytes(kept)
        assert fingerprint(tmp_path / name) == first
    assert len(seen) == 1 + min(8, len([one for one in files if one.suffix != ".html" or name == "tiles"]))


def test_names_added_files_and_links_count(tmp_path):
    folder = tmp_path / "tiles"
    write_xyz(folder, 300, 280, [GREY])
    found = [fingerprint(folder)]
    (folder / "1" / "thesis.txt").write_text("")
    found.append(fingerprint(folder))
    os.rename(folder / "1" / "thesis.txt", folder / "1" / "novel.txt")
    found.append(fingerprint(folder))
    os.symlink("/etc", folder / "1" / "way out")
    found.append(fingerprint(folder))
    os.mkfifo(folder / "pipe")
    found.append(fingerprint(folder))
    assert len(set(found)) == 5
    shutil.rmtree(folder)
    assert fingerprint(folder) is None


def test_bytes_that_move_from_one_file_to_the_next(tmp_path):
    found = set()
    for first, second in (("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc")):
        (tmp_path / "t").mkdir(exist_ok=True)
        (tmp_path / "t" / "1").write_text(first)
        (tmp_path / "t" / "2").write_text(second)
        found.add(fingerprint(tmp_path / "t"))
    assert len(found) == 4


def test_what_cannot_be_read_is_said(tmp_path):
    os.symlink("a.png", tmp_path / "a.png")
    with pytest.raises(OutputError, match=r"a\.png: cannot be read"):
        fingerprint(tmp_path / "a.png")

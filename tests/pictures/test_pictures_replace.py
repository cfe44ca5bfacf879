"""Whatever ends a write, and wherever: the old poster or the new is there, whole, and nothing of others is lost."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image

from tiler.errors import OutputError
from tiler.pictures import (
    check_output,
    check_xyz,
    deepzoom,
    fingerprint,
    replace,
    stream,
    tiles,
    write_picture,
    write_xyz,
)
from tiler.pictures.ours import FRAMES, TILES, check_ours, read_list, remove_ours, write_list

# The new one is of another size and another format of tiles: its descriptor and page differ from the old one's.
OLD, NEW = (3, 30, 28), (4, 270, 30)
FOLDERS = ("tiles", "a.zarr", "a.dzi")
STEPS = ("rename", "replace", "symlink", "mkdir", "chmod", "unlink", "rmdir")


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be: thousands of names change here, and a busy disk is slow at it."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="tiler-test-") as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk takes seconds where others write to it, and changes nothing here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(replace, "_write_through", lambda folder: None)


def write(path: Path, shape: tuple[int, int, int], shade: float) -> None:
    _, height, width = shape
    bands = [np.full(shape, shade, np.float32)]
    if path.suffix:
        write_picture(path, height, width, bands)
    else:
        write_xyz(path, height, width, bands)


def write_old(path: Path) -> None:
    write(path, OLD, 0.25)


def write_new(path: Path) -> None:
    write(path, NEW, 0.75)


def shade_of(path: Path) -> float:
    """The one shade of all that a viewer would load; fails where anything is missing or of another poster."""
    if path.suffix == ".zarr":
        group = zarr.open_group(path, mode="r")
        levels = [np.asarray(group[one["path"]]) for one in group.attrs["ome"]["multiscales"][0]["datasets"]]
        shape, pixels = levels[0].shape, [level[:3] for level in levels]
    elif path.suffix == ".dzi":
        shape, pixels = _deepzoom(path)
    else:
        shape, pixels = _map_tiles(path)
    shades = {round(float(np.median(one)) / 255, 1) for one in pixels}
    assert len(shades) == 1, shades
    assert (shape, shades) in ((OLD, {0.2}), (NEW, {0.7}), (OLD, {0.3}), (NEW, {0.8})), (shape, shades)
    return 0.25 if shape == OLD else 0.75


def _deepzoom(path: Path) -> tuple[tuple[int, ...], list[np.ndarray]]:
    from xml.etree import ElementTree

    root = ElementTree.parse(path).getroot()
    height, width, suffix = int(root[0].get("Height")), int(root[0].get("Width")), root.get("Format")
    page = path.with_suffix(".html").read_text()
    assert f"[{height}, {width}]" in page
    assert f"{{x}}_{{y}}.{suffix}" in page
    found, level = [], 0
    top = (max(height, width) - 1).bit_length()
    while level <= top:
        h, w = -(-height // 2 ** (top - level)), -(-width // 2 ** (top - level))
        for row in range(-(-h // 254)):
            for column in range(-(-w // 254)):
                tile = path.with_name(f"{path.stem}_files") / str(level) / f"{column}_{row}.{suffix}"
                found.append(np.asarray(Image.open(tile))[..., :3])
        level += 1
    return (3 if suffix == "jpg" else 4, height, width), found


def _map_tiles(path: Path) -> tuple[tuple[int, ...], list[np.ndarray]]:
    facts = json.loads((path / "tiles.json").read_text())
    suffix = facts["tiles"][0].rpartition(".")[2]
    height, width, top = facts["height"], facts["width"], facts["maxzoom"]
    assert f"[{height}, {width}]" in (path / "index.html").read_text()
    found = []
    for level in range(top + 1):
        h, w = -(-height // 2 ** (top - level)), -(-width // 2 ** (top - level))
        for row in range(-(-h // 256)):
            for column in range(-(-w // 256)):
                inside = np.s_[: min(256, h - 256 * row), : min(256, w - 256 * column), :3]
                found.append(np.asarray(Image.open(path / f"{level}/{column}/{row}.{suffix}"))[inside])
    return (3 if suffix == "jpg" else 4, height, width), found


class Blow(BaseException):
    """What ends the write."""


class Blows:
    """Ends the write at the n-th change of a name after all bytes are there: before the change or after it, once like a
    signal, or for good like a kill, after which nothing else happens. Signals strike the main thread only."""

    def __init__(self, patch: pytest.MonkeyPatch, number: int, after: bool, for_good: bool) -> None:
        self.left, self.after, self.for_good, self.struck = number, after, for_good, False
        for name in STEPS:
            patch.setattr(os, name, self.around(getattr(os, name)))
        patch.setattr(replace, "exchange", self.around(replace.exchange))
        self.armed, finish = False, replace.write_list

        def finished(*arguments: object) -> None:
            self.armed = True
            finish(*arguments)

        patch.setattr(replace, "write_list", finished)

    def around(self, call: Callable[..., object]) -> Callable[..., object]:
        def changed(*arguments: object, **options: object) -> object:
            if not self.armed or threading.current_thread() is not threading.main_thread():
                return call(*arguments, **options)
            self.left -= 1
            strikes = self.left == -1 or (self.left < 0 and self.for_good)
            self.struck |= strikes
            if not strikes or (self.after and self.left == -1):
                result = call(*arguments, **options)
            if strikes:
                raise Blow
            return result

        return changed


def cannot_exchange(one: Path, other: Path) -> None:
    raise OSError(errno.EINVAL, "no exchange")


def struck_everywhere(tmp_path: Path, name: str, for_good: bool) -> Iterator[Path]:
    """Folders where the new poster was written over the old one, ended at each step in turn."""
    (tmp_path / "old").mkdir()
    write_old(tmp_path / "old" / name)
    for number, after in itertools.product(range(100), (False, True)):
        folder = tmp_path / f"{number}-{after}"
        shutil.copytree(tmp_path / "old", folder, symlinks=True)
        with pytest.MonkeyPatch.context() as patch:
            blows = Blows(patch, number, after, for_good)
            with contextlib.suppress(Blow):
                write_new(folder / name)
        yield folder
        shutil.rmtree(folder)
        if not blows.struck:
            return
    pytest.fail("never ran to its end")


@pytest.mark.parametrize("how", ["signal", "signal, no exchange", "kill"])
@pytest.mark.parametrize("name", FOLDERS)
def test_whatever_step_is_the_last_the_old_or_the_new_poster_is_there(tmp_path, monkeypatch, name, how):
    if how == "signal, no exchange":
        monkeypatch.setattr(replace, "exchange", cannot_exchange)
    seen = []
    for folder in struck_everywhere(tmp_path, name, how == "kill"):
        seen.append(shade_of(folder / name))
        write_new(folder / name)  # the next process finds its way, and tidies up
        assert shade_of(folder / name) == 0.75
        assert not [path for path in folder.iterdir() if path.is_symlink() or path.name.startswith(".")]
    assert {0.25, 0.75} == set(seen)
    assert len(seen) > 10


@pytest.mark.parametrize("what", ["check", "file", *FOLDERS])
def test_a_signal_leaves_nothing_about(tmp_path, monkeypatch, what):
    """Also where it strikes what removes the rest: there is one only, so that it can be done once more."""
    writers = {"check": lambda: check_output(tmp_path / "a.png"), "file": lambda: write(tmp_path / "a.png", OLD, 0.25)}
    write_one = writers.get(what, lambda: write_old(tmp_path / what))
    for number, after in itertools.product(range(400), (False, True)):
        with pytest.MonkeyPatch.context() as patch:
            blows = Blows(patch, number, after, for_good=False)
            blows.armed = True
            with contextlib.suppress(Blow):
                write_one()
        assert not [one for one in os.listdir(tmp_path) if one.startswith(".tiler-")], (number, after)
        if not blows.struck:
            return
    pytest.fail("never ran to its end")


def test_what_is_still_being_written_when_a_signal_strikes_goes_as_well(tmp_path):
    """Libraries write on threads of their own."""

    def write_on(folder: Path) -> None:
        for number in range(2000):
            with contextlib.suppress(OSError):
                (folder / f"{number}").mkdir()
            time.sleep(0.0001)

    with contextlib.suppress(Blow), replace.scratch(tmp_path / "a") as folder:
        thread = threading.Thread(target=write_on, args=(folder,))
        thread.start()
        time.sleep(0.01)
        raise Blow
    thread.join()
    assert os.listdir(tmp_path) == []


def test_chunks_on_their_way_when_a_signal_strikes_are_waited_for(tmp_path, monkeypatch):
    """Or they would make the folder anew, once it is gone."""
    kept = zarr.storage.LocalStore.set

    async def late(store: object, key: str, value: object) -> None:
        if "/c/" in key:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            await asyncio.sleep(0.3)
        await kept(store, key, value)

    def strike(*arguments: object) -> None:
        raise Blow

    monkeypatch.setattr(zarr.storage.LocalStore, "set", late)
    before = signal.signal(signal.SIGALRM, strike)
    try:
        with contextlib.suppress(Blow):
            write_old(tmp_path / "a.zarr")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    time.sleep(0.4)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["tiles", "a.dzi"])
def test_tiles_on_their_way_when_a_signal_strikes_are_waited_for(tmp_path, monkeypatch, name):
    """libvips makes the folders of a tile anew where they are gone."""
    struck = []

    def strike(*arguments: object) -> None:
        struck.append(arguments)
        raise Blow

    def slow(pixels: object, height: int, width: int, save: Callable[[object], None]) -> None:
        def late(image: object) -> None:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            time.sleep(0.4)
            save(image)

        stream.consume(pixels, height, width, late)

    monkeypatch.setattr(tiles if name == "tiles" else deepzoom, "consume", slow)
    before = signal.signal(signal.SIGALRM, strike)
    try:
        with contextlib.suppress(Blow):
            write_old(tmp_path / name)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert struck
    time.sleep(0.6)
    assert os.listdir(tmp_path) == []


WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_pictures_replace import write_new, write_old
path = Path(sys.argv[2])
from tiler.cli.stop import stoppable
print("ready", flush=True)
while True:
    write_new(path)
    write_old(path)
"""


def soak(folder: Path, name: str, signals: int, seed: int) -> dict[float, int]:
    """How often the old and how often the new poster was there after signals at random moments of writing."""
    choose = random.Random(seed)
    path, seen = folder / name, {0.25: 0, 0.75: 0}
    write_old(path)
    code = WRITER.replace("from tiler.cli.stop import stoppable\n", "").replace(
        "print(", "import signal\nsignal.signal(signal.SIGTERM, signal.default_int_handler)\nprint("
    )
    for _ in range(signals):
        command = [sys.executable, "-c", code, str(Path(__file__).parent), str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as writer:
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(choose.uniform(0, 0.3))
            number = choose.choice([signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
            while writer.poll() is None:  # one that strikes within a finaliser is lost (see tiler/cli/stop.py)
                writer.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    writer.wait(5)
        seen[shade_of(path)] += 1
    write_new(path)
    assert not [one for one in os.listdir(folder) if one.startswith(".")]
    return seen


@pytest.mark.parametrize("name", FOLDERS)
def test_signals_at_random_moments(tmp_path, name):
    assert sum(soak(tmp_path, name, 2, seed=5).values()) == 2


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", FOLDERS)
def test_two_hundred_signals_at_random_moments(tmp_path, name):
    seed = int(os.environ.get("TILER_SEED", "1"))
    seen = soak(tmp_path, name, 200, seed)
    print(f"{name}: seed {seed}, old {seen[0.25]}, new {seen[0.75]}")
    assert min(seen.values()) > 10


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("below", [False, True])
def test_a_foreign_file_is_refused_and_stays(tmp_path, name, below):
    write_old(tmp_path / name)
    folder = tmp_path / ("a_files" if name == "a.dzi" else name)
    foreign = folder / ("0" if below else ".") / "thesis.txt"
    foreign.write_text("mine")
    for call in (write_new, check_xyz if name == "tiles" else check_output):
        with pytest.raises(OutputError, match=r"thesis\.txt") as caught:
            call(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert foreign.read_text() == "mine"
    assert shade_of(tmp_path / name) == 0.25


@pytest.mark.parametrize("name", FOLDERS)
def test_what_only_looks_like_ours_is_refused(tmp_path, name):
    """Names that others use as well: TileJSON's own, a level of a pyramid, an attribute."""
    folder = tmp_path / ("a_files" if name == "a.dzi" else name)
    (folder / "0").mkdir(parents=True)
    (folder / "tiles.json").write_text("{}")
    (folder / "zarr.json").write_text(json.dumps({"attributes": {"tiler_poster": {}}}))
    (folder / "zoom.json").write_text("{}")
    before = sorted(folder.rglob("*"))
    with pytest.raises(OutputError, match="something else"):
        write_new(tmp_path / name)
    assert sorted(folder.rglob("*")) == before
    assert sorted(os.listdir(tmp_path)) == [folder.name]


def test_a_changed_file_of_ours_is_not_ours_any_more(tmp_path):
    write_old(tmp_path / "tiles")
    with open(tmp_path / "tiles" / "index.html", "a") as page:
        page.write("<!-- my own words -->")
    with pytest.raises(OutputError, match=r"index\.html"):
        write_new(tmp_path / "tiles")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("made", ["pipe", "device", "link", "larger than any"])
@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_no_file_of_ours_is_not_opened_as_the_mark(tmp_path, name, made):
    """A folder that somebody sent may hold a pipe there, which would be waited for, or what has no end."""
    folder = tmp_path / ("a_files" if name == "a.dzi" else name)
    write_old(tmp_path / name)
    mark = next(folder.rglob(".tiler-output"))
    kept = mark.rename(tmp_path / "kept")
    if made == "pipe":
        os.mkfifo(mark)
    elif made == "larger than any":
        mark.touch()
        os.truncate(mark, 2**40)
    else:
        mark.symlink_to("/dev/zero" if made == "device" else kept)
    with pytest.raises(OutputError, match="something else"):
        write_new(tmp_path / name)
    assert not remove_ours(folder)
    assert len(list(folder.rglob("*"))) > 4


@pytest.mark.timeout(60)
@pytest.mark.parametrize("made", ["pipe", "device"])
def test_what_is_no_group_is_not_opened_as_one(tmp_path, made):
    (tmp_path / "a.zarr").mkdir()
    place = tmp_path / "a.zarr" / "zarr.json"
    os.mkfifo(place) if made == "pipe" else place.symlink_to("/dev/zero")
    with pytest.raises(OutputError, match="something else"):
        check_output(tmp_path / "a.zarr")


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("name", FOLDERS)
def test_a_link_by_the_name_that_old_folders_have_for_a_moment_leads_nowhere(tmp_path, name, there):
    """Whoever sends a folder may have put it there, and know where somebody keeps a map."""
    (tmp_path / "sent").mkdir()
    (tmp_path / "mine").mkdir()
    write_old(tmp_path / "mine" / name)
    if there:
        write_old(tmp_path / "sent" / name)
    folder = "a_files" if name == "a.dzi" else name
    replace._aside(tmp_path / "sent" / folder).symlink_to(tmp_path / "mine" / folder)
    write_new(tmp_path / "sent" / name)
    assert shade_of(tmp_path / "sent" / name) == 0.75
    assert not (tmp_path / "sent" / folder).is_symlink()
    assert shade_of(tmp_path / "mine" / name) == 0.25


@pytest.mark.parametrize("there", [False, True])
def test_a_link_by_the_name_of_the_page_leads_nowhere(tmp_path, there):
    """The page's name is nobody's wish."""
    if there:
        (tmp_path / "mine").write_text("mine")
    (tmp_path / "a.html").symlink_to(tmp_path / "mine")
    for write_one in (write_old, write_new):
        write_one(tmp_path / "a.dzi")
        assert (tmp_path / "mine").exists() == there
        assert not there or (tmp_path / "mine").read_text() == "mine"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["a.dzi", "a.html"])
def test_a_file_beside_the_tiles_that_is_larger_than_any_of_ours_is_not_read(tmp_path, name):
    write_old(tmp_path / "a.dzi")
    (tmp_path / name).write_bytes(b"")
    os.truncate(tmp_path / name, 2**40)
    write_new(tmp_path / "a.dzi")
    if name == "a.html":  # is somebody's
        assert (tmp_path / name).stat().st_size == 2**40
    else:
        assert shade_of(tmp_path / name) == 0.75


@pytest.mark.parametrize("made", ["link", "pipe", "link to a folder"])
def test_links_and_pipes_in_a_folder_of_ours_are_neither_followed_nor_removed(tmp_path, made):
    write_old(tmp_path / "tiles")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "0.jpg").write_text("precious")
    place = tmp_path / "tiles" / "0" / "0" / "0.jpg"
    place.unlink()
    if made == "pipe":
        os.mkfifo(place)
    elif made == "link":
        place.symlink_to(tmp_path / "elsewhere" / "0.jpg")
    else:
        shutil.rmtree(place.parent)
        place.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="something else"):
        write_new(tmp_path / "tiles")
    assert not remove_ours(tmp_path / "tiles")
    assert (tmp_path / "elsewhere" / "0.jpg").read_text() == "precious"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"tiler": "map tiles"}', '{"tiler": "map tiles", "files": [1]}', '{"files": {}}', "[" * 100_000],
)
def test_a_mark_that_is_none(tmp_path, text):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / ".tiler-output").write_text(text)
    (tmp_path / "t" / "a").write_text("mine")
    with pytest.raises(OutputError, match="something else"):
        check_ours(tmp_path / "t", TILES)
    assert not remove_ours(tmp_path / "t")
    assert (tmp_path / "t" / "a").read_text() == "mine"


def test_a_list_from_elsewhere_leads_nowhere(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "t").mkdir()
    write_list(tmp_path / "t", TILES, {"../mine": 4, str(tmp_path / "mine"): 4, "../": None})
    assert remove_ours(tmp_path / "t")
    assert os.listdir(tmp_path) == ["mine"]


def test_a_link_is_never_ours(tmp_path):
    """Whatever its name is, and wherever it lies."""
    folder = tmp_path / "t"
    (folder / "0").mkdir(parents=True)
    for name in ("0/1.jpg", "Thumbs.db"):
        (folder / name).symlink_to("nowhere")
    write_list(folder, TILES, {"0/": None})
    assert not remove_ours(folder)
    assert sorted(path.name for path in folder.rglob("*") if path.is_symlink()) == ["1.jpg", "Thumbs.db"]


def test_a_folder_of_another_kind_is_not_replaced(tmp_path):
    (tmp_path / "t").mkdir()
    write_list(tmp_path / "t", FRAMES, {"zoom.json": None})
    (tmp_path / "t" / "zoom.json").write_text("{}")
    check_ours(tmp_path / "t", FRAMES)
    with pytest.raises(OutputError, match="map tiles"):
        check_xyz(tmp_path / "t")
    assert read_list(tmp_path / "t", TILES) == {}


def test_what_file_managers_leave_is_nobodys(tmp_path):
    write_old(tmp_path / "tiles")
    for name in (".DS_Store", "0/Thumbs.db"):
        (tmp_path / "tiles" / name).write_text("")
    write_new(tmp_path / "tiles")
    assert shade_of(tmp_path / "tiles") == 0.75
    assert os.listdir(tmp_path) == ["tiles"]


def test_what_comes_into_the_old_folder_at_the_last_moment_is_kept(tmp_path, monkeypatch):
    write_old(tmp_path / "tiles")
    exchange = replace.exchange

    def late(new: Path, final: Path) -> None:
        (final / "thesis.txt").write_text("mine")
        exchange(new, final)

    monkeypatch.setattr(replace, "exchange", late)
    with pytest.raises(OutputError, match=r"is written; .*kept"):
        write_new(tmp_path / "tiles")
    assert shade_of(tmp_path / "tiles") == 0.75
    [kept] = [name for name in os.listdir(tmp_path) if "kept" in name]
    assert (tmp_path / kept / "thesis.txt").read_text() == "mine"


def test_scratch_of_killed_processes_is_removed_and_of_living_ones_is_not(tmp_path):
    (tmp_path / ".tiler-0123456789ab.part" / "new").mkdir(parents=True)
    (tmp_path / ".tiler-0123456789ab.part" / "new" / "half").write_text("")
    (tmp_path / ".tiler-notes.part").mkdir()
    with replace.scratch(tmp_path / "a") as living:
        (living / "new").write_text("")
        with replace.scratch(tmp_path / "b"):
            assert (living / "new").exists()
        check_output(tmp_path / "c.png")
        assert (living / "new").exists()
    assert os.listdir(tmp_path) == [".tiler-notes.part"]


@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_left_of_a_kill_after_the_exchange_is_removed_but_for_what_others_put_there(tmp_path, name):
    write_old(tmp_path / name)
    left = tmp_path / ".tiler-0123456789ab.part"
    left.mkdir()
    (tmp_path / ("a_files" if name == "a.dzi" else name)).rename(left / "new")
    (left / "new" / "thesis.txt").write_text("mine")
    write_new(tmp_path / name)
    assert (left / "new" / "thesis.txt").read_text() == "mine"
    assert len(list(left.rglob("*.jpg"))) == 0
    (left / "new" / "thesis.txt").unlink()
    write_old(tmp_path / name)
    assert not left.exists()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_file_keeps_its_mode(tmp_path, mode):
    write(tmp_path / "a.png", OLD, 0.25)
    os.chmod(tmp_path / "a.png", mode)
    write(tmp_path / "a.png", OLD, 0.75)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.webp", *FOLDERS])
def test_a_new_output_obeys_the_umask(tmp_path, name):
    before = os.umask(0o027)
    try:
        write_old(tmp_path / name) if not name.endswith(("png", "tif", "jpg", "webp")) else write(
            tmp_path / name, OLD, 0.5
        )
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640), path


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_keeps_its_mode(tmp_path, name):
    write_old(tmp_path / name)
    folder = tmp_path / ("a_files" if name == "a.dzi" else name)
    os.chmod(folder, 0o700)
    write_new(tmp_path / name)
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["a.png", *FOLDERS])
@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_points_to_is_written(tmp_path, name, there):
    (tmp_path / "large disk").mkdir()
    (tmp_path / "here").mkdir()
    target = tmp_path / "large disk" / ("b" + Path(name).suffix)
    if name == "a.png":
        if there:
            target.write_bytes(b"old")
        (tmp_path / "here" / name).symlink_to(target)
        write(tmp_path / "here" / name, OLD, 0.75)
        assert Image.open(target).size == (28, 30)
    else:
        link = tmp_path / "here" / ("a_files" if name == "a.dzi" else name)
        if there:
            write_old(tmp_path / "large disk" / name)
        else:
            target = tmp_path / "large disk" / "new"
        link.symlink_to(tmp_path / "large disk" / link.name if there else target)
        write_new(tmp_path / "here" / name)
        assert shade_of(tmp_path / "here" / name) == 0.75
        assert link.is_symlink()
        assert link.is_dir()
    assert (tmp_path / "here" / name).is_symlink() == (name != "a.dzi")


@pytest.mark.parametrize("name", ["p\udcff.png", "p\udcff.tif", "p\udcff.jpg", "p\udcff.webp", "p\udcff.dzi",
                                  "p\udcff.zarr", "p\udcff"])  # fmt: skip
def test_names_that_are_no_text(tmp_path, name):
    folder = tmp_path / "f\udcfe"
    folder.mkdir()
    for _ in range(2):
        write(folder / name, OLD, 0.25)
    assert fingerprint(folder / name)
    if Path(name).suffix in (".dzi", ".zarr", ""):
        page = {".dzi": "p\udcff.html", "": "p\udcff/index.html"}.get(Path(name).suffix)
        assert page is None or "p�" in (folder / page).read_text(encoding="utf-8")
        assert Path(name).suffix == ".dzi" or shade_of(folder / name) == 0.25
    assert not [one for one in os.listdir(folder) if one.startswith(".")]


def test_a_page_of_somebody_elses_stays_also_when_it_was_ours(tmp_path):
    write_old(tmp_path / "a.dzi")
    page = tmp_path / "a.html"
    page.write_text(page.read_text() + "<!-- my own words -->")
    write_new(tmp_path / "a.dzi")
    assert page.read_text().endswith("my own words -->")
    page.unlink()
    write_new(tmp_path / "a.dzi")
    assert shade_of(tmp_path / "a.dzi") == 0.75


def test_a_name_that_looks_like_a_tiles_and_one_that_looks_like_a_script(tmp_path):
    for name in ("m{z}{x}", "a<!--<script>b"):
        write_picture(
            tmp_path / f"{name}.dzi", 30, 28, [np.full((3, 30, 28), 0.5, np.float32)], metadata={"<i>": "<b>"}
        )
        page = (tmp_path / f"{name}.html").read_text()
        script = page.partition("<script>")[2].partition("</script>")[0]
        assert "<" not in script.partition("const facts = ")[2].partition("\n")[0]
        assert not {"<b>", "<i>", "<!--<script>"} & {word for word in ("<b>", "<i>", "<!--<script>") if word in page}
        if name.startswith("m"):
            assert '"folder": "m%7Bz%7D%7Bx%7D_files"' in script
            assert "facts.folder" in script


def test_in_a_folder_like_tmp_only_the_owner_may_replace_a_file(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"of another user")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    check_output(tmp_path / "a.png", 20, 30)
    tmp_path.chmod(0o1777)
    check_output(tmp_path / "b.png", 20, 30)
    with pytest.raises(OutputError, match=r"a\.png belongs to another user"):
        check_output(tmp_path / "a.png", 20, 30)
    monkeypatch.undo()
    check_output(tmp_path / "a.png", 20, 30)


def test_names_change_places_or_it_is_said_why_not(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"of {name}").touch()
    replace.exchange(tmp_path / "a", tmp_path / "b")
    assert [os.listdir(tmp_path / name) for name in ("a", "b")] == [["of b"], ["of a"]]
    with pytest.raises(FileNotFoundError) as error:
        replace.exchange(tmp_path / "a", tmp_path / "none")
    assert (error.value.errno, error.value.filename) == (errno.ENOENT, str(tmp_path / "none"))
    assert os.listdir(tmp_path / "a") == ["of b"]

"""Names that are no regular files, and places that nothing can be written to."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from bad_case import GOOD, Case, as_content, render


def _socket(path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path.name)
    listener.close()


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _filled_folder(path: Path) -> None:
    (path / "album").mkdir(parents=True)
    (path / "photo.jpg").write_bytes(b"precious")


THINGS: dict[str, Callable[[Path], None]] = {
    "folder": Path.mkdir,
    "full folder": _filled_folder,
    "pipe": os.mkfifo,
    "socket": _socket,
    "link to itself": _loop,
    "link to nothing": _dangling,
    "link to a device": _device,
    "file": Path.touch,
}
NAMES = {
    "a missing file": "none.png",
    "a device": "/dev/null",
    "an endless device": "/dev/zero",
    "a file below a file": "content.png/a.png",
    "a name that is too long": "x" * 300 + ".png",
    "a name of many lines": "a\nb\x1b[2J.png",
    "a name that is no text": "a\udcff.png",
    "a web address": "http://127.0.0.1:9/a.png",
    "another scheme": "s3://bucket/a.png",
    "a wildcard": "*.png",
    "a home": "~no-such-user/a.png",
    "libvips' options": "none.png[page=3]",
    "process memory": "/proc/self/mem",
    "a folder above": "..",
}
OUTPUTS = {
    "no extension": "poster",
    "unknown extension": "poster.gif",
    "pickled": "poster.pkl",
    "missing folder": "nowhere/poster.png",
    "below a file": "content.png/poster.png",
    "a device": "/dev/null",
    "no name": ".png",
    "a folder": ".",
    "an input": "content.png",
    "an input by another way": "./sub/../content.png",
    "a style": "style.png",
    "a name that is too long": "x" * 300 + ".png",
    "a read-only file system": "/proc/poster.png",
    "a web address": "http://127.0.0.1:9/poster.png",
    "too large for its format": "poster.webp",
}
STORES = {
    "an unknown scheme": "nonsense://x/y",
    "only a scheme": "s3://",
    "a file below a file": "content.png/job.zarr",
    "a picture": "content.png",
    "a device": "/dev/null",
    "a folder in use": "/usr",
    "a read-only file system": "/proc/job.zarr",
    "a name that is too long": "x" * 300,
}


def _thing(name: str, words: Callable[[str], list[str]], suffix: str) -> Case:
    file = f"{name.replace(' ', '-')}{suffix}"

    def make(folder: Path) -> list[str]:
        THINGS[name](folder / file)
        return words(file)

    return Case(make, (file,))


def _output(name: str) -> Case:
    path = OUTPUTS[name]

    def make(folder: Path) -> list[str]:
        (folder / "sub").mkdir()
        more = ["--long-edge", "20000"] if path.endswith("webp") else []
        return render("-o", path, *more)

    return Case(make, (path[:6],))


def _saved_page(folder: Path) -> list[str]:
    """What a browser puts beside a page that it saves as poster.html."""
    _filled_folder(folder / "poster_files")
    return render("-o", "poster.dzi")


def _beside_tiles(folder: Path) -> list[str]:
    (folder / "tiles").mkdir()
    return render("-o", "tiles/poster.png", "--tiles", "tiles", "--store", "job.zarr")


def _from_empty_folder(*more: str) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        (folder / "empty").mkdir()
        os.chdir(folder / "empty")
        return ["render", "../content.png", "../style.png", *more]

    return make


def _as_poster(file: str) -> list[str]:
    return render("-o", file)


def _as_store(file: str) -> list[str]:
    return render("--store", file)


def _as_forced_store(file: str) -> list[str]:
    return render("--store", file, "--force-new")


def _to_look_at(file: str) -> list[str]:
    return ["info", file]


def _as_job_file(file: str) -> list[str]:
    return ["render", "--job", file, *GOOD]


NOT_AS_POSTER = ("file", "link to nothing", "link to itself")
NOT_AS_STORE = ("folder",)
NOT_AS_JOB = ("file",)
CASES = {
    **{f"{thing} as picture": _thing(thing, as_content, ".png") for thing in THINGS},
    **{f"{thing} as poster": _thing(thing, _as_poster, ".png") for thing in THINGS if thing not in NOT_AS_POSTER},
    **{f"{thing} as store": _thing(thing, _as_store, ".zarr") for thing in THINGS if thing not in NOT_AS_STORE},
    **{f"{thing} as store, by force": _thing(thing, _as_forced_store, ".zarr")
       for thing in THINGS if thing not in NOT_AS_STORE},
    **{f"{thing} to look at": _thing(thing, _to_look_at, ".zarr") for thing in THINGS},
    **{f"{thing} as job file": _thing(thing, _as_job_file, ".toml") for thing in THINGS if thing not in NOT_AS_JOB},
    **{f"{name} as picture": Case(lambda folder, path=path: as_content(path), (path[:1],))
       for name, path in NAMES.items()},
    **{f"{name} as start": Case(lambda folder, path=path: render("--init", path), (path[:1],))
       for name, path in NAMES.items()},
    **{f"poster: {name}": _output(name) for name in OUTPUTS},
    "poster: at its own store": Case(lambda folder: render("-o", "a.zarr", "--store", "./a.zarr"), ("the state",)),
    "poster: in the folder of tiles": Case(_beside_tiles, ("tiles", "the poster")),
    "tiles: at the store": Case(lambda folder: render("--tiles", "poster.zarr"), ("the state of a job",)),
    "tiles: around the store": Case(lambda folder: render("--tiles", "t", "--store", "t/s"), ("t/s", "the state")),
    "tiles: for a DeepZoom poster's": Case(lambda folder: render("-o", "a.dzi", "--tiles", "a_files"), ("a_files",)),
    "tiles: the current folder": Case(_from_empty_folder("--tiles", "."), (".: cannot be replaced",)),
    "tiles: the folder above": Case(_from_empty_folder("--tiles", "../empty/.."), ("..: cannot be replaced",)),
    "demo: the current folder": Case(lambda folder: ["demo", "-o", "."], (".: has no extension",)),
    "demo: unknown extension": Case(lambda folder: ["demo", "-o", "poster.gif"], ("poster.gif",)),
    "poster: tiles over a saved page": Case(_saved_page, ("poster.dzi", "poster_files")),
    "poster: tiles of a name that is too long": Case(lambda folder: _as_poster("x" * 251 + ".dzi"), ("xxx_files",)),
    **{f"store: {name}": Case(lambda folder, path=path: _as_store(path), (path[:9],))
       for name, path in STORES.items()},
    **{f"store by force: {name}": Case(lambda folder, path=path: _as_forced_store(path), (path[:9],))
       for name, path in STORES.items()},
    **{f"look at: {name}": Case(lambda folder, path=path: ["info", path], (path[:9],))
       for name, path in STORES.items()},
}  # fmt: skip

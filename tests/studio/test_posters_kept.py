"""The studio's posters without a server and without a render: what is told of them, and what is done to them."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiler.errors import ConfigError, StoreError
from tiler.geometry import Level, Rect
from tiler.queue.marks import Marks
from tiler.queue.queue import Queue
from tiler.request.config import RenderConfig
from tiler.studio import posters as module
from tiler.studio.folder import Folder
from tiler.studio.posters import Posters

JOB = 'content = "../c.png"\nstyles = ["../s.png"]\noutput = "%s.png"\n'


@pytest.fixture
def held(tmp_path: Path) -> Folder:
    (tmp_path / "studio").mkdir()
    return Folder(tmp_path / "studio")


@pytest.fixture
def posters(held: Folder) -> Posters:
    """Of the jobs b and a, in this order."""
    made = Posters(held, ["tcp://x:1"])
    made.place.mkdir()
    for name in "ab":
        (made.place / f"{name}.toml").write_text(JOB % name)
    Marks(made.place).set_order(["b", "a"])
    return made


def _done(posters: Posters, name: str) -> None:
    Marks(posters.place).set_state(name, "done", text=(posters.place / f"{name}.toml").read_bytes())


def _config(**more: Any) -> RenderConfig:
    return RenderConfig(**{"content": "/c.png", "styles": ("/s.png",), "output": "preview.png", **more})


def test_nothing_is_told_where_nothing_is(held: Folder) -> None:
    told = {"jobs": [], "on": False, "trouble": "", "folder": "posters", "machines": ["tcp://x:1"]}
    assert Posters(held, ["tcp://x:1"]).told() == told
    assert not (held.root / "posters").exists()


def test_what_is_told_of_posters(posters: Posters, held: Folder) -> None:
    """Those in the queue first; then those that have a store and a file, but no job any more."""
    place = posters.place
    for name, size in (("b.png", 5), ("a.png", 6), ("b-so-far.tif", 3), ("old.jpg", 9), ("no-store.png", 4)):
        (place / name).write_bytes(b"x" * size)
    for name in ("old", "no-file", "a"):
        (place / f"{name}.zarr").mkdir()
    (place / "a.zarr" / "zarr.json").write_text("{}")
    _done(posters, "b")
    Marks(place).write("a", "plan", seconds=70)
    Marks(place).set_state("a", "failed", f"{held.root}/c.png: is gone", (place / "a.toml").read_bytes())
    assert posters.told()["jobs"] == [
        {"name": "b", "state": "done", "reason": "", "share": 1.0, "seconds_left": None, "queued": True,
         "has_store": False, "so_far": "b-so-far.tif", "file": "b.png", "bytes": 5},
        {"name": "a", "state": "failed", "reason": "c.png: is gone", "share": 0.0, "seconds_left": 70, "queued": True,
         "has_store": True, "so_far": None, "file": None, "bytes": 0},
        {"name": "old", "state": "done", "reason": "", "share": 1.0, "seconds_left": None, "queued": False,
         "has_store": True, "so_far": None, "file": "old.jpg", "bytes": 9},
    ]  # fmt: skip


def test_a_poster_elsewhere_is_not_handed_out(posters: Posters, held: Folder) -> None:
    (posters.place / "a.toml").write_text((JOB % "a").replace("a.png", "../a.png"))
    (held.root / "a.png").write_bytes(b"x")
    (posters.place / "a.png").write_bytes(b"y")
    _done(posters, "a")
    assert {job["name"]: job["file"] for job in posters.told()["jobs"]} == {"b": None, "a": None}


def test_the_posters_are_in_a_folder(held: Folder) -> None:
    (held.root / "posters").write_text("")
    with pytest.raises(ConfigError, match=r"^posters: is no folder, or a link"):
        Posters(held).told()


@pytest.mark.parametrize("name", ["a.zarr", "a.toml", "../x.png", "sub/x.png", "a", ".x.png", "gone.png"])
def test_a_file_is_a_poster_s(posters: Posters, held: Folder, name: str) -> None:
    (posters.place / "sub").mkdir()
    for path in ("x.png", "posters/sub/x.png", "posters/.x.png", "posters/a", "posters/a.webp"):
        (held.root / path).write_bytes(b"x")
    with pytest.raises(ConfigError, match="there is no such"):
        posters.file(name)
    assert posters.file("a.webp") == posters.place / "a.webp"


def test_a_store_is_a_folder_of_that_name(posters: Posters) -> None:
    for name in ("a.zarr", ".h.zarr"):
        (posters.place / name).mkdir()
    (posters.place / "f.zarr").write_text("")
    (posters.place / "l.zarr").symlink_to(posters.place / "a.zarr")
    assert posters.store("a") == str(posters.place / "a.zarr")
    for name in ("b", ".h", "f", "l", "a.zarr", ""):
        with pytest.raises(ConfigError, match=f"^{name}: nothing is there of it yet$"):
            posters.store(name)


def test_the_last_that_were_watched_are_kept(posters: Posters, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(module, "Watch", lambda url: made.append(Path(url).stem) or SimpleNamespace(url=url))
    names = [f"n{number}" for number in range(9)]
    for name in names:
        (posters.place / f"{name}.zarr").mkdir()
    first = [posters.watch(name) for name in names[:8]]
    assert posters.watch("n0") is first[0]
    posters.watch("n8")
    assert posters.watch("n0") is first[0]
    assert made == names
    assert posters.watch("n1") is not first[1]
    assert made[9:] == ["n1"]


class Seen:
    """As Watched, of levels of a size; those from `begun` on are not finished. Each is of a shade of its own."""

    def __init__(self, sizes: list[tuple[int, int]], begun: int) -> None:
        cut = [Level(k, height, width, 1, 0.1) for k, (height, width) in enumerate(sizes)]
        self.job = SimpleNamespace(cut=SimpleNamespace(levels=cut))
        self.levels = [SimpleNamespace(report={} if k < begun else None) for k in range(len(sizes))]

    def read(self, level: int, rect: Rect) -> np.ndarray:
        pixels = np.full((3, rect.height, rect.width), 0.1 + level / 5, np.float32)
        pixels[0] += 0.4
        pixels[2] -= 9.0
        return pixels


@pytest.mark.parametrize(
    ("sizes", "which"),
    [
        ([(20, 30), (700, 1024), (1400, 2048)], 1),
        ([(20, 30), (1024, 700), (1025, 701)], 1),
        ([(20, 30), (700, 1025)], 0),
        ([(1100, 700), (1600, 1400)], 0),
        ([(20, 30), (40, 60)], 1),
    ],
)
def test_a_view_is_the_finest_level_that_is_small(
    posters: Posters, monkeypatch: pytest.MonkeyPatch, sizes: list[tuple[int, int]], which: int
) -> None:
    (posters.place / "a.zarr").mkdir()
    seen = {str(posters.place / "a.zarr"): Seen(sizes, len(sizes))}
    monkeypatch.setattr(module.Watched, "of", seen.get)
    with Image.open(io.BytesIO(posters.view("a"))) as found:
        assert (found.format, found.size) == ("JPEG", sizes[which][::-1])
        red, green, blue = found.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert (red, green, blue) == pytest.approx((255 * (0.5 + which / 5), 255 * (0.1 + which / 5), 0), abs=3)


def test_what_is_not_finished_has_no_view(posters: Posters, monkeypatch: pytest.MonkeyPatch) -> None:
    (posters.place / "a.zarr").mkdir()
    monkeypatch.setattr(module.Watched, "of", lambda url: Seen([(20, 30), (40, 60)], 1))
    with pytest.raises(ConfigError, match=r"^a: is not finished yet$"):
        posters.view("a")


# What is done --------------------------------------------------------------------------------------------------------


def test_a_poster_is_placed_where_nothing_is_yet(posters: Posters) -> None:
    (posters.place / "c.webp").write_bytes(b"x")
    for name, suffix, file in (("c", ".tif", "c-2.tif"), ("a", ".png", "a-2.png"), ("d e", ".jpg", "d-e.jpg")):
        assert posters.placed(_config(), name, suffix) == _config(output=str(posters.place / file))
    with pytest.raises(ConfigError, match=r"^format = \.gif; allowed: \.png \.tif \.jpg \.webp$"):
        posters.placed(_config(), "c", ".gif")


def test_a_plan_before_the_first_poster_makes_no_queue(held: Folder) -> None:
    found = Posters(held).placed(_config(), "c", ".tif")
    assert found.output == str(held.own / "c.tif")
    assert not (held.root / "posters").exists()


def test_what_cannot_be_added_leaves_no_folder(held: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    posters = Posters(held)
    for _ in range(2):
        with pytest.raises(ConfigError, match="format"):
            posters.add(_config(), "c", ".gif")
        assert not (held.root / "posters").exists()
    (held.root / "posters").mkdir()
    with pytest.raises(ConfigError, match="format"):
        posters.add(_config(), "c", ".gif")
    assert (held.root / "posters").is_dir()
    added: list[Any] = []
    monkeypatch.setattr(Queue, "add", lambda self, *given: added.append(given) or SimpleNamespace(name="given"))
    assert posters.add(_config(), "c d", ".jpg") == "given"
    assert added == [(_config(output=str(posters.place / "c-d.jpg")), "c-d")]


def test_a_job_is_moved_and_steered(posters: Posters) -> None:
    def states() -> dict[str, str]:
        return {job.name: job.state for job in posters.queue.jobs()}

    posters.act("a", "up")
    assert [*states()] == ["a", "b"]
    for what, state in (("pause", "paused"), ("resume", "waiting"), ("stop", "stopped")):
        posters.act("b", what)
        assert states() == {"a": "waiting", "b": state}
    posters.act("a", "last")
    assert [*states()] == ["b", "a"]
    posters.act("b", "remove")
    assert states() == {"a": "waiting"}
    with pytest.raises(ConfigError, match=r"^add: allowed: pause, stop, resume, remove, up, down, first, last$"):
        posters.act("a", "add")


@pytest.mark.parametrize(
    ("output", "done", "file", "state"),
    [("a.tif", False, "a-so-far.tif", "stopped"), ("a.gif", False, "a-so-far.png", "stopped"),
     ("a.tif", True, "a-so-far.tif", "done")],
)  # fmt: skip
def test_what_there_is_is_kept_beside_the_poster(
    posters: Posters, monkeypatch: pytest.MonkeyPatch, output: str, done: bool, file: str, state: str
) -> None:
    (posters.place / "a.zarr").mkdir()
    (posters.place / "a.toml").write_text((JOB % "a").replace("a.png", output))
    if done:
        _done(posters, "a")
    written: list[Any] = []
    monkeypatch.setattr(module, "kept", lambda *given: written.append(given))
    assert posters.keep("a") == file
    assert written == [(str(posters.place / "a.zarr"), str(posters.place / file))]
    assert posters.queue.job("a").state == state
    (posters.place / file).symlink_to("/nowhere")
    with pytest.raises(ConfigError, match="there is no such"):
        posters.keep("a")
    assert len(written) == 1


@pytest.mark.parametrize(
    ("name", "file", "retouched"),
    [("a", "a.tif", "a-retouched.tif"), ("a-retouched", "a-retouched.png", "a-retouched-2.png"),
     ("a-retouched-7", None, "a-retouched.png")],
)  # fmt: skip
def test_a_retouch_is_beside_its_poster(
    posters: Posters, held: Folder, monkeypatch: pytest.MonkeyPatch, name: str, file: str | None, retouched: str
) -> None:
    (posters.place / f"{name}.zarr").mkdir()
    if file:
        (posters.place / file).write_bytes(b"x")
    url, within = str(posters.place / f"{name}.zarr"), []
    opened = {(url, False): SimpleNamespace(attributes={"its": "own"})}
    monkeypatch.setattr(module.RenderStore, "open", lambda url, writable: opened[url, writable])
    monkeypatch.setattr(module.identity, "asked_for", lambda url, attributes: (url, attributes))
    monkeypatch.setattr(module, "check_within", lambda *given: within.append(given))
    assert posters.retouched(name) == (url, str(posters.place / retouched))
    assert within == [((url, {"its": "own"}), held.root)]


# Rendering -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the queue was asked to do. Runs until it is cancelled."""
    asked: list[Any] = []

    def run(self: Queue, schedulers: Any, cancelled: Callable[[], bool], **more: Any) -> None:
        asked.append((self.folder, schedulers, more))
        ends = threading.Event()
        while not cancelled():
            ends.wait(0.005)

    monkeypatch.setattr(Queue, "run", run)
    return asked


def test_what_waits_is_rendered_until_it_is_held(held: Folder, runs: list[Any]) -> None:
    with Posters(held, ["tcp://x:1"]) as posters:
        assert not posters.is_on
        posters.go()
        posters.go()
        assert posters.is_on
        assert posters.told()["on"]
        posters.hold()
        assert not posters.is_on
        posters.go()
        assert posters.is_on
        thread = posters._thread
    assert not thread.is_alive()
    how = {"wait": True, "within": held.root, "checkpoint_seconds": 20.0}
    assert runs == [(held.root / "posters", ["tcp://x:1"], how)] * 2


@pytest.mark.parametrize("error", [StoreError, OSError])
def test_what_ends_a_run_is_said_until_the_next(
    held: Folder, runs: list[Any], monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fails(self: Queue, *_: Any, **__: Any) -> None:
        raise error(f"{self.folder}: is full")

    with Posters(held) as posters:
        with monkeypatch.context() as patched:
            patched.setattr(Queue, "run", fails)
            posters.go()
            posters._thread.join(20)
        assert (posters.trouble, posters.is_on) == ("posters: is full", False)
        assert posters.told()["trouble"] == "posters: is full"
        posters.go()
        assert (posters.trouble, posters.is_on) == ("", True)


def test_labels_of_posters_that_are_to_be_rendered_are_known(posters: Posters, held: Folder) -> None:
    for name in "abc":
        (posters.place / f"{name}.toml").write_text(
            JOB % name + f'labels = "../{name}-labels.png"\nlabel = ["#ffffff=../s.png"]\n'
        )
    (posters.place / "d.toml").write_text("nonsense")
    _done(posters, "b")
    assert posters.labels() == {held.root / "a-labels.png", held.root / "c-labels.png"}
    assert Posters(Folder(held.root / "posters")).labels() == set()

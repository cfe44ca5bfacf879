"""What Windows and macOS have not: locks of files, descriptors of folders, pipes that can be asked, some signals. Here
they are taken away; no such machine has run this."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serial_pool import Here, render_module

from tiler.engine import handle, lock, wide
from tiler.engine.folder import Folder
from tiler.engine.job import Job
from tiler.engine.machine import Machine
from tiler.errors import ConfigError, PictureError, StoreError
from tiler.pictures import open_picture, read_picture, replace, stream, write_picture
from tiler.request.asked import Asked
from tiler.request.config import RenderConfig

KINDS = [handle.ByNumber, handle.ByName]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setattr(handle, "KIND", request.param)
    (tmp_path / "root").mkdir()
    return Folder(tmp_path / "root")


def test_a_folder_is_the_same_by_number_and_by_name(folder: Folder) -> None:
    assert folder.names() == []
    assert folder.read("a/b") is None
    folder.write("a/b", b"one")
    folder.write("a/b", b"two and more")
    assert (folder.read("a/b"), folder.read("a/b", 3), folder.read("a"), folder.read("a/c")) == (
        b"two and more", b"two", None, None,
    )  # fmt: skip
    assert (folder.names("a"), folder.is_file("a/b"), folder.is_file("a")) == (["b"], True, False)
    folder.delete("a/b")
    folder.delete("a/b")
    folder.write("x/y/z", b"")
    folder.delete("x")
    assert folder.names() == ["a"]
    with pytest.raises(StoreError, match="is a way out"):
        folder.read("../root/a")


def test_links_lead_nowhere(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "kept").write_text("kept")
    folder.write("in/file", b"x")
    (folder.root / "way").symlink_to(tmp_path / "other")
    (folder.root / "in" / "link").symlink_to(tmp_path / "other" / "kept")
    for call in (lambda: folder.read("way/kept"), lambda: folder.write("way/new", b""), lambda: folder.read("in/link")):
        with pytest.raises(StoreError, match="is a link"):
            call()
    (folder.root / "in" / "way").symlink_to(tmp_path / "other")
    folder.delete("in")
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["kept"]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_pipes_that_cannot_be_asked(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "POLLED", False)
    monkeypatch.setattr(stream.select, "select", None)
    pixels = np.random.default_rng(4).random((3, 200, 300)).astype(np.float32)
    pixels[:] = pixels.mean()
    write_picture(tmp_path / f"a{suffix}", 200, 300, (pixels[:, y : y + 40] for y in range(0, 200, 40)))
    assert np.abs(read_picture(tmp_path / f"a{suffix}") - pixels).max() < 0.02
    bands = open_picture(tmp_path / f"a{suffix}").bands(200, 300, 10)
    next(bands)
    bands.close()  # who does not read on is not waited for


def test_damage_is_said_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "POLLED", False)
    noise = np.random.default_rng(4).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:90_000])
    with pytest.raises(PictureError, match="damaged"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("locked", [True, False])
def test_who_holds_a_store_is_seen_by_the_byte_that_is_locked(
    locked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int, int]] = []

    def locking(file: int, mode: int, count: int) -> None:
        asked.append((mode, count, os.lseek(file, 0, os.SEEK_CUR)))
        if locked:
            raise PermissionError
        os.lseek(file, 5, os.SEEK_SET)

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2, LK_UNLCK=0))
    (tmp_path / lock.LOCK_FILE).write_text("somebody")
    assert lock.holder_of(tmp_path) == ("somebody" if locked else None)
    assert asked == ([(2, 1, 0)] if locked else [(2, 1, 0), (0, 1, 0)])


def test_an_apple_gpu_is_taken_where_it_is_asked_for(inputs: Path, small_weights: str) -> None:
    files = dict(content=str(inputs / "map.png"), styles=(str(inputs / "photo.png"),), output=str(inputs / "p.png"))
    asked = Asked.of(RenderConfig(**files, weights=small_weights, device="mps"))
    with pytest.raises(ConfigError, match="device = mps, but torch finds no Apple GPU; allowed: auto, cpu"):
        asked.on(Machine())
    config, job = asked.on(Machine(mps=True, bf16=("cpu",)))
    assert (job.device.kind, job.device.precision, config.workers) == ("mps", "fp32", 1)
    assert Job.from_dict(job.to_dict()) == job
    wide_job = Asked.of(RenderConfig(**files, weights=small_weights, device="mps", precision="fp64"))
    with pytest.raises(ConfigError, match="precision = fp64: an Apple GPU has none"):
        wide_job.on(Machine(mps=True))


def test_sums_without_float64_on_the_device_are_the_same(
    render_serially: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    how = dict(long_edge=64, levels=1, steps=2, tile=48, precision="fp32")
    before = render_serially(**how)
    monkeypatch.setattr(wide, "NARROW", {"cpu"})
    np.testing.assert_array_equal(render_serially(**how), before)


SIMULATED = """
import sys, os, select, shutil, signal, types, contextlib, io
sys.path[:0] = {paths!r}
import numpy, torch, zarr, dask, distributed, PIL.Image, pyvips, tifffile, filelock, psutil, serial_pool
whole = types.ModuleType("os")
vars(whole).update(vars(os))
filelock._unix.os = whole  # what it has there is a reader of its own
for name in ("O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK", "O_CLOEXEC", "fork", "getuid", "mkfifo"):
    delattr(os, name)
del signal.SIGHUP
sys.modules["fcntl"] = None
sys.modules["msvcrt"] = types.SimpleNamespace(locking=lambda *what: None, LK_NBLCK=2, LK_UNLCK=0)
os.supports_dir_fd, shutil._use_fd_functions = set(), False
def no_select(*what): raise OSError(10038, "not a socket")
select.select = no_select
import tiler
from tiler.cli import main
module = serial_pool.render_module()
module.Pool = serial_pool.Here
config = tiler.RenderConfig("map.png", ("photo.png",), "poster.tif", long_edge=64, levels=2, steps=1, device="cpu",
                            precision="fp32", threads=1,
                            weights={weights!r}, tiles="browse", state="store", checkpoint_seconds=0)
for _ in range(2):
    module.render(config)
tiler.export("poster.zarr", "poster.zarr.png")
tiler.export("poster.zarr", "poster.dzi")
assert tiler.open_poster("poster.zarr").as_dask().mean().compute() > 0
for words in (["info", "poster.zarr"], ["verify", "poster.zarr"]):
    sys.argv = ["tiler", *words]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, (words, stop.code)
"""


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    for name, seed in (("map", 1), ("photo", 2)):
        pixels = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return tmp_path


def test_a_render_by_what_windows_has(inputs: Path, small_weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handle, "KIND", handle.ByName)
    monkeypatch.setattr(stream, "POLLED", False)
    monkeypatch.setattr(stream.select, "select", None)
    monkeypatch.setattr(replace, "_OPENS_FOLDERS", False)
    monkeypatch.setattr(replace, "_system", object)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(render_module(), "Pool", Here)
    files = dict(content=str(inputs / "map.png"), styles=(str(inputs / "photo.png"),), output=str(inputs / "p.zarr"))
    small = dict(
        long_edge=48, levels=1, steps=1, device="cpu", weights=small_weights, state="store", precision="fp32", threads=1
    )
    for seed in (1, 2):
        render_module().render(RenderConfig(**files, **small, seed=seed, tiles=str(inputs / "browse")))
    assert {*os.listdir(inputs)} == {"map.png", "photo.png", "p.zarr", "p.job.zarr", "browse"}
    assert read_picture(inputs / "browse").shape == (3, 36, 48)


@pytest.mark.slow
def test_a_whole_render_without_what_windows_has_not(inputs: Path, small_weights: str) -> None:
    paths = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
    code = SIMULATED.format(paths=paths, weights=small_weights)
    done = subprocess.run([sys.executable, "-c", code], cwd=inputs, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {"poster.tif", "poster.zarr.png", "poster.dzi", "browse"} <= {*os.listdir(inputs)}
    assert not [name for name in os.listdir(inputs) if name.endswith(".part")]

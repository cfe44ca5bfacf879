"""Pictures on their way into the store: the same whether a level was begun before it is asked for or not."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiler import pictures
from tiler.engine.store import RenderStore
from tiler.errors import PictureChangedError, PictureError
from tiler.geometry import Rect
from tiler.ingest import Ingest
from tiler.pictures import picture
from tiler.request.asked import Sources
from tiler.request.config import RenderConfig
from tiler.request.places import pictures_of
from tiler.request.resolve import resolve_config

RNG = np.random.default_rng(5)
NAMES = ("content", "style", "other", "mask", "protect", "part")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        height, width = (70, 110) if name in ("content", "mask", "protect") else (64, 50)
        channels = 4 if name == "content" else 3
        pixels = RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)
        pixels[:, 60:] |= 128 if name == "mask" else 0
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return tmp_path


class Inputs:
    """A job with one of every kind of picture, and a store for it."""

    def __init__(self, folder: Path, weights: str, store: str, **options: object) -> None:
        files = {name: str(folder / f"{name}.png") for name in NAMES}
        self.config = RenderConfig(
            content=files["content"], styles=(files["style"],), output=str(folder / "x.png"), weights=weights,
            region=(f"r={files['other']}",), mask=(f"r={files['mask']}",), style_mask=(f"r={files['part']}",),
            protect=files["protect"], long_edge=96, levels=3, steps=(1, 1, 1), tile=48, feather=8, halo=16,
            precision="fp32", threads=1, device="cpu", **options,
        )  # fmt: skip
        opened = {file: pictures.open_picture(file).kept_in(folder) for file in pictures_of(self.config)}
        self.styles = [opened[source.picture] for source in self.config.regions.sources]
        self.layout = opened[files["content"]]
        resolved, self.job = resolve_config(self.config, self.layout, self.styles)
        self.store = RenderStore.create(str(folder / store), {"job": self.job.to_dict(), "config": resolved.to_dict()})
        self.store.hold_to(self.job)
        self.opened = opened

    def ingest(self) -> Ingest:
        return Ingest(self.config, Sources(self.opened, self.layout, self.styles))

    def pictures(self) -> dict[str, np.ndarray]:
        """All that the store holds, by path."""
        found = {}
        for path in sorted(Path(self.store.url).rglob("zarr.json")):
            name = str(path.parent.relative_to(self.store.url))
            if name != "." and self.store.has_picture(name):
                found[name] = np.concatenate(list(self.store.picture_bands(name)), 1)
        return found


def all_levels(inputs: Inputs, ahead: bool) -> list[object]:
    guided, job = [], inputs.job
    with inputs.ingest() as ingest:
        for level in range(len(job.cut.levels)):
            ingest.alpha(inputs.store, job, level)
            guided.append(ingest.level(inputs.store, job, level))
            if ahead:
                ingest.begin(inputs.store, job, level + 1)
    return guided


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were opened to be decoded."""
    seen, opener = [], picture.opener

    def noted(path, *rest):
        seen.append(path.stem)
        return opener(path, *rest)

    monkeypatch.setattr(picture, "opener", noted)
    return seen


@pytest.mark.parametrize("color", ["style", "match"])
def test_the_same_bytes_with_and_without_a_thread_of_its_own(folder, small_weights, decoded, color) -> None:
    one, other = (Inputs(folder, small_weights, name, color=color, keep_detail=True) for name in ("a.zarr", "b.zarr"))
    decoded.clear()
    guided = all_levels(one, ahead=False)
    assert sorted(decoded) == sorted(NAMES)
    assert all_levels(other, ahead=True) == guided
    assert [len(found) for found in guided] == [2, 2, 2]
    expected, found = one.pictures(), other.pictures()
    assert {
        f"levels/{level}/{name}" for level in (1, 2) for name in ("content", "coarse", "alpha", "guides", "protect")
    } <= {*found}
    assert expected.keys() == found.keys()
    for name, pixels in expected.items():
        np.testing.assert_array_equal(found[name], pixels, err_msg=name)


def test_what_was_kept_is_gone_at_the_finest_level_and_at_the_end(folder, small_weights) -> None:
    inputs = Inputs(folder, small_weights, "a.zarr")

    def held():
        return [one.kept._decoded is not None for one in inputs.opened.values()]

    with inputs.ingest() as ingest:
        ingest.level(inputs.store, inputs.job, 1)
        assert all(held())
        ingest.level(inputs.store, inputs.job, 2)
        assert not any(held())
        ingest.level(inputs.store, inputs.job, 0)
        assert all(held())
    assert not any(held())


def test_an_error_is_told_where_the_level_is_asked_for(folder, small_weights) -> None:
    inputs, path = Inputs(folder, small_weights, "a.zarr"), folder / "other.png"
    before, data = os.stat(path), path.read_bytes()
    with inputs.ingest() as ingest:
        ingest.level(inputs.store, inputs.job, 0)
        path.write_bytes(data + b"edited")
        ingest.begin(inputs.store, inputs.job, 1)
        ingest._ahead.join()
        with pytest.raises(PictureChangedError, match=r"other\.png: has changed since it was opened"):
            ingest.alpha(inputs.store, inputs.job, 1)
        ingest.begin(inputs.store, inputs.job, 1)
        with pytest.raises(PictureChangedError, match=r"other\.png"):
            ingest.level(inputs.store, inputs.job, 1)
        path.write_bytes(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert len(ingest.level(inputs.store, inputs.job, 1)) == 2


def test_damage_is_told_there_too(folder, small_weights) -> None:
    pixels = RNG.integers(0, 256, (700, 1100, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "content.png")
    data = (folder / "content.png").read_bytes()
    (folder / "content.png").write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    inputs = Inputs(folder, small_weights, "a.zarr")
    with inputs.ingest() as ingest:
        ingest.begin(inputs.store, inputs.job, 0)
        with pytest.raises(PictureError, match=r"content\.png: damaged"):
            ingest.level(inputs.store, inputs.job, 0)


def test_an_error_of_a_level_that_nobody_asks_for_is_not_told(folder, small_weights) -> None:
    inputs = Inputs(folder, small_weights, "a.zarr")
    with inputs.ingest() as ingest:
        shutil.copy(folder / "part.png", folder / "style.png")
        ingest.begin(inputs.store, inputs.job, 1)
        ingest._ahead.join()
        with pytest.raises(PictureChangedError):
            ingest.level(inputs.store, inputs.job, 0)
        ingest.begin(inputs.store, inputs.job, 2)


class Halted:
    """Bands of a picture that come no further than the first until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go = threading.Event(), threading.Event()
        bands = pictures.Picture.bands

        def halting(this, height, width, rows, *rest):
            for band in bands(this, height, width, 8, *rest):
                yield band
                if this.path.stem == "style" and not self.go.is_set():
                    self.reached.set()
                    self.go.wait(30)

        monkeypatch.setattr(pictures.Picture, "bands", halting)


def test_cut_short_it_leaves_nothing_that_counts(folder, small_weights, monkeypatch) -> None:
    whole, inputs = (Inputs(folder, small_weights, name) for name in ("a.zarr", "b.zarr"))
    all_levels(whole, ahead=False)
    halted = Halted(monkeypatch)
    with inputs.ingest() as ingest:
        ingest.begin(inputs.store, inputs.job, 1)
        thread = ingest._ahead
        assert halted.reached.wait(30)
        threading.Timer(0.2, halted.go.set).start()
    assert not thread.is_alive()
    assert ingest._ahead is None
    there = inputs.pictures()
    assert "levels/1/content" in there
    assert inputs.store.has("styles/1/0/picture")
    assert "styles/1/0/picture" not in there
    all_levels(inputs, ahead=True)
    expected, found = whole.pictures(), inputs.pictures()
    assert expected.keys() == found.keys()
    for name, pixels in expected.items():
        np.testing.assert_array_equal(found[name], pixels, err_msg=name)


def test_only_what_is_still_to_be_done_is_begun(folder, small_weights) -> None:
    inputs = Inputs(folder, small_weights, "a.zarr")
    with inputs.ingest() as ingest:
        ingest.begin(inputs.store, inputs.job, 3)
        assert ingest._ahead is None
        inputs.store.create_image(0, inputs.job.cut.grid(0), "float32")
        inputs.store.finish_level(0, {"seconds": 1.0, "rounds": 1})
        ingest.begin(inputs.store, inputs.job, 0)
        assert ingest._ahead is None


def test_another_level_than_the_one_that_was_begun(folder, small_weights) -> None:
    whole, inputs = (Inputs(folder, small_weights, name) for name in ("a.zarr", "b.zarr"))
    all_levels(whole, ahead=False)
    with inputs.ingest() as ingest:
        ingest.begin(inputs.store, inputs.job, 2)
        for level in (1, 2, 0):
            ingest.alpha(inputs.store, inputs.job, level)
            ingest.level(inputs.store, inputs.job, level)
    for name, pixels in whole.pictures().items():
        size = Rect(0, 0, *pixels.shape[1:])
        np.testing.assert_array_equal(inputs.store.read_picture(name, size), pixels, err_msg=name)

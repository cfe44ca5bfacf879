"""Whatever is damaged or missing in a store is noticed, and only what depends on it is computed again: same bytes."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from serial_pool import SerialPool

from tiler import pictures
from tiler.engine import workplace
from tiler.engine.store import RenderStore
from tiler.errors import DamageError, StoreError
from tiler.geometry import Rect
from tiler.levels import Levels
from tiler.output.verify import verify
from tiler.request.asked import Sources
from tiler.request.config import RenderConfig
from tiler.request.places import pictures_of
from tiler.request.resolve import resolve_config

SMALL: dict[str, Any] = dict(
    long_edge=64, levels=2, steps=(1, 3), steps_per_round=1, tile=32, feather=8, halo=16, precision="fp32", threads=1,
    style_layers=("relu1_1", "relu2_1", "relu3_1"), content_layers=("relu2_2",),
)  # fmt: skip


DONE = 6


class StopError(Exception):
    pass


class Begun:
    """A job that is driven a number of tiles at a time, with its state in the store."""

    def __init__(self, folder: Path, inputs: Path, weights: str, **options: Any) -> None:
        files = dict(content=str(inputs / "content.png"), styles=(str(inputs / "style.png"),))
        config = RenderConfig(**{**files, **SMALL, **options}, output=str(folder / "x.png"), weights=weights)
        self._opened = {path: pictures.open_picture(path) for path in pictures_of(config)}
        sources = [source.picture for source in config.regions.sources]
        self._pictures = [self._opened[path] for path in (config.content, *sources)]
        self._resolved, self.job = resolve_config(config, self._pictures[0], self._pictures[1:])
        self.url = str(folder / "job.zarr")
        RenderStore.create(self.url, {"job": self.job.to_dict(), "config": self._resolved.to_dict()})

    def copied(self, folder: Path) -> Begun:
        """The same job as it is now, elsewhere."""
        found = copy.copy(self)
        found.url = str(folder / "job.zarr")
        shutil.copytree(self.url, found.url)
        return found

    def go(self, tiles: int = 10**6, level: int = 1) -> list[dict[str, Any]]:
        """Go on; stop after a number of tiles of a level. Returns the events."""
        workplace._CURRENT.clear()
        events: list[dict[str, Any]] = []

        def progress(event: dict[str, Any]) -> None:
            events.append(event)
            if sum(one["event"] == "tile" and one["level"] == level for one in events) == tiles:
                raise StopError

        homes, store = ("store",) * len(self.job.cut.levels), RenderStore.open(self.url)
        sources = Sources(self._opened, self._pictures[0], self._pictures[1:])
        run = Levels(self._resolved, self.job, store, SerialPool(), progress, sources, homes)
        try:
            run.run()
        except StopError:
            assert tiles < 10**6
        return events

    def image(self) -> np.ndarray:
        size = self.job.cut.last
        return RenderStore.open(self.url).read_image(1, Rect(0, 0, size.height, size.width))

    def chunks(self, pattern: str) -> list[Path]:
        return sorted(path for path in Path(self.url).glob(pattern) if path.is_file())


@pytest.fixture(scope="module")
def references(tmp_path_factory, pictures_dir, small_weights) -> Callable[[str], np.ndarray]:
    @cache
    def reference(mode: str) -> np.ndarray:
        job = Begun(tmp_path_factory.mktemp("whole"), pictures_dir, small_weights, mode=mode)
        job.go()
        assert verify(job.url) == []
        return job.image()

    return reference


@pytest.fixture(scope="module")
def six_tiles_done(tmp_path_factory, pictures_dir, small_weights) -> Callable[[str], Begun]:
    @cache
    def made(mode: str) -> Begun:
        job = Begun(tmp_path_factory.mktemp("begun"), pictures_dir, small_weights, mode=mode)
        job.go(tiles=DONE)
        assert verify(job.url) == []
        return job

    return made


@pytest.fixture
def mode() -> str:
    return "fast"


@pytest.fixture
def begun(references, mode, tmp_path, six_tiles_done) -> Iterator[Begun]:
    """Checks in the end that the image is that of an undisturbed render and that nothing is wrong with the store."""
    job = six_tiles_done(mode).copied(tmp_path)
    yield job
    np.testing.assert_array_equal(job.image(), references(mode))
    assert verify(job.url) == []


def _flip(chunk: Path) -> None:
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 4
    chunk.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], None]] = {"flipped": _flip, "missing": Path.unlink}
# After six tiles, of four, state 1 is whole in slot 1 and state 2 half done in slot 0.
IMAGE, PIXELS = "levels/0/image/c/0/0/0", "levels/1/state-*/pixels/c/1/*/0/0/0"
SUMS, MARK = "levels/1/state-*/grams/relu3_1/c/1/*/0/0/0", "levels/1/state-*/marks/c/1/1"
CASES = [
    *(("fast", "missing", part) for part in (IMAGE, PIXELS, MARK, "levels/1/state-*/pixels/zarr.json")),
    *(("exact", how, PIXELS) for how in DAMAGES),
    *(
        ("fast", "flipped", part)
        for part in (
            IMAGE,
            PIXELS,
            SUMS,
            MARK,
            "levels/1/content/c/**/*",
            "styles/1/0/picture/c/**/*",
            "styles/1/0/totals/relu2_1/c/**/*",
            "levels/1/state-*/moments/c/0/0/0/0/0",
            "levels/1/state-*/losses/c/0/*/0",
        )
    ),
]


@pytest.mark.parametrize(("mode", "how", "part"), CASES)
def test_a_damaged_part_is_computed_again(begun: Begun, how: str, part: str) -> None:
    chunks = begun.chunks(part)
    assert chunks, "nothing there to damage"
    DAMAGES[how](chunks[len(chunks) // 2])
    # A mark that is not there says that the tile is not done, which is no damage.
    assert bool(verify(begun.url)) == ((how, part) != ("missing", MARK))
    begun.go()


def test_only_what_depends_on_it_is_computed_again(begun: Begun) -> None:
    """Before the next round has begun, one patch costs one tile; a finished level costs that level."""
    tiles = len(begun.job.cut.grid(1))
    begun.go(tiles=2 * tiles - DONE)
    begun.chunks("levels/1/state-*/pixels/c/0/1/0/0/0")[0].unlink()
    events = begun.go(tiles=2)
    again = [(event["round"], event["tile"]) for event in events if event["event"] == "tile"]
    assert again[0] == (1, 1)
    assert again[1][0] == 2
    assert [event["event"] for event in events].count("damage") == 1

    begun.go()
    begun.chunks("levels/0/image/c/0/0/0")[0].unlink()
    assert [line.split(": ")[1] for line in verify(begun.url)] == ["levels/0/image cannot be read"]
    events = begun.go()
    assert {event["level"] for event in events if event["event"] == "tile"} == {0}


@pytest.mark.parametrize("tile", [32, 64])
def test_a_tile_cut_short_and_then_damage_make_no_mixture(
    tile: int, tmp_path, pictures_dir, small_weights, monkeypatch
) -> None:
    """The state before last is no longer whole where a tile of the next was written over it, marked or not."""
    (tmp_path / "whole").mkdir()
    steps = (1, 2) if tile == 32 else (1, 26)  # two rounds
    whole, job = (
        Begun(folder, pictures_dir, small_weights, tile=tile, steps=steps) for folder in (tmp_path / "whole", tmp_path)
    )
    whole.go()
    mark = RenderStore.mark

    def cut_short(self: RenderStore, path: str, slot: int, state: int, tile: int) -> None:
        if path.startswith("levels/1") and state == 2:
            raise KeyboardInterrupt
        mark(self, path, slot, state, tile)

    with monkeypatch.context() as dying:
        dying.setattr(RenderStore, "mark", cut_short)
        with pytest.raises(KeyboardInterrupt):
            job.go()
    job.chunks("levels/1/state-*/pixels/c/1/0/0/0/0")[0].unlink()
    job.go()
    np.testing.assert_array_equal(job.image(), whole.image())


def test_damage_that_comes_back_ends_the_render(begun: Begun, monkeypatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(RenderStore, "read_patch", lambda *arguments: (_ for _ in ()).throw(DamageError("bad", "a/b")))
        with pytest.raises(DamageError, match="bad"):
            begun.go()
    begun.go()


def test_a_store_that_vanished_does_not_come_back(begun: Begun, tmp_path: Path) -> None:
    Path(begun.url).rename(tmp_path / "kept")
    store, sources = RenderStore.open(str(tmp_path / "kept")), Sources({}, begun._pictures[0], [])
    run = Levels(begun._resolved, begun.job, store, SerialPool(), lambda event: None, sources)
    (tmp_path / "kept").rename(begun.url)
    with pytest.raises(StoreError):
        run._store.update(seconds=1)
    assert not (tmp_path / "kept").exists()
    begun.go()


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, pictures_dir: Path) -> dict[str, Any]:
    """Options that make a store keep all that it can: two regions, masks, an alpha channel, the content's detail."""
    folder, content = tmp_path_factory.mktemp("everything"), Image.open(pictures_dir / "content.png")
    half = np.where(np.arange(content.width) < 60, 255, 0).astype(np.uint8)
    left = Image.fromarray(np.tile(half, (content.height, 1)))
    left.save(folder / "mask.png")
    content.putalpha(left)
    content.save(folder / "content.png")
    mask, style = str(folder / "mask.png"), str(pictures_dir / "style.png")
    return {
        "content": str(folder / "content.png"), "region": (f"r={style}",), "mask": (f"r={mask}",),
        "style_mask": (f"r={mask}",), "protect": mask, "keep_detail": True,
    }  # fmt: skip


KEPT = [
    "levels/1/content", "levels/1/coarse", "levels/1/guides", "levels/1/protect", "levels/0/alpha", "levels/1/alpha",
    "styles/1/1/guides", "levels/1/state-*/grams/relu3_1", "levels/1/state-*/regions",
]  # fmt: skip

FOR_THE_START = ["levels/1/coarse", "styles/1/1/guides"]  # of a level, and not needed any more


def test_of_all_that_a_store_can_keep_each_part_is_missed(everything, tmp_path, pictures_dir, small_weights) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "damaged").mkdir()
    whole, job = (Begun(tmp_path / name, pictures_dir, small_weights, **everything) for name in ("whole", "damaged"))
    whole.go()
    job.go(tiles=6)
    assert verify(job.url) == []
    shutil.copytree(job.url, tmp_path / "begun")
    for part in KEPT:
        lost = job.chunks(f"{part}/c/**/*")
        assert lost, part
        for chunk in lost:
            chunk.unlink()
        assert {line.split(": ")[1].split(" ")[0].split("/")[-1] for line in verify(job.url)} == {part.split("/")[-1]}
        events = [event["event"] for event in job.go()]
        assert ("damage" in events) == (part not in FOR_THE_START), part
        np.testing.assert_array_equal(job.image(), whole.image())
        assert verify(job.url) == []
        shutil.rmtree(job.url)
        shutil.copytree(tmp_path / "begun", job.url)

import contextlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from tiler.engine.place import is_free
from tiler.engine.store import RenderStore
from tiler.errors import DamageError, StoreError
from tiler.geometry import Rect, TileGrid

GRID = TileGrid(50, 70, 32, 32, feather=8, halo=16)
ALL = range(len(GRID))
RNG = np.random.default_rng(5)


STATE, STYLE = "levels/0/state-x", "styles/0/0"


def make_room(store: RenderStore, level: int, dtype: str, moment_dtype: str = "float32") -> None:
    store.create_state(level, GRID, {"relu1_1": (4, 4), "relu4_1": (6, 6)}, dtype, moment_dtype)
    store.create_image(level, GRID, dtype)


@pytest.fixture
def url(tmp_path):
    return str(tmp_path / "job.zarr")


@pytest.fixture
def store(url):
    """With one level and its statistics."""
    made = RenderStore.create(url, {"job": {"id": "x"}})
    make_room(made, 0, "float32")
    return made


def message_of(call, *arguments, **options):
    with pytest.raises(StoreError) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# Creating and opening ---------------------------------------------------------------------------------------------


def test_attributes_are_found_again(url):
    created = RenderStore.create(url, {"job": {"id": "x", "levels": [1, 2]}, "seconds": 1.5})
    created.update(seconds=2, extra=[1])
    expected = {"job": {"id": "x", "levels": [1, 2]}, "seconds": 2, "extra": [1]}
    assert created.attributes == RenderStore.open(url).attributes == expected
    created.publish("poster", [(10, 20), (21, 40)], 65535, "image")
    assert created.attributes == expected
    multiscale = json.loads((Path(url) / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]
    assert [one["path"] for one in multiscale["datasets"]] == ["levels/1/image", "levels/0/image"]
    assert multiscale["datasets"][1]["coordinateTransformations"] == [{"type": "scale", "scale": [1.0, 2.1, 2.0]}]


def test_attributes_are_copies(url):
    store = RenderStore.create(url, {"job": {"id": "x"}})
    store.attributes["job"]["id"] = "y"
    assert store.attributes == {"job": {"id": "x"}}


def test_an_empty_folder_may_become_a_store(url):
    Path(url).mkdir()
    assert not RenderStore.exists(url)
    RenderStore.create(url, {})
    assert RenderStore.exists(url)


def test_nothing_there_cannot_be_opened(url):
    assert not RenderStore.exists(url)
    assert "no readable job" in message_of(RenderStore.open, url)
    assert not Path(url).exists()


def foreign_folder(path):
    (path / "album").mkdir(parents=True)
    (path / "photo.jpg").write_bytes(b"precious")
    (path / "album" / "photo.jpg").write_bytes(b"precious")


def foreign_file(path):
    path.write_bytes(b"precious")


def foreign_group(path):
    zarr.create_group(str(path), attributes={"mine": 1}).create_array("a", shape=(3,), dtype="u1")[:] = 1


def foreign_array(path):
    zarr.create_array(str(path), shape=(3,), dtype="u1")[:] = 1


FOREIGN = [foreign_folder, foreign_file, foreign_group, foreign_array]


def contents(path):
    return {each: each.read_bytes() for each in [path, *path.rglob("*")] if each.is_file()}


@pytest.mark.parametrize("make", FOREIGN)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_not_a_job_is_never_replaced(url, make, overwrite):
    path = Path(url)
    make(path)
    before = contents(path)
    assert "is not a job" in message_of(RenderStore.create, url, {}, overwrite=overwrite)
    assert before
    assert contents(path) == before


@pytest.mark.parametrize("make", FOREIGN)
def test_what_is_not_a_job_is_not_opened(url, make):
    make(Path(url))
    for call in (RenderStore.open, RenderStore.exists):
        assert url in message_of(call, url)


def test_a_job_is_replaced_only_when_asked(url, store):
    assert "exists already" in message_of(RenderStore.create, url, {})
    assert RenderStore.open(url).has("levels/0/image")
    RenderStore.create(url, {"job": {"id": "new"}}, overwrite=True)
    assert RenderStore.open(url).attributes == {"job": {"id": "new"}}
    assert not RenderStore.open(url).has("levels/0/image")


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be created" in message_of(RenderStore.create, str(tmp_path / "file" / "job.zarr"), {})
    assert "nothing can be written in" in message_of(is_free, str(tmp_path / "file" / "job.zarr"))


@pytest.mark.parametrize(
    "damaged", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"zarr_format":3,"node_type":"group","attributes":5}']
)
def test_damaged_metadata_is_refused(url, store, damaged):
    (Path(url) / "zarr.json").write_bytes(damaged)
    for call in (RenderStore.open, RenderStore.exists):
        assert url in message_of(call, url)


def test_who_holds_a_store_is_told_in_one_line_where_it_is_damaged(url, store):
    path = Path(url, "zarr.json")
    found = json.loads(path.read_text())
    odd = ({"attributes": {}}, {"attributes": {"tiler": [1]}}, {"attributes": 5})
    for text in (*(json.dumps({**found, **one}) for one in odd), "{", ""):
        path.write_text(text)
        assert message_of(store.holder).startswith(f"store {url}: no readable job there: ")


def test_a_read_only_store_is_left_alone(url, store):
    reader = RenderStore.open(url, writable=False)
    with pytest.raises(ValueError, match="read-only"):
        reader.mark(STATE, 0, 0, 0)
    assert (store.states(STATE) == -1).all()


# Pictures ---------------------------------------------------------------------------------------------------------


def bands_of(picture, rows):
    return [picture[:, y : y + rows] for y in range(0, picture.shape[1], rows)]


@pytest.mark.parametrize(("height", "width", "rows"), [(600, 30, 512), (50, 700, 7), (1, 1, 1)])
def test_sixteen_bit_pictures_round_trip(url, height, width, rows):
    store = RenderStore.create(url, {})
    picture = RNG.integers(0, 65536, (3, height, width)).astype(np.float32) / np.float32(65535)
    store.write_picture("a/picture", height, width, bands_of(picture, rows))
    again = RenderStore.open(url)
    np.testing.assert_array_equal(again.read_picture("a/picture", Rect(0, 0, height, width)), picture)
    np.testing.assert_array_equal(np.concatenate(list(again.picture_bands("a/picture")), axis=1), picture)
    rect = Rect(height // 3, width // 2, height, width)
    np.testing.assert_array_equal(again.read_picture("a/picture", rect), picture[:, *rect.slices])
    assert again.read_picture("a/picture", rect).dtype == np.float32


def test_pictures_are_rounded_and_clipped(url):
    store = RenderStore.create(url, {})
    band = np.array([-0.5, 0.2, 0.4 / 65535, 0.6 / 65535, 1.5], np.float32).reshape(1, 1, 5).repeat(3, axis=0)
    store.write_picture("p", 1, 5, [band])
    found = store.read_picture("p", Rect(0, 0, 1, 5))[0, 0].astype(np.float64) * 65535
    np.testing.assert_allclose(found, [0, 13107, 0, 1, 65535], atol=0.01)


def test_a_picture_counts_only_when_it_is_complete(url):
    store = RenderStore.create(url, {})

    def interrupted():
        yield np.zeros((3, 4, 5), np.float32)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write_picture("p", 8, 5, interrupted())
    assert not store.has_picture("p")
    store.write_picture("p", 8, 5, [np.ones((3, 8, 5), np.float32)])
    assert store.has_picture("p")
    store.write_picture("p", 8, 5, [np.zeros((3, 8, 5))])
    assert (store.read_picture("p", Rect(0, 0, 8, 5)) == 1).all()


@pytest.mark.parametrize(("height", "width"), [(300, 600), (600, 300), (128, 512)])
def test_all_that_is_kept_of_a_picture_is_read_back(url, monkeypatch, height, width):
    """The whole, once, or the chunks that tiles read; as it is again before a level is begun."""
    store, seen = RenderStore.create(url, {}), np.zeros((height, width), int)
    store.write_picture("p", height, width, [np.full((2, height, width), 0.5)], channels=2)
    assert store.picture_size("p") == (height, width)
    whole = RenderStore.read_picture

    def read(self, path, rect):
        seen[rect.slices] += 1
        return whole(self, path, rect)

    monkeypatch.setattr(RenderStore, "read_picture", read)
    store.read_back("p", None)
    assert (seen == 1).all()
    store.read_back("p", [Rect(130, 20, 131, 21)] if height > 128 else [])
    assert {tuple(one) for one in np.argwhere(seen == 2)} == {
        (y, x) for y in range(128, min(256, height)) for x in range(min(512, width))
    }
    (Path(url) / "p/c/0/0/0").write_bytes(b"x")
    with pytest.raises(DamageError, match="p cannot be read"):
        RenderStore.open(url).read_back("p", None)


def test_pieces_of_a_picture_are_written_where_they_lie(url):
    store = RenderStore.create(url, {})
    pieces = [(Rect(2, 1, 4, 5), np.full((3, 2, 4), 0.25)), (Rect(0, 6, 3, 7), np.ones((3, 3, 1)))]
    expected = np.zeros((3, 5, 7))
    for rect, piece in pieces:
        expected[:, *rect.slices] = piece
    store.write_pieces("p", 5, 7, iter(pieces))
    np.testing.assert_allclose(store.read_picture("p", Rect(0, 0, 5, 7)), expected, atol=1e-5)
    assert store.read_areas("p") is None
    store.write_areas("p", {"shares": (0.25, 0.5), "weights": {"relu1_1": [3.0]}})
    assert RenderStore.open(url).read_areas("p") == {"shares": [0.25, 0.5], "weights": {"relu1_1": [3.0]}}
    assert RenderStore.open(url).has_picture("p")


def test_an_image_says_its_axes(url, store):
    said = json.loads((Path(url) / "levels/0/image/zarr.json").read_text())
    assert (said["shape"], said["data_type"], said["dimension_names"]) == ([3, 50, 70], "uint16", ["c", "y", "x"])


@pytest.mark.parametrize(("height", "width"), [(50, 70), (70, 50)])
def test_a_tile_is_written_once_its_last_chunk_is(url, height, width):
    """Cores are cut into eight bands of four rows; which are there is known by their names."""
    grid = TileGrid(height, width, 32, 32)
    store = RenderStore.create(url, {"job": {"id": "x"}})
    store.create_image(0, grid, "float32", "poster")
    for tile in grid:
        store.write_image(0, tile.core, np.ones((3, tile.core.height, tile.core.width)), "poster")
    assert store.written_tiles(0, grid, "poster") == {*range(len(grid))}
    assert store.written_tiles(0, grid) == set()
    bands = {tile.index: range(tile.core.y0 // 4, -(-tile.core.y1 // 4)) for tile in grid}
    for tile in grid:
        for band in (bands[tile.index][0], bands[tile.index][-1]):
            chunk = Path(url) / f"levels/0/poster/c/0/{band}/{tile.core.x0 // 32}"
            data = chunk.read_bytes()
            chunk.unlink()
            assert store.written_tiles(0, grid, "poster") == {*range(len(grid))} - {tile.index}
            chunk.write_bytes(data)


# State of a level -------------------------------------------------------------------------------------------------


def patches(kinds):
    return [RNG.random((kinds, tile.blend.height, tile.blend.width), np.float32) for tile in GRID]


def write(store, slot, index, patch, level=0):
    """patch: [9, h, w], pixels and moments."""
    pixels, moments = torch.from_numpy(patch).split((3, 6))
    store.write_patch(level, slot, index, pixels, moments)


def whole(index):
    """A tile's patch, in its own pixels."""
    return GRID.tile(index).blend.relative_to(GRID.tile(index).blend)


def read(store, slot, index, part=None, level=0):
    kinds = ("pixels", "moments")
    return np.concatenate([store.read_patch(level, slot, index, part or whole(index), kind).float() for kind in kinds])


def image_values(height, width):
    """What 16 bits can hold."""
    return RNG.integers(0, 65536, (3, height, width)).astype(np.float32) / np.float32(65535)


def test_patches_round_trip_by_slot_tile_and_part(url, store):
    states = [patches(9), patches(9)]
    for slot, state in enumerate(states):
        for tile in GRID:
            write(store, slot, tile.index, state[tile.index])
    again = RenderStore.open(url)
    for slot, state in enumerate(states):
        for tile in GRID:
            np.testing.assert_array_equal(read(again, slot, tile.index), state[tile.index])
            inner = tile.core.relative_to(tile.blend)
            np.testing.assert_array_equal(read(again, slot, tile.index, inner), state[tile.index][:, *inner.slices])


def test_a_patch_without_moments_starts_them_at_zero(store):
    patch = patches(9)[1]
    write(store, 0, 1, patch)
    store.write_patch(0, 0, 1, torch.from_numpy(patch[:3]))
    np.testing.assert_array_equal(read(store, 0, 1)[:3], patch[:3])
    assert (read(store, 0, 1)[3:] == 0).all()


def test_moments_in_bfloat16_are_rounded_to_nearest(url):
    """Ties to even; over the whole range, with the sign of 0."""
    store = RenderStore.create(url, {"job": {"id": "x"}})
    make_room(store, 0, "float32", "bfloat16")
    patch = patches(9)[0]
    patch[3:] = (RNG.normal(size=patch[3:].shape) ** 9).astype(np.float32)
    patch[3, 0, :6] = 0, -0.0, 1e-38, 3e38, 1 + 2**-8, 1 + 3 * 2**-8
    write(store, 1, 0, patch)
    pixels, moments = (store.read_patch(0, 1, 0, whole(0), kind) for kind in ("pixels", "moments"))
    assert (pixels.dtype, moments.dtype) == (torch.float32, torch.bfloat16)
    np.testing.assert_array_equal(pixels, patch[:3])
    bits = np.ascontiguousarray(patch[3:]).view(np.uint32).astype(np.uint64)
    upper, lower = bits >> 16, bits & 0xFFFF
    expected = ((upper + ((lower > 0x8000) | ((lower == 0x8000) & (upper % 2 == 1)))) << 16).astype(np.uint32)
    np.testing.assert_array_equal(moments.float().numpy().view(np.uint32), expected)


def test_double_precision_is_kept(url):
    store = RenderStore.create(url, {})
    make_room(store, 2, "float64", "float64")
    patch, core = RNG.random((9, 40, 40)), GRID.tile(0).core
    write(store, 1, 0, patch, level=2)
    for kind, values in (("pixels", patch[:3]), ("moments", patch[3:])):
        np.testing.assert_array_equal(store.read_patch(2, 1, 0, whole(0), kind), values, strict=True)
    store.write_image(2, core, patch[:3, :32, :32])
    np.testing.assert_array_equal(store.read_image(2, core), patch[:3, :32, :32])


def test_the_image_is_written_core_by_core_each_in_a_chunk_of_its_own(url, store):
    image = image_values(50, 70)
    for tile in GRID:
        store.write_image(0, tile.core, image[:, *tile.core.slices])
    again = RenderStore.open(url)
    np.testing.assert_array_equal(again.read_image(0, Rect(0, 0, 50, 70)), image)
    np.testing.assert_array_equal(again.read_image(0, Rect(30, 30, 40, 66)), image[:, 30:40, 30:66])
    chunks = [path for path in (Path(url) / "levels/0/image/c").rglob("*") if path.is_file()]
    assert len(chunks) == -(-GRID.height // GRID.band_height) * GRID.cols


def test_tiles_are_written_when_all_of_their_cores_is_there(store):
    image, done = image_values(50, 70), set[int]()
    assert store.written_tiles(0, GRID) == done
    for tile in reversed([*GRID]):
        store.write_image(0, tile.core, image[:, *tile.core.slices])
        done.add(tile.index)
        assert store.written_tiles(0, GRID) == done
    assert store.written_tiles(5, GRID) == set()


def test_tiles_never_share_a_chunk(url, store):
    """Two writers of one chunk would lose each other's work."""
    chunks: dict[Path, tuple[int, int]] = {}
    for tile in GRID:
        write(store, 1, tile.index, patches(9)[tile.index])
        store.write_image(0, tile.core, np.ones((3, tile.core.height, tile.core.width)))
        store.write_grams(STATE, 1, tile.index, {"relu1_1": np.ones((1, 4, 4))})
        store.write_loss(0, 1, tile.index, 1, 1)
        store.mark(STATE, 1, 1, tile.index)
        found = [path for path in (Path(url) / "levels/0").rglob("*") if path.is_file() and path.name != "zarr.json"]
        now = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}
        assert [path for path, stamp in chunks.items() if now[path] != stamp] == []
        assert len(now) >= len(chunks) + 5
        chunks = now


def test_grams_round_trip(url, store):
    grams = {layer: RNG.random((2, len(GRID), 1, c, c), np.float32) for layer, c in (("relu1_1", 4), ("relu4_1", 6))}
    for slot in (0, 1):
        for index in range(len(GRID)):
            store.write_grams(STATE, slot, index, {layer: gram[slot, index] for layer, gram in grams.items()})
    again = RenderStore.open(url)
    for layer, gram in grams.items():
        for slot in (0, 1):
            for index in range(len(GRID)):
                np.testing.assert_array_equal(again.read_grams(STATE, slot, index, layer), gram[slot, index])


def test_grams_of_the_regions_that_a_tile_holds(url):
    store = RenderStore.create(url, {"job": {"id": "x"}})
    store.create_state(0, GRID, {"relu1_1": (4, 4)}, "float32", "float32", regions=3)
    grams = RNG.random((2, 4, 4), np.float32)
    store.write_grams(STATE, 0, 1, {"relu1_1": np.ones((3, 4, 4))}, (0, 1, 2))
    store.write_grams(STATE, 0, 1, {"relu1_1": grams}, (0, 2))
    store.write_grams(STATE, 1, 1, {"relu1_1": grams[:0]}, ())
    again = RenderStore.open(url)
    assert [again.read_regions(STATE, slot, 1) for slot in (0, 1)] == [(0, 2), ()]
    np.testing.assert_array_equal(again.read_grams(STATE, 0, 1, "relu1_1", (0, 2)), grams)
    np.testing.assert_array_equal(again.read_grams(STATE, 0, 1, "relu1_1", (2,)), grams[1:])
    np.testing.assert_array_equal(again.read_grams(STATE, 0, 1, "relu1_1"), np.insert(grams, 1, 0, axis=0))
    assert not again.read_grams(STATE, 1, 1, "relu1_1").any()


def test_totals_count_only_when_all_are_written(url, store):
    """Cut short at any of the writes, they are none; the next call writes them all."""
    totals = {layer: RNG.random((1, c, c), np.float32) for layer, c in (("relu1_1", 4), ("relu4_1", 6))}
    for allowed in range(100):
        left = iter(range(allowed))
        store.guard(lambda left=left: next(left))
        assert not RenderStore.open(url).has_totals(STYLE, list(totals))
        with contextlib.suppress(StopIteration, RuntimeError, StoreError):
            store.write_totals(STYLE, totals)
            break
    assert allowed >= 3, "two totals, and that they are there"
    again = RenderStore.open(url)
    assert again.has_totals(STYLE, list(totals))
    for layer, total in totals.items():
        np.testing.assert_array_equal(again.read_total(STYLE, layer), total, strict=True)


def test_losses_are_kept_by_slot_and_tile(url, store):
    kept = {(slot, index): (slot + 0.1, index / 3) for slot in (0, 1) for index in range(len(GRID))}
    for (slot, index), losses in kept.items():
        store.write_loss(0, slot, index, *losses)
    again = RenderStore.open(url)
    assert {key: tuple(again.read_loss(0, *key)) for key in kept} == kept


# Marks ------------------------------------------------------------------------------------------------------------


def marked(store, slot, state):
    return np.flatnonzero(store.states(STATE)[slot] == state).tolist()


def mark(store, slot, state, tiles=ALL):
    for tile in tiles:
        store.mark(STATE, slot, state, tile)


def test_marks_start_empty(store):
    np.testing.assert_array_equal(store.states(STATE), np.full((2, len(GRID)), -1))
    assert store.latest(STATE) is None


def test_marks_are_kept_by_slot_and_tile(url, store):
    mark(store, 0, 0, [2])
    mark(store, 1, 1, [1])
    again = RenderStore.open(url)
    assert [again.states(STATE)[slot].tolist()[:3] for slot in (0, 1)] == [[-1, -1, 0], [-1, 1, -1]]
    assert (again.states(STATE)[:, 3:] == -1).all()
    np.testing.assert_array_equal(again.read_marks(STATE), again.states(STATE))


def test_a_slot_holds_the_state_written_last_and_no_other(store):
    """Whatever number it has: checkpoints take turns, not states."""
    for state in (2, 5, 4):
        mark(store, 0, state, [3])
        assert [marked(store, 0, one) for one in range(7)] == [[3] if one == state else [] for one in range(7)]
    store.unmark(STATE, 0, 3)
    assert (store.states(STATE) == -1).all()


@pytest.mark.parametrize("states", [range(5), (1, 3, 5, 9), (4, 6, 8), (7, 8, 30)])
def test_the_latest_state_is_the_newest_that_is_whole(store, states):
    before = None
    for number, state in enumerate(states):
        slot = number % 2
        mark(store, slot, state, range(2))
        assert store.latest(STATE) == before
        mark(store, slot, state, range(2, len(GRID)))
        before = state, slot
        assert store.latest(STATE) == before
    mark(store, 1 - slot, states[-1] + 1, [1])
    assert store.latest(STATE) == before
    store.unmark(STATE, slot, 0)
    assert store.latest(STATE) is None, "neither of the two states is whole"


# Finishing --------------------------------------------------------------------------------------------------------


def test_a_finished_level_keeps_its_image_and_report_only(url, store):
    store.write_picture("levels/0/content", 50, 70, [np.ones((3, 50, 70))])
    image = image_values(50, 70)
    store.write_image(0, Rect(0, 0, 50, 70), image)
    make_room(store, 10, "float32")
    assert store.level_report(0) is None
    store.write_grams(STATE, 0, 0, {"relu1_1": np.ones((1, 4, 4))})
    store.read_grams(STATE, 0, 0, "relu1_1")
    store.finish_level(0, {"loss": 0.5, "rounds": 3, "seconds": 1.5})
    for each in (store, RenderStore.open(url)):
        assert each.level_report(0) == {"loss": 0.5, "rounds": 3, "seconds": 1.5}
        np.testing.assert_array_equal(each.read_image(0, Rect(0, 0, 50, 70)), image)
        assert not each.has(STATE)
        assert not each.has("levels/0/content")
        assert f"{STATE}/regions is missing" in message_of(each.read_grams, STATE, 0, 0, "relu1_1")
        assert each.has("levels/10/state-x/pixels")
        assert each.level_report(1) is each.level_report(10) is None
    assert sorted(path.name for path in (Path(url) / "levels/0").iterdir()) == ["image", "zarr.json"]


def test_creating_again_keeps_what_is_there(store):
    patch = patches(9)[0]
    write(store, 0, 0, patch)
    mark(store, 0, 0)
    mark(store, 1, 1, [0])
    make_room(store, 0, "float32")
    np.testing.assert_array_equal(read(store, 0, 0), patch)
    assert marked(store, 0, 0) == list(range(len(GRID)))
    assert marked(store, 1, 1) == [0]


# Damage -----------------------------------------------------------------------------------------------------------


def write_everything(store):
    store.write_picture("content", 50, 70, [RNG.random((3, 50, 70))])
    write(store, 0, 0, patches(9)[0])
    store.write_image(0, GRID.tile(0).core, RNG.random((3, 32, 32)))
    store.write_grams(STATE, 0, 0, {"relu1_1": RNG.random((1, 4, 4))})
    store.write_totals(STYLE, {"relu1_1": RNG.random((1, 4, 4))})
    store.write_loss(0, 0, 0, 1.0, 2.0)
    store.mark(STATE, 0, 0, 0)


READS = {
    "content": lambda store: store.read_picture("content", Rect(0, 0, 50, 70)),
    f"{STATE}/pixels": lambda store: store.read_patch(0, 0, 0, whole(0), "pixels"),
    f"{STATE}/moments": lambda store: store.read_patch(0, 0, 0, whole(0), "moments"),
    "levels/0/image": lambda store: store.read_image(0, Rect(0, 0, 32, 32)),
    f"{STATE}/grams/relu1_1": lambda store: store.read_grams(STATE, 0, 0, "relu1_1"),
    f"{STATE}/regions": lambda store: store.read_regions(STATE, 0, 0),
    f"{STYLE}/totals/relu1_1": lambda store: store.read_total(STYLE, "relu1_1"),
    f"{STATE}/losses": lambda store: store.read_loss(0, 0, 0),
}


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_a_flipped_bit_in_a_chunk_is_noticed(url, store, path, place):
    write_everything(store)
    READS[path](RenderStore.open(url))
    chunk = next(each for each in sorted((Path(url) / path / "c").rglob("*")) if each.is_file())
    data = bytearray(chunk.read_bytes())
    data[round(place * (len(data) - 1))] ^= 1
    chunk.write_bytes(data)
    message = message_of(READS[path], RenderStore.open(url))
    assert f"store {url}: {path} cannot be read: " in message


@pytest.mark.parametrize("path", READS)
def test_a_chunk_cut_short_is_noticed(url, store, path):
    write_everything(store)
    chunk = next(each for each in sorted((Path(url) / path / "c").rglob("*")) if each.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-5])
    assert path in message_of(READS[path], RenderStore.open(url))


def test_a_missing_array_is_named(store):
    assert "levels/3/image is missing" in message_of(store.read_image, 3, Rect(0, 0, 1, 1))


@pytest.mark.parametrize("path", READS)
def test_a_missing_chunk_is_noticed_even_when_it_held_nothing_but_zeros(url, store, path):
    write_everything(store)
    store.write_picture("black", 50, 70, [np.zeros((3, 50, 70))])
    store.write_grams(STATE, 1, 1, {"relu1_1": np.zeros((1, 4, 4))})
    assert not RenderStore.open(url).read_picture("black", Rect(0, 0, 50, 70)).any()
    assert not RenderStore.open(url).read_grams(STATE, 1, 1, "relu1_1").any()
    next(each for each in sorted((Path(url) / path / "c").rglob("*")) if each.is_file()).unlink()
    assert f"{path} cannot be read: chunk {path}/c/0" in message_of(READS[path], RenderStore.open(url))


def test_a_damaged_mark_is_no_mark(url, store):
    mark(store, 0, 2)
    chunk = Path(url) / STATE / "marks/c/0/2"
    chunk.write_bytes(b"\1" + chunk.read_bytes()[1:])
    again = RenderStore.open(url)
    assert again.states(STATE)[0].tolist() == [-1 if tile == 2 else 2 for tile in range(len(GRID))]
    assert again.latest(STATE) is None
    assert damage_of(again.read_marks, STATE)[0] == f"{STATE}/marks"


def test_damaged_metadata_of_an_array_is_noticed(url, store):
    for junk in (b"", b"{", b"[]"):
        (Path(url) / STATE / "losses/zarr.json").write_bytes(junk)
        assert f"{STATE}/losses" in message_of(RenderStore.open(url).read_loss, 0, 0, 0)
        (Path(url) / "levels/1").mkdir(exist_ok=True)
        (Path(url) / "levels/1/zarr.json").write_bytes(junk)
        assert "levels/1" in message_of(RenderStore.open(url).level_report, 1)


# Taking back what is damaged -------------------------------------------------------------------------------------


def damage_of(call, *arguments):
    with pytest.raises(DamageError) as error:
        call(*arguments)
    return error.value.path, error.value.index


def test_damage_names_the_part_and_survives_a_trip_between_processes():
    error = pickle.loads(pickle.dumps(DamageError("words", "a/b", (1, 2))))
    assert (str(error), error.path, error.index) == ("words", "a/b", (1, 2))


@pytest.mark.parametrize("path", READS)
def test_forgetting_a_damaged_part_makes_it_one_to_be_computed(url, store, path):
    write_everything(store)
    mark(store, 0, 3)
    mark(store, 1, 1)
    store._root["levels/0"].attrs["report"] = {}
    chunk = next(each for each in sorted((Path(url) / path / "c").rglob("*")) if each.is_file())
    chunk.write_bytes(b"x")
    part = damage_of(READS[path], RenderStore.open(url))
    assert part[0] == path
    store.forget(*part)
    again = RenderStore.open(url)
    if path == "content":
        assert not again.has_picture("content")
    elif path == "levels/0/image":
        assert again.level_report(0) is None
    elif "totals" in path:
        assert not again.has_totals(STYLE, ["relu1_1"])
    else:
        assert marked(again, 0, 3) == list(range(1, len(GRID)))
        assert again.latest(STATE) == (1, 1)


def test_a_level_without_a_whole_state_starts_over(url, store):
    mark(store, 0, 4)
    mark(store, 1, 5, [1])
    store.forget(f"{STATE}/pixels", (0, 2))
    again = RenderStore.open(url)
    make_room(again, 0, "float32")
    assert (again.states(STATE) == -1).all()


@pytest.mark.parametrize("damaged", ["image", "poster"])
def test_a_finished_level_that_is_damaged_may_be_cut_anew(url, store, damaged):
    """Both its images are of the tiles that it had, and the job may have been cut into smaller ones since."""
    store.create_image(0, GRID, "float32", "poster")
    store.forget(f"levels/0/{damaged}", ())
    smaller = TileGrid(50, 70, 16, 16, feather=8, halo=16)
    again = RenderStore.open(url)
    for name in ("image", "poster"):
        again.create_image(0, smaller, "float32", name)
    text = message_of(again.create_image, 0, GRID, "float32")
    now, allowed = text.split("is uint16 (3, 50, 70) ")[1].split("; allowed: uint16 (3, 50, 70) ")
    assert now.startswith("in chunks of (3, ")
    assert allowed.startswith("in chunks of (3, ")
    assert now != allowed


def test_a_lack_of_memory_is_no_damage(url, store, monkeypatch):
    write_everything(store)

    def read(*arguments):
        raise MemoryError

    monkeypatch.setattr(zarr.Array, "__getitem__", read)
    with pytest.raises(StoreError, match="cannot be read: MemoryError") as error:
        store.read_image(0, Rect(0, 0, 9, 9))
    assert not isinstance(error.value, DamageError)
    assert error.value.__cause__, "so that a worker tries again"


@pytest.mark.parametrize("name", ["grams/relu1_1", "regions"])
def test_sums_that_are_damaged_take_their_tile_along(store, name):
    """What the tile reported of its last step is known to that step alone."""
    mark(store, 0, 4)
    store.forget(f"{STATE}/{name}", (0, 2))
    assert store.latest(STATE) is None
    assert marked(store, 0, 4) == [tile for tile in range(len(GRID)) if tile != 2]


def test_who_may_not_write_may_not_for_another_job_either(store, monkeypatch):
    def refuse():
        raise StoreError("held by another")

    monkeypatch.setattr(RenderStore, "hold_to", lambda self, job: None)
    store.guard(refuse)
    with pytest.raises(StoreError, match="held by another"):
        make_room(store.for_job(None), 1, "float32")

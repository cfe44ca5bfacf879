"""Folders of map tiles, and MBTiles: one picture, where they lie, whatever else is in them."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiler.errors import PictureError
from tiler.pictures import Georef, mosaic, open_picture, read_picture, write_xyz
from tiler.request.config import RenderConfig
from tiler.request.identity import inputs

SIDE, ZOOM, LEFT, TOP = 32, 4, 5, 6
WORLD = np.random.default_rng(2).integers(0, 256, (2 * SIDE, 3 * SIDE, 4), dtype=np.uint8)
PIXEL = 2 * 20_037_508.342789244 / (2**ZOOM * SIDE)


def tile(column: int, row: int, mode: str = "RGB", form: str = "PNG") -> bytes:
    """Of WORLD, which begins at LEFT, TOP."""
    part = WORLD[(row - TOP) * SIDE : (row - TOP + 1) * SIDE, (column - LEFT) * SIDE : (column - LEFT + 1) * SIDE]
    file = io.BytesIO()
    Image.fromarray(part[..., : len(mode)]).save(file, form)
    return file.getvalue()


PLACES = [(column, row) for column in range(LEFT, LEFT + 3) for row in range(TOP, TOP + 2)]


def folder(path: Path, make: Callable[[int, int], bytes] = tile, suffix: str = "png", zoom: int = ZOOM) -> Path:
    for column, row in PLACES:
        place = path / str(zoom) / str(column) / f"{row}.{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(make(column, row))
    return path


def database(path: Path, make: Callable[[int, int], Any] = tile, script: str = "", **metadata: str) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE metadata (name TEXT, value TEXT)")
        file.execute("CREATE TABLE tiles (zoom_level INT, tile_column INT, tile_row INT, tile_data BLOB)")
        file.executemany("INSERT INTO metadata VALUES (?, ?)", {"format": "png", **metadata}.items())
        rows = [(ZOOM, column, 2**ZOOM - 1 - row, make(column, row)) for column, row in PLACES]
        file.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", [*rows, (ZOOM - 1, 0, 0, b"coarser")])
        file.executescript(script)
        file.commit()
    return path


@pytest.fixture(params=["folder", "zoom's folder", "tms folder", "database"])
def tiles(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "database":
        return database(tmp_path / "world.mbtiles")
    path = folder(tmp_path / "tiles")
    (path / "3" / "0").mkdir(parents=True)
    (path / "3" / "0" / "0.png").write_bytes(b"coarser")
    (path / "9").mkdir()
    (path / "readme.txt").write_text("by somebody")
    if request.param == "tms folder":
        (path / "tiles.json").write_text('{"scheme": "tms"}')
        for column in (path / str(ZOOM)).iterdir():
            for file in sorted(column.iterdir(), reverse=True):
                file.rename(column / f"{2**ZOOM - 1 - int(file.stem)}.png")
    return path / str(ZOOM) if request.param == "zoom's folder" else path


def test_tiles_are_one_picture_that_lies_where_they_do(tiles: Path) -> None:
    picture = open_picture(tiles)
    assert (picture.height, picture.width, picture.has_alpha) == (2 * SIDE, 3 * SIDE, False)
    assert np.abs(read_picture(tiles).transpose(1, 2, 0) * 255 - WORLD[..., :3]).max() < 1e-3
    assert picture.georef is not None
    # GeoTIFF's directory: (key, where its value is, how many, value): projected, pixels are areas, Web Mercator.
    entries = [tuple(picture.georef.keys[at : at + 4]) for at in range(0, len(picture.georef.keys), 4)]
    assert entries == [(1, 1, 0, 3), (1024, 0, 1, 1), (1025, 0, 1, 1), (3072, 0, 1, 3857)]
    half = 2**ZOOM * SIDE / 2
    meant = (PIXEL, 0, (LEFT * SIDE - half) * PIXEL, 0, -PIXEL, (half - TOP * SIDE) * PIXEL)
    assert picture.georef.transform == pytest.approx(meant)
    assert picture.notes == (f"{tiles}: zoom 4, 3 x 2 tiles",)
    found = np.concatenate(list(picture.cropped((10, 20, 50, 90)).bands(20, 35, 7)), 1)
    assert found.shape == (3, 20, 35)


def test_where_no_tile_is_there_is_nothing(tmp_path: Path) -> None:
    path = folder(tmp_path / "tiles")
    (path / str(ZOOM) / str(LEFT + 1) / f"{TOP}.png").unlink()
    base = database(tmp_path / "a.mbtiles", script=f"DELETE FROM tiles WHERE tile_column = {LEFT + 1} AND tile_row = 9")
    for one in (path, base):
        picture = open_picture(one)
        assert picture.has_alpha
        assert picture.notes[0].endswith("zoom 4, 3 x 2 tiles, of which 1 are missing")
        alpha = read_picture(one, channels="alpha")[0]
        assert alpha[:SIDE, SIDE : 2 * SIDE].max() == 0
        assert alpha.sum() == 5 * SIDE**2


def test_transparency_is_the_tiles_own(tmp_path: Path) -> None:
    path = folder(tmp_path / "tiles", lambda column, row: tile(column, row, "RGBA"))
    assert np.abs(read_picture(path, channels="rgba").transpose(1, 2, 0) * 255 - WORLD).max() < 1e-3


@pytest.mark.parametrize(("form", "suffix"), [("JPEG", "jpg"), ("WEBP", "webp")])
def test_other_formats(tmp_path: Path, form: str, suffix: str) -> None:
    path = folder(tmp_path / "tiles", lambda column, row: tile(column, row, form=form), suffix)
    assert open_picture(path).has_alpha is False
    assert read_picture(path).shape == (3, 2 * SIDE, 3 * SIDE)


def test_a_poster_s_own_tiles_are_the_poster(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).random((3, 300, 530)).astype(np.float32)
    pixels[:] = pixels[:, :1, :1]
    write_xyz(tmp_path / "browse", 300, 530, [pixels])
    picture = open_picture(tmp_path / "browse")
    assert (picture.height, picture.width, picture.georef) == (300, 530, None)
    assert np.abs(read_picture(tmp_path / "browse") - pixels).mean() < 0.004


SIX = [2.0, 0.5, 100.0, 0.25, -2.0, 50.0]


def test_a_poster_s_own_tiles_lie_where_it_does(tmp_path: Path) -> None:
    write_xyz(tmp_path / "browse", 300, 300, [np.full((3, 300, 300), 0.5, np.float32)], georef=Georef((*SIX,)))
    picture = open_picture(tmp_path / "browse")
    assert picture.georef is not None
    assert (picture.georef.transform, picture.height) == ((*SIX,), 300)


def test_what_is_said_of_tiles_may_change_while_we_run(tmp_path: Path) -> None:
    write_xyz(tmp_path / "browse", 300, 300, [np.full((3, 300, 300), 0.5, np.float32)], georef=Georef((*SIX,)))
    before = open_picture(tmp_path / "browse")
    facts = json.loads((tmp_path / "browse" / "tiles.json").read_text())
    moved = [*SIX[:2], 200.0, *SIX[3:]]
    (tmp_path / "browse" / "tiles.json").write_text(json.dumps({**facts, "transform": moved}))
    after = open_picture(tmp_path / "browse")
    assert before.georef is not None
    assert after.georef is not None
    assert (before.georef.transform, after.georef.transform) == ((*SIX,), (*moved,))


@pytest.mark.parametrize("transform", [SIX[:5], [*SIX, 1.0], [*SIX[:5], "1"], [*SIX[:5], True], "abcdef", 6, None,
                                       [*SIX[:5], math.nan], [math.inf, *SIX[1:]], [10**400, *SIX[1:]]])  # fmt: skip
def test_tiles_with_another_word_on_where_they_lie_lie_nowhere(tmp_path: Path, transform: object) -> None:
    write_xyz(tmp_path / "browse", 300, 300, [np.full((3, 300, 300), 0.5, np.float32)])
    facts = json.loads((tmp_path / "browse" / "tiles.json").read_text())
    (tmp_path / "browse" / "tiles.json").write_text(json.dumps({**facts, "transform": transform}))
    picture = open_picture(tmp_path / "browse")
    assert (picture.georef, picture.height) == (None, 300)


def test_a_view_of_shared_tiles_is_read(tmp_path: Path) -> None:
    script = (
        "ALTER TABLE tiles RENAME TO map; "
        "CREATE VIEW tiles AS SELECT zoom_level, tile_column, tile_row, tile_data FROM map;"
    )
    path = database(tmp_path / "a.mbtiles", script=script)
    assert np.abs(read_picture(path).transpose(1, 2, 0) * 255 - WORLD[..., :3]).max() < 1e-3


def test_nothing_is_made_or_changed_beside_them(tiles: Path) -> None:
    def state() -> dict[Path, int]:
        return {one: one.stat().st_mtime_ns for one in (tiles, *tiles.parent.rglob("*"))}

    before = state()
    read_picture(tiles)
    assert state() == before


def test_another_tile_is_another_picture(tmp_path: Path) -> None:
    path = folder(tmp_path / "tiles")
    config = RenderConfig(str(path), (str(path),), str(tmp_path / "p.png"))
    before, picture = inputs(config), open_picture(path)
    assert inputs(config) == before
    assert before["content file"] == before["style file 1"]
    place = path / str(ZOOM) / str(LEFT) / f"{TOP}.png"
    place.unlink()
    place.write_bytes(tile(LEFT, TOP + 1))
    assert inputs(config)["content file"] != before["content file"]
    with pytest.raises(PictureError, match="has changed since it was opened"):
        list(picture.bands(9, 9, 9))


ENDLESS = (
    "DROP TABLE tiles; CREATE VIEW tiles AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT i AS zoom_level, i AS tile_column, i AS tile_row, x'00' AS tile_data FROM n;"
)
SLOW = (
    "CREATE TABLE t(i); INSERT INTO t SELECT value FROM json_each('[1,1,1,1,1,1,1,1,1,1]'); DROP TABLE tiles; "
    "CREATE VIEW tiles AS SELECT a.i AS zoom_level, 0 AS tile_column, 0 AS tile_row, x'00' AS tile_data FROM "
    + ", ".join(f"t {letter}" for letter in "abcdefghijkl")
    + ";"
)
SPREAD = "INSERT INTO tiles SELECT 30, tile_column * 9000, tile_row * 9000, tile_data FROM tiles WHERE zoom_level = 4"
HOSTILE = {
    "spans 18001 x 9001 tiles": dict(script=SPREAD),
    "spans 4097 x 4096 tiles": dict(
        script="INSERT INTO tiles SELECT 13, 2048 * (tile_column - 5), 4095 * (tile_row - 8), tile_data FROM tiles "
        "WHERE zoom_level = 4"
    ),
    "MBTiles of pbf": dict(format="pbf"),
    "not authorized": dict(script=ENDLESS),
    "takes more than": dict(script=SLOW),
    "no such table: tiles": dict(script="DROP TABLE tiles"),
    "without tiles of a zoom from 0 to 30": dict(script="UPDATE tiles SET zoom_level = 31"),
    "tiles outside zoom 4": dict(script="UPDATE tiles SET tile_column = 99"),
    "is no picture": dict(make=lambda column, row: 7),
    "is no PNG, JPEG or WebP": dict(make=lambda column, row: b"GIF89a"),
    "has 9000 bytes; up to 8000": dict(make=lambda column, row: bytes(9000)),
    "not all squares of one size": dict(make=lambda column, row: tile(column, row) if row == TOP else _png(16, 16)),
    "squares of one size": dict(make=lambda column, row: _png(32, 16)),
    "1 to 1000000 pixels a side": dict(
        script="INSERT INTO tiles SELECT 30, tile_column * 90000, tile_row, tile_data FROM tiles WHERE zoom_level = 4"
    ),
}


def _png(height: int, width: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("words", HOSTILE)
def test_a_hostile_database_is_refused_in_one_line(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mosaic, "_QUERY_SECONDS", 0.1)
    monkeypatch.setattr(mosaic, "_TILE_BYTES", 8000)
    path = database(tmp_path / "a.mbtiles", **HOSTILE[words])
    with pytest.raises(PictureError, match=words) as error:
        open_picture(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_being_written_is_refused(tmp_path: Path) -> None:
    path = database(tmp_path / "a.mbtiles")
    (tmp_path / "a.mbtiles-wal").write_bytes(b"x")
    with pytest.raises(PictureError, match=r"is being written, as a\.mbtiles-wal says"):
        open_picture(path)
    (tmp_path / "a.mbtiles-wal").unlink()
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(PictureError, match="damaged or unsupported MBTiles"):
        open_picture(path)


BROKEN = {
    "tile 4/5/6 is damaged": tile(LEFT, TOP)[:-300],
    "tile 4/5/6 has 16 x 16 px": _png(16, 16),
}


@pytest.mark.parametrize("words", BROKEN)
def test_a_tile_that_is_damaged_is_named(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder(tmp_path / "tiles")
    place = path / str(ZOOM) / str(LEFT) / f"{TOP}.png"
    place.write_bytes(BROKEN[words])
    monkeypatch.setattr(mosaic, "_side_and_alpha", lambda *about: (SIDE, False))
    with pytest.raises(PictureError, match=words):
        open_picture(path).check()


def test_a_folder_is_a_folder(tmp_path: Path) -> None:
    for name in ("1/2", "1/x", "a/1"):
        (tmp_path / "none" / name).mkdir(parents=True)
    (tmp_path / "none" / "1" / "2" / "3.txt").write_text("no tile")
    with pytest.raises(PictureError, match="is a folder; a picture file is needed"):
        open_picture(tmp_path / "none")


@pytest.mark.parametrize(
    "facts", [[1], {"maxzoom": ZOOM, "height": 10**9, "width": 5}, {"height": "x"}, {"scheme": 3, "transform": [1]}]
)
def test_facts_of_others_do_no_harm(facts: Any, tmp_path: Path) -> None:
    path = folder(tmp_path / "tiles")
    (path / "tiles.json").write_text(json.dumps(facts))
    found = None
    with contextlib.suppress(PictureError):
        found = open_picture(path).width
    assert found == (None if isinstance(facts, dict) and facts.get("height") == 10**9 else 3 * SIDE)


def test_a_tile_is_of_the_most_bytes_and_not_of_one_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = max(len(tile(*place)) for place in PLACES)
    sources = folder(tmp_path / "tiles"), database(tmp_path / "a.mbtiles")
    monkeypatch.setattr(mosaic, "_TILE_BYTES", most)
    for path in sources:
        assert read_picture(path).shape == (3, 2 * SIDE, 3 * SIDE)
    place = tmp_path / "tiles" / str(ZOOM) / str(LEFT) / f"{TOP}.png"
    place.unlink()
    place.write_bytes(tile(LEFT, TOP).ljust(most + 1, b"\0"))
    with pytest.raises(PictureError, match=f"tile 4/5/6 has {most + 1} bytes; up to {most} are allowed"):
        open_picture(sources[0])


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_has_a_tile_s_name_and_is_no_file_is_not_opened(make: Callable[[Path], None], tmp_path: Path) -> None:
    place = folder(tmp_path / "tiles") / str(ZOOM) / str(LEFT) / f"{TOP}.png"
    place.unlink()
    make(place)
    with pytest.raises(PictureError, match=r"4/5/6\.png: is not a regular file"):
        open_picture(tmp_path / "tiles")


def test_tiles_are_listed_by_their_numbers(tmp_path: Path) -> None:
    """Whatever the order in which they came."""
    places = [(10, 3), (9, 10), (100, 7), (9, 9), (10, 20), (9, 100)]
    for column, row in places:
        place = tmp_path / "8" / str(column) / f"{row}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(_png(16, 16))
    assert [name for name, _ in mosaic.files(tmp_path)] == [f"8/8/{column}/{row}.png" for column, row in sorted(places)]


@pytest.mark.parametrize(("digits", "fine"), [(10, True), (11, False)])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_number_has_ten_digits_at_most(digits: int, fine: bool, level: int, tmp_path: Path) -> None:
    names = ["4", "5", "6"]
    names[level] = names[level].zfill(digits)
    place = tmp_path / "tiles" / names[0] / names[1] / f"{names[2]}.png"
    place.parent.mkdir(parents=True)
    place.write_bytes(_png(32, 32))
    assert mosaic.is_folder(tmp_path / "tiles") == fine
    if fine:
        found = mosaic.mosaic_of(tmp_path / "tiles")
        assert (found.zoom, found.left, found.top) == (4, 5, 6)


@pytest.mark.parametrize(("zoom", "fine"), [(0, True), (30, True), (31, False)])
def test_zooms_go_from_0_to_30(zoom: int, fine: bool, tmp_path: Path) -> None:
    (tmp_path / "tiles" / str(zoom) / "0").mkdir(parents=True)
    (tmp_path / "tiles" / str(zoom) / "0" / "0.png").write_bytes(_png(32, 32))
    assert mosaic.is_folder(tmp_path / "tiles") == fine
    if fine:
        assert mosaic.mosaic_of(tmp_path / "tiles").zoom == zoom
        return
    assert mosaic.stamp(tmp_path / "tiles") == ()
    with pytest.raises(PictureError, match=r"tiles: is a folder without map tiles \{z\}/\{x\}/\{y\}\.png, \.jpg or"):
        mosaic.mosaic_of(tmp_path / "tiles")


def test_other_things_among_tiles_are_nothing(tmp_path: Path) -> None:
    path = folder(tmp_path / "tiles")
    for column in (path / str(ZOOM)).iterdir():
        (column / "notes.txt").write_text("by somebody")
    (path / str(ZOOM) / "9").mkdir()
    for one in (path, path / str(ZOOM)):
        assert open_picture(one).width == 3 * SIDE


def test_a_folder_s_number_is_a_zoom_where_columns_are_in_it(tmp_path: Path) -> None:
    """2024 may be a year, and columns in a folder of another name are of no zoom."""
    year = folder(tmp_path / "2024")
    assert mosaic.mosaic_of(year).zoom == ZOOM
    (year / str(ZOOM)).rename(tmp_path / "columns")
    assert not mosaic.is_folder(tmp_path / "columns")


def test_how_many_tiles_there_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, base = folder(tmp_path / "tiles"), database(tmp_path / "a.mbtiles")
    monkeypatch.setattr(mosaic, "_MOST_TILES", 6)
    assert (open_picture(path).width, open_picture(base).width) == (3 * SIDE, 3 * SIDE)
    (path / str(ZOOM) / str(LEFT) / f"{TOP + 9}.txt").touch()  # another stamp
    base.touch()
    monkeypatch.setattr(mosaic, "_MOST_TILES", 5)
    with pytest.raises(PictureError, match="tiles: more than 5 tiles of zoom 4; name the folder of a coarser one"):
        open_picture(path)
    with pytest.raises(PictureError, match=r"a\.mbtiles: zoom 4 spans 3 x 2 tiles; up to 5 are allowed"):
        open_picture(base)


def test_tiles_of_a_poster_fill_the_size_it_says(tmp_path: Path) -> None:
    """From the first row and column on: 8 x 8 of 32 px. Of another zoom, or none, they are a map's."""
    path = folder(tmp_path / "tiles")

    def size(**facts: Any) -> tuple[int, int]:
        (path / "tiles.json").unlink(missing_ok=True)
        (path / "tiles.json").write_text(json.dumps({"maxzoom": ZOOM, "height": 256, "width": 250, **facts}))
        picture = open_picture(path)
        return picture.height, picture.width

    world = 2 * SIDE, 3 * SIDE
    assert size() == (256, 250)
    assert (size(height=1), size(width=1), size(width=256)) == ((1, 250), (256, 1), (256, 256))
    for wrong in (dict(maxzoom=3), dict(height=256.0), dict(width="250"), dict(height=True), dict(width=None)):
        assert size(**wrong) == world
    for wrong, said in ((dict(height=257), "250 x 257"), (dict(width=257), "257 x 256"), (dict(height=0), "250 x 0"),
                        (dict(width=0), "0 x 256"), (dict(width=-1), "-1 x 256")):  # fmt: skip
        with pytest.raises(PictureError, match=f"its tiles.json says {said} px, and its tiles have not as many"):
            size(**wrong)


@pytest.mark.parametrize(("spare", "read"), [(0, True), (-1, False)])
def test_what_is_said_of_tiles_has_a_most_of_bytes(
    spare: int, read: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder(tmp_path / "tiles")
    text = json.dumps({"maxzoom": ZOOM, "height": 256, "width": 250})
    (path / "tiles.json").write_text(text)
    monkeypatch.setattr(mosaic, "_FACTS_BYTES", len(text) + spare)
    assert open_picture(path).width == (250 if read else 3 * SIDE)


@pytest.mark.parametrize("side", ["height", "width", "both"])
@pytest.mark.parametrize(("px", "fine"), [(15, False), (16, True), (4096, True), (4097, False)])
def test_how_large_a_tile_is(px: int, fine: bool, side: str, tmp_path: Path) -> None:
    file, size = io.BytesIO(), {"height": (32, px), "width": (px, 32), "both": (px, px)}[side]
    Image.new("1", size).save(file, "PNG")
    place = tmp_path / "0" / "0" / "0.png"
    place.parent.mkdir(parents=True)
    place.write_bytes(file.getvalue())
    if fine and side == "both":
        assert mosaic.mosaic_of(tmp_path).side == px
        return
    with pytest.raises(PictureError, match="its tiles are not all squares of one size, 16 to 4096 px"):
        mosaic.mosaic_of(tmp_path)


@pytest.mark.parametrize(("form", "looked_at", "alpha"), [("PNG", 6, False), ("PNG", 5, True), ("JPEG", 5, False)])
def test_of_tiles_that_are_not_looked_at_transparency_is_supposed(
    form: str, looked_at: int, alpha: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JPEG has none."""
    monkeypatch.setattr(mosaic, "_LOOKED_AT", looked_at)
    make = partial(tile, form=form)
    for path in (folder(tmp_path / "tiles", make), database(tmp_path / "a.mbtiles", make)):
        assert open_picture(path).has_alpha == alpha


def test_a_world_of_one_tile_is_a_picture(tmp_path: Path) -> None:
    only = f"DELETE FROM tiles WHERE tile_column != {LEFT} OR tile_row != {2**ZOOM - 1 - TOP};"
    path = database(
        tmp_path / "a.mbtiles", script=f"{only} UPDATE tiles SET zoom_level = 0, tile_column = 0, tile_row = 0"
    )
    np.testing.assert_array_equal(read_picture(path) * 255, WORLD[:SIDE, :SIDE, :3].transpose(2, 0, 1))

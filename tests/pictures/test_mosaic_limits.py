"""Of map tiles: what is looked at, what a database may hold, and what tells a folder from another of its name."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from test_mosaics import LEFT, SIDE, TOP, WORLD, ZOOM, _png, database, folder, tile

from tiler.errors import PictureError
from tiler.pictures import mosaic, open_picture, read_picture
from tiler.pictures.mosaic import Mosaic, _Database, _is_finite, _side_and_alpha, _tile, mosaic_of, stamp

ONLY = f"DELETE FROM tiles WHERE tile_column != {LEFT} OR tile_row != {2**ZOOM - 1 - TOP};"


MOST = sys.float_info.max


@pytest.mark.parametrize(
    ("value", "fine"),
    [(MOST, True), (-MOST, True), (-(10**400), False), (10**400, False), (float("nan"), False), (0, True),
     (False, False)],
)  # fmt: skip
def test_a_number_is_what_a_float_can_be(value: float, fine: bool) -> None:
    assert _is_finite(value) == fine


def test_a_tile_holds_16_mib_and_not_a_byte_more() -> None:
    with _tile(tile(LEFT, TOP).ljust(2**24, b"\0"), "t") as image:
        assert image.size == (SIDE, SIDE)
    with (
        pytest.raises(PictureError, match="t has 16777217 bytes; up to 16777216 are allowed"),
        _tile(bytes(2**24 + 1), "t"),
    ):
        pass


@pytest.mark.parametrize(("size", "said"), [(16_000, "has 16000 bytes; up to 8000"), (16_001, "too big")])
def test_a_value_of_a_database_may_be_twice_as_long_and_no_longer(
    size: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mosaic, "_TILE_BYTES", 8000)
    place = "4 AS zoom_level, 5 AS tile_column, 9 AS tile_row"
    script = f"DROP TABLE tiles; CREATE VIEW tiles AS SELECT {place}, zeroblob({size}) AS tile_data"
    with pytest.raises(PictureError, match=said):
        mosaic_of(database(tmp_path / "a.mbtiles", script=script))


@pytest.mark.parametrize(("spaces", "read"), [(0, True), (1, False)])
def test_of_tiles_so_much_may_be_said(spaces: int, read: bool, tmp_path: Path) -> None:
    path, text = folder(tmp_path / "tiles"), '{"maxzoom": 4, "height": 256, "width": 250'
    (path / "tiles.json").write_text(text.ljust(2**22 - 1 + spaces) + "}")
    assert open_picture(path).width == (250 if read else 3 * SIDE)


class First:
    """Only the first tile is there. asked: how often any was."""

    asked = 0

    def data(self, column: int, row: int) -> bytes | None:
        self.asked += 1
        return _png(16, 16) if self.asked == 1 else None


@pytest.mark.parametrize(("number", "alpha"), [(4096, False), (4097, True)])
def test_four_thousand_tiles_are_looked_at(number: int, alpha: bool) -> None:
    tiles = First()
    places = [(column, 3) for column in range(number)]
    assert _side_and_alpha(Path("a"), 13, tiles, places, number) == (16, alpha)
    assert tiles.asked == 4096


@pytest.mark.parametrize(("modes", "asked"), [("AB", 1), ("BAB", 2), ("BBB", 3)])
def test_tiles_are_looked_at_until_one_is_transparent(modes: str, asked: int) -> None:
    seen = []

    def data(column: int, row: int) -> bytes:
        seen.append((column, row))
        return tile(LEFT, TOP, "RGBA" if modes[column] == "A" else "RGB")

    places = [(column, 7) for column in range(len(modes))]
    found = _side_and_alpha(Path("a"), 13, SimpleNamespace(data=data), places, len(modes))
    assert found == (SIDE, "A" in modes)
    assert seen == places[:asked]


@pytest.mark.parametrize("number", [1000, 1001])
def test_of_a_database_a_thousand_are(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mbtiles"
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE metadata (name TEXT, value TEXT)")
        file.execute("CREATE TABLE tiles (zoom_level INT, tile_column INT, tile_row INT, tile_data BLOB)")
        file.executemany("INSERT INTO tiles VALUES (10, ?, 77, x'00')", [(column,) for column in range(number)])
        file.commit()
    seen = []

    def looked_at(path: Path, zoom: int, tiles: object, places: list[tuple[int, int]], count: int) -> tuple[int, bool]:
        seen.extend([*places, count])
        return 16, False

    monkeypatch.setattr(mosaic, "_side_and_alpha", looked_at)
    assert mosaic_of(path).width == 16 * number
    assert seen == [*((column, 2**10 - 1 - 77) for column in range(1000)), number]


@pytest.mark.parametrize(("column", "row", "fine"), [(0, 15, True), (15, 0, True), (16, 3, False), (-1, 3, False),
                                                     (3, 16, False), (3, -1, False), ("'x'", 3, False)])  # fmt: skip
def test_tiles_lie_within_their_zoom(column: int | str, row: int, fine: bool, tmp_path: Path) -> None:
    path = database(tmp_path / "a.mbtiles", script=f"{ONLY} UPDATE tiles SET tile_column = {column}, tile_row = {row}")
    if fine:
        found = mosaic_of(path)
        assert (found.left, found.top, found.width, found.height) == (column, 15 - row, SIDE, SIDE)
        return
    with pytest.raises(PictureError, match=r"a\.mbtiles: damaged MBTiles \(tiles outside zoom 4\)"):
        mosaic_of(path)


@pytest.mark.parametrize(("zoom", "fine"), [("30", True), ("31", False), ("-1", False), ("'x'", False)])
def test_a_database_has_zooms_from_0_to_30(zoom: str, fine: bool, tmp_path: Path) -> None:
    path = database(tmp_path / "a.mbtiles", script=f"{ONLY} UPDATE tiles SET zoom_level = {zoom}")
    if fine:
        assert mosaic_of(path).zoom == 30
        return
    with pytest.raises(PictureError, match="without tiles of a zoom from 0 to 30"):
        mosaic_of(path)


def test_tiles_without_a_place_are_none(tmp_path: Path) -> None:
    script = "INSERT INTO tiles VALUES (4, NULL, 9, x'00'); INSERT INTO tiles VALUES (4, 5, NULL, x'00')"
    path = database(tmp_path / "a.mbtiles", script=script)
    assert mosaic_of(path).notes == ("zoom 4, 3 x 2 tiles",)
    np.testing.assert_array_equal(np.rint(read_picture(path) * 255), WORLD[..., :3].transpose(2, 0, 1))


@pytest.mark.parametrize("form", ["PNG", "jpg", "JPEG", "webp", None])
def test_tiles_that_are_pictures_are_taken(form: str | None, tmp_path: Path) -> None:
    """PNG where it is not said."""
    script = "" if form else "DELETE FROM metadata"
    assert mosaic_of(database(tmp_path / "a.mbtiles", script=script, format=form or "png")).side == SIDE


def test_a_format_is_named_shortly(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"MBTiles of abcdefghijklmnopqrst; tiles of PNG, JPEG or WebP are allowed"):
        mosaic_of(database(tmp_path / "a.mbtiles", format="ABCDEFGHIJKLMNOPQRSTUVW"))


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
@pytest.mark.parametrize("held", [b"", b"x"])
def test_a_database_is_being_written_where_something_waits_beside_it(suffix: str, held: bytes, tmp_path: Path) -> None:
    path = database(tmp_path / "a.mbtiles")
    (tmp_path / f"a.mbtiles{suffix}").write_bytes(held)
    if not held:
        assert mosaic_of(path).zoom == ZOOM
        return
    with pytest.raises(PictureError, match=f"is being written, as a.mbtiles{suffix} says; close what writes it"):
        mosaic_of(path)


def test_a_question_has_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many: each has its own."""
    long = "WITH n AS (SELECT 1 FROM tiles), m AS (SELECT 1 FROM n, n, n) SELECT count(*) FROM m, m, n"
    with contextlib.closing(_Database(database(tmp_path / "a.mbtiles"))) as tiles:
        for begun, after, fine in ((1000.0, 60.0, True), (2000.0, 60.0, True), (3000.0, 60.5, False)):
            clock = chain([begun], repeat(begun + after))
            monkeypatch.setattr(mosaic, "time", SimpleNamespace(monotonic=partial(next, clock)))
            if fine:
                assert tiles.ask(long) == [(7**7,)]
                continue
            with pytest.raises(PictureError, match="takes more than 60 s for a question"):
                tiles.ask(long)


def test_a_database_is_asked_by_any_thread_until_it_is_closed(tmp_path: Path) -> None:
    tiles = _Database(database(tmp_path / "a.mbtiles"))
    tiles.zoom = ZOOM
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(tiles.data, LEFT + 1, TOP).result() == tile(LEFT + 1, TOP)
        assert pool.submit(tiles.data, LEFT + 1, TOP + 9).result() is None
    tiles._connection.set_authorizer(None)
    assert tiles.ask("PRAGMA trusted_schema") == [(0,)]
    tiles.close()
    with pytest.raises(PictureError, match="damaged or unsupported MBTiles"):
        tiles.ask("SELECT 1")


def test_a_folder_that_went_away_holds_no_tiles(tmp_path: Path) -> None:
    assert mosaic._holds_tiles(tmp_path / "none") is False
    assert mosaic._numbers(tmp_path / "none") == {}


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """By columns that came, what is said of them, and by being another."""
    path = folder(tmp_path / "tiles")
    seen = [stamp(path)]
    assert stamp(path) == seen[0]
    (path / str(ZOOM) / "9").mkdir()
    seen.append(stamp(path))
    (path / "tiles.json").write_text("{}")
    seen.append(stamp(path))
    column = path / str(ZOOM) / str(LEFT + 1)
    column.touch()
    seen.append(stamp(path))
    old, before = path / "old", (path / str(ZOOM)).stat().st_mtime_ns
    (path / str(ZOOM)).rename(old)
    (path / str(ZOOM)).mkdir()
    for one in list(old.iterdir()):
        one.rename(path / str(ZOOM) / one.name)
    os.utime(path / str(ZOOM), ns=(before, before))
    seen.append(stamp(path))
    assert len(set(seen)) == 5


def test_a_mosaic_is_known_by_its_numbers() -> None:
    """Names of tiles are many, and follow from the rest."""
    one, other = (Mosaic(Path("a"), "xyz", 4, 6, 5, 64, 96, 32, False, None, (), {(5, 6): name}) for name in "ab")
    assert one == other
    assert hash(one) == hash(other)

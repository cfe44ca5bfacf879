"""From a level to its file: transparency, what lies on top, where it lies, how large it is on paper."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tiler.errors import ConfigError, LevelMovedError, OutputError, StoreError
from tiler.geometry import Level, Rect
from tiler.output import export
from tiler.output.export import check_files, georef_of_view, remarks, staged, with_alpha, write_view
from tiler.output.overlay import check_overlay, overlay_notes, overlay_stage
from tiler.output.poster import Georeference, Poster
from tiler.pictures import Georef
from tiler.request.config import RenderConfig
from tiler.version import __version__

CONFIG = RenderConfig("c.png", ("s.png",), "p.png")


class Drawn:
    """A picture of 4 x 6 pixels whose bands are what they are said to be."""

    height, width, path, is_drawn = 4, 6, "labels.png", False

    def __init__(self, rgba: np.ndarray | None = None) -> None:
        self._rgba, self.asked, self.ended = rgba, [], False  # type: ignore[var-annotated]

    def bands(self, *what: Any) -> Any:
        self.asked.append(what)
        for y in range(0, what[0], what[2]):
            assert self._rgba is not None
            yield self._rgba[:, y : y + what[2]]
        self.ended = True


def test_over_is_over() -> None:
    """Cover 1, 0.25 and 0 on opaque and half transparent pixels; colours of numbers that are easy to mix."""
    rgba = np.zeros((4, 3, 2))
    rgba[:3] = np.array([0.2, 0.4, 0.8])[:, None, None]
    rgba[3, 0], rgba[3, 1] = 1.0, 0.25
    found: Any = Drawn(rgba)
    stage = overlay_stage(found, 3, 2, 2)
    band = np.full((3, 2, 2), 0.6, np.float32)
    first = stage(band, 0)
    assert (first.dtype, first.shape) == (np.float32, (3, 2, 2))
    np.testing.assert_allclose(first[:, 0, 1], [0.2, 0.4, 0.8])
    np.testing.assert_allclose(first[:, 1, 1], [0.5, 0.55, 0.65])
    assert not found.ended
    np.testing.assert_array_equal(stage(band[:, :1], 2), band[:, :1])
    assert found.ended, "what is looked at once all has been read"
    assert found.asked == [(3, 2, 2, "rgba")]


def test_over_what_is_transparent_itself() -> None:
    rgba = np.zeros((4, 3, 1))
    rgba[:3], rgba[3, 0], rgba[3, 1] = 0.2, 0.25, 0.0
    below = np.full((4, 3, 1), 0.8)
    below[3] = [[0.5], [0.5], [0.0]]
    found: Any = Drawn(rgba)
    mixed = overlay_stage(found, 3, 1, 3)(below, 0)
    # 0.25 of its own and 0.75 * 0.5 of what is below: 0.625 in all.
    np.testing.assert_allclose(mixed[:, 0, 0], [(0.05 + 0.3) / 0.625] * 3 + [0.625])
    np.testing.assert_allclose(mixed[:, 1, 0], [0.8, 0.8, 0.8, 0.5])
    np.testing.assert_allclose(mixed[:, 2, 0], [0.8, 0.8, 0.8, 0.0])


def test_an_overlay_of_another_size_is_told_as_width_by_height() -> None:
    drawn: Any = Drawn()
    assert overlay_notes(drawn, 8, 12) == ["overlay labels.png: resized from 6 x 4 to 12 x 8 px"]
    assert overlay_notes(drawn, 8, 6) == ["overlay labels.png: resized from 6 x 4 to 6 x 8 px"]
    assert overlay_notes(drawn, 4, 6) == overlay_notes(None, 8, 12) == []
    drawn.is_drawn = True
    assert overlay_notes(drawn, 8, 12) == []


def test_an_overlay_of_another_shape_or_that_would_be_replaced_is_refused(tmp_path: Path) -> None:
    drawn: Any = Drawn()
    with_it = replace(CONFIG, overlay="labels.png")
    check_overlay(with_it, 8, 12, drawn)
    check_overlay(CONFIG, 12, 8, drawn)
    check_overlay(with_it, 12, 8, None)
    check_overlay(replace(with_it, output=None, tiles="t"), 8, 12, drawn)
    with pytest.raises(ConfigError, match=r"overlay labels.png: 6 x 4 pixels; allowed: the poster's shape \(8 x 12\)"):
        check_overlay(with_it, 12, 8, drawn)
    (tmp_path / "link.png").symlink_to("o.png")
    over = replace(CONFIG, output=str(tmp_path / "link.png"), overlay=str(tmp_path / "o.png"))
    with pytest.raises(OutputError, match=r"link\.png: is the overlay; choose another name"):
        check_overlay(over, 8, 12, drawn)


def test_what_is_the_file_s_is_not_for_tiles_alone(tmp_path: Path) -> None:
    tiles = replace(CONFIG, output=None, tiles=str(tmp_path / "t"))
    check_files(tiles, 40, 30, None)
    for more in ({"bits": 16}, {"compression": "lzw"}, {"cog": True}):
        with pytest.raises(OutputError, match=r"t: bits, compression and cog are for the poster's file; tiles have 8"):
            check_files(replace(tiles, **more), 40, 30, None)  # type: ignore[arg-type]
    check_files(replace(tiles, output=str(tmp_path / "p.tif"), bits=16, compression="lzw"), 40, 30, None)


def test_what_is_lost_is_remarked() -> None:
    drawn: Any = Drawn()
    jpeg = replace(CONFIG, output="p.jpg")
    white = "p.jpg: this format holds no transparency; the poster is shown on white"
    resized = "overlay labels.png: resized from 6 x 4 to 12 x 8 px"
    assert remarks(jpeg, 8, 12, drawn, True) == [resized, white]
    assert remarks(jpeg, 8, 12, None, False) == []
    assert remarks(CONFIG, 8, 12, None, True) == []
    assert remarks(replace(jpeg, output=None, tiles="t"), 8, 12, None, True) == []


class Shown:
    """A view of rows 2 to 5 and columns 1 to 4 of level 1, which is 8 x 6 pixels; half transparent or opaque."""

    level, height, width, steps, band_height, state = 1, 4, 3, 7, 3, None
    box = Rect(2, 1, 6, 4)
    job: Any = SimpleNamespace(
        cut=SimpleNamespace(levels=(Level(0, 4, 3, 1, 0.1), Level(1, 8, 6, 7, 0.1)), last=Level(1, 8, 6, 7, 0.1))
    )

    def __init__(self, alpha: bool = False, **attributes: Any) -> None:
        self.store: Any = SimpleNamespace(
            url="s", attributes=attributes, has_picture=lambda path: alpha and path == "levels/1/alpha",
            read_picture=self._alpha,
        )  # fmt: skip
        self.asked: list[Rect] = []

    def _alpha(self, path: str, rect: Rect) -> np.ndarray:
        assert path == "levels/1/alpha"
        self.asked.append(rect)
        return np.full((1, rect.height, rect.width), 0.5)

    def bands(self) -> Any:
        for rows in (3, 1):
            yield np.full((3, rows, 3), 0.75, np.float32)

    def read(self, rect: Rect) -> np.ndarray:
        y, x = np.mgrid[rect.y0 : rect.y1, rect.x0 : rect.x1] / 10
        return np.stack([y, x, 0 * x - 1])


def test_white_is_taken_out_of_what_is_transparent_again() -> None:
    view: Any = Shown(alpha=True)
    alpha = np.array([[[1.0, 0.5, 0.25, 0.0, 0.5]]])
    view.store.read_picture = lambda path, rect: alpha
    pixels = np.array([0.3, 0.75, 0.9, 0.4, 0.2], np.float32).reshape(1, 1, 5).repeat(3, 0)
    found = with_alpha(view, pixels, Rect(0, 0, 1, 5))
    assert (found.shape, found.dtype) == ((4, 1, 5), np.float32)
    np.testing.assert_allclose(found[1, 0], [0.3, 0.5, 0.6, 0.4, 0.0], atol=1e-6)
    np.testing.assert_array_equal(found[3:], alpha.astype(np.float32))


@pytest.mark.parametrize(("keeps", "shape", "value"), [(True, (4, 3, 3), 0.5), (False, (3, 3, 3), 0.75)])
def test_a_band_reads_the_transparency_of_its_own_rows(keeps: bool, shape: tuple[int, ...], value: float) -> None:
    view: Any = Shown(alpha=True)
    first, last = export._pixels(view, None, keeps)
    assert (first.shape, last.shape) == (shape, (shape[0], 1, 3))
    np.testing.assert_allclose(first[:3], value)
    assert view.asked == [Rect(2, 1, 5, 4), Rect(5, 1, 6, 4)]


def test_stages_follow_each_other_and_know_their_row() -> None:
    rows: list[tuple[str, int]] = []

    def stage(name: str, times: float) -> export.Stage:
        return lambda band, y: (rows.append((name, y)), band * times + 1)[1]

    bands = [np.full((3, 5, 2), 1.0), np.full((3, 2, 2), 2.0)]
    first, last = staged(bands, [stage("a", 2), stage("b", 3)])
    assert (first[0, 0, 0], last[0, 0, 0]) == (10, 16)
    assert rows == [("a", 0), ("b", 0), ("a", 5), ("b", 5)]


GEOREF = {"transform": [10, 0, 1000, 0, -20, 5000], "keys": [], "doubles": [], "text": "", "prj": None}
PLACE: dict[str, Any] = {"size": [16, 12], "georef": GEOREF}


def test_a_part_lies_where_the_content_does_there() -> None:
    view: Any = Shown(place=PLACE)
    found = georef_of_view(view)
    assert found is not None
    assert found.transform == (20, 0, 1020, 0, -40, 4920)
    assert georef_of_view(Shown()) is None  # type: ignore[arg-type]
    for odd in ({"georef": {"transform": [1]}}, {"georef": PLACE["georef"]}, {**PLACE, "size": [1]}):
        with pytest.raises(StoreError, match="store s: cannot be read: place"):
            georef_of_view(Shown(place=odd))  # type: ignore[arg-type]


def test_what_is_written_is_as_the_configuration_says(monkeypatch: pytest.MonkeyPatch) -> None:
    view: Any = Shown(alpha=True, place=PLACE)
    asked: dict[str, Any] = {}
    monkeypatch.setattr(export.identity, "load_config", lambda store: replace(CONFIG, seed=5))
    monkeypatch.setattr(export, "check_files", lambda *what: asked.update(check=what))
    for name in ("write_picture", "write_xyz"):
        monkeypatch.setattr(export.pictures, name, lambda *what, name=name, **how: asked.update({name: (what, how)}))
    config = replace(
        CONFIG, output="p.jpg", tiles="t", bits=16, dpi=200.0, compression="lzw", jpeg_quality=80, cog=True
    )
    done = write_view(view, config, None)
    (path, *size, pixels), how = asked["write_picture"]
    assert (path, size, next(pixels).shape) == ("p.jpg", [4, 3], (3, 3, 3))
    georef, metadata = how.pop("georef"), how.pop("metadata")
    assert how == {"bits": 16, "dpi": 200.0, "compression": "lzw", "quality": 80, "cog": True}
    assert georef.transform == (20, 0, 1020, 0, -40, 4920)
    assert metadata["Software"] == f"tiler {__version__}"
    assert json.loads(metadata["Description"])["seed"] == 5
    (path, *size, pixels), how = asked["write_xyz"]
    assert (path, size, next(pixels).shape) == ("t", [4, 3], (4, 3, 3))
    assert how == {"georef": georef, "metadata": metadata, "quality": 80}
    assert asked["check"] == (config, 4, 3, None, georef)
    assert (done.outputs, done.level, done.height, done.width, done.steps) == (("p.jpg", "t"), 1, 4, 3, 7)
    assert [remark.partition(":")[0] for remark in done.remarks] == ["p.jpg"]
    asked.clear()
    assert write_view(view, replace(config, output=None), None).outputs == ("t",)
    assert "write_picture" not in asked
    assert write_view(view, replace(config, tiles=None), None).outputs == ("p.jpg",)


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Any:
    """exported(config of the store, options...) -> the configuration of the file, and what was asked."""

    def run(stored: RenderConfig, moved: int = 0, **options: Any) -> tuple[RenderConfig, list[Any]]:
        written: list[Any] = []
        asked: list[Any] = []
        store = SimpleNamespace(url="store url")
        monkeypatch.setattr(export.RenderStore, "open", lambda *what, **how: asked.append((what, how)) or store)
        monkeypatch.setattr(export.identity, "load_job", lambda found: Shown.job)
        configs = {"config": stored, "asked": replace(stored, content="asked.png")}
        monkeypatch.setattr(export.identity, "load_config", lambda found, which="config": configs[which])
        monkeypatch.setattr(export, "check_places", lambda config, url, pictures: asked.append((url, sorted(pictures))))
        monkeypatch.setattr(export.View, "of", lambda found, job, level: SimpleNamespace(level=level or 0))

        def write(view: Any, config: RenderConfig, overlay: Any) -> str:
            written.append(config)
            if len(written) <= moved:
                raise LevelMovedError("moved")
            return "done"

        monkeypatch.setattr(export, "write_view", write)
        assert export.export("p.zarr", "new.tif", **options) == "done"
        return written[-1], [*asked, len(written)]

    return run


def test_a_file_has_its_own_defaults_and_the_look_is_the_job_s(exported: Any) -> None:
    stored = replace(CONFIG, bits=16, compression="lzw", cog=True, tiles="t", jpeg_quality=70, seed=9)
    config, asked = exported(stored, jpeg_quality=60)
    wanted = dict(output="new.tif", bits=8, compression=None, cog=False, tiles=None, jpeg_quality=60, seed=9)
    assert {name: getattr(config, name) for name in wanted} == wanted
    assert asked == [(("p.zarr",), {"writable": False}), ("store url", ["asked.png", "s.png"]), 1]


@pytest.mark.parametrize(
    ("dpi", "options", "found"),
    [(300.0, {}, 150.0), (300.0, {"level": 1}, 300.0), (1.5, {}, 1.0), (None, {}, None), (300.0, {"dpi": 72.0}, 72.0),
     (300.0, {"dpi": None}, None)],
)  # fmt: skip
def test_each_level_has_the_poster_s_size_on_paper(
    exported: Any, dpi: float | None, options: dict[str, Any], found: float | None
) -> None:
    assert exported(replace(CONFIG, dpi=dpi), **options)[0].dpi == found


def test_a_level_that_moves_on_is_read_five_times(exported: Any) -> None:
    assert exported(CONFIG, moved=4)[1][-1] == 5
    with pytest.raises(LevelMovedError, match="moved"):
        exported(CONFIG, moved=5)


def poster(**more: Any) -> tuple[Poster, Any]:
    view: Any = Shown(**more)
    return Poster("/p.zarr", view), view


def test_a_part_of_a_poster_is_rounded_clipped_and_counted_from_its_corner() -> None:
    found, _ = poster()
    assert (found.shape, found.level, repr(found)) == (
        (3, 4, 3), 1, "Poster('/p.zarr', level=1, shape=(3, 4, 3))",
    )  # fmt: skip
    part = found[:, 1:3, 2:]
    assert (part.shape, part.dtype) == ((3, 2, 1), np.uint16)
    # Rows 3 and 4 and column 3 of the level, in tenths; 0.3 * 65535 = 19660.5, 0.4 * 65535 = 26214.
    assert part[2].tolist() == [[0], [0]]
    assert part[0].tolist() == [[19660], [26214]]
    assert part[1].tolist() == [[19660], [19660]]
    assert found[1:2].shape == (1, 4, 3)
    shapes: dict[tuple[int, ...], Any] = {
        (0, 2, 3): (slice(2, 1), slice(1, 3)), (3, 0, 3): (slice(None), slice(3, 1)),
        (2, 4, 0): (slice(0, 2), slice(None), slice(2, 2)), (3, 4, 0): (..., slice(1, 1)),
    }  # fmt: skip
    for shape, key in shapes.items():
        assert found[key].shape == shape
    opaque, view = poster(alpha=True)
    assert opaque.shape == (4, 4, 3)
    assert opaque[3:, 1:2].tolist() == [[[32768] * 3]]
    assert view.asked == [Rect(3, 1, 4, 4)]


@pytest.mark.parametrize(
    "key", [(slice(None, None, -1),), (slice(None), slice(None, None, 2)), (..., 1), (slice(1),) * 4]
)
def test_a_key_that_is_no_part_is_named(key: Any) -> None:
    with pytest.raises(IndexError, match=r"slices of step 1 are allowed, as in poster"):
        poster()[0][key]


def test_a_poster_says_where_its_corner_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    assert poster()[0].georeference is None
    found, _ = poster(place=PLACE)
    assert found.georeference == Georeference((20, 0, 1020, 0, -40, 4920), None)


def test_a_poster_that_is_turned_has_its_transform_and_no_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    turned = Georef((2.0, 1.0, 100.0, 0.5, -4.0, 500.0))
    grid = SimpleNamespace(core_height=32, core_width=2)
    found, view = poster()
    view.job = SimpleNamespace(cut=SimpleNamespace(grid=lambda level: grid))
    monkeypatch.setattr("tiler.output.poster.georef_of_view", lambda view: turned)
    array = found.as_xarray()
    assert set(array.coords) == {"band", "spatial_ref"}
    assert array.spatial_ref.attrs == {"GeoTransform": "100.0 2.0 1.0 500.0 0.5 -4.0"}
    assert array.band.values.tolist() == [1, 2, 3]
    assert (array.name, array.attrs["long_name"]) == ("poster", ("red", "green", "blue"))
    assert array.data.chunks == ((3,), (4,), (2, 1))
    monkeypatch.setattr("tiler.output.poster.georef_of_view", lambda view: Georef((2.0, 0.0, 100.0, 0.5, -4.0, 500.0)))
    assert set(found.as_xarray().coords) == {"band", "spatial_ref"}
    monkeypatch.setattr("tiler.output.poster.georef_of_view", lambda view: Georef((2.0, 0.0, 100.0, 0.0, -4.0, 500.0)))
    array = found.as_xarray()
    assert (array.x.values.tolist(), array.y.values.tolist()) == ([101, 103, 105], [498, 494, 490, 486])


@pytest.mark.parametrize("options", [{"content_weight": 3.0}, {"bits": 16, "contents": "x"}])
def test_what_says_nothing_of_a_file_is_refused(options: dict[str, Any]) -> None:
    [other] = {*options} - {"bits"}
    with pytest.raises(ConfigError, match=f"^{other}: says nothing of how a file is written; allowed: "):
        export.export("p.zarr", "new.tif", **options)

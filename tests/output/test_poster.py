"""A finished poster as an array: the file's own pixels, read where they are looked at, and where they lie."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rioxarray  # noqa: F401
import tifffile
import xarray
import zarr
from serial_pool import Here, render_module

import tiler
from tiler.engine.store import RenderStore
from tiler.errors import ConfigError, StoreError

RGBA = np.random.default_rng(3).integers(0, 256, (60, 80, 4), dtype=np.uint8)
COORDS = {"y": 8_000_000 - 500 - 1000 * np.arange(60), "x": 200_500 + 1000 * np.arange(80)}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory, small_weights: str) -> Path:
    """A folder with poster.tif, of 16 bits, half transparent and on the map, and poster.zarr; in six tiles."""
    folder = tmp_path_factory.mktemp("poster")
    rgba = RGBA.copy()
    rgba[:, :40, 3] = 255
    content = xarray.DataArray(rgba, dims=("y", "x", "band"), coords=COORDS).rio.write_crs("EPSG:32720")
    render(folder, content, small_weights)
    return folder


def render(folder: Path, content: Any, weights: str, precision: str = "fp32") -> None:
    small = dict(levels=1, steps=1, weights=weights, precision=precision, device="cpu", threads=1, tile=32)
    config = tiler.RenderConfig(content, RGBA[..., :3], str(folder / "poster.tif"), size="80x60", bits=16, **small)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render_module(), "Pool", Here)
        render_module().render(config)


@pytest.fixture
def poster(rendered: Path) -> tiler.Poster:
    return tiler.open_poster(str(rendered / "poster.zarr"))


@pytest.fixture
def file(rendered: Path) -> np.ndarray:
    return tifffile.imread(rendered / "poster.tif").transpose(2, 0, 1)


def test_its_pixels_are_the_file_s(poster: tiler.Poster, file: np.ndarray) -> None:
    assert (poster.shape, poster.dtype, poster.ndim) == ((4, 60, 80), np.uint16, 3)
    np.testing.assert_array_equal(np.asarray(poster), file)
    for key in ((slice(None), slice(7, 33), slice(50)), slice(1, 3), (..., slice(3, 5)), (slice(0), slice(5, 2))):
        np.testing.assert_array_equal(poster[key], file[key])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(poster))[:, :9], file[:, :9])


@pytest.mark.parametrize(("precision", "brightest"), [("fp32", 65535), ("fp64", 1)])
def test_the_store_says_which_value_is_full_brightness_and_one_beyond_it_is_clipped(
    tmp_path: Path, small_weights: str, precision: str, brightest: int
) -> None:
    """Viewers are told the former; of floats, which hold any number, a stranger's store may hold it."""
    render(tmp_path, RGBA[..., :3], small_weights, precision)
    store = zarr.open_group(tmp_path / "poster.zarr")
    for channel in store.attrs["ome"]["omero"]["channels"]:
        assert channel["window"] == {"min": 0, "max": brightest, "start": 0, "end": brightest}
    image = store["levels/0/image"]
    image[..., :4], image[..., 4:8] = 0, brightest
    if brightest == 1:
        image[..., :2], image[..., 4:6] = -0.25, 1.5
    found = tiler.open_poster(str(tmp_path / "poster.zarr"))
    assert not found[..., :4].any()
    assert (found[..., 4:8] == 65535).all()


@pytest.mark.parametrize("key", [0, (slice(None), 3), (slice(None, None, 2),), (slice(None),) * 4])
def test_other_keys_are_no_slices(poster: tiler.Poster, key: Any) -> None:
    with pytest.raises(IndexError, match="slices of step 1"):
        poster[key]


def test_dask_reads_a_tile_when_it_is_looked_at(poster: tiler.Poster, file: np.ndarray, monkeypatch: Any) -> None:
    read: list[Any] = []
    original = tiler.Poster.__getitem__
    monkeypatch.setattr(tiler.Poster, "__getitem__", lambda self, key: read.append(key) or original(self, key))
    lazy = poster.as_dask()
    assert not read
    assert lazy.numblocks == (1, 2, 3)
    np.testing.assert_array_equal(lazy[1, 40:, 70:].compute(), file[1, 40:, 70:])
    assert len(read) == 1
    np.testing.assert_array_equal(lazy.compute(), file)


def test_xarray_knows_where_it_lies(poster: tiler.Poster, file: np.ndarray) -> None:
    array = poster.as_xarray()
    assert array.dims == ("band", "y", "x")
    assert array.rio.crs.to_epsg() == 32720
    assert tuple(array.rio.transform())[:6] == (1000, 0, 200_000, 0, -1000, 8_000_000)
    np.testing.assert_array_equal(array.x, COORDS["x"])
    np.testing.assert_array_equal(array.y, COORDS["y"])
    np.testing.assert_array_equal(array.sel(band=4), file[3])
    place = poster.georeference
    assert place is not None
    assert place.transform == (1000, 0, 200_000, 0, -1000, 8_000_000)
    assert "32720" in str(place.crs)


def test_without_xarray_that_is_said(poster: tiler.Poster, monkeypatch: Any) -> None:
    monkeypatch.setitem(__import__("sys").modules, "xarray", None)
    with pytest.raises(ConfigError, match="pip install xarray"):
        poster.as_xarray()


def test_what_is_not_finished_is_no_poster(rendered: Path, tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(StoreError, match="no readable job"):
        tiler.open_poster(str(tmp_path / "none.zarr"))
    url = str(rendered / "poster.zarr")
    with pytest.raises(StoreError, match="level = 1; allowed: 0"):
        tiler.open_poster(url, level=1)
    monkeypatch.setattr(RenderStore, "level_report", lambda self, level: None)
    with pytest.raises(StoreError, match="has not begun"):
        tiler.open_poster(url)


def test_nothing_is_written(rendered: Path, poster: tiler.Poster) -> None:
    before = {path: path.stat().st_mtime_ns for path in rendered.rglob("*")}
    poster.as_xarray().mean().compute()
    assert {path: path.stat().st_mtime_ns for path in rendered.rglob("*")} == before

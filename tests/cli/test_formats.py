"""One rendered store, every output format: written by the command line, reopened by an independent reader."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from ome_zarr_models.v05 import Image as OmeImage
from PIL import Image, ImageCms

from tiler.cli.commands import cli
from tiler.errors import OutputError
from tiler.request.config import RenderConfig
from tiler.request.resolve import store_url

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
rasterio = pytest.importorskip("rasterio")
CRS, TRANSFORM = "EPSG:32633", (30.0, 0.0, 500_000.0, 0.0, -30.0, 4_600_000.0)
# 32 x 16 cm at 1 px a mm, of content that is 120 x 90: its middle 60 rows.
PAPER = ("--print", "32x16cm", "--dpi", "25.4")
SIZE, MIDDLE = (160, 320), (15, 75)


def content_pixels() -> np.ndarray:
    """[90, 120, 4] uint16: smooth colours, a hole, and a soft edge."""
    y, x = np.mgrid[0:90, 0:120].astype(float)
    hole = np.clip(np.hypot(x - 60, y - 45) - 20, 0, 10) / 10
    return np.rint(np.stack([x / 120, y / 90, 0.7 - x / 200, hole], -1) * 65535).astype(np.uint16)


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory, cluster: str) -> Path:
    """A folder with content.tif (georeferenced, 16-bit, alpha), and poster.tif and poster.zarr rendered from it."""
    folder = tmp_path_factory.mktemp("formats")
    profile = dict(driver="GTiff", height=90, width=120, count=4, dtype="uint16", crs=CRS, photometric="RGB")
    with rasterio.open(folder / "content.tif", "w", transform=rasterio.Affine(*TRANSFORM), alpha="yes", **profile) as f:
        f.write(content_pixels().transpose(2, 0, 1))
    grain = np.random.default_rng(5).integers(0, 255, (20, 26, 3), dtype=np.uint8)
    Image.fromarray(grain).resize((104, 80), Image.Resampling.BICUBIC).save(folder / "style.png")
    render(folder, cluster, "poster.tif", "--bits", "16", "--compression", "zstd")
    return folder


def render(folder: Path, cluster: str, output: str, *options: str) -> None:
    files = (str(folder / "content.tif"), str(folder / "style.png"), "-o", str(folder / output))
    fixed = ("--levels", "2", "--steps", "1,0", *PAPER, "--scheduler", cluster, "--store", str(folder / "poster.zarr"))
    cli(["render", *files, *fixed, *options], standalone_mode=False)


@pytest.fixture
def export(job: Path, tmp_path: Path, capsys) -> Callable[..., Path]:
    """export("name", options...) -> what `tiler export` wrote."""

    def run(name: str, *options: str) -> Path:
        goal = "--tiles" if name == "tiles" else "-o"
        cli(["export", str(job / "poster.zarr"), goal, str(tmp_path / name), *options], standalone_mode=False)
        assert str(tmp_path / name) in capsys.readouterr().err
        return tmp_path / name

    return run


def stored(job: Path, level: int = 1) -> np.ndarray:
    """[h, w, 4] in 0..1: the level's pixels as the store has them, with the content's alpha.

    They were rendered on white: colour * alpha + 1 - alpha is what the store holds, as far as it can be.
    """
    group = zarr.open_group(job / "poster.zarr", mode="r")[f"levels/{level}"]
    rendered, alpha = (np.asarray(group[name]).astype(np.float32) / np.float32(65535) for name in ("image", "alpha"))
    seen = alpha[0] > 0
    colours = rendered.copy()
    colours[:, seen] = ((rendered[:, seen] - (1 - alpha[0, seen])) / alpha[0, seen]).clip(0, 1)
    return np.concatenate([colours, alpha]).transpose(1, 2, 0)


def pixels_of(path: Path) -> np.ndarray:
    """[h, w, c] as GDAL reads them, which takes every TIFF and 16-bit PNGs."""
    with rasterio.open(path) as file:
        return file.read().transpose(1, 2, 0)


def whole(values: np.ndarray, bits: int = 8) -> np.ndarray:
    return np.rint(values.astype(np.float32) * np.float32(2**bits - 1))


def is_srgb(profile: bytes) -> bool:
    return "srgb" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).lower()


def lies_where_the_content_lay(path: Path, size: tuple[int, int]) -> None:
    with rasterio.open(path) as file:
        a, b, c, d, e, f = tuple(file.transform)[:6]
        assert (c, f) == pytest.approx((500_000, 4_600_000 - 30 * MIDDLE[0]), rel=1e-12)
        assert (a, e) == pytest.approx((30 * 120 / size[1], -30 * 60 / size[0]), rel=1e-12)
        assert (b, d) == (0, 0)
        assert file.crs.to_epsg() == 32633


def test_the_store_has_the_contents_alpha(job: Path) -> None:
    hole = content_pixels()[MIDDLE[0] : MIDDLE[1], :, 3] / 65535
    for level, factor in ((0, 2), (1, 1)):
        seen = stored(job, level)[..., 3]
        assert seen.shape == (SIZE[0] // factor, SIZE[1] // factor)
        around = np.asarray(Image.fromarray(hole.astype(np.float32)).resize(seen.shape[::-1], Image.Resampling.BICUBIC))
        assert np.abs(seen - around).max() < 0.03


def test_render_writes_the_tif_as_asked(job: Path) -> None:
    np.testing.assert_array_equal(pixels_of(job / "poster.tif"), whole(stored(job), 16))
    with tifffile.TiffFile(job / "poster.tif") as tif:
        page = tif.pages.first
        assert (page.dtype, page.compression.name, page.extrasamples) == (np.uint16, "ZSTD", (2,))
        assert page.get_resolution(unit=2) == pytest.approx((25.4, 25.4), abs=1e-3)
        assert is_srgb(page.iccprofile)
        facts = json.loads(page.description)
        assert facts["Software"].startswith("tiler ")
        assert json.loads(facts["Description"])["size"] == "320x160"
    lies_where_the_content_lay(job / "poster.tif", SIZE)


@pytest.mark.parametrize("bits", [8, 16])
def test_tif_with_pyramid(job: Path, export, bits: int) -> None:
    path = export("a.tif", "--bits", str(bits), "--compression", "lzw", "--dpi", "300")
    np.testing.assert_array_equal(pixels_of(path), whole(stored(job), bits))
    with rasterio.open(path) as file:
        assert file.overviews(1) == [2]
        assert file.block_shapes == [(256, 256)] * 4
        assert file.compression.name == "lzw"
    with tifffile.TiffFile(path) as tif:
        assert tif.pages.first.get_resolution(unit=2) == (300, 300)
    lies_where_the_content_lay(path, SIZE)


def test_cloud_optimized(job: Path, export) -> None:
    path = export("a.tif", "--cog")
    np.testing.assert_array_equal(pixels_of(path), whole(stored(job)))
    with rasterio.open(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    lies_where_the_content_lay(path, SIZE)


def test_png_with_a_world_file(job: Path, export) -> None:
    path = export("a.png")
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), whole(stored(job)))
        assert image.info["dpi"] == pytest.approx((25.4, 25.4), abs=0.02)
        assert is_srgb(image.info["icc_profile"])
        assert image.info["Software"].startswith("tiler ")
        assert json.loads(image.info["Description"])["steps"] == [1, 0]
    assert sorted(one.name for one in path.parent.iterdir()) == ["a.pgw", "a.png", "a.png.aux.xml", "a.prj"]
    lies_where_the_content_lay(path, SIZE)


def test_png_of_16_bits(job: Path, export) -> None:
    np.testing.assert_array_equal(pixels_of(export("a.png", "--bits", "16")), whole(stored(job), 16))


def test_jpg_on_white(job: Path, export, capsys) -> None:
    path = export("a.jpg", "--jpeg-quality", "100", "--dpi", "150")
    with Image.open(path) as image:
        pixels = stored(job)
        shown = pixels[..., :3] * pixels[..., 3:] + 1 - pixels[..., 3:]
        assert np.abs(np.asarray(image) - whole(shown)).mean() < 1.5
        assert image.info["dpi"] == (150, 150)
        assert is_srgb(image.info["icc_profile"])
    lies_where_the_content_lay(path, SIZE)


def test_webp(job: Path, export) -> None:
    with Image.open(export("a.webp", "--compression", "lossless")) as image:
        np.testing.assert_array_equal(np.asarray(image), whole(stored(job)))
        assert is_srgb(image.info["icc_profile"])


@pytest.mark.parametrize("bits", [8, 16])
def test_omezarr(job: Path, export, bits: int) -> None:
    group = zarr.open_group(export("a.zarr", "--bits", str(bits)), mode="r")
    assert [one.path for one in OmeImage.from_zarr(group).ome_attributes.multiscales[0].datasets] == ["0"]
    np.testing.assert_array_equal(np.asarray(group["0"]).transpose(1, 2, 0), whole(stored(job), bits))
    assert group.attrs["tiler_poster"]["Software"].startswith("tiler ")


def test_the_store_is_an_omezarr_image(job: Path) -> None:
    group = zarr.open_group(job / "poster.zarr", mode="r")
    [multiscale] = OmeImage.from_zarr(group).ome_attributes.multiscales
    assert [one.path for one in multiscale.datasets] == ["levels/1/image", "levels/0/image"]
    assert multiscale.datasets[1].coordinateTransformations[0].scale == [1, 2, 2]


def test_a_zarr_poster_is_not_its_own_store(job: Path, export) -> None:
    with pytest.raises(OutputError, match="the state of a job"):
        cli(["export", str(job / "poster.zarr"), "-o", str(job / "poster.zarr")], standalone_mode=False)
    for output, tiles, store in (("a.zarr", None, "a.job.zarr"), ("a.png", "t", "a.zarr"), (None, "t", "t.zarr")):
        assert store_url(RenderConfig("c", ("s",), output, tiles=tiles)) == str(Path(store).absolute())


def test_no_export_replaces_what_the_poster_was_rendered_from(inputs: Path, cluster: str, monkeypatch) -> None:
    """Nor from another folder than the one where the inputs' names were given."""
    monkeypatch.chdir(inputs)
    small = ("--long-edge=32", "--levels=1", "--steps=0", "--scheduler", cluster)
    cli(["render", "content.png", "style.png", "-o", "poster.png", *small], standalone_mode=False)
    (inputs / "elsewhere").mkdir()
    monkeypatch.chdir(inputs / "elsewhere")
    before = (inputs / "content.png").read_bytes()
    with pytest.raises(OutputError, match="one of the inputs"):
        cli(["export", "../poster.zarr", "-o", "../content.png"], standalone_mode=False)
    assert (inputs / "content.png").read_bytes() == before


def test_deepzoom(job: Path, export) -> None:
    path = export("a.dzi")
    assert 'Width="320"' in path.read_text()
    left, right = (np.asarray(Image.open(path.with_name("a_files") / "9" / f"{x}_0.png")) for x in (0, 1))
    np.testing.assert_array_equal(np.concatenate([left[:, :254], right[:, 1:]], 1), whole(stored(job)))
    assert path.with_suffix(".html").is_file()


def test_map_tiles(job: Path, export) -> None:
    folder = export("tiles")
    facts = json.loads((folder / "tiles.json").read_text())
    assert (facts["height"], facts["width"], facts["maxzoom"]) == (*SIZE, 1)
    assert facts["transform"] == pytest.approx((11.25, 0, 500_000, 0, -11.25, 4_600_000 - 30 * MIDDLE[0]))
    tiles = [np.asarray(Image.open(folder / "1" / str(x) / "0.png")) for x in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(tiles, 1)[: SIZE[0], : SIZE[1]], whole(stored(job)))
    assert (folder / "index.html").is_file()


def test_a_coarser_level_keeps_its_size_on_paper_and_on_the_map(job: Path, export) -> None:
    path = export("a.tif", "--level", "0")
    np.testing.assert_array_equal(pixels_of(path), whole(stored(job, 0)))
    with tifffile.TiffFile(path) as tif:
        assert tif.pages.first.get_resolution(unit=2) == pytest.approx((12.7, 12.7), abs=1e-3)
    lies_where_the_content_lay(path, (80, 160))


def test_the_same_job_to_another_file_is_not_another_job(job: Path, cluster: str, capsys) -> None:
    render(job, cluster, "other.png", "--bits", "16", "--tiles", str(job / "tiles"))
    said = capsys.readouterr().err
    assert "content.tif: cropped to the middle 120 x 60 px of 120 x 90" in said
    assert "level 1 of 2" not in said
    np.testing.assert_array_equal(pixels_of(job / "other.png"), whole(stored(job), 16))
    assert (job / "tiles" / "index.html").is_file()

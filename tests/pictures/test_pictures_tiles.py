"""DeepZoom and XYZ tiles: put together again they are the picture; the pages show it without a network."""

import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from tiler.errors import OutputError
from tiler.pictures import Georef, check_xyz, tiles, write_picture, write_xyz

HEIGHT, WIDTH = 700, 901
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
PICTURE = np.stack([X / WIDTH, Y / HEIGHT, 0.5 + 0.5 * np.sin(X / 40) * np.cos(Y / 30), X / WIDTH])
BYTES = np.rint(PICTURE * 255).astype(np.uint8).transpose(1, 2, 0)


def named(folder):
    """What a person sees there."""
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


def bands(picture, rows=128):
    return (picture[:, top : top + rows] for top in range(0, picture.shape[1], rows))


def opened(path):
    with Image.open(path) as image:
        return np.asarray(image)


def put_together(folder, pattern, tile, overlap, height, width, channels):
    """The picture from the tiles of one level."""
    whole = np.zeros((height, width, channels), np.uint8)
    for row in range(-(-height // tile)):
        for column in range(-(-width // tile)):
            pixels = opened(folder / pattern.format(x=column, y=row))
            inside = pixels[overlap if row else 0 :, overlap if column else 0 :]
            y, x = row * tile, column * tile
            h, w = min(tile, height - y), min(tile, width - x)
            whole[y : y + h, x : x + w] = inside[:h, :w]
    return whole


@pytest.mark.parametrize("channels", [3, 4])
def test_dzi(tmp_path, channels):
    metadata = {"style": "<b>&</b></script>"}
    write_picture(tmp_path / "a b.dzi", HEIGHT, WIDTH, bands(PICTURE[:channels]), metadata=metadata)
    root = ElementTree.parse(tmp_path / "a b.dzi").getroot()
    facts = {**root.attrib, **root[0].attrib}
    suffix = "jpg" if channels == 3 else "png"
    assert (facts["Format"], facts["TileSize"], facts["Overlap"]) == (suffix, "254", "1")
    assert (facts["Height"], facts["Width"]) == (str(HEIGHT), str(WIDTH))
    files = tmp_path / "a b_files"
    assert sorted(map(int, named(files))) == list(range(11))
    assert opened(files / f"0/0_0.{suffix}").shape[:2] == (1, 1)
    whole = put_together(files, f"10/{{x}}_{{y}}.{suffix}", 254, 1, HEIGHT, WIDTH, channels)
    assert np.abs(whole.astype(int) - BYTES[..., :channels]).max() <= (0 if channels == 4 else 6)
    half = put_together(files, f"9/{{x}}_{{y}}.{suffix}", 254, 1, HEIGHT // 2, (WIDTH + 1) // 2, channels)
    assert channels == 4 or np.abs(half[5, 5].astype(int) - BYTES[10:12, 10:12, :3].mean((0, 1))).max() < 6
    page = (tmp_path / "a b.html").read_text(encoding="utf-8")
    assert '"a%20b_files", "pattern": "{z}/{x}_{y}' in page
    assert "&lt;b&gt;" in page
    assert page.count("</script>") == 1
    assert sorted(os.listdir(tmp_path)) == ["a b.dzi", "a b.html", "a b_files"]


def test_dzi_is_replaced_and_foreign_pages_are_not(tmp_path):
    (tmp_path / "a.html").write_text("my own page")
    for shade in (0.2, 0.8):
        write_picture(tmp_path / "a.dzi", 300, 300, [np.full((3, 300, 300), shade, np.float32)])
        tile = opened(tmp_path / "a_files/9/0_0.jpg")
        assert np.abs(tile / 255 - shade).max() < 0.02
    assert (tmp_path / "a.html").read_text() == "my own page"
    assert sorted(os.listdir(tmp_path)) == ["a.dzi", "a.html", "a_files"]


@pytest.mark.parametrize("channels", [3, 4])
def test_xyz(tmp_path, channels):
    georef = Georef((2.0, 0.0, 100.0, 0.0, -2.0, 50.0))
    folder = tmp_path / "map tiles"
    write_xyz(folder, HEIGHT, WIDTH, bands(PICTURE[:channels]), georef=georef, metadata={"seed": "0"})
    suffix = "jpg" if channels == 3 else "png"
    assert named(folder) == ["0", "1", "2", "index.html", "tiles.json"]
    assert sorted(os.listdir(folder / "2")) == ["0", "1", "2", "3"]
    whole = put_together(folder, f"2/{{x}}/{{y}}.{suffix}", 256, 0, HEIGHT, WIDTH, channels)
    # JPEG rings where the picture ends within a tile.
    inner = (slice(0, HEIGHT - 8), slice(0, WIDTH - 8))
    assert np.abs(whole.astype(int) - BYTES[..., :channels])[inner].max() <= (0 if channels == 4 else 6)
    for tile in folder.glob("*/*/*"):
        assert opened(tile).shape[:2] == (256, 256)
    facts = json.loads((folder / "tiles.json").read_text())
    assert (facts["maxzoom"], facts["height"], facts["width"]) == (2, HEIGHT, WIDTH)
    assert facts["transform"] == list(georef.transform)
    assert facts["metadata"] == {"seed": "0"}


def test_xyz_replaces_only_its_own(tmp_path):
    picture = np.full((3, 300, 300), 0.5, np.float32)
    write_xyz(tmp_path / "tiles", 300, 300, [picture])
    (tmp_path / "tiles" / "9").mkdir()
    write_xyz(tmp_path / "tiles", 200, 200, [picture[:, :200, :200]])
    assert named(tmp_path / "tiles") == ["0", "index.html", "tiles.json"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    for folder in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt", tmp_path / "no" / "where"):
        with pytest.raises(OutputError):
            check_xyz(folder)
        with pytest.raises(OutputError):
            write_xyz(folder, 300, 300, [picture])
    assert sorted(os.listdir(tmp_path)) == ["mine", "tiles"]
    with pytest.raises(OutputError):
        write_xyz(tmp_path / "new", 301, 300, [picture])
    assert sorted(os.listdir(tmp_path)) == ["mine", "tiles"]


def test_what_libvips_writes_beside_the_tiles_is_not_kept_and_need_not_be_there(tmp_path, monkeypatch):
    """Nothing asks for it, so another libvips may leave it out."""
    picture, consume = np.full((3, 300, 300), 0.5, np.float32), tiles.consume

    def write_no_more_than_tiles(*arguments):
        consume(*arguments)
        for beside in tmp_path.rglob("vips-properties.xml"):
            beside.unlink()

    for name in ("as it is", "without"):
        write_xyz(tmp_path / name, 300, 300, [picture])
        assert named(tmp_path / name) == ["0", "1", "index.html", "tiles.json"]
        monkeypatch.setattr(tiles, "consume", write_no_more_than_tiles)


def test_pages_need_no_network(tmp_path):
    write_xyz(tmp_path / "tiles", HEIGHT, WIDTH, bands(PICTURE[:3]))
    page = (tmp_path / "tiles" / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]", page)


BACKGROUND = 0x22
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("kind", ["dzi", "xyz"])
def test_the_page_in_a_browser(tmp_path, kind):
    if kind == "dzi":
        write_picture(tmp_path / "a b.dzi", HEIGHT, WIDTH, bands(PICTURE[:3]))
        page = tmp_path / "a b.html"
    else:
        write_xyz(tmp_path / "t", HEIGHT, WIDTH, bands(PICTURE[:3]))
        page = tmp_path / "t" / "index.html"
    shot = tmp_path / "shot.png"
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--screenshot={shot}",
        "--hide-scrollbars",
        "--run-all-compositor-stages-before-draw",
    ]
    subprocess.run(
        [*command, "--window-size=901,700", "--virtual-time-budget=30000", page.as_uri()],
        check=True,
        capture_output=True,
        timeout=200,
    )
    seen = opened(shot)[..., :3].copy()
    seen[:40, :80] = BACKGROUND  # the caption
    rows, columns = np.nonzero(np.abs(seen.astype(int) - BACKGROUND).max(-1) > 3)
    assert np.ptp(rows) > 500
    assert np.ptp(columns) > 600
    picture = Image.fromarray(seen[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    expected = Image.fromarray(BYTES[..., :3]).resize((90, 70), Image.Resampling.BOX)
    difference = np.asarray(picture.resize((90, 70), Image.Resampling.BOX), int) - np.asarray(expected, int)
    assert np.abs(difference)[8:].max() < 12

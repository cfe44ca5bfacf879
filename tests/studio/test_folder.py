"""What is found, shown and kept in the studio's folder."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from tiler.errors import ConfigError, PictureError, StoreError
from tiler.request.config import RenderConfig
from tiler.studio import folder as module
from tiler.studio.folder import OWN, Folder, checked_name


@pytest.fixture
def held(tmp_path: Path) -> Folder:
    (tmp_path / "maps").mkdir()
    return Folder(tmp_path / "maps", most=1000)


def _picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (7, 5)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)
    return path


def test_a_folder_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("file", "nothing"):
        with pytest.raises(ConfigError, match=f"{name}: is no folder$"):
            Folder(tmp_path / name)
    assert Folder(tmp_path, 3).most == 3
    assert Folder(tmp_path).most >= 2**30


def test_pictures_are_found_three_folders_deep_in_order(held: Folder) -> None:
    for name in ("b.PNG", "a.jpeg", "z/c.tif", "z/y/x/d.webp", "z/y/x/w/e.png", ".h/f.png", "m.zarr/g.png",
                 "m_files/h.png", ".i.png", "j.txt", "k", "z.tiff"):  # fmt: skip
        (held.root / name).parent.mkdir(parents=True, exist_ok=True)
        (held.root / name).write_text("")
    assert held.names() == ["a.jpeg", "b.PNG", "z.tiff", "z/c.tif", "z/y/x/d.webp"]


def test_so_many_pictures_are_shown(held: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SHOWN", 3)
    for name in "dbac":
        (held.root / f"{name}.png").write_text("")
    assert held.names() == ["a.png", "b.png", "c.png"]


def test_what_a_picture_is_is_said(held: Folder) -> None:
    path = _picture(held.root / "sub" / "a.png", "RGBA")
    told = held.about("sub/a.png")
    assert {"name": "sub/a.png", "height": 5, "width": 7, "channels": 3, "alpha": True, "bits": 8,
            "georeference": False, "metres": None, "bytes": path.stat().st_size}.items() <= told.items()  # fmt: skip
    assert "error" not in told
    assert json.dumps(told)
    _picture(held.root / "g.png", "L")
    assert {"channels": 1, "alpha": False}.items() <= held.about("g.png").items()


@pytest.mark.parametrize(("crs", "metres"), [("EPSG:32633", 2.5), (None, None)])
def test_a_map_says_how_large_its_pixels_are(held: Folder, crs: str | None, metres: float | None) -> None:
    place = rasterio.Affine(2.5, 0, 500000, 0, -2.5, 5400000)
    about = dict(driver="GTiff", width=7, height=5, count=3, dtype="uint8", transform=place, crs=crs)
    with rasterio.open(held.root / "map.tif", "w", **about) as file:
        file.write(np.arange(105, dtype=np.uint8).reshape(3, 5, 7))
    told = held.about("map.tif")
    assert (told["georeference"], told["metres"]) == (True, metres and pytest.approx(metres, rel=0.005))
    assert all(str(held.root) not in note for note in told["notes"])


def test_what_is_no_picture_says_so_without_where_the_folder_lies(held: Folder) -> None:
    (held.root / "a.png").write_text("text")
    told = held.about("a.png")
    assert {*told} == {"name", "error"}
    assert told["name"] == "a.png"
    assert told["error"].startswith("a.png")
    assert str(held.root) not in told["error"]
    assert "no such picture" in held.about("b.png")["error"]


def test_a_thumbnail_is_small(held: Folder) -> None:
    _picture(held.root / "a.png", size=(800, 400))
    with Image.open(io.BytesIO(held.thumbnail("a.png"))) as small:
        assert (small.format, small.size) == ("PNG", (256, 128))


def test_where_the_folder_lies_is_not_said(held: Folder) -> None:
    root = held.root
    assert held.said(f"{root}/a.png: beside {root}/b.png in {root}") == "a.png: beside b.png in maps"
    assert held.said(3) == "3"
    with pytest.raises(StoreError, match=r"^store x\.zarr: gone$"), held.clearly():
        raise StoreError(f"store {root}/x.zarr: gone")


def test_files_that_are_read_are_those_in_the_folder(held: Folder) -> None:
    for name in ("c.png", "s.png", "sub/m.png"):
        _picture(held.root / name)
    config = RenderConfig(content="c.png", styles=("s.png",), region=("sea=s.png",), mask=("sea=sub/m.png",),
                          output="gone/p.png", tiles="gone/t")  # fmt: skip
    found, root = held.confined(config), held.root
    assert (found.content, found.styles) == (f"{root}/c.png", (f"{root}/s.png",))
    assert (found.region, found.mask) == ((f"sea={root}/s.png",), (f"sea={root}/sub/m.png",))
    assert (found.output, found.tiles) == ("gone/p.png", "gone/t")


def test_the_studio_s_own_is_in_one_folder(held: Folder) -> None:
    assert held.own == held.root / OWN
    assert held.own_folder("a", "b") == held.root / OWN / "a" / "b"
    assert (held.root / OWN / "a" / "b").is_dir()
    (held.root / OWN / "a" / "file").write_text("")
    with pytest.raises(ConfigError, match=rf"^{OWN}/a/file: is no folder, or a link"):
        held.own_folder("a", "file", "c")


# What a page was left with -------------------------------------------------------------------------------------------


def test_what_a_page_said_last_is_remembered(held: Folder) -> None:
    assert held.remembered() == {}
    held.remember({"seed": "3", "styles": ["ä.png"]})
    held.remember({"seed": "4", "styles": ["ä.png"]})
    assert Folder(held.root).remembered() == {"seed": "4", "styles": ["ä.png"]}
    assert [path.name for path in held.own.iterdir()] == ["page.json"]


@pytest.mark.parametrize("text", ["[1]", "{", '"a"', '{"a": "' + "x" * 2**18 + '"}'])
def test_what_cannot_be_remembered_is_nothing(held: Folder, text: str) -> None:
    (held.own / "page.json").write_text(text)
    assert held.remembered() == {}


def test_a_pipe_in_place_of_a_memory_is_not_waited_for(held: Folder) -> None:
    os.mkfifo(held.own / "page.json")
    assert held.remembered() == {}


# Uploads -------------------------------------------------------------------------------------------------------------


def test_what_arrives_gets_its_name_or_the_next_and_leaves_nothing(held: Folder) -> None:
    given, sizes = [], ((7, 5), (8, 6), (9, 4))
    for size in sizes:
        with held.arriving() as waiting:
            assert waiting.parent == held.own
            Image.new("RGB", size).save(waiting, "PNG")
            given.append(held.keep(waiting, "my map.v2.png"))
    assert given == ["my map.v2.png", "my map.v2 2.png", "my map.v2 3.png"]
    assert [Image.open(held.root / name).size for name in given] == [*sizes]
    assert list(held.own.iterdir()) == []
    with pytest.raises(PictureError), held.arriving() as waiting:
        held.keep(waiting, "gone.png")
    assert list(held.own.iterdir()) == []


def test_a_name_is_given_so_often(held: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def link(source: Path, target: Path) -> None:
        tried.append(target.name)
        raise FileExistsError

    monkeypatch.setattr(module.os, "link", link)
    with pytest.raises(ConfigError, match=r"^a\.png: there are too many of that name"):
        held.keep(_picture(held.own / "x.png"), "a.png")
    assert tried[:2] == ["a.png", "a 2.png"]
    assert len(tried) == len({*tried}) > 100


def test_what_arrives_is_called_as_it_was_sent(held: Folder) -> None:
    with held.arriving() as waiting:
        waiting.write_text("no picture")
        with pytest.raises(PictureError, match=r"^b\.png") as caught:
            held.keep(waiting, "b.png")
    assert ".upload" not in str(caught.value)
    assert not waiting.exists()
    assert not (held.root / "b.png").exists()


@pytest.mark.parametrize("name", ["ö" * 98 + ".png", "a b.JPG", "x.y.tif", "a.jp2"])
def test_a_picture_s_name(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize("name", ["", ".a.png", "a/b.png", "a\\b.png", "c:a.png", " a.png", "a.png ", "a\tb.png",
                                  "ö" * 98 + "a.png", "a\u202eb.png"])  # fmt: skip
def test_what_cannot_be_a_picture_s_name(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a picture's name; allowed: letters"):
        checked_name(name)


def test_a_picture_is_known_by_its_suffix() -> None:
    with pytest.raises(ConfigError, match=r"^a\.svg: unknown format; allowed: \.png \.jpg .*\.jp2$"):
        checked_name("a.svg")

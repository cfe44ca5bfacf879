"""Regions that find themselves: where they are, what they are paired with, and what becomes of files that are there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiler.errors import ConfigError
from tiler.pictures import classes
from tiler.pictures.classes import Classes
from tiler.request import proposing
from tiler.request.config import RenderConfig
from tiler.request.proposing import propose, with_regions

SEA_HERE, LAND_HERE = (150, 190, 225), (140, 175, 130)
SEA_THERE, LAND_THERE = (10, 25, 60), (120, 95, 60)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "EDGE", 160)
    monkeypatch.setattr(classes, "_WINDOW", 5)
    monkeypatch.setattr(classes, "_BLUR", 1.0)


def _picture(path: Path, sea: np.ndarray, colours: tuple[Any, Any], shallow: float = 0.0) -> np.ndarray:
    """Sea that is calm, and land that is not; shallow: how far it pales towards the coast."""
    rng = np.random.default_rng(3)
    height, width = sea.shape
    pixels = np.where(sea[..., None], *(np.array(one, float) for one in colours))
    pixels += np.where(sea, 1.5, 14)[..., None] * rng.normal(size=(height, width, 1))
    if shallow:
        across = np.linspace(0, shallow, width)[None, :, None]
        pixels = np.where(sea[..., None], pixels + (255 - pixels) * across, pixels)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return sea


@pytest.fixture
def land(tmp_path: Path) -> np.ndarray:
    """map.png and photo.png in tmp_path: the sea of the first is on its left, that of the second below, and smaller.
    Returns where the map's sea is."""
    y, x = np.mgrid[0:120, 0:160]
    _picture(tmp_path / "photo.png", y > 80 + 5 * np.sin(x / 9), (SEA_THERE, LAND_THERE))
    return _picture(tmp_path / "map.png", x < 80 + 9 * np.sin(y / 8), (SEA_HERE, LAND_HERE), shallow=0.8)


@pytest.fixture
def stripes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """map.png and photo.png in tmp_path, as small as can be; the classes of either are stripes one pixel wide."""

    def striped(pictures: Any, count: int) -> Classes:
        means = np.arange(count * 4.0).reshape(count, 4)
        return Classes((np.arange(35).reshape(5, 7) % count,), means, means[:, :3] / 255, np.full(count, 1 / count))

    monkeypatch.setattr(proposing, "find_classes", striped)
    for name in ("map", "photo"):
        Image.new("RGB", (7, 5), (9, 9, len(name))).save(tmp_path / f"{name}.png")


def _proposed(folder: Path, count: int = 2, *styles: str) -> Any:
    return propose(
        str(folder / "map.png"), [str(folder / one) for one in styles or ("photo.png",)], count, folder / "l.png"
    )


def _at(labels: Path, place: tuple[int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*np.asarray(Image.open(labels))[place])


def test_sea_is_paired_with_sea_though_it_pales_to_white(tmp_path: Path, land: np.ndarray) -> None:
    found = _proposed(tmp_path)
    assert found.found == 2
    assert set(found.options) == {"content", "labels", "label", "style_mask"}
    labels = np.asarray(Image.open(found.labels))
    sea = (labels == labels[60, 10]).all(-1)
    assert (sea == land).mean() > 0.97
    name = _at(found.labels, (60, 10))
    (mask,) = (one.partition("=")[2] for one in found.options["style_mask"] if one.startswith(name))
    white = np.asarray(Image.open(tmp_path / mask).convert("L")) > 127
    y, x = np.mgrid[0:120, 0:160]
    assert (white == (y > 80 + 5 * np.sin(x / 9))).mean() > 0.97
    config = RenderConfig.from_dict({**found.options, "styles": (), "output": str(tmp_path / "p.png")}, "here")
    assert len(config.regions.names) == 2


def test_what_was_mended_by_hand_stays(tmp_path: Path, stripes: None) -> None:
    first = _proposed(tmp_path)
    Image.new("RGB", (160, 120), (1, 2, 3)).save(first.labels)
    mended = first.labels.read_bytes()
    assert _proposed(tmp_path).options == first.options
    assert first.labels.read_bytes() == mended
    with pytest.raises(ConfigError, match=r"l\.toml: is there already, of other pictures"):
        _proposed(tmp_path, 3)
    (tmp_path / "l.toml").unlink()
    with pytest.raises(ConfigError, match=r"l\.png: is there already"):
        _proposed(tmp_path)
    assert first.labels.read_bytes() == mended
    assert not (tmp_path / "l.toml").exists()


def test_no_more_regions_than_there_are(tmp_path: Path) -> None:
    """Two flat colours are two classes, however many are asked for; one is none."""
    for name, colour in (("map", (200, 30, 30)), ("photo", (30, 200, 30))):
        both = np.full((60, 80, 3), colour, np.uint8)
        both[:, :30] = (20, 20, 160)
        Image.fromarray(both).save(tmp_path / f"{name}.png")
    assert _proposed(tmp_path, 3).found == 2
    Image.new("RGB", (80, 60), (9, 9, 9)).save(tmp_path / "map.png")
    with pytest.raises(ConfigError, match="nothing in it and its styles is to be told apart"):
        propose(str(tmp_path / "map.png"), [str(tmp_path / "photo.png")], 2, tmp_path / "other.png")
    assert not (tmp_path / "other.png").exists()


def test_what_was_found_of_other_pictures_is_found_anew_unless_it_was_mended(tmp_path: Path, stripes: None) -> None:
    first = _proposed(tmp_path, 3)
    theirs = tmp_path / f"{first.labels.stem}-note.png"
    theirs.write_text("theirs")
    before = {path.name for path in tmp_path.iterdir()}
    Image.new("RGB", (7, 5), (9, 10, 3)).save(tmp_path / "map.png")
    second = _proposed(tmp_path, 2)
    assert (second.found, second.labels) == (2, first.labels)
    assert theirs.read_text() == "theirs"
    gone = before - {path.name for path in tmp_path.iterdir()}
    assert all("-3-style-" in name for name in gone)
    Image.new("RGB", (7, 5), (1, 2, 3)).save(second.labels)
    mended = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match="is there already, of other pictures"):
        _proposed(tmp_path, 3)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == mended


@pytest.mark.parametrize("name", ["thesis.png", "../l.png", "l-1-style-1.png.txt"])
def test_a_job_file_that_names_files_of_others_deletes_none(tmp_path: Path, stripes: None, name: str) -> None:
    found = _proposed(tmp_path, 2)
    theirs = found.file.parent / name
    theirs.write_text("theirs")
    first, written, rest = found.file.read_text().split("\n", 2)
    names = json.loads(written.partition(": ")[2]) | {name: hashlib.sha256(b"theirs").hexdigest()}
    found.file.write_text("\n".join([first, f"# written: {json.dumps(names)}", rest]))
    with pytest.raises(ConfigError, match="is there already, of other pictures"):
        _proposed(tmp_path, 3)
    assert theirs.read_text() == "theirs"


def test_several_styles_share_the_regions(tmp_path: Path, land: np.ndarray) -> None:
    """A style that shows no sea is none of the sea's."""
    _picture(tmp_path / "dry.png", np.zeros((100, 100), bool), (SEA_THERE, LAND_THERE))
    found = _proposed(tmp_path, 2, "photo.png", "dry.png")
    by_name = dict(one.split("=") for one in found.options["label"])
    sea, ground = by_name[_at(found.labels, (60, 10))], by_name[_at(found.labels, (60, 150))]
    assert [Path(one).name for one in sea.split(",")] == ["photo.png"]
    assert [Path(one).name for one in ground.split(",")] == ["photo.png", "dry.png"]


def test_grey_maps_are_told_apart_by_their_light(tmp_path: Path, land: np.ndarray) -> None:
    Image.open(tmp_path / "map.png").convert("L").point(lambda value: value // 2).save(tmp_path / "map.png")
    y, x = np.mgrid[0:120, 0:160]
    dark = _picture(tmp_path / "map.png", x + y < 140, ((40, 40, 40), (180, 180, 180)))
    found = _proposed(tmp_path)
    labels = np.asarray(Image.open(found.labels))
    assert ((labels == labels[0, 0]).all(-1) == dark).mean() > 0.97


def test_transparent_parts_say_nothing(tmp_path: Path, land: np.ndarray) -> None:
    with Image.open(tmp_path / "photo.png") as photo:
        strange = photo.convert("RGBA")
    strange.paste((255, 0, 255, 0), (0, 0, 160, 60))
    strange.save(tmp_path / "photo.png")
    found = _proposed(tmp_path)
    masks = [Path(one.partition("=")[2]) for one in found.options["style_mask"]]
    for mask in masks:
        assert not np.asarray(Image.open(tmp_path / mask))[:58].any()


def test_with_regions_keeps_the_rest_and_says_where(tmp_path: Path, land: np.ndarray) -> None:
    asked = RenderConfig(
        content=str(tmp_path / "map.png"), styles=(str(tmp_path / "photo.png"),), output=str(tmp_path / "p.png"), seed=7
    )
    config, note = with_regions(asked, 2)
    assert (config.styles, config.seed, config.content) == ((), 7, asked.content)
    assert config.labels == str(tmp_path / "p-labels.png")
    assert note.startswith(f"2 regions, as {tmp_path / 'p-labels.png'} has them")
    with pytest.raises(ConfigError, match="auto_regions = 2 beside labels"):
        with_regions(config, 2)


@pytest.mark.parametrize("count", [1, 9, -1])
def test_how_many(tmp_path: Path, land: np.ndarray, count: int) -> None:
    with pytest.raises(ConfigError, match=rf"{count} regions; allowed: 2 to 8"):
        _proposed(tmp_path, count)


def test_three_classes_in_turn_are_paired_by_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Theirs are ours moved on by one: an order that is not its own way back."""
    kinds, moved = np.array([[0.0, 0, 0, 0], [4, 1, 0, 2], [9, 3, 1, 0]]), [2, 0, 1]
    plane = np.arange(12).reshape(3, 4) % 3
    mine = Classes((plane,), kinds, kinds[:, :3] / 9, np.full(3, 1 / 3))
    theirs = Classes((np.argsort(moved)[plane],), kinds[moved] + 0.3, kinds[moved, :3] / 9, np.full(3, 1 / 3))
    found = iter((mine, theirs))
    monkeypatch.setattr(proposing, "find_classes", lambda pictures, count: next(found))
    for name in "ab":
        Image.new("RGB", (8, 8), (9, 9, 9)).save(tmp_path / f"{name}.png")
    ours, paired = proposing._found([str(tmp_path / "a.png")], [str(tmp_path / "b.png")], 3)
    np.testing.assert_allclose(paired.means - 0.3, ours.means)
    np.testing.assert_array_equal(paired.planes[0], ours.planes[0])


def test_up_to_eight_regions_may_be_asked_for(tmp_path: Path) -> None:
    for count in (2, 8):
        with pytest.raises(ConfigError, match=r"^STYLE is missing"):
            propose("map.png", [], count, tmp_path / "labels.PNG")
    with pytest.raises(ConfigError, match=r"labels\.jpg: labels are written as \.png$"):
        propose("map.png", [], 2, tmp_path / "labels.jpg")


def test_no_two_labels_have_one_colour() -> None:
    """The next redder one that is free, around where it is reddest; half a step is the even one."""
    sea, red = (0.2, 0.4, 1.0), (1.0, 0.0, 0.0)
    found = proposing._apart(np.array([sea, sea, red, (52 / 255, 0.4, 1.0), red, (0.5, 0.1, 0.9), sea]))
    assert found[:3].tolist() == [[51, 102, 255], [52, 102, 255], [255, 0, 0]]
    assert found[3:].tolist() == [[53, 102, 255], [0, 0, 0], [128, 26, 230], [54, 102, 255]]


def test_what_says_where_regions_are_or_differs_by_style() -> None:
    def said(**values) -> list[str]:
        return proposing.says_where(RenderConfig("a.png", ("b.png", "c.png"), "d.png", **values))

    assert said() == said(style_scale=(0.5,)) == []
    assert said(style_scale=(0.5, 1.0), style_blend_weights=(1.0, 2.0)) == ["style_scale", "style_blend_weights"]
    assert said(labels="l.png", label=("#000000=b.png",)) == ["labels", "label"]


def test_what_is_gone_is_found_anew(tmp_path: Path, stripes: None) -> None:
    """Any of its pictures, or all of them; the same pictures make the same files."""
    first = _proposed(tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    made = sorted(path for path in files if path.name.startswith("l") and path.suffix == ".png")
    assert [path.name for path in made] == ["l-1-style-1.png", "l-2-style-1.png", "l.png"]
    for gone in ([made[0]], [made[2]], made):
        for path in gone:
            path.unlink()
        assert _proposed(tmp_path) == first
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files
    made[1].unlink()
    assert _proposed(tmp_path, 3).file == first.file


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("mended", ["l.png", "l-2-style-1.png", "l.toml"])
def test_what_was_mended_is_never_replaced_where_something_is_gone(
    tmp_path: Path, stripes: None, mended: str, count: int
) -> None:
    found = _proposed(tmp_path)
    with (tmp_path / mended).open("ab") as file:
        file.write(b"# mine\n")
    (tmp_path / "l-1-style-1.png").unlink()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    if count == 2:
        assert _proposed(tmp_path).options == found.options
    else:
        with pytest.raises(ConfigError, match=r"l\.toml: is there already, of other pictures"):
            _proposed(tmp_path, count)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_mended_job_file_stays_though_other_regions_are_asked_for(tmp_path: Path, stripes: None) -> None:
    found = _proposed(tmp_path)
    mended = found.file.read_text() + "steps = 7\n"
    found.file.write_text(mended)
    assert _proposed(tmp_path).options == {**found.options, "steps": (7,)}
    with pytest.raises(ConfigError, match=r"l\.toml: is there already"):
        _proposed(tmp_path, 3)
    assert found.file.read_text() == mended


def test_a_link_in_place_of_a_proposals_file_stays(tmp_path: Path, stripes: None) -> None:
    found = _proposed(tmp_path)
    for name in ("l.png", "l-1-style-1.png", "l.toml"):
        moved = (tmp_path / name).rename(tmp_path / f"moved {name}")
        (tmp_path / name).symlink_to(moved)
        with pytest.raises(ConfigError, match=r"is there already"):
            _proposed(tmp_path, 3)
        assert (tmp_path / name).is_symlink()
        assert _proposed(tmp_path) == found
        (tmp_path / name).unlink()
        moved.rename(tmp_path / name)

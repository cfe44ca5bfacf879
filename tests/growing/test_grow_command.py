"""`tiler grow`: the same bytes by however many workers, in every format, and what is wrong is one line."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from here import run_main
from PIL import Image
from serial_pool import Here

from tiler.growing.grow import grow
from tiler.growing.growth import Growth
from tiler.pictures import open_picture


@pytest.mark.slow
def test_one_worker_and_two_write_the_same_bytes(land: str, tmp_path: Path) -> None:
    for workers in ("1", "2"):
        output = str(tmp_path / workers / "grown.png")
        Path(output).parent.mkdir()
        done = run_main("grow", land, "-o", output, "--size", "1500x700", "--workers", workers, "--quiet")
        assert (done.returncode, done.stderr) == (0, "")
    one, two = ((tmp_path / workers / "grown.png").read_bytes() for workers in ("1", "2"))
    assert one == two


def test_blocks_that_come_in_any_order_are_put_where_they_belong(land: str, tmp_path: Path) -> None:
    class Late(Here):
        """Whose tasks are begun when they are waited for, the last first."""

        workers = 3  # type: ignore[assignment]

        def submit(self, function, *arguments, worker=None):
            promised = super().submit
            return _Later(lambda: promised(function, *[getattr(one, "value", one) for one in arguments]))

    growth = Growth(land, str(tmp_path / "grown.png"), size="520x520", walk=2)
    grow(growth, pool=Here())
    there = (tmp_path / "grown.png").read_bytes()
    grow(growth, pool=Late())
    assert (tmp_path / "grown.png").read_bytes() == there


class _Later:
    def __init__(self, begin) -> None:
        self._begin = begin

    @property
    def value(self):
        return self._begin().value

    def result(self):
        return self._begin().result()


@pytest.mark.parametrize("name", ["grown.tif", "grown.jpg", "grown.webp", "grown.dzi", "grown.zarr"])
def test_every_format_holds_what_was_grown(name: str, land: str, tmp_path: Path) -> None:
    for output in ("grown.png", name):
        grow(Growth(land, str(tmp_path / output), size="90x70"), pool=Here())
    shown = np.asarray(Image.open(tmp_path / "grown.png")).astype(float)
    if name.endswith((".dzi", ".zarr")):
        assert (tmp_path / name).exists()
        return
    picture = open_picture(tmp_path / name)
    found = np.concatenate(list(picture.bands(70, 90, 70)), 1).transpose(1, 2, 0) * 255
    assert np.abs(found - shown).mean() < (0.01 if name.endswith(".tif") else 30)


def test_16_bits_and_dots_per_inch_are_written(land: str, tmp_path: Path) -> None:
    for bits in (8, 16):
        grow(Growth(land, str(tmp_path / f"{bits}.tif"), size="40x30", bits=bits, dpi=200.0), pool=Here())
    eight, sixteen = (open_picture(tmp_path / f"{bits}.tif") for bits in (8, 16))
    assert (eight.bits, sixteen.bits) == (8, 16)
    fine, coarse = (next(one.bands(30, 40, 30)) for one in (sixteen, eight))
    assert 0 < np.abs(fine - coarse).max() <= 0.51 / 255
    assert Image.open(tmp_path / "8.tif").info["dpi"] == pytest.approx((200, 200))


OUT = ["-o", "grown.png"]
LABELLED = ["--labels", "labels.png", "--label"]
BAD = {
    "no land": (["none.safetensors", *OUT], ["none.safetensors"]),
    "another file": (["labels.png", *OUT], ["labels.png", "no land"]),
    "another format": (["land.safetensors", "-o", "grown.gif"], ["grown.gif"]),
    "over the land": (["land.safetensors", "-o", "land.safetensors"], ["land.safetensors"]),
    "over the labels": (["land.safetensors", "-o", "labels.png", *LABELLED, "#010203=sea"], ["labels.png", "inputs"]),
    "no size": (["land.safetensors", *OUT, "--size", "big"], ["size = big"]),
    "too large": (["land.safetensors", "-o", "grown.jpg", "--size", "70000x10"], ["grown.jpg", "65500"]),
    "no offset": (["land.safetensors", *OUT, "--offset", "1"], ["offset = 1", "X,Y"]),
    "too far": (["land.safetensors", *OUT, "--offset", "9999999999,0"], ["offset = 9999999999,0"]),
    "no axis": (["land.safetensors", *OUT, "--wrap", "z"], ["wrap = z"]),
    "no seed": (["land.safetensors", *OUT, "--seed", "-1"], ["seed = -1"]),
    "no land of it": (["land.safetensors", *OUT, "--only", "see"], ["'see'", "did you mean sea"]),
    "labels alone": (["land.safetensors", *OUT, "--labels", "labels.png"], ["labels and label"]),
    "a label alone": (["land.safetensors", *OUT, "--label", "#010203=sea"], ["labels and label"]),
    "no colour": (["land.safetensors", *OUT, *LABELLED, "blue=sea"], ["label = 'blue=...'"]),
    "an unknown land": (["land.safetensors", *OUT, *LABELLED, "#010203=lake"], ["#010203", "'lake'", "sea, moor"]),
    "a colour twice": (
        ["land.safetensors", *OUT, *LABELLED, "#010203=sea", "--label", "#010203=moor"],
        ["given twice"],
    ),
    "labels that are none": (
        ["land.safetensors", *OUT, "--labels", "land.safetensors", "--label", "#010203=sea"],
        ["land.safetensors"],
    ),
    "both": (["land.safetensors", *OUT, *LABELLED, "#010203=sea", "--only", "sea"], ["only and labels"]),
    "no blend": (["land.safetensors", *OUT, "--blend", "nan"], ["blend = nan"]),
    "a walk of one": (["land.safetensors", *OUT, "--walk", "1"], ["walk = 1"]),
    "an end of no walk": (["land.safetensors", *OUT, "--to-seed", "1"], ["to_seed = 1", "--walk"]),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_wishes_are_one_line(case: str, land: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, words = BAD[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "land.safetensors").write_bytes(Path(land).read_bytes())
    Image.new("RGB", (20, 10), (1, 2, 3)).save("labels.png")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*")}
    monkeypatch.setattr(importlib.import_module("tiler.growing.grow"), "Pool", None)
    done = run_main("grow", *said)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    for word in words:
        assert word in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_a_growth_that_fails_leaves_the_old_picture(land: str, tmp_path: Path) -> None:
    class Broken(Here):
        def submit(self, function, *arguments, worker=None):
            if function.__name__ == "block":
                raise RuntimeError("no more")
            return super().submit(function, *arguments)

    output = tmp_path / "grown.png"
    output.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="no more"):
        grow(Growth(land, str(output), size="90x70"), pool=Broken())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"grown.png": b"old"}

"""`tiler grow`: the same bytes by however many workers, in every format, and what is wrong is one line."""

from __future__ import annotations

import contextlib
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from here import run_main
from PIL import Image
from serial_pool import Here

from tiler.errors import RenderError
from tiler.geometry import Rect
from tiler.growing.grow import grow
from tiler.growing.growth import Growth
from tiler.growing.land import Land
from tiler.growing.noise import Plane
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


def test_what_is_told_of_a_growth(land: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows as they come, by blocks that lie at fixed places; and the file says what made it."""
    monkeypatch.setattr(importlib.import_module("tiler.growing.grow"), "BLOCK", 32)
    output, events = str(tmp_path / "grown.png"), []
    asked = Growth(land, output, size="50x71", offset="-5,-40", wrap="x", seed=3, only="sea", workers=7)
    done = grow(asked, events.append, Here())
    assert (done.output, done.height, done.width) == (output, 71, 48)
    note = "48 x 71 px, since what closes is made of whole cells of 16 px"
    told = [(8, "8 of 71 rows, 11 %"), (40, "40 of 71 rows, 56 %"), (71, "71 of 71 rows, 100 %")]
    assert events == [
        {"event": "note", "text": note},
        *(one for rows, text in told for one in (
            {"event": "grow", "rows": rows, "of": 71}, {"event": "status", "text": text})),
        {"event": "write", "output": output},
    ]  # fmt: skip
    said = json.loads(Image.open(output).text["Description"])  # type: ignore[attr-defined]
    assert (said["grown"]["seed"], said["grown"]["only"], said["grown"]["offset"]) == (3, "sea", "-5,-40")
    assert not {"workers", "scheduler", "output"} & {*said["grown"]}
    assert (said["learned"]["steps"], said["learned"]["lands"], said["learned"]["seed"]) == (2, ["sea", "moor"], 0)


@pytest.mark.parametrize(("cores", "asked", "workers"), [(1, None, 1), (5, None, 2), (8, None, 4), (8, 3, 3)])
def test_a_worker_for_every_two_cores(
    cores: int, asked: int | None, workers: int, land: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, started = importlib.import_module("tiler.growing.grow"), []

    class Started(contextlib.nullcontext):
        def __init__(self, *given) -> None:
            started.append(given)
            super().__init__(Here())

    monkeypatch.setattr(module, "Pool", Started)
    monkeypatch.setattr(module, "cores", lambda: cores)
    monkeypatch.setattr(module, "_write", lambda asked, pool, tell: None)
    grow(Growth(land, str(tmp_path / "grown.png"), workers=asked, scheduler="there"))
    assert started == [("there", workers, 1)]


def test_no_more_blocks_wait_than_six_for_each_worker(
    land: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, waiting = importlib.import_module("tiler.growing.grow"), []
    monkeypatch.setattr(module, "BLOCK", 32)

    class Waited:
        def __init__(self) -> None:
            waiting.append(self)

        def result(self) -> str:
            waiting.remove(self)
            return "pixels"

    class Two(Here):
        workers = 2  # type: ignore[assignment]

        def submit(self, function, *arguments, worker=None):
            return Waited() if function is module.block else "land"

    asked = Growth(land, str(tmp_path / "grown.png"), size="100x200", offset="-10,40").checked()
    most, places = 0, []
    for place, pixels in module._blocks(asked, Two(), 32):
        most = max(most, len(waiting))
        places.append((place.y0, place.x0))
        assert (place.height, place.width, pixels) == (32, 32, "pixels")
    assert most == 11
    assert places == [(y, x) for y in range(32, 240, 32) for x in range(-32, 90, 32)]


@pytest.mark.parametrize(("size", "down"), [("40x300", 64), ("300x40", 16)])
def test_blocks_are_as_high_as_the_width_allows(
    land: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str, down: int
) -> None:
    module, heights = importlib.import_module("tiler.growing.grow"), []
    monkeypatch.setattr(module, "BLOCK", 64)
    monkeypatch.setattr(module, "_LEAST_ROWS", 16)
    monkeypatch.setattr(module, "_BAND_BYTES", 64 * 40 * 6)

    class FirstError(Exception):
        pass

    def blocks(asked: object, pool: object, down: int) -> None:
        heights.append(down)
        raise FirstError

    monkeypatch.setattr(module, "_blocks", blocks)
    asked = Growth(land, str(tmp_path / "grown.png"), size=size).checked()
    with pytest.raises(FirstError):
        next(module._bands(asked, Here(), print))
    assert heights == [down]


def test_pixels_are_rounded_to_the_nearest_of_65536(land: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("tiler.growing.grow")
    data, box = Path(land).read_bytes(), Rect(-3, 5, 4, 16)
    for number, share in enumerate((1.0, 0.0)):
        shares = np.array([share, 1 - share], np.float32)[:, None, None] * np.ones((1, 1, 1), np.float32)
        found = module.block(data, "cpu", Plane(2), box, shares)
        own = Land.of(data, "land")
        numbers = own.facts.kind.numbers(Plane(2), box).of(torch.eye(2)[number].view(1, 2, 1, 1))
        wanted = own.facts.colours.pixels(own.generator(numbers, box))[0].double().numpy() * 65535
        assert (found.dtype, found.shape) == (np.uint16, (3, 7, 11))
        assert np.abs(found - wanted).max() <= 0.51
        assert np.abs((found - wanted).mean()) < 0.1


def test_a_worker_without_a_gpu_says_so(land: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, data = importlib.import_module("tiler.growing.grow"), Path(land).read_bytes()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(module, "_LANDS", {})
    with pytest.raises(RenderError, match=r"^device = cuda: a worker has no GPU that torch can use$"):
        module._land(data, "cuda")
    first = module._land(data, "auto")
    assert module._land(data, "auto") is first
    assert [next(first.generator.parameters()).device.type, len(module._LANDS)] == ["cpu", 1]
    module._land(data, "cpu")
    assert [key[1] for key in module._LANDS] == ["cpu"]

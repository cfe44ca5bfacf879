"""What tells one job from another beyond its words, and what of a configuration goes where."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from tiler.engine.job import Job
from tiler.engine.machine import ANY
from tiler.errors import PictureError, StoreError
from tiler.request import identity, resolve
from tiler.request.config import RenderConfig
from tiler.style.layers import NAMES
from tiler.style.trunk import Trunk
from tiler.version import __version__

CONFIG = RenderConfig(
    "a.png", ("b.png",), "/y/d.png", tiles="t", init="noise", content_weight=0.25, seed=3, size="40x30", dpi=200,
    workers=4, threads=2, state="store", store="/x/j.zarr", overlay="o.png", bits=16, scheduler="tcp://r:1",
)  # fmt: skip


def job() -> Job:
    picture: Any = SimpleNamespace(height=30, width=40, in_part=False)
    trunk = Trunk({f"relu{name}": 4 for name in NAMES}, "0" * 64)
    config = replace(CONFIG, size="40x30", device="cpu", workers=1, scheduler=None)
    return resolve.resolve_config(config, picture, [picture], ANY, trunk)[1]


def test_what_of_a_configuration_goes_where() -> None:
    """Words count, files by what they hold; what the machine decides does not travel; a poster says how it looks."""
    words, travels, settings = identity.words(CONFIG), identity.travels(CONFIG), identity.settings(CONFIG)
    assert {"content", "styles", "output", "tiles", "overlay", "init", "weights", "store"}.isdisjoint(words)
    assert (words["seed"], words["dpi"], words["threads"], words["content_weight"]) == (3, 200.0, 2, 0.25)
    assert {"workers", "state", "store", "scheduler", "checkpoint_seconds"}.isdisjoint(travels)
    assert (travels["content"], travels["output"], travels["threads"]) == ("a.png", "/y/d.png", 2)
    assert {"threads", "device", "dpi", "bits", "content", "overlay", "long_edge", "workers"}.isdisjoint(settings)
    assert (settings["size"], settings["seed"], settings["content_weight"]) == ("40x30", 3, 0.25)
    assert {*settings} < {*words} < {*travels}


def test_what_a_level_depends_on_beside_its_job() -> None:
    found = identity.seen(CONFIG, {"content file": "1"}, (2, 5, 30, 40))
    assert (found["inputs"], found["part"]) == ({"content file": "1"}, [2, 5, 30, 40])
    by_level = ("size", "steps", "tile", "threads", "device", "style_scale", "learning_rate", "precision", "edge", "at")
    assert {*by_level, "long_edge", "scale", "dpi", "content"}.isdisjoint(found["words"])
    assert (found["words"]["seed"], found["words"]["content_weight"]) == (3, 0.25)


def test_a_store_keeps_words_of_the_beginning_and_files_of_now(tmp_path: Path) -> None:
    url = str(tmp_path / "j.zarr")
    now = replace(
        CONFIG, content=str(tmp_path / "new" / "a.png"), styles=("/far/b.png",), output=str(tmp_path / "p.png")
    )
    stored = {"asked": {"content": "./a.png", "styles": ["./b.png"], "output": "./d.png", "seed": 3, "steps": [7]}}
    found = identity.stored_places(stored, replace(now, seed=4, overlay=None, init="content"), url)
    assert (found["content"], found["styles"], found["overlay"]) == ("./new/a.png", ["/far/b.png"], None)
    assert (found["output"], found["seed"], found["steps"]) == ("./d.png", 3, [7])
    assert (found["init"], found["weights"]) == ("content", "bundled")
    assert {"workers", "store"}.isdisjoint(found)


def test_jobs_differ_by_what_is_no_machines() -> None:
    one = job()
    identity.check_job("j", one, replace(one, id="f" * 32, device=replace(one.device, kind="cuda", threads=9)))
    identity.check_job("j", one, one.with_tile(16))
    identity.check_job("j", one, replace(one, network=replace(one.network, weights="x")))
    for other, said in (
        (replace(one, terms=replace(one.terms, tv_weight=7.5)), "terms.tv_weight is 0.05, not 7.5"),
        (replace(one, cut=replace(one.cut, halo=9)), "cut.halo is 48, not 9"),
        (replace(one, network=replace(one.network, pooling="max")), "network.pooling is avg, not max"),
        (replace(one, network=replace(one.network, weights_sha256="1" * 64)), f"{'0' * 64}, not {'1' * 64}"),
    ):
        with pytest.raises(StoreError) as error:
            identity.check_job("j", one, other)
        assert str(error.value).startswith("store j: its job is not what was asked for: ")
        assert f"{said}; choose another --store" in str(error.value)
    deep = replace(one, look=replace(one.look, init="i" * 100))
    with pytest.raises(StoreError, match=f"look.init is noise, not {'i' * 80}; "):
        identity.check_job("j", one, deep)


def test_weights_differ_by_their_numbers() -> None:
    one = job()
    other = replace(one, network=replace(one.network, weights="w.pth", weights_sha256="1" * 64))
    assert identity.other_weights(one, replace(one, network=replace(one.network, weights="w.pth"))) == []
    assert identity.other_weights(one, other) == ["the numbers in --weights w.pth differ"]
    assert identity.other_weights(other, one) == ["the numbers in --weights bundled differ"]


def test_the_first_difference_is_told_inputs_before_words() -> None:
    stored = {
        "version": __version__, "inputs": {"b": "1", "a": "1", "gone": "5"},
        "asked": {**CONFIG.to_dict(), "seed": 9, "steps": None}, "config": {"steps": [8], "halo": 48},
    }  # fmt: skip
    told = identity.differences(stored, replace(CONFIG, steps=(7,), halo=48), {"a": "2", "b": "1", "new": "3"})
    assert told == [
        "the a differs", "the gone differs", "the new differs", "seed was 9, now 3", "steps was None, now [7]",
    ]  # fmt: skip
    with pytest.raises(StoreError, match=r"^store j: holds another job: the a differs; choose"):
        identity.refuse("j", told)
    identity.refuse("j", [])


def test_a_folder_of_map_tiles_counts_by_all_its_tiles(tmp_path: Path) -> None:
    for name in ("0/0/0.png", "1/0/0.png", "1/0/1.png", "1/1/0.png", "1/1/1.png"):
        (tmp_path / "map" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (256, 256), (len(name), 3, 9)).save(tmp_path / "map" / name)
    (tmp_path / "b.png").write_bytes(b"b")
    config = RenderConfig(str(tmp_path / "map"), (str(tmp_path / "b.png"),), "x.png")
    before = identity.inputs(config)
    assert re.fullmatch("[0-9a-f]{64}", before["content file"])
    assert before["style file 1"] == hashlib.sha256(b"b").hexdigest()
    Image.new("RGB", (256, 256), (9, 9, 9)).save(tmp_path / "map" / "1" / "1" / "1.png")
    after = identity.inputs(config)
    assert after["content file"] != before["content file"]
    assert after["style file 1"] == before["style file 1"]
    with pytest.raises(PictureError, match=r"^none\.png: No such file"):
        identity.inputs(replace(config, init="none.png"))


def test_what_a_store_says_that_is_no_table_is_none() -> None:
    assert identity.table({"asked": {"a": 1}}, "asked") == {"a": 1}
    for found in ({}, {"asked": None}, {"asked": [1]}, {"asked": "a"}):
        assert identity.table(found, "asked") == {}


def test_what_is_read_of_a_store_that_was_begun_elsewhere() -> None:
    """Places of what was asked for move with it, those of what it came to are as they were."""
    attributes = {
        "version": __version__,
        "asked": {"content": "./a.png", "styles": ["/b.png"], "output": "./p.png", "workers": 99},
        "config": {"content": "./a.png", "styles": ["/b.png"], "output": "./p.png", "seed": 5},
    }
    store: Any = SimpleNamespace(url="/new/j.zarr", attributes=attributes)
    asked, config = identity.load_config(store, "asked"), identity.load_config(store)
    assert (asked.content, asked.styles, asked.output, asked.workers) == ("/new/a.png", ("/b.png",), "/new/p.png", None)
    assert (config.content, config.seed) == ("./a.png", 5)
    attributes["config"] = {"content": 5}
    with pytest.raises(
        StoreError, match=rf"^store /new/j\.zarr: cannot be read: config: .*made by version {__version__}"
    ):
        identity.load_config(store)


def test_what_is_read_of_a_store_is_held_to_its_job() -> None:
    held: list[Any] = []
    one = job()
    store: Any = SimpleNamespace(url="j.zarr", attributes={"job": one.to_dict(), "version": "7"}, hold_to=held.append)
    assert identity.load_job(store) == one == held[0]
    store.attributes["job"]["cut"]["tile"] = 3
    with pytest.raises(StoreError) as error:
        identity.load_job(store)
    made = f"(made by version 7, this is {__version__})"
    assert str(error.value) == f"store j.zarr: cannot be read: job: its tiles are no size {made}"
    assert len(held) == 1

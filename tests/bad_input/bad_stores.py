"""Stores that were damaged or forged: what they say must neither run, nor lead elsewhere, nor break out."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from bad_case import Case, render

from tiler import pictures
from tiler.engine.job import Job
from tiler.engine.store import RenderStore
from tiler.request import identity
from tiler.request.config import RenderConfig
from tiler.request.resolve import resolve_config, settle_size
from tiler.version import __version__

STORE = "poster.zarr"
Change = Callable[[dict[str, Any]], object]


def begun(folder: Path) -> Path:
    """The store of a job that has just been begun."""
    opened = [pictures.open_picture(name) for name in ("content.png", "style.png")]
    asked = RenderConfig(content="content.png", styles=("style.png",), output="poster.png", long_edge=16, steps=(1,))
    resolved, job = resolve_config(settle_size(asked, opened[0]), opened[0], opened[1:])
    facts = {"config": resolved.to_dict(), "asked": asked.to_dict(), "inputs": identity.inputs(asked)}
    store = RenderStore.create(str(folder / STORE), {"job": job.to_dict(), **facts, "version": __version__})
    grid = job.cut.grid(0)
    store.create_state(0, grid, job.sums, job.device.state_dtype, job.moment_dtype)
    store.create_image(0, grid, job.device.state_dtype)
    return folder / STORE


_TEMPLATE: list[tuple[Path, dict[str, bytes]]] = []


def copied(folder: Path) -> Path:
    """The same store in another folder; made once, since resolving reads the weights."""
    if not _TEMPLATE:
        made = begun(folder)
        _TEMPLATE.append((made, {str(path.relative_to(made)): path.read_bytes() for path in made.rglob("*.json")}))
        shutil.rmtree(made)
    for name, data in _TEMPLATE[0][1].items():
        (folder / STORE / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / STORE / name).write_bytes(data)
    return folder / STORE


def rewritten(file: Path, change: Change) -> None:
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def _case(change: Change, arguments: list[str], inside: str = "zarr.json", words: tuple[str, ...] = (STORE,)) -> Case:
    def make(folder: Path) -> list[str]:
        rewritten(next(iter(sorted(copied(folder).glob(inside)))), change)
        return arguments

    return Case(make, words)


def _bytes(data: bytes, inside: str = "zarr.json") -> Case:
    def make(folder: Path) -> list[str]:
        next(iter(sorted(copied(folder).glob(inside)))).write_bytes(data)
        return ["info", STORE]

    return Case(make, (STORE,))


def put(*keys: str, value: Any) -> Change:
    def change(values: dict[str, Any]) -> None:
        for key in keys[:-1]:
            values = values[key]
        values[keys[-1]] = value

    return change


def drop(*keys: str) -> Change:
    def change(values: dict[str, Any]) -> None:
        for key in keys[:-1]:
            values = values[key]
        del values[keys[-1]]

    return change


TILER = ("attributes", "tiler")
JOB = (*TILER, "job")
# All that a job says: its records and their fields.
RECORDS = {name: hint for name, hint in get_type_hints(Job).items() if is_dataclass(hint)}
SAID = [
    *(f"job.{item.name}" for item in fields(Job)),
    *(f"job.{name}.{item.name}" for name, hint in RECORDS.items() for item in fields(hint)),
]
INFO = ["info", STORE]
EXPORT = ["export", STORE, "-o", "out.png"]
LEVEL = {"index": 0, "height": 16, "width": 16, "steps": 1, "peak_rate": 0.02}
IDS = ("", "..", "/etc", "../../../outside", "a/b", "a" * 31, "G" * 32, "a" * 32 + "\n", "\0" * 32)
MARKS = "levels/0/state-*/marks/zarr.json"

WRONG_JOBS: dict[str, tuple[str, Any]] = {
    **{f"id {value!r}": ("id", value) for value in IDS},
    **{f"a level of {side}": ("cut.levels", [{**LEVEL, "width": side}]) for side in (0, -1, 2**40, 1.5, "16")},
    "a level of -1 steps": ("cut.levels", [{**LEVEL, "steps": -1}]),
    "a level of no height": ("cut.levels", [{"index": 0, "width": 16, "steps": 1}]),
    "no levels": ("cut.levels", []),
    "levels of numbers": ("cut.levels", [1, 2]),
    "more styles than shares": ("styles.shares", [1.0, 1.0]),
    "no styles": ("styles.shares", []),
    "a style of no size": ("styles.sizes", [[[0, 5]]]),
    "a style of 2^40": ("styles.sizes", [[[2**40, 2**40]]]),
    "styles of one side": ("styles.sizes", [[[5]]]),
    "a style of another region": ("styles.owners", [1]),
    "two regions of one style": ("styles.regions", ["sea", "ice"]),
    "no style masks": ("styles.masked", []),
    "weights of one layer": ("styles.layer_weights", [[1.0]]),
    "unknown layers": ("terms.style_layers", ["relu9_9"]),
    "unknown statistics": ("terms.statistics", "median"),
    "layers above": ("terms.style_layers", ["../relu1_1"]),
    "layers without channels": ("terms.content_layers", ["relu5_4"]),
    "channels of 2^40": ("network.channels", [["relu1_1", 2**40]]),
    "channels of a path": ("network.channels", [["../../x", 4]]),
    "a tile of 0": ("cut.tile", 0),
    "a tile of 2^62": ("cut.tile", 2**62),
    "a halo of -1": ("cut.halo", -1),
    "no threads": ("device.threads", 0),
    "2^60 threads": ("device.threads", 2**60),
    "no steps a round": ("cut.steps_per_round", 0),
    "an unknown precision": ("device.precision", "os.system"),
    "an unknown device": ("device.kind", "cuda:../x"),
    "an unknown mode": ("cut.mode", ""),
}
WRONG_ARRAYS: dict[str, Change] = {
    "marks of 10^13 tiles": put("shape", value=[2, 10**13]),
    "marks of texts": put("data_type", value="string"),
    "marks of an unknown type": put("data_type", value="object"),
    "marks of pickles": put("codecs", value=[{"name": "numcodecs.pickle", "configuration": {}}]),
    "marks of another codec": put("codecs", value=[{"name": "os.system", "configuration": {"id": "touch stolen"}}]),
    "marks of fewer dimensions": put("shape", value=[4]),
    "marks of a negative shape": put("shape", value=[2, -1]),
    "marks of the old format": put("zarr_format", value=2),
}
WRONG_BYTES = [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"zarr_format": 3}', b"[" * 100_000, b'{"a": ' * 50_000]


def _outside(folder: Path) -> list[str]:
    """A link out of the store's folder, where a deletion could go."""
    store = copied(folder)
    (folder / "outside").mkdir()
    (folder / "outside" / "precious").write_bytes(b"precious")
    shutil.rmtree(store / "levels")
    os.symlink(folder / "outside", store / "levels")
    rewritten(store / "zarr.json", put(*JOB, "id", value="../../outside"))
    return render()


def _numpy(folder: Path) -> list[str]:
    (folder / STORE).mkdir()
    np.save(folder / STORE / "zarr.npy", np.array([print], dtype=object), allow_pickle=True)
    return INFO


CASES = {
    **{f"{name}, {arguments[0]}": _case(put(*JOB, *key.split("."), value=value), arguments)
       for name, (key, value) in WRONG_JOBS.items() for arguments in (INFO, EXPORT)},
    **{f"{path} missing": _case(drop(*JOB, *path.split(".")[1:]), INFO, words=(path,)) for path in SAID},
    **{f"{path} of another type": _case(put(*JOB, *path.split(".")[1:], value={"a": [1]}), render(), words=(path,))
       for path in SAID},
    **{f"{key} is {value}, {arguments[0]}": _case(put(*TILER, key, value=value), arguments)
       for key in ("job", "config") for value in (5, None, "x", [], {}) for arguments in (INFO, EXPORT)},
    **{f"inputs are {value}": _case(put(*TILER, "inputs", value=value), render()) for value in (5, [1], {"init": [5]})},
    **{f"homes are {value}": _case(put(*TILER, "homes", value=value), INFO, words=("homes",))
       for value in (5, {}, [5], [{"where": "device"}], [{"where": "../x", "why": ""}], [{"where": 5, "why": ""}])},
    "all attributes are a list": _case(put(*TILER, value=[1]), INFO),
    "config of another type": _case(put(*TILER, "config", "long_edge", value="big"), INFO, words=("long_edge",)),
    "config of a path": _case(put(*TILER, "config", "output", value=5), EXPORT, words=("output",)),
    **{f"{name}, {arguments[0]}": _case(change, arguments, MARKS)
       for name, change in WRONG_ARRAYS.items() for arguments in (INFO,)},
    **{f"metadata {data[:9]!r}": _bytes(data) for data in WRONG_BYTES},
    **{f"metadata of marks {data[:9]!r}": _bytes(data, MARKS) for data in WRONG_BYTES},
    "a report of text": _case(put("attributes", value={"report": "done"}), INFO, "levels/0/zarr.json"),
    "a report of texts": _case(put("attributes", value={"report": {"seconds": "x"}}), INFO, "levels/0/zarr.json"),
    "a way out": Case(_outside, (STORE,)),
    "pickled arrays": Case(_numpy, (STORE,)),
    "export over the store": Case(lambda folder: ["export", str(copied(folder)), "-o", STORE], (STORE,)),
    "export over an input": Case(lambda folder: ["export", str(copied(folder)), "-o", "style.png"], ("inputs",)),
    "export to an unknown kind": Case(lambda folder: ["export", str(copied(folder)), "-o", "a.pkl"], (STORE,)),
    "export of no level": Case(lambda folder: ["export", str(copied(folder)), "-o", "a.png", "--level=9"], ("level",)),
    "export of level -1": Case(lambda folder: ["export", str(copied(folder)), "-o", "a.png", "--level=-1"], ("level",)),
}  # fmt: skip

"""Who may say what: the command line, a job file, a store; and which files the values name, from where."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiler.cli.options import RUN_OPTIONS, build_config, typed_words
from tiler.errors import ConfigError, OutputError, StoreError
from tiler.pictures import fingerprint
from tiler.request import identity, places
from tiler.request.config import RenderConfig
from tiler.request.jobfile import read_job_file
from tiler.request.kept import from_store, to_store
from tiler.request.option import expanded
from tiler.request.regions import listed, spelled
from tiler.version import __version__

NEEDED = dict(content="a.png", styles=("b.png",), output="c.png")
FILLED = RenderConfig(
    "a.png", ("b.png", "c.png"), "d.png", tiles="e", overlay="f.png", protect="g.png", init="h.png", weights="i.pth",
    region=["sea=j.png,k.png"], mask=["sea=l.png"], labels="m.png", label=["#0000ff=sea", "#ff0000=n.png"],
    style_mask=["sea=o.png,p.png"], store="q.zarr", workers=3, scheduler="tcp://r:1", threads=2,
)  # fmt: skip


def test_every_value_that_names_files_says_so():
    """A new option must be decided about: see tiler/request/option.py."""
    meta = {item.name: item.metadata for item in fields(RenderConfig)}
    assert {name for name, one in meta.items() if one["decided"] != "asked"} == {
        "store", "workers", "scheduler", "state", "checkpoint_seconds",
    }  # fmt: skip
    assert meta["scheduler"]["decided"] == "typed"
    assert sorted(RUN_OPTIONS) == ["checkpoint_seconds", "scheduler", "state", "workers"]
    seen = []
    moved = FILLED.moved(lambda path, places: seen.append((path, places.written)) or f"X{path}")
    others = ("e", "i.pth", "q.zarr")
    assert sorted(path for path, _ in seen) == sorted([*(f"{letter}.png" for letter in "abcdfghjklmnop"), *others])
    assert {path for path, written in seen if written} == {"d.png", "e", "q.zarr"}
    assert (moved.region, moved.label) == (("sea=Xj.png,Xk.png",), ("#0000ff=sea", "#ff0000=Xn.png"))
    words = RenderConfig(**NEEDED, init="content")
    assert words.moved(lambda path, places: "X") == replace(words, content="X", styles=("X",), output="X")


def test_what_to_type_again():
    assert typed_words(RenderConfig(**NEEDED, store="x.zarr", threads=4)) == []
    assert typed_words(FILLED) == ["--workers", "3", "--scheduler", "tcp://r:1"]


def job_file(folder: Path, text: str | bytes) -> str:
    path = folder / "job.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


@pytest.mark.parametrize(
    ("line", "typed"),
    [('scheduler = "tcp://evil:1"', "--scheduler tcp://evil:1"), ('store = "s3://b/x"', "--store s3://b/x")],
)
def test_a_job_file_connects_to_nothing(tmp_path: Path, line: str, typed: str):
    path = job_file(tmp_path, line)
    with pytest.raises(ConfigError) as error:
        read_job_file(path)
    assert f"connects elsewhere; allowed: {typed} on the command line" in str(error.value)
    name = line.split()[0]
    assert name not in read_job_file(path, {name: "typed"})
    given = {"content": "a.png", "styles": ("b.png",), "output": "c.png", name: "tcp://mine:1"}
    assert getattr(build_config(given, path), name) == "tcp://mine:1"


def test_names_in_a_job_file_are_relative_to_it(tmp_path: Path):
    project, here = tmp_path / "project", tmp_path / "here"
    project.mkdir()
    here.mkdir()
    for file in (project / "a.png", project / "both.png", here / "both.png", here / "only.png"):
        file.touch()
    path = job_file(project, 'content = "a.png"\nstyles = ["both.png", "only.png", "none.png"]\noutput = "out/c.png"\n'
                             'init = "noise"\noverlay = "/abs.png"\nstore = "~/x.zarr"\nlong_edge = 5\n')  # fmt: skip
    notes: list[str] = []
    with contextlib.chdir(here):
        found = read_job_file(os.path.relpath(path), None, notes)
        assert read_job_file(os.path.relpath(path), {"output": "x", "styles": ()}).keys() == found.keys() - {
            "output",
            "styles",
        }
    assert found == {
        "content": str(project / "a.png"),
        "styles": (str(project / "both.png"), "only.png", str(project / "none.png")),
        "output": str(project / "out/c.png"),
        "init": "noise",
        "overlay": "/abs.png",
        "store": os.path.expanduser("~/x.zarr"),
        "long_edge": 5,
    }
    assert notes == [
        "both.png: taken from beside the job file, not from the current folder",
        "only.png: not beside the job file; taken from the current folder",
        f"out/c.png: relative to the job file, {project / 'out/c.png'}",
    ]
    with contextlib.chdir(project):
        assert read_job_file("job.toml", None, notes)["styles"] == ("both.png", "only.png", "none.png")
    assert len(notes) == 3


def test_a_region_named_on_the_command_line_is_no_file_of_the_job_file(tmp_path: Path):
    path = job_file(tmp_path, 'labels = "l.png"\nlabel = ["#0000ff=sea", "#00ff00=w.png"]\n')
    found = read_job_file(path, {"region": ["sea=s.png"]})
    assert found["label"] == ("#0000ff=sea", f"#00ff00={tmp_path}/w.png")


def test_a_byte_order_mark_is_no_error(tmp_path: Path):
    assert read_job_file(job_file(tmp_path, b"\xef\xbb\xbflong_edge = 5\n")) == {"long_edge": 5}


def test_lists_stay_lists_whatever_their_names_hold(tmp_path: Path):
    names = ["Blue Marble, Africa.png", "back\\slash.png", "end\\", " blanks ", "a\\,b", "=.png"]
    path = job_file(tmp_path, f"[region]\nsea = {json.dumps(names)}\n[mask]\nsea = {json.dumps(names[:1])}\n")
    with contextlib.chdir(tmp_path):
        config = RenderConfig(**NEEDED, **read_job_file(path))
    assert [source.picture for source in config.regions.sources] == ["b.png", *names]
    assert config.regions.masks == ((1, names[0]),)
    located = identity.located(config)
    assert [source.picture for source in located.regions.sources][1:] == [str(Path(name).absolute()) for name in names]
    assert RenderConfig.from_dict(json.loads(json.dumps(located.to_dict()))) == located
    typed = RenderConfig(**NEEDED, region=["sea=Blue Marble\\, Africa.png, x.png"], mask=["sea=m.png"])
    assert [source.picture for source in typed.regions.sources][1:] == ["Blue Marble, Africa.png", "x.png"]


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1), min_size=1))
def test_names_come_back_from_their_text(names: list[str]):
    assert listed(spelled(names)) == names


@pytest.mark.parametrize("table", [{"sea": 5}, {"sea": [5]}, {"sea": None}, {"a=b": "x.png"}, {"sea": {"x": "y"}}])
def test_tables_that_are_none(table: Any):
    with pytest.raises(ConfigError, match=r"region\.\S+ = .*; allowed: "):
        RenderConfig(**NEEDED, region=table)


def test_home_is_meant_wherever_a_place_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    config = FILLED.moved(lambda path, places: f"~/{path}")
    assert config == FILLED.moved(lambda path, places: f"{tmp_path}/{path}")
    assert expanded("~") == str(tmp_path)
    assert [expanded(name) for name in ("~draft.png", "./~/x", "a~", "$HOME/x")] == [
        "~draft.png",
        "./~/x",
        "a~",
        "$HOME/x",
    ]
    for name in ("~nobody-here/x.zarr",):
        with pytest.raises(ConfigError, match=r"there is no home folder ~nobody-here; for a folder of this name: \./~"):
            RenderConfig(**NEEDED, store=name)
    (tmp_path / "~nobody-here").mkdir()
    assert expanded("~nobody-here/x") == "~nobody-here/x"


def test_places_move_with_the_store(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    url = str(tmp_path / "real" / "p.zarr")
    for path, kept in (
        ("c.png", "./c.png"), ("sub/c.png", "./sub/c.png"), ("noise", "./noise"), ("x/../c.png", "./c.png"),
        ("../c.png", f"{tmp_path}/real/../c.png"),
    ):  # fmt: skip
        with contextlib.chdir(tmp_path / "real"):
            assert to_store(path, url) == kept
    assert to_store(str(tmp_path / "link" / "c.png"), url) == "./c.png"
    assert to_store(str(tmp_path / "c.png"), url) == str(tmp_path / "c.png")
    assert to_store(str(tmp_path / "real" / "c.png"), "s3://bucket/p") == str(tmp_path / "real" / "c.png")
    assert from_store("./sub/c.png", "/new/p.zarr") == "/new/sub/c.png"
    assert from_store("/old/c.png", "/new/p.zarr") == "/old/c.png"


def test_a_name_that_nobody_typed_replaces_its_own_only(tmp_path: Path):
    job, album = tmp_path / "job", tmp_path / "album"
    for folder in (job, album, album / "x_files"):
        folder.mkdir()
    for path in (job / "a.png", album / "a.png", album / "x_files" / "0"):
        path.write_text("mine")
    places.check_own(str(job / "a.png"), job, None, "it", "-o")
    places.check_own(str(album / "new.png"), job, None, "it", "-o")
    places.check_own(str(album / "a.png"), job, fingerprint(album / "a.png"), "it", "-o")
    for path in (album / "a.png", job / ".." / "album" / "a.png", album / "x.dzi"):
        for wrote in (None, 5, "0" * 64):
            with pytest.raises(OutputError, match=r"it names it, but did not write what is there.* say -o "):
                places.check_own(str(path), job, wrote, "it", "-o")
    with pytest.raises(OutputError):
        places.check_own(str(album / "a.png"), None, None, "it", "-o")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["\ud800", "a\0", "~x/y", "a=b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([item.name for item in fields(RenderConfig)]) | st.text(), JSON), st.booleans())
def test_any_json_is_a_configuration_or_one_line(values: dict[str, Any], whole: bool):
    asked = {**NEEDED, **values} if whole else values
    try:
        config = RenderConfig.from_dict(asked)
        assert RenderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
        os.fsencode(str(config.content))
    except ConfigError:
        pass
    stored = {"version": __version__, "asked": asked}
    with contextlib.suppress(StoreError):
        found = identity.asked_for("/p/job.zarr", stored)
        assert (found.scheduler, found.workers, found.store) == (None, None, "/p/job.zarr")


@pytest.mark.parametrize("asked", [None, 5, "text", [], [1]])
def test_a_wish_that_is_no_table_is_one_line(asked: Any):
    with pytest.raises(StoreError, match="cannot be read"):
        identity.asked_for("/p/job.zarr", {"version": __version__, "asked": asked})


def test_a_job_file_is_never_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "job.toml"
    path.write_text("seed = 5\n")
    monkeypatch.setattr("tiler.request.jobfile.MOST_BYTES", 9)
    assert read_job_file(path) == {"seed": 5}
    path.write_text("seed = 53\n")
    with pytest.raises(ConfigError, match=f"{path}: is larger than 9 bytes"):
        read_job_file(path)

"""What a store that may come from elsewhere can make `tiler resume` do, and how its files are found after a move."""

from __future__ import annotations

import importlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from here import run_main
from PIL import Image
from safetensors.torch import load_file

from tiler.errors import ConfigError
from tiler.request.resume import stored_config

TINY = ("--long-edge=32", "--levels=1", "--steps=0", "--threads=1")


@pytest.fixture
def project(here, inputs: Path, small_weights: str) -> Path:
    """A folder with all that a finished render read and wrote."""
    folder = inputs / "project"
    folder.mkdir()
    for name in ("content.png", "style.png"):
        (inputs / name).rename(folder / name)
    shutil.copy(small_weights, folder / "net.safetensors")
    files = [f"project/{name}" for name in ("content.png", "style.png")]
    done = here(
        "render", *files, "-o", "project/poster.png", "--weights", "project/net.safetensors", *TINY, "--workers=2"
    )
    assert done.returncode == 0, done.stderr
    return folder


def _attributes(store: Path, change: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
    path = store / "zarr.json"
    document = json.loads(path.read_text())
    if change:
        change(document["attributes"]["tiler"])
        path.write_text(json.dumps(document))
    return document["attributes"]["tiler"]


def _asked(store: Path, **values: Any) -> None:
    _attributes(store, lambda held: held["asked"].update(values))


def test_what_a_machine_decides_is_not_in_the_store(project: Path, cluster: str) -> None:
    held = _attributes(project / "poster.zarr")
    assert {"scheduler", "workers", "store"}.isdisjoint({*held["asked"], *held["config"]})
    assert cluster not in json.dumps(held)
    assert held["asked"]["threads"] == 1


def test_no_address_of_a_store_is_connected_to(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def attack(held: dict[str, Any]) -> None:
        for table in (held["asked"], held["config"]):
            table.update(scheduler="tcp://127.0.0.1:9", workers=1024, store="s3://elsewhere/job")

    def pool(scheduler: str | None, workers: int, *others: Any, **more: Any) -> NoReturn:
        raise ConfigError(f"would connect to {scheduler} or start {workers}")

    _attributes(project / "poster.zarr", attack)
    monkeypatch.setattr(importlib.import_module("tiler.rendering"), "Pool", pool)
    done = run_main("resume", str(project / "poster.zarr"))
    assert "would connect to None or start 1\n" in done.stderr


def test_the_command_line_decides_in_its_place(project: Path) -> None:
    said = dict(scheduler="tcp://here:1", workers=3)
    config = stored_config(str(project / "poster.zarr"), **said)
    assert (config.scheduler, config.workers) == ("tcp://here:1", 3)


def test_weights_count_by_their_numbers_whatever_their_file_is_called(here, project: Path) -> None:
    state = load_file(project / "net.safetensors")
    torch.save(state, project / "other.pth")
    files = ("project/content.png", "project/style.png", "-o", "project/poster.png", *TINY)
    done = here("render", *files, "--weights", "project/other.pth")
    assert done.returncode == 0, done.stderr
    state["features.28.bias"] += 1e-3
    torch.save(state, project / "other.pth")
    held = _attributes(project / "poster.zarr")
    _asked(project / "poster.zarr", weights=str(project / "other.pth"))
    done = here("resume", "project/poster.zarr")
    assert done.returncode == 2
    assert f"holds another job: the numbers in --weights {project}/other.pth differ; choose another --s" in done.stderr
    assert done.stderr.count("\n") == 1
    assert _attributes(project / "poster.zarr")["job"] == held["job"]
    done = here("render", *files, "--weights", "project/other.pth")
    assert done.returncode == 0
    assert "the numbers in --weights project/other.pth differ; 0 of 1 levels are the same" in done.stderr


@pytest.mark.parametrize("option", ["output", "tiles"])
def test_what_a_store_names_elsewhere_is_replaced_only_if_it_wrote_that(
    here, project: Path, inputs: Path, option: str
) -> None:
    album = inputs / "album"
    album.mkdir()
    mine = album / "holiday.jpg"
    (album / "tiles").mkdir()
    file = album / "tiles" / "tiles.json" if option == "tiles" else mine
    file.write_text("mine")
    _asked(project / "poster.zarr", **{option: str(mine if option == "output" else album / "tiles")})
    refused = here("resume", "project/poster.zarr", "--quiet")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "did not write what is there" in refused.stderr
    assert ("-o " if option == "output" else "--tiles ") + str(album) in refused.stderr
    assert file.read_text() == "mine"


def test_what_a_store_wrote_elsewhere_is_written_again(here, project: Path, inputs: Path) -> None:
    elsewhere = inputs / "elsewhere"
    elsewhere.mkdir()
    _asked(project / "poster.zarr", output=str(elsewhere / "poster.png"), tiles=str(elsewhere / "tiles"))
    for _ in range(2):
        done = here("resume", "project/poster.zarr", "--quiet")
        assert done.returncode == 0, done.stderr
    (elsewhere / "poster.png").write_bytes((elsewhere / "poster.png").read_bytes() + b"\0")
    changed = here("resume", "project/poster.zarr", "--quiet")
    assert changed.returncode == 2
    named = here("resume", "project/poster.zarr", "--quiet", "-o", str(elsewhere / "poster.png"))
    assert named.returncode == 0, named.stderr


def test_a_link_beside_the_store_does_not_lead_out(here, project: Path, inputs: Path) -> None:
    (inputs / "mine.png").write_text("mine")
    (project / "poster.png").unlink()
    (project / "poster.png").symlink_to(inputs / "mine.png")
    refused = here("resume", "project/poster.zarr", "--quiet")
    assert refused.returncode == 2
    assert "did not write what is there" in refused.stderr
    assert (inputs / "mine.png").read_text() == "mine"


def test_a_copied_project_is_gone_on_with_by_itself(here, project: Path, inputs: Path) -> None:
    expected = (project / "poster.png").read_bytes()
    shutil.copytree(project, inputs / "copy")
    (inputs / "copy" / "poster.png").unlink()
    shutil.move(project, inputs / "gone")
    before = {path: path.stat().st_mtime_ns for path in (inputs / "gone").rglob("*")}
    done = here("resume", "copy/poster.zarr", "--quiet")
    assert done.returncode == 0, done.stderr
    assert (inputs / "copy" / "poster.png").read_bytes() == expected
    assert {path: path.stat().st_mtime_ns for path in (inputs / "gone").rglob("*")} == before
    job = _attributes(inputs / "copy" / "poster.zarr")["job"]
    assert job["network"]["weights"] == str(inputs / "copy" / "net.safetensors")


def test_files_that_are_elsewhere_now_are_asked_for_and_found(here, project: Path, inputs: Path) -> None:
    (inputs / "moved").mkdir()
    for name in ("style.png", "net.safetensors"):
        (project / name).rename(inputs / "moved" / name)
    refused = here("resume", "project/poster.zarr", "--quiet")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert f"{project / 'style.png'}: no such file" in refused.stderr
    assert f"tiler resume {project / 'poster.zarr'} --inputs FOLDER" in refused.stderr
    done = here("resume", "project/poster.zarr", "--inputs", "moved")
    assert done.returncode == 0, done.stderr
    assert f"{project / 'style.png'}: not there; taken from moved/style.png" in done.stderr
    again = here("resume", "project/poster.zarr", "--quiet")
    assert again.returncode == 0, again.stderr
    shutil.copy(inputs / "moved" / "style.png", inputs / "keep.png")
    shutil.copy(project / "content.png", inputs / "moved" / "style.png")
    other = here("resume", "project/poster.zarr", "--quiet")
    assert "the style file 1 differs" in other.stderr


def test_a_poster_may_go_elsewhere(here, project: Path, inputs: Path) -> None:
    done = here("resume", "project/poster.zarr", "--quiet", "-o", "other.png", "--tiles", "map")
    assert done.returncode == 0, done.stderr
    assert (inputs / "other.png").read_bytes() == (project / "poster.png").read_bytes()
    assert (inputs / "map" / "0").is_dir()


@pytest.mark.parametrize("asked", [None, 5, [], {}, {"content": [[[]]]}, {"content": "\ud800"}])
def test_a_damaged_wish_is_one_line(here, project: Path, asked: object) -> None:
    _attributes(project / "poster.zarr", lambda held: held.update(asked=asked))
    for command in (("resume", "project/poster.zarr"), ("export", "project/poster.zarr", "-o", "x.png")):
        done = here(*command)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert "cannot be read" in done.stderr or "no readable job there" in done.stderr


def test_names_in_another_encoding_are_names_like_any_other(here, inputs: Path, small_weights: str) -> None:
    latin = os.fsdecode(b"Carte g\xe9n\xe9rale")
    for name in ("content", "style"):
        (inputs / f"{name}.png").rename(inputs / f"{name} {latin}.png")
    Image.new("L", (120, 90), 255).save(inputs / f"mask {latin}.png")
    options = (f"--weights={small_weights}", f"--protect=mask {latin}.png", f"--store={latin}.zarr", *TINY)
    done = here("render", f"content {latin}.png", f"style {latin}.png", "-o", "poster.png", *options)
    assert done.returncode == 0, done.stderr
    expected = (inputs / "poster.png").read_bytes()
    (inputs / "poster.png").unlink()
    for command in (("resume",), ("verify",), ("info", "--json"), ("info",)):
        done = here(command[0], f"{latin}.zarr", *command[1:])
        assert done.returncode == 0, done.stderr
    assert (inputs / "poster.png").read_bytes() == expected
    assert r"content Carte g\udce9n\udce9rale.png in the style of" in done.stdout

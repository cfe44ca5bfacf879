"""Places that are no places: one line each, whatever is said there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from here import run_main

LONG, DEEP = "x" * 300, "/".join(["y" * 200] * 25)
RENDER = ("render", "content.png", "style.png", "-o", "poster.png")


@pytest.mark.parametrize("name", [LONG, DEEP, f"nowhere/{LONG}"])
@pytest.mark.parametrize(
    "command",
    [
        ("render", "{}", "style.png", "-o", "p.png"),
        ("render", "content.png", "{}.png", "-o", "p.png"),
        ("render", "content.png", "style.png", "-o", "{}.png"),
        ("render", "content.png", "style.png", "-o", "{}.dzi"),
        ("render", "content.png", "style.png", "-o", "{}.zarr"),
        (*RENDER, "--tiles", "{}"),
        (*RENDER, "--store", "{}"),
        (*RENDER, "--weights", "{}"),
        (*RENDER, "--overlay", "{}"),
        (*RENDER, "--init", "{}"),
        (*RENDER, "--protect", "{}"),
        (*RENDER, "--region", "sea={}", "--mask", "sea={}"),
        ("render", "--job", "{}"),
        ("info", "{}"),
        ("verify", "{}"),
        ("export", "{}", "-o", "p.png"),
        ("resume", "{}"),
        ("dream", "content.png", "-o", "{}", "--zoom", "2"),
    ],
    ids=" ".join,
)
def test_very_long_names(inputs: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], name: str) -> None:
    monkeypatch.chdir(inputs)
    before = sorted(inputs.rglob("*"))
    done = run_main(*(word.replace("{}", name) for word in command))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert len(done.stderr) < 800
    assert sorted(inputs.rglob("*")) == before


@pytest.mark.parametrize(
    "command",
    [RENDER, ("render", "{}/content.png", "{}/style.png", "-o", "{}/p.png"), ("resume", "x.zarr"), ("info", "x.zarr"),
     ("export", "x.zarr", "-o", "p.png"), ("render", "--job", "job.toml"), ("plan", "content.png"),
     ("dream", "content.png", "-o", "x", "--zoom", "2")],
    ids=" ".join,
)  # fmt: skip
def test_a_current_folder_that_is_gone(
    inputs: Path, tmp_path_factory: pytest.TempPathFactory, command: tuple[str, ...]
) -> None:
    gone, back = tmp_path_factory.mktemp("gone"), os.getcwd()
    os.chdir(gone)
    gone.rmdir()
    try:
        done = run_main(*(word.replace("{}", str(inputs)) for word in command))
    finally:
        os.chdir(back)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert sorted(path.name for path in inputs.iterdir()) == ["content.png", "style.png"]

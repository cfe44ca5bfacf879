"""One writer per store; Ctrl-C and SIGTERM; and going on from the store alone."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest
from here import run_main
from processes import RENDER, Running

from tiler.version import __version__

SMALL = ("--long-edge=96", "--steps=10,10", "--tile=32", "--min-edge=48", "--threads=1")


def _stop(render: Running, number: int, again: bool) -> float:
    """Signal the whole process group, as a terminal does, and wait for the end. Returns the seconds it took."""
    render.descendants()
    began = time.monotonic()
    os.killpg(render.process.pid, number)
    if again:
        time.sleep(0.1)
        os.killpg(render.process.pid, number)
    render.end(30)
    return time.monotonic() - began


def _check_stopped(render: Running, inputs: Path, code: int, store: Path) -> None:
    assert render.process.returncode == code
    assert render.stderr.strip() == f"tiler: stopped; go on with: tiler resume {store}"
    assert render.leftovers() == []
    assert not (inputs / "poster.png").exists()
    assert not list(inputs.glob(".tiler-*"))
    assert not (inputs / "poster.zarr" / ".writer").exists()


def test_stopped_refused_and_resumed_from_the_store_alone(
    here, cluster: str, undisturbed, inputs: Path, small_weights: str, monkeypatch
) -> None:
    same = (*SMALL, f"--weights={small_weights}")
    expected, _ = undisturbed(*same)
    options = (*same, "--log-json")
    render = Running(inputs, *RENDER, *options)
    render.wait_for("tile", 3)
    os.kill(render.process.pid, signal.SIGSTOP)  # so that it is still there, however slow this machine is
    second = here(*RENDER, *options)
    assert second.returncode == 2
    assert f"in use by process {render.process.pid} on {socket.gethostname()} since 20" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert here(*RENDER, *options, "--force-new").returncode == 2
    info = here("info", "poster.zarr")
    assert info.returncode == 0, info.stderr
    os.kill(render.process.pid, signal.SIGCONT)
    _stop(render, signal.SIGINT, again=True)
    _check_stopped(render, inputs, 130, inputs / "poster.zarr")

    elsewhere = inputs / "elsewhere"
    elsewhere.mkdir()
    resumed = Running(elsewhere, "resume", "../poster.zarr", "--log-json")
    resumed.wait_for("tile", 3)
    _stop(resumed, signal.SIGTERM, again=False)
    _check_stopped(resumed, inputs, 143, elsewhere / "../poster.zarr")

    monkeypatch.chdir(elsewhere)
    last = run_main("resume", "../poster.zarr", "--quiet", "--scheduler", cluster)
    assert last.returncode == 0, last.stderr
    assert (inputs / "poster.png").read_bytes() == expected
    assert sorted(path.name for path in elsewhere.iterdir()) == ["stderr.txt", "stdout.txt"]


def test_resume_names_what_differs_or_is_missing(
    here, cluster: str, inputs: Path, small_weights: str, tmp_path: Path, monkeypatch
) -> None:
    (inputs / "net.safetensors").write_bytes(Path(small_weights).read_bytes())
    options = ("--long-edge=32", "--steps=1", "--weights=net.safetensors", "--quiet")
    assert here(*RENDER, *options).returncode == 0
    before = (inputs / "poster.png").read_bytes()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store = str(inputs / "poster.zarr")
    again = run_main("resume", store, "-o", "again.png", "--quiet", "--scheduler", cluster)
    assert (again.returncode, again.stderr) == (0, "")
    assert Path("again.png").read_bytes() == before

    for name, change, words in (
        ("style.png", lambda path: path.write_bytes((inputs / "content.png").read_bytes()), "style file 1 differs"),
        ("content.png", Path.unlink, "content.png"),
        ("net.safetensors", Path.unlink, "net.safetensors"),
    ):
        kept = (inputs / name).read_bytes()
        change(inputs / name)
        refused = run_main("resume", store, "-o", "never.png")
        assert refused.returncode == 2
        assert words in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
        (inputs / name).write_bytes(kept)
    attributes = inputs / "poster.zarr" / "zarr.json"
    attributes.write_text(attributes.read_text().replace(f'"version": "{__version__}"', '"version": "0.0.9"'))
    monkeypatch.chdir(inputs)
    for command in (("resume", store), (*RENDER, *options)):
        refused = run_main(*command)
        assert refused.returncode == 2
        assert f"made by tiler 0.0.9, and this is {__version__}" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    assert run_main("info", store).returncode == 0
    assert not (tmp_path / "elsewhere" / "never.png").exists()


@pytest.mark.parametrize("store", ["nowhere.zarr", "content.png", "."])
def test_resume_without_a_job_is_refused(inputs: Path, store: str, monkeypatch) -> None:
    before = sorted(inputs.iterdir())
    monkeypatch.chdir(inputs)
    refused = run_main("resume", store)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert refused.stderr.endswith("no readable job there: nothing of zarr's\n")
    assert sorted(inputs.iterdir()) == before

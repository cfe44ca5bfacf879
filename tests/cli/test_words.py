"""What commands print, word by word, of facts that are known; and what they ask of the functions below them."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from here import run_main

import tiler.output.export
import tiler.output.info
import tiler.output.verify
import tiler.planning.measured
import tiler.planning.room
import tiler.series.zoom
from tiler.cli import commands, demo, dream, render
from tiler.cli.options import build_config
from tiler.output.export import Exported

# The package has a function of its name.
rendering = importlib.import_module("tiler.rendering")

LEVELS = [
    SimpleNamespace(level=0, width=64, height=96, tiles=1, steps=30, rounds=3, seconds=None, home="device", why="a"),
    SimpleNamespace(
        level=1, width=128, height=192, tiles=6, steps=20, rounds=20, seconds=65.0, home="store", why="b c"
    ),
]
PLANNED = SimpleNamespace(
    width=128, height=192, mode="fast", precision="fp32", device="cpu", workers=2, tile=96, levels=LEVELS,
    memory_bytes=2_300_000_000, gpu_bytes=None, store_bytes=41_000_000, pictures_bytes=0, kept_bytes=7_000_000,
    output_bytes=3_000_000, spare_bytes=0, steps=50, tile_steps=150, seconds=3725.0, qualities={}, part="", refusal="",
    to_dict=lambda: {"steps": 50},
)  # fmt: skip
HELD, ALIKE = dict(home="device", why="a"), dict(home="device", why="b")
INFO = {
    "content": "c.png", "styles": ["a.png", "b.png"], "output": "p.png", "width": 128, "height": 192, "mode": "exact",
    "precision": "bf16", "device": "cuda", "threads": 3, "machine": {"torch": "2.13.0", "cpu": "x86"},
    "tile_pitch": [96, 80], "seconds": 61.0, "version": "1.2",
    "levels": [
        dict(level=0, width=64, height=96, tiles=1, steps=30, state="done", seconds=7.0, style=0.12345, **HELD),
        dict(level=1, width=65, height=97, tiles=1, steps=0, state="done", seconds=1.0, style=None, **ALIKE),
        dict(level=2, width=128, height=192, tiles=6, steps=20, state="unfinished", steps_done=4, home="host", why="c"),
    ],
}  # fmt: skip


def _says(known: object) -> Callable[..., object]:
    return lambda *arguments, **options: known


def test_a_plan_tells_of_what_is_there_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = SimpleNamespace(**{**vars(PLANNED), "pictures_bytes": 5_000_000, "spare_bytes": 1_000_000})
    monkeypatch.setattr(tiler.planning.measured, "plan", _says(planned))
    monkeypatch.setattr(tiler.planning.room, "free_disk", _says(None))
    assert (
        "disk:   41 MB for the state at its peak, decoded pictures of 5 MB with it, 7 MB of it to stay, and 3 MB for "
        "the poster and 1 MB more while it is written"
    ) in run_main("plan", "c.png", "s.png").stdout.splitlines()


@pytest.mark.parametrize(("free", "end"), [(None, ""), (5_000_000, "; 5 MB are free")])
@pytest.mark.parametrize(("gpu", "on_each"), [(None, []), (4_000_000_000, ["GPU:    4.0 GB on each at its peak"])])
def test_plan(monkeypatch, free: int | None, end: str, gpu: int | None, on_each: list[str]) -> None:
    planned = SimpleNamespace(**{**vars(PLANNED), "gpu_bytes": gpu})
    monkeypatch.setattr(tiler.planning.measured, "plan", _says(planned))
    monkeypatch.setattr(tiler.planning.room, "free_disk", _says(free))
    done = run_main("plan", "c.png", "s.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "128 x 192 px, mode fast, fp32 on cpu, 2 worker(s), tiles up to 96 px",
        "  level 1: 64 x 96 px, 1 tile(s), 30 steps in 3 round(s), 0 s",
        "  level 2: 128 x 192 px, 6 tile(s), 20 steps in 20 round(s), 1 min 05 s",
        "state:  level 1 in memory: a",
        "state:  level 2 in the store: b c",
        "memory: 2.3 GB for all processes at their peak",
        *on_each,
        "disk:   41 MB for the state at its peak, 7 MB of it to stay, and 3 MB for the poster" + end,
        "steps:  50, 150 counted by tiles",
        "time:   about 1 h 02 min",
    ]


def test_a_plan_says_what_other_qualities_take(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"draft": 61.0, "standard": 3725.0, "best": 7322.0}
    monkeypatch.setattr(
        tiler.planning.measured, "plan", _says(SimpleNamespace(**{**vars(PLANNED), "qualities": seconds}))
    )
    for words, others in (
        ([], "draft: 1 min 01 s, best: 2 h 02 min"),
        (["--quality", "best"], "draft: 1 min 01 s, standard: 1 h 02 min"),
    ):
        last = run_main("plan", "c.png", "s.png", *words).stdout.splitlines()[-1]
        assert last == f"time:   about 1 h 02 min; --quality {others}"


def test_plan_asks_for_what_a_render_would(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "j.toml").write_text('styles = ["s.png"]\noutput = "p.png"\n')
    asked: list[Any] = []
    monkeypatch.setattr(tiler.planning.measured, "plan", lambda config, notes: asked.append(config) or PLANNED)
    job, assumed = str(tmp_path / "j.toml"), "no STYLE is named: planned with one like c.png\n"
    for words in (
        ["c.png", "s.png"], ["c.png"], ["c.png", "s.png", "-o", "p.tif"], ["c.png", "s.png", "--tiles", "t"],
        ["c.png", "--job", job, "-o", "p.tif"], ["s.png", "t.png", "--content-weight", "0", "--init", "noise"],
        ["c.png", "--labels", "l.png", "--label", "#ff0000=sea", "--region", "sea=t.png"],
    ):  # fmt: skip
        done = run_main("plan", *words, "--json")
        assert (done.stdout, done.stderr) == ('{"steps": 50}\n', assumed if words == ["c.png"] else "")
    assert [(one.content, one.styles, one.output, one.tiles) for one in asked] == [
        ("c.png", ("s.png",), "poster.png", None),
        ("c.png", ("c.png",), "poster.png", None),
        ("c.png", ("s.png",), "p.tif", None),
        ("c.png", ("s.png",), None, "t"),
        ("c.png", (str(tmp_path / "s.png"),), "p.tif", None),
        (None, ("s.png", "t.png"), "poster.png", None),
        ("c.png", (), "poster.png", None),
    ]


def test_what_is_noted_of_options_and_pictures_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def noting(given: dict[str, Any], job_file: str | None, pictures: tuple[str, ...], notes: list[str], **more: Any):
        notes.append("of the options")
        return build_config(given, job_file, pictures, notes, **more)

    monkeypatch.setattr(
        tiler.planning.measured, "plan", lambda config, notes: notes.append("of the pictures") or PLANNED
    )
    monkeypatch.setattr(rendering, "render", lambda *what: SimpleNamespace(output="p", store="s", seconds=2))
    for command, printed in (("plan", ["of the options", "of the pictures"]), ("render", ["of the options"])):
        monkeypatch.setattr(importlib.import_module(f"tiler.cli.{command}"), "build_config", noting)
        said = run_main(command, "c.png", "s.png", "-o", "p.png").stderr.splitlines()
        assert said[: len(printed)] == printed


@pytest.mark.parametrize(
    ("content", "look", "told"),
    [("c.png", {}, []), (None, {"color": "grey", "tv_weight": 0.0}, ["look: color grey, tv weight 0.0"])],
)
def test_info(monkeypatch: pytest.MonkeyPatch, content: str | None, look: dict[str, Any], told: list[str]) -> None:
    monkeypatch.setattr(tiler.output.info, "describe", _says({**INFO, "content": content, "look": look}))
    assert run_main("info", "p.zarr").stdout.splitlines() == [
        f"{content or 'a texture'} in the style of a.png, b.png, to p.png",
        "128 x 192 px, mode exact, bf16 on cuda",
        *told,
        "  level 0: 64 x 96 px, 1 tile(s): done in 7 s, style loss 0.1235",
        "  level 1: 65 x 97 px, 1 tile(s): done in 1 s",
        "  level 2: 128 x 192 px, 6 tile(s): unfinished, 4 of 20 steps",
        "state:  levels 0 to 1 in the GPU's memory: b",
        "state:  level 2 in the host's memory: c",
        "tile lines of the poster every 96 rows and 80 columns",
        "the same to the last bit wherever these are the same: 3 thread(s) a worker, torch 2.13.0, cpu x86",
        "time spent 1 min 01 s, made with version 1.2",
    ]


def test_export(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    done = Exported(("p.tif", "tiles"), 1, 192, 128, 20, ("on white",))
    monkeypatch.setattr(tiler.output.export, "export", lambda *what, **how: asked.append((what, how)) or done)
    said = run_main("export", "p.zarr", "-o", "p.tif", "--level", "1", "--bits", "16", "--tiles", "tiles")
    assert said.stderr.splitlines() == ["on white", "level 1, 128 x 192 px after 20 steps: p.tif, tiles"]
    assert run_main("export", "p.zarr", "-o", "p.tif", "--quiet").stderr == ""
    assert asked == [(("p.zarr", "p.tif", 1), {"bits": 16, "tiles": "tiles"}), (("p.zarr", "p.tif", None), {})]
    missing = run_main("export", "p.zarr")
    assert (missing.returncode, len(asked)) == (2, 2)


def test_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiler.output.verify, "verify", _says(["a is damaged", "b is missing"]))
    jobs = {"my p.zarr": None, "r.zarr": ((),)}
    monkeypatch.setattr(tiler.output.verify.RenderStore, "open", lambda url, writable: url)
    monkeypatch.setattr(
        tiler.output.verify.identity, "load_job", lambda url: SimpleNamespace(cut=SimpleNamespace(touched=jobs[url]))
    )
    bad = run_main("verify", "my p.zarr")
    assert (bad.returncode, bad.stdout) == (1, "a is damaged\nb is missing\n")
    assert bad.stderr == "2 fault(s); to compute them again: tiler resume 'my p.zarr'\n"
    bad = run_main("verify", "r.zarr")
    assert bad.stderr == "2 fault(s); a retouch is made in one go: start over with tiler retouch\n"
    monkeypatch.setattr(tiler.output.verify, "verify", _says([]))
    good = run_main("verify", "p.zarr")
    assert (good.returncode, good.stdout, good.stderr) == (0, "all that is in the store can be read\n", "")


def test_a_dream_is_asked_for_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(dream, "run", lambda config, *flags: asked.append((config, flags)))
    assert run_main("dream", "i.png", "-o", "d.png").returncode == 0
    wanted = ["--layer", "relu3_1", "--channel", "0", "--octaves", "2", "--steps", "7", "--jitter", "0"]
    assert run_main("dream", "i.png", "-o", "d.png", *wanted, "--force-new", "--log-json").returncode == 0
    (first, plain), (second, forced) = asked
    assert (first.content, first.styles, first.output) == ("i.png", ("i.png",), "d.png")
    weights = first.style_weight, first.content_weight, first.dream_weight, first.learning_rate
    assert weights == (0.0, 0.0, 1.0, 0.01)
    assert (first.jitter, first.keep_detail, first.levels, first.steps) == (16, True, 4, (20,))
    assert (first.dream_layer, first.dream_channel, first.style_layers) == ("relu4_3", None, ("relu4_3",))
    assert (second.dream_layer, second.dream_channel, second.style_layers) == ("relu3_1", 0, ("relu3_1",))
    assert (second.jitter, second.levels, second.steps) == (0, 2, (7,))
    assert (plain, forced) == ((False, False, False), (True, False, True))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--octaves", "0"], "--octaves 0; allowed: 1 or more"),
        (["--octaves", "3", "--levels", "2"], "--octaves 3: is --levels 2 as well; say one of them"),
        (["--layer", "relu3_1", "--dream-layer", "relu2_1"], "--layer relu3_1: is --dream-layer relu2_1 as well; say "),
        (["--channel", "0", "--dream-channel", "1"], "--channel 0: is --dream-channel 1 as well; say one of them"),
        (["--zoom-factor", "1.5"], "--zoom-factor 1.5: is of a flight; allowed: with --zoom FRAMES"),
        (["--zoom", "2", "--zoom-factor", "nan"], "zoom-factor = nan; allowed: above 1, to 2"),
        (["--zoom", "2", "--zoom-factor", "2.1"], "zoom-factor = 2.1; allowed: above 1, to 2"),
        (["--zoom", "2", "--store", "s.zarr"], "store = s.zarr: belongs to the picture, not to the later frames; "),
        (["--zoom", "2", "--tiles", "t"], "tiles = t: belongs to the picture, not to the later frames; "),
    ],
)
def test_what_a_dream_is_not_asked_for_at_once(words: list[str], said: str) -> None:
    done = run_main("dream", "i.png", "-o", "nowhere/d.png", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"tiler: {said}")


def test_a_dream_s_layer_may_be_said_as_renders_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(dream, "run", lambda config, *flags: asked.append(config))
    run_main("dream", "i.png", "-o", "d.png", "--dream-layer", "relu2_1", "--dream-channel", "4", "--levels", "3")
    [one] = asked
    assert (one.dream_layer, one.style_layers, one.dream_channel, one.levels) == ("relu2_1", ("relu2_1",), 4, 3)


def test_a_flight_says_how_to_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(tiler.series.zoom, "zoom_in", lambda config, *how: asked.append(how))
    said = run_main("dream", "i.png", "-o", "f", "--zoom", "3")
    assert said.stderr == (
        "as a video: ffmpeg -i f/frame-%04d.png -vf 'crop=trunc(iw/2)*2:trunc(ih/2)*2' -pix_fmt yuv420p f.mp4\n"
    )
    for flag in ("--quiet", "--log-json"):
        assert run_main("dream", "i.png", "-o", "f", "--zoom", "3", "--zoom-factor", "1.2", flag).stderr == ""
    assert [(frames, factor, force) for frames, factor, _, force in asked] == [(3, 1.05, False), *[(3, 1.2, False)] * 2]


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be said if a signal came, in the order in which it is settled."""
    found: list[str] = []
    for command in (render, dream, demo):
        monkeypatch.setattr(command, "when_stopped", lambda text="": found.append(text))
    return found


def test_how_to_go_on_is_known_from_the_start(
    monkeypatch: pytest.MonkeyPatch, words: list[str], tmp_path: Path
) -> None:
    def rendered(config, progress, force_new, replace_finished) -> SimpleNamespace:
        assert words == ["go on with the same command"]
        progress({"event": "note", "text": "a note"})
        progress({"event": "start", "store": "/a b/p.zarr"})
        return SimpleNamespace(output="p.png", store="/a b/p.zarr", seconds=2.0)

    monkeypatch.setattr(rendering, "render", rendered)
    done: subprocess.CompletedProcess[str] = run_main(
        "render", "c.png", "s.png", "-o", "p.png", "--workers", "2", "--log-json"
    )
    assert done.returncode == 0, done.stderr
    assert words == ["go on with the same command", "go on with: tiler resume '/a b/p.zarr' --workers 2"]
    assert done.stdout.count('"event"') == 3
    assert '"event": "done", "output": "p.png", "store": "/a b/p.zarr", "seconds": 2.0' in done.stdout


@pytest.mark.parametrize(
    ("flag", "out", "err"), [(None, "", "a note\n"), ("--quiet", "", ""), ("--log-json", '"text": "a note"}\n', "")]
)
def test_who_is_told(monkeypatch: pytest.MonkeyPatch, flag: str | None, out: str, err: str) -> None:
    def noting(config, *how) -> SimpleNamespace:
        next(one for one in how if callable(one))({"event": "note", "text": "a note"})
        return SimpleNamespace(output="p.png", store="p.zarr", seconds=2.0)

    monkeypatch.setattr(rendering, "render", noting)
    monkeypatch.setattr(tiler.series.zoom, "zoom_in", noting)
    flags = [flag] if flag else []
    said = run_main("dream", "i.png", "-o", "f", "--zoom", "3", *flags)
    assert (said.stdout[-len(out) :] if out else said.stdout) == out
    assert said.stderr.startswith(err)
    assert bool(said.stderr) == bool(err)
    said = run_main("render", "c.png", "s.png", "-o", "p.png", *flags)
    assert bool(said.stdout) == bool(out)
    assert said.stderr == err + ("done in 2 s: p.png\n" if err else "")
    assert out in said.stdout


def test_a_flight_goes_on_with_the_same_command(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.setattr(tiler.series.zoom, "zoom_in", lambda *how: None)
    run_main("dream", "i.png", "-o", "f", "--zoom", "3")
    assert words == ["go on with the same command"]


def test_a_demo_goes_on_with_the_same_command(
    monkeypatch: pytest.MonkeyPatch, words: list[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    run_main("demo", "-o", "poster.wrong")
    assert words == ["go on with the same command"]


def test_a_very_long_message_is_shown_by_its_ends() -> None:
    said = run_main("render", "c.png", "s.png", "-o", "p.png", "--mode", "a" * 300 + "b" * 999 + "c" * 700)
    line = said.stderr.removesuffix("\n")
    start, end = line.removeprefix("tiler: ").split(" ... ")
    assert (said.returncode, len(start), len(end)) == (2, 300, 300)


@pytest.mark.parametrize(("length", "shown"), [(1, 1), (600, 600), (601, 605)])
def test_a_message_that_is_not_very_long_is_shown_whole(
    capsys: pytest.CaptureFixture[str], length: int, shown: int
) -> None:
    with pytest.raises(SystemExit) as end:
        commands._refuse("m" * length, 3)
    line = capsys.readouterr().err
    assert (end.value.code, len(line), " ... " in line) == (3, len("tiler: \n") + shown, shown != length)

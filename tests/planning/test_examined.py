"""What `examine` asks and tells, of a machine that answers at once; and the bar's close."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tiler.engine.machine import Gpus, Host, Machine
from tiler.planning import bar, doctor
from tiler.planning.plan import LevelPlan
from tiler.planning.selftest import Check


def test_one_worker_is_asked_and_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(host=Host(cores=3))
    asked: list[Any] = []

    class Pool:
        def __init__(self, *said: Any) -> None:
            asked.append(said)

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *what: Any) -> None:
            asked.append("ended")

        def submit(self, function: Any, *said: Any) -> Any:
            asked.append((function, *said))
            told = [{"name": "b", "seconds": 2.0, "said": "x", "error": "why"}]
            return SimpleNamespace(result=lambda: told)

    now = iter([10.0, 12.5])
    monkeypatch.setattr(doctor, "Pool", Pool)
    monkeypatch.setattr(doctor, "cores", lambda: 3)
    monkeypatch.setattr(doctor, "ask", lambda pool: machine)
    monkeypatch.setattr(doctor.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(doctor, "_chosen", lambda found: (SimpleNamespace(device="cpu", precision="bf16"), {"tile": 5}))
    monkeypatch.setattr(doctor.selftest, "here", lambda: [Check("c", 3.0, "y")])
    monkeypatch.setattr(doctor.pictures, "readable", lambda: {"AVIF": "no"})
    found = doctor.examine()
    assert asked == [(None, 1, 3), (doctor.selftest.on_worker, "cpu", "bf16"), "ended"]
    assert [(one.name, one.seconds, one.error) for one in found.checks] == [
        ("worker", 2.5, ""), ("b", 2.0, "why"), ("c", 3.0, ""),
    ]  # fmt: skip
    assert (found.well, found.chosen, found.reads) == (False, {"tile": 5}, {"AVIF": "no"})
    assert found.machine == {"host": vars(machine.host), "gpus": None, "bf16": []}
    assert {*found.extras} == {"geo", "regions", "s3", "demo", "notebook", "pdf", "studio"}


def test_what_a_render_would_use_is_of_a_large_poster(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the plan goes into what is told, each by its name; nothing is left of the pictures."""
    seen: list[Any] = []

    class Asked:
        @staticmethod
        def of(config: Any) -> Any:
            seen.append(config)
            assert Path(config.content).is_file()
            return SimpleNamespace(on=lambda machine: (SimpleNamespace(threads=6), "the job"))

    level = LevelPlan(3, 1, 2, 4, 5, 6, 7, 8, 9, "host", "it is so", None)
    plan = SimpleNamespace(
        device="cuda", precision="bf16", workers=2, tile=512, memory_bytes=11, gpu_bytes=12, levels=[level]
    )
    monkeypatch.setattr(doctor, "Asked", Asked)
    monkeypatch.setattr(doctor, "plan_job", lambda config, job, machine, pictures_bytes: plan)
    machine = Machine(gpus=Gpus(1, 1, 5, "Old", kernels="tuned", why="it is too old"))
    chosen = doctor._chosen(machine)[1]
    assert chosen == {
        "device": "cuda", "precision": "bf16", "workers": 2, "tile": 512, "memory_bytes": 11, "gpu_bytes": 12,
        "threads": 6, "homes": [{"level": 3, "home": "host", "why": "it is so"}], "edge": 4096, "kernels": "tuned",
        "why_not_triton": "Triton cannot run on Old, tuned takes its place: it is too old",
    }  # fmt: skip
    assert (seen[0].long_edge, len(seen[0].styles)) == (4096, 1)
    assert len({seen[0].content, seen[0].styles[0], seen[0].output}) == 3
    assert not Path(seen[0].content).parent.exists()
    plan.device = "cpu"
    assert (doctor._chosen(machine)[1]["kernels"], doctor._chosen(Machine())[1]["why_not_triton"]) == ("torch", "")


def test_a_bar_is_closed_also_where_the_block_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Any] = []
    monkeypatch.setattr(bar.Bar, "close", lambda self: closed.append(self._bar.close()))
    with bar.heard(True):
        assert closed == []
    with pytest.raises(KeyError), bar.heard(True):
        raise KeyError
    assert len(closed) == 2


def test_a_bar_never_goes_back(capsys: pytest.CaptureFixture[str]) -> None:
    """A shrunk render begins anew; what was shown stays until it is reached again."""
    levels = [{"height": 3, "width": 4, "tiles": 1, "steps": 4, "done": False, "work": 10.0}]
    with bar.heard(True) as tell:
        assert isinstance(tell, bar.Bar)
        tell({"event": "start", "levels": [dict(one) for one in levels]})
        tell({"event": "step", "level": 0, "tile": 0, "step": 2})
        assert tell._bar.n == 0.5
        tell({"event": "shrink", "levels": [dict(one) for one in levels]})
        assert tell._bar.n == 0.5
        tell({"event": "step", "level": 0, "tile": 0, "step": 3})
        assert tell._bar.n == 0.75
        tell({"event": "kernels", "text": "of torch"})
        tell({"event": "not finite", "text": "once more"})
    said = capsys.readouterr().err
    assert "of torch\n" in said
    assert "once more\n" in said

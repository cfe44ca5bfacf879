"""What a queue's own methods do, leave alone and say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tiler.engine.lock import sole_writer
from tiler.errors import ConfigError
from tiler.queue import queue as module
from tiler.queue.marks import Marks
from tiler.queue.queue import Queue
from tiler.request.config import RenderConfig

NEEDED: dict[str, Any] = dict(content="/c.png", styles=("/s.png",))
JOB = 'content = "c.png"\nstyles = ["s.png"]\noutput = "%s.png"\n'


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[RenderConfig]:
    """What was looked at before it was added."""
    seen: list[RenderConfig] = []
    monkeypatch.setattr(module.Request, "of", seen.append)
    return seen


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    """Of the jobs b and a, in this order."""
    for name in "ab":
        (tmp_path / f"{name}.toml").write_text(JOB % name)
    Marks(tmp_path).set_order(["b", "a"])
    return Queue(tmp_path)


def _config(queue: Queue, output: str) -> RenderConfig:
    return RenderConfig(**NEEDED, output=str(queue.folder / output))


def test_jobs_are_added_at_the_end_called_like_their_posters(queue: Queue, asked: list[RenderConfig]) -> None:
    job = queue.add(_config(queue, "my map.v2.tif"))
    assert (job.name, job.state, job.output) == ("my-map.v2", "waiting", f"{queue.folder}/my map.v2.tif")
    assert [one.name for one in queue.jobs()] == ["b", "a", "my-map.v2"]
    assert [one.store for one in asked] == [f"{queue.folder}/my-map.v2.zarr"]
    assert queue.config("my-map.v2").output == f"{queue.folder}/my map.v2.tif"
    assert queue.add(_config(queue, "other.png"), "0").name == "0"
    assert [one.name for one in queue.jobs()] == ["b", "a", "my-map.v2", "0"]


def test_a_name_that_is_taken_is_refused_or_numbered(queue: Queue, asked: list[RenderConfig]) -> None:
    with pytest.raises(ConfigError, match=f"queue {queue.folder}: has a already; choose another name"):
        queue.add(_config(queue, "x.png"), "a")
    assert not (queue.folder / ".queue" / "a.mark.json").exists()
    assert queue.add(_config(queue, "sub/a.png")).name == "a-2"
    assert queue.add(_config(queue, "sub/sub/a.png")).name == "a-3"
    assert [job.name for job in queue.jobs()] == ["b", "a", "a-2", "a-3"]


@pytest.mark.parametrize("name", ["", "a b", "-a", "a.", "x" * 61])
def test_a_name_is_letters_digits_and_few_signs(queue: Queue, asked: list[RenderConfig], name: str) -> None:
    with pytest.raises(ConfigError, match=f"name = '{name}'; allowed: up to 60 letters"):
        queue.add(_config(queue, "x.png"), name)
    assert asked == []


def test_a_name_of_sixty_letters_is_one(queue: Queue, asked: list[RenderConfig]) -> None:
    assert queue.add(_config(queue, "x.png"), "x" * 59 + "ü").name == "x" * 59 + "ü"


@pytest.mark.parametrize(
    ("like", "name"),
    [
        ("", "poster"),
        ("../..", "poster"),
        ("two  words/ü", "two-words-ü"),
        ("b", "b-2"),
        ("y" * 59 + "-z", "y" * 59),
        ("x" * 99, "x" * 54 + "-2"),
        ("there", "there-3"),
    ],
)
def test_a_free_name_is_like_what_was_asked_for(queue: Queue, like: str, name: str) -> None:
    (queue.folder / ("x" * 60 + ".toml")).write_text("")
    (queue.folder / "there.tif").write_text("")
    (queue.folder / "there-2.png").symlink_to("/nowhere")
    assert queue.free_name(like, (".png", ".tif")) == name


def test_who_has_no_job_of_that_name_says_which_there_are(queue: Queue, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"queue {queue.folder}: has no job 'c'; it has b, a$"):
        queue.job("c")
    with pytest.raises(ConfigError, match=r"has no job 'c'; it has none$"):
        Queue(tmp_path / "empty").config("c")
    for number in range(20):
        (queue.folder / f"c{number:02}.toml").write_text("")
    with pytest.raises(ConfigError, match=r"it has b, a, c00.*c17$"):
        queue.stop("c")


@pytest.mark.parametrize(
    ("name", "where", "order"),
    [("c", "up", "bca"), ("b", "up", "bac"), ("b", "down", "abc"), ("c", "down", "bac"), ("c", "first", "cba"),
     ("b", "last", "acb")],
)  # fmt: skip
def test_a_job_is_moved(queue: Queue, name: str, where: str, order: str) -> None:
    (queue.folder / "c.toml").write_text(JOB % "c")
    queue.move(name, where)
    assert [job.name for job in queue.jobs()] == [*order]


def test_there_are_four_ways_to_move(queue: Queue) -> None:
    with pytest.raises(ConfigError, match="where = 'top'; allowed: up, down, first, last"):
        queue.move("a", "top")


def test_what_is_rendered_is_told_to_stop_before_it_is_removed(queue: Queue) -> None:
    with (
        sole_writer(str(queue.folder / "a.zarr")),
        pytest.raises(ConfigError, match=r"^a: is stopped, and still being rendered; store .*in use by process"),
    ):
        queue.remove("a", patience=0)
    assert (queue.job("a").state, queue.job("b").state) == ("stopped", "waiting")
    queue.resume("a")
    assert queue.job("a").state == "waiting"
    (queue.folder / "a.png").write_text("poster")
    queue.remove("a")
    assert {path.name for path in queue.folder.iterdir()} == {".queue", "a.png", "b.toml"}


@pytest.mark.parametrize("act", ["pause", "stop", "resume"])
def test_what_is_done_is_not_steered(queue: Queue, act: str) -> None:
    Marks(queue.folder).set_state("a", "done", text=(queue.folder / "a.toml").read_bytes())
    with pytest.raises(ConfigError, match=r"^a: is done; allowed: a job that is"):
        getattr(queue, act)("a")


def test_a_plan_says_how_long_a_job_will_take(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    found, notes = SimpleNamespace(seconds=77.5), list[str]()

    def planned(config: RenderConfig, said: Any) -> Any:
        assert said is notes
        assert config.output == f"{queue.folder}/a.png"
        return found

    monkeypatch.setattr(module, "plan_render", planned)
    assert queue.plan("a", notes) is found
    assert [job.seconds_left for job in queue.jobs()] == [None, 77.5]


class Runs:
    """As Runner; it keeps what it was given."""

    made: list[tuple[Any, ...]]

    def __init__(self, marks: Any, *given: Any, **more: Any) -> None:
        self.made.append((marks.folder, given, more))

    def run(self, *given: Any) -> None:
        self.made.append(given)


def test_a_run_is_as_it_was_asked_for(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = type("Made", (Runs,), {"made": []})
    monkeypatch.setattr(module, "Runner", runs)
    hear, cancelled = (lambda event: None), (lambda: True)
    within = queue.folder / "w"
    done = queue.run(["tcp://x:1"], hear, True, cancelled, within, workers=3, state=None, checkpoint_seconds=1.5)
    assert [job.name for job in done] == ["b", "a"]
    ((folder, given, more), run) = runs.made
    assert (folder, given) == (queue.folder, (["tcp://x:1"], {"workers": 3, "checkpoint_seconds": 1.5}, hear))
    assert run == (True, cancelled)
    assert (more["start"].func, more["start"].keywords) == (module.Child, {"within": within})
    runs.made.clear()
    queue.run()
    ((_, (schedulers, said, progress), more), (wait, never)) = runs.made
    assert (tuple(schedulers), said, more, wait, never()) == ((), {}, {}, False, False)
    progress({"event": "any"})


def test_what_a_run_cannot_decide_is_said_before_anything_is_rendered(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Runner", pytest.fail)
    for said, words in (
        ({"workers": 0}, "workers = 0"),
        ({"seed": 3}, "^seed: is not a run's to decide; allowed: "),
    ):
        with pytest.raises(ConfigError, match=words):
            queue.run(**said)


def test_marks_of_a_job_that_is_gone_are_not_those_of_a_new_one(queue: Queue, asked: list[RenderConfig]) -> None:
    queue.stop("a")
    (queue.folder / "a.toml").unlink()
    assert queue.add(_config(queue, "a.png")).state == "waiting"

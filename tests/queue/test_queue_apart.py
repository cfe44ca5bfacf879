"""Jobs of a queue keep apart: none writes over what another reads, writes or keeps; what is no job is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tiler.engine.lock import sole_writer
from tiler.errors import ConfigError, OutputError, StoreError
from tiler.queue import queue as queue_module
from tiler.queue import runner, turn
from tiler.queue.marks import Marks
from tiler.queue.queue import Queue
from tiler.queue.runner import Runner
from tiler.queue.turn import Ending, take
from tiler.request.config import RenderConfig


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a queue with the job `one`, of in/c.png and in/s.png."""
    monkeypatch.setattr(queue_module.Request, "of", lambda config: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to("queue")
    made = tmp_path / "queue"
    made.mkdir()
    Queue(made).add(RenderConfig("in/c.png", ("in/s.png",), "queue/one.png"), "one")
    return made


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (dict(output="queue/one.png"), "would replace what one writes"),
        (dict(output="queue/../queue/one.png"), "would replace what one writes"),
        (dict(output="link/one.png"), "would replace what one writes"),
        (dict(tiles="queue/one.png"), "would replace what one writes"),
        (dict(output="queue/one.png/x.png"), "would lie in what one writes"),
        (dict(output="in/c.png"), "would replace a picture of one"),
        (dict(output="queue/one.zarr"), "would replace the state of one"),
        (dict(tiles="link/one.zarr/levels"), "would lie in the state of one"),
        (dict(output="queue/.queue/x.png"), "would lie in the marks of the queue"),
        (dict(content="queue/one.png"), "would replace a picture of the new job"),
    ],
)
def test_a_new_job_keeps_apart_from_the_others(values: dict[str, Any], said: str, folder: Path) -> None:
    asked = RenderConfig(**{"content": "a.png", "styles": ("b.png",), "output": "queue/two.png", **values})
    with pytest.raises(OutputError, match=said):
        Queue(folder).add(asked, "two")
    assert [job.name for job in Queue(folder).jobs()] == ["one"]


def test_a_new_jobs_state_is_not_what_another_writes(folder: Path) -> None:
    Queue(folder).add(RenderConfig("a.png", ("b.png",), "queue/later.zarr"), "two")
    with pytest.raises(OutputError, match=r"later\.zarr: would replace the new job's state"):
        Queue(folder).add(RenderConfig("a.png", ("b.png",), "queue/x.png"), "later")


def test_of_a_job_that_is_done_only_its_state_is_kept(folder: Path) -> None:
    Marks(folder).set_state("one", "done", text=(folder / "one.toml").read_bytes())
    with pytest.raises(OutputError, match="would replace the state of one"):
        Queue(folder).add(RenderConfig("a.png", ("b.png",), None, tiles="queue/one.zarr"), "two")
    assert Queue(folder).add(RenderConfig("queue/one.png", ("b.png",), "queue/two.png"), "two").name == "two"


def test_who_came_meanwhile_is_looked_at_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, names = Queue(folder), iter([[], ["one"]])
    monkeypatch.setattr(queue._marks, "names", lambda: next(names))
    with pytest.raises(OutputError, match="what one writes"):
        queue.add(RenderConfig("a.png", ("b.png",), "queue/one.png"), "two")


def test_a_folder_is_no_job(folder: Path) -> None:
    (folder / "photos.toml").mkdir()
    (folder / "photos.toml" / "mine.txt").write_text("mine")
    assert [job.name for job in Queue(folder).jobs()] == ["one"]
    with pytest.raises(ConfigError, match="has no job 'photos'"):
        Queue(folder).remove("photos")
    with pytest.raises(ConfigError, match="has photos already"):
        Queue(folder).add(RenderConfig("a.png", ("b.png",), "queue/x.png"), "photos")
    assert (folder / "photos.toml" / "mine.txt").read_text() == "mine"


def test_the_state_of_a_refused_job_goes_with_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "one.zarr").mkdir()
    (folder / "one.toml").write_text("oops = 1")
    monkeypatch.setattr(queue_module, "has_store", lambda place: place == str(folder / "one.zarr"))
    with sole_writer(str(folder / "one.zarr")), pytest.raises(ConfigError, match="still being rendered"):
        Queue(folder).remove("one", patience=0)
    assert (folder / "one.zarr").exists()
    Queue(folder).remove("one")
    assert not (folder / "one.zarr").exists()


def test_a_name_that_no_mark_can_have(folder: Path) -> None:
    long = "n" * 240
    (folder / f"{long}.toml").write_text("oops = 1")
    Queue(folder).remove(long)
    assert not (folder / f"{long}.toml").exists()


@pytest.mark.parametrize("where", ["s3://posters/q", "file:///q"])
def test_a_queue_has_no_address(where: str) -> None:
    with pytest.raises(StoreError, match=f"queue {where}: is an address; allowed: a folder"):
        Queue(where)


def _take(folder: Path, error: Exception | None) -> Ending:
    def work(config: RenderConfig, progress: Any, hold: Any) -> None:
        if error:
            raise error

    return take(folder, "one", {}, lambda event: None, work)


@pytest.mark.parametrize(("error", "how"), [(None, "broke"), (ConfigError("bad"), "failed")])
def test_what_cannot_be_marked_is_tried_again(
    error: Exception | None, how: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "_MARK_SECONDS", 0.0)
    with Marks(folder).editing():
        ending = _take(folder, error)
    assert ending.how == how
    assert ending.reason == "bad" if error else "is changing it" in ending.reason
    assert Queue(folder).job("one").state == "waiting"


def test_advice_is_what_can_be_done_in_a_queue(folder: Path) -> None:
    from tiler.request.identity import ADVICE

    reason = _take(folder, StoreError(f"store x: holds another job: seed was 1, now 2; {ADVICE}")).reason
    assert "--store" not in reason
    assert reason.endswith("now 2; put it back as it was, or tiler queue remove it and add it anew")


class Ends:
    """A turn that has ended as soon as it begins."""

    ending, begun = Ending("broke", "out of luck"), list[str]()

    def __init__(self, folder: Path, name: str, said: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self.begun.append(name)

    def poll(self) -> Ending:
        return self.ending

    def stop(self) -> None:
        pass


@pytest.fixture
def turns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Runner, list[float], list[str]]:
    """(a runner, whose clock this is, what it tells)."""
    now, told = [0.0], list[str]()
    monkeypatch.setattr(runner, "monotonic", lambda: now[0])
    monkeypatch.setattr(Ends, "begun", [])
    return Runner(Marks(folder), (), {}, lambda event: told.append(event["event"]), Ends), now, told


def _steps(runner: Runner, now: list[float], count: int) -> bool:
    left = True
    for _ in range(count):
        now[0] += 2
        left = runner.step()
    return left


def test_who_is_resumed_has_all_tries_again(folder: Path, turns: Any) -> None:
    works, now, told = turns
    _steps(works, now, 20)
    assert (len(Ends.begun), told[-1]) == (5, "queue failed")
    Queue(folder).resume("one")
    _steps(works, now, 20)
    assert (len(Ends.begun), told[-1]) == (10, "queue failed")


def test_a_queue_that_is_moved_is_not_empty(folder: Path, turns: Any) -> None:
    works, now, _ = turns
    _steps(works, now, 1)
    folder.rename(folder.with_name("moved"))
    with pytest.raises(StoreError, match="is not there; if it was moved, go on with it there"):
        works.step()
    assert not folder.exists()


def test_nor_does_a_turn_make_it_anew(folder: Path) -> None:
    def work(config: RenderConfig, progress: Any, hold: Any) -> None:
        folder.rename(folder.with_name("moved"))
        raise StoreError("store one: no readable job there")

    assert take(folder, "one", {}, lambda event: None, work).how == "failed"
    assert not folder.exists()
    assert Queue(folder.with_name("moved")).job("one").state == "waiting"


def test_what_did_not_fit_is_tried_again_when_it_is_another_or_later(
    folder: Path, turns: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    works, now, told = turns
    monkeypatch.setattr(Ends, "ending", Ending("not here", "needs 9 GB"))
    assert not _steps(works, now, 20)
    assert (len(Ends.begun), told) == (1, ["queue begun", "queue not here"])
    now[0] += 300
    assert not _steps(works, now, 2)
    assert (len(Ends.begun), told[2:]) == (2, ["queue begun"]), "that it does not fit is said once"
    with (folder / "one.toml").open("a") as file:
        file.write("seed = 2\n")
    _steps(works, now, 2)
    assert len(Ends.begun) == 3


def test_a_name_is_counted_in_bytes_too(folder: Path) -> None:
    queue = Queue(folder)
    name = queue.free_name("界" * 60)
    assert name == "界" * 40
    assert queue.add(RenderConfig("a.png", ("b.png",), f"queue/{name}.png"), name).state == "waiting"
    with pytest.raises(ConfigError, match=r"up to 60 letters, .* of 120 bytes"):
        queue.add(RenderConfig("a.png", ("b.png",), "queue/x.png"), "界" * 41)


def test_a_job_that_cannot_be_read_keeps_no_other_out(folder: Path) -> None:
    (folder / f"{'n' * 170}.toml").write_text("seed = 2")
    assert Queue(folder).add(RenderConfig("a.png", ("b.png",), "queue/x.png"), "x").state == "waiting"


def test_a_mark_of_a_number_beyond_all_floats(folder: Path) -> None:
    marks = Marks(folder)
    marks.write("one", "plan", seconds=1.0)
    (folder / ".queue" / "one.plan.json").write_text(f'{{"seconds": {"9" * 400}, "share": 0.5}}')
    assert marks.read("one", "plan") == {"share": 0.5}
    assert [job.seconds_left for job in Queue(folder).jobs()] == [None]

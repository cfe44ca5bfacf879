"""What is said of a job: its state, how far it is and how long it will take, by what lies in the queue's folder."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiler.engine.lock import sole_writer
from tiler.errors import ConfigError, StoreError
from tiler.queue import job
from tiler.queue.job import QueuedJob, config_of, has_store, job_of, written
from tiler.queue.marks import Marks
from tiler.request.config import RenderConfig
from tiler.request.jobfile import MOST_BYTES

JOB = b'content = "c.png"\nstyles = ["s.png"]\noutput = "p.png"\n'
LEVELS = [
    {"height": 3, "width": 5, "steps": 4, "steps_done": 4},
    {"height": 6, "width": 10, "steps": 2, "steps_done": 1},
]
Facts = Callable[..., None]


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    """Of a queue with the job `good`."""
    (tmp_path / "good.toml").write_bytes(JOB)
    return Marks(tmp_path)


@pytest.fixture
def facts(marks: Marks, monkeypatch: pytest.MonkeyPatch) -> Facts:
    """facts(levels, seconds): what the store of `good` says of itself."""

    def say(levels: list[dict[str, int]], seconds: float) -> None:
        (marks.folder / "good.zarr").mkdir(exist_ok=True)
        (marks.folder / "good.zarr" / "zarr.json").write_text("{}")
        told = {str(marks.folder / "good.zarr"): {"levels": levels, "seconds": seconds}}
        monkeypatch.setattr(job, "describe", lambda url: told[url])

    return say


def _known(marks: Marks) -> tuple[str, float, float | None]:
    found = job_of(marks, "good")
    return found.state, found.share, found.seconds_left


def test_a_job_is_plain_values() -> None:
    one = QueuedJob("n", "paused", "why", 0.25, 7.5, "/o.png", "/n.zarr")
    assert one.to_dict() == {"name": "n", "state": "paused", "reason": "why", "share": 0.25, "seconds_left": 7.5,
                             "output": "/o.png", "store": "/n.zarr"}  # fmt: skip


def test_a_job_that_waits_says_where_its_poster_and_its_state_will_be(marks: Marks) -> None:
    here = marks.folder
    assert job_of(marks, "good") == QueuedJob("good", "waiting", "", 0.0, None, f"{here}/p.png", f"{here}/good.zarr")


def test_a_job_that_cannot_be_read_has_no_poster(marks: Marks) -> None:
    (marks.folder / "bad.toml").write_bytes(b"seed = 1\n")
    found = job_of(marks, "bad")
    assert (found.name, found.state, found.share, found.seconds_left) == ("bad", "refused", 0.0, None)
    assert (found.output, found.store) == ("", f"{marks.folder}/bad.zarr")
    assert str(marks.folder / "bad.toml") in found.reason


def test_what_is_not_there_is_no_job(marks: Marks) -> None:
    with pytest.raises(StoreError, match="has no job 'gone'"):
        config_of(marks, "gone")


def test_a_job_may_have_map_tiles_in_place_of_a_poster(marks: Marks) -> None:
    (marks.folder / "map.toml").write_bytes(JOB.replace(b'output = "p.png"', b'tiles = "t"'))
    config = config_of(marks, "map")
    assert (config.output, config.tiles) == (None, str(marks.folder / "t"))
    assert job_of(marks, "map").output == str(marks.folder / "t")


def test_a_job_may_name_its_styles_by_label_alone(marks: Marks) -> None:
    text = b'content = "c.png"\noutput = "p.png"\nlabels = "l.png"\nlabel = ["#112233=s.png"]\n'
    (marks.folder / "labels.toml").write_bytes(text)
    config = config_of(marks, "labels")
    assert (config.styles, config.labels) == ((), f"{marks.folder}/l.png")
    assert config.store == str(marks.folder / "labels.zarr")


@pytest.mark.parametrize(("more", "state"), [(0, "waiting"), (1, "refused")])
def test_a_job_file_has_an_end(marks: Marks, more: int, state: str) -> None:
    (marks.folder / "good.toml").write_bytes(JOB + b"#" * (MOST_BYTES - len(JOB) + more))
    assert job_of(marks, "good").state == state


@pytest.mark.parametrize(
    ("state", "text", "expected"),
    [
        ("paused", b"another", ("paused", "why")),
        ("stopped", b"another", ("stopped", "why")),
        ("failed", JOB, ("failed", "why")),
        ("failed", b"another", ("waiting", "")),
        ("done", JOB, ("done", "why")),
        ("done", b"another", ("waiting", "")),
        ("waiting", JOB, ("waiting", "why")),
        ("running", JOB, ("waiting", "")),
    ],
)
def test_a_mark_holds_for_the_job_file_that_it_was_made_for(
    marks: Marks, state: str, text: bytes, expected: tuple[str, str]
) -> None:
    """A pause and a stop hold for any."""
    marks.set_state("good", state, "why", text)
    found = job_of(marks, "good")
    assert (found.state, found.reason) == expected


def test_a_job_that_is_done_is_done_whatever_its_store_says(marks: Marks, facts: Facts) -> None:
    facts(LEVELS, 30.0)
    marks.set_state("good", "done", text=JOB)
    assert _known(marks) == ("done", 1.0, None)


@pytest.mark.parametrize(
    ("told", "share", "left"),
    [
        ({"share": 0.25, "seconds": 90}, 0.25, 90.0),
        ({"share": 0.25, "seconds": 0}, 0.25, 0.0),
        ({"share": 0.25, "seconds": -1}, 0.25, None),
        ({"share": 0.25}, 0.25, None),
        ({"share": 0.25, "seconds": "much"}, 0.25, None),
        ({"share": 1}, 1.0, None),
        ({"share": 1.5}, 1.0, None),
        ({"share": -0.5}, 0.0, None),
    ],
)
def test_who_renders_says_how_far_it_is(marks: Marks, told: dict[str, Any], share: float, left: float | None) -> None:
    marks.write("good", "progress", pid=str(os.getpid()), **told)
    assert _known(marks) == ("waiting", 0.0, None)
    with sole_writer(marks.store("good")):
        assert _known(marks) == ("running", share, left)
        assert job_of(marks, "good").reason.startswith(f"process {os.getpid()} on ")


@pytest.mark.parametrize("told", [{"pid": "no number"}, {}, {"pid": str(os.getpid()), "share": "all"}])
def test_only_who_renders_is_believed(marks: Marks, facts: Facts, told: dict[str, Any]) -> None:
    facts(LEVELS, 30.0)
    marks.write("good", "progress", **{"share": 0.25, "seconds": 90, **told})
    with sole_writer(marks.store("good")):
        assert _known(marks) == ("running", pytest.approx(2 / 3), pytest.approx(15.0))


def test_a_store_says_how_far_a_job_is_by_pixels_and_steps(marks: Marks, facts: Facts) -> None:
    """15 pixels 4 times are done, and 60 pixels once of 2 times: 120 of 180, in 30 seconds."""
    facts(LEVELS, 30.0)
    marks.write("good", "plan", seconds=999)
    assert _known(marks) == ("waiting", pytest.approx(2 / 3), pytest.approx(15.0))


@pytest.mark.parametrize(
    ("levels", "seconds", "share", "left"),
    [
        (LEVELS, 0.0, 2 / 3, 30.0),
        ([{**one, "steps_done": 0} for one in LEVELS], 5.0, 0.0, 90.0),
        ([{**one, "steps": 0, "steps_done": 0} for one in LEVELS], 5.0, 0.0, 90.0),
    ],
)
def test_what_the_plan_said_holds_until_a_store_knows_better(
    marks: Marks, facts: Facts, levels: list[dict[str, int]], seconds: float, share: float, left: float
) -> None:
    facts(levels, seconds)
    marks.write("good", "plan", seconds=90)
    assert _known(marks) == ("waiting", pytest.approx(share), pytest.approx(left))


@pytest.mark.parametrize(("said", "left"), [(120, 120.0), (0, 0.0), (-1, None), ("long", None), (None, None)])
def test_a_plan_is_a_number_of_seconds(marks: Marks, said: Any, left: float | None) -> None:
    marks.write("good", "plan", seconds=said)
    assert _known(marks) == ("waiting", 0.0, left)


def test_a_store_that_cannot_be_read_says_nothing(marks: Marks, facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    facts(LEVELS, 30.0)

    def damaged(url: str) -> None:
        raise StoreError("damaged")

    monkeypatch.setattr(job, "describe", damaged)
    assert _known(marks) == ("waiting", 0.0, None)
    monkeypatch.setattr(job, "describe", pytest.fail)
    (marks.folder / "good.zarr" / "zarr.json").unlink()
    assert _known(marks) == ("waiting", 0.0, None)


def test_a_job_file_says_what_is_not_the_default_with_places_from_its_folder(tmp_path: Path) -> None:
    config = RenderConfig(
        content=str(tmp_path / "in" / "c.png"), styles=("/far/s.png",), output=str(tmp_path / "p.tif"), seed=7,
        content_weight=0.3, steps=(3, 4),
    )  # fmt: skip
    assert tomllib.loads(written(config, tmp_path, "queue").decode()) == {
        "content": "./in/c.png", "styles": ["/far/s.png"], "output": "./p.tif", "seed": 7, "steps": [3, 4],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "allowed"),
    [({"workers": 2}, "say it to tiler queue run"), ({"store": "/x.zarr"}, "its place is the queue's folder")],
)
def test_what_is_not_a_jobs_to_say_is_refused_with_who_may(said: dict[str, Any], allowed: str) -> None:
    config = RenderConfig(content="c.png", styles=("s.png",), output="p.png", **said)
    (name,) = said
    with pytest.raises(ConfigError, match=f"^queue /q: {name} = {said[name]!r} is not for a job in a queue; {allowed}"):
        written(config, Path("/q"), "queue /q")


def test_a_store_is_a_job_s_where_a_job_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "somebody's").mkdir()
    (tmp_path / "somebody's" / "precious").write_text("x")
    assert not has_store(str(tmp_path / "nothing"))
    assert not has_store(str(tmp_path / "somebody's"))

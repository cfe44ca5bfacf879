"""From what is asked for to a poster, of parts that write down in which order and with what they are called."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from serial_pool import render_module

from tiler.engine.home import Home
from tiler.errors import CancelledError, OutputError, StoreError
from tiler.jobs import Found
from tiler.request.config import RenderConfig

rendering = render_module()
CONFIG = RenderConfig("a.png", ("b.png",), "deep/c.png", scheduler="tcp://x:1", workers=3)


def job_of(name: str, threads: int, kind: str = "cpu") -> Any:
    levels = (SimpleNamespace(height=10, width=20), SimpleNamespace(height=30, width=70))
    cut = SimpleNamespace(levels=levels, shown=SimpleNamespace(height=40, width=50))
    return SimpleNamespace(name=name, cut=cut, device=SimpleNamespace(kind=kind, threads=threads))


class Store:
    url, seconds = "s.zarr", 100.0

    def __init__(self, name: str, done: list[Any]) -> None:
        self.name, self._done, self.guards = name, done, list[Any]()

    def guard(self, check: Callable[[], None]) -> None:
        self.guards.append(check)
        self._done.append((f"guard {self.name}",))

    def update(self, **values: Any) -> None:
        self._done.append((f"update {self.name}", values))


class Site:
    """begun: the job that is there; makes_way: whether there is one that is finished."""

    def __init__(self, patch: pytest.MonkeyPatch, config: RenderConfig = CONFIG, begun: Any = None, way: bool = False):
        self.done: list[Any] = []
        self.events: list[Any] = []
        self.there, self.new = Store("old", self.done), Store("new", self.done)
        self.job, self.begun = job_of("asked", 9), begun
        sources = SimpleNamespace(transparent=True, kept_bytes=77)
        self.asked: Any = SimpleNamespace(config=config, job=self.job, sources=sources, landed=["land"])
        self.request: Any = SimpleNamespace(asked=self.asked, url="s.zarr", seen={"seen": 1})
        self.hold: Any = SimpleNamespace(check=self.said("held"), notes=("of the hold", ""))
        self.machine: Any = SimpleNamespace(
            workers=3, facts=lambda kind: {"facts of": kind}, trouble=lambda kind: f"trouble with {kind}"
        )
        self.resolved: Any = replace(config, workers=4)
        self.found = Found(self.there if begun or way else None, begun, "run", ["of pictures"])  # type: ignore[arg-type]
        self.homes: Any = None
        self.lineage: Any = None
        self.levels: Any = None
        noted = self.noted
        patch.setattr(rendering, "Request", SimpleNamespace(of=lambda config: self.request))
        patch.setattr(rendering, "RenderStore", SimpleNamespace(exists=self.said("exists")))
        patch.setattr(rendering, "sole_writer", noted("locked", contextlib.nullcontext(self.hold)))
        patch.setattr(rendering, "read_before", noted("read before", ["x.png"]))
        patch.setattr(rendering, "find", noted("find", self.found))
        patch.setattr(rendering, "plan_job", self.plan)
        patch.setattr(rendering, "check_disk", lambda plan, *given: self.done.append(("disk", plan.given, *given)))
        patch.setattr(rendering, "check_room", lambda plan, *given: self.done.append(("room", plan.given, *given)))
        patch.setattr(rendering, "cores", lambda: 17)
        patch.setattr(rendering, "Pool", noted("pool", contextlib.nullcontext("own pool")))
        patch.setattr(rendering, "settled", noted("settled", (self.resolved, job_of("settled", 8), self.machine)))
        patch.setattr(rendering, "begin", self.begin)
        patch.setattr(rendering, "tidy", self.said("tidy"))
        patch.setattr(rendering, "pictures_of", lambda config: [config.content])
        patch.setattr(rendering, "ComputedOn", self.computed_on)
        patch.setattr(rendering, "Homes", self.homes_of)
        patch.setattr(rendering, "Lineage", self.lineage_of)
        patch.setattr(rendering, "Levels", self.levels_of)
        patch.setattr(rendering, "carried_out", noted("carried out", 0.125))
        patch.setattr(rendering, "time", SimpleNamespace(monotonic=iter((5.0, 12.5)).__next__))

    def plan(
        self, config: Any, job: Any, alpha: bool, speed: Any = 0, machine: Any = 0, pictures_bytes: int = 0
    ) -> Any:
        levels = [Home("host", "h"), Home("store", "s")]
        return SimpleNamespace(
            given=(config, job.name, alpha, speed, machine, pictures_bytes),
            part="of a part",
            to_dict=lambda: {"planned": 1},
            levels=[SimpleNamespace(home=one.where, why=one.why) for one in levels],
        )

    def said(self, name: str) -> Callable[..., None]:
        return lambda *given: self.done.append((name, *given))

    def noted(self, name: str, result: Any) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            self.done.append((name, *given))
            if isinstance(result, Exception):
                raise result
            return result

        return call

    def begin(self, request: Any, found: Any, resolved: Any, job: Any, machine: Any, force: bool) -> Any:
        assert (request, found, machine) == (self.request, self.found, self.machine)
        self.done.append(("begin", resolved, job.name, force))
        return self.new, job_of("written", 7), "it made way"

    def computed_on(self, store: Any, facts: dict[str, str], progress: Any) -> Any:
        self.done.append(("computed on", store.name, facts, progress))
        return SimpleNamespace(tell="tell machine", all={"all": "facts"}, difference="of a difference")

    def homes_of(self, *given: Any) -> Any:
        self.homes = given
        return SimpleNamespace(tell="tell homes")

    def lineage_of(self, seen: Any, machine: Callable[[], Any]) -> str:
        assert (seen, machine()) == ({"seen": 1}, {"all": "facts"})
        return "lineage"

    def levels_of(self, *given: Any) -> str:
        self.levels = given
        return "levels"

    def render(self, **options: Any) -> Any:
        return rendering.render(self.asked.config, self.events.append, **options)

    def told(self, name: str) -> list[Any]:
        return [one[1:] for one in self.done if one[0] == name]

    @property
    def order(self) -> list[str]:
        return [one[0] for one in self.done]


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    with monkeypatch.context() as patched:
        yield patched


def test_a_new_job_is_checked_begun_and_carried_out(patch: pytest.MonkeyPatch) -> None:
    site = Site(patch)
    result = site.render()
    assert (result.output, result.store, result.height, result.width, result.loss, result.seconds) == (
        "deep/c.png", "s.zarr", 40, 50, 0.125, 7.5,
    )  # fmt: skip
    assert site.order == [
        "exists", "locked", "read before", "find", "disk", "pool", "settled", "room", "begin", "tidy", "guard new",
        "computed on", "carried out", "update new",
    ]  # fmt: skip
    assert site.told("exists") == site.told("locked") == site.told("read before") == [("s.zarr",)]
    assert site.told("find") == [(site.request, False, True)]
    assert site.told("disk") == [((CONFIG, "asked", True, 0, 0, 77), CONFIG, "s.zarr")]
    assert site.told("pool") == [("tcp://x:1", 3, 5)]
    assert site.told("settled") == [(site.asked, "own pool")]
    given, config, job, url, begun, machine = site.told("room")[0]
    assert given == (site.resolved, "settled", True, None, site.machine, 77)
    assert (config, job.name, url, begun, machine) == (CONFIG, "settled", "s.zarr", False, site.machine)
    assert site.told("begin") == [(site.resolved, "settled", False)]
    assert site.told("tidy") == [(["x.png"], ["a.png"])]
    assert site.told("computed on") == [("new", {"facts of": "cpu"}, site.events.append)]
    assert site.homes == (site.new, [Home("host", "h"), Home("store", "s")], "tell machine")
    config, job, *rest = site.levels
    assert (config, job.name) == (site.resolved, "written")
    assert rest == [site.new, "own pool", "tell homes", site.asked.sources, ("host", "store"), "lineage"]
    assert site.told("carried out") == [("levels", site.new, "own pool", site.hold.check, None)]
    assert site.told("update new") == [({"seconds": 107.5, "machine": {"all": "facts"}},)]
    said = ["of a part", "of the hold", "it made way", "of a difference", "trouble with cpu", "of pictures"]
    assert site.events == [{"event": "plan", "planned": 1}, *({"event": "note", "text": text} for text in said)]


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({"workers": None}, (None, 1, 17)), ({"workers": 2}, (None, 2, 8)), ({"workers": 18}, (None, 18, 1)),
        ({"workers": 2, "threads": 3, "scheduler": "tcp://x:1"}, ("tcp://x:1", 2, 3)),
    ],
)  # fmt: skip
def test_workers_share_out_the_cores_unless_their_threads_are_asked_for(
    patch: pytest.MonkeyPatch, options: dict[str, Any], asked: tuple[Any, ...]
) -> None:
    site = Site(patch, replace(CONFIG, **{"scheduler": None, **options}))
    site.render()
    assert site.told("pool") == [asked]


def test_a_job_that_was_begun_is_guarded_before_it_is_gone_on_with(patch: pytest.MonkeyPatch) -> None:
    """It is computed with the threads that it was begun with, and nothing of its pictures is dropped."""
    site = Site(patch, begun=job_of("begun", 6, "cuda"))
    site.render()
    assert site.told("disk")[0][0][1] == "begun"
    assert site.told("pool") == [("tcp://x:1", 3, 6)]
    assert "begin" not in site.order
    assert "tidy" not in site.order
    assert site.order.index("guard old") < site.order.index("computed on")
    assert site.there.guards
    _, _, job, _, begun, _ = site.told("room")[0]
    assert (job.name, begun, site.levels[1].name) == ("begun", True, "begun")
    assert site.told("computed on") == [("old", {"facts of": "cuda"}, site.events.append)]
    assert "it made way" not in str(site.events)
    assert "trouble with cuda" in str(site.events)


def test_one_that_makes_way_is_guarded_before_it_does(patch: pytest.MonkeyPatch) -> None:
    site = Site(patch, way=True)
    site.render(force_new=True, replace_finished=False)
    guarded = [name for name in site.order if name.startswith(("guard", "begin"))]
    assert guarded == ["guard old", "begin", "guard new"]
    assert site.told("find") == [(site.request, True, False)]
    assert site.told("begin") == [(site.resolved, "settled", True)]


def test_workers_and_a_hold_that_are_there_are_used_and_stay(patch: pytest.MonkeyPatch) -> None:
    site = Site(patch)
    pool, cancelled = object(), bool
    site.render(pool=pool, hold=site.hold, cancelled=cancelled)
    assert "locked" not in site.order
    assert "pool" not in site.order
    assert site.told("settled") == [(site.asked, pool)]
    assert site.told("carried out") == [("levels", site.new, pool, site.hold.check, cancelled)]
    assert site.new.guards[-1] is not site.hold.check


@pytest.mark.parametrize("gone", [None, StoreError("gone")])
def test_what_a_render_cost_is_kept_where_it_fails_too(patch: pytest.MonkeyPatch, gone: StoreError | None) -> None:
    """Unless the store is gone, which is not what ended it."""
    site = Site(patch)
    patch.setattr(rendering, "carried_out", site.noted("carried out", OutputError("failed")))
    if gone:
        patch.setattr(Store, "update", lambda self, **values: site.noted("update new", gone)())
    with pytest.raises(OutputError, match="failed"):
        site.render()
    assert site.told("update new") == [() if gone else ({"seconds": 107.5, "machine": {"all": "facts"}},)]


def test_nothing_is_left_of_a_request_that_is_refused(patch: pytest.MonkeyPatch) -> None:
    site = Site(patch)
    patch.setattr(rendering, "find", site.noted("find", StoreError("another job")))
    patch.setattr(rendering, "dropped", site.said("dropped"))
    with pytest.raises(StoreError, match="another job"):
        site.render()
    assert site.order[-2:] == ["find", "dropped"]
    assert site.told("dropped") == [(["land"],)]


def test_what_is_not_said_is_usual() -> None:
    defaults = {name: one.default for name, one in inspect.signature(rendering.render).parameters.items()}
    assert defaults == {
        "config": inspect.Parameter.empty, "progress": None, "force_new": False, "replace_finished": True,
        "pool": None, "hold": None, "cancelled": None,
    }  # fmt: skip


# Its parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cancelled", [None, False, True])
def test_a_check_asks_the_holder_first(cancelled: bool | None) -> None:
    asked: list[str] = []
    wanted = None if cancelled is None else lambda: asked.append("wanted") or cancelled  # type: ignore[func-returns-value]
    check = rendering.checked(lambda: asked.append("held"), wanted)
    if cancelled:
        with pytest.raises(CancelledError, match=r"^the render was cancelled; what is finished is kept in its store$"):
            check()
    else:
        check()
    assert asked == ["held", "wanted"][: 1 if cancelled is None else 2]


@pytest.mark.parametrize("ends", [None, CancelledError("stop"), StoreError("gone")])
@pytest.mark.parametrize("cancelled", [None, bool])
def test_whatever_ends_a_render_the_store_is_its_holder_s_again(ends: Exception | None, cancelled: Any) -> None:
    done: list[Any] = []

    def run() -> None:
        done.append("run")
        if ends:
            raise ends

    levels = SimpleNamespace(glance=1.0, run=run, write_poster=lambda: done.append("written") or 0.5)
    pool = SimpleNamespace(stop=lambda: done.append("stopped"))
    store = SimpleNamespace(guard=done.append)
    if ends:
        with pytest.raises(type(ends)):
            rendering.carried_out(levels, store, pool, "held", cancelled)
        assert done == ["run", *["stopped"] * isinstance(ends, CancelledError), "held"]
    else:
        assert rendering.carried_out(levels, store, pool, "held", cancelled) == 0.5
        assert done == ["run", "written", "held"]
    assert levels.glance == (0.1 if cancelled else 1.0)


@pytest.mark.parametrize(("wanted", "there", "grows"), [(None, 1, False), (2, 2, False), (3, 2, True), (1, 2, False)])
def test_a_pool_grows_to_the_workers_that_are_resolved_and_is_asked_again(
    patch: pytest.MonkeyPatch, wanted: int | None, there: int, grows: bool
) -> None:
    done: list[Any] = []
    machines = iter((SimpleNamespace(workers=there), SimpleNamespace(workers=99)))
    patch.setattr(rendering, "ask", lambda pool: done.append("asked") or next(machines))
    asked = SimpleNamespace(on=lambda machine: (SimpleNamespace(workers=wanted), f"job on {machine.workers}"))
    pool = SimpleNamespace(grow=lambda workers: done.append(workers))
    resolved, job, machine = rendering.settled(asked, pool)
    assert (resolved.workers, job, machine.workers) == (wanted, f"job on {there}", 99 if grows else there)
    assert done == (["asked", wanted, "asked"] if grows else ["asked"])

"""What a worker reads of its store for a tile, and which workplace it has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tiler.engine import workplace
from tiler.engine.address import Address
from tiler.engine.contents import COLOURS
from tiler.engine.job import Look
from tiler.engine.workplace import NOISE_MOMENTS, Workplace
from tiler.errors import StoreError
from tiler.geometry import Rect
from tiler.style.colour import ColourMoments

BOX = Rect(3, 5, 7, 14)


class Site:
    """A workplace without a device, whose store has every picture: its rows and columns, counted."""

    def __init__(self, **attributes: Any) -> None:
        self.asked: list[Any] = []
        self.store = SimpleNamespace(
            url="s.zarr", read_picture=self._read, picture_bands=self._bands, attributes=attributes,
            check_there=lambda: self.asked.append("there"),
        )  # fmt: skip
        look = SimpleNamespace(color="style", init="content", transfer="style", grey=False)
        cut = SimpleNamespace(levels=[SimpleNamespace(height=20, width=30), SimpleNamespace(height=10, width=16)])
        self.job = SimpleNamespace(
            look=look, cut=cut, styles=SimpleNamespace(regions=("a", "b")),
            device=SimpleNamespace(kind="cpu", precision="fp32"),
            guides_path=lambda level: f"levels/{level}/guides", protect_path=lambda level: f"levels/{level}/protect",
            style_guides_path=lambda level, style: f"styles/{level}/{style}/guides",
        )  # fmt: skip
        self.here = Workplace.__new__(Workplace)
        self.here.store, self.here.job = self.store, self.job  # type: ignore[assignment]
        self.here.dtype = torch.float64

    def _read(self, path: str, rect: Rect) -> np.ndarray:
        self.asked.append((path, rect))
        rows, columns = np.mgrid[rect.y0 : rect.y1, rect.x0 : rect.x1].astype(np.float32)
        return np.stack([rows, columns, rows * 0 + (path.endswith("guides") and rect.x0 > 100)])

    def _bands(self, path: str) -> Any:
        self.asked.append(path)
        return [np.full((3, 2, 5), 0.25 + number / 4, np.float32) for number in (0, 1)]


def test_what_lies_beyond_an_edge_that_wraps_is_read_from_the_other_side() -> None:
    """Of a level of 10 x 16 pixels."""
    found = Site().here.picture(1, "p", Rect(8, -2, 12, 3))
    np.testing.assert_array_equal(found[0], np.tile([[8], [9], [0], [1]], 5))
    np.testing.assert_array_equal(found[1], np.tile([14, 15, 0, 1, 2], (4, 1)))


def test_guides_and_what_is_protected_are_read_where_they_lie() -> None:
    site = Site()
    regions, planes = site.here.level_guides(0, BOX)
    assert planes is not None
    assert (regions, planes.shape) == ((0, 1), (2, 4, 9)), "the third has nothing there"
    protected = site.here.protected(0, BOX)
    assert protected is not None
    assert protected.shape == (3, 4, 9)
    regions, planes = site.here.style_guides(1, 0, Rect(0, 0, 1, 2))
    assert planes is not None
    assert (regions, planes.shape) == ((1,), (1, 1, 2))
    assert site.asked == [
        ("levels/0/guides", BOX), ("levels/0/protect", BOX), ("styles/1/0/guides", Rect(0, 0, 1, 2)),
    ]  # fmt: skip
    site.job.guides_path = site.job.protect_path = lambda level: None  # type: ignore[assignment, misc, return-value]
    site.job.style_guides_path = lambda level, style: None  # type: ignore[assignment, misc, return-value]
    assert site.here.level_guides(0, BOX) == site.here.style_guides(1, 0, BOX) == ((0,), None)
    assert site.here.protected(0, BOX) is None
    assert len(site.asked) == 3


def test_what_is_sent_to_the_device_is_a_copy_in_the_state_s_type() -> None:
    array = np.ones((2, 3), np.float32)
    found = Site().here.tensor(array)
    assert found.dtype == torch.float64
    found[0, 0] = 5
    assert array[0, 0] == 1
    guides = Site().here.guides((1, 2), np.ones((2, 4, 6), np.float32), ("relu2_1",))
    assert (guides.regions, guides.at("relu2_1")) == ((1, 2), pytest.approx(torch.ones(2, 2, 3)))
    assert Site().here.guides((0,), None, ("relu2_1",)).planes is None


@pytest.mark.parametrize(("color", "grey"), [("luminance", True), ("grey", True), ("style", False)])
def test_pixels_are_grey_where_no_colours_are_optimised(color: str, grey: bool) -> None:
    site, pixels = Site(), np.array([0.9, 0.1, 0.4], np.float32).reshape(3, 1, 1)
    site.job.look = Look("content", 0, color, False, 0)
    found = site.here.optimised(pixels)
    if grey:
        np.testing.assert_allclose(found, 0.2126 * 0.9 + 0.7152 * 0.1 + 0.0722 * 0.4, rtol=1e-5)
    else:
        assert found is pixels


# Colours ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["noise", "content", "picture"])
def test_a_start_has_noise_s_colours_or_the_content_s(init: str, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    site.job.look.init = init
    monkeypatch.setattr(site.here, "_colours", lambda *given: given)
    found = site.here._start_colours(1)
    assert found == (NOISE_MOMENTS if init == "noise" else ("levels/0/content", "levels/0/guides", 1))
    assert site.here._colours_of_content(0) == ("levels/0/content", "levels/0/guides", 0)  # type: ignore[comparison-overlap]
    monkeypatch.setattr(site.here, "_to_styles", lambda start: [start(1)])
    assert site.here.match_content() == [("levels/0/content", "levels/0/guides", 1)]
    assert site.here.colours == [found]
    monkeypatch.setattr(site.here, "_to_styles", pytest.fail)
    assert site.here.colours == [found], "they are looked for once"


@pytest.mark.parametrize(("transfer", "guided"), [("style", True), ("style", False), ("color", True), ("color", False)])
def test_a_region_s_colours_are_those_where_it_is(transfer: str, guided: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guides of the second region: a quarter, then half, and three quarters of it in the other half of the picture."""
    site = Site()
    site.job.look.transfer = transfer
    monkeypatch.setattr(workplace, "as_seen", lambda store, path, planes: (store, path, planes and [*planes]))
    found: Any = site.here._colours("a/picture", "a/guides" if guided else None, 1)
    if transfer == "color":
        store, path, planes = found
        assert (store, path) == (site.store, "a/picture")
        assert [plane.shape for plane in planes or []] == [(2, 5)] * 2 * guided
        return
    expected = ColourMoments.of(
        [np.full((3, 2, 5), grey, np.float32) for grey in (0.25, 0.5)],
        [np.full((2, 5), share, np.float32) for share in (0.25, 0.5)] if guided else None,
    )
    np.testing.assert_allclose(found.mean, expected.mean)
    np.testing.assert_allclose(found.mean, 5 / 12 if guided else 3 / 8, rtol=1e-6)
    assert found.count == expected.count


def maps(*numbers: float) -> list[Any]:
    return [[[number + i + j for j in range(4)] for i in range(3)] for number in numbers]


def test_the_content_s_colours_are_what_the_store_kept_and_read_once() -> None:
    site = Site(**{COLOURS: maps(0.5, 7)})
    for _ in range(2):
        first, second = site.here.content_colours
        assert (first[2, 3], second[0, 1], first.dtype) == (5.5, 8, np.float64)
    assert site.asked == ["there"]


@pytest.mark.parametrize(
    "kept",
    [None, maps(1), maps(1, 2, 3), [*maps(1), [[1.0] * 4] * 2], [*maps(1), [[1.0] * 3] * 3], "x", [1, 2]],
    ids=str,
)
def test_colours_that_are_no_maps_of_the_regions_are_refused(kept: Any) -> None:
    with pytest.raises(StoreError, match=rf"^store s\.zarr: {COLOURS}"):
        _ = Site(**{COLOURS: kept}).here.content_colours


# Memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "graphs", "again"),
    [
        (MemoryError(), True, True), (MemoryError(), False, False), (MemoryError(), None, False),
        (RuntimeError("shapes differ"), True, False),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True, True),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_tried_once_more_beside_no_graphs(
    error: Exception, graphs: bool | None, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there was anything to give back."""
    site, calls, freed = Site(), list[str](), list[Exception]()
    monkeypatch.setattr(workplace, "let_go", freed.append)
    site.here.graphs = None if graphs is None else SimpleNamespace(make_room=lambda: graphs)  # type: ignore[assignment]

    def call() -> str:
        calls.append("called")
        if len(calls) == 1:
            raise error
        return "done"

    if again:
        assert site.here.roomy(call) == "done"
    else:
        with pytest.raises(type(error)):
            site.here.roomy(call)
    assert len(calls) == 1 + again
    assert freed == [error] * again


# How it begins ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_what_bytes_depend_on_is_settled_before_anything_is_read(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    device = SimpleNamespace(kind=kind, threads=3, precision="fp32", state_dtype="float32")
    job = SimpleNamespace(id="x", device=device, network=SimpleNamespace(weights="w.pth", weights_sha256="0"))
    store = SimpleNamespace(attributes={"job": "as stored"}, hold_to=lambda job: done.append(("held to", job)))
    monkeypatch.setattr(workplace.RenderStore, "open", lambda url: done.append(url) or store)
    monkeypatch.setattr(workplace.Job, "from_dict", lambda found: done.append(found) or job)
    monkeypatch.setattr(workplace, "settle_torch", lambda: done.append("torch"))
    monkeypatch.setattr(workplace, "settle_gpu", lambda: done.append("gpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(workplace, "ThreadPoolExecutor", lambda *given, **named: (given, named))
    monkeypatch.setattr(workplace, "kernels_on", lambda kind: (f"kernels on {kind}", "a reason"))
    monkeypatch.setattr(workplace, "graphs_for", lambda *given: given)
    monkeypatch.setattr(
        workplace, "read_weights", lambda path: done.append(path) or SimpleNamespace(sha256="0", convs=["convs"])
    )
    here = Workplace(Address("s.zarr", "x", "run"))
    assert done == ["s.zarr", "as stored", ("held to", job), "torch", *["gpu"] * (kind == "cuda"), "w.pth"]
    assert here.graphs == (kind, f"kernels on {kind}")
    assert here._thread == ((1,), {"initializer": torch.set_num_threads, "initargs": (3,)})
    assert (here._why_kernels, here._why_no_graphs) == ("a reason", "")
    assert (here._convs, here.held, here.dtype) == (["convs"], {}, torch.float32)
    store.url, store.holder = "s.zarr", lambda: "run"  # type: ignore[attr-defined]
    here.check_run()
    store.holder = lambda: "another"  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match="another run has taken it over"):
        here.check_run()


def test_a_level_s_objective_has_a_target_for_each_region(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    site.job.terms = "terms"  # type: ignore[attr-defined]
    monkeypatch.setattr(site.here, "level_areas", lambda level: SimpleNamespace(shares=(0.25, level)))
    monkeypatch.setattr(site.here, "_target", lambda level, region: f"of {level}, {region}")
    monkeypatch.setattr(workplace.StyleTarget, "joined", lambda targets, shares: (targets, shares))
    monkeypatch.setattr(workplace, "Objective", lambda *given: given)
    found: Any = site.here._objective(1)
    assert found[:4] == ((["of 1, 0", "of 1, 1"], (0.25, 1)), "terms", 10, 16)
    assert found[4].shares == (0.25, 1)
    assert found[5] is False


def test_areas_of_a_part_are_counted_in_its_guides() -> None:
    found = Site().here._areas_in("levels/0/guides", Rect(0, 104, 4, 110), ("relu1_1", "relu2_1"))
    assert found.shares == (1.5, 106.5, 1)
    assert found.weights["relu1_1"] == (1.5 * 24, 106.5 * 24, 24)
    assert found.weights["relu2_1"] == (1.5 * 6, 106.5 * 6, 6)


# The one that a worker has ----------------------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is made, let go and looked for of workplaces of stores that run "now" holds."""
    done: list[str] = []

    class Place:
        def __init__(self, address: Address) -> None:
            self.name = f"{address.url} {address.id}"
            done.append(f"made {self.name}")

        def let_go(self) -> None:
            done.append(f"let go {self.name}")

    monkeypatch.setattr(workplace, "_CURRENT", {})
    monkeypatch.setattr(workplace, "Workplace", Place)
    monkeypatch.setattr(workplace.RenderStore, "open", lambda url: SimpleNamespace(url=url, holder=lambda: "now"))
    return done


def test_a_worker_has_one_workplace_at_a_time(made: list[str]) -> None:
    one, other = Address("a", "1", "now"), Address("a", "2", "now")
    first = workplace.workplace(one)
    assert workplace.workplace(one) is first
    assert workplace.workplace(other) is not first
    assert made == ["made a 1", "let go a 1", "made a 2"]
    assert list(workplace._CURRENT) == [other]


def test_a_task_that_comes_late_takes_no_workplace_away(made: list[str]) -> None:
    held = workplace.workplace(Address("a", "1", "now"))
    with pytest.raises(StoreError, match=r"^store a: another run has taken it over"):
        workplace.workplace(Address("a", "1", "before"))
    assert workplace.workplace(Address("a", "1", "now")) is held
    assert made == ["made a 1"]

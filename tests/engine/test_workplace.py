"""What a worker keeps between tasks: what it refuses, what it counts, and what it tells once."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tiler.engine import workplace
from tiler.engine.address import Address
from tiler.engine.blend import noise
from tiler.engine.stages import HANDS
from tiler.engine.workplace import NOISE_MOMENTS, Workplace
from tiler.errors import RenderError, StoreError, WeightsError
from tiler.geometry import Rect, TileGrid
from tiler.style.colour import ColourMoments
from tiler.style.grams import StyleTarget
from tiler.style.guides import Areas

LAYERS = ("relu1_1", "relu3_1")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Workplace]:
    """opened(kind): a worker's workplace, where the GPUs that are named can be had."""

    def make(kind: str, *there: str, id: str = "x") -> Workplace:
        device = SimpleNamespace(kind=kind, threads=1, precision="fp32", state_dtype="float64")
        job = SimpleNamespace(id="x", device=device, network=SimpleNamespace(weights="w.pth", weights_sha256="0"))
        store = SimpleNamespace(attributes={"job": {}}, hold_to=lambda job: None)
        monkeypatch.setattr(workplace.RenderStore, "open", lambda url: store)
        monkeypatch.setattr(workplace.Job, "from_dict", lambda found: job)
        for name in ("settle_gpu", "settle_torch"):
            monkeypatch.setattr(workplace, name, lambda: None)
        monkeypatch.setattr(workplace, "kernels_on", lambda kind: ("torch", ""))
        monkeypatch.setattr(workplace.socket, "gethostname", lambda: "here")
        for name, module in (("cuda", torch.cuda), ("mps", torch.backends.mps)):
            monkeypatch.setattr(module, "is_available", lambda name=name: name in there)
        monkeypatch.setattr(workplace, "read_weights", lambda path: SimpleNamespace(sha256="0", convs=[]))
        return Workplace(Address("s.zarr", id))

    return make


@pytest.mark.parametrize(
    ("kind", "there", "said"),
    [
        ("cuda", (), "worker here: has no GPU, and the job was begun on one"),
        ("cuda", ("mps",), "worker here: has no GPU, and the job was begun on one"),
        ("mps", (), "worker here: has no Apple GPU, and the job was begun on one"),
        ("mps", ("cuda",), "worker here: has no Apple GPU, and the job was begun on one"),
    ],
)
def test_a_worker_without_the_job_s_gpu_says_which_it_has_not(
    opened: Callable[..., Workplace], kind: str, there: tuple[str, ...], said: str
) -> None:
    with pytest.raises(RenderError) as error:
        opened(kind, *there)
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("kind", "there", "ahead", "hands"),
    [("cpu", (), 0, 1), ("cpu", ("cuda", "mps"), 0, 1), ("cuda", ("cuda",), 1, HANDS), ("mps", ("mps",), 0, 1)],
)
def test_a_worker_asks_a_gpu_ahead_and_no_other_device(
    opened: Callable[..., Workplace], kind: str, there: tuple[str, ...], ahead: int, hands: int
) -> None:
    here = opened(kind, *there)
    assert (here.ahead, here.hands, here.dtype) == (ahead, hands, torch.float64)
    assert here.compute(torch.get_num_threads) == 1


def test_a_worker_refuses_another_job_and_other_weights(
    opened: Callable[..., Workplace], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match=r"^store s.zarr: holds job x, expected y$"):
        opened("cpu", id="y")
    here = opened("cpu")
    monkeypatch.setattr(workplace, "read_weights", lambda path: SimpleNamespace(sha256="1", convs=[]))
    with pytest.raises(WeightsError, match=r"^--weights w.pth: holds other numbers than when the job was begun"):
        here._same_weights()


@pytest.mark.parametrize(
    ("precision", "made"),
    [("fp32", ["fp32"]), ("fp64", ["fp64"]), ("bf16", ["bf16", "fp32"]), ("fp16", ["fp16", "fp32"])],
)
def test_short_precisions_have_one_that_reaches_further(
    precision: str, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(workplace, "Backbone", lambda *given: asked.append(given) or len(asked))
    job: Any = SimpleNamespace(
        device=SimpleNamespace(precision=precision, kind="cpu"),
        terms=SimpleNamespace(layers=LAYERS),
        network=SimpleNamespace(pooling="avg"),
    )
    backbones = workplace._Backbones(job, [])
    assert (list(backbones), len(backbones)) == (made, len(made))
    assert [backbones[one] for one in made * 2] == [*range(1, len(made) + 1)] * 2
    assert asked == [([], LAYERS, "avg", workplace.DTYPES[one], "cpu") for one in made]


def test_blocks_of_other_attempts_are_let_go_once_they_are_written() -> None:
    rested: list[str] = []
    names = {("a", 0): "a0", ("b", 0): "b0", ("a", 1): "a1"}
    held = {key: SimpleNamespace(rest=lambda name=name: rested.append(name)) for key, name in names.items()}
    here: Any = SimpleNamespace(held=dict(held))
    Workplace.let_go(here, but="a")
    assert (rested, [*here.held]) == (["b0"], [("a", 0), ("a", 1)])
    Workplace.let_go(here)
    assert (rested, here.held) == (["b0", "a0", "a1"], {})


@pytest.mark.parametrize(("kind", "trims"), [("cpu", [0, 0, 0]), ("cuda", []), ("mps", [])])
def test_buffers_are_given_back_where_the_next_have_another_shape(
    kind: str, trims: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    monkeypatch.setattr(workplace, "_trim", given.append)
    here: Any = SimpleNamespace(_shape=(), job=SimpleNamespace(device=SimpleNamespace(kind=kind)))
    for shape in ((3, 8, 4), (3, 8, 4), (3, 4, 8), (3, 4, 8), (3, 8, 4)):
        Workplace.shaped(here, shape)
    assert given == trims


@pytest.mark.parametrize("begun", [False, True])
def test_what_a_level_took_is_given_back_before_the_next(begun: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: begun)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("emptied"))
    here = Workplace.__new__(Workplace)
    here.graphs, here._objectives = SimpleNamespace(drop=lambda: done.append("dropped")), {}  # type: ignore[assignment]
    here.make_room()
    assert done == ["dropped", "emptied"][: 1 + begun]
    done.clear()
    monkeypatch.setattr(here, "_objective", lambda level: done.append(level) or f"of {level}")
    assert [here.objective(level) for level in (0, 0, 1, 0)] == ["of 0", "of 0", "of 1", "of 0"]
    assert done == ["dropped", 0, "dropped", 1, "dropped", 0]
    here.graphs = None
    here.make_room()


def test_sums_of_what_stays_are_read_once_a_level() -> None:
    asked: list[Any] = []

    def read_total(path: str, layer: str) -> np.ndarray:
        asked.append((path, layer))
        return np.full(1, len(asked), np.float64)

    job = SimpleNamespace(terms=SimpleNamespace(style_layers=LAYERS))
    here: Any = SimpleNamespace(job=job, store=SimpleNamespace(read_total=read_total), _rests={})
    found = [float(Workplace.rest(here, level)[layer]) for level in (1, 1, 2) for layer in LAYERS]
    assert found == [1, 2, 1, 2, 3, 4]
    assert asked == [(f"levels/{level}/rest", layer) for level in (1, 2) for layer in LAYERS]


def test_what_fails_on_a_worker_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found, events = [("triton", "")], list[dict[str, Any]]()
    monkeypatch.setattr(workplace, "kernels_on", lambda kind: found[0])
    monkeypatch.setattr(workplace.socket, "gethostname", lambda: "here")
    here = Workplace.__new__(Workplace)
    here.job, here.graphs = SimpleNamespace(device=SimpleNamespace(kind="cuda")), None  # type: ignore[assignment]
    here._why_kernels = here._why_no_graphs = ""
    here.tell_kernels(events.append)
    assert events == []
    found[0] = "torch", "no driver"
    here.tell_kernels(events.append)
    here.tell_kernels(events.append)
    text = "worker here: Triton fails, torch takes its place from here on: no driver"
    assert events == [{"event": "kernels", "kernels": "torch", "text": text}]
    here.graphs = SimpleNamespace(off="too large")  # type: ignore[assignment]
    here.tell_kernels(events.append)
    here.tell_kernels(events.append)
    text = "worker here: steps run without CUDA graphs from here on: too large"
    assert events[1:] == [{"event": "note", "text": text}]


def test_a_store_that_another_run_has_taken_over_is_written_no_more() -> None:
    store: Any = SimpleNamespace(url="s.zarr", holder=lambda: "mine")
    workplace.check_run(store, "mine")
    with pytest.raises(
        StoreError, match=r"^store s.zarr: another run has taken it over; this task has written nothing"
    ):
        workplace.check_run(store, "other")


# Regions ----------------------------------------------------------------------------------------------------------


def test_regions_that_lie_in_a_box_are_those_with_anything_there() -> None:
    present: Callable[..., Any] = Workplace._present
    planes = np.zeros((4, 3, 5), np.float32)
    planes[1, 2, 4] = planes[3, 0, 0] = 0.01
    regions, found = present(None, planes)
    assert regions == (1, 3)
    np.testing.assert_array_equal(found, planes[[1, 3]])
    assert present(None, planes * 0)[0] == ()
    assert present(None, planes * 0)[1].shape == (0, 3, 5)
    assert present(None, None) == ((0,), None)


@pytest.mark.parametrize("said", [
    None, {}, {"shares": [1.0]}, {"shares": [1.0], "weights": {"relu1_1": [1.0]}}, {"shares": 1.0, "weights": {}},
    {"shares": [1.0], "weights": {"relu1_1": [1.0], "relu3_1": ["a"]}}, {"shares": [1.0], "weights": [1.0]},
])  # fmt: skip
def test_areas_that_are_none_are_refused(said: Any) -> None:
    store = SimpleNamespace(url="s.zarr", read_areas=lambda path: said)
    with pytest.raises(StoreError, match=r"^store s.zarr: a/guides does not say how much of it each region has$"):
        Workplace.areas(SimpleNamespace(store=store), "a/guides", LAYERS, 9, 5)  # type: ignore[arg-type]


def test_areas_are_a_picture_s_cells_or_what_its_store_says() -> None:
    said = {"shares": [0.25, 0.5], "weights": {"relu1_1": [3, 1], "relu3_1": [1, 0.5], "relu4_1": [1]}}
    here: Any = SimpleNamespace(store=SimpleNamespace(url="s.zarr", read_areas=lambda path: said))
    found = Areas((0.25, 0.5), {"relu1_1": (3.0, 1.0), "relu3_1": (1.0, 0.5)})
    assert Workplace.areas(here, "a/guides", LAYERS, 9, 5) == found
    everywhere = Areas((1.0,), {"relu1_1": (45.0,), "relu3_1": (3.0 * 2,)})
    assert Workplace.areas(here, None, LAYERS, 9, 5) == everywhere
    assert Workplace._areas_in(here, None, Rect(1, 2, 10, 7), LAYERS) == everywhere


@pytest.mark.parametrize("estimates", [False, True])
def test_a_level_s_areas_are_looked_up_once(estimates: bool) -> None:
    """Where some tiles stand for all, each by its pixels and by how many it stands for."""
    grid, asked = TileGrid(48, 32, 32, 32), list[Any]()
    cut = SimpleNamespace(
        levels=[SimpleNamespace(height=48, width=32)] * 2, grid=lambda level: grid, estimates=lambda level: estimates
    )
    terms = SimpleNamespace(style_layers=("relu1_1",))
    job = SimpleNamespace(cut=cut, terms=terms, guides_path=lambda level: f"levels/{level}/guides")

    def areas(path: str, layers: tuple[str, ...], height: int, width: int) -> Areas:
        asked.append((path, layers, height, width))
        return Areas((1.0,), {})

    def areas_in(path: str, core: Rect, layers: tuple[str, ...]) -> Areas:
        asked.append((path, core, layers))
        share = 0.25 if core.y0 == 0 else 0.75
        return Areas((share, 1 - share), {"relu1_1": (share * core.area, (1 - share) * core.area)})

    here: Any = SimpleNamespace(job=job, _areas={}, areas=areas, _areas_in=areas_in)
    for level in (0, 0, 1, 1, 0):
        found = Workplace.level_areas(here, level)
    assert list(here._areas) == [0]
    paths = [f"levels/{level}/guides" for level in (0, 1, 0)]
    if estimates:
        cores = Rect(0, 0, 32, 32), Rect(32, 0, 48, 32)
        assert asked == [(path, core, ("relu1_1",)) for path in paths for core in cores]
        assert found.shares == pytest.approx(((0.25 * 2 + 0.75) / 3, (0.75 * 2 + 0.25) / 3))
        assert found.weights["relu1_1"] == pytest.approx((256 + 384, 768 + 128))
    else:
        assert asked == [(path, ("relu1_1",), 48, 32) for path in paths]


# Colours ----------------------------------------------------------------------------------------------------------


def test_noise_has_the_moments_that_it_is_said_to_have() -> None:
    np.testing.assert_allclose(NOISE_MOMENTS.mean, [0.5] * 3, rtol=1e-15)
    np.testing.assert_allclose(NOISE_MOMENTS.covariance, np.eye(3) * 0.2**2 / 12, atol=1e-15)
    seen = ColourMoments.of([noise(Rect(0, 0, 150, 200), 200, 3).numpy()])
    np.testing.assert_allclose(seen.mean, NOISE_MOMENTS.mean, atol=0.002)
    np.testing.assert_allclose(seen.covariance, NOISE_MOMENTS.covariance, atol=1e-4)


@pytest.mark.parametrize(("transfer", "floor"), [("style", ()), ("color", (workplace.OKLAB_FLOOR,))])
def test_colours_go_to_a_region_s_styles_by_their_shares_and_mean_weights(
    transfer: str, floor: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.2 and 0.8 of the same share, of which the layers take the one twice and the other thrice."""
    styles = SimpleNamespace(
        shares=(0.5, 0.5, 1.0), layer_weights=((1.0, 3.0), (2.0, 4.0), (1.0, 1.0)), regions=("a", "b", "c"),
        of=lambda region: [[0, 1], [2], [2]][region],
    )  # fmt: skip
    job = SimpleNamespace(
        styles=styles,
        look=SimpleNamespace(transfer=transfer),
        style_guides_path=lambda level, style: f"{level}/{style}",
    )
    asked: list[Any] = []

    def colours(picture: str, guides: str, region: int) -> ColourMoments:
        asked.append((picture, guides, region))
        grey = (0.2, 0.8, 0.4)[int(picture.split("/")[2])]
        return ColourMoments(2, np.full(3, 2 * grey), np.full((3, 3), 2 * grey**2))

    monkeypatch.setattr(workplace, "colour_match", lambda start, wanted, *more: (start, wanted.mean[0], *more))
    starts = [SimpleNamespace(count=count) for count in (3, 0, 4)]
    here: Any = SimpleNamespace(job=job, _colours=colours)
    first, nothing, last = Workplace._to_styles(here, starts.__getitem__)  # type: ignore[arg-type]
    assert first == (starts[0], pytest.approx((0.2 * 2 + 0.8 * 3) / 5), *floor)
    assert last == (starts[2], pytest.approx(0.4), *floor)
    np.testing.assert_array_equal(nothing, np.eye(3, 4))
    assert asked == [(f"styles/0/{style}/picture", f"0/{style}", 0) for style in range(3)]


def test_a_region_s_target_is_of_its_own_styles(monkeypatch: pytest.MonkeyPatch) -> None:
    styles = SimpleNamespace(of=lambda region: [[1], [0, 2]][region], shares=(0.25, 1.0, 0.75),
                             layer_weights=((1.0, 2.0), (3.0, 4.0), (5.0, 6.0)))  # fmt: skip
    terms = SimpleNamespace(layers=(*LAYERS, "relu4_2"), style_layers=LAYERS)
    store = SimpleNamespace(read_total=lambda path, layer: f"{path}/{layer}")
    here: Any = SimpleNamespace(
        job=SimpleNamespace(styles=styles, terms=terms), store=store, tensor=lambda total: total.upper()
    )
    monkeypatch.setattr(workplace, "usual", lambda total: total)
    monkeypatch.setattr(StyleTarget, "blended", lambda *given: given)
    assert Workplace._target(here, 2, 1) == (
        [{layer: f"styles/2/{style}/{layer}".upper() for layer in terms.layers} for style in (0, 2)],
        ["styles/2/0/roughness", "styles/2/2/roughness"], [0.25, 0.75],
        [{"relu1_1": 1.0, "relu3_1": 2.0}, {"relu1_1": 5.0, "relu3_1": 6.0}],
    )  # fmt: skip

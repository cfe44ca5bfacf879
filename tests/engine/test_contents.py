"""What a job's store may hold, path by path, and what it may not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509

from tiler.engine import layout
from tiler.engine.certificate import certificate
from tiler.engine.contents import Contents, state_path
from tiler.engine.cut import Cut
from tiler.engine.job import Device, Job, Look, Network, Styles
from tiler.geometry import Level
from tiler.style.terms import Terms

JOB = Job(
    "0123456789ab" + "f" * 20,
    Terms(("relu1_1",), ("relu2_1",), 1.0, 1.0, 0.0),
    Styles((((20, 30), (40, 10)), ((50, 70), (90, 20))), (1.0, 1.0), ((1.0,), (1.0,)), (0, 1), (False, True),
           ("sea", "land"), True),
    Network("w.pth", "0" * 64, (("relu1_1", 4), ("relu2_1", 6)), "avg"),
    Look("content", 0, "style", False, 0),
    Cut((Level(0, 40, 24, 1, 0.1), Level(1, 80, 48, 1, 0.1)), "none", 2, 32, 4, 8, "fast", "adam", 2),
    Device("cpu", "fp32", 1),
)  # fmt: skip
STATE = "state-0123456789ab"


def shapes(path: str, chunks: tuple[int, ...] = ()) -> list[tuple[tuple[int, ...], str]]:
    return [(found.shape, found.dtype) for found in Contents(JOB).allowed(path, chunks)]


@pytest.mark.parametrize(
    ("path", "shape", "dtype"),
    [
        ("init", (3, 40, 24), "uint16"), ("levels/0/content", (3, 40, 24), "uint16"),
        ("levels/1/content", (3, 80, 48), "uint16"), ("levels/1/coarse", (3, 40, 24), "uint16"),
        ("levels/1/guides", (2, 80, 48), "uint16"), ("levels/1/protect", (1, 80, 48), "uint16"),
        ("levels/1/touched", (1, 80, 48), "uint16"), ("levels/1/alpha", (1, 80, 48), "uint16"),
        ("levels/1/image", (3, 80, 48), "uint16"), ("levels/1/poster", (3, 80, 48), "uint16"),
        ("levels/1/before", (3, 80, 48), "uint16"), ("levels/1/rest/totals/relu1_1", (2, 4, 4), "float64"),
        (f"levels/1/{STATE}/marks", (2, 6), "int32"), (f"levels/0/{STATE}/marks", (2, 2), "int32"),
        (f"levels/1/{STATE}/regions", (2, 6, 2), "uint8"),
        (f"levels/1/{STATE}/grams/relu1_1", (2, 6, 2, 4, 4), "float32"),
        (f"levels/1/{STATE}/moments", (2, 6, 6, 36, 28), "uint16"), ("styles/1/0/picture", (3, 50, 70), "uint16"),
        ("styles/0/1/picture", (3, 40, 10), "uint16"), ("styles/1/1/guides", (1, 90, 20), "uint16"),
        ("styles/1/1/totals/relu2_1", (1, 6, 6), "float32"), ("styles/1/1/totals/roughness", (1, 1, 2), "float32"),
    ],
)  # fmt: skip
def test_what_a_store_holds_has_one_shape(path: str, shape: tuple[int, ...], dtype: str) -> None:
    assert shapes(path) == [(shape, dtype)]


@pytest.mark.parametrize(
    "path",
    [
        "", "levels", "levels/0", "levels/2/content", "levels/-1/content", "levels/x/content",
        "levels/0/other", "levels/0/content/more", "levels/0/state-0123456789ac/marks", f"levels/0/{STATE}/other",
        f"levels/0/{STATE}", "levels/0/rest", "levels/0/rest/totals/relu2_1", "levels/0/rest/totals/roughness",
        f"levels/0/{STATE}/grams/relu2_1", "styles/0/2/picture", "styles/2/0/picture", "styles/0/0/other",
        "styles/0/0/totals/relu9_1", "styles/0/picture", "init/more", "other",
    ],
)  # fmt: skip
def test_what_a_job_has_no_use_for_is_not_read(path: str) -> None:
    assert shapes(path) == []


@pytest.mark.parametrize("name", ["image", "poster", "before"])
def test_a_finished_level_may_have_the_chunks_of_a_coarser_cut_and_no_others(name: str) -> None:
    grid = JOB.cut.grid(1)
    own = layout.image(grid, "float32")
    for chunks in layout.image_chunks(grid):
        found = [*Contents(JOB).allowed(f"levels/1/{name}", chunks)]
        assert found == [own, replace(own, chunks=chunks)]
    assert [*Contents(JOB).allowed(f"levels/1/{name}", (3, 7, 7))] == [own]


def test_a_state_s_place_is_its_cut_s() -> None:
    assert state_path(3, JOB.id) == f"levels/3/{STATE}"
    assert [*Contents(replace(JOB, id="a" * 32)).allowed(f"levels/1/{STATE}/marks", ())] == []


def test_a_certificate_outlives_a_run_whatever_is_done_to_the_clock() -> None:
    shown, key = certificate()
    found = x509.load_pem_x509_certificate(shown.encode())
    assert (found.not_valid_after_utc - found.not_valid_before_utc).days == 7300
    assert found.subject == found.issuer
    found.verify_directly_issued_by(found)
    assert (shown, key) != certificate()

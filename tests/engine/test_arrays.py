"""Arrays of a store: which are refused, how they are packed, and whose fault an error in reading is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from tiler.engine import arrays
from tiler.engine.arrays import clearly, opened, passing
from tiler.engine.gate import Allowed, MissingChunkError
from tiler.engine.layout import Array
from tiler.engine.store import RenderStore
from tiler.errors import DamageError, StoreError

ONE = Array((3, 5, 8), (1, 5, 4), "float32", 0.5, 2.0)


class FarError(Exception):
    pass


FarError.__module__ = "obstore.exceptions"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "job.zarr")


@pytest.fixture
def store(url: str) -> RenderStore:
    made = RenderStore.create(url, {"job": {"id": "x"}})
    made._create("a/b/one", ONE)
    return made


# Made -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"shape": (3, 5, 9)}, "float32 (3, 5, 9) in chunks of (1, 5, 4)"),
        ({"chunks": (1, 5, 8)}, "float32 (3, 5, 8) in chunks of (1, 5, 8)"),
        ({"dtype": "float64"}, "float64 (3, 5, 8) in chunks of (1, 5, 4)"),
        ({"ratio": None}, "float32 (3, 5, 8) in chunks of (1, 5, 4)"),
        ({"fill_value": 0.0}, "float32 (3, 5, 8) in chunks of (1, 5, 4)"),
    ],
)
def test_an_array_that_is_there_is_the_one_that_was_asked_for_or_refused(
    other: dict[str, Any], words: str, store: RenderStore, url: str
) -> None:
    store._create("a/b/one", ONE)
    store._create("a/b/one", replace(ONE, ratio=0.9))  # what it is thought to pack to is no part of it
    for again in (store, RenderStore.open(url)):
        with pytest.raises(DamageError) as error:
            again._create("a/b/one", replace(ONE, **other))
        assert str(error.value) == (
            f"store {url}: a/b/one is float32 (3, 5, 8) in chunks of (1, 5, 4); allowed: {words}"
        )
        assert (error.value.path, error.value.index) == ("a/b/one", ())


@pytest.mark.parametrize(("ratio", "codecs"), [(None, ["crc32c"]), (0.5, ["blosc", "crc32c"])])
def test_arrays_are_packed_or_not_and_always_checked(
    ratio: float | None, codecs: list[str], store: RenderStore
) -> None:
    store._create("two", replace(ONE, ratio=ratio), dimension_names=("c", "y", "x"))
    said = json.loads((Path(store.url) / "two/zarr.json").read_text())
    assert [one["name"] for one in said["codecs"][1:]] == codecs
    assert (said["shape"], said["data_type"], said["fill_value"]) == ([3, 5, 8], "float32", 2.0)
    assert said["chunk_grid"]["configuration"]["chunk_shape"] == [1, 5, 4]
    assert said["dimension_names"] == ["c", "y", "x"]
    if ratio:
        packing = said["codecs"][1]["configuration"]
        assert (packing["cname"], packing["clevel"], packing["shuffle"]) == ("zstd", 1, "shuffle")
    assert store._allowed.chunk_bytes["two"] == (5 * 4 * 4, ratio is not None)


def test_chunks_of_nothing_but_the_fill_value_are_written(store: RenderStore) -> None:
    store._array("a/b/one")[0] = 2.0
    found = [path for path in (Path(store.url) / "a/b/one/c").rglob("*") if path.is_file()]
    assert len(found) == 2
    assert (store._values("a/b/one", (0, slice(None), slice(4, 8))) == 2).all()


def test_a_disk_that_is_full_is_no_damage(store: RenderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[Exception] = [OSError(28, "No space left on device"), ValueError("odd\nmore")]

    def fails(*given: Any, **options: Any) -> None:
        raise raised.pop(0)

    monkeypatch.setattr(zarr.Group, "create_array", fails)
    with pytest.raises(OSError, match="No space left"):
        store._create("two", ONE)
    with pytest.raises(DamageError, match=r"two cannot be read: odd$"):
        store._create("two", ONE)


def test_what_is_wrong_above_an_array_is_told_of_the_array(store: RenderStore) -> None:
    (Path(store.url) / "a/b/zarr.json").write_bytes(b"{")
    again = RenderStore.open(store.url)
    with pytest.raises(DamageError, match="a/b cannot be read") as error:
        again._create("a/b/two", ONE)
    assert (error.value.path, error.value.index) == ("a/b/two", ())


# Read -------------------------------------------------------------------------------------------------------------


def test_what_is_no_array_of_numbers_is_not_read(store: RenderStore, url: str) -> None:
    with pytest.raises(DamageError) as error:
        store._array("a/b")
    assert (str(error.value), error.value.path) == (f"store {url}: a/b is no array of numbers", "a/b")
    with pytest.raises(DamageError) as error:
        store._array("a/b/none")
    assert (str(error.value), error.value.path) == (f"store {url}: a/b/none is missing", "a/b/none")
    for dtype in ("int32", "uint8", "float64"):
        store._create(f"of {dtype}", replace(ONE, dtype=dtype))
        assert store._array(f"of {dtype}").dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (OSError("a stale\nhandle"), StoreError, "a stale"), (MemoryError(), StoreError, "MemoryError"),
        (FarError("busy"), StoreError, "busy"), (ValueError("odd"), DamageError, "odd"),
        (KeyError("x"), DamageError, "'x'"), (TypeError("t"), DamageError, "t"),
        (AttributeError("a"), DamageError, "a"), (RuntimeError("r"), DamageError, "r"),
        (MissingChunkError("chunk c is missing"), DamageError, "chunk c is missing"),
    ],
)  # fmt: skip
def test_an_error_in_reading_is_the_place_s_or_what_is_stored_s(
    error: Exception, kind: type, text: str, store: RenderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: Any) -> Any:
        raise error

    store._array("a/b/one", True)
    monkeypatch.setattr(zarr.Array, "__getitem__", fails)
    with pytest.raises(StoreError) as found:
        store._values("a/b/one", (2, 1, slice(0, 3)))
    assert type(found.value) is kind
    assert str(found.value) == f"store {store.url}: a/b/one cannot be read: {text}"
    assert found.value.__cause__ is (error if kind is StoreError else None)
    if isinstance(found.value, DamageError):
        assert (found.value.path, found.value.index) == ("a/b/one", (2, 1))


def test_an_error_that_is_neither_s_is_raised_as_it_is(store: RenderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    class OddError(Exception):
        pass

    def fails(*given: Any) -> Any:
        raise OddError

    for call in (lambda: store.has("a/b/one"), lambda: store._values("a/b/one", (0,))):
        with monkeypatch.context() as patch:
            store._array("a/b/one", True)
            patch.setattr(zarr.Group, "__getitem__", fails)
            patch.setattr(zarr.Array, "__getitem__", fails)
            with pytest.raises(OddError):
                call()


def test_lists_of_indices_are_read_across_and_chunks_that_are_missing_only_where_that_is_allowed(
    store: RenderStore,
) -> None:
    store._array("a/b/one")[2] = np.arange(40).reshape(5, 8)
    found = store._values("a/b/one", (2, slice(0, 2), [7, 0, 4]))
    assert found.tolist() == [[7, 0, 4], [15, 8, 12]]
    assert (store._values("a/b/one", (0, 0, [1, 2]), strict=False) == 2).all()
    with pytest.raises(DamageError, match="chunk a/b/one/c/0/0/0 is missing") as error:
        store._values("a/b/one", (0, 0, slice(0, 2)))
    assert error.value.index == (0, 0)


def test_an_array_s_metadata_is_looked_at_once_for_reading_and_once_for_writing(
    store: RenderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    node = store._node
    monkeypatch.setattr(store, "_node", lambda path, strict=False: asked.append(strict) or node(path, strict))
    store._arrays.clear()
    found = [store._array("a/b/one", strict) for strict in (True, False, False, True)]
    assert asked == [True, False]
    assert found[0] is found[3]
    assert found[1] is found[2]


def test_what_lies_in_a_group_is_told_by_name(store: RenderStore) -> None:
    store._create("a/d", ONE)
    store._array("a/b/one")[1] = 1
    assert store._names("a") == ["b", "d", "zarr.json"]
    assert store._names("a/b/one/c") == ["1"]
    assert store._names("a/none") == []


def test_what_is_dropped_is_gone_and_made_anew(store: RenderStore) -> None:
    store._create("ab", ONE)
    store._array("a/b/one")[0] = 5
    store._drop("a/b")
    assert [store.has(path) for path in ("a", "a/b", "a/b/one", "ab")] == [True, False, False, True]
    with pytest.raises(DamageError, match="a/b/one is missing"):
        store._array("a/b/one")
    other = replace(ONE, shape=(1, 5, 8))
    store._create("a/b/one", other)
    assert store._array("a/b/one").shape == (1, 5, 8)
    assert store._array("ab").shape == (3, 5, 8)


# Told -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [OSError("x\ny"), ValueError("x"), KeyError("x"), TypeError("x"), RuntimeError("x"), FarError("x")]
)
def test_what_opening_a_store_meets_is_told_in_one_line(error: Exception) -> None:
    text = "'x'" if isinstance(error, KeyError) else "x"
    with pytest.raises(StoreError) as found, clearly("s.zarr", "cannot be opened"):
        raise error
    assert str(found.value) == f"store s.zarr: cannot be opened: {text}"
    with pytest.raises(ZeroDivisionError), clearly("s.zarr", "cannot be opened"):
        raise ZeroDivisionError


def test_which_errors_pass() -> None:
    passes = [OSError(), PermissionError(), MemoryError(), FarError()]
    assert [passing(error) for error in passes] == passes
    assert [passing(error) for error in (ValueError(), KeyError(), RuntimeError())] == [None] * 3


def test_a_store_that_is_opened_again_lets_through_what_the_first_did(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = Allowed()
    assert opened(url, allowed).allowed is allowed
    assert opened(url).allowed is not opened(url).allowed
    asked: list[str] = []
    monkeypatch.setattr(arrays.place, "connect", lambda where: asked.append(where) or "bucket")
    monkeypatch.setattr(arrays, "ObjectStore", lambda store: store)
    monkeypatch.setattr(arrays, "Gate", lambda store, allowed: (store, allowed))
    assert opened("s3://b/a", allowed) == ("bucket", allowed)
    assert asked == ["s3://b/a"]

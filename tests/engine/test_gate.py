"""What may come out of a store's place, to the byte, and what may go in."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from tiler.engine import gate
from tiler.engine.gate import Allowed, Gate, MissingChunkError
from tiler.engine.metadata import METADATA_BYTES

PLAIN = 1000
PROTOTYPE = default_buffer_prototype()


def _run(task: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(task)


def _holding(**files: bytes) -> tuple[Gate, MemoryStore]:
    store = MemoryStore()
    for key, value in files.items():
        _run(store.set(key.replace("__", "/"), PROTOTYPE.buffer.from_bytes(value)))
    return Gate(store, Allowed({"a": (PLAIN, False), "b": (PLAIN, True)})), store


def _got(at: Gate, key: str) -> bytes | None:
    found = _run(at.get(key, PROTOTYPE))
    return None if found is None else found.to_bytes()


@pytest.mark.parametrize(("size", "fine"), [(0, True), (PLAIN + 64, True), (PLAIN + 65, False), (10**6, False)])
def test_a_chunk_has_its_pixels_and_64_bytes(size: int, fine: bool) -> None:
    at, _ = _holding(a__c__0=bytes(size))
    if fine:
        assert _got(at, "a/c/0") == bytes(size)
        return
    with pytest.raises(ValueError, match="a/c/0 is larger than the 1064 bytes that it can have"):
        _got(at, "a/c/0")


@pytest.mark.parametrize(("size", "fine"), [(METADATA_BYTES, True), (METADATA_BYTES + 1, False)])
def test_metadata_has_its_bytes_and_no_more(monkeypatch: pytest.MonkeyPatch, size: int, fine: bool) -> None:
    looked = []
    monkeypatch.setattr(gate, "check_metadata", lambda data: looked.append(len(data)))
    at, store = _holding()
    _run(store.set("a/zarr.json", PROTOTYPE.buffer.from_bytes(bytes(size))))
    if fine:
        assert _got(at, "a/zarr.json") == bytes(size)
        assert looked == [size]
        return
    with pytest.raises(ValueError, match=f"larger than the {METADATA_BYTES} bytes"):
        _got(at, "a/zarr.json")


@pytest.mark.parametrize(
    ("head", "fine"),
    [
        (bytes(4) + PLAIN.to_bytes(4, "little") + bytes(8), True),
        (bytes(4) + (PLAIN + 1).to_bytes(4, "little") + bytes(8), False),
        (bytes(4) + PLAIN.to_bytes(4, "big") + bytes(8), False),
        (bytes(4) + PLAIN.to_bytes(4, "little") + bytes(7), False),
        (PLAIN.to_bytes(4, "little") + bytes(12), False),
    ],
)
def test_a_packed_chunk_says_what_it_unpacks_to(head: bytes, fine: bool) -> None:
    at, _ = _holding(a__c__0=head, b__c__0=head)
    assert _got(at, "a/c/0") == head  # not packed: whatever it is
    if fine:
        assert _got(at, "b/c/0") == head
        return
    with pytest.raises(ValueError, match="b/c/0 does not unpack to the 1000 bytes of a chunk"):
        _got(at, "b/c/0")


def test_nothing_else_is_seen() -> None:
    at, _ = _holding(zarr=b"{}", a__x=b"1", a__c__0=b"2")
    assert [_got(at, key) for key in ("zarr", "a/x", "zarr.jsonx", "c/zarr.json")] == [None] * 4
    with pytest.raises(KeyError):
        _got(at, "z/c/0")


def test_a_missing_chunk_is_an_error_to_the_strict() -> None:
    at, _ = _holding(a__c__0=b"2")
    for one in (at, at.strict()):
        assert _got(one, "a/c/0") == b"2"
        assert _got(one, "a/zarr.json") is None
    assert _got(at, "a/c/1") is None
    with pytest.raises(MissingChunkError, match="chunk a/c/1 is missing"):
        _got(at.strict(), "a/c/1")
    assert not at.supports_consolidated_metadata


def test_a_gate_to_another_place_lets_the_same_through() -> None:
    at, _ = _holding()
    store = MemoryStore()
    _run(store.set("a/c/0", PROTOTYPE.buffer.from_bytes(b"3")))
    for one, strict in ((at, False), (at.strict(), True)):
        again = one._with_store(store)
        assert again.allowed is at.allowed
        assert _got(again, "a/c/0") == b"3"
        if strict:
            with pytest.raises(MissingChunkError):
                _got(again, "a/c/1")
        else:
            assert _got(again, "a/c/1") is None


@pytest.mark.parametrize("way", ["set", "set_if_not_exists", "delete", "delete_dir"])
def test_who_may_not_write_changes_nothing(way: str) -> None:
    at, store = _holding(a__c__0=b"2")
    given = (PROTOTYPE.buffer.from_bytes(b"3"),) if way.startswith("set") else ()
    key = {"set_if_not_exists": "a/c/1", "delete_dir": "a"}.get(way, "a/c/0")

    def refused() -> None:
        raise PermissionError("taken over")

    at.allowed.may_write = refused
    with pytest.raises(PermissionError):
        _run(getattr(at, way)(key, *given))
    assert {key: value.to_bytes() for key, value in store._store_dict.items()} == {"a/c/0": b"2"}
    at.allowed.may_write = lambda: None
    _run(getattr(at, way)(key, *given))
    left = {key: value.to_bytes() for key, value in store._store_dict.items()}
    assert left == {"set": {"a/c/0": b"3"}, "set_if_not_exists": {"a/c/0": b"2", "a/c/1": b"3"}}.get(way, {})

"""What a lease asks of its server, and how it learns that it is another's; nothing here waits."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from obstore.exceptions import GenericError, NotSupportedError
from obstore.store import MemoryStore

from tiler.engine import lease, place
from tiler.engine.lease import Lease
from tiler.engine.place import LOCK_FILE
from tiler.errors import StoreError

URL = "s3://posters/job"
OTHER = json.dumps({"pid": 7, "host": "elsewhere", "since": "now", "id": "x"}).encode()


class Bucket:
    """heeds: whether conditions are heeded, refused as unknown, or not. tags: whether what is put has a version."""

    def __init__(self, heeds: bool | None = True, tags: bool = True) -> None:
        self.inner, self._heeds, self._tags = MemoryStore(), heeds, tags
        self.modes: list[Any] = []
        self.away = False

    def put(self, path: str, data: bytes, mode: Any = "overwrite") -> Any:
        assert path == LOCK_FILE
        self.modes.append(mode)
        if self.away:
            raise GenericError("timed out")
        if self._heeds is None and mode != "overwrite":
            raise NotSupportedError("no conditions here")
        found = self.inner.put(path, data, mode=mode if self._heeds else "overwrite")
        return {**found, "e_tag": found["e_tag"] if self._tags else None}

    def get(self, path: str) -> Any:
        return self.inner.get(path)

    def delete(self, path: str) -> None:
        self.inner.delete(path)

    @property
    def there(self) -> dict[str, Any] | None:
        try:
            found = json.loads(bytes(self.inner.get(LOCK_FILE).bytes()))
        except FileNotFoundError:
            return None
        assert isinstance(found, dict)
        return found


@pytest.fixture
def leased(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Lease, Bucket]]:
    """leased(options...): a lease of a bucket."""

    def make(**options: Any) -> tuple[Lease, Bucket]:
        bucket = Bucket(**options)
        monkeypatch.setattr(place, "connect", lambda url: bucket)
        return Lease(URL), bucket

    return make


def test_a_lease_is_put_where_nothing_is_and_renewed_over_itself(leased: Callable[..., tuple[Lease, Bucket]]) -> None:
    one, bucket = leased()
    assert one.notes == ()
    assert bucket.modes == ["create", "create", {"e_tag": '"0123456789abcdef0123456789abcdef"'}]
    first = bucket.there
    assert first is not None
    assert first["beat"] == 1
    assert len(first["id"]) == 32
    for beat in (2, 3):
        version = bucket.inner.head(LOCK_FILE)["e_tag"]
        one._renew()
        assert bucket.modes[-1] == {"e_tag": version}
        assert bucket.there == {**first, "beat": beat}
    one._release()
    assert bucket.there is None


@pytest.mark.parametrize("heeds", [False, None])
def test_where_conditions_mean_nothing_a_lease_is_read_before_it_is_renewed(
    leased: Callable[..., tuple[Lease, Bucket]], heeds: bool | None
) -> None:
    one, bucket = leased(heeds=heeds)
    [note] = one.notes
    assert note.startswith(f"store {URL}: this server heeds no conditions")
    bucket.modes.clear()
    one._renew()
    assert bucket.modes == ["overwrite"]
    assert bucket.there is not None
    bucket.inner.put(LOCK_FILE, OTHER)
    for _ in range(2):
        with pytest.raises(StoreError, match=rf"^store {URL}: in use by process 7 on elsewhere since now"):
            one._renew()
    assert bucket.modes == ["overwrite"], "what is another's is not written over"
    one._release()
    assert bucket.there == json.loads(OTHER)


def test_a_server_without_versions_heeds_no_conditions(leased: Callable[..., tuple[Lease, Bucket]]) -> None:
    assert leased(tags=False)[0].notes != ()


@pytest.mark.parametrize("taken", [OTHER, None])
@pytest.mark.parametrize("heeds", [True, False])
def test_a_lease_that_is_another_s_is_lost_for_good(
    leased: Callable[..., tuple[Lease, Bucket]], taken: bytes | None, heeds: bool
) -> None:
    """Also where that one has ended by now."""
    one, bucket = leased(heeds=heeds)
    bucket.inner.delete(LOCK_FILE)
    if taken:
        bucket.inner.put(LOCK_FILE, taken)
    bucket.modes.clear()
    holder = "process 7 on elsewhere since now" if taken else "another process"
    for _ in range(2):
        with pytest.raises(StoreError, match=f"in use by {holder}"):
            one.check() if one._lost else one._renew()
    assert len(bucket.modes) == heeds
    bucket.inner.put(LOCK_FILE, OTHER)
    one._release()
    assert bucket.there == json.loads(OTHER)


def test_a_lease_that_cannot_be_renewed_in_time_is_told_and_not_lost(
    leased: Callable[..., tuple[Lease, Bucket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, bucket = leased()
    bucket.away = True
    one.check()
    monkeypatch.setattr(lease, "EXPIRY", 0.0)
    with pytest.raises(StoreError, match=rf"{URL}.*cannot be reached: timed out"):
        one.check()
    one._release()
    assert bucket.there is not None, "it is not deleted by who may have lost it"
    bucket.away = False
    before = one._renewed
    one.check()
    assert one._renewed >= before
    assert one._lost == ""


def test_a_lease_is_renewed_at_each_beat_whatever_goes_wrong_until_it_ends_or_is_lost(
    leased: Callable[..., tuple[Lease, Bucket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = leased()
    waited, renewed = list[float](), list[bool]()

    class Ended:
        def wait(self, seconds: float) -> bool:
            waited.append(seconds)
            return len(waited) == 4

    def renew() -> None:
        renewed.append(one._turn.locked())
        raise GenericError("timed out")

    monkeypatch.setattr(one, "_renew", renew)
    one._keep(Ended())  # type: ignore[arg-type]
    assert (waited, renewed) == ([5.0] * 4, [True] * 3)
    assert not one._turn.locked()
    one._lost = "another"
    one._keep(pytest.fail)  # type: ignore[arg-type]
    assert (lease.BEAT, lease.EXPIRY) == (5, 20)


@pytest.mark.parametrize("fails", [False, True])
def test_a_lease_that_is_held_ends_with_its_block(
    leased: Callable[..., tuple[Lease, Bucket]], monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    _, bucket = leased()
    bucket.inner.delete(LOCK_FILE)
    done: list[Any] = []

    def keep(self: Lease, ended: threading.Event) -> None:
        done.append(threading.current_thread().daemon)
        ended.wait(30)
        done.append("kept")

    release = Lease._release
    monkeypatch.setattr(Lease, "_keep", keep)
    monkeypatch.setattr(Lease, "_release", lambda self: (done.append("released"), release(self)))
    try:
        with Lease.held(URL) as held:
            assert bucket.there is not None
            assert bucket.there["id"] == held._who["id"]
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert bucket.there is None
    assert done == [True, "kept", "released"]


def test_an_answer_that_was_lost_is_known_by_its_own_words(leased: Callable[..., tuple[Lease, Bucket]]) -> None:
    one, bucket = leased()
    stale = one._version
    one._renew()
    one._version = stale
    one._renew()
    assert one._version == bucket.inner.head(LOCK_FILE)["e_tag"]
    assert one._lost == ""
    assert one._is_ours()
    assert not one._is_ours("")
    assert not one._is_ours(OTHER.decode())

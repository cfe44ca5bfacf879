"""The right to write to a store that has no locks: a lease, an object that is renewed as long as its holder lives.

Nobody's clock is compared with another's. Who finds a lease takes it over only when it has not changed for EXPIRY
seconds. Every put says what it expects to find (If-None-Match, If-Match), so of two that try at once one is told, and
who comes back after an outage learns whether it is still the holder. Where a server takes no heed of conditions, the
lease is read before it is renewed, which leaves a gap as long as a request.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from tiler.engine import place
from tiler.engine.holder import identity, in_use
from tiler.engine.place import LOCK_FILE

# In seconds.
BEAT, EXPIRY = 5.0, 20.0


class Lease:
    """Held by this process. notes: what the user should know of how safe it is."""

    def __init__(self, url: str) -> None:
        self._url, self._store = url, place.connect(url)
        self._who, self._beat = identity(id=uuid.uuid4().hex), 0
        self._turn, self._lost = threading.Lock(), ""
        with place.remote_errors(url):
            self._conditional, self._version = True, _wait_for_expiry(self._store, url)
            self._put()
            self._conditional = self._heeds_conditions()
        self._renewed = time.monotonic()
        self.notes = () if self._conditional else (_UNCONDITIONAL.format(url),)

    @classmethod
    @contextlib.contextmanager
    def held(cls, url: str) -> Iterator[Lease]:
        """Raises StoreError when another process holds it, or the server cannot be reached."""
        lease, ended = cls(url), threading.Event()
        thread = threading.Thread(target=lease._keep, args=(ended,), daemon=True)
        thread.start()
        try:
            yield lease
        finally:
            ended.set()
            thread.join()
            lease._release()

    def check(self) -> None:
        """Raise StoreError when the lease is another's, or may be: it could not be renewed for too long. Cheap: to be
        called before every write."""
        if not self._lost and time.monotonic() - self._renewed < EXPIRY / 2:
            return
        with self._turn, place.remote_errors(self._url):
            self._renew()

    def _keep(self, ended: threading.Event) -> None:
        while not self._lost and not ended.wait(BEAT):
            with contextlib.suppress(Exception), self._turn:  # the next beat may get through
                self._renew()

    def _renew(self) -> None:
        if not self._lost:
            began = time.monotonic()
            if self._conditional or self._is_ours():
                self._put()
            else:
                self._lost = _read(self._store)[0] or "another process, which has ended"
        if self._lost:
            raise in_use(self._url, self._lost)
        self._renewed = began

    def _put(self) -> None:
        """Write the lease over what was last seen of it, `_version`; or find out who has it now."""
        from obstore.exceptions import AlreadyExistsError, NotSupportedError, PreconditionError

        self._beat += 1
        text = json.dumps({**self._who, "beat": self._beat}).encode()
        how: Any = ({"e_tag": self._version} if self._version else "create") if self._conditional else "overwrite"
        try:
            self._version = self._store.put(LOCK_FILE, text, mode=how)["e_tag"] or ""
        except (NotSupportedError, NotImplementedError):
            self._version = self._store.put(LOCK_FILE, text)["e_tag"] or ""
        except (AlreadyExistsError, PreconditionError, FileNotFoundError):
            # A put whose answer was lost is sent again, and finds itself.
            holder, version = _read(self._store)
            if not self._is_ours(holder):
                self._lost = holder or "another process, which has ended"
                raise in_use(self._url, self._lost) from None
            self._version = version

    def _is_ours(self, holder: str | None = None) -> bool:
        found = _read(self._store)[0] if holder is None else holder
        return f'"{self._who["id"]}"' in found

    def _heeds_conditions(self) -> bool:
        """Whether the server refuses what it should: some take the headers and do as they like."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        text = json.dumps({**self._who, "beat": self._beat}).encode()
        for how in ("create", {"e_tag": '"0123456789abcdef0123456789abcdef"'}):
            try:
                self._store.put(LOCK_FILE, text, mode=how)
            except (AlreadyExistsError, PreconditionError):
                continue
            except Exception:
                return False
            return False
        return bool(self._version)

    def _release(self) -> None:
        """Delete it if it is ours, right after a renewal: nobody takes over for EXPIRY seconds then."""
        with contextlib.suppress(Exception):  # it expires anyway
            self._renew()
            self._store.delete(LOCK_FILE)


_UNCONDITIONAL = (
    "store {}: this server heeds no conditions of a request (If-Match), so two renders that start in the same moment, "
    "or one that was cut off for a while, might both write"
)


def _wait_for_expiry(store: Any, url: str) -> str:
    """Return when nobody holds the lease: the version of what a dead holder left, "" for nothing. Raise StoreError when
    its holder shows to be alive."""
    (first, version), deadline = _read(store), time.monotonic() + EXPIRY
    while first and time.monotonic() < deadline:
        time.sleep(BEAT / 5)
        now, version = _read(store)
        if now and now != first:
            raise in_use(url, now)
        first = now
    return version


def _read(store: Any) -> tuple[str, str]:
    """(what it says, its version); both empty where there is none."""
    try:
        found = store.get(LOCK_FILE)
        version = found.meta["e_tag"] or ""
        return (bytes(found.bytes()).decode(errors="replace") if found.meta["size"] < 2**16 else "?"), version
    except FileNotFoundError:  # obstore's own is one
        return "", ""

"""A server on this machine, for as long as a block lasts. The only file that imports uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
import threading
import time
from collections.abc import Iterator

import psutil
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from tiler.errors import ConfigError
from tiler.studio.door import Door

LOOPBACK = "127.0.0.1"
_BACKLOG, _START_SECONDS, _LEAVE_SECONDS = 64, 15.0, 3.0
# Until who is connected has to have asked for something.
_ASK_SECONDS = 10.0


def _most_connections() -> int:
    """At once, strangers' without a token too: half of the files that the process may open; its workers need some."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return 2048
    return min(2048, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


class _Protocol(H11Protocol):
    """Does not wait for ever for who says nothing."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= _most_connections():
            transport.abort()
            return
        super().connection_made(transport)
        self.loop.call_later(_ASK_SECONDS, self._leave)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self.connections:
            super().connection_lost(error)

    def _leave(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


@contextlib.contextmanager
def served(app: ASGIApp, host: str = LOOPBACK, port: int = 0) -> Iterator[str]:
    """Serve `app`, behind a Door, in a thread; gives the address to open, with the token. port: 0 takes a free one.
    Raises ConfigError where nothing can listen there."""
    listening = _listen(host, port)
    with contextlib.closing(listening):
        port, token = listening.getsockname()[1], secrets.token_urlsafe(32)
        guarded = Door(app, token, _names(host, port), f"tiler-{port}")
        config = uvicorn.Config(
            guarded,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            http=_Protocol,
            backlog=_BACKLOG,
            log_level="error",
            loop="asyncio",
            timeout_keep_alive=30,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True, name="studio")
        thread.start()
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not server.started and thread.is_alive() and time.monotonic() < deadline:
                time.sleep(0.01)
            yield f"http://{_shown(host)}:{port}/?token={token}"
        finally:
            server.should_exit = True
            thread.join(_LEAVE_SECONDS)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        why = str(getattr(error, "strerror", None) or error).partition(" (while")[0]
        raise ConfigError(f"--host {host} --port {port}: nothing can listen there: {why}") from None


def is_loopback(host: str) -> bool:
    """Whether only this machine gets there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _names(host: str, port: int) -> frozenset[str]:
    """By which this server may be asked for. Where it listens for others, also this machine's own."""
    found = {LOOPBACK, "localhost", "[::1]", _shown(host)}
    if not is_loopback(host):
        families = {socket.AF_INET, socket.AF_INET6}
        own = [one.address for each in psutil.net_if_addrs().values() for one in each if one.family in families]
        found |= {_bracketed(one.partition("%")[0]) for one in own}
        found |= {socket.gethostname(), socket.getfqdn()}
    return frozenset(f"{name}:{port}".lower() for name in found) | (found if port == 80 else frozenset())


def _shown(host: str) -> str:
    """As it stands in an address: one that means all of them is no address to go to."""
    return LOOPBACK if host in ("0.0.0.0", "::") else _bracketed(host)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

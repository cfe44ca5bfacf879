"""How requests are answered: slow work in a few threads, with a queue that has an end; errors as one line."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from tiler.errors import TilerError

T = TypeVar("T")
PAGE = Path(__file__).parent / "page"
_THREADS, _WAITING = 2, 256
_BODY_BYTES = 2**20


class Told(JSONResponse):
    """JSON of whatever a folder holds: names that are no Unicode as escapes, numbers that are none as null."""

    def render(self, content: Any) -> bytes:
        try:
            text = json.dumps(content, allow_nan=False, separators=(",", ":"))
        except ValueError:
            finite = json.loads(json.dumps(content), parse_constant=lambda name: None)
            text = json.dumps(finite, separators=(",", ":"))
        return text.encode()


class Hands:
    """Threads for what reads pictures and stores. Who comes when too many wait already is told to come again."""

    def __init__(self, threads: int = _THREADS, waiting: int = _WAITING) -> None:
        self._threads, self._most = threads, threads + waiting
        self._limiter: anyio.CapacityLimiter | None = None
        self._inside = 0

    async def do(self, work: Callable[..., T], *arguments: Any) -> T:
        if self._inside >= self._most:
            raise HTTPException(503, "Too much is asked for at once; try again.", {"Retry-After": "1"})
        self._limiter = self._limiter or anyio.CapacityLimiter(self._threads)  # within the loop that it is for
        self._inside += 1
        try:
            return await anyio.to_thread.run_sync(work, *arguments, limiter=self._limiter)
        finally:
            self._inside -= 1


async def body_of(request: Request, most: int = _BODY_BYTES) -> bytes:
    """What was sent, held in memory. Raises HTTPException as soon as it is more than `most` bytes."""
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > most:
            raise HTTPException(413, f"More than {most} bytes.")
    return bytes(found)


async def said_in(request: Request, most: int = _BODY_BYTES) -> dict[str, Any]:
    """The JSON object that was sent. Raises HTTPException for anything else."""
    try:
        said = json.loads(await body_of(request, most), parse_constant=_refused)
        json.dumps(said, ensure_ascii=False).encode(errors="surrogateescape")  # else no Unicode, nor any file's name
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise HTTPException(400, "This is not what the page sends.")
    return said


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no number")


def page_of(name: str) -> str:
    """A file of `page/`, with what all pages begin with."""
    return (PAGE / "head.html").read_text("utf-8") + (PAGE / name).read_text("utf-8")


def download(path: Path) -> Response:
    """A file to be kept, whatever is in it."""
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


def application(page: str, routes: Sequence[BaseRoute]) -> Starlette:
    """page: see `page_of`; it is what `/` shows. Errors of tiler's are {"error": their line}."""

    async def front(request: Request) -> Response:
        return HTMLResponse(page_of(page))

    async def wrong(request: Request, error: Exception) -> Response:
        return Told({"error": str(error)}, 400)

    async def failed(request: Request, error: Exception) -> Response:
        """A disk that is full or read-only, a folder that was moved."""
        assert isinstance(error, OSError)
        name = Path(os.fsdecode(error.filename)).name if isinstance(error.filename, str | bytes) else "the folder"
        return Told({"error": f"{name}: {error.strerror or error}"}, 507 if error.errno == errno.ENOSPC else 409)

    async def left(request: Request, error: Exception) -> Response:
        return Response(status_code=400)  # nobody reads it

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return Told({"error": error.detail}, error.status_code, error.headers)

    files = Mount("/page", StaticFiles(directory=PAGE))
    handlers: dict[Any, Any] = {TilerError: wrong, HTTPException: refused, OSError: failed, ClientDisconnect: left}
    return Starlette(routes=[Route("/", front), files, *routes], exception_handlers=handlers)

"""Asks an application without a server."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp


@dataclass(frozen=True)
class Answer:
    """headers: names in small letters."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> Any:
        return json.loads(self.body)


def ask(app: ASGIApp, method: str, address: str, body: bytes = b"", **headers: str) -> Answer:
    """headers: `Sec_Fetch_Site` is Sec-Fetch-Site."""
    path, _, query = address.partition("?")
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": [(name.replace("_", "-").lower().encode(), one.encode()) for name, one in headers.items()],
        "root_path": "", "scheme": "http", "server": ("127.0.0.1", 9), "http_version": "1.1",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
    }  # fmt: skip
    sent: list[Any] = []
    to_come = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return to_come.pop(0) if to_come else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    start, *parts = sent
    found = {name.decode(): one.decode() for name, one in start["headers"]}
    return Answer(start["status"], found, b"".join(part.get("body", b"") for part in parts))


def post(app: ASGIApp, path: str, said: Any = None) -> Answer:
    return ask(app, "POST", path, json.dumps(said).encode())

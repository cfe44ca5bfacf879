"""Who may ask the server for something, and what a browser is told to do with the answer.

Loopback alone protects from nobody who shares the machine, nor from pages of others in the user's own browser. So:
the address that is printed holds a token, which is exchanged for a cookie that scripts cannot read and other sites
cannot send (as Jupyter does); the name by which the server is asked must be one of its own (DNS rebinding); what comes
from a page must come from ours; and a page runs what this server sends as a file, and nothing else.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' blob:", "connect-src 'self'",
        "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'",
        "trusted-types default",
    )
)  # fmt: skip
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_SAFE = ("GET", "HEAD")
_LONGEST_PATH = 2048


class Door:
    """Around an application. token: of the address that the user opens. hosts: what a request may call this server,
    HOST:PORT each. cookie: its name; browsers do not keep those of two ports apart."""

    def __init__(self, app: ASGIApp, token: str, hosts: Collection[str], cookie: str) -> None:
        self._app, self._token, self._hosts, self._cookie = app, token, hosts, cookie
        self._session = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"nobody asks for {scope['type']} here")

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer = self._refused(scope) or self._let_in(scope)
        await (answer or self._app)(scope, receive, guarded)

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if len(scope["path"]) > _LONGEST_PATH:
            return PlainTextResponse("Nothing here is called that.\n", 414)
        host, origin = headers.get("host", "").lower(), headers.get("origin")
        if host not in self._hosts:
            return PlainTextResponse("This server is not called that.\n", 421)
        if (origin is None and scope["method"] not in _SAFE) or origin not in (None, f"http://{host}"):
            return PlainTextResponse("Only this server's own pages may ask for that.\n", 403)
        site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode")
        if site not in ("none", "same-origin") and mode != "navigate":
            return PlainTextResponse("Only this server's own pages may ask for that.\n", 403)
        return None

    def _let_in(self, scope: Scope) -> Response | None:
        """None for whoever has the cookie; the cookie for whoever has the token; else what is missing."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if scope["method"] in _SAFE and any(_same(value, self._token) for value in given):
            rest = urlencode([pair for pair in query if pair[0] != "token"])
            # Never to what a browser takes for another server's name.
            answer = RedirectResponse("/" + scope["path"].lstrip("/\\") + (f"?{rest}" if rest else ""), 303)
            answer.set_cookie(self._cookie, self._session, httponly=True, samesite="strict", path="/")
            return answer
        cookies = cookie_parser(Headers(scope=scope).get("cookie", ""))  # whatever other servers' cookies are like
        if _same(cookies.get(self._cookie, ""), self._session):
            return None
        return PlainTextResponse("Open the address that tiler printed when it started: it holds the token.\n", 401)


def _same(given: str, wanted: str) -> bool:
    return secrets.compare_digest(given.encode(), wanted.encode())

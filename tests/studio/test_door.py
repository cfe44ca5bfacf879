"""Who gets in, and what a browser is told."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from tiler.errors import ConfigError, StoreError
from tiler.studio.answers import Hands, application, body_of
from tiler.studio.serve import _names, served

SECRET = b"only for who has the token"
BIG = 2**20


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    hands = Hands()

    async def secret(request: Any) -> Any:
        if request.method == "POST":
            await body_of(request)
        return JSONResponse(await hands.do(lambda: SECRET.decode()))

    async def wrong(request: Any) -> Any:
        raise StoreError("<b>gone</b>")

    async def broken(request: Any) -> Any:
        raise RuntimeError("/root/secret")

    routes = [Route("/secret", secret, methods=["GET", "POST"]), Route("/wrong", wrong), Route("/broken", broken)]
    with served(application("watch.html", routes)) as found:
        yield found


@pytest.fixture
def client(address: str, client_of: Callable[[str], Any]) -> Any:
    return client_of(address)


def test_the_token_is_exchanged_for_a_cookie(client: Any) -> None:
    status, headers, _ = client.ask("GET", "/page/watch.html?a=b&" + client.place.query)
    assert (status, headers["Location"]) == (303, "/page/watch.html?a=b")
    cookie, *manners = headers["Set-Cookie"].lower().split("; ")
    assert {"httponly", "samesite=strict", "path=/"} <= {*manners}
    assert client.place.query.removeprefix("token=").lower() not in cookie
    client.let_in()
    assert client.ask("GET", "/secret")[::2] == (200, b'"' + SECRET + b'"')


@pytest.mark.parametrize("path", ["/", "/secret", "/page/watch.js", "/?token=", "/?token=x", "/secret?token=%ff"])
def test_nobody_gets_in_without(client: Any, path: str) -> None:
    for cookie in ("", "tiler=x", f"tiler-{client.place.port}=x", '"\\', f"tiler-{client.place.port}="):
        client.cookie = cookie
        status, _, body = client.ask("GET", path)
        assert (status, SECRET in body) == (401, False)
        assert b"holds the token" in body


def test_a_token_leads_to_this_server_only(client: Any) -> None:
    for path in ("//elsewhere.example", "/\\elsewhere.example"):
        _, headers, _ = client.ask("GET", f"{path}?{client.place.query}")
        assert headers["Location"] == "/elsewhere.example"


@pytest.mark.parametrize(
    "host", ["elsewhere.example", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.elsewhere.example:{port}"]
)
def test_under_another_name_nothing_is_said(client: Any, host: str) -> None:
    client.let_in()
    status, _, body = client.ask("GET", "/secret", Host=host.format(port=client.place.port))
    assert (status, SECRET in body) == (421, False)
    assert client.ask("GET", "/secret", Host=f"LOCALHOST:{client.place.port}")[0] == 200


def test_pages_of_others_are_refused(client: Any) -> None:
    client.let_in()
    for origin in ("http://elsewhere.example", "null", client.origin.replace("http", "https"), client.origin + "0"):
        for method in ("GET", "POST"):
            assert client.ask(method, "/secret", b"" if method == "POST" else None, Origin=origin)[0] == 403
    assert client.ask("POST", "/secret", b"")[0] == 403  # no page of ours asks without
    assert client.ask("POST", "/secret", b"", Origin=client.origin)[0] == 200
    for site in ("cross-site", "same-site"):
        assert client.ask("GET", "/secret", Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors")[0] == 403
    assert client.ask("GET", "/secret", Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="cors")[0] == 200


@pytest.mark.parametrize("path", ["/", "/secret", "/wrong", "/broken", "/nowhere", "/page/look.css", "/?token=x"])
def test_every_answer_says_what_a_page_may_do(client: Any, path: str) -> None:
    if "token" not in path:
        client.let_in()
    status, headers, body = client.ask("GET", path)
    policy = headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} <= {*policy}
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
    assert "Access-Control-Allow-Origin" not in headers
    assert b"/root" not in body
    if path == "/wrong":
        assert (status, body) == (400, b'{"error":"<b>gone</b>"}')
        assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "path", ["/page/../door.py", "/page/%2e%2e/door.py", "/page/..%2fdoor.py", "/page//etc/passwd"]
)
def test_only_the_page_s_own_files_are_served(client: Any, path: str) -> None:
    client.let_in()
    assert client.ask("GET", path)[0] == 404


def test_what_is_sent_has_an_end(client: Any) -> None:
    client.let_in()
    assert client.ask("POST", "/secret", b"x" * BIG, Origin=client.origin)[0] == 200
    try:
        status = client.ask("POST", "/secret", b"x" * (BIG + 1), Origin=client.origin)[0]
    except ConnectionError:
        status = 413
    assert status == 413


def test_a_thousand_at_once_are_answered(client: Any) -> None:
    statuses = client.let_in().flooded("/secret", 1000)
    assert {*statuses} <= {b"200", b"503"}
    assert statuses.count(b"200") > 100
    assert client.ask("GET", "/secret")[0] == 200


def test_it_listens_on_this_machine_only_unless_told(address: str) -> None:
    assert address.startswith("http://127.0.0.1:")
    others = {one[4][0] for one in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for other in others:
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((other, int(address.split(":")[2].split("/")[0])), 2).close()
    assert _names("127.0.0.1", 9) == {"127.0.0.1:9", "localhost:9", "[::1]:9"}
    assert f"{socket.gethostname()}:9".lower() in _names("0.0.0.0", 9)


def test_where_nothing_can_listen_is_one_line(address: str) -> None:
    taken = int(address.split(":")[2].split("/")[0])
    for host, port in (("203.0.113.1", 0), ("127.0.0.1", taken)):
        with (
            pytest.raises(ConfigError, match=f"--host {host} --port {port}: nothing can listen there: [A-Z]"),
            served(application("watch.html", []), host, port),
        ):
            pass


def test_a_queue_has_an_end() -> None:
    hands, go_on = Hands(threads=1, waiting=1), threading.Event()

    async def asked() -> list[Any]:
        waiting = [asyncio.ensure_future(hands.do(go_on.wait, 9)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(HTTPException, match="503"):
            await hands.do(go_on.wait, 1)
        go_on.set()
        return await asyncio.gather(*waiting)

    assert asyncio.run(asked()) == [True, True]

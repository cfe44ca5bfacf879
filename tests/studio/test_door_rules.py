"""Who gets in, rule by rule, without a server; and by which names one is asked."""

from __future__ import annotations

import asyncio
import http.client
import socket
from http.cookies import SimpleCookie
from types import SimpleNamespace
from typing import Any

import pytest
from asking import Answer, ask, post
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tiler.errors import ConfigError
from tiler.studio import serve
from tiler.studio.answers import Hands, application, download, page_of, said_in
from tiler.studio.door import Door
from tiler.studio.serve import _names, _shown, is_loopback, served

HOST = "127.0.0.1:9"
HERE = f"http://{HOST}"
# What a browser asks a websocket with.
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
           "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}  # fmt: skip


async def _inside(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("inside", headers={"X-Own": "1"})(scope, receive, send)


@pytest.fixture
def door() -> Door:
    return Door(_inside, "t0ken", {HOST, "other:9"}, "tiler-9")


@pytest.fixture
def cookie(door: Door) -> str:
    return ask(door, "GET", "/?token=t0ken", Host=HOST).headers["set-cookie"].partition(";")[0]


@pytest.mark.parametrize(
    ("address", "to"),
    [
        ("/?token=t0ken", "/"),
        ("/a/b?token=t0ken", "/a/b"),
        ("/a?x=&token=t0ken&y=2", "/a?x=&y=2"),
        ("/a?token=wrong&token=t0ken", "/a"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_has_the_token_is_sent_on_with_a_cookie(door: Door, address: str, to: str, method: str) -> None:
    answer = ask(door, method, address, Host=HOST)
    assert (answer.status, answer.headers["location"]) == (303, to)
    (found,) = SimpleCookie(answer.headers["set-cookie"]).values()
    assert (found.key, found["path"], found["samesite"].lower(), found["httponly"]) == ("tiler-9", "/", "strict", True)
    again = ask(door, "GET", "/", Host=HOST, Cookie=f"{found.key}={found.value}")
    assert (again.status, again.body) == (200, b"inside")


def test_a_token_is_taken_from_an_address_that_is_opened_only(door: Door, cookie: str) -> None:
    answer = ask(door, "POST", "/?token=t0ken", Host=HOST, Origin=HERE)
    assert answer.status == 401
    assert "set-cookie" not in answer.headers
    assert ask(door, "POST", "/?token=t0ken", Host=HOST, Origin=HERE, Cookie=cookie).body == b"inside"


def test_a_cookie_is_of_one_start_and_one_name(door: Door, cookie: str) -> None:
    other = Door(_inside, "t0ken", {HOST}, "tiler-9")
    assert ask(other, "GET", "/", Host=HOST, Cookie=cookie).status == 401
    assert ask(door, "GET", "/", Host=HOST, Cookie=cookie.replace("tiler-9", "tiler-8")).status == 401
    assert ask(door, "GET", "/", Host=HOST, Cookie=f"a=b; {cookie}").status == 200


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("HEAD", {}, 200),
        ("POST", {}, 403),
        ("DELETE", {}, 403),
        ("POST", {"Origin": HERE}, 200),
        ("GET", {"Origin": HERE}, 200),
        ("GET", {"Origin": "http://other:9"}, 403),
        ("GET", {"Origin": f"https://{HOST}"}, 403),
        ("GET", {"Host": "OTHER:9", "Origin": "http://other:9"}, 200),
        ("GET", {"Host": "else:9"}, 421),
        ("GET", {"Host": ""}, 421),
        ("GET", {"Sec_Fetch_Site": "none"}, 200),
        ("GET", {"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Mode": "cors"}, 200),
        ("GET", {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}, 200),
        ("GET", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("GET", {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors"}, 403),
    ],
)
def test_who_may_ask(door: Door, cookie: str, method: str, headers: dict[str, str], status: int) -> None:
    answer = ask(door, method, "/", **{"Host": HOST, "Cookie": cookie, **headers})
    assert (answer.status, answer.body == b"inside") == (status, status == 200)


def test_only_pages_are_asked_for(door: Door) -> None:
    with pytest.raises(RuntimeError, match="websocket"):
        asyncio.run(door({"type": "websocket"}, None, None))  # type: ignore[arg-type]


def test_an_answer_keeps_its_own_headers_and_is_not_kept_unless_it_says_so(door: Door, cookie: str) -> None:
    def headers(door: Door) -> dict[str, str]:
        return ask(door, "GET", "/", Host=HOST, Cookie=cookie).headers

    found = headers(door)
    assert (found["x-own"], found["cache-control"]) == ("1", "no-store")
    assert (found["cross-origin-opener-policy"], found["cross-origin-resource-policy"]) == ("same-origin",) * 2
    assert (found["x-frame-options"], found["referrer-policy"]) == ("DENY", "no-referrer")
    assert found["x-content-type-options"] == "nosniff"
    assert all(f"{one}=()" in found["permissions-policy"] for one in ("camera", "geolocation", "microphone"))
    policy = dict(one.partition(" ")[::2] for one in found["content-security-policy"].split("; "))
    assert policy == {
        **dict.fromkeys(("default-src", "base-uri", "form-action", "frame-ancestors"), "'none'"),
        **dict.fromkeys(("script-src", "style-src", "connect-src"), "'self'"), "img-src": "'self' blob:",
        "require-trusted-types-for": "'script'", "trusted-types": "default",
    }  # fmt: skip

    async def kept(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("x", headers={"Cache-Control": "private"})(scope, receive, send)

    door._app = kept
    assert headers(door)["cache-control"] == "private"


# Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "ours"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("10.1.1.1", False),
     ("0.0.0.0", False), ("::", False), ("localhost.example", False)],
)  # fmt: skip
def test_only_this_machine_gets_to_a_loopback(host: str, ours: bool) -> None:
    assert is_loopback(host) is ours


@pytest.mark.parametrize(
    ("host", "shown"),
    [("0.0.0.0", "127.0.0.1"), ("::", "127.0.0.1"), ("::1", "[::1]"), ("10.1.1.1", "10.1.1.1"), ("here", "here")],
)
def test_an_address_is_one_to_go_to(host: str, shown: str) -> None:
    assert _shown(host) == shown


def test_a_server_for_others_goes_by_all_of_this_machine_s_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def one(family: Any, address: str) -> Any:
        return SimpleNamespace(family=family, address=address)

    cards = {
        "lo": [one(socket.AF_INET, "127.0.0.1")],
        "eth0": [one(socket.AF_INET, "10.1.1.1"), one(socket.AF_INET6, "fe80::2%eth0"), one(-1, "00:11:22")],
    }
    monkeypatch.setattr(serve.psutil, "net_if_addrs", lambda: cards)
    monkeypatch.setattr(serve.socket, "gethostname", lambda: "Maps")
    monkeypatch.setattr(serve.socket, "getfqdn", lambda: "maps.example")
    ours = {"127.0.0.1", "localhost", "[::1]"}
    others = {"10.1.1.1", "[fe80::2]", "maps", "maps.example"}
    assert _names("0.0.0.0", 9) == {f"{name}:9" for name in ours | others}
    assert _names("10.9.9.9", 9) == {f"{name}:9" for name in ours | others | {"10.9.9.9"}}
    assert _names("127.0.0.1", 80) == {f"{name}:80" for name in ours} | ours
    assert _names("127.0.0.1", 81) == {f"{name}:81" for name in ours}


def test_a_server_ends_with_its_block() -> None:
    with served(_inside) as address:
        head, _, token = address.partition("/?token=")
        host, port = head.removeprefix("http://").split(":")
        assert (host, len(token) >= 32) == ("127.0.0.1", True)
        asking = http.client.HTTPConnection(host, int(port), timeout=20)
        asking.request("GET", "/", headers=UPGRADE)
        answer = asking.getresponse()
        assert (answer.status, answer.headers["server"]) == (401, None)
        assert b"holds the token" in answer.read()
        asking.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, int(port)), 2).close()


# Answers -------------------------------------------------------------------------------------------------------------


def test_who_is_done_makes_room() -> None:
    """Also who has failed; and what is asked for gets its words."""
    hands = Hands(threads=1, waiting=0)

    async def asked() -> list[Any]:
        with pytest.raises(ZeroDivisionError):
            await hands.do(divmod, 7, 0)
        return [await hands.do(divmod, 7, 2), await hands.do(divmod, 9, 4)]

    assert asyncio.run(asked()) == [(3, 1), (2, 1)]


def test_who_comes_when_too_many_wait_is_told_when_to_come_again() -> None:
    hands = Hands(threads=2, waiting=3)
    hands._inside = 5

    async def asked(request: Any) -> Any:
        await hands.do(divmod, 7, 2)

    answer = ask(application("watch.html", [Route("/x", asked)]), "GET", "/x")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "too much" in answer.said["error"].lower()
    assert hands._inside == 5


@pytest.mark.parametrize(
    ("body", "status"), [(b'{"a": "12"}', 200), (b'{"a": "123"}', 413), (b"[]", 400), (b"{", 400), (b"[" * 11, 400)]
)
def test_what_is_sent_is_an_object_of_some_bytes(body: bytes, status: int) -> None:
    async def heard(request: Any) -> Any:
        return PlainTextResponse(str(await said_in(request, 11)))

    answer = ask(application("watch.html", [Route("/x", heard, methods=["POST"])]), "POST", "/x", body)
    assert answer.status == status
    assert answer.body == b"{'a': '12'}" if status == 200 else answer.said["error"]


def test_an_application_shows_its_page_and_says_errors_in_a_line() -> None:
    async def wrong(request: Any) -> Any:
        raise ConfigError("seed = -1")

    async def gone(request: Any) -> Any:
        raise HTTPException(404, "There is no such picture.")

    app = application("studio.html", [Route("/wrong", wrong), Route("/gone", gone)])

    def asked(path: str) -> Answer:
        return ask(app, "GET", path)

    assert asked("/").body.decode() == page_of("studio.html")
    assert asked("/").headers["content-type"] == "text/html; charset=utf-8"
    assert (asked("/wrong").status, asked("/wrong").said) == (400, {"error": "seed = -1"})
    assert (asked("/gone").status, asked("/gone").said) == (404, {"error": "There is no such picture."})
    assert post(app, "/wrong").status == 405
    assert asked("/page/look.css").status == 200


def test_a_page_begins_as_all_pages_do() -> None:
    studio, watch = page_of("studio.html"), page_of("watch.html")
    assert studio != watch
    assert studio[:60] == watch[:60]
    assert studio.lower().startswith("<!doctype html>")
    assert "</html>" in watch or watch.strip().endswith(">")


def test_a_download_is_a_file_to_be_kept(tmp_path: Any) -> None:
    (tmp_path / "a.svg").write_bytes(b"<svg/>")
    answer = ask(download(tmp_path / "a.svg"), "GET", "/")
    assert (answer.headers["content-type"], answer.body) == ("application/octet-stream", b"<svg/>")
    assert answer.headers["content-disposition"] == 'attachment; filename="a.svg"'

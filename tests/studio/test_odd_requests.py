"""What nobody's page sends, what no folder should hold, disks that fail: one line each, and the next is answered."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from asking import Answer, ask
from PIL import Image
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tiler.errors import ConfigError
from tiler.studio import folder as of_folder
from tiler.studio import serve
from tiler.studio.answers import Told, application, said_in
from tiler.studio.controls import varied
from tiler.studio.door import Door
from tiler.studio.folder import Folder
from tiler.studio.serve import served

HOST = "127.0.0.1:9"


async def _inside(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("inside")(scope, receive, send)


@pytest.mark.parametrize("other", ['prefs={"a":1}', "a[b]=1", "path=/", "a b=1", 'x="abc', "=", ";;"])
def test_cookies_of_other_servers_lock_nobody_out(other: str) -> None:
    door = Door(_inside, "t0ken", {HOST}, "tiler-9")
    mine = ask(door, "GET", "/?token=t0ken", Host=HOST).headers["set-cookie"].partition(";")[0]
    for cookies in (f"{other}; {mine}", f"{mine}; {other}"):
        assert ask(door, "GET", "/", Host=HOST, Cookie=cookies).body == b"inside"
    assert ask(door, "GET", "/", Host=HOST, Cookie=other).status == 401


def test_no_address_is_so_long() -> None:
    door = Door(_inside, "t0ken", {HOST}, "tiler-9")
    assert ask(door, "GET", "/" + "9" * 5000, Host=HOST).status == 414


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ({"a": float("nan"), "b": [float("inf"), 1.5]}, {"a": None, "b": [None, 1.5]}),
        ({"name": "\udcff.png"}, {"name": "\udcff.png"}),
        ({"a": "ä"}, {"a": "ä"}),
    ],
)
def test_whatever_a_folder_holds_can_be_told(held: Any, told: Any) -> None:
    assert json.loads(Told(held).body) == told
    assert b"NaN" not in Told(held).body


@pytest.mark.parametrize("body", [b'{"x": NaN}', b'{"x": -Infinity}', b'{"x": "\\ud800"}', b'{"\\ud800": 1}'])
def test_what_is_sent_can_be_told_again(body: bytes) -> None:
    async def heard(request: Any) -> Any:
        return PlainTextResponse(str(await said_in(request)))

    app = application("watch.html", [Route("/x", heard, methods=["POST"])])
    assert ask(app, "POST", "/x", body).status == 400
    assert ask(app, "POST", "/x", b'{"name": "\\udcff.png"}').status == 200, "a file may be called so"


def test_a_disk_that_fails_is_one_line() -> None:
    errors = {
        "full": (OSError(errno.ENOSPC, "No space left on device", "/secret/place/a.png"), 507, "a.png: No space left"),
        "kept": (PermissionError(errno.EACCES, "Permission denied", b"/secret/b"), 409, "b: Permission denied"),
        "bare": (OSError("odd"), 409, "the folder: odd"),
    }

    def app(error: OSError) -> Any:
        async def wrong(request: Any) -> Any:
            raise error

        return application("watch.html", [Route("/x", wrong)])

    for error, status, words in errors.values():
        answer: Answer = ask(app(error), "GET", "/x")
        assert (answer.status, answer.said["error"].startswith(words)) == (status, True)
        assert "secret" not in answer.said["error"]


def test_uploads_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*places: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(of_folder.os, "link", link)
    held = Folder(tmp_path)
    for name in ("a.png", "a 2.png"):
        with held.arriving() as waiting:
            Image.new("RGB", (3, 4)).save(waiting, "PNG")
            assert held.keep(waiting, "a.png") == name
    assert Image.open(tmp_path / "a 2.png").size == (3, 4)


def test_what_a_killed_process_left_goes_after_a_day(tmp_path: Path) -> None:
    held = Folder(tmp_path)
    for name, age in (("old", 90_000), ("new", 80_000)):
        (held.own / f"{name}.upload").touch()
        os.utime(held.own / f"{name}.upload", (time.time() - age,) * 2)
    with held.arriving():
        pass
    assert [path.name for path in held.own.glob("*.upload")] == ["new.upload"]


def test_a_memory_that_is_none(tmp_path: Path) -> None:
    held = Folder(tmp_path)
    for text in ("[" * 100_000, '{"a": ' * 990 + "1" + "}" * 990):
        (held.own / "page.json").write_text(text)
        assert isinstance(held.remembered(), dict)
    (held.own / "page.json").unlink()
    (held.own / "page.json").mkdir()
    with pytest.raises(OSError, match="page"):
        held.remember({"a": "1"})
    assert not list(held.own.glob("*.upload"))


@pytest.mark.parametrize("name", ["weights", "workers", "output", "none"])
def test_only_options_of_the_page_are_varied(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}"):
        varied([[name, ["1", "2"]]])
    assert varied([["seed", ["1", "2"]]])[0].name == "seed"


# Connections ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(serve, "_ASK_SECONDS", 1.0)
    monkeypatch.setattr(serve, "_most_connections", lambda: 8)
    with served(application("watch.html", [])) as found:
        yield "127.0.0.1", int(found.split(":")[2].split("/")[0])


def test_who_says_nothing_is_let_go_and_keeps_nobody_out(address: tuple[str, int]) -> None:
    silent = [socket.create_connection(address, 20) for _ in range(20)]
    began = time.monotonic()
    for one in silent:
        one.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            assert one.recv(1) == b""
    assert time.monotonic() - began < 15
    asked = http.client.HTTPConnection(*address, timeout=20)
    asked.request("GET", "/")
    answer = asked.getresponse()
    assert (answer.status, b"token" in answer.read()) == (401, True)
    time.sleep(1.5)
    asked.request("GET", "/")  # who has asked for something is not one of these
    assert asked.getresponse().status == 401
    for one in silent:
        one.close()


def test_who_leaves_in_the_middle_is_no_error(address: tuple[str, int], capfd: pytest.CaptureFixture[str]) -> None:
    async def heard(request: Any) -> Any:
        return Told(await said_in(request))

    app = application("watch.html", [Route("/x", heard, methods=["POST"])])
    with served(app) as found:
        port, token = int(found.split(":")[2].split("/")[0]), found.partition("token=")[2]
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        client.request("GET", f"/?token={token}")
        cookie = (client.getresponse().getheader("set-cookie") or "").partition(";")[0]
        half = f"POST /x HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\nCookie: {cookie}\r\n"
        with socket.create_connection(("127.0.0.1", port), 20) as left:
            left.sendall(f"{half}Content-Length: 500\r\n\r\n{{".encode())
            time.sleep(0.3)
        time.sleep(0.5)
    assert "Traceback" not in capfd.readouterr().err

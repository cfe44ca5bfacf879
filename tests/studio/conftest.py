"""Servers in this process, and a real browser in front of them that may go nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from small_studios import WEIGHTS, Turn, opened, small
from starlette.applications import Starlette

from tiler.studio.controls import config_of
from tiler.studio.serve import served

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# OpenSeadragon's rule for the focus on phones, which the policy keeps out and nobody needs; a wish that was refused; a
# preview's picture that is gone when it is asked for, as a newer one is being made.
_HARMLESS = re.compile(
    r"Applying inline style violates|Failed to load resource.*(400|404.* at .*/api/run/\d+/\d+\.png)"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For one file of tests: as long as it is there, asyncio takes this thread for one that runs a loop."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


def _told(said: ConsoleMessage) -> str:
    return f"{said.text} at {said.location['url']}"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Whatever it complains of, or asks of another server, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    opened, wrong = context.new_page(), []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda said: said.type == "error" and wrong.append(_told(said)))
    opened.on("request", lambda asked: urlsplit(asked.url).hostname in (None, "127.0.0.1") or wrong.append(asked.url))
    opened.set_default_timeout(20_000)
    yield opened
    context.close()
    assert [text for text in wrong if not _HARMLESS.match(text)] == []


@contextlib.contextmanager
def shown(page: Page, app: Starlette) -> Iterator[None]:
    """The page of an application that is served meanwhile."""
    with served(app) as address:
        page.goto(address)
        assert "token" not in page.url
        yield
        page.goto("about:blank")


@pytest.fixture(scope="session")
def showing() -> Callable[..., contextlib.AbstractContextManager[None]]:
    return shown


class Client:
    """Asks a server without a browser's manners. address: with the token."""

    def __init__(self, address: str) -> None:
        self.place = urlsplit(address)
        self.cookie = ""

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, bytes]:
        """(status, headers, body). headers: `Sec_Fetch_Site` is Sec-Fetch-Site."""
        connection = http.client.HTTPConnection(self.place.hostname or "", self.place.port, timeout=20)
        sent = {"Cookie": self.cookie, **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection.putrequest(method, path, skip_host="Host" in sent)
        if body is not None and "Content-Length" not in sent:
            sent["Content-Length"] = str(len(body))
        for name, value in sent.items():
            connection.putheader(name, value)
        try:
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def let_in(self) -> Client:
        _, headers, _ = self.ask("GET", "/?" + self.place.query)
        self.cookie = headers["Set-Cookie"].partition(";")[0]
        return self

    def flooded(self, path: str, times: int) -> list[bytes]:
        """The statuses of as many requests at once."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
        head = f"GET {path} HTTP/1.1\r\nHost: {self.place.netloc}\r\nCookie: {self.cookie}\r\nConnection: close\r\n\r\n"

        async def one() -> bytes:
            reader, writer = await asyncio.open_connection(self.place.hostname, self.place.port)
            writer.write(head.encode())
            answer = await reader.read()
            writer.close()
            return answer.split(b" ")[1]

        async def all_of_them() -> list[bytes]:
            return await asyncio.wait_for(asyncio.gather(*(one() for _ in range(times))), 60)

        try:
            return asyncio.run(all_of_them())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    @property
    def origin(self) -> str:
        return f"http://{self.place.netloc}"


@pytest.fixture(scope="session")
def client_of() -> Callable[[str], Client]:
    return Client


@pytest.fixture
def folder(tmp_path: Path, small_weights: str) -> Path:
    """content.png (a coast), style.png (coloured grain), and a small backbone's weights."""
    inside = tmp_path / "pictures"
    inside.mkdir()
    y, x = np.mgrid[0:90, 0:120]
    coast = np.where(((x + 9 * np.sin(y / 8)) > 60)[..., None], (120, 160, 210), (150, 190, 150)).astype(np.uint8)
    Image.fromarray(coast).save(inside / "content.png")
    grain = np.random.default_rng(5).integers(0, 255, (20, 26, 3), dtype=np.uint8)
    Image.fromarray(grain).resize((104, 80), Image.Resampling.BICUBIC).save(inside / "style.png")
    shutil.copy(small_weights, inside / WEIGHTS)
    return inside


@pytest.fixture
def small_studio(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """Opens an application in front of `folder`. Its backbone is small, and no process is started."""
    monkeypatch.setattr("tiler.studio.studio.config_of", lambda said: small(config_of(said), folder))
    monkeypatch.setattr("tiler.queue.queue.Child", Turn)
    monkeypatch.setattr("tiler.queue.runner._LIST_EVERY", 0.1)
    return partial(opened, folder)


@pytest.fixture
def studio(small_studio: Any) -> Iterator[Starlette]:
    with small_studio() as app:
        yield app


@pytest.fixture
def client(studio: Starlette, client_of: Callable[[str], Client]) -> Iterator[Client]:
    with served(studio) as address:
        yield client_of(address).let_in()

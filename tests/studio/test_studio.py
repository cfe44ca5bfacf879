"""The studio through its page, in a real browser; and what it does not do whoever asks."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from playwright.sync_api import Page, expect
from serial_pool import Here

from tiler.errors import ConfigError
from tiler.request.config import RenderConfig
from tiler.studio.answers import application
from tiler.studio.controls import command, config_of, controls, several
from tiler.studio.folder import OWN, Folder, checked_name
from tiler.studio.previews import Previewer
from tiler.studio.serve import served
from tiler.studio.studio import Studio


@pytest.fixture
def studio(folder: Path, small_weights: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An application in front of `folder`. Its backbone is small, and no process is started."""
    monkeypatch.setattr("tiler.studio.studio.config_of", lambda said: _small(config_of(said), small_weights))
    held = Folder(folder, most=2**20)
    with Previewer(held, Here) as previewer:  # type: ignore[arg-type]
        yield application("studio.html", Studio(held, previewer).routes())


def _small(config: RenderConfig, weights: str) -> RenderConfig:
    small = dict(levels=2, steps=(1,), min_edge=16, long_edge=64, precision="fp32", threads=1, device="cpu")
    layers = dict(style_layers=("relu1_1", "relu2_1"), content_layers=("relu2_2",))
    # The weights lie elsewhere, where no page can point to.
    return _Trusted(**{**dataclasses.asdict(dataclasses.replace(config, **small, **layers)), "weights": weights})


class _Trusted(RenderConfig):
    """Whose weights are not the page's."""

    def moved(self, change: Callable[..., str]) -> RenderConfig:
        return super().moved(lambda path, places: path if path == self.weights else change(path, places))


@pytest.fixture
def client(studio: Any, client_of: Callable[[str], Any]) -> Iterator[Any]:
    with served(studio) as address:
        yield client_of(address).let_in()


def _png(shade: int = 90) -> bytes:
    about = PngImagePlugin.PngInfo()
    about.add_text("Comment", "<script>alert(3)</script>")
    found = io.BytesIO()
    Image.new("RGB", (40, 30), (shade, 20, 30)).save(found, "PNG", pnginfo=about)
    return found.getvalue()


def _traces(folder: Path) -> dict[str, int]:
    found = (Path(above) / name for above, _, names in os.walk(folder) for name in names)
    return {str(one.relative_to(folder)): one.stat().st_mtime_ns for one in found}


def test_pictures_options_preview_and_sheet(studio: Any, folder: Path, page: Page, showing: Any) -> None:
    """As somebody would go: add a picture, choose two, see a preview, move a control and see another, make a sheet and
    take one of its pictures over."""
    page.on("dialog", lambda dialog: pytest.fail("a script ran"))
    name = "<img src=x onerror=alert(1)>.png"
    with showing(page, studio):
        page.locator("#chosen").set_input_files([{"name": name, "mimeType": "image/png", "buffer": _png()}])
        added = page.locator("#pictures li", has_text=name)
        expect(added).to_contain_text("40 × 30 px, 8 bits, rgb")
        assert page.locator("#pictures img").count() == 3
        page.locator("#pictures li", has_text="content.png").get_by_role("button", name="content").click()
        added.get_by_role("button", name="style").click()
        page.get_by_role("tab", name="Preview").click()
        first = _preview(page)
        assert first.shape == (48, 64, 3)
        field = page.locator("#option-content_weight")
        field.fill("-1")
        field.press("Tab")
        expect(page.locator("#status")).to_contain_text("content_weight = -1.0; allowed: 0 or more")
        page.locator("#option-keep_detail").check()
        field.fill("40")
        field.press("Tab")
        second = _preview(page, not_run=page.locator("#preview").get_attribute("data-run"))
        assert np.abs(second - first).mean() > 0.2
        page.keyboard.press("Escape")
        page.get_by_role("tab", name="Preview").focus()
        page.keyboard.press("ArrowRight")
        page.locator("#values-1").fill("0.1, 9")
        page.locator("#vary").get_by_role("button").click()
        expect(page.locator("#cells li[data-finished=true]")).to_have_count(2)
        page.get_by_role("button", name="content weight 9").click()
        expect(field).to_have_value("9")
        _preview(page, not_run=page.locator("#preview").get_attribute("data-run"))
        said = f"tiler render content.png '{name}' -o poster.png --content-weight=9 --keep-detail"
        expect(page.locator("#command")).to_have_text(said)
        page.set_viewport_size({"width": 390, "height": 800})
        assert (page.locator("#pages").bounding_box() or {"width": 0})["width"] <= 390
    with showing(page, studio):  # another time, on another port
        expect(page.locator("#option-content_weight")).to_have_value("9")
        expect(page.locator("#option-keep_detail")).to_be_checked()
        expect(page.get_by_role("button", name="✓ style")).to_have_count(1)
    assert {*_traces(folder)} >= {name, "content.png", "style.png"}
    assert {one.name for one in folder.parent.iterdir()} == {"pictures"}


def _preview(page: Page, not_run: str | None = None) -> np.ndarray:
    """The finished picture that is shown, of a run that is not this one."""
    other = f":not([data-run='{not_run}'])" if not_run else ""
    page.locator(f"#preview[data-finished=true][data-width='64']{other}").wait_for()
    found = page.request.get(page.url.split("#")[0].rstrip("/") + (page.locator("#preview").get_attribute("src") or ""))
    return np.asarray(Image.open(io.BytesIO(found.body())), int)


def test_what_is_asked_last_is_rendered(folder: Path, small_weights: str) -> None:
    """A change cancels what is rendered; what is there already is shown at once."""
    values = {"content": "content.png", "styles": ["style.png"]}
    held = Folder(folder)
    configs = [
        held.confined(_small(config_of({**values, "content_weight": str(weight)}), small_weights))
        for weight in (1, 2, 3)
    ]
    with Previewer(held, Here) as previewer:  # type: ignore[arg-type]
        numbers = [previewer.ask([("", config)], 64) for config in configs]
        told = _done(previewer)
        assert (told["run"], told["error"]) == (numbers[-1], "")
        assert told["cells"][0]["finished"]
        assert previewer.picture(numbers[0], 0) is None
        pixels = previewer.picture(numbers[-1], 0)
        again = previewer.ask([("", configs[-1])], 64)
        assert _done(previewer)["cells"][0]["version"] == 1
        assert previewer.picture(again, 0) == pixels
        (folder / "style.png").unlink()
        previewer.ask([("", configs[0])], 64)
        assert "style.png" in _done(previewer)["error"]
        assert str(folder) not in _done(previewer)["error"]


def _done(previewer: Previewer) -> dict[str, Any]:
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        told = previewer.told()
        if told["done"]:
            return told
        time.sleep(0.02)
    raise AssertionError(told)


OUTSIDE = (
    "../secret.png", "/etc/hostname", "link.png", "linked/secret.png", ".hidden.png", "~/x.png", "no\0.png",
    f"{OWN}/x.png", "pipe.png",
)  # fmt: skip
ODD_PATHS = (
    "../secret.png", "%2e%2e/secret.png", "..%2fsecret.png", "link.png", "linked/secret.png", "%2fetc%2fpasswd",
)  # fmt: skip
ODD_NAMES = (
    "%2e%2e%2fa.png", "..%5ca.png", ".a.png", "a%00.png", "a%0a.png", "a.html", "a", "a.png%20", "a%e2%80%ae.png",
)  # fmt: skip
NOT_A_PAGE_S = ("store", "scheduler", "workers", "output", "tiles", "weights", "checkpoint_seconds")


def test_nothing_outside_the_folder_is_read(client: Any, folder: Path) -> None:
    outside = folder.parent / "secret.png"
    outside.write_bytes(_png())
    (folder / "link.png").symlink_to(outside)
    (folder / "linked").symlink_to(folder.parent)
    (folder / ".hidden.png").write_bytes(_png())
    (folder / OWN).mkdir(exist_ok=True)
    (folder / OWN / "x.png").write_bytes(_png())
    os.mkfifo(folder / "pipe.png")
    held = Folder(folder)
    for name in OUTSIDE:
        with pytest.raises(ConfigError, match="no such picture in the studio's folder"):
            held.inside(name)
        two = {"content": "content.png", "styles": ["style.png"]}
        region = {"mask": [f"a={name}"], "region": ["a=style.png"]}
        for values in ({**two, "content": name}, {**two, "styles": [name]}, {**two, **region}):
            sent = json.dumps({"values": values}).encode()
            status, _, body = client.ask("POST", "/api/run", sent, Origin=client.origin)
            assert status == 400, (name, values)
            assert str(folder.parent) not in body.decode()
    for name in ODD_PATHS:
        assert client.ask("GET", f"/api/thumbnail/{name}")[0] in (400, 404)
    listed = json.loads(client.ask("GET", "/api/pictures")[2])
    assert listed["folder"] == "pictures"
    names = {one["name"]: one for one in listed["pictures"]}
    assert {*names} == {"content.png", "style.png", "link.png", "pipe.png"}
    assert "no such picture" in names["link.png"]["error"]


@pytest.mark.parametrize("option", NOT_A_PAGE_S)
def test_what_a_page_may_not_say(client: Any, option: str) -> None:
    values = {"content": "content.png", "styles": ["style.png"], option: "1"}
    status, _, body = client.ask("POST", "/api/run", json.dumps({"values": values}).encode(), Origin=client.origin)
    assert (status, json.loads(body)) == (400, {"error": f"{option}: a page cannot say that"})


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"values": 3}', b'{"values": {"content": 3}}', b'{"values": {"styles": "a"}}',
             b'{"values": {}, "edge": 99999}', b'{"values": {}, "vary": [["seed", []]]}', b'{"values": {}, "vary": 3}',
             b'{"values": {"keep_detail": "yes"}}', b"\xff"],
)  # fmt: skip
def test_what_is_no_wish_is_refused(client: Any, body: bytes) -> None:
    status, headers, said = client.ask("POST", "/api/run", body, Origin=client.origin)
    assert (status, headers["Content-Type"]) == (400, "application/json")
    assert len(json.loads(said)["error"].splitlines()) == 1


def test_an_upload_is_a_picture_or_nothing(client: Any, folder: Path) -> None:
    def put(name: str, body: bytes, **headers: str) -> int:
        with contextlib.suppress(ConnectionError):
            return client.ask("PUT", f"/api/pictures/{name}", body, Origin=client.origin, **headers)[0]
        return 413

    before = _traces(folder.parent)
    assert put("big.png", b"x" * (2**20 + 1)) == 413
    assert put("big.png", b"x", Content_Length=str(2**40)) == 413
    for name in ODD_NAMES:
        assert put(name, _png()) in (400, 404), name
    for content in (b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", _png()[:60], b"MZ" + bytes(99)):
        assert put("a.png", content) == 400
    assert client.ask("PUT", "/api/pictures/a.png", _png())[0] == 403
    assert _traces(folder.parent) == before
    assert put("a.png", _png(10)) == 201
    assert put("a.png", _png(20)) == 201  # which replaces nothing
    assert (folder / "a.png").read_bytes() == _png(10)
    assert (folder / "a 2.png").read_bytes() == _png(20)
    assert {*_traces(folder.parent)} - {*before} == {"pictures/a.png", "pictures/a 2.png"}
    with pytest.raises(ConfigError, match="cannot be a picture's name"):
        checked_name("x" * 300 + ".png")


def test_what_a_page_is_left_with_is_data(client: Any, folder: Path) -> None:
    def put(body: bytes) -> int:
        return client.ask("PUT", "/api/values", body, Origin=client.origin)[0]

    assert put(b'{"seed": "3"}') == 200
    assert client.ask("GET", "/api/values")[2] == b'{"seed":"3"}'
    for body in (b"", b"3", b"[" * 10**5, b"\xff"):
        assert put(body) == 400
    assert put(b'"' + b"x" * 2**18 + b'"') == 413
    memory = folder / OWN / "page.json"
    memory.unlink()
    memory.symlink_to(folder.parent / "secret.json")
    (folder.parent / "secret.json").write_text('{"a": "b"}')
    assert client.ask("GET", "/api/values")[2] == b"{}"
    assert put(b"{}") == 200
    assert (folder.parent / "secret.json").read_text() == '{"a": "b"}'


def test_a_studio_s_own_folder_is_no_link(folder: Path) -> None:
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (folder / OWN).symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="or a link"), Folder(folder).arriving():
        pass
    assert list(elsewhere.iterdir()) == []
    shutil.rmtree(elsewhere)


def test_previews_are_kept_and_removed_in_the_studio_s_own_folder_only(folder: Path) -> None:
    """Whoever sent the folder may have put anything into it, and the oldest previews make way."""
    place = folder / OWN / "previews"
    elsewhere = folder.parent / "elsewhere"
    (elsewhere / "old").mkdir(parents=True)
    for number in range(20):
        (elsewhere / f"{number:016x}").mkdir()
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(elsewhere)
    previewer = Previewer(Folder(folder), Here)
    with pytest.raises(ConfigError, match="previews: is no folder, or a link"):
        previewer._place(RenderConfig(content="c.png", styles=("s.png",), output="p.png"), 64)
    place.unlink()
    shutil.copytree(elsewhere, place)
    (place / ("f" * 16)).symlink_to(elsewhere)
    previewer._place(RenderConfig(content="c.png", styles=("s.png",), output="p.png"), 64)
    assert len(list(elsewhere.iterdir())) == 21
    assert {"old", "f" * 16} < {one.name for one in place.iterdir()}
    assert len(list(place.iterdir())) == 2 + 12
    shutil.rmtree(elsewhere)
    shutil.rmtree(place.parent)


def test_controls_are_the_options(folder: Path) -> None:
    """Names, ranges, help and defaults come from the fields; what a control says comes back as the option's value."""
    found = {one["name"]: one for one in controls()}
    assert {"content", "styles", "content_weight", "steps", "region", "labels", "wrap", "size"} <= {*found}
    assert {"at", "output", "workers"}.isdisjoint(found)
    weight = found["content_weight"]
    assert (weight["kind"], weight["low"], weight["default"], weight["group"]) == ("number", 0, 0.3, "Look")
    assert weight["reach"] == (0.3 / 32, 0.3 * 32, True)
    assert (found["region_edge"]["reach"], found["keep_detail"]["kind"]) == ((0, 100, False), "flag")
    assert [found[name]["kind"] for name in ("wrap", "style_layers", "region")] == ["choice", "text", "lines"]
    said = {"content": "c.png", "styles": ["a.png", "b.png"], "steps": "5,4", "keep_detail": True, "wrap": "x",
            "style_layer_weights": ["1,0,0,0,0", "1,1,1,1,1"], "seed": ""}  # fmt: skip
    config = config_of(said)
    assert (config.styles, config.steps, config.keep_detail) == (("a.png", "b.png"), (5, 4), True)
    assert config.style_layer_weights == ((1, 0, 0, 0, 0), (1, 1, 1, 1, 1))
    assert json.dumps(controls())
    words = shlex.split(command({**said, "content": "-c d.png", "wrap": "", "keep_detail": False}))
    assert words[:5] == ["tiler", "render", "./-c d.png", "a.png", "b.png"]
    layers = ["--style-layer-weights=1,0,0,0,0", "--style-layer-weights=1,1,1,1,1"]
    assert words[5:] == ["-o", "poster.png", "--steps=5,4", *layers]
    cells = several({"seed": "1"}, [["content_weight", ["1", "2"]], ["keep_detail", [True, False]]])
    assert [caption.split(", ")[1] for caption, _ in cells] == ["keep detail True", "keep detail False"] * 2
    with pytest.raises(ConfigError, match="49 previews; allowed: up to 36"):
        several({}, [["seed", [str(n) for n in range(7)]], ["steps", [str(n) for n in range(7)]]])

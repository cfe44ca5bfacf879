"""As somebody would go, through the page in a real browser: from two pictures to a poster, and a part of it anew.

    TILER_SCREENSHOTS=docs/how-to/studio python -m pytest -n 0 tests/studio/test_whole_way.py

takes the manual's pictures on the way: with the demo's pictures and the real backbone then, in some minutes.
"""

from __future__ import annotations

import base64
import io
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from playwright.sync_api import Page, expect
from serial_pool import Here, render_module
from small_studios import Turn, small

from tiler.cli import demo
from tiler.request.config import RenderConfig
from tiler.studio.controls import config_of

SHOTS = os.environ.get("TILER_SCREENSHOTS")
DEMO = SHOTS and not os.environ.get("TILER_SCREENSHOTS_PHONE")
HIGHER = "0.6" if DEMO else "9"
ODD = "<img src=x onerror=alert(1)>.png"
LARGE: dict[str, Any] = dict(steps=(24, 10), min_edge=112, long_edge=224, tile=112, threads=1, precision="bf16")


class Gate:
    """Lets a render go on by so many tiles."""

    def __init__(self) -> None:
        self._let, self.open = threading.Semaphore(0), False

    def __call__(self, event: dict[str, Any], over: threading.Event) -> None:
        while event["event"] == "tile" and not (self.open or over.is_set()):
            if self._let.acquire(timeout=0.05):
                return

    def go_on(self, tiles: int) -> None:
        for _ in range(tiles):
            self._let.release()

    def end(self) -> None:
        self.open = True


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    found = Gate()
    monkeypatch.setattr(Turn, "pace", staticmethod(found))
    monkeypatch.setattr("tiler.studio.watching._SHARE", 1e9)
    yield found
    found.end()


@pytest.fixture
def wish(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], RenderConfig]:
    """What a page says, as it is rendered here."""
    if DEMO:
        demo.cut(demo.STYLE_FILE, demo.STYLE_CORNER, folder / "style.png", demo.STYLE_EDGE)
        demo.cut(demo.CONTENT_FILE, demo.CONTENT_CORNER, folder / "content.png", demo.CONTENT_EDGE)
        found = lambda said: replace(config_of(said), **LARGE)  # noqa: E731
    else:
        found = lambda said: small(config_of(said), folder)  # noqa: E731
    monkeypatch.setattr("tiler.studio.studio.config_of", found)
    return found


def _png(shade: int = 90) -> bytes:
    about = PngImagePlugin.PngInfo()
    about.add_text("Comment", "<script>alert(3)</script>")
    found = io.BytesIO()
    Image.new("RGB", (40, 30), (shade, 20, 30)).save(found, "PNG", pnginfo=about)
    return found.getvalue()


def _shot(page: Page, name: str) -> None:
    if SHOTS:
        place = Path(SHOTS)
        place.mkdir(parents=True, exist_ok=True)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            data = page.screenshot()
            small = Image.open(io.BytesIO(data)).convert("RGB").resize((960, 540), Image.Resampling.LANCZOS)
            small.save(place / f"{name}-{scheme}.jpg", quality=72, optimize=True)
            if os.environ.get("TILER_SCREENSHOTS_PHONE"):
                page.set_viewport_size({"width": 390, "height": 800})
                page.screenshot(path=str(place / f"{name}-phone-{scheme}.png"))
                page.set_viewport_size({"width": 1280, "height": 720})
        page.emulate_media(color_scheme="light")


def test_from_two_pictures_to_a_poster(
    small_studio: Any, wish: Any, gate: Gate, folder: Path, page: Page, showing: Any, tmp_path: Path
) -> None:
    page.on("dialog", lambda dialog: pytest.fail("a script ran"))
    page.set_default_timeout(600_000 if DEMO else 30_000)
    expect.set_options(timeout=600_000 if DEMO else 30_000)
    with small_studio() as app, showing(page, app):
        _choose(page)
        weight = page.locator("#option-content_weight")
        _preview_and_change(page, weight)
        _sheet(page, weight)
        _proof(page)
        _plan(page)
        _add_and_stop(page, gate, folder)
        values = page.request.get(_address(page, "/api/values")).json()
    gate.end()
    with small_studio() as app, showing(page, app):  # another time, on another port
        expect(page.locator("#option-content_weight")).to_have_value(HIGHER)
        expect(page.get_by_role("button", name="✓ style")).to_have_count(1)
        expect(page.locator("#price")).to_have_value("2.5")
        poster = _resume_and_download(page)
        assert DEMO or poster == _rendered(wish, values, folder, tmp_path / "alone.png")
        _retouch(page, poster)
    assert {one.name for one in folder.parent.iterdir()} - {"alone.png", "alone.zarr"} == {"pictures"}


def test_regions_are_found_and_taken_away_again(
    small_studio: Any, wish: Any, folder: Path, page: Page, showing: Any
) -> None:
    """They are files in the folder, and options like any other, also another time."""
    regions, label = page.locator("#regions"), page.locator("#option-label")
    style = page.locator("#pictures li", has_text="style.png").first
    with small_studio() as app, showing(page, app):
        page.locator("#pictures li", has_text="content.png").get_by_role("button", name="content").click()
        style.get_by_role("button", name="style").click()
        page.get_by_role("tab", name="Preview").click()
        first = _preview(page)
        regions.select_option("2")
        second = _preview(page, not_run=page.locator("#preview").get_attribute("data-run"))
        assert np.abs(second - first).mean() > 0.2
        lines = label.input_value().splitlines()
        assert [line.partition("=")[2] for line in lines] == ["style.png", "style.png"]
        labels = np.asarray(Image.open(folder / "content-labels.png"))
        found = {f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in labels.reshape(-1, 3).tolist()}
        assert found == {line.partition("=")[0] for line in lines}
    with small_studio() as app, showing(page, app):
        page.get_by_role("tab", name="Preview").click()
        expect(regions).to_have_value("2")
        assert np.array_equal(_preview(page), second)
        regions.select_option("1")
        again = _preview(page, not_run=page.locator("#preview").get_attribute("data-run"))
        assert np.array_equal(again, first)
        expect(label).to_have_value("")
        page.get_by_role("tab", name="Pictures").click()
        expect(style.get_by_role("button", name="✓ style")).to_have_count(1)


LATE = """const plain = fetch; window.fetch = async (address, options = {}) => {
    const answer = await plain(address, options);
    if (address === "%s" && !options.method) await new Promise(wake => setTimeout(wake, 700));
    return answer;
};"""


@pytest.mark.parametrize("late", ["/api/controls", "/api/values", "/api/pictures", "/api/errand/proof"])
def test_what_is_clicked_while_the_page_opens_is_done(small_studio: Any, page: Page, showing: Any, late: str) -> None:
    page.add_init_script(LATE % late)
    with small_studio() as app, showing(page, app):
        page.locator("#pictures li", has_text="content.png").get_by_role("button", name="content").click()
        page.locator("#pictures li", has_text="style.png").first.get_by_role("button", name="style").click()
        page.get_by_role("tab", name="Preview").click()
        page.locator("#preview[data-finished=true]").wait_for()


def _choose(page: Page) -> None:
    drop = "([name, data]) => { const held = new DataTransfer(), bytes = Uint8Array.from(atob(data), one => one.charCodeAt(0)); held.items.add(new File([bytes], name)); return held; }"  # noqa: E501
    held = page.evaluate_handle(drop, [ODD, base64.b64encode(_png()).decode()])
    page.locator("#pictures").dispatch_event("drop", {"dataTransfer": held})
    expect(page.locator("#pictures li", has_text=ODD)).to_contain_text("40 × 30 px, 8 bits, rgb")
    page.locator("#chosen").set_input_files([{"name": "b.png", "mimeType": "image/png", "buffer": _png(9)}])
    expect(page.locator("#pictures img")).to_have_count(4)
    page.locator("#pictures li", has_text="content.png").get_by_role("button", name="content").click()
    page.locator("#pictures li", has_text="style.png" if DEMO else ODD).get_by_role("button", name="style").click()
    _shot(page, "pictures")


def _preview_and_change(page: Page, weight: Any) -> None:
    page.get_by_role("tab", name="Preview").click()
    first = _preview(page)
    weight.fill("-1")
    weight.press("Tab")
    expect(page.locator("#status")).to_contain_text("content_weight = -1.0; allowed: 0 or more")
    page.locator("#option-keep_detail").check()
    weight.fill("40")
    weight.press("Tab")
    second = _preview(page, not_run=page.locator("#preview").get_attribute("data-run"))
    assert np.abs(second - first).mean() > 0.2
    page.locator("#option-keep_detail").uncheck()
    weight.fill("0.3")
    weight.press("Tab")
    _preview(page, not_run=page.locator("#preview").get_attribute("data-run"))
    _shot(page, "preview")


def _preview(page: Page, not_run: str | None = None) -> np.ndarray:
    """The finished picture that is shown, of a run that is not this one."""
    other = f":not([data-run='{not_run}'])" if not_run else ""
    page.locator(f"#preview[data-finished=true]{other}").wait_for()
    found = page.request.get(_address(page, page.locator("#preview").get_attribute("src") or ""))
    return np.asarray(Image.open(io.BytesIO(found.body())), int)


def _address(page: Page, path: str) -> str:
    return "/".join(page.url.split("/")[:3]) + path


def _sheet(page: Page, weight: Any) -> None:
    page.get_by_role("tab", name="Preview").focus()
    page.keyboard.press("ArrowRight")
    page.locator("#values-1").fill(f"0.1, {HIGHER}")
    page.locator("#vary").get_by_role("button").click()
    expect(page.locator("#cells li[data-finished=true]")).to_have_count(2)
    _shot(page, "sheet")
    with page.expect_download() as held:
        page.locator("#sheet-file").click()
    with Image.open(held.value.path()) as sheet:
        assert sheet.width > 2 * 90
    page.get_by_role("button", name=f"content weight {HIGHER}").click()
    expect(weight).to_have_value(HIGHER)
    _preview(page, not_run=page.locator("#preview").get_attribute("data-run"))


def _proof(page: Page) -> None:
    page.get_by_role("tab", name="Proof").click()
    page.locator("#proof-edge").select_option("256")
    page.locator("#spots").click(position={"x": 60, "y": 30})
    proof = page.locator("#proof[data-run]")
    proof.wait_for()
    assert proof.evaluate("async one => { await one.decode(); return [one.naturalWidth, one.naturalHeight]; }")[0] > 16
    expect(page.locator("#proof-words")).to_contain_text("this is the poster" if not DEMO else "proof: ")
    _shot(page, "proof")


def _plan(page: Page) -> None:
    page.get_by_role("tab", name="Poster").click()
    page.locator("#price").fill("2.5")
    page.get_by_role("button", name="Plan").click()
    for words in ("memory", "disk", "are free", "about", "at 2.5 an hour"):
        expect(page.locator("#planned")).to_contain_text(words)
    page.locator("#poster-name").fill("my map")


def _add_and_stop(page: Page, gate: Gate, folder: Path) -> None:
    page.get_by_role("button", name="Add to the queue").click()
    job = page.locator("#jobs li[data-name=my-map]")
    expect(job).to_contain_text("running")
    page.locator("#poster-name").fill("later")
    page.get_by_role("button", name="Add to the queue").click()
    later = page.locator("#jobs li[data-name=later]")
    expect(later).to_contain_text("waiting")
    later.get_by_role("button", name="Up").click()
    expect(page.locator("#jobs li").first).to_contain_text("later")
    later.get_by_role("button", name="Pause").click()
    expect(later).to_contain_text("paused")
    _shot(page, "poster")
    gate.go_on(3)
    job.get_by_role("link", name="Watch").click()
    page.locator("#viewer[data-shown]").wait_for()
    shown = page.locator("#viewer").get_attribute("data-shown")
    gate.go_on(4)
    page.locator(f"#viewer[data-shown]:not([data-shown='{shown}'])").wait_for()
    _seen(page)
    _shot(page, "watch")
    page.get_by_role("button", name="Keep what there is").click()
    with page.expect_download() as held:
        page.get_by_role("link", name="download my-map-so-far.png").click()
    with Image.open(held.value.path()) as kept:
        assert kept.width in ((112, 224) if DEMO else (48, 96))
    page.get_by_role("link", name="back to the studio").click()
    expect(job).to_contain_text("stopped")
    assert not (folder / "posters" / "my-map.png").exists()


def _seen(page: Page) -> None:
    """Waits until the viewer shows anything but grey."""
    for _ in range(150):
        shown = Image.open(io.BytesIO(page.locator("#viewer").screenshot())).convert("RGB")
        if np.asarray(shown, int).std() > 15:
            return
        page.wait_for_timeout(200)
    raise AssertionError("nothing was to be seen")


def _resume_and_download(page: Page) -> bytes:
    page.get_by_role("tab", name="Poster").click()
    job = page.locator("#jobs li[data-name=my-map]")
    expect(job).to_contain_text("stopped")
    job.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Start rendering").click()
    expect(job).to_contain_text("done")
    with page.expect_download() as held:
        job.get_by_role("link", name="Download", exact=True).click()
    assert held.value.suggested_filename == "my-map.png"
    return Path(held.value.path()).read_bytes()


def _rendered(wish: Any, values: dict[str, Any], folder: Path, output: Path) -> bytes:
    """What `tiler render` makes of the same."""
    values.pop("price_per_hour")
    config = wish(values).moved(lambda name, places: name if places.written else str(folder / name))
    render_module().render(replace(config, output=str(output)), pool=Here())
    return output.read_bytes()


def _retouch(page: Page, poster: bytes) -> None:
    page.locator("#jobs li[data-name=my-map]").get_by_role("button", name="Retouch").click()
    page.locator("#paint[data-name=my-map]").wait_for()
    page.locator("#touch-feather").fill("2")
    page.locator("#change-value-0").fill("20")
    box = page.locator("#paint").bounding_box() or {}
    x, y = box["x"] + box["width"] / 5, box["y"] + box["height"] / 5
    page.locator("#brush").fill("120")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + box["width"] / 5, y, steps=3)
    page.mouse.up()
    page.locator("#paint").press("ArrowRight")
    page.keyboard.press("Space")
    _shot(page, "retouch")
    page.get_by_role("button", name="Render the area").click()
    expect(page.locator("#retouch-progress")).to_have_text("finished: my-map-retouched")
    page.get_by_role("tab", name="Poster").click()
    made = page.locator("#jobs li[data-name=my-map-retouched]")
    with page.expect_download() as held:
        made.get_by_role("link", name="Download", exact=True).click()
    before, after = (
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int)
        for data in (poster, Path(held.value.path()).read_bytes())
    )
    differs = np.abs(before - after).max(2) > 0
    assert differs[: len(differs) // 2].any()
    assert not differs[len(differs) * 2 // 3 :].any()

"""What is done while an answer is on its way: the newest wish is the one that counts, and nothing is lost."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tiler.studio import previews

# Answers that come later, so many times: by what is asked, milliseconds before it is sent and after it was answered.
LATE = """window.late = {}; const plain = fetch; const rest = wait => new Promise(wake => setTimeout(wake, wait));
window.fetch = async (address, options = {}) => {
    const found = window.late[`${options.method || "GET"} ${address}`], [times, before, after] = found || [0, 0, 0];
    if (times > 0) found[0]--;
    if (times > 0 && before) await rest(before);
    const answer = await plain(address, options);
    if (times > 0 && after) await rest(after);
    return answer;
};"""


def late(page: Page, what: str, before: int = 0, after: int = 0) -> None:
    page.evaluate("([what, how]) => { window.late[what] = how; }", [what, [1, before, after]])


def choose(page: Page) -> None:
    page.locator("#pictures li", has_text="content.png").get_by_role("button", name="content").click()
    page.locator("#pictures li", has_text="style.png").first.get_by_role("button", name="style").click()


def told(page: Page, path: str) -> Any:
    return page.request.get("/".join(page.url.split("/")[:3]) + path).json()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preview takes half a second more."""
    render, rest = previews.preview, threading.Event()
    monkeypatch.setattr(previews, "preview", lambda *given, **more: (rest.wait(0.5), render(*given, **more))[1])


@pytest.fixture
def chosen(small_studio: Any, page: Page, showing: Any) -> Any:
    """A page with a content and a style, at its first preview."""
    page.add_init_script(LATE)
    with small_studio() as app, showing(page, app):
        choose(page)
        page.get_by_role("tab", name="Preview").click()
        page.locator("#preview[data-finished=true]").wait_for()
        yield page


def sheet(page: Page, values: str) -> None:
    page.get_by_role("tab", name="Sheet").click()
    page.locator("#values-1").fill(values)
    page.locator("#vary").get_by_role("button").click()


def test_a_sheet_is_not_cancelled_by_the_preview_of_the_change_before_it(chosen: Page) -> None:
    chosen.get_by_role("tab", name="Sheet").click()
    chosen.locator("#option-content_weight").fill("0.01")
    sheet(chosen, "0.1, 0.2")
    expect(chosen.locator("#cells li[data-finished=true]")).to_have_count(2, timeout=20_000)
    expect(chosen.locator("#sheet-progress")).to_have_text("2 of 2")


@pytest.mark.usefixtures("slow")
def test_a_second_sheet_has_its_own_captions(chosen: Page) -> None:
    sheet(chosen, "0.1, 0.2, 0.3")
    expect(chosen.locator("#cells li")).to_have_count(3)
    late(chosen, "POST /api/run", before=700)
    sheet(chosen, "7, 8")
    chosen.locator("#cells li[data-finished=true]", has_text="8").wait_for()
    assert chosen.locator("#cells li span").all_text_contents() == ["content weight 7", "content weight 8"]
    chosen.locator("#cells li button").first.click()
    expect(chosen.locator("#option-content_weight")).to_have_value("7")


def test_regions_are_not_put_on_another_content(chosen: Page, folder: Path) -> None:
    Image.open(folder / "content.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "other.png")
    chosen.reload()
    chosen.get_by_role("tab", name="Preview").click()
    expect(chosen.locator("#regions")).to_be_visible()
    late(chosen, "POST /api/regions", after=1200)
    chosen.locator("#regions").select_option("2")
    chosen.get_by_role("tab", name="Pictures").click()
    chosen.locator("#pictures li", has_text="other.png").get_by_role("button", name="content").click()
    expect(chosen.locator("#status")).to_contain_text("other pictures were chosen meanwhile", timeout=20_000)
    values = chosen.evaluate("studio.values")
    assert (values["content"], values["styles"], values.get("labels")) == ("other.png", ["style.png"], None)


def test_of_two_wishes_the_newer_is_rendered(chosen: Page) -> None:
    """Also where the older one arrives later."""
    weight = chosen.locator("#option-content_weight")
    late(chosen, "POST /api/run", before=900)
    for value in ("40", "0.5"):
        weight.fill(value)
        weight.press("Tab")
        chosen.wait_for_timeout(400)
    expect(chosen.locator("#command")).to_contain_text("--content-weight=0.5")
    run = chosen.evaluate("wanted")
    expect(chosen.locator("#preview")).to_have_attribute("data-run", str(run))
    chosen.wait_for_timeout(700)
    assert chosen.evaluate("wanted") == run == told(chosen, "/api/run")["run"]
    expect(chosen.locator("#command")).to_contain_text("--content-weight=0.5")


def test_a_page_does_not_show_what_another_window_asks_for(chosen: Page) -> None:
    shown = chosen.locator("#preview").get_attribute("data-run")
    body = {"values": {**chosen.evaluate("studio.values"), "content_weight": "0.01"}, "edge": 96, "vary": []}
    chosen.evaluate("body => fetch('/api/run', {method: 'POST', body: JSON.stringify(body)})", body)
    chosen.evaluate("look()")
    expect(chosen.locator("#progress")).to_contain_text("another window")
    assert chosen.locator("#preview").get_attribute("data-run") == shown


def test_the_last_change_is_kept_where_the_page_is_left_at_once(chosen: Page, folder: Path) -> None:
    chosen.evaluate("setValue('content_weight', '7'); location.href = 'about:blank'")
    chosen.wait_for_url("about:blank")
    for _ in range(50):
        if json.loads((folder / ".tiler-studio" / "page.json").read_text()).get("content_weight") == "7":
            return
        chosen.wait_for_timeout(100)
    raise AssertionError("it was lost")


def test_a_price_that_is_typed_while_the_page_opens_takes_nothing_away(chosen: Page, folder: Path) -> None:
    chosen.wait_for_timeout(300)  # what was chosen is saved after a moment
    chosen.add_init_script("window.late['GET /api/values'] = [1, 0, 900];")
    chosen.reload()
    chosen.get_by_role("tab", name="Poster").click()
    chosen.wait_for_timeout(300)
    chosen.locator("#price").fill("2.5")
    chosen.locator("#price").press("Tab")
    chosen.get_by_role("tab", name="Pictures").click()
    expect(chosen.get_by_role("button", name="✓ style")).to_have_count(1)
    chosen.wait_for_timeout(300)
    found = json.loads((folder / ".tiler-studio" / "page.json").read_text())
    assert (found["content"], found["styles"], found["price_per_hour"]) == ("content.png", ["style.png"], "2.5")


def test_a_double_click_adds_one_poster(chosen: Page) -> None:
    chosen.get_by_role("tab", name="Poster").click()
    chosen.locator("#poster-name").fill("map")
    chosen.get_by_role("button", name="Add to the queue").dblclick()
    expect(chosen.locator("#jobs li")).to_have_count(1)
    chosen.wait_for_timeout(700)
    assert [job["name"] for job in told(chosen, "/api/queue")["jobs"]] == ["map"]
    expect(chosen.locator("#status")).to_have_text("")

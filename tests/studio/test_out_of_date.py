"""What the studio's pages show fits what is chosen, or says that it does not any more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect


@pytest.fixture
def chosen(small_studio: Any, page: Page, showing: Any) -> Iterator[Page]:
    with small_studio() as app, showing(page, app):
        for picture, role in (("content.png", "content"), ("style.png", "style")):
            button = page.locator("#pictures li", has_text=picture).first.get_by_role("button", name=role)
            button.click()
            expect(button).to_be_focused()  # it is the same: who goes by the keyboard stays where they are
        yield page


def change(page: Page, value: str) -> None:
    page.locator("#option-content_weight").fill(value)
    page.locator("#option-content_weight").press("Tab")


def test_all_defaults_take_marks_off_the_pictures(chosen: Page) -> None:
    mask = chosen.locator("#pictures li", has_text="style.png").first.get_by_role("button", name="mask to protect")
    mask.click()
    expect(mask).to_have_attribute("aria-pressed", "true")
    expect(mask).to_have_text("✓ mask to protect")
    chosen.get_by_role("button", name="All defaults").click()
    expect(mask).to_have_attribute("aria-pressed", "false")
    expect(mask).to_have_text("mask to protect")
    assert chosen.evaluate("studio.values") == {"content": "content.png", "styles": ["style.png"]}


def test_a_plan_of_other_options_than_those_of_now_says_so(chosen: Page) -> None:
    chosen.get_by_role("tab", name="Poster").click()
    chosen.locator("#plan").click()
    planned = chosen.locator("#planned")
    expect(planned).to_be_visible(timeout=20_000)
    for make, undo in (
        (lambda: change(chosen, "7"), lambda: change(chosen, "")),
        (
            lambda: chosen.locator("#format").select_option(".tif"),
            lambda: chosen.locator("#format").select_option(".png"),
        ),
    ):
        expect(planned).to_have_attribute("data-old", "false")
        make()
        expect(planned).to_have_attribute("data-old", "true")
        undo()
    expect(planned).to_have_attribute("data-old", "false")


def test_a_proof_of_other_options_than_those_of_now_says_so(chosen: Page) -> None:
    """Also where they change while it is made."""
    chosen.get_by_role("tab", name="Proof").click()
    chosen.locator("#make-proof").click()
    change(chosen, "7")
    proofed = chosen.locator("#proofed")
    expect(proofed).to_have_attribute("data-old", "true", timeout=120_000)
    assert "have changed" in proofed.evaluate("found => getComputedStyle(found, '::before').content")
    change(chosen, "")
    expect(proofed).to_have_attribute("data-old", "false")


def test_a_plan_for_which_there_is_no_room_says_so(chosen: Page, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("tiler.planning.room.free_disk", lambda place: 1000)
    chosen.get_by_role("tab", name="Poster").click()
    chosen.locator("#plan").click()
    refused = chosen.locator("#planned dd", has_text="it would be refused: ")
    expect(refused).to_contain_text("more than are free", timeout=20_000)
    assert str(folder) not in str(refused.text_content())

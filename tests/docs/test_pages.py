"""Whoever copies the manual's commands, page by page and in their order, gets what they promise."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
from pages import DOCS, LANGUAGES, PAGES, blocks_of, commands
from PIL import Image
from reader import Reader, draw_inputs

import tiler

RUN = [page for page in PAGES if any(one.language in ("bash", "python") and not one.why_not for one in blocks_of(page))]
FIRST = "tutorial/first-poster.md"


def follow(page: str, reader: Reader) -> None:
    for block in blocks_of(page):
        if block.name:
            (reader.folder / block.name).write_text(block.text, encoding="utf-8")
        elif block.language == "bash" and not block.why_not:
            for line in commands(block.text):
                reader.command(line)
        elif block.language == "python" and not block.why_not:
            reader.python(block.text, page)


@pytest.mark.parametrize("page", [page for page in RUN if page != FIRST])
def test_a_page_can_be_followed(page: str, reader: Reader) -> None:
    draw_inputs(reader.folder)
    follow(page, reader)


def test_the_tutorial_can_be_followed_from_an_empty_folder(reader: Reader) -> None:
    """And leaves what the other pages go on with."""
    follow(FIRST, reader)
    for name, shape in {"map.png": (2048, 1536), "photo.png": (1024, 768), "poster.png": (512, 384)}.items():
        with Image.open(reader.folder / name) as picture:
            assert picture.size == shape
    assert (reader.folder / "browse" / "index.html").is_file()


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_of_a_kind_that_is_run_or_shown(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    found = blocks_of(page)
    assert 2 * len(found) == sum(line.startswith("```") for line in text.splitlines())
    assert text.count("<!-- not run:") == sum(bool(block.why_not) for block in found)
    assert {block.language for block in found} <= {*LANGUAGES}


def test_the_defaults_that_are_said_are_the_code_s() -> None:
    """In the table of the objective's terms."""
    text = (DOCS / "explanation" / "objective.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\|[^|]*\| `--([\w-]+)` \| ([\d.]+) \|", text, re.M))
    assert len(said) >= 6
    defaults = {item.name: item.default for item in fields(tiler.RenderConfig)}
    assert {name: float(value) for name, value in said.items()} == {
        name: defaults[name.replace("-", "_")] for name in said
    }
    assert re.search(r"`--statistics (\w+)`, the default", text)[1] == defaults["statistics"]

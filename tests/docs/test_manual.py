"""The manual builds without a warning, has all of the code's names, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pages import PAGES, ROOT

import tiler
from tiler.cli.commands import cli


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    # Not --quiet: what is not printed does not count as a warning either.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(ROOT / "mkdocs.yml")]
    settings = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # of the theme's, that it has a successor
    done = subprocess.run([*command, "-d", str(folder)], capture_output=True, text=True, timeout=200, env=settings)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


class _Loaded(HTMLParser):
    """What a browser fetches for a page, and ids that links may lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        leads = tag == "a" or (tag == "link" and said.get("rel") in ("canonical", "next", "prev"))
        self.addresses += [] if leads else [said[name] or "" for name in ("src", "href", "srcset") if name in said]


def test_every_page_is_there_and_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in PAGES:
        text = (site / page).with_suffix(".html").read_text(encoding="utf-8")
        loaded = _Loaded(text).addresses
        assert len(loaded) > 3
        assert not [one for one in loaded if re.match(r"(?:https?:)?//", one)], page
        assert 'class="mermaid"' not in text  # the theme would fetch what draws it
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_the_reference_has_every_command_option_and_public_name(site: Path) -> None:
    commands, options, names = (
        (site / "reference" / f"{page}.html").read_text(encoding="utf-8")
        for page in ("command-line", "options", "python")
    )
    for name in cli.commands:
        assert f"Usage: tiler {name} " in commands
    for item in fields(tiler.RenderConfig):
        assert f"<code>{item.name}</code>" in options
    for name in set(tiler.__all__) - {"__version__"}:
        assert f'id="{tiler._PLACES[name]}.{name}"' in names


def test_formulas_are_shown_without_a_script(site: Path) -> None:
    for page in ("objective", "tiles", "kernels"):
        text = (site / "explanation" / f"{page}.html").read_text(encoding="utf-8")
        assert "<math" in text
        assert "arithmatex" not in text
        assert "$$" not in text


def test_files_that_are_to_be_looked_in_are_there() -> None:
    """A name stands for a file of the folder named last, or for one beside the file named last."""
    missing, folder = [], ROOT
    for line in (ROOT / "docs/explanation/house.md").read_text(encoding="utf-8").splitlines():
        for name in re.findall(r"`([\w./]+(?:\.py|/))`", line):
            found = [place / name for place in (ROOT, ROOT / "tiler", folder) if (place / name).exists()]
            if not found:
                missing.append(name)
            else:
                folder = found[0] if found[0].is_dir() else found[0].parent
    assert missing == []

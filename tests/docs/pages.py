"""The manual's pages and the examples' notebooks as tests read them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
NOTEBOOKS = sorted(path.name for path in (ROOT / "examples").glob("*.ipynb"))

_FENCE = re.compile(r"(?:^<!-- not run: ([^\n]+) -->\n)?^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.M | re.S)
# What a block may be: commands and Python are run, a job file is written, text is only shown.
LANGUAGES = ("bash", "python", "toml", "text")


@dataclass(frozen=True)
class Block:
    """A fenced block. name: of the file to write it to. why_not: the reason for which it is not run."""

    language: str
    text: str
    name: str = ""
    why_not: str = ""


def blocks_of(page: str) -> list[Block]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return [Block(found[2], found[4], found[3] or "", found[1] or "") for found in _FENCE.finditer(text)]


def cells_of(notebook: str) -> list[dict[str, object]]:
    found = json.loads((ROOT / "examples" / notebook).read_text(encoding="utf-8"))
    assert (found["nbformat"], found["nbformat_minor"]) == (4, 5)
    return list(found["cells"])


def commands(text: str) -> list[str]:
    """The lines of a block of commands, those that a backslash continues joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [line for line in joined.splitlines() if line.strip()]

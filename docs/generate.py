"""What the manual takes from elsewhere: help, options and public names from the code, pictures from the gallery; and
formulas as MathML, which browsers show without a script. A hook of mkdocs (see mkdocs.yml)."""

from __future__ import annotations

import html
import re
import typing
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from itertools import groupby
from pathlib import Path
from typing import Any

import click
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import tiler
from tiler.cli.commands import cli
from tiler.pictures.outputs import FORMATS
from tiler.request.option import HERE, TYPED

_WIDTH = 100
_GALLERY = Path(__file__).parents[1] / "examples" / "gallery"
_WHO = {HERE: "not kept with the job", TYPED: "never from a file"}
_WORDS = {"str": "text", "int": "whole number", "float": "number", "bool": "yes or no"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The gallery's pictures are pictures/NAME of the manual."""
    for path in sorted(_GALLERY.glob("*.jpg")):
        files.append(File.generated(config, f"pictures/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **more: Any) -> str:
    """A line `<!-- generated: NAME -->` becomes what the code says."""
    return re.sub(r"^<!-- generated: (\w+) -->$", lambda found: _PARTS[found[1]](), markdown, flags=re.MULTILINE)


def on_page_content(content: str, **more: Any) -> str:
    """Formulas, as arithmatex marks them."""

    def mathml(found: re.Match[str]) -> str:
        display = "block" if found[1] == "div" else "inline"
        return convert(html.unescape(found[2])[2:-2].strip(), display=display)

    return re.sub(r'<(div|span) class="arithmatex">(.*?)</\1>', mathml, content, flags=re.DOTALL)


def _commands() -> str:
    return "\n".join(_command(name, command) for name, command in sorted(cli.commands.items()))


def _command(name: str, command: click.Command) -> str:
    context = click.Context(
        command, info_name=f"tiler {name}", terminal_width=_WIDTH, help_option_names=["-h", "--help"]
    )
    return f"## tiler {name}\n\n```text\n{command.get_help(context)}\n```\n"


def _options() -> str:
    known = [item for item in fields(tiler.RenderConfig) if item.metadata["group"]]
    hints = typing.get_type_hints(tiler.RenderConfig)
    text = ""
    for group, items in groupby(known, lambda item: item.metadata["group"]):
        rows = "\n".join(_row(item, hints[item.name]) for item in items)
        text += f"## {group}\n\n| field | what it is | values | default |\n|---|---|---|---|\n{rows}\n\n"
    return text


def _row(item: Field[Any], hint: Any) -> str:
    meta = item.metadata
    about = meta["help"] + (f" *({_WHO[meta['decided']]})*" if meta["decided"] in _WHO else "")
    cells = (
        f"`{item.name}`",
        html.escape(about, quote=False).replace("|", "&#124;"),
        _values(item, hint),
        _default(item),
    )
    return f"| {' | '.join(cells)} |"


def _values(item: Field[Any], hint: Any) -> str:
    meta = item.metadata
    if meta["choices"]:
        return ", ".join(f"`{one}`" for one in meta["choices"])
    kind = _kind(hint)
    low, high = (None if end is None else _number(end) for end in (meta["low"], meta["high"]))
    bounds = f" {low} to {high}" if high is not None else f" from {low}" if low is not None else ""
    shape = f" `{meta['metavar']}`" if meta["metavar"] and kind.startswith("text") else ""
    return kind + bounds + shape


def _number(end: float) -> str:
    return f"{int(end):,}" if end == int(end) and abs(end) < 1e12 else f"{end:.3g}"


def _kind(hint: Any) -> str:
    inner = [one for one in typing.get_args(hint) if one not in (type(None), ...)]
    if typing.get_origin(hint) is tuple:
        return _kind(inner[0]) + ("" if "list" in _kind(inner[0]) else "s, a list")
    return _kind(inner[0]) if inner else _WORDS[hint.__name__]


def _default(item: Field[Any]) -> str:
    if item.default is MISSING:
        return "must be given"
    if item.default in (None, ()):
        return "none, or derived"
    if isinstance(item.default, bool):
        return "yes" if item.default else "no"
    return f"`{','.join(map(str, item.default)) if isinstance(item.default, tuple) else item.default}`"


def _public() -> str:
    """Each public name from the module that it is defined in: modules and names of the package are called alike."""
    names = (name for name in tiler.__all__ if not name.startswith("_"))
    return "\n\n".join(f"::: {getattr(tiler, name).__module__}.{name}" for name in names)


def _formats() -> str:
    """Of each output format, by its extensions."""
    rows = ["| file | format | longest side | bits | transparency | compression |", "|---|---|---|---|---|---|"]
    for form, items in groupby(FORMATS.items(), lambda item: item[1]):
        names, kinds = ", ".join(f"`{name}`" for name, _ in items), ", ".join(form.compressions)
        alpha = "kept" if form.alpha else "shown on white"
        bits = " or ".join(map(str, form.bits))
        rows.append(f"| {names} | {form.name} | {form.longest_side:,} px | {bits} | {alpha} | {kinds} |")
    return "\n".join(rows)


_PARTS: dict[str, Callable[[], str]] = {"commands": _commands, "options": _options, "public": _public,
    "formats": _formats,
}  # fmt: skip

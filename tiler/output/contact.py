"""Small pictures side by side, each with words: as one picture, or as a page that needs nothing beside it."""

from __future__ import annotations

import base64
import hashlib
import html
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tiler.errors import OutputError

PAGE = ".html"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", PAGE)
MOST_PIXELS = 2**27
_GAP, _TEXT, _TITLE = 12, 14, 18
_INK, _PAPER = (34, 34, 34), (255, 255, 255)
# What a screen and a sheet of paper come to: width over height.
_SHAPE = 4 / 3
_STYLE = (
    "body{font-family:sans-serif;margin:1em;color:#222;background:#fff}th{font-weight:normal;padding:.3em}"
    "td{padding:.3em}img{display:block;max-width:100%}figure{margin:0;display:inline-block;padding:.3em}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#111}}"
)


@dataclass(frozen=True)
class Table:
    """rows, columns: (name of what is varied, its values in words); columns: None where nothing else is varied. Cells
    are listed row by row."""

    title: str
    rows: tuple[str, tuple[str, ...]]
    columns: tuple[str, tuple[str, ...]] | None

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of cells of this size: with one option varied, those that come nearest to the shape of a
        screen, and leave the fewest cells empty."""
        count = len(self.rows[1])
        if self.columns:
            return count, len(self.columns[1])

        def far(columns: int) -> tuple[float, int]:
            down = -(-count // columns)
            shape = columns * width / (down * height) / _SHAPE
            return round(max(shape, 1 / shape) + (columns * down - count) / count, 6), -columns

        columns = min(range(1, count + 1), key=far)
        return -(-count // columns), columns

    def caption(self, number: int) -> str:
        """Of a cell."""
        if self.columns is None:
            return f"{self.rows[0]} {self.rows[1][number]}"
        row, column = divmod(number, len(self.columns[1]))
        return f"{self.rows[0]} {self.rows[1][row]}, {self.columns[0]} {self.columns[1][column]}"


def check_sheet(path: str, table: Table, height: int, width: int, inputs: Iterable[str]) -> None:
    """Raise OutputError where a sheet of cells of this size cannot be written to `path`; `inputs` must stay."""
    place = Path(path)
    for file in inputs:
        if os.path.realpath(file) == os.path.realpath(place):
            raise OutputError(f"{path}: would replace one of the inputs, {file}; choose another name")
    if place.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path}: unknown format; allowed: {' '.join(SUFFIXES)}")
    if not place.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {place.parent}")
    if place.is_dir():
        raise OutputError(f"{path}: is a folder; allowed: a file")
    down, across = table.grid(height, width)
    pixels = down * across * height * width
    if pixels > MOST_PIXELS:
        raise OutputError(
            f"{path}: {down} x {across} pictures of {width} x {height} px are {pixels / 1e6:.0f} million pixels; "
            f"allowed: up to {MOST_PIXELS / 1e6:.0f}, so fewer values or a smaller --long-edge"
        )


def write_sheet(place: Path, suffix: str, table: Table, cells: Sequence[Path]) -> None:
    """cells: picture files of one size. suffix: of SUFFIXES."""
    if suffix == PAGE:
        place.write_text(_page(table, cells), encoding="utf-8")
        return
    _picture(table, cells).save(place, {".jpg": "JPEG", ".jpeg": "JPEG"}.get(suffix, suffix[1:].upper()), quality=95)


def _picture(table: Table, cells: Sequence[Path]) -> Image.Image:
    with Image.open(cells[0]) as first:
        width, height = first.size
    down, across = table.grid(height, width)
    font, title = (ImageFont.load_default(size) for size in (_TEXT, _TITLE))
    line = _TEXT + _GAP // 2
    named = table.columns is not None
    left = _GAP + (max(int(font.getlength(text)) for text in _sides(table)) + _GAP if named else 0)
    top = _GAP + _TITLE + _GAP + (2 * line if named else 0)
    words = table.columns[1] if table.columns else map(table.caption, range(len(cells)))
    wide = max(width, *(int(font.getlength(text)) for text in words)) + _GAP
    step = height + _GAP + (0 if named else line)
    across_all = max(left + across * wide, int(title.getlength(table.title)) + 2 * _GAP)
    sheet = Image.new("RGB", (across_all, top + down * step), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP), table.title, _INK, title)
    if table.columns is not None:
        draw.text((left, top - 2 * line), table.columns[0], _INK, font)
        for number, text in enumerate(table.columns[1]):
            draw.text((left + number * wide, top - line), text, _INK, font)
        for number, text in enumerate(table.rows[1]):
            draw.text((_GAP, top + number * step + height // 2 - line // 2), text, _INK, font)
        draw.text((_GAP, top - line), table.rows[0], _INK, font)
    for number, cell in enumerate(cells):
        row, column = divmod(number, across)
        where = left + column * wide, top + row * step
        with Image.open(cell) as picture:
            sheet.paste(picture.convert("RGB"), where)
        if not named:
            draw.text((where[0], where[1] + height + 2), table.caption(number), _INK, font)
    return sheet


def _sides(table: Table) -> tuple[str, ...]:
    return (table.rows[0], *table.rows[1])


def _page(table: Table, cells: Sequence[Path]) -> str:
    """No script, nothing from elsewhere; every word is text."""
    shown = [_figure(cell, table.caption(number), table.columns is None) for number, cell in enumerate(cells)]
    if table.columns is None:
        body = "".join(shown)
    else:
        (name, rows), (across, columns) = table.rows, table.columns
        head = "".join(f'<th scope="col">{_text(text)}</th>' for text in columns)
        lines = [
            f'<tr><th scope="row">{_text(text)}</th>'
            + "".join(f"<td>{one}</td>" for one in shown[number * len(columns) : (number + 1) * len(columns)])
            + "</tr>"
            for number, text in enumerate(rows)
        ]
        above = f'<tr><td></td><th scope="colgroup" colspan="{len(columns)}">{_text(across)}</th></tr>'
        body = f"<table>{above}<tr><th>{_text(name)}</th>{head}</tr>{''.join(lines)}</table>"
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_text(policy)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(table.title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{_text(table.title)}</h1>{body}</body></html>\n"
    )


def _figure(cell: Path, caption: str, shown: bool) -> str:
    data = base64.b64encode(cell.read_bytes()).decode()
    words = f"<figcaption>{_text(caption)}</figcaption>" if shown else ""
    return f'<figure><img alt="{_text(caption)}" src="data:image/png;base64,{data}">{words}</figure>'


def _text(words: str) -> str:
    """What cannot be written as UTF-8, as some file names, is shown as a question mark."""
    return html.escape(words.encode("utf-8", "replace").decode())

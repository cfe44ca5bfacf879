"""A sheet of previews: where pictures and words lie on it, what a page says of them, and what cannot be a sheet."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiler.errors import OutputError
from tiler.output.contact import Table, check_sheet, write_sheet

ROW = Table("map + photo", ("seed", ("1", "2", "3")), None)
GRID = Table("map + photo", ("seed", ("1", "2")), ("tv", ("0", "5", "9")))
PAPER = (255, 255, 255)


def cells(folder: Path, count: int, height: int, width: int) -> list[Path]:
    """Pictures of one colour each: 10 times its number, 200, 100."""
    paths = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(paths):
        Image.new("RGB", (width, height), (10 * number, 200, 100)).save(path)
    return paths


def written(folder: Path, table: Table, count: int, height: int, width: int) -> np.ndarray:
    write_sheet(folder / "s.png", ".png", table, cells(folder, count, height, width))
    return np.asarray(Image.open(folder / "s.png"))


def place(sheet: np.ndarray, number: int) -> tuple[int, int, int, int]:
    """Of a picture: y0, x0, y1, x1."""
    y, x = np.nonzero((sheet == (10 * number, 200, 100)).all(-1))
    assert len(y) == (y.max() + 1 - y.min()) * (x.max() + 1 - x.min())
    return int(y.min()), int(x.min()), int(y.max()) + 1, int(x.max()) + 1


def dark(sheet: np.ndarray, rows: slice, columns: slice, along: int) -> np.ndarray:
    """Rows (along 0) or columns (1) of a part of it in which something is written."""
    return np.flatnonzero((sheet[rows, columns] < 160).all(-1).any(1 - along))


def ink(sheet: np.ndarray, y0: int, x0: int, y1: int, x1: int) -> bool:
    return bool(len(dark(sheet, slice(y0, y1), slice(x0, x1), 0)))


def test_pictures_of_one_option_lie_below_each_other_in_gaps_of_twelve_pixels(tmp_path: Path) -> None:
    sheet = written(tmp_path, ROW, 3, 70, 210)
    assert ROW.grid(70, 210) == (3, 1)
    # Left and right 12; above 12, the title's 18 and 12; below each a caption's line of 20 and 12.
    assert sheet.shape == (42 + 3 * 102, 12 + 210 + 12, 3)
    for number in range(3):
        y = 42 + 102 * number
        assert place(sheet, number) == (y, 12, y + 70, 222)
        assert (sheet[y + 70 : y + 72] == PAPER).all()
        assert ink(sheet, y + 72, 12, y + 72 + 20, 24), "a caption begins below its picture's left edge"
        assert (sheet[y + 92 : y + 102] == PAPER).all()
    assert ink(sheet, 12, 12, 34, 24), "so does the title, at the top"
    assert not ink(sheet, 0, 0, 12, 234)


def test_pictures_of_two_options_lie_right_of_and_below_their_names(tmp_path: Path) -> None:
    sheet = written(tmp_path, GRID, 6, 50, 40)
    places = [place(sheet, number) for number in range(6)]
    left = places[0][1]
    top = 12 + 18 + 12 + 2 * 20
    assert places == [(top + y, left + x, top + y + 50, left + x + 40) for y in (0, 62) for x in (0, 52, 104)]
    assert sheet.shape == (top + 2 * 62, left + 3 * 52, 3)
    # "seed" is wider than its values, and 12 pixels from the pictures.
    name = dark(sheet, slice(top - 20, top - 2), slice(left), 1)
    assert name.min() in range(12, 16)
    assert left - 12 - 2 <= name.max() + 1 <= left - 12
    for x in (0, 52, 104):
        assert ink(sheet, top - 20, left + x, top, left + x + 9), "each column's value, in the line above it"
    assert ink(sheet, top - 40, left, top - 20, left + 9), "the columns' name, a line higher"
    assert not ink(sheet, top - 40, 0, top - 20, left), "and nothing before it"
    for y in (0, 62):
        rows = dark(sheet, slice(top + y, top + y + 50), slice(left), 0)
        assert abs((rows.min() + rows.max()) / 2 - 25) <= 4, "each row's value, half-way down its pictures"
        assert dark(sheet, slice(top + y, top + y + 50), slice(left), 1).min() in range(12, 16)


def test_pictures_that_are_not_all_there_leave_paper(tmp_path: Path) -> None:
    table = Table("t", ("a", ("1", "2", "3", "4", "5")), None)
    assert table.grid(60, 60) == (2, 3)
    sheet = written(tmp_path, table, 5, 60, 60)
    assert place(sheet, 3)[:2] == (42 + 92, 12)
    assert place(sheet, 4)[:2] == (42 + 92, 12 + 72)
    assert (sheet[42 + 92 :, 12 + 144 :] == PAPER).all()


@pytest.mark.parametrize(
    ("count", "height", "width", "grid"),
    [
        (2, 300, 200, (1, 2)), (2, 200, 300, (2, 1)), (5, 100, 200, (3, 2)), (7, 100, 100, (3, 3)),
        (10, 100, 75, (2, 5)), (24, 100, 140, (5, 5)), (24, 150, 100, (4, 7)), (2, 90, 120, (1, 2)),
        (8, 90, 130, (3, 3)),
    ],
)  # fmt: skip
def test_a_grid_comes_near_the_shape_of_a_screen(count: int, height: int, width: int, grid: tuple[int, int]) -> None:
    assert Table("t", ("a", tuple(map(str, range(count)))), None).grid(height, width) == grid


def test_a_title_that_is_wide_has_paper_at_both_ends(tmp_path: Path) -> None:
    sheet = written(tmp_path, Table("M" * 30, ("a", ("1", "2")), None), 2, 40, 30)
    columns = dark(sheet, slice(12, 34), slice(None), 1)
    assert columns.min() >= 12
    assert 10 <= sheet.shape[1] - 1 - columns.max() <= 15


@pytest.mark.parametrize(
    ("suffix", "format"), [(".jpg", "JPEG"), (".jpeg", "JPEG"), (".png", "PNG"), (".webp", "WEBP")]
)
def test_each_format_is_what_its_name_says(tmp_path: Path, suffix: str, format: str) -> None:
    made = tmp_path / "temporary"
    write_sheet(made, suffix, ROW, cells(tmp_path, 3, 20, 30))
    with Image.open(made) as found:
        assert found.format == format
        if format == "JPEG":
            fine = io.BytesIO()
            Image.new("RGB", (8, 16)).save(fine, "JPEG", quality=95)
            assert found.quantization == Image.open(fine).quantization


def page(folder: Path, table: Table, count: int) -> str:
    write_sheet(folder / "s", ".html", table, cells(folder, count, 6, 4))
    return (folder / "s").read_text(encoding="utf-8")


def numbers(html: str) -> list[int]:
    """Which pictures are shown, in their order."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(one))).getpixel((0, 0))[0] // 10 for one in found]


def test_a_page_of_two_options_is_a_table_with_names_at_its_head_and_side(tmp_path: Path) -> None:
    html = page(tmp_path, GRID, 6)
    above, head, *rows = re.findall(r"<tr>(.*?)</tr>", html)
    assert above == '<td></td><th scope="colgroup" colspan="3">tv</th>'
    assert head == '<th>seed</th><th scope="col">0</th><th scope="col">5</th><th scope="col">9</th>'
    assert [re.findall(r'<th scope="row">(.*?)</th>', row) for row in rows] == [["1"], ["2"]]
    assert [numbers(row) for row in rows] == [[0, 1, 2], [3, 4, 5]]
    assert re.findall(r'alt="(.*?)"', rows[1]) == ["seed 2, tv 0", "seed 2, tv 5", "seed 2, tv 9"]
    assert [row.count("<td>") for row in rows] == [3, 3]
    assert "figcaption" not in html


def test_a_page_of_one_option_has_a_caption_below_each_picture(tmp_path: Path) -> None:
    html = page(tmp_path, ROW, 3)
    assert numbers(html) == [0, 1, 2]
    assert re.findall(r"<figcaption>(.*?)</figcaption>", html) == ["seed 1", "seed 2", "seed 3"]
    assert re.findall(r'alt="(.*?)"', html) == ["seed 1", "seed 2", "seed 3"]
    assert "<table" not in html


def test_a_page_allows_its_own_style_and_nothing_else(tmp_path: Path) -> None:
    html = page(tmp_path, ROW, 3)
    [style] = re.findall("<style>(.*?)</style>", html)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    [policy] = re.findall('Content-Security-Policy" content="(.*?)"', html)
    assert policy.replace("&#x27;", "'").split("; ") == [
        "default-src 'none'", "img-src data:", f"style-src 'sha256-{digest}'", "base-uri 'none'", "form-action 'none'",
    ]  # fmt: skip
    assert re.findall("<(?:title|h1)>(.*?)</", html) == ["map + photo"] * 2


def test_names_that_are_no_letters_are_question_marks_and_others_stay(tmp_path: Path) -> None:
    html = page(tmp_path, Table("Z\udcffrich <Zürich>", ("a", ("1", "2")), None), 2)
    assert "<h1>Z?rich &lt;Zürich&gt;</h1>" in html


def test_a_sheet_as_large_as_is_allowed_and_one_that_is_larger(tmp_path: Path) -> None:
    path, table = str(tmp_path / "s.png"), Table("t", ("a", ("1", "2")), ("b", ("1", "2", "3", "4")))
    check_sheet(path, table, 2**11, 2**13, [])
    with pytest.raises(OutputError, match=r"s\.png: 2 x 4 pictures of 8193 x 2048 px are 134 million pixels") as error:
        check_sheet(path, table, 2**11, 2**13 + 1, [])
    assert "up to 134, so fewer values" in str(error.value)


def test_what_cannot_be_a_sheet_is_said_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "folder.PNG").mkdir()
    (tmp_path / "in.png").touch()
    (tmp_path / "same.png").symlink_to("in.png")
    other = str(tmp_path / "other.png")
    cases = {
        "same.png": f"would replace one of the inputs, {tmp_path / 'in.png'}",
        "s.gif": "unknown format; allowed: .png .jpg .jpeg .webp .html",
        "none/s.png": f"there is no folder {tmp_path / 'none'}",
        "folder.PNG": "is a folder; allowed: a file",
    }
    for name, words in cases.items():
        with pytest.raises(OutputError) as error:
            check_sheet(str(tmp_path / name), ROW, 10, 20, [other, str(tmp_path / "in.png")])
        assert str(error.value).startswith(f"{tmp_path / name}: {words}")
    check_sheet(str(tmp_path / "S.JPEG"), ROW, 10, 20, [other])

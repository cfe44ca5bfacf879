"""The first page of a PDF, drawn by PDFium (the extra `pdf`) at whatever size is asked for, some rows at a time.

Nothing in it runs, and nothing is fetched: this PDFium is built without scripts, and knows no addresses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import PictureError
from tiler.pictures.stream import first_line

# Pixels for a point at scale 1: 96 for an inch, as in an SVG.
_PIXELS_PER_POINT = 96 / 72
_ROWS_PIXELS = 2**22
_MOST_BYTES = 2**30
# PDFium serves one thread at a time, whatever the document.
_one = threading.Lock()


def _pdfium(path: Path) -> Any:
    try:
        import pypdfium2
    except ImportError:
        raise PictureError(f"{path}: a PDF is read with the extra `pdf`: pip install 'tiler-render[pdf]'") from None
    return pypdfium2


@contextmanager
def _page(path: Path) -> Iterator[tuple[Any, Any, int]]:
    """(PDFium, its page, the number of pages), for this thread alone."""
    pdfium = _pdfium(path)
    with _one:
        if path.stat().st_size > _MOST_BYTES:
            raise PictureError(f"{path}: a PDF of more than {_MOST_BYTES // 2**20} MB")
        try:
            with pdfium.PdfDocument(path) as document:
                if pdfium.raw.FPDFDoc_GetJavaScriptActionCount(document) > 0:
                    raise PictureError(
                        f"{path}: a PDF that holds a script; only what is drawn without one is a picture here"
                    )
                page = document[0]
                try:
                    yield pdfium, page, len(document)
                finally:
                    page.close()
        except (pdfium.PdfiumError, OSError, ValueError, IndexError) as error:
            locked = "Incorrect password" in str(error)
            what = "is locked by a password; save it without" if locked else f"damaged PDF ({first_line(error)})"
            raise PictureError(f"{path}: {what}") from None


def size_of(path: Path, scale: float) -> tuple[int, int, int]:
    """(height, width, pages). Raises PictureError, in one line."""
    with _page(path) as (_, page, count):
        width, height = page.get_size()
    tall, wide = (max(1, round(side * scale * _PIXELS_PER_POINT)) for side in (height, width))
    return tall, wide, count


def rows_of(path: Path, height: int, width: int) -> Iterator[np.ndarray]:
    """Bands [3, n, width] uint8 of the page at this size, on white paper, from top to bottom."""
    rows = max(1, _ROWS_PIXELS // width)
    for top in range(0, height, rows):
        count = min(rows, height - top)
        with _page(path) as (pdfium, page, _):
            raw = pdfium.raw
            bitmap = pdfium.PdfBitmap.new_native(width, count, raw.FPDFBitmap_BGRx)
            bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, count)
            flags = raw.FPDF_ANNOT | raw.FPDF_REVERSE_BYTE_ORDER
            raw.FPDF_RenderPageBitmap(bitmap, page, 0, -top, width, height, 0, flags)
            band = np.array(bitmap.to_numpy()[:, :width, :3])
            bitmap.close()
        yield np.ascontiguousarray(band.transpose(2, 0, 1))

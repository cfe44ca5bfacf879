"""The page beside DeepZoom and XYZ tiles: one self-contained HTML file that needs no network and no library."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping, Sequence
from urllib.parse import quote


def tile_format(with_alpha: bool, quality: int) -> tuple[str, str]:
    """(suffix, libvips' options) of one tile."""
    return (".png", "") if with_alpha else (".jpg", f"[Q={quality}]")


def page(
    title: str,
    levels: Sequence[tuple[int, int]],
    tile_size: int,
    overlap: int,
    folder: str,
    pattern: str,
    metadata: Mapping[str, str],
) -> str:
    """HTML that shows a pyramid of tiles: drag, wheel, pinch, +/-, double click, 0 for the whole picture.

    levels: (height, width), coarsest first. folder: relative to the page. pattern: of a tile's address in the folder,
    with {z}, {x}, {y} in it.
    """
    facts = {
        "levels": [list(level) for level in levels],
        "tile": tile_size,
        "overlap": overlap,
        "folder": quote(os.fsencode(folder)),
        "pattern": pattern,
    }
    title = html.escape(shown(title))
    rows = "".join(f"<tr><th>{html.escape(shown(k))}<td>{html.escape(shown(v))}" for k, v in metadata.items())
    details = f"<details><summary>{title}</summary><table>{rows}</table></details>"
    # A script ends at "</script" and may begin another at "<!--", whatever its own language says.
    script = _SCRIPT.replace("FACTS", json.dumps(facts).replace("<", "\\u003c"))
    return _PAGE.format(title=title, style=_STYLE, details=details, script=script, size=_size(levels))


def shown(name: str) -> str:
    """A name as text, which the name of a file need not be."""
    return os.fsencode(name).decode("utf-8", "replace")


def _size(levels: Sequence[tuple[int, int]]) -> str:
    height, width = levels[-1]
    return f"{width} × {height}"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="generator" content="tiler">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title} ({size})</title><style>{style}</style></head>
<body><canvas id="view"></canvas>{details}<script>{script}</script></body></html>
"""

_STYLE = """
html,body{margin:0;height:100%;background:#222;overflow:hidden;font:14px system-ui,sans-serif}
canvas{display:block;width:100%;height:100%;touch-action:none;cursor:grab}
details{position:fixed;left:8px;top:8px;background:#000a;color:#fff;padding:4px 8px;border-radius:4px;max-width:60%}
th{text-align:left;padding-right:1em;vertical-align:top}td{word-break:break-word}
"""

_SCRIPT = """
"use strict";
const facts = FACTS;
const top_ = facts.levels.length - 1, [height, width] = facts.levels[top_];
const canvas = document.getElementById("view"), context = canvas.getContext("2d");
const tiles = new Map(), pointers = new Map();
let x = 0, y = 0, scale = 1, asked = false, whole = true;

function draw() {
  if (!asked) { asked = true; requestAnimationFrame(paint); }
}

function fetchTile(z, column, row) {
  const url = facts.folder + "/" + facts.pattern.replace("{z}", z).replace("{x}", column).replace("{y}", row);
  let tile = tiles.get(url);
  if (!tile) {
    tile = new Image();
    tile.onload = draw;
    tile.src = url;
  }
  tiles.delete(url);
  tiles.set(url, tile);
  if (tiles.size > 600) tiles.delete(tiles.keys().next().value);
  return tile;
}

function paintLevel(z) {
  const [h, w] = facts.levels[z], zoomX = width / w, zoomY = height / h, t = facts.tile;
  const x0 = Math.max(0, Math.floor(x / zoomX / t)), y0 = Math.max(0, Math.floor(y / zoomY / t));
  const x1 = Math.min(Math.ceil(w / t) - 1, Math.floor((x + canvas.width / scale) / zoomX / t));
  const y1 = Math.min(Math.ceil(h / t) - 1, Math.floor((y + canvas.height / scale) / zoomY / t));
  for (let row = y0; row <= y1; row++) {
    for (let column = x0; column <= x1; column++) {
      const tile = fetchTile(z, column, row);
      if (!tile.complete || !tile.naturalWidth) continue;
      const insetX = column ? facts.overlap : 0, insetY = row ? facts.overlap : 0;
      const tileW = Math.min(t, w - column * t), tileH = Math.min(t, h - row * t);
      const left = Math.round((column * t * zoomX - x) * scale), above = Math.round((row * t * zoomY - y) * scale);
      const right = Math.round(((column * t + tileW) * zoomX - x) * scale);
      const below = Math.round(((row * t + tileH) * zoomY - y) * scale);
      context.drawImage(tile, insetX, insetY, tileW, tileH, left, above, right - left, below - above);
    }
  }
}

function paint() {
  asked = false;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * ratio;
  canvas.height = canvas.clientHeight * ratio;
  context.imageSmoothingEnabled = scale < 2;
  const best = Math.max(0, Math.min(top_, Math.ceil(top_ + Math.log2(scale))));
  for (const z of new Set([0, Math.max(0, best - 2), best])) paintLevel(z);
}

function zoom(factor, px, py) {
  whole = false;
  const next = Math.min(32, Math.max(scale * factor, 0.5 * fit()));
  x += px / scale - px / next;
  y += py / scale - py / next;
  scale = next;
  draw();
}

function fit() {
  const ratio = window.devicePixelRatio || 1;
  return Math.min(canvas.clientWidth * ratio / width, canvas.clientHeight * ratio / height);
}

function showAll() {
  const ratio = window.devicePixelRatio || 1;
  whole = true;
  scale = fit();
  x = (width - canvas.clientWidth * ratio / scale) / 2;
  y = (height - canvas.clientHeight * ratio / scale) / 2;
  draw();
}

function at(event) {
  const ratio = window.devicePixelRatio || 1;
  return [event.clientX * ratio, event.clientY * ratio];
}

canvas.addEventListener("wheel", event => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * 0.002), ...at(event));
}, {passive: false});
canvas.addEventListener("dblclick", event => zoom(2, ...at(event)));
canvas.addEventListener("pointerdown", event => {
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, at(event));
});
canvas.addEventListener("pointermove", event => {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const now = at(event);
  if (pointers.size === 2) {
    const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
    const span = p => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
    zoom(span(now) / span(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  } else {
    whole = false;
    x -= (now[0] - before[0]) / scale;
    y -= (now[1] - before[1]) / scale;
  }
  pointers.set(event.pointerId, now);
  draw();
});
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, event => pointers.delete(event.pointerId));
}
window.addEventListener("keydown", event => {
  const factor = {"+": 1.5, "=": 1.5, "-": 1 / 1.5}[event.key];
  if (factor) zoom(factor, canvas.width / 2, canvas.height / 2);
  if (event.key === "0") showAll();
});
window.addEventListener("resize", () => whole ? showAll() : draw());
showAll();
"""

"""A duel as people see it: a page with each pair's posters in random order, under letters, and the key apart."""

from __future__ import annotations

import html
import json
import random
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

_HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Which of these would you hang on the wall?</title>
<style>
body { font: 16px/1.5 sans-serif; margin: 2em auto; max-width: 1400px; padding: 0 1em; color: #222; background: #eee }
section { margin: 3em 0 } .inputs img { height: 160px } .posters { display: flex; flex-wrap: wrap; gap: 1em }
figure { margin: 0; flex: 1 1 320px } figure img { width: 100% } label { display: block; cursor: pointer }
textarea { width: 100%; height: 9em }
</style>
<h1>Which of these would you hang on the wall?</h1>
<p>Each row shows a layout, a look, and posters that several programs made of them. Their order is random and another in
each row. A click on a poster shows it at its own size. Choose one in each row; what you chose is listed at the end, to
be sent to whoever asked you.</p>
"""
_TAIL = """<h2>Your choice</h2>
<textarea readonly aria-label="Your choice"></textarea>
<script>
const list = document.querySelector("textarea");
document.addEventListener("change", () => {
  list.value = [...document.querySelectorAll("input:checked")].map(one => one.name + ": " + one.value).join("\\n");
});
</script>
</html>
"""


def write(folder: Path, rows: Mapping[str, Sequence[tuple[str, Path]]], inputs: Mapping[str, Sequence[Path]],
          seed: int) -> None:  # fmt: skip
    """index.html and its pictures, and key.json, which nothing on the page leads to.

    rows: of each pair, contenders and their posters; inputs: its content and style. seed: of the order.
    """
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.jpg"):
        old.unlink()
    draw, key, parts = random.Random(seed), {}, [_HEAD]
    for pair, posters in rows.items():
        shuffled = draw.sample(list(posters), len(posters))
        letters = dict(zip(string.ascii_uppercase, shuffled, strict=False))
        key[pair] = {letter: contender for letter, (contender, _) in letters.items()}
        parts.append(_section(pair, letters, inputs[pair], pictures))
    (folder / "index.html").write_text("".join([*parts, _TAIL]), encoding="utf-8")
    (folder / "key.json").write_text(json.dumps(key, indent=1) + "\n", encoding="utf-8")


def _section(pair: str, letters: Mapping[str, tuple[str, Path]], inputs: Sequence[Path], pictures: Path) -> str:
    name = html.escape(pair)
    shown = [_jpeg(path, pictures / f"{pair}-{path.stem}.jpg", 320) for path in inputs]
    parts = [f'<section>\n<h2>{name}</h2>\n<p class="inputs">']
    parts += [
        f'<img src="pictures/{file}" alt="{role}"> ' for file, role in zip(shown, ("layout", "look"), strict=True)
    ]
    parts.append('</p>\n<div class="posters">\n')
    for letter, (_, path) in letters.items():
        file = _jpeg(path, pictures / f"{pair}-{letter}.jpg")
        parts.append(
            f'<figure><a href="pictures/{file}"><img src="pictures/{file}" alt="poster {letter}"></a>'
            f'<label><input type="radio" name="{name}" value="{letter}"> {letter}</label></figure>\n'
        )
    return "".join([*parts, "</div>\n</section>\n"])


def _jpeg(path: Path, to: Path, edge: int | None = None) -> str:
    """No metadata goes along, which some programs sign; nor are colours made coarser, which would hide specks."""
    with Image.open(path) as image:
        plain = image.convert("RGB")
        if edge is not None:
            plain.thumbnail((edge, edge), Image.Resampling.LANCZOS)
        Image.frombytes("RGB", plain.size, plain.tobytes()).save(to, quality=92, subsampling=0, optimize=True)
    return to.name

"""Wrong values of every option, made from RenderConfig's own fields, on the command line and in job files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, get_type_hints

from bad_case import GOOD, Case, render

from tiler.request.config import RenderConfig

OPTIONS = [item for item in fields(RenderConfig) if item.default is not MISSING]
HINTS = get_type_hints(RenderConfig)
NO_WHOLE = ("1.5", "1e3", "0x10", "12px", "big", "nan", "inf", "-", "", " ", "1\n2", "\u2460")
NO_NUMBER = ("big", "nan", "inf", "-inf", "", "1,5,", "1/2", "1\u20ac", "1\n2")
NO_LAYERS = ("relu9_1", "relu4", "conv1_1", "Relu1_1", "relu1_1,relu1_1", ",", "", "relu1_1;relu2_1", "\x1b[2J")
NO_TOML = {
    int: ("1.5", "'1'", "true", "1979-05-27", "{a = 1}", "[[1]]", "nan", "''"),
    float: ("'1'", "true", "1979-05-27T07:32:00Z", "{a = 1}", "[[1.0]]", "nan", "-inf", "''"),
    bool: ("1", "0.0", "'true'", "[true]", "{}", "1979-05-27"),
    str: ("1", "true", "07:32:00", "{a = 1}", "[[['x']]]", "1.5", "''", '"\\u0000"'),
}
FINE = (("scale", "1"), ("scale", "1.5"), ("content_gsd", "1"), ("content_gsd", "1.5"))


def _kind(item: Field[Any]) -> type:
    return next(kind for kind in (bool, int, float, str) if kind.__name__ in str(HINTS[item.name]))


def _words(item: Field[Any]) -> Iterator[str]:
    """What may not be typed after this option."""
    meta, kind = item.metadata, _kind(item)
    if kind is bool:
        yield from ("1", "true", "")
    elif item.name.endswith("_layers"):
        yield from NO_LAYERS
    elif kind is str:
        yield ""
        if meta["choices"]:
            yield from ("zzzz", meta["choices"][0].upper(), ",".join(meta["choices"]))
        return
    else:
        yield from NO_WHOLE if kind is int else NO_NUMBER
        for bound, step in ((meta["low"], -1), (meta["high"], 1)):
            if bound is not None:
                yield str(kind(bound) + step)
        yield "9" * 5000
        if "tuple" in str(HINTS[item.name]):
            yield from ("1,,2", "1,big", "1 2")


def _on_command_line(item: Field[Any], word: str) -> Case:
    return Case(lambda folder: render(f"--{item.name.replace('_', '-')}={word}"), (item.name.split("_")[0],))


def _in_job_file(text: str, *words: str) -> Case:
    def make(folder: Path) -> list[str]:
        (folder / "job.toml").write_text(text)
        return ["render", "--job", "job.toml", *GOOD]

    return Case(make, words)


def _table(item: Field[Any]) -> dict[str, Case]:
    wrong = [value for value in NO_TOML[_kind(item)] if (item.name, value) not in FINE]
    values = [*wrong, *(("['x', 1]",) if "tuple" in str(HINTS[item.name]) else ("[1, 'x']",))]
    return {f"{item.name} = {value}": _in_job_file(f"{item.name} = {value}\n", item.name) for value in values}


def _misspelt(item: Field[Any]) -> Case:
    return _in_job_file(f"{item.name}x = 1\n", f"'{item.name}x'", "did you mean", item.name)


NOT_TOML = {
    "cut off": "content = ",
    "a key twice": "seed = 1\nseed = 2\n",
    "nested": "[" * 5000,
    "nested tables": "a = " + "{a = " * 3000,
    "endless number": "seed = " + "9" * 5000,
    "xml": "<xml/>",
    "yaml": "seed: 1\n",
    "json": '{"seed": 1}',
    "python": "import os\n",
    "a string with no end": 'init = """',
    "a wrong date": "seed = 2000-13-45\n",
    "a control character": "init = 'a\x07b'\n",
}
NOT_THERE = {
    "job file missing": ("none.toml", "none.toml"),
    "job file is a folder": (".", "--job ."),
    "job file is nothing": ("", "job"),
    "job file is a picture": ("content.png", "content.png"),
    "job file with a long name": ("x" * 300, "xxx"),
}
TOGETHER = {
    "all weights 0": (("--style-weight=0", "--content-weight=0", "--tv-weight=0"), ("all 0",)),
    "shares for others": (("--style-blend-weights=1,2",), ("style_blend_weights", "one per style")),
    "shares of nothing": (("--style-blend-weights=0",), ("style_blend_weights", "not all 0")),
    "steps for other levels": (("--long-edge=512", "--steps=1,2"), ("steps has 2", "levels of")),
    "content without layers": (("--content-layers=",), ("content_layers",)),
    "unknown option": (("--long-egde=5",), ("--long-egde", "--long-edge")),
    "option without its value": (("--long-edge",), ("--long-edge",)),
    "a flag with a value": (("--quiet=1",), ("--quiet",)),
}
WORDS = {
    "no picture": (["render"], "CONTENT"),
    "no style": (["render", "content.png", "-o", "p.png"], "STYLE"),
    "no poster": (["render", "content.png", "style.png"], "POSTER"),
    "unknown command": (["paint"], "paint"),
    "unknown flag": (["--paint"], "--paint"),
    "a job file as content": (["render", "a.toml", "-o", "p.png"], "render --job a.toml"),
    "a job file as style": (["plan", "content.png", "A.TOML"], "A.TOML: is a job file"),
    "info of nothing": (["info"], "STORE"),
    "info of two": (["info", "a", "b"], "b"),
}

FLIGHT = ["dream", "content.png", "-o", "frames", "--zoom=2", "--long-edge=16", "--jitter=0", "--content-weight=1"]
OF_ONE_FRAME = {
    "overlay": ["--overlay=content.png"],
    "init": ["--init=noise"],
    "wrap": ["--wrap=x"],
    "protect": ["--protect=content.png"],
    "mask": ["--region=sea=style.png", "--mask=sea=content.png"],
    "labels": ["--labels=content.png", "--label=#ffffff=rest"],
    "style_mask": ["--style-mask=rest=content.png"],
}

CASES = {
    **{f"--{item.name}={word[:20]!r}": _on_command_line(item, word)
       for item in OPTIONS for word in _words(item)},
    **{f"job file: {name}": case for item in OPTIONS for name, case in _table(item).items()},
    **{f"job file: {item.name} misspelt": _misspelt(item) for item in fields(RenderConfig)},
    **{f"job file: {name}": _in_job_file(text, "job.toml") for name, text in NOT_TOML.items()},
    "job file: a key of no use": _in_job_file("zzzz = 1\n", "zzzz"),
    "job file: a table": _in_job_file("[render]\nseed = 1\n", "render"),
    "job file: a key that breaks the line": _in_job_file('"a\\nb\\u001b[2J" = 1\n', "unknown key"),
    **{name: Case(lambda folder, path=path: ["render", "--job", path, *GOOD], (word,))
       for name, (path, word) in NOT_THERE.items()},
    **{name: Case(lambda folder, more=more: render(*more), words) for name, (more, words) in TOGETHER.items()},
    **{f"a flight with {name}": Case(lambda folder, more=more: [*FLIGHT, *more], (f"{name} = ", "--zoom"))
       for name, more in OF_ONE_FRAME.items()},
    **{name: Case(lambda folder, line=line: line, (word,)) for name, (line, word) in WORDS.items()},
}  # fmt: skip

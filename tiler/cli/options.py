"""Click options made from RenderConfig's fields, so that the command line has no defaults of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any, get_type_hints

import click

from tiler.errors import ConfigError
from tiler.request import names
from tiler.request.config import RenderConfig, needs_content
from tiler.request.jobfile import read_job_file
from tiler.request.option import ASKED, expanded
from tiler.request.sizes import SIZES
from tiler.request.spoken import element, read_value


class _Place(click.ParamType):
    """The name of a file, a folder or a store, with the home folder in place of `~`."""

    name = "place"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return expanded(value)


PLACE = _Place()


class GroupedCommand(click.Command):
    """A command whose help shows its options under their groups, and that knows options as neural-style spells them:
    with one dash and underscores."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = {name for parameter in self.get_params(ctx) for name in parameter.opts if name.startswith("--")}
        end = args.index("--") if "--" in args else len(args)
        if not ctx.resilient_parsing:  # as the shell's completion does, of words that are not whole
            args = [_respelled(word, options) for word in args[:end]] + args[end:]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record:
                groups.setdefault(getattr(parameter, "group", "This command"), []).append(record)
        for name, records in groups.items():
            with formatter.section(name):
                formatter.write_dl(records)


class _ConfigOption(click.Option):
    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


def _respelled(word: str, options: set[str]) -> str:
    """`-content_weight=5` -> `--content-weight=5`. Raises UsageError for neural-style's names that are not ours."""
    match = re.fullmatch(r"--?([a-z][a-z_]+)(=.*)?", word, re.DOTALL)
    if not match:
        return word
    name, value = match[1], match[2] or ""
    ours = "--" + name.replace("_", "-")
    if ours in options:
        return ours + value
    hint = names.option_for(name)
    if hint:
        raise click.UsageError(f"No such option: {word.removesuffix(value)}; {hint}")
    return word


def _parser(item: Field[Any], hint: Any) -> Callable[[Any, Any, Any], Any]:
    def parse(context: Any, parameter: Any, given: Any) -> Any:
        if item.metadata["repeat"]:
            return [read_value(item, hint, text) for text in given]
        return None if given is None else read_value(item, hint, given)

    return parse


def _option(item: Field[Any], hint: Any) -> Callable[..., Any]:
    meta, default = item.metadata, item.default
    default = ",".join(map(str, default)) if isinstance(default, tuple) else default
    about: dict[str, Any] = dict(cls=_ConfigOption, group=meta["group"], help=meta["help"])
    name = "--" + item.name.replace("_", "-")
    if isinstance(default, bool):
        return click.option(name, item.name, is_flag=True, default=None, **about)
    about["help"] += f" [{default}]" if default not in (None, "") else ""
    about["multiple"] = meta["repeat"]
    metavar = meta["metavar"] or "|".join(meta["choices"]) or {int: "N", float: "X"}.get(element(hint))
    return click.option(name, item.name, metavar=metavar, callback=_parser(item, hint), **about)


def config_options(
    command: Callable[..., Any], group: str | None = None, names: Collection[str] | None = None
) -> Callable[..., Any]:
    """Add an option for every field that has a default (and is of `group`, or among `names`). Options not given arrive
    as None."""
    hints = get_type_hints(RenderConfig)
    for item in reversed(fields(RenderConfig)):
        wanted = group in (None, item.metadata["group"]) and (names is None or item.name in names)
        if item.default is not MISSING and wanted:
            command = _option(item, hints[item.name])(command)
    return command


def _refuse_job_file(pictures: Sequence[str | None]) -> None:
    """In place of a picture, where it would be called one of no known kind, or no style at all be missed."""
    for path in pictures:
        if path is not None and path.lower().endswith(".toml"):
            raise ConfigError(f"{path}: is a job file, where a picture is expected; tiler render --job {path} takes it")


# What a machine decides for this run, and not a store that it goes on with (see tiler.request.option).
RUN_OPTIONS = [item.name for item in fields(RenderConfig) if item.metadata["decided"] != ASKED and item.name != "store"]


def typed_words(config: RenderConfig) -> list[str]:
    """The options to type again when a render goes on from its store."""
    said = {item.name: getattr(config, item.name) for item in fields(config) if item.name in RUN_OPTIONS}
    defaults = {item.name: item.default for item in fields(config)}
    typed = [(name, value) for name, value in said.items() if value != defaults[name]]
    return [word for name, value in typed for word in ("--" + name.replace("_", "-"), f"{value}")]


def build_config(
    given: dict[str, Any],
    job_file: str | None,
    pictures: tuple[str, ...] = (),
    notes: list[str] | None = None,
    assume_style: bool = False,
) -> RenderConfig:
    """Command line over job file over defaults. Values that are None or empty count as not given.

    notes: gets the lines of `read_job_file`.
    pictures: as listed on the command line, the content first; where no content is needed, all of them are styles.
    assume_style: where none is named the content stands for one, which notes say.
    """
    said = {key: value for key, value in given.items() if value not in (None, (), [])}
    _refuse_job_file((*pictures, said.get("content"), *said.get("styles", ())))
    values = read_job_file(job_file, said, notes) if job_file is not None else {}
    if any(given.get(name) is not None for name in SIZES):
        values = {key: value for key, value in values.items() if key not in SIZES}
    values.update(said)
    if "tiles" in values:
        values.setdefault("output", None)
    if "edge" in said and values.get("at") is None:
        raise ConfigError(f"--edge {said['edge']}: is the side of a proof; allowed: with --at X,Y")
    layout = needs_content(values)
    if layout and pictures:
        values["content"], pictures = pictures[0], pictures[1:]
    if pictures:
        values["styles"] = pictures
    usage = "CONTENT STYLE -o POSTER" if layout else "STYLE -o POSTER, since nothing of a content would show"
    for key, word in (("content", "CONTENT"), ("output", "-o POSTER (or --tiles DIR)")):
        if key not in values and (layout or key != "content"):
            raise ConfigError(f"{word} is missing: tiler render {usage}")
    values.setdefault("styles", ())  # where labels cover everything, no default is needed
    if assume_style and layout and not any(values.get(name) for name in ("styles", "region", "label")):
        values["styles"] = (values["content"],)
        if notes is not None:
            notes.append(f"no STYLE is named: planned with one like {values['content']}")
    return RenderConfig.from_dict(values, job_file or "command line")

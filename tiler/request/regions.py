"""What --region, --mask, --label and --style-mask say: which regions there are, where, and in which styles."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tiler.errors import ConfigError

REST = "rest"
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Source:
    """A style picture as one region uses it. mask: the file that says which part of it, or None for all of it."""

    region: int
    picture: str
    mask: str | None = None


@dataclass(frozen=True)
class Regions:
    """names: of every region; `rest`, where there is a default style, is the first. sources: all styles, those of the
    default first, then by region. masks: (region, file). labels: (colour, region)."""

    names: tuple[str, ...]
    sources: tuple[Source, ...]
    masks: tuple[tuple[int, str], ...]
    labels: tuple[tuple[Colour, int], ...]

    @property
    def guided(self) -> bool:
        """Whether anything says where a region is; else there is one, and it is everywhere."""
        return bool(self.masks or self.labels)


def parse_regions(
    styles: Sequence[str],
    region: Sequence[str],
    mask: Sequence[str],
    labels: str | None,
    label: Sequence[str],
    style_mask: Sequence[str],
) -> Regions:
    """From the options' texts, each NAME=VALUE. Raises ConfigError, in one line, for what does not fit."""
    pictures = {REST: list(styles)} if styles else {}
    for name, value in pairs("region", region, "NAME=STYLE[,STYLE]"):
        if name == REST or name in pictures:
            raise ConfigError(
                f"region = '{name}=...'; allowed: each name once, and '{REST}' is the default style's area"
            )
        pictures[name] = _files("region", name, value)
    where = {}
    for text, value in pairs("label", label, "'#RRGGBB=STYLE[,STYLE]' or '#RRGGBB=NAME'"):
        colour, value = parse_colour(text), value if value.strip() not in (REST, *pictures) else value.strip()
        if colour in where:
            raise ConfigError(f"label = '{text}=...' is given twice; allowed: each colour once")
        if value == REST and REST not in pictures:
            raise ConfigError(f"label = '{text}={REST}', but there is no default STYLE")
        where[colour] = value if value in pictures else text
        if value not in pictures:
            pictures[text] = _files("label", text, value)
    names = list(pictures)
    masks = [
        (_known(name, names, "mask"), file)
        for name, value in pairs("mask", mask, "NAME=FILE[,FILE]")
        for file in _files("mask", name, value)
    ]
    if bool(labels) != bool(where):
        raise ConfigError("labels and label belong together: --labels FILE --label '#RRGGBB=STYLE'")
    found = Regions(
        tuple(names),
        tuple(_sources(pictures, names, style_mask)),
        tuple(masks),
        tuple((colour, names.index(name)) for colour, name in where.items()),
    )
    _check_areas(found)
    return found


def region_names(region: Sequence[str], label: Sequence[str]) -> tuple[str, ...]:
    """All that a --label may name in place of a file."""
    return (REST, *(text.partition("=")[0].strip() for text in (*region, *label)))


def with_files(text: str, change: Callable[[str], str], names: Sequence[str]) -> str:
    """An option's text NAME=FILE[,FILE] with `change` done to each file; a value that is one of `names` is none."""
    name, _, value = text.partition("=")
    if value.strip() in names or not value.strip():
        return text
    return f"{name.strip()}={spelled([change(file) if file else file for file in listed(value)])}"


def listed(text: str) -> list[str]:
    """The names between commas, without the blanks around them. What belongs to a name has a backslash before it: a
    comma, a blank at its end, a backslash."""
    found, name, kept = [], "", 0
    for letter in re.findall(r"\\[\\,\s]|.", text + ",", re.DOTALL):
        if letter == ",":
            found.append(name[:kept] + name[kept:].rstrip())
            name, kept = "", 0
        elif len(letter) == 2:
            name += letter[1]
            kept = len(name)
        elif name or not letter.isspace():
            name += letter
    return found


def spelled(files: Sequence[str]) -> str:
    """The text that `listed` reads as these names."""
    return ",".join(re.sub(r"[\\,]|\A\s|\s\Z", lambda one: "\\" + one[0], file) for file in files)


def _check_areas(regions: Regions) -> None:
    placed = {index for index, _ in regions.masks} | {index for _, index in regions.labels}
    for index, name in enumerate(regions.names):
        if name != REST and index not in placed:
            raise ConfigError(f"region '{name}' is nowhere: give --mask {name}=FILE or --label '#RRGGBB={name}'")
    if not regions.labels and REST not in regions.names:
        raise ConfigError("STYLE is missing: at least one style picture is needed, for all that has no other")


def _sources(pictures: dict[str, list[str]], names: list[str], style_mask: Sequence[str]) -> Iterable[Source]:
    masks: dict[str, list[str]] = {}
    for name, value in pairs("style_mask", style_mask, "NAME=FILE[,FILE]"):
        _known(name, names, "style_mask")
        masks[name] = _files("style_mask", name, value)
        if len(masks[name]) != len(pictures[name]):
            count = f"one per style of the region ({len(pictures[name])})"
            raise ConfigError(f"style_mask = '{name}={value}'; allowed: {count}")
    for index, name in enumerate(names):
        for i, picture in enumerate(pictures[name]):
            yield Source(index, picture, masks[name][i] if name in masks else None)


def pairs(option: str, texts: Sequence[str], form: str) -> Iterable[tuple[str, str]]:
    """(name, value) of each text NAME=VALUE. Raises ConfigError, which names the option and its form."""
    for text in texts:
        name, _, value = text.partition("=")
        if not (name.strip() and value.strip()):
            raise ConfigError(f"{option} = {text!r}; allowed: {form}")
        yield name.strip(), value


def _files(option: str, name: str, value: str) -> list[str]:
    files = listed(value)
    if not all(files):
        raise ConfigError(f"{option} = '{name}={value}'; allowed: file names with one comma between two")
    return files


def parse_colour(text: str) -> Colour:
    """ "#2244aa" -> (34, 68, 170). Raises ConfigError."""
    match = re.fullmatch(r"#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", text)
    if not match:
        raise ConfigError(f"label = '{text}=...'; allowed: a colour of six hexadecimal digits, such as '#2244aa'")
    red, green, blue = (int(part, 16) for part in match.groups())
    return red, green, blue


def _known(name: str, names: list[str], option: str) -> int:
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"{option} = '{name}=...': unknown region; allowed: {', '.join(names)}{hint}")
    return names.index(name)

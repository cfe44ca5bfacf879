"""RenderConfig: the one source of options, defaults and allowed values for Python, the command line and job files."""

from __future__ import annotations

import difflib
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from tiler.errors import ConfigError
from tiler.request import names, schedules, sizes
from tiler.request.given import Given, with_named
from tiler.request.option import HERE, TYPED, Places, checked, expanded, option
from tiler.request.regions import REST, Regions, parse_regions, region_names
from tiler.request.taken import (
    NamedPictures,
    Numbers,
    NumbersOrNone,
    OneFile,
    OneFileOrWord,
    OnePicture,
    OnePictureOrWord,
    Pictures,
    Texts,
    WholesOrNone,
)
from tiler.request.together import check_together

SIZE, PROOF, FILE, LOOK, PLACES, DREAM, WORK, RUN = (
    "Size (one of)",
    "A proof",
    "The file",
    "Look",
    "Regions",
    "Dream",
    "How it is computed",
    "Where it runs",
)

# Of the content, in %, where a style has such parts.
CALM = 30.0


@dataclass(frozen=True)
class RenderConfig:
    """Everything a user may say about a render. None means: derived when the render starts, and stored with the job.

    Every field is a command-line option (`long_edge` is `--long-edge`) and a key of a job file. In place of the name of
    a picture that is read may be its pixels (for NAME=FILE in a table: `mask={"sea": pixels}`): a PIL image with its
    profile and alpha; an array [height, width] or [height, width, 3 or 4] of uint8, uint16 or floats in 0..1, sRGB,
    alpha straight; an xarray DataArray, whose CRS and coordinates are the poster's georeference. They become files in
    POSTER.pictures when they are first opened, which a job that goes on reads; see `tiler.request.given`. Weights have
    no unit: each term of the objective is a relative error or a mean per pixel (see `tiler.style.losses`).

    Raises ConfigError naming the field, its value and what is allowed.
    """

    content: OnePicture = option(MISSING, "Picture that gives the layout.", None, places=Places())
    styles: Pictures = option(MISSING, "Picture(s) that give the look.", None, places=Places())
    output: OneFile = option(MISSING, "The poster: .png .tif .jpg .webp .dzi .zarr", None, places=Places(written=True))

    long_edge: int | None = option(
        None, "Poster's longer side in pixels; default: 1024.", SIZE, 1, sizes.LONGEST_SIDE, metavar="PX"
    )
    size: str | None = option(
        None,
        "Poster in pixels. The content is cropped evenly where it has another shape.",
        SIZE,
        metavar="WxH",
        spelling=sizes.spelled(sizes.parse_size),
    )
    scale: str | None = option(
        None, "Multiple of the content's size, e.g. 4x.", SIZE, metavar="Nx", spelling=sizes.spelled(sizes.parse_scale)
    )
    print: str | None = option(
        None,
        "Size on paper at --dpi (300): 90x60cm, 36x24in, A0, B2 (cropped as for --size), or the long side: 90cm.",
        SIZE,
        metavar="WxHcm|A0",
        spelling=sizes.spelled(sizes.parse_print),
    )

    at: str | None = option(
        None, "Only a square of the poster, as large as there: the middle of it, in shares of its width and height, "
        "e.g. 0.4,0.6.", PROOF, metavar="X,Y", spelling=sizes.spelled(sizes.parse_at),
    )  # fmt: skip
    edge: int = option(768, "The side of that square, in the poster's pixels.", PROOF, 16, 16384, metavar="PX")

    dpi: float | None = option(
        None, "Dots per inch, written into the file; default: 300 with --print.", FILE, 1, 100_000
    )
    bits: int = option(8, "Bits a channel: 8, or 16 for .png .tif .zarr.", FILE, 8, 16, metavar="8|16")
    compression: str | None = option(
        None,
        "Of .tif: deflate (default), zstd, lzw or none; of .webp: lossy (default) or lossless.",
        FILE,
        choices=("deflate", "zstd", "lzw", "none", "lossy", "lossless"),
        metavar="KIND",
    )
    jpeg_quality: int = option(95, "Of .jpg, lossy .webp and tiles.", FILE, 1, 100)
    cog: bool = option(False, "The .tif as a Cloud Optimized GeoTIFF.", FILE)
    tiles: OneFile = option(
        None,
        "Also (or only) a folder of map tiles {z}/{x}/{y} and a page that shows them.",
        FILE,
        metavar="DIR",
        places=Places(written=True),
    )
    overlay: OnePicture = option(
        None, "Picture of the poster's shape to lie unstyled on top, its alpha respected: labels, a grid.", FILE,
        metavar="FILE", places=Places(),
    )  # fmt: skip

    style_weight: float = option(1.0, "Weight of the style statistics.", LOOK, 0)
    statistics: str = option(
        "moments",
        "What of the style is compared: its Grams, also its means and deviations, or Wasserstein-2 distances.",
        LOOK,
        choices=("gram", "moments", "w2"),
    )
    content_weight: float = option(0.3, "Weight of the content; higher keeps the layout more strictly.", LOOK, 0)
    keep_detail: bool = option(
        False, "Start each level with the content's own fine detail: crisp also where it gets few steps.", LOOK
    )
    protect: OnePicture = option(
        None, "Picture of the content's shape, white where its layout and detail are to be kept: coasts, rivers.", LOOK,
        metavar="MASK", places=Places(),
    )  # fmt: skip
    protect_strength: float = option(
        10.0, "Where --protect is white, the content weighs 1 + X times as much.", LOOK, 0, 1e6
    )
    lines: float = option(
        0.0, "Weight of the content's edges, in the style's colours: coasts and rivers stay where they are.", LOOK, 0
    )
    calm: float | None = option(
        None,
        "Share of the content, the calmest, in %, that takes after what is as calm in the style: skies and seas stay "
        f"clean; default: {CALM:g} where a style has parts far calmer than the rest, 0 with regions.",
        LOOK,
        0,
        90,
    )
    tv_weight: float = option(0.05, "Weight of smoothness (total variation).", LOOK, 0)
    chroma_weight: float = option(0.02, "Weight of smoothness in colour alone: calms coloured specks.", LOOK, 0)
    light_weight: float = option(0.02, "Weight of smoothness in light: calms what changes little.", LOOK, 0)
    style_scale: Numbers = option(
        (1.0,), "Size of the style's features relative to the poster; one, or one per style.", LOOK, 0.01, 100,
        metavar="X,...",
    )  # fmt: skip
    content_gsd: str | None = option(
        None,
        "Ground that a pixel of the content shows, in metres: styles get their true size. auto: from the georeference.",
        LOOK,
        metavar="M|auto",
        spelling=sizes.spelled(sizes.parse_gsd),
    )
    style_gsd: NumbersOrNone = option(
        None,
        "Ground that a pixel of the style(s) shows, in metres; default with --content-gsd: from the georeference.",
        LOOK,
        1e-3,
        1e6,
        metavar="M,...",
    )
    style_blend_weights: NumbersOrNone = option(
        None, "Share of each style, e.g. 2,1; default: equal.", LOOK, 0, metavar="W,..."
    )
    style_layer_weights: tuple[tuple[float, ...], ...] = option(
        (),
        "A style's share at each of the style layers, fine to large, e.g. 1,1,0,0,0; given once per style.",
        LOOK,
        0,
        metavar="W,...",
        repeat=True,
    )
    init: OnePictureOrWord = option(
        "content",
        "Start from: content, noise or a picture file.",
        LOOK,
        metavar="content|noise|FILE",
        places=Places(words=("content", "noise")),
    )
    wrap: str = option(
        "none",
        "Axes along which the poster continues at its opposite edge; its size there becomes a multiple of 16.",
        LOOK,
        choices=("none", "x", "y", "xy"),
    )
    color: str = option(
        "style",
        "Whose colours. style: theirs, so none where all of them are grey, unless something is dreamt; grey: none; "
        "content: its chroma, the poster's brightness; luminance: likewise, and only brightness is transferred; match: "
        "the styles are recoloured to the content first.",
        LOOK,
        choices=("style", "grey", "content", "luminance", "match"),
    )
    transfer: str = option(
        "style",
        "What of the styles is transferred: all, or their colours alone, which takes no steps.",
        LOOK,
        choices=("style", "color"),
    )
    stretch: str | None = option(
        None,
        "Spread the content's and the styles' values, each between these percentiles of its own, over the whole range: "
        "for reflectance and heights, e.g. 2,98.",
        LOOK,
        metavar="LOW,HIGH",
        spelling=sizes.spelled(sizes.parse_stretch),
    )
    seed: int = option(0, "Seed of --init noise.", LOOK, 0, 2**63 - 1)

    region: NamedPictures = option(
        (), "A region with styles of its own; --mask or --label says where. In names, a comma is written '\\,'.",
        PLACES, metavar="NAME=STYLE[,STYLE]",
        repeat=True, places=Places(paired=True),
    )  # fmt: skip
    mask: NamedPictures = option(
        (), "Where a region is: a picture of the content's shape, white inside.", PLACES, metavar="NAME=FILE[,FILE]",
        repeat=True, places=Places(paired=True),
    )  # fmt: skip
    labels: OnePicture = option(
        None, "Picture whose colours say where the regions are.", PLACES, metavar="FILE", places=Places()
    )
    label: NamedPictures = option(
        (), "What a colour of --labels stands for: styles, or a region's name.", PLACES, metavar="'#RRGGBB=STYLE'",
        repeat=True, places=Places(paired=True),
    )  # fmt: skip
    region_edge: float = option(
        1.0, "Width over which one region passes into the next, in % of the poster's long edge.", PLACES, 0, 100
    )
    style_mask: NamedPictures = option(
        (), f"Which part of a region's style picture counts ('{REST}' names the default).", PLACES,
        metavar="NAME=FILE", repeat=True, places=Places(paired=True),
    )  # fmt: skip

    dream_weight: float = option(0.0, "Weight of what a layer sees, amplified (DeepDream).", DREAM, 0)
    dream_layer: str = option("relu4_3", "The layer whose features are amplified.", DREAM, metavar="L")
    dream_channel: int | None = option(None, "Only this channel of it.", DREAM, 0, 511)
    jitter: int = option(
        0, "Move the network's grid by up to so many pixels, anew at each step; without content weight.", DREAM, 0, 64,
        metavar="PX",
    )  # fmt: skip

    quality: str = option(
        schedules.DEFAULT,
        "Steps of all levels by what they are for; tiler plan says how long each takes.",
        WORK,
        choices=schedules.QUALITIES,
        spelling=schedules.not_of_jpegs,
    )
    steps: WholesOrNone = option(
        None, "Optimiser steps: one number, or one per level, coarsest first; default: by --quality.", WORK, 0, 10**6,
        metavar="N,...",
    )  # fmt: skip
    levels: int | None = option(None, "Number of pyramid levels; default: from --min-edge.", WORK, 1, 24)
    min_edge: int = option(128, "Longer side of the coarsest level, at least.", WORK, 1, metavar="PX")
    optimizer: str = option("adam", "lbfgs is used where a level fits one tile.", WORK, choices=("adam", "lbfgs"))
    learning_rate: float = option(
        0.02, "Peak rate of the coarsest level, in units of the 0..1 range; finer ones take less.", WORK, 1e-6, 1
    )
    pooling: str = option("avg", "Pooling inside the backbone.", WORK, choices=("avg", "max"))
    content_layers: Texts = option(("relu4_2",), "Layers compared with the content.", WORK, metavar="L,...")
    style_layers: Texts = option(
        ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
        "Layers whose statistics are compared with the style's.",
        WORK,
        metavar="L,...",
    )
    weights: OneFileOrWord = option(
        "bundled",
        "The backbone's weights.",
        WORK,
        metavar="bundled|torchvision|FILE",
        places=Places(words=("bundled", "torchvision")),
    )
    precision: str = option(
        "auto", "Number type inside the backbone.", WORK, choices=("auto", "fp32", "bf16", "fp16", "fp64")
    )
    mode: str = option(
        "fast",
        "exact equals the untiled optimiser; fast shares statistics once a round.",
        WORK,
        choices=("fast", "exact"),
    )
    steps_per_round: int | None = option(None, "Steps between two exchanges of statistics (fast mode).", WORK, 1, 10**6)
    tile: int | None = option(None, "Largest tile core; default: from the memory.", WORK, 16, 65536, metavar="PX")
    feather: int | None = option(None, "Overlap with neighbours, each side.", WORK, 0, 4096, metavar="PX")
    halo: int | None = option(None, "Context read around a tile.", WORK, 0, 4096, metavar="PX")

    store: OneFile = option(
        None,
        "Where the job's state lives; default: beside the poster.",
        RUN,
        metavar="DIR|URL",
        places=Places(written=True),
        decided=HERE,
    )
    workers: int | None = option(None, "Worker processes; default: one per GPU, or one.", RUN, 1, 1024, decided=HERE)
    state: str = option(
        "auto",
        "Where a level's state lives between rounds: by default where it fits.",
        RUN,
        choices=("auto", "device", "host", "store"),
        decided=HERE,
    )
    checkpoint_seconds: float = option(
        60.0, "Between two checkpoints of a level: what a crash can cost.", RUN, 0, 86400, decided=HERE, metavar="S"
    )
    threads: int | None = option(None, "CPU threads per worker; default: cores / workers.", RUN, 1, 1024)
    device: str = option("auto", "Where tiles are computed.", RUN, choices=("auto", "cpu", "cuda", "mps"))
    scheduler: str | None = option(
        None, "Address of a running Dask cluster.", RUN, metavar="tcp://HOST:PORT", decided=TYPED
    )

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for item in fields(self):
            value = checked(item.name, getattr(self, item.name), hints[item.name], item.metadata)
            object.__setattr__(self, item.name, value)
        for change in (expanded, self._beside):
            for name, value in with_places(vars(self), lambda path, places: change(path)).items():  # noqa: B023
                object.__setattr__(self, name, value)
        if self.content is None and needs_content(vars(self)):
            raise ConfigError(
                "content = None; allowed: a picture; none only where content_weight is 0, init noise or a picture, and "
                "color style or grey"
            )
        check_together(self)

    def _beside(self, path: str) -> str:
        """Where a picture that was given as pixels becomes a file."""
        return path.beside(self.target) if isinstance(path, Given) and self.target else path

    @property
    def regions(self) -> Regions:
        """The regions and their styles. Lists of one value per style follow the order of `regions.sources`."""
        return parse_regions(self.styles, self.region, self.mask, self.labels, self.label, self.style_mask)

    @property
    def style_shares(self) -> tuple[float, ...]:
        """Of each of `regions.sources`, its weight among its region's."""
        return self.style_blend_weights or (1.0,) * len(self.regions.sources)

    @property
    def style_counts(self) -> tuple[bool, ...]:
        """Whether each of them has a say at any layer."""
        by_layer = self.style_layer_weights or ((1.0,),) * len(self.style_shares)
        return tuple(share * max(layers) > 0 for share, layers in zip(self.style_shares, by_layer, strict=True))

    @property
    def calm_share(self) -> float:
        """Of the content, 0..1, that takes after what is as calm in its styles; 0: calm is not told from busy. See
        `tiler.request.calming.settle_calm`."""
        return (self.calm or 0.0) / 100

    @property
    def target(self) -> str:
        """The poster's name, or its folder of tiles where there is no other file."""
        return self.output or self.tiles or ""

    def moved(self, change: Callable[[str, Places], str]) -> RenderConfig:
        """The same with `change` done to the name of every file."""
        return replace(self, **with_places(vars(self), change))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as they come back from a file; tuples become lists, at any depth."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "job") -> RenderConfig:
        """Build from plain values. Raises ConfigError for unknown keys (with the nearest known) and missing ones."""
        check_keys(values, source)
        for item in fields(cls):
            optional = item.name == "content" and not needs_content(values)
            if item.default is MISSING and item.name not in values and not optional:
                raise ConfigError(f"{source}: '{item.name}' is missing")
        return cls(**{"content": None, **values})


def needs_content(values: Mapping[str, Any]) -> bool:
    """Whether options with these values show anything of a content. Where nothing would, a poster can do without."""
    weight, init, color, detail = (
        values.get(name, getattr(RenderConfig, name)) for name in ("content_weight", "init", "color", "keep_detail")
    )
    return bool(weight != 0 or init == "content" or color not in ("style", "grey") or detail)


def check_keys(values: Mapping[str, Any], source: str) -> None:
    """Raise ConfigError for a key that is no field's, with the nearest that is."""
    known = [item.name for item in fields(RenderConfig)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = names.key_for(key) or (f"did you mean '{near[0]}'?" if near else "")
            raise ConfigError(f"{source}: unknown key '{key}'" + (f"; {hint}" if hint else ""))


def with_places(
    values: Mapping[str, Any], change: Callable[[str, Places], str], regions: Sequence[str] = ()
) -> dict[str, Any]:
    """Those of `values`, as fields hold them, that name files, with `change` done to the name of each. regions: what
    --region says elsewhere, whose names are no files."""
    known = region_names([*(values.get("region") or ()), *regions], values.get("label") or ())

    def changed(value: Any, places: Places) -> Any:
        if isinstance(value, tuple):
            return tuple(changed(one, places) for one in value)
        if value is None or value in places.words:
            return value
        if places.paired:
            return with_named(value, lambda file: change(file, places), known)
        return change(value, places)

    held = {item.name: item.metadata["places"] for item in fields(RenderConfig)}
    return {name: changed(value, held[name]) for name, value in values.items() if held.get(name)}

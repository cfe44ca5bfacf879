"""What is made of a picture that lies on its side is what was made of it, on its side: no side is taken for the
other."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiler.engine.machine import Host, Machine
from tiler.errors import ConfigError
from tiler.output import overlay
from tiler.pictures import as_style, label_bands, mask_bands, open_picture, part_bands
from tiler.pictures.outputs import typical_bytes
from tiler.planning.plan import plan_job
from tiler.planning.speed import Speed
from tiler.request import ground, guiding, resolve
from tiler.request.config import RenderConfig
from tiler.request.places import pictures_of
from tiler.style.layers import NAMES
from tiler.style.trunk import Trunk

RNG = np.random.default_rng(41)
COARSE = RNG.integers(0, 256, (9, 4, 4), dtype=np.uint8)
WAYS = (False, True)


def saved(path: Path, array: np.ndarray, size: tuple[int, int], turned: bool) -> str:
    """Smoothly enlarged to (height, width)."""
    picture = Image.fromarray(array).resize(size[::-1], Image.Resampling.BICUBIC)
    (picture.transpose(Image.Transpose.TRANSPOSE) if turned else picture).save(path)
    return str(path)


@pytest.fixture(params=["upright", "on its side"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> list[dict[str, str]]:
    """Files of pictures, and of the same transposed; portraits first, or landscapes."""
    order = WAYS if request.param == "upright" else WAYS[::-1]
    made = []
    for turned in order:
        folder = tmp_path / str(turned)
        folder.mkdir()
        made.append(
            {
                "content": saved(folder / "content.png", COARSE[..., :3], (90, 40), turned),
                "style": saved(folder / "style.png", COARSE[..., :3], (50, 70), turned),
                "mask": saved(folder / "mask.png", COARSE[..., 0], (180, 80), turned),
                "white": saved(folder / "white.png", COARSE[..., 1] // 64 * 85, (45, 20), turned),
                "labels": saved(folder / "labels.png", COARSE[..., :3] // 128 * 255, (90, 40), turned),
                "veiled": saved(folder / "veiled.png", COARSE, (60, 25), turned),
            }
        )
    return made


def whole(bands: Any) -> np.ndarray:
    return np.concatenate(list(bands), 1)


def compared(found: list[np.ndarray], atol: float) -> None:
    one, other = found
    assert one.shape != other.shape, "a square says nothing"
    assert np.ptp(one) > 0.2
    np.testing.assert_allclose(one, other.swapaxes(1, 2), atol=atol)


def sides(size: tuple[int, int], number: int, both: list[dict[str, str]]) -> tuple[int, int]:
    """As the pictures lie: (height, width)."""
    return size if Path(both[number]["content"]).parent.name == "False" else size[::-1]


@pytest.mark.parametrize("size", [(90, 40), (37, 16)])
@pytest.mark.parametrize("edge", [0.0, 12.0])
def test_guides(both: list[dict[str, str]], size: tuple[int, int], edge: float) -> None:
    found = []
    for number, files in enumerate(both):
        regions = dict(region=[f"sea={files['style']}", f"ice={files['style']}"], region_edge=edge)
        where = dict(mask=[f"sea={files['mask']}"], labels=files["labels"], label=["#ffffff=ice", "#000000=sea"])
        config = RenderConfig(files["content"], (files["style"],), "p.png", **regions, **where)
        opened = {path: open_picture(path) for path in pictures_of(config)}
        content = opened[files["content"]]
        guiding.check_guides(config, content, opened)
        found.append(whole(guiding.guide_bands(config, content, opened, *sides(size, number, both), 13)))
    compared(found, 0.01)


def test_masks_labels_and_parts_of_styles(both: list[dict[str, str]]) -> None:
    masks, labels, parts, styles = [], [], [], []
    for number, files in enumerate(both):
        size = sides((47, 20), number, both)
        masks.append(whole(mask_bands(open_picture(files["mask"]), *size, 9, edge=3)))
        palette = [(255, 255, 255), (0, 0, 0), (255, 0, 0)]
        labels.append(whole(label_bands(open_picture(files["labels"]), palette, *size, 9)))
        style = as_style(open_picture(files["veiled"]))
        styles.append(style.backdrop)
        parts.append(whole(part_bands(style, open_picture(files["white"]), *size, 9)))
    compared(masks, 0.01)
    compared(parts, 0.01)
    assert np.mean(np.abs(labels[0] - labels[1].swapaxes(1, 2)) > 0.01) < 0.02  # halfway between two colours
    assert styles[0] == pytest.approx(styles[1], abs=1e-3)


@pytest.mark.parametrize("channels", [3, 4])
def test_what_lies_on_top(both: list[dict[str, str]], channels: int) -> None:
    found = []
    for number, files in enumerate(both):
        height, width = sides((48, 20), number, both)
        stage = overlay.overlay_stage(open_picture(files["veiled"]), height, width, 16)
        poster = np.full((channels, height, width), 0.25, np.float32)
        tops = range(0, height, 16)
        found.append(whole(stage(poster[:, top : top + 16], top) for top in tops))
    compared(found, 0.01)


def test_shapes_that_do_not_fit(both: list[dict[str, str]]) -> None:
    """Of the other one's shape."""
    for files, others in (both, both[::-1]):
        for option in (dict(mask=[f"rest={others['mask']}"]), dict(protect=others["mask"])):
            config = RenderConfig(files["content"], (files["style"],), "p.png", **option)
            opened = {path: open_picture(path) for path in pictures_of(config)}
            content = opened[files["content"]]
            with pytest.raises(ConfigError, match=f"the shape of the content .{content.width} x {content.height}."):
                guiding.check_guides(config, content, opened)


SPEED = Speed(3, 0.01, (0.5, 1e-6), (0.2, 1e-6), (0.3, 1e-6), (0.1, 1e-6), move=1e-6, write=5e-7, write_png=1e-7)
PICTURES = {"content": (300, 500), "style": (900, 400), "other": (250, 251)}
ASKED: dict[str, dict[str, Any]] = {
    "as it comes": dict(long_edge=700, tile=128),
    "tiles by memory": dict(long_edge=2000),
    "default steps": dict(long_edge=2600, tile=1024),
    "wrapped": dict(long_edge=700, tile=128, wrap="xy"),
    "true sizes": dict(long_edge=700, tile=128, content_gsd="10", style_gsd=(4.0, 12.0)),
    "without steps": dict(long_edge=700, steps=(3, 0, 0), levels=3, tile=128, feather=8, halo=32),
    "larger styles": dict(long_edge=300, style_scale=(3.0, 0.5), tile=512),
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("order", [WAYS, WAYS[::-1]])
def test_jobs_and_plans(asked: str, order: tuple[bool, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = Trunk({f"relu{name}": 64 for name in NAMES}, "0" * 64)
    machine, found = Machine(host=Host(free_bytes=3 * 10**9, total_bytes=3 * 10**9)), []
    for turned in order:
        config = RenderConfig("content", ("style", "other"), "p.png", device="cpu", threads=1, precision="bf16")
        config = replace(config, **ASKED[asked])
        content, *styles = (
            SimpleNamespace(
                path=name, height=size[turned], width=size[1 - turned], file_size=(size[turned], size[1 - turned]),
                in_part=False, georef=None,
            )
            for name, size in PICTURES.items()
        )  # fmt: skip
        resolved, job = resolve.resolve_config(config, content, styles, machine, trunk)
        said = resolve.notes(resolve.settle_size(config, content), job, content, styles)
        plan = plan_job(resolved, job, speed=SPEED, machine=machine)
        lies = slice(None, None, -1 if turned else 1)
        found.append(
            (
                [(level.height, level.width)[lies] for level in job.cut.levels],
                [level.steps for level in job.cut.levels],
                [[size[lies] for size in sizes] for sizes in job.styles.sizes],
                (job.cut.tile, job.cut.halo, job.cut.feather),
                [sorted(re.findall(r"[\d.]+", line)) for line in said],
                [(one.tiles, one.rounds, one.read_pixels) for one in plan.levels],
                (plan.steps, plan.tile_steps, plan.output_bytes),
                round(plan.seconds or 0, 6),
                plan.worker_bytes,
            )
        )
    assert found[0] == found[1]
    assert found[0][0][-1][0] < found[0][0][-1][1]
    if asked == "true sizes":
        assert len(found[0][4]) == 1
        assert ground.LEAST_STYLE > 0


@pytest.mark.parametrize(
    ("name", "bits", "compression", "each"),
    [("p.png", 8, None, 0.52), ("p.png", 16, None, 1.52), ("P.TIF", 8, None, 0.8), ("p.tif", 16, "none", 8 / 3),
     ("p.tif", 8, "none", 4 / 3), ("p.jpg", 8, None, 0.14), ("p.webp", 8, None, 0.09), ("p.dzi", 8, None, 0.25),
     ("p.zarr", 16, None, 1.9), ("tiles", 8, None, 0.25)],
)  # fmt: skip
def test_files_take_the_bytes_that_were_measured(name: str, bits: int, compression: str | None, each: float) -> None:
    for height, width in ((300, 70), (70, 300)):
        for channels in (3, 4):
            found = typical_bytes(name, height, width, channels, bits, compression)
            assert found == pytest.approx(each * channels * 21000, abs=1)


@pytest.mark.parametrize("size", ["300x70", "70x300"])
def test_a_plan_counts_the_poster_and_its_tiles(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = Trunk({f"relu{name}": 64 for name in NAMES}, "0" * 64)
    width, height = map(int, size.split("x"))
    picture: Any = SimpleNamespace(path="a", height=height, width=width, file_size=(height, width), in_part=False)
    for files, each in (
        (dict(output="p.png"), 0.52), (dict(output=None, tiles="t"), 0.25), (dict(output="p.tif", tiles="t"), 1.05),
        (dict(output="p.tif", tiles="t", bits=16), 2.05),
    ):  # fmt: skip
        config = replace(RenderConfig("c", ("s",), "p.png", device="cpu", threads=1, size=size), **files)
        resolved, job = resolve.resolve_config(config, picture, [picture], Machine(), trunk)
        for has_alpha, channels in ((False, 3), (True, 4)):
            found = plan_job(resolved, job, has_alpha).output_bytes
            assert found == round(each * channels * 21000)

"""`tiler dream` and its flight into the picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiler.errors import ConfigError
from tiler.pictures import read_picture
from tiler.request.config import RenderConfig
from tiler.series.zoom import _next, zoom_in

SMALL = ("--layer", "relu2_2", "--octaves", "2", "--steps", "2", "--long-edge", "64")


def named(folder: Path) -> list[str]:
    """What a person sees there."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_dreams_and_zooms(here, inputs: Path) -> None:
    done = here("dream", "content.png", "-o", "frames", "--zoom", "2", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "ffmpeg" in done.stderr
    assert named(inputs / "frames") == ["frame-0000.png", "frame-0001.png", "zoom.json"]
    first, second = (np.asarray(Image.open(inputs / "frames" / f"frame-000{i}.png")).astype(float) for i in (0, 1))
    assert first.shape == second.shape
    assert np.abs(first - second).mean() > 1
    again = here("dream", "content.png", "-o", "frames", "--zoom", "2", *SMALL)
    assert again.returncode == 0, again.stderr
    other = here("dream", "content.png", "-o", "frames", "--zoom", "2", *SMALL, "--channel", "3")
    assert other.returncode == 2
    assert "holds the frames of another dream" in other.stderr
    wrong = here("dream", "content.png", "-o", "d.png", "--layer", "relu9_9")
    assert wrong.returncode == 2
    assert "unknown layer 'relu9_9'" in wrong.stderr


def test_a_flight_takes_no_overlay(here, inputs: Path) -> None:
    """What is drawn on top would become part of the next frame's content."""
    refused = here("dream", "content.png", "-o", "frames", "--zoom", "2", "--overlay", "style.png", *SMALL)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert "overlay" in refused.stderr
    assert "--zoom" in refused.stderr
    assert not (inputs / "frames").exists()


class StopError(Exception):
    pass


def test_a_flight_that_was_stopped_begins_anew_when_forced(inputs: Path, cluster: str, small_weights: str) -> None:
    config = RenderConfig(
        str(inputs / "content.png"), (str(inputs / "style.png"),), str(inputs / "frames"), long_edge=32, levels=1,
        steps=(1,), weights=small_weights, scheduler=cluster,
    )  # fmt: skip

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "level":
            raise StopError

    with pytest.raises(StopError):
        zoom_in(config, 1, 1.05, stop)
    Image.open(inputs / "content.png").rotate(180).save(inputs / "content.png")
    with pytest.raises(ConfigError, match=r"holds the frames of another dream; .*--force-new"):
        zoom_in(config, 1, 1.05)
    [frame] = zoom_in(config, 1, 1.05, force_new=True)
    assert Image.open(frame).size == (32, 24)
    assert named(frame.parent) == ["frame-0000.png", "zoom.json"]
    os.utime(frame, (1, 1))
    assert zoom_in(config, 1, 1.05) == [frame]
    assert frame.stat().st_mtime == 1
    zoom_in(config, 1, 1.05, force_new=True)
    assert frame.stat().st_mtime > 1, "the same dream, begun anew"


def test_a_later_frame_has_a_third_of_the_steps_and_its_own_content_as_style(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = np.zeros((60, 40, 3), np.uint8)
    asked: list[RenderConfig] = []

    def drawn(config: RenderConfig, *_: object) -> None:
        asked.append(config)
        Image.fromarray(where).save(config.output)
        Path(str(config.store)).mkdir()

    monkeypatch.setattr("tiler.series.zoom.render", drawn)
    start = tmp_path / "start.png"
    Image.fromarray(where).save(start)
    config = RenderConfig(str(start), (str(start),), str(tmp_path / "frames"), steps=(10, 3), long_edge=99, scale=None,
                          stretch="2,98")  # fmt: skip
    frames = zoom_in(config, 2, 1.5)
    assert [frame.name for frame in frames] == ["frame-0000.png", "frame-0001.png"]
    first, second = asked
    assert (first.content, first.steps, first.long_edge) == (str(start), (10, 3), 99)
    assert (second.steps, second.size, second.long_edge, second.scale) == ((4, 1), "40x60", None, None)
    assert second.styles == (second.content,) != first.styles
    assert (first.stretch, second.stretch) == ("2,98", None), "a frame is stretched already"


@pytest.mark.parametrize(("size", "factor"), [((60, 101), 1.25), ((90, 40), 2.0)])
def test_the_middle_is_what_is_enlarged(tmp_path: Path, size: tuple[int, int], factor: float) -> None:
    """Pixels that say where they lie: red grows downwards, green to the right."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    frame = tmp_path / "frame.png"
    Image.fromarray(np.stack([y * 2, x * 2, 0 * y], -1).astype(np.uint8)).save(frame)
    following = _next(RenderConfig(str(frame), (str(frame),), "o.png"), frame, factor, tmp_path)
    found = np.rint(read_picture(str(following.content), height, width) * 255)
    for plane, side in ((found[0], height), (found[1].T, width)):
        # The middle stays, and a step is `factor` times as long; one pixel of the source counts two.
        assert plane[side // 2].mean() == pytest.approx(2 * (side // 2), abs=3)
        step = np.polyfit(np.arange(side), plane.mean(1), 1)[0]
        assert step == pytest.approx(2 / factor, rel=0.04)

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from small_land import SMALL

from tiler.growing.learn import Lesson, learn


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """sea.png and moor.png, 72 x 64 px."""
    folder, found = tmp_path_factory.mktemp("photos"), []
    for number, (name, colour) in enumerate({"sea": (20, 60, 130), "moor": (120, 90, 40)}.items()):
        grain = np.random.default_rng(number).normal(0, 25, (64, 72, 3)).cumsum(1) / 4
        found.append(str(folder / f"{name}.png"))
        Image.fromarray(np.clip(grain + colour, 0, 255).astype(np.uint8)).save(found[-1])
    return found[0], found[1]


@pytest.fixture(scope="session")
def land(photos: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of two kinds, after two steps."""
    output = str(tmp_path_factory.mktemp("land") / "land.safetensors")
    learn(Lesson(photos, output, steps=2, **SMALL))
    return output


@pytest.fixture(scope="session")
def scenes(photos: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a DCGAN, after so many steps that its batch norms have seen something."""
    output = str(tmp_path_factory.mktemp("scenes") / "scenes.safetensors")
    learn(Lesson(photos[:1], output, "dcgan", steps=25, channels=2, batch=2, threads=1))
    return output

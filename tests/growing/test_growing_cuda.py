"""On a GPU lands are learned and grown as on a CPU, but for rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_land import SMALL

from tiler.geometry import Rect
from tiler.growing import texture
from tiler.growing.grow import block
from tiler.growing.land import Facts
from tiler.growing.noise import Plane
from tiler.growing.photos import Photos
from tiler.growing.training import Training

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def test_a_gpu_grows_the_same_land(land: str) -> None:
    """To an eighth of what 8 bits tell."""
    data, box, shares = Path(land).read_bytes(), Rect(32, 48, 160, 240), np.full((2, 1, 1), 0.5, np.float32)
    ours, theirs = (block(data, device, Plane(3), box, shares).astype(int) for device in ("cpu", "cuda"))
    assert ours.std() > 500
    assert np.abs(ours - theirs).max() <= 32


def test_a_gpu_learns_as_a_cpu_does(photos: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(texture, "best_precision", lambda device: "fp32")
    monkeypatch.setattr(texture, "backbone", texture.backbone.__wrapped__)
    pictures = Photos.read(photos, SMALL["patch"])
    facts = Facts(
        "spatial", SMALL["channels"], pictures.names, pictures.colours(), SMALL["patch"], SMALL["batch"], 5,
        pictures.digests, 0, 0.0, {},
    )  # fmt: skip
    ours, theirs = Training(facts, pictures), Training(facts, pictures, "cuda")
    for _ in range(3):
        assert theirs.step() == pytest.approx(ours.step(), rel=0.01)
    again = Training(facts, pictures, "cuda")
    again.load({name: tensor.cpu() for name, tensor in theirs.tensors().items()}, theirs.steps)
    assert again.step() == pytest.approx(theirs.step(), rel=0.001)

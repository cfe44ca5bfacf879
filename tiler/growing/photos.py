"""What is learned from: photos, held as bytes, and the patches drawn from them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tiler.errors import ConfigError, PictureError
from tiler.growing.land import MOST_LANDS, Colours
from tiler.pictures import open_picture

MOST_PIXELS = 2**27
_ROWS, _COLOURS_FROM = 256, 2**17
# How far augmentation moves a patch's colours, in their own units, and its contrast: the same for real ones and made
# ones, so that neither is learned (DiffAugment, Zhao et al. 2020).
_MOVED, _STRETCHED = 0.2, 0.2


@dataclass(frozen=True)
class Photos:
    """names: what each one's land is called. pixels: [3, h, w] uint8 each."""

    names: tuple[str, ...]
    pixels: tuple[np.ndarray, ...]

    @classmethod
    def read(cls, files: Sequence[str], patch: int) -> Photos:
        """Raises PictureError and ConfigError for what cannot be learned from."""
        names = [Path(file).stem.replace(",", " ").replace("=", " ") for file in files]
        if len({*names}) < len(names) or len(names) > MOST_LANDS:
            raise ConfigError(
                f"PHOTO... = {', '.join(files)}; allowed: 1 to {MOST_LANDS} pictures, each with a name of its own, "
                "since that is what its land is called"
            )
        pictures = [open_picture(file) for file in files]
        for picture in pictures:
            if min(picture.height, picture.width) < patch:
                raise PictureError(
                    f"{picture.path}: {picture.width} x {picture.height} px are too few to learn from with --patch "
                    f"{patch}"
                )
        total = sum(picture.height * picture.width for picture in pictures)
        if total > MOST_PIXELS:
            raise PictureError(
                f"{', '.join(files)}: {total / 1e6:.0f} million pixels; allowed: up to {MOST_PIXELS / 1e6:.0f}, so a "
                "part of them"
            )
        return cls(tuple(names), tuple(_bytes(picture) for picture in pictures))

    @property
    def digests(self) -> tuple[str, ...]:
        """Of the pixels, wherever they came from."""
        return tuple(
            hashlib.sha256(repr(one.shape).encode() + np.ascontiguousarray(one).tobytes()).hexdigest()
            for one in self.pixels
        )

    def colours(self) -> Colours:
        """Of all photos, each of which counts the same."""
        some = [one.reshape(3, -1) for one in self.pixels]
        least = min(_COLOURS_FROM, *(part.shape[1] for part in some)) if len(some) > 1 else _COLOURS_FROM
        taken = [part[:, :: max(1, part.shape[1] // least)][:, :least] for part in some]
        return Colours.of(np.concatenate(taken, 1) / 255)

    def drawn(self, rng: np.random.Generator, patch: int, lands: Sequence[int]) -> torch.Tensor:
        """[n, 3, patch, patch] in 0..1: of each of these photos a patch from anywhere."""
        found = []
        for land in lands:
            photo = self.pixels[land]
            y, x = (int(rng.integers(0, side - patch + 1)) for side in photo.shape[1:])
            found.append(photo[:, y : y + patch, x : x + patch])
        return torch.from_numpy(np.stack(found).astype(np.float32) / 255)


def _bytes(picture: object) -> np.ndarray:
    bands = picture.bands(picture.height, picture.width, _ROWS)  # type: ignore[attr-defined]
    return np.concatenate([np.rint(band * 255).astype(np.uint8) for band in bands], 1)


def augmented(units: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Patches [n, 3, h, w] with their colours moved and their contrast changed, each in its own way."""
    n = len(units)
    stretch, move = (
        torch.from_numpy(rng.uniform(-by, by, shape).astype(np.float32)).to(units)
        for by, shape in ((_STRETCHED, (n, 1, 1, 1)), (_MOVED, (n, 3, 1, 1)))
    )
    return units * (1 + stretch) + move

"""What a poster is judged by, all of it on features and pixels that no contender optimised as such: lower is better,
but for the calm areas' contrast, which is right at 1, and for the layout.

    content    squared distance of relu4_2 to the content's, over the content's
    held_out   squared distance of Grams to the style's, over the style's: mean of four layers that nobody trains on
    swd        Wasserstein-2 distance, squared, of these layers' features to the style's along random directions, over
               their power (Rabin et al. 2011)
    spectrum   rms difference, in nepers, of the brightness's power in twelve bands of spatial frequency
    light, chroma   fine contrast where the content is calmest, over that of the style's calmest windows: 1 is as calm
    layout     share of pixels whose colour still tells a mask's region from the rest, by the best linear split
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import step
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tiler.style.weights import Conv, load_weights

HELD_OUT, CONTENT = ("relu1_2", "relu2_2", "relu3_4", "relu4_4"), "relu4_2"
_SAMPLES, _DIRECTIONS, _BANDS, _WINDOW, _CALM = 8192, 64, 12, 32, 0.3


def read(path: Path, size: tuple[int, int] | None = None, edge: int | None = None) -> Tensor:
    """[3, H, W] in 0..1. size: (height, width) to resample to; edge: the long one."""
    with Image.open(path) as image:
        image = image.convert("RGB")
        if edge is not None:
            scale = edge / max(image.size)
            size = round(image.height * scale), round(image.width * scale)
        if size is not None and size != (image.height, image.width):
            image = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
        return torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1).contiguous()


class Judge:
    """Of posters of one pair at one size, which are files, or pixels [3, H, W] in 0..1. device: where features are
    computed, in fp32."""

    def __init__(self, content: Path, style: Path, mask: Path | None, edge: int, device: str = "cpu") -> None:
        self._device = device
        self._convs = [Conv(one.name, one.weight.to(device), one.bias.to(device)) for one in load_weights("bundled")]
        self._content, self._style = read(content, edge=edge), read(style, edge=edge)
        self._mask = mask
        self._wanted = self._features(self._content, {CONTENT})[CONTENT]
        goal = self._features(self._style, {*HELD_OUT})
        self._grams = {layer: _gram(found) for layer, found in goal.items()}
        self._along = {layer: _quantiles(found) for layer, found in goal.items()}

    @torch.no_grad()
    def _features(self, pixels: Tensor, layers: set[str]) -> dict[str, Tensor]:
        tf32, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
        try:
            found = step.plain_features(pixels.to(self._device), self._convs, layers)
        finally:
            torch.backends.cudnn.allow_tf32 = tf32
        return {layer: features.flatten(1) for layer, features in found.items()}

    def _poster(self, poster: Path | Tensor) -> Tensor:
        size = self._content.shape[1], self._content.shape[2]
        if isinstance(poster, Path):
            return read(poster, size)
        if poster.shape[1:] != size:
            poster = F.interpolate(poster[None], size, mode="bicubic", antialias=True)[0].clamp(0, 1)
        return poster.cpu()

    def content(self, poster: Path | Tensor) -> float:
        """The content's distance alone, which a weight is searched by."""
        found = self._features(self._poster(poster), {CONTENT})[CONTENT]
        return _apart(found, self._wanted)

    def all(self, of: Path | Tensor) -> dict[str, float]:
        """Every measure, by its name."""
        poster = self._poster(of)
        found = self._features(poster, {*HELD_OUT, CONTENT})
        grams = [_apart(_gram(found[layer]), self._grams[layer]) for layer in HELD_OUT]
        slices = [_apart(_quantiles(found[layer]), self._along[layer]) for layer in HELD_OUT]
        bands = _spectrum(poster) - _spectrum(self._style)
        light, chroma = self._calm(poster)
        apart = _apart(found[CONTENT], self._wanted)
        row = {"content": apart, "held_out": float(np.mean(grams)), "swd": float(np.mean(slices))}
        row |= {"spectrum": float(np.sqrt((bands**2).mean())), "light": light, "chroma": chroma}
        return row if self._mask is None else row | {"layout": self._layout(poster)}

    def _calm(self, poster: Tensor) -> tuple[float, float]:
        """The poster's over the style's; what nobody can see of either counts as this much."""
        ratios = []
        of_poster = _contrasts(poster, _calmest(self._content))
        of_style = _contrasts(self._style, _calmest(self._style))
        for ours, theirs in zip(of_poster, of_style, strict=True):
            ratios.append(float(ours.median().clamp(min=1e-4) / theirs.median().clamp(min=1e-4)))
        return ratios[0], ratios[1]

    def _layout(self, poster: Tensor) -> float:
        assert self._mask is not None
        inside = read(self._mask, tuple(poster.shape[1:]))[0].flatten() > 0.5
        colours = poster.flatten(1).double()
        groups = colours[:, inside], colours[:, ~inside]
        means = [one.mean(1) for one in groups]
        within = sum(torch.cov(one) for one in groups) + 1e-6 * torch.eye(3, dtype=torch.float64)
        axis = torch.linalg.solve(within, means[0] - means[1])
        said = axis @ colours > axis @ (means[0] + means[1]) / 2
        return float((said == inside).double().mean())


def _apart(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).square().sum() / wanted.square().sum())


def _gram(features: Tensor) -> Tensor:
    return features @ features.T / features.shape[1]


def _quantiles(features: Tensor) -> Tensor:
    """[999, directions] of features along random directions."""
    draw = torch.Generator().manual_seed(1)
    axes = F.normalize(torch.randn(_DIRECTIONS, len(features), generator=draw), dim=1).to(features)
    return torch.quantile(axes @ _some(features), torch.linspace(0.001, 0.999, 999).to(features), dim=1)


def _some(features: Tensor) -> Tensor:
    """At most so many cells, the same of every picture of one size."""
    cells = features.shape[1]
    if cells <= _SAMPLES:
        return features
    which = torch.randperm(cells, generator=torch.Generator().manual_seed(2))[:_SAMPLES]
    return features[:, which.to(features.device)]


def _windows(plane: Tensor, edge: int, step: int) -> Tensor:
    """[n, edge, edge] of a plane [H, W]."""
    return plane.unfold(0, edge, step).unfold(1, edge, step).reshape(-1, edge, edge)


def _spectrum(pixels: Tensor) -> np.ndarray:
    """Log power by band of frequency, the mean over half overlapping windows."""
    edge = min(128, *pixels.shape[1:])
    cut = _windows(pixels.mean(0), edge, edge // 2)
    taper = torch.hann_window(edge)[:, None] * torch.hann_window(edge)
    power = torch.fft.fft2((cut - cut.mean((1, 2), keepdim=True)) * taper).abs().square().mean(0).numpy()
    axis = np.fft.fftfreq(edge)
    band = np.digitize(np.hypot(axis[:, None], axis), np.linspace(0.02, 0.5, _BANDS + 1))
    return np.log(np.array([power[band == one].mean() for one in range(1, _BANDS + 1)]) + 1e-9)


def _calmest(pixels: Tensor) -> Tensor:
    """Which of the windows have the least contrast of light: [n] bool."""
    whole = _windows(pixels.mean(0), _WINDOW, _WINDOW).std((1, 2))
    return whole <= torch.quantile(whole, _CALM)


def _contrasts(pixels: Tensor, which: Tensor) -> Iterator[Tensor]:
    """Fine contrast [n] of light and of chroma in these windows."""
    red, green, blue = pixels
    light, *chroma = (_fine(plane)[which] for plane in (pixels.mean(0), red - green, blue - green))
    yield light
    yield torch.hypot(*chroma)


def _fine(plane: Tensor) -> Tensor:
    """Root mean square of what a mean over 5 x 5 pixels leaves out, in each window [n]."""
    smooth = F.avg_pool2d(F.pad(plane[None, None], (2, 2, 2, 2), mode="replicate"), 5, 1)[0, 0]
    return _windows(plane - smooth, _WINDOW, _WINDOW).square().mean((1, 2)).sqrt()

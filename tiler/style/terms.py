"""What is minimised, in numbers and names; `tiler.style.losses` says what they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tiler.style.layers import LAYERS

STATISTICS = ("gram", "moments", "w2")
# Where a style's roughness is kept among its sums, as if it were a layer's: [1, 1, 2].
ROUGHNESS = "roughness"


def rows(statistics: str, channels: int) -> int:
    """Of the sums of a layer: with or without the features' own."""
    return channels if statistics == "gram" else channels + 1


@dataclass(frozen=True)
class Dream:
    """What is amplified: a layer, or one channel of it."""

    layer: str
    channel: int | None
    weight: float


@dataclass(frozen=True)
class Terms:
    """What is minimised, on any level: layers and weights, without units. protect_strength: how much more the content
    weighs where it is to be kept; 0: nothing says where. dream: None where nothing is amplified."""

    style_layers: tuple[str, ...]
    content_layers: tuple[str, ...]
    style_weight: float
    content_weight: float
    tv_weight: float
    chroma_weight: float = 0.0
    light_weight: float = 0.0
    lines: float = 0.0
    protect_strength: float = 0.0
    dream: Dream | None = None
    statistics: str = "gram"

    def rules(self) -> Iterator[tuple[bool, str]]:
        """Whether it holds, and what does not."""
        dream = self.dream
        yield {*self.style_layers, *self.content_layers} <= {*LAYERS}, "its layers are unknown"
        yield bool(self.style_layers), "its layers are none"
        yield self.statistics in STATISTICS, "its statistics are unknown"
        yield self.protect_strength >= 0, "its content weighs less than nothing"
        yield dream is None or dream.layer in LAYERS, "its dream's layer is unknown"
        yield dream is None or dream.channel is None or 0 <= dream.channel < 4096, "its dream's channel is unknown"

    @property
    def means(self) -> bool:
        """Whether the features' own sums are compared."""
        return self.statistics != "gram"

    @property
    def compared(self) -> tuple[str, ...]:
        """The layers whose features are compared with the content's."""
        return self.content_layers if self.content_weight else ()

    @property
    def sees_content(self) -> bool:
        """Whether anything is compared with the content."""
        return bool(self.compared or self.lines)

    @property
    def layers(self) -> tuple[str, ...]:
        """Every layer in use."""
        return tuple(dict.fromkeys((*self.style_layers, *self.compared, *((self.dream.layer,) if self.dream else ()))))

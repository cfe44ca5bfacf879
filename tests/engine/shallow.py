"""Options of renders in which every kind of part occurs, and no more layers than that takes."""

from typing import Any

SHALLOW: dict[str, Any] = {"style_layers": ("relu1_1", "relu3_1"), "content_layers": ("relu2_2",)}

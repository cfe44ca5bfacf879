"""What passes by the client does not grow with what is rendered; and the posters' bytes do not tell how many did it."""

from __future__ import annotations

from pathlib import Path

import traffic
from _inputs import picture, tiny_backbone

from tiler.engine.schedule import Pool


def test_a_rounds_traffic_does_not_grow_with_the_levels_pixels(tmp_path: Path) -> None:
    tiny_backbone(tmp_path / "tiny.safetensors")
    picture(tmp_path / "content.png", 256, 1)
    picture(tmp_path / "style.png", 128, 2)
    with Pool(None, 2, 1) as pool:
        (_, small), (two, large) = (traffic.rendered(pool, tmp_path, size, 6) for size in (64, 256))
    few, many = (row["scheduler_kb"] - row["beats_kb"] for row in (small, large))
    # Sixteen times the pixels; and 786 kB of them were they to pass by here.
    assert abs(many - few) < 150
    assert 0 < many < 400
    assert large["between_kb"] > 2 * small["between_kb"] > 0
    with Pool(None, 1, 1) as pool:
        one, _ = traffic.rendered(pool, tmp_path, 256, 6)
    assert one == two

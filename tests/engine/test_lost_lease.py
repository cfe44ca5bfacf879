"""A render whose lease another process has taken over ends with one line and writes no more."""

from __future__ import annotations

import importlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore
from serial_pool import Here

from tiler.engine import lease, place, workplace
from tiler.engine.place import LOCK_FILE
from tiler.errors import StoreError
from tiler.request.config import RenderConfig

OTHER = json.dumps({"pid": 7, "host": "elsewhere", "since": "now", "id": "x"}).encode()


@pytest.mark.parametrize("moment", ["level", "tile", "write"])
def test_a_render_ends_with_its_lease(
    moment: str, small_weights: str, pictures_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, bucket = importlib.import_module("tiler.rendering"), MemoryStore()
    monkeypatch.setattr(module, "Pool", Here)
    monkeypatch.setattr(place, "connect", lambda url: bucket)
    monkeypatch.setattr(lease, "BEAT", 0.05)
    workplace._CURRENT.clear()
    before: dict[str, Any] = {}

    def contents() -> dict[str, Any]:
        return {one["path"]: one["e_tag"] for batch in bucket.list() for one in batch}

    def progress(event: dict[str, Any]) -> None:
        if event["event"] == moment and not before:
            bucket.put(LOCK_FILE, OTHER)
            time.sleep(0.5)
            before.update(contents())

    files = (str(pictures_dir / name) for name in ("content.png", "style.png"))
    small = dict(long_edge=32, levels=1, steps=1, threads=1, weights=small_weights, precision="fp32")
    content, style = files
    config = RenderConfig(content, (style,), str(tmp_path / "poster.png"), store="s3://posters/job", **small)
    with pytest.raises(StoreError, match="in use by process 7 on elsewhere since now") as error:
        module.render(config, progress)
    assert "\n" not in str(error.value)
    assert before
    assert contents() == before
    assert bytes(bucket.get(LOCK_FILE).bytes()) == OTHER
    assert not (tmp_path / "poster.png").exists()

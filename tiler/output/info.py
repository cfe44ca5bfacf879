"""What a store says about its job. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tiler.engine.home import homes_of
from tiler.engine.job import Job
from tiler.engine.store import RenderStore
from tiler.output.view import latest_state
from tiler.request.config import LOOK, RenderConfig
from tiler.request.identity import load_config, load_job, table


def describe(url: str) -> dict[str, Any]:
    """Plain facts of a job, JSON-ready. Raises StoreError when there is no job at `url`."""
    store = RenderStore.open(url, writable=False)
    stored = store.attributes
    job, asked = load_job(store), load_config(store)
    config = asked.to_dict()
    size, grid = job.cut.last, job.cut.grid(len(job.cut.levels) - 1)
    homes = homes_of(store)
    levels = [_describe_level(store, job, level) for level in range(len(job.cut.levels))]
    for level, home in zip(levels, homes, strict=False):
        level.update(home=home.where, why=home.why)
    return {
        "content": config["content"],
        "styles": list(dict.fromkeys(source.picture for source in asked.regions.sources)),
        "output": config["output"] or config["tiles"],
        "height": size.height,
        "width": size.width,
        "look": _look(config),
        "mode": job.cut.mode,
        "precision": job.device.precision,
        "device": job.device.kind,
        "threads": job.device.threads,
        "machine": {str(key): str(value) for key, value in table(stored, "machine").items()},
        "tile_pitch": [grid.core_height, grid.core_width],
        "levels": levels,
        "seconds": store.seconds,
        "version": str(stored.get("version")),
        "config": config,
    }


def _look(config: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers and words of the look that are not the defaults, as they were asked for or decided from the pictures."""
    options = [item for item in fields(RenderConfig) if item.metadata.get("group") == LOOK]
    found = [(item, config.get(item.name, item.default)) for item in options]
    return {
        item.name: value
        for item, value in found
        if isinstance(value, int | float | str) and value != item.default and (value or item.default is not None)
    }


def _describe_level(store: RenderStore, job: Job, level: int) -> dict[str, Any]:
    size, report = job.cut.levels[level], store.level_report(level)
    facts: dict[str, Any] = {
        "level": level,
        "height": size.height,
        "width": size.width,
        "tiles": len(job.cut.grid(level)),
        "steps": size.steps,
        "home": None,
        "why": None,
    }
    if report:
        return {**facts, "state": "done", "steps_done": size.steps, "style": None, **report}
    state, _ = latest_state(store, job, level) or (0, None)
    done = job.cut.steps_after(level, state)
    return {**facts, "state": "unfinished" if done else "not begun", "steps_done": done}

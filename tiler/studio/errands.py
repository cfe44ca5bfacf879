"""What is asked for on a page and takes a while, beside previews: plans, proofs and retouches."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tiler.engine.schedule import Pool
from tiler.engine.store import RenderStore
from tiler.errors import ConfigError, TilerError
from tiler.planning.measured import plan
from tiler.planning.plan import Plan
from tiler.planning.room import free_disk
from tiler.request import identity
from tiler.request.config import RenderConfig
from tiler.series.foretelling import Foretold, foretold
from tiler.series.proof import proof, spot
from tiler.series.retouch import retouch
from tiler.studio.bench import Task
from tiler.studio.folder import Folder
from tiler.studio.previews import kept_place

_PROOFS, _KEPT = "proofs", 6
Hear = Callable[[dict[str, Any]], None]


class Planning(Task):
    """What a poster will take on this machine. said: makes a message fit for a page."""

    def __init__(self, config: RenderConfig, said: Callable[[object], str]) -> None:
        super().__init__()
        self._config, self._said, self.found = config, said, None

    found: Plan | None

    def work(self, pool: Pool, cancelled: Callable[[], bool], hear: Hear) -> None:
        notes: list[str] = []
        found = plan(self._config, notes, pool)
        self.found = replace(found, refusal=self._said(found.refusal))
        for note in notes:
            hear({"event": "note", "text": note})

    def told(self) -> dict[str, Any]:
        told, free = super().told(), free_disk(str(self._config.output))
        found = self.found  # it is there before it is done
        return {**told, "plan": found and found.to_dict(), "free_bytes": free}


class Proofing(Task):
    """A spot of a poster, as large as there. at: (x, y) in shares of it. file: where it is once it is done."""

    def __init__(self, folder: Folder, config: RenderConfig, at: tuple[float, float], edge: int) -> None:
        super().__init__()
        self._folder, self._config, self._at, self._edge = folder, config, at, edge
        self.file: Path | None = None
        self._part, self._foretold = "", Foretold(1.0, 0.0)

    def work(self, pool: Pool, cancelled: Callable[[], bool], hear: Hear) -> None:
        place = kept_place(self._folder, _PROOFS, self._config.to_dict(), _KEPT)
        config = replace(self._config, output=str(place / "proof.png"), store=str(place / "proof.zarr"))

        def heard(event: dict[str, Any]) -> None:
            if event["event"] == "plan":
                self._part = event["part"]
            hear(event)

        anew = _is_other(config, self._at, self._edge)
        proof(config, self._at, self._edge, heard, pool, force_new=anew, cancelled=cancelled)
        self._foretold = foretold(str(place / "proof.zarr"))
        self.file = place / "proof.png"

    def told(self) -> dict[str, Any]:
        with self.lock:
            there = self.file is not None
            told = {**super().told(), "at": self._at, "part": self._part, "there": there}
            return {**told, "foretells": asdict(self._foretold) if there else None}


def _is_other(config: RenderConfig, at: tuple[float, float], edge: int) -> bool:
    """Whether what was begun there is another spot's, which would be refused. A finished one's small levels are taken
    over."""
    url = str(config.store)
    try:
        attributes = RenderStore.open(url, writable=False).attributes
        before = identity.asked_for(url, attributes)
    except TilerError:
        return True
    return "wrote" not in attributes and (before.at, before.edge) != (replace(config, at=spot(at)).at, edge)


class Retouching(Task):
    """A part of a finished poster again. url: of its store. mask: a PNG file's bytes. name: of the new poster."""

    def __init__(
        self, folder: Folder, url: str, mask: bytes, output: str, changes: Mapping[str, Any], feather: int
    ) -> None:
        super().__init__()
        self._folder, self._url, self._mask, self._output = folder, url, mask, output
        self._changes, self._feather, self.name = dict(changes), feather, ""

    def work(self, pool: Pool, cancelled: Callable[[], bool], hear: Hear) -> None:
        with self._folder.arriving() as waiting:
            waiting.write_bytes(self._mask)
            retouch(
                self._url, str(waiting), self._output, self._changes, self._feather,
                progress=hear, pool=pool, cancelled=cancelled,
            )  # fmt: skip
        self.name = Path(self._output).stem

    def told(self) -> dict[str, Any]:
        told = super().told()
        return {**told, "name": self.name if told["done"] else ""}


def decoded(text: Any) -> bytes:
    """What a page sends of a picture. Raises ConfigError."""
    try:
        return base64.b64decode(text.partition(";base64,")[2], validate=True)
    except (AttributeError, ValueError, binascii.Error):
        raise ConfigError("mask: allowed: a PNG as a data address") from None


def checked_spot(at: Any, edge: Any) -> tuple[tuple[float, float], int]:
    """Raises ConfigError."""
    match at:
        case [int() | float() as x, int() | float() as y] if 0 <= x <= 1 and 0 <= y <= 1:
            if type(edge) is int and 16 <= edge <= MOST_PROOF:
                return (float(x), float(y)), edge
    raise ConfigError(f"at = {str(at)[:40]}, edge = {str(edge)[:20]}; allowed: two shares, and 16 to {MOST_PROOF} px")


MOST_PROOF = 2048

"""What is asked for, in itself right: its pictures opened, its weights read, its values parsed and checked once."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from tiler import pictures
from tiler.engine.job import Job
from tiler.engine.machine import Machine
from tiler.engine.place import folder_above
from tiler.errors import ConfigError
from tiler.request import guiding
from tiler.request.calming import settle_calm
from tiler.request.colouring import settle_colour
from tiler.request.config import RenderConfig
from tiler.request.given import landed
from tiler.request.places import pictures_of
from tiler.request.placing import placed
from tiler.request.resolve import fitted, meant, settle_size


@dataclass(frozen=True)
class Sources:
    """The pictures of a request. opened: all, by file name. layout: the content, or the part of it that has the
    poster's shape; without a content, the picture that gives the poster its shape. styles: of
    `config.regions.sources`."""

    opened: guiding.Opened
    layout: pictures.Picture
    styles: list[pictures.Picture]
    has_content: bool = True

    @property
    def kept_bytes(self) -> int:
        """Of disk that their decoded pixels take until the finest level has seen them."""
        return sum(picture.kept.need for picture in self.opened.values() if picture.kept is not None)

    @property
    def transparent(self) -> bool:
        """Whether the content's transparency is kept beside every level."""
        return self.has_content and self.layout.has_alpha


@dataclass(frozen=True)
class Asked:
    """config: as asked for, with the size in pixels; settled: with ground scales as numbers. job: as some machine would
    have it, in the largest tiles. landed: files that were written for it, of pictures that were given as pixels.
    decided: a line for what was left open and depends on what the pictures show."""

    config: RenderConfig
    settled: RenderConfig
    sources: Sources
    job: Job
    landed: tuple[str, ...] = ()
    decided: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: RenderConfig) -> Asked:
        """Open the pictures and read the weights. Raises TilerError for whatever is wrong on any machine."""
        if not isinstance(config, RenderConfig):
            raise ConfigError(f"config is of type {type(config).__name__}; allowed: a RenderConfig")
        with landed(config) as new:
            return cls._of(config, new)

    @classmethod
    def _of(cls, config: RenderConfig, new: tuple[str, ...]) -> Asked:
        # Beside the store, which takes more room than their pixels.
        keep_in = folder_above(config.store or config.target) or Path(tempfile.gettempdir())
        opened = guiding.opened_by(config, pictures_of(config), keep_in)
        styles = [pictures.as_style(opened[source.picture]) for source in config.regions.sources]
        shape = opened.get(config.content or config.init)
        config = settle_size(config, shape or styles[0])
        layout = fitted(config, shape) if shape else styles[0]
        guiding.check_guides(config, layout, opened)
        config, decided = settle_colour(config, opened, styles)
        config, more = settle_calm(config, opened, styles)
        settled, job = meant(config, layout, styles)
        return cls(
            config, settled, Sources(opened, layout, styles, config.content is not None), job, new, (*decided, *more)
        )

    def on(self, machine: Machine) -> tuple[RenderConfig, Job]:
        """The configuration with every None replaced, and the job that it means on this machine. Raises ConfigError
        where it asks for what the machine has not."""
        return placed(self.settled, self.job, machine)

    @property
    def overlay(self) -> pictures.Picture | None:
        return self.sources.opened.get(self.config.overlay or "")

    @property
    def notes(self) -> list[str]:
        """What the user should know of how each picture is read, and what follows from what it shows."""
        read = guiding.picture_notes(self.config, self.sources.opened, self.sources.styles)
        return [*read, *self.decided]

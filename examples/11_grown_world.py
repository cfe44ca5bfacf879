"""A world from four lands: each is learned from a satellite picture, grown where the labels say, then rendered."""

from common import Studio, earth, example
from generate.palette import NAMES, PALETTE, colour_labels
from generate.terrain import terrain

import tiler

# For each land: which labels of the terrain it grows on, and where on the earth it is learned from.
LANDS = {
    "ocean": (("ocean", "shallows", "river"), (-50, 22, 36, 27)),
    "forest": (("forest", "grass", "town"), (-72, 2, 18, 13.5)),
    "desert": (("desert", "beach", "rock"), (2, 30, 24, 18)),
    "snow": (("snow",), (-52, 79, 26, 14)),
}
MINUTES, EDGE = 15.0, 384


@example("minutes")
def main(studio: Studio, minutes: float = MINUTES) -> None:
    world = terrain(studio.edge, studio.edge * 3 // 4, "temperate", seed=6)
    merged, photos = world.labels.copy(), []
    for land, (members, window) in LANDS.items():
        for name in members:
            merged[world.labels == NAMES.index(name)] = NAMES.index(land)
        photos.append(studio.save(land, earth(*window)))
    labels, learned = studio.save("labels", colour_labels(merged)), str(studio.folder / "lands.safetensors")
    # A preview is content with worse land.
    minutes *= min(1.0, studio.long_edge / EDGE) ** 4
    tiler.learn(tiler.Lesson(tuple(photos), learned, minutes=minutes, device=studio.machine.get("device", "auto")))
    grown = str(studio.folder / "content.png")
    where = tuple(f"{PALETTE[land]}={land}" for land in LANDS)
    tiler.grow(tiler.Growth(learned, grown, labels=labels, label=where, blend=24.0, **studio.machine))
    styles = tuple(f"{PALETTE[land]}={photo}" for land, photo in zip(LANDS, photos, strict=True))
    studio.render(grown, labels=labels, label=styles)


if __name__ == "__main__":
    main()

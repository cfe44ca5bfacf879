"""Four styles, each where the map says: ocean, forest, desert and ice. Beside it the same styles without regions."""

from common import Studio, earth, example
from generate.maps import draw_relief
from generate.palette import NAMES, PALETTE, colour_labels
from generate.terrain import terrain

# For each ground: which labels of the terrain lie on it, and where on the earth it looks like that.
GROUNDS = {
    "ocean": (("ocean", "shallows", "river"), (-50, 22, 36, 27)),
    "forest": (("forest", "grass", "town"), (-72, 2, 18, 13.5)),
    "desert": (("desert", "beach", "rock"), (2, 30, 24, 18)),
    "snow": (("snow",), (-52, 79, 26, 14)),
}


@example()
def main(studio: Studio) -> None:
    land = terrain(studio.edge, studio.edge * 3 // 4, "temperate", seed=6)
    content = studio.save("content", draw_relief(land))
    merged, places, styles = land.labels.copy(), [], []
    for ground, (members, window) in GROUNDS.items():
        for name in members:
            merged[land.labels == NAMES.index(name)] = NAMES.index(ground)
        styles.append(studio.save(ground, earth(*window)))
        places.append(f"{PALETTE[ground]}={styles[-1]}")
    labels = studio.save("labels", colour_labels(merged))
    studio.render(content, labels=labels, label=tuple(places), content_weight=0.225)
    studio.render(content, *styles, name="without", content_weight=0.225)


if __name__ == "__main__":
    main()

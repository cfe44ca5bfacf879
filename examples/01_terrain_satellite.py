"""A made-up land as if photographed from space: the map of a game becomes a satellite poster."""

from common import Studio, earth, example
from generate.maps import draw_relief
from generate.terrain import terrain


@example()
def main(studio: Studio) -> None:
    land = terrain(studio.edge, studio.edge * 3 // 4, "temperate", seed=3)
    content = studio.save("content", draw_relief(land))
    style = studio.save("style", earth(62, 42, 60, 45))  # Tibet to Java: sea, forest, sand, snow
    studio.render(content, style, content_weight=0.375, regions=2)


if __name__ == "__main__":
    main()

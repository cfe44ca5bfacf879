"""A made-up land in the manner of a hand-drawn map: ink, hatching and parchment."""

from common import Studio, example
from generate.maps import draw_relief
from generate.strokes import ink_map
from generate.terrain import terrain


@example()
def main(studio: Studio) -> None:
    land = terrain(studio.edge, studio.edge * 3 // 4, "temperate", seed=3)
    content = studio.save("content", draw_relief(land))
    drawn = terrain(studio.style_edge, studio.style_edge, "temperate", seed=5)  # another land: only its manner is taken
    style = studio.save("style", ink_map(drawn))
    studio.render(content, style, content_weight=0.3, regions=3)


if __name__ == "__main__":
    main()

"""A board game's hexagons as islands of a volcano: each field keeps its shape and gets real ground."""

from common import Studio, example
from generate.maps import draw_hexagons
from generate.scenes import volcanic_island
from generate.terrain import terrain


@example()
def main(studio: Studio) -> None:
    land = terrain(studio.edge, studio.edge * 3 // 4, "temperate", seed=8)
    content = studio.save("content", draw_hexagons(land, across=22)[0])
    style = studio.save("style", volcanic_island(studio.style_edge, studio.style_edge))
    studio.render(content, style, content_weight=0.525)


if __name__ == "__main__":
    main()

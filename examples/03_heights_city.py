"""A grey map of heights as a city: blocks and parks follow the slopes. Nothing of the colour is in the content."""

from common import Studio, example
from generate.maps import draw_heights
from generate.scenes import city
from generate.terrain import terrain


@example()
def main(studio: Studio) -> None:
    land = terrain(studio.edge, studio.edge * 3 // 4, "temperate", seed=5)
    content = studio.save("content", draw_heights(land))
    style = studio.save("style", city(studio.style_edge, studio.style_edge))
    studio.render(content, style, content_weight=0.12)


if __name__ == "__main__":
    main()

"""Two styles, one after the other: a block map becomes a satellite photo, and that becomes a painting."""

from common import Studio, earth, example
from generate.maps import draw_blocks
from generate.strokes import painting
from generate.terrain import terrain


@example()
def main(studio: Studio) -> None:
    land = terrain(studio.edge, studio.edge * 3 // 4, "desert", seed=6)
    content = studio.save("content", draw_blocks(land)[0])
    satellite = studio.save("style-1", earth(62, 42, 60, 45))
    brush = studio.save("style-2", painting(studio.style_edge, studio.style_edge))
    first = studio.render(content, satellite, name="first")
    studio.render(first, brush, content_weight=0.225)


if __name__ == "__main__":
    main()

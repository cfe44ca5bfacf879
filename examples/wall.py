"""A made-up land for a wall, 16384 x 16384 px: its relief of 4096 px in the look of 75 x 52 degrees of the earth."""

from common import Studio, earth, example
from generate.maps import draw_relief
from generate.terrain import terrain


@example(default_edge=16384)
def main(studio: Studio) -> None:
    content = studio.save("content", draw_relief(terrain(studio.edge, studio.edge, "temperate", seed=22)))
    studio.render(content, studio.save("style", earth(62, 48, 75, 52, edge=1125)))


if __name__ == "__main__":
    main()

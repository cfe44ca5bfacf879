"""A made-up world that continues over its edge: rolled by half its width, the poster shows no joint."""

import numpy as np
from common import Studio, earth, example
from generate.maps import draw_relief
from generate.terrain import terrain
from PIL import Image


@example()
def main(studio: Studio) -> None:
    land = terrain(studio.edge, studio.edge // 2, "world", seed=19)
    content = studio.save("content", draw_relief(land))
    style = studio.save("style", earth(-180, 90, 360, 180))
    poster = np.asarray(Image.open(studio.render(content, style, wrap="x", content_weight=0.375, regions=2)))
    studio.save("rolled", np.roll(poster, poster.shape[1] // 2, axis=1))


if __name__ == "__main__":
    main()

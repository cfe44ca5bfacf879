"""Clouds that turn into a city: a low content weight leaves only the large forms."""

from common import Studio, example
from generate.scenes import city, clouds


@example()
def main(studio: Studio) -> None:
    content = studio.save("content", clouds(studio.edge, studio.edge * 3 // 4, seed=4))
    style = studio.save("style", city(studio.style_edge, studio.style_edge, seed=2))
    studio.render(content, style, content_weight=0.06)


if __name__ == "__main__":
    main()

"""A photo as a painting: the classic, with a rocket on its pad and a night of swirling strokes."""

from common import Studio, example, photo
from generate.strokes import painting


@example()
def main(studio: Studio) -> None:
    content = studio.save("content", photo("rocket.jpg"))
    style = studio.save("style", painting(studio.style_edge, studio.style_edge))
    studio.render(content, style, content_weight=0.15)


if __name__ == "__main__":
    main()

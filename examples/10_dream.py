"""A dream: what a layer of the network sees in a photo, amplified."""

from common import Studio, example, photo

from tiler.cli.dream import DEFAULTS


@example()
def main(studio: Studio) -> None:
    content = studio.save("content", photo("rocket.jpg"))
    studio.render(content, content, **{**DEFAULTS, "dream_layer": "relu4_2", "style_layers": ("relu4_2",)})


if __name__ == "__main__":
    main()

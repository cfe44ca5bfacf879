"""Where regions are, on pictures of a few pixels with numbers that are known."""

import numpy as np
from PIL import Image

from tiler.config import RenderConfig
from tiler.guiding import guide_bands
from tiler.pictures import open_picture


def test_two_masks_of_one_region_give_the_larger(tmp_path):
    for name, values in (("c", [0, 0, 0, 0]), ("m", [255, 102, 102, 0]), ("n", [0, 102, 51, 0])):
        Image.fromarray(np.tile(np.uint8(values), (3, 1))).save(tmp_path / f"{name}.png")
    files = {name: str(tmp_path / f"{name}.png") for name in "cmn"}
    config = RenderConfig(
        content=files["c"], styles=("s",), output="o.png", region=("a=t",), region_edge=0,
        mask=(f"a={files['m']}", f"a={files['n']}"),
    )  # fmt: skip
    opened = {file: open_picture(file) for file in files.values()}
    bands = np.concatenate(list(guide_bands(config, opened[files["c"]], opened, 3, 4, 2)), 1)
    assert bands.shape == (2, 3, 4)
    np.testing.assert_allclose(bands[1, 0], [1, 0.4, 0.4, 0], atol=1e-6)
    np.testing.assert_allclose(bands[0, 0], [0, 0.6, 0.6, 1], atol=1e-6)

"""Reading, resizing, colour and writing of pictures of any size, in bands.

Order is always (y, x) and (height, width). Pixels are float32 `[channels, rows, width]` in 0..1, sRGB.
Nothing here holds a whole picture unless the file format leaves no choice (see `Picture.bands`).
"""

from tiler.pictures.fingerprint import digest, fingerprint
from tiler.pictures.georef import Georef
from tiler.pictures.ground import metres_per_pixel
from tiler.pictures.outputs import check_output, replaced_by
from tiler.pictures.parts import as_style, part_bands
from tiler.pictures.picture import Channels, Picture
from tiler.pictures.planes import label_bands, mask_bands
from tiler.pictures.read import open_picture, read_picture, shown_small
from tiler.pictures.readable import readable
from tiler.pictures.sidecars import check_sidecars
from tiler.pictures.stream import reading_until
from tiler.pictures.tiles import check_xyz, write_xyz
from tiler.pictures.write import write_picture

__all__ = [
    "Channels",
    "Georef",
    "Picture",
    "as_style",
    "check_output",
    "check_sidecars",
    "check_xyz",
    "digest",
    "fingerprint",
    "label_bands",
    "mask_bands",
    "metres_per_pixel",
    "open_picture",
    "part_bands",
    "read_picture",
    "readable",
    "reading_until",
    "replaced_by",
    "shown_small",
    "write_picture",
    "write_xyz",
]

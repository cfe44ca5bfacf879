"""All kinds of networks, by the names that they are asked for by."""

from tiler.growing.architecture import Architecture
from tiler.growing.dcgan import Dcgan
from tiler.growing.spatial import Spatial

ARCHITECTURES: dict[str, Architecture] = {kind.name: kind for kind in (Spatial(), Dcgan())}

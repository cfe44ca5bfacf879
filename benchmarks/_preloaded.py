"""What processes of an arena are forked with: seconds less each. Nothing here may look for a GPU, or start threads."""

import distributed
import numpy
import PIL.Image
import step
import torch
import zarr

step._import_torchvision()
LOADED = (PIL.Image, distributed, numpy, torch, zarr)

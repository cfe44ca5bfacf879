"""VGG-19's shape with few channels, and the same network as plain torch for autograd: the oracle."""

import torch
import torch.nn.functional as F

from tiler.style.weights import Conv

PLAN = [
    *("1_1", "1_2", "P"),
    *("2_1", "2_2", "P"),
    *("3_1", "3_2", "3_3", "3_4", "P"),
    *("4_1", "4_2", "4_3", "4_4", "P"),
    *("5_1", "5_2", "5_3", "5_4"),
]
NAMES = [name for name in PLAN if name != "P"]
TORCHVISION_INDICES = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]


def small_convs(seed=0, widths=(5, 6, 7, 8, 9), dtype=torch.float64):
    """16 convolutions with `widths` channels a block; activations neither die nor grow on the way down."""
    generator = torch.Generator().manual_seed(seed)
    convs, channels = [], 3
    for name in NAMES:
        out = widths[int(name[0]) - 1]
        weight = torch.randn(out, channels, 3, 3, generator=generator, dtype=dtype) * (2 / (9 * channels)) ** 0.5
        convs.append(Conv(name, weight, 0.1 * torch.randn(out, generator=generator, dtype=dtype)))
        channels = out
    return convs


def counting_convs():
    """One channel, all weights 1, no bias: features are 0 exactly where every pixel they see is 0."""
    return [Conv(name, torch.ones(1, 3 if name == "1_1" else 1, 3, 3), torch.zeros(1)) for name in NAMES]


def composed(convs, pixels, pooling="avg", wrap=""):
    """Every ReLU's output [C, H, W] by name, differentiable. wrap: the axes that continue at the opposite edge."""
    x, features, rest = pixels[None], {}, iter(convs)
    for name in PLAN:
        if name == "P":
            x = (
                F.max_pool2d(x, 2, ceil_mode=True)
                if pooling == "max"
                else F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
            )
            continue
        _, weight, bias = next(rest)
        x = F.pad(x, (1, 1, 0, 0), mode="circular" if "x" in wrap else "replicate")
        x = F.pad(x, (0, 0, 1, 1), mode="circular" if "y" in wrap else "replicate")
        x = F.conv2d(x, weight, bias).relu()
        features[f"relu{name}"] = x[0]
    return features


def random_pixels(height, width, seed=1, dtype=torch.float64):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def relative_error(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())

"""The networks of the course by name, each built from the same parts with one switch changed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from helpers.models.deeplab import DeepLab, StackWithASPP
from helpers.models.dilated import DilatedStack
from helpers.models.encoder import Encoder
from helpers.models.fcn import FCN
from helpers.models.fpn import FPN
from helpers.models.unet import ShuffledUNet, UNet
from helpers.upsampling import UPSAMPLERS

__all__ = [
    "FCN",
    "FPN",
    "MODELS",
    "DeepLab",
    "DilatedStack",
    "Encoder",
    "ShuffledUNet",
    "StackWithASPP",
    "UNet",
    "build",
    "count_parameters",
]

RATE_PATTERNS = ((1, 1, 1, 1), (2, 2, 2, 2), (1, 2, 4, 8), (4, 4, 4, 4), (1, 2, 5, 8))
"""Rates that notebook 05 compares; the last two reach equally far, with holes and without."""


def colour_classifier(num_classes: int, hidden: int = 32) -> nn.Sequential:
    """A class for each pixel from its own three numbers: 1x1 convolutions see no neighbour."""
    return nn.Sequential(
        nn.BatchNorm2d(3),  # stretches the narrow range of real colours
        nn.Conv2d(3, hidden, 1),
        nn.ReLU(),
        nn.Conv2d(hidden, hidden, 1),
        nn.ReLU(),
        nn.Conv2d(hidden, num_classes, 1),
    )


MODELS: dict[str, Callable[[int], nn.Module]] = {
    "colour": colour_classifier,
    **{f"fcn{32 >> skips}s": partial(FCN, skips=skips) for skips in range(4)},
    "fpn": FPN,
    "unet_noskip": partial(UNet, skips=False),
    "unet": UNet,
    "unet_shuffled": ShuffledUNet,
    **{f"fcn32s_{u}": partial(FCN, upsampler=u) for u in UPSAMPLERS if u != "bilinear"},
    **{
        "dilated_" + "".join(map(str, rates)): partial(DilatedStack, rates=rates)
        for rates in RATE_PATTERNS
    },
    "stack_aspp": StackWithASPP,
    "stack_nocontext": partial(StackWithASPP, aspp_rates=(), image_pooling=False),
    "stack_near": partial(StackWithASPP, aspp_rates=(1, 1, 1), image_pooling=False),
    "stack_near_pooling": partial(StackWithASPP, aspp_rates=(1, 1, 1)),
    "stack_far": partial(StackWithASPP, image_pooling=False),
    "deeplabv3": partial(DeepLab, decoder=False),
    "deeplabv3_nocontext": partial(DeepLab, decoder=False, rates=(), image_pooling=False),
    "deeplabv3plus": DeepLab,
    "deeplabv3plus_nocontext": partial(DeepLab, rates=(), image_pooling=False),
    "deeplabv3plus_norates": partial(DeepLab, rates=()),
    "deeplabv3plus_nopooling": partial(DeepLab, image_pooling=False),
    "deeplabv3plus_paper_rates": partial(DeepLab, rates=(6, 12, 18)),
    "deeplabv3plus_stride32": partial(DeepLab, output_stride=32),
    "deeplabv3plus_stride8": partial(DeepLab, output_stride=8, rates=(2, 4, 6)),
}


def build(name: str, num_classes: int) -> nn.Module:
    """A network of the course, untrained. ``ValueError`` lists the names there are."""
    if name not in MODELS:
        raise ValueError(f"name must be one of {', '.join(MODELS)}; got {name!r}")
    return MODELS[name](num_classes)


def count_parameters(model: nn.Module) -> int:
    """Number of trained numbers in `model`."""
    return sum(p.numel() for p in model.parameters())

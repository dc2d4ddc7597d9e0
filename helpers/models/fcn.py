"""Fully convolutional networks: FCN-32s, 16s, 8s and 4s are one class with a switch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from helpers.models.encoder import WIDTHS, Encoder, pad_to_multiple


class FCN(nn.Module):
    """Score every cell of the coarsest map, upsample, add finer scores on the way.

    Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation", CVPR
    2015, sections 3 and 4. ``skips`` is how many finer maps are scored and added: 0 gives FCN-32s,
    1 FCN-16s, 2 FCN-8s, 3 FCN-4s. The added score layers start from zero, as in section 4.2.
    Upsampling is bilinear and fixed.

    ``forward`` takes images ``(N, 3, H, W)`` in [0, 1] of any size and gives logits
    ``(N, num_classes, H, W)``. Raises ``ValueError`` when an argument is out of range or the input
    has another shape.
    """

    def __init__(
        self,
        num_classes: int,
        skips: int = 0,
        output_stride: int = 32,
        widths: tuple[int, ...] = WIDTHS,
    ):
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes!r}")
        if skips not in range(4):
            raise ValueError(f"skips must be 0, 1, 2 or 3, got {skips!r}")
        self.encoder = Encoder(widths, output_stride)
        self.score = nn.Conv2d(widths[5], num_classes, 1)
        self.skip_scores = nn.ModuleList(
            nn.Conv2d(widths[4 - k], num_classes, 1) for k in range(skips)
        )
        for layer in self.skip_scores:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be (N, 3, H, W), got {tuple(images.shape)}")
        height, width = images.shape[-2:]
        padded = pad_to_multiple(normalize(images))
        *features, deepest = self.encoder(padded)
        scores = self.score(deepest)
        for layer, finer in zip(self.skip_scores, features[::-1], strict=False):
            scores = upsample(scores, finer.shape[-2:]) + layer(finer)
        return upsample(scores, padded.shape[-2:])[..., :height, :width]


def upsample(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear to ``size``, with pixels as areas (``align_corners=False``)."""
    return F.interpolate(scores, size=size, mode="bilinear", align_corners=False)


def normalize(images: Tensor) -> Tensor:
    """[0, 1] to about zero mean and unit variance: the usual photograph has 0.45 +- 0.25."""
    return (images - 0.45) / 0.25

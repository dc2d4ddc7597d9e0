"""A feature pyramid on residual blocks: what notebook 09 trains on real frames in ten minutes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from helpers.models.encoder import conv_bn_relu
from helpers.models.fcn import prepare, upsample

CHANNELS = (16, 32, 64, 128, 192)
"""Of the encoder's maps at strides 2, 4, 8, 16 and 32."""

BLOCKS = (0, 0, 1, 2, 2)
"""Residual blocks on each of them: work is cheap where maps are small."""

WIDEST = 96
"""Channels that a map has at most when it joins the pyramid."""


class Residual(nn.Module):
    """Two 3x3 convolutions whose result is added to the input (He et al., arXiv 1512.03385)."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = conv_bn_relu(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class FPN(nn.Module):
    """Encoder of residual blocks at strides 2 to 32, joined top down from 32 to 4, scores at 2.

    Ideas of the course in one network: a skip on every level, added as in FCN (a feature pyramid, Lin
    et al., arXiv 1612.03144, section 3), the mean of the deepest map as in DeepLabv3's image
    pooling, and sub-pixel scores: the last layer scores the four pixels of stride 2 inside each cell
    of stride 4 at once (Shi et al., arXiv 1609.05158). Nothing works at full resolution, where
    frames of 360 x 480 pixels would cost most of the time.

    ``forward`` takes images ``(N, 3, H, W)`` in [0, 1] of any size and gives logits
    ``(N, num_classes, H, W)``. Raises ``ValueError`` when `num_classes` is below 2 or the input has
    another shape.
    """

    def __init__(self, num_classes: int):
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes!r}")
        self.stages = nn.ModuleList()
        for before, after, blocks in zip((3, *CHANNELS), CHANNELS, BLOCKS, strict=False):
            halve = conv_bn_relu(before, after)
            halve[0].stride = (2, 2)
            self.stages.append(nn.Sequential(halve, *(Residual(after) for _ in range(blocks))))
        joining = [min(channels, WIDEST) for channels in CHANNELS[1:]]
        self.lateral = nn.ModuleList(
            conv_bn_relu(channels, join, kernel=1)
            for channels, join in zip(CHANNELS[1:], joining, strict=True)
        )
        self.pooled = conv_bn_relu(CHANNELS[-1], joining[-1], kernel=1)
        self.smooth = nn.ModuleList(
            conv_bn_relu(join, finer)
            for join, finer in zip(joining[:-1], (joining[0], *joining), strict=False)
        )
        self.score = nn.Sequential(
            nn.Conv2d(joining[0], 4 * num_classes, 3, padding=1), nn.PixelShuffle(2)
        )

    def forward(self, images: Tensor) -> Tensor:
        x = padded = prepare(images)
        height, width = images.shape[-2:]
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        joined = self.lateral[-1](x) + self.pooled(x.mean((2, 3), keepdim=True))
        for k in (2, 1, 0):
            finer = self.lateral[k](maps[k + 1])
            joined = self.smooth[k](upsample(joined, finer.shape[-2:]) + finer)
        return upsample(self.score(joined), padded.shape[-2:])[..., :height, :width]

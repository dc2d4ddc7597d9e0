"""The encoder that every network of the course shares: five times half the resolution."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (16, 32, 48, 64, 96, 128)
"""Channels of stages 0 to 5, chosen so that a network trains in half a minute on two cores."""

OUTPUT_STRIDES = (32, 16, 8, 4)


def conv_bn_relu(
    in_channels: int, out_channels: int, dilation: int = 1, kernel: int = 3
) -> nn.Sequential:
    """Convolution with an odd `kernel` that keeps the size, batch normalisation, ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(
            in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=False
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class Halve(nn.Module):
    """2x2 max pooling; with ``stride=1`` the same windows at every position, `dilation` apart.

    Pooled without its stride, the map keeps its size ``(H, W)`` and holds the strided map's values
    at every second of the old positions: this is how a trained encoder is made denser
    (Chen et al., "DeepLab", arXiv 1606.00915, section 3.1).
    """

    def __init__(self, stride: int = 2, dilation: int = 1):
        super().__init__()
        self.stride, self.dilation = stride, dilation

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            # Nothing beyond the border wins, as where windows are cut off at it.
            x = F.pad(x, (0, self.dilation, 0, self.dilation), value=-math.inf)
        return F.max_pool2d(x, 2, self.stride, dilation=self.dilation)


class Encoder(nn.Module):
    """Image ``(N, 3, H, W)`` to a list of six feature maps, fine to coarse.

    Stage 0 keeps the resolution, stages 1 to 5 each pool by 2 and convolve twice; map ``k`` is
    ``(N, widths[k], H / 2**k, W / 2**k)``. Pooling, as in VGG, keeps every cell centred on the
    block of pixels it came from, so that bilinear upsampling puts it back where it belongs.

    With ``output_stride`` 16, 8 or 4 the last pools lose their stride and the convolutions after
    them are dilated instead: the same weights, a denser map. ``H`` and ``W`` must be multiples of
    32 (the networks pad for you). Raises ``ValueError`` on another ``output_stride`` or on widths
    that are not six.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS, output_stride: int = 32):
        super().__init__()
        if len(widths) != 6:
            raise ValueError(f"widths must hold six numbers of channels, got {widths!r}")
        if output_stride not in OUTPUT_STRIDES:
            raise ValueError(
                f"output_stride must be one of {OUTPUT_STRIDES}, got {output_stride!r}"
            )
        self.widths, self.output_stride = tuple(widths), output_stride
        self.stages = nn.ModuleList([conv_bn_relu(3, widths[0])])
        dilation = 1
        for k in range(1, 6):
            strided = 2**k <= output_stride
            pool = Halve(2) if strided else Halve(1, dilation)
            dilation *= 1 if strided else 2
            self.stages.append(
                nn.Sequential(
                    pool,
                    conv_bn_relu(widths[k - 1], widths[k], dilation),
                    conv_bn_relu(widths[k], widths[k], dilation),
                )
            )

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def pad_to_multiple(x: Tensor, multiple: int = 32) -> Tensor:
    """Repeat the last row and column of ``(N, C, H, W)`` until `multiple` divides H and W."""
    down, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    return F.pad(x, (0, right, 0, down), mode="replicate") if down or right else x

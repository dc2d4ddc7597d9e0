"""U-Net: the way down, the way back up, and on every level a skip connection that can be left out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from helpers.models.encoder import WIDTHS, Encoder, conv_bn_relu
from helpers.models.fcn import prepare, upsample


class UNet(nn.Module):
    """Upsample by two, concatenate the encoder's map of that resolution, convolve; five times.

    Ronneberger, Fischer and Brox, "U-Net: convolutional networks for biomedical image
    segmentation", MICCAI 2015, section 2, with three changes that are usual today: padded
    convolutions, so that nothing is cropped; batch normalisation; bilinear upsampling. Encoder and
    number of stages are those of `FCN`. With ``skips=False`` nothing is concatenated and all else
    stays: an encoder-decoder that has to draw every edge from its coarsest map.

    ``forward`` takes images ``(N, 3, H, W)`` in [0, 1] of any size and gives logits
    ``(N, num_classes, H, W)``. Raises ``ValueError`` when an argument is out of range or the input
    has another shape.
    """

    def __init__(self, num_classes: int, skips: bool = True, widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes!r}")
        if not isinstance(skips, bool):
            raise ValueError(f"skips must be True or False, got {skips!r}")
        self.skips = skips
        self.encoder = Encoder(widths)
        self.decoder = nn.ModuleList()
        for k in range(4, -1, -1):
            joined = widths[k + 1] + (widths[k] if skips else 0)
            self.decoder.append(conv_bn_relu(joined, widths[k]))
        self.score = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.encoder(prepare(images))
        height, width = images.shape[-2:]
        return self.decode(features)[..., :height, :width]

    def decode(self, features: list[Tensor]) -> Tensor:
        """Logits at full resolution from the encoder's six maps, fine to coarse.

        The maps may be changed on the way: a map of zeros is a skip switched off.
        """
        *finer, x = features
        for stage, skip in zip(self.decoder, finer[::-1], strict=True):
            x = upsample(x, skip.shape[-2:])
            x = stage(torch.cat([x, skip], dim=1) if self.skips else x)
        return self.score(x)


class ShuffledUNet(UNet):
    """The control: every skip brings the maps of *another* image of the batch.

    As many parameters and operations as `UNet`, and features of the same statistics, but nothing
    that tells where the edges of this image are. Raises ``ValueError`` for a batch of one image.
    """

    def decode(self, features: list[Tensor]) -> Tensor:
        *finer, deepest = features
        if len(deepest) < 2:
            raise ValueError("images must be at least two: skips come from another image, got 1")
        return super().decode([skip.roll(1, dims=0) for skip in finer] + [deepest])

"""Fully convolutional networks: FCN-32s, 16s, 8s and 4s are one class with a switch."""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from helpers.models.encoder import WIDTHS, Encoder, pad_to_multiple
from helpers.upsampling import doubling


class FCN(nn.Module):
    """Score every cell of the coarsest map, upsample, add finer scores on the way.

    Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation", CVPR
    2015, sections 3 and 4. ``skips`` is how many finer maps are scored and added: 0 gives FCN-32s,
    1 FCN-16s, 2 FCN-8s, 3 FCN-4s. The added score layers start from zero, as in section 4.2.
    `upsampler` is how maps of scores grow: bilinear and fixed by default, else one of
    ``helpers.upsampling.UPSAMPLERS``; all others have a layer of their own for every factor of 2.

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
        upsampler: str = "bilinear",
    ):
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes!r}")
        if not isinstance(skips, int) or skips not in range(4):
            raise ValueError(f"skips must be 0, 1, 2 or 3, got {skips!r}")
        self.encoder = Encoder(widths, output_stride)
        self.score = nn.Conv2d(widths[5], num_classes, 1)
        self.skip_scores = nn.ModuleList(
            nn.Conv2d(widths[4 - k], num_classes, 1) for k in range(skips)
        )
        for layer in self.skip_scores:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.upsampler = upsampler
        # One bilinear step to the end: it needs no layers, and five of 2 would blur more.
        steps = 0 if upsampler == "bilinear" else output_stride.bit_length() - 1
        self.doublings = nn.ModuleList(doubling(num_classes, upsampler) for _ in range(steps))

    def forward(self, images: Tensor) -> Tensor:
        padded = prepare(images)
        height, width = images.shape[-2:]
        *features, deepest = self.encoder(padded)
        scores = self.score(deepest)
        doublings = iter(self.doublings)
        for layer, finer in zip(self.skip_scores, features[::-1], strict=False):
            scores = self.enlarge(scores, finer.shape[-2:], doublings) + layer(finer)
        return self.enlarge(scores, padded.shape[-2:], doublings)[..., :height, :width]

    def enlarge(
        self, scores: Tensor, size: tuple[int, int], doublings: Iterator[nn.Module] | None = None
    ) -> Tensor:
        """Scores ``(N, num_classes, h, w)`` at `size`, by as many of `doublings` as that takes.

        By default these are all of the network's. Raises ``ValueError`` when doubling does not lead
        to `size`; bilinear upsampling takes any.
        """
        if self.upsampler == "bilinear":
            return upsample(scores, size)
        start, doublings = tuple(scores.shape[-2:]), doublings or iter(self.doublings)
        while scores.shape[-2:] != size:
            layer = next(doublings, None)
            if layer is None:
                raise ValueError(f"size must be {start} doubled, got {tuple(size)}")
            scores = layer(scores)
        return scores


def upsample(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear to ``size``, with pixels as areas (``align_corners=False``)."""
    return F.interpolate(scores, size=size, mode="bilinear", align_corners=False)


def prepare(images: Tensor) -> Tensor:
    """Images as an `Encoder` takes them: checked, normalised, padded until 32 divides both sides."""
    return pad_to_multiple(normalize(images))


def normalize(images: Tensor) -> Tensor:
    """[0, 1] to about zero mean and unit variance: the usual photograph has 0.45 +- 0.25.

    Raises ``ValueError`` unless images are ``(N, 3, H, W)``.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (N, 3, H, W), got {tuple(images.shape)}")
    return (images - 0.45) / 0.25

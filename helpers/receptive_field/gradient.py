"""The effective receptive field: how much each pixel counts, measured by a gradient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

THRESHOLD = 1 - 0.9545
"""What counts as seen: for a bell-shaped field, all within about two and a half deviations."""
BATCH = 8
"""Images at a time, so that a long list of them needs no more memory than a training step."""


@dataclass(frozen=True)
class EffectiveField:
    """How much the pixels of an image count for one output cell.

    ``heat`` is ``float64 (H, W)`` with a maximum of 1, or all zeros when the output does not move with
    the image. ``pixel`` is the output cell (row, column) and ``centre`` where it sits in the image, in
    pixels that have their centres at whole numbers; the two differ when the output is coarser.
    """

    heat: np.ndarray
    pixel: tuple[int, int]
    centre: tuple[float, float]

    @property
    def area(self) -> int:
        """Pixels that count more than 4.55 % of the centre (Luo et al., section 4).

        The centre of the bell is its peak, 1. Where max pooling or holes of dilation leave the pixel
        in the middle without gradient, the peak is still a measure.
        """
        return int((self.heat > THRESHOLD).sum())

    @property
    def deviation(self) -> tuple[float, float]:
        """Standard deviation of rows and of columns when the heat is a distribution; NaN for none."""
        if not self.heat.any():
            return np.nan, np.nan
        rows, columns = self.heat.sum(1), self.heat.sum(0)
        return _deviation(rows), _deviation(columns)

    def radius(self, share: float) -> float:
        """The smallest distance from `centre`, in pixels, that holds `share` of the heat.

        NaN when there is none. Raises ``ValueError`` for a `share` that is not in (0, 1].
        """
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share!r}")
        if not self.heat.any():
            return np.nan
        rows, columns = np.indices(self.heat.shape)
        distance = np.hypot(rows - self.centre[0], columns - self.centre[1]).ravel()
        order = distance.argsort()
        held = self.heat.ravel()[order].cumsum()
        return float(distance[order][np.searchsorted(held, share * held[-1])])


def effective(model: nn.Module, images: Tensor, pixel: tuple[int, int]) -> EffectiveField:
    """How much the pixels of `images` ``(N, C, H, W)`` count for the output cell `pixel`.

    For each image, the gradient of the winning class's score at that cell, as its length over the
    channels of a pixel; then the mean over the images. Luo et al., "Understanding the effective
    receptive field", NIPS 2016 (arXiv 1701.04128), section 4, who push a gradient of 1 through one
    pixel of the output. Runs in evaluation mode on the model's device and leaves the model, its
    gradients included, as it was.

    Raises ``ValueError`` for images of another shape, a model that gives anything but one tensor
    ``(N, num_classes, h, w)`` and a cell outside it.
    """
    if images.ndim != 4 or not len(images):
        raise ValueError(
            f"images must be (N, C, H, W) with N of at least 1, got {tuple(images.shape)}"
        )
    like = next(model.parameters(), torch.empty(0))
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.enable_grad():
            # Parts of almost equal length: a model that mixes images never gets one alone.
            parts = images.detach().tensor_split(-(-len(images) // BATCH))
            lengths, size = zip(
                *(_gradient(model, part.to(like), pixel) for part in parts), strict=True
            )
    finally:
        for module, flag in training.items():
            module.training = flag
    heat = torch.cat(lengths).mean(0).numpy()
    centre = tuple(
        (p + 0.5) * big / small - 0.5
        for p, big, small in zip(pixel, heat.shape, size[0], strict=True)
    )
    return EffectiveField(heat / (heat.max() or 1), tuple(pixel), centre)


def _gradient(
    model: nn.Module, images: Tensor, pixel: tuple[int, int]
) -> tuple[Tensor, torch.Size]:
    """Lengths ``float64 (N, H, W)`` of the gradients on the CPU, and the size of the output."""
    images = images.clone().requires_grad_()
    scores = model(images)
    if not isinstance(scores, Tensor) or scores.ndim != 4:
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(f"model must give one tensor (N, num_classes, h, w), it gave {got}")
    size = scores.shape[2:]
    if len(pixel) != 2 or not all(0 <= p < side for p, side in zip(pixel, size, strict=True)):
        raise ValueError(
            f"pixel must be a (row, column) inside the output of {size[0]} x {size[1]}, got {pixel!r}"
        )
    winning = scores[..., pixel[0], pixel[1]].amax(1).sum()
    (gradient,) = torch.autograd.grad(winning, images)
    return gradient.double().norm(dim=1).cpu(), size


def _deviation(weights: np.ndarray) -> float:
    """Standard deviation of the index under these weights."""
    index = np.arange(len(weights))
    mean = np.average(index, weights=weights)
    return float(np.average((index - mean) ** 2, weights=weights) ** 0.5)

"""The stride ceiling: the best that coarse cells can say, found without any network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.classes import IGNORE_INDEX
from helpers.models.fcn import upsample


def best_cells(masks: Tensor, stride: int, num_classes: int, steps: int = 40) -> Tensor:
    """Masks ``int64 (N, H, W)`` that free scores of cells `stride` pixels apart give at best.

    The scores ``(N, num_classes, H / stride, W / stride)`` are upsampled bilinearly, as in `FCN`,
    and fitted to the true `masks` by `steps` of Adam on the cross entropy; 255 is left out. An
    estimate from below: the loss is not the score. Raises ``ValueError`` for masks of another shape
    and for a `stride` or `steps` below 1.
    """
    if masks.ndim != 3:
        raise ValueError(f"masks must be (N, H, W), got {tuple(masks.shape)}")
    for name, value in (("stride", stride), ("steps", steps)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value!r}")
    count, height, width = masks.shape
    size = -(-height // stride), -(-width // stride)
    cells = torch.zeros(count, num_classes, *size, requires_grad=True)
    optimizer = torch.optim.Adam([cells], lr=1.0)
    for _ in range(steps):
        logits = upsample(cells, (height, width))
        loss = F.cross_entropy(logits, masks, ignore_index=IGNORE_INDEX)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return logits.argmax(1)

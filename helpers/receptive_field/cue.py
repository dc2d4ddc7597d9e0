"""The functional receptive field: how far off may a marker be and still decide the class?

A patch of noise with one marker, red or blue. Only the pixel in the middle has a label: the colour
of the marker. All else is equal, so a network is right either by seeing the marker or by chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from helpers.classes import IGNORE_INDEX, ClassSet
from helpers.datasets import SegmentationDataset
from helpers.training import choose_precision, predict_logits

CUE = ClassSet(("red marker", "blue marker"), ("#D55E00", "#0072B2"))
SIDE = 41
"""Rows and columns of a patch: the marker may be up to 20 pixels from the middle."""
MARKER = 4
"""Rows and columns of a marker."""
GREY, NOISE = 128, 25
"""Mean and standard deviation of the background, in grey levels of 255."""
PART = 1000
"""Patches that are turned into floats at once: all of them would take gigabytes."""
_COLORS = np.array([[230, 30, 30], [30, 30, 230]], np.uint8)


class CuePatches(SegmentationDataset):
    """Patches ``uint8 (N, 3, SIDE, SIDE)``; ``offsets`` ``int64 (N, 2)`` say where the marker is.

    An offset counts rows and columns from the middle to the marker's nearest pixel; the masks are
    void but for the middle.
    """

    def __init__(self, images: np.ndarray, colors: np.ndarray, offsets: np.ndarray) -> None:
        masks = np.full((len(images), SIDE, SIDE), IGNORE_INDEX, np.uint8)
        masks[:, SIDE // 2, SIDE // 2] = colors
        super().__init__("cue", "made", CUE, images, masks)
        self.offsets = offsets


def cue_patches(count: int, distances: Sequence[int], seed: int = 0) -> CuePatches:
    """`count` patches whose marker of 4 x 4 pixels begins at one of `distances` from the middle.

    It lies above, below, left or right, across the axis through the middle: so a network that sees
    every fourth pixel sees a part of it. Colour, direction and distance are drawn apart from each
    other. Raises ``ValueError`` for a count below 1 and a distance that is not 1 to 17.
    """
    rng = _checked(count, seed)
    furthest = SIDE // 2 - MARKER + 1
    if not len(distances) or not all(1 <= d <= furthest for d in distances):
        raise ValueError(f"distances must lie from 1 to {furthest}, got {list(distances)}")
    away = rng.choice(np.asarray(distances), count)
    across = rng.integers(-MARKER + 1, 1, count)  # the rows or columns 0 to 3 steps further cross 0
    start = np.where(rng.random(count) < 0.5, away, -away - MARKER + 1)
    flip = rng.random(count) < 0.5
    corners = np.where(flip[:, None], np.stack([start, across], 1), np.stack([across, start], 1))
    return _draw(rng, corners, MARKER, _nearest(corners, MARKER))


def cue_points(count: int, reach: int, seed: int = 0) -> CuePatches:
    """`count` patches with a marker of one pixel, anywhere in the square of `reach` but the middle.

    Raises ``ValueError`` for a count below 1 and a reach that is not 1 to 20.
    """
    rng = _checked(count, seed)
    if not 1 <= reach <= SIDE // 2:
        raise ValueError(f"reach must be from 1 to {SIDE // 2}, got {reach!r}")
    steps = 2 * reach + 1
    cells = rng.integers(0, steps**2 - 1, count)
    cells += cells >= steps**2 // 2  # leaves the middle out
    corners = np.stack([cells // steps, cells % steps], 1) - reach
    return _draw(rng, corners, 1, corners)


def functional(model: nn.Module, patches: CuePatches) -> Tensor:
    """Whether `model` names the marker of each patch rightly: bool ``(N,)``.

    ``model`` gives logits ``(N, 2, SIDE, SIDE)``. Averaged over the patches of one distance or
    offset this is the accuracy there, from 0.5 (out of sight) to 1 (seen).
    """
    middle = (..., SIDE // 2, SIDE // 2)
    precision = choose_precision(next(model.parameters()).device)
    right = []
    for images, masks in zip(patches.images.split(PART), patches.masks.split(PART), strict=True):
        logits = predict_logits(model, images / 255, batch_size=100, precision=precision)
        right.append(logits[middle].argmax(1) == masks[middle])
    return torch.cat(right)


def _checked(count: int, seed: int) -> np.random.Generator:
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count!r}")
    return np.random.default_rng(seed)


def _nearest(corners: np.ndarray, size: int) -> np.ndarray:
    """The pixel of each marker that is nearest to the middle, along both axes."""
    return np.clip(0, corners, corners + size - 1)


def _draw(
    rng: np.random.Generator, corners: np.ndarray, size: int, offsets: np.ndarray
) -> CuePatches:
    count = len(corners)
    images = np.empty((count, 3, SIDE, SIDE), np.uint8)
    for first in range(0, count, PART):
        part = images[first : first + PART]
        noise = rng.standard_normal(part.shape, np.float32) * NOISE + GREY
        part[:] = noise.clip(0, 255).astype(np.uint8)
    colors = rng.integers(0, 2, count)
    rows, columns = (corners + SIDE // 2).T[:, :, None] + np.arange(size)
    patch = np.arange(count)[:, None, None]
    images[patch, :, rows[:, :, None], columns[:, None, :]] = _COLORS[colors][:, None, None]
    return CuePatches(images, colors, offsets)

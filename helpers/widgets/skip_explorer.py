"""Skip explorer: switch single skips of a trained U-Net off and see mask, errors and scores change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import traitlets
from numpy.typing import ArrayLike

from helpers.classes import ClassSet
from helpers.models.fcn import prepare
from helpers.models.unet import UNet
from helpers.widgets.muting import CSS, MutingExplorer, inputs, with_muting

STRIDES = (1, 2, 4, 8, 16)
"""The skips of `UNet`, each called by the stride of its map; their sum numbers a choice of them."""

NOTE = (
    "Zeroing a skip shows what this trained decoder relies on. It does not show what a network "
    "trained without that skip would do: this decoder has never seen zeros there."
)


def masks_without_skips(model: UNet, images: ArrayLike, batch_size: int = 50) -> np.ndarray:
    """Masks of a trained U-Net for every choice of skips: ``uint8 (32, N, H, W)``.

    Bit ``k`` of the first index is set when the skip of stride ``2**k`` is kept; the others are
    zeroed, and no weight changes. Index 31 is the network as it is, index 0 has no skip left. As
    the strides are powers of two, a choice's index is the sum of the strides that it keeps.
    ``images`` are float ``(N, 3, H, W)`` in [0, 1] of any size; the encoder sees each once, on the
    device of the model. Raises ``ValueError`` for a network that is no U-Net with skips and for
    images of another form.
    """
    if not (isinstance(model, UNet) and model.skips):
        without = "(skips=False)" if isinstance(model, UNet) else ""
        raise ValueError(f"model must be a UNet with skips, got {type(model).__name__}{without}")
    masks = []
    with inputs(model, images, batch_size) as batches:
        for batch in batches:
            height, width = batch.shape[2:]
            *finer, deepest = model.encoder(prepare(batch))
            choices = torch.empty(2 ** len(STRIDES), len(batch), height, width, dtype=torch.uint8)
            for choice, mask in enumerate(choices):
                maps = [
                    skip if choice & stride else torch.zeros_like(skip)
                    for stride, skip in zip(STRIDES, finer, strict=True)
                ]
                mask.copy_(model.decode([*maps, deepest])[..., :height, :width].argmax(1))
            masks.append(choices)
    return torch.cat(masks, dim=1).numpy()


class SkipExplorer(MutingExplorer):
    """Switch single skips of a trained U-Net off and on: what does its decoder do without them?

    ``images`` are float ``(N, 3, H, W)`` in [0, 1], ``truths`` labels ``(N, H, W)`` with void as
    255; arrays, tensors and lists of either will do. ``watch`` names classes whose IoU is shown
    too; names that ``classes`` lacks are dropped. The controls are traits, to read and set:
    ``index`` (the picture, from 0), ``kept`` (strides of the skips that are kept), ``view`` (one of
    ``VIEWS``) and ``opacity`` (0 to 1).

    ``scores[sum(kept)]`` holds a row of ``measures`` for each picture alone and a last one for all
    of them, from one confusion matrix; None where there is nothing to score.

    Zeroing a skip shows what the trained decoder relies on, not what training without it would
    give. Raises ``ValueError`` for a network that is no U-Net with skips, for arrays that do not
    fit together and for traits out of range.
    """

    _esm = with_muting(Path(__file__).with_suffix(".js"))
    _css = CSS

    note = traitlets.Unicode(NOTE).tag(sync=True)

    kind, members = "skips", "strides"

    def __init__(
        self,
        model: UNet,
        images: ArrayLike,
        truths: ArrayLike,
        classes: ClassSet,
        watch: Sequence[str] = ("person", "pole"),
    ) -> None:
        masks = masks_without_skips(model, images)
        super().__init__(model, masks, images, truths, classes, watch, parts=STRIDES)

    def _usual(self) -> list[Sequence[int]]:
        return [STRIDES, STRIDES[1:], STRIDES[2:], ()]

    def _call(self, some: Sequence[int]) -> str:
        return f"stride{'s'[: len(some) - 1]} {super()._call(some)}"

    def __repr__(self) -> str:
        count, height, width = self.shape
        return (
            f"Skip explorer: {count} pictures of {height} × {width} pixels, a U-Net's masks with "
            "each of its five skips kept or zeroed."
        )

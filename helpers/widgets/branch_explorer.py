"""Branch explorer: mute branches of a trained ASPP, and see what each of them says at a pixel."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import traitlets
from numpy.typing import ArrayLike
from torch import nn

from helpers.classes import ClassSet
from helpers.models.deeplab import DeepLab, ImagePooling
from helpers.models.fcn import prepare
from helpers.widgets.muting import CSS, MutingExplorer, inputs, with_muting

SAMPLE = 8
"""Probabilities are kept for one pixel of each block of this side: the one in row and column 4."""

MOST = 6
"""Branches; each more would double the masks."""

NOTE = (
    "A muted branch gives its mean over these pictures, channel by channel, in place of its map: it "
    "no longer tells one place or one picture from another. This shows what the trained network "
    "relies on, not what a network trained without the branch would do. Branches share their work: "
    "what one adds depends on which others are kept."
)


def masks_without_branches(
    model: DeepLab, images: ArrayLike, batch_size: int = 50
) -> tuple[np.ndarray, np.ndarray]:
    """What a trained DeepLab predicts for every choice of the B branches of its ASPP.

    Returns masks ``uint8 (2**B, N, H, W)`` and probabilities ``uint8 (2**B, N, C, h, w)``, in
    255ths, of the pixels in rows 4, 12, 20, ... and columns 4, 12, 20, .... Bit ``k`` of the first
    index is set when the branch ``k`` of ``model.aspp.branches`` is kept. The map of another one is
    replaced by its mean over all images and cells, channel by channel: the mixing layer has rarely
    met a map of zeros, and zeros would do harm of their own. Over one image alone the mean of
    image pooling is its map, so muting it changes nothing.

    ``images`` are float ``(N, 3, H, W)`` in [0, 1] of at least 8 x 8 pixels; the encoder sees each
    once, on the device of the model. Raises ``ValueError`` for a network that is no DeepLab with 1
    to 6 branches and for images of another form.
    """
    if not isinstance(model, DeepLab):
        raise ValueError(f"model must be a DeepLab, got {type(model).__name__}")
    names = list(model.aspp.branches)
    if len(names) > MOST:
        raise ValueError(f"model must have at most {MOST} branches, got {len(names)}: {names}")
    masks, samples = [], []
    with inputs(model, images, batch_size) as batches:
        height, width = batches[0].shape[2:]
        if min(height, width) < SAMPLE:
            raise ValueError(f"images must be at least 8 x 8 pixels, got {height} x {width}")
        features = [model.encoder(prepare(batch)) for batch in batches]
        responses = [model.aspp.responses(maps[-1]) for maps in features]
        means = {
            name: torch.cat([own[name] for own in responses]).mean((0, 2, 3), keepdim=True)
            for name in names
        }
        for choice in range(2 ** len(names)):
            kept = {name for k, name in enumerate(names) if choice >> k & 1}
            for maps, own in zip(features, responses, strict=True):
                mixed = model.aspp.join(
                    {n: m if n in kept else means[n].expand_as(m) for n, m in own.items()}
                )
                logits = model.decode(maps, mixed)[..., :height, :width]
                masks.append(logits.argmax(1).byte().cpu())
                sampled = logits[..., SAMPLE // 2 :: SAMPLE, SAMPLE // 2 :: SAMPLE].softmax(1)
                samples.append(sampled.mul(255).round().byte().cpu())
    return tuple(
        torch.cat(found).unflatten(0, (2 ** len(names), -1)).numpy() for found in (masks, samples)
    )


class BranchExplorer(MutingExplorer):
    """Mute branches of a trained ASPP; point at a pixel to see where each looks and what it adds.

    ``model`` is a `DeepLab` with 1 to 6 branches, ``images`` are float ``(N, 3, H, W)`` in [0, 1],
    ``truths`` labels ``(N, H, W)`` with void as 255; arrays, tensors and lists of either will do.
    ``watch`` names classes whose IoU is shown too; names that ``classes`` lacks are dropped. A
    muted branch gives its mean over all the images, so give several.

    The controls are traits, to read and set: ``index`` (the picture, from 0), ``kept`` (names of
    the branches that are kept), ``view`` (one of ``VIEWS``), ``opacity`` (0 to 1), ``row`` and
    ``column`` of the chosen pixel. Probabilities are sent, in 255ths, for one pixel of each block
    of 8 x 8; ``row`` and ``column`` move to that pixel of the block that they lie in.

    What a branch adds at a pixel is the probability of the class predicted there with the branch
    less that without it, all others as chosen. The taps drawn belong to the cell of the ASPP's
    input that holds the pixel; bilinear upsampling mixes in the cells beside it.

    Raises ``ValueError`` for a network that is no such DeepLab, for arrays that do not fit together
    and for traits out of range.
    """

    _esm = with_muting(Path(__file__).with_suffix(".js"))
    _css = CSS + Path(__file__).with_suffix(".css").read_text("utf-8")

    note = traitlets.Unicode(NOTE).tag(sync=True)
    samples = traitlets.Bytes().tag(sync=True)  # picture, choice, class, row, column
    sample = traitlets.Int(SAMPLE).tag(sync=True)
    rates = traitlets.List().tag(sync=True)  # of the branches: 0 for 1x1, None for image pooling
    cells = traitlets.List().tag(sync=True)  # rows and columns of the ASPP's input
    cell = traitlets.Int().tag(sync=True)  # its side in pixels

    row = traitlets.Int().tag(sync=True)
    column = traitlets.Int().tag(sync=True)

    kind = members = "branches"

    def __init__(
        self,
        model: DeepLab,
        images: ArrayLike,
        truths: ArrayLike,
        classes: ClassSet,
        watch: Sequence[str] = ("vehicle", "person", "pole"),
    ) -> None:
        masks, samples = masks_without_branches(model, images)
        height, width = masks.shape[2:]
        stride = model.encoder.output_stride
        branches = model.aspp.branches
        super().__init__(
            model, masks, images, truths, classes, watch,
            parts=list(branches),
            rates=[_rate(branch) for branch in branches.values()],
            samples=zlib.compress(samples.swapaxes(0, 1).tobytes(), 9),
            cells=[-(-side // 32) * 32 // stride for side in (height, width)],
            cell=stride,
            row=height // 2,
            column=width // 2,
        )  # fmt: skip

    @traitlets.validate("row", "column")
    def _sampled(self, proposal: dict) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        side = self.shape[1 if name == "row" else 2]
        if not 0 <= value < side:
            raise ValueError(f"{name} must be from 0 to {side - 1}; got {value!r}")
        blocks = len(range(SAMPLE // 2, side, SAMPLE))
        return min(value // SAMPLE, blocks - 1) * SAMPLE + SAMPLE // 2

    def _usual(self) -> list[Sequence[str]]:
        names = tuple(self.parts)
        return list(dict.fromkeys([names, names[1:], names[:-1], names[:1], ()]))

    def __repr__(self) -> str:
        count, height, width = self.shape
        return (
            f"Branch explorer: {count} pictures of {height} × {width} pixels, a DeepLab's masks "
            f"with each of its branches ({', '.join(self.parts)}) kept or muted."
        )


def _rate(branch: nn.Sequential) -> int | None:
    """How many cells a branch's outer taps lie from its centre; None where it has no taps."""
    if isinstance(branch, ImagePooling):
        return None
    conv = branch[0]
    return conv.dilation[0] if conv.kernel_size[0] > 1 else 0

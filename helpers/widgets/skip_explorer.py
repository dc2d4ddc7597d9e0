"""Skip explorer: switch single skips of a trained U-Net off and see mask, errors and scores change.

All 32 choices are computed once, in Python, and cross to the browser as deflated label maps, so a
saved page stays alive without a kernel.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

from helpers.classes import IGNORE_INDEX, ClassSet, mark_wrong
from helpers.metrics import boundary_distance, confusion_matrix, iou, mean_iou, pixel_accuracy
from helpers.models.fcn import prepare
from helpers.models.unet import UNet
from helpers.widgets.shared import (
    BAND,
    VIEWS,
    Still,
    encode,
    labels,
    legend_of,
    print_legend,
    rgb,
    stack,
    with_shared,
)  # fmt: skip

STRIDES = (1, 2, 4, 8, 16)
"""The skips of `UNet`, each called by the stride of its map; their sum numbers a choice of them."""

ALL = sum(STRIDES)

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
    array = stack("images", images)
    if array.ndim != 4 or array.shape[1] != 3 or array.dtype.kind != "f":
        raise ValueError(f"images must be float (N, 3, H, W), got {array.dtype} {array.shape}")
    height, width = array.shape[2:]
    masks = np.empty((ALL + 1, len(array), height, width), np.uint8)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(array), batch_size):
            batch = slice(start, start + batch_size)
            inputs = torch.from_numpy(array[batch]).float()
            inputs = inputs.to(device, memory_format=torch.channels_last)
            *finer, deepest = model.encoder(prepare(inputs))
            for choice in range(ALL + 1):
                maps = [
                    skip if choice & stride else torch.zeros_like(skip)
                    for stride, skip in zip(STRIDES, finer, strict=True)
                ]
                logits = model.decode([*maps, deepest])[..., :height, :width]
                masks[choice, batch] = logits.argmax(1).cpu()
    model.train(was_training)
    return masks


class SkipExplorer(Still):
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

    _esm = with_shared(Path(__file__).with_suffix(".js"))
    _css = Path(__file__).with_suffix(".css")

    shape = traitlets.List().tag(sync=True)  # pictures, rows, columns
    photos = traitlets.List().tag(sync=True)
    masks = traitlets.Bytes().tag(sync=True)  # per picture: truth, boundary band, the 32 choices
    legend = traitlets.List().tag(sync=True)  # [label, name, colour]
    strides = traitlets.List(STRIDES).tag(sync=True)
    names = traitlets.List().tag(sync=True)  # of the 32 choices
    views = traitlets.List(VIEWS).tag(sync=True)
    measures = traitlets.List().tag(sync=True)
    scores = traitlets.List().tag(sync=True)
    note = traitlets.Unicode(NOTE).tag(sync=True)

    index = traitlets.Int(0).tag(sync=True)
    kept = traitlets.List(traitlets.Int(), STRIDES).tag(sync=True)
    view = traitlets.Unicode(VIEWS[0]).tag(sync=True)
    opacity = traitlets.Float(0.6).tag(sync=True)

    def __init__(
        self,
        model: UNet,
        images: ArrayLike,
        truths: ArrayLike,
        classes: ClassSet,
        watch: Sequence[str] = ("person", "pole"),
    ) -> None:
        self.classes = classes
        self._photos = rgb(images)
        shape = self._photos.shape[:3]
        self._truths = labels("truths", truths, shape, [*range(len(classes)), IGNORE_INDEX])
        self._masks = masks_without_skips(model, images)
        if model.score.out_channels != len(classes):
            raise ValueError(
                f"model must score the {len(classes)} classes, got {model.score.out_channels}"
            )
        self._watch = [name for name in watch if name in classes]
        band = boundary_distance(self._truths) < BAND
        layers = np.concatenate([self._truths[None], band[None], self._masks], dtype=np.uint8)
        super().__init__(
            shape=list(shape),
            photos=[encode(Image.fromarray(photo), "WEBP", quality=90) for photo in self._photos],
            masks=zlib.compress(layers.swapaxes(0, 1).tobytes(), 9),
            legend=legend_of(classes, self._truths),
            names=[_name([s for s in STRIDES if choice & s]) for choice in range(ALL + 1)],
            measures=["pixel accuracy", "mean IoU", f"IoU within {BAND} px"]
            + [f"IoU of {name}" for name in self._watch],
            scores=[self._scores(masks, band) for masks in self._masks],
        )

    def _scores(self, masks: np.ndarray, band: np.ndarray) -> list[list[float | None]]:
        """One choice's row of measures per picture, and last the row of all pictures together."""
        near = np.where(band, self._truths, IGNORE_INDEX)
        matrices = [
            [confusion_matrix(mask, truth, len(self.classes)) for truth in pair]
            for mask, *pair in zip(masks, self._truths, near, strict=True)
        ]
        watched = [self.classes.index(name) for name in self._watch]
        rows = []
        for everywhere, edges in [*matrices, np.sum(matrices, axis=0)]:
            values = pixel_accuracy(everywhere), mean_iou(everywhere), mean_iou(edges)
            values = [*values, *iou(everywhere)[watched]]
            rows.append([None if np.isnan(value) else round(float(value), 4) for value in values])
        return rows

    @traitlets.validate("index", "kept", "view", "opacity")
    def _in_range(self, proposal: dict) -> object:
        name, value = proposal["trait"].name, proposal["value"]
        if name == "kept":
            return _check_kept(name, value)
        if name == "index":
            good, expected = 0 <= value < self.shape[0], f"from 0 to {self.shape[0] - 1}"
        elif name == "opacity":
            good, expected = 0 <= value <= 1, "from 0 to 1"
        else:
            good, expected = value in VIEWS, f"one of {', '.join(VIEWS)}"
        if not good:
            raise ValueError(f"{name} must be {expected}; got {value!r}")
        return value

    def table(self, index: int | None = None) -> dict[tuple[int, ...], dict[str, float | None]]:
        """Scores by kept strides and measure, over all pictures or of picture ``index`` alone."""
        row = -1 if index is None else self._picture(index)
        return {
            tuple(s for s in STRIDES if choice & s): dict(
                zip(self.measures, rows[row], strict=True)
            )
            for choice, rows in enumerate(self.scores)
        }

    def figure(
        self,
        choices: Sequence[Sequence[int]] = (STRIDES, STRIDES[1:], STRIDES[2:], ()),
        index: int | None = None,
    ) -> Figure:
        """The same on paper: truth and image, then mask and errors of each choice of kept strides.

        For picture ``index``, by default the one that the widget shows. The figure is not
        registered with pyplot; show or save it.
        """
        choices = [_check_kept("choices", kept) for kept in choices]
        index = self.index if index is None else self._picture(index)
        photo, truth = self._photos[index], self._truths[index]
        height, width = truth.shape
        size = 2 * len(choices) + 2, 4 * height / width + 1.6
        figure = Figure(figsize=size, layout="compressed")
        axes = figure.subplots(2, len(choices) + 1)
        axes[0, 0].set(title="truth")
        axes[0, 0].imshow(self._blend(photo, truth))
        axes[1, 0].set(xlabel="image")
        axes[1, 0].imshow(photo)
        for kept, (above, below) in zip(choices, axes.T[1:], strict=True):
            mask, score = self._masks[sum(kept), index], self.scores[sum(kept)][index][2]
            above.set(title=_name(kept).replace(" stride", "\nstride"))
            above.imshow(self._blend(photo, mask))
            below.set(xlabel=f"{self.measures[2]}\n" + ("–" if score is None else f"{score:.2f}"))
            below.imshow(mark_wrong(photo, mask, truth))
        for ax in axes.flat:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        print_legend(figure, self.legend, len(choices) + 1)
        return figure

    def _picture(self, index: int) -> int:
        if not 0 <= index < self.shape[0]:
            raise ValueError(f"index must be from 0 to {self.shape[0] - 1}; got {index!r}")
        return index

    def _blend(self, photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
        mixed = (1 - self.opacity) * photo + self.opacity * self.classes.palette[mask]
        return mixed.astype(np.uint8)

    def __repr__(self) -> str:
        count, height, width = self.shape
        return (
            f"Skip explorer: {count} pictures of {height} × {width} pixels, a U-Net's masks with "
            "each of its five skips kept or zeroed."
        )


def _check_kept(name: str, kept: Sequence[int]) -> list[int]:
    if not set(kept) <= set(STRIDES):
        raise ValueError(f"{name} must hold strides out of {STRIDES}; got {list(kept)}")
    return sorted(set(kept))


def _name(kept: Sequence[int]) -> str:
    """What a choice is called, by whichever list is shorter."""
    zeroed = [stride for stride in STRIDES if stride not in kept]
    if not kept or not zeroed:
        return "no skips" if zeroed else "all skips"
    words, some = ("only", kept) if len(kept) < len(zeroed) else ("without", zeroed)
    return f"{words} stride{'s'[: len(some) - 1]} {', '.join(map(str, some))}"

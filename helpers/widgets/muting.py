"""What explorers share that mute parts of a trained network: skips of a U-Net, branches of an ASPP.

The masks of every choice of parts are computed once, in Python, and cross to the browser as
deflated label maps, so a saved page stays alive without a kernel.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor, nn

from helpers.classes import IGNORE_INDEX, ClassSet, mark_wrong
from helpers.metrics import boundary_distance, confusion_matrix, iou, mean_iou, pixel_accuracy
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
)

CSS = Path(__file__).with_suffix(".css").read_text("utf-8")


def with_muting(script: Path) -> str:
    """The browser half in `script`, behind ``shared.js`` and ``muting.js``."""
    return with_shared(Path(__file__).with_suffix(".js")) + script.read_text("utf-8")


@contextlib.contextmanager
def inputs(model: nn.Module, images: ArrayLike, batch_size: int) -> Iterator[list[Tensor]]:
    """``images``, float ``(N, 3, H, W)``, in batches on the device of a network that only looks.

    The network is in evaluation mode until the block ends, then as it was. Raises ``ValueError``
    for images of another form.
    """
    array = stack("images", images)
    if array.ndim != 4 or array.shape[1] != 3 or array.dtype.kind != "f":
        raise ValueError(f"images must be float (N, 3, H, W), got {array.dtype} {array.shape}")
    device, was_training = next(model.parameters()).device, model.training
    batches = torch.from_numpy(array).float().split(batch_size)
    model.eval()
    try:
        with torch.inference_mode():
            yield [batch.to(device, memory_format=torch.channels_last) for batch in batches]
    finally:
        model.train(was_training)


class MutingExplorer(Still):
    """Pictures, masks and scores of a network for every choice of the parts that it keeps.

    Bit ``k`` of a choice's number is set when ``parts[k]`` is kept; ``masks`` are labels
    ``(2**len(parts), N, H, W)`` in that order, ``images``, ``truths``, ``classes`` and ``watch``
    as the explorers take them. ``scores[number]`` holds a row of ``measures`` for each picture
    alone and a last one for all of them; None where there is nothing to score. Raises
    ``ValueError`` for arrays that do not fit together and for traits out of range.
    """

    shape = traitlets.List().tag(sync=True)  # pictures, rows, columns
    photos = traitlets.List().tag(sync=True)
    masks = traitlets.Bytes().tag(sync=True)  # per picture: truth, boundary band, every choice
    legend = traitlets.List().tag(sync=True)  # [label, name, colour]
    parts = traitlets.List().tag(sync=True)
    names = traitlets.List().tag(sync=True)  # of the choices
    views = traitlets.List(VIEWS).tag(sync=True)
    measures = traitlets.List().tag(sync=True)
    scores = traitlets.List().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    index = traitlets.Int(0).tag(sync=True)
    kept = traitlets.List().tag(sync=True)
    view = traitlets.Unicode(VIEWS[0]).tag(sync=True)
    opacity = traitlets.Float(0.6).tag(sync=True)

    kind = members = "parts"
    """What the parts are called together, and what ``kept`` lists of them."""

    def __init__(
        self,
        model: nn.Module,
        masks: np.ndarray,
        images: ArrayLike,
        truths: ArrayLike,
        classes: ClassSet,
        watch: Sequence[str],
        **traits: object,
    ) -> None:
        self.classes = classes
        self._photos = rgb(images)
        shape = self._photos.shape[:3]
        self._truths = labels("truths", truths, shape, [*range(len(classes)), IGNORE_INDEX])
        self._masks = masks
        if model.score.out_channels != len(classes):
            raise ValueError(
                f"model must score the {len(classes)} classes, got {model.score.out_channels}"
            )
        self._watch = [name for name in watch if name in classes]
        band = boundary_distance(self._truths) < BAND
        layers = np.concatenate([self._truths[None], band[None], masks], dtype=np.uint8)
        super().__init__(
            shape=list(shape),
            photos=[encode(Image.fromarray(photo), "WEBP", quality=90) for photo in self._photos],
            masks=zlib.compress(layers.swapaxes(0, 1).tobytes(), 9),
            legend=legend_of(classes, self._truths),
            measures=["pixel accuracy", "mean IoU", f"IoU within {BAND} px"]
            + [f"IoU of {name}" for name in self._watch],
            scores=[self._scores(choice, band) for choice in masks],
            kept=traits["parts"],
            **traits,
        )
        self.names = [self._name(self._chosen(number)) for number in range(len(masks))]

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
            return self._check_kept(name, value)
        if name == "index":
            return self._picture(value)
        if name == "opacity":
            good, expected = 0 <= value <= 1, "from 0 to 1"
        else:
            good, expected = value in VIEWS, f"one of {', '.join(VIEWS)}"
        if not good:
            raise ValueError(f"{name} must be {expected}; got {value!r}")
        return value

    def table(self, index: int | None = None) -> dict[tuple, dict[str, float | None]]:
        """Scores by kept parts and measure, over all pictures or of picture ``index`` alone."""
        row = -1 if index is None else self._picture(index)
        return {
            self._chosen(number): dict(zip(self.measures, rows[row], strict=True))
            for number, rows in enumerate(self.scores)
        }

    def figure(self, choices: Sequence[Sequence] | None = None, index: int | None = None) -> Figure:
        """The same on paper: truth and image, then mask and errors of each choice of kept parts.

        For picture ``index``, by default the one that the widget shows. The figure is not
        registered with pyplot; show or save it.
        """
        choices = self._usual() if choices is None else choices
        choices = [self._check_kept("choices", kept) for kept in choices]
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
            number = self._number(kept)
            mask, score = self._masks[number, index], self.scores[number][index][2]
            above.set(title=self._name(kept, "\n"))
            above.imshow(self._blend(photo, mask))
            below.set(xlabel=f"{self.measures[2]}\n" + ("–" if score is None else f"{score:.2f}"))
            below.imshow(mark_wrong(photo, mask, truth))
        for ax in axes.flat:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(
                visible=True, color="grey", linewidth=0.5
            )  # white errors on white paper
        print_legend(figure, self.legend, len(choices) + 1)
        return figure

    def _usual(self) -> list[Sequence]:
        """The choices that are printed unless others are asked for."""
        raise NotImplementedError

    def _call(self, some: Sequence) -> str:
        """One or more parts in words."""
        return ", ".join(map(str, some))

    def _name(self, kept: Sequence, gap: str = " ") -> str:
        """What a choice is called, by whichever list is shorter."""
        muted = [part for part in self.parts if part not in kept]
        if not kept or not muted:
            return f"{'no' if muted else 'all'} {self.kind}"
        word, some = ("only", kept) if len(kept) < len(muted) else ("without", muted)
        return f"{word}{gap}{self._call(some)}"

    def _number(self, kept: Sequence) -> int:
        return sum(1 << self.parts.index(part) for part in kept)

    def _chosen(self, number: int) -> tuple:
        return tuple(part for k, part in enumerate(self.parts) if number >> k & 1)

    def _picture(self, index: int) -> int:
        if not 0 <= index < self.shape[0]:
            raise ValueError(f"index must be from 0 to {self.shape[0] - 1}; got {index!r}")
        return index

    def _check_kept(self, name: str, kept: Sequence) -> list:
        if not all(part in self.parts for part in kept):
            known = f"{self.members} out of {tuple(self.parts)}"
            raise ValueError(f"{name} must hold {known}; got {list(kept)}")
        return [part for part in self.parts if part in kept]

    def _blend(self, photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
        mixed = (1 - self.opacity) * photo + self.opacity * self.classes.palette[mask]
        return mixed.astype(np.uint8)

"""Mask overlay: photo, truth and predictions under one curtain, composed in the browser.

Pictures cross to the browser once (photos as WebP, masks deflated); every control is redrawn there,
so a saved page stays alive without a kernel. Python keeps the state, the scores and a printed twin.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import traitlets
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

from helpers.classes import IGNORE_INDEX, ClassSet, mark_wrong
from helpers.metrics import boundary_distance, confusion_matrix, mean_iou, pixel_accuracy
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


class MaskOverlay(Still):
    """Look at pictures through their masks: wipe, fade, switch classes, see what is wrong.

    ``images`` are float ``(N, 3, H, W)`` in [0, 1] or uint8 ``(N, H, W, 3)``; ``truths`` and each
    of ``predictions`` (by model name) are labels ``(N, H, W)``, void (255) in the truth only.
    ``distances`` ``(N, H, W)`` are those of ``helpers.metrics.boundary_distance``, computed when
    missing. Arrays, tensors and lists of either will do. The controls are traits, to read and set:
    ``index`` (from 0), ``left`` and ``right`` (one of ``choices``), ``opacity`` and ``curtain``
    (0 to 1), ``view`` (one of ``VIEWS``) and ``hidden`` (class names). An error counts for the
    view when its true or its predicted class is not hidden.

    ``scores[name][i]`` holds pixel accuracy, mean IoU and mean IoU in the band of ``BAND`` pixels
    for picture ``i`` alone; None where there is nothing to score.

    Raises ``ValueError`` for arrays that do not fit together and for traits out of range.
    """

    _esm = with_shared(Path(__file__).with_suffix(".js"))
    _css = Path(__file__).with_suffix(".css")

    shape = traitlets.List().tag(sync=True)  # pictures, rows, columns
    photos = traitlets.List().tag(sync=True)
    masks = traitlets.Bytes().tag(sync=True)  # per picture: truth, each model, boundary band
    choices = traitlets.List().tag(sync=True)
    legend = traitlets.List().tag(sync=True)  # [label, name, colour]
    views = traitlets.List(VIEWS).tag(sync=True)
    scores = traitlets.Dict().tag(sync=True)
    measures = traitlets.List(["pixel accuracy", "mean IoU", f"IoU within {BAND} px"]).tag(
        sync=True
    )

    index = traitlets.Int(0).tag(sync=True)
    left = traitlets.Unicode().tag(sync=True)
    right = traitlets.Unicode().tag(sync=True)
    opacity = traitlets.Float(0.6).tag(sync=True)
    curtain = traitlets.Float(0.5).tag(sync=True)
    view = traitlets.Unicode(VIEWS[0]).tag(sync=True)
    hidden = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(
        self,
        images: ArrayLike,
        truths: ArrayLike,
        predictions: Mapping[str, ArrayLike],
        classes: ClassSet,
        distances: ArrayLike | None = None,
    ) -> None:
        self.classes = classes
        self._photos = rgb(images)
        shape = self._photos.shape[:3]
        self._truths = labels("truths", truths, shape, [*range(len(classes)), IGNORE_INDEX])
        if taken := {"image", "truth"} & set(predictions):
            raise ValueError(f"predictions must not be named {' or '.join(sorted(taken))}")
        self._predictions = {
            name: labels(f"predictions[{name!r}]", masks, shape, range(len(classes)))
            for name, masks in predictions.items()
        }
        if distances is None:
            distances = boundary_distance(self._truths)
        distances = stack("distances", distances)
        if distances.shape != shape:
            raise ValueError(f"distances must be {shape} like the truths, got {distances.shape}")
        band = distances < BAND
        layers = np.stack([self._truths, *self._predictions.values(), band], 1, dtype=np.uint8)
        choices = ["image", "truth", *self._predictions]
        super().__init__(
            shape=list(shape),
            photos=[encode(Image.fromarray(photo), "WEBP", quality=90) for photo in self._photos],
            masks=zlib.compress(layers.tobytes(), 9),
            choices=choices,
            legend=legend_of(classes, self._truths),
            scores={
                name: [self._scores(*pair) for pair in zip(masks, self._truths, band, strict=True)]
                for name, masks in self._predictions.items()
            },
            left=choices[1] if predictions else choices[0],
            right=choices[2] if predictions else choices[1],
        )

    def _scores(self, mask: np.ndarray, truth: np.ndarray, band: np.ndarray) -> list[float | None]:
        count = len(self.classes)
        everywhere = confusion_matrix(mask, truth, count)
        near = confusion_matrix(mask, np.where(band, truth, IGNORE_INDEX), count)
        values = pixel_accuracy(everywhere), mean_iou(everywhere), mean_iou(near)
        return [None if np.isnan(value) else round(float(value), 4) for value in values]

    @traitlets.validate("index", "left", "right", "opacity", "curtain", "view", "hidden")
    def _in_range(self, proposal: dict) -> object:
        name, value = proposal["trait"].name, proposal["value"]
        if name == "index":
            good, expected = 0 <= value < self.shape[0], f"from 0 to {self.shape[0] - 1}"
        elif name in ("opacity", "curtain"):
            good, expected = 0 <= value <= 1, "from 0 to 1"
        elif name == "hidden":
            names = [entry[1] for entry in self.legend]
            good, expected = set(value) <= set(names), f"a list out of {', '.join(names)}"
        else:
            allowed = self.views if name == "view" else self.choices
            good, expected = value in allowed, f"one of {', '.join(allowed)}"
        if not good:
            raise ValueError(f"{name} must be {expected}; got {value!r}")
        return value

    def figure(self, pictures: Sequence[int] | None = None) -> Figure:
        """The same on paper: a column per picture (the first four by default), classes below.

        Rows are image, truth, then each model's mask and its wrong pixels on the darkened photo.
        The figure is not registered with pyplot; show or save it.
        """
        pictures = range(min(4, len(self._photos))) if pictures is None else pictures
        rows = [("image", self._photos), ("truth", self._blend(self._truths))]
        for name, masks in self._predictions.items():
            wrong = mark_wrong(self._photos, masks, self._truths)
            rows += [(name, self._blend(masks)), (f"{name}:\nerrors", wrong)]
        height, width = self._truths.shape[1:]
        size = 2 * len(pictures) + 0.4, 2 * height / width * len(rows) + 0.9
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(rows), len(pictures), squeeze=False)
        for (name, shown), line in zip(rows, axes, strict=True):
            line[0].set_ylabel(name)
            for picture, ax in zip(pictures, line, strict=True):
                ax.imshow(shown[picture], interpolation="nearest")
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_visible(False)
        for picture, ax in zip(pictures, axes[0], strict=True):
            ax.set_title(f"picture {picture}")
        print_legend(figure, self.legend, len(pictures) + 1, wrong=bool(self._predictions))
        return figure

    def _blend(self, masks: np.ndarray) -> np.ndarray:
        mixed = (1 - self.opacity) * self._photos + self.opacity * self.classes.palette[masks]
        return mixed.astype(np.uint8)

    def __repr__(self) -> str:
        count, height, width = self.shape
        layers = ", ".join(self.choices)
        return f"Mask overlay: {count} pictures of {height} × {width} pixels; {layers}."

    dots_per_inch = 54

    def still(self) -> Figure:
        return self.figure(range(min(3, len(self._photos))))

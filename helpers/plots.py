"""Static figures: drawn once, closed, and shown as an image that says in words what it shows."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from helpers.classes import IGNORE_INDEX, ClassSet, mark_wrong

LARGE_PNG = 80_000
"""Bytes above which a figure holds photographs, which WebP keeps in a fifth of the space."""

plt.style.use(Path(__file__).with_name("pixelwise.mplstyle"))


def show(figure: Figure, alt: str) -> None:
    """Display `figure` as an ``<img>`` whose text is `alt`, then close it.

    A plain ``<img>`` because front ends drop the text of bare image outputs. ``ValueError`` on an
    empty `alt`: a reader who cannot see the figure has nothing else.
    """
    if not alt.strip():
        raise ValueError("alt must say in a sentence what the figure shows; it is empty")
    buffer, kind = io.BytesIO(), "png"
    figure.savefig(buffer, format=kind)
    plt.close(figure)
    if len(buffer.getvalue()) > LARGE_PNG:
        picture, buffer, kind = Image.open(buffer).convert("RGB"), io.BytesIO(), "webp"
        picture.save(buffer, kind, quality=88, use_sharp_yuv=True)
    source = f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    tag = f'<img alt="{html.escape(alt)}" src="{source}" style="max-width: 100%">'
    display({"text/html": tag, "text/plain": alt}, raw=True)


def as_picture(image) -> np.ndarray:
    """An image ``(3, H, W)`` or ``(H, W, 3)``, float in [0, 1] or uint8, as ``uint8 (H, W, 3)``."""
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[-1] != 3:
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[-1] != 3:
        raise ValueError(f"image must be (3, H, W) or (H, W, 3), got {array.shape}")
    if array.dtype == np.uint8:
        return array
    return (array.clip(0, 1) * 255).round().astype(np.uint8)


def colorize(mask, classes: ClassSet) -> np.ndarray:
    """A mask ``(H, W)`` in the colours of its classes, void in white: ``uint8 (H, W, 3)``."""
    mask = np.asarray(mask)
    known = (mask == IGNORE_INDEX) | ((mask >= 0) & (mask < len(classes)))
    if not known.all():
        raise ValueError(
            f"mask holds labels {np.unique(mask[~known]).tolist()}; expected 0 to {len(classes) - 1} "
            f"or {IGNORE_INDEX} (void)"
        )
    return classes.palette[mask]


def overlay(image, mask, classes: ClassSet, opacity: float = 0.55) -> np.ndarray:
    """The mask's colours laid over the image, void left as it was: ``uint8 (H, W, 3)``."""
    picture, colors = as_picture(image).astype(float), colorize(mask, classes)
    mixed = (1 - opacity) * picture + opacity * colors
    void = (np.asarray(mask) == IGNORE_INDEX)[..., None]
    return np.where(void, picture, mixed).round().astype(np.uint8)


def errors(image, prediction, truth) -> np.ndarray:
    """The image, dark and grey, with wrong pixels in white; void is never wrong."""
    return mark_wrong(as_picture(image), np.asarray(prediction), np.asarray(truth))


def grid(rows: Sequence[Mapping[str, np.ndarray]], width: float = 3.0) -> Figure:
    """Pictures in rows; the keys of the first row are the column titles."""
    columns = list(rows[0])
    height, full = next(iter(rows[0].values())).shape[:2]
    figure, axes = plt.subplots(
        len(rows), len(columns), squeeze=False,
        figsize=(width * len(columns), width * height / full * len(rows) + 0.35),
    )  # fmt: skip
    for r, row in enumerate(rows):
        for c, title in enumerate(columns):
            axes[r, c].imshow(row[title], vmin=0, vmax=1)
            axes[r, c].set_axis_off()
            if r == 0:
                axes[r, c].set_title(title)
    return figure


def add_legend(figure: Figure, classes: ClassSet) -> Figure:
    """Class names under the figure, each beside its colour."""
    patches = [
        Patch(facecolor=c, edgecolor="black", linewidth=0.5, label=n)
        for n, c in zip(classes.names, classes.colors, strict=True)
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(patches), 8),
                  handlelength=1.2, columnspacing=1.2)  # fmt: skip
    return figure

"""What widgets share: checked arrays, small files, a still for viewers that run nothing."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import anywidget
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike
from PIL import Image

from helpers.classes import IGNORE_INDEX, VOID_COLOR, WRONG_COLOR, ClassSet
from helpers.notebook_rules import WIDGET_STATE

BAND = 2
"""Width in pixels of the band around true edges: ``boundary_distance(truth) < BAND``."""

VIEWS = ("classes", "errors", "boundary errors")


def with_shared(script: Path) -> str:
    """The browser half in `script`, behind the functions of ``shared.js`` that it uses."""
    return script.with_name("shared.js").read_text("utf-8") + script.read_text("utf-8")


class Still(anywidget.AnyWidget):
    """A widget that also carries a picture of its ``figure()``, for viewers that run nothing.

    One that is ``alone`` answers in the browser, and carries its state too: for the site and the
    slides, where there is no kernel.
    """

    dots_per_inch = 72
    alone = True

    def still(self) -> Figure:
        """What the picture shows."""
        return self.figure()

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict, dict]:
        data, metadata = super()._repr_mimebundle_(**kwargs)
        page = io.BytesIO()
        self.still().savefig(page, dpi=self.dots_per_inch)
        # a third of the bytes, and unlike the default method this one keeps the class colours
        small = Image.open(page).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
        data |= {"text/plain": repr(self), "image/png": encode(small, "PNG", optimize=True)}
        if self.alone:
            data[WIDGET_STATE] = {"widget": self.script(), "state": as_json(self.own_state())}
        return data, metadata

    @classmethod
    def script(cls) -> str:
        """Name of its module and of the script beside it, by which a page without a kernel knows it."""
        return cls.__module__.rpartition(".")[2]

    def own_state(self) -> dict[str, object]:
        """The synchronised traits that are the widget's own, by name."""
        common = {*anywidget.AnyWidget.class_trait_names(), "layout", "tabbable", "tooltip"}
        state = self.get_state()
        return {key: state[key] for key in sorted(state) if key[0] != "_" and key not in common}


def legend_of(classes: ClassSet, truths: np.ndarray) -> list[list]:
    """``[label, name, colour]`` of every class, and of void where the truths have any."""
    legend = [[label, name, classes.colors[label]] for label, name in enumerate(classes)]
    if (truths == IGNORE_INDEX).any():
        legend.append([IGNORE_INDEX, "void", "#{:02x}{:02x}{:02x}".format(*VOID_COLOR)])
    return legend


def print_legend(figure: Figure, legend: list[list], columns: int, wrong: bool = True) -> None:
    """The classes under the figure, with the colour of wrong pixels if there are any."""
    patches = [Patch(facecolor=c, edgecolor="black", label=name) for _, name, c in legend]
    if wrong:
        white = np.divide(WRONG_COLOR, 255)
        patches.append(Patch(facecolor=white, edgecolor="black", label="wrong"))
    figure.legend(handles=patches, loc="outside lower center", ncols=columns, handlelength=1.2)


def stack(name: str, items: ArrayLike) -> np.ndarray:
    """One array from an array, a tensor (of any device) or a list of either."""
    arrays = [np.asarray(i.detach().cpu() if hasattr(i, "detach") else i) for i in items]
    if len(shapes := {array.shape for array in arrays}) != 1:
        raise ValueError(f"{name} must be of one size, and at least one; got {sorted(shapes)}")
    return np.stack(arrays)


def rgb(images: ArrayLike) -> np.ndarray:
    """``uint8 (N, H, W, 3)`` from either form of ``images``."""
    array = stack("images", images)
    if array.ndim == 4 and array.shape[3] == 3 and array.dtype == np.uint8:
        return array
    if array.ndim != 4 or array.shape[1] != 3 or array.dtype.kind != "f":
        form = "float (N, 3, H, W) or uint8 (N, H, W, 3)"
        raise ValueError(f"images must be {form}, got {array.dtype} {array.shape}")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"images must lie in [0, 1], got [{low:.2f}, {high:.2f}]: undo the normalisation first"
        )
    return (array.transpose(0, 2, 3, 1) * 255).round().astype(np.uint8)


def labels(name: str, masks: ArrayLike, shape: tuple, allowed: Sequence[int]) -> np.ndarray:
    """``masks`` as ``uint8``, once shape, type and labels are right."""
    array = stack(name, masks)
    if array.shape != shape or array.dtype.kind not in "iub":
        raise ValueError(
            f"{name} must be integers {shape} like the images, got {array.dtype} {array.shape}"
        )
    if strange := sorted(set(np.unique(array).tolist()) - set(allowed)):
        raise ValueError(f"{name} must hold labels out of {list(allowed)}, got {strange}")
    return array.astype(np.uint8)


def encode(image: Image.Image, form: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def as_json(value: object) -> object:
    """State of a widget as JSON: bytes become ``{"base64": text}``, at any depth."""
    match value:
        case bytes():
            return {"base64": base64.b64encode(value).decode()}
        case list() | tuple():
            return [as_json(item) for item in value]
        case dict():
            return {key: as_json(item) for key, item in value.items()}
    return value

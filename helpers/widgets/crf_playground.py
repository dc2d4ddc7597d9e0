"""CRF playground: move the parameters of a CRF and see which pixels it mends and which it spoils.

Python computes: it answers a request of the browser, which asks again only when the answer is there
or late (an error loses it), and then for the newest state alone. Every network's tuned setting comes
along for every picture, so a saved page still shows those, step by step, without a kernel.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path

import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import ArrayLike
from PIL import Image
from torch import nn

from helpers import crf
from helpers.classes import IGNORE_INDEX, ClassSet, mark_wrong
from helpers.metrics import boundary_distance, confusion_matrix, mean_iou
from helpers.training import predict_logits
from helpers.widgets.shared import (
    BAND,
    Still,
    encode,
    labels,
    legend_of,
    print_legend,
    rgb,
    stack,
    with_shared,
)

ITERATIONS = 5
"""Steps that every answer holds; more where more are asked for."""

MOST = 10
"""The most iterations: twice as many as the CRF needs here, and still answered while one waits."""

LIMITS = {
    "appearance_weight": (0, 100),
    "appearance_sxy": (1, 80),
    "appearance_srgb": (2, 80),
    "smoothness_weight": (0, 100),
    "smoothness_sxy": (0.4, 10),
}
"""Ends of the sliders: weights, pixels and grey levels, as in ``crf.Params``."""

VIEWS = ("classes", "errors")

CHANGES = ClassSet(
    ("mended", "spoilt", "changed, wrong both times"), ("#56B4E9", "#D55E00", "#FFFFFF")
)
"""What `difference` counts from 1 on, and its colour on the darkened photo; what is spoilt is hatched."""

OPACITY = 0.6


def difference(before: np.ndarray, after: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What became of each pixel, ``uint8`` in the shape of the labels, by the order of `CHANGES`.

    1 is mended (wrong, then right), 2 spoilt (right, then wrong), 3 wrong both times but otherwise;
    0 is the rest: labels that stayed, and void.
    """
    changed = (before != after) & (truth != IGNORE_INDEX)
    kinds = np.select([after == truth, before == truth], [1, 2], 3)
    return np.where(changed, kinds, 0).astype(np.uint8)


class CRFPlayground(Still):
    """A CRF on top of trained networks: mask before and after, what changed, the energy on the way.

    ``networks`` are trained networks by name, which give scores of ``classes``; ``images`` are float
    ``(N, 3, H, W)`` in [0, 1] or uint8 ``(N, H, W, 3)``, ``truths`` labels ``(N, H, W)`` with void
    (255). ``params`` holds the tuned ``crf.Params`` of each network. Every network sees every
    picture once, and the tuned answers are computed for a page without a kernel: give a handful of
    pictures. The controls are traits, to read and set, and arguments: ``source`` (a network's name),
    ``index`` (the picture, from 0), ``setting`` (a ``crf.Params``, or its five numbers, within
    ``LIMITS``), ``iterations`` (0 to ``MOST``) and ``view`` ("classes" or "errors"). A tuned setting
    follows the network; another one stays when the network changes.

    ``answer`` is ``[request, source, index, setting, masks, energies, scores]`` of all steps, step 0
    being the network alone: deflated labels ``uint8 (T + 1, H, W)``; free energies per pixel, in
    nats; mean IoU of the picture, everywhere and within ``BAND`` pixels of a true edge (None where
    there is nothing to score).

    Raises ``ValueError`` for arrays, networks or params that do not fit together and for traits
    out of range, ``ImportError`` where pydensecrf is not installed.
    """

    _esm = with_shared(Path(__file__).with_suffix(".js"))
    _css = Path(__file__).with_suffix(".css")

    shape = traitlets.List().tag(sync=True)  # pictures, rows, columns
    photos = traitlets.List().tag(sync=True)
    truths = traitlets.Bytes().tag(sync=True)
    legend = traitlets.List().tag(sync=True)  # [label, name, colour]
    changes = traitlets.List(list(map(list, zip(CHANGES, CHANGES.colors, strict=True))))
    changes.tag(sync=True)  # [name, colour]
    views = traitlets.List(VIEWS).tag(sync=True)
    limits = traitlets.Dict(LIMITS).tag(sync=True)
    tuned = traitlets.Dict().tag(sync=True)  # by network: its setting
    starts = traitlets.List().tag(sync=True)  # answers without their first item, all of them tuned
    request = traitlets.Int(0).tag(sync=True)  # a number that the browser counts up
    answer = traitlets.List().tag(sync=True)  # the newest

    source = traitlets.Unicode().tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)
    setting = traitlets.TraitType()  # Any would let None pass unchecked
    setting.tag(sync=True, to_json=lambda params, _: list(astuple(params)))
    iterations = traitlets.Int(ITERATIONS).tag(sync=True)
    view = traitlets.Unicode(VIEWS[0]).tag(sync=True)

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        images: ArrayLike,
        truths: ArrayLike,
        classes: ClassSet,
        params: Mapping[str, crf.Params],
        **traits: object,
    ) -> None:
        self.classes = classes
        self._photos = rgb(images)
        shape = self._photos.shape[:3]
        self._truths = labels("truths", truths, shape, [*range(len(classes)), IGNORE_INDEX])
        if not networks or not all(isinstance(one, nn.Module) for one in networks.values()):
            given = {name: type(one).__name__ for name, one in networks.items()}
            raise ValueError(f"networks must be modules by name, at least one; got {given}")
        if set(params) != set(networks):
            raise ValueError(f"params must be those of {list(networks)}; got {list(params)}")
        self.params = {name: check_setting(f"params[{name!r}]", params[name]) for name in networks}
        band = boundary_distance(self._truths) < BAND
        self._near = np.where(band, self._truths, IGNORE_INDEX)
        source = self._checked("source", traits.get("source", next(iter(networks))))
        setting = self._checked("setting", traits.get("setting", self.params[source]))
        super().__init__(
            shape=list(shape),
            photos=[encode(Image.fromarray(photo), "WEBP", quality=90) for photo in self._photos],
            truths=zlib.compress(self._truths.tobytes(), 9),
            legend=legend_of(classes, self._truths),
            tuned={name: list(astuple(setting)) for name, setting in self.params.items()},
            **traits | {"source": source, "setting": setting},
        )
        pictures = stack("images", images)
        if pictures.dtype == np.uint8:
            pictures = (pictures / np.float32(255)).transpose(0, 3, 1, 2)
        pictures = torch.from_numpy(pictures).float()
        self._probabilities = {
            name: self._look(name, network, pictures) for name, network in networks.items()
        }
        self.starts = [
            self._infer(name, index, setting, ITERATIONS)
            for name, setting in self.params.items()
            for index in range(len(pictures))
        ]
        self.answer = [self.request, *self._entry()]
        self.observe(self._respond, ["request", "source", "index", "setting", "iterations"])

    def _look(self, name: str, network: nn.Module, pictures: torch.Tensor) -> np.ndarray:
        """Softmax of a network, ``float32 (N, C, H, W)``."""
        logits = predict_logits(network, pictures)
        count, height, width = self.shape
        if (expected := (count, len(self.classes), height, width)) != tuple(logits.shape):
            raise ValueError(
                f"networks must score the {len(self.classes)} classes at every pixel, "
                f"{expected}; {name!r} gives {tuple(logits.shape)}"
            )
        return logits.softmax(1).numpy()

    @traitlets.validate("source", "index", "setting", "iterations", "view")
    def _in_range(self, proposal: dict) -> object:
        return self._checked(proposal["trait"].name, proposal["value"])

    def _checked(self, name: str, value: object) -> object:
        if name == "setting":
            return check_setting(name, value)
        if name in ("source", "view"):
            known = list(self.params if name == "source" else VIEWS)
            good, expected = value in known, f"one of {', '.join(known)}"
        else:
            last = MOST if name == "iterations" else len(self._photos) - 1
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            good, expected = whole and 0 <= value <= last, f"a whole number from 0 to {last}"
        if not good:
            raise ValueError(f"{name} must be {expected}; got {value!r}")
        return value

    def _respond(self, change: dict) -> None:
        """Answer for the present state; of changes that come together, for the last one only."""
        if change["name"] == "source" and self.setting == self.params[change["old"]]:
            self.setting = self.params[self.source]
        self.answer = [self.request, *self._entry()]

    def _entry(self) -> list:
        """An answer's items but the first, computed only where none at hand will do."""
        asked = [self.source, self.index, list(astuple(self.setting))]
        for entry in (self.answer[1:], *self.starts):
            if entry[:3] == asked and len(entry[4]) > self.iterations:
                return entry
        return self._infer(self.source, self.index, self.setting, self.iterations)

    def _infer(self, source: str, index: int, setting: crf.Params, iterations: int) -> list:
        probabilities, steps = self._probabilities[source][index], max(ITERATIONS, iterations)
        found = crf.refine_steps(self._photos[index], probabilities, setting, steps)
        masks = found.steps.argmax(1).astype(np.uint8)
        energies = (found.energies / masks[0].size).tolist()
        scores = [self._scores(mask, index) for mask in masks]
        return [source, index, list(astuple(setting)), zlib.compress(masks), energies, scores]

    def _scores(self, mask: np.ndarray, index: int) -> list[float | None]:
        matrices = [
            confusion_matrix(mask, truth[index], len(self.classes))
            for truth in (self._truths, self._near)
        ]
        values = [mean_iou(matrix) for matrix in matrices]
        return [None if np.isnan(value) else round(value, 4) for value in values]

    def figure(
        self,
        source: str | None = None,
        index: int | None = None,
        setting: crf.Params | None = None,
        iterations: int | None = None,
    ) -> Figure:
        """The same on paper: mask before and after, what changed, and the energy on the way.

        What is not given is what the widget shows. The figure is not registered with pyplot; show
        or save it. Raises ``ValueError`` as the traits do.
        """
        given = {"source": source, "index": index, "setting": setting, "iterations": iterations}
        source, index, setting, step = (
            getattr(self, name) if value is None else self._checked(name, value)
            for name, value in given.items()
        )
        *_, maps, energies, scores = self._infer(source, index, setting, step)
        photo, truth = self._photos[index], self._truths[index]
        masks = np.frombuffer(zlib.decompress(maps), np.uint8).reshape(-1, *truth.shape)
        before, after = masks[0], masks[step]
        height, width = truth.shape
        figure = Figure(figsize=(9, 9 * height / width + 1.6), layout="compressed")
        axes = figure.subplots(2, 2)
        for ax, title, mask, score in (
            (axes[0, 0], f"before: {source}", before, scores[0]),
            (axes[0, 1], f"after: {_times(step)} of the CRF", after, scores[step]),
        ):
            mixed = (1 - OPACITY) * photo + OPACITY * self.classes.palette[mask]
            ax.imshow(mixed.astype(np.uint8), interpolation="nearest")
            told = ["–" if value is None else f"{value:.3f}" for value in score]
            ax.set(title=title, xlabel=f"mean IoU {told[0]}, within {BAND} px {told[1]}")
        kinds = difference(before, after, truth)
        _print_difference(axes[1, 0], photo, kinds)
        for ax in axes.flat[:3]:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        _print_energy(axes[1, 1], energies, step)
        print_legend(figure, self.legend, 5, wrong=False)
        return figure

    def __repr__(self) -> str:
        count, height, width = self.shape
        return (
            f"CRF playground: {count} pictures of {height} × {width} pixels; "
            f"{', '.join(self.params)}."
        )


def check_setting(name: str, value: object) -> crf.Params:
    """`value` as ``crf.Params`` of plain floats within ``LIMITS``, or ``ValueError``."""
    try:
        params = value if isinstance(value, crf.Params) else crf.Params(*value)
    except TypeError:
        raise ValueError(
            f"{name} must be a crf.Params or its {len(LIMITS)} numbers; got {value!r}"
        ) from None
    for parameter, (low, high) in LIMITS.items():
        if not low <= (number := getattr(params, parameter)) <= high:
            raise ValueError(f"{name} must have {parameter} from {low} to {high}; got {number!r}")
    return crf.Params(*map(float, astuple(params)))


def _times(step: int) -> str:
    return f"{step} iteration{'s' * (step != 1)}"


def _print_difference(ax: Axes, photo: np.ndarray, kinds: np.ndarray) -> None:
    dark = mark_wrong(photo, kinds, kinds)  # nothing differs from itself: the dark photo alone
    shown = np.where(kinds[..., None] > 0, CHANGES.palette[kinds - 1], dark)
    ax.imshow(shown, interpolation="nearest")
    spoilt = np.argwhere(kinds == 2)
    strokes = [[(x - 0.5, y + 0.5), (x + 0.5, y - 0.5)] for y, x in spoilt]
    ax.add_collection(LineCollection(strokes, colors="black", linewidths=0.6))
    ax.set(title="what changed")
    counts = np.bincount(kinds.ravel(), minlength=len(CHANGES) + 1)[1:]
    patches = [
        Patch(
            facecolor=color,
            edgecolor="black",
            hatch="////" if name == "spoilt" else None,
            label=f"{name}: {count} px",
        )
        for name, color, count in zip(CHANGES, CHANGES.colors, counts, strict=True)
    ]
    ax.legend(
        handles=patches, loc="upper center", bbox_to_anchor=(0.5, 0), handlelength=1.2, borderpad=0
    )


def _print_energy(ax: Axes, energies: list[float], step: int) -> None:
    ax.plot(energies, marker="o")
    ax.plot(step, energies[step], "o", markersize=16, fillstyle="none", color="black")
    ax.set(title="free energy", xlabel="iteration", ylabel="nats per pixel")
    ax.set(xticks=range(0, len(energies), 1 + len(energies) // 8))

"""Upsampling explorer: draw a small input, enlarge it six ways, see who writes to each pixel.

The browser computes what it shows, so a saved page stays alive without a kernel. Python holds the
same as torch layers: for the printed twin, for notebooks, and to test the browser against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import nn

from helpers.upsampling import bilinear_transposed, checkerboard, icnr_, matrix_of
from helpers.widgets.shared import Still, with_shared

SIDE = 6
"""Rows and columns of the input."""

METHODS = {
    "nearest": (),
    "bilinear": (),
    "bilinear, align_corners": (),
    "transposed convolution": ("ones", "bilinear", "random"),
    "resize, then convolve": ("ones", "random"),
    "pixel shuffle": ("random", "ICNR"),
}
"""The methods, each with the first weights that it may start from."""

LIMITS = {"kernel": (1, 6), "stride": (2, 4), "ink": (0, 1)}

SETTINGS = ("method", "kernel", "stride", "init")

TINY = 1e-6  # a cell counts for a pixel when its weight there exceeds this; the browser's, too

_rng = np.random.default_rng(7)
NOISE = [_rng.normal(size=(16, k, k)).round(4).tolist() for k in range(1, 7)]
"""Random kernels for each size from 1 on; ``stride ** 2`` of them serve a pixel shuffle."""


def upsampling_layer(method: str, kernel: int, stride: int, init: str) -> nn.Module:
    """The layer ``(N, 1, H, W)`` to ``(N, 1, stride * H, stride * W)``, with its first weights.

    A transposed convolution gives ``kernel - stride`` rows and columns too many: `padding` takes
    half of them from each side, an odd one from the upper left (`output_padding` 1, as for kernel 3
    and stride 2). A kernel smaller than the stride leaves the last rows and columns empty. Its
    weights "ones" are 1, those before a convolution of a resized map ``1 / kernel ** 2``: a mean.
    "bilinear" brings its own kernel, `helpers.upsampling.bilinear_kernel`. The other convolutions
    pad with zeros, for an even kernel one more below and to the right. "random" keeps the variance
    of the map: its standard deviation is one over the root of the weights that meet in a pixel.

    Raises ``ValueError`` for settings that the explorer does not have.
    """
    for name, value in zip(SETTINGS, (method, kernel, stride, init), strict=True):
        _check(name, value, method)
    match method:
        case "nearest":
            return nn.Upsample(scale_factor=stride, mode="nearest")
        case "bilinear" | "bilinear, align_corners":
            return nn.Upsample(
                scale_factor=stride, mode="bilinear", align_corners="align" in method
            )
        case "transposed convolution":
            if init == "bilinear":
                return bilinear_transposed(1, stride)
            padding = max(0, (kernel - stride + 1) // 2)
            rest = stride - kernel + 2 * padding
            layer = nn.ConvTranspose2d(1, 1, kernel, stride, padding, rest, bias=False)
            return _fill(layer, init, ones=1, gain=stride / kernel)
    before, after = (kernel - 1) // 2, kernel // 2
    pad = nn.ZeroPad2d((before, after, before, after))
    if method == "resize, then convolve":
        conv = _fill(nn.Conv2d(1, 1, kernel, bias=False), init, kernel**-2, 1 / kernel)
        return nn.Sequential(nn.Upsample(scale_factor=stride, mode="nearest"), pad, conv)
    conv = _fill(nn.Conv2d(1, stride**2, kernel, bias=False), init, kernel**-2, 1 / kernel)
    if init == "ICNR":
        icnr_(conv, stride)
    return nn.Sequential(pad, conv, nn.PixelShuffle(stride))


class UpsamplingExplorer(Still):
    """Draw ``6 x 6`` cells and watch how each way of upsampling enlarges them.

    The controls are traits, to read and set, and arguments: ``cells`` (6 rows of 6 numbers in
    [0, 1]; a list, an array or a tensor), ``method`` (one of ``METHODS``), ``kernel`` (1 to 6),
    ``stride`` (2 to 4), ``init`` (the first weights: out of ``METHODS[method]``) and ``ink`` (0 to
    1, what the pointer paints). A new method that does not know ``init`` starts from "random".
    Methods without weights ignore ``kernel`` and ``init``, the bilinear kernel ignores ``kernel``.

    Raises ``ValueError`` for a trait out of range.
    """

    _esm = with_shared(Path(__file__).with_suffix(".js"))
    _css = Path(__file__).with_suffix(".css")

    dots_per_inch = 60

    methods = traitlets.Dict(METHODS).tag(sync=True)
    limits = traitlets.Dict(LIMITS).tag(sync=True)
    noise = traitlets.List(NOISE).tag(sync=True)

    cells = traitlets.Any([[1.0] * 3 + [0.0] * 3] * SIDE).tag(sync=True)
    ink = traitlets.Float(1.0).tag(sync=True)
    method = traitlets.Unicode("transposed convolution").tag(sync=True)
    kernel = traitlets.Int(3).tag(sync=True)
    stride = traitlets.Int(2).tag(sync=True)
    init = traitlets.Unicode("ones").tag(sync=True)

    @traitlets.validate("cells", "ink", *SETTINGS)
    def _in_range(self, proposal: dict) -> object:
        name, value = proposal["trait"].name, proposal["value"]
        if name == "cells":
            return _cells(value)
        _check(name, value, self.method)
        return value

    @traitlets.observe("method")
    def _keep_init_known(self, change: dict) -> None:
        self.init = _known_init(self.method, self.init)

    def layer(self) -> nn.Module:
        """The chosen method as a torch layer, see `upsampling_layer`."""
        return upsampling_layer(*(getattr(self, name) for name in SETTINGS))

    def output(self) -> np.ndarray:
        """The enlarged picture, ``float32 (6 * stride, 6 * stride)``."""
        return _enlarge(self.layer(), self.cells)

    def overlap(self) -> np.ndarray:
        """How many cells each output pixel depends on, ``int64 (6 * stride, 6 * stride)``."""
        return _overlap(self.layer(), self.stride)

    def figure(self, settings: Sequence[Mapping[str, object]] | None = None) -> Figure:
        """The same on paper: a row for each of `settings`, by default for the current one.

        Each is a mapping out of ``method``, ``kernel``, ``stride`` and ``init``; what it leaves out
        stays as it is now. Columns are input, output and overlap. The figure is not registered
        with pyplot; show or save it. Raises ``ValueError`` for settings that do not exist.
        """
        settings = [{}] if settings is None else settings
        figure = Figure(figsize=(10, 4.3 * len(settings)), layout="constrained")
        rows = figure.subfigures(len(settings), squeeze=False)[:, 0]
        for setting, row in zip(settings, rows, strict=True):
            if strange := set(setting) - set(SETTINGS):
                raise ValueError(f"settings must be out of {SETTINGS}, got {sorted(strange)}")
            state = {name: getattr(self, name) for name in SETTINGS} | setting
            if "init" not in setting:
                state["init"] = _known_init(state["method"], state["init"])
            layer, stride = upsampling_layer(**state), state["stride"]
            output, overlap = _enlarge(layer, self.cells), _overlap(layer, stride)
            # the block of cell (2, 2), the one that no kernel here connects with the border
            inside = (slice(2 * stride, 3 * stride),) * 2
            counts, flat = overlap[inside], _enlarge(layer, np.ones((SIDE, SIDE)))[inside]
            share = checkerboard(torch.from_numpy(flat), stride)
            even = "uneven" if np.ptp(counts) else "even"
            row.suptitle(_describe(**state))
            left, middle, right = row.subplots(1, 3, width_ratios=(0.55, 1, 1))
            _picture(left, np.array(self.cells), "input")
            span = f"output, {output.min() + 0.0:.2f} to {output.max() + 0.0:.2f}"
            title = f"{span}\ncheckerboard of a flat input: {share:.2f}"
            _picture(middle, output, title.replace("-", "−"))
            kinds = ", ".join(map(str, np.unique(counts)))
            _counts(right, overlap, f"cells per pixel,\naway from the border: {kinds} ({even})")
        return figure

    def __repr__(self) -> str:
        settings = _describe(self.method, self.kernel, self.stride, self.init)
        return f"Upsampling explorer: {SIDE} × {SIDE} cells; {settings}."


def _cells(value: object) -> list[list[float]]:
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"cells must be {SIDE} rows of {SIDE} numbers: {error}") from None
    if array.shape != (SIDE, SIDE):
        raise ValueError(f"cells must be {SIDE} rows of {SIDE} numbers, got shape {array.shape}")
    if not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"cells must lie in [0, 1], got [{array.min():.2f}, {array.max():.2f}]")
    return array.tolist()


def _check(name: str, value: object, method: str) -> None:
    """``ValueError`` unless `value` is one that the control `name` can take with `method`."""
    if name == "ink":
        good, expected = 0 <= value <= 1, "from 0 to 1"
    elif name in LIMITS:
        low, high = LIMITS[name]
        good, expected = value in range(low, high + 1), f"a whole number from {low} to {high}"
    elif name == "method":
        good, expected = value in METHODS, f"one of {'; '.join(METHODS)}"
    else:
        known = METHODS[method] or ("ones", "bilinear", "random", "ICNR")
        good, expected = value in known, f"one of {', '.join(known)} for {method}"
    if not good:
        raise ValueError(f"{name} must be {expected}; got {value!r}")


def _known_init(method: str, init: str) -> str:
    known = METHODS.get(method)
    return init if not known or init in known else "random"


def _fill(layer: nn.Module, init: str, ones: float, gain: float) -> nn.Module:
    noise = torch.tensor(NOISE[layer.kernel_size[0] - 1])[: layer.weight.shape[0], None] * gain
    with torch.no_grad():
        layer.weight.copy_(torch.full_like(noise, ones) if init == "ones" else noise)
    return layer


def _enlarge(layer: nn.Module, cells: object) -> np.ndarray:
    with torch.no_grad():
        return layer(torch.tensor(cells, dtype=torch.float32)[None, None])[0, 0].numpy()


def _overlap(layer: nn.Module, stride: int) -> np.ndarray:
    depends = matrix_of(layer, SIDE, SIDE).abs() > TINY
    return depends.sum(1).reshape(SIDE * stride, SIDE * stride).numpy()


def _describe(method: str, kernel: int, stride: int, init: str) -> str:
    if not METHODS[method]:
        return f"{method}, stride {stride}"
    size = 2 * stride - stride % 2 if init == "bilinear" else kernel
    return f"{method}, kernel {size}, stride {stride}, {init}"


def _picture(ax: Axes, values: np.ndarray, title: str) -> None:
    """Black is 0 and white the largest, 1 at least; below 0 it turns blue, and is crossed out."""
    shade = np.abs(values)[..., None] / max(1, np.abs(values).max())
    below = values < -TINY
    colors = np.where(below[..., None], (0.34, 0.71, 0.91), (1.0, 1.0, 1.0))
    ax.imshow(shade * colors, interpolation="nearest")
    strokes = [[(x - 0.5, y + 0.5), (x + 0.5, y - 0.5)] for y, x in np.argwhere(below)]
    ax.add_collection(LineCollection(strokes, colors="white", linewidths=0.8))
    _frame(ax, title)


def _counts(ax: Axes, overlap: np.ndarray, title: str) -> None:
    ax.imshow(overlap, cmap="cividis", vmin=0, vmax=max(1, overlap.max()), interpolation="nearest")
    for (y, x), count in np.ndenumerate(overlap):
        color = "white" if count < 0.47 * overlap.max() else "black"  # whichever stands out more
        size = 150 / len(overlap)
        ax.text(x, y, count, ha="center", va="center", fontsize=size, color=color)
    _frame(ax, title)


def _frame(ax: Axes, title: str) -> None:
    ax.set_title(title, fontsize=12)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color="grey")

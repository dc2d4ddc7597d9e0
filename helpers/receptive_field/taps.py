"""What each operation of a network reads, told along one axis by the same few numbers."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from torch import Tensor, fx

POINTWISE = {
    "abs", "add", "alias", "alpha_dropout", "batch_norm", "clamp", "clone", "contiguous", "detach",
    "div", "dropout", "elu", "exp", "expand", "feature_dropout", "gelu", "hardsigmoid", "hardswish",
    "hardtanh", "leaky_relu", "log", "maximum", "minimum", "mish", "mul", "neg", "pow", "prelu",
    "relu", "relu6", "rsub", "selu", "sigmoid", "silu", "softplus", "sqrt", "sub", "tanh", "to",
}  # fmt: skip
"""Operations whose output cell reads the same cell of each input, or the only one there is."""

NOWHERE = 1 << 40
"""Far beyond every image: where the taps of a cell begin that has none (they end on the other side)."""


@dataclass(frozen=True)
class Taps:
    """What an operation reads along one axis.

    Output cell ``j`` reads the input cells ``(scale * j + shift + step * t) / unit`` for
    ``t = 0 ... count - 1``. In a convolution `scale` is the stride, `step` the dilation and `count`
    the kernel size; `unit` is the stride of a transposed one. Where the division leaves a rest,
    `between` says what is read: "none", the cell "below", or "both" neighbours. `border` says what
    becomes of taps outside the input: "zero" drops them, "replicate" and "reflect" move them inside.
    `whole` marks a mean over all cells, however many.
    """

    scale: int = 1
    shift: int = 0
    step: int = 1
    count: int = 1
    unit: int = 1
    between: str = "none"
    border: str = "zero"
    whole: bool = False

    def reads(self, cells: np.ndarray, side: int) -> np.ndarray:
        """Which of the `side` input cells are read by the output cells that are true in `cells`."""
        first = self.scale * np.flatnonzero(cells)[:, None] + self.shift
        positions = first + self.step * np.arange(self.count)
        low, high = positions // self.unit, -(-positions // self.unit)
        if self.between == "none":
            taps = low[low == high]
        else:
            taps = low if self.between == "below" else np.append(low, high)
        if self.border == "replicate":
            taps = taps.clip(0, side - 1)
        elif self.border == "reflect":
            taps = side - 1 - abs(side - 1 - abs(taps))
        read = np.zeros(side, bool)
        read[taps[(taps >= 0) & (taps < side)]] = True
        return read

    def span(self, first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and last tap of the output cells `first` to `last`, as if there were no border."""
        reach = self.step * (self.count - 1)
        low = self.scale * first + self.shift + min(reach, 0)
        high = self.scale * last + self.shift + max(reach, 0)
        low = -(-low // self.unit) if self.between == "none" else low // self.unit
        high = -(-high // self.unit) if self.between == "both" else high // self.unit
        return np.where(low > high, NOWHERE, low), np.where(low > high, -NOWHERE, high)


def sides(node: fx.Node) -> tuple[int, int]:
    """Rows and columns of a map ``(N, C, H, W)``; what has no such axes is a single cell."""
    shape = node.meta["val"].shape
    return tuple(shape[2:]) if len(shape) == 4 else (1, 1)


def taps_of(node: fx.Node, source: fx.Node, sources: int) -> tuple[Taps, Taps]:
    """What `node` reads of the map `source`, one of its `sources`, along rows and along columns.

    Raises ``ValueError`` for an operation that is not known here, with the module that called it.
    """
    operation = str(node.target).rpartition(".")[0] or str(node.target)
    name = operation.removeprefix("aten.").rstrip("_")
    schema = getattr(node.target, "_schema", None)
    given = {a.name: a.default_value for a in schema.arguments} if schema else {}
    given |= dict(zip(given, node.args, strict=False)) | node.kwargs
    # An operation on one map must not take its weights, say, from another.
    alone = sources == 1 and node.args[0] is source
    if isinstance(node.meta.get("val"), Tensor) and (alone or name in {*POINTWISE, "cat"}):
        taps = tuple(_along(axis, name, given, source, node) for axis in (0, 1))
        if None not in taps:
            return taps
    *_, (path, kind) = node.meta.get("nn_module_stack", {"": ("", "")}).values()
    where = f"module {path!r}" if path else "the model itself"
    raise ValueError(
        f"model has an operation that is not supported: {operation} in {where} ({kind.rpartition('.')[2]})"
    )


def _along(axis: int, name: str, given: dict[str, Any], source: fx.Node, node: fx.Node):
    """The `Taps` of one operation along one axis, None when it is not supported."""
    side, new = sides(source)[axis], sides(node)[axis]
    axes, new_axes = source.meta["val"].ndim, node.meta["val"].ndim

    def number(key: str, default: int = 1) -> int:
        """An argument for this axis: not given, given once for both, or as a pair."""
        value = given.get(key) or [default]
        return value if isinstance(value, int) else value[axis % len(value)]

    match name:
        case _ if name in POINTWISE and not given.get("training"):  # no mean over the image
            return Taps() if side == new else Taps(scale=0)
        case "cat" | "softmax" | "log_softmax" if given["dim"] % axes == 1:
            return Taps()
        case "roll" if list(given["dims"]) == [0]:
            return Taps()
        case "linear" if axes == 2:
            return Taps()
        case "mean" if axes == 4 and sorted(d % 4 for d in given["dim"]) == [2, 3]:
            return Taps(side, count=side, whole=True)
        case "adaptive_avg_pool2d" if axes == 4 and list(given["output_size"]) == [1, 1]:
            return Taps(side, count=side, whole=True)
        case "flatten" | "view" | "reshape" | "squeeze" if sides(source) == sides(node) == (1, 1):
            return Taps()
        case "flatten" | "view" | "reshape" if (axes, new_axes) == (4, 2):
            return Taps(side, count=side, whole=True)
    if (axes, new_axes) != (4, 4):
        return None
    match name:
        case "conv2d" | "conv_transpose2d":
            kernel, stride = given["weight"].meta["val"].shape[2 + axis], number("stride")
            dilation, padding = number("dilation"), given["padding"]
            if name == "conv_transpose2d":
                return Taps(1, number("padding", 0), -dilation, kernel, stride)
            if padding == "same":
                before = dilation * (kernel - 1) // 2
            else:
                before = 0 if padding == "valid" else number("padding", 0)
            return Taps(stride, -before, dilation, kernel)
        case "max_pool2d" | "avg_pool2d":
            kernel = number("kernel_size")
            return Taps(number("stride", kernel), -number("padding", 0), number("dilation"), kernel)
        case "pad" if len(given["pad"]) <= 4 and given["mode"] != "circular":
            before = [*given["pad"], 0, 0][2 - 2 * axis]  # left, right, top, bottom
            border = given["mode"].replace("constant", "zero")
            return Taps(shift=-before, border=border)
        case "slice" if given["dim"] % 4 in (2, 3):
            if given["dim"] % 4 != 2 + axis:
                return Taps()
            return Taps(given["step"], range(side)[given["start"] or 0 :].start)
        case "pixel_shuffle":
            return Taps(unit=given["upscale_factor"], between="below")
        case "upsample_nearest2d" | "upsample_bilinear2d":
            factors = given["scale_factors"]
            ratio = Fraction(side, new)
            if factors:  # 1.5 times 5 cells are 7, but still two thirds of a cell apart
                ratio = 1 / Fraction(factors[axis]).limit_denominator(10**6)
            near, far = ratio.numerator, ratio.denominator
            if name == "upsample_nearest2d":
                return Taps(near, unit=far, between="below", border="replicate")
            if given["align_corners"]:
                return Taps(side - 1, unit=max(new - 1, 1), between="both")
            return Taps(2 * near, near - far, unit=2 * far, between="both", border="replicate")
    return None

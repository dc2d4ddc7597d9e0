"""The theoretical receptive field: the pixels that an output cell is computed from.

Along each axis an operation says which cells of its input one cell of its output reads (`Taps`). From
an output cell the network is walked backward, branch by branch, until the image is reached. Nothing
is computed with weights or pixels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch
from torch import nn

from helpers.receptive_field.taps import Taps, sides, taps_of


@dataclass(frozen=True)
class Step:
    """One map ``(N, C, *sides)`` on the way and, for each map it is made from, the taps by axis."""

    sides: tuple[int, int]
    reads: tuple[tuple[str, tuple[Taps, Taps]], ...] = ()


@dataclass(frozen=True)
class ReceptiveField:
    """What the cells of one output see of the image; pairs are (rows, columns).

    ``size`` is the extent of the field in pixels, first to last, as if the image had no border: the
    largest of all output cells, because upsampling lets neighbours see by turns more and less. It is
    ``math.inf`` where a mean over the whole map comes in, and up to a few pixels too much where a
    transposed convolution has a stride above its kernel size and so leaves gaps. ``stride`` is how many pixels the field
    moves from one output cell to the next, on average where it jumps. ``offset`` is the centre of
    the field of cell (0, 0), pixel ``i`` having its centre at ``i``; half of the field may lie
    outside, so that it can be negative. For a field of infinite size it is the centre of the image.
    """

    input_size: tuple[int, int]
    output_size: tuple[int, int]
    size: tuple[float, float]
    stride: tuple[float, float]
    offset: tuple[float, float]
    _steps: dict[str, Step] = field(repr=False, compare=False)
    _output: str = field(repr=False, compare=False)

    @property
    def whole_image(self) -> bool:
        """Every output cell sees all of the image, whatever its size."""
        return math.isinf(self.size[0])

    def __str__(self) -> str:
        size = "the whole image" if self.whole_image else "{} x {} pixels".format(*self.size)
        return f"{size}, stride " + " x ".join(f"{s:g}" for s in dict.fromkeys(self.stride))

    def taps(self, row: int, column: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows ``bool (H,)`` and columns ``bool (W,)`` that output cell (`row`, `column`) depends on.

        Borders count: a tap that falls into zero padding is gone, replicated cells lead back inside.
        Raises ``ValueError`` for a cell outside the output.
        """
        for name, value, side in zip(
            ("row", "column"), (row, column), self.output_size, strict=True
        ):
            if not 0 <= value < side:
                raise ValueError(f"{name} must be from 0 to {side - 1}, got {value!r}")
        seen = {
            name: [np.zeros(side, bool) for side in step.sides]
            for name, step in self._steps.items()
        }
        seen[self._output][0][row] = seen[self._output][1][column] = True
        for name, step in reversed(self._steps.items()):
            for source, taps in step.reads:
                known = zip(taps, seen[name], self._steps[source].sides, strict=True)
                read = [axis.reads(cells, side) for axis, cells, side in known]
                # A cell that has no row to read has no column either.
                if read[0].any() and read[1].any():
                    seen[source] = [a | b for a, b in zip(seen[source], read, strict=True)]
        rows, columns = seen[next(iter(self._steps))]
        return rows, columns

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """The smallest (top, left, bottom, right) inside the image, half-open, with all `taps`."""
        rows, columns = (np.flatnonzero(taps) for taps in self.taps(row, column))
        if not len(rows):
            return 0, 0, 0, 0
        return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def theoretical(
    model: nn.Module, input_size: tuple[int, int], channels: int = 3
) -> ReceptiveField | list[ReceptiveField]:
    """The receptive field of `model` on images ``(N, channels, *input_size)``.

    One field for a model that returns a tensor, a list of them for a model that returns several. The
    model counts as in evaluation and is left as it was. Araujo, Norris and Sim, "Computing receptive
    fields of convolutional neural networks", Distill 2019, derive the arithmetic; that of dilation,
    upsampling and borders is in `Taps`.

    Raises ``ValueError`` for an `input_size` that is not two positive whole numbers or that the model
    cannot run on, and for an operation that is not supported, with the module that called it;
    ``TypeError`` when `model` is no module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if len(tuple(input_size)) != 2 or any(not isinstance(s, int) or s < 1 for s in input_size):
        raise ValueError(f"input_size must be two whole numbers from 1 on, got {input_size!r}")
    input_size = tuple(input_size)
    try:
        program = torch.export.export(
            copy.deepcopy(model).cpu().float().eval(),
            (torch.zeros(2, channels, *input_size),),  # two: some models mix images of a batch
            strict=False,
        )
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(
            f"model cannot run on images of input_size {input_size[0]} x {input_size[1]}: {reason}"
        ) from error
    steps = {program.graph_signature.user_inputs[0]: Step(input_size)}
    for node in program.graph.nodes:
        sources = [source for source in node.all_input_nodes if source.name in steps]
        if node.op == "call_function" and sources and node.users:
            reads = tuple((source.name, taps_of(node, source, len(sources))) for source in sources)
            steps[node.name] = Step(sides(node), reads)
    fields = [_field(steps, name) for name in program.graph_signature.user_outputs]
    return fields[0] if program.call_spec.out_spec.is_leaf() else fields


def stack_paths(layers: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """Paths from each pixel of the receptive field to one output cell, ``int64 (extent,)``, in 1-D.

    `layers` are (kernel, stride, dilation), the first one first; a 0 is a hole. In two dimensions the
    paths are the outer product, so that the covered share is that of the line squared. Wang et al.,
    "Understanding convolution for semantic segmentation", WACV 2018, section 3.2, call the holes
    gridding. Raises ``ValueError`` for numbers below 1 and for more paths than an int64 holds.
    """
    paths, jump = np.ones(1, np.int64), 1
    for layer in layers:
        if len(layer) != 3 or any(not isinstance(n, int) or n < 1 for n in layer):
            raise ValueError(f"layers must be (kernel, stride, dilation) from 1 on, got {layer!r}")
    if math.prod(kernel for kernel, _, _ in layers) > np.iinfo(np.int64).max:
        raise ValueError(f"layers must have fewer than 2**63 paths, got {len(layers)} layers")
    for kernel, stride, dilation in layers:
        comb = np.zeros((kernel - 1) * dilation * jump + 1, np.int64)
        comb[:: dilation * jump] = 1
        paths, jump = np.convolve(paths, comb), jump * stride
    return paths


def _field(steps: dict[str, Step], output: str) -> ReceptiveField:
    """Sizes, strides and offsets of one output."""
    image, *_ = steps
    stride, whole = {image: (Fraction(1), Fraction(1))}, {image: False}
    for name, step in steps.items():
        for source, taps in step.reads:
            moved = [s * t.scale / t.unit for s, t in zip(stride[source], taps, strict=True)]
            stride[name] = tuple(map(max, moved, stride.get(name, moved)))
            whole[name] = whole.get(name, False) or whole[source] or taps[0].whole
    size, offset = [], []
    for axis, side in enumerate(steps[image].sides):
        cells = np.arange(steps[output].sides[axis])
        spans = {output: (cells, cells)}
        for name, step in reversed(steps.items()):
            for source, taps in step.reads if name in spans else ():
                first, last = taps[axis].span(*spans[name])
                known = spans.get(source, (first, last))
                spans[source] = np.minimum(first, known[0]), np.maximum(last, known[1])
        first, last = spans[image]
        size.append(math.inf if whole[output] else max(0, int((last - first).max()) + 1))
        offset.append((side - 1) / 2 if whole[output] else float(first[0] + last[0]) / 2)
    strides = tuple(float(s) for s in stride[output])
    return ReceptiveField(
        steps[image].sides, steps[output].sides, tuple(size), strides, tuple(offset), steps, output
    )

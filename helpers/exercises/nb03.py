"""Exercises of notebook 03: where a pixel reads, transposed convolution, pixel shuffle."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.exercises.answers import compare, require_shape, tensor_from
from helpers.exercises.core import Mistake, NotTried, exercise


def source_position(i, size_in, size_out, align_corners):
    if align_corners:
        return i * (size_in - 1) / (size_out - 1)
    return (i + 0.5) * size_in / size_out - 0.5


@exercise(
    "source_position",
    (
        "Draw both rows as strips of one length. False: the strips end together, at outer edges of pixels. True: the outer centres meet.",
        "False: the centre of output pixel i is i + 0.5 output pixels from the left edge. How wide is one of them, in input pixels? True: how many steps lead from the first centre to the last?",
        "False: scale the distance from the edge, then make it an index (index 0 is not the edge but a centre). True: scale i by the ratio of the steps; n pixels have n - 1.",
    ),
    source_position,
)
def check_source_position(answer) -> str:
    # Not 4 to 8 first: there, swapped signs and a forgotten half give the same.
    for n, m in ((6, 9), (4, 8), (7, 3)):
        i = torch.arange(m).double()
        areas, points = _reads(n, m, False), _reads(n, m, True)
        got = {corners: _places(answer, n, m, corners) for corners in (False, True)}
        if torch.allclose(got[False], points) and torch.allclose(got[True], areas):
            raise Mistake("The two are swapped: it is True that puts the outer centres together.")
        no_half, half_before, half_after = i * n / m, (i + 0.5) * n / m, i * n / m - 0.5
        upside_down = (i + 0.5) * m / n - 0.5
        cut_off, cut_at_zero, rounded = areas.clamp(0, n - 1), areas.clamp(min=0), areas.floor()
        signs = (i - 0.5) * n / m + 0.5
        wrong = {
            "With align_corners=False you answer as if it were True.": points,
            "Half a pixel is missing. Over 4 pixels, pixel 0 of 8 covers the left half of the first: its centre is left of index 0, at -0.25.": no_half,
            "That is the distance from the edge. Index 0 is a centre, half a pixel further in: subtract that.": half_before,
            "You take half a pixel off at the end, but the centre of output pixel i is at i + 0.5 before scaling.": half_after,
            "The ratio is upside down: where the output has more pixels, one of its steps is less than one in the input.": upside_down,
            "You cut it off at the ends. torch does so later; the place itself may lie outside, as -0.25 does.": cut_off,
            "You cut it off at 0. torch does so later; the place itself may lie outside, as -0.25 does.": cut_at_zero,
            "The signs of both halves are swapped: the centre of output pixel i is at i + 0.5, and index 0 is half a pixel inside.": signs,
            "You rounded. The place may lie between two pixels: / does not round, // does.": rounded,
            "// divides to whole numbers, and the place is not one. Divide with /.": half_before.floor()
            - 0.5,
            "The ratio became a whole number: // rounds down. Divide with /.": (i + 0.5) * (n // m)
            - 0.5,
        }
        compare(got[False], areas, wrong, f"align_corners=False, {n} to {m} pixels")
        upside_down = i * (m - 1) / (n - 1)
        wrong = {
            "With align_corners=True you answer as if it were False.": areas,
            "With align_corners=True the last pixel reads the last: pixel 7 of 8 over 4 reads at 3, yours at 3.5. Count steps between centres, not pixels.": no_half,
            "With align_corners=True the ratio is upside down: from 4 to 8, seven steps cover three.": upside_down,
            "With align_corners=True you rounded: // divides to whole numbers. Divide with /.": points.floor(),
            "With align_corners=True you rounded. The place may lie between two pixels.": points.round(),
            "You subtracted 1 in the output only. n pixels have n - 1 steps, in both rows.": i
            * n
            / (m - 1),
            "You subtracted 1 in the input only. n pixels have n - 1 steps, in both rows.": i
            * (n - 1)
            / m,
            "With align_corners=True the ratio became a whole number: // rounds down. Divide with /.": i
            * ((n - 1) // (m - 1)),
        }
        compare(got[True], points, wrong, f"align_corners=True, {n} to {m} pixels")
    return "Given the row 0, 1, 2, ..., F.interpolate returns these numbers, cut off at the ends."


def _reads(n: int, m: int, corners: bool) -> Tensor:
    """Where torch reads; beyond the ends it reads the last pixel, there the formula has to do."""
    row = torch.arange(n).double()[None, None]
    reads = F.interpolate(row, size=m, mode="linear", align_corners=corners)[0, 0]
    place = source_position(torch.arange(m).double(), n, m, corners)
    return torch.where(place == place.clamp(0, n - 1), reads, place)


def _places(answer: Callable, n: int, m: int, corners: bool) -> Tensor:
    try:
        places = [tensor_from(answer, i, n, m, corners) for i in range(m)]
    except NotTried:
        if not corners:
            raise
        raise Mistake("With align_corners=True your function returns nothing.") from None
    if places[0].numel() != 1:
        raise Mistake(f"Return one number; yours has shape {tuple(places[0].shape)}.")
    return torch.cat([place.reshape(1) for place in places])


def transposed_convolution(x, kernel, stride):
    height, width = x.shape
    k = len(kernel)
    out = torch.zeros((height - 1) * stride + k, (width - 1) * stride + k)
    for i in range(height):
        for j in range(width):
            top, left = i * stride, j * stride
            out[top : top + k, left : left + k] += x[i, j] * kernel
    return out


@exercise(
    "transposed_convolution",
    (
        "Every input pixel stamps the whole kernel, times its value, onto an output of zeros.",
        "Pixel (i, j) stamps with its upper left corner at (i * stride, j * stride). The last stamp has to fit: where does it start, how long is it?",
        "Two loops over the pixels; one stamp is a slice of k rows and k columns. Where stamps overlap, add to what is there.",
    ),
    transposed_convolution,
)
def check_transposed_convolution(answer) -> str:
    # Stamps that overlap, that touch, that leave gaps.
    for height, width, k, stride in ((2, 3, 3, 2), (3, 2, 2, 2), (2, 3, 2, 3)):
        x = torch.arange(1, height * width + 1).reshape(height, width) / 2
        kernel = torch.arange(1.0, k * k + 1).reshape(k, k)
        want = _torch_stamps(x, kernel, stride, stride)
        case = f"x {height} x {width}, kernel {k} x {k}, stride {stride}"
        try:
            got = tensor_from(answer, x, kernel, stride)
        except (RuntimeError, IndexError) as error:
            room = "((H - 1) * stride + k, (W - 1) * stride + k)"
            raise Mistake(
                f"{case}: torch says: {error}. Perhaps the output has no room for the last stamp: it must be {room}, and stamps start `stride` apart, not k. Or a slice is not k long."
            ) from error
        why = {
            (height * stride, width * stride): "H * stride leaves no room for the last stamp.",
            (height - 1 + k, width - 1 + k): "That is the size for stride 1.",
            (len(want), width - 1 + k): "The columns need the stride, too.",
        }
        rule = "The last stamp starts at row (H - 1) * stride and is k long."
        require_shape(got, want.shape, case, why, rule)
        overwritten = torch.zeros_like(want)
        for i, j in torch.cartesian_prod(torch.arange(height), torch.arange(width)).tolist():
            top, left = i * stride, j * stride
            overwritten[top : top + k, left : left + k] = x[i, j] * kernel
        unweighted = transposed_convolution(torch.ones_like(x), kernel, stride)
        flipped = transposed_convolution(x, kernel.flip(0, 1), stride)
        turned = transposed_convolution(x, kernel.T, stride)
        rows, columns = want.shape
        crowded, rows_only = (
            F.pad(small, (0, columns - small.shape[1], 0, rows - small.shape[0]))
            for small in (_torch_stamps(x, kernel, 1, 1), _torch_stamps(x, kernel, stride, 1))
        )
        wrong = {
            "Where stamps overlap, the later one wipes out the earlier: add (+=), do not set (=).": overwritten,
            "All stamps are equally strong. Multiply the kernel by the pixel's value.": unweighted,
            "The size is right, but the stamps are one pixel apart. They should be `stride` apart.": crowded,
            "Only the rows of stamps are `stride` apart. The columns should be, too.": rows_only,
            "The kernel is flipped. A stamp goes down as it is, kernel[0, 0] at its upper left.": flipped,
            "The kernel is transposed. Its rows stay rows.": turned,
        }
        compare(got, want, wrong, case)
    return "F.conv_transpose2d says the same, with stamps that overlap, touch and leave gaps."


def _torch_stamps(x: Tensor, kernel: Tensor, *stride: int) -> Tensor:
    return F.conv_transpose2d(x[None, None], kernel[None, None], stride=stride)[0, 0]


def pixel_shuffle(x, factor):
    channels, height, width = len(x) // factor**2, *x.shape[1:]
    blocks = x.reshape(channels, factor, factor, height, width)
    return blocks.permute(0, 3, 1, 4, 2).reshape(channels, height * factor, width * factor)


@exercise(
    "pixel_shuffle",
    (
        "The factor * factor channels that belong together hold the pixels of one block of the output, row by row.",
        "Split the channel axis in three: (C, factor, factor, H, W). Which two of the five axes make up an output row number, which two a column?",
        "Row = row of the block, then row within it. permute the axes so that each pair stands together in this order; a last reshape joins the pairs.",
    ),
    pixel_shuffle,
)
def check_pixel_shuffle(answer) -> str:
    for channels, factor, height, width in ((2, 2, 2, 3), (1, 3, 2, 2)):
        shape = (channels * factor**2, height, width)
        x = torch.arange(shape[0] * height * width).reshape(shape) / 2
        want = F.pixel_shuffle(x, factor)
        case = f"x {shape}, factor {factor}"
        try:
            got = tensor_from(answer, x, factor)
        except RuntimeError as error:
            if "invalid for input of size" not in str(error):
                raise
            raise Mistake(
                f"{case}: torch says: {error}. Perhaps C is missing or wrong in a reshape: C = len(x) // factor**2."
            ) from error
        require_shape(got, want.shape, case, {}, "It should be (C, H * factor, W * factor).")
        split = x.reshape(channels, factor, factor, height, width)
        reshaped = x.reshape(want.shape)
        transposed = split.permute(0, 3, 2, 4, 1).reshape(want.shape)
        swapped = split.permute(0, 4, 1, 3, 2)
        tiled = split.permute(0, 1, 3, 2, 4).reshape(want.shape)
        block_first = x.reshape(factor, factor, channels, height, width)
        block_first = block_first.permute(2, 3, 0, 4, 1).reshape(want.shape)
        wrong = {
            "You only reshaped: the numbers stay in their order, and one channel fills whole rows. permute before the last reshape.": reshaped,
            "W and H have changed places in your permute: rows come from H, columns from W.": swapped.reshape(
                want.shape
            ),
            "Each block is transposed: its second channel goes to the right of the first, not below it.": transposed,
            "Whole maps stand side by side like tiles. They must interleave: H before the row of the block, W before its column.": tiled,
            "You split the channels block first, as TensorFlow does. In torch the first factor * factor channels make output channel 0.": block_first,
        }
        compare(got, want, wrong, case)
    return "The numbers stand where F.pixel_shuffle puts them; nothing was added or lost."

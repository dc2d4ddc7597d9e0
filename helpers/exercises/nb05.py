"""Exercises of notebook 05: the receptive field, dilated convolution, rates that leave no hole."""

from __future__ import annotations

import math
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.exercises.answers import (
    compare,
    explain,
    require_shape,
    tensor_from,
    whole_numbers,
)
from helpers.exercises.core import Mistake, NotTried, exercise, run


def receptive_field(layers):
    size, stride = 1, 1
    for kernel, layer_stride, dilation in layers:
        size += (kernel - 1) * dilation * stride
        stride *= layer_stride
    return size, stride


@exercise(
    "receptive_field",
    (
        "Before the first layer a cell is a pixel: size 1, stride 1. Each layer makes both grow, or leaves them.",
        "From the first tap of a kernel to the last are kernel - 1 steps of `dilation` cells. How many input pixels is one cell wide there? That depends on the layers before, not on this one.",
        "In a loop over the layers: size grows by (kernel - 1) * dilation * stride so far. Only then multiply the stride so far by the layer's own.",
    ),
    receptive_field,
)
def check_receptive_field(answer) -> str:
    stacks = (
        [(3, 1, 1)],
        [(3, 1, 2)],
        [(5, 1, 1), (3, 1, 1)],
        [(3, 2, 1), (3, 1, 1)],
        [(3, 1, 1), (3, 2, 1)],
        [(3, 1, 4), (3, 1, 1)],
        [(7, 2, 1), (3, 2, 1), (3, 1, 2), (2, 3, 3)],
    )
    got = []
    for layers in stacks:
        pair = tensor_from(answer, [*layers])
        rule = "Return two numbers, (size, stride), both of the last layer."
        require_shape(pair, (2,), f"{layers}", {(): f"That is one number. {rule}"}, rule)
        got.append(pair)
    sizes, strides = torch.stack(got).T
    want_sizes, want_strides = torch.tensor([_measured(layers) for layers in stacks]).double().T
    if torch.equal(sizes, want_strides) and torch.equal(strides, want_sizes):
        raise Mistake("The two are swapped: return (size, stride).")
    wrong = _by_message([_wrong_sizes(layers) for layers in stacks])
    explain(sizes, want_sizes, wrong, [f"Size for {layers}" for layers in stacks])
    wrong = _by_message([_wrong_strides(layers) for layers in stacks])
    explain(strides, want_strides, wrong, [f"Stride for {layers}" for layers in stacks])
    return f"torch's gradient reaches exactly as far, in all {len(stacks)} stacks."


def _measured(layers: list) -> tuple[int, int]:
    """Size and stride without the formula: which of 200 pixels have a gradient from two neighbours."""
    row = torch.ones(1, 1, 200, requires_grad=True)
    cells = row
    for kernel, stride, dilation in layers:
        cells = F.conv1d(cells, torch.ones(1, 1, kernel), stride=stride, dilation=dilation)
    left, right = (
        torch.autograd.grad(cells[0, 0, k], row, retain_graph=True)[0][0, 0].nonzero()[:, 0]
        for k in (0, 1)
    )
    return int(left[-1] - left[0]) + 1, int(right[0] - left[0])


def _wrong_sizes(layers: list) -> dict[str, Tensor]:
    k, s, d = torch.tensor(layers).double().T
    grow, up_to = (k - 1) * d, s.cumprod(0)
    before, after, previous = up_to / s, up_to[-1] / up_to, torch.cat([torch.ones(1), s[:-1]])
    return {
        "The size starts at 0. Without any layer a pixel sees one pixel, itself: start at 1.": (grow * before).sum(),
        "The dilation is missing: the taps of a kernel stand `dilation` cells apart.": 1 + ((k - 1) * before).sum(),
        "A kernel of 3 at dilation 2 covers 5 cells, not 6: dilation stretches the kernel - 1 steps between the taps, not the kernel.": 1 + ((k * d - 1) * before).sum(),
        "A layer adds kernel - 1 steps, you add kernel of them: the first tap stands where the size so far already is.": 1 + (k * d * before).sum(),
        "You add up whole kernels. Their windows overlap: after the first, each adds kernel - 1 steps.": ((grow + 1) * before).sum(),
        "Dilation 2 means that the taps are 2 apart, with one cell between. You leave two between.": 1 + ((k - 1) * (d + 1) * before).sum(),
        "You add the dilation. Each of the kernel - 1 steps becomes `dilation` long: multiply.": 1 + ((k - 1 + d) * before).sum(),
        "You add dilation - 1 once. Each of the kernel - 1 steps becomes `dilation` long: multiply.": 1 + ((k - 1 + d - 1) * before).sum(),
        "You apply a layer's stride before its own growth. Its taps stand on the cells before it: grow first, then multiply the stride.": 1 + (grow * up_to).sum(),
        "You add strides. They multiply: two layers of stride 2 leave one cell in 4 pixels, not in 1 + 2 + 2.": 1 + (grow * (1 + s.cumsum(0) - s)).sum(),
        "You go through the layers from the last to the first. For this formula the first layer comes first.": 1 + (grow * after).sum(),
        "The strides are missing in the size: after a stride of 2 neighbouring cells are 2 pixels apart, so a step is 2 pixels long.": 1 + grow.sum(),
        "You multiply a layer's growth by its own stride. What counts are the strides of all layers before it.": 1 + (grow * s).sum(),
        "You multiply a layer's growth by the stride of one layer. What counts are the strides of all layers before it.": 1 + (grow * previous).sum(),
        "Dilation does not carry over to the next layer as a stride does: the map after it is as dense as before.": 1 + (grow * before * d.cumprod(0) / d).sum(),
        "Each layer is (kernel, stride, dilation), in this order: you swapped the last two.": 1 + ((k - 1) * s * (d.cumprod(0) / d)).sum(),
        "Only the last layer is counted: keep what the layers before it gave.": 1 + grow[-1],
        "Only the first layer is counted: is there a return inside the loop?": 1 + grow[0],
        "Sizes do not multiply: two 3x3 convolutions see 5 x 5 pixels, not 9 x 9.": (1 + grow).prod(),
    }  # fmt: skip


def _wrong_strides(layers: list) -> dict[str, Tensor]:
    _, s, d = torch.tensor(layers).double().T
    right = "The sizes are right, the strides are not."
    return {
        f"{right} You return the last layer's own; those of all layers multiply.": s[-1],
        f"{right} You add them up; they multiply.": s.sum(),
        f"{right} You return the one before the last layer; its own counts, too.": s[:-1].prod(),
        f"{right} Dilation makes no map coarser: leave it out of the stride.": (s * d).prod(),
    }


def _by_message(wrong: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {say: torch.stack([case[say] for case in wrong]) for say in wrong[0]}


def dilated_convolution(x, kernel, rate):
    height, width = x.shape
    padded = torch.zeros(height + 2 * rate, width + 2 * rate)
    padded[rate : rate + height, rate : rate + width] = x
    out = torch.zeros(height, width)
    for a in range(3):
        for b in range(3):
            top, left = a * rate, b * rate
            out += kernel[a, b] * padded[top : top + height, left : left + width]
    return out


@exercise(
    "dilated_convolution",
    (
        "Each output pixel is a sum of nine products. Tap (1, 1) reads the pixel itself, tap (0, 0) the one `rate` rows above and `rate` columns to the left.",
        "Tap (a, b) reads x[i + (a - 1) * rate, j + (b - 1) * rate], or 0 where that is outside. How many rows of zeros does x need above it so that no index is negative?",
        "Put x into the middle of zeros, `rate` on each side. Then tap (a, b) of all pixels at once is a slice of H rows and W columns that starts at (a * rate, b * rate): add kernel[a, b] times it.",
    ),
    dilated_convolution,
)
def check_dilated_convolution(answer) -> str:
    # A rate that every mistake shows at, two more, and one that only the centre tap survives.
    for height, width, rate in ((7, 8, 3), (5, 4, 1), (6, 7, 2), (3, 4, 5)):
        x = (torch.arange(1.0, height * width + 1) ** 1.5).reshape(height, width) % 5 - 2
        kernel = torch.arange(1.0, 10).reshape(3, 3) / 2
        want = _torch_dilated(x, kernel, rate)
        case = f"x {height} x {width}, rate {rate}"
        try:
            got = tensor_from(answer, x, kernel, rate)
        except IndexError as error:
            raise Mistake(
                f"{case}: torch says: {error}. A tap outside the map counts 0: look whether it is inside before you read it, or pad."
            ) from error
        except RuntimeError as error:
            if "must match" not in str(error):
                raise
            raise Mistake(
                f"{case}: torch says: {error}. Every tap's slice must have H rows and W columns: pad by rate on all sides, start at a * rate, end at a * rate + H."
            ) from error
        why = {
            (height - 2 * rate, width - 2 * rate): "Nothing is padded: pad by rate on all sides.",
            (height - 2 * rate + 2, width - 2 * rate + 2): "You padded by 1: the outer taps are `rate` away, so pad by rate.",
            (height + 2 * rate - 2, width + 2 * rate - 2): "You padded by rate, yet your taps are 1 apart.",
            (height + 2 * rate, width + 2 * rate): "The padding is still there: the result has the size of x.",
            (-(-height // rate), -(-width // rate)): "You took every rate-th pixel, which is a stride. Only the taps spread; the result stays dense.",
            ((height - 1) * rate + 1, (width - 1) * rate + 1): "You spread the image; it is the kernel that spreads.",
            (height * rate, width * rate): "You spread the image; it is the kernel that spreads.",
        }  # fmt: skip
        require_shape(got, want.shape, case, why, "The result has the size of x, (H, W).")
        ones, all_taps, no_centre = torch.ones_like(x), torch.ones(3, 3), kernel.clone()
        no_centre[1, 1] = 0
        # What indices beyond the ends give when they are clamped, and when they wrap around.
        rows, columns = (torch.arange(-rate, side + rate) for side in (height, width))
        clamped = x[rows.clamp(0, height - 1)][:, columns.clamp(0, width - 1)]
        wrapped = x[rows % height][:, columns % width]
        one_end = F.pad(wrapped[: height + rate, : width + rate], (0, rate, 0, rate))
        edge_lost, overwritten = F.pad(x[1:, 1:], (1, 0, 1, 0)), ones
        for tap in range(9):
            only = kernel * (torch.arange(9).reshape(3, 3) == tap)
            inside = _torch_dilated(ones, only, rate) > 0
            overwritten = torch.where(inside, _torch_dilated(x, only, rate), overwritten)
        wrong = {
            "The kernel is flipped, as in a true convolution. In networks kernel[0, 0] is above and to the left.": _torch_dilated(x, kernel.flip(0, 1), rate),
            "The kernel is transposed. Its rows stay rows.": _torch_dilated(x, kernel.T, rate),
            "Your taps are 1 apart, whatever the rate.": _torch_dilated(x, kernel, 1),
            "Your taps are rate + 1 apart: rate is the distance, not the number of pixels between.": _torch_dilated(x, kernel, rate + 1),
            "Your taps are rate - 1 apart, one too few.": _torch_dilated(x, kernel, max(1, rate - 1)),
            "Only the rows are `rate` apart, the columns 1.": _torch_dilated(x, kernel, rate, 1),
            "Only the columns are `rate` apart, the rows 1.": _torch_dilated(x, kernel, 1, rate),
            "The centre tap is missing: kernel[1, 1] reads the pixel itself.": _torch_dilated(x, no_centre, rate),
            "Outside the map you read the nearest edge pixel. There it counts 0.": _valid(clamped, kernel, rate),
            "Outside the map you read from the other end, as negative indices and roll do. There it counts 0.": _valid(wrapped, kernel, rate),
            "Negative indices read from the other end of the map. Look for 0 <= as well as for < H.": _valid(one_end, kernel, rate),
            "Row 0 and column 0 are part of the map, you leave them out: compare with 0 <=, not 0 <.": _torch_dilated(edge_lost, kernel, rate),
            "Where one tap falls outside you give up the other eight. Only that tap counts 0.": want * (_torch_dilated(ones, all_taps, rate) == 9),
            "Your window starts at the pixel. It lies around it: taps at -rate, 0 and rate.": _valid(F.pad(x, (0, 2 * rate, 0, 2 * rate)), kernel, rate),
            "Your window ends at the pixel. It lies around it: taps at -rate, 0 and rate.": _valid(F.pad(x, (2 * rate, 0, 2 * rate, 0)), kernel, rate),
            "Only the last tap is left: add the nine up, with +=.": _torch_dilated(x, only, rate),
            "Each tap wipes out the one before: add them up, with +=.": overwritten,
            "All nine taps weigh the same: multiply each by its number in the kernel.": _torch_dilated(x, all_taps, rate),
            "You divided by nine. A convolution sums, it takes no mean.": want / 9,
        }  # fmt: skip
        compare(got, want, wrong, case)
    return "The same numbers as F.conv2d with padding=rate and dilation=rate; at rate 5 on a 3 x 4 map it is a 1x1 convolution."


def _valid(padded: Tensor, kernel: Tensor, *rate: int) -> Tensor:
    return F.conv2d(padded[None, None], kernel[None, None], dilation=rate)[0, 0]


def _torch_dilated(x: Tensor, kernel: Tensor, *rate: int) -> Tensor:
    """torch's result for one rate, or for one of the rows and one of the columns."""
    return F.conv2d(x[None, None], kernel[None, None], padding=rate, dilation=rate)[0, 0]


def rates_without_holes(extent):
    reach = (extent - 1) // 2
    rates = []
    for layers_to_come in (3, 2, 1, 0):
        largest = 2 * sum(rates) + 1
        rates.append(min(largest, reach - sum(rates) - layers_to_come))
    return rates


@exercise(
    "rates_without_holes",
    (
        "In each layer a path goes one rate to the left, stays, or goes one rate to the right. The extent says how far four such steps must reach together.",
        "The rates add up to (extent - 1) / 2. Suppose that the first layers see everything up to r on each side. The next layer shows this piece of 2r + 1 pixels (the s of the text) three times, one rate apart: how large may the rate be?",
        "The pieces touch at a rate of 2r + 1, where r is the sum of the rates so far. Take as much as that from what is left, but keep back 1 for each layer to come.",
    ),
    rates_without_holes,
)
def check_rates_without_holes(answer) -> str:
    # 33 first: where equal rates fit, and leave holes.
    extents = sorted(range(9, 82, 2), key=lambda extent: extent != 33)
    found = {}
    for extent in extents:
        try:
            found[extent] = whole_numbers(run(answer, extent))
        except NotTried:
            if not found:
                raise
            raise Mistake(f"Extent {extent}: your function returns nothing.") from None
    if all(rates == found[9] for rates in found.values()):
        raise Mistake(f"You return {found[9]} whatever the extent: use the argument.")
    for extent, rates in found.items():
        case = f"Extent {extent}, rates {rates}"
        if len(rates) != 4:
            raise Mistake(f"{case}: you return {len(rates)} rates, not 4.")
        if min(rates) < 1:
            raise Mistake(
                f"{case}: the smallest rate there is is 1. Keep back 1 for each layer to come."
            )
        reach = sum(rates)
        if 1 + 2 * reach != extent:
            why = "A path may go to the left and to the right, and the pixel itself counts: 1 + 2 * sum."
            raise Mistake(f"{case}: they see {1 + 2 * reach} x {1 + 2 * reach}. {why}")
        seen = {sum(steps) for steps in product(*((-rate, 0, rate) for rate in rates))}
        holes = [offset for offset in range(reach) if offset not in seen]
        if holes:
            say = f"{case}: no path leads to the pixel {holes[0]} to the right."
            raise Mistake(f"{say} {_cause(rates)}")
    return f"No hole at any of {len(extents)} extents. Rates [4, 4, 4, 4] reach 33 x 33 and see 81 of its 1089 pixels."


def _cause(rates: list[int]) -> str:
    """Why `rates` leave a hole.

    In ascending order, a rate above 2s + 1 (s: the sum of those before) leaves one and no other
    does: counted from the edge, the pixel 2s + 1 inwards needs a rate of at most that.
    """
    factor = math.gcd(*rates)
    if factor > 1:
        return f"All rates are multiples of {factor}, and so is every sum of them."
    ordered = sorted(rates)
    before, rate = next(
        (sum(ordered[:k]), rate)
        for k, rate in enumerate(ordered)
        if rate > 2 * sum(ordered[:k]) + 1
    )
    if not before:
        return f"The smallest is {rate}. Without a rate of 1 there is a hole next to the edge."
    return f"The smaller rates reach {before} to each side, so the next may be at most {2 * before + 1}; yours is {rate}."

"""Exercises of notebook 06: taps inside the map, image pooling, rates for another output stride."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from helpers.exercises.answers import (
    compare,
    explain,
    require_shape,
    tensor_from,
    whole_numbers,
)
from helpers.exercises.core import Mistake, exercise, run


def taps_inside(height, width, rate):
    rows = 1 + 2 * max(0, height - rate) / height
    columns = 1 + 2 * max(0, width - rate) / width
    return rows * columns


@exercise(
    "taps_inside",
    (
        "A tap is inside when its row is and its column is. Count the rows and the columns apart: three rows of taps, three columns.",
        "The middle row of taps is always inside. At how many of `height` positions is the row of taps `rate` above inside, and the one `rate` below?",
        "Each of the two outer rows is inside at height - rate positions, or at none: on average 1 + 2 * max(0, height - rate) / height rows. Columns alike; a tap is a row and a column, so multiply.",
    ),
    taps_inside,
)
def check_taps_inside(answer) -> str:
    cases = ((4, 6, 1), (23, 30, 12), (23, 30, 24), (9, 5, 7), (3, 4, 6))
    names = [f"Map {height} x {width}, rate {rate}" for height, width, rate in cases]
    got, counts = [], []
    for case, (height, width, rate) in zip(names, cases, strict=True):
        try:
            number = tensor_from(answer, height, width, rate)
        except RuntimeError as error:
            if "Kernel size can't be greater" not in str(error):
                raise
            raise Mistake(
                f"{case}: torch says: {error}. With padding=rate there is room for the outer taps."
            ) from error
        if tuple(number.shape) == (height, width):
            raise Mistake(f"{case}: you return a number for each position. Take their mean.")
        if number.numel() != 1:
            raise Mistake(f"{case}: return one number; yours has shape {tuple(number.shape)}.")
        got.append(number.reshape(()))
        ones = torch.ones(1, 1, height, width).double(), torch.ones(1, 1, 3, 3).double()
        counts.append(F.conv2d(*ones, padding=rate, dilation=rate))
    want = torch.stack([count.mean() for count in counts])
    height, width, rate = torch.tensor(cases).double().T
    sides = torch.stack([height, width])

    def inside(away):
        """How many of three rows and of three columns of taps are inside, `away` from the centre."""
        return 1 + 2 * (sides - away).clamp(min=0) / sides

    rows, columns = inside(rate)
    wrong = {
        "A rate larger than the map gives a negative number of positions: stop at 0, with max(0, ...).": (1 + 2 * (sides - rate) / sides).prod(0),
        "The centre tap is missing; it is always inside.": want - 1,
        "That is the share of the nine taps. Their number is asked for.": want / 9,
        "That is per cent of the nine taps. Their number is asked for.": want / 9 * 100,
        "That is the sum over all positions. Divide by height * width.": want * height * width,
        "There are two outer rows of taps and two outer columns; you count one each.": (1 + rows) * (1 + columns) / 4,
        "The columns are missing: a tap can leave the map sideways, too.": 3 * rows,
        "The rows are missing: a tap can leave the map above and below, too.": 3 * columns,
        "That is how many of the three rows of taps are inside. Each row has taps in the columns, too.": rows,
        "That is how many of the three columns of taps are inside. Each column has taps in the rows, too.": columns,
        "You add rows and columns. Three rows and three columns make nine taps, not six: multiply.": rows + columns,
        "The four corner taps are missing.": rows + columns - 1,
        "You use the height for both axes.": rows**2,
        "You use the width for both axes.": columns**2,
        "The corner taps need room along both axes, the four others along one only: count these apart.": 1 + 8 * ((rows - 1) / 2) * ((columns - 1) / 2),
        "The outer taps are `rate` from the centre, not 2 * rate.": inside(2 * rate).prod(0),
        "One position too few: of 4 rows, 3 have a row below them at rate 1.": inside(rate + 1).prod(0),
        "One position too many: of 4 rows, 3 have a row below them at rate 1.": inside(rate - 1).prod(0),
        "Your taps are 1 apart, whatever the rate.": inside(1).prod(0),
        "Row `height` and column `width` are outside: 0 <= row < height.": ((sides + (sides - rate).clamp(min=0) + (sides - rate + 1).clamp(min=0).minimum(sides)) / sides).prod(0),
        "Row 0 and column 0 are inside, too: 0 <= row < height.": ((sides - 1 + (sides - rate).clamp(min=0) + (sides - rate - 1).clamp(min=0)) / sides).prod(0),
        "You multiply the share of one outer tap by nine. The centre is always inside: count three rows and three columns.": 9 * ((sides - rate).clamp(min=0) / sides).prod(0),
        "You multiply the share of one outer tap by nine, and a rate larger than the map makes it negative.": 9 * ((sides - rate) / sides).prod(0),
        "A corner tap needs room along both axes; you ask for one.": 2 * rows + 2 * columns - 3,
        "You count a position only if all nine taps are inside. Those that are inside elsewhere count, too.": 9 * ((sides - 2 * rate).clamp(min=0) / sides).prod(0),
        "That is the best position. The mean over all of them is asked for.": torch.stack([count.max() for count in counts]),
        "That is the worst position, or // rounded the shares down. The mean over all positions is asked for; divide with /.": torch.stack([count.min() for count in counts]),
        "You always say 1. Is there a // that rounds the share down to 0? Divide with /.": torch.ones_like(want),
        "You always say 9: a tap outside the map does not count.": torch.full_like(want, 9),
        "You rounded to a whole number: a mean may lie between.": want.round(),
        "You rounded down to a whole number: a mean may lie between.": want.floor(),
        "You rounded to one decimal. Return the number as it is.": want.round(decimals=1),
        "You rounded to two decimals. Return the number as it is.": want.round(decimals=2),
    }  # fmt: skip
    explain(torch.stack(got), want, wrong, names)
    return "Of nine, rates 12, 24 and 36 keep 4.3, 1.4 and 1.0 on a 23 x 30 map: a picture of 360 x 480 at stride 16."


def image_pooling(features):
    return features.mean(dim=(2, 3), keepdim=True).expand_as(features)


@exercise(
    "image_pooling",
    (
        "One number per image and channel, the mean of its map; then every cell of that map gets it.",
        "In (N, C, h, w), which two axes run over the cells of a map? Take the mean over these two, and keep them as axes of length 1.",
        "features.mean(dim=..., keepdim=True) has shape (N, C, 1, 1). expand_as(features) shows it in every cell.",
    ),
    image_pooling,
)
def check_image_pooling(answer) -> str:
    for shape in ((2, 3, 4, 5), (1, 2, 6, 3)):
        n, c, h, w = shape
        count = torch.Size(shape).numel()
        # A ramp that moves every mean away from the others, and numbers without a pattern.
        features = torch.arange(count) / 50 + (torch.arange(1.0, count + 1) ** 1.5) % 5 - 4
        features = features.reshape(shape)
        case = f"Features {shape}"
        try:
            got = tensor_from(answer, features)
        except RuntimeError as error:
            if "must match" not in str(error):
                raise
            raise Mistake(
                f"{case}: torch says: {error}. Perhaps the means have lost the axes of the map: keepdim=True keeps (N, C, 1, 1)."
            ) from error
        why = {
            (n, c, 1, 1): "The means are there; now every cell has to hold its own: expand_as.",
            (n, c): "One number per image and channel; now every cell of its map has to hold it.",
        }
        require_shape(got, shape, case, why, "The result has the shape of the features.")
        want = F.adaptive_avg_pool2d(features, 1).expand(shape)

        def mean(*axes, of=features):
            return of.mean(axes, keepdim=True).expand_as(of)

        local = "The window of image pooling is the whole map, not the neighbours."
        wrong = {
            "You return the features themselves.": features,
            "The mean runs over the channels, too. Each channel has its own.": mean(1, 2, 3),
            "The mean runs over the channels alone. The cells of the map are axes 2 and 3.": mean(1),
            "The mean runs over axes 1 and 2, as if the channels came last. In (N, C, h, w) the map is axes 2 and 3.": mean(1, 2),
            "Each row has a mean of its own: take it over the columns and over the rows.": mean(3),
            "Each column has a mean of its own: take it over the rows and over the columns.": mean(2),
            f"That is a 3x3 mean. {local}": F.avg_pool2d(features, 3, stride=1, padding=1),
            f"That is a 3x3 mean without the padding. {local}": F.avg_pool2d(
                features, 3, stride=1, padding=1, count_include_pad=False
            ),
            "That is the largest number of each map. Take the mean.": features.amax((2, 3), keepdim=True).expand(shape),
            "That is the smallest number of each map. Take the mean.": features.amin((2, 3), keepdim=True).expand(shape),
            "That is the sum of each map. Divide by its number of cells.": want * h * w,
            "You subtract the mean from the features. Every cell holds the mean itself.": features - want,
            "You add the mean to the features. Every cell holds the mean itself.": features + want,
            "Negative numbers became 0 before the mean: take it of the features as they are.": mean(2, 3, of=features.relu()),
            "Negative means became 0: return them as they are.": want.relu(),
            "The means are right but stand in the wrong cells: repeat and reshape mix the maps. Use keepdim=True and expand_as.": want[:, :, 0, 0].flatten().repeat(h * w).reshape(shape),
        }  # fmt: skip
        if n > 1:
            batch = "The mean runs over the images of the batch, too. Each image has its own."
            wrong[batch] = mean(0, 2, 3)
            wrong[f"{batch} And each channel."] = mean(0, 1, 2, 3)
            wrong["The mean runs over the batch alone. Take it over axes 2 and 3."] = mean(0)
        compare(got, want, wrong, case)
    return "The same numbers as nn.AdaptiveAvgPool2d(1), copied to every cell."


def same_view(rates, trained_stride, new_stride):
    scaled = []
    for rate in rates:
        pixels = rate * trained_stride
        if pixels % new_stride != 0:
            raise ValueError(f"{pixels} pixels are no whole rate at stride {new_stride}")
        scaled.append(pixels // new_stride)
    return tuple(scaled)


@exercise(
    "same_view",
    (
        "A rate counts cells of the map. How many input pixels is the tap of rate 3 away at stride 16, how many cells is that at stride 8?",
        "The distance in pixels, rate * trained_stride, has to stay. At the new stride a cell is new_stride pixels wide.",
        "New rate = rate * trained_stride // new_stride: multiply first, or 8 // 16 makes everything 0. If the remainder (%) is not 0, raise ValueError.",
    ),
    same_view,
)
def check_same_view(answer) -> str:
    cases = (
        ((1, 2, 3), 16, 8, (2, 4, 6)),
        ((2, 4, 6), 8, 16, (1, 2, 3)),
        ((6, 12, 18, 24), 16, 16, (6, 12, 18, 24)),
        ((3, 6), 32, 8, (12, 24)),
    )
    for rates, old, new, want in cases:
        case = f"{rates}, stride {old} to {new}"
        try:
            got = tuple(whole_numbers(run(answer, rates, old, new)))
        except TypeError:
            raise Mistake("rates is a tuple: go through it, rate by rate.") from None
        except ValueError as error:
            raise Mistake(
                f"{case}: these rates become whole ones, {want}, yet you raise ValueError({error})."
            ) from error
        pixels = tuple(rate * old for rate in rates)
        wrong = {
            rates: "You change nothing. At half the stride a cell is half as wide, so the same rate sees half as far.",
            tuple(rate * new // old for rate in rates): "The ratio is upside down. Smaller cells need larger rates, larger cells smaller ones.",
            pixels: "These are distances in input pixels. Divide by the new stride: how many cells is that?",
            tuple(rate + old // new for rate in rates): "You add. Twice the cells to the same distance: multiply.",
            tuple(rate + old - new for rate in rates): "You add the difference of the strides. The distance in pixels, rate * stride, has to stay.",
            tuple(rate * (old // new) for rate in rates): f"{old} // {new} is rounded down. Multiply by the trained stride first, divide last.",
            tuple(rate * old**2 // new**2 for rate in rates): "That is the ratio squared. Rates are lengths, not areas.",
        }  # fmt: skip
        if len(got) != len(rates):
            raise Mistake(
                f"{case}: you return {len(got)} rates; there is one for each of {len(rates)}."
            )
        if got != want:
            say = wrong.get(
                got, f"Expected {want}: rate * stride has to stay, the distance in pixels."
            )
            raise Mistake(f"{case}: you return {got}. {say}")
    for rates, bad in (((1, 2, 3), 1), ((2, 4, 5), 5), ((3, 2, 4), 3)):
        case = f"{rates}, stride 8 to 16"
        try:
            got = answer(rates, 8, 16)
        except ValueError:
            continue
        except Exception as error:
            raise Mistake(f"{case}: raise ValueError, not {type(error).__name__}.") from None
        raise Mistake(
            f"{case}: rate {bad} would become {bad / 2:g}, which is no whole number of cells. You return {got}: raise ValueError."
        )
    return "The taps stay on the same pixels; what would lie between two cells is refused."

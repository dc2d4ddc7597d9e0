"""Exercises of notebook 04: an FCN step that adds, a U-Net step that concatenates, a centred crop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.exercises.answers import compare, require_shape, tensor_from
from helpers.exercises.core import Mistake, exercise

# Sizes of the coarse and of the fine map; twice the size first, where most wrong answers run.
SIZES = (((2, 3), (4, 6)), ((3, 4), (5, 7)))


def add_skip(coarse_scores, fine_features, score_layer):
    size = fine_features.shape[-2:]
    upsampled = F.interpolate(coarse_scores, size=size, mode="bilinear", align_corners=False)
    return upsampled + score_layer(fine_features)


@exercise(
    "add_skip",
    (
        "Two maps can be added when they agree in channels and in size. What does each of the two lack here?",
        "The fine map has the size, but F channels: score_layer makes C of them. The coarse map has the C channels, but not the size.",
        "Interpolate the coarse scores, bilinearly and with pixels as areas, to whatever size the fine map has (size=, not scale_factor=). Then add.",
    ),
    add_skip,
)
def check_add_skip(answer) -> str:
    # As many features as classes at first, so that a forgotten score_layer does not raise.
    for (small, size), (classes, features) in zip(SIZES, ((3, 3), (2, 5)), strict=True):
        coarse, fine = _numbers(2, classes, *small), _numbers(2, features, *size)
        layer = nn.utils.skip_init(nn.Conv2d, features, classes, 1)
        state = {"weight": _numbers(classes, features, 1, 1), "bias": _numbers(classes)}
        layer.requires_grad_(False).load_state_dict(state)
        case = f"Coarse {tuple(coarse.shape)}, fine {tuple(fine.shape)}"
        got = _joined(answer, case, size, coarse, fine, layer)
        scores = layer(fine)
        joined = "You concatenated. An FCN adds scores to scores."
        why = {
            (2, 2 * classes, *size): joined,
            (2, classes + features, *size): joined,
            (2, classes, *small): "The coarse map has to grow; the fine one must not shrink.",
        }
        rule = "It has the channels of the coarse map and the size of the fine one."
        require_shape(got, scores.shape, case, why, rule)
        up = _bilinear(coarse, size)
        wrong = {say: wrong_up + scores for say, wrong_up in _badly_grown(coarse, size).items()}
        wrong["The scores of the fine map are missing: add them."] = up
        wrong["You took the mean. Add, and do not divide by two."] = (up + scores) / 2
        wrong["The coarse scores are missing: add them, upsampled."] = scores
        if classes == features:
            unscored = "The fine map holds features, not scores: apply score_layer to it first."
            wrong[unscored] = up + fine
            wrong["score_layer is for the fine map, you gave it the coarse one."] = layer(up) + fine
            summed = "You applied score_layer to the sum. First it makes scores of the fine map, then add."
            wrong[summed] = layer(up + fine)
        wrong["Negative numbers became 0: return the sum as it is."] = (up + scores).relu()
        compare(got, up + scores, wrong, case)
    return "The same numbers as torch's interpolation plus the scores, on odd sizes as well."


def unet_step(deep, skip, conv):
    upsampled = F.interpolate(deep, size=skip.shape[-2:], mode="bilinear", align_corners=False)
    return conv(torch.cat([upsampled, skip], dim=1))


@exercise(
    "unet_step",
    (
        "Three steps: give both maps one size, put them into one tensor, convolve. Until conv mixes them, their channels stay apart.",
        "The deep map is interpolated (bilinear, align_corners=False) to the height and width of the skip, whatever they are.",
        "torch.cat joins a list of maps along one axis. Which axis of (N, C, H, W) counts the channels? The deep map is first in the list, and conv comes last of all.",
    ),
    unet_step,
)
def check_unet_step(answer) -> str:
    # As many channels in both at first, so that adding them does not raise.
    for (small, size), (a, b) in zip(SIZES, ((3, 3), (4, 2)), strict=True):
        deep, skip, conv = _numbers(2, a, *small), _numbers(2, b, *size), _Witness()
        case = f"Deep {tuple(deep.shape)}, skip {tuple(skip.shape)}"
        try:
            got = _joined(answer, case, size, deep, skip, conv)
        except Mistake as mistake:
            if conv.given is None:
                raise
            channels = conv.given.shape[1]
            early = f"conv was given {channels} channels; both maps joined have {a + b}. Join them first, conv comes last."
            late = f"Return the result of conv as it is. {mistake}"
            raise Mistake(late if channels == a + b else early) from mistake
        if conv.given is None:
            raise Mistake("conv was never applied, so nothing mixes the two maps.")
        if any(torch.equal(conv.given, alone) for alone in (deep, skip, _bilinear(deep, size))):
            raise Mistake("conv was given one map alone. It comes last, on both maps joined.")
        want = torch.cat([_bilinear(deep, size), skip], dim=1)
        axis = "You joined them along another axis. The channels are dim=1."
        why = {
            (2, a, *size): "You added the maps. Concatenated, each keeps its own channels.",
            (4, a, *size): axis,
            (2, a, 2 * size[0], size[1]): axis,
            (2, a, size[0], 2 * size[1]): axis,
            (2, a + b, *small): "The deep map has to grow; the skip must not shrink.",
        }
        case += ", what conv gets"
        require_shape(
            conv.given, want.shape, case, why, "It should be both maps, in the skip's size."
        )
        grown = _badly_grown(deep, size).items()
        wrong = {say: torch.cat([wrong_up, skip], dim=1) for say, wrong_up in grown}
        swapped = "The order is swapped: the weights of conv expect [deep, skip]."
        wrong[swapped] = torch.cat([skip, _bilinear(deep, size)], dim=1)
        wrong["Negative numbers became 0: give conv both maps as they are."] = want.relu()
        compare(conv.given.double(), want, wrong, case)
        result = conv(want).double()
        case = "conv gets the right map, but you return another result"
        require_shape(got, result.shape, case, {}, "Return its result as it is.")
        cut = "Negative numbers became 0: return the result of conv as it is."
        compare(got, result, {cut: result.relu()}, case)
    return "torch's interpolation and concatenation give conv the same map, on odd sizes as well."


def centre_crop(features, height, width):
    top = (features.shape[-2] - height) // 2
    left = (features.shape[-1] - width) // 2
    if top < 0 or left < 0:
        raise ValueError(f"{height} x {width} does not fit into {tuple(features.shape[-2:])}")
    return features[..., top : top + height, left : left + width]


@exercise(
    "centre_crop",
    (
        "As many rows go above the window as below it, and as many columns to its left as to its right.",
        "H - height rows have to go, half of them (rounded down) above. That is the first row of the window; where does it end?",
        "Compute the first row and the first column with //, and slice from there to there plus the length. Before that, compare height and width with the map and raise ValueError.",
    ),
    centre_crop,
)
def check_centre_crop(answer) -> str:
    # Even margins, no margin, odd margins of an odd and of an even map.
    sizes = ((8, 10), (4, 6)), ((6, 5), (6, 5)), ((7, 9), (4, 4)), ((8, 6), (5, 3))
    for (rows, columns), (h, w) in sizes:
        maps = torch.arange(4 * rows * columns).reshape(2, 2, rows, columns) / 2
        top, left = (rows - h) // 2, (columns - w) // 2
        case = f"{rows} x {columns} to {h} x {w}"
        try:
            got = tensor_from(answer, maps, h, w)
        except ValueError as error:
            raise Mistake(f"{case}: this fits, yet you raise ValueError: {error}") from error
        same_cut = (2, 2, rows - 2 * top, columns - 2 * left)
        why = {
            same_cut: "Cutting the same from both sides leaves one too many when the margin is odd.",
            (2, 2, w, h): "Height and width are swapped.",
            (
                2,
                2,
                0,
                0,
            ): "Where nothing has to go, [0:-0] is empty: end the slice at start + length.",
        }
        rule = "Batch and channels stay as they are."
        if got.ndim == 4 and got.shape[:2] == (2, 2):
            rule = f"You return {got.shape[2]} rows and {got.shape[3]} columns instead of {h} and {w}: slice from start to start + height, and so with the width."
        require_shape(got, (2, 2, h, w), case, why, rule)
        want = F.pad(maps, (-left, left + w - columns, -top, top + h - rows))
        resized = F.interpolate(maps, size=(h, w), mode="bilinear", align_corners=False)
        nearest = F.interpolate(maps, size=(h, w))
        say = "You resized the map. A crop cuts a window out and leaves its numbers as they are."
        wrong = {say: resized, f"{say} (By nearest, too.)": nearest}
        for i in range(rows - h + 1):
            for j in range(columns - w + 1):
                other_half = i in (top, rows - h - top) and j in (left, columns - w - left)
                rounding = "Odd margin: the smaller part first, above and to the left."
                meet = "Concatenated so, features of different places would meet."
                say = f"{case}: your window starts at row {i}, column {j}, the middle one at row {top}, column {left}. {rounding if other_half else meet}"
                wrong[say] = maps[..., i : i + h, j : j + w]
        compare(got, want, wrong, case)
    for h, w in ((5, 3), (3, 5)):
        try:
            answer(torch.zeros(1, 1, 4, 4), h, w)
        except ValueError:
            continue
        except Exception as error:
            raise Mistake(
                f"4 x 4 to {h} x {w}: raise ValueError, not {type(error).__name__}."
            ) from None
        raise Mistake(
            f"The crops are right. But {h} x {w} does not fit into 4 x 4, and your function says nothing: raise ValueError."
        )
    return (
        "torch's F.pad with negative margins cuts the same window out; too large a one is refused."
    )


class _Witness(nn.Module):
    """In place of a convolution: takes any number of channels and keeps the map it was given."""

    given: Tensor | None = None

    def forward(self, maps: Tensor) -> Tensor:
        if not isinstance(maps, Tensor):
            raise Mistake("conv takes one tensor. Join the two maps before you apply it.")
        self.given = maps.float().clone()
        return maps.cumsum(dim=1)[:, 1:]


def _joined(answer: Callable, case: str, size: tuple[int, int], *arguments: Any) -> Tensor:
    """`tensor_from`, with torch's words on maps that do not fit together in plainer ones."""
    try:
        return tensor_from(answer, *arguments)
    except (RuntimeError, ValueError) as error:
        said = str(error)
        if "spatial dimensions" in said:
            say = "size= takes height and width alone: the fine map's shape[-2:]."
        elif "expected input" in said and "channels" in said:
            say = f"score_layer takes the channels of the fine map and of nothing else ({said})."
        elif "must match" in said and "non-singleton dimension 1" in said:
            say = f"the maps you add differ in channels ({said})."
        elif "must match" in said:
            say = f"torch cannot join maps of unequal size ({said}). The coarse one must become {size[0]} x {size[1]}."
        else:
            raise
        raise Mistake(f"{case}: {say}") from error


def _numbers(*shape: int) -> Tensor:
    """Numbers from -2 to 3 without a pattern, the same ones every time."""
    count = torch.Size(shape).numel()
    return (torch.arange(1.0, count + 1) ** 1.5).reshape(shape) % 5 - 2


def _bilinear(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _badly_grown(maps: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
    aligned = F.interpolate(maps, size=size, mode="bilinear", align_corners=True)
    doubled = F.interpolate(maps, scale_factor=2, mode="bilinear")[..., : size[0], : size[1]]
    return {
        "The coarse map was enlarged by nearest, in blocks: use mode='bilinear'.": F.interpolate(
            maps, size=size
        ),
        "align_corners=True moves the coarse map against the fine one. Cells are areas: align_corners=False.": aligned,
        "You doubled and cut. Both maps show the whole picture: interpolate to size=, the fine map's own.": doubled,
    }

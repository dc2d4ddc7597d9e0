"""Every exercise: the solution passes, each wrong answer is named, an untouched stub is met kindly."""

from __future__ import annotations

import math
import re
from itertools import pairwise, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import crf
from helpers.exercises import EXERCISES, check, hint, solution
from helpers.exercises.nb01 import iou, one_hot, resize_mask
from helpers.exercises.nb02 import ceiling_mask, convolution_from_linear, output_size
from helpers.exercises.nb03 import pixel_shuffle, source_position, transposed_convolution
from helpers.exercises.nb04 import add_skip, centre_crop, unet_step
from helpers.exercises.nb05 import dilated_convolution, rates_without_holes, receptive_field
from helpers.exercises.nb06 import image_pooling, same_view, taps_inside
from helpers.exercises.nb07 import as_penalty, choose_srgb, potts_update


def _channels_last(linear, channels, height, width):
    conv = convolution_from_linear(linear, channels, height, width)
    weight = linear.weight.data.reshape(-1, height, width, channels).permute(0, 3, 1, 2)
    conv.weight.data = weight.contiguous()
    return conv


def _without_bias(linear, channels, height, width):
    conv = nn.Conv2d(channels, linear.out_features, (height, width), bias=False)
    conv.weight.data = linear.weight.data.reshape(-1, channels, height, width)
    return conv


def _random_bias(linear, channels, height, width):
    conv = nn.Conv2d(channels, linear.out_features, (height, width))
    conv.weight.data = linear.weight.data.reshape(-1, channels, height, width)
    return conv


def _up(shares, stride, corners=False):
    return F.interpolate(shares, scale_factor=stride, mode="bilinear", align_corners=corners)


def _shares(mask, stride, n):
    return F.avg_pool2d(F.one_hot(mask, n).permute(2, 0, 1)[None].float(), stride)


def _interpolated(mask, size, mode):
    return F.interpolate(mask[None, None].float(), size=size, mode=mode)[0, 0]


def _recall(matrix):
    return np.diag(matrix) / matrix.sum(1)


def _nan_where_zero(matrix):
    scores = iou(matrix)
    return np.where(scores == 0, np.nan, scores)


def _one_answer(value):
    return lambda i, n, m, corners: source_position(i, n, m, value)


def _areas_as(formula):
    """A right answer for align_corners=True, and `formula` for False."""
    return lambda i, n, m, corners: source_position(i, n, m, True) if corners else formula(i, n, m)


def _points_as(formula):
    return lambda i, n, m, corners: formula(i, n, m) if corners else source_position(i, n, m, False)


def _stamps(step, size=lambda x, k, s: tuple((side - 1) * s + k for side in x.shape), add=True):
    """A transposed convolution whose stamp (i, j) starts at ``step(i, j, stride)``."""

    def answer(x, kernel, stride):
        k = len(kernel)
        out = torch.zeros(size(x, k, stride))
        for i, j in np.ndindex(*x.shape):
            top, left = step(i, j, stride)
            window = out[top : top + k, left : left + k]
            stamp = x[i, j] * kernel[: window.shape[0], : window.shape[1]]
            window.copy_(window + stamp if add else stamp)
        return out

    return answer


def _by_stride(i, j, stride):
    return i * stride, j * stride


def _uncut(size, step):
    """Stamps that are not cut at the ends, so that torch raises where one does not fit."""

    def answer(x, kernel, stride):
        k = len(kernel)
        out = torch.zeros([size(side, k, stride) for side in x.shape])
        for i, j in np.ndindex(*x.shape):
            top, left = i * step(k, stride), j * step(k, stride)
            out[top : top + k, left : left + k] += x[i, j] * kernel
        return out

    return answer


def _pixel_by_pixel(x, kernel, stride):
    """Too small an output, filled number by number: an IndexError."""
    out = torch.zeros([side * stride for side in x.shape])
    for i, j, a, b in np.ndindex(*x.shape, *kernel.shape):
        out[i * stride + a, j * stride + b] += x[i, j] * kernel[a, b]
    return out


def _scaled_in_place(x, kernel, stride):
    out = transposed_convolution(x, kernel, stride)
    kernel *= 2
    return out


def _split_channels(x, r, order, block_first=False):
    c, h, w = len(x) // r**2, *x.shape[1:]
    x = x.reshape(r, r, c, h, w) if block_first else x.reshape(c, r, r, h, w)
    return x.permute(order).reshape(c, h * r, w * r)


def _grow(x, like, mode="bilinear", **options):
    return F.interpolate(x, size=like.shape[-2:], mode=mode, **options)


def _twice(x):
    return F.interpolate(x, scale_factor=2, mode="bilinear")


def _crop_from(f, top, left, h, w):
    return f[..., top : top + h, left : left + w]


def _middle(f, h, w):
    return (f.shape[-2] - h) // 2, (f.shape[-1] - w) // 2


def _crop_around_the_middle(f, h, w):
    row, column = (side // 2 for side in f.shape[-2:])
    return f[..., row - h // 2 : row + h // 2, column - w // 2 : column + w // 2]


def _crop_with_asserts(f, h, w):
    assert f.shape[-2] >= h and f.shape[-1] >= w
    return centre_crop(f, h, w)


def _crop_refusing_its_own_size(f, h, w):
    if f.shape[-2] <= h or f.shape[-1] <= w:
        raise ValueError("too large")
    return centre_crop(f, h, w)


def _crop_both_sides(f, h, w):
    top, left = _middle(f, h, w)
    return f[..., top:-top, left:-left]


def _crop_to_ends(f, h, w):
    top, left = _middle(f, h, w)
    return f[..., top : f.shape[-2] - top, left : f.shape[-1] - left]


def _extent(growth, stride_first=False, start=1, join=lambda stride, s: stride * s):
    """A receptive field where a layer adds ``growth(kernel, stride, dilation)`` cells."""

    def answer(layers):
        size, stride = start, 1
        for k, s, d in layers:
            if stride_first:
                stride = join(stride, s)
            size += growth(k, s, d) * stride
            if not stride_first:
                stride = join(stride, s)
        return size, stride

    return answer


def _grow_right(k, _s, d):
    return (k - 1) * d


def _stride_as(wrong):
    """The right size with the stride ``wrong(layers)``."""
    return lambda layers: (receptive_field(layers)[0], wrong(layers))


def _size_from(wrong_layers):
    return lambda layers: (receptive_field(wrong_layers(layers))[0], receptive_field(layers)[1])


def _own_stride(layers):
    return 1 + sum((k - 1) * s * d for k, s, d in layers), receptive_field(layers)[1]


def _stride_before(layers):
    size = layers[0][0] + (layers[0][0] - 1) * (layers[0][2] - 1)
    for (_, s, _), (k, _, d) in pairwise(layers):
        size += (k - 1) * d * s
    return size, receptive_field(layers)[1]


def _size_from_the_back(layers):
    size = 1
    for k, s, d in layers[::-1]:
        size = (size - 1) * s + (k - 1) * d + 1
    return size


def _return_in_the_loop(layers):
    for k, s, d in layers:
        return 1 + (k - 1) * d, s


def _taps(read, put=lambda total, product: total + product, offset=-1):
    """A dilated convolution pixel by pixel, where ``read(x, row, column)`` gives the numbers."""

    def answer(x, kernel, rate):
        out = torch.zeros(x.shape)
        for i, j in np.ndindex(*x.shape):
            for a, b in np.ndindex(3, 3):
                value = read(x, i + (a + offset) * rate, j + (b + offset) * rate)
                if value is not None:
                    out[i, j] = put(out[i, j], kernel[a, b] * value)
        return out

    return answer


def _inside(x, i, j):
    return x[i, j] if 0 <= i < x.shape[0] and 0 <= j < x.shape[1] else None


def _inside_but_the_first(x, i, j):
    return x[i, j] if 0 < i < x.shape[0] and 0 < j < x.shape[1] else None


def _inside_and_one_more(x, i, j):
    return x[i, j] if 0 <= i <= x.shape[0] and 0 <= j <= x.shape[1] else None


def _conv(x, kernel, **options):
    return F.conv2d(x[None, None], kernel[None, None], **options)[0, 0]


def _only_whole_windows(x, kernel, rate):
    if min(x.shape) <= 2 * rate:
        return torch.zeros(x.shape)
    return F.pad(_conv(x, kernel, dilation=rate), (rate,) * 4)


def _slices_to_the_end(x, kernel, rate):
    padded = F.pad(x, (rate,) * 4)
    return sum(kernel[a, b] * padded[a * rate :, b * rate :] for a, b in np.ndindex(3, 3))


def _without_centre(x, kernel, rate):
    return dilated_convolution(x, kernel, rate) - kernel[1, 1] * x


def _spread_image(x, kernel, rate):
    spread = torch.zeros([(side - 1) * rate + 1 for side in x.shape])
    spread[::rate, ::rate] = x
    return _conv(spread, kernel, padding=1)


def _rates_by_search(extent):
    for rates in product(range(1, 28), repeat=4):
        if 1 + 2 * sum(rates) == extent and bool((_paths(rates) > 0).all()):
            return rates


def _paths(rates):
    """How many paths lead to each pixel of a row, by torch."""
    row = torch.zeros(2 * sum(rates) + 1).double()
    row[sum(rates)] = 1
    for rate in rates:
        row = F.conv1d(row[None], torch.ones(1, 1, 3).double(), padding=rate, dilation=rate)[0]
    return row


def _share(side, rate):
    return 1 + 2 * max(0, side - rate) / side


def _tap_counts(h, w, rate):
    ones = torch.ones(1, 1, h, w), torch.ones(1, 1, 3, 3)
    return F.conv2d(*ones, padding=rate, dilation=rate)[0, 0]


def _means(f, *axes):
    return f.mean(axes, keepdim=True).expand(f.shape)


def _all_whole(rates, t, n):
    return all(r * t % n == 0 for r in rates)


def _unless_whole(otherwise):
    def answer(rates, t, n):
        return same_view(rates, t, n) if _all_whole(rates, t, n) else otherwise(rates, t, n)

    return answer


def _raise_for(tested):
    """A view that tests only the number ``tested(rates)`` for being whole."""

    def answer(rates, t, n):
        if tested(rates) * t % n:
            raise ValueError("not whole")
        return tuple(r * t // n for r in rates)

    return answer


def _halves(rates, t, n):
    return tuple(r * t / n for r in rates)


def _same_view_with_asserts(rates, t, n):
    assert _all_whole(rates, t, n)
    return same_view(rates, t, n)


def _raise_for_coarser(rates, t, n):
    if n > t:
        raise ValueError("coarser")
    return same_view(rates, t, n)


def _one_by_one(unary, kernel, q):
    q = q.clone()
    for i in range(q.shape[1]):
        q[:, i] = (q @ kernel[i] - unary[:, i]).softmax(0)
    return q


def _by_cost(unary, kernel, q):
    """A right update from what unequal labels cost, one pair after the other."""
    energy = unary.clone()
    for i, j in np.ndindex(*kernel.shape):
        energy[:, i] += kernel[i, j] * (1 - q[:, j])
    weights = torch.exp(-energy)
    return weights / weights.sum(0)


def _most_likely(p):
    return F.one_hot(p.argmax(0), len(p)).T.double()


def _overwritten(unary, kernel, q):
    q[:] = potts_update(unary, kernel, q)
    return q


def _for_numbers(formula):
    """A right matrix for arrays, and `formula` for numbers."""
    return lambda compat, c: as_penalty(compat, c) if np.ndim(compat) else formula(compat, c)


def _for_arrays(formula):
    return lambda compat, c: formula(compat) if np.ndim(compat) == 1 else as_penalty(compat, c)


def _for_matrices(formula):
    return lambda compat, c: formula(compat) if np.ndim(compat) == 2 else as_penalty(compat, c)


def _made_symmetric_in_place(matrix):
    matrix += matrix.T.copy()
    matrix /= 2
    return matrix


def _normal(d, s):
    return np.exp(-(d**2) / (2 * s**2))


def _largest_gap(kernel=_normal, average=np.mean, compare=lambda inside, across: inside - across):
    """A choice with the largest ``compare(inside, across)`` of the averages of ``kernel``."""

    def answer(inside, across, candidates):
        return max(
            candidates,
            key=lambda s: compare(average(kernel(inside, s)), average(kernel(across, s))),
        )

    return answer


def _gaps(inside, across, candidates):
    return [_normal(inside, s).mean() - _normal(across, s).mean() for s in candidates]


def _squared_in_place(inside, across, candidates):
    inside **= 2
    return candidates[0]


def _nearest(value, candidates):
    return min(candidates, key=lambda s: abs(s - value))


WRONG = {
    "share": [
        (lambda mask, label: (mask == label).mean(), "counts the void pixels"),
        (lambda mask, label: (mask == label).sum(), "number of pixels"),
        (lambda mask, label: 100 * (mask[mask != 255] == label).mean(), "per cent"),
        (lambda mask, label: (mask[mask != 255] == 2).mean(), "use the argument label"),
        (lambda mask, label: mask == label, "array of shape"),
    ],
    "blend": [
        (lambda p, c, o: o * p + (1 - o) * c, "swapped"),
        (lambda p, c, o: p + o * c, "too bright"),
        (lambda p, c, o: np.add(p * (1 - o), o * c, out=p), "overwrote"),
        (lambda p, c, o: (p + c) / 2, "plain mean"),
        (lambda p, c, o: ((1 - o) * p + o * c).mean(-1), "keep the shape"),
    ],
    "one_hot": [
        (lambda m, n: one_hot(m, n).permute(1, 2, 0), "class axis is last"),
        (lambda m, n: one_hot(torch.where(m == 255, 0, m), n), "void pixel became a class"),
        (lambda m, n: F.one_hot(m, n).permute(2, 0, 1), "void pixel .* broke it"),
        (lambda m, n: one_hot(m, n - 1), "Expected shape"),
        (lambda m, n: one_hot(m, 4), "use the argument"),
        (lambda m, n: 1 - one_hot(m, n), "void pixel became a class"),
        (lambda m, n: one_hot(m, n).flip(0), "At .channel, row, column"),
    ],
    "iou": [
        (_recall, "recall"),
        (lambda m: np.diag(m) / m.sum(0), "precision"),
        (lambda m: np.diag(m) / (m.sum(0) + m.sum(1)), "counted twice"),
        (lambda m: np.nan_to_num(iou(m)), "so nan"),
        (_nan_where_zero, "0, not nan"),
        (lambda m: np.nanmean(iou(m)), "one number per class"),
        (lambda m: 2 * np.diag(m) / (m.sum(0) + m.sum(1)), "Dice"),
        (lambda m: np.where(m.sum(1) > 0, iou(m), np.nan), "false alarm scores 0"),
    ],
    "resize_mask": [
        (lambda m, s: _interpolated(m, s, "bilinear").round().long(), "averaging invented"),
        (lambda m, s: resize_mask(m, s[::-1]), "swapped"),
        (lambda m, s: resize_mask(m, s).float(), "floats"),
        (lambda m, s: _interpolated(m, s, "nearest").roll(1, 1).long(), "do not carry the label"),
        (lambda m, s: _interpolated(m, s, "nearest").long(), "nearest-exact"),
        (lambda m, s: m, "Expected shape"),
    ],
    "output_size": [
        (lambda n, k, s, p: (n + 2 * p - k) // s, "starting position"),
        (lambda n, k, s, p: (n + p - k) // s + 1, "both sides"),
        (lambda n, k, s, p: (n + 2 * p - k) / s + 1, "round down"),
        (lambda n, k, s, p: n // s, "torch says"),
    ],
    "convolution_from_linear": [
        (_channels_last, "wrong places"),
        (_without_bias, "bias is missing"),
        (_random_bias, "bias"),
        (lambda linear, c, h, w: nn.Conv2d(c, linear.out_features, (h, w)), "outputs differ"),
        (lambda linear, c, h, w: nn.Conv2d(c, linear.out_features, 3), "weight should be"),
        (lambda linear, c, h, w: nn.Conv2d(c, linear.out_features, (h, w), padding=1), "no padding"),
        (lambda linear, c, h, w: linear, "Return an nn.Conv2d"),
    ],
    "ceiling_mask": [
        (lambda m, s, n: F.interpolate(_shares(m, s, n).argmax(1, True).float(), scale_factor=s)[0, 0].long(), "whole blocks"),
        (lambda m, s, n: _up(_shares(m, s, n), s, corners=True)[0].argmax(0), "align_corners"),
        (lambda m, s, n: m, "mask itself"),
        (lambda m, s, n: ceiling_mask(m, s, n)[None], "one mask"),
        (lambda m, s, n: _shares(m, s, n)[0].argmax(0), "Upsample before you return"),
        (lambda m, s, n: _up(F.max_pool2d(F.one_hot(m, n).permute(2, 0, 1)[None].float(), s), s)[0].argmax(0), "Max pooling"),
        (lambda m, s, n: ceiling_mask(m.flip(0), s, n), "pixels differ"),
    ],
    "source_position": [
        (_areas_as(lambda i, n, m: i * n / m), "Half a pixel is missing"),
        (_areas_as(lambda i, n, m: (i + 0.5) * n / m), "distance from the edge"),
        (_areas_as(lambda i, n, m: i * n / m - 0.5), "before scaling"),
        (_areas_as(lambda i, n, m: (i + 0.5) * m / n - 0.5), "^((?!True).)*upside down"),
        (_areas_as(lambda i, n, m: (2 * i + 1) * n // (2 * m) - 0.5), "// divides to whole"),
        (_areas_as(lambda i, n, m: (i + 0.5) * n // m - 0.5), "// divides to whole"),
        (_areas_as(lambda i, n, m: (i + 0.5) * (n // m) - 0.5), "ratio became a whole"),
        (_areas_as(lambda i, n, m: (i + 0.6) * n / m - 0.5), "at column 0 you have"),
        (_areas_as(lambda i, n, m: int(source_position(i, n, m, False) // 1)), "You rounded"),
        (_areas_as(lambda i, n, m: max(0, source_position(i, n, m, False))), "cut it off at 0"),
        (_areas_as(lambda i, n, m: min(n - 1, max(0, source_position(i, n, m, False)))), "cut it off at the ends"),
        (lambda i, n, m, corners: source_position(i, n, m, not corners), "swapped"),
        (_one_answer(False), "True you answer as if it were False"),
        (_one_answer(True), "False you answer as if it were True"),
        (_points_as(lambda i, n, m: i * n / m), "Count steps between centres"),
        (_points_as(lambda i, n, m: i * (m - 1) / (n - 1)), "seven steps"),
        (_points_as(lambda i, n, m: i * (n - 1) / m), "align_corners=True, 4 to 8 pixels: at column 1"),
        (_points_as(lambda i, n, m: i * (n - 1) // (m - 1)), "True you rounded"),
        (_points_as(lambda i, n, m: i * ((n - 1) // (m - 1))), "True the ratio became a whole"),
        (_points_as(lambda i, n, m: None), "returns nothing"),
        (lambda i, n, m, corners: torch.zeros(m), "one number"),
        (lambda i, n, m, corners: "half", "no tensor of the str"),
    ],
    "transposed_convolution": [
        (_stamps(_by_stride, add=False), "wipes out"),
        (_stamps(_by_stride, lambda x, k, s: (len(x) * s, x.shape[1] * s)), "no room"),
        (_uncut(lambda side, k, s: side * s, lambda k, s: s), r"torch says: The size .*must be \(\(H - 1\)"),
        (_uncut(lambda side, k, s: (side - 1) * s + k, lambda k, s: k), "`stride` apart, not k"),
        (_pixel_by_pixel, "torch says: index .*no room for the last stamp"),
        (lambda x, kernel, s: transposed_convolution(x, kernel.flip(0, 1), s), "flipped"),
        (lambda x, kernel, s: transposed_convolution(x, kernel.T, s), "Its rows stay rows"),
        (lambda x, kernel, s: transposed_convolution(x, kernel, 1), "size for stride 1"),
        (_stamps(lambda i, j, s: (i, j)), "one pixel apart"),
        (_stamps(lambda i, j, s: (i * s, j)), "Only the rows"),
        (_stamps(lambda i, j, s: (i * s, j), lambda x, k, s: ((len(x) - 1) * s + k, x.shape[1] - 1 + k)), "columns need the stride"),
        (lambda x, kernel, s: transposed_convolution(torch.ones_like(x), kernel, s), "equally strong"),
        (lambda x, kernel, s: transposed_convolution(x, kernel, 2), r"kernel 2 x 2, stride 3: expected"),
        (lambda x, kernel, s: transposed_convolution(x, kernel, s)[None, None], "expected shape .*starts at row"),
        (lambda x, kernel, s: transposed_convolution(x, kernel, s).long(), "fractions are lost"),
        (lambda x, kernel, s: transposed_convolution(x, kernel, s) + 1, "at row 0, column 0 you have"),
        (_scaled_in_place, "changed a tensor"),
    ],
    "pixel_shuffle": [
        (lambda x, r: x.reshape(-1, x.shape[1] * r, x.shape[2] * r), "only reshaped"),
        (lambda x, r: _split_channels(x, r, (0, 3, 2, 4, 1)), "block is transposed"),
        (lambda x, r: _split_channels(x, r, (0, 1, 3, 2, 4)), "side by side like tiles"),
        (lambda x, r: _split_channels(x, r, (2, 3, 0, 4, 1), block_first=True), "block first"),
        (lambda x, r: x.reshape(r, r, *x.shape[1:]), "invalid for input .*C is missing"),
        (lambda x, r: pixel_shuffle(x, r).reshape(x.shape[1] * r, x.shape[2] * r), "C is missing"),
        (lambda x, r: pixel_shuffle(x, r).flip(0), "at channel 0, row 0, column 0"),
        (lambda x, r: pixel_shuffle(x, r)[None], r"should be \(C, H"),
        (lambda x, r: pixel_shuffle(x, r).int().numpy(), "int32: fractions are lost"),
        (lambda x, r: x.mul_(1.5), "changed a tensor"),
    ],
    "add_skip": [
        (lambda c, f, layer: torch.cat([_grow(c, f), layer(f)], 1), "You concatenated"),
        (lambda c, f, layer: torch.cat([_grow(c, f), f], 1), "You concatenated"),
        (lambda c, f, layer: _grow(c, f, "nearest") + layer(f), "by nearest"),
        (lambda c, f, layer: _grow(c, f, align_corners=True) + layer(f), "align_corners=True"),
        (lambda c, f, layer: _twice(c) + layer(f), "must become 5 x 7"),
        (lambda c, f, layer: c + _twice(layer(f)), "must become 4 x 6"),
        (lambda c, f, layer: c + _grow(layer(f), c), "must not shrink"),
        (lambda c, f, layer: _twice(c)[..., : f.shape[-2], : f.shape[-1]] + layer(f), "doubled and cut"),
        (lambda c, f, layer: _grow(c, f) + f, "features, not scores"),
        (lambda c, f, layer: layer(_grow(c, f)) + f, "gave it the coarse one"),
        (lambda c, f, layer: layer(_grow(c, f) + f), "score_layer to the sum"),
        (lambda c, f, layer: layer(torch.cat([_grow(c, f), f], 1)), "of nothing else"),
        (lambda c, f, layer: F.interpolate(c, size=f.shape, mode="bilinear") + layer(f), "height and width alone"),
        (lambda c, f, layer: add_skip(c, f, layer).relu(), "Negative numbers became 0"),
        (lambda c, f, layer: _grow(c, f) + (f if f.shape[1] != c.shape[1] else layer(f)), "differ in channels"),
        (lambda c, f, layer: _grow(c, f), "scores of the fine map are missing"),
        (lambda c, f, layer: layer(f), "coarse scores are missing"),
        (lambda c, f, layer: add_skip(c, f, layer)[0], "size of the fine one"),
        (lambda c, f, layer: 2 * add_skip(c, f, layer), "at image 0, channel 0, row 0"),
        (lambda c, f, layer: c.zero_(), "changed a tensor"),
    ],
    "unet_step": [
        (lambda deep, skip, conv: conv(_grow(deep, skip) + skip), "You added"),
        (lambda deep, skip, conv: conv(torch.cat([skip, _grow(deep, skip)], 1)), "order is swapped"),
        (lambda deep, skip, conv: conv(torch.cat([_grow(deep, skip), skip], 0)), "another axis"),
        (lambda deep, skip, conv: conv(torch.cat([_grow(deep, skip), skip], 2)), "another axis"),
        (lambda deep, skip, conv: conv(torch.cat([_grow(deep, skip), skip], 3)), "another axis"),
        (lambda deep, skip, conv: torch.cat([_grow(conv(deep), skip), skip], 1), "one map alone"),
        (lambda deep, skip, conv: torch.cat([conv(_grow(deep, skip)), skip], 1), "one map alone"),
        (lambda deep, skip, conv: torch.cat([_grow(deep, skip), conv(skip)], 1), "one map alone"),
        (lambda deep, skip, conv: torch.cat([_grow(deep, skip), skip], 1), "never applied"),
        (lambda deep, skip, conv: conv(torch.cat([_grow(deep, skip, "nearest"), skip], 1)), "by nearest"),
        (lambda deep, skip, conv: conv(torch.cat([_grow(deep, skip, align_corners=True), skip], 1)), "align_corners=True"),
        (lambda deep, skip, conv: conv(torch.cat([_twice(deep), skip], 1)), "must become 5 x 7"),
        (lambda deep, skip, conv: conv(torch.cat([_twice(deep)[..., : skip.shape[2], : skip.shape[3]], skip], 1)), "doubled and cut"),
        (lambda deep, skip, conv: conv(torch.cat([deep, skip], 1)), "must become 4 x 6"),
        (lambda deep, skip, conv: conv(torch.cat([deep, _grow(skip, deep)], 1)), "must not shrink"),
        (lambda deep, skip, conv: conv(deep) + skip, "given 3 channels; both maps joined have 6"),
        (lambda deep, skip, conv: conv(_grow(deep, skip)) + skip, "given 3 channels; both .* Join them first"),
        (lambda deep, skip, conv: unet_step(deep, skip, conv) + skip, "Return the result of conv as it is.* differ in channels"),
        (lambda deep, skip, conv: unet_step(deep, skip, conv).relu(), "0: return the result of conv"),
        (lambda deep, skip, conv: conv(torch.cat([_grow(deep, skip), skip], 1).relu()), "0: give conv both maps"),
        (lambda deep, skip, conv: 2 * unet_step(deep, skip, conv), "another result: at image 0"),
        (lambda deep, skip, conv: conv([_grow(deep, skip), skip]), "conv takes one tensor"),
        (lambda deep, skip, conv: unet_step(deep, skip, conv)[0], "Return its result"),
        (lambda deep, skip, conv: conv(torch.cat([2 * _grow(deep, skip), skip], 1)), "what conv gets: at image 0"),
        (lambda deep, skip, conv: conv(torch.cat([_grow(deep, skip)] * 3, 1)), "in the skip's size"),
    ],
    "centre_crop": [
        (lambda f, h, w: f[..., :h, :w], "starts at row 0, column 0, the middle one at row 2, column 2"),
        (lambda f, h, w: f[..., -h:, -w:], "starts at row 4, column 4"),
        (lambda f, h, w: _crop_from(f, *[side // 2 for side in f.shape[-2:]], h, w), "expected shape"),
        (lambda f, h, w: _crop_from(f, *[(a + 1) // 2 for a in (f.shape[-2] - h, f.shape[-1] - w)], h, w), "starts at row 2, column 3.*smaller part first"),
        (lambda f, h, w: _crop_from(f, *[a // 2 - b // 2 for a, b in zip(f.shape[-2:], (h, w), strict=True)], h, w), "8 x 6 to 5 x 3.*smaller part first"),
        (lambda f, h, w: f[..., _middle(f, h, w)[0] : h, _middle(f, h, w)[1] : w], "2 rows and 4 columns instead of 4 and 6"),
        (_crop_around_the_middle, "6 rows and 4 columns instead of 6 and 5.*start to start"),
        (lambda f, h, w: centre_crop(f, w, h), "Height and width are swapped"),
        (_crop_both_sides, "end the slice at start"),
        (_crop_to_ends, "margin is odd"),
        (lambda f, h, w: _crop_from(f, *[max(0, k) for k in _middle(f, h, w)], h, w), "5 x 3 does not fit"),
        (lambda f, h, w: None if h > f.shape[-2] else centre_crop(f, h, w), "5 x 3 does not fit"),
        (lambda f, h, w: _crop_from(f, *_middle(f, h, w), h, w) if h <= f.shape[-2] else centre_crop(f, h, w), "3 x 5 does not fit"),
        (_crop_with_asserts, "not AssertionError"),
        (_crop_refusing_its_own_size, "this fits, yet"),
        (lambda f, h, w: centre_crop(f, h, w)[0], "Batch and channels stay"),
        (lambda f, h, w: centre_crop(f, h, w).flip(0), "at image 0, channel 0, row 0, column 0"),
    ],
    "receptive_field": [
        (_extent(_grow_right, start=0), "starts at 0"),
        (_extent(lambda k, s, d: k - 1), "dilation is missing"),
        (_extent(lambda k, s, d: k * d - 1), "covers 5 cells, not 6"),
        (_extent(lambda k, s, d: k * d), "first tap stands where"),
        (_extent(lambda k, s, d: (k - 1) * d + 1, start=0), "windows overlap"),
        (_extent(lambda k, s, d: (k - 1) * (d + 1)), "leave two between"),
        (_extent(lambda k, s, d: k - 1 + d), "^((?!once).)*You add the dilation"),
        (_extent(lambda k, s, d: k - 1 + d - 1), "dilation - 1 once"),
        (_extent(_grow_right, stride_first=True), "before its own growth"),
        (_extent(_grow_right, join=lambda stride, s: stride + s), "You add strides"),
        (_extent(_grow_right, join=lambda stride, s: stride + s - 1), r"Size for \[\(7, 2, 1\).* you say 32, expected 39"),
        (lambda layers: receptive_field(layers[::-1]), "last to the first"),
        (_extent(lambda k, s, d: (k - 1) * d, join=lambda stride, s: 1), "strides are missing in the size"),
        (_size_from(lambda layers: [(k, 1, d) for k, _, d in layers]), "strides are missing in the size"),
        (_own_stride, "by its own stride"),
        (_stride_before, "stride of one layer"),
        (_size_from(lambda layers: [(k, s * d, d) for k, s, d in layers]), "does not carry over"),
        (lambda layers: receptive_field(layers[-1:]), "Only the last layer"),
        (_return_in_the_loop, "return inside the loop"),
        (lambda layers: (np.prod([(k - 1) * d + 1 for k, _, d in layers]), 1), "Sizes do not multiply"),
        (_stride_as(lambda layers: layers[-1][1]), "last layer's own"),
        (_stride_as(lambda layers: sum(s for _, s, _ in layers)), "strides are not. You add them up"),
        (_stride_as(lambda layers: receptive_field(layers[:-1])[1]), "before the last layer"),
        (_stride_as(lambda layers: np.prod([s * d for _, s, d in layers])), "no map coarser"),
        (_stride_as(lambda layers: 1), r"Stride for .*\(3, 2, 1\), \(3, 1, 1\)\]: you say 1, expected 2"),
        (lambda layers: receptive_field(layers)[::-1], "swapped"),
        (lambda layers: receptive_field(layers)[0], "one number"),
        (lambda layers: [receptive_field(layers[: k + 1]) for k in range(len(layers))], "both of the last layer"),
        (lambda layers: {"size": 3}, "no tensor of the dict"),
        (lambda layers: (receptive_field(layers)[0] + 2, 1), r"Size for \[\(3, 1, 1\)\]: you say 5, expected 3"),
    ],
    "dilated_convolution": [
        (lambda x, kernel, r: dilated_convolution(x, kernel.flip(0, 1), r), "flipped"),
        (lambda x, kernel, r: dilated_convolution(x, kernel.T, r), "transposed"),
        (lambda x, kernel, r: dilated_convolution(x, kernel, 1), "^((?!rate -).)*1 apart, whatever"),
        (lambda x, kernel, r: dilated_convolution(x, kernel, r + 1), r"rate \+ 1 apart"),
        (lambda x, kernel, r: dilated_convolution(x, kernel, max(1, r - 1)), "rate - 1 apart"),
        (lambda x, kernel, r: _conv(x, kernel, padding=(r, 1), dilation=(r, 1)), "Only the rows"),
        (lambda x, kernel, r: _conv(x, kernel, padding=(1, r), dilation=(1, r)), "Only the columns"),
        (lambda x, kernel, r: _conv(x, kernel, padding=1, dilation=r), "padded by 1"),
        (lambda x, kernel, r: _conv(x, kernel, padding=r), "taps are 1 apart"),
        (lambda x, kernel, r: _conv(x, kernel, dilation=r), "Nothing is padded"),
        (lambda x, kernel, r: _conv(x, kernel, padding=2 * r, dilation=r), "padding is still there"),
        (lambda x, kernel, r: _conv(x, kernel, padding=1, stride=r), "which is a stride"),
        (lambda x, kernel, r: _conv(x[::r, ::r], kernel, padding=1), "which is a stride"),
        (_spread_image, "spread the image"),
        (lambda x, kernel, r: _conv(torch.kron(x, torch.eye(r)), kernel, padding=1), "spread the image"),
        (_without_centre, "centre tap is missing"),
        (_taps(lambda x, i, j: x[min(max(i, 0), len(x) - 1), min(max(j, 0), x.shape[1] - 1)]), "nearest edge pixel"),
        (_taps(lambda x, i, j: x[i % len(x), j % x.shape[1]]), "from the other end"),
        (_taps(_inside_but_the_first), "not 0 <"),
        (_taps(_inside_and_one_more), "torch says: index .*look whether it is inside"),
        (_taps(lambda x, i, j: x[i, j]), "torch says: index .*look whether it is inside"),
        (_only_whole_windows, "give up the other eight"),
        (_taps(_inside, offset=0), "starts at the pixel"),
        (_taps(_inside, offset=-2), "ends at the pixel"),
        (_taps(lambda x, i, j: _inside(x, i, j) or 0, put=lambda total, product: product), "Only the last tap"),
        (_taps(_inside, put=lambda total, product: product), "wipes out the one before"),
        (lambda x, kernel, r: dilated_convolution(x, torch.ones(3, 3), r), "weigh the same"),
        (lambda x, kernel, r: dilated_convolution(x, kernel, r) / 9, "divided by nine"),
        (_slices_to_the_end, "torch says: .*end at a"),
        (lambda x, kernel, r: dilated_convolution(x, kernel, r)[None, None], r"size of x, \(H, W\)"),
        (lambda x, kernel, r: dilated_convolution(x, kernel, r) + 1, "rate 3: at row 0, column 0 you have"),
        (lambda x, kernel, r: dilated_convolution(x, kernel, min(r, 3)), "x 3 x 4, rate 5: at row 0, column 0 you have"),
        (lambda x, kernel, r: dilated_convolution(x, kernel, r).long(), "fractions are lost"),
        (lambda x, kernel, r: dilated_convolution(x.mul_(2), kernel, r), "changed a tensor"),
    ],
    "rates_without_holes": [
        (lambda extent: [1, 2, 4, 8], "whatever the extent"),
        (lambda extent: [1, 1, 1, extent // 2 - 3], r"\[1, 1, 1, 13\]: no path leads to the pixel 4 .* reach 3 to each side, .* at most 7; yours is 13"),
        (lambda extent: [2, 2, 2, 2] if extent == 17 else rates_without_holes(extent), "the pixel 1 to the right. All rates are multiples of 2"),
        (lambda extent: [2, 4, 6, 12] if extent == 49 else rates_without_holes(extent), "the pixel 1 to the right. All rates are multiples of 2"),
        (lambda extent: [3, 4, 5, 6] if extent == 37 else rates_without_holes(extent), "the pixel 16 to the right. The smallest is 3"),
        (lambda extent: rates_without_holes(2 * extent - 1) if extent < 41 else [1, 3, 9, 27], "they see 65 x 65. A path may go to the left and"),
        (lambda extent: [extent // 4] * 4, "Extent 33, .* they see 65 x 65"),
        (lambda extent: [extent // 8] * 4, "All rates are multiples of 4"),
        (lambda extent: [extent // 8] * 3 + [extent // 2 - 3 * (extent // 8)], "no path leads"),
        (lambda extent: [1, 2, 4, extent // 2 - 7], "smallest rate there is"),
        (lambda extent: [extent // 2, 0, 0, 0], "smallest rate there is"),
        (lambda extent: rates_without_holes(extent)[:3], "you return 3 rates, not 4"),
        (lambda extent: [1] * (extent // 2), "Extent 33.* you return 16 rates, not 4"),
        (lambda extent: [(extent - 1) / 8] * 4, "/ makes floats"),
        (lambda extent: extent // 8, "not as int"),
        (lambda extent: set(rates_without_holes(extent)), "not as set"),
        (lambda extent: (rate for rate in rates_without_holes(extent)), "not as generator"),
        (lambda extent: "1111", "whole numbers"),
        (lambda extent: rates_without_holes(extent) if extent != 35 else None, "Extent 35: your function returns nothing"),
        (lambda extent: [1, 1, extent // 4 - 1, extent // 2 - extent // 4 - 1], "no path leads"),
        (lambda extent: np.cumsum([1, *rates_without_holes(extent)]), "you return 5 rates, not 4"),
        (lambda extent: [1 + 2 * rate for rate in rates_without_holes(extent)], r"they see \d+ x \d+"),
    ],
    "taps_inside": [
        (lambda h, w, r: (1 + 2 * (h - r) / h) * (1 + 2 * (w - r) / w), "negative number"),
        (lambda h, w, r: taps_inside(h, w, r) - 1, "centre tap is missing"),
        (lambda h, w, r: taps_inside(h, w, r) / 9, "share of the nine"),
        (lambda h, w, r: 100 * taps_inside(h, w, r) / 9, "per cent"),
        (lambda h, w, r: _tap_counts(h, w, r).sum(), "sum over all positions"),
        (lambda h, w, r: _tap_counts(h, w, r), "number for each position"),
        (lambda h, w, r: _tap_counts(h, w, r).max(), "best position"),
        (lambda h, w, r: _tap_counts(h, w, r).min(), "worst position"),
        (lambda h, w, r: 9 * (_tap_counts(h, w, r) == 9).float().mean(), "only if all nine"),
        (lambda h, w, r: (1 + max(0, h - r) / h) * (1 + max(0, w - r) / w), "two outer rows"),
        (lambda h, w, r: 3 * _share(h, r), "columns are missing"),
        (lambda h, w, r: 3 * _share(w, r), "rows are missing"),
        (lambda h, w, r: _share(h, r), "three rows of taps"),
        (lambda h, w, r: _share(w, r), "three columns of taps"),
        (lambda h, w, r: _share(h, r) + _share(w, r), "not six: multiply"),
        (lambda h, w, r: _share(h, r) + _share(w, r) - 1, "corner taps are missing"),
        (lambda h, w, r: _share(h, r) ** 2, "height for both"),
        (lambda h, w, r: _share(w, r) ** 2, "width for both"),
        (lambda h, w, r: taps_inside(h, w, 2 * r), "not 2 . rate"),
        (lambda h, w, r: (1 + 2 * max(0, h - r - 1) / h) * (1 + 2 * max(0, w - r - 1) / w), "too few"),
        (lambda h, w, r: (1 + 2 * max(0, h - r + 1) / h) * (1 + 2 * max(0, w - r + 1) / w), "too many"),
        (lambda h, w, r: taps_inside(h, w, 1), "1 apart, whatever"),
        (lambda h, w, r: (1 + 2 * max(0, h - r) // h) * (1 + 2 * max(0, w - r) // w), "// rounded the shares"),
        (lambda h, w, r: (1 + 2 * (max(0, h - r) // h)) * (1 + 2 * (max(0, w - r) // w)), "always say 1"),
        (lambda h, w, r: 9, "always say 9"),
        (lambda h, w, r: round(taps_inside(h, w, r)), "to a whole number"),
        (lambda h, w, r: int(taps_inside(h, w, r)), "rounded down"),
        (lambda h, w, r: round(taps_inside(h, w, r), 1), "one decimal"),
        (lambda h, w, r: round(taps_inside(h, w, r), 2), "two decimals"),
        (lambda h, w, r: (_share(h, r), _share(w, r)), "return one number"),
        (lambda h, w, r: taps_inside(h, w, r) + 1, "Map 4 x 6, rate 1: you say 7.667, expected 6.667"),
    ],
    "image_pooling": [
        (lambda f: f, "features themselves"),
        (lambda f: f.clone(), "features themselves"),
        (lambda f: _means(f, 0, 2, 3), "^((?!And each).)*images of the batch"),
        (lambda f: _means(f, 0, 1, 2, 3), "images of the batch.* And each channel"),
        (lambda f: torch.full_like(f, f.mean()), "And each channel"),
        (lambda f: _means(f, 0), "batch alone"),
        (lambda f: _means(f, 1, 2, 3), "over the channels, too"),
        (lambda f: _means(f, 1), "channels alone"),
        (lambda f: _means(f, 1, 2), "as if the channels came last"),
        (lambda f: _means(f, 3), "Each row has"),
        (lambda f: _means(f, 2), "Each column has"),
        (lambda f: F.avg_pool2d(f, 3, stride=1, padding=1), "3x3 mean. The window"),
        (lambda f: F.avg_pool2d(f, 3, stride=1, padding=1, count_include_pad=False), "3x3 mean without the padding"),
        (lambda f: f.amax((2, 3), keepdim=True).expand(f.shape), "largest number"),
        (lambda f: F.adaptive_max_pool2d(f, 1).expand(f.shape), "largest number"),
        (lambda f: f.amin((2, 3), keepdim=True).expand(f.shape), "smallest number"),
        (lambda f: f.sum((2, 3), keepdim=True).expand(f.shape), "sum of each map"),
        (lambda f: f.mean((2, 3), keepdim=True), "expand_as"),
        (lambda f: f.mean((2, 3)), "every cell of its map has to hold it"),
        (lambda f: f.mean((2, 3)).expand(f.shape), "torch says: .*keepdim"),
        (lambda f: f.mean((2, 3)) + torch.zeros_like(f), "torch says: .*keepdim"),
        (lambda f: f - _means(f, 2, 3), "subtract"),
        (lambda f: f + _means(f, 2, 3), "add the mean"),
        (lambda f: _means(f.relu(), 2, 3), "before the mean"),
        (lambda f: _means(f, 2, 3).relu(), "Negative means"),
        (lambda f: f.mean((2, 3)).flatten().repeat(f.shape[2] * f.shape[3]).reshape(f.shape), "wrong cells"),
        (lambda f: image_pooling(f).mean(0), "shape of the features"),
        (lambda f: image_pooling(f)[:1], "shape of the features"),
        (lambda f: image_pooling(f).flip(1), "at image 0, channel 0, row 0, column 0"),
        (lambda f: image_pooling(f).round().int(), "fractions are lost"),
        (lambda f: f.copy_(image_pooling(f).clone()), "changed a tensor"),
    ],
    "same_view": [
        (lambda rates, t, n: rates, "change nothing"),
        (lambda rates, t, n: tuple(r * n // t for r in rates), "upside down"),
        (lambda rates, t, n: tuple(r * t for r in rates), "distances in input pixels"),
        (lambda rates, t, n: tuple(r + t // n for r in rates), "You add. Twice"),
        (lambda rates, t, n: tuple(r + t - n for r in rates), "difference of the strides"),
        (lambda rates, t, n: tuple(r * t**2 // n**2 for r in rates), "ratio squared"),
        (lambda rates, t, n: tuple(r * (t // n) for r in rates), "8 // 16 is rounded down"),
        (lambda rates, t, n: tuple(r * 2 for r in rates), r"8 to 16: you return \(4, 8, 12\).* larger cells smaller ones"),
        (lambda rates, t, n: tuple(r * 2 if n < t else r // 2 for r in rates), r"16 to 16: you return \(3,"),
        (lambda rates, t, n: tuple(r // 2 if n > t else r * 2 if n < t else r for r in rates), r"32 to 8: you return \(6, 12\)"),
        (lambda rates, t, n: tuple((2 * r + 1) * t // n // 2 for r in rates), r"\(3, 5, 7\). Expected \(2, 4, 6\)"),
        (_halves, "/ makes floats"),
        (lambda rates, t, n: [torch.tensor(r * t / n) for r in rates], "/ makes floats"),
        (lambda rates, t, n: tuple(r * t // n for r in rates), r"rate 1 would become 0.5.* return \(0, 1, 1\)"),
        (lambda rates, t, n: tuple(round(r * t / n) for r in rates), r"rate 1 would become 0.5.* return \(0, 1, 2\)"),
        (lambda rates, t, n: tuple(max(1, r * t // n) for r in rates), r"return \(1, 1, 1\): raise"),
        (lambda rates, t, n: tuple(-(-r * t // n) for r in rates), r"return \(1, 1, 2\): raise"),
        (_unless_whole(_halves), r"return \(0.5, 1.0, 1.5\): raise"),
        (_unless_whole(lambda *_: None), "You return None: raise ValueError"),
        (_unless_whole(lambda *_: ValueError("not whole")), "return not whole: raise"),
        (_raise_for(lambda rates: rates[0]), r"rate 5 would become 2.5.* return \(1, 2, 2\)"),
        (_raise_for(lambda rates: rates[-1]), r"rate 3 would become 1.5.* return \(1, 1, 2\)"),
        (_raise_for(sum), "rate 1 would become 0.5"),
        (_same_view_with_asserts, "not AssertionError"),
        (_raise_for_coarser, "whole ones, .* yet you raise"),
        (lambda rates, t, n: same_view(rates, t, n)[:1], "you return 1 rates"),
        (lambda rates, t, n: (r * t // n for r in rates), "not as generator"),
        (lambda rates, t, n: map(int, rates), "not as map"),
        (lambda rates, t, n: set(rates), "not as set"),
        (lambda rates, t, n: rates[0] * t // n, "not as int"),
    ],
    "potts_update": [
        (lambda u, k, q: (-u - q @ k.T).softmax(0), "repel each other"),
        (lambda u, k, q: (-u + (1 - q) @ k.T).softmax(0), "repel each other"),
        (lambda u, k, q: (u + q @ k.T).softmax(0), "unary is an energy: the likely label"),
        (lambda u, k, q: (u - q @ k.T).softmax(0), "softmax of the energies"),
        (lambda u, k, q: (u + (1 - q) @ k.T).softmax(0), "softmax of the energies"),
        (lambda u, k, q: (q @ k.T - u).softmax(1), "runs over the pixels"),
        (lambda u, k, q: (q @ k.T - u).flatten().softmax(0).reshape(q.shape), "labels and pixels together"),
        (lambda u, k, q: u - q @ k.T, "These are energies. The softmax"),
        (lambda u, k, q: u + (1 - q) @ k.T, "what unequal labels cost is in"),
        (lambda u, k, q: q @ k.T - u, "softmax over the labels is missing"),
        (lambda u, k, q: (q @ k.T - u).exp(), r"divide exp\(\.\.\.\) by"),
        (lambda u, k, q: (-u - (1 - q) @ k.T).exp(), r"divide exp\(-energy\) by"),
        (lambda u, k, q: (q @ k.T - u).log_softmax(0), "not log_softmax"),
        (lambda u, k, q: (q @ k.T).softmax(0), "unary energies are forgotten"),
        (lambda u, k, q: (-u).softmax(0), "messages are forgotten"),
        (lambda u, k, q: (q * k - u).softmax(0), r"torch says: .*Perhaps \* stands where @"),
        (lambda u, k, q: (k @ q - u).softmax(0), "torch says: .*changed places"),
        (lambda u, k, q: (k @ q.T - u).softmax(0), "torch says: .*changed places"),
        (lambda u, k, q: (k * q[:, None]).softmax(0), "one number per pair of pixels"),
        (lambda u, k, q: (q * k.sum(1) - u).softmax(0), "listens to itself only"),
        (lambda u, k, q: (q * k.diagonal() - u).softmax(0), "hears only itself"),
        (lambda u, k, q: q * (q @ k.T - u).exp() / (q * (q @ k.T - u).exp()).sum(0), "multiply by q at the end"),
        (lambda u, k, q: (q.log() + q @ k.T).softmax(0), "log q in place of -unary"),
        (lambda u, k, q: ((-u).softmax(0) @ k.T - u).softmax(0), "as if it were the first update"),
        (lambda u, k, q: (q @ k.T - (-u).exp()).softmax(0), "into a probability and subtract"),
        (lambda u, k, q: (q @ k.T + (-u).exp()).softmax(0), "into a probability and add"),
        (lambda u, k, q: ((-u).exp() + q @ k.T) / ((-u).exp() + q @ k.T).sum(0), "belong under the exp"),
        (_one_by_one, "one pixel after the other"),
        (lambda u, k, q: (q @ k.T / 2 - u).softmax(0), "halve the messages"),
        (lambda u, k, q: (q @ k.T / len(k) - u).softmax(0), "took the mean over j"),
        (lambda u, k, q: (q @ k.T / k.sum(1) - u).softmax(0), "sums of the kernel's rows"),
        (lambda u, k, q: (q @ (k - k.diagonal().diag()).T - u).softmax(0), "pixel tells itself"),
        (lambda u, k, q: _most_likely(potts_update(u, k, q)), "likeliest label as 1"),
        (lambda u, k, q: (_most_likely(q) @ k.T - u).softmax(0), "likeliest label of each neighbour"),
        (lambda u, k, q: potts_update(u, k, q).argmax(0), "fractions are lost"),
        (lambda u, k, q: potts_update(u, k, q).amax(0), "one number per pixel"),
        (lambda u, k, q: q, "q as it came"),
        (_overwritten, "changed a tensor"),
        (lambda u, k, q: potts_update(u, k, q).T, "Labels and pixels have changed places"),
        (lambda u, k, q: (k @ q.T - u.T).softmax(1), "Labels and pixels have changed places"),
        (lambda u, k, q: potts_update(u, k, q)[None], r"expected shape \(3, 5\), got \(1, 3, 5\). The result has"),
        (lambda u, k, q: (3 * q @ k.T - u).softmax(0), "3 labels, 5 pixels: at label 0, pixel 0 you have"),
    ],
    "as_penalty": [
        (_for_numbers(lambda w, c: w * np.eye(c)), "make it pay more"),
        (_for_numbers(lambda w, c: -w * (1 - np.eye(c))), "cheaper to differ"),
        (_for_numbers(lambda w, c: -np.eye(c)), "number itself is forgotten: -w"),
        (_for_numbers(lambda w, c: 1 - np.eye(c)), "number itself is forgotten: it is w"),
        (_for_numbers(lambda w, c: np.full((c, c), w)), "compat=10: all rows of your matrix are equal"),
        (_for_numbers(lambda w, c: np.zeros((c, c))), "all rows of your matrix are equal"),
        (_for_numbers(lambda w, c: -w), "That is one number: put"),
        (_for_numbers(lambda w, c: -w * np.ones(c)), "one number per label: put"),
        (_for_numbers(lambda w, c: -int(w) * np.eye(c)), "compat=2.5: at row 0, column 0 you have -2, expected -2.5"),
        (_for_numbers(lambda w, c: -w * np.eye(3)), r"compat=2.5: expected shape \(4, 4\), got \(3, 3\). M has a row"),
        (lambda compat, c: np.diag(compat) if compat.ndim == 1 else as_penalty(compat, c), "compat=10: Python says: .*treat the number as an array"),
        (lambda compat, c: as_penalty(compat, c) if len(compat) else None, "Python says: .*treat the number as an array"),
        (_for_numbers(lambda w, c: np.diag(w)), "Python says: .*treat the number as an array"),
        (_for_arrays(lambda v: -np.diag(v)), "adds an array as it is"),
        (_for_arrays(lambda v: v * (1 - np.eye(len(v)))), "price of unequal labels. It is that of equal ones"),
        (_for_arrays(lambda v: v[:, None] * (1 - np.eye(len(v)))), "price of unequal labels, row by row"),
        (_for_arrays(lambda v: np.tile(v[:, None], len(v))), "throughout: label l pays"),
        (_for_arrays(lambda v: np.tile(v, (len(v), 1))), r"array\(\[3, 1, -2\]\): all rows of your matrix are equal"),
        (_for_arrays(lambda v: v), "one number per label: put"),
        (_for_arrays(lambda v: v[0] * np.eye(len(v))), r"-2\]\): at row 1, column 1 you have 3, expected 1"),
        (_for_arrays(lambda v: None), r"array\(\[3, 1, -2\]\): your function returns nothing"),
        (_for_matrices(lambda m: m), "take the matrix as it is"),
        (_for_matrices(lambda m: m.T), "transpose the matrix"),
        (_for_matrices(lambda m: m + m.T), "Take half of it"),
        (_for_matrices(lambda m: -(m + m.T) / 2), "A matrix is added as it is"),
        (_for_matrices(lambda m: -m), "and the matrix is not made symmetric"),
        (_for_matrices(lambda m: (m + m.T) / 2 * (1 - np.eye(len(m)))), "diagonal is lost"),
        (_for_matrices(lambda m: np.diag(np.diag(m))), "Only the diagonal is left"),
        (_for_matrices(lambda m: np.maximum(m, m.T)), r"\[0.5, 7.0, 2.0\]\]\): at row 0, column 1 you have 5, expected 3.5"),
        (_for_matrices(_made_symmetric_in_place), "changed a tensor or array"),
        (_for_matrices(lambda m: None), "your function returns nothing"),
    ],
    "choose_srgb": [
        (_largest_gap(compare=lambda inside, across: across - inside), "smallest gap"),
        (_largest_gap(compare=lambda inside, across: abs(inside - across)), "gap without its sign"),
        (lambda i, a, s: np.argmax(_gaps(i, a, s)), "the place of the sigma"),
        (lambda i, a, s: max(_gaps(i, a, s)), "return the largest gap"),
        (_gaps, "a number for each candidate"),
        (lambda i, a, s: sorted(s)[-2:], r"got \(2,\). Return one of the candidates"),
        (_largest_gap(compare=lambda inside, across: inside), "always return the largest"),
        (_largest_gap(compare=lambda inside, across: inside + across), "always return the largest"),
        (_largest_gap(compare=lambda inside, across: -across), "always return the smallest"),
        (_largest_gap(lambda d, s: np.exp(-d / (2 * s**2))), ": not yet. The difference is not squared"),
        (_largest_gap(lambda d, s: np.exp(-(d**2) / (2 * s))), "sigma is not squared: 2"),
        (_largest_gap(lambda d, s: np.exp(-d / (2 * s))), "Neither the difference nor sigma"),
        (_largest_gap(lambda d, s: np.exp(-d / s)), "Neither is squared, and the 2"),
        (_largest_gap(lambda d, s: np.exp(-(d**2) / s**2)), "yet. The 2 is missing"),
        (_largest_gap(lambda d, s: np.exp(-(d**2) / (2 * s) ** 2)), "The 2 is squared"),
        (_largest_gap(lambda d, s: np.exp(d**2 / (2 * s**2))), "minus in the exponent"),
        (_largest_gap(lambda d, s: -(d**2) / (2 * s**2)), "exp is missing"),
        (_largest_gap(lambda d, s: _normal(d, s) / s / math.sqrt(2 * math.pi)), "the curve has area 1"),
        (_largest_gap(average=np.sum), "compare sums"),
        (_largest_gap(average=np.median), "compare medians"),
        (lambda i, a, s: _largest_gap()(i.mean(), a.mean(), s), "kernel of the mean difference"),
        (_largest_gap(compare=lambda inside, across: inside / across), "divide the means"),
        (lambda i, a, s: i.mean(), "mean difference inside"),
        (lambda i, a, s: a.mean(), "mean difference across"),
        (lambda i, a, s: (i.mean() + a.mean()) / 2, "middle between"),
        (lambda i, a, s: _nearest(np.median(i), s), "Picture 1: you say 4, expected 6"),
        (_squared_in_place, "changed a tensor or array"),
    ],
}  # fmt: skip

# Right answers that go another way, or come as another type.
RIGHT = {
    "receptive_field": [
        lambda layers: list(receptive_field(layers)),
        lambda layers: torch.tensor(receptive_field(layers)),
        lambda layers: (_size_from_the_back(layers), math.prod(s for _, s, _ in layers)),
    ],
    "dilated_convolution": [
        _taps(_inside),
        lambda x, kernel, r: _conv(x, kernel, padding=r, dilation=r),
        lambda x, kernel, r: dilated_convolution(x, kernel, r).numpy(),
    ],
    "rates_without_holes": [
        _rates_by_search,
        lambda extent: tuple(rates_without_holes(extent)[::-1]),
        lambda extent: np.array(rates_without_holes(extent)),
        lambda extent: torch.tensor(rates_without_holes(extent)),
        lambda extent: [1, 9, 2, 2] if extent == 29 else rates_without_holes(extent),
    ],
    "taps_inside": [
        lambda h, w, r: _tap_counts(h, w, r).mean(),
        lambda h, w, r: _tap_counts(h, w, r).mean().item(),
        lambda h, w, r: [taps_inside(w, h, r)],
    ],
    "image_pooling": [
        lambda f: F.adaptive_avg_pool2d(f, 1) + torch.zeros_like(f),
        lambda f: f.flatten(2).mean(2)[..., None, None].repeat(1, 1, *f.shape[2:]),
        lambda f: np.broadcast_to(f.numpy().mean((2, 3), keepdims=True), f.shape).copy(),
    ],
    "same_view": [
        lambda rates, t, n: list(same_view(rates, t, n)),
        lambda rates, t, n: torch.tensor(same_view(rates, t, n)),
        lambda rates, t, n: np.array(same_view(rates, t, n)),
    ],
    "potts_update": [
        _by_cost,
        lambda u, k, q: (-u - (1 - q) @ k.T).softmax(0),
        lambda u, k, q: torch.einsum("ij,lj->li", k, q).sub(u).softmax(0).numpy(),
    ],
    "as_penalty": [
        _for_numbers(lambda w, c: w * (1 - np.eye(c))),
        lambda compat, c: torch.tensor(as_penalty(compat, c)),
        _for_arrays(lambda v: [[x * (k == n) for k in range(len(v))] for n, x in enumerate(v)]),
    ],
    "choose_srgb": [
        _largest_gap(),
        lambda i, a, s: torch.tensor(s[np.argmax(_gaps(i, a, s))]),
        lambda i, a, s: [choose_srgb(i, a, s)],
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_passes(name, capsys):
    check(name, EXERCISES[name].solve)
    assert capsys.readouterr().out.startswith(f"{name}: right.")


@pytest.mark.parametrize(
    ("name", "answer"), [(name, answer) for name, answers in RIGHT.items() for answer in answers]
)
def test_other_right_answers_pass(name, answer, capsys):
    check(name, answer)
    assert capsys.readouterr().out.startswith(f"{name}: right.")


def test_a_hole_is_where_no_path_of_torch_leads(capsys):
    generator = np.random.default_rng(0)
    holes = 0
    for rates in generator.integers(1, 11, (60, 4)).tolist():
        reach = sum(rates)

        def answer(extent, rates=rates, reach=reach):
            return rates if extent == 1 + 2 * reach else rates_without_holes(extent)

        check("rates_without_holes", answer)
        line = capsys.readouterr().out
        unseen = (_paths(rates)[reach:] == 0).nonzero()[:, 0].tolist()
        holes += bool(unseen)
        expected = f"no path leads to the pixel {unseen[0]} to" if unseen else "right. No hole"
        assert expected in line
    assert 10 < holes < 50


@pytest.mark.parametrize(
    ("name", "answer", "diagnosis"),
    [(name, *case) for name, cases in WRONG.items() for case in cases],
)
def test_wrong_answers_are_named(name, answer, diagnosis, capsys):
    check(name, answer)
    line = capsys.readouterr().out
    assert line.startswith(f"{name}: not yet.")
    assert re.search(diagnosis, line), line


def test_every_exercise_rejects_at_least_three_wrong_answers():
    assert set(WRONG) == set(EXERCISES)
    assert all(len(cases) >= 3 for cases in WRONG.values())


@pytest.mark.parametrize("name", EXERCISES)
def test_an_untouched_stub_gets_a_friendly_line(name, capsys):
    def stub(*_arguments): ...

    check(name, stub)
    check(name, ...)
    assert capsys.readouterr().out.count("not tried yet") == 2


@pytest.mark.parametrize("name", EXERCISES)
def test_an_answer_that_raises_does_not_stop_the_notebook(name, capsys):
    def broken(*_arguments):
        raise KeyError("typo")

    check(name, broken)
    assert "your code raised KeyError: 'typo'" in capsys.readouterr().out


def test_an_error_that_void_did_not_cause_is_not_blamed_on_void(capsys):
    check("one_hot", lambda mask, n: torch.zeros(3) + torch.zeros(4))
    assert "your code raised RuntimeError" in capsys.readouterr().out


@pytest.mark.parametrize("name", EXERCISES)
def test_three_hints_then_the_last_again_with_the_way_to_a_solution(name, capsys):
    EXERCISES[name].hints_given = 0
    for _ in range(4):
        hint(name)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:11] for line in lines] == [f"Hint {k} of 3" for k in (1, 2, 3, 3)]
    assert len(set(lines[:3])) == 3
    assert lines[3] == f"{lines[2]} solution({name!r}) prints an answer."


@pytest.mark.parametrize("name", EXERCISES)
def test_the_printed_solution_is_the_tested_code(name, capsys):
    solution(name)
    source = capsys.readouterr().out
    assert source.startswith("def ")
    scope = {"np": np, "torch": torch, "F": F, "nn": nn}
    exec(source, scope)
    check(name, scope[EXERCISES[name].solve.__name__])
    assert capsys.readouterr().out.startswith(f"{name}: right.")


def test_unknown_names_list_the_exercises():
    with pytest.raises(ValueError, match="name must be one of share, .*'shares'"):
        check("shares", ...)


def test_output_size_knows_the_sizes_of_vgg():
    assert output_size(224, 2, 2, 0) == 112


def _street(side=24):
    """A picture of three areas with noise, and probabilities that are unsure of them."""
    generator = np.random.default_rng(0)
    areas = np.add.outer(np.arange(side) > 11, np.arange(side) > 15).astype(int)
    image = 60 + 70 * areas[..., None] + generator.normal(0, 12, (side, side, 3))
    scores = generator.normal(0, 1, (3, side, side)) + 1.5 * np.eye(3)[areas].transpose(2, 0, 1)
    return image.clip(0, 255).astype(np.uint8), torch.from_numpy(scores).softmax(0)


def test_the_update_repeated_is_the_mean_field():
    image, probabilities = _street()
    params = crf.Params(3, 10, 30, 1, 2)
    unary = -probabilities.clip(crf.CLIP).log().flatten(1)
    kernel = torch.from_numpy(crf.pairwise(image, params)).double()
    q = (-unary).softmax(0)
    for step in crf.mean_field(image, probabilities, params, 3).steps[1:]:
        q = potts_update(unary, kernel, q)
        np.testing.assert_allclose(q.reshape(step.shape), step, atol=1e-5)


@pytest.mark.parametrize(
    "compat",
    [
        2,
        1.5,
        np.float32([2, 2, 2]),
        np.float32([2, 1, -2]),
        np.float32([[0, 1, 3], [2, 0, 1], [1, 4, 0]]),
        np.float32([[-2, 1, 0], [3, 1, 2], [0, 1, -1]]),
    ],
    ids=str,
)
def test_the_penalty_is_what_pydensecrf_adds(compat):
    densecrf = pytest.importorskip("pydensecrf.densecrf")
    image, probabilities = _street()
    unary = -probabilities.log().flatten(1).numpy()
    penalty = as_penalty(compat, 3)

    def inference(compat):
        model = densecrf.DenseCRF2D(*image.shape[:2], 3)
        model.setUnaryEnergy(unary.astype(np.float32))
        model.addPairwiseGaussian(sxy=3, compat=compat)
        return np.array(model.inference(5))

    kernel = crf.pairwise(image, crf.Params(0, 1, 1, 1, 3))

    def by_hand(penalty):
        q = probabilities.flatten(1).numpy()
        for _ in range(5):
            q = torch.from_numpy(-unary - penalty @ q @ kernel).softmax(0).numpy()
        return q

    q = inference(compat)
    np.testing.assert_allclose(q, inference(penalty.astype(np.float32)), atol=1e-5)
    # The lattice of pydensecrf approximates the kernel; another sign is no approximation.
    assert abs(q - by_hand(penalty)).max() < 0.05
    assert abs(q - by_hand(-penalty)).max() > 0.3


def test_between_two_differences_sigma_has_a_formula():
    sigma = choose_srgb(np.array([10.0]), np.array([40.0]), np.arange(1, 60, 0.1))
    assert sigma == pytest.approx(math.sqrt((40**2 - 10**2) / (4 * math.log(40 / 10))), abs=0.05)
    assert f"{sigma:.1f}" == "16.4"

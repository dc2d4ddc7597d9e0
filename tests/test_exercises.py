"""Every exercise: the solution passes, each wrong answer is named, an untouched stub is met kindly."""

from __future__ import annotations

import math
import re
import statistics
from itertools import pairwise, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn

from helpers import crf, models, public, runs
from helpers.classes import CAMVID, STREETS
from helpers.datasets import SegmentationDataset
from helpers.exercises import EXERCISES, check, hint, solution
from helpers.exercises.nb01 import iou, one_hot, resize_mask
from helpers.exercises.nb02 import ceiling_mask, convolution_from_linear, output_size
from helpers.exercises.nb03 import pixel_shuffle, source_position, transposed_convolution
from helpers.exercises.nb04 import add_skip, centre_crop, unet_step
from helpers.exercises.nb05 import dilated_convolution, rates_without_holes, receptive_field
from helpers.exercises.nb06 import image_pooling, same_view, taps_inside
from helpers.exercises.nb07 import as_penalty, choose_srgb, potts_update
from helpers.exercises.nb08 import my_network, paired_interval, pareto_front
from helpers.exercises.nb09 import class_weights, shared_sequences, to_streets


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


def _student(n, share=0.975):
    return stats.t.ppf(share, n - 1)


def _half_as(wrong):
    """The right mean with the half width ``wrong(scores, others)`` of arrays."""

    def answer(scores, others):
        half = wrong(np.float64(scores), np.float64(others))
        return paired_interval(scores, others)[0], half

    return answer


def _mean_as(wrong):
    """The right half width with the mean ``wrong(differences)``."""

    def answer(scores, others):
        return wrong(np.subtract(scores, others)), paired_interval(scores, others)[1]

    return answer


def _groups(freedom):
    """Two groups of runs in place of pairs, with ``freedom(n, variance, variance)``."""

    def half(a, b):
        va, vb, n = a.var(ddof=1), b.var(ddof=1), len(a)
        return stats.t.ppf(0.975, freedom(n, va, vb)) * math.sqrt((va + vb) / n)

    return _half_as(half)


def _of_absolute(scores, others):
    return paired_interval(abs(np.subtract(scores, others)), np.zeros(len(scores)))


def _by_scipy(scores, others):
    interval = stats.ttest_rel(scores, others).confidence_interval()
    return (interval.low + interval.high) / 2, (interval.high - interval.low) / 2


def _by_torch(scores, others):
    d = torch.tensor(scores) - torch.tensor(others)
    return d.mean(), d.std() / len(d) ** 0.5 * float(_student(len(d)))


def _front(beats, order=lambda costs, front: sorted(front, key=lambda i: costs[i])):
    """The points that none beats, by ``beats(its cost, its score, my cost, my score)``."""

    def answer(costs, scores):
        points = list(zip(costs, scores, strict=True))
        return order(
            costs, [i for i, p in enumerate(points) if not any(beats(*q, *p) for q in points)]
        )

    return answer


def _sweep(better, order=lambda cost, score: cost):
    """From cheap to dear, keep each point with ``better(its score, best so far)``."""

    def answer(costs, scores):
        front, best = [], -1
        for i in sorted(range(len(costs)), key=lambda i: order(costs[i], scores[i])):
            if better(scores[i], best):
                front.append(i)
            best = max(best, scores[i])
        return front

    return answer


def _next_cheaper(costs, scores):
    order = np.argsort(costs, kind="stable")
    return [order[0], *(j for i, j in pairwise(order) if scores[j] > scores[i])]


def _by_array(costs, scores):
    c, s = np.array(costs), np.array(scores)
    beats = (c[:, None] <= c) & (s[:, None] >= s) & ((c[:, None] < c) | (s[:, None] > s))
    front = np.flatnonzero(~beats.any(0))
    return front[np.argsort(c[front], kind="stable")]


def _sorted_in_place(costs, scores):
    costs.sort()
    return pareto_front(costs, scores)


class _Net(nn.Module):
    """3x3 convolution, ReLU, 1x1 scores, at the size of the image."""

    def __init__(self, num_classes=8):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.score = nn.Conv2d(8, num_classes, 1)

    def forward(self, images):
        return self.score(self.conv(images).relu())


class _WithoutForward(nn.Module):
    pass


class _MoreInTraining(_Net):
    def forward(self, images):
        logits = super().forward(images)
        return (logits, logits) if self.training else logits


def _net(forward, **layers):
    """A builder of ``_Net`` whose logits are ``forward(net, images)``, with more `layers`."""

    def build(num_classes):
        net = _Net(num_classes)
        for name, layer in layers.items():
            setattr(net, name, layer(num_classes))
        net.forward = lambda images: forward(net, images)
        return net

    return build


def _scored(net, images):
    return _Net.forward(net, images)


def _ends_in(change):
    """A builder of ``_Net`` whose logits are changed in the end."""
    return _net(lambda net, images: change(_scored(net, images)))


def _frozen(num_classes):
    net = _Net(num_classes)
    net.conv.weight.requires_grad = False
    return net


def _made_in_forward(net, images):
    return net.score(nn.Conv2d(3, 8, 3, padding=1)(images))


def _without_layers(num_classes):
    net = nn.Identity()
    net.forward = nn.Conv2d(3, num_classes, 1).forward
    return net


def _zero_at_first(num_classes):
    net = _Net(num_classes)
    nn.init.zeros_(net.score.weight)
    nn.init.zeros_(net.score.bias)
    return net


def _also_in_a_list(num_classes):
    net = _Net(num_classes)
    net.parts = [net.conv, net.score]
    return net


def _pixels_alone(num_classes):
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, num_classes, 1))


def _sequence(name):
    return name.split("_")[0]


def _shared(key, count=lambda hits, train, val: np.mean(hits)):
    """``count(hits, train, val)`` of the val frames whose ``key(name)`` train has, too."""

    def answer(train, val):
        known = {key(name) for name in train}
        return count([key(name) in known for name in val], train, val)

    return answer


def _sets(share):
    return lambda train, val: share({*map(_sequence, train)}, {*map(_sequence, val)})


def _present(masks, num_classes):
    """Pixels and labelled pixels ``(N, num_classes)`` of the images in which each class occurs."""
    pixels = torch.stack([(masks == c).flatten(1).sum(1) for c in range(num_classes)], 1).double()
    return pixels, (pixels > 0) * (masks != 255).flatten(1).sum(1, keepdim=True)


def _frequency(masks, num_classes):
    pixels, labelled = _present(masks, num_classes)
    return pixels.sum(0) / labelled.sum(0)


def _balanced(frequency=_frequency, middle=lambda f: f[f > 0].quantile(0.5), absent=0.0):
    """Weights ``middle / frequency``, and ``absent`` for classes that never occur."""

    def answer(masks, num_classes):
        f = frequency(masks, num_classes).nan_to_num()
        return torch.where(f > 0, middle(f) / f, absent)

    return answer


def _among_all(masks, num_classes):
    return _present(masks, num_classes)[0].sum(0) / (masks != 255).sum()


def _with_void(masks, num_classes):
    pixels, _ = _present(masks, num_classes)
    return pixels.sum(0) / ((pixels > 0).sum(0) * masks[0].numel())


def _image_by_image(masks, num_classes):
    pixels, labelled = _present(masks, num_classes)
    return (pixels / labelled).nanmean(0)


def _changed(change):
    return lambda masks, num_classes: change(class_weights(masks, num_classes))


def _void_in_place(masks, num_classes):
    masks[masks == 255] = 0
    return class_weights(masks, num_classes)


def _as_median_frequencies(masks, num_classes):
    """Pixel by pixel, in plain Python."""
    hits, labelled = [0] * num_classes, [0] * num_classes
    for image in masks.tolist():
        known = [label for row in image for label in row if label != 255]
        for c in {*known}:
            hits[c] += known.count(c)
            labelled[c] += len(known)
    shares = [h / n if n else None for h, n in zip(hits, labelled, strict=True)]
    middle = statistics.median(f for f in shares if f)
    return [middle / f if f else 0 for f in shares]


_NAMES = public.CAMVID_AS_STREETS
_TABLE = {CAMVID.index(name): STREETS.index(new) for name, new in _NAMES.items()}


def _looked_up(void):
    """A table of all labels, with ``void`` for those that are none of CamVid's."""
    return torch.tensor([_TABLE.get(label, void) for label in range(256)])


def _replaced_in_turn(mask, labels):
    mask = mask.clone()
    for label in labels:
        mask[mask == label] = _TABLE[label]
    return mask


def _compared_with_the_mask(mask):
    """Replaced in turn, but each label is looked for in the mask as it came."""
    out = mask.clone()
    for label, new in _TABLE.items():
        out[mask == label] = new
    return out


def _by_equal_names(mask):
    table = torch.full((256,), 255)
    for label, name in enumerate(CAMVID):
        if name in STREETS.names:
            table[label] = STREETS.index(name)
    return table[mask]


def _inside_the_name(belongs):
    def share(train, val):
        known = {_sequence(name) for name in train}
        return np.mean([any(belongs(q, name) for q in known) for name in val])

    return share


def _taps_where(inside):
    """Mean number of taps inside, as loops count them."""

    def count(height, width, rate):
        steps = (-rate, 0, rate)
        rows, columns = (
            sum(inside(k + step, side) for k in range(side) for step in steps) / side
            for side in (height, width)
        )
        return rows * columns

    return count


def _overwrites_void(mask, label):
    known = (mask != 255).sum()
    mask[mask == 255] = 99
    return (mask == label).sum() / known


def _by_corners(mask, size):
    rows, columns = (
        torch.linspace(0, n - 1, m).round().long() for n, m in zip(mask.shape, size, strict=True)
    )
    return mask[rows][:, columns]


def _jumping(linear, channels, height, width):
    conv = nn.Conv2d(channels, linear.out_features, (height, width), stride=(height, width))
    conv.weight.data = linear.weight.data.reshape(-1, channels, height, width)
    conv.bias.data = linear.bias.data
    return conv


WRONG = {
    "share": [
        (lambda mask, label: (mask == label).mean(), "counts the void pixels"),
        (lambda mask, label: (mask == label).sum(), "number of pixels"),
        (lambda mask, label: 100 * (mask[mask != 255] == label).mean(), "per cent"),
        (lambda mask, label: (mask[mask != 255] == 2).mean(), "use the argument label"),
        (lambda mask, label: mask == label, "array of shape"),
        (lambda mask, label: ((mask == label) | (mask == 255)).mean(), "as if they had the label"),
        (lambda mask, label: 100 * (mask == label).mean(), "per cent, and void"),
        (_overwrites_void, "changed the mask"),
    ],
    "blend": [
        (lambda p, c, o: o * p + (1 - o) * c, "swapped"),
        (lambda p, c, o: p + o * c, "too bright"),
        (lambda p, c, o: np.add(p * (1 - o), o * c, out=p), "overwrote"),
        (lambda p, c, o: (p + c) / 2, "plain mean"),
        (lambda p, c, o: ((1 - o) * p + o * c).mean(-1), "keep the shape"),
        (lambda p, c, o: np.add(p * (1 - o), o * c, out=c), "overwrote colors"),
        (lambda p, c, o: 0.75 * p + 0.25 * c, "At 0 only the picture"),
        (lambda p, c, o: 255 * ((1 - o) * p + o * c), "no factor of 255"),
    ],
    "one_hot": [
        (lambda m, n: one_hot(m, n).permute(1, 2, 0), "class axis is last"),
        (lambda m, n: one_hot(torch.where(m == 255, 0, m), n), "void pixel became a class"),
        (lambda m, n: F.one_hot(m, n).permute(2, 0, 1), "void pixel .* broke it"),
        (lambda m, n: one_hot(m, n - 1), "Expected shape"),
        (lambda m, n: one_hot(m, 4), "use the argument"),
        (lambda m, n: 1 - one_hot(m, n), "void pixel became a class"),
        (lambda m, n: one_hot(m, n).flip(0), "At .channel, row, column"),
        (lambda m, n: list(one_hot(m, n)), "torch.stack"),
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
        (lambda m: np.diag(m) / m.sum(), "divide by all pixels"),
        (lambda m: np.diag(m) // (m.sum(0) + m.sum(1) - np.diag(m)), "rounds down"),
    ],
    "resize_mask": [
        (lambda m, s: _interpolated(m, s, "bilinear").round().long(), "averaging invented"),
        (lambda m, s: resize_mask(m, s[::-1]), "swapped"),
        (lambda m, s: resize_mask(m, s).float(), "floats"),
        (lambda m, s: _interpolated(m, s, "nearest").roll(1, 1).long(), "do not carry the label"),
        (lambda m, s: _interpolated(m, s, "nearest").long(), "nearest-exact"),
        (_by_corners, "changes at every pixel"),
        (lambda m, s: F.interpolate(m[None, None], s)[0, 0], "wants floats"),
        (lambda m, s: resize_mask(m, s)[None, None], r"take \[0, 0\]"),
        (lambda m, s: m, "Expected shape"),
    ],
    "output_size": [
        (lambda n, k, s, p: (n + 2 * p - k) // s, "starting position"),
        (lambda n, k, s, p: (n + p - k) // s + 1, "both sides"),
        (lambda n, k, s, p: (n + 2 * p - k) / s + 1, "round down"),
        (lambda n, k, s, p: n // s, "torch says"),
        (lambda n, k, s, p: (n - k) // s + 1, "padding is missing"),
        (lambda n, k, s, p: -(-(n + 2 * p - k) // s) + 1, "not taken: round down"),
        (lambda n, k, s, p: n + 2 * p - k + 1, "moves `stride` places"),
    ],
    "convolution_from_linear": [
        (_channels_last, "wrong places"),
        (_without_bias, "bias is missing"),
        (_random_bias, "weights are right. The bias"),
        (lambda linear, c, h, w: nn.Conv2d(c, linear.out_features, (h, w)), "outputs differ"),
        (lambda linear, c, h, w: nn.Conv2d(c, linear.out_features, 3), "weight should be"),
        (lambda linear, c, h, w: nn.Conv2d(c, linear.out_features, (h, w), padding=1), "no padding"),
        (lambda linear, c, h, w: linear, "Return an nn.Conv2d"),
        (_jumping, "jumps by its own size"),
    ],
    "ceiling_mask": [
        (lambda m, s, n: F.interpolate(_shares(m, s, n).argmax(1, True).float(), scale_factor=s)[0, 0].long(), "whole blocks"),
        (lambda m, s, n: _up(_shares(m, s, n), s, corners=True)[0].argmax(0), "align_corners"),
        (lambda m, s, n: m, "mask itself"),
        (lambda m, s, n: ceiling_mask(m, s, n)[None], "one mask"),
        (lambda m, s, n: _shares(m, s, n)[0].argmax(0), "Upsample before you return"),
        (lambda m, s, n: _up(F.max_pool2d(F.one_hot(m, n).permute(2, 0, 1)[None].float(), s), s)[0].argmax(0), "Max pooling"),
        (lambda m, s, n: ceiling_mask(m.flip(0), s, n), "pixels differ"),
        (lambda m, s, n: _up(F.avg_pool2d(m[None, None].float(), s), s)[0, 0].round().long(), "mean of two names"),
        (lambda m, s, n: _up(F.one_hot(m, n).permute(2, 0, 1)[None].float()[..., ::s, ::s], s)[0].argmax(0), "one pixel of each block"),
        (lambda m, s, n: F.interpolate(F.one_hot(m, n).permute(2, 0, 1)[None], scale_factor=s, mode="bilinear"), "averages are floats"),
        (lambda m, s, n: F.avg_pool2d(F.one_hot(m, n)[None].float(), s), "classes stand last"),
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
        (_points_as(lambda i, n, m: i * (n - 1) / m), "subtracted 1 in the input only"),
        (_points_as(lambda i, n, m: i * n / (m - 1)), "subtracted 1 in the output only"),
        (_points_as(lambda i, n, m: round(source_position(i, n, m, True))), "True you rounded. The place"),
        (_points_as(lambda i, n, m: i * (n - 0.5) / m), "align_corners=True, 6 to 9 pixels: at column 1"),
        (_areas_as(lambda i, n, m: (i - 0.5) * n / m + 0.5), "signs of both halves"),
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
        (lambda x, r: _split_channels(x, r, (0, 4, 1, 3, 2)), "W and H have changed places"),
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
        (lambda c, f, layer: (_grow(c, f) + layer(f)) / 2, "took the mean"),
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
        (lambda f, h, w: F.interpolate(f, size=(h, w), mode="bilinear"), "You resized"),
        (lambda f, h, w: F.interpolate(f, size=(h, w)), "You resized.*By nearest"),
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
        (lambda layers: receptive_field([(k, d, s) for k, s, d in layers]), "swapped the last two"),
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
        (_taps_where(lambda at, side: 0 <= at <= side), "`width` are outside: 0 <= row"),
        (_taps_where(lambda at, side: 0 < at < side), "Row 0 and column 0 are inside"),
        (lambda h, w, r: 9 * max(0, h - r) / h * max(0, w - r) / w, "by nine. The centre"),
        (lambda h, w, r: 9 * (h - r) / h * (w - r) / w, "by nine, and a rate"),
        (lambda h, w, r: 1 + 4 * max(0, h - r) / h + 4 * max(0, w - r) / w, "corner tap needs room along both"),
        (lambda h, w, r: F.conv2d(torch.ones(1, 1, h, w), torch.ones(1, 1, 3, 3), padding=1, dilation=r).mean(), "torch says: .*With padding=rate"),
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
        (lambda u, k, q: (-u - (1 - q)).softmax(0), "kernel is forgotten"),
        (lambda u, k, q: (q - (1 - q) @ k).softmax(0), "q stands where"),
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
        (_for_arrays(lambda v: -np.diag(v)), "adds a vector as it is"),
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
        (lambda i, a, s: (i.mean() + a.mean()) / 2, "middle between both means"),
        (lambda i, a, s: (np.median(i) + np.median(a)) / 2, "middle between both medians"),
        (_largest_gap(lambda d, s: np.exp(-(d**2) / 2 * s**2)), "multiplies by sigma"),
        (lambda i, a, s: s[-1], "last candidate"),
        (lambda i, a, s: _nearest(np.median(i), s), "Picture 1: you say 4, expected 6"),
        (_squared_in_place, "changed a tensor or array"),
    ],
    "paired_interval": [
        (lambda a, b: paired_interval(b, a), "sign is wrong"),
        (_of_absolute, "dropped the signs of the differences"),
        (_mean_as(lambda d: abs(d.mean())), "dropped the sign of the mean"),
        (_mean_as(np.median), "median of the differences"),
        (_mean_as(np.sum), "sum of the differences"),
        (lambda a, b: (np.mean(a), paired_interval(a, b)[1]), "the mean of scores"),
        (_mean_as(lambda d: 100 * d.mean()), r"Mean for scores \[0.58, .* you say 3.8, expected 0.038"),
        (lambda a, b: paired_interval(a, b)[::-1], "two are swapped"),
        (lambda a, b: stats.ttest_rel(a, b).confidence_interval(), "ends of an interval"),
        (lambda a, b: stats.ttest_ind(a, b).confidence_interval(), "ends of an interval"),
        (_groups(lambda n, va, vb: 2 * n - 2), "two separate groups.* not 2n - 2"),
        (_groups(lambda n, va, vb: (n - 1) * (va + vb) ** 2 / (va**2 + vb**2)), "two separate groups.* Welch"),
        (_groups(lambda n, va, vb: n - 1), "two separate groups.*differences.$"),
        (_groups(lambda n, va, vb: math.inf), "many runs.* two separate groups"),
        (lambda a, b: (np.mean(a) - np.mean(b), sum(_student(len(a)) * stats.sem(x) for x in (a, b))), "add the half widths of both"),
        (_half_as(lambda a, b: 1.96 * stats.sem(a - b)), "yet. 1.96 is the factor.*n - 1..$"),
        (_half_as(lambda a, b: stats.norm.ppf(0.975) * stats.sem(a - b)), "yet. Your factor is that of the normal curve.*n - 1..$"),
        (_half_as(lambda a, b: 2.78 * stats.sem(a - b)), "yet. 2.78 is the factor of five"),
        (_half_as(lambda a, b: _student(len(a), 0.025) * stats.sem(a - b)), "lower end, which is negative"),
        (_half_as(lambda a, b: _student(len(a)) * (a - b).var(ddof=1) / len(a) ** 0.5), "That is the variance"),
        (_half_as(lambda a, b: _student(len(a)) * (a - b).std(ddof=1) / (len(a) - 1) ** 0.5), "n - 1 is in ddof=1 already"),
        (_half_as(lambda a, b: 2 * stats.sem(a - b)), "yet. 2 is a rule of thumb.*n - 1..$"),
        (_half_as(lambda a, b: stats.t.ppf(0.975, len(a)) * stats.sem(a - b)), "yet. One degree of freedom.*, not n.$"),
        (_half_as(lambda a, b: _student(len(a), 0.95) * stats.sem(a - b)), "yet. The quantile 0.95 .*take 0.975.$"),
        (_half_as(lambda a, b: stats.sem(a - b)), "yet. Student's factor is missing: [^ ]*ppf.0.975, n - 1..$"),
        (_half_as(lambda a, b: _student(len(a)) * stats.sem(a - b, ddof=0)), "yet. Your standard deviation divides by n, .*ddof=1.$"),
        (_half_as(lambda a, b: _student(len(a)) * (a - b).std(ddof=1)), "yet. A mean of n is less uncertain.*by sqrt.n..$"),
        (_half_as(lambda a, b: _student(len(a)) * (a - b).std(ddof=1) / len(a)), "yet. Divide the standard deviation by sqrt.n., not by n.$"),
        (_half_as(lambda a, b: 2 * _student(len(a)) * stats.sem(a - b)), "yet. That is the whole width.*half of it.$"),
        (_half_as(lambda a, b: (a - b).std(ddof=1)), "factor is missing.* A mean of n is less"),
        (_half_as(lambda a, b: 1.96 * (a - b).std() / math.sqrt(len(a))), "1.96 is .*ddof=1"),
        (_half_as(lambda a, b: 2 * 1.96 * stats.sem(a - b)), "1.96 is .*whole width"),
        (_half_as(lambda a, b: 1.96 * (a - b).std()), r"Half width for scores \[0.58, .*you say 0.06"),
        (_half_as(lambda a, b: _of_absolute(a, b)[1]), "without their signs"),
        (_half_as(lambda a, b: _student(len(a)) * stats.sem(a)), "spread of scores"),
        (_half_as(lambda a, b: _student(len(a)) * stats.sem(b)), "spread of others"),
        (_half_as(lambda a, b: 3 * stats.sem(a - b)), r"Half width for scores \[0.58, .*you say 0.05"),
        (lambda a, b: paired_interval(a, b)[0], "That is one number. Return two"),
        (lambda a, b: np.subtract(a, b), r"got \(5,\). Return two"),
        (lambda a, b: a - b, "subtracts no lists"),
    ],
    "pareto_front": [
        (_front(lambda c, s, d, t: c >= d and s >= t and (c > d or s > t)), "dear point beats a cheap one"),
        (_front(lambda c, s, d, t: c <= d and s <= t and (c < d or s < t)), "low score beats a high one"),
        (_front(lambda c, s, d, t: c >= d and s <= t and (c > d or s < t)), "look from the wrong side"),
        (_front(lambda c, s, d, t: c < d and s > t), "only if another one is cheaper and better"),
        (_sweep(lambda score, best: score >= best), "only if another one is cheaper and better"),
        (_front(lambda c, s, d, t: c < d and s >= t), "compare costs with <="),
        (_front(lambda c, s, d, t: c <= d and s > t), "compare scores with >="),
        (_sweep(lambda score, best: score >= best, lambda cost, score: (cost, -score)), "compare scores with >="),
        (_front(lambda c, s, d, t: c < d or s > t), "cheaper or better"),
        (_front(lambda c, s, d, t: c <= d and s >= t), "front is empty"),
        (lambda c, s: [i for i in pareto_front(c, s) if [*zip(c, s, strict=True)].count((c[i], s[i])) == 1], "Doubles throw each other out"),
        (_sweep(lambda score, best: score > best, lambda cost, score: (cost, -score)), "point 6 is missing, yet it is as good as its double"),
        (_sweep(lambda score, best: score > best), r"Costs \[2, 2.* point 0 is on your front, yet point 1 costs no more"),
        (_next_cheaper, "only with the next cheaper"),
        (lambda c, s: [c[i] for i in pareto_front(c, s)], "You return costs"),
        (lambda c, s: [s[i] for i in pareto_front(c, s)], "You return scores"),
        (lambda c, s: [(c[i], s[i]) for i in pareto_front(c, s)], "These are pairs"),
        (lambda c, s: np.isin(range(len(c)), pareto_front(c, s)), "0 and 1 for each point"),
        (lambda c, s: [i in pareto_front(c, s) for i in range(len(c))], "0 and 1 for each point"),
        (_front(lambda c, s, d, t: c <= d and s >= t and (c, s) != (d, t), lambda costs, front: front), "The right points, but .* keep the order of the lists"),
        (lambda c, s: pareto_front(c, s)[::-1], r"order of costs \[8, 5, 3, 1\]\. Sort them"),
        (lambda c, s: [i + 1 for i in pareto_front(c, s)], "count the points from 1"),
        (lambda c, s: pareto_front(*zip(*sorted(zip(c, s, strict=True)), strict=True)), "places in the sorted lists"),
        (lambda c, s: [np.argmax(s)], "only the point with the best score"),
        (lambda c, s: [np.argmin(c)], "only the cheapest"),
        (lambda c, s: np.argmax(s), "one number. Return a list"),
        (lambda c, s: np.argsort(c), "return all points"),
        (lambda c, s: pareto_front(c, s)[:2], "point 0 is missing, yet none beats it"),
        (lambda c, s: pareto_front(c, s) * 2, r"return \[1.0, 3.0, .* and not different indices from 0 to 7"),
        (lambda c, s: [len(c)], "and not different indices"),
        (lambda c, s: {*pareto_front(c, s)}, "no tensor of the set"),
        (_sorted_in_place, "changed a list"),
    ],
    "my_network": [
        (lambda n: _Net, "return the class _Net.* _Net"),
        (lambda n: torch.zeros(2, n, 96, 128), "not a Tensor"),
        (lambda n: _Net(n).forward, "not a method"),
        (lambda n: [nn.Conv2d(3, n, 1)], "not a list"),
        (lambda n: _Net(), r"3 classes, .*expected shape \(2, 3, 96, 128\), got \(2, 8, .* You always give 8"),
        (lambda n: _Net(n + 1), "One class too many"),
        (_ends_in(lambda x: x.softmax(1)), "Leave the softmax out"),
        (_ends_in(lambda x: x.relu()), "Leave out the last ReLU"),
        (_ends_in(lambda x: x.sigmoid()), "last sigmoid or softmax"),
        (_ends_in(lambda x: x.softmax(-1)), "last sigmoid or softmax"),
        (_ends_in(lambda x: x.argmax(1)), "These are labels"),
        (_ends_in(lambda x: x.argmax(1, keepdim=True)), "These are labels"),
        (_ends_in(lambda x: x.mean((2, 3))), "one answer per image"),
        (_ends_in(lambda x: x.permute(0, 2, 3, 1)), "class axis is last"),
        (_ends_in(lambda x: x[0]), "batch axis is lost"),
        (_ends_in(lambda x: x.squeeze()), r"\(1, 3, 64, 96\).* batch axis is lost"),
        (_ends_in(lambda x: F.max_pool2d(x, 2)), r"got \(2, 8, 48, 64\).*undo every stride"),
        (lambda n: nn.Conv2d(3, n, 3), r"got \(2, 8, 94, 126\).*pad convolutions"),
        (_ends_in(lambda x: {"out": x}), "gives a dict. Return the logits alone"),
        (lambda n: _MoreInTraining(n).eval(), r"\(2, 3, 96, 128\): it gives a tuple"),
        (_ends_in(lambda x: (x * 9).long()), "Logits are floats, yours are torch.int64"),
        (_ends_in(lambda x: x / 0), "inf or nan"),
        (_ends_in(lambda x: x.detach()), "No gradient reaches conv.weight"),
        (_net(lambda net, x: net.score(net.conv(x).relu().detach())), "No gradient reaches conv.weight"),
        (_net(_scored, extra=lambda n: nn.Conv2d(3, n, 1)), "No gradient reaches extra.weight: forward does not use it"),
        (_frozen, "conv.weight is frozen"),
        (lambda n: nn.Upsample(scale_factor=1), r"got \(2, 3, 96, 128\)"),
        (_net(_scored, layers=lambda n: [nn.Conv2d(8, 8, 1)]), "plain list nobody finds the layers of layers"),
        (_net(_scored, layers=lambda n: (nn.ReLU(), nn.Conv2d(8, 8, 1))), "plain tuple nobody finds"),
        (_without_layers, "has no parameters"),
        (_net(_made_in_forward, conv=lambda n: None), "In eval the same image gets other logits"),
        (_ends_in(F.dropout), "In eval the same image gets other logits"),
        (_net(lambda net, x: _scored(net, x.sub_(0.5))), "changes the images"),
        (lambda n: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(16, n, 1)), "forward raised RuntimeError: .*16, 1, 1"),
        (lambda n: _WithoutForward(), "forward raised NotImplementedError: "),
        (lambda n: nn.Sequential(nn.Conv2d(3, n, 1), nn.Flatten(2), nn.Unflatten(2, (96, 128))), r"\(1, 3, 64, 96\): forward raised RuntimeError"),
    ],
    "shared_sequences": [
        (_shared(str), "whole names, with or without"),
        (_shared(lambda name: name.split(".")[0]), "whole names, with or without"),
        (_sets(lambda known, asked: len(known & asked) / len(asked)), "share of the sequences. Count frames: a long"),
        (_sets(lambda known, asked: len(known & asked) / len(known)), "share of the sequences in train"),
        (_sets(lambda known, asked: len(known & asked) / len(known | asked)), "share of all sequences"),
        (_sets(lambda known, asked: len(known & asked)), "You count sequences"),
        (_shared(_sequence, lambda hits, train, val: sum(hits) / len(train)), "by the number of train frames"),
        (lambda train, val: shared_sequences(val, train), "Train and val are swapped"),
        (_shared(_sequence, lambda hits, train, val: sum(hits) / len(train + val)), "divide by all frames"),
        (_shared(_sequence, lambda hits, train, val: 100 * np.mean(hits)), "per cent"),
        (_shared(_sequence, lambda hits, train, val: sum(hits)), "the number of frames. Divide"),
        (_shared(_sequence, lambda hits, train, val: 1 - np.mean(hits)), "whose sequence is new"),
        (_shared(lambda name: name.split("_")[1]), "after the underscore"),
        (_shared(lambda name: re.match(r"\d*", name)[0]), "digits at the beginning only"),
        (_shared(lambda name: name[:4]), "digits at the beginning only"),
        (_shared(lambda name: re.sub(r"\D", "", _sequence(name))), "digits of the sequence only"),
        (_shared(lambda name: name[:6]), "differ in length: cut at the underscore"),
        (_shared(_sequence, lambda hits, train, val: any(hits)), "whether any frame"),
        (_inside_the_name(lambda q, name: q in name), "anywhere in the name"),
        (_inside_the_name(lambda q, name: name.startswith(q)), "begin with a sequence"),
        (_shared(_sequence, lambda hits, train, val: round(np.mean(hits), 2)), "rounded the share"),
        (_shared(_sequence, lambda hits, train, val: all(hits)), "whether all frames"),
        (_shared(_sequence, lambda hits, train, val: sum(hits) // len(val)), "whether all frames are shared, or // rounded"),
        (_shared(_sequence, lambda hits, train, val: hits), "a yes or no for each frame"),
        (lambda train, val: {*map(_sequence, val)}, "no tensor of the set"),
        (lambda train, val: (0.5, 0.5), r"got \(2,\). Return one number"),
        (lambda train, val: shared_sequences(train, val) / 2, "Two of three sequences shared: you say 0.2857, expected 0.5714"),
    ],
    "class_weights": [
        (_balanced(_among_all), "pixels of all images. Only those"),
        (_balanced(_with_void), "counted as labelled. Leave"),
        (_balanced(lambda m, n: _present(m, n)[0].sum(0) / m.numel()), "pixels of all images. Only those"),
        (_balanced(lambda m, n: _present(m, n)[0].sum(0) / m.numel(), lambda f: 1), "all pixels there are.* plain 1 / frequency"),
        (_balanced(_image_by_image), "average the shares of single images"),
        (_balanced(middle=lambda f: f[f > 0].mean()), "yet. That is the mean frequency over each"),
        (_balanced(middle=lambda f: f.median()), "pull the median down"),
        (_balanced(middle=lambda f: f.mean()), "yet. That is the mean frequency over each"),
        (_balanced(middle=lambda f: 1), "yet. The median is missing: you have plain 1"),
        (_balanced(middle=lambda f: f[f > 0].median()), "lower of two middle values"),
        (_balanced(_among_all, lambda f: f[f > 0].mean()), "pixels of all images.* mean frequency over each"),
        (_balanced(_among_all, lambda f: 1), "pixels of all images.* plain 1 / frequency"),
        (_changed(lambda w: torch.where(w > 0, 1 / w, 0)), "upside down"),
        (lambda m, n: _frequency(m, n).nan_to_num(), "These are the frequencies"),
        (_changed(lambda w: w / w.sum()), "add up to 1"),
        (_changed(lambda w: w / w[w > 0].mean()), "have mean 1"),
        (_balanced(absent=math.inf), "classes 1 and 4 of 7: you give a class that never occurs the weight inf"),
        (_balanced(absent=math.nan), "never occurs the weight nan"),
        (_balanced(absent=1.0), "never occurs the weight 1. There is nothing"),
        (_balanced(lambda m, n: _frequency(m, n).nan_to_num().clamp(1e-8), lambda f: f.median()), "zeros of classes that never occur"),
        (_balanced(lambda m, n: _frequency(m, n).nan_to_num().clamp(1e-8), lambda f: f[f > 1e-8].median()), "classes 1 and 4 of 7: you give a class that never occurs the weight 3.33e"),
        (lambda m, n: _frequency(m, n).median() / _frequency(m, n), "classes 1 and 4 of 7: a class that occurs has weight inf or nan"),
        (lambda m, n: torch.bincount(m.flatten()) / m.numel(), "Void .255. is counted as a class"),
        (lambda m, n: F.one_hot(m, n).sum((0, 1, 2)), "void .255. broke it"),
        (lambda m, n: torch.zeros(n)[m].sum(), "void .255. broke it"),
        (lambda m, n: class_weights(m, n)[class_weights(m, n) > 0], "Classes that never occur have a weight, too"),
        (lambda m, n: class_weights(m, n).sum(), "That is one number"),
        (lambda m, n: class_weights(m, 5), r"expected shape \(7,\), got \(5,\)"),
        (lambda m, n: class_weights(m, n)[None], r"got \(1, 5\). There is one weight per class"),
        (_changed(lambda w: w.sqrt()), "3 masks of 5 classes: at class 0 you have"),
        (_void_in_place, "changed the mask"),
    ],
    "to_streets": [
        (lambda m: _replaced_in_turn(m, range(11)), "2 becomes 7, then every 7 becomes 1"),
        (lambda m: _replaced_in_turn(m, range(10, -1, -1)), "10 becomes 6, then every 6 becomes 7"),
        (lambda m: _looked_up(0)[m], r"void .255. became 0 .sky"),
        (lambda m: _looked_up(9)[m], r"void .255. became 9 .no class"),
        (lambda m: _looked_up(255)[:11][m], "void .255. broke it"),
        (lambda m: _looked_up(255)[m.clamp(max=10)], "void .255. became 6 .person"),
        (lambda m: torch.tensor([[STREETS.index(_NAMES[CAMVID[k]]) for k in row] for row in m]), "void .255. broke it"),
        (lambda m: torch.tensor([[_TABLE[k] for k in row] for row in m.tolist()]), "void .255. broke it: 255"),
        (lambda m: to_streets(m).float(), "yours are torch.float32"),
        (lambda m: to_streets(m).to(torch.uint8), "yours are torch.uint8"),
        (lambda m: to_streets(m).numpy(), "not a ndarray"),
        (lambda m: to_streets(m).flatten(), r"expected shape \(3, 4\), got \(12,\)"),
        (lambda m: m, "go by position"),
        (lambda m: torch.where(m < 255, m.clamp(max=7), m), "go by position"),
        (lambda m: torch.where(m < 8, m, 255), "go by position"),
        (lambda m: torch.where(m < 255, m % 8, m), "go by position"),
        (_by_equal_names, "Only names that both sets have"),
        (lambda m: m.apply_(lambda k: _TABLE.get(k, 255)), "changed the mask"),
        (lambda m: torch.where(m == 6, 255, to_streets(m)), r"6 .sign. becomes 255 .no class., expected 7 .pole"),
        (lambda m: torch.where(m == 10, 5, to_streets(m)), r"10 .bicyclist. becomes 5 .vehicle., expected 6 .person"),
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
    "paired_interval": [
        _by_scipy,
        _by_torch,
        _half_as(lambda a, b: _student(len(a)) * (a - b).std() / math.sqrt(len(a) - 1)),
        lambda a, b: np.array(paired_interval(a, b)),
    ],
    "pareto_front": [
        _by_array,
        lambda c, s: torch.tensor(pareto_front(c, s)),
        lambda c, s: tuple(sorted(pareto_front(c, s), key=lambda i: (s[i], -i))),
    ],
    "my_network": [
        _Net,
        lambda n: my_network(n).eval(),
        _pixels_alone,
        _zero_at_first,
        _also_in_a_list,
        _ends_in(lambda x: x.log_softmax(1)),
        _net(lambda net, x: _scored(net, x - 0.5)),
        lambda n: nn.Sequential(_Net(n), nn.Dropout2d()),
    ],
    "shared_sequences": [
        lambda train, val: torch.tensor([_sequence(v) in map(_sequence, train) for v in val]).float().mean(),
        lambda train, val: [shared_sequences(train, val)],
        _shared(lambda name: name.rpartition("_")[0]),
    ],
    "class_weights": [
        _as_median_frequencies,
        _balanced(),
        lambda m, n: class_weights(m, n).numpy(),
        public.class_weights,
    ],
    "to_streets": [
        lambda m: m.clone().apply_(lambda k: _TABLE.get(k, 255)),
        lambda m: _looked_up(255)[m],
        _compared_with_the_mask,
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


def test_a_type_error_that_lists_did_not_cause_is_not_blamed_on_lists(capsys):
    check("paired_interval", lambda scores, others: paired_interval(scores))
    assert "your code raised TypeError" in capsys.readouterr().out


def test_an_error_that_void_did_not_cause_is_not_blamed_on_void(capsys):
    check("one_hot", lambda mask, n: torch.zeros(3) + torch.zeros(4))
    check("class_weights", lambda masks, n: torch.zeros(3) + torch.zeros(4))
    check("to_streets", lambda mask: torch.zeros(3) + torch.zeros(4))
    assert capsys.readouterr().out.count("your code raised RuntimeError") == 3


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
    scope = {
        "np": np,
        "torch": torch,
        "F": F,
        "nn": nn,
        "stats": stats,
        "CAMVID": CAMVID,
        "STREETS": STREETS,
        "CAMVID_AS_STREETS": public.CAMVID_AS_STREETS,
    }
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


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_the_paired_interval_is_the_one_of_the_studies(n):
    scores, others = np.random.default_rng(n).normal(0.6, 0.1, (2, n)).tolist()
    assert paired_interval(scores, others) == pytest.approx(runs.verdict(scores, others)[:2])


def test_the_paired_interval_holds_the_true_difference_in_95_of_100_studies():
    generator = np.random.default_rng(0)
    luck = generator.normal(0, 0.3, (4000, 1, 3))
    scores, others = (luck + generator.normal(0, 0.1, (4000, 2, 3))).transpose(1, 0, 2) + 0.5
    intervals = [paired_interval(*pair) for pair in zip(scores + 0.02, others, strict=True)]
    held = np.mean([abs(mean - 0.02) <= half for mean, half in intervals])
    assert held == pytest.approx(0.95, abs=0.012)  # 3.5 standard errors


def test_the_pareto_front_of_random_points():
    generator = np.random.default_rng(0)
    for _ in range(50):
        costs, scores = generator.integers(1, 6, (2, 9)).tolist()
        front = pareto_front(costs, scores)
        assert sorted(front) == sorted(_by_array(costs, scores))
        along = [(costs[i], scores[i]) for i in front]
        for (cost, score), (dearer, better) in pairwise(along):
            assert (dearer, better) == (cost, score) or (dearer > cost and better > score)


@pytest.mark.parametrize("name", ["colour", "fcn32s", "unet", "stack_aspp"])
def test_networks_of_the_course_pass_as_ones_own(name, capsys):
    check("my_network", lambda num_classes: models.build(name, num_classes))
    line = capsys.readouterr().out
    count = models.count_parameters(models.build(name, 3))
    assert line.startswith(f"my_network: right. {count:,} parameters for 3 classes.")
    assert ("single pixels only" in line) == (name == "colour")


def test_logits_that_start_at_zero_are_not_said_to_see_single_pixels(capsys):
    check("my_network", _zero_at_first)
    assert "single pixels" not in capsys.readouterr().out


def test_the_check_of_a_network_leaves_the_random_numbers_as_they_were():
    state = torch.get_rng_state()
    check("my_network", _Net)
    assert torch.equal(torch.get_rng_state(), state)


def _random_masks(num_classes, *shape):
    masks = torch.from_numpy(np.random.default_rng(0).integers(0, num_classes + 1, shape))
    return torch.where(masks == num_classes, 255, masks)


@pytest.mark.parametrize("num_classes", [2, 5, 12])
def test_the_class_weights_are_those_of_the_helpers(num_classes):
    masks = _random_masks(num_classes, 3, 2, 3)
    weights = class_weights(masks, num_classes)
    assert torch.equal(weights > 0, torch.isin(torch.arange(num_classes), masks))
    torch.testing.assert_close(weights, public.class_weights(masks, num_classes))


def test_to_streets_does_what_the_helpers_do_to_a_data_set():
    masks = _random_masks(len(CAMVID), 2, 8, 9)
    images, labels = np.zeros((2, 3, 8, 9), np.uint8), masks.to(torch.uint8).numpy()
    camvid = SegmentationDataset("camvid", "val", CAMVID, images, labels)
    streets = public.as_streets(camvid)
    for mask, (_, want) in zip(masks, streets, strict=True):
        assert torch.equal(to_streets(mask), want)

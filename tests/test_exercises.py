"""Every exercise: the solution passes, each wrong answer is named, an untouched stub is met kindly."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.exercises import EXERCISES, check, hint, solution
from helpers.exercises.nb01 import iou, one_hot, resize_mask
from helpers.exercises.nb02 import ceiling_mask, convolution_from_linear, output_size
from helpers.exercises.nb03 import pixel_shuffle, source_position, transposed_convolution
from helpers.exercises.nb04 import add_skip, centre_crop, unet_step


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
}  # fmt: skip


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_passes(name, capsys):
    check(name, EXERCISES[name].solve)
    assert capsys.readouterr().out.startswith(f"{name}: right.")


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

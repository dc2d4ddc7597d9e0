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
def test_three_hints_then_the_last_again(name, capsys):
    EXERCISES[name].hints_given = 0
    for _ in range(4):
        hint(name)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:11] for line in lines] == [f"Hint {k} of 3" for k in (1, 2, 3, 3)]
    assert len(set(lines)) == 3


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

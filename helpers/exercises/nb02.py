"""Exercises of notebook 02: sizes of maps, a linear layer as a convolution, the stride ceiling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from helpers.exercises.core import Mistake, exercise, run


def output_size(size, kernel, stride, padding):
    return (size + 2 * padding - kernel) // stride + 1


@exercise(
    "output_size",
    (
        "Put the kernel at the left end of the padded row. How far can its left edge still move?",
        "The padded row has size + 2 * padding numbers; the kernel covers `kernel` of them at once.",
        "The left edge moves (size + 2 * padding - kernel) places in steps of `stride`, rounded down, plus the start.",
    ),
    output_size,
)
def check_output_size(answer) -> str:
    # Unpadded first: there, a forgotten start cannot be taken for forgotten padding.
    cases = [
        (224, 2, 2, 0),
        (5, 5, 1, 0),
        (224, 3, 1, 1),
        (7, 3, 2, 1),
        (8, 3, 2, 1),
        (96, 7, 4, 0),
    ]
    for size, kernel, stride, padding in cases:
        got = run(answer, size, kernel, stride, padding)
        row = torch.zeros(1, 1, size)
        want = F.conv1d(row, torch.zeros(1, 1, kernel), stride=stride, padding=padding).shape[-1]
        case = f"size {size}, kernel {kernel}, stride {stride}, padding {padding}"
        if isinstance(got, float) and not got.is_integer():
            raise Mistake(
                f"For {case} you say {got:g}. Half a position does not exist: round down with //."
            )
        if got == want:
            continue
        if padding and got == (size + padding - kernel) // stride + 1:
            raise Mistake(
                f"For {case} you say {got}, torch says {want}: padding is added on both sides."
            )
        if got == want - 1:
            raise Mistake(
                f"For {case} you say {got}, torch says {want}: the starting position counts too (+ 1)."
            )
        why = {
            (size - kernel) // stride + 1: "the padding is missing.",
            -(-(size + 2 * padding - kernel) // stride)
            + 1: "a last step that does not fit is not taken: round down.",
            size + 2 * padding - kernel + 1: "the kernel moves `stride` places at a time.",
        }.get(got, "draw the padded row, and the places where the kernel starts.")
        raise Mistake(f"For {case} you say {got}, torch says {want}: {why}")
    return "Checked against torch on six layers."


def convolution_from_linear(linear, channels, height, width):
    conv = nn.Conv2d(channels, linear.out_features, (height, width))
    conv.weight.data = linear.weight.data.reshape(-1, channels, height, width)
    conv.bias.data = linear.bias.data
    return conv


@exercise(
    "convolution_from_linear",
    (
        "The kernel is as big as the map, so it fits in one place: one output position per map.",
        "linear.weight is (K, C * h * w). A convolution's weight is (K, C, h, w). flatten() ran through C first, then h, then w.",
        "conv.weight.data = linear.weight.data.reshape(-1, channels, height, width), and the bias as it is.",
    ),
    convolution_from_linear,
)
def check_convolution_from_linear(answer) -> str:
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(3 * 2 * 4, 5)
    nn.init.normal_(linear.weight, generator=generator)
    nn.init.normal_(linear.bias, generator=generator)
    maps = torch.randn(6, 3, 2, 4, generator=generator)
    conv = run(answer, linear, 3, 2, 4)
    if not isinstance(conv, nn.Conv2d):
        raise Mistake(f"Return an nn.Conv2d, not {type(conv).__name__}.")
    if tuple(conv.weight.shape) != (5, 3, 2, 4):
        raise Mistake(
            f"Its weight should be (K, C, h, w) = (5, 3, 2, 4); yours is {tuple(conv.weight.shape)}."
        )
    with torch.no_grad():
        places = tuple(conv(maps).shape[2:])
        if places != (1, 1):
            raise Mistake(
                f"It fits in {places[0]} x {places[1]} places, not in one: no padding, stride 1."
            )
        got, want = conv(maps).flatten(1), linear(maps.flatten(1))
        no_bias = want - linear.bias
    if torch.allclose(got, want, atol=1e-5):
        wide = conv(torch.randn(1, 3, 4, 6, generator=generator)).shape
        if wide[2:] != (3, 3):
            raise Mistake(
                "On one map it is right. On a larger one it jumps by its own size: leave the stride at 1, so that it slides."
            )
        return f"And on a larger map it gives {wide[2]} x {wide[3]} answers instead of one."
    if conv.bias is None or torch.allclose(got, no_bias, atol=1e-5):
        raise Mistake("The products agree, the bias is missing: copy it too.")
    if torch.equal(conv.weight, linear.weight.reshape(5, 3, 2, 4)):
        raise Mistake("The weights are right. The bias is not the linear layer's: copy it too.")
    if torch.allclose(got - got.mean(), want - want.mean(), atol=1e-2) or torch.allclose(
        conv.weight.flatten().sort().values, linear.weight.flatten().sort().values
    ):
        raise Mistake(
            "Weights or biases sit in the wrong places: flatten() runs through C, then h, then w; reshape in that order and copy the bias."
        )
    raise Mistake(
        "The outputs differ from the linear layer's. Copy its weights and its bias into the convolution."
    )


def ceiling_mask(mask, stride, num_classes):
    one_hot = F.one_hot(mask, num_classes).permute(2, 0, 1)[None].float()
    pooled = F.avg_pool2d(one_hot, stride)
    restored = F.interpolate(pooled, scale_factor=stride, mode="bilinear", align_corners=False)
    return restored[0].argmax(0)


@exercise(
    "ceiling_mask",
    (
        "Four steps: one-hot, average over stride x stride blocks, back up bilinearly, largest channel.",
        "The argmax comes last. Taken on the small map, it throws the shares away before bilinear can use them.",
        "one_hot = F.one_hot(mask, num_classes).permute(2, 0, 1)[None].float(); F.avg_pool2d(one_hot, stride); F.interpolate(..., scale_factor=stride, mode='bilinear'); argmax over the classes.",
    ),
    ceiling_mask,
)
def check_ceiling_mask(answer) -> str:
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(48), indexing="ij")
    mask = (columns > 13 + rows // 3).long() + (rows > 20).long()
    try:
        got = torch.as_tensor(run(answer, mask, 8, 3))
    except RuntimeError as error:
        why = {
            "not implemented for": "averages are floats: .float() behind the one-hot map.",
            "too small": "the classes stand last after F.one_hot: .permute(2, 0, 1) puts them first.",
        }
        for words, advice in why.items():
            if words in str(error):
                raise Mistake(f"torch says: {error}. Perhaps {advice}") from error
        raise
    if got.ndim != 2:
        raise Mistake(
            f"Return one mask (H, W); yours has shape {tuple(got.shape)}: take [0] of the batch."
        )
    if tuple(got.shape) != (32, 48):
        raise Mistake(
            f"The answer has the mask's size, (32, 48); yours is {tuple(got.shape)}. Upsample before you return."
        )
    one_hot = F.one_hot(mask, 3).permute(2, 0, 1)[None].float()
    pooled = F.avg_pool2d(one_hot, 8)

    def bilinear(x, corners=False):
        return F.interpolate(x, scale_factor=8, mode="bilinear", align_corners=corners)[0].argmax(0)

    early = F.interpolate(pooled.argmax(1, keepdim=True).float(), scale_factor=8)[0, 0].long()
    hard = F.one_hot(pooled.argmax(1), 3).permute(0, 3, 1, 2).float()
    if torch.equal(got, ceiling_mask(mask, 8, 3)):
        return "No network was involved: this loss comes from averaging and upsampling alone."
    if torch.equal(got, mask):
        raise Mistake("That is the mask itself. It has to pass through the small map.")
    if torch.equal(got, early) or torch.equal(got, bilinear(hard)):
        raise Mistake(
            "These are whole blocks with staircase edges: either the argmax was taken on the small map, or "
            "the shares were upsampled by nearest. Upsample the shares bilinearly, then decide."
        )
    if torch.equal(got, bilinear(pooled, corners=True)):
        raise Mistake(
            "align_corners=True stretches the map, so edges move. The cells are areas: align_corners=False."
        )
    numbers = F.avg_pool2d(mask[None, None].float(), 8)
    numbers = F.interpolate(numbers, scale_factor=8, mode="bilinear")[0, 0]
    if any(torch.equal(got, n.long()) for n in (numbers, numbers.round())):
        raise Mistake(
            "You averaged the labels themselves: the mean of two names is a third name. Average the one-hot map."
        )
    if torch.equal(got, bilinear(one_hot[..., ::8, ::8])):
        raise Mistake("You took one pixel of each block. Average the whole block.")
    if torch.equal(got, bilinear(F.max_pool2d(one_hot, 8))):
        raise Mistake("Max pooling says which classes occur, not how much of each. Average.")
    raise Mistake(
        f"{(got != ceiling_mask(mask, 8, 3)).float().mean():.1%} of the pixels differ from the expected mask."
    )

"""Ways to make a map larger, their matrices and first weights, and the checkerboards they leave."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def matrix_of(layer: Callable[[Tensor], Tensor], height: int, width: int) -> Tensor:
    """The matrix of a linear map from one channel of ``(height, width)`` pixels to one channel.

    `layer` takes ``(N, 1, height, width)`` and gives ``(N, 1, H, W)``; the result is
    ``(H * W, height * width)``, pixels row by row. Column ``j`` is what input pixel ``j`` alone
    becomes; a bias is taken off. Raises ``ValueError`` when `layer` gives more than one channel.
    """
    count = height * width
    pixels = torch.eye(count).reshape(count, 1, height, width)
    with torch.no_grad():
        alone, nothing = layer(pixels), layer(torch.zeros_like(pixels[:1]))
    if alone.ndim != 4 or alone.shape[1] != 1:
        raise ValueError(f"layer must give (N, 1, H, W), it gave {tuple(alone.shape)}")
    return (alone - nothing).flatten(1).T


def bilinear_kernel(factor: int) -> Tensor:
    """The kernel ``(k, k)`` with which a transposed convolution interpolates bilinearly.

    ``k`` is ``2 * factor`` for an even, ``2 * factor - 1`` for an odd `factor`: a tent over one
    step to each side (Long et al., "Fully convolutional networks", CVPR 2015, section 3.3). Raises
    ``ValueError`` for a `factor` below 1.
    """
    _at_least("factor", factor, 1)
    size = 2 * factor - factor % 2
    distance = (torch.arange(size) - (size - 1) / 2).abs()
    tent = 1 - distance / factor
    return tent[:, None] * tent


def bilinear_transposed(channels: int, factor: int) -> nn.ConvTranspose2d:
    """A transposed convolution ``(N, channels, H, W)`` to ``factor`` times H and W, bilinear at first.

    Each channel has its own `bilinear_kernel` and starts deaf to the others; there is no bias. What
    it gives equals ``F.interpolate(..., mode="bilinear", align_corners=False)``, except in the outer
    ``factor // 2`` pixels: there part of the tent falls on zeros outside, where ``interpolate``
    repeats the last cell. Raises ``ValueError`` for `channels` or a `factor` below 1.
    """
    _at_least("channels", channels, 1)
    kernel = bilinear_kernel(factor)
    padding = factor // 2
    layer = nn.ConvTranspose2d(channels, channels, len(kernel), factor, padding, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        for channel in range(channels):
            layer.weight[channel, channel] = kernel
    return layer


def icnr_(conv: nn.Conv2d, factor: int) -> nn.Conv2d:
    """Make the pixel shuffle after `conv` start as nearest-neighbour upsampling, in place.

    The ``factor ** 2`` filters that fill one block of the output get the weights of the first of
    them (Aitken et al., "Checkerboard artifact free sub-pixel convolution", arXiv 1707.02937).
    Raises ``ValueError`` when ``factor ** 2`` does not divide the output channels of `conv`.
    """
    _at_least("factor", factor, 1)
    if conv.out_channels % factor**2:
        raise ValueError(
            f"conv must have a multiple of factor**2 = {factor**2} output channels, got {conv.out_channels}"
        )
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.copy_(parameter[:: factor**2].repeat_interleave(factor**2, dim=0))
    return conv


def overlap_counts(size: tuple[int, int], kernel: int, stride: int, padding: int = 0) -> Tensor:
    """How many input cells write to each output pixel of a transposed convolution.

    ``int64 (H, W)`` for an input of `size` cells. Even, away from the border, exactly when `stride`
    divides `kernel` (Odena et al., "Deconvolution and checkerboard artifacts", Distill 2016). Raises
    ``ValueError`` for a `size` that is not two numbers from 1 on, and for numbers out of range.
    """
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be two numbers from 1 on, got {size!r}")
    for name, value, least in (
        ("kernel", kernel, 1),
        ("stride", stride, 1),
        ("padding", padding, 0),
    ):
        _at_least(name, value, least)
    cells, ones = torch.ones(1, 1, *size), torch.ones(1, 1, kernel, kernel)
    return F.conv_transpose2d(cells, ones, stride=stride, padding=padding)[0, 0].long()


def checkerboard(maps: Tensor, stride: int) -> float:
    """Share of the energy of `maps` that repeats with every block of pixels, 0 to 1.

    `maps` is ``(..., H, W)``; blocks are ``stride`` x ``stride``, counted from the upper left, and
    rows and columns beyond the last whole block are left out. In every channel each position within
    the block is averaged over all blocks: that is the pattern. The share is the variance of the
    pattern over the mean square of all pixels. By Parseval's theorem it is the energy at the
    multiples of the frequency ``1 / stride``, the mean (frequency 0) excepted, over all energy, the
    mean included: 0 for a flat map. 0 for a map of zeros, too.

    Raises ``ValueError`` for a `stride` below 2 or larger than the maps.
    """
    _at_least("stride", stride, 2)
    if maps.ndim < 2:
        raise ValueError(f"maps must be (..., H, W), got {tuple(maps.shape)}")
    height, width = (side // stride * stride for side in maps.shape[-2:])
    if not height or not width:
        raise ValueError(f"maps must hold a block of {stride} x {stride}, got {tuple(maps.shape)}")
    maps = maps[..., :height, :width].double()
    pattern = maps.unfold(-2, stride, stride).unfold(-2, stride, stride).mean(dim=(-4, -3))
    energy = maps.square().mean(dim=(-2, -1)).sum()
    return (pattern.var(dim=(-2, -1), correction=0).sum() / energy).item() if energy else 0.0


UPSAMPLERS = (
    "nearest",
    "bilinear",
    "bilinear_x2",
    "transposed_k3",
    "transposed_k4",
    "transposed_bilinear",
    "resize_conv",
    "pixel_shuffle",
    "pixel_shuffle_icnr",
)
"""Names that `doubling` knows. The first three have nothing to learn; as one doubling, ``bilinear``
and ``bilinear_x2`` are the same, but `FCN` goes all the way in one step with the former and in steps
of 2, as the learned ones do, with the latter."""


def doubling(channels: int, upsampler: str) -> nn.Module:
    """A layer ``(N, channels, H, W)`` to ``(N, channels, 2H, 2W)``; `upsampler` is one of `UPSAMPLERS`.

    Learned weights start random, of a size that keeps the variance of the map; those of
    ``transposed_bilinear`` start as `bilinear_transposed`, ``pixel_shuffle_icnr`` is random up to
    `icnr_`. Raises ``ValueError`` for another `upsampler` and for `channels` below 1.
    """
    _at_least("channels", channels, 1)
    match upsampler:
        case "nearest":
            return nn.Upsample(scale_factor=2, mode="nearest")
        case "bilinear" | "bilinear_x2":
            return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        case "transposed_k3":
            layer = nn.ConvTranspose2d(channels, channels, 3, 2, padding=1, output_padding=1)
            return _unit_gain(layer, taps=9 / 4)
        case "transposed_k4":
            return _unit_gain(nn.ConvTranspose2d(channels, channels, 4, 2, padding=1), taps=16 / 4)
        case "transposed_bilinear":
            return bilinear_transposed(channels, 2)
        case "resize_conv":
            conv = _unit_gain(nn.Conv2d(channels, channels, 3, padding=1), taps=9)
            return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), conv)
        case "pixel_shuffle" | "pixel_shuffle_icnr":
            conv = _unit_gain(nn.Conv2d(channels, 4 * channels, 3, padding=1), taps=9)
            if upsampler == "pixel_shuffle_icnr":
                icnr_(conv, 2)
            return nn.Sequential(conv, nn.PixelShuffle(2))
    raise ValueError(f"upsampler must be one of {', '.join(UPSAMPLERS)}; got {upsampler!r}")


def _unit_gain(layer: nn.Conv2d | nn.ConvTranspose2d, taps: float) -> nn.Module:
    """Random weights whose sums over the inputs of an output pixel have the inputs' variance."""
    nn.init.normal_(layer.weight, std=(layer.in_channels * taps) ** -0.5)
    nn.init.zeros_(layer.bias)
    return layer


def _at_least(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number from {least} on, got {value!r}")

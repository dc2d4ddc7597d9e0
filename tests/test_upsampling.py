"""Upsampling: matrices, first weights, overlaps, the checkerboard measure, layers that double."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from helpers.upsampling import (
    UPSAMPLERS,
    bilinear_kernel,
    bilinear_transposed,
    checkerboard,
    doubling,
    icnr_,
    matrix_of,
    overlap_counts,
)

LEARNED_FROM_CHANCE = (
    "transposed_k3",
    "transposed_k4",
    "resize_conv",
    "pixel_shuffle",
    "pixel_shuffle_icnr",
)


@pytest.fixture(autouse=True)
def seeded():
    """The same numbers whichever tests ran before."""
    torch.manual_seed(0)


def maps(*shape):
    """Positive, so that a missing neighbour shows as too small a value."""
    return 1 + torch.rand(*shape)


# The matrix of a layer

LINEAR = {
    "nearest": lambda: nn.Upsample(scale_factor=3, mode="nearest"),
    "bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    "bilinear_corners": lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
    "bilinear_odd": lambda: nn.Upsample(size=(7, 11), mode="bilinear"),
    "transposed_k2s2": lambda: nn.ConvTranspose2d(1, 1, 2, 2),
    "transposed_k3s2": lambda: nn.ConvTranspose2d(1, 1, 3, 2),
    "transposed_k3s2p1": lambda: nn.ConvTranspose2d(1, 1, 3, 2, padding=1, output_padding=1),
    "transposed_k4s2p1": lambda: nn.ConvTranspose2d(1, 1, 4, 2, padding=1),
    "transposed_k5s3p2": lambda: nn.ConvTranspose2d(1, 1, 5, 3, padding=2),
    "transposed_k2s3": lambda: nn.ConvTranspose2d(1, 1, 2, 3),
    "shuffle": lambda: nn.Sequential(nn.Conv2d(1, 9, 3, padding=1), nn.PixelShuffle(3)),
    "halving": lambda: nn.Conv2d(1, 1, 3, stride=2),
}


@pytest.mark.parametrize("name", LINEAR)
def test_the_matrix_does_what_the_layer_does(name):
    layer, x = LINEAR[name](), torch.randn(6, 1, 4, 5)
    matrix = matrix_of(layer, 4, 5)
    with torch.no_grad():
        want, bias = layer(x), layer(torch.zeros(1, 1, 4, 5))
    assert matrix.shape == (want[0].numel(), 4 * 5)
    assert not matrix.requires_grad
    got = torch.stack([matrix @ image.flatten() for image in x]).reshape(want.shape) + bias
    torch.testing.assert_close(got, want)


def test_the_matrix_of_nearest_by_loops():
    want = torch.zeros(4 * 6, 2 * 3)
    for row in range(4):
        for column in range(6):
            want[row * 6 + column, (row // 2) * 3 + column // 2] = 1
    assert torch.equal(matrix_of(nn.Upsample(scale_factor=2), 2, 3), want)


def test_a_bias_is_not_part_of_the_matrix():
    layer = nn.ConvTranspose2d(1, 1, 3, 2)
    before = matrix_of(layer, 3, 3)
    nn.init.constant_(layer.bias, 100.0)
    torch.testing.assert_close(matrix_of(layer, 3, 3), before, atol=1e-4, rtol=0)


ADJOINTS = [(2, 2, 0), (3, 1, 1), (3, 2, 0), (3, 2, 1), (4, 2, 1), (5, 3, 2), (2, 3, 0)]


def adjoint_pair(kernel, stride, padding, size=(8, 9)):
    """A convolution and the transposed one with the same weights, back to the size it came from."""
    conv = nn.Conv2d(1, 1, kernel, stride, padding)
    left_over = tuple((side + 2 * padding - kernel) % stride for side in size)
    back = nn.ConvTranspose2d(1, 1, kernel, stride, padding, output_padding=left_over)
    back.weight = conv.weight
    return conv, back


@pytest.mark.parametrize(("kernel", "stride", "padding"), ADJOINTS)
def test_transposed_convolution_has_the_transposed_matrix(kernel, stride, padding):
    conv, back = adjoint_pair(kernel, stride, padding)
    smaller = conv(torch.zeros(1, 1, 8, 9)).shape[-2:]
    torch.testing.assert_close(matrix_of(back, *smaller), matrix_of(conv, 8, 9).T)


@pytest.mark.parametrize(("kernel", "stride", "padding"), ADJOINTS)
def test_inner_products_agree(kernel, stride, padding):
    """<Ax, y> from the matrix of the one layer equals <x, A^T y> from the other layer itself."""
    conv, back = adjoint_pair(kernel, stride, padding)
    nn.init.zeros_(back.bias)
    matrix, x = matrix_of(conv, 8, 9), torch.randn(8, 9)
    y = torch.randn(conv(x[None, None]).shape)
    with torch.no_grad():
        torch.testing.assert_close((matrix @ x.flatten()) @ y.flatten(), (x * back(y)[0, 0]).sum())


@pytest.mark.parametrize("layer", [nn.Conv2d(1, 2, 1), lambda x: x[0]])
def test_more_than_one_channel_has_no_matrix(layer):
    with pytest.raises(ValueError, match=r"layer must give \(N, 1, H, W\), it gave"):
        matrix_of(layer, 3, 3)


# Bilinear weights

FACTORS = range(1, 7)


@pytest.mark.parametrize("factor", FACTORS)
def test_the_bilinear_kernel_is_a_tent(factor):
    """By loops: 1 at the centre, 0 at one step of `factor` from it, straight between."""
    kernel = bilinear_kernel(factor)
    size = 2 * factor - 1 if factor % 2 else 2 * factor
    assert kernel.shape == (size, size)
    for i in range(size):
        for j in range(size):
            down, right = abs(i - (size - 1) / 2), abs(j - (size - 1) / 2)
            want = max(0, 1 - down / factor) * max(0, 1 - right / factor)
            assert kernel[i, j].item() == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("factor", FACTORS)
def test_the_bilinear_kernel_is_what_interpolate_makes_of_a_lone_pixel(factor):
    lone = torch.zeros(1, 1, 5, 5)
    lone[..., 2, 2] = 1
    spread = F.interpolate(lone, scale_factor=factor, mode="bilinear")[0, 0]
    rows = spread.sum(1) > 0
    torch.testing.assert_close(bilinear_kernel(factor), spread[rows][:, rows])


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("size", [(5, 8), (1, 1), (2, 1)])
def test_bilinear_transposed_equals_interpolate_but_for_a_frame(factor, size):
    """They differ in every one of the outer ``factor // 2`` rows and columns, and nowhere else.

    Half a cell, of which whole pixels count: 0 pixels for factor 1, 1 for 2 and 3, 2 for 4 and 5.
    """
    x = maps(2, 3, *size)
    with torch.no_grad():
        got = bilinear_transposed(3, factor)(x)
    want = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    assert got.shape == (2, 3, size[0] * factor, size[1] * factor)
    reach = factor // 2
    frame = torch.ones(got.shape[-2:], dtype=torch.bool)
    frame[reach : len(frame) - reach, reach : frame.shape[1] - reach] = False
    torch.testing.assert_close(got[..., ~frame], want[..., ~frame])
    assert (got[..., frame] < want[..., frame] - 1e-3).all()


@pytest.mark.parametrize("factor", FACTORS)
def test_bilinear_transposed_keeps_a_constant_and_a_plane(factor):
    """Partition of unity, and more: tents reproduce what is linear, pixel centres in their place."""
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    with torch.no_grad():
        got = bilinear_transposed(2, factor)(torch.stack([torch.ones(6, 7), 2 * rows - columns]))
    reach = factor // 2
    inside = (slice(reach, 6 * factor - reach), slice(reach, 7 * factor - reach))
    down = (torch.arange(6 * factor) + 0.5)[inside[0], None] / factor - 0.5
    right = (torch.arange(7 * factor) + 0.5)[inside[1]] / factor - 0.5
    torch.testing.assert_close(got[0][inside], torch.ones(got[0][inside].shape))
    torch.testing.assert_close(got[1][inside], 2 * down - right, atol=1e-5, rtol=1e-5)


def test_bilinear_transposed_channels_do_not_mix_but_could_learn_to():
    layer = bilinear_transposed(3, 2)
    x = maps(1, 3, 4, 4)
    x[:, 1] = 0
    y = layer(x)
    assert (y[:, 1] == 0).all()
    assert (y[:, [0, 2]] > 0).all()
    y[:, 1].sum().backward()
    assert (layer.weight.grad[0, 1] != 0).all()
    assert layer.bias is None


# ICNR


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_icnr_starts_as_nearest_upsampling_of_one_filter_per_channel(factor, bias):
    conv = nn.Conv2d(3, 4 * factor**2, 3, padding=1, bias=bias)
    one = nn.Conv2d(3, 4, 3, padding=1, bias=bias)
    with torch.no_grad():
        for of_one, of_conv in zip(one.parameters(), conv.parameters(), strict=True):
            of_one.copy_(of_conv[:: factor**2])
    assert icnr_(conv, factor) is conv
    assert all(parameter.requires_grad for parameter in conv.parameters())
    x = torch.randn(2, 3, 5, 6)
    with torch.no_grad():
        want = F.interpolate(one(x), scale_factor=factor, mode="nearest")
        torch.testing.assert_close(nn.PixelShuffle(factor)(conv(x)), want)


def test_icnr_leaves_the_channels_different():
    filters = icnr_(nn.Conv2d(2, 12, 3), 2).weight.flatten(1)
    assert len(filters.unique(dim=0)) == 3


@pytest.mark.parametrize(("channels", "factor"), [(8, 3), (6, 2), (1, 2)])
def test_icnr_needs_whole_blocks(channels, factor):
    message = rf"conv must have a multiple of factor\*\*2 = {factor**2} .*got {channels}"
    with pytest.raises(ValueError, match=message):
        icnr_(nn.Conv2d(2, channels, 3), factor)


# Overlaps


def overlaps_by_loops(size, kernel, stride, padding):
    """Each cell writes a square of `kernel` pixels; then `padding` pixels are cut off around."""
    height, width = ((side - 1) * stride + kernel for side in size)
    counts = torch.zeros(height, width, dtype=torch.long)
    for i in range(size[0]):
        for j in range(size[1]):
            for di in range(kernel):
                for dj in range(kernel):
                    counts[i * stride + di, j * stride + dj] += 1
    return counts[padding : height - padding, padding : width - padding]


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(0, 2),
)
def test_overlaps_by_loops(size, kernel, stride, padding):
    want = overlaps_by_loops(size, kernel, stride, padding)
    if not want.numel():  # nothing is left of the map
        return
    got = overlap_counts(size, kernel, stride, padding)
    assert got.dtype == torch.int64
    assert torch.equal(got, want)


@pytest.mark.parametrize("kernel", range(1, 8))
@pytest.mark.parametrize("stride", range(1, 5))
def test_overlaps_are_even_away_from_the_border_exactly_when_stride_divides_kernel(kernel, stride):
    cells = kernel + 3
    inside = slice(kernel - 1, (cells - 1) * stride + 1)  # every cell that could write here exists
    counts = overlap_counts((cells, cells), kernel, stride)[inside, inside]
    assert min(counts.shape) >= stride  # a whole period is looked at
    assert (len(counts.unique()) == 1) == (kernel % stride == 0)
    if kernel % stride == 0:
        assert counts[0, 0] == (kernel // stride) ** 2


def test_the_known_overlaps():
    assert set(overlap_counts((6, 6), 3, 2).unique().tolist()) == {1, 2, 4}
    assert overlap_counts((3, 3), 3, 2, padding=1)[:2].tolist() == [
        [1, 2, 1, 2, 1],
        [2, 4, 2, 4, 2],
    ]
    assert overlap_counts((4, 4), 4, 2, padding=1)[1:-1, 1:-1].unique().tolist() == [4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 2, 0), "kernel must be a whole number from 1 on, got 0"),
        ((2.0, 2, 0), "kernel must be a whole number from 1 on, got 2.0"),
        ((3, 0, 0), "stride must be a whole number from 1 on, got 0"),
        ((3, "2", 0), "stride must be a whole number from 1 on, got '2'"),
        ((3, 2, -1), "padding must be a whole number from 0 on, got -1"),
    ],
)
def test_overlaps_need_whole_numbers(arguments, message):
    with pytest.raises(ValueError, match=message):
        overlap_counts((3, 3), *arguments)


# The measure of a checkerboard


def spectral_share(x, stride):
    """Energy at the frequencies (a/stride, b/stride) but (0, 0), over all energy."""
    energy = torch.fft.fft2(x.double()).abs() ** 2
    height, width = x.shape[-2:]
    multiples = energy[..., :: height // stride, :: width // stride].sum()
    return ((multiples - energy[..., 0, 0].sum()) / energy.sum()).item()


@pytest.mark.parametrize("stride", [2, 3, 4])
@pytest.mark.parametrize("shape", [(12, 24), (5, 24, 12), (2, 3, 12, 12)])
def test_checkerboard_is_the_energy_at_the_multiples_of_the_frequency(stride, shape):
    x = torch.randn(shape)
    x[..., ::stride, :] += 0.7
    x[..., 1::stride, 1::stride] -= 0.4
    assert 0.05 < checkerboard(x, stride) < 0.5
    assert checkerboard(x, stride) == pytest.approx(spectral_share(x, stride), rel=1e-9)


@pytest.mark.parametrize("value", [1.0, -0.1, 1e-30, 1e30, 7])
@pytest.mark.parametrize("shape", [(9, 14), (2, 3, 17, 11)])
def test_checkerboard_of_a_flat_map_is_zero(value, shape):
    assert checkerboard(torch.full(shape, value), 2) == pytest.approx(0, abs=1e-12)
    assert checkerboard(torch.full(shape, value), 3) == pytest.approx(0, abs=1e-12)
    assert checkerboard(torch.zeros(shape), 2) == 0


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_checkerboard_of_a_repeated_block_is_its_variance_over_its_energy(stride):
    block = torch.randn(3, stride, stride, dtype=torch.double)
    block -= block.mean(dim=(-2, -1), keepdim=True)
    assert checkerboard(block.tile(5, 6), stride) == pytest.approx(1)
    want = block.square().mean() / (block.square().mean() + 0.5**2)
    assert checkerboard(block.tile(5, 6) + 0.5, stride) == pytest.approx(want.item())


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_checkerboard_of_a_ramp_is_small_and_known(stride):
    """Within a block a ramp has the variance ``(s**2 - 1) / 12``, over all ``(W**2 - 1) / 12``."""
    ramp = (torch.arange(24) - 11.5).expand(12, 24)
    assert checkerboard(ramp, stride) == pytest.approx((stride**2 - 1) / (24**2 - 1))
    assert checkerboard(ramp.mT, stride) == pytest.approx((stride**2 - 1) / (24**2 - 1))


def test_checkerboard_of_noise_is_its_share_of_the_frequencies():
    """White noise has as much energy everywhere: ``s**2 - 1`` of ``H * W`` frequencies."""
    assert checkerboard(torch.randn(2000, 12, 12), 3) == pytest.approx(8 / 144, rel=0.05)


def test_checkerboard_does_not_see_a_pattern_whose_sign_turns():
    """What cancels from block to block lies beside the frequency, not at it."""
    pattern = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).tile(4, 8)
    assert checkerboard(pattern, 2) == pytest.approx(1)
    pattern[:, 8:] *= -1
    assert checkerboard(pattern, 2) == pytest.approx(0)


def test_checkerboard_is_blind_to_contrast_and_where_a_block_begins():
    x = torch.randn(2, 12, 18, dtype=torch.double)
    x[..., ::3, ::3] += 1
    want = pytest.approx(checkerboard(x, 3))
    assert checkerboard(-3 * x, 3) == want
    assert checkerboard(x.roll((1, 2), dims=(-2, -1)), 3) == want
    assert checkerboard(x.mT, 3) == want


def test_checkerboard_counts_whole_blocks_only():
    x = torch.randn(14, 17)
    assert checkerboard(x, 4) == checkerboard(x[:12, :16], 4)
    assert checkerboard(x, 3) == checkerboard(x[:12, :15], 3)


def test_checkerboard_weighs_channels_by_their_energy():
    x = torch.randn(4, 8, 8) * torch.tensor([1.0, 3.0, 0.0, 10.0])[:, None, None]
    x[0, ::2] += 2
    x += torch.tensor([0.0, 4.0, 5.0, -7.0])[:, None, None]
    energy = x.square().mean(dim=(-2, -1))
    shares = torch.tensor([checkerboard(channel, 2) for channel in x])
    want = (shares * energy).sum() / energy.sum()
    assert checkerboard(x, 2) == pytest.approx(want.item(), rel=1e-5)
    assert checkerboard(x.reshape(2, 2, 8, 8), 2) == pytest.approx(want.item(), rel=1e-5)


def test_checkerboard_takes_whole_numbers_and_gradients():
    marks = torch.tensor([[0, 1], [2, 3]]).tile(2, 2)  # variance 5/4, mean square 14/4
    assert checkerboard(marks, 2) == pytest.approx(5 / 14)
    assert isinstance(checkerboard(marks.float().requires_grad_(), 2), float)


@pytest.mark.parametrize(
    ("shape", "stride", "message"),
    [
        ((8, 8), 1, "stride must be a whole number from 2 on, got 1"),
        ((8, 8), 2.0, "stride must be a whole number from 2 on, got 2.0"),
        ((8, 2), 3, r"maps must hold a block of 3 x 3, got \(8, 2\)"),
        ((1, 2, 8), 3, r"maps must hold a block of 3 x 3, got \(1, 2, 8\)"),
    ],
)
def test_checkerboard_needs_a_stride_that_fits(shape, stride, message):
    with pytest.raises(ValueError, match=message):
        checkerboard(torch.zeros(shape), stride)


# Layers that double


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (3, 8)])
def test_doubling_doubles(upsampler, size):
    x = torch.randn(2, 3, *size, requires_grad=True)
    layer = doubling(3, upsampler)
    y = layer(x)
    assert y.shape == (2, 3, 2 * size[0], 2 * size[1])
    y.square().sum().backward()
    assert (x.grad != 0).all()
    assert all(parameter.grad is not None for parameter in layer.parameters())


@pytest.mark.parametrize(
    ("upsampler", "weights", "biases"),
    [
        ("nearest", 0, 0),
        ("bilinear", 0, 0),
        ("bilinear_x2", 0, 0),
        ("transposed_k3", 9, 1),
        ("transposed_k4", 16, 1),
        ("transposed_bilinear", 16, 0),
        ("resize_conv", 9, 1),
        ("pixel_shuffle", 4 * 9, 4),
        ("pixel_shuffle_icnr", 4 * 9, 4),
    ],
)
def test_doubling_has_so_many_weights(upsampler, weights, biases):
    count = sum(p.numel() for p in doubling(5, upsampler).parameters())
    assert count == 5 * 5 * weights + 5 * biases


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_fixed_doubling_is_interpolate(mode):
    x = torch.randn(1, 3, 4, 5)
    assert torch.equal(doubling(3, mode)(x), F.interpolate(x, scale_factor=2, mode=mode))


def test_transposed_bilinear_doubling_starts_as_interpolate():
    x = torch.randn(1, 3, 4, 5)
    with torch.no_grad():
        got = doubling(3, "transposed_bilinear")(x)
    want = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(got[..., 1:-1, 1:-1], want[..., 1:-1, 1:-1])


def test_resize_conv_convolves_at_the_new_resolution():
    """Behind a convolution of the small map the four pixels of a block would be equal."""
    with torch.no_grad():
        y = doubling(1, "resize_conv")(torch.randn(1, 1, 6, 6))
    assert (y[..., ::2, ::2] != y[..., 1::2, 1::2]).all()


@pytest.mark.parametrize("upsampler", LEARNED_FROM_CHANCE)
def test_random_doubling_keeps_the_variance(upsampler):
    """On average over draws of the weights, away from the zeros around the map."""
    variances = []
    for _ in range(25):
        with torch.no_grad():
            y = doubling(16, upsampler)(torch.randn(2, 16, 16, 16))
        variances.append(y[..., 2:-2, 2:-2].var())
    assert torch.stack(variances).mean().item() == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
def test_at_the_start_only_unequal_weights_leave_a_checkerboard(upsampler):
    """On a flat map, away from the border.

    That the overlap of ``transposed_k4`` is even does not help it: each of the four positions in a
    block meets weights of its own, and random ones have other sums.
    """
    with torch.no_grad():
        y = doubling(8, upsampler)(torch.ones(1, 8, 12, 12))[..., 4:-4, 4:-4]
    if upsampler in {"transposed_k3", "transposed_k4", "pixel_shuffle"}:
        assert checkerboard(y, 2) > 0.3
        # There is nothing but the pattern: less of it, not another variation.
        torch.testing.assert_close(y, y[..., :2, :2].tile(8, 8))
    else:
        assert checkerboard(y, 2) == pytest.approx(0, abs=1e-9)


def test_with_equal_weights_the_checkerboard_is_the_overlap():
    written = {}
    for upsampler in ("transposed_k3", "transposed_k4"):
        layer = doubling(1, upsampler)
        with torch.no_grad():
            nn.init.ones_(layer.weight)
            written[upsampler] = layer(torch.ones(1, 1, 8, 8))[0, 0, 2:-2, 2:-2]
    assert checkerboard(written["transposed_k4"], 2) == 0
    # Of 1, 2, 2 and 4 the mean is 9/4 and the mean square 25/4.
    assert checkerboard(written["transposed_k3"], 2) == pytest.approx(1 - (9 / 4) ** 2 / (25 / 4))
    assert torch.equal(written["transposed_k4"].long(), overlap_counts((8, 8), 4, 2, 1)[2:-2, 2:-2])
    # One row and column more than padding alone would leave; both lie outside the interior.
    assert torch.equal(written["transposed_k3"].long(), overlap_counts((8, 8), 3, 2, 1)[2:-1, 2:-1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: doubling(3, "deconvolution"), "upsampler must be one of nearest, .*'deconv"),
        (lambda: doubling(3, None), "upsampler must be one of nearest, .*got None"),
        (lambda: bilinear_kernel(0), "factor must be a whole number from 1 on, got 0"),
        (lambda: bilinear_transposed(3, 1.5), "factor must be a whole number .*got 1.5"),
        (lambda: icnr_(nn.Conv2d(1, 4, 1), 0), "factor must be a whole number from 1 on, got 0"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()

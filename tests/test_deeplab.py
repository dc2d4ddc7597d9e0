"""Dilated stacks and DeepLab: switches, weights that fit every stride, and what each part reads."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.models import DeepLab, DilatedStack, Encoder, StackWithASPP, count_parameters
from helpers.models.deeplab import ASPP, ImagePooling, enlarge
from helpers.models.encoder import WIDTHS


@pytest.fixture
def images():
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def lively(model):
    """`model` for evaluation, in double precision, its statistics from one batch."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1
    with torch.no_grad():
        model.double()(torch.rand(4, 3, 64, 96, dtype=torch.double))
    return model.eval()


def up(maps, size):
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_rates_change_no_weight_of_a_stack(stride):
    shapes = [
        {name: value.shape for name, value in DilatedStack(3, rates, stride).state_dict().items()}
        for rates in ((1, 1, 1, 1), (1, 2, 4, 8), (4, 4, 4, 4))
    ]
    assert shapes[0] == shapes[1] == shapes[2]


@pytest.mark.parametrize(("stride", "size"), [(1, (5, 7)), (2, (10, 14)), (4, (32, 48))])
def test_a_stack_scores_cells_and_enlarges_them(stride, size):
    model = DilatedStack(3, (1, 2), stride).eval()
    images = torch.rand(2, 3, *size)
    with torch.inference_mode():
        cells = model.cell_scores(images)
        assert cells.shape == (2, 3, size[0] // stride, size[1] // stride)
        torch.testing.assert_close(model(images), up(cells, size))


@pytest.mark.parametrize("rates", [(1,), (2, 3), (1, 2, 4, 8)])
def test_a_stack_of_stride_1_reads_what_its_rates_span(rates):
    model = DilatedStack(2, rates, stride=1, width=4).double().eval()
    for weight in model.parameters():  # positive, so that no path is dead and nothing cancels
        nn.init.constant_(weight, 0.1)
    middle, reach = sum(rates) + 4, sum(rates)
    image = torch.ones(1, 3, 2 * middle + 1, 2 * middle + 1, dtype=torch.double)
    model(image.requires_grad_())[0, 0, middle, middle].backward()
    rows = image.grad.abs().sum((0, 1, 3)).nonzero()[:, 0]
    assert (rows[0], rows[-1]) == (middle - reach, middle + reach)


def test_an_aspp_on_a_stack_scores_the_mixed_map(images):
    model = StackWithASPP(3, (2, 5), width=6).eval()
    assert model.context.names == ("1x1", "rate 2", "rate 5", "image pooling")
    with torch.inference_mode():
        cells = model.layers(model.stem((images - 0.45) / 0.25))
        torch.testing.assert_close(model.cell_scores(images), model.score(model.context(cells)))
    assert StackWithASPP(3, (), False).context.names == ("1x1",)


def test_a_rate_may_come_twice_and_has_weights_of_its_own():
    aspp = ASPP(4, 3, (2, 1, 2, 2), image_pooling=False).eval()
    assert aspp.names == ("1x1", "rate 2", "rate 1", "rate 2'", "rate 2''")
    parts = aspp.responses(torch.rand(1, 4, 7, 7))
    assert len(parts) == 5
    assert not torch.equal(parts["rate 2"], parts["rate 2'"])
    aspp(torch.rand(1, 4, 7, 7)).sum().backward()
    assert all(weight.grad is not None for weight in aspp.parameters())


def test_the_map_of_an_aspp_is_its_branches_mixed():
    aspp = ASPP(6, 5, (2, 3), image_pooling=True).eval()
    x = torch.rand(2, 6, 9, 11)
    with torch.inference_mode():
        parts = aspp.responses(x)
        assert list(parts) == ["1x1", "rate 2", "rate 3", "image pooling"]
        for part in parts.values():
            assert part.shape == (2, 5, 9, 11)
        pooled = aspp.branches["image pooling"][1](x.mean((2, 3), keepdim=True))
        torch.testing.assert_close(parts["image pooling"], pooled.expand(-1, -1, 9, 11))
        for rate in (2, 3):
            conv, *rest = aspp.branches[f"rate {rate}"]
            plain = F.conv2d(x, conv.weight, padding=rate, dilation=rate)
            torch.testing.assert_close(parts[f"rate {rate}"], nn.Sequential(*rest)(plain))
        torch.testing.assert_close(aspp(x), aspp.mix(torch.cat([*parts.values()], 1)))


@pytest.mark.parametrize("rates", [(), (1,), (1, 2, 3)])
@pytest.mark.parametrize("image_pooling", [True, False])
@pytest.mark.parametrize("decoder", [True, False])
def test_deeplab_parameters_counted_by_hand(rates, image_pooling, decoder):
    deep, low, width = WIDTHS[5], WIDTHS[2], 64
    norm = 2 * width
    want = count_parameters(Encoder())
    want += deep * width + norm  # 1x1
    want += len(rates) * (9 * deep * width + norm)
    want += image_pooling * (deep * width + norm)
    want += (1 + len(rates) + image_pooling) * width * width + norm  # mix
    if decoder:
        want += low * 24 + 2 * 24
        want += 9 * (width + 24) * width + norm + 9 * width * width + norm
    want += (width + 1) * 5
    model = DeepLab(5, rates=rates, image_pooling=image_pooling, decoder=decoder)
    assert count_parameters(model) == want


@pytest.mark.parametrize("output_stride", [32, 16, 8, 4])
@pytest.mark.parametrize("decoder", [True, False])
@pytest.mark.parametrize("size", [(96, 128), (65, 77), (33, 40), (1, 1)])
def test_any_size_comes_back_from_deeplab(output_stride, decoder, size):
    model = DeepLab(3, output_stride, decoder=decoder).eval()
    image = torch.rand(1, 3, *size)
    down, right = -size[0] % 32, -size[1] % 32
    padded = F.pad(image, (0, right, 0, down), mode="replicate")
    with torch.inference_mode():
        assert model(image).shape == (1, 3, *size)
        torch.testing.assert_close(model(image), model(padded)[..., : size[0], : size[1]])


def test_without_decoder_the_scores_are_enlarged_in_one_step(images):
    model = lively(DeepLab(3, decoder=False))
    with torch.inference_mode():
        deepest = model.encoder((images.double() - 0.45) / 0.25)[-1]
        want = up(model.score(model.aspp(deepest)), (64, 96))
        torch.testing.assert_close(model(images.double()), want)


def test_the_decoder_joins_the_map_of_stride_4(images):
    model = lively(DeepLab(3))
    maps = [f.detach().requires_grad_() for f in model.encoder((images.double() - 0.45) / 0.25)]
    context = model.aspp(maps[5])
    low = model.decoder["squeeze"](maps[2])
    joined = torch.cat([up(context, low.shape[-2:]), low], 1)
    want = up(model.score(model.decoder["refine"](joined)), (64, 96))
    got = model.decode(maps, context)
    torch.testing.assert_close(got, want)
    got.square().sum().backward()
    assert [k for k, features in enumerate(maps) if features.grad is not None] == [2, 5]


@pytest.mark.parametrize("decoder", [True, False])
def test_the_same_weights_give_the_same_context_at_the_old_positions(images, decoder):
    model = lively(DeepLab(3, decoder=decoder, image_pooling=False))
    dense = model.at_stride(8)
    assert dense.aspp.rates == (2, 4, 6)
    assert not dense.training
    with torch.inference_mode():
        normal = (images.double() - 0.45) / 0.25
        want = model.aspp(model.encoder(normal)[-1])
        got = dense.aspp(dense.encoder(normal)[-1])
    assert got.shape[-1] == 2 * want.shape[-1]
    torch.testing.assert_close(got[..., ::2, ::2], want)


def test_a_copy_at_another_stride_is_a_copy(images):
    model = lively(DeepLab(3))
    before = [value.clone() for value in model.state_dict().values()]
    there_and_back = model.at_stride(8).at_stride(16)
    with torch.inference_mode():
        torch.testing.assert_close(there_and_back(images.double()), model(images.double()))
    nn.init.zeros_(there_and_back.score.weight)
    assert all(map(torch.equal, before, model.state_dict().values()))


@pytest.mark.parametrize(("shift", "size"), [(3, (12, 20)), (-2, (12, 20)), (5, (24, 40))])
def test_enlarged_maps_move_by_whole_pixels(shift, size):
    maps = torch.rand(2, 3, 6, 10)
    got, plain = enlarge(maps, size, shift), up(maps, size)
    k = abs(shift)
    before, after = (slice(k, None), slice(None, -k))
    here, there = (before, after) if shift > 0 else (after, before)
    torch.testing.assert_close(got[..., here, here], plain[..., there, there])
    assert torch.equal(enlarge(maps, size, 0), plain)


def test_a_denser_map_stays_where_the_coarse_one_was():
    """A constant map with one bright cell: its centre of gravity must not move."""
    model = DeepLab(2, decoder=False)
    dense = model.at_stride(8)
    coarse_map, dense_map = torch.zeros(1, 64, 6, 8), torch.zeros(1, 64, 12, 16)
    coarse_map[..., 3, 4] = dense_map[..., 6, 8] = 1
    features = [torch.zeros(1, 1, 96, 128)]
    centres = []
    for net, cells in ((model, coarse_map), (dense, dense_map)):
        with torch.no_grad():
            net.score.weight.fill_(1)
            bright = net.decode(features, cells)[0, 0] - net.score.bias[0]
        rows = torch.arange(96.0) @ bright.sum(1) / bright.sum()
        columns = torch.arange(128.0) @ bright.sum(0) / bright.sum()
        centres.append((rows.item(), columns.item()))
    assert centres[0] == pytest.approx((3 * 16 + 7.5, 4 * 16 + 7.5), abs=1e-2)
    assert centres[1] == pytest.approx(centres[0], abs=1e-2)


def test_image_pooling_tells_every_cell_the_same():
    x = torch.rand(3, 4, 5, 6)
    out = ImagePooling(4, 7).eval()(x)
    assert out.shape == (3, 7, 5, 6)
    assert (out == out[..., :1, :1]).all()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        ImagePooling(4, 7).train()(x[:1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DilatedStack(1), "num_classes must be at least 2, got 1"),
        (lambda: DilatedStack(3, ()), "rates must hold at least one rate"),
        (lambda: DilatedStack(3, (1, 0)), r"rates must be whole numbers of at least 1, got \(1, 0\)"),
        (lambda: DilatedStack(3, (1, 2.0)), "rates must be whole numbers"),
        (lambda: DilatedStack(3, stride=3), r"stride must be one of \(1, 2, 4\), got 3"),
        (lambda: DilatedStack(3)(torch.rand(1, 3, 9, 8)), "sides that 2 divides, got 9 x 8"),
        (lambda: DilatedStack(3)(torch.rand(3, 8, 8)), r"images must be \(N, 3, H, W\), got"),
        (lambda: DeepLab(1), "num_classes must be at least 2, got 1"),
        (lambda: DeepLab(3, 12), "output_stride must be one of .*, got 12"),
        (lambda: DeepLab(3, rates=(1, -2)), "rates must be whole numbers of at least 1"),
        (lambda: DeepLab(3, rates=2), "rates must be whole numbers of at least 1, got 2"),
        (lambda: DeepLab(3, decoder=1), "decoder must be True or False, got 1"),
        (lambda: DeepLab(3, image_pooling=None), "image_pooling must be True or False, got None"),
        (lambda: DeepLab(3).at_stride(32), r"must keep the rates \(1, 2, 3\) at stride 16 whole"),
        (lambda: DeepLab(3)(torch.rand(1, 4, 8, 8)), r"images must be \(N, 3, H, W\), got"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()

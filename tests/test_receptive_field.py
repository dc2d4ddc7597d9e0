"""The receptive field: what the graph says against what gradients say, and the effective field."""

from __future__ import annotations

import copy
import inspect
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from helpers.models import MODELS, Encoder, build
from helpers.receptive_field import effective, stack_paths, theoretical

torch_max_pool2d = F.max_pool2d


def all_of_the_window(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, **_):
    """In place of max pooling: the sum of its window, so that the gradient reaches every cell."""
    size = torch_max_pool2d(x, kernel_size, stride, padding, dilation, ceil_mode).shape[2:]
    ones = torch.ones(x.shape[1], 1, kernel_size, kernel_size, dtype=x.dtype)
    x = x.where(x.isfinite(), 0)  # padding that is never the maximum
    more = F.pad(x, (padding, 9 + padding, padding, 9 + padding))
    summed = F.conv2d(more, ones, None, stride or kernel_size, 0, dilation, groups=x.shape[1])
    return summed[..., : size[0], : size[1]] / kernel_size**2


class GradientOf:
    """Which pixels move the cells of an output: the peer of `ReceptiveField.taps`.

    Positive weights and pixels: all that is added is positive, nothing cancels.
    """

    def __init__(self, model, size, channels=3, output=None):
        model = copy.deepcopy(model).double().eval()
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim > 1:
                    weight.fill_(1 / weight[0].numel())
                elif (weight == 0).all():
                    weight.fill_(0.01)
        self.images = torch.ones(2, channels, *size, dtype=torch.double, requires_grad=True)
        with mock.patch.object(F, "max_pool2d", all_of_the_window):
            outputs = model(self.images)
        self.output = outputs if output is None else outputs[output]

    def taps(self, row, column):
        cell = self.output[:, :, row, column].sum()
        (gradient,) = torch.autograd.grad(cell, self.images, retain_graph=True, allow_unused=True)
        moved = (gradient != 0).any(1).any(0).numpy()
        return moved.any(1), moved.any(0)


def cells(field, count, seed=0):
    """Two opposite corners and `count` cells in between."""
    h, w = field.output_size
    draw = np.random.default_rng(seed)
    return [(0, 0), (h - 1, w - 1), *((draw.integers(h), draw.integers(w)) for _ in range(count))]


def assert_same_taps(field, gradient, places):
    assert field.output_size == tuple(gradient.output.shape[2:])
    for place in places:
        for got, want in zip(field.taps(*place), gradient.taps(*place), strict=True):
            np.testing.assert_array_equal(got, want, err_msg=f"cell {place}")


def extent(taps):
    where = np.flatnonzero(taps)
    return where[-1] - where[0] + 1


# The networks of the course


def thin(name):
    """The network of that name with few channels: the same graph, sooner computed."""
    few = {"widths": (2,) * 6, "width": 2, "hidden": 2}
    known = inspect.signature(MODELS[name]).parameters
    return MODELS[name](4, **{key: few[key] for key in few if key in known})


@pytest.mark.parametrize("size", [(64, 96), (50, 74)], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_depends_on_what_moves_it(name, size):
    model = thin(name)
    field = theoretical(model, size)
    assert field.input_size == field.output_size == size
    assert_same_taps(field, GradientOf(model, size), cells(field, 2))


@pytest.mark.parametrize("name", MODELS)
def test_size_is_the_largest_extent_away_from_the_border(name):
    field = theoretical(thin(name), (32, 1024))
    middle = [(5, 480 + phase) for phase in range(0, 32, 5)]
    if field.whole_image:
        assert field.size == (np.inf, np.inf)
        assert all(taps.all() for taps in field.taps(*middle[0]))
    else:
        columns = [field.taps(*cell)[1] for cell in middle]
        assert field.size == (max(map(extent, columns)),) * 2


def test_thin_networks_see_as_far_as_wide_ones():
    for name in ("unet", "deeplabv3plus_nopooling", "dilated_1248", "colour"):
        assert theoretical(thin(name), (64, 64)) == theoretical(build(name, 4), (64, 64))


@pytest.mark.parametrize("stride", [32, 16, 8, 4])
def test_every_map_of_the_encoder(stride):
    """Extents, strides and centres by gradients from the middle of a strip, taps from anywhere."""
    model = Encoder((2,) * 6, stride)
    for k, field in enumerate(theoretical(model, (32, 1024))):
        gradient = GradientOf(model, (32, 1024), output=k)
        width = field.output_size[1]
        assert field.stride == (1024 / width,) * 2
        for column in (width // 2, width // 2 + 1):
            seen = np.flatnonzero(gradient.taps(0, column)[1])
            assert seen[-1] - seen[0] + 1 == field.size[1]
            assert (seen[0] + seen[-1]) / 2 == field.offset[1] + field.stride[1] * column
        assert_same_taps(field, gradient, cells(field, 1))


# Networks of torchvision


def trunk(name, output_stride=32, all_dilated=False):
    """The ResNet up to its last map, with one channel everywhere.

    A stage whose stride is dropped is dilated as torchvision does it, its first convolution still
    with the old rate; with `all_dilated` all of its convolutions take the new one.
    """
    dropped = [
        False,
        output_stride <= 16 and not all_dilated,
        output_stride == 8 and not all_dilated,
    ]
    options = {"replace_stride_with_dilation": dropped} if any(dropped) else {}
    resnet = getattr(torchvision.models, name)(**options)
    rate = 1
    for stage, stride in ((resnet.layer3, 16), (resnet.layer4, 32)):
        if all_dilated and stride > output_stride:
            rate *= 2
            for conv in (m for m in stage.modules() if isinstance(m, nn.Conv2d)):
                far = rate if conv.kernel_size[0] > 1 else 1
                conv.stride, conv.dilation = (1, 1), (far, far)
                conv.padding = tuple(far * (side // 2) for side in conv.kernel_size)
    model = nn.Sequential(*list(resnet.children())[:-2])
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight = nn.Parameter(module.weight[:1, :1].detach())
        elif isinstance(module, nn.BatchNorm2d):
            module.weight = nn.Parameter(torch.ones(1))
            module.bias = nn.Parameter(torch.zeros(1))
            module.running_mean, module.running_var = torch.zeros(1), torch.ones(1)
    return model


@pytest.mark.parametrize(
    ("name", "output_stride", "all_dilated", "size"),
    [
        ("resnet18", 32, False, 435),
        ("resnet18", 16, True, 467),
        ("resnet18", 8, True, 483),
        ("resnet50", 32, False, 427),
        ("resnet50", 16, False, 427),
        ("resnet50", 16, True, 459),
        ("resnet50", 8, False, 427),
        ("resnet50", 8, True, 475),
    ],
)
def test_trunks_of_torchvision(name, output_stride, all_dilated, size):
    model, strip = trunk(name, output_stride, all_dilated), (40, 1024)
    field = theoretical(model, strip, channels=1)
    assert field.size == (size, size)
    assert field.stride == (output_stride, output_stride)
    gradient = GradientOf(model, strip, channels=1)
    column = field.output_size[1] // 2
    assert extent(gradient.taps(0, column)[1]) == size
    assert_same_taps(field, gradient, [*cells(field, 2), (0, column)])


def test_a_classifier_sees_the_whole_image():
    field = theoretical(torchvision.models.resnet18(), (64, 96))
    assert field.whole_image
    assert field.size == (np.inf, np.inf)
    assert field.output_size == (1, 1)
    assert field.box(0, 0) == (0, 0, 64, 96)


def test_a_field_says_what_it_is():
    wide = nn.Conv2d(3, 4, (3, 5), stride=(2, 1))
    assert str(theoretical(wide, (32, 40))) == "3 x 5 pixels, stride 2 x 1"
    assert str(theoretical(build("fcn32s", 4).encoder, (64, 64))[1]) == "12 x 12 pixels, stride 2"
    pooled = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1))
    assert str(theoretical(pooled, (32, 40))).startswith("the whole image")


def test_a_dictionary_of_maps_gives_a_field_for_each():
    model = torchvision.models.segmentation.fcn_resnet50(
        weights=None, weights_backbone=None, aux_loss=True
    )
    out, aux = theoretical(model, (64, 96))
    assert out.output_size == aux.output_size == (64, 96)
    # Their heads, a 3x3 convolution each on cells of 8 pixels, then bilinear to the image.
    assert out.size == (427 + 2 * 8 + 8,) * 2
    assert aux.size == (267 + 2 * 8 + 8,) * 2


# Random networks


class Branches(nn.Module):
    """The same map through several layers, added or concatenated; or gated by its own mean."""

    def __init__(self, branches, join):
        super().__init__()
        self.branches, self.join = nn.ModuleList(branches), join

    def forward(self, x):
        maps = [branch(x) for branch in self.branches]
        return torch.cat(maps, 1) if self.join == "cat" else sum(maps)


class Call(nn.Module):
    """A function as a layer."""

    def __init__(self, function, **options):
        super().__init__()
        self.function, self.options = function, options

    def forward(self, x):
        return self.function(x, **self.options)


def crop(x, top, left):
    return x[:, :, top:-1, left::2]


def random_layer(draw, channels):
    """A layer for `channels` channels, and how many it gives."""

    def below(n):
        return int(draw.integers(n))

    kernel, rate, grown = 1 + below(4), 1 + below(3), 2 * (1 + below(2))
    conv = {"kernel_size": kernel, "dilation": rate, "groups": 1 + below(2)}
    match below(11):
        case 0:
            return nn.Conv2d(channels, grown, stride=1 + below(2), padding=below(4), **conv), grown
        case 1:
            return nn.Conv2d(channels, grown, padding="same", **conv), grown
        case 2:
            mode = ("zeros", "replicate", "reflect")[below(3)]
            return nn.Conv2d(channels, grown, 3, padding=2, padding_mode=mode), grown
        case 3:
            pool = nn.MaxPool2d(2, 1 + below(3), below(2), rate, ceil_mode=bool(below(2)))
            return pool, channels
        case 4:
            pool = nn.AvgPool2d(3, 1 + below(3), below(2), ceil_mode=bool(below(2)))
            return pool, channels
        case 5:
            stride = 1 + below(3)
            layer = nn.ConvTranspose2d(
                channels, grown, kernel, stride, below(2), output_padding=below(stride), dilation=rate + stride - 1
            )  # fmt: skip
            return layer, grown
        case 6:
            return (nn.PixelShuffle(2), 1) if channels == 4 else (nn.ReLU(), channels)
        case 7:
            mode = ("constant", "replicate", "reflect")[below(3)]
            return Call(F.pad, pad=[below(4) for _ in range(4)], mode=mode), channels
        case 8:
            mode = ("nearest", "bilinear")[below(2)]
            return nn.Upsample(scale_factor=2, mode=mode), channels
        case 9:
            return Call(crop, top=below(3), left=below(3)), channels
        case _:
            rates = (1, 2 + below(3))
            branches = [nn.Conv2d(channels, channels, 3, padding=r, dilation=r) for r in rates]
            join = ("add", "cat")[below(2)]
            return Branches([nn.Identity(), *branches], join), channels * (
                3 if join == "cat" else 1
            )


def random_network(seed):
    draw, channels, layers = np.random.default_rng(seed), 2, []
    for _ in range(5):
        layer, channels = random_layer(draw, channels)
        layers += [layer, nn.Conv2d(channels, 4, 1)]
        channels = 4
    return nn.Sequential(*layers)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed):
    model, size = random_network(seed), (41, 52)
    field = theoretical(model, size, channels=2)
    assert_same_taps(field, GradientOf(model, size, channels=2), cells(field, 6, seed))


# Single operations


@pytest.mark.parametrize(
    "options",
    [
        {"size": (7, 23), "mode": "nearest"},
        {"size": (13, 4), "mode": "bilinear", "align_corners": False},
        {"size": (7, 23), "mode": "bilinear", "align_corners": True},
        {"size": (28, 17), "mode": "bilinear", "align_corners": True},
        {"scale_factor": 1.5, "mode": "bilinear", "align_corners": False},
        {"scale_factor": 1.5, "mode": "nearest"},
        {"scale_factor": 3, "mode": "bilinear", "align_corners": False},
        {"scale_factor": (0.5, 2), "mode": "bilinear", "align_corners": False},
    ],
    ids=str,
)
def test_interpolation_reads_its_neighbours(options):
    """A neighbour of weight zero is none; torch's weights are rounded, so small ones are zero."""
    model = Call(F.interpolate, **options)
    image = torch.ones(1, 1, 10, 9, dtype=torch.double, requires_grad=True)
    field, output = theoretical(model, (10, 9)), model(image)
    for cell in [(r, c) for r in range(output.shape[2]) for c in range(output.shape[3])]:
        (gradient,) = torch.autograd.grad(output[0, 0][cell], image, retain_graph=True)
        rows, columns = field.taps(*cell)
        np.testing.assert_array_equal(np.outer(rows, columns), gradient[0, 0] > 1e-6)


def test_half_a_field_lies_outside_at_the_corner():
    field = theoretical(nn.Conv2d(3, 1, 5, stride=2, padding=2, dilation=(1, 3)), (20, 30))
    assert field.size == (5, 13)
    assert field.stride == (2, 2)
    assert field.offset == (0, 4)
    assert field.box(0, 0) == (0, 1, 3, 11)
    rows, columns = field.taps(0, 0)
    assert np.flatnonzero(rows).tolist() == [0, 1, 2]
    assert np.flatnonzero(columns).tolist() == [1, 4, 7, 10]


def test_a_cell_of_padding_alone_reads_nothing():
    field = theoretical(nn.Conv2d(3, 1, 1, padding=1), (4, 5))
    assert field.box(0, 2) == (0, 0, 0, 0)
    assert field.box(1, 2) == (0, 1, 1, 2)


def test_a_gate_by_the_mean_is_the_whole_image():
    class Gated(nn.Module):
        def forward(self, x):
            return x * torch.sigmoid(x.mean((2, 3)))[:, :, None, None]

    class Squeezed(nn.Module):
        def forward(self, x):
            return x * F.adaptive_avg_pool2d(x, 1)

    assert theoretical(Squeezed(), (8, 9)).whole_image
    assert theoretical(Squeezed(), (8, 9)).box(0, 0) == (0, 0, 8, 9)
    with pytest.raises(ValueError, match="not supported: aten.unsqueeze in the model itself"):
        theoretical(Gated(), (8, 9))


# What may go wrong


class SpatialAlign(nn.Module):
    def forward(self, x):
        grid = F.affine_grid(torch.eye(2, 3).expand(2, 2, 3), x.shape, align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)


class Aligned(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.align = nn.Conv2d(3, 3, 3), SpatialAlign()

    def forward(self, x):
        return self.align(self.head(x))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Aligned(), r"aten.grid_sampler in module 'align' \(SpatialAlign\)$"),
        (
            nn.Sequential(nn.InstanceNorm2d(3)),
            r"aten.instance_norm in module '0' \(InstanceNorm2d\)",
        ),
        (Call(torch.flip, dims=[3]), r"aten.flip in the model itself \(Call\)"),
        (Call(torch.roll, shifts=1, dims=3), "aten.roll in"),
        (Call(torch.softmax, dim=3), "aten.softmax in"),
        (Call(torch.mean, dim=3, keepdim=True), "aten.mean in"),
        (Call(torch.transpose, dim0=2, dim1=3), "aten.transpose in"),
        (Call(F.pad, pad=(1, 1, 1, 1), mode="circular"), "aten.pad in"),
        (Call(torch.flatten, start_dim=2), "aten.flatten in"),
        (Call(torch.squeeze, dim=0), "aten.squeeze in"),
        (nn.BatchNorm2d(3, track_running_stats=False), "aten.batch_norm in"),
        (nn.AdaptiveAvgPool2d(2), "aten.adaptive_avg_pool2d in"),
        (nn.Linear(16, 4), "aten.linear in"),
        (Call(lambda x: torch.cat([x, x], 2)), "aten.cat in"),
        (Call(lambda x: x[:, :1]), "aten.slice in"),
        (Call(lambda x: F.conv2d(x, x + 1)), "aten.conv2d in"),
        (Call(lambda x: x.chunk(2, 1)[0]), "aten.chunk in"),
    ],
    ids=lambda value: None if isinstance(value, nn.Module) else value[:20],
)
def test_what_is_not_supported_is_named_with_its_module(model, message):
    with pytest.raises(
        ValueError, match=f"model has an operation that is not supported: {message}"
    ):
        theoretical(model, (16, 16))


@pytest.mark.parametrize("size", [(0, 8), (8,), (8, 8, 8), (8.0, 8), (-1, 2)])
def test_a_size_must_be_two_whole_numbers(size):
    with pytest.raises(ValueError, match="input_size must be two whole numbers from 1 on, got"):
        theoretical(nn.Conv2d(3, 1, 1), size)


def test_a_model_that_cannot_run_says_why():
    with pytest.raises(
        ValueError, match="input_size 33 x 48: images must have sides that 2 divides"
    ):
        theoretical(build("dilated_1111", 4), (33, 48))
    with pytest.raises(ValueError, match="input_size 2 x 2: .*Kernel size can't be greater"):
        theoretical(nn.Conv2d(3, 1, 5), (2, 2))
    with pytest.raises(TypeError, match="model must be a torch.nn.Module, got function"):
        theoretical(crop, (8, 8))


def test_a_cell_outside_is_refused():
    field = theoretical(nn.Conv2d(3, 1, 3), (8, 10))
    for cell, message in (
        ((6, 0), "row must be from 0 to 5, got 6"),
        ((0, -1), "column .* 7, got -1"),
    ):
        with pytest.raises(ValueError, match=message):
            field.taps(*cell)


def marked():
    """A model some of whose modules train and some do not, with gradients of its own."""
    model = build("unet", 4).double()
    model.encoder.stages[0].eval()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    return model


@pytest.mark.parametrize(
    "look",
    [
        lambda model: theoretical(model, (32, 32)),
        lambda model: effective(model, torch.rand(2, 3, 32, 32), (3, 4)),
    ],
    ids=["theoretical", "effective"],
)
def test_the_model_is_left_as_it_was(look):
    model = marked()
    before = copy.deepcopy(model)
    look(model)
    assert [m.training for m in model.modules()] == [m.training for m in before.modules()]
    for got, want in zip(model.state_dict().values(), before.state_dict().values(), strict=True):
        assert torch.equal(got, want)
        assert got.dtype == want.dtype
    assert all((p.grad == 1).all() for p in model.parameters())


# A plain chain of layers


@pytest.mark.parametrize(
    ("rates", "size", "share"),
    [
        ((1, 1, 1), 7, 100),
        ((2, 2, 2), 13, 29),
        ((1, 2, 3), 13, 100),
        ((1, 2, 5), 17, 100),
        ((1, 2, 9), 25, 70.6),
        ((2, 4, 8), 29, 26.8),
        ((1, 2, 4), 15, 100),
        ((4, 4, 4), 25, 7.8),
        ((3, 4, 5), 25, 70.6),
        ((5, 9, 17), 63, 18.4),
    ],
)
def test_paths_show_the_holes_of_dilation(rates, size, share):
    """Wang et al., WACV 2018: which rates leave pixels out."""
    paths = stack_paths([(3, 1, rate) for rate in rates])
    assert paths.dtype == np.int64
    assert len(paths) == size
    assert paths.sum() == 27
    assert round(100 * (paths > 0).mean() ** 2, 0 if share in (29, 100) else 1) == share
    model = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=rate, dilation=rate) for rate in rates))
    field = theoretical(model, (99, 99))
    assert field.size == (size, size)
    reads = np.flatnonzero(field.taps(49, 49)[0])
    np.testing.assert_array_equal(reads, np.flatnonzero(paths) + 49 - size // 2)


def test_paths_through_strides_are_gradients():
    layers = [(3, 2, 1), (2, 2, 3), (4, 1, 2), (3, 3, 1)]
    convolutions = [nn.Conv1d(1, 1, k, s, dilation=d, bias=False) for k, s, d in layers]
    for layer in convolutions:
        nn.init.ones_(layer.weight)
    paths = stack_paths(layers)
    line = torch.zeros(1, len(paths), requires_grad=True)
    output = nn.Sequential(*convolutions)(line)
    assert output.shape == (1, 1)
    output.sum().backward()
    np.testing.assert_array_equal(paths, line.grad[0])


def test_paths_of_nothing_and_of_too_much():
    assert stack_paths([]).tolist() == [1]
    assert stack_paths([(3, 1, 1)] * 39).sum() == 3**39
    with pytest.raises(ValueError, match=r"fewer than 2\*\*63 paths, got 40 layers"):
        stack_paths([(3, 1, 1)] * 40)
    for layer in ((3, 1), (0, 1, 1), (3, 1, 1.5)):
        with pytest.raises(ValueError, match="layers must be .kernel, stride, dilation. from 1 on"):
            stack_paths([layer])


# The effective field


def uniform_stack(layers):
    """3x3 convolutions of one channel, without bias, every weight 1/9."""
    stack = [nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(layers)]
    for layer in stack:
        nn.init.constant_(layer.weight, 1 / 9)
    return nn.Sequential(*stack)


@pytest.mark.parametrize(("layers", "width"), [(5, 9), (10, 13), (20, 19), (50, 29)])
def test_a_stack_of_uniform_convolutions_sees_a_bell(layers, width):
    """Luo et al., NIPS 2016, section 2.2: it spreads as the square root of the depth."""
    side = 2 * layers + 7
    middle = side // 2
    field = effective(uniform_stack(layers), torch.rand(3, 1, side, side + 2), (middle, middle + 1))
    assert field.centre == (middle, middle + 1)
    assert field.heat.dtype == np.float64
    assert field.heat[middle, middle + 1] == field.heat.max() == 1
    np.testing.assert_allclose(field.deviation, (2 * layers / 3) ** 0.5, rtol=1e-4)
    assert (field.heat[middle] > 0.0455).sum() == width
    line = np.ones(1)
    for _ in range(layers):
        line = np.convolve(line, [1, 1, 1])
    bell = np.outer(line, line) / line.max() ** 2
    np.testing.assert_allclose(field.heat[3:-3, 4:-4], bell, atol=1e-5)
    assert field.area == (bell > 0.0455).sum()
    # Half of a round bell lies within 1.18 deviations, 95 % within 2.45.
    assert field.radius(0.5) == pytest.approx(1.18 * (2 * layers / 3) ** 0.5, abs=0.6)
    assert field.radius(0.95) == pytest.approx(2.45 * (2 * layers / 3) ** 0.5, abs=0.6)


def test_heat_is_the_mean_length_of_the_winners_gradients():
    torch.manual_seed(0)
    model, images = nn.Conv2d(2, 3, 3, padding=1), torch.randn(11, 2, 6, 7)
    field = effective(model, images, (2, 3))
    with torch.no_grad():
        winners = model(images)[..., 2, 3].argmax(1)
    assert len(winners.unique()) == 3
    heat = np.zeros((6, 7))
    heat[1:4, 2:5] = model.weight.detach().square().sum(1).sqrt()[winners].mean(0)
    np.testing.assert_allclose(field.heat, heat / heat.max(), rtol=1e-5)


def test_the_centre_of_a_coarse_cell_lies_between_pixels():
    field = effective(nn.AvgPool2d(4), torch.rand(1, 1, 16, 24), (1, 5))
    assert field.pixel == (1, 5)
    assert field.centre == (5.5, 21.5)
    assert field.area == 16
    assert field.radius(0.25) == 0.5**0.5
    assert field.radius(0.26) == 2.5**0.5
    assert field.radius(1) == 4.5**0.5
    assert field.deviation == ((15 / 12) ** 0.5,) * 2


def test_a_field_of_nothing():
    model = nn.Conv2d(1, 1, 1)
    nn.init.zeros_(model.weight)
    field = effective(model, torch.rand(1, 1, 4, 4), (0, 0))
    assert not field.heat.any()
    assert field.area == 0
    assert np.isnan([*field.deviation, field.radius(0.5)]).all()


def test_skipped_images_come_in_company():
    """Nine images are looked at in parts, none of which may hold one alone."""
    field = effective(build("unet_shuffled", 3), torch.rand(9, 3, 32, 32), (5, 5))
    assert field.heat.max() == 1


@pytest.mark.parametrize(
    ("model", "shape", "pixel", "message"),
    [
        (nn.Conv2d(3, 2, 1), (3, 4, 4), (0, 0), r"images must be \(N, C, H, W\).*got \(3, 4, 4\)"),
        (nn.Conv2d(3, 2, 1), (0, 3, 4, 4), (0, 0), r"with N of at least 1, got \(0, 3, 4, 4\)"),
        (nn.Conv2d(3, 2, 1), (1, 3, 4, 5), (4, 0), r"inside the output of 4 x 5, got \(4, 0\)"),
        (nn.Conv2d(3, 2, 1), (1, 3, 4, 5), (0, -1), r"inside the output of 4 x 5, got \(0, -1\)"),
        (nn.Conv2d(3, 2, 1), (1, 3, 4, 5), (0,), r"pixel must be a \(row, column\)"),
        (Encoder(), (1, 3, 32, 32), (0, 0), "model must give one tensor .* it gave list"),
        (nn.Flatten(), (1, 3, 4, 4), (0, 0), r"model must give one tensor .* it gave \(1, 48\)"),
    ],
)
def test_bad_arguments_are_named(model, shape, pixel, message):
    with pytest.raises(ValueError, match=message):
        effective(model, torch.rand(shape), pixel)


@pytest.mark.parametrize("share", [0, 1.01, -0.5])
def test_a_share_is_between_nothing_and_all(share):
    field = effective(nn.Conv2d(1, 1, 3, padding=1), torch.rand(1, 1, 4, 4), (0, 0))
    with pytest.raises(ValueError, match="share must be above 0 and at most 1, got"):
        field.radius(share)

"""The encoder, FCN and U-Net: shapes, switches, odd sizes, and what each map is used for."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from helpers import checkpoints
from helpers.models import FCN, FPN, MODELS, Encoder, ShuffledUNet, UNet, build, count_parameters
from helpers.models.encoder import WIDTHS, Halve
from helpers.scenes import render
from helpers.upsampling import UPSAMPLERS

UNEQUAL = (2, 3, 4, 5, 6, 7)
"""Widths that cannot be mistaken for each other."""


@pytest.fixture
def images():
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def lively(model):
    """`model` for evaluation, in double precision, and such that every map varies and counts.

    Batch normalisation knows the statistics of one batch; no score layer is zero.
    """
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1
    for layer in getattr(model, "skip_scores", []):
        torch.nn.init.normal_(layer.weight)
        torch.nn.init.normal_(layer.bias)
    with torch.no_grad():
        model.double()(torch.rand(2, 3, 64, 96, dtype=torch.double))
    return model.eval()


def up(scores, factor=2):
    return F.interpolate(scores, scale_factor=factor, mode="bilinear", align_corners=False)


def test_encoder_halves_five_times(images):
    encoder = Encoder()
    for k, features in enumerate(encoder(images)):
        assert features.shape == (2, encoder.widths[k], 64 >> k, 96 >> k)


@pytest.mark.parametrize("stride", [32, 16, 8, 4])
def test_output_stride_sets_the_size_of_the_deepest_map(images, stride):
    assert Encoder(output_stride=stride)(images)[-1].shape[-2:] == (64 // stride, 96 // stride)


@pytest.mark.parametrize("stride", [16, 8, 4])
def test_same_weights_give_the_same_numbers_at_the_old_positions(stride):
    """Remove a stride, dilate what follows: nothing changes but the density, borders included."""
    torch.manual_seed(0)
    sparse, dense = Encoder().eval(), Encoder(output_stride=stride).eval()
    dense.load_state_dict(sparse.state_dict())
    images = torch.rand(1, 3, 96, 160)
    with torch.inference_mode():
        want, got = sparse(images)[-1], dense(images)[-1]
    step = 32 // stride
    torch.testing.assert_close(got[..., ::step, ::step], want)


def test_pool_without_stride_holds_the_strided_values():
    x = torch.rand(1, 4, 8, 10)
    assert torch.equal(Halve(1)(x)[..., ::2, ::2], Halve(2)(x))
    assert Halve(1)(x).shape == x.shape


@pytest.mark.parametrize("skips", range(4))
def test_skips_add_one_score_layer_each_and_start_silent(images, skips):
    torch.manual_seed(0)
    model = FCN(5, skips=skips).eval()
    plain = FCN(5).eval()
    plain.encoder.load_state_dict(model.encoder.state_dict())
    plain.score.load_state_dict(model.score.state_dict())
    assert len(model.skip_scores) == skips
    with torch.inference_mode():
        got, want = model(images), plain(images)
    assert got.shape == (2, 5, 64, 96)
    if skips == 0:
        assert torch.equal(got, want)
    # Zero-initialised scores leave only what repeated bilinear upsampling makes of the deepest one.
    assert (got - want).abs().mean() < 0.3 * want.std()


def test_skips_carry_detail_once_they_are_not_zero(images):
    model = FCN(5, skips=3).eval()
    before = model(images)
    torch.nn.init.normal_(model.skip_scores[2].weight)
    assert not torch.allclose(model(images), before)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (1, 5), (96, 128), (90, 121)])
def test_any_size_comes_back(size):
    model = FCN(3, skips=2).eval()
    assert model(torch.rand(1, 3, *size)).shape == (1, 3, *size)


def test_odd_sizes_keep_their_place():
    """Padding goes right and below, so what lies far from it is what a padded image gives."""
    torch.manual_seed(0)
    model = FCN(3).eval()
    image = torch.rand(1, 3, 50, 70)
    padded = F.pad(image, (0, 96 - 70, 0, 64 - 50), mode="replicate")
    torch.testing.assert_close(model(image), model(padded)[..., :50, :70])


def test_fcn32s_is_bilinear_upsampling_of_its_cells(images):
    model = FCN(3).eval()
    with torch.inference_mode():
        cells = model.score(model.encoder((images - 0.45) / 0.25)[-1])
        want = F.interpolate(cells, scale_factor=32, mode="bilinear", align_corners=False)
        torch.testing.assert_close(model(images), want)


# FCN with other upsampling


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
@pytest.mark.parametrize("size", [(96, 128), (65, 77), (33, 40), (1, 1)])
def test_any_size_comes_back_from_every_upsampler(upsampler, size):
    model = FCN(3, upsampler=upsampler, widths=UNEQUAL).eval()
    assert model(torch.rand(2, 3, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("upsampler", ["bilinear", "nearest", "transposed_k3", "resize_conv"])
@pytest.mark.parametrize("skips", range(4))
@pytest.mark.parametrize("output_stride", [32, 16, 8, 4])
def test_every_layer_is_used_at_every_stride(upsampler, skips, output_stride):
    """One doubling per factor of 2 in the output stride, shared out between the skips."""
    model = FCN(3, skips, output_stride, UNEQUAL, upsampler)
    steps = {32: 5, 16: 4, 8: 3, 4: 2}[output_stride]
    assert len(model.doublings) == (0 if upsampler == "bilinear" else steps)
    logits = model(torch.rand(2, 3, 33, 70))
    assert logits.shape == (2, 3, 33, 70)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_fcn8s_is_a_sum_of_scores_enlarged_step_by_step(images):
    model = lively(FCN(3, skips=2))
    with torch.inference_mode():
        *_, c3, c4, c5 = model.encoder((images.double() - 0.45) / 0.25)
        by_16 = up(model.score(c5)) + model.skip_scores[0](c4)
        by_8 = up(by_16) + model.skip_scores[1](c3)
        torch.testing.assert_close(model(images.double()), up(by_8, 8))


@pytest.mark.parametrize("upsampler", [name for name in UPSAMPLERS if name != "bilinear"])
def test_learned_doublings_stand_in_order_between_the_skips(images, upsampler):
    model = lively(FCN(3, skips=2, upsampler=upsampler))
    first, second, *rest = model.doublings
    with torch.inference_mode():
        *_, c3, c4, c5 = model.encoder((images.double() - 0.45) / 0.25)
        by_16 = first(model.score(c5)) + model.skip_scores[0](c4)
        want = second(by_16) + model.skip_scores[1](c3)
        for layer in rest:
            want = layer(want)
        torch.testing.assert_close(model(images.double()), want)


@pytest.mark.parametrize("upsampler", UPSAMPLERS)
def test_enlarge_alone_brings_scores_to_full_size(images, upsampler):
    model = lively(FCN(3, upsampler=upsampler))
    with torch.inference_mode():
        cells = model.score(model.encoder((images.double() - 0.45) / 0.25)[-1])
        full = model.enlarge(cells, (64, 96))
        assert torch.equal(full, model.enlarge(cells, (64, 96)))  # from the first layer each time
        torch.testing.assert_close(model(images.double()), full)
        assert model.enlarge(cells, (8, 12)).shape == (2, 3, 8, 12)


@pytest.mark.parametrize("upsampler", [name for name in UPSAMPLERS if name != "bilinear"])
@pytest.mark.parametrize("skips", [1, 2, 3])
def test_with_the_same_doublings_a_skip_changes_nothing_at_first(images, upsampler, skips):
    """The bilinear FCN comes close only: two bilinear steps are not one, see the test above."""
    plain, model = FCN(3, upsampler=upsampler).eval(), FCN(3, skips, upsampler=upsampler).eval()
    missing, unknown = model.load_state_dict(plain.state_dict(), strict=False)
    assert {name.split(".")[0] for name in missing} == {"skip_scores"}
    assert not unknown
    with torch.inference_mode():
        torch.testing.assert_close(model(images), plain(images))


@pytest.mark.parametrize("upsampler", ["bilinear", "transposed_bilinear"])
@pytest.mark.parametrize("skips", range(4))
def test_fcn_reads_as_many_finer_maps_as_it_has_skips(images, upsampler, skips):
    model = lively(FCN(3, skips, widths=UNEQUAL, upsampler=upsampler))
    maps = [f.detach().requires_grad_() for f in model.encoder(images.double())]
    model.encoder.forward = lambda _: maps
    model(images.double()).square().sum().backward()
    read = [k for k, features in enumerate(maps) if features.grad is not None]
    assert read == list(range(5 - skips, 6))
    assert all((maps[k].grad != 0).all() for k in read)


def test_transposed_bilinear_starts_as_five_bilinear_steps(images):
    """Away from the border, where the two differ (see the tests of upsampling)."""
    model = lively(FCN(3, upsampler="transposed_bilinear"))
    image = torch.rand(1, 3, 32 * 8, 32 * 9, dtype=torch.double)
    with torch.inference_mode():
        want = model.score(model.encoder((image - 0.45) / 0.25)[-1])
        for _ in range(5):
            want = up(want)
        inside = (..., slice(32, -32), slice(32, -32))
        torch.testing.assert_close(model(image)[inside], want[inside])


def test_the_bilinear_fcn_has_no_weights_but_those_it_had():
    parts = {name.split(".")[0] for name in FCN(3, skips=3).state_dict()}
    assert parts == {"encoder", "score", "skip_scores"}


def test_the_shipped_fcn32s_still_loads(monkeypatch):
    def fail(*_):
        raise AssertionError("the shipped file does not fit, training would begin")

    monkeypatch.delenv("PIXELWISE_RETRAIN", raising=False)
    monkeypatch.setattr(checkpoints, "_train", fail)
    checkpoint = checkpoints.load_or_train("fcn32s")
    assert isinstance(checkpoint.model, FCN)
    assert not checkpoint.trained_now


# U-Net


def block(joined, out):
    """Numbers in a 3x3 convolution without bias and a batch normalisation: scale and shift."""
    return 9 * joined * out + 2 * out


def encoder_parameters(widths):
    pairs = pairwise(widths)
    return block(3, widths[0]) + sum(block(a, b) + block(b, b) for a, b in pairs)


@pytest.mark.parametrize("widths", [WIDTHS, UNEQUAL])
@pytest.mark.parametrize("num_classes", [2, 8])
def test_parameters_counted_by_hand(widths, num_classes):
    a, b, c, d, e, f = widths
    shared = encoder_parameters(widths)
    assert count_parameters(Encoder(widths)) == shared
    for skips in range(4):
        scored = (f, e, d, c)[: skips + 1]
        want = shared + sum((width + 1) * num_classes for width in scored)
        assert count_parameters(FCN(num_classes, skips, widths=widths)) == want
    last = (a + 1) * num_classes
    plain = block(f, e) + block(e, d) + block(d, c) + block(c, b) + block(b, a)
    joined = block(f + e, e) + block(e + d, d) + block(d + c, c) + block(c + b, b) + block(b + a, a)
    assert count_parameters(UNet(num_classes, False, widths)) == shared + plain + last
    assert count_parameters(UNet(num_classes, True, widths)) == shared + joined + last
    assert count_parameters(ShuffledUNet(num_classes, widths=widths)) == shared + joined + last


def test_skips_are_the_only_switch():
    """With or without them: the same weights by name, five kernels of another depth."""
    with_skips, without = UNet(3).state_dict(), UNet(3, skips=False).state_dict()
    assert with_skips.keys() == without.keys()
    differ = [name for name in without if without[name].shape != with_skips[name].shape]
    assert differ == [f"decoder.{k}.0.weight" for k in range(5)]


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("size", [(96, 128), (65, 77), (33, 40), (1, 1)])
def test_any_size_comes_back_from_unet(skips, size):
    model = lively(UNet(3, skips, UNEQUAL))
    image = torch.rand(1, 3, *size, dtype=torch.double)
    down, right = -size[0] % 32, -size[1] % 32
    padded = F.pad(image, (0, right, 0, down), mode="replicate")
    with torch.inference_mode():
        torch.testing.assert_close(model(image), model(padded)[..., : size[0], : size[1]])
        assert model(image).shape == (1, 3, *size)


@pytest.mark.parametrize("skips", [True, False])
def test_unet_doubles_joins_and_convolves(images, skips):
    model = lively(UNet(3, skips))
    with torch.inference_mode():
        maps = model.encoder((images.double() - 0.45) / 0.25)
        x = maps[5]
        for stage, finer in zip(model.decoder, reversed(maps[:5]), strict=True):
            x = stage(torch.cat([up(x), finer], dim=1) if skips else up(x))
        want = model.score(x)
        torch.testing.assert_close(model.decode(maps), want)
        torch.testing.assert_close(model(images.double()), want)


@pytest.mark.parametrize("skips", [True, False])
def test_a_finer_map_matters_only_where_there_is_a_skip(images, skips):
    model = lively(UNet(3, skips))
    with torch.inference_mode():
        maps = model.encoder((images.double() - 0.45) / 0.25)
        before = model.decode(maps)
        for level in range(6):
            muted = [m * 0 if k == level else m for k, m in enumerate(maps)]
            after = model.decode(muted)
            if skips or level == 5:
                assert (after - before).abs().mean() > 0.1 * before.std()
            else:
                assert torch.equal(after, before)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "unet_shuffled"])
def test_an_image_is_judged_alone(name, images):
    """In evaluation no other image of the batch has a say."""
    model = lively(build(name, 3))
    with torch.inference_mode():
        both, second = model(images.double()), model(images.double()[1:])
    torch.testing.assert_close(both[1:], second)


def test_shuffled_skips_come_from_the_image_before():
    model = lively(ShuffledUNet(3))
    plain = lively(UNet(3))
    plain.load_state_dict(model.state_dict())
    images = torch.rand(3, 3, 32, 64, dtype=torch.double)
    with torch.inference_mode():
        maps = model.encoder((images - 0.45) / 0.25)
        want = [
            plain.decode([*(level[[k - 1]] for level in maps[:5]), maps[5][[k]]]) for k in range(3)
        ]
        torch.testing.assert_close(model(images), torch.cat(want))
        assert not torch.allclose(model(images), plain(images))
        alike = images[:1].expand(2, -1, -1, -1)
        torch.testing.assert_close(model(alike), plain(alike))


@pytest.mark.parametrize(
    ("model", "reach"),
    [(UNet(3), 190), (UNet(3, skips=False), 190), (FCN(3, skips=3), 158), (FCN(3), 144)],
    ids=["unet", "unet_noskip", "fcn4s", "fcn32s"],
)
def test_logits_move_with_the_image_by_32_pixels(model, reach):
    """Farther than `reach` from the border; by less than the stride they do not move along.

    For FCN-32s: a cell sees 125 pixels beyond its own 32, so that the first four see the border,
    and the tent of the fourth ends at the centre of the fifth, 144 pixels in.
    """
    model = lively(model)
    strip = torch.rand(1, 3, 32, 640, dtype=torch.double)
    with torch.inference_mode():
        here = model(strip[..., :-32])
        for shift, moves in ((32, True), (16, False)):
            there = model(strip[..., shift : 608 + shift])
            want, got = here[..., shift:][..., reach:-reach], there[..., :-shift][..., reach:-reach]
            assert torch.allclose(got, want) == moves


def test_unet_learns_one_scene_by_heart():
    torch.manual_seed(0)
    scene = render(0, 3)
    image = torch.from_numpy(scene.image).permute(2, 0, 1)[None, :, :64, :96] / 255
    mask = torch.from_numpy(scene.mask).long()[None, :64, :96]
    model = UNet(8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        loss = F.cross_entropy(model(image), mask, ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model(image).argmax(1) == mask).float().mean() > 0.95


# All of them


def test_names_say_what_they_build():
    for name, skips in {"fcn32s": 0, "fcn16s": 1, "fcn8s": 2, "fcn4s": 3}.items():
        assert len(build(name, 3).skip_scores) == skips
        assert build(name, 3).upsampler == "bilinear"
    assert build("unet", 3).skips
    assert not build("unet_noskip", 3).skips
    assert isinstance(build("unet_shuffled", 3), ShuffledUNet)
    for upsampler in set(UPSAMPLERS) - {"bilinear"}:
        model = build(f"fcn32s_{upsampler}", 3)
        assert model.upsampler == upsampler
        assert len(model.skip_scores) == 0
    assert "fcn32s_bilinear" not in MODELS


@pytest.mark.parametrize("name", MODELS)
def test_every_named_model_trains_a_step(name, images):
    model = build(name, 4)
    logits = model(images)
    assert logits.shape == (2, 4, 64, 96)
    logits.mean().backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    assert count_parameters(model) == sum(g.numel() for g in gradients)


def test_the_colour_classifier_sees_one_pixel_only():
    model = build("colour", 3).eval()
    image = torch.rand(1, 3, 8, 8)
    other = image.clone()
    other[..., 4, 5] = 0
    changed = (model(image) != model(other)).any(1)[0]
    assert changed[4, 5]
    assert changed.sum() == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FCN(1), "num_classes must be at least 2, got 1"),
        (lambda: FCN(3, skips=4), "skips must be 0, 1, 2 or 3, got 4"),
        (lambda: FCN(3, skips=-1), "skips must be 0, 1, 2 or 3, got -1"),
        (lambda: FCN(3, upsampler="cubic"), "upsampler must be one of nearest, .*got 'cubic'"),
        (lambda: FCN(3, output_stride=12), "output_stride must be one of .*got 12"),
        (lambda: Encoder(widths=(8, 8)), "widths must hold six"),
        (lambda: UNet(1), "num_classes must be at least 2, got 1"),
        (lambda: UNet(3, skips=1), "skips must be True or False, got 1"),
        (lambda: UNet(3, skips=None), "skips must be True or False, got None"),
        (lambda: UNet(3, widths=(8, 8)), "widths must hold six"),
        (lambda: UNet(3)(torch.rand(3, 8, 8)), r"images must be \(N, 3, H, W\), got \(3, 8, 8\)"),
        (lambda: UNet(3)(torch.rand(1, 4, 8, 8)), r"got \(1, 4, 8, 8\)"),
        (lambda: ShuffledUNet(3)(torch.rand(1, 3, 64, 64)), "images must be at least two.*got 1"),
        (lambda: build("fcn64s", 3), "name must be one of colour, fcn32s.*'fcn64s'"),
        (lambda: FCN(3)(torch.rand(3, 8, 8)), r"images must be \(N, 3, H, W\), got \(3, 8, 8\)"),
        (lambda: FCN(3)(torch.rand(1, 1, 8, 8)), r"got \(1, 1, 8, 8\)"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_every_map_of_the_pyramid_reaches_the_scores(images):
    """Silence one lateral path after the other: the answer changes each time."""
    model = lively(FPN(5))
    want = model(images.double())
    for lateral in (*model.lateral, model.pooled):
        weight = lateral[1].weight
        kept = weight.detach().clone()
        torch.nn.init.zeros_(weight)
        assert not torch.allclose(model(images.double()), want)
        weight.data.copy_(kept)
    assert torch.equal(model(images.double()), want)


def test_the_pyramid_scores_at_stride_2(images):
    """Four scores a cell of stride 4, each enlarged from its own place: not from the cell's."""
    model = lively(FPN(5))
    scores = []
    model.score.register_forward_hook(lambda _, __, output: scores.append(output))
    logits = model(images.double())
    assert scores[0].shape == (2, 5, 32, 48)
    torch.testing.assert_close(logits, up(scores[0]))


def test_the_pyramid_refuses_a_single_class():
    with pytest.raises(ValueError, match="num_classes must be at least 2, got 1"):
        FPN(1)

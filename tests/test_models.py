"""The encoder and FCN: shapes, switches, odd sizes, and what dilation keeps."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from helpers.models import FCN, MODELS, Encoder, build, count_parameters
from helpers.models.encoder import Halve


@pytest.fixture
def images():
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def test_encoder_halves_five_times(images):
    encoder = Encoder()
    for k, features in enumerate(encoder(images)):
        assert features.shape == (2, encoder.widths[k], 64 >> k, 96 >> k)


@pytest.mark.parametrize("stride", [32, 16, 8, 4])
def test_output_stride_sets_the_size_of_the_deepest_map(images, stride):
    assert Encoder(output_stride=stride)(images)[-1].shape[-2:] == (64 // stride, 96 // stride)


@pytest.mark.parametrize("stride", [16, 8, 4])
def test_same_weights_give_the_same_numbers_at_the_old_positions(stride):
    """Remove a stride, dilate what follows: away from the border nothing changes but the density."""
    torch.manual_seed(0)
    sparse, dense = Encoder().eval(), Encoder(output_stride=stride).eval()
    dense.load_state_dict(sparse.state_dict())
    # Large enough that the middle of the coarsest map sees no padding.
    images = torch.rand(1, 3, 512, 512)
    with torch.inference_mode():
        want, got = sparse(images)[-1], dense(images)[-1]
    step = 32 // stride
    middle = slice(6, 10)
    torch.testing.assert_close(
        got[..., ::step, ::step][..., middle, middle], want[..., middle, middle]
    )


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
        (lambda: FCN(3, output_stride=12), "output_stride must be one of .*got 12"),
        (lambda: Encoder(widths=(8, 8)), "widths must hold six"),
        (lambda: build("fcn64s", 3), "name must be one of colour, fcn32s.*'fcn64s'"),
        (lambda: FCN(3)(torch.rand(3, 8, 8)), r"images must be \(N, 3, H, W\), got \(3, 8, 8\)"),
        (lambda: FCN(3)(torch.rand(1, 1, 8, 8)), r"got \(1, 1, 8, 8\)"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()

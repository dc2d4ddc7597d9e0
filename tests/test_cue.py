"""The cue task: patches that hold what they say, and nets whose reach is that of the formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import datasets, training
from helpers.models import DilatedStack
from helpers.receptive_field import cue_patches, cue_points, functional, theoretical
from helpers.receptive_field.cue import SIDE

MIDDLE = SIDE // 2


def markers(patches):
    """Bool (N, SIDE, SIDE): the saturated pixels, which noise never is; and red or not (N,)."""
    images = patches.images.int()
    there = (images[:, 0] - images[:, 2]).abs() == 200
    there &= images[:, 1] == 30
    red = (images[:, 0] == 230) & there
    return there.numpy(), red.flatten(1).any(1).numpy()


@pytest.mark.parametrize("distances", [(1,), (4, 9), (17,)])
def test_a_marker_lies_where_its_offset_says(distances):
    patches = cue_patches(200, distances, seed=3)
    there, red = markers(patches)
    assert (there.sum((1, 2)) == 16).all()
    labels = patches.masks[:, MIDDLE, MIDDLE].numpy()
    assert (labels == np.where(red, 0, 1)).all()
    for seen, offset in zip(there, patches.offsets, strict=True):
        rows, columns = np.nonzero(seen)
        assert np.ptp(rows) == np.ptp(columns) == 3
        away = np.abs([rows - MIDDLE, columns - MIDDLE]).min(1)
        assert tuple(away) == tuple(abs(offset))  # its nearest pixel, along both axes
        assert sorted(away)[0] == 0 and sorted(away)[1] in distances
    assert len({tuple(np.sign(o)) for o in patches.offsets}) == 4, "all four directions come"


def test_a_point_may_be_anywhere_but_in_the_middle():
    patches = cue_points(4000, reach=3)
    there, _ = markers(patches)
    assert (there.sum((1, 2)) == 1).all()
    places = np.argwhere(there)[:, 1:] - MIDDLE
    assert (places == patches.offsets).all()
    everywhere = {(y, x) for y in range(-3, 4) for x in range(-3, 4)} - {(0, 0)}
    assert {tuple(p) for p in places.tolist()} == everywhere


def test_only_the_middle_has_a_label_and_the_seed_settles_all():
    patches, again = cue_patches(50, range(1, 18), seed=5), cue_patches(50, range(1, 18), seed=5)
    assert torch.equal(patches.images, again.images) and torch.equal(patches.masks, again.masks)
    patches.masks[:, MIDDLE, MIDDLE] = 255
    assert (patches.masks == 255).all()
    assert not torch.equal(patches.images, cue_patches(50, range(1, 18), seed=6).images)


def test_colour_is_independent_of_place():
    patches = cue_patches(6000, range(1, 18))
    labels = patches.masks[:, MIDDLE, MIDDLE].numpy()
    for part in (patches.offsets[:, 0], patches.offsets[:, 1], abs(patches.offsets).max(1)):
        assert abs(np.corrcoef(part, labels)[0, 1]) < 0.05


def test_a_net_that_looks_only_at_some_pixels_is_right_exactly_there():
    class Peephole(torch.nn.Module):
        """Red minus blue, summed over the square of radius 5 around each pixel."""

        def __init__(self):
            super().__init__()
            self.place = torch.nn.Parameter(torch.zeros(()))

        def forward(self, images):
            difference = (images[:, :1] - images[:, 2:]).where(
                images[:, 1:2] < 0.13, torch.zeros(())
            )
            total = torch.nn.functional.avg_pool2d(difference, 11, 1, 5)
            return torch.cat([total, -total], 1)

    patches = cue_patches(3000, range(1, 18))
    right = functional(Peephole(), patches)
    away = abs(patches.offsets).max(1)
    assert right[away <= 5].all()
    assert abs(right[away > 5].float().mean() - 0.5) < 0.05


@pytest.mark.parametrize("rates", [(1, 1), (1, 3), (2, 2)])
def test_a_trained_stack_sees_as_far_as_the_formula_says(rates):
    torch.manual_seed(0)
    net = DilatedStack(2, rates, stride=1, width=8)
    near = range(1, 8)
    training.fit(
        net, cue_patches(1536, near), epochs=4, learning_rate=2e-2, batch_size=64, progress=False
    )
    exam = cue_patches(7 * 800, near, seed=1)
    right, away = functional(net, exam), abs(exam.offsets).max(1)
    reach = theoretical(net, (SIDE, SIDE)).size[0] // 2
    assert reach == sum(rates)
    for distance in near:
        accuracy = right[away == distance].float().mean()
        if distance <= reach:
            assert accuracy >= 0.95
        else:
            assert abs(accuracy - 0.5) < 0.08  # four standard errors of 800 coins


def test_patches_are_a_data_set_like_any_other():
    patches = cue_patches(4, (2,))
    image, mask = patches[0]
    assert image.dtype == torch.float32 and image.min() >= 0 and image.max() <= 1
    assert mask.dtype == torch.int64
    images, masks = datasets.as_tensors(patches)
    assert images.shape == (4, 3, SIDE, SIDE) and masks.shape == (4, SIDE, SIDE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cue_patches(0, (1,)), "count must be at least 1, got 0"),
        (lambda: cue_patches(3, ()), r"distances must lie from 1 to 17, got \[\]"),
        (lambda: cue_patches(3, (5, 18)), r"distances must lie from 1 to 17, got \[5, 18\]"),
        (lambda: cue_points(3, 21), "reach must be from 1 to 20, got 21"),
        (lambda: cue_points(-1, 2), "count must be at least 1, got -1"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()

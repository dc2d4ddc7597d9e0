"""The stride ceiling: what free cells can say at best."""

from __future__ import annotations

import pytest
import torch

from helpers import datasets
from helpers.ceiling import best_cells


@pytest.fixture(scope="module")
def masks():
    return datasets.as_tensors(datasets.load("streets", "val", count=3))[1]


def test_a_cell_for_every_pixel_says_everything(masks):
    assert torch.equal(best_cells(masks, 1, 8), masks)


def test_the_finer_the_cells_the_more_they_say(masks):
    right = [(best_cells(masks, s, 8) == masks).double().mean() for s in (32, 16, 8, 4)]
    assert right == sorted(right)


def test_a_straight_edge_between_two_cells_is_found_wherever_it_lies():
    """Logits cross anywhere between the middles of two cells: the point of upsampling scores."""
    for edge in range(5, 12):
        mask = (torch.arange(16) >= edge).long().expand(1, 16, 16)
        assert torch.equal(best_cells(mask, 8, 2, steps=200), mask), edge


def test_void_has_no_say(masks):
    hidden = masks.clone()
    hidden[:, 20:60, 30:90] = 255
    seen = hidden != 255
    agreement = (best_cells(hidden, 4, 8) == masks)[seen].double().mean()
    assert agreement >= (best_cells(masks, 4, 8) == masks)[seen].double().mean() - 0.01


def test_any_size_will_do(masks):
    assert best_cells(masks[:, :70, :45], 32, 8).shape == (3, 70, 45)


def test_bad_arguments_are_named(masks):
    with pytest.raises(ValueError, match=r"masks must be \(N, H, W\), got \(96, 128\)"):
        best_cells(masks[0], 8, 8)
    with pytest.raises(ValueError, match="stride must be at least 1, got 0"):
        best_cells(masks, 0, 8)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        best_cells(masks, 8, 8, steps=0)

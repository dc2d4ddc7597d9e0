"""BranchExplorer, the Python half: what it computes, refuses, sends and prints."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import checkpoints, datasets
from helpers.classes import CAMVID, IGNORE_INDEX, STREETS
from helpers.models.deeplab import DeepLab
from helpers.models.unet import UNet
from helpers.training import predict_logits, predict_masks
from helpers.widgets.branch_explorer import BranchExplorer, masks_without_branches

N, H, W = 3, 40, 52  # neither side is a multiple of 32
NETWORKS = {
    "v3": {"decoder": False},
    "v3+": {},
    "stride 8": {"output_stride": 8, "rates": (2, 4), "decoder": False},
    "one branch": {"rates": (), "image_pooling": False},
    "six branches": {"rates": (1, 2, 3, 4)},
}


def blocks() -> np.ndarray:
    """Pictures of coloured blocks: float32 (3, 3, 40, 52)."""
    return (
        np.random.default_rng(0).random((N, 3, 5, 7), np.float32).repeat(8, 2).repeat(8, 3)[..., :W]
    )


def random_deeplab(**options) -> DeepLab:
    """A small DeepLab, untrained but with the statistics of `blocks`: every branch matters."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DeepLab(8, widths=(8,) * 6, **options)
        torch.nn.init.normal_(model.score.weight, std=0.3)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.from_numpy(blocks()))
    return model.eval()


@pytest.fixture
def parts() -> dict:
    """Arguments of a small explorer: blocky images, truths with void and without a person."""
    rng = np.random.default_rng(0)
    truths = rng.choice([0, 1, 2, 3, 4, 5, 7], (N, H // 8, 7)).repeat(8, 1).repeat(8, 2)[..., :W]
    truths[:, :4, :4] = IGNORE_INDEX
    return {"model": random_deeplab(), "images": blocks(), "truths": truths, "classes": STREETS}


def by_hand(model: DeepLab, images: torch.Tensor, kept: set[str]) -> torch.Tensor:
    """Logits while every branch but those kept gives its mean over all images and cells."""

    def mean(_module, _inputs, response):
        return response.mean((0, 2, 3), keepdim=True).expand_as(response)

    branches = model.aspp.branches.items()
    handles = [b.register_forward_hook(mean) for name, b in branches if name not in kept]
    logits = predict_logits(model, images)
    for handle in handles:
        handle.remove()
    return logits


@pytest.mark.parametrize("size", [(64, 32), (45, 43)])
@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
def test_each_index_is_the_network_with_those_branches_at_their_means(parts, options, size):
    model = random_deeplab(**options)
    images = torch.nn.functional.interpolate(torch.from_numpy(parts["images"]), size)
    names = list(model.aspp.branches)
    masks, samples = masks_without_branches(model, images)
    assert masks.shape == (2 ** len(names), N, *size)
    rows, columns = (np.arange(4, side, 8) for side in size)
    assert samples.shape == (2 ** len(names), N, 8, len(rows), len(columns))
    assert masks.dtype == samples.dtype == np.uint8
    np.testing.assert_array_equal(masks[-1], predict_masks(model, images))
    for index in range(2 ** len(names)):
        logits = by_hand(model, images, {n for k, n in enumerate(names) if index >> k & 1})
        np.testing.assert_array_equal(masks[index], logits.argmax(1))
        expected = logits.softmax(1)[:, :, rows][..., columns]
        np.testing.assert_allclose(samples[index] / 255, expected, rtol=0, atol=0.51 / 255)
    if "image pooling" in names:  # or the order of the choices would not show
        assert len(np.unique(samples.reshape(len(masks), -1), axis=0)) == len(masks)
        assert ((samples > 25) & (samples < 230)).any()


def test_without_any_branch_and_decoder_no_place_or_picture_differs(parts):
    _, samples = masks_without_branches(random_deeplab(decoder=False), parts["images"])
    spread = np.ptp(samples.astype(int), axis=(1, 3, 4)).max(axis=1)
    assert (spread > 1).tolist() == [False] + [True] * 31


def test_over_one_image_muting_the_image_pooling_changes_nothing(parts):
    masks, samples = masks_without_branches(parts["model"], parts["images"][:1])
    np.testing.assert_array_equal(masks[16:], masks[:16])
    assert np.abs(samples[16:].astype(int) - samples[:16]).max() <= 1


def test_the_encoder_sees_each_image_once_and_batches_share_their_means(parts):
    model, images = parts["model"].train(), parts["images"]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    seen = []
    model.encoder.register_forward_hook(lambda _m, inputs, _f: seen.append(len(inputs[0])))
    masks, samples = masks_without_branches(model, images)
    assert seen == [3]
    again, in_batches = masks_without_branches(model, images, batch_size=2)
    assert seen == [3, 2, 1]
    assert (again == masks).mean() > 0.999  # sums in another order may tip a tie
    assert np.abs(in_batches.astype(int) - samples).max() <= 1
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("argument", "spoil", "message"),
    [
        ("model", lambda a: UNet(8), "model must be a DeepLab, got UNet"),
        (
            "model",
            lambda a: random_deeplab(rates=(1, 2, 3, 4, 5)),
            r"model must have at most 6 branches, got 7: \['1x1', 'rate 1',",
        ),
        ("classes", lambda a: CAMVID, "model must score the 11 classes, got 8"),
        ("images", lambda a: a["images"] * 2 - 1, r"images must lie in \[0, 1\]"),
        ("images", lambda a: a["images"][:, 0], r"images must be float \(N, 3, H, W\)"),
        ("images", lambda a: a["images"][..., :7], "images must be at least 8 x 8 .* got 40 x 7"),
        ("truths", lambda a: a["truths"][:, 1:], r"truths must be integers \(3, 40, 52\)"),
    ],
)
def test_what_does_not_fit_is_named(parts, argument, spoil, message):
    with pytest.raises(ValueError, match=message):
        BranchExplorer(**parts | {argument: spoil(parts)})


@pytest.mark.parametrize(
    ("trait", "value", "message"),
    [
        ("index", 3, "index must be from 0 to 2; got 3"),
        ("kept", ["rate 6"], r"kept must hold branches out of \('1x1', .*; got \['rate 6'\]"),
        ("view", "error", "view must be one of classes, errors, boundary errors"),
        ("opacity", -0.1, "opacity must be from 0 to 1"),
        ("row", 40, "row must be from 0 to 39; got 40"),
        ("column", -1, "column must be from 0 to 51; got -1"),
    ],
)
def test_a_control_out_of_range_is_refused_and_stays(parts, trait, value, message):
    explorer = BranchExplorer(**parts)
    before = getattr(explorer, trait)
    with pytest.raises(ValueError, match=message):
        setattr(explorer, trait, value)
    assert getattr(explorer, trait) == before


def test_it_opens_with_all_branches_and_keeps_them_in_order(parts):
    explorer = BranchExplorer(**parts)
    assert explorer.kept == ["1x1", "rate 1", "rate 2", "rate 3", "image pooling"]
    explorer.kept = ["rate 3", "1x1"]
    assert explorer.kept == ["1x1", "rate 3"]


def test_the_chosen_pixel_moves_to_the_nearest_one_that_is_sampled(parts):
    explorer = BranchExplorer(**parts)
    for trait, side in (("row", H), ("column", W)):
        sampled = range(4, side, 8)
        for pixel in range(side):
            explorer.set_trait(trait, pixel)
            moved = getattr(explorer, trait)
            assert moved in sampled
            assert abs(moved - pixel) == min(abs(s - pixel) for s in sampled)


@pytest.mark.parametrize(
    ("options", "rates", "cells", "cell"),
    [
        ({}, [0, 1, 2, 3, None], [4, 4], 16),
        ({"output_stride": 8, "rates": (6, 12)}, [0, 6, 12, None], [8, 8], 8),
        ({"rates": (), "image_pooling": False}, [0], [4, 4], 16),
    ],
)
def test_the_browser_learns_where_the_taps_lie(parts, options, rates, cells, cell):
    model = random_deeplab(**options)
    explorer = BranchExplorer(**parts | {"model": model})
    assert (explorer.rates, explorer.cells, explorer.cell) == (rates, cells, cell)
    maps = []
    model.aspp.register_forward_hook(lambda _m, inputs, _o: maps.append(inputs[0].shape[2:]))
    model(torch.from_numpy(parts["images"]))
    assert list(maps[0]) == cells


def test_the_browser_gets_every_layer_exactly(parts):
    explorer = BranchExplorer(**parts)
    masks, samples = masks_without_branches(parts["model"], parts["images"])
    sent = np.frombuffer(zlib.decompress(explorer.masks), np.uint8).reshape(N, 34, H, W)
    np.testing.assert_array_equal(sent[:, 0], parts["truths"])
    np.testing.assert_array_equal(sent[:, 2:].swapaxes(0, 1), masks)
    sent = np.frombuffer(zlib.decompress(explorer.samples), np.uint8).reshape(N, 32, 8, 5, 6)
    np.testing.assert_array_equal(sent.swapaxes(0, 1), samples)


def test_choices_have_names_and_scores_of_their_own(parts):
    explorer = BranchExplorer(**parts)
    assert explorer.names[31] == "all branches"
    assert explorer.names[0] == "no branches"
    assert explorer.names[9] == "only 1x1, rate 3"
    assert explorer.names[15] == "without image pooling"
    table = explorer.table()
    assert table["1x1", "rate 3"]["mean IoU"] == explorer.scores[9][N][1]
    masks, _ = masks_without_branches(parts["model"], parts["images"])
    seen = parts["truths"] != IGNORE_INDEX
    for kept, number in (((), 0), (("rate 2",), 4), (tuple(explorer.parts), 31)):
        accuracy = (masks[number] == parts["truths"])[seen].mean()
        assert table[kept]["pixel accuracy"] == pytest.approx(accuracy, abs=5e-5)


def test_the_printed_twin_shows_the_masks_of_its_choices(parts):
    explorer = BranchExplorer(**parts)
    explorer.opacity = 1.0
    figure = explorer.figure([["rate 2"], ["1x1", "rate 1", "rate 2", "rate 3"]], index=1)
    axes = np.array(figure.axes).reshape(2, 3)
    assert [ax.get_title() for ax in axes[0]] == [
        "truth", "only\nrate 2", "without\nimage pooling"
    ]  # fmt: skip
    masks, _ = masks_without_branches(parts["model"], parts["images"])
    for ax, number in ((axes[0, 1], 4), (axes[0, 2], 15)):
        shown = ax.images[0].get_array()
        np.testing.assert_array_equal(shown, STREETS.palette[masks[number, 1]])
    with pytest.raises(ValueError, match=r"choices must hold branches .* got \['pooling'\]"):
        explorer.figure([["pooling"]])


@pytest.mark.parametrize(
    ("options", "titles"),
    [
        (
            {},
            ["all branches", "without\n1x1", "without\nimage pooling", "only\n1x1", "no branches"],
        ),
        ({"rates": (), "image_pooling": False}, ["all branches", "no branches"]),
    ],
)
def test_what_is_printed_by_default_holds_no_choice_twice(parts, options, titles):
    figure = BranchExplorer(**parts | {"model": random_deeplab(**options)}).still()
    columns = len(figure.axes) // 2
    assert [ax.get_title() for ax in figure.axes[1:columns]] == titles


def test_the_bundle_has_a_widget_a_sentence_and_a_picture(parts):
    data, _ = BranchExplorer(**parts)._repr_mimebundle_()
    assert data["text/plain"] == (
        "Branch explorer: 3 pictures of 40 × 52 pixels, a DeepLab's masks with each of its "
        "branches (1x1, rate 1, rate 2, rate 3, image pooling) kept or muted."
    )
    assert "application/vnd.jupyter.widget-view+json" in data
    assert Image.open(io.BytesIO(data["image/png"])).width > 400


@pytest.mark.parametrize("name", ["deeplabv3", "deeplabv3plus"])
def test_with_shipped_weights_it_is_small_and_every_branch_is_used(name):
    model = checkpoints.load_or_train(name).model
    images, truths = datasets.as_tensors(datasets.load("streets", "test", count=6))
    explorer = BranchExplorer(model, images, truths, STREETS)
    np.testing.assert_array_equal(explorer._masks[31], predict_masks(model, images))
    sent = len(explorer.masks) + len(explorer.samples) + sum(map(len, explorer.photos))
    assert sent < 300_000
    for k in range(5):
        assert (explorer._masks[31] != explorer._masks[31 - 2**k]).mean() > 0.005
    table = explorer.table()
    best = table[tuple(explorer.parts)]["mean IoU"]
    assert all(row["mean IoU"] < best + 0.02 for row in table.values())

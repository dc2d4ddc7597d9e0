"""SkipExplorer, the Python half: what it computes, refuses, sends, scores and prints."""

from __future__ import annotations

import io
import json
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import checkpoints, datasets
from helpers.classes import CAMVID, IGNORE_INDEX, STREETS
from helpers.metrics import SegmentationScores, boundary_distance
from helpers.models.fcn import FCN
from helpers.models.unet import UNet
from helpers.training import predict_masks
from helpers.widgets.skip_explorer import STRIDES, SkipExplorer, masks_without_skips

N, H, W = 3, 40, 52  # neither side is a multiple of 32


def random_unet(**options) -> UNet:
    """A small U-Net with weights so large that every choice of skips gives another mask."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = UNet(8, widths=(8,) * 6, **options)
        for weights in model.parameters():
            torch.nn.init.normal_(weights, std=0.5)
    return model.eval()


@pytest.fixture
def parts() -> dict:
    """Arguments of a small explorer: blocky images, truths with void and without a person."""
    rng = np.random.default_rng(0)
    images = rng.random((N, 3, H // 8, 7), np.float32).repeat(8, 2).repeat(8, 3)[..., :W]
    truths = rng.choice([0, 1, 2, 3, 4, 5, 7], (N, H // 8, 7)).repeat(8, 1).repeat(8, 2)[..., :W]
    truths[:, :4, :4] = IGNORE_INDEX
    return {"model": random_unet(), "images": images, "truths": truths, "classes": STREETS}


def mute(model: UNet, kept: list[int]) -> torch.utils.hooks.RemovableHandle:
    """From now on the encoder's maps of all strides but ``kept`` and the coarsest are zeros."""

    def zero(_module, _inputs, features):
        return [f * (2**k in kept) if k < len(STRIDES) else f for k, f in enumerate(features)]

    return model.encoder.register_forward_hook(zero)


@pytest.mark.parametrize("size", [(40, 52), (64, 32), (33, 31)])
def test_each_index_is_the_network_with_those_skips_zeroed(parts, size):
    model, images = parts["model"], torch.from_numpy(parts["images"])
    images = torch.nn.functional.interpolate(images, size)
    masks = masks_without_skips(model, images)
    assert masks.shape == (32, N, *size)
    assert masks.dtype == np.uint8
    np.testing.assert_array_equal(masks[31], predict_masks(model, images))
    for index in range(32):
        handle = mute(model, [stride for k, stride in enumerate(STRIDES) if index >> k & 1])
        np.testing.assert_array_equal(masks[index], predict_masks(model, images))
        handle.remove()
    assert len(np.unique(masks.reshape(32, -1), axis=0)) == 32  # or the order would not show


def test_the_encoder_sees_each_image_once_and_the_model_stays_as_it_was(parts):
    model, images = parts["model"].train(), parts["images"]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    seen = []
    model.encoder.register_forward_hook(lambda _m, inputs, _f: seen.append(len(inputs[0])))
    whole = masks_without_skips(model, images)
    assert seen == [3]
    np.testing.assert_array_equal(masks_without_skips(model, images, batch_size=2), whole)
    assert seen == [3, 2, 1]
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_masks_want_images_as_the_network_does(parts):
    whole = torch.from_numpy(parts["images"]).mul(255).to(torch.uint8)
    with pytest.raises(ValueError, match=r"images must be float .*, got uint8 \(3, 3, 40, 52\)"):
        masks_without_skips(parts["model"], whole)


@pytest.mark.parametrize(
    ("argument", "spoil", "message"),
    [
        ("model", lambda a: random_unet(skips=False), r"UNet with skips, got UNet\(skips=False\)"),
        ("model", lambda a: FCN(8, skips=2), "model must be a UNet with skips, got FCN$"),
        ("model", lambda a: "unet", "model must be a UNet with skips, got str"),
        ("classes", lambda a: CAMVID, "model must score the 11 classes, got 8"),
        ("images", lambda a: a["images"] * 2 - 1, r"images must lie in \[0, 1\].*normalisation"),
        ("images", lambda a: a["images"][:, 0], r"images must be float \(N, 3, H, W\)"),
        ("images", lambda a: a["images"][:0], "images must be of one size, and at least one"),
        (
            "images",
            lambda a: (a["images"] * 255).astype(np.uint8).transpose(0, 2, 3, 1),
            r"images must be float \(N, 3, H, W\), got uint8 \(3, 40, 52, 3\)",
        ),
        ("truths", lambda a: a["truths"][:, 1:], r"truths must be integers \(3, 40, 52\)"),
        ("truths", lambda a: a["truths"] + 1, r"truths must hold labels .* got \[8, 256\]"),
    ],
)
def test_what_does_not_fit_is_named(parts, argument, spoil, message):
    with pytest.raises(ValueError, match=message):
        SkipExplorer(**parts | {argument: spoil(parts)})


@pytest.mark.parametrize(
    ("trait", "value", "message"),
    [
        ("index", 3, "index must be from 0 to 2; got 3"),
        ("index", -1, "index must be"),
        ("kept", [1, 3], r"kept must hold strides out of \(1, 2, 4, 8, 16\); got \[1, 3\]"),
        ("kept", [32], "kept must hold strides"),
        ("view", "error", "view must be one of classes, errors, boundary errors"),
        ("opacity", 1.5, "opacity must be from 0 to 1"),
    ],
)
def test_a_control_out_of_range_is_refused_and_stays(parts, trait, value, message):
    explorer = SkipExplorer(**parts)
    before = getattr(explorer, trait)
    with pytest.raises(ValueError, match=message):
        setattr(explorer, trait, value)
    assert getattr(explorer, trait) == before


def test_it_opens_with_all_skips_and_keeps_them_in_order(parts):
    explorer = SkipExplorer(**parts)
    assert explorer.kept == [1, 2, 4, 8, 16]
    explorer.kept = [8, 1, 8]
    assert explorer.kept == [1, 8]


def test_tensors_and_lists_give_the_same_widget(parts):
    arrays = SkipExplorer(**parts)
    images = torch.from_numpy(parts["images"])
    truths = torch.from_numpy(parts["truths"])
    tensors = SkipExplorer(parts["model"], list(images.double()), truths, STREETS)
    assert tensors.photos == arrays.photos
    assert tensors.masks == arrays.masks
    assert tensors.scores == arrays.scores


def test_the_browser_gets_every_layer_exactly(parts):
    explorer = SkipExplorer(**parts)
    sent = np.frombuffer(zlib.decompress(explorer.masks), np.uint8).reshape(N, 34, H, W)
    np.testing.assert_array_equal(sent[:, 0], parts["truths"])
    np.testing.assert_array_equal(sent[:, 1], boundary_distance(parts["truths"]) < 2)
    masks = masks_without_skips(parts["model"], parts["images"])
    np.testing.assert_array_equal(sent[:, 2:].swapaxes(0, 1), masks)
    assert np.asarray(Image.open(io.BytesIO(explorer.photos[1]))).shape == (H, W, 3)
    assert explorer.legend[-1] == [IGNORE_INDEX, "void", "#ffffff"]


def test_scores_are_those_of_the_metrics_per_picture_and_over_all(parts):
    explorer = SkipExplorer(**parts, watch=("pole", "wire", "sky"))
    names = ["pixel accuracy", "mean IoU", "IoU within 2 px", "IoU of pole", "IoU of sky"]
    assert explorer.measures == names  # a class that is not there is dropped
    masks = masks_without_skips(parts["model"], parts["images"])
    for kept in ([1, 2, 4, 8, 16], [2, 16], []):
        for row, pictures in [*((i, slice(i, i + 1)) for i in range(N)), (N, slice(None))]:
            expected = SegmentationScores(8, widths=(2,))
            expected.update(masks[sum(kept), pictures], parts["truths"][pictures])
            values = [expected.pixel_accuracy, expected.mean_iou, expected.trimap_iou[2]]
            values += [expected.iou[STREETS.index(name)] for name in ("pole", "sky")]
            scores = np.array(explorer.scores[sum(kept)][row], float)  # None becomes NaN
            np.testing.assert_allclose(scores, values, atol=5e-5)


def test_nothing_to_score_is_none_and_still_json(parts):
    explorer = SkipExplorer(**parts | {"truths": np.full_like(parts["truths"], IGNORE_INDEX)})
    assert explorer.scores[31] == [[None] * 5] * (N + 1)
    assert "NaN" not in json.dumps(explorer.scores)
    assert explorer.figure().axes[-1].get_xlabel() == "IoU within 2 px\n–"


def test_the_table_is_read_by_kept_strides_and_measure(parts):
    explorer = SkipExplorer(**parts)
    assert len(explorer.table()) == 32
    assert explorer.table()[2, 4]["mean IoU"] == explorer.scores[6][N][1]
    assert explorer.table(index=1)[()]["pixel accuracy"] == explorer.scores[0][1][0]
    for index in (-1, 3):
        with pytest.raises(ValueError, match=f"index must be from 0 to 2; got {index}"):
            explorer.table(index)


def test_the_printed_twin_shows_masks_scores_and_errors(parts):
    explorer = SkipExplorer(**parts)
    explorer.opacity = 1.0
    figure = explorer.figure([[1, 2, 4, 8, 16], [16, 1], [4], [1, 2, 4, 8]], index=2)
    axes = np.array(figure.axes).reshape(2, 5)
    titles = ["truth", "all skips", "only\nstrides 1, 16", "only\nstride 4", "without\nstride 16"]
    assert [ax.get_title() for ax in axes[0]] == titles
    score = explorer.table(2)[1, 16]["IoU within 2 px"]
    assert axes[1, 2].get_xlabel() == f"IoU within 2 px\n{score:.2f}"
    mask = masks_without_skips(parts["model"], parts["images"])[17, 2]
    shown, errors, truth = (axes[at].images[0].get_array() for at in [(0, 2), (1, 2), (0, 0)])
    np.testing.assert_array_equal(shown, STREETS.palette[mask])
    np.testing.assert_array_equal(truth, STREETS.palette[parts["truths"][2]])
    wrong = (mask != parts["truths"][2]) & (parts["truths"][2] != IGNORE_INDEX)
    np.testing.assert_array_equal((errors == (255, 255, 255)).all(2), wrong)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [*STREETS, "void", "wrong"]


def test_the_printed_twin_refuses_what_is_not_there(parts):
    explorer = SkipExplorer(**parts)
    with pytest.raises(ValueError, match=r"choices must hold strides .* got \[3\]"):
        explorer.figure([[1], [3]])
    with pytest.raises(ValueError, match="index must be from 0 to 2; got 3"):
        explorer.figure(index=3)


def test_the_bundle_has_a_widget_a_sentence_and_a_picture(parts):
    data, _ = SkipExplorer(**parts)._repr_mimebundle_()
    assert data["text/plain"] == (
        "Skip explorer: 3 pictures of 40 × 52 pixels, a U-Net's masks with each of its five skips "
        "kept or zeroed."
    )
    assert "application/vnd.jupyter.widget-view+json" in data
    picture = np.asarray(Image.open(io.BytesIO(data["image/png"])).convert("RGB"))
    swatches = STREETS.palette[: len(STREETS)].astype(int)
    distances = np.abs(picture.reshape(-1, 1, 3) - swatches).sum(2).min(0)
    assert (distances < 48).all()  # the reduced palette keeps the legend's colours


def test_with_the_shipped_unet_it_is_small_and_the_finest_skip_carries_the_thin_things():
    model = checkpoints.load_or_train("unet").model
    images, truths = datasets.as_tensors(datasets.load("streets", "test", count=6))
    explorer = SkipExplorer(model, images, truths, STREETS)
    np.testing.assert_array_equal(explorer._masks[31], predict_masks(model, images))
    assert len(explorer.masks) + sum(map(len, explorer.photos)) < 200_000
    table = explorer.table()
    whole, without = table[STRIDES], table[STRIDES[1:]]
    assert without["IoU of pole"] < 0.5 * whole["IoU of pole"]
    for stride in STRIDES:  # each skip counts, and the finest most
        fewer = table[tuple(s for s in STRIDES if s != stride)]["IoU within 2 px"]
        assert without["IoU within 2 px"] <= fewer < whole["IoU within 2 px"]

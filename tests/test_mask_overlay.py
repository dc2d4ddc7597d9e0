"""MaskOverlay, the Python half: what it refuses, sends, scores and prints."""

from __future__ import annotations

import io
import json
import zlib

import numpy as np
import pytest
import torch
from ipywidgets.embed import dependency_state, embed_data
from PIL import Image

from helpers.classes import IGNORE_INDEX, STREETS
from helpers.metrics import boundary_distance, confusion_matrix, mean_iou, trimap_iou
from helpers.widgets import MaskOverlay

N, H, W = 3, 24, 32


@pytest.fixture
def parts() -> dict:
    """Arguments of a small overlay: blocky truths with void, a shifted and a noisy model."""
    rng = np.random.default_rng(0)
    truths = rng.integers(0, 8, (N, H // 8, W // 8)).repeat(8, 1).repeat(8, 2)
    noisy = np.where(rng.random(truths.shape) < 0.2, rng.integers(0, 8, truths.shape), truths)
    shifted = np.roll(truths, 1, 2)
    truths[:, :4, :4] = IGNORE_INDEX
    images = rng.random((N, 3, H, W), np.float32)
    return {
        "images": images,
        "truths": truths,
        "predictions": {"shifted": shifted, "noisy": noisy},
        "classes": STREETS,
    }


@pytest.mark.parametrize(
    ("argument", "spoil", "message"),
    [
        ("images", lambda a: a["images"] * 2 - 1, r"images must lie in \[0, 1\].*normalisation"),
        ("images", lambda a: a["images"][:, 0], r"images must be float \(N, 3, H, W\)"),
        ("images", lambda a: a["images"][:0], "images must be of one size, and at least one"),
        ("images", lambda a: a["images"] * np.nan, r"images must lie in \[0, 1\]"),
        ("truths", lambda a: a["truths"][:, 1:], r"truths must be integers \(3, 24, 32\)"),
        ("truths", lambda a: a["truths"] + 0.0, "truths must be integers .* got float64"),
        ("truths", lambda a: a["truths"] + 1, r"truths must hold labels .* got \[8, 256\]"),
        ("predictions", lambda a: {"fcn": a["truths"]}, r"predictions\['fcn'\] .* got \[255\]"),
        (
            "predictions",
            lambda a: {"fcn": a["truths"][:2]},
            r"predictions\['fcn'\] .* \(2, 24, 32\)",
        ),
        ("predictions", lambda a: {"truth": a["truths"]}, "predictions must not be named truth"),
        ("distances", lambda a: np.zeros((N, H, 1)), r"distances must be \(3, 24, 32\)"),
    ],
)
def test_what_does_not_fit_is_named(parts, argument, spoil, message):
    with pytest.raises(ValueError, match=message):
        MaskOverlay(**parts | {argument: spoil(parts)})


@pytest.mark.parametrize(
    ("trait", "value", "message"),
    [
        ("index", 3, "index must be from 0 to 2; got 3"),
        ("index", -1, "index must be"),
        ("opacity", 1.5, "opacity must be from 0 to 1"),
        ("curtain", -0.1, "curtain must be from 0 to 1"),
        ("left", "unet", "left must be one of image, truth, shifted, noisy; got 'unet'"),
        ("view", "error", "view must be one of classes, errors, boundary errors"),
        ("hidden", ["tree"], "hidden must be a list out of sky, .*, void"),
    ],
)
def test_a_control_out_of_range_is_refused_and_stays(parts, trait, value, message):
    overlay = MaskOverlay(**parts)
    before = getattr(overlay, trait)
    with pytest.raises(ValueError, match=message):
        setattr(overlay, trait, value)
    assert getattr(overlay, trait) == before


def test_tensors_lists_and_bytes_give_the_same_widget(parts):
    arrays = MaskOverlay(**parts)
    images = torch.from_numpy(parts["images"])
    tensors = MaskOverlay(
        images=list(images),
        truths=torch.from_numpy(parts["truths"]),
        predictions={k: list(torch.from_numpy(v)) for k, v in parts["predictions"].items()},
        classes=STREETS,
        distances=boundary_distance(parts["truths"]),
    )
    whole = (parts["images"].transpose(0, 2, 3, 1) * 255).round().astype(np.uint8)
    from_bytes = MaskOverlay(**parts | {"images": whole})
    for other in (tensors, from_bytes):
        assert other.photos == arrays.photos
        assert other.masks == arrays.masks
        assert other.scores == arrays.scores


def test_the_browser_gets_every_layer_exactly(parts):
    overlay = MaskOverlay(**parts)
    sent = np.frombuffer(zlib.decompress(overlay.masks), np.uint8).reshape(N, 4, H, W)
    np.testing.assert_array_equal(sent[:, 0], parts["truths"])
    np.testing.assert_array_equal(sent[:, 1], parts["predictions"]["shifted"])
    np.testing.assert_array_equal(sent[:, 2], parts["predictions"]["noisy"])
    np.testing.assert_array_equal(sent[:, 3], boundary_distance(parts["truths"]) < 2)
    photo = np.asarray(Image.open(io.BytesIO(overlay.photos[1])))
    assert photo.shape == (H, W, 3)


def test_scores_are_those_of_the_metrics(parts):
    overlay = MaskOverlay(**parts)
    for name, masks in parts["predictions"].items():
        for mask, truth, row in zip(masks, parts["truths"], overlay.scores[name], strict=True):
            labelled = truth != IGNORE_INDEX
            expected = (
                (mask == truth)[labelled].mean(),
                mean_iou(confusion_matrix(mask, truth, 8)),
                trimap_iou(mask, truth, 8, 2),
            )
            np.testing.assert_allclose(row, expected, atol=5e-5)


def test_nothing_to_score_is_none_and_still_json(parts):
    flat = np.zeros_like(parts["truths"])
    overlay = MaskOverlay(**parts | {"truths": flat, "predictions": {"flat": flat}})
    assert overlay.scores["flat"][0] == [1.0, 1.0, None]
    assert "NaN" not in json.dumps(overlay.scores)


def test_it_opens_on_truth_against_the_first_model_or_image_against_truth(parts):
    overlay = MaskOverlay(**parts)
    assert (overlay.left, overlay.right) == ("truth", "shifted")
    alone = MaskOverlay(**parts | {"predictions": {}})
    assert (alone.left, alone.right) == ("image", "truth")
    assert alone.scores == {}


def test_void_is_a_class_to_switch_only_where_there_is_some(parts):
    overlay = MaskOverlay(**parts)
    assert overlay.legend[-1] == [IGNORE_INDEX, "void", "#ffffff"]
    overlay.hidden = ["void", "sky"]
    full = parts["truths"] % 8
    assert [entry[1] for entry in MaskOverlay(**parts | {"truths": full}).legend] == [*STREETS]


def test_six_street_pictures_with_three_masks_stay_under_150_kb():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:96, :128]
    images = 0.5 + 0.3 * np.sin(x / 17 + y / 9 + np.arange(18).reshape(6, 3, 1, 1))
    images += rng.normal(0, 0.03, images.shape)  # sensor noise, which compresses badly
    cells = rng.integers(0, 8, (6, 12, 16)).repeat(8, 1).repeat(8, 2)
    models = {name: np.roll(cells, shift, 2) for name, shift in (("a", 1), ("b", 3))}
    overlay = MaskOverlay(images.clip(0, 1), cells, models, STREETS)
    state = embed_data([overlay], state=dependency_state([overlay]))["manager_state"]
    assert len(json.dumps(state)) < 150_000


def test_the_bundle_has_a_widget_a_sentence_and_a_picture(parts):
    data, _ = MaskOverlay(**parts)._repr_mimebundle_()
    assert data["text/plain"] == (
        "Mask overlay: 3 pictures of 24 × 32 pixels; image, truth, shifted, noisy."
    )
    assert "application/vnd.jupyter.widget-view+json" in data
    again, _ = MaskOverlay(**parts)._repr_mimebundle_()
    assert again["text/plain"] == data["text/plain"]
    picture = np.asarray(Image.open(io.BytesIO(data["image/png"])).convert("RGB"))
    swatches = STREETS.palette[: len(STREETS)].astype(int)
    distances = np.abs(picture.reshape(-1, 1, 3) - swatches).sum(2).min(0)
    assert (distances < 48).all()  # the reduced palette keeps the legend's colours


def test_the_printed_twin_shows_images_masks_and_errors(parts):
    overlay = MaskOverlay(**parts)
    overlay.opacity = 1.0
    figure = overlay.figure([0, 2])
    axes = np.array(figure.axes).reshape(6, 2)
    rows = ["image", "truth", "shifted", "shifted:\nerrors", "noisy", "noisy:\nerrors"]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == rows
    truth, errors = (np.asarray(axes[row, 1].images[0].get_array()) for row in (1, 3))
    np.testing.assert_array_equal(truth, STREETS.palette[parts["truths"][2]])
    wrong = (parts["predictions"]["shifted"] != parts["truths"])[2]
    wrong &= parts["truths"][2] != IGNORE_INDEX
    np.testing.assert_array_equal((errors == (255, 255, 255)).all(2), wrong)
    assert errors[~wrong].max() <= 128  # dark: the errors show in greyscale too
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == [*STREETS, "void", "wrong"]

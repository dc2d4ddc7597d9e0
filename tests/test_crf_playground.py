"""CRFPlayground, the Python half: what it refuses, infers, scores, answers, sends and prints."""

from __future__ import annotations

import io
import json
import sys
import zlib
from dataclasses import astuple, replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from helpers import crf, metrics
from helpers.classes import IGNORE_INDEX, STREETS
from helpers.training import predict_logits
from helpers.widgets import CRFPlayground
from helpers.widgets.crf_playground import CHANGES, LIMITS, difference

pytest.importorskip("pydensecrf", reason="pydensecrf2 is not installed")

N, H, W = 2, 24, 32
SETTINGS = {"sharp": crf.Params(3, 4, 20, 1, 1), "dull": crf.Params(10, 8, 30, 0, 1)}


@pytest.fixture(scope="module")
def parts() -> dict:
    """Arguments of a small playground: noisy blocks as images, two networks of random weights."""
    rng = np.random.default_rng(0)
    images = rng.random((N, 3, 3, 4), np.float32).repeat(8, 2).repeat(8, 3)
    images = (images * 0.9 + 0.1 * rng.random(images.shape, np.float32)).astype(np.float32)
    truths = rng.integers(0, 8, (N, 6, 8)).repeat(4, 1).repeat(4, 2)
    truths[:, :4, :4] = IGNORE_INDEX
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = {"sharp": nn.Conv2d(3, 8, 3, padding=1), "dull": nn.Conv2d(3, 8, 5, padding=2)}
        for network in networks.values():
            nn.init.normal_(network.weight, std=0.5)
    return {
        "networks": networks,
        "images": images,
        "truths": truths,
        "classes": STREETS,
        "params": SETTINGS,
    }


@pytest.fixture
def playground(parts) -> CRFPlayground:
    return CRFPlayground(**parts)


def expected(parts: dict, name: str, index: int, setting: crf.Params, iterations: int = 5):
    """What `helpers.crf` itself says about a picture."""
    logits = predict_logits(parts["networks"][name], torch.from_numpy(parts["images"]))
    return crf.refine_steps(
        parts["images"][index], logits.softmax(1)[index], setting, iterations
    )  # fmt: skip


def masks_of(maps: bytes) -> np.ndarray:
    return np.frombuffer(zlib.decompress(maps), np.uint8).reshape(-1, H, W)


@pytest.mark.parametrize(
    ("trait", "value", "message"),
    [
        ("source", "unet", "source must be one of sharp, dull; got 'unet'"),
        ("index", 2, "index must be a whole number from 0 to 1; got 2"),
        ("index", -1, "index must be a whole number from 0 to 1; got -1"),
        ("index", True, "index must be a whole number from 0 to 1; got True"),
        ("iterations", 11, "iterations must be a whole number from 0 to 10; got 11"),
        ("iterations", -1, "iterations must be a whole number from 0 to 10; got -1"),
        ("view", "truth", "view must be one of classes, errors; got 'truth'"),
        ("setting", None, "setting must be a crf.Params or its 5 numbers; got None"),
        ("setting", [1, 4, 12], r"setting must be a crf.Params or its 5 numbers; got \[1, 4, 12\]"),
        ("setting", [-1, 4, 12, 1, 1], "appearance_weight must be .*; got -1"),
        ("setting", [101, 4, 12, 1, 1], "setting must have appearance_weight from 0 to 100; got"),
        ("setting", [1, 0.9, 12, 1, 1], "setting must have appearance_sxy from 1 to 80; got 0.9"),
        ("setting", [1, 4, 81, 1, 1], "setting must have appearance_srgb from 2 to 80; got 81"),
        ("setting", [1, 4, 12, 200, 1], "setting must have smoothness_weight from 0 to 100; got"),
        ("setting", [1, 4, 12, 1, 11], "setting must have smoothness_sxy from 0.4 to 10; got 11"),
    ],
)
def test_a_control_out_of_range_is_refused_and_stays(parts, trait, value, message):
    playground = CRFPlayground(**parts)
    before = getattr(playground, trait)
    with pytest.raises(ValueError, match=message):
        setattr(playground, trait, value)
    assert getattr(playground, trait) == before
    with pytest.raises(ValueError, match=message):
        CRFPlayground(**parts, **{trait: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"networks": {}}, "networks must be modules by name, at least one; got {}"),
        ({"networks": {"sharp": "unet"}}, "networks must be modules .* got {'sharp': 'str'}"),
        ({"params": {"sharp": SETTINGS["sharp"]}}, r"params must be those of .*; got \['sharp'\]"),
        ({"params": SETTINGS | {"dull": 3}}, r"params\['dull'\] must be a crf.Params or its 5"),
        (
            {"params": SETTINGS | {"dull": crf.Params(1, 100, 9, 1, 1)}},
            r"params\['dull'\] must have appearance_sxy from 1 to 80; got 100",
        ),
        ({"images": np.full((N, 3, H, W), 2.0)}, r"images must lie in \[0, 1\]"),
        ({"truths": np.zeros((N, H, 5), int)}, r"truths must be integers \(2, 24, 32\)"),
        ({"truths": np.full((N, H, W), 8)}, r"truths must hold labels out of .*, got \[8\]"),
        (
            {"networks": {"sharp": nn.Conv2d(3, 5, 1), "dull": nn.Conv2d(3, 8, 1)}},
            r"networks must score the 8 classes at every pixel, .*'sharp' gives \(2, 5, 24, 32\)",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(parts, change, message):
    with pytest.raises(ValueError, match=message):
        CRFPlayground(**parts | change)


def test_without_pydensecrf_it_says_so(parts, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    with pytest.raises(ImportError, match="needs the package pydensecrf2"):
        CRFPlayground(**parts)


def test_images_may_be_bytes(parts):
    pictures = (parts["images"] * 255).round().astype(np.uint8)
    floats = CRFPlayground(**parts | {"images": pictures / np.float32(255)})
    assert (
        CRFPlayground(**parts | {"images": pictures.transpose(0, 2, 3, 1)}).starts == floats.starts
    )


def test_a_setting_of_any_kind_is_kept_as_params_of_plain_floats(playground):
    for setting in (crf.Params(1, 4, 12, 0, 1), [1, 4, 12, 0, 1], np.float32([1, 4, 12, 0, 1])):
        playground.setting = SETTINGS["dull"]
        playground.setting = setting
        assert playground.setting == crf.Params(1, 4, 12, 0, 1)
        assert (
            json.dumps(playground.get_state("setting")) == '{"setting": [1.0, 4.0, 12.0, 0.0, 1.0]}'
        )


@pytest.mark.parametrize("iterations", [0, 3, 5, 8, 10])
def test_the_answer_is_the_inference_of_refine_steps(parts, playground, iterations):
    setting = crf.Params(7, 3, 25, 2, 0.7)
    playground.setting, playground.iterations = setting, iterations
    playground.source, playground.index = "dull", 1
    found = expected(parts, "dull", 1, setting, max(5, iterations))
    request, source, index, numbers, maps, energies, _ = playground.answer
    assert [request, source, index, numbers] == [0, "dull", 1, list(astuple(setting))]
    np.testing.assert_array_equal(masks_of(maps), found.steps.argmax(1))
    assert energies == pytest.approx(found.energies / (H * W))
    assert (masks_of(maps)[0] != masks_of(maps)[-1]).sum() > 20  # the setting does something


def test_scores_are_those_of_the_metrics(parts, playground):
    playground.setting = crf.Params(7, 3, 25, 2, 0.7)
    *_, maps, _, scores = playground.answer
    assert len(scores) == 6 and scores[0] != scores[-1]
    truth = parts["truths"][0]
    for mask, (everywhere, near) in zip(masks_of(maps), scores, strict=True):
        wanted = metrics.mean_iou(metrics.confusion_matrix(mask, truth, 8))
        assert everywhere == pytest.approx(wanted, abs=6e-5)
        assert near == pytest.approx(metrics.trimap_iou(mask, truth, 8, 2), abs=6e-5)


def test_where_there_is_nothing_to_score_scores_are_none(parts):
    truths = np.full((N, H, W), IGNORE_INDEX)
    playground = CRFPlayground(**parts | {"truths": truths})
    assert playground.answer[6] == [[None, None]] * 6
    assert "mean IoU –" in playground.figure().axes[0].get_xlabel()


def test_every_network_starts_with_its_tuned_answer_for_every_picture(parts, playground):
    assert [start[:3] for start in playground.starts] == [
        [name, index, list(astuple(SETTINGS[name]))] for name in SETTINGS for index in range(N)
    ]
    for name, index, _, maps, energies, _ in playground.starts:
        found = expected(parts, name, index, SETTINGS[name])
        np.testing.assert_array_equal(masks_of(maps), found.steps.argmax(1))
        assert energies == pytest.approx(found.energies / (H * W))
    assert playground.answer == [0, *playground.starts[0]]
    json.dumps([start[:3] + start[4:] for start in playground.starts], allow_nan=False)


def test_a_tuned_setting_follows_the_network_and_another_stays(parts, playground):
    playground.source = "dull"
    assert playground.setting == SETTINGS["dull"]
    assert playground.answer[1:] == playground.starts[2]
    own = replace(SETTINGS["dull"], appearance_weight=4)
    playground.setting = own
    playground.source = "sharp"
    assert playground.setting == own and playground.answer[1:4] == ["sharp", 0, [4, 8, 30, 0, 1]]
    assert CRFPlayground(**parts, source="dull").setting == SETTINGS["dull"]


def test_python_infers_once_for_what_comes_together_and_never_for_what_is_at_hand(
    parts, monkeypatch
):
    asked = []
    original = crf.refine_steps
    monkeypatch.setattr(crf, "refine_steps", lambda *a: asked.append(a[2:]) or original(*a))
    playground = CRFPlayground(**parts)
    assert len(asked) == 2 * N
    playground.index, playground.source = 1, "dull"  # with the tuned setting
    playground.iterations = 2
    assert len(asked) == 2 * N
    own = [7, 3, 25, 2, 0.7]
    playground.set_state(  # as a browser sends it
        {"setting": own, "source": "sharp", "index": 0, "iterations": 7, "request": 1}
    )
    assert asked[2 * N :] == [(crf.Params(*own), 7)]
    assert playground.answer[:4] == [1, "sharp", 0, own] and len(playground.answer[5]) == 8
    playground.set_state({"iterations": 6, "view": "errors", "request": 2})
    assert playground.answer[:4] == [2, "sharp", 0, own] and len(asked) == 2 * N + 1
    playground.iterations = 9
    assert asked[2 * N + 1 :] == [(crf.Params(*own), 9)] and len(playground.answer[5]) == 10


def test_without_weights_nothing_changes(playground):
    playground.setting = replace(playground.setting, appearance_weight=0, smoothness_weight=0)
    masks = masks_of(playground.answer[4])
    assert (masks == masks[0]).all()
    assert np.ptp(playground.answer[5]) == pytest.approx(0, abs=1e-6)


def test_differences_are_told_apart_as_by_hand():
    rng = np.random.default_rng(0)
    before, after, truth = rng.integers(0, 4, (3, 40, 50))
    truth[truth == 3] = IGNORE_INDEX
    kinds = difference(before, after, truth)
    for was, now, meant, kind in zip(*(a.flat for a in (before, after, truth, kinds)), strict=True):
        if meant == IGNORE_INDEX or was == now:
            assert kind == 0
        elif now == meant:
            assert CHANGES[kind - 1] == "mended"
        elif was == meant:
            assert CHANGES[kind - 1] == "spoilt"
        else:
            assert CHANGES[kind - 1] == "changed, wrong both times"
    assert np.bincount(kinds.ravel()).min() > 50  # each kind occurs


def test_the_printed_twin_shows_masks_changes_and_energy(parts, playground):
    setting = crf.Params(7, 3, 25, 2, 0.7)
    figure = playground.figure("dull", 1, setting, 3)
    assert playground.source == "sharp" and playground.setting == SETTINGS["sharp"]
    before, after, changed, energy = figure.axes
    found = expected(parts, "dull", 1, setting)
    masks, truth = found.steps.argmax(1), parts["truths"][1]
    photo = (parts["images"][1].transpose(1, 2, 0) * 255).round()
    for ax, mask in ((before, masks[0]), (after, masks[3])):
        mixed = (0.4 * photo + 0.6 * STREETS.palette[mask]).astype(int)
        np.testing.assert_allclose(ax.images[0].get_array(), mixed, atol=1)
        score = metrics.mean_iou(metrics.confusion_matrix(mask, truth, 8))
        assert f"mean IoU {score:.3f}" in ax.get_xlabel()
    assert before.get_title() == "before: dull"
    assert after.get_title() == "after: 3 iterations of the CRF"
    kinds = difference(masks[0], masks[3], truth)
    shown = np.asarray(changed.images[0].get_array())
    for kind, color in enumerate([(0x56, 0xB4, 0xE9), (0xD5, 0x5E, 0), (255, 255, 255)], 1):
        np.testing.assert_array_equal((shown == color).all(2), kinds == kind)
    assert shown[kinds == 0].max() < 130  # the photo is dark
    assert len(changed.collections[0].get_segments()) == (kinds == 2).sum() > 0
    told = [text.get_text() for text in changed.get_legend().get_texts()]
    assert told == [f"{name}: {(kinds == k).sum()} px" for k, name in enumerate(CHANGES, 1)]
    np.testing.assert_allclose(energy.lines[0].get_ydata(), found.energies / (H * W))
    assert np.ravel(energy.lines[1].get_xydata()) == pytest.approx([3, found.energies[3] / (H * W)])
    assert (energy.get_xlabel(), energy.get_ylabel()) == ("iteration", "nats per pixel")
    assert not plt.get_fignums()
    for wrong, message in (
        ({"source": "unet"}, "source must be one of sharp, dull"),
        ({"source": ["dull"]}, r"source must be one of sharp, dull; got \['dull'\]"),
        ({"setting": 3}, "setting must be a crf.Params"),
        ({"index": "a"}, "index must be a whole number from 0 to 1; got 'a'"),
        ({"index": False}, "index must be a whole number from 0 to 1; got False"),
        ({"iterations": 2.5}, "iterations must be a whole number from 0 to 10; got 2.5"),
        ({"iterations": 11}, "iterations must be a whole number from 0 to 10; got 11"),
    ):
        with pytest.raises(ValueError, match=message):
            playground.figure(**wrong)


def test_the_printed_twin_shows_what_the_widget_shows(playground):
    playground.source, playground.iterations = "dull", 1
    titles = [ax.get_title() for ax in playground.figure().axes]
    assert titles == [
        "before: dull",
        "after: 1 iteration of the CRF",
        "what changed",
        "free energy",
    ]


def test_the_bundle_has_a_widget_a_sentence_and_a_picture(playground):
    data, _ = playground._repr_mimebundle_()
    assert data["text/plain"] == (
        "CRF playground: 2 pictures of 24 × 32 pixels; sharp, dull."
    )  # fmt: skip
    assert "application/vnd.jupyter.widget-view+json" in data
    assert Image.open(io.BytesIO(data["image/png"])).width == 648


def test_the_page_gets_few_bytes(playground):
    kept = {k: v for k, v in playground.get_state().items() if not k.startswith("_")}
    assert len(repr(kept)) < 20_000


def test_the_limits_are_those_of_the_parameters():
    assert list(LIMITS) == list(crf.Params.__dataclass_fields__)

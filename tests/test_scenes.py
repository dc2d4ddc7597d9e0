"""Scenes are the same everywhere, their labels are exact, and they hold what the course needs."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import ndimage

from helpers import scenes
from helpers.classes import STREETS
from helpers.scenes import CUES, Scene, render

SEED, COUNT = 0, 240
SKY, BUILDING, ROAD, PAVEMENT, VEGETATION, VEHICLE, PERSON, POLE = range(len(STREETS))


@pytest.fixture(scope="module")
def streets() -> list[Scene]:
    return [render(SEED, index) for index in range(COUNT)]


@pytest.fixture(scope="module")
def masks(streets) -> np.ndarray:
    return np.stack([scene.mask for scene in streets])


@pytest.fixture(scope="module")
def cues(streets) -> np.ndarray:
    return np.stack([scene.cue for scene in streets])


@pytest.fixture(scope="module")
def images(streets) -> np.ndarray:
    return np.stack([scene.image for scene in streets])


def same(one: Scene, other: Scene) -> bool:
    return all(np.array_equal(getattr(one, k), getattr(other, k)) for k in ("image", "mask", "cue"))


@pytest.mark.parametrize("size", [(96, 128), (32, 32), (50, 70), (192, 256)])
def test_arrays_have_the_size_and_type_that_were_promised(size):
    scene = render(3, 4, size)
    assert scene.image.shape == (*size, 3)
    assert scene.mask.shape == scene.cue.shape == size
    assert scene.image.dtype == scene.mask.dtype == scene.cue.dtype == np.uint8
    assert scene.mask.max() < len(STREETS)
    assert scene.cue.max() < len(CUES)


def test_the_same_arguments_give_the_same_bytes_in_any_order(streets):
    for index in (7, 3, 7, 0):
        assert same(render(SEED, index), streets[index])
    assert same(render(np.int64(SEED), np.uint8(3), [96, 128]), streets[3])


def test_another_index_or_seed_is_another_scene(streets):
    assert len({scene.mask.tobytes() for scene in streets}) == COUNT
    assert not same(render(SEED + 1, 0), streets[0])
    assert not same(render(1, 2), render(2, 1))


def test_labels_have_not_drifted(streets):
    """A change of the labels is a change of the data set: shipped weights must be trained anew."""
    digest = hashlib.sha256()
    for scene in streets[:16]:
        digest.update(scene.mask.tobytes() + scene.cue.tobytes())
    assert digest.hexdigest() == "4c049fb3522c8621066c9e591dfb2ccb59ecec2a9316e40cec258d95e6cda707"


def test_a_label_is_the_object_at_the_centre_of_the_pixel():
    """At three times the size, the middle one of 3 x 3 pixels has the same centre."""
    agree = np.zeros((12, 3, 3))
    for index in range(12):
        small, large = render(SEED, index).mask, render(SEED, index, (288, 384)).mask
        for i, j in np.ndindex(3, 3):
            agree[index, i, j] = np.mean(small == large[i::3, j::3])
    assert agree[:, 1, 1].min() > 0.97
    assert agree.mean(0)[1, 1] > 0.98
    assert agree.mean(0).argmax() == 4  # no other position fits better


def test_a_larger_scene_is_the_same_picture_drawn_finer():
    for index in range(6):
        small = render(SEED, index).image.astype(float)
        large = render(SEED, index, (192, 256)).image.astype(float)
        reduced = large.reshape(96, 2, 128, 2, 3).mean((1, 3))
        assert np.corrcoef(small.ravel(), reduced.ravel())[0, 1] > 0.97


def test_colours_and_labels_share_their_edges(images, masks):
    """Neighbours of different classes differ in colour far more than neighbours of the same one,
    but some edges between classes can hardly be seen."""
    step = np.abs(np.diff(images.astype(int), axis=2)).mean(-1)
    edge = np.diff(masks.astype(int), axis=2) != 0
    assert np.median(step[edge]) > 2.5 * np.median(step[~edge])
    assert 0.05 < np.mean(step[edge] < 10) < 0.4


@pytest.mark.parametrize(
    ("name", "low", "high", "present"),
    [
        ("sky", 0.15, 0.27, 1.0),
        ("building", 0.18, 0.30, 0.99),
        ("road", 0.18, 0.30, 1.0),
        ("pavement", 0.08, 0.16, 0.99),
        ("vegetation", 0.07, 0.15, 0.95),
        ("vehicle", 0.04, 0.085, 0.98),
        ("person", 0.009, 0.025, 0.95),
        ("pole", 0.01, 0.026, 0.98),
    ],
)
def test_every_class_takes_its_share(masks, name, low, high, present):
    share = np.mean(masks == STREETS.index(name), axis=(1, 2))
    assert low < share.mean() < high
    assert np.mean(share > 0) >= present


def test_there_are_thin_things(masks):
    """A pixel is thin if opening the mask of its class with 3 x 3 pixels removes it."""
    square = np.ones((1, 3, 3), bool)
    for label, within_class, of_all in (
        (POLE, 0.6, 0.01),
        (PERSON, 0.35, 0.004),
        (VEGETATION, 0.06, 0.005),
    ):
        mask = masks == label
        thin = mask & ~ndimage.binary_opening(mask, square)
        assert thin.sum() / mask.sum() > within_class, STREETS[label]
        assert thin.mean() > of_all, STREETS[label]


@pytest.mark.parametrize(("label", "near"), [(VEHICLE, 1000), (PERSON, 150)])
def test_perspective_gives_every_size(masks, label, near):
    flat = np.zeros((3, 3, 3), bool)
    flat[1] = True  # corners touch; pieces do not join across scenes
    pieces, count = ndimage.label(masks == label, flat)
    areas = np.bincount(pieces.ravel())[1:]
    assert count > COUNT
    assert np.mean(areas < 30) > 0.05
    assert np.mean((areas >= 30) & (areas < near)) > 0.25
    assert np.mean(areas >= near) > 0.02


def test_viewpoints_differ(masks):
    """Where the road ends towards the horizon: neither the row nor the column is always the same."""
    road = masks == ROAD
    horizon = road.any(2).argmax(1)
    bottom = [np.nonzero(row)[0].mean() if row.any() else np.nan for row in road[:, -1]]
    assert np.std(horizon) > 2
    assert np.nanstd(bottom) > 10


def test_light_differs(images, masks):
    """Mean sky colour: brightness and warmth (red less blue) both vary from scene to scene."""
    sky = np.array([image[mask == SKY].mean(0) for image, mask in zip(images, masks, strict=True)])
    assert np.std(sky.mean(1)) > 10
    warmth = sky[:, 0] - sky[:, 2]
    assert warmth.min() < -30
    assert warmth.max() > 5


def test_cues_carry_the_label_that_only_context_tells(masks, cues):
    """A puddle is road, whatever it mirrors; a window or a painted wall is building."""
    may = {
        "puddle": {ROAD},
        "mirror window": {BUILDING},
        "painted wall": {BUILDING},
        "bare concrete": {ROAD, BUILDING},
    }
    for cue, labels in may.items():
        found = set(np.unique(masks[cues == CUES.index(cue)]).tolist())
        assert found == labels, cue


def test_cues_are_there_and_in_many_scenes(cues):
    assert 0.02 < np.mean(cues > 0) < 0.06
    for cue in range(1, len(CUES)):
        inside = np.sum(cues == cue, axis=(1, 2))
        assert inside.mean() > 0.004 * 96 * 128, CUES[cue]
        assert np.mean(inside >= 20) > 0.3, CUES[cue]


def test_colour_misleads_where_a_cue_is(images, masks, cues):
    """Nearest mean colour of a class, scene by scene: what mirrors the sky looks like sky more than
    like its own class, and concrete walls and concrete roads cannot be told apart."""
    as_sky, walls, roads = [], [], []
    for image, mask, cue in zip(images.astype(float), masks, cues, strict=True):
        sky, own = image[mask == SKY].mean(0), {}
        for label in (BUILDING, ROAD):
            plain = (mask == label) & (cue == 0)
            if plain.any():
                own[label] = image[plain].mean(0)
        for kind, label in (("puddle", ROAD), ("mirror window", BUILDING)):
            here = cue == CUES.index(kind)
            if here.sum() >= 60 and label in own:
                color = image[here].mean(0)
                as_sky.append(np.linalg.norm(color - sky) < np.linalg.norm(color - own[label]))
        bare = cue == CUES.index("bare concrete")
        if min((bare & (mask == BUILDING)).sum(), (bare & (mask == ROAD)).sum()) >= 60:
            walls.append(image[bare & (mask == BUILDING)].mean(0))
            roads.append(image[bare & (mask == ROAD)].mean(0))
    assert len(as_sky) > 50
    assert np.mean(as_sky) > 0.7
    assert len(walls) > 10
    assert np.median(np.linalg.norm(np.subtract(walls, roads), axis=1)) < 25


def test_colour_alone_does_not_solve_the_task(images, masks):
    """Most frequent class per colour of a 16 x 16 x 16 cube, learnt on half of the scenes."""
    bins = (images // 16).astype(int) @ np.array([256, 16, 1])
    half = COUNT // 2
    counts = np.bincount((bins[:half] * 8 + masks[:half]).ravel(), minlength=4096 * 8)
    guess = counts.reshape(4096, 8).argmax(1)[bins[half:]]
    pairs = np.bincount((masks[half:] * 8 + guess).ravel(), minlength=64).reshape(8, 8)
    iou = np.diag(pairs) / (pairs.sum(0) + pairs.sum(1) - np.diag(pairs))
    assert 0.2 < iou.mean() < 0.42


def test_the_fingerprint_follows_the_sources(monkeypatch, tmp_path):
    before = scenes.fingerprint()
    assert len(before) == 64
    assert before == scenes.fingerprint()
    edited = tmp_path / "objects.py"
    edited.write_text("wider poles")
    kept = [source for source in scenes.SOURCES if source.name != "objects.py"]
    monkeypatch.setattr(scenes, "SOURCES", (*kept, edited))
    assert scenes.fingerprint() != before


def test_the_fingerprint_covers_every_module_that_draws():
    names = {source.stem for source in scenes.SOURCES}
    assert {"__init__", "canvas", "palette", "objects", "buildings", "layout"} <= names


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((-1, 0), "seed"),
        ((0, -1), "index"),
        ((0, 1.5), "index"),
        ((0, True), "index"),
        ((None, 0), "seed"),
        ((0, 0, (31, 128)), "size"),
        ((0, 0, (96, 0)), "size"),
        ((0, 0, (96.0, 128)), "size"),
        ((0, 0, (96, 128, 3)), "size"),
        ((0, 0, 96), "size"),
        ((0, 0, "ab"), "size"),
    ],
)
def test_bad_arguments_are_named(arguments, name):
    with pytest.raises(ValueError, match=rf"^{name} must be"):
        render(*arguments)

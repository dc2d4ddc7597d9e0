"""Scores against peers, brute force, published vectors and the properties that they must have."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy import ndimage
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

from helpers import metrics
from helpers.metrics import SegmentationScores

SEEDS = range(4)
CLASSES = 5


def pair(seed, images=3, height=30, width=41, void=True):
    """Blobs of four classes out of five (4 is absent) and a wobbly copy of them."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(images, 4, height, width)), (0, 0, 4, 4))
    wobble = ndimage.gaussian_filter(rng.normal(size=field.shape), (0, 0, 1.5, 1.5))
    target, prediction = field.argmax(1), (field + 0.2 * wobble).argmax(1)
    if void:
        target[:, :, 10:13] = 255
        target[0, :9, 20:] = 255
    return prediction, target


def box(top, left, height=40, width=50, shape=(96, 128)):
    mask = np.zeros(shape, np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


def everything(prediction, target, num_classes=CLASSES):
    """Each score once, as one flat array."""
    s = SegmentationScores(num_classes).update(prediction, target)
    flat = [s.pixel_accuracy, *s.class_accuracy, *s.iou, s.mean_iou, *s.trimap_iou.values()]
    return np.array([*s.matrix.ravel(), *flat, s.boundary_iou, s.boundary_f1])


# Regions


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ignore_index", [255, -1, 2])
def test_matrix_and_iou_equal_torchmetrics(seed, ignore_index):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 4, (3, 17, 23))
    prediction = np.where(rng.random(target.shape) < 0.3, rng.integers(0, 4, target.shape), target)
    target[rng.random(target.shape) < 0.2] = ignore_index
    p, t = torch.from_numpy(prediction), torch.from_numpy(target)
    matrix = metrics.confusion_matrix(p, t, CLASSES, ignore_index)
    options = {"num_classes": CLASSES, "ignore_index": ignore_index}
    np.testing.assert_array_equal(matrix, MulticlassConfusionMatrix(**options)(p, t))
    assert matrix.dtype == np.int64
    if ignore_index == 2:  # torchmetrics leaves an ignored class out of its mean
        return
    assert metrics.mean_iou(matrix) == pytest.approx(MulticlassJaccardIndex(**options)(p, t).item())
    each = MulticlassJaccardIndex(average="none", **options)(p, t)
    np.testing.assert_allclose(np.nan_to_num(metrics.iou(matrix)), each, rtol=1e-6)


def test_rows_are_truth():
    for prediction, target in ([[1, 1]], [[0, 1]]), ([[True, True]], [[False, True]]):
        matrix = metrics.confusion_matrix(prediction, target, 2)
        assert matrix.tolist() == [[0, 1], [0, 1]]


def test_absent_and_only_predicted_classes():
    matrix = metrics.confusion_matrix([[0, 0, 1, 2]], [[0, 0, 0, 1]], 4)
    np.testing.assert_array_equal(metrics.iou(matrix), [2 / 3, 0, 0, np.nan])
    np.testing.assert_array_equal(metrics.class_accuracy(matrix), [2 / 3, 0, np.nan, np.nan])
    assert metrics.mean_iou(matrix) == pytest.approx(2 / 9)
    assert metrics.pixel_accuracy(matrix) == 0.5


def test_many_classes_need_wider_integers():
    labels = np.arange(300).reshape(10, 30)
    np.testing.assert_array_equal(
        metrics.confusion_matrix(labels, labels, 300, ignore_index=-1), np.eye(300)
    )
    assert metrics.boundary_f1(labels, labels, 300, ignore_index=-1) == 1


# Trimap


def brute_distance(target):
    padded = np.pad(target, 1, mode="edge")
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    edges = np.argwhere(np.any([near != target for near in around], axis=0))
    pixels = np.argwhere(np.ones(target.shape, bool))
    gaps = np.linalg.norm(pixels[:, None] - edges[None], axis=2)
    return gaps.min(1, initial=np.inf).reshape(target.shape)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", [(24, 17), (9, 40), (1, 12), (4, 5)])
def test_boundary_distance_equals_brute_force(seed, shape):
    rng = np.random.default_rng(seed)
    target = np.zeros((3, *shape), np.uint8)
    target[:, : shape[0] // 3 + seed, : shape[1] // 3] = 1
    target[1][rng.random(shape) < 0.02] = 255
    target[2] = 1
    distance = metrics.boundary_distance(target)
    np.testing.assert_allclose(distance, [brute_distance(t) for t in target], rtol=1e-14)
    np.testing.assert_array_equal(metrics.boundary_distance(target[1]), distance[1])
    assert np.isinf(distance[2]).all()


def test_both_sides_of_an_edge_are_at_0_and_the_frame_is_none():
    distance = metrics.boundary_distance(np.array([[0, 0, 0, 1, 1, 255]]))
    assert distance.tolist() == [[2, 1, 0, 0, 0, 0]]


@pytest.mark.parametrize("seed", SEEDS)
def test_trimap_equals_the_band_cut_out_by_hand(seed):
    prediction, target = pair(seed)
    distance = metrics.boundary_distance(target)
    widths = [10, 1, 2.5, math.inf, 3]
    matrices = metrics.trimap_matrices(prediction, target, CLASSES, widths)
    for width, matrix in zip(widths, matrices, strict=True):
        inside = np.where(distance < width, target, 255)
        expected = metrics.confusion_matrix(prediction, inside, CLASSES)
        np.testing.assert_array_equal(matrix, expected)
        score = metrics.trimap_iou(prediction, target, CLASSES, width)
        assert score == metrics.mean_iou(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_wide_trimap_is_the_mean_iou(seed):
    prediction, target = pair(seed)
    target[1] = 2  # no edge at all: only an infinite band reaches these pixels
    expected = metrics.mean_iou(metrics.confusion_matrix(prediction, target, CLASSES))
    assert metrics.trimap_iou(prediction, target, CLASSES, math.inf) == expected
    assert metrics.trimap_iou(prediction, target, CLASSES, 1000) != expected
    wide = metrics.trimap_iou(prediction[::2], target[::2], CLASSES, 1000)
    cut = metrics.confusion_matrix(prediction[::2], target[::2], CLASSES)
    assert wide == metrics.mean_iou(cut)


# Boundary IoU


def chessboard_boundary_ious(prediction, target, width):
    """The chessboard-distance form, with the frame padded and void pasted, then dropped."""
    prediction = np.where(target == 255, 255, prediction)
    scores = []
    for label in range(CLASSES):
        inter = union = 0
        for masks in zip(prediction == label, target == label, strict=True):
            rims = []
            for mask in masks:
                depth = ndimage.distance_transform_cdt(np.pad(mask, 1), "chessboard")[1:-1, 1:-1]
                rims.append(mask & (depth <= width))
            inter, union = inter + (rims[0] & rims[1]).sum(), union + (rims[0] | rims[1]).sum()
        scores.append(inter / union if union else np.nan)
    return scores


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("width", [1, 2, 3, 5, 8, 50])
def test_boundary_iou_equals_the_chessboard_form(seed, width):
    prediction, target = pair(seed)
    scores = metrics.boundary_ious(prediction, target, CLASSES, width)
    np.testing.assert_allclose(scores, chessboard_boundary_ious(prediction, target, width))
    assert np.isnan(scores[4])  # both boundaries empty
    mean = metrics.boundary_iou(prediction, target, CLASSES, width)
    assert mean == pytest.approx(np.nanmean(scores))


def test_boundary_iou_of_shifted_boxes():
    """Figures of the original erosion code, 96 x 128 pixels."""
    scores = [
        metrics.boundary_ious(box(20, 32), box(20, 30), 2, width)[1] for width in (1, 2, 3, 8, 32)
    ]
    np.testing.assert_allclose(scores, [0.375, 0.387, 0.546, 0.805, 0.923], atol=5e-4)
    corner = metrics.boundary_ious(box(0, 2, 40, 40), box(0, 0, 40, 40), 2)  # 2 % are 3 pixels
    assert corner[1] == pytest.approx(0.5)


def test_ratio_is_a_share_of_the_diagonal():
    p, t = box(20, 32), box(20, 30)  # diagonal 160
    assert metrics.boundary_iou(p, t, 2, ratio=0.05) == metrics.boundary_iou(p, t, 2, width=8)
    assert metrics.boundary_iou(p, t, 2, ratio=1e-6) == metrics.boundary_iou(p, t, 2, width=1)
    assert metrics.boundary_f1(p, t, 2, ratio=0.0075) == metrics.boundary_f1(p, t, 2, 1.2)


def test_a_large_width_is_plain_iou():
    prediction, target = pair(0)
    plain = metrics.iou(metrics.confusion_matrix(prediction, target, CLASSES))
    np.testing.assert_array_equal(metrics.boundary_ious(prediction, target, CLASSES, 99), plain)


# Boundary F1


def brute_f1(prediction, target, tolerance):
    images = []
    for p, t in zip(np.where(target == 255, 255, prediction), target, strict=True):
        scores = []
        for label in set(np.unique([p, t]).tolist()) - {255}:
            a, b = (
                np.argwhere(m & ~ndimage.binary_erosion(m)).reshape(-1, 2)
                for m in (p == label, t == label)
            )
            if not len(a) or not len(b):
                scores.append(0)
                continue
            near = np.linalg.norm(a[:, None] - b[None], axis=2) <= tolerance
            precision, recall = near.any(1).mean(), near.any(0).mean()
            scores.append(2 * precision * recall / max(precision + recall, 1e-300))
        images.append(np.mean(scores))
    return np.mean(images)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("tolerance", [0, 1, 1.5, 4.5])
def test_boundary_f1_equals_brute_force(seed, tolerance):
    prediction, target = pair(seed)
    prediction[1, 25:, 30:] = 4  # predicted, never true: 0
    score = metrics.boundary_f1(prediction, target, CLASSES, tolerance)
    assert score == pytest.approx(brute_f1(prediction, target, tolerance), rel=1e-12)


@pytest.mark.parametrize(("tolerance", "dice"), [(0, 0.5455), (1, 0.5682), (2, 1.0)])
def test_boundary_f1_equals_monai_on_boundaries_of_equal_length(tolerance, dice):
    """Surface Dice pools both boundaries; the two agree when these are as long as each other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI and its dependencies announce deprecations
        from monai.metrics import compute_surface_dice

        p, t = box(20, 32), box(20, 30)
        hot = [torch.eye(2)[torch.from_numpy(m).long()].movedim(-1, 0)[None] for m in (p, t)]
        each = compute_surface_dice(*hot, [tolerance] * 2, include_background=True)
    assert each[0, 1] == pytest.approx(dice, abs=5e-5)
    assert metrics.boundary_f1(p, t, 2, tolerance) == pytest.approx(each.mean().item())


def test_boundary_f1_averages_images_not_classes():
    empty = np.zeros((8, 8), int)
    half = np.where(np.arange(8) < 4, 0, 1) * np.ones((8, 1), int)
    shown = metrics.boundary_f1([empty, empty], [empty, half], 2, 0)
    assert shown == pytest.approx((1 + metrics.boundary_f1(empty, half, 2, 0)) / 2)


# All scores


@pytest.mark.parametrize("seed", SEEDS)
def test_a_perfect_mask_scores_1(seed):
    prediction, target = pair(seed)
    prediction = np.where(target == 255, prediction, target)  # void may be painted at will
    scores = everything(prediction, target)[CLASSES**2 :]
    assert np.nanmin(scores) == 1


@pytest.mark.parametrize("label", [0, 3])
def test_one_class_everywhere(label):
    mask = np.full((20, 30), label)
    s = SegmentationScores(4).update(mask, mask)
    assert s.mean_iou == s.boundary_iou == s.boundary_f1 == 1
    assert all(np.isnan(score) for score in s.trimap_iou.values())  # no edge, no band


def test_nothing_but_void_has_no_score():
    mask = np.full((20, 30), 255)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = everything(np.zeros_like(mask), mask)
    assert np.isnan(scores[CLASSES**2 :]).all()
    assert not scores[: CLASSES**2].any()


def test_a_void_image_counts_for_nothing():
    prediction, target = pair(0)
    blank = np.full_like(target[:1], 255)
    more = np.concatenate([prediction, prediction[:1]]), np.concatenate([target, blank])
    np.testing.assert_array_equal(everything(*more), everything(prediction, target))


@pytest.mark.parametrize("seed", SEEDS)
def test_predictions_under_void_never_matter(seed):
    prediction, target = pair(seed)
    other = np.where(target == 255, 4 - prediction, prediction)
    assert (other != prediction).any()
    np.testing.assert_array_equal(everything(other, target), everything(prediction, target))


def test_a_larger_shift_never_scores_better():
    target = box(20, 30)
    scores = np.array([everything(box(20, 30 + k), target, 2)[4:] for k in range(9)])
    accuracy, boundary = scores[:, [0, 1, 3, 4, 5]], scores[:, -2:]
    trimaps = scores[:, 6:-2]
    assert (np.diff(accuracy, axis=0) < 0).all()
    assert (np.diff(boundary, axis=0) <= 0).all()
    assert (np.diff(trimaps, axis=0) <= 0).all()
    assert (scores[-1] < scores[0] - 0.05)[-7:].all()


@pytest.mark.parametrize("seed", SEEDS)
def test_batches_and_their_order_do_not_matter(seed):
    prediction, target = pair(seed, images=7)
    whole = SegmentationScores(CLASSES).update(prediction, target)
    parts = SegmentationScores(CLASSES)
    order = np.random.default_rng(seed).permutation(7)
    parts.update(prediction[order[0]], target[order[0]])
    parts.update(prediction[order[1:4]], target[order[1:4]])
    parts.update(prediction[order[4:]], target[order[4:]])
    np.testing.assert_array_equal(parts.matrix, whole.matrix)
    assert parts.trimap_iou == whole.trimap_iou
    assert parts.boundary_iou == whole.boundary_iou
    assert parts.boundary_f1 == whole.boundary_f1


def test_streaming_equals_the_functions():
    p, t = pair(1, height=96, width=128)
    s = SegmentationScores(CLASSES).update(p, t)
    matrix = metrics.confusion_matrix(p, t, CLASSES)
    np.testing.assert_array_equal(s.matrix, matrix)
    assert s.pixel_accuracy == metrics.pixel_accuracy(matrix)
    np.testing.assert_array_equal(s.class_accuracy, metrics.class_accuracy(matrix))
    np.testing.assert_array_equal(s.iou, metrics.iou(matrix))
    assert s.mean_iou == metrics.mean_iou(matrix)
    assert s.trimap_iou == {w: metrics.trimap_iou(p, t, CLASSES, w) for w in (1, 2, 3, 5, 10)}
    assert s.boundary_iou == metrics.boundary_iou(p, t, CLASSES)
    assert s.boundary_f1 == metrics.boundary_f1(p, t, CLASSES)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "uint16"])
def test_any_integer_array_or_tensor_will_do(dtype):
    prediction, target = pair(2)
    expected = everything(prediction, target)
    np.testing.assert_array_equal(everything(prediction.astype(dtype), target), expected)
    np.testing.assert_array_equal(everything(prediction, target.astype(dtype)), expected)
    p, t = torch.from_numpy(prediction.astype(dtype)), torch.from_numpy(target.astype(dtype))
    np.testing.assert_array_equal(everything(p, t), expected)
    np.testing.assert_array_equal(everything(p, target), expected)
    np.testing.assert_array_equal(everything(prediction, t), expected)


def test_masks_given_are_left_alone():
    prediction, target = (m.astype(np.uint8) for m in pair(3))
    before = prediction.copy(), target.copy()
    everything(prediction, target)
    np.testing.assert_array_equal(prediction, before[0])
    np.testing.assert_array_equal(target, before[1])


def test_counting_alone_while_training():
    p, t = pair(0)
    s = SegmentationScores(CLASSES, boundaries=False).update(p, t)
    assert s.mean_iou == SegmentationScores(CLASSES).update(p, t).mean_iou
    for score in ("trimap_iou", "boundary_iou", "boundary_f1"):
        with pytest.raises(ValueError, match=f"{score} needs .*boundaries=True"):
            getattr(s, score)


def test_no_update_no_score():
    s = SegmentationScores(3)
    assert not s.matrix.any()
    assert np.isnan([s.pixel_accuracy, s.mean_iou, s.boundary_iou, s.boundary_f1]).all()


GOOD = np.zeros((4, 5), int)


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (GOOD.astype(float), GOOD, r"prediction must hold integer labels, got float64.*argmax"),
        (GOOD, torch.zeros(4, 5), r"target must hold integer labels, got float32.*argmax"),
        (GOOD + 3, GOOD, r"prediction must hold labels 0..2, got 3"),
        (GOOD - 1, GOOD, r"prediction must hold labels 0..2, got -1"),
        (GOOD + 255, GOOD, r"prediction must hold labels 0..2, got 255"),
        (GOOD, GOOD + 254, r"target must hold labels 0..2 or ignore_index 255, got 254"),
        (GOOD, GOOD - 1, r"target must hold labels 0..2 or ignore_index 255, got -1"),
        (GOOD, GOOD + 256, r"target must .* got 256"),
        (GOOD, GOOD[:, :4], r"one shape, got prediction \(4, 5\), target \(4, 4\)"),
        (GOOD, GOOD[None], r"one shape, got prediction \(4, 5\), target \(1, 4, 5\)"),
        (GOOD[None, None], GOOD, r"prediction must be \(H, W\) or \(N, H, W\).*\(1, 1, 4, 5\)"),
        (GOOD[:0], GOOD[:0], r"prediction must be .* not empty, got \(0, 5\)"),
    ],
)
def test_bad_masks_are_named(prediction, target, message):
    for score in (metrics.confusion_matrix, metrics.boundary_iou, metrics.boundary_f1):
        with pytest.raises(ValueError, match=message):
            score(prediction, target, 3)
    with pytest.raises(ValueError, match=message):
        SegmentationScores(3).update(prediction, target)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.trimap_iou(GOOD, GOOD, 3, 0), "widths must be positive, got 0"),
        (lambda: SegmentationScores(3, widths=(1, -2)), "widths must be positive, got -2"),
        (lambda: metrics.boundary_iou(GOOD, GOOD, 3, width=0), "width must be .* got 0"),
        (lambda: metrics.boundary_iou(GOOD, GOOD, 3, width=1.5), "width must be .* got 1.5"),
        (lambda: metrics.boundary_iou(GOOD, GOOD, 3, ratio=0), "ratio must be positive, got 0"),
        (lambda: metrics.boundary_f1(GOOD, GOOD, 3, ratio=-1), "ratio must be positive, got -1"),
        (lambda: metrics.boundary_f1(GOOD, GOOD, 3, -1), "tolerance must be .* got -1"),
        (lambda: metrics.boundary_f1(GOOD, GOOD, 3, math.nan), "tolerance must be .* got nan"),
        (lambda: metrics.boundary_distance(GOOD + 0.5), "target must hold integer labels"),
        (lambda: metrics.iou(np.zeros((2, 3))), r"matrix must .* got shape \(2, 3\)"),
    ],
)
def test_bad_settings_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

"""Scores of predicted masks: regions (accuracy, IoU) and boundaries (trimap, Boundary IoU, F1).

Masks are integer label maps, NumPy arrays or torch tensors, (H, W) or (N, H, W). Scores are shares
in [0, 1]; NaN says that there was nothing to score. Every score counts over the whole data set and
divides once, except ``boundary_f1``, which is defined image by image.

Void (``ignore_index`` in the target) is copied onto the prediction before anything else, so what a
model says there never matters. An outline along void is then an outline of both masks, and void
pixels themselves are dropped after the outlines are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from helpers import contours
from helpers.classes import IGNORE_INDEX


def confusion_matrix(
    prediction: ArrayLike, target: ArrayLike, num_classes: int, ignore_index: int = IGNORE_INDEX
) -> np.ndarray:
    """Pixels counted by true class (row) and predicted class (column): ``int64 (C, C)``.

    Pixels whose target is ``ignore_index`` are left out. Sum the matrices of a data set and divide
    once: averages over images weigh rare classes by the images they happen to be in.

    Raises ``ValueError`` for masks of different shape, labels outside 0..C-1, or floats.
    """
    return _band_matrices(*_pair(prediction, target, num_classes, ignore_index), num_classes)[0]


def pixel_accuracy(matrix: ArrayLike) -> float:
    """Share of labelled pixels that are right; NaN for an empty matrix (FCN, Long et al. 2015)."""
    matrix = _square(matrix)
    return float(_ratio(np.trace(matrix), matrix.sum()))


def class_accuracy(matrix: ArrayLike) -> np.ndarray:
    """Share of each class's pixels that are right (recall): ``(C,)``, NaN where it has none."""
    matrix = _square(matrix)
    return _ratio(np.diagonal(matrix), matrix.sum(1))


def iou(matrix: ArrayLike) -> np.ndarray:
    """Intersection over union of each class, TP / (TP + FP + FN): ``float64 (C,)``.

    NaN for a class in neither mask; 0 for a class that was only predicted (or only missed).
    """
    matrix = _square(matrix)
    hits = np.diagonal(matrix)
    return _ratio(hits, matrix.sum(0) + matrix.sum(1) - hits)


def mean_iou(matrix: ArrayLike) -> float:
    """Mean of ``iou`` over the classes that occur in either mask; NaN if none does."""
    return _mean(iou(matrix))


def boundary_distance(target: ArrayLike) -> np.ndarray:
    """Euclidean distance in pixels to the nearest label change: ``float64``, shape of ``target``.

    A pixel with another label among its four neighbours has distance 0, so both sides of an edge
    do. Edges of void count, the image frame does not; inf everywhere in an image of one label.
    """
    labels = _labels(target, "target")
    far = sum(labels.shape[1:])
    squared = contours.squared_distance(contours.edges(labels), far)
    distance = np.where(squared < far * far, np.sqrt(squared, dtype=float), np.inf)
    return distance.reshape(np.shape(target))


def trimap_matrices(
    prediction: ArrayLike,
    target: ArrayLike,
    num_classes: int,
    widths: Sequence[float],
    ignore_index: int = IGNORE_INDEX,
) -> np.ndarray:
    """Confusion matrices inside bands around the true edges: ``int64 (len(widths), C, C)``.

    Band w holds the pixels with ``boundary_distance(target) < w``; w = inf takes the whole image.
    All widths (pixels, positive) share one distance transform.
    """
    pair = _pair(prediction, target, num_classes, ignore_index)
    ordered = sorted(_positive("widths", width) for width in widths)
    bands = _band_matrices(*pair, num_classes, ordered)[: len(ordered)].cumsum(0)
    return bands[[ordered.index(width) for width in widths]]


def trimap_iou(
    prediction: ArrayLike,
    target: ArrayLike,
    num_classes: int,
    width: float,
    ignore_index: int = IGNORE_INDEX,
) -> float:
    """Mean IoU within ``width`` pixels of a true edge, void dropped (trimap, as in DeepLab).

    DeepLab widens the void border that Pascal VOC draws; masks without one need this variant,
    where the band follows every label change of the target (``boundary_distance``). Errors far
    from true edges go unpunished, so read it beside ``mean_iou``, which it reaches at ``inf``.
    """
    return mean_iou(trimap_matrices(prediction, target, num_classes, [width], ignore_index)[0])


def boundary_ious(
    prediction: ArrayLike,
    target: ArrayLike,
    num_classes: int,
    width: int | None = None,
    ratio: float = 0.02,
    ignore_index: int = IGNORE_INDEX,
) -> np.ndarray:
    """Boundary IoU of each class (Cheng et al., CVPR 2021): ``(C,)``, NaN for one in neither mask.

    IoU of the pixels *of* each mask within d of its contour: those that d erosions with a 3x3
    square remove, so the distance is chessboard. d is ``width`` pixels or
    ``max(1, round(ratio * diagonal))``; the reference code takes ratio 0.02 (COCO, LVIS) and 0.005
    (Cityscapes). The image frame is contour. Intersections and unions are summed over images,
    then divided. A large d gives plain IoU.
    """
    p, t = _pair(prediction, target, num_classes, ignore_index)
    return iou(_rim_matrix(p, t, num_classes, width, ratio))[:num_classes]


def boundary_iou(
    prediction: ArrayLike,
    target: ArrayLike,
    num_classes: int,
    width: int | None = None,
    ratio: float = 0.02,
    ignore_index: int = IGNORE_INDEX,
) -> float:
    """Mean of ``boundary_ious`` over the classes that occur in either mask."""
    return _mean(boundary_ious(prediction, target, num_classes, width, ratio, ignore_index))


def boundary_f1(
    prediction: ArrayLike,
    target: ArrayLike,
    num_classes: int,
    tolerance: float | None = None,
    ratio: float = 0.0075,
    ignore_index: int = IGNORE_INDEX,
) -> float:
    """Boundary F1 (Csurka et al., BMVC 2013), mean over images of the mean over classes.

    Precision is the share of predicted contour pixels within ``tolerance`` (Euclidean pixels, or
    ``ratio * diagonal``) of the true contour of the same class, recall the converse. Contours are
    the pixels of a class with another label, or the image frame, among their four neighbours
    (MONAI's edges). Matching is many to one, so scores lie above those of the one-to-one matching
    of the BSDS benchmark. A class in one mask only scores 0, in neither is skipped.
    """
    p, t = _pair(prediction, target, num_classes, ignore_index)
    return _mean(_contour_f1(p, t, num_classes, tolerance, ratio))


class SegmentationScores:
    """All scores of this module, accumulated batch by batch.

    The result depends neither on the batch size nor on the order. ``boundaries=False`` counts
    the confusion matrix alone, for use while training.
    """

    def __init__(
        self,
        num_classes: int,
        widths: Sequence[float] = (1, 2, 3, 5, 10),
        ignore_index: int = IGNORE_INDEX,
        boundaries: bool = True,
    ) -> None:
        self.num_classes, self.ignore_index, self.boundaries = num_classes, ignore_index, boundaries
        self.widths = sorted(_positive("widths", width) for width in widths) if boundaries else []
        self._bands = np.zeros((len(self.widths) + 1, num_classes, num_classes), np.int64)
        self._rims = np.zeros((num_classes + 1, num_classes + 1), np.int64)
        self._f1: list[float] = []

    def update(self, prediction: ArrayLike, target: ArrayLike) -> SegmentationScores:
        """Add masks (H, W) or (N, H, W); ``ValueError`` as in ``confusion_matrix``."""
        p, t = _pair(prediction, target, self.num_classes, self.ignore_index)
        self._bands += _band_matrices(p, t, self.num_classes, self.widths)
        if self.boundaries:
            self._rims += _rim_matrix(p, t, self.num_classes, None, 0.02)
            self._f1.extend(_contour_f1(p, t, self.num_classes, None, 0.0075))
        return self

    @property
    def matrix(self) -> np.ndarray:
        """``confusion_matrix`` of all pixels so far."""
        return self._bands.sum(0)

    @property
    def pixel_accuracy(self) -> float:
        return pixel_accuracy(self.matrix)

    @property
    def class_accuracy(self) -> np.ndarray:
        return class_accuracy(self.matrix)

    @property
    def iou(self) -> np.ndarray:
        return iou(self.matrix)

    @property
    def mean_iou(self) -> float:
        return mean_iou(self.matrix)

    @property
    def trimap_iou(self) -> dict[float, float]:
        """``trimap_iou`` by width in pixels."""
        self._need_boundaries("trimap_iou")
        return dict(zip(self.widths, map(mean_iou, self._bands.cumsum(0)), strict=False))

    @property
    def boundary_iou(self) -> float:
        """``boundary_iou`` at 2 % of the diagonal."""
        self._need_boundaries("boundary_iou")
        return _mean(iou(self._rims)[: self.num_classes])

    @property
    def boundary_f1(self) -> float:
        """``boundary_f1`` at 0.75 % of the diagonal."""
        self._need_boundaries("boundary_f1")
        return _mean(self._f1)

    def _need_boundaries(self, score: str) -> None:
        if not self.boundaries:
            raise ValueError(f"{score} needs SegmentationScores(boundaries=True), got False")


def _labels(mask: ArrayLike, name: str) -> np.ndarray:
    """``mask`` as an integer array (N, H, W), without a copy where possible."""
    labels = np.asarray(mask.cpu() if hasattr(mask, "cpu") else mask)
    if labels.dtype.kind not in "iub":
        hint = "logits (N, C, H, W) become labels by .argmax(1)"
        raise ValueError(f"{name} must hold integer labels, got {labels.dtype}; {hint}")
    if labels.ndim not in (2, 3) or not labels.size:
        raise ValueError(f"{name} must be (H, W) or (N, H, W) and not empty, got {labels.shape}")
    return labels if labels.ndim == 3 else labels[None]


def _pair(
    prediction: ArrayLike, target: ArrayLike, num_classes: int, ignore_index: int
) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and target (N, H, W) in the smallest dtype; void is ``num_classes`` in both."""
    p, t = _labels(prediction, "prediction"), _labels(target, "target")
    if np.shape(prediction) != np.shape(target):
        shapes = f"prediction {np.shape(prediction)}, target {np.shape(target)}"
        raise ValueError(f"prediction and target must have one shape, got {shapes}")
    void = t == ignore_index
    expected = f"0..{num_classes - 1}"
    _refuse("prediction", p, (p < 0) | (p >= num_classes), expected)
    wrong = ((t < 0) | (t >= num_classes)) & ~void
    _refuse("target", t, wrong, f"{expected} or ignore_index {ignore_index}")
    dtype = np.min_scalar_type(num_classes)
    p, t = p.astype(dtype), t.astype(dtype)
    np.copyto(p, num_classes, where=void)
    np.copyto(t, num_classes, where=void)
    return p, t


def _count(
    p: np.ndarray, t: np.ndarray, side: int, group: np.ndarray | int = 0, groups: int = 1
) -> np.ndarray:
    """Pixels by (group, t, p): ``int64 (groups, side, side)``; small integers until they count."""
    dtype = np.min_scalar_type(groups * side * side - 1)
    index = np.multiply(t, side, dtype=dtype)
    index += p
    if groups > 1:
        index += np.multiply(group, side * side, dtype=dtype)
    counts = np.bincount(index.ravel(), minlength=groups * side * side)
    return counts.astype(np.int64, copy=False).reshape(groups, side, side)


def _band_matrices(
    p: np.ndarray, t: np.ndarray, num_classes: int, widths: Sequence[float] = ()
) -> np.ndarray:
    """Confusion matrices ``(len(widths) + 1, C, C)`` of the rings between ascending widths."""
    band = 0
    if widths:
        reach = math.ceil(max((w for w in widths if w < math.inf), default=1))
        ring = np.searchsorted(np.square(widths), np.arange(reach * reach + 1), side="right")
        band = ring.astype(np.min_scalar_type(len(widths)))[
            contours.squared_distance(contours.edges(t), reach)
        ]
    return _count(p, t, num_classes + 1, band, len(widths) + 1)[:, :num_classes, :num_classes]


def _rim_matrix(
    p: np.ndarray, t: np.ndarray, num_classes: int, width: int | None, ratio: float
) -> np.ndarray:
    """Confusion matrix ``(C + 1, C + 1)`` of the pixels near contours; C is void and interiors."""
    if width is None:
        width = max(1, round(_positive("ratio", ratio) * math.hypot(*t.shape[1:])))
    elif width < 1 or width % 1:
        raise ValueError(f"width must be a whole number of pixels from 1, got {width}")
    none = p.dtype.type(num_classes)
    p, t = (
        np.where(
            contours.dilate(contours.edges(mask, corners=True, frame=True), int(width) - 1),
            mask,
            none,
        )
        for mask in (p, t)
    )
    return _count(p, t, num_classes + 1)[0]


def _contour_f1(
    p: np.ndarray, t: np.ndarray, num_classes: int, tolerance: float | None, ratio: float
) -> list[float]:
    """Boundary F1 of each image, NaN for one without labelled pixels."""
    if tolerance is None:
        tolerance = _positive("ratio", ratio) * math.hypot(*t.shape[1:])
    elif not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance must be 0 or more pixels, got {tolerance}")
    none = p.dtype.type(num_classes)
    p, t = (np.where(contours.edges(mask, frame=True), mask, none) for mask in (p, t))
    size_p, near_p = contours.matches(p, t, num_classes, tolerance)
    size_t, near_t = contours.matches(t, p, num_classes, tolerance)
    precision, recall = near_p / np.maximum(size_p, 1), near_t / np.maximum(size_t, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    f1[size_p + size_t == 0] = np.nan
    return [_mean(scores) for scores in f1]


def _ratio(part: ArrayLike, whole: ArrayLike) -> np.ndarray:
    """``part / whole``, NaN where ``whole`` is 0."""
    part, whole = np.asarray(part, float), np.asarray(whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _mean(scores: ArrayLike) -> float:
    """Mean over the scores that are not NaN, the same in any order; NaN if none is left."""
    known = [score for score in np.asarray(scores, float).tolist() if score == score]
    return math.fsum(known) / len(known) if known else math.nan


def _square(matrix: ArrayLike) -> np.ndarray:
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix must be a confusion matrix (C, C), got shape {matrix.shape}")
    return matrix


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")
    return value


def _refuse(name: str, labels: np.ndarray, wrong: np.ndarray, expected: str) -> None:
    if wrong.any():
        found = ", ".join(map(str, np.unique(labels[wrong])[:5]))
        raise ValueError(f"{name} must hold labels {expected}, got {found}")

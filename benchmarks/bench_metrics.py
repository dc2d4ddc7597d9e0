"""Speed of the scores beside each peer: ``python -m benchmarks.bench_metrics``.

Same masks, one thread each. Results are compared before the clock starts; a ratio is the peer's
median time over ours, from rounds that alternate between the two.
"""

from __future__ import annotations

import math
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from monai.metrics import compute_surface_dice
from monai.metrics.utils import get_mask_edges, get_surface_distance
from scipy import ndimage
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

from helpers import metrics

ROUNDS = 9
WIDTHS = (1, 2, 3, 5, 10)


def masks(images: int, height: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Blobs and a wobbly copy, ``int64 (N, H, W)``: like a truth and a fair prediction."""
    rng = np.random.default_rng(0)
    shape = images, classes, height, width
    field = ndimage.gaussian_filter(rng.normal(size=shape), (0, 0, height / 12, height / 12))
    wobble = ndimage.gaussian_filter(rng.normal(size=shape), (0, 0, height / 40, height / 40))
    return (field + 0.1 * wobble).argmax(1), field.argmax(1)


def eroded_boundary_iou(prediction, target, classes, width, interior) -> float:
    """Boundary IoU as its paper words it, mask by mask."""
    ious = []
    for label in range(classes):
        inter = union = 0
        for p, t in zip(prediction == label, target == label, strict=True):
            p, t = (np.pad(m, 1) & ~interior(np.pad(m, 1), width) for m in (p, t))
            inter, union = inter + (p & t).sum(), union + (p | t).sum()
        ious.append(inter / union if union else np.nan)
    return float(np.nanmean(ious))


def by_erosion(mask: np.ndarray, width: int) -> np.ndarray:
    return ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width)


def by_chessboard_distance(mask: np.ndarray, width: int) -> np.ndarray:
    return ndimage.distance_transform_cdt(mask, "chessboard") > width


def trimaps_one_by_one(prediction, target, classes) -> list[float]:
    """Trimap IoU with everything done anew for each width."""
    scores = []
    for width in WIDTHS:
        matrix = np.zeros((classes, classes), np.int64)
        for p, t in zip(prediction, target, strict=True):
            edge = np.zeros(t.shape, bool)
            for a, b in (np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1]):
                edge[a] |= t[a] != t[b]
                edge[b] |= t[a] != t[b]
            band = ndimage.distance_transform_edt(~edge) < width
            index = t[band] * classes + p[band]
            matrix += np.bincount(index, minlength=classes**2).reshape(classes, classes)
        scores.append(metrics.mean_iou(matrix))
    return scores


def f1_of_monai(prediction, target, classes, tolerance) -> float:
    """Boundary F1 out of MONAI's own edges and distances: what ours must equal."""
    images = []
    for p, t in zip(prediction, target, strict=True):
        scores = []
        for label in np.union1d(p, t):
            edges = get_mask_edges(p == label, t == label)
            near = [get_surface_distance(a, b) <= tolerance for a, b in (edges, edges[::-1])]
            shares = [n.mean() if n.size else 0.0 for n in near]
            scores.append(statistics.harmonic_mean(shares))
        images.append(statistics.fmean(scores))
    return statistics.fmean(images)


def ratio(ours: Callable, peer: Callable) -> tuple[float, float]:
    """Our median time in milliseconds and the peer's over it."""
    times: dict[Callable, list[float]] = {ours: [], peer: []}
    for _ in range(ROUNDS):
        for run, seconds in times.items():
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    mine, theirs = (statistics.median(seconds) for seconds in times.values())
    return 1000 * mine, theirs / mine


def compare(images: int, height: int, width: int, classes: int) -> None:
    """Print one line per peer for masks of this size."""
    p, t = masks(images, height, width, classes)
    void = t.copy()
    void[:, : height // 16] = 255
    tp, tt, tv = map(torch.from_numpy, (p, t, void))
    hot_p, hot_t = (torch.eye(classes)[m].movedim(-1, 1) for m in (tp, tt))
    diagonal = math.hypot(height, width)
    thick, tolerance = round(0.02 * diagonal), 0.0075 * diagonal
    # Ours checks the labels; torchmetrics may leave that out, which makes it faster.
    options = {"num_classes": classes, "ignore_index": 255, "validate_args": False}
    counter, jaccard = MulticlassConfusionMatrix(**options), MulticlassJaccardIndex(**options)

    def counted():
        return metrics.confusion_matrix(tp, tv, classes)

    def trimaps():
        return list(map(metrics.mean_iou, metrics.trimap_matrices(p, t, classes, WIDTHS)))

    def boundary_iou():
        return metrics.boundary_iou(p, t, classes)

    def boundary_f1():
        return metrics.boundary_f1(p, t, classes)

    def surface_dice():
        return compute_surface_dice(hot_p, hot_t, [tolerance] * classes, include_background=True)

    eroded = partial(eroded_boundary_iou, p, t, classes, thick)
    lines = (
        ("confusion matrix, torchmetrics", counted, partial(counter, tp, tv)),
        ("mean IoU, torchmetrics", lambda: metrics.mean_iou(counted()), partial(jaccard, tp, tv)),
        ("trimap IoU, scipy", trimaps, partial(trimaps_one_by_one, p, t, classes)),
        ("Boundary IoU, scipy erosion", boundary_iou, partial(eroded, by_erosion)),
        ("Boundary IoU, scipy chessboard", boundary_iou, partial(eroded, by_chessboard_distance)),
        ("boundary F1, MONAI surface Dice", boundary_f1, surface_dice),
    )
    for name, ours, peer in lines:
        # Surface Dice is another mean of the same shares: MONAI's edges and distances give F1.
        same = partial(f1_of_monai, p, t, classes, tolerance) if peer is surface_dice else peer
        np.testing.assert_allclose(ours(), same(), rtol=1e-5, err_msg=name)
        milliseconds, times = ratio(ours, peer)
        size = f"{images} x {height} x {width}, {classes}"
        print(f"{name:<33}{size:<22}{milliseconds:>9.2f} ms{times:>8.1f}x", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", FutureWarning)  # MONAI on its own arguments
    print(f"{'score, peer':<33}{'masks, classes':<22}{'ours':>12}{'faster':>9}")
    compare(16, 96, 128, 8)
    compare(2, 360, 480, 11)


if __name__ == "__main__":
    main()

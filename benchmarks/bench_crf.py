"""Speed of the CRF beside bare pydensecrf, on two cores, and exact: ``python -m benchmarks.bench_crf``.

Same images, probabilities and parameters. Results are compared before the clock starts, which
also starts the processes; a ratio is the peer's median time over ours, from rounds that alternate
between the two. Two processes are faster than one only where two cores are idle.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from pydensecrf import densecrf
from pydensecrf.utils import unary_from_softmax
from scipy.special import softmax

from benchmarks.bench_metrics import masks, ratio
from helpers import crf

ITERATIONS = 5
PARAMS = crf.Params(
    appearance_weight=3.0,
    appearance_sxy=10.0,
    appearance_srgb=20.0,
    smoothness_weight=1.0,
    smoothness_sxy=2.0,
)
SMALL, STREETS, CAMVID = (48, 64, 8), (96, 128, 8), (360, 480, 11)
"""Heights, widths and classes."""


def scenes(images: int, height: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy blobs ``uint8 (N, H, W, 3)`` and what a fair network might make of them."""
    rng = np.random.default_rng(0)
    predicted, truth = masks(images, height, width, classes)
    colors = rng.integers(30, 226, (classes, 3))[truth]
    noisy = np.clip(colors + rng.normal(0, 8, colors.shape), 0, 255).astype(np.uint8)
    logits = 3 * np.eye(classes)[predicted] + rng.normal(size=(*truth.shape, classes))
    return noisy, np.moveaxis(softmax(logits, axis=-1), -1, 1).astype(np.float32, order="C")


def bare(image: np.ndarray, probabilities: np.ndarray, p: crf.Params, steps: int) -> np.ndarray:
    """`crf.refine` as the README of pydensecrf has it, without a check."""
    classes, height, width = probabilities.shape
    model = densecrf.DenseCRF2D(width, height, classes)
    model.setUnaryEnergy(unary_from_softmax(probabilities))
    model.addPairwiseGaussian(sxy=p.smoothness_sxy, compat=p.smoothness_weight)
    model.addPairwiseBilateral(
        sxy=p.appearance_sxy, srgb=p.appearance_srgb, rgbim=image, compat=p.appearance_weight
    )
    return np.array(model.inference(steps), np.float32).reshape(probabilities.shape)


def exact(*arguments) -> np.ndarray:
    return crf.mean_field(*arguments).probabilities


def compare(
    name: str,
    images: int,
    size: tuple[int, int, int],
    ours: Callable[[], np.ndarray],
    peer: Callable[[], np.ndarray],
    tolerance: float = 0,
) -> None:
    """Print a line for `ours` beside `peer`, which agree up to `tolerance` on average."""
    gap = np.abs(np.subtract(ours(), peer(), dtype=np.float32)).mean()
    if gap > tolerance:
        raise AssertionError(f"{name}: results are {gap:.2g} apart")
    milliseconds, times = ratio(ours, peer)
    height, width, classes = size
    shape = f"{images} x {height} x {width}, {classes}"
    microseconds = 1000 * milliseconds / (images * height * width)
    print(
        f"{name:<26}{shape:<22}{milliseconds:>9.1f} ms{times:>8.3f}x{microseconds:>10.2f}",
        flush=True,
    )


def main() -> None:
    print(f"{'ours, peer':<26}{'images, classes':<22}{'ours':>12}{'faster':>9}{'µs/pixel':>10}")
    for size in SMALL, STREETS, (192, 256, 8), CAMVID:
        images, probabilities = scenes(1, *size)
        one = images[0], probabilities[0], PARAMS, ITERATIONS
        refined = partial(crf.refine, *one)
        compare("refine, bare pydensecrf", 1, size, refined, partial(bare, *one))
        if size == SMALL:
            compare("mean_field, refine", 1, size, partial(exact, *one), refined, tolerance=0.01)
    for count, size in (32, STREETS), (4, CAMVID):
        many = *scenes(count, *size), PARAMS, ITERATIONS
        masked = partial(crf.refine_many, *many, labels=True, progress=False)
        two, alone = (partial(masked, workers=workers) for workers in (2, 1))
        compare("two processes, one", count, size, two, alone)


if __name__ == "__main__":
    main()

"""The fully connected CRF (Krähenbühl and Koltun, NIPS 2011): labels that follow colour edges.

Every pixel is joined to every other one. Two kernels say how strongly, by position ``p`` (pixels)
and colour ``I`` (0 to 255)::

    appearance   w1 * exp(-|p_i - p_j|^2 / (2 sxy^2) - |I_i - I_j|^2 / (2 srgb^2))
    smoothness   w2 * exp(-|p_i - p_j|^2 / (2 sxy^2))

``refine`` finds better probabilities with the package pydensecrf, which filters on a permutohedral
lattice; ``mean_field`` does the same exactly, in matrices of all pairs, to explain it. Both keep
what pydensecrf does: kernels normalised symmetrically, a pixel's message to itself left in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from numbers import Real

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist
from tqdm import tqdm

CLIP = 1e-5
"""Least probability that enters the unary energy, as in pydensecrf: no energy is above 11.5."""

LEAST_SIGMA = 0.1
"""Least standard deviation: with a picture's side a billion of them, pydensecrf ends Python."""

MOST = 1e6
"""Largest parameter: far above it, energies overflow to NaN."""

MAX_PIXELS = 128 * 128
"""Largest image that ``mean_field`` takes: a matrix of its pairs then holds 1 GB,
and there are two of them for a while."""

NORMALIZATIONS = ("symmetric", "none")


@dataclass(frozen=True)
class Params:
    """How strongly, and how far, pixels pull each other's labels together.

    Weights are dimensionless, 0 switches a kernel off; ``sxy`` are standard deviations in pixels,
    ``srgb`` in grey levels of 0 to 255. A weight is one number and attracts: the full Potts model,
    where only equal labels save energy. Raises ``ValueError`` for anything but a number from 0 to
    `MOST`, for a standard deviation from `LEAST_SIGMA`.
    """

    appearance_weight: float
    appearance_sxy: float
    appearance_srgb: float
    smoothness_weight: float
    smoothness_sxy: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            weight = field.name.endswith("weight")
            least = 0 if weight else LEAST_SIGMA
            if weight and np.ndim(value):
                raise ValueError(
                    f"{field.name} must be one number that attracts, got an array of shape "
                    f"{np.shape(value)}: to pydensecrf an array of positive numbers is repulsion"
                )
            if isinstance(value, bool) or not isinstance(value, Real) or not least <= value <= MOST:
                raise ValueError(
                    f"{field.name} must be a number from {least:g} to {MOST:g}; got {value!r}"
                )


@dataclass(frozen=True)
class Inference:
    """All steps of a mean-field inference.

    ``steps`` ``float32 (iterations + 1, C, H, W)`` begin with the probabilities that came in;
    ``energies`` ``float64 (iterations + 1,)`` are their free energies, which ``mean_field`` never
    raises while a pixel's message to itself is left in.
    """

    steps: np.ndarray
    energies: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """Those of the last step, ``(C, H, W)``."""
        return self.steps[-1]

    @property
    def mask(self) -> np.ndarray:
        """The most likely label of each pixel after the last step, ``int64 (H, W)``."""
        return self.steps[-1].argmax(0)


def refine(
    image: ArrayLike, probabilities: ArrayLike, params: Params, iterations: int = 5
) -> np.ndarray:
    """Probabilities ``float32 (C, H, W)`` after mean-field inference on a permutohedral lattice.

    Args:
        image: ``(3, H, W)`` or ``(H, W, 3)`` (where both fit, this), uint8 or float in [0, 1];
            array or tensor, of any memory order, on any device.
        probabilities: softmax output ``(C, H, W)`` of at least two classes, of any float type.
        params: see `Params`; those tuned for a network are at ``helpers.crf_study.tuned``.
        iterations: updates of all pixels in parallel, from 0 (which only clips) on.

    Raises ``ValueError`` that names the argument for values, shapes or types that do not fit, and
    ``ImportError`` where pydensecrf is not installed.
    """
    model = _lattice(*_checked(image, probabilities, params, iterations), params)
    return _as_maps(model.inference(iterations), np.shape(probabilities))


def refine_steps(
    image: ArrayLike, probabilities: ArrayLike, params: Params, iterations: int = 5
) -> Inference:
    """`refine`, with every step and its energy on the way; takes more than twice as long."""
    picture, unary = _checked(image, probabilities, params, iterations)
    model, shape = _lattice(picture, unary, params), np.shape(probabilities)
    q, *buffers = model.startInference()
    steps, energies = [], []
    for step in range(iterations + 1):
        if step:
            model.stepInference(q, *buffers)
        now = np.array(q, np.float64)
        alone = _alone(now, unary)
        # pydensecrf adds each pair of pixels twice, so half of its second part is too much
        energies.append((alone + model.klDivergence(q)) / 2)
        steps.append(_as_maps(q, shape))
    return Inference(np.stack(steps), np.array(energies))


def refine_many(
    images: Sequence[ArrayLike],
    probabilities: Sequence[ArrayLike],
    params: Params,
    iterations: int = 5,
    *,
    labels: bool = False,
    workers: int = -1,
    progress: bool | None = None,
    description: str = "CRF",
) -> np.ndarray:
    """`refine` for images and probabilities in pairs, in parallel processes.

    Returns probabilities ``float32 (N, C, H, W)``, or with ``labels`` the most likely ones,
    ``uint8 (N, H, W)`` of at most 256 classes, which need far less memory. ``workers`` counts
    processes: -1 takes every core, 1 stays in this one. ``progress`` shows a bar; ``None`` only in
    a terminal. Raises ``ValueError`` as `refine`, naming the item, before any work begins.
    """
    if len(images) != len(probabilities) or not len(images):
        raise ValueError(
            "images and probabilities must pair up, and be at least one; "
            f"got {len(images)} and {len(probabilities)}"
        )
    if not _whole(workers) or not (workers > 0 or workers == -1):
        raise ValueError(f"workers must be a positive whole number or -1, got {workers!r}")
    check_options(params, iterations)
    pairs = []
    for number, (image, item) in enumerate(zip(images, probabilities, strict=True)):
        try:
            _checked(image, item, params, iterations)
        except ValueError as error:
            raise ValueError(f"item {number}: {error}") from error
        pairs.append((_array(image), _array(item)))
    shapes = {item.shape for _, item in pairs}
    if len(shapes) > 1:
        raise ValueError(f"probabilities must be of one shape, got {sorted(shapes)}")
    shape = shapes.pop()
    if labels and shape[0] > 256:
        raise ValueError(f"labels=True takes at most 256 classes, got {shape[0]}")
    refined = np.empty(
        (len(pairs), *(shape[1:] if labels else shape)), np.uint8 if labels else np.float32
    )
    work = (delayed(_refined)(*pair, params, iterations, labels) for pair in pairs)
    done = Parallel(n_jobs=int(workers), return_as="generator")(work)
    disable = None if progress is None else not progress
    for number, item in enumerate(
        tqdm(done, description, len(pairs), disable=disable, leave=False)
    ):
        refined[number] = item
    return refined


def mean_field(
    image: ArrayLike,
    probabilities: ArrayLike,
    params: Params,
    iterations: int = 5,
    *,
    normalization: str = "symmetric",
    self_messages: bool = True,
) -> Inference:
    """The same inference by definition, between all pairs of pixels: exact, slow, easy to read.

    Arguments as `refine`; images hold at most 128 x 128 pixels. ``normalization="none"`` leaves the
    kernels as they are; ``self_messages=False`` takes out what a pixel tells itself, as the paper
    has it. The update is equation 5 of Krähenbühl and Koltun with the Potts model, all pixels in
    parallel; the energy is the variational free energy:

        F(Q) = sum_i sum_l Q_i(l) (U_i(l) + log Q_i(l)) - 1/2 sum_ij k_ij sum_l Q_i(l) Q_j(l)

    Without self-messages or normalisation, less the constant sum of k_ij over pairs, it is an upper
    bound of -log Z. Self-messages make the kernels positive definite, so that no parallel update
    raises it (Krähenbühl and Koltun, ICML 2013); without them one may.

    Raises ``ValueError`` as `refine`, and for larger images.
    """
    picture, unary = _checked(image, probabilities, params, iterations)
    kernel = pairwise(picture, params, normalization)
    if not self_messages:
        np.fill_diagonal(kernel, 0)
    messages, steps, energies = 0, [], []
    for _ in range(iterations + 1):  # the first without messages
        q = _softmax(messages - unary)
        messages = q.astype(np.float32) @ kernel  # in float64, the kernel would be copied
        steps.append(q.astype(np.float32).reshape(np.shape(probabilities)))
        energies.append(_alone(q, unary) - (q * messages).sum() / 2)
    return Inference(np.stack(steps), np.array(energies))


def pairwise(image: ArrayLike, params: Params, normalization: str = "symmetric") -> np.ndarray:
    """How strongly each pair of pixels is joined, by both kernels: ``float32 (H * W, H * W)``.

    Symmetric normalisation divides each kernel by the roots of its row sums,
    ``k_ij / sqrt(n_i n_j)``, so that a pixel in a crowd of equals hears about as much as one alone.
    """
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"normalization must be one of {', '.join(NORMALIZATIONS)}; got {normalization!r}"
        )
    check_options(params)
    picture = _picture(image)
    height, width = picture.shape[:2]
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"image must hold at most {MAX_PIXELS} pixels (128 x 128), got {height} x {width}: "
            f"all pairs of them would take {(height * width) ** 2 * 4 / 1e9:.0f} GB; use refine"
        )
    total = None
    for weight, features in _kernels(picture, params):
        kernel = _gaussian(features, features)
        if normalization == "symmetric":
            scale = 1 / np.sqrt(kernel.sum(1, dtype=np.float64))
            kernel *= (weight * scale[:, None]).astype(np.float32)
            kernel *= scale.astype(np.float32)
        else:
            kernel *= np.float32(weight)
        total = kernel if total is None else np.add(total, kernel, out=total)
    return np.zeros((height * width,) * 2, np.float32) if total is None else total


def kernels_at(
    image: ArrayLike, params: Params, pixel: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Both kernels around ``pixel`` (row, column), without their weights: ``float32 (H, W)`` each.

    Appearance first, 1 at the pixel itself. Raises ``ValueError`` for a pixel outside the image.
    """
    check_options(params)
    picture = _picture(image)
    height, width = picture.shape[:2]
    if np.shape(pixel) != (2,):
        raise ValueError(f"pixel must be (row, column), got {pixel!r}")
    row, column = pixel
    if not (_whole(row) and _whole(column) and 0 <= row < height and 0 <= column < width):
        raise ValueError(
            f"pixel must lie within {height} x {width}, row and column whole; got {pixel}"
        )
    at = row * width + column
    both = [
        _gaussian(features[at : at + 1], features).reshape(height, width)
        for _, features in _kernels(picture, params, off=True)
    ]
    return both[0], both[1]


def _refined(image, probabilities, params, iterations, labels) -> np.ndarray:
    """The work of one process, on arrays that were checked: a function that can be sent there."""
    refined = refine(image, probabilities, params, iterations)
    return refined.argmax(0).astype(np.uint8) if labels else refined


def _kernels(
    picture: np.ndarray, params: Params, off: bool = False
) -> list[tuple[float, np.ndarray]]:
    """Weight and features ``(H * W, 5 or 2)`` in standard deviations; of weight 0 only if `off`."""
    height, width = picture.shape[:2]
    places = np.indices((height, width)).reshape(2, -1).T
    colors = picture.reshape(-1, 3) / params.appearance_srgb
    both = [
        (params.appearance_weight, np.hstack([places / params.appearance_sxy, colors])),
        (params.smoothness_weight, places / params.smoothness_sxy),
    ]
    return [(weight, features) for weight, features in both if weight or off]


def _gaussian(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """``exp(-|a - b|^2 / 2)`` for every pair of rows, ``float32 (len(some), len(others))``."""
    kernel = np.empty((len(some), len(others)), np.float32)
    for first in range(0, len(some), 256):  # in strips, because distances come as float64
        rows = slice(first, first + 256)
        kernel[rows] = cdist(some[rows], others, "sqeuclidean")
    kernel *= -0.5
    return np.exp(kernel, out=kernel)


def _lattice(picture: np.ndarray, unary: np.ndarray, params: Params):
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        raise ImportError(
            "refine needs the package pydensecrf2, which is compiled when it is installed (README.md "
            "says what it takes); mean_field does the same on small images without it"
        ) from error
    height, width = picture.shape[:2]
    model = densecrf.DenseCRF2D(width, height, len(unary))
    model.setUnaryEnergy(unary)
    if params.smoothness_weight:
        model.addPairwiseGaussian(sxy=params.smoothness_sxy, compat=params.smoothness_weight)
    if params.appearance_weight:
        model.addPairwiseBilateral(
            sxy=params.appearance_sxy, srgb=params.appearance_srgb, rgbim=picture,
            compat=params.appearance_weight,
        )  # fmt: skip
    return model


def _as_maps(q: object, shape: tuple[int, ...]) -> np.ndarray:
    return np.array(q, np.float32).reshape(shape)


def _alone(q: np.ndarray, unary: np.ndarray) -> float:
    """What pixels cost each on its own, unary energy less entropy, in nats."""
    return float((q * (unary + np.log(np.maximum(q, np.finfo(np.float64).tiny)))).sum())


def _softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(0), dtype=np.float64)
    return weights / weights.sum(0)


def _array(value: ArrayLike) -> np.ndarray:
    """A NumPy array; of a tensor wherever it is, bfloat16 too, which NumPy lacks."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if "bfloat16" in str(value.dtype):
            value = value.float()
    return np.asarray(value)


def _checked(
    image: ArrayLike, probabilities: ArrayLike, params: Params, iterations: int
) -> tuple[np.ndarray, np.ndarray]:
    """Image ``uint8 (H, W, 3)`` and unary energy ``float32 (C, H * W)``, both C-contiguous."""
    check_options(params, iterations)
    picture, unary = _picture(image), _unary(_array(probabilities))
    if picture.shape[:2] != np.shape(probabilities)[1:]:
        sizes = f"image {picture.shape[:2]}, probabilities {np.shape(probabilities)[1:]}"
        raise ValueError(f"image and probabilities must have one height and width; got {sizes}")
    return picture, unary


def check_options(params: Params, iterations: int = 0) -> None:
    """Raise ``ValueError`` unless these are options that `refine` takes."""
    if not isinstance(params, Params):
        raise ValueError(f"params must be a crf.Params, got {type(params).__name__}")
    if not _whole(iterations) or iterations < 0:
        raise ValueError(f"iterations must be a whole number from 0, got {iterations!r}")


def _whole(number: object) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def _picture(image: ArrayLike) -> np.ndarray:
    array = _array(image)
    if array.ndim != 3 or 3 not in (array.shape[0], array.shape[2]):
        raise ValueError(f"image must be RGB, (3, H, W) or (H, W, 3); got shape {array.shape}")
    if not array.size:
        raise ValueError(f"image must not be empty, got shape {array.shape}")
    if array.shape[2] != 3:
        array = array.transpose(1, 2, 0)
    if array.dtype.kind == "f":
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"image must lie in [0, 1] when it holds floats, got [{low:.3g}, {high:.3g}]: "
                "undo the normalisation, or pass uint8"
            )
        array = np.rint(array * 255.0).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ValueError(f"image must be uint8 or float in [0, 1], got {array.dtype}")
    return np.require(array, requirements=["C", "W"])  # writable too: pydensecrf insists


def _unary(probabilities: np.ndarray) -> np.ndarray:
    """Negative log probabilities ``float32 (C, H * W)``."""
    shape, kind = probabilities.shape, probabilities.dtype.kind
    if kind in "iub":
        raise ValueError(
            f"probabilities must be floats (C, H, W), the softmax of a network; got "
            f"{probabilities.dtype} {shape}, which looks like labels"
        )
    if kind != "f":
        raise ValueError(f"probabilities must be floats, got {probabilities.dtype}")
    if probabilities.ndim != 3:
        hint = ": take one image of the batch, or call refine_many" if len(shape) == 4 else ""
        raise ValueError(f"probabilities must be (C, H, W), got shape {shape}{hint}")
    if shape[0] < 2:
        raise ValueError(
            f"probabilities must have at least 2 classes, got {shape[0]}: "
            "of one class, pass its probability and 1 minus it"
        )
    if not probabilities.size:
        raise ValueError(f"probabilities must not be empty, got shape {shape}")
    low, high = probabilities.min(), probabilities.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("probabilities must be finite, got NaN or infinity")
    if low < 0 or high > 1.01:
        raise ValueError(
            f"probabilities must lie in [0, 1], got [{low:.3g}, {high:.3g}]: "
            "if these are logits, take their softmax over the classes first"
        )
    total = probabilities.sum(0, dtype=np.float32)
    if not (total.min() > 0.99 and total.max() < 1.01):  # half precision rounds that much
        raise ValueError(
            "probabilities must add up to 1 over the classes (axis 0) at every pixel; "
            f"got sums from {total.min():.3g} to {total.max():.3g}"
        )
    # pydensecrf takes nothing but float32, C-contiguous, (C, H * W)
    clipped = np.clip(probabilities, CLIP, 1, dtype=np.float32)
    return np.ascontiguousarray(-np.log(clipped).reshape(shape[0], -1))

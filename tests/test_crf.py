"""The CRF against bare pydensecrf, brute force, exact inference, and what the theory guarantees."""

import itertools
import math
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from scipy.special import softmax

from helpers import crf
from helpers.crf import Params

BOTH = Params(
    appearance_weight=1.0,
    appearance_sxy=10.0,
    appearance_srgb=30.0,
    smoothness_weight=1.0,
    smoothness_sxy=3.0,
)
SMOOTHNESS = replace(BOTH, appearance_weight=0)
APPEARANCE = replace(BOTH, smoothness_weight=0)
OFF = replace(BOTH, appearance_weight=0, smoothness_weight=0)
STRONG = Params(30, 60, 8, 3, 1)


def scene(seed, height=24, width=24):
    """A disc before sky and ground: noisy ``uint8 (H, W, 3)`` and ``float32 (3, H, W)``."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((height, width))
    mask = (rows > 0.6 * height).astype(int)
    mask[np.hypot(rows - height / 2, columns - width / 2) < min(height, width) / 4] = 2
    colors = np.array([[120, 170, 220], [110, 100, 80], [200, 60, 50]])[mask]
    image = np.clip(colors + rng.normal(0, 12, colors.shape), 0, 255).astype(np.uint8)
    logits = 2 * np.eye(3)[mask].transpose(2, 0, 1) + rng.normal(size=(3, height, width))
    return image, softmax(logits, axis=0).astype(np.float32)


def noise(seed, classes, height, width):
    """Unrelated colours, ``uint8 (H, W, 3)``, and probabilities ``float32 (C, H, W)``."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return image, softmax(rng.normal(size=(classes, height, width)), axis=0).astype(np.float32)


# Beside pydensecrf


def bare(image, probabilities, params):
    """The model of `refine`, as the README of pydensecrf builds it."""
    densecrf = pytest.importorskip("pydensecrf.densecrf", reason="pydensecrf2 is not installed")
    from pydensecrf.utils import unary_from_softmax

    height, width = image.shape[:2]
    model = densecrf.DenseCRF2D(width, height, len(probabilities))
    model.setUnaryEnergy(unary_from_softmax(probabilities))
    p = params
    if p.smoothness_weight:
        model.addPairwiseGaussian(sxy=p.smoothness_sxy, compat=p.smoothness_weight)
    if p.appearance_weight:
        model.addPairwiseBilateral(
            sxy=p.appearance_sxy, srgb=p.appearance_srgb, rgbim=image, compat=p.appearance_weight
        )
    return model


@pytest.mark.parametrize("size", [(24, 24), (20, 33), (33, 20)])
@pytest.mark.parametrize("iterations", [0, 1, 5])
@pytest.mark.parametrize("params", [BOTH, SMOOTHNESS, APPEARANCE, OFF, STRONG])
def test_refine_is_pydensecrf_bit_for_bit(params, iterations, size):
    image, probabilities = scene(0, *size)
    probabilities[:, :2] = np.eye(3)[0][:, None, None]  # certain: energies are clipped
    refined = crf.refine(image, probabilities, params, iterations)
    peer = np.array(bare(image, probabilities, params).inference(iterations))
    np.testing.assert_array_equal(refined, peer.reshape(refined.shape))
    assert refined.dtype == np.float32
    np.testing.assert_allclose(refined.sum(0), 1, rtol=1e-6)


@pytest.mark.parametrize("function", [crf.refine, crf.mean_field])
@pytest.mark.parametrize(("params", "iterations"), [(OFF, 5), (BOTH, 0)])
def test_without_kernels_or_iterations_it_only_clips_and_normalises(function, params, iterations):
    image, probabilities = scene(1)
    probabilities[:, 3] = np.eye(3)[1][:, None]
    refined = function(image, probabilities, params, iterations)
    if function is crf.mean_field:
        refined = refined.probabilities
    clipped = np.clip(probabilities, 1e-5, 1)
    np.testing.assert_allclose(refined, clipped / clipped.sum(0), rtol=1e-5)


@pytest.mark.parametrize("params", [BOTH, SMOOTHNESS, STRONG])
def test_steps_begin_with_the_unary_and_end_with_refine(params):
    image, probabilities = scene(2, 20, 28)
    found = crf.refine_steps(image, probabilities, params, 4)
    assert found.steps.shape == (5, *probabilities.shape) and found.energies.shape == (5,)
    assert (found.steps.dtype, found.energies.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(found.steps[0], probabilities, rtol=1e-5)
    for iterations, step in enumerate(found.steps):
        np.testing.assert_array_equal(step, crf.refine(image, probabilities, params, iterations))
    np.testing.assert_array_equal(found.probabilities, found.steps[-1])
    np.testing.assert_array_equal(found.mask, found.steps[-1].argmax(0))
    assert found.mask.dtype == np.int64


@pytest.mark.parametrize("params", [BOTH, APPEARANCE, STRONG])
def test_energies_count_each_pair_once(params):
    """klDivergence counts it twice, so halfway to that of a model without pairs it counts once."""
    image, probabilities = scene(3, 20, 28)
    joined, apart = (bare(image, probabilities, p) for p in (params, OFF))
    q, *buffers = joined.startInference()
    for step, energy in enumerate(crf.refine_steps(image, probabilities, params, 3).energies):
        if step:
            joined.stepInference(q, *buffers)
        halfway = (joined.klDivergence(q) + apart.klDivergence(q)) / 2
        assert energy == pytest.approx(halfway, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [(24, 24), (20, 28), (28, 20)])
@pytest.mark.parametrize("params", [SMOOTHNESS, APPEARANCE])
def test_the_lattice_is_near_the_exact_inference(params, size, seed):
    """Where weights are mild and ``srgb`` is well above the noise, as here; not in general."""
    image, probabilities = scene(seed, *size)
    lattice = crf.refine_steps(image, probabilities, params, 5)
    exact = crf.mean_field(image, probabilities, params, 5)
    gap = np.abs(lattice.steps - exact.steps)
    assert gap.max() < 0.03 and gap.mean() < 0.003
    np.testing.assert_allclose(lattice.energies, exact.energies, rtol=0.01)
    assert np.abs(exact.steps[-1] - exact.steps[0]).max() > 0.15  # something did happen


# Beside brute force


def gaussians(image, params, i, j):
    """Appearance and smoothness between pixels ``i`` and ``j``, by the book."""
    width = image.shape[1]
    (y, x), (v, u) = divmod(i, width), divmod(j, width)
    apart = (y - v) ** 2 + (x - u) ** 2
    colors = sum((float(a) - float(b)) ** 2 for a, b in zip(image[y, x], image[v, u], strict=True))
    return (
        math.exp(-apart / 2 / params.appearance_sxy**2 - colors / 2 / params.appearance_srgb**2),
        math.exp(-apart / 2 / params.smoothness_sxy**2),
    )


def kernel_by_hand(image, params, normalization):
    pixels = range(image.shape[0] * image.shape[1])
    total = np.zeros((len(pixels),) * 2)
    weights = params.appearance_weight, params.smoothness_weight
    for kernel, weight in enumerate(weights):
        k = [[gaussians(image, params, i, j)[kernel] for j in pixels] for i in pixels]
        for i, j in itertools.product(pixels, pixels):
            divisor = 1 if normalization == "none" else math.sqrt(sum(k[i]) * sum(k[j]))
            total[i, j] += weight * k[i][j] / divisor
    return total


@pytest.mark.parametrize("self_messages", [True, False])
@pytest.mark.parametrize("normalization", crf.NORMALIZATIONS)
def test_updates_and_energies_equal_three_loops(normalization, self_messages):
    image, probabilities = noise(5, 4, 3, 4)
    params = Params(2.0, 1.5, 90.0, 0.7, 1.2)
    options = {"normalization": normalization, "self_messages": self_messages}
    found = crf.mean_field(image, probabilities, params, 3, **options)
    kernel = kernel_by_hand(image, params, normalization)
    unary = -np.log(probabilities.reshape(4, 12).astype(float))
    q = np.exp(-unary)
    for step, energy in enumerate(found.energies):
        messages = np.zeros_like(q)
        for label, i, j in itertools.product(range(4), range(12), range(12)):
            if self_messages or i != j:
                messages[label, i] += kernel[i, j] * q[label, j]
        np.testing.assert_allclose(found.steps[step].reshape(4, 12), q, rtol=1e-5)
        expected = (q * (unary + np.log(q) - messages / 2)).sum()
        assert energy == pytest.approx(expected, rel=1e-5)
        q = softmax(messages - unary, axis=0)


@pytest.mark.parametrize("normalization", crf.NORMALIZATIONS)
def test_pairwise_is_its_definition(normalization):
    image, _ = noise(6, 2, 4, 5)
    params = Params(3.0, 2.0, 70.0, 0.5, 1.0)
    pairs = crf.pairwise(image, params, normalization)
    np.testing.assert_allclose(pairs, kernel_by_hand(image, params, normalization), rtol=1e-5)
    np.testing.assert_allclose(pairs, pairs.T, rtol=1e-6)
    assert pairs.dtype == np.float32


def test_kernels_at_are_rows_of_pairwise():
    image, _ = noise(7, 2, 5, 6)
    for row, column in (0, 0), (2, 5), (4, 3):
        maps = crf.kernels_at(image, OFF, (row, column))  # weights do not matter
        for params, found in zip((APPEARANCE, SMOOTHNESS), maps, strict=True):
            expected = crf.pairwise(image, params, "none")[6 * row + column].reshape(5, 6)
            np.testing.assert_array_equal(found, expected)
            assert found[row, column] == 1 and found.dtype == np.float32


@pytest.mark.parametrize("srgb", [0.5, 1, 3, 30])
def test_kernels_are_accurate_for_steep_colours_and_wide_images(srgb):
    rng = np.random.default_rng(8)
    image = rng.integers(0, 256, (2, 3000, 1), dtype=np.uint8) // [1, 2, 3] // 16 * 16
    image = (image + rng.integers(0, 3, image.shape)).astype(np.uint8)
    params = Params(1, 40, srgb, 1, 0.7)
    at = 1, 2900
    expected = [gaussians(image, params, 5900, j) for j in range(6000)]
    for found, exact in zip(crf.kernels_at(image, params, at), np.transpose(expected), strict=True):
        np.testing.assert_allclose(found.ravel(), exact, rtol=1e-5, atol=1e-9)
        assert found[at] == 1


def test_on_one_colour_appearance_is_a_gaussian_of_position():
    image = np.full((9, 13, 3), 77, np.uint8)
    appearance, smoothness = crf.kernels_at(image, replace(BOTH, appearance_sxy=3), (4, 6))
    np.testing.assert_array_equal(appearance, smoothness)  # both of 3 pixels
    assert appearance[4, 9] == pytest.approx(math.exp(-0.5))


# Beside exact inference: all 512 labellings of 3 x 3 pixels

LABELLINGS = np.array(list(itertools.product((0, 1), repeat=9)))
EXACT = {"normalization": "none", "self_messages": False}


def strength(weight):
    return Params(weight, 2, 120, weight, 1)


def all_energies(image, probabilities, params):
    """The energy of each of `LABELLINGS`: unary, less what pairs of equal labels save."""
    unary = -np.log(probabilities.reshape(2, 9).astype(float))
    kernel = np.triu(crf.pairwise(image, params, "none"), 1)  # each pair once
    equal = LABELLINGS[:, :, None] == LABELLINGS[:, None, :]
    return unary[LABELLINGS, range(9)].sum(1) - (kernel * equal).sum((1, 2))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weight", [0.05, 0.3, 1, 10])
def test_the_free_energy_bounds_log_z(weight, seed):
    """Whatever the strength and the step; the smaller the gap, the nearer mean field is to exact."""
    image, probabilities = noise(seed, 2, 3, 3)
    params = strength(weight)
    energies = all_energies(image, probabilities, params)
    log_z = np.logaddexp.reduce(-energies)
    found = crf.mean_field(image, probabilities, params, 20, **EXACT)
    assert (found.energies >= -log_z - 1e-5).all()
    of_mask = energies[(found.mask.ravel() == LABELLINGS).all(1)].item()
    assert of_mask >= energies.min()
    if weight == 0.05:
        marginals = softmax(-energies) @ LABELLINGS
        np.testing.assert_allclose(found.probabilities[1].ravel(), marginals, atol=2e-3)
        assert found.energies[-1] + log_z < 0.01


@pytest.mark.parametrize("seed", range(10))
def test_strong_kernels_settle_where_no_single_pixel_wants_to_change(seed):
    """A local optimum: mean field need not find the best labelling of all."""
    image, probabilities = noise(seed, 2, 3, 3)
    energies = all_energies(image, probabilities, strength(10))
    found = crf.mean_field(image, probabilities, strength(10), 40, **EXACT)
    np.testing.assert_allclose(found.steps[-1], found.steps[-2], atol=1e-6)
    changed = (found.mask.ravel() != LABELLINGS).sum(1)
    assert (energies[changed == 1] > energies[changed == 0]).all()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("normalization", crf.NORMALIZATIONS)
def test_with_self_messages_energies_never_rise(normalization, seed):
    """The kernel is then positive semi-definite, and each update a step of CCCP."""
    rng = np.random.default_rng(seed)
    image, probabilities = noise(seed, 4, 6, 7)
    params = Params(*rng.uniform([0, 0.5, 5, 0, 0.5], [20, 10, 90, 20, 5]))
    eigenvalues = np.linalg.eigvalsh(crf.pairwise(image, params, normalization).astype(float))
    assert eigenvalues[0] > -1e-5 * eigenvalues[-1]
    found = crf.mean_field(image, probabilities, params, 20, normalization=normalization)
    assert (np.diff(found.energies) <= 1e-6 * np.abs(found.energies[:-1])).all()
    assert found.energies[-1] < found.energies[0] - 0.1


def test_without_self_messages_two_pixels_swap_labels_for_ever():
    """All pixels move at once, each to where the other was: why self-messages are left in."""
    image = np.zeros((1, 2, 3), np.uint8)
    probabilities = np.float32([[[0.9, 0.1]], [[0.1, 0.9]]])
    params = Params(0, 1, 1, 10, 10)
    found = crf.mean_field(image, probabilities, params, 6, **EXACT)
    assert [step.argmax(0).tolist() for step in found.steps[:3]] == [[[0, 1]], [[1, 0]], [[0, 1]]]
    assert found.energies[1] > found.energies[0]
    kept = crf.mean_field(image, probabilities, params, 6, normalization="none")
    assert (np.diff(kept.energies) <= 1e-5).all()


# Symmetries


def test_renamed_labels_rename_the_result():
    image, probabilities = scene(4)
    order = [2, 0, 1]
    for function in crf.refine_steps, crf.mean_field:
        one, other = (function(image, p, BOTH) for p in (probabilities, probabilities[order]))
        np.testing.assert_allclose(one.steps[:, order], other.steps, atol=1e-6)
        np.testing.assert_allclose(one.energies, other.energies, rtol=1e-6)


@pytest.mark.parametrize(
    ("of_image", "of_maps"),
    [
        (lambda image: image[:, ::-1], lambda maps: maps[..., ::-1]),
        (lambda image: image[::-1], lambda maps: maps[..., ::-1, :]),
        (lambda image: image.transpose(1, 0, 2), lambda maps: np.swapaxes(maps, -1, -2)),
    ],
    ids=["left-right", "upside-down", "transposed"],
)
def test_a_mirrored_scene_has_a_mirrored_result(of_image, of_maps):
    """To rounding; on the lattice only nearly, since its cells lie otherwise then."""
    image, probabilities = scene(5, 18, 25)
    for function, tolerance in (crf.mean_field, 1e-5), (crf.refine_steps, 0.05):
        here = function(image, probabilities, BOTH).steps
        there = function(of_image(image), of_maps(probabilities), BOTH).steps
        np.testing.assert_allclose(of_maps(here), there, atol=tolerance)


# What learners have at hand


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def spread(array):
    """The same values, every second one of a larger array."""
    larger = np.zeros(tuple(2 * side for side in array.shape), array.dtype)
    view = larger[::2, ::2, ::2]
    view[...] = array
    return view


def flipped(array):
    """The same values, stored back to front along the last two axes."""
    return np.ascontiguousarray(array[:, ::-1, ::-1])[:, ::-1, ::-1]


def channels_last(array):
    """The same values, stored with the first axis last, as a picture often is."""
    return np.moveaxis(np.moveaxis(array, 0, -1).copy(), -1, 0)


LAYOUTS = {
    "plain": np.asarray,
    "tensor": torch.from_numpy,
    "read-only": read_only,
    "every second": spread,
    "negative strides": flipped,
    "Fortran": np.asfortranarray,
    "channels last": channels_last,
    "strided tensor": lambda array: torch.from_numpy(spread(array)),
}
IMAGES = {
    "uint8": lambda image: image,
    "float16": lambda image: (image / 255).astype(np.float16),
    "float32": lambda image: (image / 255).astype(np.float32),
    "float64": lambda image: image / 255,
    "bfloat16": lambda image: torch.from_numpy(image / 255).bfloat16(),
    "between grey levels": lambda image: np.clip(image - 0.4, 0, 255) / 255,
}
PROBABILITIES = {
    "float16": lambda p: p.astype(np.float16),
    "float64": lambda p: p.astype(np.float64),
    "big-endian": lambda p: p.astype(">f4"),
    "half tensor": lambda p: torch.from_numpy(p).half(),
    "bfloat16 tensor": lambda p: torch.from_numpy(p).bfloat16(),
    "double tensor": lambda p: torch.from_numpy(p).double(),
    "with gradient": lambda p: torch.from_numpy(p).requires_grad_(),
    "of a softmax": lambda p: torch.from_numpy(np.log(p)).requires_grad_().softmax(0),
    "list": lambda p: p.tolist(),
}


def plain(value):
    """A copy of `value` in NumPy, to see that nobody wrote into it."""
    return value.detach().double().numpy().copy() if torch.is_tensor(value) else np.array(value)


def both(image, probabilities):
    steps = crf.mean_field(image, probabilities, BOTH, 2).probabilities
    return np.stack([crf.refine(image, probabilities, BOTH, 2), steps])


@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_any_layout_gives_the_same(layout, channels_first):
    image, probabilities = scene(6, 10, 14)
    probabilities[:, 4] = np.eye(3)[1][:, None]  # to be clipped, but not in place
    expected = both(image.copy(), probabilities.copy())
    given = layout(np.moveaxis(image, -1, 0).copy() if channels_first else image)
    maps = layout(probabilities)
    before = plain(given), plain(maps)
    np.testing.assert_array_equal(both(given, maps), expected)
    for one, other in zip(before, (given, maps), strict=True):
        np.testing.assert_array_equal(one, plain(other))


@pytest.mark.parametrize("kind", IMAGES)
def test_any_type_of_image_gives_the_same(kind):
    image, probabilities = scene(7, 10, 14)
    given = IMAGES[kind](image)
    before = plain(given)
    # bfloat16 keeps 8 bits, which can be one grey level off
    tolerance = 0.02 if kind == "bfloat16" else 0
    np.testing.assert_allclose(
        both(given, probabilities), both(image, probabilities), rtol=0, atol=tolerance
    )
    np.testing.assert_array_equal(before, plain(given))


@pytest.mark.parametrize("kind", PROBABILITIES)
def test_any_type_of_probabilities_gives_the_same(kind):
    image, probabilities = scene(8, 10, 14)
    given = PROBABILITIES[kind](probabilities)
    before = plain(given)
    refined = both(image, given)
    np.testing.assert_array_equal(refined, both(image, before.astype(np.float32)))
    tolerance = {"float16": 1e-3, "half tensor": 1e-3, "bfloat16 tensor": 1e-2}.get(kind, 1e-6)
    np.testing.assert_allclose(refined, both(image, probabilities), atol=tolerance)
    assert refined.dtype == np.float32
    np.testing.assert_array_equal(before, plain(given))


# Bad input

IMAGE, Q = scene(9, 8, 12)
ROW = {"params": BOTH, "iterations": 1}
ONE = {"image": IMAGE, "probabilities": Q, **ROW}
GOOD = {
    crf.Params: asdict(BOTH),
    crf.refine: ONE,
    crf.refine_steps: ONE,
    crf.mean_field: ONE,
    crf.refine_many: {"images": [IMAGE] * 3, "probabilities": [Q] * 3, **ROW},
    crf.pairwise: {"image": IMAGE, "params": BOTH},
    crf.kernels_at: {"image": IMAGE, "params": BOTH, "pixel": (0, 0)},
}


def with_value(array, value):
    array = array.copy()
    array[0, 1, 2] = value
    return array


SHARED = [
    ({"image": IMAGE[..., 0]}, "image must be RGB", "(8, 12)"),
    ({"image": np.zeros((8, 12, 4), np.uint8)}, "image must be RGB", "(8, 12, 4)"),
    ({"image": IMAGE[None]}, "image must be RGB", "(1, 8, 12, 3)"),
    ({"image": IMAGE[..., :1]}, "image must be RGB", "(8, 12, 1)"),
    ({"image": np.zeros((0, 12, 3), np.uint8)}, "image must not be empty", "(0, 12, 3)"),
    ({"image": IMAGE.astype(float)}, "image must lie in [0, 1]", "uint8"),
    ({"image": IMAGE / 127.5 - 1}, "image must lie in [0, 1]", "undo the normalisation"),
    ({"image": with_value(IMAGE / 255, np.nan)}, "image must lie in [0, 1]", "nan"),
    ({"image": IMAGE.astype(int)}, "image must be uint8 or float", "int64"),
    ({"image": IMAGE > 99}, "image must be uint8 or float", "bool"),
    ({"probabilities": Q.argmax(0)}, "probabilities must be floats", "looks like labels"),
    ({"probabilities": Q.argmax(0)[None] > 0}, "probabilities must be floats", "bool"),
    ({"probabilities": np.log(Q)}, "probabilities must lie in [0, 1]", "softmax"),
    ({"probabilities": np.log(Q) + 9}, "probabilities must lie in [0, 1]", "logits"),
    ({"probabilities": np.ones((1, 8, 12), np.float32)}, "at least 2 classes", "got 1"),
    ({"probabilities": Q[0]}, "probabilities must be (C, H, W)", "(8, 12)"),
    ({"probabilities": Q[None]}, "(1, 3, 8, 12)", "one image of the batch", "refine_many"),
    ({"probabilities": Q * 0.9}, "probabilities must add up to 1", "0.9"),
    ({"probabilities": Q.transpose(1, 2, 0)}, "probabilities must add up to 1", "axis 0"),
    ({"probabilities": with_value(Q, np.nan)}, "probabilities must be finite", "NaN"),
    ({"probabilities": with_value(Q, np.inf)}, "probabilities must be finite", "infinity"),
    ({"probabilities": with_value(Q, -0.001)}, "probabilities must lie in [0, 1]", "-0.001"),
    ({"probabilities": Q[:, :0]}, "probabilities must not be empty", "(3, 0, 12)"),
    ({"probabilities": Q[:, 1:]}, "one height and width", "(8, 12)", "(7, 12)"),
    ({"probabilities": Q.swapaxes(1, 2)}, "one height and width", "(8, 12)", "(12, 8)"),
    ({"probabilities": Q + 0j}, "probabilities must be floats", "complex"),
    ({"iterations": -1}, "iterations must be a whole number from 0", "-1"),
    ({"iterations": 2.0}, "iterations must be a whole number", "2.0"),
    ({"iterations": True}, "iterations must be a whole number", "True"),
    ({"params": asdict(BOTH)}, "params must be a crf.Params", "dict"),
    ({"params": (1, 10, 30, 1, 3)}, "params must be a crf.Params", "tuple"),
]
OWN = [
    (crf.Params, {"appearance_weight": -1.0}, "appearance_weight", "from 0", "-1.0"),
    (crf.Params, {"smoothness_weight": -1e-9}, "smoothness_weight", "from 0"),
    (crf.Params, {"smoothness_weight": np.array(3.0)}, "smoothness_weight", "array(3.)"),
    (crf.Params, {"smoothness_weight": np.ones(3)}, "one number", "shape (3,)", "repulsion"),
    (crf.Params, {"appearance_weight": [1, 1]}, "one number", "shape (2,)", "repulsion"),
    (crf.Params, {"appearance_weight": np.eye(3)}, "one number", "shape (3, 3)", "repulsion"),
    (crf.Params, {"smoothness_weight": True}, "smoothness_weight must be a number", "True"),
    (crf.Params, {"appearance_weight": math.nan}, "appearance_weight must be a number", "nan"),
    (crf.Params, {"appearance_weight": math.inf}, "appearance_weight", "to 1e+06", "inf"),
    (crf.Params, {"appearance_srgb": "13"}, "appearance_srgb must be a number", "'13'"),
    (crf.Params, {"appearance_srgb": None}, "appearance_srgb must be a number", "None"),
    (crf.Params, {"appearance_sxy": 0}, "appearance_sxy", "from 0.1", "got 0"),
    (crf.Params, {"smoothness_sxy": -3}, "smoothness_sxy", "from 0.1", "-3"),
    (crf.Params, {"appearance_srgb": np.ones(3)}, "appearance_srgb must be a number"),
    (crf.Params, {"appearance_srgb": math.nan}, "appearance_srgb must be a number", "nan"),
    (crf.Params, {"smoothness_sxy": 1e-8}, "smoothness_sxy", "from 0.1"),  # ended Python
    (crf.Params, {"appearance_srgb": 1e-8}, "appearance_srgb", "from 0.1"),
    (crf.Params, {"smoothness_weight": 1e39}, "smoothness_weight", "to 1e+06"),
    (crf.mean_field, {"normalization": "after"}, "normalization", "symmetric, none", "'after'"),
    (crf.pairwise, {"normalization": None}, "normalization must be one of", "None"),
    (
        crf.mean_field,
        {"image": np.zeros((129, 128, 3), np.uint8), "probabilities": np.full((2, 129, 128), 0.5)},
        "at most 16384 pixels",
        "129 x 128",
        "use refine",
    ),
    (crf.pairwise, {"image": np.zeros((500, 400, 3), np.uint8)}, "500 x 400", "160 GB"),
    (crf.kernels_at, {"pixel": (8, 0)}, "pixel must lie within 8 x 12", "(8, 0)"),
    (crf.kernels_at, {"pixel": (0, 12)}, "pixel must lie within 8 x 12", "(0, 12)"),
    (crf.kernels_at, {"pixel": (-1, 0)}, "pixel must lie within 8 x 12", "(-1, 0)"),
    (crf.refine_many, {"images": [IMAGE] * 2}, "must pair up", "got 2 and 3"),
    (crf.refine_many, {"images": [], "probabilities": []}, "at least one", "got 0 and 0"),
    (
        crf.refine_many,
        {"images": [IMAGE, IMAGE[:5]], "probabilities": [Q, Q[:, :5]]},
        "probabilities must be of one shape",
        "(3, 5, 12)",
    ),
    (crf.refine_many, {"probabilities": [Q, Q, np.log(Q)]}, "item 2: probabilities must lie"),
    (crf.refine_many, {"images": [IMAGE, IMAGE / 1.0, IMAGE]}, "item 1: image must lie"),
    (crf.refine_many, {"workers": 0}, "workers must be a positive whole number or -1", "got 0"),
    (crf.refine_many, {"workers": -2}, "workers must be a positive whole number or -1", "-2"),
    (crf.refine_many, {"workers": 1.5}, "workers must be a positive whole number or -1", "1.5"),
    (crf.refine_many, {"workers": True}, "workers must be a positive whole number", "True"),
    (crf.refine_many, {"iterations": -1}, "iterations must be a whole number from 0", "-1"),
    (crf.refine_many, {"params": None}, "params must be a crf.Params", "NoneType"),
]
ALIKE = [
    (function, *row)
    for row in SHARED
    for function in (crf.refine, crf.refine_steps, crf.mean_field)
]


@pytest.mark.parametrize("row", ALIKE + OWN, ids=lambda row: f"{row[0].__name__}, {row[2]}")
def test_bad_input_is_named_before_any_work(row, monkeypatch):
    function, changes, *words = row
    for work in "Parallel", "_lattice":
        monkeypatch.setattr(crf, work, lambda *_, **__: pytest.fail("it went to work"))
    with pytest.raises(ValueError) as caught:
        function(**GOOD[function] | changes)
    assert all(word in str(caught.value) for word in words), caught.value


def test_the_extremes_that_are_allowed_give_probabilities():
    for least, weight in itertools.product((0.1, 1e6), (0, 1e6)):
        params = Params(weight, least, least, weight, least)
        for refined in both(IMAGE, Q), crf.mean_field(IMAGE, Q, params).steps:
            np.testing.assert_allclose(refined.sum(1), 1, rtol=1e-5)
        np.testing.assert_allclose(crf.refine(IMAGE, Q, params).sum(0), 1, rtol=1e-5)


def test_without_pydensecrf_it_says_what_to_do_and_mean_field_still_works(monkeypatch):
    expected = crf.mean_field(IMAGE, Q, BOTH).steps
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    for function in crf.refine, crf.refine_steps:
        with pytest.raises(ImportError, match=r"pydensecrf2.*README\.md.*mean_field"):
            function(IMAGE, Q, BOTH)
    np.testing.assert_array_equal(crf.mean_field(IMAGE, Q, BOTH).steps, expected)


def test_everything_that_other_notebooks_import_does_without_pydensecrf():
    names = "helpers.widgets, helpers.exercises, helpers.photos, helpers.crf_study, helpers.study"
    code = f"import sys; sys.modules['pydensecrf'] = None; import {names}"
    subprocess.run([sys.executable, "-c", code], check=True)


# Many at once


@pytest.fixture(scope="module")
def several():
    """Five different scenes, and what `refine` makes of each."""
    images, probabilities = zip(*(scene(seed, 10, 14) for seed in range(5)), strict=True)
    refined = [crf.refine(*pair, BOTH, 3) for pair in zip(images, probabilities, strict=True)]
    return images, probabilities, np.stack(refined)


@pytest.mark.parametrize("workers", [1, 2, -1])
def test_many_take_as_many_processes_as_asked_for(several, workers, monkeypatch):
    asked, parallel = [], crf.Parallel

    def spy(n_jobs, **options):
        asked.append(n_jobs)
        return parallel(n_jobs=1, **options)

    monkeypatch.setattr(crf, "Parallel", spy)
    crf.refine_many(*several[:2], BOTH, 1, workers=workers)
    assert asked == [workers]


@pytest.mark.parametrize("workers", [1, 2, -1])
def test_many_are_each_refined_in_order(several, workers):
    images, probabilities, expected = several
    many = crf.refine_many(images, probabilities, BOTH, 3, workers=workers)
    np.testing.assert_array_equal(many, expected)
    assert many.dtype == np.float32
    masks = crf.refine_many(images, probabilities, BOTH, 3, labels=True, workers=workers)
    np.testing.assert_array_equal(masks, expected.argmax(1))
    assert masks.dtype == np.uint8


def test_many_may_come_as_one_tensor(several):
    images, probabilities, expected = several
    pictures = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    maps = torch.from_numpy(np.stack(probabilities)).requires_grad_()
    many = crf.refine_many(pictures, maps, BOTH, 3, workers=2)
    np.testing.assert_array_equal(many, expected)


def test_large_arrays_that_processes_share_are_taken():
    """Above 1 MB they reach the other process as a file that it may only read."""
    image, probabilities = noise(10, 12, 160, 200)
    expected = crf.refine(image, probabilities, SMOOTHNESS, 1)
    many = crf.refine_many([image] * 2, [probabilities] * 2, SMOOTHNESS, 1, workers=2)
    np.testing.assert_array_equal(many, [expected] * 2)


@pytest.mark.parametrize(
    ("terminal", "progress", "shown"),
    [
        (False, None, False),
        (True, None, True),
        (True, False, False),
        (False, True, True),
    ],
)
def test_a_bar_shows_in_a_terminal_or_when_asked(
    several, capsys, monkeypatch, terminal, progress, shown
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    images, probabilities, _ = several
    crf.refine_many(
        images, probabilities, OFF, 1, workers=1, progress=progress, description="fcn8s with CRF"
    )
    out, err = capsys.readouterr()
    assert not out and ("fcn8s with CRF" in err) is shown and (bool(err) is shown)

"""Exercises of notebook 00: shares of classes, and an overlay by hand."""

from __future__ import annotations

import numpy as np

from helpers.exercises.core import Mistake, exercise, run


def share(mask, label):
    known = mask != 255
    return (mask[known] == label).mean()


@exercise(
    "share",
    (
        "A comparison such as mask == label gives True and False; their mean is a share.",
        "mask != 255 marks the labelled pixels. Divide by their number, not by mask.size.",
        "Keep the labelled pixels first: known = mask[mask != 255]. Then compare, then take the mean.",
    ),
    share,
)
def check_share(answer) -> str:
    mask = np.array([[2, 2, 255, 255], [2, 0, 1, 255]], np.uint8)
    given = mask.copy()
    got = run(answer, mask, 2)
    if not np.array_equal(mask, given):
        raise Mistake(
            "Your function changed the mask it was given; others need it. Work on a copy."
        )
    if not np.isscalar(got) and np.ndim(got) != 0:
        raise Mistake(f"The answer is one number; you returned an array of shape {np.shape(got)}.")
    got = float(got)
    if np.isclose(got, 3 / 8):
        raise Mistake(
            "3 of 8 counts the void pixels below the line. Five pixels have a class: leave out 255."
        )
    if np.isclose(got, 6 / 8):
        raise Mistake("You count void pixels as if they had the label. Leave out 255.")
    if np.isclose(got, 37.5):
        raise Mistake("That is per cent, and void is counted: leave it out, and do not multiply.")
    if np.isclose(got, 3):
        raise Mistake("That is the number of pixels. A share lies between 0 and 1: divide.")
    if np.isclose(got, 60):
        raise Mistake("That is per cent. Return the share itself, between 0 and 1.")
    if not np.isclose(got, 3 / 5):
        raise Mistake(
            f"On a mask with 3 road pixels among 5 labelled ones your function says {got:.3f}, not 0.6."
        )
    other = float(run(answer, mask, 1))
    if not np.isclose(other, 1 / 5):
        raise Mistake(
            f"Label 2 is right, label 1 gives {other:.3f} instead of 0.2: use the argument label."
        )
    return "Void counted for nothing, as in every score of this course."


def blend(picture, colors, opacity):
    return (1 - opacity) * picture + opacity * colors


@exercise(
    "blend",
    (
        "With opacity 0 you must see only the picture, with opacity 1 only the colours.",
        "At opacity 0.25 the colours have the weight 0.25 and the picture has 0.75.",
        "The colours get the weight opacity. What is left for the picture?",
    ),
    blend,
)
def check_blend(answer) -> str:
    picture = np.full((2, 3, 3), 0.2)
    colors = np.full((2, 3, 3), 0.8)
    got = np.asarray(run(answer, picture, colors, 0.25))
    if got.shape != picture.shape:
        raise Mistake(f"The overlay must keep the shape {picture.shape}; yours is {got.shape}.")
    if np.allclose(got, 0.65):
        raise Mistake(
            "The weights are swapped: at opacity 0.25 the colours should be faint, a quarter."
        )
    if np.allclose(got, 0.4):
        raise Mistake(
            "The picture kept its full weight, so the sum grows too bright. The weights must add up to 1."
        )
    if np.allclose(got, 0.5):
        raise Mistake("That is the plain mean, whatever the opacity. Use the argument.")
    if np.allclose(got, 0.35 * 255):
        raise Mistake("Stay between 0 and 1, as the picture does: no factor of 255.")
    if not np.allclose(got, 0.35):
        raise Mistake(
            f"0.2 under 0.8 at opacity 0.25 should give 0.35; yours gives {got.flat[0]:.3f}."
        )
    for name, array, value in (("picture", picture, 0.2), ("colors", colors, 0.8)):
        if not (array == value).all():
            raise Mistake(f"The result is right, but your function overwrote {name}.")
    if not np.allclose(run(answer, picture, colors, 0.0), picture):
        raise Mistake("Right for opacity 0.25. At 0 only the picture is left: use the argument.")
    return "The weights add up to one."

"""Exercises of notebook 01: one-hot masks, IoU from a confusion matrix, resizing a mask."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from helpers.exercises.core import Mistake, exercise, run


def one_hot(mask, num_classes):
    labels = torch.arange(num_classes)[:, None, None]
    return (mask == labels).float()


@exercise(
    "one_hot",
    (
        "For one class it is a comparison: mask == 3 is channel 3. You need this for all classes.",
        "Compare the mask (H, W) with the labels 0..C-1 shaped (C, 1, 1); broadcasting does the rest.",
        "torch.arange(num_classes)[:, None, None] has the shape you need. A void pixel equals none of its labels.",
    ),
    one_hot,
)
def check_one_hot(answer) -> str:
    mask = torch.tensor([[0, 1, 255], [2, 2, 1]])
    try:
        got = run(answer, mask, 4)
        if isinstance(got, list | tuple):
            raise Mistake("That is a list of maps: torch.stack makes one tensor (C, H, W) of them.")
        got = torch.as_tensor(got).float()
    except (RuntimeError, IndexError) as error:
        run(answer, mask.clamp(max=3), 4)  # raises again if void is not to blame
        raise Mistake(
            f"The void pixel (255) broke it ({error}). Void has no channel: all of them stay 0 there."
        ) from error
    if got.shape == (2, 3, 4):
        raise Mistake(
            "The class axis is last. PyTorch wants channels first: (C, H, W). Think permute or [:, None, None]."
        )
    if got.shape != (4, 2, 3):
        raise Mistake(f"Expected shape (C, H, W) = (4, 2, 3), got {tuple(got.shape)}.")
    if got[:, 0, 2].sum() != 0:
        raise Mistake("The void pixel became a class. It belongs to none: all its channels are 0.")
    want = one_hot(mask, 4)
    if not torch.equal(got, want):
        wrong = tuple((got != want).nonzero()[0].tolist())
        raise Mistake(
            f"At (channel, row, column) = {wrong} you have {got[wrong]:g}, expected {want[wrong]:g}."
        )
    if len(run(answer, mask, 5)) != 5:
        raise Mistake(
            "With num_classes = 5 there must be 5 channels, used or not: use the argument."
        )
    return "Void stays empty, so it can count for nothing later on."


def iou(matrix):
    matrix = np.asarray(matrix, float)
    hits = np.diag(matrix)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - hits
    return np.where(union > 0, hits / np.where(union > 0, union, 1), np.nan)


@exercise(
    "iou",
    (
        "Per class: what both agree on, divided by what either says. The agreement is the diagonal.",
        "Row sum = pixels that are the class; column sum = pixels called the class. Which pixels are in both sums?",
        "union = row sum + column sum - diagonal. Where the union is 0 there is nothing to score: np.nan.",
    ),
    iou,
)
def check_iou(answer) -> str:
    matrix = np.zeros((5, 5), int)
    matrix[:3] = [[6, 2, 0, 0, 1], [1, 3, 0, 0, 0], [0, 4, 0, 0, 0]]
    with np.errstate(all="ignore"):
        got = np.asarray(run(answer, matrix), float)
    if got.shape != (5,):
        raise Mistake(
            f"Expected one number per class, shape (5,), got shape {got.shape}. The mean comes later."
        )
    want = iou(matrix)  # 6/10, 3/10, 0/4, absent, 0/1
    hits, rows, columns = np.diag(matrix)[:2], matrix.sum(1)[:2], matrix.sum(0)[:2]
    if np.allclose(got[:2], hits / rows):
        raise Mistake(
            "That is the share of each class that was found (recall). False alarms must cost too."
        )
    if np.allclose(got[:2], hits / columns):
        raise Mistake(
            "That is the share of each prediction that is right (precision). Missed pixels must cost too."
        )
    if np.allclose(got[:2], hits / (rows + columns)):
        raise Mistake(
            "The agreement is counted twice below the line: it is in the row sum and in the column sum."
        )
    if np.allclose(got[:2], 2 * hits / (rows + columns)):
        raise Mistake(
            "That is the Dice score, 2 hits / (row sum + column sum). IoU divides by the union."
        )
    if np.allclose(got[:2], hits / matrix.sum()):
        raise Mistake("You divide by all pixels. Divide each class by its own union.")
    if (got[:2] == 0).all():
        raise Mistake("// rounds down, and every score below 1 becomes 0. Divide with /.")
    if not np.isnan(got[3]):
        raise Mistake(
            f"Class 3 is neither there nor predicted: nothing to score, so nan. You gave {got[3]:g}."
        )
    if np.isnan(got[2]):
        raise Mistake("Class 2 is there and was always missed. That is a score: 0, not nan.")
    if np.isnan(got[4]):
        raise Mistake(
            "Class 4 is not there, yet it was predicted: a false alarm scores 0, not nan."
        )
    if not np.allclose(got, want, equal_nan=True):
        raise Mistake(f"Expected {want.round(3).tolist()}, got {got.round(3).tolist()}.")
    return "Absent is nan, missed is 0: two different things."


def resize_mask(mask, size):
    return F.interpolate(mask[None, None].float(), size=size, mode="nearest-exact")[0, 0].long()


@exercise(
    "resize_mask",
    (
        "Where in the old mask lies the middle of new pixel k? At (k + 0.5) * H / h; take the label there.",
        "The result may hold only labels that the mask holds: copy the nearest one, never average.",
        "F.interpolate wants a float (N, C, H, W) and mode='nearest-exact'; go back to (H, W) integers after it.",
    ),
    resize_mask,
)
def check_resize_mask(answer) -> str:
    mask = torch.zeros(8, 12, dtype=torch.long)
    mask[:, 6:] = 2
    mask[6:, :3] = 255
    try:
        got = torch.as_tensor(run(answer, mask, (4, 5)))
    except RuntimeError as error:
        if "not implemented for" not in str(error):
            raise
        raise Mistake("F.interpolate wants floats: .float() first, .long() after it.") from error
    if tuple(got.shape) == (5, 4):
        raise Mistake(
            "Height and width are swapped: size is (H, W), as in torch; Pillow's resize wants (W, H)."
        )
    if tuple(got.shape) == (1, 1, 4, 5):
        raise Mistake("Batch and channel are still there: take [0, 0] of the result.")
    if tuple(got.shape) != (4, 5):
        raise Mistake(f"Expected shape (4, 5), got {tuple(got.shape)}.")
    invented = sorted(set(got.flatten().tolist()) - {0, 2, 255})
    if invented:
        raise Mistake(
            f"The labels {invented} are in the result but not in the mask: averaging invented them."
        )
    if got.is_floating_point():
        raise Mistake(
            "The labels are right, but they are floats. A loss or an index wants integers: .long()."
        )
    cornered = F.interpolate(mask[None, None].float(), size=(4, 5), mode="nearest")[0, 0].long()
    if torch.equal(got, resize_mask(mask, (4, 5))):
        fine = torch.arange(96).reshape(8, 12) % 7  # where corners and middles read other labels
        if not torch.equal(torch.as_tensor(run(answer, fine, (3, 5))), resize_mask(fine, (3, 5))):
            raise Mistake(
                "Right for large regions. On a mask that changes at every pixel you read beside the "
                "middle: new pixel k reads at (k + 0.5) * H / h."
            )
        return "Not one label that was not there before."
    if torch.equal(got, cornered):
        raise Mistake(
            "Nearly: torch's mode 'nearest' measures from the corner of a pixel and so moves the mask "
            "against its image. 'nearest-exact' measures from the middle."
        )
    different = int((got != resize_mask(mask, (4, 5))).sum())
    raise Mistake(f"{different} of 20 pixels do not carry the label nearest to them.")

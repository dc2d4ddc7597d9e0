"""Rows of scores: of one network, kept in a file, and what several seeds say together."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy import stats
from torch import nn

from helpers import checkpoints, datasets, models, training
from helpers.files import DATA, locked, own, replacing
from helpers.metrics import SegmentationScores

STUDY = DATA / "study"
"""What takes too long for a notebook is kept here."""


def held_out(dataset: str) -> str:
    """The split that scores are reported on: test, or val where there is no test split."""
    return "test" if "test" in datasets.splits(dataset) else "val"


@functools.cache
def rung(name: str, dataset: str = "streets") -> dict:
    """Score rung `name` on the held-out split of `dataset`; trains it where no weights fit."""
    checkpoint = checkpoints.load_or_train(name, dataset=dataset)
    test = datasets.load(dataset, held_out(dataset), size=checkpoint.recipe.size)
    return row(name, checkpoint.model, test, checkpoint.seconds)


def row(
    name: str, model: nn.Module, test: datasets.SegmentationDataset, train_seconds: float
) -> dict:
    """`model` scored on `test` as plain numbers: the keys that ``ladder --json`` prints."""
    return {
        "name": name,
        **summary(training.evaluate(model, test), test.classes),
        "parameters": models.count_parameters(model),
        "train_seconds": train_seconds,
    }


def summary(scores: SegmentationScores, classes) -> dict:
    """All scores of one network as plain numbers."""
    return {
        "miou": scores.mean_iou,
        "pixel_accuracy": scores.pixel_accuracy,
        "trimap_iou": {str(width): value for width, value in scores.trimap_iou.items()},
        "boundary_iou": scores.boundary_iou,
        "boundary_f1": scores.boundary_f1,
        "iou": dict(zip(classes, scores.iou.tolist(), strict=True)),
    }


def kept(file: Path, key: str, made_by: dict, make: Callable[[], dict]) -> dict:
    """The row `key` of the JSON `file`; made now, and written at once, where `made_by` differs.

    In a read-only course it is written to the user's `files.own` file, which is read as well. Where
    that fails, a line says so and the row is made again next time.
    """

    def rows(place: Path) -> dict[str, dict]:
        return json.loads(place.read_text()) if place.exists() else {}

    mine = own(file)
    for place in dict.fromkeys((file, mine)):
        found = rows(place).get(key, {})
        if found.get("made_by") == made_by:
            return found
    found = {"made_by": made_by} | make()
    try:  # rows are read again: another process may have written some in the meantime
        with locked(mine), replacing(mine) as temporary:
            text = as_json(dict(sorted((rows(mine) | {key: found}).items())))
            temporary.write_text(text + "\n")
    except OSError as error:
        print(f"{key} could not be kept: {error}")
    return found


def as_json(rows: list[dict] | dict[str, dict]) -> str:
    """Rows as JSON; a score that does not exist (class absent) is null."""
    return json.dumps(json.loads(json.dumps(rows), parse_constant=lambda _: None), indent=2)


def made_by(recipe: checkpoints.Recipe) -> dict[str, str]:
    """What decides the scores of a recipe's network: a stored row holds for these alone."""
    return {"recipe": recipe.text, "data": datasets.identity(recipe.dataset)}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % confidence interval (Student's t) over repeated runs.

    Raises ``ValueError`` for fewer than two values: one run says nothing on the spread.
    """
    if len(values) < 2:
        raise ValueError(f"values must hold at least 2 runs, got {len(values)}")
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return float(np.mean(values)), float(half)


def verdict(scores: Sequence[float], others: Sequence[float]) -> tuple[float, float, str]:
    """Does a change help? Mean of the paired differences, half its 95 % interval, and a word.

    `scores` were reached with the change and `others` without it, seed by seed. The word is "helps"
    or "hurts" when the interval leaves out zero, else "not distinguishable". Raises ``ValueError``
    when the two differ in length or hold fewer than two values.
    """
    if len(scores) != len(others):
        raise ValueError(f"scores and others must pair up, got {len(scores)} and {len(others)}")
    mean, half = interval([a - b for a, b in zip(scores, others, strict=True)])
    word = "not distinguishable" if abs(mean) <= half else "helps" if mean > 0 else "hurts"
    return mean, half, word

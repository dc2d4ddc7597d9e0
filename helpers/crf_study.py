"""What the CRF does for every network of the ladder: parameters found on val, scores on test.

``python -m helpers.crf_study tune`` searches, ``repeat`` scores; both keep what they found in
``data/study`` and go on where they broke off.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
from torch import Tensor
from tqdm import tqdm

from helpers import checkpoints, crf, datasets, metrics, runs, training

PARAMETERS = runs.STUDY / "crf_parameters.json"
RUNS = runs.STUDY / "crf_runs.json"

ITERATIONS = 5
TUNING_IMAGES = 50

START = {"smoothness_weight": 1.0, "smoothness_sxy": 1.0}
COARSE = {
    "appearance_weight": (3.0, 10.0, 30.0),
    "appearance_sxy": (4.0, 8.0, 16.0, 32.0),
    "appearance_srgb": (5.0, 10.0, 20.0),
}
"""Every combination is tried first, with `START` beside it ..."""

FINE = {
    "appearance_weight": (0.6, 1.6),
    "appearance_sxy": (0.7, 1.4),
    "appearance_srgb": (0.7, 1.4),
    "smoothness_weight": (0.0, 0.3, 3.0),
    "smoothness_sxy": (0.7, 2.0),
}
"""... then one parameter after the other times these factors, twice through, from the best so far."""


def tuned(name: str, dataset: str = "streets", progress: bool | None = None) -> crf.Params:
    """The parameters for network `name`, from `PARAMETERS`; searched now where they are missing.

    Coarse to fine, as in DeepLab (Chen et al., arXiv 1412.7062, section 5): the setting with the
    highest mean IoU on `tuning_set` after `ITERATIONS` updates, of the network of seed 0. Ties go to
    the first.
    Raises ``ValueError`` for an unknown name or data set.
    """
    recipe = checkpoints.recipe_for(name, dataset)
    search = functools.partial(_search, recipe, name, progress)
    made_by = runs.made_by(recipe) | method(dataset)
    row = runs.kept(PARAMETERS, f"{name}-{dataset}", made_by, search)
    return crf.Params(**row["params"])


def method(dataset: str) -> dict:
    """What besides network and data decides the parameters that a search finds."""
    grids = {"coarse": str(START | COARSE), "fine": str(FINE)}
    part = {"images": TUNING_IMAGES, "held_out": runs.held_out(dataset)}
    return grids | part | {"iterations": ITERATIONS}


def tuning_set(dataset: str) -> datasets.SegmentationDataset:
    """`TUNING_IMAGES` spread evenly over val; over its first half where there is no test split."""
    val = datasets.load(dataset, "val")
    last = len(val) if runs.held_out(dataset) == "test" else len(val) // 2
    return _part(val, np.unique(np.linspace(0, last - 1, TUNING_IMAGES).round().astype(int)))


def report_set(dataset: str) -> datasets.SegmentationDataset:
    """The test split; where there is none, the second half of val, which no search has seen."""
    split = runs.held_out(dataset)
    held_out = datasets.load(dataset, split)
    first = 0 if split == "test" else len(held_out) // 2
    return _part(held_out, np.arange(first, len(held_out)))


def _part(whole: datasets.SegmentationDataset, items: np.ndarray) -> datasets.SegmentationDataset:
    return datasets.SegmentationDataset(
        whole.name,
        whole.split,
        whole.classes,
        whole.images.numpy()[items],
        whole.masks.numpy()[items],
    )


def _search(recipe: checkpoints.Recipe, name: str, progress: bool | None) -> dict:
    data = tuning_set(recipe.dataset)
    images, probabilities, masks = _outputs(name, recipe, data, progress)

    @functools.cache
    def score(params: crf.Params) -> float:
        refined = crf.refine_many(
            images, probabilities, params, ITERATIONS, labels=True, progress=False
        )
        bar.update()
        return metrics.mean_iou(metrics.confusion_matrix(refined, masks, len(data.classes)))

    disable = None if progress is None else not progress
    with tqdm(desc=f"CRF for {name}", unit=" settings", disable=disable, leave=False) as bar:
        grid = [
            dict(zip(COARSE, values, strict=True)) for values in itertools.product(*COARSE.values())
        ]
        best = max((crf.Params(**START, **values) for values in grid), key=score)
        for parameter, factors in (*FINE.items(), *FINE.items()):
            value = getattr(best, parameter)
            near = [
                replace(best, **{parameter: float(f"{value * f:.3g}")}) for f in factors if value
            ]
            best = max([best, *near], key=score)
        before = metrics.confusion_matrix(probabilities.argmax(1), masks, len(data.classes))
        return {
            "params": asdict(best),
            "miou_before": metrics.mean_iou(before),
            "miou_after": score(best),
            "split": data.split,
            "images": len(data),
            "settings_tried": score.cache_info().currsize,
        }


def _outputs(
    name: str,
    recipe: checkpoints.Recipe,
    data: datasets.SegmentationDataset,
    progress: bool | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Images, softmax of the network (trained where no weights fit) and true masks of `data`."""
    network = checkpoints.load_or_train(
        name, dataset=recipe.dataset, seed=recipe.seed, progress=progress is not False
    ).model
    images, masks = datasets.as_tensors(data)
    return images, training.predict_logits(network, images).softmax(1), masks


def repeat(
    names: Sequence[str],
    seeds: Sequence[int] = (0, 1, 2),
    dataset: str = "streets",
    progress: bool | None = None,
) -> dict[str, list[dict]]:
    """Rows of every network in `names`, one for each seed: scores ``"before"`` and ``"after"``.

    Rows come from `RUNS`; what is not there, or was made otherwise, is trained and scored now on
    `report_set`, with the parameters `tuned` gives for the network of that name. Raises ``ValueError``
    for an unknown name or data set.
    """
    found = {}
    for name in names:
        params = tuned(name, dataset, progress)
        for seed in seeds:
            recipe = checkpoints.recipe_for(name, dataset, seed)
            made_by = runs.made_by(recipe) | {"held_out": runs.held_out(dataset)}
            made_by |= {"params": asdict(params), "iterations": ITERATIONS}
            run = functools.partial(_run, recipe, name, params, progress)
            row = runs.kept(RUNS, f"{name}-{dataset}-seed{seed}", made_by, run)
            found.setdefault(name, []).append(row)
    return found


def stored(dataset: str) -> dict[str, list[dict]]:
    """The rows of `dataset` in `RUNS` as they are, without a look at the data, by rung."""
    found = {}
    for key, row in json.loads(RUNS.read_text()).items():
        name, of, _ = key.rsplit("-", 2)
        if of == dataset:
            found.setdefault(name, []).append(row)
    return {name: found[name] for name in checkpoints.LADDER if name in found}


def rung(name: str, dataset: str = "streets") -> dict:
    """The rung `name` of the ladder with its scores behind the CRF, called "name + CRF"."""
    run = repeat([name], [0], dataset)[name][0]
    return runs.rung(name, dataset) | run["after"] | {"name": f"{name} + CRF"}


def _run(recipe: checkpoints.Recipe, name: str, params: crf.Params, progress: bool | None) -> dict:
    data = report_set(recipe.dataset)
    images, probabilities, masks = _outputs(name, recipe, data, progress)
    refined = crf.refine_many(
        images, probabilities, params, ITERATIONS, labels=True, progress=progress, description=name
    )
    sides = {"before": probabilities.argmax(1), "after": refined}
    return {"split": data.split, "images": len(data)} | {
        side: scored(predicted, masks, data.classes) for side, predicted in sides.items()
    }


def scored(predicted, masks, classes) -> dict:
    """All scores of `predicted` masks ``(N, H, W)``, with the accuracy of each class."""
    scores = metrics.SegmentationScores(len(classes)).update(predicted, masks)
    accuracy = dict(zip(classes, scores.class_accuracy.tolist(), strict=True))
    return runs.summary(scores, classes) | {"class_accuracy": accuracy}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.crf_study", description=__doc__)
    parser.add_argument("command", choices=("tune", "repeat"))
    parser.add_argument("names", nargs="*", default=checkpoints.LADDER, metavar="NAME")
    parser.add_argument("--dataset", default="streets", choices=tuple(datasets.CLASSES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    options = parser.parse_args(arguments)
    for name in options.names:
        params = tuned(name, options.dataset)
        print(f"{name}: " + ", ".join(f"{k} {v:g}" for k, v in asdict(params).items()), flush=True)
        if options.command == "repeat":
            rows = repeat([name], options.seeds, options.dataset)[name]
            gains = [f"{r['before']['miou']:.3f} -> {r['after']['miou']:.3f}" for r in rows]
            print(f"{name}: mIoU " + ", ".join(gains), flush=True)


if __name__ == "__main__":
    try:
        main()
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")

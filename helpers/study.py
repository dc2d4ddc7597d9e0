"""The ladder: every shipped network scored on the same test images, one row a rung."""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy import stats
from torch import nn

from helpers import checkpoints, datasets, models, plots, training
from helpers.files import replacing
from helpers.metrics import SegmentationScores
from helpers.probes import cue_accuracy, flat_pattern, lonely_cells

RUNS = Path(__file__).resolve().parent.parent / "data" / "study" / "runs.json"
"""Rows of repeated runs, which take too long for a notebook."""

COLUMNS = {
    "miou": "mIoU",
    "pixel_accuracy": "pixel acc.",
    "trimap_iou_2": "trimap 2 px",
    "boundary_iou": "boundary IoU",
    "boundary_f1": "boundary F1",
}


def held_out(dataset: str) -> str:
    """The split that scores are reported on: test, or val where there is no test split."""
    return "test" if "test" in datasets.splits(dataset) else "val"


def row(name: str, scores: SegmentationScores, classes, parameters: int, seconds: float) -> dict:
    """One rung as plain numbers: the keys that ``ladder --json`` prints."""
    return {
        "name": name,
        **summary(scores, classes),
        "parameters": parameters,
        "train_seconds": seconds,
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

    Where the file cannot be written, a line says so and the row is made again next time.
    """

    def rows() -> dict[str, dict]:
        return json.loads(file.read_text()) if file.exists() else {}

    found = rows().get(key, {})
    if found.get("made_by") != made_by:
        found = {"made_by": made_by} | make()
        try:  # rows are read again: another process may have written some in the meantime
            with replacing(file) as temporary:
                temporary.write_text(as_json(dict(sorted((rows() | {key: found}).items()))) + "\n")
        except OSError as error:
            print(f"{key} could not be kept: {error}")
    return found


def repeat(
    names: Sequence[str],
    seeds: Sequence[int] = (0, 1, 2),
    dataset: str = "streets",
    file: Path = RUNS,
    progress: bool = True,
) -> dict[str, list[dict]]:
    """Rows of every network in `names`, one for each seed, in the order of `seeds`.

    Rows come from `file`; what is not there, or was made by another recipe or from other data, is
    trained now (the weights are not kept) and written to `file` at once, so that a study which
    broke off goes on where it was. Raises ``ValueError`` for an unknown name or data set.
    """
    found = {}
    for name in names:
        for seed in seeds:
            recipe = checkpoints.recipe_for(name, dataset, seed)
            run = functools.partial(_run, recipe, name, progress)
            key = f"{name}-{dataset}-seed{seed}"
            found.setdefault(name, []).append(kept(file, key, made_by(recipe), run))
    return found


def made_by(recipe: checkpoints.Recipe) -> dict[str, str]:
    """What decides the scores of a recipe's network: a stored row holds for these alone."""
    return {"recipe": recipe.text, "data": datasets.identity(recipe.dataset)}


def _run(recipe: checkpoints.Recipe, name: str, progress: bool) -> dict:
    test = datasets.load(recipe.dataset, held_out(recipe.dataset), size=recipe.size)
    model, history = checkpoints.fit_recipe(recipe, f"{name}, seed {recipe.seed}", progress)
    if history.interrupted:
        raise KeyboardInterrupt(f"training of {name} was broken off: its row was not written")
    result = _scored(name, model, test, round(history.seconds, 1))
    if isinstance(test, datasets.Streets):
        result["cue_accuracy"] = cue_accuracy(model, test)
    if isinstance(model, models.DilatedStack):
        result["lonely_cells"] = lonely_cells(model, test)
    if isinstance(model, models.DeepLab) and model.encoder.output_stride == 16:
        dense = training.evaluate(model.at_stride(8), test)
        result["at_stride_8"] = {"miou": dense.mean_iou, "trimap_iou_2": dense.trimap_iou[2]}
    if isinstance(model, models.FCN) and model.doublings:
        start = checkpoints.new_model(recipe, len(test.classes))
        result["flat_pattern"] = [flat_pattern(net, test) for net in (start, model)]
    return result


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


@functools.cache
def rung(name: str, dataset: str = "streets") -> dict:
    """Score rung `name` on the held-out split of `dataset`; trains it where no weights fit."""
    checkpoint = checkpoints.load_or_train(name, dataset=dataset)
    test = datasets.load(dataset, held_out(dataset), size=checkpoint.recipe.size)
    return _scored(name, checkpoint.model, test, checkpoint.seconds)


def _scored(
    name: str, model: nn.Module, test: datasets.SegmentationDataset, seconds: float
) -> dict:
    scores = training.evaluate(model, test)
    return row(name, scores, test.classes, models.count_parameters(model), seconds)


def ladder(dataset: str = "streets", names: tuple[str, ...] | None = None) -> list[dict]:
    """Rows for the rungs `names` (default: all, in the order of the course)."""
    return [rung(name, dataset) for name in names or checkpoints.LADDER]


def as_json(rows: list[dict] | dict[str, dict]) -> str:
    """The ladder as JSON; a score that does not exist (class absent) is null."""
    return json.dumps(json.loads(json.dumps(rows), parse_constant=lambda _: None), indent=2)


def as_markdown(rows: list[dict], digits: int = 2) -> str:
    """The ladder as a Markdown table: what notebooks and README show."""
    head = ["net", *COLUMNS.values(), "pole IoU", "parameters"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for r in rows:
        flat = r | {"trimap_iou_2": r["trimap_iou"]["2"]}
        cells = [f"{flat[key]:.{digits}f}" for key in COLUMNS]
        cells += [f"{r['iou']['pole']:.{digits}f}", f"{r['parameters']:,}"]
        lines.append(f"| {r['name']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def overview(count: int = 4) -> Figure:
    """A picture of the ladder: scenes in columns; image, truth and masks of six rungs in rows."""
    test = datasets.load("streets", "test", count=count)
    images, masks = datasets.as_tensors(test)
    rows = {"image": [plots.as_picture(x) for x in images], "truth": masks}
    for name in ("colour", "fcn32s", "fcn8s", "unet", "dilated_1248", "stack_aspp"):
        rows[name] = training.predict_masks(checkpoints.load_or_train(name).model, images)
    figure, axes = plots.plt.subplots(len(rows), count, figsize=(2.6 * count, 2 * len(rows)))
    for line, (name, pictures) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name)
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(picture if name == "image" else plots.colorize(picture, test.classes))
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
    return plots.add_legend(figure, test.classes)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.study", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("ladder", help="score the ladder on the held-out split")
    command.add_argument("--dataset", default="streets", choices=tuple(datasets.CLASSES))
    command.add_argument(
        "--names", nargs="+", choices=tuple(checkpoints.RECIPES), help="some rungs only"
    )
    command.add_argument("--json", action="store_true", help="a JSON list, one object per rung")
    repeated = commands.add_parser("repeat", help="train with several seeds and keep the scores")
    repeated.add_argument("names", nargs="+", choices=tuple(checkpoints.RECIPES))
    repeated.add_argument("--dataset", default="streets", choices=tuple(datasets.CLASSES))
    repeated.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    picture = commands.add_parser("overview", help="draw the ladder as a picture (PNG)")
    picture.add_argument("file", type=Path)
    options = parser.parse_args(arguments)
    if options.command == "overview":
        overview().savefig(options.file)
        return
    if options.command == "repeat":
        for name, runs in repeat(options.names, options.seeds, options.dataset).items():
            print(name, " ".join(f"{run['miou']:.3f}" for run in runs), "mIoU")
        return
    rows = ladder(options.dataset, options.names and tuple(options.names))
    print(as_json(rows) if options.json else as_markdown(rows))


if __name__ == "__main__":
    try:
        main()
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")

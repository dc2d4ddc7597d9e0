"""The ladder: every shipped network scored on the same test images, one row a rung."""

from __future__ import annotations

import argparse
import functools
import json
import sys
from pathlib import Path

from matplotlib.figure import Figure

from helpers import checkpoints, datasets, models, plots, training
from helpers.metrics import SegmentationScores

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
        "miou": scores.mean_iou,
        "pixel_accuracy": scores.pixel_accuracy,
        "trimap_iou": {str(width): value for width, value in scores.trimap_iou.items()},
        "boundary_iou": scores.boundary_iou,
        "boundary_f1": scores.boundary_f1,
        "iou": dict(zip(classes, scores.iou.tolist(), strict=True)),
        "parameters": parameters,
        "train_seconds": seconds,
    }


@functools.cache
def rung(name: str, dataset: str = "streets") -> dict:
    """Score rung `name` on the held-out split of `dataset`; trains it where no weights fit."""
    checkpoint = checkpoints.load_or_train(name, dataset=dataset)
    test = datasets.load(dataset, held_out(dataset), size=checkpoint.recipe.size)
    scores = training.evaluate(checkpoint.model, test)
    parameters = models.count_parameters(checkpoint.model)
    return row(name, scores, test.classes, parameters, checkpoint.seconds)


def ladder(dataset: str = "streets", names: tuple[str, ...] | None = None) -> list[dict]:
    """Rows for the rungs `names` (default: all, in the order of the table of recipes)."""
    return [rung(name, dataset) for name in names or tuple(checkpoints.RECIPES)]


def as_json(rows: list[dict]) -> str:
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
    """A picture of the ladder: scenes in columns; image, truth and every rung's mask in rows."""
    test = datasets.load("streets", "test", count=count)
    images, masks = datasets.as_tensors(test)
    rows = {"image": [plots.as_picture(x) for x in images], "truth": masks}
    for name in checkpoints.RECIPES:
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
    picture = commands.add_parser("overview", help="draw the ladder as a picture (PNG)")
    picture.add_argument("file", type=Path)
    options = parser.parse_args(arguments)
    if options.command == "overview":
        overview().savefig(options.file)
        return
    rows = ladder(options.dataset, options.names and tuple(options.names))
    print(as_json(rows) if options.json else as_markdown(rows))


if __name__ == "__main__":
    try:
        main()
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")

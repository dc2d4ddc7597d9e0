"""The ladder: every shipped network scored on the same test images, one row a rung."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from helpers import boundary_study, checkpoints, datasets, models, plots, runs, training
from helpers.probes import cue_accuracy, flat_pattern, lonely_cells
from helpers.runs import held_out, interval, verdict

__all__ = ["as_markdown", "held_out", "interval", "ladder", "overview", "repeat", "verdict"]

RUNS = runs.STUDY / "runs.json"
"""Rows of the comparisons in single notebooks, some with networks beside the ladder."""

COLUMNS = {
    "miou": "mIoU",
    "pixel_accuracy": "pixel acc.",
    "trimap_iou_2": "trimap 2 px",
    "boundary_iou": "boundary IoU",
    "boundary_f1": "boundary F1",
}


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
            found.setdefault(name, []).append(runs.kept(file, key, runs.made_by(recipe), run))
    return found


def _run(recipe: checkpoints.Recipe, name: str, progress: bool) -> dict:
    test = datasets.load(recipe.dataset, held_out(recipe.dataset), size=recipe.size)
    model, history = checkpoints.fit_recipe(recipe, f"{name}, seed {recipe.seed}", progress)
    if history.interrupted:
        raise KeyboardInterrupt(f"training of {name} was broken off: its row was not written")
    result = runs.row(name, model, test, round(history.seconds, 1))
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


def ladder(dataset: str = "streets", names: tuple[str, ...] | None = None) -> list[dict]:
    """Rows for the rungs `names` (default: all, in the order of the course)."""
    return [runs.rung(name, dataset) for name in names or checkpoints.LADDER]


def as_markdown(rows: list[dict], digits: int = 2) -> str:
    """The ladder as a Markdown table: what notebooks and README show."""
    poles = all("pole" in r["iou"] for r in rows)  # not every data set has them
    head = ["net", *COLUMNS.values(), *["pole IoU"] * poles, "parameters"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for r in rows:
        flat = r | {"trimap_iou_2": r["trimap_iou"]["2"]}
        cells = [f"{flat[key]:.{digits}f}" for key in COLUMNS]
        if poles:
            cells.append(f"{r['iou']['pole']:.{digits}f}")
        cells.append(f"{r['parameters']:,}")
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
    study = commands.add_parser("run", help="every network, several seeds, into data/study/*.csv")
    study.add_argument("--dataset", default="streets", choices=tuple(datasets.CLASSES))
    study.add_argument("--seeds", type=int, default=5, help="how many, from 0 (%(default)s)")
    study.add_argument("--names", nargs="+", choices=tuple(checkpoints.RECIPES), metavar="NAME")
    study.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    study.add_argument("--scheduler", metavar="ADDRESS", help="run on a Dask cluster instead")
    picture = commands.add_parser("overview", help="draw the ladder as a picture (PNG)")
    picture.add_argument("file", type=Path)
    options = parser.parse_args(arguments)
    if options.command == "overview":
        overview().savefig(options.file)
        return
    if options.command == "repeat":
        for name, rows in repeat(options.names, options.seeds, options.dataset).items():
            print(name, " ".join(f"{row['miou']:.3f}" for row in rows), "mIoU")
        return
    if options.command == "run":
        rows = boundary_study.run(
            options.dataset,
            range(options.seeds),
            options.names or checkpoints.LADDER,
            workers=options.workers,
            scheduler=options.scheduler,
        )
        print(boundary_study.as_markdown(rows))
        return
    rows = ladder(options.dataset, options.names and tuple(options.names))
    print(runs.as_json(rows) if options.json else as_markdown(rows))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted: what had ended is kept, the same command goes on from there")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")

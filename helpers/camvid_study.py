"""What notebook 09 reports on CamVid, as numbers: its licence keeps pictures and weights out of git.

``python -m helpers.camvid_study`` counts the labels, scores the networks and measures the way from
drawn to real streets; it keeps what it finds in ``data/study`` and goes on where it broke off.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn
from tqdm import tqdm

from helpers import boundary_study, camvid, checkpoints, datasets, public, runs, training
from helpers.classes import STREETS
from helpers.files import replacing

LABELS = runs.STUDY / "camvid_labels.csv"
TRANSFER = runs.STUDY / "sim_to_real.csv"

NETWORKS = {"fcn32s": 1, "fcn8s": 3, "unet": 3, "fpn": 1}
"""The networks that are scored on CamVid, and with how many seeds."""

STARTS = ("streets", "random")
FRAMES = (0, 10, 40, 160)
STEPS, BATCH, RATE = 60, 16, 3e-3


def count_labels() -> pd.DataFrame:
    """One row a class, from the labels at full resolution: shares, and the weight in the loss.

    ``train`` and the held-out split's column are shares of all pixels, void (its row comes last)
    included; ``frames`` is the number of training frames that show the class.
    """
    counts, seen = {}, {}
    for split in ("train", runs.held_out("camvid")):
        data = datasets.load("camvid", split, size=(360, 480))
        labels = [*range(len(data.classes)), 255]
        per_frame = np.array([[(mask == label).sum() for label in labels] for mask in data.masks])
        counts[split], seen[split] = per_frame.sum(0) / per_frame.sum(), (per_frame > 0).sum(0)
        if split == "train":
            weights = public.class_weights(data.masks.long(), len(data.classes))
    table = pd.DataFrame({"class": [*data.classes, "void"], **counts, "frames": seen["train"]})
    table["weight"] = [*weights.tolist(), np.nan]
    return table


def fine_tune(start: str, frames: int, seed: int) -> nn.Module:
    """U-Net for the classes of Streets after `STEPS` steps on `frames` frames of CamVid's train.

    It starts from the weights of Streets or from random ones; with no frames it stays there. The
    frames are spread evenly over the split. Raises ``ValueError`` for another `start`.
    """
    if start not in STARTS:
        raise ValueError(f"start must be one of {', '.join(STARTS)}; got {start!r}")
    if start == "streets":
        model = checkpoints.load_or_train("unet", seed=seed, progress=False).model
    else:
        model = checkpoints.new_model(checkpoints.recipe_for("unet", seed=seed), len(STREETS))
    if frames:
        size = checkpoints.RECIPES["unet"].size
        train = public.as_streets(datasets.load("camvid", "train", size=size, count=frames))
        train.transform = datasets.augment(size)
        epochs = round(STEPS / -(-frames // BATCH))
        training.fit(
            model, train, epochs=epochs, batch_size=BATCH, learning_rate=RATE, seed=seed,
            label=f"{start}, {frames} frames",
        )  # fmt: skip
    return model


def transfer(
    seeds: Sequence[int] = range(3), file: Path = TRANSFER, progress: bool | None = None
) -> pd.DataFrame:
    """From drawn to real streets: `fine_tune` from both `STARTS` with all of `FRAMES`, scored.

    One row for each start, number of frames and seed: scores of the 8 classes of Streets on CamVid's
    held-out split at full resolution. Beside them, under the start "full", the U-Net that learned
    CamVid's own classes from all frames of train by the recipe of the course. What `file` has is not
    run again.
    """
    recipe = checkpoints.recipe_for("unet")
    made_by = boundary_study.made_by(recipe, None)
    made_by += f"-{STEPS}x{BATCH}@{RATE:g}-{datasets.identity('camvid')[:8]}"
    kept = boundary_study.read(file=file).set_index(["name", "seed"])["made_by"].to_dict()
    which = [
        (start, frames) for frames in FRAMES for start in STARTS if (start, frames) != ("random", 0)
    ]
    split = runs.held_out("camvid")
    real = datasets.load("camvid", split, size=recipe.size)
    which.append(("full", len(camvid.frames(camvid.find(), "train"))))
    todo = [
        (start, frames, seed)
        for seed in seeds
        for start, frames in which
        if kept.get((f"{start}-{frames}", seed)) != made_by
    ]
    full = public.as_streets(datasets.load("camvid", split, size=(360, 480)))
    for start, frames, seed in tqdm(
        todo, desc="sim to real", **({"disable": True} if progress is False else {})
    ):
        images, _ = datasets.as_tensors(real)
        if start == "full":
            model = checkpoints.load_or_train("unet", dataset="camvid", seed=seed).model
            masks = boundary_study.enlarged_masks(model, images, full.size)
            masks = public.streets_labels(masks).long()
        else:
            model = fine_tune(start, frames, seed)
            masks = boundary_study.enlarged_masks(model, images, full.size)
        row = {"name": f"{start}-{frames}", "seed": seed, "group": "all"}
        row |= {"start": start, "frames": frames, "split": split}
        row |= boundary_study.flat_scores(masks, full.masks.long(), full.classes)
        boundary_study.add([row | {"made_by": made_by}], file)
    return boundary_study.read(file=file)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.camvid_study", description=__doc__)
    parser.add_argument("--only", choices=("labels", "networks", "transfer"), help="one part")
    parser.add_argument("--workers", type=int, default=1, help="processes for the networks")
    options = parser.parse_args(arguments)
    if options.only in (None, "labels"):
        table = count_labels()
        with replacing(LABELS) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
        print(table.to_string(index=False))
    if options.only in (None, "networks"):
        for name, seeds in NETWORKS.items():
            boundary_study.run("camvid", range(seeds), [name], workers=options.workers)
        rows = boundary_study.read("camvid")
        print(rows[rows["group"] == "all"][["name", "seed", "miou", "boundary_f1"]].to_string())
    if options.only in (None, "transfer"):
        print(transfer().groupby(["start", "frames"])[["miou", "boundary_f1"]].mean().to_string())


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")

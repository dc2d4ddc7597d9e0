"""The boundary study: every network of the ladder, several seeds, one table of scores.

A run is one network trained with one seed. It gives a row for the whole held-out split and one for
each group of its images: an interval over seeds tells how much of a difference is luck in training,
one over groups how much hangs on the pictures. ``python -m helpers.study run`` is the command.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from helpers import camvid, checkpoints, crf, crf_study, datasets, models, runs, training
from helpers.files import locked, replacing
from helpers.metrics import SegmentationScores

GROUPS = 5
"""Into how many groups the scenes of Streets are dealt; frames of CamVid group by sequence."""

SCORED_SIZE = {"camvid": (360, 480)}
"""Where masks are scored at the size of the labels, and not at that of the network's input."""

KEYS = {"name": str, "seed": int, "group": str, "made_by": str}
"""Columns that every line of a table fills; the others are scores, costs and versions."""

SHOWN = {
    "miou": "mIoU",
    "pixel_accuracy": "pixel acc.",
    "trimap_2": "trimap 2 px",
    "boundary_iou": "boundary IoU",
    "boundary_f1": "boundary F1",
}


def table_file(dataset: str) -> Path:
    """Where the rows of `dataset` are kept. Raises ``ValueError`` for an unknown data set."""
    if dataset not in datasets.CLASSES:
        raise ValueError(f"dataset must be one of {', '.join(datasets.CLASSES)}; got {dataset!r}")
    return runs.STUDY / f"{dataset}.csv"


def read(dataset: str = "streets", file: Path | None = None) -> pd.DataFrame:
    """The rows kept so far, none if there is no file; see `score_run` for the columns.

    Raises ``ValueError`` for a damaged file: its rows took hours, so nothing is done to it.
    """
    return _rows(file or table_file(dataset))


def _rows(file: Path) -> pd.DataFrame:
    if not file.exists():
        return pd.DataFrame({column: [] for column in KEYS})
    try:
        text = file.read_text()
        if not text.endswith("\n") or len({line.count(",") for line in text.splitlines()}) > 1:
            raise ValueError("a line is cut, or longer than others")
        rows = pd.read_csv(io.StringIO(text), dtype=KEYS)
        if rows[[*KEYS]].isna().any(axis=None):
            raise ValueError(f"a line lacks one of {', '.join(KEYS)}")
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{file} is damaged ({error}): mend it, take it from git again, or delete it"
        ) from error
    return rows


def run(
    dataset: str = "streets",
    seeds: Sequence[int] = range(5),
    names: Sequence[str] = checkpoints.LADDER,
    *,
    with_crf: bool = True,
    workers: int = 2,
    scheduler: str | None = None,
    file: Path | None = None,
    progress: bool | None = None,
) -> pd.DataFrame:
    """The rows of every network in `names` with every seed; what is not in `file` is run now.

    Runs go to `workers` processes of this machine, one thread each, or to the Dask cluster whose
    scheduler has the address `scheduler` (extra ``cluster``; `workers` then counts for nothing).
    Each is written to `file` (default: `table_file`) when it ends, so a study that broke off loses
    the runs in flight and no others; a row made by another recipe, or from other data, is made anew.
    Raises ``ValueError`` for an unknown name or data set or no seeds, ``ConnectionError`` where no
    scheduler answers.
    """
    if not len(seeds):
        raise ValueError(f"seeds must hold at least one seed, got {seeds!r}")
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers!r}")
    file = file or table_file(dataset)
    recipes = {
        (name, seed): checkpoints.recipe_for(name, dataset, seed)
        for seed in seeds
        for name in names
    }
    # Tuned here, once: the workers would each search for themselves.
    with_crf = with_crf and dataset not in SCORED_SIZE  # no CRF was tuned for that size
    params = {
        name: crf_study.tuned(name, dataset, progress) if with_crf else None for name in names
    }
    marks = {key: made_by(recipe, params[key[0]]) for key, recipe in recipes.items()}
    costs = {name: operations(name, dataset) for name in names}

    def missing() -> list[tuple[str, int]]:
        kept = _rows(file).groupby(["name", "seed"])["made_by"].first().to_dict()
        return [key for key in recipes if kept.get(key) != marks[key]]

    def jobs():
        for name, seed in todo:
            if (name, seed) in missing():
                yield name, dataset, seed, params[name]
            else:  # another study has finished it by now
                bar.update(costs[name])

    todo = missing()
    bar = tqdm(
        desc=f"{len(todo)} runs",
        total=sum(costs[name] for name, _ in todo),  # in operations: time left is then no guess
        bar_format="{desc}: {percentage:3.0f} % |{bar}| {elapsed}, {remaining} left{postfix}",
        # not given otherwise, so that TQDM_DISABLE can still silence it
        **({"disable": True} if not todo or progress is False else {}),
    )
    results = _here(jobs(), workers) if scheduler is None else _on_cluster(jobs(), scheduler)
    with bar, closing(results):
        for rows in results:
            name, seed = rows[0]["name"], rows[0]["seed"]
            add(rows, file)
            bar.set_postfix_str(f"last: {name}, seed {seed}", refresh=False)
            bar.update(costs[name])
    rows = _rows(file)
    return rows[rows["name"].isin(names) & rows["seed"].isin(seeds)].reset_index(drop=True)


def as_markdown(rows: pd.DataFrame, prefix: str = "") -> str:
    """Means over the seeds with 95 % intervals, one line a network; "crf_" takes those behind it.

    A network with one seed gets its scores without an interval.
    """
    whole = rows[rows["group"] == "all"]
    lines = ["| net | seeds | " + " | ".join(SHOWN.values()) + " |", "|---" + "|---:" * 6 + "|"]
    for name, own in whole.groupby("name", sort=False):
        scores = [own[prefix + column] for column in SHOWN]
        if len(own) == 1:
            cells = [f"{score.item():.3f}" for score in scores]
        else:
            cells = ["{:.3f} ± {:.3f}".format(*runs.interval(score)) for score in scores]
        lines.append(f"| {name} | {len(own)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def versus(rows: pd.DataFrame, name: str, other: str, score: str) -> tuple[float, float, str]:
    """`runs.verdict` on network `name` against `other`, paired by seed and group of images.

    Either may end in "+crf", which takes its masks behind the CRF. With the rows of "all" alone the
    pairs are seeds. Raises ``ValueError`` where a network has no rows, or others than its partner,
    and for an unknown score.
    """

    def column(which: str) -> pd.Series:
        bare = which.removesuffix("+crf")
        wanted = score if bare == which else f"crf_{score}"
        own = rows[rows["name"] == bare].set_index(["seed", "group"])
        if own.empty:
            raise ValueError(
                f"name must be one of {', '.join(rows['name'].unique())}; got {bare!r}"
            )
        if wanted not in own:
            raise ValueError(f"score must be a column of rows; got {score!r} for {which}")
        return own[wanted].sort_index()

    one, two = column(name), column(other)
    if not one.index.equals(two.index):
        raise ValueError(f"{name} and {other} must have the same seeds and groups")
    return runs.verdict(one.tolist(), two.tolist())


def made_by(recipe: checkpoints.Recipe, params: crf.Params | None) -> str:
    """Twelve digits for all that decides the rows of a run, up to rounding."""
    what = runs.made_by(recipe) | {"held_out": runs.held_out(recipe.dataset)}
    what["crf"] = params and asdict(params) | {"iterations": crf_study.ITERATIONS}
    what["size"] = SCORED_SIZE.get(recipe.dataset)
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]


def operations(name: str, dataset: str) -> int:
    """Multiplications and additions (MACs) of network `name` for one image of its recipe's size."""
    recipe = checkpoints.recipe_for(name, dataset)
    model = checkpoints.new_model(recipe, len(datasets.CLASSES[dataset])).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.zeros(1, 3, *recipe.size))
    return counter.get_total_flops() // 2


def add(rows: list[dict], file: Path) -> None:
    """Put the rows of one run in `file`, in place of older ones of the same name and seed.

    Under a lock, and whole or not at all: writers may come from several processes.
    """
    new = pd.DataFrame(rows)
    with locked(file), replacing(file) as temporary:
        old = _rows(file)
        same = (old["name"] == rows[0]["name"]) & (old["seed"] == rows[0]["seed"])
        parts = [part for part in (old[~same], new) if len(part)]
        merged = pd.concat(parts, ignore_index=True)
        places = {name: place for place, name in enumerate(checkpoints.RECIPES)}
        merged["place"] = merged["name"].map(lambda name: places.get(name, len(places)))
        merged = merged.sort_values(["place", "name", "seed"], kind="stable").drop(columns="place")
        merged.to_csv(temporary, index=False, float_format="%.6g")


def score_run(name: str, dataset: str, seed: int, params: crf.Params | None) -> list[dict]:
    """One run: the network from its weights, or trained now, and scored.

    Returns a row for all held-out images and one for each group of them. Scores of the network
    stand under ``miou``, ``trimap_2``, ``iou_pole`` and so on, those behind the CRF with `params`
    under the same with ``crf_`` before it; then what the network costs: ``parameters``, ``macs``
    and ``cpu_ms`` (processor time, one thread) for one image, ``train_seconds``; and versions.
    """
    checkpoint = checkpoints.load_or_train(name, dataset=dataset, seed=seed, progress=False)
    recipe = checkpoint.recipe
    split = runs.held_out(dataset)
    data = datasets.load(dataset, split, size=recipe.size)
    full = datasets.load(dataset, split, size=SCORED_SIZE.get(dataset, recipe.size))
    images, _ = datasets.as_tensors(data)
    if params:
        logits = training.predict_logits(checkpoint.model, images)
        refined = crf.refine_many(
            images, logits.softmax(1), params, crf_study.ITERATIONS, labels=True, progress=False
        )
        predictions = {"": logits.argmax(1), "crf_": refined}
    else:
        predictions = {"": enlarged_masks(checkpoint.model, images, full.size)}
    fixed = {
        "made_by": made_by(recipe, params),
        "parameters": models.count_parameters(checkpoint.model),
        "macs": operations(name, dataset),
        "cpu_ms": processor_time(checkpoint.model, images[:1]),
        "train_seconds": checkpoint.seconds,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    rows = []
    for group, items in groups(full).items():
        row = {"name": name, "seed": seed, "split": split, "group": group, "images": len(items)}
        for prefix, masks in predictions.items():
            row |= flat_scores(masks[items], full.masks[items].long(), full.classes, prefix)
        rows.append(row | fixed)
    return rows


def enlarged_masks(model: nn.Module, images: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks ``int64 (N, *size)`` of images ``(N, 3, H, W)``: logits are enlarged, then decided."""
    parts = []
    for part in images.split(10):
        logits = training.predict_logits(model, part)
        parts.append(nn.functional.interpolate(logits, size=size, mode="bilinear").argmax(1))
    return torch.cat(parts)


def groups(data: datasets.SegmentationDataset) -> dict[str, np.ndarray]:
    """Which items of a held-out split make up "all" and each group.

    Streets: every `GROUPS`-th scene. CamVid: the frames of one video sequence, since neighbours in
    time are all but copies of each other.
    """
    if data.name == "camvid":
        names = [image.name for image, _ in camvid.frames(camvid.find(), data.split)]
        labels = np.array([name.split("_")[0] for name in names])
    else:
        labels = np.array([f"group {item % GROUPS + 1}" for item in range(len(data))])
    parts = {str(label): np.flatnonzero(labels == label) for label in np.unique(labels)}
    return {"all": np.arange(len(data))} | parts


def flat_scores(masks: Tensor, truth: Tensor, classes, prefix: str = "") -> dict[str, float]:
    scores = SegmentationScores(len(classes)).update(masks, truth)
    flat = {
        "miou": scores.mean_iou,
        "pixel_accuracy": scores.pixel_accuracy,
        "class_accuracy": float(np.nanmean(scores.class_accuracy)),
        **{f"trimap_{width:g}": value for width, value in scores.trimap_iou.items()},
        "boundary_iou": scores.boundary_iou,
        "boundary_f1": scores.boundary_f1,
        **{f"iou_{name}": value for name, value in zip(classes, scores.iou, strict=True)},
    }
    return {prefix + name: value for name, value in flat.items()}


@torch.inference_mode()
def processor_time(model: nn.Module, image: Tensor, repeats: int = 7) -> float:
    """Milliseconds of processor time for one forward pass, the median of `repeats`.

    Time that other programs take does not count, but what they do to the caches does.
    """
    image = image.to(next(model.parameters()).device, memory_format=torch.channels_last)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = []
    for _ in range(repeats + 1):
        start = time.thread_time()  # a Dask worker may have other threads at work
        model(image)
        times.append(1000 * (time.thread_time() - start))
    torch.set_num_threads(threads)
    return statistics.median(times[1:])  # the first pass warms up


def _here(jobs: Iterator[tuple], workers: int) -> Iterator[list[dict]]:
    """`score_run` of every job in processes of this machine; results in the order they come."""
    with joblib.parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        parallel = joblib.Parallel(
            return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1
        )
        yield from parallel(joblib.delayed(score_run)(*job) for job in jobs)


def _on_cluster(jobs: Iterator[tuple], scheduler: str) -> Iterator[list[dict]]:
    """The same on a Dask cluster. Without joblib, which waits for ever for a run that Dask gives up."""
    try:
        from distributed import Client, as_completed  # only the extra `cluster` installs it
    except ImportError as error:
        raise ValueError(
            "scheduler needs Dask: pip install -e '.[cluster]', here and on the workers"
        ) from error
    try:
        client = Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"scheduler: none answers at {scheduler!r} ({error}). `dask scheduler` starts one and "
            "prints its address, `dask worker ADDRESS` gives it a worker."
        ) from error
    with client:
        client.wait_for_workers(1, timeout=30)
        runs_at_once = sum(client.nthreads().values())
        futures = as_completed()
        for job in itertools.islice(jobs, runs_at_once):
            futures.add(client.submit(score_run, *job, pure=False))
        for future in futures:
            yield future.result()
            for job in itertools.islice(jobs, 1):
                futures.add(client.submit(score_run, *job, pure=False))

"""The boundary study: what its table says, and that no row is lost, doubled or out of date.

Runs that are real in all but their scores (`tiny_run`) go through the very processes, clusters and
kills that the study must survive.
"""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy import stats
from test_datasets import write_camvid
from tqdm import tqdm

from helpers import (
    boundary_study,
    camvid,
    checkpoints,
    crf,
    crf_study,
    datasets,
    metrics,
    models,
    runs,
    study,
    training,
)

ROOT = Path(__file__).resolve().parents[1]
ROUNDING = 2e-3  # of scores, between processors
GROUPS = ["all", *(f"group {i}" for i in range(1, 6))]
SEEDS = range(5)  # that every network must have in the kept table; it may hold more of some


# the table that is kept in data/study


@pytest.fixture(scope="module")
def table():
    assert boundary_study.table_file("streets").exists(), "run `python -m helpers.study run`"
    return boundary_study.read("streets")


def params_of(name: str) -> crf.Params:
    return crf.Params(**json.loads(crf_study.PARAMETERS.read_text())[f"{name}-streets"]["params"])


def test_every_network_seed_and_group_is_there_once_and_up_to_date(table):
    keys = set(zip(table["name"], table["seed"], table["group"], strict=True))
    want = {(n, s, g) for n in checkpoints.LADDER for s in SEEDS for g in GROUPS}
    assert sorted(want - keys) == [], "missing: run `python -m helpers.study run`"
    assert len(table) == len(keys)
    for (name, seed), own in table.groupby(["name", "seed"]):
        recipe = checkpoints.recipe_for(name, "streets", seed)
        assert set(own["made_by"]) == {boundary_study.made_by(recipe, params_of(name))}, name
    assert set(table["split"]) == {"test"}


def test_every_score_is_a_share_and_every_cost_is_positive(table):
    costs = table[["parameters", "macs", "cpu_ms", "train_seconds"]]
    assert (costs > 0).all(axis=None)
    about = {*boundary_study.KEYS, "split", "images", *costs, "torch", "numpy"}
    scores = table[[column for column in table if column not in about]]
    assert scores.shape[1] == 2 * (10 + len(datasets.STREETS))
    assert ((scores >= 0) & (scores <= 1)).all(axis=None)


def test_the_groups_of_a_run_add_up_to_all_of_it(table):
    """Pixel accuracy of all images is the mean over groups, weighted by their labelled pixels."""
    test = datasets.load("streets", "test")
    labelled = (test.masks != 255).sum((1, 2)).numpy()
    weights = [labelled[i::5].sum() for i in range(5)]
    for (name, seed), own in table.groupby(["name", "seed"]):
        own = own.set_index("group")
        assert own.loc["all", "images"] == own.loc[GROUPS[1:], "images"].sum() == 150
        for column in ("pixel_accuracy", "crf_pixel_accuracy"):
            mean = np.average(own.loc[GROUPS[1:], column], weights=weights)
            assert own.loc["all", column] == pytest.approx(mean, abs=1e-5), (name, seed)


def test_shipped_networks_score_as_in_the_study_of_the_crf(table):
    """Which scores the same weights with code of its own, and has kept them in another file."""
    whole = table[(table["group"] == "all") & (table["seed"] == 0)].set_index("name")
    for name, rows in crf_study.stored("streets").items():
        for prefix, scores in {"": rows[0]["before"], "crf_": rows[0]["after"]}.items():
            for score in ("miou", "pixel_accuracy", "boundary_iou", "boundary_f1"):
                found = whole.loc[name, prefix + score]
                assert found == pytest.approx(scores[score], abs=ROUNDING), (name, prefix + score)


def refined(image: np.ndarray, probabilities: np.ndarray, params: crf.Params) -> np.ndarray:
    """Labels behind the CRF, for one image ``uint8 (H, W, 3)``, straight from the library."""
    densecrf = pytest.importorskip("pydensecrf.densecrf", reason="pydensecrf2 is not installed")
    classes, height, width = probabilities.shape
    model = densecrf.DenseCRF2D(width, height, classes)
    model.setUnaryEnergy(-np.log(np.maximum(probabilities, crf.CLIP)).reshape(classes, -1))
    model.addPairwiseGaussian(sxy=params.smoothness_sxy, compat=params.smoothness_weight)
    model.addPairwiseBilateral(
        sxy=params.appearance_sxy, srgb=params.appearance_srgb, rgbim=image,
        compat=params.appearance_weight,
    )  # fmt: skip
    q = np.array(model.inference(crf_study.ITERATIONS))
    return q.reshape(classes, height, width).argmax(0)


@pytest.fixture(scope="module")
def fcn8s_masks() -> dict[str, np.ndarray]:
    """Masks of the shipped FCN-8s, image by image: "" of the network, "crf_" behind the CRF."""
    network = models.build("fcn8s", len(datasets.STREETS)).eval()
    weights = load_file(checkpoints.SHIPPED / "fcn8s-streets-seed0.safetensors")
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
    )
    masks = {"": [], "crf_": []}
    for picture in datasets.load("streets", "test").images:
        with torch.inference_mode():
            probabilities = network(picture[None] / 255).softmax(1)[0].numpy()
        image = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
        masks[""].append(probabilities.argmax(0))
        masks["crf_"].append(refined(image, probabilities, params_of("fcn8s")))
    return {prefix: np.stack(own) for prefix, own in masks.items()}


def iou(masks: np.ndarray, truth: np.ndarray, label: int) -> float:
    ours, true = (masks == label) & (truth != 255), truth == label
    return (ours & true).sum() / (ours | true).sum()


@pytest.mark.slow
@pytest.mark.parametrize(("group", "items"), [("all", slice(None)), ("group 2", slice(1, None, 5))])
def test_a_row_is_what_the_shipped_weights_score(group, items, fcn8s_masks, table):
    truth = datasets.load("streets", "test").masks.numpy()[items].astype(int)
    row = table.query("name == 'fcn8s' and seed == 0 and group == @group").squeeze()
    assert row["images"] == len(truth)
    assert row["parameters"] == sum(w.numel() for w in models.build("fcn8s", 8).parameters())
    for prefix, masks in fcn8s_masks.items():
        masks = masks[items]
        ious = {f"iou_{name}": iou(masks, truth, c) for c, name in enumerate(datasets.STREETS)}
        want = ious | {
            "miou": np.mean(list(ious.values())),
            "pixel_accuracy": (masks == truth)[truth != 255].mean(),
            "class_accuracy": np.mean([(masks == c)[truth == c].mean() for c in range(8)]),
            "boundary_iou": metrics.boundary_iou(masks, truth, 8),
            "boundary_f1": metrics.boundary_f1(masks, truth, 8),
        }
        want |= {f"trimap_{w}": metrics.trimap_iou(masks, truth, 8, w) for w in (1, 2, 3, 5, 10)}
        found = {score: row[prefix + score] for score in want}
        assert found == pytest.approx(want, abs=ROUNDING), prefix


# groups and costs


@pytest.mark.parametrize("count", [150, 12, 7])
def test_groups_deal_out_all_images_once_and_evenly(count):
    images, masks = np.zeros((count, 3, 2, 2), np.uint8), np.zeros((count, 2, 2), np.uint8)
    data = datasets.SegmentationDataset("streets", "test", datasets.STREETS, images, masks)
    parts = boundary_study.groups(data)
    assert list(parts) == GROUPS
    assert parts.pop("all").tolist() == list(range(count))
    assert sorted(np.concatenate(list(parts.values()))) == list(range(count))
    sizes = {len(items) for items in parts.values()}
    assert max(sizes) - min(sizes) <= 1


def test_operations_are_those_of_the_layers():
    """Every layer of the colour classifier is a 1x1 convolution at full size."""
    pixels = 96 * 128
    for dataset, classes in (("streets", 8), ("camvid", 11)):
        layers = 3 * 32 + 32 * 32 + 32 * classes
        assert boundary_study.operations("colour", dataset) == layers * pixels


class Waits(torch.nn.Conv2d):
    """Takes 50 ms of waiting, or of work."""

    works = False

    def forward(self, image):
        start = time.thread_time() if self.works else time.sleep(0.05)
        while self.works and time.thread_time() < start + 0.05:
            pass
        return image


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_processor_time_is_that_of_work_and_not_of_waiting(two_threads):
    model, image = Waits(1, 1, 1), torch.zeros(1, 1, 2, 2)
    assert boundary_study.processor_time(model, image, repeats=3) < 25
    model.works = True
    assert 50 <= boundary_study.processor_time(model, image, repeats=3) < 100
    assert torch.get_num_threads() == 2


# what is run, and what is kept


def tiny_row(name: str, seed: int, group: str, made_by: str) -> dict:
    return {"name": name, "seed": seed, "group": group, "made_by": made_by, "miou": seed / 10}


def tiny_run(
    folder: Path, marks: list[str], name: str, dataset: str, seed: int, params
) -> list[dict]:
    """In place of `score_run`, in any process: quick, told in a file; stuck in its first try of seed 1.

    Works without the modules of the course, so that processes are quick to start.
    """
    with (folder / "calls").open("a") as file:
        file.write(f"{seed} {os.getpid()}\n")
    if seed == 1 and len([s for s, _ in calls(folder) if s == 1]) == 1:
        time.sleep(100)
        raise TimeoutError("nobody has killed this run")
    return [tiny_row(name, seed, group, marks[seed]) for group in ("all", "group 1")]


def calls(folder: Path) -> list[tuple[int, int]]:
    """Seed and process of every `tiny_run` so far."""
    file = folder / "calls"
    lines = file.read_text().splitlines() if file.exists() else []
    return [tuple(map(int, line.split())) for line in lines]


def tiny_study(folder: Path, count: int = 3, **options) -> pd.DataFrame:
    """A study of `count` tiny runs, with its table in `folder`."""
    recipes = [checkpoints.recipe_for("colour", seed=seed) for seed in range(count)]
    marks = [boundary_study.made_by(recipe, None) for recipe in recipes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boundary_study, "score_run", functools.partial(tiny_run, folder, marks))
        return boundary_study.run(
            seeds=range(count), names=["colour"], with_crf=False, file=folder / "t.csv", **options
        )


def seeds(folder: Path) -> list[tuple[int, str]]:
    rows = boundary_study.read("streets", folder / "t.csv")
    return list(zip(rows["seed"], rows["group"], strict=True))


@pytest.fixture
def start():
    """Starts Python in a process of its own, which does not outlive the test."""
    with ExitStack() as running:

        def start(*arguments: str | Path) -> subprocess.Popen:
            process = subprocess.Popen(
                [sys.executable, *map(str, arguments)],
                env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            )
            running.callback(process.wait)
            running.callback(process.kill)
            return process

        yield start


def wait_for(what, seconds: float = 180):
    """The first true value of ``what()``."""
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain"
        time.sleep(0.05)
    return value


def stuck(folder: Path) -> int | None:
    """The process whose run of seed 1 waits to be killed."""
    return next((process for seed, process in calls(folder) if seed == 1), None)


def test_a_study_that_was_killed_goes_on_where_it_was(tmp_path, start):
    killed = start(__file__, tmp_path, json.dumps({"workers": 1}))
    assert wait_for(lambda: stuck(tmp_path)) == killed.pid
    killed.kill()  # SIGKILL, where there are signals
    killed.wait()
    assert seeds(tmp_path) == [(0, "all"), (0, "group 1")]
    rows = tiny_study(tmp_path, workers=1, progress=False)
    whole = [(seed, group) for seed in range(3) for group in ("all", "group 1")]
    assert seeds(tmp_path) == list(zip(rows["seed"], rows["group"], strict=True)) == whole
    assert [seed for seed, _ in calls(tmp_path)] == [0, 1, 1, 2]
    assert rows["miou"].tolist() == [0, 0, 0.1, 0.1, 0.2, 0.2]
    tiny_study(tmp_path, workers=1, progress=False)
    assert len(calls(tmp_path)) == 4, "what is kept is not run again"


def test_a_network_that_is_not_in_the_table_any_more_keeps_its_rows(counted, tmp_path):
    """The table of a course may hold networks that this machine does not know."""
    boundary_study.add([tiny_row("mine", 0, "all", "by me")], tmp_path / "t.csv")
    assert counted() == OF_BOTH
    assert list(boundary_study.read("streets", tmp_path / "t.csv")["name"]).count("mine") == 1


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """A study of two networks and two seeds in this process; returns the runs that it made."""
    made = []

    def score_run(name, dataset, seed, params):
        made.append((name, seed))
        made_by = boundary_study.made_by(checkpoints.recipe_for(name, dataset, seed), params)
        return [tiny_row(name, seed, group, made_by) for group in ("all", "group 1")]

    def run(**options) -> list[tuple[str, int]]:
        made.clear()
        options = {"names": ["colour", "fcn32s"], "seeds": [0, 1]} | options
        rows = boundary_study.run(workers=1, file=tmp_path / "t.csv", **options)
        assert len(rows) == 2 * len(options["names"]) * len(options["seeds"])
        return sorted(made)

    monkeypatch.setattr(boundary_study, "score_run", score_run)
    monkeypatch.setattr(crf_study, "tuned", lambda name, *_: params_of(name))
    return run


def longer(patch):
    patch.setitem(checkpoints.RECIPES, "fcn32s", replace(checkpoints.RECIPES["fcn32s"], epochs=1))


def other_parameters(patch):
    other = {"fcn32s": crf.Params(1, 2, 3, 0, 1)}
    patch.setattr(crf_study, "tuned", lambda name, *_: other.get(name) or params_of(name))


OF_ONE = [("fcn32s", 0), ("fcn32s", 1)]
OF_BOTH = [("colour", 0), ("colour", 1), *OF_ONE]


@pytest.mark.parametrize(
    ("change", "made"),
    [
        (lambda patch: None, []),
        (longer, OF_ONE),
        (other_parameters, OF_ONE),
        (lambda patch: patch.setattr(datasets, "identity", lambda name: "other"), OF_BOTH),
        (lambda patch: patch.setattr(runs, "held_out", lambda name: "val"), OF_BOTH),
        (lambda patch: patch.setattr(crf_study, "ITERATIONS", 7), OF_BOTH),
    ],
    ids=["nothing", "recipe", "crf parameters", "data", "split", "iterations"],
)
def test_another_recipe_data_or_crf_makes_rows_anew_and_only_those(
    change, made, counted, monkeypatch
):
    assert counted() == OF_BOTH
    change(monkeypatch)
    assert counted() == made
    assert counted() == []


def test_rows_without_the_crf_or_of_another_size_are_others(counted, monkeypatch):
    assert counted() == OF_BOTH
    assert counted(with_crf=False) == OF_BOTH
    monkeypatch.setitem(boundary_study.SCORED_SIZE, "streets", (48, 64))
    assert counted(with_crf=False) == OF_BOTH


def test_a_study_asks_for_what_it_lacks_and_returns_what_was_asked(counted):
    assert counted(names=["fcn32s"], seeds=[1]) == [("fcn32s", 1)]
    assert counted(seeds=[1]) == [("colour", 1)]
    assert counted(names=["fcn32s"]) == [("fcn32s", 0)]
    assert counted(names=["fcn32s"], seeds=[0]) == []


# several processes


def add_to_table(file: Path, writer: int, seed: int) -> None:
    rows = [tiny_row(f"writer {writer}", seed, group, "today") for group in GROUPS]
    boundary_study.add(rows, file)


def add_to_json(file: Path, writer: int, seed: int) -> None:
    runs.kept(file, f"writer {writer} {seed}", {"day": "today"}, lambda: {"miou": seed / 10})


def names_in_table(file: Path) -> list[str]:
    rows = boundary_study.read("streets", file)
    return [f"{name} {seed}" for name, seed in zip(rows["name"], rows["seed"], strict=True)]


def names_in_json(file: Path) -> list[str]:
    return list(json.loads(file.read_text())) if file.exists() else []


def write_many(add, file: Path, writer: int, others: int, count: int) -> int:
    (file.parent / f"writer {writer}").touch()
    wait_for(lambda: len(list(file.parent.glob("writer *"))) == others)
    for seed in range(count):
        add(file, writer, seed)
    (file.parent / f"done {writer}").touch()
    return os.getpid()


@pytest.mark.parametrize(
    ("add", "names", "lines"), [(add_to_table, names_in_table, 6), (add_to_json, names_in_json, 1)]
)
def test_two_writers_lose_nothing_and_a_reader_sees_whole_tables(add, names, lines, tmp_path):
    file, count = tmp_path / "rows", 30
    writers = joblib.Parallel(n_jobs=2, return_as="generator")(
        joblib.delayed(write_many)(add, file, writer, 2, count) for writer in range(2)
    )
    seen = 0
    deadline = time.monotonic() + 300
    while len(list(tmp_path.glob("done *"))) < 2:
        assert time.monotonic() < deadline, "a writer never ended"
        found = names(file)
        assert set(Counter(found).values()) <= {lines}, "a run is there with all its rows, or not"
        assert len(found) >= seen, "what was there stays there"
        seen = len(found)
        time.sleep(0.01)  # leave the processor to the writers
    assert len(set(writers)) == 2, "the writers were two processes"
    want = Counter({f"writer {w} {seed}": lines for w in range(2) for seed in range(count)})
    assert Counter(names(file)) == want
    assert not list(tmp_path.glob(".*.tmp"))


def test_processes_score_as_one_process_does(tmp_path):
    """The colour classifier and FCN-32s from their shipped weights, on all test scenes."""
    tables = [
        boundary_study.run(
            seeds=[0], names=["colour", "fcn32s"], with_crf=False, workers=workers,
            file=tmp_path / f"{workers}.csv", progress=False,
        )
        for workers in (1, 2)
    ]  # fmt: skip
    one, two = (table.drop(columns="cpu_ms") for table in tables)
    assert list(one["group"]) == 2 * GROUPS
    pd.testing.assert_frame_equal(one, two, atol=ROUNDING, rtol=0)


@pytest.fixture
def cluster(request, tmp_path, start, monkeypatch):
    """The address of a Dask scheduler with two workers, all processes on the loopback.

    Its parameter says from how many workers that died with it a run is saved.
    """
    distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", f"{request.param}")
    file = tmp_path / "scheduler.json"
    options = ["--no-dashboard", "--scheduler-file", file]
    start("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", *options)
    wait_for(file.exists)
    for _ in range(2):
        start("-m", "distributed.cli.dask_worker", "--no-nanny", "--nthreads", "1",
              "--local-directory", tmp_path / "dask", *options)  # fmt: skip
    address = json.loads(file.read_text())["address"]
    with distributed.Client(address) as client:
        client.wait_for_workers(2, timeout=60)
    return address


@pytest.mark.parametrize("cluster", [3], indirect=True)
def test_a_worker_of_the_cluster_that_dies_costs_no_row(cluster, tmp_path, start):
    ended = start(__file__, tmp_path, json.dumps({"count": 5, "scheduler": cluster}))
    victim = wait_for(lambda: stuck(tmp_path))
    os.kill(victim, signal.SIGKILL)
    assert ended.wait(timeout=180) == 0
    assert seeds(tmp_path) == [(seed, group) for seed in range(5) for group in ("all", "group 1")]
    tries = Counter(seed for seed, _ in calls(tmp_path))
    assert tries == {0: 1, 1: 2, 2: 1, 3: 1, 4: 1}
    processes = {process for _, process in calls(tmp_path)}
    assert len(processes) == 2 and not processes & {ended.pid, os.getpid()}


@pytest.mark.parametrize("cluster", [0], indirect=True)
def test_a_run_that_the_cluster_gives_up_ends_the_study_and_keeps_the_others(
    cluster, tmp_path, start, capfd
):
    ended = start(__file__, tmp_path, json.dumps({"scheduler": cluster}))
    os.kill(wait_for(lambda: stuck(tmp_path)), signal.SIGKILL)
    assert ended.wait(timeout=180) != 0
    assert "KilledWorker" in capfd.readouterr().err
    assert (0, "all") in seeds(tmp_path) and (1, "all") not in seeds(tmp_path)


def test_without_dask_a_scheduler_is_refused_with_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"scheduler needs Dask: pip install -e '.\[cluster\]'"):
        tiny_study(tmp_path, scheduler="tcp://127.0.0.1:8786")
    assert calls(tmp_path) == []


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{port}", "nonsense"])
def test_where_no_scheduler_answers_the_error_says_so(address, tmp_path):
    pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = address.format(port=free.getsockname()[1])
    with pytest.raises(ConnectionError, match=f"scheduler: none answers at '{address}'.*dask sch"):
        tiny_study(tmp_path, scheduler=address)
    assert calls(tmp_path) == []


# CamVid


def by_brightness() -> torch.nn.Conv2d:
    """Eleven classes from dark to bright, for images as dark as those of `write_camvid`."""
    network, labels = torch.nn.Conv2d(3, 11, 1).eval(), torch.arange(11.0)
    with torch.no_grad():  # the highest of lines that touch a parabola, one after the other
        network.weight[:] = (2 * labels * 2 * 255 / 3)[:, None, None, None]
        network.bias[:] = 2 * labels * -6 - labels**2
    return network


@pytest.fixture
def sequences(tmp_path, monkeypatch):
    """A CamVid folder: no test split, in val one frame of a sequence and three of another.

    Returns labels ``(4, 360, 480)`` as scored and as in the files, which share less and less of them.
    """
    folder = write_camvid(tmp_path / "data" / "camvid", size=(360, 480))
    for path in sorted(folder.glob("*/*.png")):
        sequence = "0001TP" if path.stem == "frame_0" else "0016E5"
        path.rename(path.with_name(path.name.replace("frame", sequence)))
    monkeypatch.setenv("PIXELWISE_DATA", str(folder.parent))
    monkeypatch.setenv("PIXELWISE_CACHE", str(tmp_path / "cache"))
    network, recipe = by_brightness(), checkpoints.recipe_for("colour", "camvid")
    trained = checkpoints.Checkpoint(network, recipe, seconds=1, trained_now=False)
    monkeypatch.setattr(checkpoints, "load_or_train", lambda *_, **__: trained)
    images, _ = datasets.as_tensors(datasets.load("camvid", "val"))
    logits = torch.nn.functional.interpolate(
        training.predict_logits(network, images), scale_factor=3.75, mode="bilinear"
    )
    masks = logits.argmax(1).numpy()
    truth = np.empty_like(masks)
    for i, (_, path) in enumerate(camvid.frames(folder, "val")):
        noise = np.array(Image.open(path))
        draw = np.random.default_rng(i).random(noise.shape)
        labels = np.where(draw < 0.2 * (i + 1), noise, masks[i]).astype(np.uint8)
        Image.fromarray(labels).save(path)
        truth[i] = np.where(labels == 11, 255, labels)
    return masks, truth


def test_camvid_is_scored_at_the_size_of_its_labels_by_sequence(sequences, tmp_path):
    file = tmp_path / "t.csv"
    made = boundary_study.run("camvid", [0], ["colour"], workers=1, file=file, progress=False)
    assert not [column for column in made if column.startswith("crf_")]
    pd.testing.assert_frame_equal(made, boundary_study.read("camvid", file))
    assert set(made["split"]) == {"val"}
    parts = {"all": [0, 1, 2, 3], "0001TP": [0], "0016E5": [1, 2, 3]}
    assert made["group"].tolist() == list(parts)
    for row, items in zip(made.itertuples(), parts.values(), strict=True):
        masks, truth = (labels[items] for labels in sequences)
        assert row.images == len(items)
        right = (masks == truth)[truth != 255].mean()
        assert row.pixel_accuracy == pytest.approx(right, abs=ROUNDING)
        f1 = metrics.boundary_f1(masks, truth, 11)
        assert row.boundary_f1 == pytest.approx(f1, abs=ROUNDING)


# bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": []}, r"seeds must hold at least one seed, got \[\]"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"names": ["colour", "vgg"]}, "name must be one of colour, .*; got 'vgg'"),
        ({"dataset": "moon"}, "dataset must be one of streets, .*; got 'moon'"),
    ],
)
def test_what_makes_no_study_is_refused_before_anything_runs(options, message, monkeypatch):
    monkeypatch.setattr(boundary_study, "score_run", lambda *_: pytest.fail("ran"))
    with pytest.raises(ValueError, match=message):
        boundary_study.run(**options)


def test_the_command_says_what_is_wrong(capsys):
    for options in (["--workers", "0"], ["--seeds", "0"]):
        with pytest.raises(ValueError, match="must"):
            study.main(["run", *options])
    with pytest.raises(SystemExit):
        study.main(["run", "--names", "vgg"])
    assert "invalid choice: 'vgg'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-30],
        lambda text: text[: text.rindex(",")] + "\n",
        lambda text: text[:-1],
        lambda text: "",
        lambda text: text.replace("made_by", "made"),
        lambda text: text.replace("colour,1,", "colour,one,"),
        lambda text: text.replace("colour,1,", ",1,"),
        lambda text: text.replace("colour,1,", "<<<<<<< HEAD\ncolour,1,"),
        lambda text: text + "colour,1,\x00",
    ],
    ids=["cut", "short line", "no end", "empty", "columns", "seed", "name", "merge", "bytes"],
)
def test_a_damaged_table_is_told_and_left_as_it_is(spoil, counted, tmp_path):
    file = tmp_path / "t.csv"
    counted()
    file.write_text(spoil(file.read_text()))
    damaged = file.read_bytes()
    for use in (
        counted,
        lambda: boundary_study.read("streets", file),
        lambda: boundary_study.add([tiny_row("unet", 0, "all", "today")], file),
    ):
        with pytest.raises(ValueError, match=re.escape(f"{file} is damaged (")):
            use()
    assert file.read_bytes() == damaged
    assert not list(tmp_path.glob(".*.tmp"))


# what the table says


@pytest.fixture
def made_up():
    """Four seeds of three networks, each with two groups; some scores that were drawn at random."""
    rng = np.random.default_rng(0)
    rows = [
        {"name": name, "seed": seed, "group": group}
        | {
            prefix + score: rng.random()
            for prefix in ("", "crf_")
            for score in boundary_study.SHOWN
        }
        for name in ("unet", "fcn8s", "colour")
        for seed in (3, 0, 1, 2)
        for group in ("all", "group 1", "group 2")
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


@pytest.mark.parametrize(("other", "column"), [("fcn8s", "miou"), ("unet+crf", "crf_miou")])
def test_two_networks_are_compared_seed_by_seed_and_group_by_group(made_up, other, column):
    parts = made_up[made_up["group"] != "all"]
    keyed = parts.set_index(["name", "seed", "group"])
    pairs = [(seed, group) for seed in range(4) for group in ("group 1", "group 2")]
    one = [keyed.loc[("unet", *pair), "miou"] for pair in pairs]
    two = [keyed.loc[(other.removesuffix("+crf"), *pair), column] for pair in pairs]
    low, high = stats.ttest_rel(one, two).confidence_interval(0.95)
    mean, half, _ = boundary_study.versus(parts, "unet", other, "miou")
    assert (mean - half, mean + half) == pytest.approx((low, high))


def test_networks_with_other_seeds_or_unknown_ones_cannot_be_compared(made_up):
    lacking = made_up[(made_up["name"] != "fcn8s") | (made_up["seed"] != 2)]
    with pytest.raises(ValueError, match="unet and fcn8s must have the same seeds and groups"):
        boundary_study.versus(lacking, "unet", "fcn8s", "miou")
    with pytest.raises(ValueError, match="name must be one of .*; got 'vgg'"):
        boundary_study.versus(made_up, "unet", "vgg+crf", "miou")
    with pytest.raises(ValueError, match="score must be a column of rows; got 'beauty' for unet"):
        boundary_study.versus(made_up, "unet", "fcn8s", "beauty")


@pytest.mark.parametrize("prefix", ["", "crf_"])
def test_the_table_shows_means_and_intervals_over_the_seeds_of_all(made_up, prefix):
    head, rule, *lines = boundary_study.as_markdown(made_up, prefix).splitlines()
    assert head == "| net | seeds | mIoU | pixel acc. | trimap 2 px | boundary IoU | boundary F1 |"
    assert rule.count("|") == head.count("|") == 8
    assert {line.split()[1] for line in lines} == {"unet", "fcn8s", "colour"}
    for line in lines:
        _, name, seeds, *cells, _ = (cell.strip() for cell in line.split("|"))
        own = made_up[(made_up["name"] == name) & (made_up["group"] == "all")]
        assert seeds == "4"
        for cell, score in zip(cells, boundary_study.SHOWN, strict=True):
            values = own[prefix + score]
            low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
            assert cell == f"{values.mean():.3f} ± {(high - low) / 2:.3f}"


def test_one_seed_is_shown_without_an_interval(made_up):
    one = made_up[(made_up["name"] == "unet") & (made_up["seed"] == 3)]
    (row,) = one[one["group"] == "all"].to_dict("records")
    want = " | ".join(f"{row[score]:.3f}" for score in boundary_study.SHOWN)
    assert boundary_study.as_markdown(one).splitlines()[2:] == [f"| unet | 1 | {want} |"]


# the bar


def test_the_bar_tells_the_share_of_the_work_and_the_time_left(counted, capsys, monkeypatch):
    monkeypatch.setattr(boundary_study, "tqdm", functools.partial(tqdm, mininterval=0))
    counted(seeds=[0], progress=True)
    shown = capsys.readouterr().err
    costs = [boundary_study.operations(name, "streets") for name in ("colour", "fcn32s")]
    share = round(100 * costs[0] / sum(costs))
    assert share < 30, "the lighter network comes first, and counts for less than half"
    assert {int(n) for n in re.findall(r"2 runs: +(\d+) % ", shown)} == {0, share, 100}
    assert re.search(r" \d\d:\d\d left, last: colour, seed 0", shown)
    assert "00:00 left, last: fcn32s, seed 0" in shown


@pytest.mark.parametrize("progress", [True, None])
def test_no_bar_where_there_is_nothing_to_do(progress, counted, capsys):
    counted(progress=False)
    assert capsys.readouterr().err == ""
    assert counted(progress=progress) == []
    assert capsys.readouterr().err == ""


if __name__ == "__main__":  # a study in a process of its own, see `start`
    tiny_study(Path(sys.argv[1]), **json.loads(sys.argv[2]))

"""The ladder: its JSON, its table, and that prose and README show its numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from scipy import stats

from helpers import checkpoints, datasets, metrics, models, probes, runs, study, training
from helpers.upsampling import UPSAMPLERS

ROOT = Path(__file__).resolve().parents[1]
KEYS = {
    "name", "miou", "pixel_accuracy", "trimap_iou", "boundary_iou", "boundary_f1", "iou",
    "parameters", "train_seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    return study.ladder()


def test_every_rung_has_every_score(rows):
    assert [r["name"] for r in rows] == list(checkpoints.LADDER)
    for r in rows:
        assert set(r) == KEYS
        assert list(r["trimap_iou"]) == ["1", "2", "3", "5", "10"]
        assert tuple(r["iou"]) == datasets.CLASSES["streets"].names
        scores = [
            r["miou"],
            r["pixel_accuracy"],
            r["boundary_iou"],
            r["boundary_f1"],
            *r["trimap_iou"].values(),
            *r["iou"].values(),
        ]
        assert all(0 <= s <= 1 for s in scores)
        assert r["miou"] == pytest.approx(np.mean(list(r["iou"].values())))


def test_a_rung_is_what_the_scores_say(rows):
    """Recomputed through the functional metrics, on the test split."""
    test = datasets.load("streets", "test")
    images, masks = datasets.as_tensors(test)
    predictions = training.predict_masks(checkpoints.load_or_train("fcn32s").model, images)
    row = next(r for r in rows if r["name"] == "fcn32s")
    assert row["miou"] == pytest.approx(
        metrics.mean_iou(metrics.confusion_matrix(predictions, masks, 8))
    )
    assert row["trimap_iou"]["3"] == pytest.approx(metrics.trimap_iou(predictions, masks, 8, 3))
    assert row["boundary_f1"] == pytest.approx(metrics.boundary_f1(predictions, masks, 8))


def test_the_command_prints_json_and_nothing_else(rows, capsys):
    study.main(["ladder", "--json"])
    assert json.loads(capsys.readouterr().out) == rows


def test_context_beats_colour_on_regions(rows):
    colour, fcn = rows[:2]
    assert fcn["miou"] > colour["miou"]


def test_training_stays_within_its_budget(rows):
    """Each network is promised in under 90 s on two cores, an FCN in 40 and the U-Net in 150."""
    for r in rows:
        limits = {"unet": 150, "fcn": 40}
        limit = next((s for start, s in limits.items() if r["name"].startswith(start)), 90)
        assert r["train_seconds"] < limit, r["name"]


def test_every_skip_brings_back_more_of_the_edges(rows):
    """What notebook 04 says of the ladder, in numbers that do not hang on a digit."""
    by_name = {r["name"]: r for r in rows}
    trimap = [by_name[f"fcn{s}s"]["trimap_iou"]["2"] for s in (32, 16, 8, 4)]
    assert trimap == sorted(trimap) and len(set(trimap)) == 4
    without, unet = by_name["unet_noskip"], by_name["unet"]
    assert unet["miou"] >= 0.80
    assert unet["trimap_iou"]["2"] >= 1.5 * without["trimap_iou"]["2"]
    assert without["iou"]["pole"] < 0.10 and unet["iou"]["pole"] > 0.50


def table_lines(text: str) -> set[str]:
    return {line for line in text.splitlines() if line.startswith("| ")}


def test_readme_shows_these_numbers(rows):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.split("<!-- ladder -->")[1].split("<!-- /ladder -->")[0].strip()
    assert shown == study.as_markdown(rows)


@pytest.mark.parametrize(
    ("notebook", "names"),
    [
        ("01_dense_prediction", ("colour",)),
        ("02_fcn", ("colour", "fcn32s")),
        ("03_upsampling", ("colour", "fcn32s")),
        ("04_skip_connections", checkpoints.LADDER[:7]),
        ("05_dilation", checkpoints.LADDER[:9]),
        ("06_aspp", checkpoints.LADDER[:12]),
    ],
)
def test_notebooks_show_these_numbers(notebook, names):
    nb = nbformat.read(ROOT / "notebooks" / f"{notebook}.ipynb", as_version=4)
    shown = [
        output.data["text/markdown"]
        for cell in nb.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "text/markdown" in output.get("data", {})
    ]
    want = table_lines(study.as_markdown(study.ladder(names=names)))
    assert any(want <= table_lines(text) for text in shown)


def test_held_out_is_val_where_there_is_no_test_split(monkeypatch):
    monkeypatch.setattr(datasets, "splits", lambda name: ("train", "val"))
    assert study.held_out("camvid") == "val"


def test_an_unknown_rung_or_data_set_is_refused(capsys):
    for arguments in (["ladder", "--names", "vgg"], ["ladder", "--dataset", "moon"]):
        with pytest.raises(SystemExit):
            study.main(arguments)
        assert "invalid choice" in capsys.readouterr().err


def test_scores_that_do_not_exist_are_null():
    assert json.loads(runs.as_json([{"iou": {"a": float("nan"), "b": 0.5}}])) == [
        {"iou": {"a": None, "b": 0.5}}
    ]


STUDIED = (
    "unet",
    "unet_noskip",
    "unet_shuffled",
    *("fcn32s" if u == "bilinear" else f"fcn32s_{u}" for u in UPSAMPLERS),
    *(name for name in models.MODELS if name.startswith(("dilated", "deeplab", "stack"))),
)


def test_kept_runs_are_those_of_the_recipes(monkeypatch, rows):
    """Notebooks 03 to 06 read them: none may be missing, or older than its recipe."""

    def refuse(recipe, name, _progress):
        pytest.fail(f"run `python -m helpers.study repeat {name}` (seed {recipe.seed})")

    monkeypatch.setattr(study, "_run", refuse)
    kept = study.repeat(STUDIED)
    assert all(len(own) == 3 for own in kept.values())
    by_name = {r["name"]: r for r in rows}
    for name in set(kept) & set(by_name):  # trained twice by one recipe: equal but for rounding
        assert kept[name][0]["miou"] == pytest.approx(by_name[name]["miou"], abs=0.03)


@pytest.fixture
def counted_runs(monkeypatch):
    """`study._run` without the training; the list of what it was asked for."""
    asked = []

    def run(recipe, name, _progress):
        asked.append((name, recipe.seed))
        if recipe.seed == 13:
            raise KeyboardInterrupt
        return {"name": name, "miou": recipe.seed / 10}

    monkeypatch.setattr(study, "_run", run)
    return asked


def test_repeated_runs_are_kept_and_taken_up_again(counted_runs, tmp_path, monkeypatch):
    file = tmp_path / "deeper" / "runs.json"
    with pytest.raises(KeyboardInterrupt):
        study.repeat(["unet"], seeds=[1, 2, 13], file=file)
    kept = study.repeat(["unet", "colour"], seeds=[2, 1], file=file)
    assert [r["miou"] for r in kept["unet"]] == [0.2, 0.1]
    assert counted_runs == [("unet", 1), ("unet", 2), ("unet", 13), ("colour", 2), ("colour", 1)]
    assert not list(file.parent.glob(".*.tmp"))

    longer = replace(checkpoints.RECIPES["unet"], epochs=1)
    monkeypatch.setitem(checkpoints.RECIPES, "unet", longer)
    study.repeat(["unet", "colour"], seeds=[1], file=file)
    assert counted_runs[5:] == [("unet", 1)], "another recipe makes another run, and only its own"
    monkeypatch.setattr(datasets, "identity", lambda name: "other scenes")
    study.repeat(["colour"], seeds=[1], file=file)
    assert counted_runs[6:] == [("colour", 1)]


def test_the_repeat_command_takes_names_and_seeds(counted_runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        study.repeat, "__defaults__", (*study.repeat.__defaults__[:2], tmp_path / "r", True)
    )
    study.main(["repeat", "unet", "--seeds", "4", "5"])
    assert counted_runs == [("unet", 4), ("unet", 5)]
    assert capsys.readouterr().out == "unet 0.400 0.500 mIoU\n"


def runs_of(name: str) -> list[dict]:
    return study.repeat([name], progress=False)[name]


def test_what_the_rates_change_is_what_notebook_05_says():
    """In numbers that do not hang on a digit: three seeds, seed by seed."""
    miou = {rates: [r["miou"] for r in runs_of(f"dilated_{rates}")] for rates in (1111, 1248, 4444)}
    assert study.verdict(miou[1248], miou[1111])[2] == "helps"
    lonely = {r: [x["lonely_cells"] for x in runs_of(f"dilated_{r}")] for r in (1258, 4444)}
    assert study.verdict(lonely[4444], lonely[1258])[0] > 0
    wall = {
        r: np.mean([x["cue_accuracy"]["painted wall"] for x in runs_of(f"dilated_{r}")])
        for r in (1111, 1248)
    }
    assert wall[1248] > wall[1111] + 0.1


def test_the_decoder_of_deeplab_brings_the_edges_back():
    with_decoder, without = runs_of("deeplabv3plus"), runs_of("deeplabv3")
    edges = [[r["trimap_iou"]["2"] for r in own] for own in (with_decoder, without)]
    gain, _, word = study.verdict(*edges)
    assert word == "helps" and gain > 0.15


def test_an_aspp_helps_a_trunk_that_sees_little():
    scores = [[r["miou"] for r in runs_of(name)] for name in ("stack_aspp", "stack_nocontext")]
    gain, _, word = study.verdict(*scores)
    assert word == "helps" and gain > 0.04


def test_a_verdict_is_that_of_a_paired_t_test():
    with_it, without = [0.50, 0.53, 0.49, 0.55], [0.48, 0.50, 0.48, 0.51]
    mean, half, word = study.verdict(with_it, without)
    low, high = stats.ttest_rel(with_it, without).confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx((low, high))
    assert word == "helps"
    assert study.verdict(without, with_it)[2] == "hurts"
    assert study.verdict(with_it, [0.6, 0.4, 0.6, 0.4])[2] == "not distinguishable"
    with pytest.raises(ValueError, match="must pair up, got 4 and 3"):
        study.verdict(with_it, without[:3])


def test_an_interval_is_that_of_a_t_test():
    values = [0.50, 0.53, 0.49, 0.55]
    mean, half = study.interval(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx((low, high))
    with pytest.raises(ValueError, match="at least 2 runs, got 1"):
        study.interval([0.5])


@pytest.mark.parametrize(
    ("upsampler", "low", "high"),
    [("nearest", 0, 1e-6), ("pixel_shuffle_icnr", 0, 1e-6), ("transposed_bilinear", 0, 1e-6),
     ("transposed_k3", 0.1, 1), ("pixel_shuffle", 0.1, 1)],
)  # fmt: skip
def test_a_flat_map_shows_the_pattern_of_the_upsampler(upsampler, low, high):
    torch.manual_seed(0)
    net = models.FCN(8, upsampler=upsampler)
    assert low <= probes.flat_pattern(net, datasets.load("streets", "val", count=4)) <= high


class Dotted(models.DilatedStack):
    """Scores whose class changes at single cells, in known places."""

    def cell_scores(self, images):
        classes = torch.zeros(len(images), 6, 8, dtype=torch.long)
        classes[:, 2, 3] = classes[:, 0, 5] = 1  # one inside, one at the border
        classes[:, 4, 2:4] = 1  # two side by side are not lonely
        return torch.nn.functional.one_hot(classes, 2).movedim(-1, 1).float()


def test_a_lonely_cell_agrees_with_no_neighbour():
    share = probes.lonely_cells(Dotted(2), datasets.load("streets", "val", count=3))
    assert share == pytest.approx(1 / (4 * 6))


def test_cue_accuracy_counts_the_pixels_of_each_cue():
    class Road(torch.nn.Conv2d):
        def forward(self, images):
            scores = torch.zeros(len(images), 8, *images.shape[2:])
            scores[:, datasets.CLASSES["streets"].index("road")] = 1
            return scores

    test = datasets.load("streets", "test", count=20)
    accuracy = probes.cue_accuracy(Road(3, 8, 1), test)
    assert accuracy["puddle"] > 0.9  # most puddles lie on the road
    assert accuracy["painted wall"] == 0
    masks = datasets.as_tensors(test)[1].numpy()
    plain = test.cues == 0
    assert accuracy["none"] == pytest.approx((masks[plain] == 2).mean())

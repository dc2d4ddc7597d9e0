"""The CRF behind the ladder: found on val, scored on test, kept with what made it."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from helpers import checkpoints, crf, crf_study, datasets, metrics, runs, study
from helpers.datasets import SegmentationDataset

pytest.importorskip("pydensecrf", reason="pydensecrf2 is not installed")
STORED = {
    name: json.loads((runs.STUDY / f"crf_{name}.json").read_text())
    for name in ("parameters", "runs")
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Empty files in place of the stored ones."""
    for name in ("PARAMETERS", "RUNS"):
        monkeypatch.setattr(crf_study, name, tmp_path / f"{name}.json")
    return tmp_path


def few(split, count, seed=0):
    """A tiny data set whose items can be told apart."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 3, 8, 8), np.uint8)
    return SegmentationDataset(
        "streets", split, datasets.STREETS, images, rng.integers(0, 8, (count, 8, 8), np.uint8)
    )


def test_streets_are_tuned_on_val_and_reported_on_test():
    assert crf_study.tuning_set("streets").split == "val"
    assert len(crf_study.tuning_set("streets")) == crf_study.TUNING_IMAGES
    assert crf_study.report_set("streets").split == "test"
    assert len(crf_study.report_set("streets")) == 150


@pytest.mark.parametrize("count", [5, 101, 300])
def test_without_a_test_split_no_frame_is_both_tuned_on_and_reported(monkeypatch, count):
    monkeypatch.setattr(runs, "held_out", lambda dataset: "val")
    monkeypatch.setattr(datasets, "load", lambda dataset, split: few(split, count))
    tuned, reported = crf_study.tuning_set("camvid"), crf_study.report_set("camvid")
    assert len(tuned) == min(crf_study.TUNING_IMAGES, count // 2)
    assert len(reported) == count - count // 2
    seen = {image.numpy().tobytes() for image in tuned.images}
    assert not seen & {image.numpy().tobytes() for image in reported.images}


def test_the_search_keeps_the_best_it_tried(monkeypatch, files):
    """Recomputed for every setting of a small grid on four scenes."""
    monkeypatch.setattr(crf_study, "TUNING_IMAGES", 4)
    monkeypatch.setattr(
        crf_study, "COARSE",
        {"appearance_weight": (0.01, 10.0), "appearance_sxy": (6.0,), "appearance_srgb": (10.0, 90.0)},
    )  # fmt: skip
    monkeypatch.setattr(crf_study, "FINE", {"appearance_srgb": (0.5,)})
    tried = {}
    many = crf.refine_many

    def spy(images, probabilities, params, *args, **kwargs):
        assert len(images) == 4
        tried[params] = many(images, probabilities, params, *args, **kwargs)
        return tried[params]

    monkeypatch.setattr(crf, "refine_many", spy)
    found = crf_study.tuned("fcn8s", progress=False)
    _, masks = datasets.as_tensors(crf_study.tuning_set("streets"))
    scores = {
        params: metrics.mean_iou(metrics.confusion_matrix(refined, masks, 8))
        for params, refined in tried.items()
    }
    row = json.loads(crf_study.PARAMETERS.read_text())["fcn8s-streets"]
    assert found == max(scores, key=scores.get)
    assert row["miou_after"] == max(scores.values()) > row["miou_before"]
    assert row["settings_tried"] == len(tried) >= 5
    assert (row["split"], row["images"]) == ("val", 4)


def test_what_is_stored_is_not_searched_again_and_another_search_is(monkeypatch, files):
    calls = []

    def search(recipe, name, progress):
        calls.append(name)
        return {"params": asdict(crf.Params(1, 2, 3, 0, len(calls)))}

    monkeypatch.setattr(crf_study, "_search", search)
    assert crf_study.tuned("fcn8s") == crf_study.tuned("fcn8s") == crf.Params(1, 2, 3, 0, 1)
    monkeypatch.setattr(crf_study, "ITERATIONS", 7)
    assert crf_study.tuned("fcn8s").smoothness_sxy == 2
    assert calls == ["fcn8s", "fcn8s"]
    with pytest.raises(ValueError, match="name must be one of"):
        crf_study.tuned("resnet")


def test_a_row_is_made_again_when_the_parameters_change(monkeypatch, files):
    made = []
    monkeypatch.setattr(
        crf_study, "_run", lambda recipe, name, params, progress: made.append(params) or {"n": len(made)}
    )  # fmt: skip
    params = crf.Params(1, 2, 3, 0, 1)
    monkeypatch.setattr(crf_study, "tuned", lambda *_: params)
    assert crf_study.repeat(["fcn8s"], [0, 1])["fcn8s"][1]["n"] == 2
    assert crf_study.repeat(["fcn8s"], [0, 1])["fcn8s"][1]["n"] == 2
    params = crf.Params(2, 2, 3, 0, 1)
    assert crf_study.repeat(["fcn8s"], [0])["fcn8s"][0]["n"] == 3
    assert crf_study.stored("streets").keys() == {"fcn8s"}
    assert crf_study.stored("camvid") == {}


@pytest.mark.slow
def test_stored_scores_are_those_of_the_shipped_weights(files):
    """FCN-8s anew: its parameters as stored, the scores computed from nothing."""
    crf_study.PARAMETERS.write_text(json.dumps(STORED["parameters"]))
    expected = STORED["runs"]["fcn8s-streets-seed0"]
    row = crf_study.repeat(["fcn8s"], [0], progress=False)["fcn8s"][0]
    assert row["made_by"] == expected["made_by"]
    for side in ("before", "after"):
        for score in ("miou", "pixel_accuracy", "boundary_iou", "boundary_f1"):
            assert row[side][score] == pytest.approx(expected[side][score], abs=2e-3)
        for label in datasets.STREETS:
            assert row[side]["iou"][label] == pytest.approx(expected[side]["iou"][label], abs=5e-3)


@pytest.fixture(scope="module")
def rows():
    return crf_study.stored("streets")


def test_every_network_of_the_ladder_is_there(rows):
    assert tuple(rows) == checkpoints.LADDER
    for name, own in rows.items():
        made_by = runs.made_by(checkpoints.recipe_for(name))
        found = STORED["parameters"][f"{name}-streets"]
        assert found["made_by"] == made_by | crf_study.method("streets"), name
        assert (found["split"], found["images"]) == ("val", 50)
        made_by |= {"held_out": "test", "params": found["params"], "iterations": 5}
        assert own[0]["made_by"] == made_by, name
        assert all(run["split"] == "test" and run["images"] == 150 for run in own)
    for own in crf_study.stored("camvid").values():
        assert all(run["split"] == "val" and run["images"] == 51 for run in own)


def test_the_crf_lifts_fcn8s_most_near_boundaries_and_the_unet_by_less(rows):
    """With three seeds each; what notebook 07 says, in numbers that do not hang on a digit."""
    gains = {}
    for name in ("fcn32s", "fcn8s", "unet"):
        assert len(rows[name]) == 3
        for measure, pick in {
            "miou": lambda side: side["miou"],
            "trimap": lambda side: side["trimap_iou"]["2"],
        }.items():
            values = [[pick(run[side]) for run in rows[name]] for side in ("after", "before")]
            gains[name, measure] = runs.verdict(*values)
    assert {word for _, _, word in gains.values()} == {"helps"}
    assert gains["fcn8s", "miou"][0] > 0.03
    assert gains["fcn8s", "trimap"][0] > 0.07
    for measure in ("miou", "trimap"):
        assert gains["unet", measure][0] < gains["fcn8s", measure][0]


def test_a_rung_behind_the_crf_has_the_columns_of_the_ladder(rows, monkeypatch):
    monkeypatch.setattr(crf_study, "_search", lambda *_: pytest.fail("searched anew"))
    monkeypatch.setattr(crf_study, "_run", lambda *_: pytest.fail("scored anew"))
    rung = crf_study.rung("fcn8s")
    assert rung["name"] == "fcn8s + CRF"
    assert rung["miou"] == rows["fcn8s"][0]["after"]["miou"]
    assert "| fcn8s + CRF | 0.6" in study.as_markdown([rung])


def test_the_commands_print_parameters_and_scores(monkeypatch, capsys):
    monkeypatch.setattr(crf_study, "_search", lambda *_: pytest.fail("searched anew"))
    monkeypatch.setattr(crf_study, "_run", lambda *_: pytest.fail("scored anew"))
    crf_study.main(["tune", "fcn8s"])
    weight = STORED["parameters"]["fcn8s-streets"]["params"]["appearance_weight"]
    assert f"fcn8s: appearance_weight {weight:g}, " in capsys.readouterr().out
    crf_study.main(["repeat", "unet", "--seeds", "1", "2"])
    told = capsys.readouterr().out.splitlines()[-1]
    for seed in (1, 2):
        run = STORED["runs"][f"unet-streets-seed{seed}"]
        assert f"{run['before']['miou']:.3f} -> {run['after']['miou']:.3f}" in told


def test_other_held_out_images_make_other_rows(monkeypatch, files):
    """A CamVid test split that arrives later: what was found and scored on val does not stand in."""
    made = []
    monkeypatch.setattr(
        crf_study, "_search", lambda *_: made.append("p") or {"params": asdict(crf.Params(1, 2, 3, 0, 1))}
    )  # fmt: skip
    monkeypatch.setattr(crf_study, "_run", lambda *_: made.append("r") or {})
    for split in ("val", "val", "test"):
        monkeypatch.setattr(runs, "held_out", lambda dataset, split=split: split)
        crf_study.repeat(["fcn8s"], [0])
    assert made == ["p", "r", "p", "r"]


def test_what_cannot_be_kept_is_still_told(monkeypatch, tmp_path, capsys):
    def refuse(path):
        raise PermissionError("read-only")

    monkeypatch.setattr(runs, "replacing", refuse)
    row = runs.kept(tmp_path / "rows.json", "a", {"by": 1}, lambda: {"n": 2})
    assert row == {"made_by": {"by": 1}, "n": 2}
    assert "a could not be kept: read-only" in capsys.readouterr().out

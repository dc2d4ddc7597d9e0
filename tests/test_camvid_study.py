"""What notebook 09 reports: counted labels, fine-tuning from drawn scenes, tables that are whole."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from test_datasets import write_camvid

from helpers import boundary_study, camvid, camvid_study, checkpoints, datasets, training
from helpers.classes import CAMVID, IGNORE_INDEX


@pytest.fixture
def frames(tmp_path, monkeypatch):
    """A CamVid of 4 small frames a split, and tables in a folder of their own."""
    folder = write_camvid(tmp_path / "camvid")
    monkeypatch.setenv("PIXELWISE_DATA", str(tmp_path))
    monkeypatch.setenv("PIXELWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(camvid, "DATA", tmp_path)
    return folder


def test_labels_are_counted_at_full_resolution(frames, monkeypatch):
    """By hand: sky in one frame only, void in another, the rest road."""
    masks = np.full((4, 36, 48), CAMVID.index("road"), np.uint8)
    masks[0, :9] = CAMVID.index("sky")
    masks[1, :, :12] = 11
    for split in ("train", "val"):
        for i, mask in enumerate(masks):
            Image.fromarray(mask).save(frames / f"{split}annot" / f"frame_{i}.png")
    table = camvid_study.count_labels().set_index("class")
    assert list(table.index) == [*CAMVID, "void"]
    assert table.loc["sky", "train"] == pytest.approx(1 / 16)
    assert table.loc["void", "val"] == pytest.approx(1 / 16)
    assert (table.loc["road", "frames"], table.loc["sky", "frames"]) == (4, 1)
    assert table["train"].sum() == pytest.approx(1)
    # frequencies: sky 1/4 of its frame; road 14/15 of the labelled pixels of four frames
    sky, road = 1 / 4, 14 / 15
    median = (sky + road) / 2
    assert table.loc["sky", "weight"] == pytest.approx(median / sky, rel=1e-5)
    assert table.loc["road", "weight"] == pytest.approx(median / road, rel=1e-5)
    assert table.loc["bicyclist", "weight"] == 0 and np.isnan(table.loc["void", "weight"])


def test_no_frames_is_the_network_of_streets_and_no_training(frames, monkeypatch):
    monkeypatch.setattr(training, "fit", lambda *_, **__: pytest.fail("trained"))
    ours = camvid_study.fine_tune("streets", 0, 0).state_dict()
    theirs = checkpoints.load_or_train("unet").model.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize(("frames_count", "epochs"), [(2, 60), (4, 60)])
def test_both_starts_train_alike_on_the_classes_of_streets(
    frames, monkeypatch, frames_count, epochs
):
    seen = []

    def fit(model, train, **options):
        seen.append((len(train), train.classes, train.transform is not None, options["epochs"]))
        assert set(train.masks.unique().tolist()) <= {*range(8), IGNORE_INDEX}

    monkeypatch.setattr(training, "fit", fit)
    first = [camvid_study.fine_tune(start, frames_count, 3) for start in ("random", "random")]
    assert seen == [(frames_count, datasets.CLASSES["streets"], True, epochs)] * 2
    one, two = (next(net.parameters()) for net in first)
    assert torch.equal(one, two)  # the seed settles the random start
    assert not torch.equal(one, next(camvid_study.fine_tune("random", 2, 4).parameters()))


def test_every_count_of_frames_gets_about_the_same_number_of_steps():
    steps = {
        n: round(camvid_study.STEPS / -(-n // camvid_study.BATCH)) * -(-n // camvid_study.BATCH)
        for n in camvid_study.FRAMES
        if n
    }
    assert all(abs(n - camvid_study.STEPS) <= 0.1 * camvid_study.STEPS for n in steps.values())


def test_unknown_starts_are_named():
    with pytest.raises(ValueError, match="start must be one of streets, random; got 'sim'"):
        camvid_study.fine_tune("sim", 10, 0)


def test_transfer_keeps_rows_and_goes_on(frames, tmp_path, monkeypatch):
    tuned, loaded = [], []

    def network(classes, seed):
        return checkpoints.new_model(checkpoints.recipe_for("colour", seed=seed), classes).eval()

    def fine_tune(start, count, seed):
        tuned.append((start, count, seed))
        return network(8, seed)

    def load(name, dataset, seed):
        loaded.append(("full", 4, seed))
        return checkpoints.Checkpoint(network(11, seed), None, 0.0, False)

    monkeypatch.setattr(camvid_study, "fine_tune", fine_tune)
    monkeypatch.setattr(checkpoints, "load_or_train", load)
    monkeypatch.setattr(camvid_study, "FRAMES", (0, 2))
    file = tmp_path / "moved.csv"
    rows = camvid_study.transfer([0, 1], file, progress=False)
    wanted = [("streets", 0), ("streets", 2), ("random", 2)]
    assert tuned == [(*which, seed) for seed in (0, 1) for which in wanted]
    assert loaded == [("full", 4, 0), ("full", 4, 1)]
    kept = zip(rows["start"], rows["frames"], rows["seed"], strict=True)
    assert sorted(kept) == sorted(tuned + loaded)
    assert set(rows["split"]) == {"val"} and rows["miou"].between(0, 1).all()
    pd.testing.assert_frame_equal(camvid_study.transfer([0, 1], file, progress=False), rows)
    assert len(tuned) == 6
    monkeypatch.setattr(camvid_study, "STEPS", 7)  # another experiment: nothing kept is valid
    camvid_study.transfer([0], file, progress=False)
    assert len(tuned) == 9 and len(boundary_study.read(file=file)) == 8


def test_kept_tables_are_of_today_and_complete():
    table = boundary_study.read("camvid")
    assert set(table["name"]) == set(camvid_study.NETWORKS)
    moved = boundary_study.read(file=camvid_study.TRANSFER)
    wanted = {(s, n) for s in camvid_study.STARTS for n in camvid_study.FRAMES} - {("random", 0)}
    wanted.add(("full", 367))
    assert set(zip(moved["start"], moved["frames"], strict=True)) == wanted
    labels = pd.read_csv(camvid_study.LABELS)
    assert labels["train"].sum() == pytest.approx(1, abs=1e-4)
    # measured by hand on the 367 frames: shares in per cent, and the weights of SegNet's recipe
    shares = labels.set_index("class")["train"]
    assert 100 * shares[["sky", "road", "bicyclist", "void"]].to_numpy() == pytest.approx(
        [16.9, 31.7, 0.29, 3.95], abs=0.06
    )

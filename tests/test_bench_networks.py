"""The race of networks: what fits into the time, the ratios, the peers, what is said and skipped."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks import bench_networks as bench
from benchmarks.bench_networks import OURS, Peer, Result
from helpers import camvid, datasets, training

SMP = "segmentation_models_pytorch"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PIXELWISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def no_camvid(tmp_path, monkeypatch):
    monkeypatch.delenv("PIXELWISE_DATA", raising=False)
    monkeypatch.setattr(camvid, "DATA", tmp_path / "no data")


def scenes(split, count):
    return datasets.load("streets", split, size=(32, 64), count=count)


def result(name="net", seconds=60.0, miou=0.5, trimap=0.4):
    return Result(name, 1_234_567, 3e-3, 12, seconds, miou, trimap)


# How much fits into the time


@pytest.mark.parametrize(
    ("seconds", "per_epoch", "epochs"),
    [(60, 5.0, 12), (60, 7.0, 9), (60, 59.9, 1), (3, 10.0, 1), (60, 41.0, 1), (60, 0.25, 240)],
)
def test_the_nearest_number_of_whole_epochs_and_at_least_one(seconds, per_epoch, epochs):
    assert bench.epochs_near(seconds, per_epoch) == epochs


def test_an_epoch_is_timed_on_a_copy_without_the_first(monkeypatch):
    """Epochs of 9 and 5 seconds: the first also warmed up."""
    seen = {}

    def fit(model, train, *, epochs, batch_size, **options):
        seen.update(images=len(train), epochs=epochs, batch_size=batch_size)
        history = training.History()
        for end in (9, 14):
            history.record([1.0], 0.0, float(end))
        return history

    monkeypatch.setattr(training, "fit", fit)
    assert bench.seconds_per_epoch(OURS, scenes("train", 40), "float32") == 5
    assert seen == {"images": 40, "epochs": 2, "batch_size": 16}


# The table


def test_ratios_are_ours_over_each_peer_and_over_the_best_in_each_score():
    rows = [
        result(OURS, miou=0.78, trimap=0.60),
        result("sharp", miou=0.52, trimap=0.50),
        result("broad", miou=0.60, trimap=0.40),
    ]
    _, ours, sharp, broad, best = bench.table(rows).splitlines()
    assert "x" not in ours and ours.split()[-2:] == ["0.780", "0.600"]
    assert sharp.split()[-4:] == ["0.520", "1.50x", "0.500", "1.20x"]
    assert broad.split()[-4:] == ["0.600", "1.30x", "0.400", "1.50x"]
    assert best == "ours to the best peer: mIoU 1.30x (broad), trimap IoU 1.20x (sharp)"


def test_the_table_names_the_cost_of_each():
    header, ours, *_ = bench.table([result(OURS, seconds=58.26), result("peer")]).splitlines()
    assert header.split()[:5] == ["network", "parameters", "rate", "epochs", "seconds"]
    assert ours.removeprefix(OURS).split()[:4] == ["1,234,567", "0.003", "12", "58.3"]


def test_seeds_become_one_row_of_medians():
    runs = [result(miou=0.1, trimap=0.9, seconds=5), result(miou=0.4, trimap=0.2, seconds=6)]
    runs.append(result(miou=0.3, trimap=0.3, seconds=90))
    assert bench.median_of(runs) == result(miou=0.3, trimap=0.3, seconds=6)


# The networks


@pytest.fixture(params=bench.NETWORKS)
def name(request):
    if request.param.startswith("smp"):
        pytest.importorskip(SMP, reason=f"{SMP} is not installed: pip install -e '.[bench]'")
    return request.param


def test_every_network_gives_logits_of_the_size_of_the_image(name):
    network = bench.initialised(name, 5, seed=0).eval()
    with torch.inference_mode():
        logits = network(torch.rand(2, 3, 64, 96))
    assert type(logits) is torch.Tensor
    assert logits.shape == (2, 5, 64, 96)
    assert logits.min() < 0  # scores, not shares
    if name != OURS:
        assert type(network.network).__name__ in name.split(",")[0].split()


def test_a_peer_sees_normalised_images_and_hands_on_the_bare_scores():
    seen = []

    class Recorder(nn.Module):
        def forward(self, images):
            seen.append(images)
            return {"out": images[:, :2], "aux": None}

    images = torch.tensor([0.2, 0.45, 0.7]).view(1, 3, 1, 1).expand(2, 3, 4, 6)
    scores = Peer(Recorder())(images)
    assert torch.allclose(seen[0][0, :, 0, 0], torch.tensor([-1.0, 0.0, 1.0]), atol=1e-6)
    assert scores.shape == (2, 2, 4, 6)


def test_the_seed_settles_the_first_weights(name):
    """Those of the first convolution too, which would come alike out of a pretrained file."""
    first, again, other = (bench.initialised(name, 3, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    convolution = next(key for key, value in first.items() if value.ndim == 4)
    assert not torch.equal(first[convolution], other[convolution])


def test_a_run_trains_and_scores_on_the_set_it_is_given():
    train, scored = scenes("train", 6), scenes("test", 3)
    options = {"epochs": 2, "rate": 3e-3, "seed": 0, "precision": "float32"}
    got = bench.run(OURS, train, scored, **options)
    model = bench.initialised(OURS, len(train.classes), 0)
    training.fit(model, train, epochs=2, learning_rate=3e-3, precision="float32", progress=False)
    scores = training.evaluate(model, scored)
    assert (got.miou, got.trimap) == (scores.mean_iou, scores.trimap_iou[2])
    assert (got.name, got.rate, got.epochs) == (OURS, 3e-3, 2)
    assert got.parameters == sum(p.numel() for p in model.parameters())
    assert got.seconds > 0


# The race


@pytest.fixture
def scripted(monkeypatch):
    """`compare` with two networks, no training, and a run that is best at a rate of 3e-3."""
    calls = []

    def run(name, train, scored, *, epochs, rate, seed, precision):
        calls.append((name, train.split, scored.split, epochs, rate, seed))
        return Result(name, 1, rate, epochs, 1.0, 1 - abs(rate - 3e-3), 0.5)

    made = {split: scenes(split, 2) for split in ("train", "val", "test")}
    per_epoch = {OURS: 5.0, "peer": 20.0}
    monkeypatch.setattr(bench, "NETWORKS", dict.fromkeys(per_epoch))
    monkeypatch.setattr(bench, "RATE", {OURS: 0.25, "peer": 0.5})
    monkeypatch.setattr(bench, "RATES", (1e-3, 3e-3, 6e-3))
    monkeypatch.setattr(bench, "seconds_per_epoch", lambda name, *_: per_epoch[name])
    monkeypatch.setattr(bench, "run", run)
    monkeypatch.setattr(datasets, "load", lambda name, split: made[split])
    return calls


def test_each_network_gets_its_own_epochs_and_rate_and_every_seed(scripted, capsys):
    bench.main(["--datasets", "streets", "--seconds", "60", "--seeds", "4", "7"])
    assert scripted == [
        (OURS, "train", "test", 12, 0.25, 4),
        ("peer", "train", "test", 3, 0.5, 4),
        (OURS, "train", "test", 12, 0.25, 7),
        ("peer", "train", "test", 3, 0.5, 7),
    ]
    printed = capsys.readouterr().out
    assert "scored on test" in printed and "60 s of training, seeds 4, 7" in printed
    assert "ours to the best peer" in printed


def test_tuning_looks_at_val_and_the_race_takes_the_best_rate(scripted, capsys):
    bench.main(["--datasets", "streets", "--seconds", "60", "--seeds", "4", "--tune"])
    tried = [call for call in scripted if call[0] == "peer" and call[2] == "val"]
    assert tried == [("peer", "train", "val", 3, rate, 0) for rate in (1e-3, 3e-3, 6e-3)]
    assert scripted[-2:] == [
        (OURS, "train", "test", 12, 3e-3, 4),
        ("peer", "train", "test", 3, 3e-3, 4),
    ]
    assert "0.001: 0.998, 0.003: 1.000, 0.006: 0.997" in capsys.readouterr().out


def test_there_is_a_rate_for_every_network_and_a_split_for_every_data_set():
    assert set(bench.SCORED) <= set(datasets.CLASSES)
    assert list(bench.RATE) == list(bench.NETWORKS) and set(bench.RATE.values()) <= set(bench.RATES)


def test_camvid_that_is_not_there_is_said_and_skipped(no_camvid, monkeypatch, capsys):
    monkeypatch.setattr(bench, "run", lambda *_, **__: pytest.fail("trained on nothing"))
    bench.main(["--datasets", "camvid"])
    printed = capsys.readouterr().out
    assert printed.startswith("camvid is skipped: ")
    assert "PIXELWISE_DATA" in printed and "python -m helpers.camvid" in printed


def test_ctrl_c_ends_the_race(monkeypatch):
    broken_off = training.History(interrupted=True)
    monkeypatch.setattr(training, "fit", lambda *_, **__: broken_off)
    with pytest.raises(KeyboardInterrupt):
        bench.seconds_per_epoch(OURS, scenes("train", 2), "float32")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
def test_a_time_that_is_not_positive_is_refused(seconds, capsys):
    with pytest.raises(SystemExit):
        bench.main(["--seconds", seconds])
    assert "--seconds must be positive" in capsys.readouterr().err


def test_torchvisions_running_means_can_follow_a_short_training():
    layers = [m for m in bench.from_torchvision(4).modules() if isinstance(m, nn.BatchNorm2d)]
    assert layers and {layer.momentum for layer in layers} == {0.1}

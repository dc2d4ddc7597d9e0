"""The loop and the checkpoints: same seed same weights, broken-off runs, stale and torn files."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import TensorDataset

from helpers import checkpoints, datasets, training
from helpers.classes import ClassSet
from helpers.models import build


class Halves(TensorDataset):
    """Left half dark and class 0, right half bright and class 1; easy to learn."""

    classes = ClassSet(("dark", "bright"), ("#000000", "#FFFFFF"))

    def __init__(self, count=6, void=False):
        masks = torch.zeros(count, 32, 32, dtype=torch.long)
        masks[:, :, 16:] = 1
        noise = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(count))
        images = 0.5 * masks[:, None].float() + 0.5 * noise
        if void:
            masks[:, :8] = 255
        super().__init__(images, masks)


def fitted(seed=0, train=None, **options):
    torch.manual_seed(7)
    model = build("colour", 2)
    options = {"epochs": 8, "learning_rate": 0.05, "batch_size": 2, "progress": False} | options
    history = training.fit(model, train or Halves(), seed=seed, **options)
    return model, history


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_it_learns_and_reports():
    model, history = fitted(val=Halves(4))
    assert len(history.epochs) == 8
    assert history.column("loss")[-1] < 0.7 * history.column("loss")[0]
    assert history.column("val_miou")[-1] > 0.7
    assert history.seconds == history.column("seconds")[-1] > 0
    assert not model.training
    assert not history.interrupted


def test_same_seed_same_weights_other_seed_other_weights():
    first, again, other = fitted(0)[0], fitted(0)[0], fitted(1)[0]
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


def test_the_random_state_outside_is_untouched():
    model = nn.Conv2d(3, 2, 1)
    torch.manual_seed(3)
    want = torch.rand(2)
    torch.manual_seed(3)
    training.fit(model, Halves(), epochs=1, progress=False, seed=9)
    assert torch.equal(torch.rand(2), want)


def test_an_fcn_trained_twice_has_the_same_weights():
    runs = []
    for _ in range(2):
        torch.manual_seed(7)
        model = build("fcn32s", 2)
        training.fit(model, Halves(), epochs=2, batch_size=3, progress=False)
        runs.append(weights(model))
    assert torch.equal(*runs)


def test_void_pixels_change_nothing():
    """Whatever the network sees under void, the weights come out the same."""
    clean, dirty = Halves(void=True), Halves(void=True)
    dirty.tensors[0][:, :, :8] = 0.123
    models = []
    for train in (clean, dirty):
        torch.manual_seed(7)
        model = nn.Conv2d(3, 2, 1)  # batch normalisation would look under void
        training.fit(model, train, epochs=2, batch_size=2, progress=False)
        models.append(model)
    assert torch.equal(*map(weights, models))


def test_class_weights_shift_the_balance():
    class Noise(Halves):
        def __init__(self):
            super().__init__(8)
            self.tensors[0].copy_(torch.rand(8, 3, 32, 32))  # colour tells nothing

    model, _ = fitted(train=Noise(), class_weights=torch.tensor([9.0, 1.0]))
    share = (training.predict_masks(model, Noise().tensors[0]) == 0).float().mean()
    assert share > 0.95


def test_ctrl_c_leaves_a_usable_model_and_history():
    class Interrupting(Halves):
        def __init__(self):
            super().__init__()
            self.seen = 0

        def __getitem__(self, i):
            self.seen += 1
            if self.seen > 2 * len(self):
                raise KeyboardInterrupt
            return super().__getitem__(i)

    model, history = fitted(train=Interrupting())
    assert history.interrupted
    assert len(history.epochs) == 3
    assert math.isnan(history.column("val_miou")[-1])
    assert not model.training
    assert torch.isfinite(training.predict_logits(model, Halves().tensors[0])).all()


def test_a_loss_that_explodes_is_named():
    train = Halves()
    train.tensors[0][0, 0, 0, 0] = math.inf
    with pytest.raises(FloatingPointError, match="loss became .* in epoch 1"):
        fitted(train=train)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "learning_rate"])
def test_arguments_must_be_positive(name):
    with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
        fitted(**{name: 0})


def test_other_bad_arguments():
    with pytest.raises(ValueError, match="precision must be one of"):
        fitted(precision="int8")
    with pytest.raises(ValueError, match="train must hold at least 2 items, got 1"):
        fitted(train=Halves(1))


def test_batches_of_any_size_score_alike():
    model, _ = fitted()
    whole = training.evaluate(model, Halves(5), batch_size=5)
    split = training.evaluate(model, Halves(5), batch_size=2)
    assert (whole.matrix == split.matrix).all()
    assert whole.boundary_f1 == pytest.approx(split.boundary_f1)


def test_prediction_leaves_the_mode_as_it_was():
    model = build("fcn32s", 2).train()
    training.predict_masks(model, Halves().tensors[0])
    assert model.training


def test_a_last_batch_of_one_image_does_not_stop_batch_normalisation():
    model = build("fcn32s", 2)
    training.fit(model, Halves(5), epochs=1, batch_size=4, progress=False)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A recipe that trains in a second, and empty folders to keep weights in."""
    monkeypatch.delenv("PIXELWISE_RETRAIN", raising=False)
    monkeypatch.setenv("PIXELWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(checkpoints, "LOCAL", tmp_path / "local")
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(datasets, "STREETS_COUNT", {"train": 8, "val": 4, "test": 4})
    recipe = checkpoints.Recipe(
        "colour", size=(32, 32), train_count=8, epochs=1, precision="float32"
    )
    monkeypatch.setitem(checkpoints.RECIPES, "small", recipe)
    return recipe


def load(**options):
    return checkpoints.load_or_train("small", progress=False, **options)


def test_trained_once_then_loaded_with_equal_weights(small, tmp_path):
    first, second = load(), load()
    assert first.trained_now
    assert not second.trained_now
    assert torch.equal(weights(first.model), weights(second.model))
    assert second.seconds == pytest.approx(first.seconds)
    assert [p.name for p in (tmp_path / "local").iterdir()] == ["small-streets-seed0.safetensors"]


def test_a_changed_recipe_never_loads_stale_weights(small, monkeypatch):
    before = load()
    monkeypatch.setitem(checkpoints.RECIPES, "small", replace(small, epochs=2))
    after = load()
    assert after.trained_now
    assert not torch.equal(weights(before.model), weights(after.model))


@pytest.mark.parametrize(
    "field",
    ["epochs", "learning_rate", "batch_size", "augment", "weight_decay", "precision", "size"],
)
def test_every_field_of_the_recipe_counts(field, small):
    others = {"augment": True, "precision": "bfloat16", "size": (64, 64)}
    other = others[field] if field in others else 2 * getattr(small, field)
    assert replace(small, **{field: other}).text != small.text


def test_a_torn_file_is_trained_anew(small, tmp_path):
    load()
    path = tmp_path / "local" / "small-streets-seed0.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    assert load().trained_now
    assert not load().trained_now


def test_a_run_broken_off_leaves_no_file(small, monkeypatch, tmp_path):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.AdamW, "step", interrupt)
    with pytest.raises(KeyboardInterrupt, match="nothing was saved"):
        load()
    assert not list(tmp_path.glob("local/*"))


def test_a_save_that_fails_leaves_the_old_file(small, monkeypatch, tmp_path):
    load()
    before = (tmp_path / "local" / "small-streets-seed0.safetensors").read_bytes()

    def fail(*_arguments):
        raise OSError("disk full")

    monkeypatch.setattr(checkpoints, "save_file", fail)
    monkeypatch.setenv("PIXELWISE_RETRAIN", "1")
    with pytest.raises(OSError, match="disk full"):
        load(folder=tmp_path / "local")
    assert [p.read_bytes() for p in (tmp_path / "local").iterdir()] == [before]


def test_a_read_only_course_trains_and_says_that_it_cannot_keep(small, monkeypatch, capsys):
    kept = load()

    def fail(*_arguments):
        raise OSError("read-only file system")

    monkeypatch.setattr(checkpoints, "save_file", fail)
    monkeypatch.setenv("PIXELWISE_RETRAIN", "1")
    again = load()
    assert "could not be kept: read-only file system" in capsys.readouterr().out
    assert torch.equal(weights(kept.model), weights(again.model))


def test_other_scenes_never_load_stale_weights(small, monkeypatch):
    load()
    monkeypatch.setattr(datasets.scenes, "code_digest", lambda: "drawn otherwise")
    assert load().trained_now
    assert not load().trained_now


def test_a_network_with_other_layers_never_loads_stale_weights(small, monkeypatch):
    load()
    monkeypatch.setitem(checkpoints.models.MODELS, "colour", lambda n: nn.Conv2d(3, n, 1))
    assert load().trained_now


def test_shipped_weights_come_before_those_of_this_machine(small, tmp_path):
    shipped = load(folder=tmp_path / "shipped")
    name = "small-streets-seed0.safetensors"
    with safe_open(tmp_path / "shipped" / name, framework="pt") as file:
        zeros = {key: torch.zeros_like(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118
        (tmp_path / "local").mkdir()
        save_file(zeros, tmp_path / "local" / name, file.metadata())
    assert torch.equal(weights(load().model), weights(shipped.model))


def test_files_hold_half_precision(small, tmp_path):
    load()
    path = tmp_path / "local" / "small-streets-seed0.safetensors"
    with safe_open(path, framework="pt") as file:
        kinds = {file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    assert kinds == {torch.float16, torch.int64}  # batch normalisation counts its batches


def test_retrain_trains_even_where_a_file_fits(small, monkeypatch):
    load()
    monkeypatch.setenv("PIXELWISE_RETRAIN", "1")
    assert load().trained_now


def test_seeds_have_files_of_their_own(small, tmp_path):
    load()
    assert load(seed=1).trained_now
    assert len(list((tmp_path / "local").iterdir())) == 2


def test_unknown_names_are_named():
    with pytest.raises(ValueError, match="name must be one of colour, fcn32s.*'vgg'"):
        checkpoints.load_or_train("vgg")


@pytest.mark.parametrize("name", checkpoints.SHIPPED_NETWORKS)
def test_shipped_weights_fit_the_table(name, monkeypatch):
    """What is committed was made by the recipe that is committed, and is small."""

    def refuse(*_args, **_options):
        pytest.fail(f"run `make train`: data/weights lacks {name} of this recipe")

    monkeypatch.delenv("PIXELWISE_RETRAIN", raising=False)
    monkeypatch.setattr(checkpoints, "LOCAL", checkpoints.SHIPPED)
    monkeypatch.setattr(checkpoints, "fit_recipe", refuse)
    checkpoint = checkpoints.load_or_train(name)
    path = checkpoints.SHIPPED / f"{name}-streets-seed0.safetensors"
    assert path.stat().st_size < 2e6
    assert checkpoint.seconds < 150

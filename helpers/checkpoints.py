"""Load shipped weights, or train them: one table of recipes says how each network was made."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from helpers import datasets, distributed, models, public, training
from helpers.files import DATA, own, replacing

SHIPPED = DATA / "weights"
LOCAL = SHIPPED / "local"
"""What this machine trained for itself, git-ignored; see `files.own` for a read-only course."""


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights of a network, up to the rounding of the processor."""

    model: str
    dataset: str = "streets"
    size: tuple[int, int] = (96, 128)
    train_count: int | None = 400
    epochs: int = 24
    batch_size: int = 16
    learning_rate: float = 6e-3
    weight_decay: float = 1e-2
    augment: bool = False
    seed: int = 0
    precision: str = "bfloat16"
    crop: tuple[int, int] | None = None
    """Train on random parts of this size (H, W) ..."""
    scale: tuple[float, float] | None = None
    """... out of images of `size` enlarged by a random factor between these two."""
    class_balance: float = 0.0
    """Power of the median-frequency weights in the loss: 0 none, 1 as in SegNet."""

    @property
    def text(self) -> str:
        """As stored beside the weights: equal text, equal recipe."""
        settings = asdict(self)
        for name in ("crop", "scale", "class_balance"):  # came later: files without them stay valid
            if settings[name] == getattr(Recipe, name):
                del settings[name]
        return json.dumps(settings, sort_keys=True)


RECIPES: dict[str, Recipe] = {
    "colour": Recipe("colour", epochs=6, learning_rate=5e-2),
} | {
    # All alike but for the network: same data, loss, batches and number of epochs.
    name: Recipe(name)
    for name in models.MODELS
    if name not in ("colour", "fpn")
} | {
    # For real frames, which have four times the rows: about ten minutes on two cores.
    "fpn": Recipe(
        "fpn", "camvid", (270, 360), None, epochs=46, batch_size=8, learning_rate=5e-3,
        augment=True, crop=(192, 256), scale=(0.6, 1.33), class_balance=0.5,
    ),
}  # fmt: skip

LADDER = (
    "colour", "fcn32s", "fcn16s", "fcn8s", "fcn4s", "unet_noskip", "unet",
    "dilated_1111", "dilated_1248", "deeplabv3", "deeplabv3plus", "stack_aspp",
)  # fmt: skip
"""The rungs of the course, in its order."""

SHIPPED_NETWORKS = (
    *LADDER,
    "fcn32s_transposed_k3",
    *(name for name in models.MODELS if name.startswith("dilated_") and name not in LADDER),
)
"""The networks whose weights come with the course."""


def recipe_for(name: str, dataset: str = "streets", seed: int = 0) -> Recipe:
    """The recipe of rung `name`, on another data set or with another seed if asked."""
    if name not in RECIPES:
        raise ValueError(f"name must be one of {', '.join(RECIPES)}; got {name!r}")
    recipe = replace(RECIPES[name], seed=seed)
    if dataset != recipe.dataset:
        recipe = replace(recipe, dataset=dataset, train_count=None)
    return recipe


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and how it came to be."""

    model: nn.Module
    recipe: Recipe
    seconds: float
    trained_now: bool


def load_or_train(
    name: str,
    *,
    dataset: str = "streets",
    seed: int = 0,
    folder: Path | None = None,
    progress: bool = True,
) -> Checkpoint:
    """The network `name`: from a file whose stored recipe equals the table's, else trained now.

    Files are looked for in `data/weights`, `data/weights/local` and, in a read-only course,
    `~/.pixelwise/weights/local`; a file made by another recipe, or from other data, is never
    loaded. What is trained is saved to `folder` (default: the last of these), whole or not at all,
    in half precision; the network returned is rounded alike, so that its first use and every later
    one give the same numbers.
    ``PIXELWISE_RETRAIN=1`` trains even where a file fits. Within `helpers.distributed.group` all
    processes train and return the network, and one of them saves it.

    Raises ``ValueError`` for an unknown `name` or `dataset`, ``KeyboardInterrupt`` when the
    training is broken off: half-trained weights are not saved.
    """
    recipe = recipe_for(name, dataset, seed)
    retrain = os.environ.get("PIXELWISE_RETRAIN") == "1"
    for place in () if retrain else dict.fromkeys((SHIPPED, LOCAL, own(LOCAL))):
        found = _read(place / _file_name(name, recipe), recipe)
        if found is not None:
            return Checkpoint(*found, trained_now=False)
    weights, seconds = _train(recipe, name, progress)
    path = (folder or own(LOCAL)) / _file_name(name, recipe)
    try:
        if distributed.rank() == 0:
            _save(weights, recipe, seconds, path)
    except (OSError, SafetensorError) as error:
        if folder is not None:
            raise
        # Where nothing can be written the course still works; it only has to train again next time.
        print(f"{name} is trained, but could not be kept: {error}")
    return Checkpoint(_with_weights(recipe, weights), recipe, seconds, trained_now=True)


def new_model(recipe: Recipe, num_classes: int) -> nn.Module:
    """The recipe's network before training: its seed settles the first weights too."""
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        return models.build(recipe.model, num_classes)


def training_set(recipe: Recipe) -> torch.utils.data.Dataset:
    """The recipe's training data, augmented if it says so."""
    transform = None
    if recipe.augment:
        how = {"scale": recipe.scale} if recipe.scale else {}
        transform = datasets.augment(recipe.crop or recipe.size, **how)
    return datasets.load(
        recipe.dataset, "train", size=recipe.size, count=recipe.train_count, transform=transform
    )


def fit_recipe(
    recipe: Recipe, label: str | None = None, progress: bool = True
) -> tuple[nn.Module, training.History]:
    """Train the recipe's network from scratch; nothing is saved."""
    with distributed.first_alone():  # the others need not render the scenes again
        train = training_set(recipe)
        val = datasets.load(recipe.dataset, "val", size=recipe.size)
    model = new_model(recipe, len(train.classes))
    weights = None
    if recipe.class_balance:
        weights = public.class_weights(train.masks, len(train.classes)) ** recipe.class_balance
    history = training.fit(
        model, train, val,
        epochs=recipe.epochs, learning_rate=recipe.learning_rate, batch_size=recipe.batch_size,
        weight_decay=recipe.weight_decay, class_weights=weights, seed=recipe.seed, precision=recipe.precision,
        label=label or recipe.model, progress=progress,
    )  # fmt: skip
    return model, history


def _train(recipe: Recipe, label: str, progress: bool) -> tuple[dict[str, torch.Tensor], float]:
    model, history = fit_recipe(recipe, label, progress)
    if history.interrupted:
        raise KeyboardInterrupt(f"training of {label} was broken off: nothing was saved")
    weights = {key: _halve(value) for key, value in model.state_dict().items()}
    return weights, round(history.seconds, 1)


def _save(weights: dict[str, torch.Tensor], recipe: Recipe, seconds: float, path: Path) -> None:
    details = {
        "recipe": recipe.text,
        "data": datasets.identity(recipe.dataset),
        "seconds": str(seconds),
        "torch": torch.__version__,
    }
    with replacing(path) as temporary:
        save_file(weights, temporary, details)
        temporary.chmod(0o644)  # safetensors keeps its files to their owner; a class shares them


def _read(path: Path, recipe: Recipe) -> tuple[nn.Module, Recipe, float] | None:
    """The network in `path`, or None when no readable file there was made by `recipe`."""
    try:
        with safe_open(path, framework="pt") as file:
            details = file.metadata() or {}
            if details.get("recipe") != recipe.text:
                return None
            if details.get("data") != datasets.identity(recipe.dataset):
                return None
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return _with_weights(recipe, weights), recipe, float(details["seconds"])
    except (FileNotFoundError, SafetensorError):
        return None
    except RuntimeError:  # the network has other layers by now
        return None


def _with_weights(recipe: Recipe, weights: dict[str, torch.Tensor]) -> nn.Module:
    model = models.build(recipe.model, len(datasets.CLASSES[recipe.dataset]))
    model.load_state_dict({key: _restore(value) for key, value in weights.items()})
    return model.to(training.choose_device(), memory_format=torch.channels_last).eval()


def _halve(value: torch.Tensor) -> torch.Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if value.is_floating_point() else value


def _restore(value: torch.Tensor) -> torch.Tensor:
    return value.float() if value.is_floating_point() else value


def _file_name(name: str, recipe: Recipe) -> str:
    return f"{name}-{recipe.dataset}-seed{recipe.seed}.safetensors"


def main(arguments: list[str] | None = None) -> None:
    """Train networks anew: the shipped ones (what ``make train`` runs), or those that are named.

    Under ``torchrun`` its processes train each network together.
    """
    parser = argparse.ArgumentParser(prog="python -m helpers.checkpoints", description=__doc__)
    parser.add_argument(
        "names", nargs="*", help="kept in data/weights/local (default: all shipped, data/weights)"
    )
    parser.add_argument("--seed", type=int, help="of the networks named (default: 0)")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in RECIPES:
            parser.error(f"names must be among {', '.join(RECIPES)}; got {name!r}")
    if options.seed is not None and not options.names:
        parser.error("--seed goes with names: the shipped networks have seed 0")
    folder = LOCAL if options.names else SHIPPED
    os.environ["PIXELWISE_RETRAIN"] = "1"
    with distributed.group():
        for name in options.names or SHIPPED_NETWORKS:
            checkpoint = load_or_train(name, seed=options.seed or 0, folder=folder)
            if distributed.rank() == 0:
                print(f"{name}: {checkpoint.seconds:.0f} s, saved to {folder}")


if __name__ == "__main__":
    main()

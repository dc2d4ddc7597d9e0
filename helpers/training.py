"""A plain training loop and the evaluation that belongs to it."""

from __future__ import annotations

import math
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from helpers import distributed
from helpers.metrics import SegmentationScores

PRECISIONS = ("float32", "bfloat16")


def choose_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_precision(device: torch.device) -> str:
    """``"bfloat16"`` where the hardware multiplies it natively, else ``"float32"``.

    Emulated bfloat16 is several times slower than float32, so an older CPU keeps float32.
    """
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return "bfloat16" if native else "float32"


@dataclass
class History:
    """What a run looked like: one dictionary per epoch.

    ``epochs[i]`` holds ``loss`` (mean cross entropy of the epoch), ``val_miou`` (NaN without a val
    set) and ``seconds`` since the start. ``interrupted`` tells that Ctrl-C ended the run early; the
    last entry is then the epoch that it broke off.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    interrupted: bool = False

    def column(self, name: str) -> list[float]:
        """The values of ``loss``, ``val_miou`` or ``seconds`` over the epochs."""
        return [epoch[name] for epoch in self.epochs]

    def record(self, losses: list[float], val_miou: float, seconds: float) -> None:
        """Add an epoch: the losses of its steps, its score, and when it ended."""
        loss = sum(losses) / len(losses) if losses else math.nan
        self.epochs.append({"loss": loss, "val_miou": val_miou, "seconds": seconds})

    @property
    def seconds(self) -> float:
        return self.epochs[-1]["seconds"] if self.epochs else 0.0


def fit(
    model: nn.Module,
    train: Dataset,
    val: Dataset | None = None,
    *,
    epochs: int,
    learning_rate: float = 4e-3,
    batch_size: int = 16,
    weight_decay: float = 1e-2,
    class_weights: Tensor | None = None,
    seed: int = 0,
    precision: str | None = None,
    label: str = "training",
    progress: bool = True,
) -> History:
    """Train `model` in place by AdamW under a one-cycle learning rate; return the `History`.

    Items of `train` and `val` are images ``float32 (3, H, W)`` and masks ``int64 (H, W)``; pixels
    labelled 255 count for nothing in loss and scores. The loss is cross entropy, weighted by
    `class_weights` ``(num_classes,)`` if given. The seed settles the order of the batches and the augmentation,
    not the weights that `model` came with; the random state outside is left as it was. The same
    seed gives the same weights on the same CPU and number of threads. Ctrl-C ends the run with the
    model as it stands, ready for use. Raises ``ValueError`` on an argument out of range and
    ``FloatingPointError`` when the loss is no longer finite.

    Within `helpers.distributed.group`, the processes that ``torchrun`` started train one model: each
    takes its share of every batch of `batch_size`, and all end with the history and weights that one
    process would have, up to rounding. Only augmentation and dropout differ, as each process draws
    for its own share. Raises ``ValueError`` when a batch has fewer images than there are processes;
    Ctrl-C then passes on, since the others cannot go on alone.

    One cycle: Smith and Topin, "Super-convergence", arXiv 1708.07120.
    """
    for name, value in (
        ("epochs", epochs),
        ("batch_size", batch_size),
        ("learning_rate", learning_rate),
    ):
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value!r}")
    if len(train) < 2:
        raise ValueError(f"train must hold at least 2 items, got {len(train)}")
    device = choose_device()
    precision = _check_precision(precision, device)
    history = History()
    random = torch.random.fork_rng(devices=[] if device.type == "cpu" else None)
    with random, distributed.in_step(model):
        torch.manual_seed(distributed.own_seed(seed))
        # A last batch of one image would leave batch normalisation nothing to average over.
        drop_last = len(train) % min(batch_size, len(train)) == 1
        loader = DataLoader(train, min(batch_size, len(train)), shuffle=True, drop_last=drop_last)
        loader = distributed.shares(loader)
        model.to(device, memory_format=torch.channels_last)
        weights = None if class_weights is None else class_weights.to(device)
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, learning_rate, total_steps=epochs * len(loader), pct_start=0.2
        )
        # In a notebook the bar goes to standard output: its regression check takes what arrives on
        # standard error for a complaint.
        progress = progress and distributed.rank() == 0
        bar = tqdm(
            total=epochs * len(loader), desc=label, unit="step", leave=False, mininterval=0.5,
            file=sys.stdout if "ipykernel" in sys.modules else sys.stderr, **({} if progress else {"disable": True}),
        )  # fmt: skip
        start, miou, losses = time.perf_counter(), math.nan, []
        try:
            for _ in range(epochs):
                model.train()
                losses = []
                for images, masks in loader:
                    images, masks = _to_device(images, device), masks.to(device)
                    with _autocast(device, precision):
                        logits = model(images)
                    loss = distributed.cross_entropy(logits.float(), masks, weights)
                    batch_loss = distributed.total(loss.detach())
                    if not torch.isfinite(batch_loss):
                        raise FloatingPointError(
                            f"loss became {batch_loss.item()} in epoch {len(history.epochs) + 1}: lower "
                            f"learning_rate (now {learning_rate:g}), or look for masks that are void throughout"
                        )
                    optimizer.zero_grad()
                    loss.backward()
                    distributed.add_gradients(model)
                    optimizer.step()
                    schedule.step()
                    losses.append(batch_loss.item())
                    bar.update()
                    bar.set_postfix_str(
                        f"loss {losses[-1]:.2f}, val mIoU {miou:.2f}", refresh=False
                    )
                if val is not None:
                    miou = evaluate(model, val, boundaries=False, precision=precision).mean_iou
                history.record(losses, miou, distributed.of_first(time.perf_counter() - start))
        except KeyboardInterrupt:
            if distributed.world_size() > 1:
                raise
            history.interrupted = True
            history.record(losses, math.nan, time.perf_counter() - start)
        finally:
            bar.close()
            model.eval()
    return history


@torch.inference_mode()
def predict_logits(
    model: nn.Module, images: Tensor, batch_size: int = 50, precision: str = "float32"
) -> Tensor:
    """Logits ``float32 (N, num_classes, H, W)`` for images ``(N, 3, H, W)``, on the CPU."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    parts = []
    for batch in images.split(batch_size):
        with _autocast(device, precision):
            parts.append(model(_to_device(batch, device)).float().cpu())
    model.train(was_training)
    return torch.cat(parts)


def predict_masks(model: nn.Module, images: Tensor, **options) -> Tensor:
    """The most likely class of each pixel, ``int64 (N, H, W)``; options as `predict_logits`."""
    return predict_logits(model, images, **options).argmax(1)


def evaluate(
    model: nn.Module,
    dataset: Dataset,
    *,
    boundaries: bool = True,
    batch_size: int = 50,
    precision: str = "float32",
) -> SegmentationScores:
    """Score `model` on all of `dataset`, with or without the (slower) boundary scores."""
    scores = SegmentationScores(len(dataset.classes), boundaries=boundaries)
    for images, masks in DataLoader(dataset, batch_size):
        scores.update(predict_masks(model, images, precision=precision), masks)
    return scores


def _to_device(images: Tensor, device: torch.device) -> Tensor:
    return images.to(device, memory_format=torch.channels_last)


def _autocast(device: torch.device, precision: str):
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


def _check_precision(precision: str | None, device: torch.device) -> str:
    """What was asked for, or the device's best; float32 in place of bfloat16 that it lacks."""
    best = choose_precision(device)
    if precision is None:
        return best
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {PRECISIONS}, got {precision!r}")
    return precision if precision == best else "float32"

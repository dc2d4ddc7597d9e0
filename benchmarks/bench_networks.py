"""Our U-Net beside networks of other libraries, all from random weights, after the same seconds.

One loop for all (`helpers.training.fit`: AdamW, one cycle, batches of 16, one precision), the same
images from memory, for each network the best of three learning rates. The cycle must end when the
time is over, so two epochs of a throw-away copy are timed first and tell how many epochs that is.
Streets is scored on test, CamVid on val (frames of the sequence it trains on), void ignored.

    python -m benchmarks.bench_networks [--seconds 60] [--seeds 0] [--datasets streets camvid]

Run it on an idle machine: whatever else computes takes epochs away. ``--tune`` tries the learning
rates anew, each for the same seconds, before the race.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

from helpers import datasets, training
from helpers.models import UNet, count_parameters
from helpers.models.fcn import normalize

BATCH, TRIMAP = 16, 2
SCORED = {"streets": "test", "camvid": "val"}


class Peer(nn.Module):
    """A network of another library behind our interface.

    Images ``(N, 3, H, W)`` in [0, 1] to logits ``(N, num_classes, H, W)``; brings the images to
    zero mean and unit variance just as ours do.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        scores = self.network(normalize(images))
        return scores["out"] if isinstance(scores, dict) else scores


def from_smp(architecture: str, num_classes: int) -> Peer:
    """A network of `segmentation_models_pytorch` on a ResNet-18, without pretrained weights."""
    import segmentation_models_pytorch as smp  # here, as only the extra `bench` installs it

    build = getattr(smp, architecture)
    return Peer(build("resnet18", encoder_weights=None, classes=num_classes))


def from_torchvision(num_classes: int) -> Peer:
    """DeepLabv3 on a MobileNetV3, without pretrained weights.

    Its batch normalisation comes with a momentum of 0.01, for long trainings: after a minute the
    running means would still be those of the start, and the scores near zero. It gets torch's 0.1.
    """
    network = deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=num_classes
    )
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.1
    return Peer(network)


OURS = "U-Net (ours)"
NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    OURS: UNet,
    "smp Unet, ResNet-18": partial(from_smp, "Unet"),
    "smp DeepLabV3Plus, ResNet-18": partial(from_smp, "DeepLabV3Plus"),
    "torchvision DeepLabV3, MobileNetV3": from_torchvision,
}

RATES = (1e-3, 3e-3, 6e-3)
# Found on the val split of Streets with seed 0, each network for some 35 s on two cores. mIoU for
# 1e-3, 3e-3, 6e-3: smp Unet 0.561, 0.577, 0.570; DeepLabV3Plus 0.533, 0.573, 0.589; torchvision
# 0.372, 0.399, 0.422. Ours has the rate of its recipe. CamVid takes the same: its val split is the
# one that the race is scored on.
RATE = dict(zip(NETWORKS, (6e-3, 3e-3, 6e-3, 6e-3), strict=True))


@dataclass(frozen=True)
class Result:
    """One row: what a network cost and what it scored (trimap IoU within 2 px of an edge)."""

    name: str
    parameters: int
    rate: float
    epochs: int
    seconds: float
    miou: float
    trimap: float


def epochs_near(seconds: float, seconds_per_epoch: float) -> int:
    """The whole number of epochs that comes nearest, at least one: slow networks lose no time."""
    return max(1, round(seconds / seconds_per_epoch))


def initialised(name: str, num_classes: int, seed: int) -> nn.Module:
    """The network `name` with random weights that `seed` settles."""
    torch.manual_seed(seed)
    return NETWORKS[name](num_classes)


def fit(model: nn.Module, train: Dataset, **options) -> training.History:
    """The one loop of all networks; Ctrl-C ends the race, not one of its runs."""
    history = training.fit(model, train, batch_size=BATCH, **options)
    if history.interrupted:
        raise KeyboardInterrupt
    return history


def seconds_per_epoch(name: str, train: datasets.SegmentationDataset, precision: str) -> float:
    """The second epoch of a throw-away copy: the first also warms memory and kernels up."""
    model = initialised(name, len(train.classes), seed=0)
    first, second = fit(model, train, epochs=2, precision=precision, progress=False).column(
        "seconds"
    )
    return second - first


def run(
    name: str,
    train: datasets.SegmentationDataset,
    scored: datasets.SegmentationDataset,
    *,
    epochs: int,
    rate: float,
    seed: int,
    precision: str,
) -> Result:
    """Train the network `name` from scratch on `train` and score it on `scored`."""
    model = initialised(name, len(train.classes), seed)
    history = fit(
        model, train, epochs=epochs, learning_rate=rate, seed=seed, precision=precision,
        label=f"{name}, {rate:g}", progress=sys.stderr.isatty(),
    )  # fmt: skip
    scores = training.evaluate(model, scored, precision=precision)
    cost = count_parameters(model), rate, epochs, history.seconds
    return Result(name, *cost, scores.mean_iou, scores.trimap_iou[TRIMAP])


def median_of(results: list[Result]) -> Result:
    """The runs of one network with several seeds as one row, each column its median."""
    middle = {
        column: statistics.median(getattr(result, column) for result in results)
        for column in ("seconds", "miou", "trimap")
    }
    return replace(results[0], **middle)


def table(results: list[Result]) -> str:
    """Rows, ours first; beside each score of a peer, ours over it; last, ours over the best.

    Each score has a best peer of its own.
    """
    ours, *peers = results
    lines = [
        f"{'network':<36}{'parameters':>11}{'rate':>8}{'epochs':>8}{'seconds':>9}"
        f"{'mIoU':>8}{'ratio':>7}{'trimap IoU':>12}{'ratio':>7}"
    ]
    for r in results:
        both = ((r.miou, ours.miou), (r.trimap, ours.trimap))
        region, edge = ("" if r is ours else f"{mine / theirs:.2f}x" for theirs, mine in both)
        lines.append(
            f"{r.name:<36}{r.parameters:>11,}{r.rate:>8g}{r.epochs:>8}{r.seconds:>9.1f}"
            f"{r.miou:>8.3f}{region:>7}{r.trimap:>12.3f}{edge:>7}".rstrip()
        )
    region, edge = max(peers, key=lambda r: r.miou), max(peers, key=lambda r: r.trimap)
    lines.append(
        f"ours to the best peer: mIoU {ours.miou / region.miou:.2f}x ({region.name}), "
        f"trimap IoU {ours.trimap / edge.trimap:.2f}x ({edge.name})"
    )
    return "\n".join(lines)


def compare(name: str, seconds: float, seeds: list[int], tune: bool) -> None:
    """Race on the data set `name` and print its table; say so where its files are missing."""
    try:
        train, val, scored = (datasets.load(name, s) for s in ("train", "val", SCORED[name]))
    except FileNotFoundError as error:
        print(f"{name} is skipped: {error}\n", flush=True)
        return
    precision = training.choose_precision(training.choose_device())
    print(
        f"{name}: {len(train)} training images, scored on {SCORED[name]} ({len(scored)}), "
        f"{seconds:g} s of training, seeds {', '.join(map(str, seeds))}, {precision}, "
        f"{torch.get_num_threads()} CPU threads",
        flush=True,
    )
    epochs, rates = {}, dict(RATE)
    for network in NETWORKS:
        epochs[network] = epochs_near(seconds, seconds_per_epoch(network, train, precision))
        options = {"epochs": epochs[network], "precision": precision}
        if tune:
            tried = [run(network, train, val, rate=rate, seed=0, **options) for rate in RATES]
            rates[network] = max(tried, key=lambda result: result.miou).rate
            found = ", ".join(f"{result.rate:g}: {result.miou:.3f}" for result in tried)
            print(f"  {network}, mIoU on val by learning rate: {found}", flush=True)
    # Networks take turns, so that a busy moment does not hit every seed of one of them.
    results: dict[str, list[Result]] = {network: [] for network in NETWORKS}
    for seed in seeds:
        for network in NETWORKS:
            options = {"epochs": epochs[network], "precision": precision, "seed": seed}
            results[network].append(run(network, train, scored, rate=rates[network], **options))
    print(table([median_of(rows) for rows in results.values()]), end="\n\n", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="training time of each network")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="scores are medians")
    parser.add_argument("--datasets", nargs="+", choices=SCORED, default=list(SCORED))
    parser.add_argument("--tune", action="store_true", help="try the learning rates on val first")
    options = parser.parse_args(arguments)
    if not options.seconds > 0:
        parser.error(f"--seconds must be positive, got {options.seconds:g}")
    for name in options.datasets:
        compare(name, options.seconds, options.seeds, options.tune)


if __name__ == "__main__":
    main()

"""What a trained network does that its scores do not say: patterns, holes, and who needs context."""

from __future__ import annotations

import torch
from torch import nn

from helpers import datasets, models, training
from helpers.models.fcn import normalize
from helpers.scenes import CUES
from helpers.upsampling import checkerboard


@torch.inference_mode()
def flat_pattern(model: models.FCN, dataset: torch.utils.data.Dataset) -> float:
    """The checkerboard that the upsampling of `model` adds to flat maps of scores, 0 to 1.

    Flat maps, because whatever varies in the answer is then the upsampling's doing. Every 16th cell
    that `model` scores on the images of `dataset` is spread over a map of 5 x 5 such cells; the
    middle one of the upsampled map is measured by `helpers.upsampling.checkerboard`, less the mean
    over the classes, which a softmax does not see.
    """
    images, _ = datasets.as_tensors(dataset)
    parts = images.to(next(model.parameters()).device).split(50)
    model.eval()
    cells = torch.cat([model.score(model.encoder(normalize(part))[-1]) for part in parts])
    cells = cells.permute(0, 2, 3, 1).reshape(-1, cells.shape[1], 1, 1)[::16]
    stride = model.encoder.output_stride
    maps = model.enlarge(cells.expand(-1, -1, 5, 5), (5 * stride, 5 * stride))
    middle = maps[..., 2 * stride : 3 * stride, 2 * stride : 3 * stride]
    return checkerboard(middle - middle.mean(1, keepdim=True), stride)


def cue_accuracy(model: nn.Module, dataset: datasets.Streets) -> dict[str, float]:
    """Pixel accuracy of `model` for each kind of `scenes.CUES`: "none", "puddle" and so on."""
    images, masks = datasets.as_tensors(dataset)
    right = (training.predict_masks(model, images) == masks).numpy()
    return {name: float(right[dataset.cues == k].mean()) for k, name in enumerate(CUES)}


@torch.inference_mode()
def lonely_cells(model: models.DilatedStack, dataset: torch.utils.data.Dataset) -> float:
    """Share of the cells of `model` whose class is none of their four neighbours' classes.

    A sign of gridding: cells side by side that were decided from different pixels. Cells at the
    border of the map are not counted.
    """
    images, _ = datasets.as_tensors(dataset)
    parts = images.to(next(model.parameters()).device).split(50)
    model.eval()
    return lonely(torch.cat([model.cell_scores(part).argmax(1) for part in parts]))


def lonely(cells: torch.Tensor) -> float:
    """Share of the classes ``(N, h, w)`` away from the border that no neighbour has."""
    inner = cells[:, 1:-1, 1:-1]
    around = cells[:, :-2, 1:-1], cells[:, 2:, 1:-1], cells[:, 1:-1, :-2], cells[:, 1:-1, 2:]
    return torch.stack([inner != other for other in around]).all(0).float().mean().item()

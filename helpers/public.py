"""Public data and a pretrained network: Oxford-IIIT Pet, Pascal VOC 2012, CamVid as Streets.

torchvision knows the files and where to download them; ``datasets.load`` gives what is read here.
A data set of one's own needs no more than its classes in ``classes.CLASSES``: see `files`.

Pets: Parkhi, Vedaldi, Zisserman and Jawahar, "Cats and dogs", CVPR 2012. VOC: Everingham et al.,
"The Pascal visual object classes (VOC) challenge", IJCV 2010.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from copy import copy
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.datasets import OxfordIIITPet, VOCSegmentation
from torchvision.models import get_model, get_model_weights
from torchvision.transforms.functional import normalize

from helpers import camvid
from helpers.classes import CAMVID, CLASSES, IGNORE_INDEX, STREETS, VOC

SPLITS = {"pets": ("train", "val", "test"), "voc": ("train", "val")}
TITLES = {"pets": "Oxford-IIIT Pet", "voc": "Pascal VOC 2012"}
FOLDERS = {
    "pets": ("oxford-iiit-pet", "images/ and annotations/"),
    "voc": ("VOCdevkit/VOC2012", "JPEGImages/, SegmentationClass/ and ImageSets/"),
}
LABELS = {"pets": {1: 1, 2: 0, 3: IGNORE_INDEX}}
"""Label in the files to label in a mask, where the files do not have the labels of the mask.

A trimap of Pets has 1 for the pet, 2 for the background and 3 for the border between: pixels that
nobody settled, so they become void and not foreground. VOC has its border as 255 already.
"""

VAL_EVERY = 5
"""Of the trainval list of Pets, every fifth image of each breed is val, the others are train."""

CAMVID_AS_STREETS = {
    "sky": "sky", "building": "building", "pole": "pole", "road": "road", "pavement": "pavement",
    "tree": "vegetation", "sign": "pole", "fence": "building", "car": "vehicle",
    "pedestrian": "person", "bicyclist": "person",
}  # fmt: skip
"""Each class of CamVid as one of Streets, which are the categories of Cityscapes with ground split.

A sign counts as pole, also in the rendered scenes: both are the category "object". A fence is
"construction", as buildings are. CamVid labels rider and bicycle as one; the class is
named for the rider, a person in Cityscapes, and goes there. The pixels of the bicycle (there a
vehicle) are the error of this choice.
Cordts et al., "The Cityscapes dataset", arXiv 1604.01685.
"""

NETWORKS = ("deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50")

DOWNLOAD_ERRORS = (OSError, HTTPException, RuntimeError)  # the last one: not the expected hash


def files(
    name: str, split: str, root: str | Path | None = None, download: bool = False
) -> list[tuple[Path, Path]]:
    """Pairs (image, label map) of a split of "pets" or "voc", in the order of the published list.

    They lie in ``oxford-iiit-pet/`` or ``VOCdevkit/VOC2012/`` under ``root``, else under
    ``PIXELWISE_DATA``, else under ``data/``. Pets: see `VAL_EVERY` for train and val. With
    ``download``, torchvision fetches them where some are missing. Any other data set is a folder
    ``name/`` there, with PNG images in ``train/`` and so on, and 8-bit label maps of the same names
    in ``trainannot/`` and so on; void is 255. Their pairs are in the order of the names.

    Raises ``ValueError`` for a split that there is not and for a damaged list,
    ``FileNotFoundError`` where files are missing, ``ConnectionError`` when the download fails.
    """
    if name not in SPLITS:
        return _paired(camvid.data_root(root) / name, split)
    if split not in SPLITS[name]:
        raise ValueError(
            f"split must be one of {', '.join(SPLITS[name])} for {name}; got {split!r}"
        )
    try:
        return _listed(name, split, camvid.data_root(root), download=False)
    except FileNotFoundError:
        if not download:
            raise
    return _listed(name, split, camvid.data_root(root), download=True)


def read_pair(
    name: str, image: Path, mask: Path, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """One picture of data set `name`: ``uint8 (3, H, W)`` and labels ``uint8 (H, W)``, void as 255.

    Pictures differ in shape, and stretched ones would teach shapes that there are not: each is
    scaled until it just covers ``size`` (H, W), and what hangs over is cut off evenly on both sides.
    The image is scaled with a bilinear filter that averages what it covers, the mask to the label
    nearest each pixel's centre. Raises ``ValueError`` naming the file that cannot be read, has
    labels beyond `LABELS` or the classes, or differs in size from its partner.
    """
    picture, stored = _open(image).convert("RGB"), np.asarray(_open(mask))
    known = LABELS.get(name) or {k: k for k in (*range(len(CLASSES[name])), IGNORE_INDEX)}
    if stored.dtype != np.uint8 or stored.ndim != 2 or not set(np.unique(stored)) <= known.keys():
        raise ValueError(
            f"{mask}: labels must be uint8 (H, W) with values {', '.join(map(str, known))}; "
            f"got {stored.dtype} {stored.shape} with values {np.unique(stored)[-12:].tolist()}"
        )
    if stored.shape != picture.size[::-1]:
        raise ValueError(
            f"{image} is {picture.height} x {picture.width} pixels, "
            f"its label map {mask} is {stored.shape[0]} x {stored.shape[1]}"
        )
    table = np.zeros(256, np.uint8)
    table[list(known)] = list(known.values())
    labels = Image.fromarray(table[stored])
    picture = ImageOps.fit(picture, size[::-1], Image.Resampling.BILINEAR)
    labels = ImageOps.fit(labels, size[::-1], Image.Resampling.NEAREST)
    return np.asarray(picture).transpose(2, 0, 1), np.asarray(labels)


def streets_labels(masks: Tensor) -> Tensor:
    """Labels of CamVid, of any shape, as labels of Streets, ``uint8``; void stays void."""
    table = torch.full((256,), IGNORE_INDEX, dtype=torch.uint8)
    table[: len(CAMVID)] = torch.tensor([STREETS.index(CAMVID_AS_STREETS[c]) for c in CAMVID])
    return table[masks.long()]


def as_streets(dataset: Dataset) -> Dataset:
    """CamVid, a ``SegmentationDataset``, with the classes of Streets; void stays void.

    See `CAMVID_AS_STREETS`. Images and transform are shared, the masks are new. Raises
    ``ValueError`` for a data set with other classes.
    """
    if dataset.classes != CAMVID:
        raise ValueError(
            f"dataset must have the classes of CamVid; got {', '.join(dataset.classes)}"
        )
    streets = copy(dataset)
    streets.classes, streets.masks = STREETS, streets_labels(dataset.masks)
    return streets


def class_weights(masks: Tensor, num_classes: int) -> Tensor:
    """Median frequency balancing: weights ``float32 (num_classes,)`` for the cross entropy.

    ``masks`` are labels ``(N, H, W)``, 255 for void. The frequency of a class is its number of
    pixels over all labelled pixels of those images in which it occurs; its weight is the median
    frequency over its own. The median is over the classes that occur; one that never does gets 0:
    there is no pixel to weigh, and unlike NaN a 0 spoils no sum. Raises ``ValueError`` for other
    labels, or where no pixel has one.

    Eigen and Fergus, arXiv 1411.4734, who divide by all pixels of those images; void is left out
    here because the loss leaves it out. SegNet trains on CamVid with it, arXiv 1511.00561.
    """
    counts = torch.zeros(len(masks), num_classes, dtype=torch.float64)
    for count, mask in zip(counts, masks, strict=True):
        labels, pixels = mask.unique(return_counts=True)
        labelled = labels != IGNORE_INDEX
        labels, pixels = labels[labelled].long(), pixels[labelled]
        if ((labels < 0) | (labels >= num_classes)).any():
            raise ValueError(
                f"masks must have labels from 0 to {num_classes - 1} or {IGNORE_INDEX}; "
                f"got {labels.tolist()}"
            )
        count[labels] = pixels.double()
    total = (counts.sum(1, keepdim=True) * (counts > 0)).sum(0)
    occurs = total > 0
    if not occurs.any():
        raise ValueError("masks must have labelled pixels; all of them are void")
    frequency = counts.sum(0)[occurs] / total[occurs]
    weights = torch.zeros(num_classes)
    weights[occurs] = (frequency.quantile(0.5) / frequency).float()
    return weights


class PretrainedNetwork(nn.Module):
    """A segmentation network of torchvision that takes images as the rest of the course does."""

    classes = VOC

    def __init__(self, network: nn.Module, mean: list[float], std: list[float]) -> None:
        """``mean`` and ``std`` of each channel are those that ``network`` was trained with."""
        super().__init__()
        self.network, self.mean, self.std = network, mean, std

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, 21, H, W)`` for images ``float (N, 3, H, W)`` in [0, 1]."""
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(
                "images must be float (N, 3, H, W) in [0, 1]; "
                f"got {images.dtype} {tuple(images.shape)}"
            )
        return self.network(normalize(images, self.mean, self.std))["out"]


def pretrained(
    name: str = "deeplabv3_mobilenet_v3_large",
    weights: str | Path | None = None,
    download: bool = True,
) -> PretrainedNetwork:
    """torchvision's network `name`, trained on the 21 classes of VOC in images of COCO, to be used.

    ``weights`` is a file as torchvision publishes it; without it, its published file is looked for
    in ``weights/`` under ``PIXELWISE_DATA`` and ``data/``, then in the cache of torch.hub, and else,
    with ``download``, fetched into that cache. Where a name ends in eight hexadecimal digits, as published ones do,
    the SHA-256 of the file has to begin with them.

    Raises ``ValueError`` for an unknown `name` and for a file that is damaged or made for another
    network, ``FileNotFoundError`` where ``weights`` is no file or none is found, ``ConnectionError``
    when the download fails. torchvision's own scores are for images whose shorter side has 520 pixels:
    expect less of small ones.

    Chen et al., "Rethinking atrous convolution", arXiv 1706.05587.
    """
    if name not in NETWORKS:
        raise ValueError(f"name must be one of {', '.join(NETWORKS)}; got {name!r}")
    published = get_model_weights(name).COCO_WITH_VOC_LABELS_V1
    path = _find_weights(published.url, download) if weights is None else Path(weights)
    state = _read_weights(path)
    with torch.device("meta"):  # no first weights to draw, so the random state stays as it was
        network = get_model(name, weights=None, weights_backbone=None, num_classes=len(VOC))
    expected = network.state_dict()
    wrong = [
        key
        for key in sorted(expected.keys() | state.keys())
        if getattr(expected.get(key), "shape", None) != getattr(state.get(key), "shape", None)
    ]
    if wrong:
        raise ValueError(
            f"weights: {path} is not made for {name}: {len(wrong)} entries are missing, unknown "
            f"or of another shape, such as {wrong[0]}"
        )
    network.to_empty(device="cpu").load_state_dict(state)
    preset = published.transforms()
    return PretrainedNetwork(network, preset.mean, preset.std).eval()


def _listed(name: str, split: str, root: Path, download: bool) -> list[tuple[Path, Path]]:
    folder, content = root / FOLDERS[name][0], FOLDERS[name][1]
    try:
        if name == "voc":
            found = VOCSegmentation(root, image_set=split, download=download)
            pairs = [(Path(i), Path(m)) for i, m in zip(found.images, found.masks, strict=True)]
        else:
            subset = "test" if split == "test" else "trainval"
            found = OxfordIIITPet(root, subset, "segmentation", download=download)
            # not documented, but only names can tell a cache that a file has changed
            pairs = list(zip(found._images, found._segs, strict=True))
    except ValueError as error:
        raise ValueError(f"{folder}: the list of {split} is damaged: {error}") from error
    except DOWNLOAD_ERRORS as error:
        if download:
            raise ConnectionError(
                f"{TITLES[name]} could not be downloaded to {root} ({error}). Check the connection "
                f"and try again, or fetch it elsewhere and put {content} into {folder}."
            ) from error
        raise FileNotFoundError(
            f"root: no {TITLES[name]} in {folder}. Load it with download=True, put {content} "
            "there, or set PIXELWISE_DATA to the folder around it."
        ) from error
    if name == "pets" and split != "test":
        pairs = _part(pairs, split)
    if not pairs:
        raise ValueError(f"{folder}: the list of {split} is damaged: it names no images")
    if missing := [path for pair in pairs for path in pair if not path.is_file()]:
        raise FileNotFoundError(
            f"root: {len(missing)} of {2 * len(pairs)} files of {split} are missing in {folder}, "
            f"such as {missing[0].name}. Delete that folder and load it with download=True."
        )
    return pairs


def _paired(folder: Path, split: str) -> list[tuple[Path, Path]]:
    parts = folder / split, folder / f"{split}annot"
    images, masks = ({path.name for path in part.glob("*.png")} for part in parts)
    if not images or images != masks:
        raise FileNotFoundError(
            f"root: {split}/ and {split}annot/ in {folder} must hold PNG files of the same names; "
            f"got {len(images)} and {len(masks)} files, {len(images ^ masks)} without a partner"
        )
    return [(parts[0] / name, parts[1] / name) for name in sorted(images)]


def _part(pairs: list[tuple[Path, Path]], split: str) -> list[tuple[Path, Path]]:
    """Train or val of Pets; the breed is the file's name without its number."""
    seen, part = Counter(), []
    for image, mask in pairs:
        breed = image.stem.rpartition("_")[0]
        seen[breed] += 1
        if (seen[breed] % VAL_EVERY == 0) == (split == "val"):
            part.append((image, mask))
    return part


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            picture.load()
    except (OSError, SyntaxError) as error:  # Pillow's word for a broken PNG
        raise ValueError(f"{path} cannot be read: {error}") from error
    return picture


def _find_weights(url: str, download: bool) -> Path:
    file = url.rpartition("/")[2]
    ours, cache = camvid.data_root() / "weights", Path(torch.hub.get_dir()) / "checkpoints"
    for folder in (ours, camvid.DATA / "weights", cache):
        if (folder / file).is_file():
            return folder / file
    if not download:
        raise FileNotFoundError(f"weights: {file} is not on this machine, and download is False")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(cache / file), _hash_in(file))
    except DOWNLOAD_ERRORS as error:
        raise ConnectionError(
            f"weights: {file} is not on this machine and could not be downloaded ({error}): "
            f"fetch {url} where there is a network and put it into {ours}"
        ) from error
    return cache / file


def _read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a file of PyTorch, without those of the head that only training uses."""
    if not path.is_file():
        raise FileNotFoundError(f"weights: no file {path}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(_hash_in(path.name)):
        raise ValueError(
            f"weights: {path} is damaged: its SHA-256 begins with {digest[:8]}, not with "
            f"{_hash_in(path.name)}. Delete it to have it downloaded again."
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file raises, there are no weights in it
        raise ValueError(f"weights: {path} is no file of PyTorch weights") from error
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise ValueError(f"weights: {path} must hold tensors by their names")
    return {key: value for key, value in state.items() if not key.startswith("aux_classifier.")}


def _hash_in(name: str) -> str:
    """First digits of the SHA-256 in a published name such as ``fcn-0123abcd.pth``, else none."""
    match = re.search(r"-([0-9a-f]{8})\.pth$", name)
    return match[1] if match else ""

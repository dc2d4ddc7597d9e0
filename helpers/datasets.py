"""Data sets behind one interface: ``load(name, split)``, labels checked, masks never blended."""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F
from tqdm import tqdm

from helpers import camvid, public, scenes
from helpers.classes import CAMVID, CLASSES, IGNORE_INDEX, STREETS, ClassSet
from helpers.files import replacing

STREETS_SEED = 0
STREETS_RANGE = 1_000_000  # indices per split, so that no scene is ever in two of them
STREETS_COUNT = {"train": 400, "val": 100, "test": 150}
CAMVID_VOID = len(CAMVID)  # 11 in the files


class SegmentationDataset(Dataset):
    """Images with label maps, held in memory.

    Item ``i`` is an image ``float32 (3, H, W)`` in [0, 1] and a mask ``int64 (H, W)`` with labels
    of ``classes`` or 255 for void. Both are plain tensors; ``transform`` gets them as
    ``tv_tensors.Image`` and ``tv_tensors.Mask``, so that transforms of torchvision v2 treat each
    in its own way.
    """

    def __init__(
        self,
        name: str,
        split: str,
        classes: ClassSet,
        images: np.ndarray,
        masks: np.ndarray,
        transform: Callable | None = None,
    ) -> None:
        """``images``: uint8 (N, 3, H, W); ``masks``: uint8 (N, H, W)."""
        self.name, self.split, self.classes, self.transform = name, split, classes, transform
        self.size = tuple(masks.shape[1:])
        self.images, self.masks = torch.from_numpy(images), torch.from_numpy(masks)

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, mask = self.images[i].float() / 255, self.masks[i].long()
        if self.transform is None:
            return image, mask
        image, mask = self.transform(tv_tensors.Image(image), tv_tensors.Mask(mask))
        return image.as_subclass(torch.Tensor), mask.as_subclass(torch.Tensor)


class Streets(SegmentationDataset):
    """Rendered street scenes; ``cues`` ``uint8 (N, H, W)`` come with them."""

    def __init__(self, *args, cues: np.ndarray, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.cues = cues

    def cue(self, i: int) -> np.ndarray:
        """``uint8 (H, W)``, indices into ``scenes.CUES``: above 0 where only context tells."""
        return self.cues[i]


def load(
    name: str,
    split: str,
    size: tuple[int, int] = (96, 128),
    root: str | Path | None = None,
    count: int | None = None,
    transform: Callable | None = None,
    download: bool = False,
    progress: bool | None = None,
) -> SegmentationDataset:
    """Data set ``name``, a key of ``CLASSES``; ``split`` "train", "val" or, but for VOC, "test".

    Args:
        size: (H, W) of images and masks, in pixels. CamVid's frames, all of one shape, are scaled
            to it; all other pictures are scaled to cover it and cut: ``public.read_pair``.
        root: for CamVid, the folder with ``camvid/`` or that folder itself; for others, the one
            that ``public.files`` looks into; without it ``PIXELWISE_DATA``, then ``data/``.
        count: how many items. Streets: the first ``count`` scenes, any number up to a million
            (default 400, 100, 150). Others: ``count`` frames spread evenly over the split.
        transform: called with (image, mask), such as ``augment(size)``.
        download: fetch a data set that is not found.
        progress: a bar on stderr; ``None`` shows it in a terminal when it takes over a second.

    What was rendered or resized is kept in ``PIXELWISE_CACHE``, else ``data/cache``, where that
    can be written. Raises ``ValueError``, ``FileNotFoundError`` or, when a download fails,
    ``ConnectionError`` that say what to do.
    """
    _check_name(name)
    if split not in camvid.SPLITS:
        raise ValueError(f"split must be one of {', '.join(camvid.SPLITS)}; got {split!r}")
    sides = tuple(size) if isinstance(size, (tuple, list)) else ()
    if len(sides) != 2 or not all(isinstance(n, int) and n > 0 for n in sides):
        raise ValueError(f"size must be (H, W), two positive whole numbers; got {size!r}")
    if count is not None and count < 1:
        raise ValueError(f"count must be at least 1; got {count}")
    if name == "streets":
        return _load_streets(split, sides, count, transform, progress)
    return _load_files(name, split, sides, count, transform, progress, root, download)


def splits(name: str, root: str | Path | None = None) -> tuple[str, ...]:
    """The splits that ``load`` can give: all there are, of CamVid those that are on disk."""
    _check_name(name)
    if name == "camvid":
        return camvid.splits(camvid.find(root))
    return public.SPLITS.get(name, camvid.SPLITS)


def identity(name: str) -> str:
    """What the data set `name` is made of on this machine: other text, other training data."""
    _check_name(name)
    if name == "streets":
        return scenes.code_digest()
    pairs = (
        camvid.frames(camvid.find(), "train") if name == "camvid" else public.files(name, "train")
    )
    frames = [image.name for image, _ in pairs]
    return hashlib.sha256(" ".join(frames).encode()).hexdigest()


def as_tensors(dataset: SegmentationDataset) -> tuple[torch.Tensor, torch.Tensor]:
    """All items at once: images ``float32 (N, 3, H, W)``, masks ``int64 (N, H, W)``.

    With a transform, each item goes through it once.
    """
    if dataset.transform is None:
        return dataset.images.float().div_(255), dataset.masks.long()
    images, masks = zip(*dataset, strict=True)
    return torch.stack(images), torch.stack(masks)


class RandomScale(v2.Transform):
    """Scale image and mask by one random factor; the image smoothly, the mask to the nearest.

    Nearest, because labels are names and not amounts: halfway between sky (0) and road (2) there
    is no building (1). And nearest about pixel centres: torchvision scales masks with the older
    rule that counts from corners, which moves them by up to half a pixel against the image.
    """

    def __init__(self, scale: tuple[float, float]) -> None:
        super().__init__()
        self.scale = scale

    def make_params(self, flat_inputs: list) -> dict:
        factor = torch.empty(1).uniform_(*self.scale).item()
        return {"size": [max(1, round(n * factor)) for n in flat_inputs[0].shape[-2:]]}

    def transform(self, inpt: torch.Tensor, params: dict) -> torch.Tensor:
        if not isinstance(inpt, tv_tensors.Mask):
            return F.resize(inpt, params["size"], antialias=True)
        labels = inpt.as_subclass(torch.Tensor)[None]
        nearest = v2.InterpolationMode.NEAREST_EXACT
        return tv_tensors.wrap(F.resize(labels, params["size"], nearest)[0], like=inpt)


def augment(
    size: tuple[int, int],
    flip: bool = True,
    scale: tuple[float, float] = (0.75, 1.5),
    color: float = 0.2,
) -> v2.Compose:
    """Random scale, crop to ``size`` (H, W), mirror and mild change of colour.

    For (``tv_tensors.Image``, ``tv_tensors.Mask``), as ``load(transform=...)`` passes them. What
    lies beyond the image is black and void (255). Masks are only ever picked from (nearest), never
    blended: see ``RandomScale``. ``color`` bounds the relative change of brightness, contrast and
    saturation. Draws from torch's global generator; normalising is left to the model.
    """
    fill = {tv_tensors.Image: 0, tv_tensors.Mask: IGNORE_INDEX}
    return v2.Compose(
        [
            RandomScale(scale),
            v2.RandomCrop(size, pad_if_needed=True, fill=fill),
            v2.RandomHorizontalFlip(0.5 if flip else 0.0),
            v2.ColorJitter(color, color, color),
        ]
    )


def _check_name(name: str) -> None:
    if name not in CLASSES:
        raise ValueError(f"name must be one of {', '.join(CLASSES)}; got {name!r}")


def _load_streets(split, size, count, transform, progress) -> Streets:
    count = count or STREETS_COUNT[split]
    if count > STREETS_RANGE:
        raise ValueError(
            f"count must be at most {STREETS_RANGE}, the scenes of a split; got {count}"
        )
    start = camvid.SPLITS.index(split) * STREETS_RANGE

    def render() -> dict[str, np.ndarray]:
        indices = _bar(range(start, start + count), progress, f"Streets {split}")
        made = [scenes.render(STREETS_SEED, index, size) for index in indices]
        return {
            "images": np.stack([scene.image.transpose(2, 0, 1) for scene in made]),
            "masks": np.stack([scene.mask for scene in made]),
            "cues": np.stack([scene.cue for scene in made]),
        }

    key = f"streets-{split}-{count}-{size[0]}x{size[1]}-{scenes.fingerprint()[:12]}"
    arrays = _cached(key, (count, *size), render)
    return Streets("streets", split, STREETS, transform=transform, **arrays)


def _load_files(
    name, split, size, count, transform, progress, root, download
) -> SegmentationDataset:
    if name == "camvid":
        pairs = _camvid_frames(split, root, download, progress)
        title, read, code = "CamVid", read_pair, inspect.getsource(read_pair)
    else:
        pairs = public.files(name, split, root, download)
        read, code = partial(public.read_pair, name), inspect.getsource(public)
        title = public.TITLES.get(name, name)
    if count is not None:
        if count > len(pairs):
            raise ValueError(
                f"count must be at most {len(pairs)}, the frames of {split}; got {count}"
            )
        pairs = [pairs[i * len(pairs) // count] for i in range(count)]

    def read_all() -> dict[str, np.ndarray]:
        images, masks = zip(
            *(read(*pair, size) for pair in _bar(pairs, progress, f"{title} {split}")), strict=True
        )
        return {"images": np.stack(images), "masks": np.stack(masks)}

    # other files, another Pillow or another way of resizing make another key
    state = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for p in pairs for path in p]
    state = repr((state, PIL.__version__, code))
    digest = hashlib.sha256(state.encode()).hexdigest()[:12]
    key = f"{name}-{split}-{len(pairs)}-{size[0]}x{size[1]}-{digest}"
    arrays = _cached(key, (len(pairs), *size), read_all)
    return SegmentationDataset(name, split, CLASSES[name], transform=transform, **arrays)


def _camvid_frames(split, root, download, progress) -> list[tuple[Path, Path]]:
    try:
        folder = camvid.find(root)
    except FileNotFoundError:
        if not download:
            raise
        folder = camvid.download(root, progress=progress is not False)
    return camvid.frames(folder, split)


def read_pair(image: Path, mask: Path, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """One CamVid frame: ``uint8 (3, H, W)`` and labels ``uint8 (H, W)``, void as 255.

    The image shrinks with a bilinear filter that averages what it covers, the mask to the label
    nearest each pixel's centre. Raises ``ValueError`` naming the file that cannot be read, has
    labels beyond 0..11, or differs in size from its partner.
    """
    try:
        picture, labels = Image.open(image).convert("RGB"), np.asarray(Image.open(mask))
    except OSError as error:
        raise ValueError(f"{image} or its label map {mask} cannot be read: {error}") from error
    if labels.dtype != np.uint8 or labels.ndim != 2 or labels.max() > CAMVID_VOID:
        raise ValueError(
            f"{mask}: labels must be uint8 (H, W) with values 0..{CAMVID_VOID}; "
            f"got {labels.dtype} {labels.shape} with values {np.unique(labels)[-12:].tolist()}"
        )
    if labels.shape != picture.size[::-1]:
        raise ValueError(
            f"{image} is {picture.height} x {picture.width} pixels, "
            f"its label map {mask} is {labels.shape[0]} x {labels.shape[1]}"
        )
    labels = np.where(labels == CAMVID_VOID, IGNORE_INDEX, labels).astype(np.uint8)
    picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)
    small = Image.fromarray(labels).resize(size[::-1], Image.Resampling.NEAREST)
    return np.asarray(picture).transpose(2, 0, 1), np.asarray(small)


def _cached(key: str, shape: tuple[int, ...], make: Callable[[], dict]) -> dict[str, np.ndarray]:
    """Arrays from the cache file of this ``key``, else from ``make`` and kept there for later.

    ``shape`` is (N, H, W) of the masks. A damaged file is made again; a folder that cannot be
    written is no error.
    """
    folder = Path(os.environ.get("PIXELWISE_CACHE") or camvid.DATA / "cache")
    path = folder / f"{key}.npz"
    if os.path.exists(path):  # unlike Path.exists, false where the folder may not be entered
        try:
            with np.load(path) as stored:
                arrays = dict(stored)
            if arrays["masks"].shape != shape:
                raise ValueError(f"masks are {arrays['masks'].shape}, expected {shape}")
            return arrays
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            print(f"{path.name} is made again, it could not be read: {error}", file=sys.stderr)
    # one memory order, fresh or from the file: networks round differently on another
    arrays = {name: np.ascontiguousarray(array) for name, array in make().items()}
    with suppress(OSError), replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    return arrays


def _bar(items, progress: bool | None, description: str) -> tqdm:
    """A progress bar; ``disable=None`` means: only in a terminal."""
    disable = None if progress is None else not progress
    return tqdm(items, desc=description, delay=0 if progress else 1, disable=disable)

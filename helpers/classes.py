"""Class names, colours and the ignore index: what the integers in a mask mean.

Colours of Streets are those of Okabe and Ito ("Color Universal Design", 2008), which stay apart
for colour-blind eyes; CamVid needs three more, found by a search for colours that keep their distance
from all others under three kinds of colour blindness (the test measures it). VOC has 21 from a
like search, in place of its official ones, which do not keep that distance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

IGNORE_INDEX = 255
"""Label of pixels that belong to no class ("void"): no loss, no score."""

VOID_COLOR = (255, 255, 255)

WRONG_COLOR = (255, 255, 255)
"""Wrong pixels, drawn on a darkened photo: no class is as bright."""


def mark_wrong(photos: np.ndarray, masks: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Photos ``uint8 (..., H, W, 3)`` dark and grey, their wrong pixels bright; void is never wrong.

    ``masks`` and ``truths`` are labels ``(..., H, W)``.
    """
    wrong = (masks != truths) & (truths != IGNORE_INDEX)
    grey = 0.5 * photos @ [0.3, 0.59, 0.11]
    return np.where(wrong[..., None], WRONG_COLOR, grey[..., None]).astype(np.uint8)


@dataclass(frozen=True)
class ClassSet:
    """The classes of a data set: label ``i`` is ``names[i]``, drawn in ``colors[i]``.

    Raises ``ValueError`` when names and colours differ in number or a name comes twice.
    """

    names: tuple[str, ...]
    colors: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.colors):
            raise ValueError(
                f"names and colors must pair up: {len(self.names)} names, {len(self.colors)} colors"
            )
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"names must differ from one another, got {self.names}")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self):
        return iter(self.names)

    def __getitem__(self, label: int) -> str:
        return self.names[label]

    def index(self, name: str) -> int:
        """Label of the class ``name``; ``ValueError`` lists the names there are."""
        if name not in self.names:
            raise ValueError(f"name must be one of {', '.join(self.names)}; got {name!r}")
        return self.names.index(name)

    @property
    def palette(self) -> np.ndarray:
        """Colours as ``uint8 (256, 3)``, void included: ``palette[mask]`` colours a mask."""
        table = np.full((256, 3), VOID_COLOR, np.uint8)
        table[: len(self)] = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in self.colors]
        return table


STREETS = ClassSet(
    ("sky", "building", "road", "pavement", "vegetation", "vehicle", "person", "pole"),
    ("#56B4E9", "#E69F00", "#4D4D4D", "#CC79A7", "#009E73", "#0072B2", "#D55E00", "#F0E442"),
)

CAMVID = ClassSet(
    ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"),
    (
        "#56B4E9", "#E69F00", "#F0E442", "#4D4D4D", "#CC79A7", "#009E73",
        "#9D00FF", "#762700", "#0072B2", "#D55E00", "#C4FF9D",
    ),
)  # fmt: skip

PETS = ClassSet(("background", "pet"), ("#4D4D4D", "#E69F00"))

VOC = ClassSet(
    (
        "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus",
        "car", "cat", "chair", "cow", "diningtable", "dog", "horse",
        "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
    ),
    (
        "#4D4D4D", "#0FB4F0", "#FFE100", "#00F0B4", "#1E2D4B", "#0F8796", "#A50F00",
        "#2D00FF", "#FF870F", "#87694B", "#5A0F0F", "#B4A578", "#E1A55A", "#A52DB4",
        "#B44BFF", "#E13C00", "#B4FF96", "#C3C3E1", "#4B00A5", "#5A0078", "#789687",
    ),
)  # fmt: skip

CLASSES = {
    "streets": STREETS,
    "camvid": CAMVID,
    "pets": PETS,
    "voc": VOC,
}
"""The data sets that ``datasets.load`` knows, by name."""

"""A learner's own photograph: read it, scribble on it in code, let the CRF find the rest.

Scribbles are labels ``uint8 (H, W)``, `IGNORE_INDEX` where nothing was drawn. They enter the CRF as
probabilities; its pairwise terms carry them to pixels that are near and alike in colour.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageOps

from helpers.classes import IGNORE_INDEX
from helpers.crf import Params, refine

LONGEST = 480

PARAMS = Params(
    appearance_weight=5, appearance_sxy=30, appearance_srgb=10, smoothness_weight=3, smoothness_sxy=2
)  # fmt: skip
"""Good for scribbles on photos of `LONGEST` pixels.

Chosen by eye and against rough outlines, on four photos that come with scikit-image (coffee,
chelsea, astronaut, rocket).
"""

ITERATIONS = 5

SURE = 0.999
"""Probability of the label that was drawn."""

BINS, BLUR = 32, 12.0
"""Of the colour model: levels of each channel, and its bandwidth in grey levels of 0 to 255."""

FARTHEST = 1e6
"""Largest coordinate and width of a line, in pixels: far above it, Pillow draws nonsense."""

Source = str | PathLike | bytes | BinaryIO | np.ndarray
Line = Sequence[tuple[float, float]]
Stroke = tuple[int, float, Line]
Lines = Mapping[int, Sequence[Line]] | Sequence[Stroke]


def read(source: Source, longest: int = LONGEST) -> np.ndarray:
    """A photo as ``uint8 (H, W, 3)``, upright, its longer side at most `longest` pixels.

    ``source`` is a path, the bytes of a file (also what an upload widget holds), an open file or
    an array ``uint8 (H, W, 3)``. The orientation in EXIF is followed, transparency laid on white,
    of an animation the first picture taken. Prints one line when the photo is reduced. Raises
    ``FileNotFoundError`` for a path where nothing is and ``ValueError`` for whatever is no photo,
    or too large to unpack.
    """
    whole = isinstance(longest, int | np.integer) and not isinstance(longest, bool)
    if not whole or longest < 1:
        raise ValueError(f"longest must be a whole number of pixels from 1, got {longest!r}")
    if isinstance(source, np.ndarray):
        _check_photo("source", source)
        photo = Image.fromarray(source)
    else:
        photo = _decoded(_bytes(source))
    width, height = photo.size
    if max(photo.size) > longest:
        scale = longest / max(photo.size)
        photo = photo.resize([max(1, round(side * scale)) for side in photo.size])
        print(
            f"Photo reduced from {width} × {height} to {photo.width} × {photo.height} pixels "
            "(width × height)."
        )
    return np.array(photo)


def strokes(shape: Sequence[int], lines: Lines, width: float = 5) -> np.ndarray:
    """Scribbles ``uint8 (H, W)`` for a photo of `shape`, from lines through (row, column) points.

    ``lines`` are ``{label: [line, ...]}``, all `width` pixels wide, or ``(label, width, line)`` one
    after the other; later ones cover earlier ones. A line of one point is a dot; what lies outside
    of the photo is cut off. Raises ``ValueError`` for labels, points or widths that are none.
    """
    scribbles = Image.new("L", (shape[1], shape[0]), IGNORE_INDEX)
    pen = ImageDraw.Draw(scribbles)
    for label, thickness, line in as_strokes(lines, width):
        points = [(column, row) for row, column in line]
        radius = (thickness - 1) / 2
        pen.line(points, label, round(thickness))
        for x, y in points:  # round joints and ends
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), label)
    return np.array(scribbles)


def as_strokes(lines: Lines, width: float = 5) -> list[list]:
    """``lines``, in either form that `strokes` takes, as ``[label, width, [[row, column], ...]]``."""
    try:
        if isinstance(lines, Mapping):
            lines = [(label, width, line) for label, group in lines.items() for line in group]
        lines = list(lines)
    except TypeError:
        form = "{label: [line, ...]} or (label, width, line) one after the other"
        raise ValueError(f"lines must be {form}; got {lines!r}") from None
    return [_stroke(stroke) for stroke in lines]


def scribble_probabilities(
    photo: ArrayLike, scribbles: ArrayLike, *, colors: bool = False
) -> np.ndarray:
    """Probabilities ``float32 (C, H, W)`` of labels 0 to the highest drawn, as `refine` takes them.

    What was drawn is nearly certain, `SURE`. All other pixels know nothing: each drawn label is as
    likely as another. With ``colors`` they go by their colour instead: how often it comes in the
    strokes of each label (a kernel density of `BINS` levels a channel), which misleads where object
    and background share colours. A label that was not drawn is nowhere.

    Args:
        photo: ``uint8 (H, W, 3)``.
        scribbles: integers ``(H, W)``, at least two labels, `IGNORE_INDEX` where nothing is drawn.

    Raises ``ValueError`` for other shapes, types or labels.
    """
    photo, scribbles = np.asarray(photo), np.asarray(scribbles)
    drawn = _drawn(photo, scribbles)
    likely = (
        _densities(photo, scribbles, drawn) if colors else np.ones((len(drawn), *photo.shape[:2]))
    )
    likely /= likely.sum(0)
    known = scribbles != IGNORE_INDEX
    rest = (1 - SURE) / (len(drawn) - 1)
    likely[:, known] = np.where(drawn[:, None] == scribbles[known], SURE, rest)
    probabilities = np.zeros((drawn[-1] + 1, *scribbles.shape), np.float32)
    probabilities[drawn] = likely
    return probabilities


def segment(
    photo: ArrayLike,
    scribbles: ArrayLike,
    params: Params = PARAMS,
    iterations: int = ITERATIONS,
    *,
    colors: bool = False,
) -> np.ndarray:
    """Labels ``uint8 (H, W)``: the most likely after `refine`; what was drawn keeps its label.

    Arguments as `scribble_probabilities` and `refine`, and raises what they raise. The photo should
    be about `LONGEST` pixels long: `PARAMS` count in pixels.
    """
    probabilities = scribble_probabilities(photo, scribbles, colors=colors)
    mask = refine(photo, probabilities, params, iterations).argmax(0)
    return np.where(np.equal(scribbles, IGNORE_INDEX), mask, scribbles).astype(np.uint8)


def _bytes(source: Source) -> bytes:
    if isinstance(source, str | PathLike):
        path = Path(source)
        if path.is_dir():
            raise ValueError(f"source must be a photo, got the folder {fspath(source)!r}")
        if not path.exists():
            raise FileNotFoundError(f"source must be a photo, there is no file {fspath(source)!r}")
        data = path.read_bytes()
    else:
        data = source.read() if hasattr(source, "read") else source
    if not isinstance(data, bytes | bytearray | memoryview):
        kind = type(data).__name__
        form = "a path, the bytes of a photo or a file opened in binary mode"
        raise ValueError(f"source must be {form}, got {kind}")
    if not len(data):
        raise ValueError("source must be a photo, got 0 bytes")
    return bytes(data)


def _decoded(data: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _rgb(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    except Image.UnidentifiedImageError as error:
        raise ValueError(
            f"source must be a photo (JPEG, PNG, WebP, GIF, BMP, TIFF), got {len(data)} bytes of "
            "something else; save photos in the HEIC format of telephones as JPEG first"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"source must be a photo of fewer pixels: {error}") from error
    except Exception as error:  # decoders raise whatever broken bytes make of them
        raise ValueError(f"source must be a whole photo, got one that fails: {error}") from error


def _rgb(photo: Image.Image) -> Image.Image:
    if photo.mode == "F":
        raise ValueError("its values are floats of unknown range")
    if photo.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        grey = (np.array(photo) / 257).round().clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if photo.has_transparency_data:
        photo = photo.convert("RGBA")
        photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo)
    return photo.convert("RGB")


def _stroke(stroke: Stroke) -> list:
    try:
        label, width, line = stroke
        points = np.array(line, np.float64)
        fits = points.ndim == 2 and points.shape[1] == 2 and points.size
        fits = fits and abs(points).max() <= FARTHEST
        fits = fits and 1 <= width <= FARTHEST and label in range(IGNORE_INDEX)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(
            f"lines must be of a label from 0 to {IGNORE_INDEX - 1}, a width from 1 and "
            f"(row, column) points, at least one, all up to {FARTHEST:g} pixels; got {stroke!r}"
        )
    return [int(label), float(width), points.tolist()]


def _check_photo(name: str, photo: np.ndarray) -> None:
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
        raise ValueError(f"{name} must be uint8 (H, W, 3), got {photo.dtype} {photo.shape}")


def _drawn(photo: np.ndarray, scribbles: np.ndarray) -> np.ndarray:
    """The labels in checked scribbles on a checked photo, in order."""
    _check_photo("photo", photo)
    if scribbles.dtype.kind not in "iu" or scribbles.shape != photo.shape[:2]:
        raise ValueError(
            f"scribbles must be integers {photo.shape[:2]} like the photo, "
            f"got {scribbles.dtype} {scribbles.shape}"
        )
    drawn = np.unique(scribbles[scribbles != IGNORE_INDEX])
    if drawn.size and not 0 <= drawn[0] <= drawn[-1] < IGNORE_INDEX:
        raise ValueError(
            f"scribbles must hold labels from 0, and {IGNORE_INDEX} where nothing is drawn; "
            f"got {drawn.tolist()}"
        )
    if drawn.size < 2:
        got = f"only label {drawn[0]}" if drawn.size else "nothing drawn"
        raise ValueError(f"scribbles must hold at least two labels, got {got}")
    return drawn


def _densities(photo: np.ndarray, scribbles: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """How dense the strokes of each label are around each pixel's colour, ``(len(drawn), H, W)``."""
    levels = np.arange(BINS)
    kernel = np.exp(-(((levels[:, None] - levels) * (256 / BINS / BLUR)) ** 2) / 2)
    kernel /= kernel.sum(0)
    codes = photo // (256 // BINS) @ np.array([BINS**2, BINS, 1])
    maps = []
    for label in drawn:
        counts = np.bincount(codes[scribbles == label], minlength=BINS**3)
        table = np.einsum(
            "ai,bj,ck,ijk", *[kernel] * 3, counts.reshape([BINS] * 3) / counts.sum(), optimize=True
        )
        maps.append(table.ravel()[codes] + BINS**-3.0)  # colours in no stroke leave it open
    return np.stack(maps)

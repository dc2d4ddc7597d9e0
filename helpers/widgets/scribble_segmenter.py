"""Scribble segmenter: a few strokes on a photo, of one's own if one likes, and the CRF does the rest.

The browser draws strokes and lays the mask over the photo; Python reads uploads and segments. The
browser asks again only when it has been answered, then for the newest strokes, so nothing piles up.
"""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import traitlets
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from helpers import photos
from helpers.classes import IGNORE_INDEX, STREETS, ClassSet
from helpers.crf import Params, check_options
from helpers.widgets.shared import Still, encode, with_shared

COLORS = [STREETS.colors[i] for i in (1, 5, 4, 3, 0, 7)]
"""Of the labels in turn; the first two differ most in greyscale."""

VIEWS = ("overlay", "cut-out")
BRUSH = (1, 31)
"""Narrowest and widest brush, in pixels of the photo."""

PALETTE = ClassSet(tuple(COLORS), tuple(COLORS)).palette

SQUARE, SQUARES = 8, (215, 245)
"""Side in pixels, and greys, of the chequers that the cut-out shows instead of the rest."""


class ScribbleSegmenter(Still):
    """Draw strokes of two labels or more on a photo and see what the CRF makes of them.

    ``photo`` is what `helpers.photos.read` takes (a path, bytes, an open file, an array ``uint8
    (H, W, 3)``) and reduces. Two to six ``names`` are those of the labels; the cut-out shows the
    first. ``params`` and ``iterations`` are those of `helpers.photos.segment`.

    Controls are traits, to read and set, and arguments: ``strokes`` (all lines that
    `helpers.photos.strokes` takes, with ``brush`` as their width), ``label`` (from 0), ``brush``
    (pixels), ``view`` (one of ``VIEWS``) and ``opacity`` (0 to 1). Results are properties:
    ``photo``, ``scribbles`` and ``mask``.

    Raises ``ValueError`` for a photo, names, params, iterations or traits that do not fit,
    ``traitlets.TraitError`` for traits of another type, ``FileNotFoundError`` for a path where no
    photo is; with strokes of two labels also ``ImportError`` where pydensecrf is not installed.
    """

    _esm = with_shared(Path(__file__).with_suffix(".js"))
    _css = Path(__file__).with_suffix(".css")
    alone = False

    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    colors = traitlets.List(COLORS).tag(sync=True)
    views = traitlets.List(VIEWS).tag(sync=True)
    widths = traitlets.List(BRUSH).tag(sync=True)
    picture = traitlets.List().tag(sync=True)  # rows, columns, WebP, its number
    asked = traitlets.List([0, 0]).tag(sync=True)  # numbers of the last request and of its photo
    answer = traitlets.List().tag(sync=True)  # number, deflated mask or nothing, a sentence
    note = traitlets.List().tag(sync=True)  # number and sentence about the last upload

    strokes = traitlets.Any().tag(sync=True)  # [label, width, [[row, column], ...]]
    label = traitlets.Int(0).tag(sync=True)
    brush = traitlets.Int(5).tag(sync=True)
    view = traitlets.Unicode(VIEWS[0]).tag(sync=True)
    opacity = traitlets.Float(0.4).tag(sync=True)

    def __init__(
        self,
        photo: photos.Source,
        names: Sequence[str] = ("object", "background"),
        params: Params | None = None,
        iterations: int = photos.ITERATIONS,
        **traits: object,
    ) -> None:
        texts = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
        if not texts or not 2 <= len(names) <= len(COLORS) or len(set(names)) != len(names):
            raise ValueError(
                f"names must be 2 to {len(COLORS)} texts, all different; got {names!r}"
            )
        self._params = photos.PARAMS if params is None else params
        self._iterations = iterations
        check_options(self._params, iterations)
        self._load(photos.read(photo))
        picture = _picture(self._photo, 0)
        super().__init__(names=list(names), picture=picture, **{"strokes": []} | traits)
        self._segment()
        self.observe(self._respond, ["strokes", "asked"])
        self.on_msg(self._receive)

    @traitlets.validate("strokes", "label", "brush", "view", "opacity")
    def _in_range(self, proposal: dict) -> object:
        name, value = proposal["trait"].name, proposal["value"]
        if name == "strokes":
            value = photos.as_strokes(value, self.brush)
            labels = {stroke[0] for stroke in value}
            good, expected = (
                max(labels, default=0) < len(self.names),
                f"of {len(self.names)} labels",
            )
        elif name == "view":
            good, expected = value in VIEWS, f"one of {', '.join(VIEWS)}"
        else:
            low, high = {"label": (0, len(self.names) - 1), "brush": BRUSH, "opacity": (0, 1)}[name]
            good, expected = low <= value <= high, f"from {low} to {high}"
        if not good:
            raise ValueError(f"{name} must be {expected}; got {value!r}")
        return value

    @property
    def photo(self) -> np.ndarray:
        """The photo as it is segmented, ``uint8 (H, W, 3)``."""
        return self._photo

    @property
    def scribbles(self) -> np.ndarray:
        """What was drawn, ``uint8 (H, W)``: labels, `IGNORE_INDEX` where nothing was."""
        return photos.strokes(self._photo.shape, self.strokes)

    @property
    def mask(self) -> np.ndarray:
        """The labels found, ``uint8 (H, W)``: `IGNORE_INDEX` all over before two labels are drawn."""
        return self._mask

    def _load(self, photo: np.ndarray) -> None:
        self._photo = photo
        self._mask = np.full(photo.shape[:2], IGNORE_INDEX, np.uint8)

    def _respond(self, _change: dict) -> None:
        """Answer for the present strokes, once, when number and strokes change together."""
        if self.asked != self._answered[0] and self.asked[1] != self.picture[-1]:
            self.strokes = []  # they were drawn on a photo that has been exchanged since
        if self._answered != [self.asked, self.strokes]:
            try:
                self._segment()
            except (Exception, KeyboardInterrupt) as error:  # whatever it is: the browser waits
                self.answer = [self.asked[0], b"", _sentence(error)]

    def _segment(self) -> None:
        self._answered = [self.asked, self.strokes]
        self._load(self._photo)  # without the old mask, should the new one fail
        scribbles, told = self.scribbles, ""
        if len(drawn := set(np.unique(scribbles)) - {IGNORE_INDEX}) < 2:
            told = "Draw strokes of two labels at least."
            if drawn:
                told += f" So far there is only {self.names[drawn.pop()]}."
        else:
            self._mask = photos.segment(self._photo, scribbles, self._params, self._iterations)
        packed = b"" if told else zlib.compress(self._mask.tobytes())
        self.answer = [self.asked[0], packed, told]

    def _receive(self, _widget: object, _content: object, buffers: list) -> None:
        """Put an uploaded photo, the first of `buffers`, in place of this one; or say why not."""
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said):  # here, a printed line would go astray
                photo = photos.read(bytes(buffers[0]))
            picture = _picture(photo, self.picture[-1] + 1)
        except (Exception, KeyboardInterrupt) as error:  # whatever it is: the browser waits
            said.write(f"Not taken: {_sentence(error)}")
        else:
            self._load(photo)
            with self.hold_sync():
                self.picture, self.strokes = picture, []
        self.note = [self.note[0] + 1 if self.note else 1, said.getvalue().strip()]

    def figure(self) -> Figure:
        """The same on paper: photo with strokes, photo under its labels, the first label cut out.

        The figure is not registered with pyplot; show or save it.
        """
        panels = [
            ("strokes", self._tinted(self.scribbles, 1)),
            ("labels", self._tinted(self._mask, self.opacity)),
            (f"cut-out: {self.names[0]}", self._cut_out()),
        ]
        height, width = self._mask.shape
        figure = Figure(figsize=(12, 4 * height / width + 0.8), layout="compressed")
        for (title, shown), ax in zip(panels, figure.subplots(1, 3), strict=True):
            ax.imshow(shown, interpolation="nearest")
            ax.set(title=title, xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        for ax, labels, width in zip(
            figure.axes, (self.scribbles, self._mask), (1, 2), strict=False
        ):
            for label in set(np.unique(labels)) - {IGNORE_INDEX}:
                for coat, color in ((width, "black"), (width / 2, "white")):
                    ax.contour(labels == label, [0.5], colors=color, linewidths=coat)
        patches = [
            Patch(facecolor=color, edgecolor="black", label=name)
            for name, color in zip(self.names, COLORS, strict=False)
        ]
        figure.legend(handles=patches, loc="outside lower center", ncols=6, handlelength=1.2)
        return figure

    def _tinted(self, labels: np.ndarray, opacity: float) -> np.ndarray:
        mixed = (1 - opacity) * self._photo + opacity * PALETTE[labels]
        return np.where((labels == IGNORE_INDEX)[..., None], self._photo, mixed).astype(np.uint8)

    def _cut_out(self) -> np.ndarray:
        rows, columns = np.indices(self._mask.shape) // SQUARE
        squares = np.array(SQUARES)[(rows + columns) % 2, None]
        gone = (self._mask != IGNORE_INDEX) & (self._mask != 0)
        return np.where(gone[..., None], squares, self._photo).astype(np.uint8)

    def __repr__(self) -> str:
        height, width = self._mask.shape
        return (
            f"Scribble segmenter: a photo of {height} × {width} pixels, {len(self.strokes)} "
            f"strokes; {', '.join(self.names)}."
        )


def _picture(photo: np.ndarray, number: int) -> list:
    """What the browser shows: rows, columns, WebP and number of the photo."""
    return [*photo.shape[:2], encode(Image.fromarray(photo), "WEBP", quality=90), number]


def _sentence(error: BaseException) -> str:
    return str(error) or type(error).__name__

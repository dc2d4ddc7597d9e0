"""Receptive field explorer: move an output pixel over a street and see what it looks at.

The browser counts the paths of a stack of layers, and knows the boxes of trained networks, so a
saved page stays alive without a kernel. Only the effective field, a gradient, is Python's: it
answers whenever picture, network or pixel change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from numpy.typing import ArrayLike
from PIL import Image
from torch import nn

from helpers.receptive_field import effective, stack_paths, theoretical
from helpers.widgets.shared import Still, encode, rgb, with_shared

STACK = "stack"
SHOWS = ("paths", "heat")
SHARES = (0.5, 0.95)
"""A circle holds each of these shares of the heat."""

LIMITS = {"layers": (1, 8), "kernel": (1, 7), "stride": (1, 4), "dilation": (1, 16)}

TINT = (255, 158, 0)
VEIL, HOLE, PALE, STRONG = 0.45, 0.7, 0.2, 0.85
"""Opacities of the veil outside and over a hole, of the tint at one path and at the most."""


def layers_of(rates: Sequence[int]) -> list[list[int]]:
    """``[kernel, stride, dilation]`` of a 3x3 convolution for each of `rates`."""
    return [[3, 1, rate] for rate in rates]


PRESETS = [
    *(
        [", ".join(map(str, rates)), layers_of(rates)]
        for rates in ((1, 1, 1, 1), (2, 2, 2, 2), (1, 2, 4, 8), (4, 4, 4, 4), (1, 2, 5, 8))
    ),
    ["two VGG blocks", [*layers_of((1, 1)), [2, 2, 1], *layers_of((1, 1)), [2, 2, 1]]],
]
"""Stacks with a button of their own: a name and its layers."""


def paths_to_image(
    layers: Sequence[Sequence[int]], size: tuple[int, int], pixel: tuple[int, int]
) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """What the output cell nearest to `pixel` of a stack sees: paths and box.

    Paths are counts ``float64 (H, W)`` from each pixel of an image of `size` to the cell; the box
    is half open, ``(top, left, bottom, right)``, and clipped to the image. A layer pads half of
    its reach, so that with odd kernels cell ``o`` is centred on pixel ``o * stride``; paths through
    padding do not count. A stack that leaves no cell of so small an image counts as having one.
    """
    (rows, top, bottom), (columns, left, right) = map(_line, (layers,) * 2, size, pixel)
    return np.outer(rows, columns), (top, left, bottom, right)


def _line(layers: Sequence[Sequence[int]], side: int, at: int) -> tuple[np.ndarray, int, int]:
    """Paths ``(side,)`` along one axis, and the ends of the box."""
    cells, low, high, jump = [side], 0, 0, 1  # low, high: ends of the field of cell 0
    for kernel, stride, dilation in layers:
        reach = dilation * (kernel - 1)
        cells.append(max(1, (cells[-1] - 1 - reach % 2) // stride + 1))
        low -= reach // 2 * jump
        high += (reach - reach // 2) * jump
        jump *= stride
    cell = min(max(0, math.floor((at - (low + high) / 2) / jump + 0.5)), cells[-1] - 1)
    counts = np.eye(1, cells[-1], cell)[0]
    for (kernel, stride, dilation), below in zip(layers[::-1], cells[-2::-1], strict=True):
        wider = np.zeros(below)
        for tap in range(kernel):
            reads = stride * np.arange(len(counts)) + dilation * tap - dilation * (kernel - 1) // 2
            inside = (reads >= 0) & (reads < below)
            wider[reads[inside]] += counts[inside]
        counts = wider
    low, high = (min(max(0, end + cell * jump), side) for end in (low, high + 1))
    return counts, low, high


class ReceptiveFieldExplorer(Still):
    """Move an output pixel over a street: its box, the pixels it sees, the holes, the heat.

    ``images`` are float ``(N, 3, H, W)`` in [0, 1] or uint8 ``(N, H, W, 3)``; ``networks`` are
    trained networks by name, which take such floats. The controls are traits, to read and set, and
    arguments: ``index`` (the picture, from 0), ``source`` ("stack" or a network's name), ``layers``
    of the stack (1 to 8 of ``[kernel, stride, dilation]``, within ``LIMITS``), ``row`` and
    ``column`` (the output pixel, in pixels of the image; by default its middle) and ``show``:
    "paths", which pixels have a path to the output, or "heat", how much each counts. The heat of a
    stack is its share of paths, what the gradient would be with equal weights; that of a network
    is `helpers.receptive_field.effective` on the picture.

    Raises ``ValueError`` for images or networks of another form and for traits out of range.
    """

    _esm = with_shared(Path(__file__).with_suffix(".js"))
    _css = Path(__file__).with_suffix(".css")

    shape = traitlets.List().tag(sync=True)  # pictures, rows, columns
    photos = traitlets.List().tag(sync=True)
    limits = traitlets.Dict(LIMITS).tag(sync=True)
    presets = traitlets.List(PRESETS).tag(sync=True)
    boxes = traitlets.Dict().tag(sync=True)  # by network: size, stride, box of each row and column
    # heat by the root in 256 levels: [index, source, row, column, bytes, area, radii ...]
    starts = traitlets.List().tag(sync=True)  # of every network, for pages without a kernel
    answer = traitlets.List().tag(sync=True)  # the newest

    index = traitlets.Int(0).tag(sync=True)
    source = traitlets.Unicode(STACK).tag(sync=True)
    layers = traitlets.Any(layers_of((1, 2, 4, 8))).tag(sync=True)
    row = traitlets.Int(0).tag(sync=True)
    column = traitlets.Int(0).tag(sync=True)
    show = traitlets.Unicode(SHOWS[0]).tag(sync=True)

    def __init__(
        self, images: ArrayLike, networks: Mapping[str, nn.Module] | None = None, **traits: object
    ) -> None:
        self._photos = rgb(images)
        self._networks = dict(networks or {})
        for name, network in self._networks.items():
            if name == STACK or not isinstance(network, nn.Module):
                kind = type(network).__name__
                raise ValueError(
                    f"networks must be modules by a name other than {STACK!r}, got {name!r}: {kind}"
                )
        _, height, width = shape = self._photos.shape[:3]
        super().__init__(
            shape=list(shape),
            photos=[encode(Image.fromarray(photo), "WEBP", quality=90) for photo in self._photos],
            boxes={
                name: _boxes(name, network, (height, width))
                for name, network in self._networks.items()
            },
            **{"row": height // 2, "column": width // 2} | traits,
        )
        self.starts = [self._heat(name) for name in self._networks]
        self.observe(self._respond, ["index", "source", "row", "column", "show"])

    @traitlets.validate("index", "source", "layers", "row", "column", "show")
    def _in_range(self, proposal: dict) -> object:
        name, value = proposal["trait"].name, proposal["value"]
        if name == "layers":
            return check_layers(name, value)
        if name in ("source", "show"):
            known = SHOWS if name == "show" else (STACK, *self.boxes)
            good, expected = value in known, f"one of {', '.join(known)}"
        else:
            last = self.shape[("index", "row", "column").index(name)] - 1
            good, expected = 0 <= value <= last, f"from 0 to {last}"
        if not good:
            raise ValueError(f"{name} must be {expected}; got {value!r}")
        return value

    def _respond(self, _change: dict) -> None:
        """Answer for the present state; of changes that come together, for the last one only."""
        asked = [self.index, self.source, self.row, self.column]
        if self.show == "heat" and self.source != STACK and self.answer[:4] != asked:
            self.answer = self._heat(self.source)

    def _heat(self, name: str) -> list:
        pixel = self.row, self.column
        image = torch.from_numpy(self._photos[self.index] / np.float32(255)).permute(2, 0, 1)
        found = effective(self._networks[name], image[None], pixel)
        levels = (255 * np.sqrt(found.heat)).round().astype(np.uint8)
        radii = np.nan_to_num([found.radius(share) for share in SHARES]).tolist()  # 0: no heat
        return [self.index, name, *pixel, levels.tobytes(), found.area, *radii]

    def figure(
        self,
        stacks: Sequence[Sequence[int] | Sequence[Sequence[int]]] = (),
        networks: Sequence[str] = (),
    ) -> Figure:
        """The same on paper, for the present picture and pixel: a panel for each setting.

        `stacks` are rates, each of a 3x3 convolution, or layers ``[kernel, stride, dilation]``: the
        panel shows box, seen pixels and holes. `networks` are names: box and heat with its circles.
        By default what the widget shows. All panels show the same part of the picture, with the
        largest box. The figure is not registered with pyplot; show or save it. Raises
        ``ValueError`` for layers out of range and for unknown names.
        """
        if not stacks and not networks:
            stacks = [self.layers] if self.source == STACK else []
            networks = [] if self.source == STACK else [self.source]
        if strange := [name for name in networks if name not in self._networks]:
            raise ValueError(f"networks must be out of {list(self._networks)}, got {strange}")
        panels = [self._stack_panel(stack) for stack in stacks]
        panels += [self._network_panel(name) for name in networks]
        tops, lefts, bottoms, rights = zip(*(panel["box"] for panel in panels), strict=True)
        _, height, width = self.shape
        window = [
            _window(min(low), max(high), side)
            for low, high, side in ((tops, bottoms, height), (lefts, rights, width))
        ]
        columns = min(3, len(panels))
        lines = math.ceil(len(panels) / columns)
        across = 10 / columns if columns > 1 else 6
        tall, wide = (high - low for low, high in window)
        figure = Figure(
            figsize=(columns * across, lines * (across * tall / wide + 0.6)), layout="compressed"
        )
        axes = figure.subplots(lines, columns, squeeze=False).flatten()
        for ax, panel in zip(axes, panels, strict=False):
            self._print(ax, window, **panel)
        for ax in axes[len(panels) :]:
            ax.remove()
        return figure

    def _stack_panel(self, stack: Sequence) -> dict:
        rates = all(np.ndim(layer) == 0 for layer in stack)
        layers = check_layers("stacks", layers_of(stack) if rates else stack)
        counts, box = paths_to_image(layers, tuple(self.shape[1:]), (self.row, self.column))
        line = np.array(stack_paths(layers))
        most = math.log(max(2.0, float(line.max()) ** 2))
        inside = _inside(counts.shape, box)
        seen = counts > 0
        tint = np.where(seen, PALE + (STRONG - PALE) * np.log(np.maximum(counts, 1)) / most, 0)
        veil = np.where(inside, np.where(seen, 0, HOLE), VEIL)
        name = "rates " + ", ".join(str(rate) for _, _, rate in layers)
        if not all(layer[:2] == [3, 1] for layer in layers):
            name = " ".join(f"{k}×{k}/{s}" + f" r{r}" * (r > 1) for k, s, r in layers)
        share = 100 * ((line > 0).mean() ** 2)
        title = f"{name}\n{len(line)} × {len(line)} pixels, {share:.3g} % covered"
        return {"box": box, "veil": veil, "tint": tint, "title": title, "holes": inside & ~seen}

    def _network_panel(self, name: str) -> dict:
        *_, levels, _area, half, most = self._heat(name)
        size, _, rows, columns = self.boxes[name]
        (top, bottom), (left, right) = rows[self.row], columns[self.column]
        level = np.frombuffer(levels, np.uint8).reshape(self.shape[1:]) / 255
        told = "the whole image" if None in size else f"{size[0]} × {size[1]} pixels"
        title = f"{name}: {told}\n50 % within {half:.0f} px, 95 % within {most:.0f} px"
        return {
            "box": (top, left, bottom, right),
            "veil": HOLE * (1 - level),
            "tint": STRONG * level,
            "title": title,
            "radii": (half, most),
        }

    def _print(
        self,
        ax: Axes,
        window: list[tuple[int, int]],
        box: tuple[int, int, int, int],
        veil: np.ndarray,
        tint: np.ndarray,
        title: str,
        holes: np.ndarray | None = None,
        radii: tuple[float, ...] = (),
    ) -> None:
        veil, tint = veil[..., None], tint[..., None]
        photo = self._photos[self.index] * (1 - veil) * (1 - tint) + tint * TINT
        ax.imshow(photo.round().astype(np.uint8), interpolation="nearest")
        if holes is not None:
            strokes = [[(x - 0.5, y + 0.5), (x + 0.5, y - 0.5)] for y, x in np.argwhere(holes)]
            ax.add_collection(LineCollection(strokes, colors="#bbbbbb", linewidths=0.6))
        top, left, bottom, right = box
        shapes = [(Rectangle, ((left - 0.5, top - 0.5), right - left, bottom - top), "white", "-")]
        shapes.append((Rectangle, ((self.column - 0.5, self.row - 0.5), 1, 1), "white", "-"))
        for radius, dash in zip(radii, ("-", (0, (4, 3))), strict=False):
            shapes.append((Circle, ((self.column, self.row), radius), "#56b4e9", dash))
        for kind, place, color, dash in shapes:
            for width, ink, style in ((3.5, "black", "-"), (1.8, color, dash)):
                ax.add_patch(kind(*place, fill=False, linewidth=width, color=ink, linestyle=style))
        (low, high), (start, end) = window
        ax.set(xlim=(start - 0.5, end - 0.5), ylim=(high - 0.5, low - 0.5), xticks=[], yticks=[])
        ax.set_title(title, fontsize=12)
        ax.spines[:].set_visible(False)

    def __repr__(self) -> str:
        count, height, width = self.shape
        return (
            f"Receptive field explorer: {count} pictures of {height} × {width} pixels; "
            f"{', '.join(('a stack of layers', *self.boxes))}."
        )


def check_layers(name: str, layers: object) -> list[list[int]]:
    """``layers`` as lists of whole numbers within ``LIMITS``, or ``ValueError``."""
    low, high = LIMITS["layers"]
    try:
        rows = [list(layer) for layer in layers]
    except TypeError:
        rows = []
    if not low <= len(rows) <= high or any(len(layer) != 3 for layer in rows):
        raise ValueError(
            f"{name} must be {low} to {high} of [kernel, stride, dilation]; got {layers!r}"
        )
    for layer in rows:
        for axis, value in zip(("kernel", "stride", "dilation"), layer, strict=True):
            low, high = LIMITS[axis]
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not (whole and low <= value <= high):
                raise ValueError(
                    f"{name} must have a {axis} from {low} to {high}; got {value!r} in {layer}"
                )
    return [[int(value) for value in layer] for layer in rows]


def _boxes(name: str, network: nn.Module, size: tuple[int, int]) -> list:
    """Size, stride, then the ends of the box for each row and for each column: it is separable."""
    field = theoretical(network, size)
    given = [one.output_size for one in (field if isinstance(field, list) else [field])]
    if given != [size]:
        raise ValueError(
            f"networks must give one map of {size[0]} x {size[1]} like the images, "
            f"{name!r} gives {given}"
        )
    places = [np.minimum(place, np.subtract(size, 1)).tolist() for place in range(max(size))]
    boxes = [field.box(*place) for place in places]
    rows, columns = [box[0::2] for box in boxes[: size[0]]], [box[1::2] for box in boxes[: size[1]]]
    extents = [None if math.isinf(extent) else int(extent) for extent in field.size]
    return [extents, round(field.stride[0], 2), rows, columns]


def _inside(shape: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    inside = np.zeros(shape, bool)
    inside[box[0] : box[2], box[1] : box[3]] = True
    return inside


def _window(low: int, high: int, side: int) -> tuple[int, int]:
    """The part of one side to print: the boxes and a margin of 6, half of the side at least."""
    length = min(side, max(high - low + 12, side // 2))
    start = min(max(0, (low + high - length) // 2), side - length)
    return start, start + length

"""The surface that street scenes are drawn on: a camera, a raster of materials, random draws.

Everything is placed in metres (X to the right, Y up, Z away from the camera), projected by a
`View` into the frame of 96 x 128 units and drawn as flat polygons into one raster of material
numbers, from which `helpers.scenes` reads both colours and labels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from helpers.classes import STREETS

SKY, BUILDING, ROAD, PAVEMENT, VEGETATION, VEHICLE, PERSON, POLE = range(len(STREETS))
NO_CUE, PUDDLE, MIRROR_WINDOW, PAINTED_WALL, BARE_CONCRETE = range(5)
FINE, LEAFY, COURSES = (1.0, 0.0, 0.0), (0.3, 1.0, 0.0), (0.4, 0.0, 1.0)
"""Shares of the three grains: asphalt, foliage, courses of brick."""
OVERSAMPLING = 3

Color = tuple[float, float, float]
Point = tuple[float, float]


def shade(color: Color, factor: float) -> Color:
    r, g, b = color
    return r * factor, g * factor, b * factor


class Dice:
    """Uniform draws, taken in blocks: one scalar from NumPy costs as much as drawing a polygon."""

    def __init__(self, rng: np.random.Generator) -> None:
        def stream() -> Iterator[float]:
            while True:
                yield from rng.random(1024).tolist()

        self._next = stream().__next__

    def __call__(self, low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * self._next()

    def chance(self, probability: float) -> bool:
        return self._next() < probability

    def pick(self, options: Sequence):
        return options[int(self._next() * len(options))]

    def vary(self, color: Color, spread: float = 12.0) -> Color:
        """`color` made lighter or darker, and each channel a little different."""
        light = self(-spread, spread)
        r, g, b = (c + light + self(-spread, spread) / 3 for c in color)
        return r, g, b


@dataclass(frozen=True)
class View:
    """A pinhole camera that looks along the street: `height` in metres, the rest in frame units."""

    horizon: float
    vanishing_x: float
    focal: float
    height: float

    def __call__(self, x: float, y: float, z: float) -> Point:
        scale = self.focal / (z if z > 0.8 else 0.8)
        return self.vanishing_x + x * scale, self.horizon + (self.height - y) * scale


class Canvas:
    """One raster of material numbers at three times the resolution, and the table of materials.

    A material is a row (r, g, b, sky, ground), a grain, a label and a cue. `sky` is the share of
    sky that shows in it (1 in the sky itself, less in what mirrors it); `ground` marks the plane
    that takes shadows and haze by its distance, pixel by pixel. The rest is hazed by its `z`.
    """

    def __init__(
        self, size: tuple[int, int], view: View, tint: Color, haze: Color, density: float
    ) -> None:
        height, width = (OVERSAMPLING * side for side in size)
        self.scale_x, self.scale_y = width / 128, height / 96
        self.view, self.tint, self.haze, self.density = view, tint, haze, density
        self.image = Image.new("I", (width, height))
        self.shadow = Image.new("L", size[::-1])
        self._draw, self._shade = ImageDraw.Draw(self.image), ImageDraw.Draw(self.shadow)
        self.colors: list[tuple[float, ...]] = []
        self.grains: list[Color] = []
        self.labels: list[tuple[int, int]] = []

    def material(
        self,
        label: int,
        color: Color,
        z: float = 0.0,
        cue: int = NO_CUE,
        sky: float = 0.0,
        ground: float = 0.0,
        grain: Color = (0.0, 0.0, 0.0),
    ) -> int:
        clear = math.exp(-self.density * z)
        own, veil = (1 - sky) * clear, 1 - clear
        (r, g, b), (tr, tg, tb), (hr, hg, hb) = color, self.tint, self.haze
        rgb = r * tr * own + hr * veil, g * tg * own + hg * veil, b * tb * own + hb * veil
        self.colors.append((*rgb, sky * clear, ground))
        self.grains.append(shade(grain, clear))
        self.labels.append((label, cue))
        return len(self.labels) - 1

    def polygon(self, points: Sequence[Point], material: int) -> None:
        sx, sy = self.scale_x, self.scale_y
        self._draw.polygon([(x * sx, y * sy) for x, y in points], material)

    def line(self, points: Sequence[Point], width: float, material: int) -> None:
        sx, sy = self.scale_x, self.scale_y
        width = max(1, round(width * sx))
        self._draw.line([(x * sx, y * sy) for x, y in points], material, width)

    def ellipse(self, x: float, y: float, rx: float, ry: float, material: int) -> None:
        sx, sy = self.scale_x, self.scale_y
        box = (x - rx) * sx, (y - ry) * sy, (x + rx) * sx, (y + ry) * sy
        self._draw.ellipse(box, material)

    def flat(self, x0: float, x1: float, z0: float, z1: float) -> list[Point]:
        """Corners of a rectangle on the ground."""
        v = self.view
        return [v(x0, 0, z0), v(x1, 0, z0), v(x1, 0, z1), v(x0, 0, z1)]

    def cast(self, x0: float, x1: float, z0: float, z1: float, darkness: float = 1.0) -> None:
        """Lay a shadow on a rectangle of the ground; it shows on ground materials only."""
        sx, sy = self.scale_x / OVERSAMPLING, self.scale_y / OVERSAMPLING
        points = [(x * sx, y * sy) for x, y in self.flat(x0, x1, max(z0, 1.5), z1)]
        self._shade.polygon(points, round(255 * darkness))


class Wall:
    """An upright rectangle: `wall(u, v)` is where the point at (length, height) shares lands."""

    def __init__(self, view: View, start: Point, end: Point, height: float) -> None:
        self.view, self.start, self.end, self.height = view, start, end, height

    def __call__(self, u: float, v: float) -> Point:
        (x0, z0), (x1, z1) = self.start, self.end
        return self.view(x0 + (x1 - x0) * u, self.height * v, z0 + (z1 - z0) * u)

    def quad(self, u0: float, u1: float, v0: float = 0.0, v1: float = 1.0) -> list[Point]:
        return [self(u0, v0), self(u1, v0), self(u1, v1), self(u0, v1)]

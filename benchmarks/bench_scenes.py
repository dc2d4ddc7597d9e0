"""Scenes per second on one core, beside a common way to get an exact mask: Matplotlib.

The peer draws the polygons of the same scenes, the ones that `helpers.scenes` hands to Pillow, with
Matplotlib's Agg canvas at the same three-fold size, anti-aliasing off, and reads the raster back.
It draws polygons only: no lines, no ellipses, no colours, light, haze or noise. Our figure is the
whole of `render`, so the ratio is to the peer's advantage.

    python -m benchmarks.bench_scenes
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from unittest import mock

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from helpers.scenes import render
from helpers.scenes.canvas import OVERSAMPLING, Canvas

SCENES, ROUNDS, SIZE = 20, 5, (96, 128)


def polygons_of(index: int) -> list[tuple[np.ndarray, int]]:
    """Corners in frame units and material of every polygon of a scene, in drawing order."""
    drawn, polygon = [], Canvas.polygon

    def record(canvas: Canvas, points, material: int) -> None:
        drawn.append((np.array(points), material))
        polygon(canvas, points, material)

    with mock.patch.object(Canvas, "polygon", record):
        render(0, index)
    return drawn


def draw_with_matplotlib(polygons: list[tuple[np.ndarray, int]]) -> np.ndarray:
    """Material numbers (3H, 3W), each written as a colour and read back."""
    height, width = (OVERSAMPLING * side for side in SIZE)
    canvas = FigureCanvasAgg(Figure(figsize=(width / 100, height / 100), dpi=100))
    axes = canvas.figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 128), ylim=(96, 0))
    axes.axis("off")
    numbers = np.array([material for _, material in polygons])
    colors = np.stack([numbers % 256, numbers // 256, 0 * numbers], 1) / 255
    shapes = [points for points, _ in polygons]
    axes.add_collection(PolyCollection(shapes, facecolors=colors, linewidths=0, antialiased=False))
    canvas.draw()
    raster = np.asarray(canvas.buffer_rgba()).astype(int)
    return raster[..., 0] + 256 * raster[..., 1]


def per_second(draw: Callable[[int], object]) -> float:
    """Scenes per second of processor time: on one core, whatever else the machine does."""
    begin = time.process_time()
    for index in range(SCENES):
        draw(index)
    return SCENES / (time.process_time() - begin)


def main() -> None:
    """Print scenes per second, median of the rounds, and the ratio to the peer."""
    scenes = [polygons_of(index) for index in range(SCENES)]
    ours, peer = [], []
    for _ in range(ROUNDS):  # taking turns, so that a busy moment hits both
        ours.append(per_second(lambda index: render(0, index, SIZE)))
        peer.append(per_second(lambda index: draw_with_matplotlib(scenes[index])))
    mine, theirs = statistics.median(ours), statistics.median(peer)
    print(f"render scenes at {SIZE[0]} x {SIZE[1]}: {mine:.0f} scenes/s on one core")
    print(f"Matplotlib Agg, polygons of the same scenes only: {theirs:.0f} scenes/s")
    print(f"ratio: {mine / theirs:.1f}x")


if __name__ == "__main__":
    main()

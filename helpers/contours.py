"""Edges, bands and contours of label maps ``(N, H, W)``: the geometry under the boundary scores.

Integer arithmetic throughout: exact, and several times faster than a transform per class.
"""

from __future__ import annotations

import math

import numpy as np


def matches(
    contour: np.ndarray, other: np.ndarray, num_classes: int, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Contour pixels, and those with one of their class in ``other`` so near: ``(N, C)`` each."""
    r = int(tolerance)
    others = np.pad(other, ((0, 0), (r, r), (r, r)), constant_values=num_classes)
    image, y, x = np.nonzero(contour < num_classes)
    label = contour[image, y, x]
    at = np.ravel_multi_index((image, y + r, x + r), others.shape)
    key = image * num_classes + label
    shape = len(contour), num_classes
    size = np.bincount(key, minlength=math.prod(shape)).reshape(shape)
    dy, dx = np.mgrid[-r : r + 1, -r : r + 1].reshape(2, -1)
    squared = dy * dy + dx * dx
    flat = others.ravel()
    # Nearest offsets first: most pixels find their partner at once and drop out.
    for i in np.argsort(squared, kind="stable"):
        if squared[i] > tolerance * tolerance or not at.size:
            break
        alone = flat[at + (dy[i] * others.shape[2] + dx[i])] != label
        at, label, key = at[alone], label[alone], key[alone]
    missed = np.bincount(key, minlength=math.prod(shape)).reshape(shape)
    return size, size - missed


def edges(labels: np.ndarray, corners: bool = False, frame: bool = False) -> np.ndarray:
    """Pixels with another label among their 4 (``corners``: 8) neighbours; ``frame`` counts too."""
    across = labels[:, :, 1:] != labels[:, :, :-1]
    down = labels[:, 1:] != labels[:, :-1]
    edges = np.zeros(labels.shape, bool)
    edges[:, :, 1:] = across
    edges[:, :, :-1] |= across
    if corners:  # a diagonal neighbour differs if the row above or below changes there
        edges |= dilate(edges, 1, axes=(1,))
    edges[:, 1:] |= down
    edges[:, :-1] |= down
    if frame:
        edges[:, [0, -1]] = edges[:, :, [0, -1]] = True
    return edges


def dilate(mask: np.ndarray, radius: int, axes: tuple[int, ...] = (1, 2)) -> np.ndarray:
    """Dilation of (N, H, W) by a square of side ``2 * radius + 1``, doubling its reach."""
    grown = mask.copy()
    for axis in axes:
        lines, reach = grown.swapaxes(axis, 1), 0
        while reach < radius:
            step = min(reach + 1, radius - reach)
            before = lines.copy(order="K")
            lines[:, step:] |= before[:, :-step]
            lines[:, :-step] |= before[:, step:]
            reach += step
    return grown


def squared_distance(edges: np.ndarray, reach: int) -> np.ndarray:
    """Squared Euclidean distance to the nearest edge pixel, exact below ``reach**2``, else that.

    Along rows first, by steps of 1, 2, 4, ... (any distance is a sum of them), then the lower
    envelope over the rows that are near enough. Small unsigned integers keep it fast.
    """
    dtype = np.min_scalar_type(2 * reach * reach)
    distance = np.where(edges, 0, reach).astype(dtype)
    step = 1
    while step < reach:
        further = distance + dtype.type(step)
        np.minimum(distance[:, :, step:], further[:, :, :-step], out=distance[:, :, step:])
        np.minimum(distance[:, :, :-step], further[:, :, step:], out=distance[:, :, :-step])
        step *= 2
    distance *= distance
    nearest = distance.copy()
    for dy in range(1, min(reach, edges.shape[1])):
        if dy * dy >= nearest.max():
            break
        further = distance + dtype.type(dy * dy)
        np.minimum(nearest[:, dy:], further[:, :-dy], out=nearest[:, dy:])
        np.minimum(nearest[:, :-dy], further[:, dy:], out=nearest[:, :-dy])
    return nearest

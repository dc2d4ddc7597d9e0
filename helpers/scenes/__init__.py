"""Procedural street scenes: image, exact mask and cue map from ``(seed, index)`` alone.

A street is laid out in metres and drawn by the painter's algorithm, far to near, as one raster of
material numbers at three times the resolution. Label and cue of a pixel are those of the material
at its centre; its colour is the mean over its 3 x 3 samples, so image and labels share one
geometry. Light, shadows, haze, texture and sensor noise come after and leave the labels alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageFilter

from helpers.scenes.canvas import OVERSAMPLING, Color, Dice
from helpers.scenes.layout import Street

CUES = ("none", "puddle", "mirror window", "painted wall", "bare concrete")
"""What the integers of the cue map mean: why only context can label a pixel."""

SOURCES = tuple(sorted(Path(__file__).parent.glob("*.py")))
"""All the code that draws: what the pixels depend on."""

GRAIN = 0.055
VIGNETTE = 0.07
SENSOR_NOISE = 5.0
"""Standard deviations of texture (share of the colour) and sensor (grey levels of 255)."""


@dataclass(frozen=True)
class Scene:
    """One street: ``image`` uint8 (H, W, 3), ``mask`` uint8 (H, W) with labels of
    ``helpers.classes.STREETS``, ``cue`` uint8 (H, W) with indices into `CUES`."""

    image: np.ndarray
    mask: np.ndarray
    cue: np.ndarray


def code_digest() -> str:
    """SHA-256 of the drawing code: other code, other scenes."""
    sources = "".join(source.read_text(encoding="utf-8") for source in SOURCES)
    return hashlib.sha256(sources.encode()).hexdigest()


def fingerprint() -> str:
    """SHA-256 that changes whenever a pixel may: the drawing code, NumPy or Pillow."""
    state = f"{code_digest()} numpy {np.__version__} pillow {PIL.__version__}"
    return hashlib.sha256(state.encode()).hexdigest()


def render(seed: int, index: int, size: tuple[int, int] = (96, 128)) -> Scene:
    """Scene number ``index`` of the series ``seed``, ``size`` = (H, W) pixels.

    The same arguments give the same pixels on every run. The layout does not depend on ``size``:
    a larger scene is the same street drawn finer (its sensor noise is still one draw per pixel).
    Raises ``ValueError`` for a negative or fractional ``seed`` or ``index`` and for a ``size``
    that is not two ints of at least 32.
    """
    for name, value in (("seed", seed), ("index", index)):
        if not _at_least(0, value):
            raise ValueError(f"{name} must be an int of at least 0, got {value!r}")
    sides = tuple(size) if isinstance(size, (tuple, list)) else ()
    if len(sides) != 2 or not all(_at_least(32, side) for side in sides):
        raise ValueError(f"size must be two ints (height, width) of at least 32, got {size!r}")

    rng = np.random.default_rng([seed, index])
    street = Street(Dice(rng), sides)
    street.draw()
    return develop(street, rng, sides)


def _at_least(minimum: int, value: object) -> bool:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return whole and value >= minimum


def develop(street: Street, rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """Turn the raster of materials into colours and labels."""
    canvas, light, horizon = street.canvas, street.light, street.view.horizon
    height, width = size
    materials, step = np.asarray(canvas.image), OVERSAMPLING
    centre = materials[step // 2 :: step, step // 2 :: step]
    labels = np.array(canvas.labels, np.uint8).T.take(centre, axis=1)
    table = np.array(canvas.colors, np.float32) / step**2
    mean = sum(
        table.take(materials[i::step, j::step], axis=0) for i in range(step) for j in range(step)
    )
    # Channels first, (C, H, W): NumPy is slow to spread one value over three neighbours.
    mean = np.ascontiguousarray(mean.transpose(2, 0, 1))
    color, sky_share, ground = mean[:3], mean[3], mean[4]

    def field(rows: int, columns: int) -> np.ndarray:
        """Smooth noise (H, W) of about unit variance, the same at every size."""
        knots = Image.fromarray(rng.standard_normal((rows, columns), np.float32))
        return np.asarray(knots.resize((width, height), Image.Resampling.BICUBIC))

    def channels(rgb: Color) -> np.ndarray:
        return np.array(rgb, np.float32)[:, None, None]

    # Frame coordinates of pixel centres, and how far away the ground is that shows there.
    y = ((np.arange(height, dtype=np.float32) + 0.5) * (96 / height))[:, None]
    x = (np.arange(width, dtype=np.float32) + 0.5) * (128 / width)
    distance = street.view.focal * street.view.height / np.maximum(y - horizon, 0.5)

    grains = np.array(canvas.grains, np.float32).T.take(centre, axis=1)
    grain = grains[0] * field(96, 128) + grains[1] * field(48, 64) + grains[2] * field(48, 24)
    glow = 1 + 0.05 * field(4, 5) + 0.04 * field(12, 16)
    shadow = np.asarray(canvas.shadow.filter(ImageFilter.GaussianBlur(1.2 * width / 128)))
    dark = ground * shadow * np.float32(light.shadow / 255)
    corners = VIGNETTE * (((x - 64) / 64) ** 2 + ((y - 48) / 48) ** 2)
    color *= (1 + GRAIN * grain) * glow * (1 - dark)
    veil = (1 - np.exp(-street.density * distance)) * ground * (1 - sky_share)
    color += veil * (channels(canvas.haze) - color)

    # Below the horizon the sky is seen upside down (puddles), above it as it is (windows).
    high = np.abs(y - horizon)
    up = np.minimum(high / horizon, 1)
    row = ((horizon - high) * (height / 96)).astype(int).clip(0, height - 1)[:, 0]
    clouds = (field(5, 6) + 0.5 * field(12, 14)).clip(0, 2)[row] * up
    low, top = channels(light.horizon), channels(light.zenith)
    color += sky_share * low + sky_share * (up - 0.35 * clouds) * (top - low)
    color *= 1 - corners
    color += SENSOR_NOISE * rng.standard_normal(color.shape, np.float32)
    image = (color + 0.5).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    return Scene(np.ascontiguousarray(image), *labels)

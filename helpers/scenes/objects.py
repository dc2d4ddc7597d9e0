"""What stands in a street and how it is drawn: trees, vehicles, people and poles.

Positions and sizes are in metres, in the coordinates of `helpers.scenes.canvas`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from helpers.scenes.canvas import (
    LEAFY,
    PERSON,
    POLE,
    VEGETATION,
    VEHICLE,
    Canvas,
    Color,
    Dice,
    Point,
    shade,
)


def tree(
    canvas: Canvas, dice: Dice, x: float, z: float, size: float, leaves: Sequence[Color] | None
) -> None:
    """A tree of `size` metres: a leafy crown with a ragged edge, or bare branches (None)."""
    scale, bark = canvas.view.focal / z, dice.vary((84, 68, 56), 10)
    wood = canvas.material(VEGETATION, bark, z, grain=LEAFY)
    foot, trunk = canvas.view(x, 0, z), size * scale * dice(0.28, 0.38)
    lean = dice(-0.08, 0.08) * trunk
    fork = foot[0] + lean, foot[1] - trunk
    thick = max(1.4, 0.045 * size * scale)
    canvas.line([foot, fork], thick, wood)
    if leaves is None:
        branch(canvas, dice, fork, -math.pi / 2, size * scale * 0.26, thick * 0.7, wood, 4)
        return
    tones = [canvas.material(VEGETATION, c, z, grain=LEAFY) for c in leaves]
    rx, ry = size * scale * dice(0.24, 0.34), size * scale * dice(0.3, 0.36)
    cx, cy = fork[0] + lean, foot[1] - size * scale + ry
    canvas.line([fork, (cx, cy)], thick * 0.7, wood)
    canvas.ellipse(cx, cy, rx * 0.72, ry * 0.72, tones[1])
    clumps = int(min(34, 6 + rx * 1.6))
    for k in range(clumps):
        angle, reach = dice(0, 2 * math.pi), math.sqrt(dice(0.1, 1)) * 0.86
        dx, dy, r = math.cos(angle) * reach, math.sin(angle) * reach, dice(0.14, 0.3)
        lit = (1 - dy) / 2 + dice(-0.35, 0.35)  # tops catch the light
        tone = tones[max(0, min(int(lit * len(tones)), len(tones) - 1))]
        if k > clumps * 0.6:  # the last clumps are small and sit at the rim
            dx, dy, r = dx / reach * 0.84, dy / reach * 0.84, r * 0.6
        canvas.ellipse(cx + dx * rx, cy + dy * ry, r * rx, r * ry * 0.9, tone)


def branch(
    canvas: Canvas,
    dice: Dice,
    start: Point,
    angle: float,
    length: float,
    width: float,
    wood: int,
    level: int,
) -> None:
    """A branch and, `level` times over, the branches that grow from its end."""
    end = start[0] + math.cos(angle) * length, start[1] + math.sin(angle) * length
    canvas.line([start, end], max(0.7, width), wood)
    if level == 0 or length < 1.5:
        return
    for side in (-1, 0, 1) if level == 4 else (-1, 1):
        turn = angle + side * dice(0.3, 0.62) + dice(-0.1, 0.1)
        branch(canvas, dice, end, turn, length * dice(0.66, 0.84), width * 0.66, wood, level - 1)


VEHICLES = {  # length, width, outline and side windows as (share of length from the rear, metres)
    "car": (
        4.2,
        1.8,
        ((0, 0.28), (0, 0.84), (0.07, 0.95), (0.2, 1.42), (0.58, 1.45), (0.74, 0.98), (0.97, 0.8),
         (1, 0.62), (1, 0.28)),
        ((0.12, 0.98), (0.23, 1.36), (0.57, 1.38), (0.7, 0.98)),
        (2, 4),
    ),
    "van": (
        5.2,
        2.0,
        ((0, 0.32), (0, 2.05), (0.03, 2.15), (0.74, 2.15), (0.87, 1.25), (1, 1.05), (1, 0.32)),
        ((0.6, 1.3), (0.6, 1.95), (0.73, 1.95), (0.83, 1.3)),
        (3,),
    ),
    "bus": (
        10.0,
        2.5,
        ((0, 0.35), (0, 3.0), (1, 3.0), (1, 0.35)),
        ((0.03, 1.35), (0.03, 2.6), (0.97, 2.6), (0.97, 1.35)),
        (),
    ),
}  # fmt: skip


def vehicle(
    canvas: Canvas, dice: Dice, kind: str, x: float, z: float, heading: str, color: Color
) -> None:
    """A solid whose outline runs along it; `heading` is "away", "oncoming", "left" or "right"."""
    length, width, outline, side_glass, glazed = VEHICLES[kind]
    crossing = heading in ("left", "right")
    forward = heading in ("away", "right")

    def at(along: float, across: float, y: float) -> Point:
        along = along if forward else 1 - along
        if crossing:
            return canvas.view(x + (along - 0.5) * length, y, z + across * width)
        return canvas.view(x + (across - 0.5) * width, y, z + along * length)

    def paint(c: Color, sky: float = 0.0) -> int:
        return canvas.material(VEHICLE, c, z, sky=sky)

    glass, rubber = paint((38, 44, 54), 0.12), paint((30, 30, 33))
    tops, ends, flank = paint(shade(color, 1.12)), paint(shade(color, 0.82)), paint(color)
    half = (length if crossing else width) / 2 * 1.08
    canvas.cast(x - half, x + half, z - 0.25, z + (width if crossing else length))

    if not crossing:
        for left in (0.06, 0.76):
            end = 0 if forward else 1
            quad = [at(end, left, 0), at(end, left + 0.18, 0), at(end, left + 0.18, 0.5)]
            canvas.polygon([*quad, at(end, left, 0.5)], rubber)
    edges = range(len(outline) - 1)
    for i in edges if crossing or not forward else reversed(edges):
        (s0, y0), (s1, y1) = outline[i], outline[i + 1]
        skin = glass if i in glazed else ends if abs(y1 - y0) > 0.3 and s0 == s1 else tops
        canvas.polygon([at(s0, 0, y0), at(s1, 0, y1), at(s1, 1, y1), at(s0, 1, y0)], skin)

    if crossing or abs(x) > width / 2:
        near = 0 if crossing or x > 0 else 1
        canvas.polygon([at(s, near, y) for s, y in outline], flank)
        canvas.polygon([at(s, near, y) for s, y in side_glass], glass)
        radius = 0.34 if kind == "car" else 0.42
        for hub in (1.0 / length, 1 - 0.9 / length):
            turns = [k * math.pi / 5 for k in range(10)]
            rim = [(hub + radius * math.cos(a) / length, radius * (1 + math.sin(a))) for a in turns]
            canvas.polygon([at(s, near, y) for s, y in rim], rubber)
    if not crossing:
        end, top = (0, outline[1][1]) if forward else (1, outline[-2][1])
        lamp = paint((190, 40, 36) if forward else (240, 236, 214))
        for a0 in (0.04, 0.8):
            low, high = min(top, 1.0) * 0.72, min(top, 1.0) * 0.95
            quad = [at(end, a0, low), at(end, a0 + 0.16, low), at(end, a0 + 0.16, high)]
            canvas.polygon([*quad, at(end, a0, high)], lamp)
        if top > 1.5:  # an upright end has its window in it
            low, high = top * 0.55, top * 0.9
            quad = [at(end, 0.1, low), at(end, 0.9, low), at(end, 0.9, high), at(end, 0.1, high)]
            canvas.polygon(quad, glass)


def person(canvas: Canvas, dice: Dice, x: float, z: float, size: float, coat: Color) -> None:
    """Someone who walks or stands, `size` metres tall."""
    scale, trousers = canvas.view.focal / z, dice.vary(dice.pick(TROUSERS))
    colors = coat, dice.pick(SKINS), trousers, dice.pick(HAIRS)
    coat_m, skin_m, legs_m, hair_m = (canvas.material(PERSON, c, z) for c in colors)
    side, stride, swing = dice.pick((-1, 1)), dice(0.03, 0.17), dice(0.06, 0.2)
    canvas.cast(x - 0.3, x + 0.3, z - 0.15, z + 0.25, 0.7)

    def at(dx: float, y: float) -> Point:
        return canvas.view(x + side * dx * size, y * size, z)

    limb = max(1.1, 0.085 * size * scale)
    for way in (-1, 1):
        knee = at(way * (0.04 + stride * 0.5) + 0.02, 0.25)
        canvas.line([at(way * 0.045, 0.5), knee, at(way * (0.04 + stride), 0.0)], limb, legs_m)
    torso = (-0.1, 0.46), (0.1, 0.46), (0.13, 0.8), (0.07, 0.86), (-0.07, 0.86), (-0.13, 0.8)
    canvas.polygon([at(*p) for p in torso], coat_m)
    for way in (-1, 1):
        elbow = at(way * 0.13 + swing * way * 0.4, 0.62)
        canvas.line([at(way * 0.12, 0.8), elbow, at(way * 0.12 + swing, 0.48)], limb * 0.7, coat_m)
    (hx, hy), r = at(0.01, 0.93), max(0.65, 0.072 * size * scale)
    canvas.ellipse(hx, hy - r * 0.2, r * 1.05, r * 1.1, hair_m)
    canvas.ellipse(hx + side * r * 0.2, hy + r * 0.1, r * 0.85, r * 0.9, skin_m)


def pole(canvas: Canvas, dice: Dice, kind: str, x: float, z: float, color: Color) -> None:
    """A "lamp", a traffic "light", a "sign" or a "bollard"; arms reach towards the road (x = 0)."""
    view, scale = canvas.view, canvas.view.focal / z
    metal = canvas.material(POLE, color, z)
    size = {"lamp": dice(5.5, 7.5), "light": 3.6, "sign": dice(2.4, 3.0), "bollard": 0.95}[kind]
    top, width = view(x, size, z), max(1.8, 0.16 * scale)
    canvas.line([view(x, 0, z), top], width, metal)
    canvas.cast(x - 0.12, x + 0.12, z - 0.1, z + 0.2, 0.6)
    reach = -math.copysign(1.0, x)
    if kind == "lamp":
        head = view(x + reach * 1.5, size + 0.25, z)
        canvas.line([top, head], width * 0.8, metal)
        glow = canvas.material(POLE, dice.vary((225, 222, 205)), z)
        canvas.ellipse(*head, max(0.9, 0.4 * scale), max(0.6, 0.17 * scale), glow)
    elif kind == "light":
        w, h = max(0.9, 0.17 * scale), max(2.0, 0.5 * scale)
        x0, y0 = top
        canvas.polygon([(x0 - w, y0 - h), (x0 + w, y0 - h), (x0 + w, y0 + h), (x0 - w, y0 + h)],
                       canvas.material(POLE, (36, 38, 40), z))  # fmt: skip
        lit, tone = dice.pick(SIGNALS)
        canvas.ellipse(x0, y0 + lit * h, w * 0.6, w * 0.6, canvas.material(POLE, tone, z))
    elif kind == "sign":
        r = max(1.5, 0.36 * scale)
        face = canvas.material(POLE, dice.vary(dice.pick(SIGN_COLORS), 8), z)
        rim = canvas.material(POLE, (232, 230, 226), z)
        sides, turn = dice.pick([(12, 0.0), (4, math.pi / 4), (3, -math.pi / 2)])
        for radius, paint in ((r * 1.2, rim), (r * 0.9, face)):
            angles = [turn + 2 * math.pi * k / sides for k in range(sides)]
            shape = [(top[0] + radius * math.cos(a), top[1] + radius * math.sin(a)) for a in angles]
            canvas.polygon(shape, paint)


TROUSERS = (48, 52, 72), (60, 56, 54), (118, 104, 86)
SKINS = (232, 190, 165), (190, 140, 108), (120, 82, 62)
HAIRS = (46, 34, 28), (96, 66, 40), (60, 58, 60)
SIGNALS = (-0.55, (235, 60, 45)), (0.0, (245, 180, 60)), (0.55, (70, 200, 120))
SIGN_COLORS = ((200, 48, 44), (38, 84, 168), (238, 190, 50))

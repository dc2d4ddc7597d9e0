"""Buildings: walls in perspective with windows, roofs, shops, murals, mirror glass and concrete.

Positions and sizes are in metres, in the coordinates of `helpers.scenes.canvas`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from helpers.scenes.canvas import (
    BARE_CONCRETE,
    BUILDING,
    COURSES,
    FINE,
    LEAFY,
    MIRROR_WINDOW,
    NO_CUE,
    PAINTED_WALL,
    Canvas,
    Color,
    Dice,
    Wall,
    shade,
)

ROOFS = ((112, 66, 56), (88, 86, 90), (134, 84, 62))


def building(
    canvas: Canvas,
    dice: Dice,
    front: Wall,
    gable: Wall,
    style: str,
    color: Color,
    shop: Color,
    lit: float,
    night: bool,
    leaves: Sequence[Color],
) -> None:
    """A house with a `front` along the street and a `gable` that faces the camera.

    `style` is "plain", "mirror" (panes show the sky), "mural" or "concrete" (bare walls); `lit`
    is how much light the front gets, `night` lights some windows, `leaves` colour the murals.
    """
    z = front.start[1]

    def paint(c: Color, **more) -> int:
        return canvas.material(BUILDING, c, z, **more)

    bare = style == "concrete"
    grain = FINE if bare else dice.pick((COURSES, FINE))
    cue = BARE_CONCRETE if bare else NO_CUE
    wall = paint(shade(color, 1.0 if bare else lit), cue=cue, grain=grain)
    side = wall if bare else paint(shade(color, 0.92), grain=grain)
    if dice.chance(0.5) and not bare:
        roof = paint(dice.vary(dice.pick(ROOFS)))
        rise = front.height + dice(1.5, 3.0)
        ridge = (front.start[0] + gable.end[0]) / 2
        near, far = canvas.view(ridge, rise, z), canvas.view(ridge, rise, front.end[1])
        canvas.polygon([front(0, 1), near, far, front(1, 1)], roof)
        canvas.polygon([gable(0, 1), near, gable(1, 1)], side)
    canvas.polygon(gable.quad(0, 1), side)
    canvas.polygon(front.quad(0, 1), wall)

    panes = [paint(shade((62, 70, 82), f), sky=0.12) for f in (0.8, 1.0, 1.25)]
    if night:
        panes.append(paint((250, 205, 130)))
    fill, ground_floor = dice(0.4, 0.55), min(0.45, 3.2 / front.height)
    if style == "mirror":
        mirrors = [paint((70, 84, 100), cue=MIRROR_WINDOW, sky=s) for s in (0.8, 0.93)]
        windows(canvas, dice, front, mirrors, 0.72, ground_floor)
        windows(canvas, dice, gable, mirrors, 0.72, ground_floor)
    elif style == "mural":
        shown = leaves if dice.chance(0.6) else None
        mural(canvas, dice, gable, shown)
        mural(canvas, dice, front, shown, 0.6)
    else:
        windows(canvas, dice, front, panes, 0.25 if bare else fill, ground_floor)
        windows(canvas, dice, gable, panes, 0.25 if bare else fill, ground_floor)
    if style in ("plain", "mirror"):
        canvas.polygon(front.quad(0, 1, 0, ground_floor), paint(shade(shop, 0.8 * lit)))
        count = max(2, round((front.end[1] - z) / 3.5))
        for k in range(count):
            pane = front.quad((k + 0.15) / count, (k + 0.85) / count, 0.02, ground_floor * 0.72)
            canvas.polygon(pane, dice.pick(panes))


def windows(
    canvas: Canvas, dice: Dice, wall: Wall, panes: Sequence[int], fill: float, v0: float
) -> None:
    """Rows of windows above the share `v0` of the wall; `fill` is the share they take of it."""
    (x0, z0), (x1, z1) = wall.start, wall.end
    columns = max(2, round(math.hypot(x1 - x0, z1 - z0) / 2.4))
    floors = max(1, round(wall.height * (1 - v0) / 3.0))
    gap, step_u, step_v = (1 - fill) / 2, 1 / columns, (1 - v0) / floors
    for i in range(columns):
        u0, u1 = (i + gap) * step_u, (i + 1 - gap) * step_u
        left, right = sorted((wall(u0, 0)[0], wall(u1, 0)[0]))
        if right < 0 or left > 128 or right - left < 0.7:
            continue
        for j in range(floors):
            pane = dice.pick(panes)
            v = v0 + j * step_v
            canvas.polygon(
                wall.quad(u0, u1, v + gap * step_v * 0.8, v + (1 - gap * 0.9) * step_v), pane
            )


def mural(
    canvas: Canvas, dice: Dice, wall: Wall, leaves: Sequence[Color] | None, length: float = 1.0
) -> None:
    """Paint that share of the wall with foliage in the colours of the trees, or sky (None)."""
    z = wall.start[1]
    if leaves is None:
        paint = canvas.material(BUILDING, (0, 0, 0), z, PAINTED_WALL, sky=1.0)
        canvas.polygon(wall.quad(0.05 * length, 0.95 * length, 0.1, 0.93), paint)
        return
    paints = [canvas.material(BUILDING, c, z, PAINTED_WALL, grain=LEAFY) for c in leaves]
    canvas.polygon(wall.quad(0.05 * length, 0.95 * length, 0.1, 0.93), paints[1])
    ring = [(math.cos(k * 0.9), math.sin(k * 0.9)) for k in range(7)]
    for _ in range(22):
        u, v, r = dice(0.13, 0.87), dice(0.22, 0.83), dice(0.07, 0.13)
        tone = paints[min(int(dice(0.2, 1.2) * v * len(paints)), len(paints) - 1)]
        canvas.polygon([wall((u + r * c) * length, v + r * s) for c, s in ring], tone)

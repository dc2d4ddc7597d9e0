"""The layout of a street scene: light, weather, season, viewpoint, and what stands where.

A street runs straight away from the camera: a road, a pavement on both sides, then lots with
buildings, gardens or a park, crossed now and then by another road.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from helpers.scenes import objects
from helpers.scenes.buildings import building
from helpers.scenes.canvas import (
    BARE_CONCRETE,
    BUILDING,
    FINE,
    LEAFY,
    PAVEMENT,
    POLE,
    PUDDLE,
    ROAD,
    SKY,
    VEGETATION,
    Canvas,
    Color,
    Dice,
    View,
    Wall,
    shade,
)
from helpers.scenes.palette import COATS, DARK_POLE, FACADES, FOLIAGE, LIGHTS, PAINTS, PALE_POLE

Placed = tuple[float, Callable[[], None]]
"""How far away something stands (metres), and what draws it."""


class Street:
    """The layout of one scene: what stands where, under which light."""

    def __init__(self, dice: Dice, size: tuple[int, int]) -> None:
        self.dice = dice
        self.time = dice.pick(("dawn", "noon", "noon", "overcast", "dusk"))
        self.light = LIGHTS[self.time]
        self.wet = dice.chance(0.3)
        self.season = dice.pick(("green", "green", "autumn", "bare"))
        self.leaves = [dice.vary(c, 8) for c in FOLIAGE[self.season]]
        self.density = dice.pick((0.002, 0.004, 0.006, 0.016))
        self.sun = dice.pick((-1, 1))
        view = View(dice(36, 47), dice(46, 82), dice(88, 118), dice(1.9, 4.2))
        self.view, self.near = view, view.focal * view.height / (97 - view.horizon)
        self.canvas = Canvas(
            size, view, self.light.tint, shade(self.light.horizon, 0.92), self.density
        )
        self.half = dice(3.2, 4.6)  # of the road, metres
        self.walk = dice(2.2, 4.2)  # width of the pavement
        self.middle = dice(-1.0, 1.0) * (self.half + 0.5)  # of the road, from the camera
        self.crossing = dice(16, 34) if dice.chance(0.35) else None
        self.kinds = {side: dice.pick(("row", "row", "row", "park", "plaza")) for side in (-1, 1)}
        grey = dice(92, 112)
        self.asphalt = (grey, grey, grey + dice(0, 8))
        self.paving = dice.vary(dice.pick(((176, 164, 148), (160, 158, 154), (186, 158, 138))), 8)
        self.concrete = dice.vary((146, 143, 137), 6)
        self.pole_color = dice.vary(PALE_POLE if dice.chance(0.4) else DARK_POLE, 8)
        self.patched = dice.chance(0.45)
        self.styles = {-1: [], 1: []}
        for style in ("concrete", "mirror", "mural"):
            if dice.chance(0.45):
                self.styles[dice.pick((-1, 1))].append(style)

    def edge(self, side: int, beyond: float = 0.0) -> float:
        """X of the curb on that side, `beyond` metres further from the road."""
        return self.middle + side * (self.half + beyond)

    def draw(self) -> None:
        """Draw everything, far to near."""
        dice = self.dice
        self.draw_backdrop()
        self.draw_ground()
        for side in (-1, 1):
            self.draw_lots(side)
        placed = [*self.vehicles(), *self.furniture(), *self.people()]
        for _, paint in sorted(placed, key=lambda entry: -entry[0]):
            paint()
        if dice.chance(0.12):  # a wire across the street
            z, metal = dice(8, 20), self.canvas.material(POLE, (44, 44, 48))
            ends = [self.view(self.edge(s, 9), dice(6, 8), z + s * dice(0, 6)) for s in (-1, 1)]
            sag = (ends[0][0] + ends[1][0]) / 2, (ends[0][1] + ends[1][1]) / 2 + 2
            self.canvas.line([ends[0], sag, ends[1]], 1.0, metal)

    def draw_backdrop(self) -> None:
        canvas, dice, h = self.canvas, self.dice, self.view.horizon
        sky = canvas.material(SKY, (0, 0, 0), sky=1.0)
        canvas.polygon([(-1, -1), (129, -1), (129, 97), (-1, 97)], sky)
        tall, x = dice(3, 15), -4.0
        while x < 130:
            wide = dice(5, 14)
            if dice.chance(0.75):
                wall = canvas.material(BUILDING, dice.vary(dice.pick(FACADES)), 110 + dice(0, 60))
                top = h - tall * dice(0.3, 1.0)
                canvas.polygon([(x, top), (x + wide, top), (x + wide, h + 2), (x, h + 2)], wall)
            else:
                green = canvas.material(VEGETATION, dice.pick(self.leaves), 100, grain=LEAFY)
                canvas.ellipse(x + wide / 2, h, wide * 0.7, dice(2, 6), green)
            x += wide * dice(0.7, 1.3)

    def draw_ground(self) -> None:
        canvas, dice, near = self.canvas, self.dice, self.near * 0.9
        wet = 0.72 if self.wet else 1.0

        def ground(label: int, color: Color, **more) -> int:
            return canvas.material(label, color, ground=1.0, **more)

        road = ground(ROAD, shade(self.asphalt, wet), grain=FINE)
        walk = ground(PAVEMENT, shade(self.paving, 0.85 if self.wet else 1.0), grain=FINE)
        curb = ground(PAVEMENT, shade(self.paving, 1.16))
        lawn = ground(VEGETATION, shade(self.leaves[2], 1.05), grain=LEAFY)
        white = ground(ROAD, (214, 212, 204))
        for side in (-1, 1):
            outside = walk if self.kinds[side] == "plaza" else lawn
            canvas.polygon(canvas.flat(self.middle, self.edge(side, 400), near, 900), outside)
            canvas.polygon(canvas.flat(self.middle, self.edge(side, self.walk), near, 900), walk)
        if self.crossing:
            canvas.polygon(canvas.flat(-300, 300, self.crossing - 2, self.crossing + 9), walk)
        for x, paint in ((0.25, curb), (0.0, road)):
            canvas.polygon(canvas.flat(self.edge(-1, x), self.edge(1, x), near, 900), paint)
        if self.crossing:
            canvas.polygon(canvas.flat(-300, 300, self.crossing, self.crossing + 7), road)
        z, dash = near, dice(2.5, 4)
        while z < 60:
            if not self.crossing or abs(z - self.crossing - 3) > 6:
                x = self.middle
                canvas.polygon(canvas.flat(x - 0.09, x + 0.09, z, z + dash * 0.6), white)
            z += dash * 1.5
        if self.crossing or dice.chance(0.3):  # zebra
            z = (self.crossing or dice(10, 20)) - 3.5
            for k in range(-9, 10):
                x = self.middle + k * self.half / 10
                if k % 2:
                    canvas.polygon(canvas.flat(x - 0.22, x + 0.22, z, z + 2.6), white)
        self.draw_patches(ground)

    def draw_patches(self, ground: Callable[..., int]) -> None:
        """Slabs of bare concrete and puddles that mirror the sky, both on the road."""
        canvas, dice, half = self.canvas, self.dice, self.half
        if self.patched:
            slab = ground(ROAD, self.concrete, cue=BARE_CONCRETE, grain=FINE)
            z = self.near * dice(1.2, 2.2)
            for _ in range(2):
                x = self.middle + dice(-0.95, 0.2) * half
                canvas.polygon(canvas.flat(x, x + half * dice(0.5, 0.75), z, z * 1.25), slab)
                z *= dice(1.7, 2.4)
        water = ground(ROAD, shade(self.asphalt, 0.6), cue=PUDDLE, sky=0.93)
        for _ in range(4 if self.wet else int(dice(0, 2.5))):
            z = self.near * dice(1.15, 3.0)
            x = self.middle + dice(-0.7, 0.7) * half
            for _ in range(3):
                cx, cy = self.view(x + dice(-0.4, 0.4), 0, z * dice(0.96, 1.04))
                rx = self.view.focal / z * dice(0.35, 0.8)
                canvas.ellipse(cx, cy, rx, max(0.9, rx * self.view.height / z * 0.9), water)

    def draw_lots(self, side: int) -> None:
        """One side of the street, lot by lot: buildings, gaps and trees, far to near."""
        dice, kind = self.dice, self.kinds[side]
        back = self.walk + {"row": 0.0, "park": 6.0, "plaza": dice(5, 9)}[kind]
        x, z, lots = self.edge(side, back), self.near * dice(1.0, 2.2), []
        tall = dice(5.0, 13.0)
        while z < 75:
            deep = dice(8, 16)
            if self.crossing and z < self.crossing + 8 and z + deep > self.crossing - 3:
                z = self.crossing + 9
                continue
            built = dice.chance({"row": 0.8, "park": 0.25, "plaza": 0.7}[kind])
            special = built and z > 11 and self.styles[side]
            style = self.styles[side].pop() if special else "plain"
            lots.append((z, z + deep, style if built else None, tall * dice(0.6, 1.4)))
            z += deep + (dice(2, 5) if dice.chance(0.3) else 0)
        for z0, z1, style, height in reversed(lots):
            if style:
                self.draw_building(x, side, z0, z1, height, style)
            else:
                self.draw_garden(x, side, z0, z1)

    def draw_building(
        self, x: float, side: int, z0: float, z1: float, height: float, style: str
    ) -> None:
        dice = self.dice
        front = Wall(self.view, (x, z0), (x, z1), height)
        gable = Wall(self.view, (x, z0), (x + side * dice(8, 13), z0), height)
        color = self.concrete if style == "concrete" else dice.vary(dice.pick(FACADES))
        shop = dice.vary(dice.pick(PAINTS), 20)
        lit = 0.8 if side == self.sun else 1.06
        night = self.time == "dusk"
        building(self.canvas, dice, front, gable, style, color, shop, lit, night, self.leaves)
        if side == self.sun:
            self.canvas.cast(x, x - side * height * 0.7, z0, z1)

    def draw_garden(self, x: float, side: int, z0: float, z1: float) -> None:
        """Trees and a hedge where no building stands."""
        canvas, dice = self.canvas, self.dice
        for _ in range(2 if z0 < 40 else 1):
            away = x + side * dice(1.5, 9)
            self.draw_tree(away, dice(z0, z1), dice(5, 9))
        if dice.chance(0.7):
            hedge = Wall(self.view, (x, z0), (x, z1), dice(0.8, 1.5))
            tone = canvas.material(VEGETATION, self.leaves[1], z0, grain=LEAFY)
            canvas.polygon(hedge.quad(0, 1), tone)

    def draw_tree(self, x: float, z: float, size: float) -> None:
        canvas, dice = self.canvas, self.dice
        leaves = None if self.season == "bare" else [dice.vary(c, 7) for c in self.leaves]
        canvas.cast(x - size * 0.28, x + size * 0.28, z - 0.8, z + 1.6, 0.8)
        objects.tree(canvas, dice, x, z, size, leaves)

    def vehicles(self) -> Iterator[Placed]:
        canvas, dice, half = self.canvas, self.dice, self.half
        lanes = ((0.5, "away"), (-0.5, "oncoming"), (0.95, "away"), (-0.95, "oncoming"))
        ahead = {lane: self.near * dice(1.3, 3.5) for lane in lanes}
        for _ in range(int(dice(3, 8))):
            lane = dice.pick(lanes)
            offset, heading = lane
            z = ahead[lane]
            kind = dice.pick(("car",) * 5 + ("van",) * 2 + ("bus",) * (abs(offset) < 0.9))
            x = self.middle + offset * (half - 0.9) + dice(-0.2, 0.2)
            length = objects.VEHICLES[kind][0]
            ahead[lane] = z + length + dice(2, 14)
            if self.crossing and abs(z - self.crossing - 1) < 7:  # keep the crossing free
                continue
            color = dice.vary(dice.pick(PAINTS), 8)
            yield z, lambda a=(kind, x, z, heading, color): objects.vehicle(canvas, dice, *a)
        if self.crossing and dice.chance(0.7):
            z, x = self.crossing + dice(0.8, 3.5), self.middle + dice(-1.5, 1.5) * half
            a = "car", x, z, dice.pick(("left", "right")), dice.vary(dice.pick(PAINTS), 8)
            yield z, lambda a=a: objects.vehicle(canvas, dice, *a)

    def furniture(self) -> Iterator[Placed]:
        """Lamps, signs, bollards and street trees along the curbs."""
        canvas, dice = self.canvas, self.dice
        for side in (-1, 1):
            z, step = self.near * dice(1.3, 3.0), dice(11, 19)
            planted = dice.chance(0.55)
            while z < 36:
                x = self.edge(side, 0.5)
                kind = dice.pick(("lamp", "lamp", "sign", "light"))
                a = kind, x, z, self.pole_color
                yield z, lambda a=a: objects.pole(canvas, dice, *a)
                if planted and z > self.near * 1.6:
                    a = self.edge(side, 0.9), z + step * 0.5, dice(4.5, 7.5)
                    yield a[1], lambda a=a: self.draw_tree(*a)
                z += step * dice(0.8, 1.3)
            if dice.chance(0.2):
                for k in range(4):
                    a = "bollard", self.edge(side, 0.4), self.near * 1.3 + 1.6 * k, self.pole_color
                    yield a[2], lambda a=a: objects.pole(canvas, dice, *a)

    def people(self) -> Iterator[Placed]:
        canvas, dice = self.canvas, self.dice
        for _ in range(int(dice(3, 10))):
            z = self.near * 1.2 * math.exp(dice(0, 1.1))
            if dice.chance(0.15):
                x = self.middle + dice(-0.9, 0.9) * self.half
            else:
                x = self.edge(dice.pick((-1, 1)), dice(0.8, self.walk))
            a = x, z, dice(1.5, 1.9), dice.vary(dice.pick(COATS), 8)
            yield z, lambda a=a: objects.person(canvas, dice, *a)

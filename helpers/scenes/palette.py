"""Colours of street scenes (RGB, 0 to 255): light of the day, leaves, walls, cars, clothes."""

from __future__ import annotations

from dataclasses import dataclass

from helpers.scenes.canvas import Color


@dataclass(frozen=True)
class Light:
    """Sky at the zenith and at the horizon, colour of the light, how hard the shadows are."""

    zenith: Color
    horizon: Color
    tint: Color
    shadow: float


LIGHTS = {
    "dawn": Light((128, 160, 205), (250, 214, 182), (1.0, 0.91, 0.83), 0.3),
    "noon": Light((88, 148, 214), (196, 220, 236), (1.05, 1.02, 0.97), 0.45),
    "overcast": Light((170, 177, 186), (212, 214, 214), (0.9, 0.92, 0.94), 0.18),
    "dusk": Light((88, 92, 146), (240, 168, 126), (0.82, 0.72, 0.74), 0.22),
}
FOLIAGE = {
    "green": ((40, 66, 34), (58, 92, 42), (82, 120, 52), (112, 146, 66)),
    "autumn": ((96, 56, 30), (146, 82, 34), (186, 116, 42), (208, 156, 62)),
    "bare": ((62, 66, 46), (82, 84, 56), (100, 98, 68), (118, 114, 82)),
}
FACADES = ((150, 86, 66), (206, 166, 108), (222, 206, 178), (124, 130, 140), (190, 140, 128),
           (212, 208, 202), (150, 162, 142), (182, 112, 80), (160, 148, 136))  # fmt: skip
PAINTS = ((186, 44, 40), (44, 78, 138), (226, 226, 222), (38, 40, 46), (150, 154, 160),
          (212, 166, 56), (58, 104, 84), (98, 98, 102), (122, 40, 52), (130, 170, 196))  # fmt: skip
COATS = ((176, 48, 52), (44, 70, 120), (214, 178, 74), (60, 110, 92), (42, 42, 48),
         (206, 200, 190), (142, 74, 120), (210, 110, 58), (52, 50, 56))  # fmt: skip
DARK_POLE, PALE_POLE = (52, 54, 58), (176, 178, 178)

"""Colours stay apart for colour-blind eyes, texts stand out from their ground, grey is told plainly.

Distances are CIEDE2000 (1 is about just noticeable) between colours as they are seen, contrasts are
those of WCAG 2.2. ``docs/access.md`` states the numbers; here they are computed and compared.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from skimage.color import deltaE_cie76, deltaE_ciede2000, rgb2lab

from helpers import plots, widgets
from helpers.classes import CAMVID, PETS, STREETS, VOC
from helpers.notebook_rules import read
from helpers.widgets import crf_playground, receptive_field_explorer

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "access.md"
WHITE = "#FFFFFF"
RESIZE = "resize, then convolve"

# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision
# deficiency", IEEE TVCG 2009: full protanopia, deuteranopia, tritanopia, in linear RGB.
DEFICIENCIES = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
LUMINANCE = [0.2126, 0.7152, 0.0722]  # of linear RGB


def linear(rgb: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] without its gamma, likewise in [0, 1]."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lights(colors: Sequence[str]) -> np.ndarray:
    """Colours by name or as ``#rrggbb`` in linear RGB, ``(N, 3)``."""
    return linear(np.array([mpl.colors.to_rgb(color) for color in colors]))


def seen_lab(colors: Sequence[str], kind: str) -> np.ndarray:
    """CIELAB of the colours as the eye of a `kind` sees them."""
    rgb = np.clip(lights(colors) @ np.transpose(DEFICIENCIES[kind]), 0, 1)
    return rgb2lab(np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055))


def least(colors: Sequence[str], kind: str, measure=deltaE_ciede2000) -> float:
    """The distance of the closest pair."""
    lab = seen_lab(colors, kind)
    return min(float(measure(a, b)) for a, b in combinations(lab, 2))


def lightness(colors: Sequence[str]) -> np.ndarray:
    """L* of each colour in greyscale: 0 is black, 100 white."""
    y = lights(colors) @ LUMINANCE
    return np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)


def contrast(one: str, other: str) -> float:
    low, high = sorted(lights([one, other]) @ LUMINANCE)
    return (high + 0.05) / (low + 0.05)


def close_in_grey(classes, apart: float = 5) -> dict[tuple[str, str], float]:
    grey = dict(zip(classes, lightness(classes.colors), strict=True))
    gaps = {pair: abs(grey[pair[0]] - grey[pair[1]]) for pair in combinations(classes, 2)}
    return {pair: gap for pair, gap in sorted(gaps.items(), key=lambda p: p[1]) if gap < apart}


def script(name: str) -> str:
    return str(getattr(widgets, name)._esm)


def inks(pattern: str, text: str) -> list[str]:
    return [to_hex([int(c) / 255 for c in m]) for m in re.findall(pattern, text)]


CYCLE = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
MARKS = re.findall(r'"M[^"]*", "(#[0-9a-f]{6})"\]', script("BranchExplorer"))
BLUE = inks(r"BLUE = \[(\d+), (\d+), (\d+)\]", script("UpsamplingExplorer"))
CURSOR = re.findall(r'\[7, "(#[0-9a-f]{6})"\]', script("UpsamplingExplorer"))
RING = re.findall(r'2\.5, "(#[0-9a-f]{6})"', script("ReceptiveFieldExplorer"))
GLOW = to_hex(np.divide(receptive_field_explorer.TINT, 255))

# name in the page: colours that stand side by side, how far apart they are at least
PALETTES = {
    "Streets": ([*STREETS.colors, WHITE], 10),
    "CamVid": ([*CAMVID.colors, WHITE], 8),
    "VOC": ([*VOC.colors, WHITE], 6.5),
    "Pets": ([*PETS.colors, WHITE], 30),
    "lines of figures": (CYCLE, 10),
    "marks of the branches": (MARKS, 10),
    "changes by the CRF": (crf_playground.CHANGES.colors, 25),
    "receptive field": ([GLOW, *RING, WHITE], 25),
    "upsampling": ([*BLUE, *CURSOR, WHITE], 25),
}


def test_the_colours_of_the_widgets_are_found():
    assert [len(found) for found in (MARKS, BLUE, CURSOR, RING)] == [7, 1, 1, 1]
    assert f'"{" ".join(map(str, receptive_field_explorer.TINT))}"' in script(
        "ReceptiveFieldExplorer"
    )


@pytest.mark.parametrize("kind", DEFICIENCIES)
@pytest.mark.parametrize("name", PALETTES)
def test_colours_stay_apart_for_colour_blind_eyes(name, kind):
    """CIEDE2000 of every pair, void included; and CIE76, of which 2.3 is just noticeable."""
    colors, apart = PALETTES[name]
    assert least(colors, kind) > apart
    assert least(colors, kind, deltaE_cie76) > 16


def test_the_simulation_leaves_greys_and_confuses_what_the_eye_confuses():
    greys = ["#000000", "#4D4D4D", "#B0B0B0", WHITE]
    # L* of red, dark yellow and green that a protanope confuses; blue and teal for a tritanope
    confused = {"protan": ("#FF0000", "#5E5000"), "tritan": ("#00A0C0", "#00A5A5")}
    for kind in DEFICIENCIES:
        np.testing.assert_allclose(seen_lab(greys, kind), seen_lab(greys, "normal"), atol=0.2)
    for kind, pair in confused.items():
        assert least(pair, kind) < least(pair, "normal") / 2


def test_the_luminance_is_that_of_white_black_and_a_known_pair():
    """#767676 is the lightest grey that keeps 4.5:1 on white, #777777 no longer does."""
    np.testing.assert_allclose(lightness(["#000000", "#777777", WHITE]), [0, 50, 100], atol=0.2)
    assert contrast("black", "white") == pytest.approx(21)
    assert contrast("#777777", "white") < 4.5 <= contrast("#767676", "white")


# What the page says


def test_the_page_states_these_distances():
    rows = re.findall(r"^\| ([\w ]+) \|((?: \d+\.\d \|){5})$", PAGE.read_text("utf-8"), re.M)
    stated = {name: re.findall(r"\d+\.\d", numbers) for name, numbers in rows}
    grey = {
        name: min(abs(a - b) for a, b in combinations(lightness(colors), 2))
        for name, (colors, _) in PALETTES.items()
    }
    assert stated == {
        name: [f"{least(colors, kind):.1f}" for kind in DEFICIENCIES] + [f"{grey[name]:.1f}"]
        for name, (colors, _) in PALETTES.items()
    }


@pytest.mark.parametrize("classes", [STREETS, CAMVID], ids=["Streets", "CamVid"])
def test_the_page_names_the_classes_that_are_alike_in_grey(classes):
    name = {STREETS: "Streets", CAMVID: "CamVid"}[classes]
    (line,) = re.findall(rf"^- {name}: (.*)\.$", PAGE.read_text("utf-8"), re.M)
    pairs = [f"{a} and {b} {gap:.1f}" for (a, b), gap in close_in_grey(classes).items()]
    assert line.split("; ") == pairs
    assert len(pairs) < len(classes) / 2  # most classes are apart


# Figures: texts, lines and cells. Notebooks and helpers are read, not run.


def code() -> Iterator[tuple[str, ast.AST]]:
    """(place, syntax tree) of every code cell and helper."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in read(path).cells:
            if cell.cell_type == "code":
                source = re.sub(r"^[%!].*", "", cell.source, flags=re.MULTILINE)  # magics
                yield path.stem, ast.parse(source)
    for path in sorted((ROOT / "helpers").glob("*.py")):
        yield path.name, ast.parse(path.read_text("utf-8"))


def calls(tree: ast.AST, *names: str) -> Iterator[tuple[ast.Call, dict[str, ast.expr]]]:
    """Calls of methods of these names, with their keyword arguments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", None) in names:
            yield node, {keyword.arg: keyword.value for keyword in node.keywords}


TEXTS = ("text", "annotate", "suptitle", "set_title", "set_xlabel", "set_ylabel", "tick_params")


def possible(tree: ast.AST, color: ast.expr) -> Iterator[tuple[str, str]]:
    """(ink, ground) of a text whose colour is this expression: on white, or on the cells of a map."""
    if isinstance(color, ast.Constant):
        yield color.value, "white"
    elif isinstance(color, ast.JoinedStr):  # f"C{k}"
        yield from ((ink, "white") for ink in CYCLE[:4])
    else:
        ((_, drawn),) = calls(tree, "imshow")
        limits = [ast.literal_eval(drawn[end]) for end in ("vmin", "vmax")]
        cells = mpl.cm.ScalarMappable(mpl.colors.Normalize(*limits), drawn["cmap"].value)
        (rules,) = [  # the lines of the loop over the values that lead to the colour
            compile(ast.Module([n for n in loop.body if isinstance(n, ast.Assign)], []), "", "exec")
            for loop in ast.walk(tree)
            if isinstance(loop, ast.For) and any(map(_writes, loop.body))
        ]
        for value in np.linspace(*limits, 401):
            names = {"value": value, "drawn": cells, "np": np}
            exec(rules, names)
            yield names[color.id], to_hex(cells.to_rgba(value))


def _writes(line: ast.stmt) -> bool:
    texts = calls(line, *TEXTS) if isinstance(line, ast.Expr) else ()
    return any("color" in given for _, given in texts)


def test_texts_of_figures_stand_out():
    """At least 4.5:1 (WCAG 1.4.3): on white, and on every cell that a heat map may hold."""
    least = [
        (min(contrast(*pair) for pair in possible(tree, given["color"])), place)
        for place, tree in code()
        for _, given in calls(tree, *TEXTS)
        if "color" in given
    ]
    assert len(least) >= 3
    assert [found for found in least if found[0] < 4.5] == []


@pytest.mark.parametrize("state", [{}, {"kernel": 6}, {"method": RESIZE, "kernel": 6, "stride": 3}])
def test_counts_of_the_overlap_stand_out_from_their_cells(state):
    axes = widgets.UpsamplingExplorer(**state).figure().axes
    texts = [(text, axis.images[0]) for axis in axes for text in axis.texts]
    assert len(texts) >= 144
    for text, image in texts:
        x, y = text.get_position()
        ground = image.cmap(image.norm(image.get_array()[y, x]))
        assert contrast(text.get_color(), to_hex(ground)) >= 4.5, text


def test_counts_of_the_overlap_stand_out_in_the_browser():
    """The same rule there: of every count up to the most that a kernel of 6 gives."""
    source = script("UpsamplingExplorer")
    (share,) = map(
        float, re.findall(r'counts\[p\] < ([\d.]+) \* most \? "white" : "black"', source)
    )
    (anchors,) = re.findall(r"CIVIDIS = (\[\[.*?\]\]);", source)
    channels = np.divide(json.loads(anchors), 255).T
    for most in range(1, 37):
        for count in range(most + 1):
            ink = "white" if count < share * most else "black"
            ground = to_hex([np.interp(4 * count / most, range(5), c) for c in channels])
            assert contrast(ink, ground) >= 4.5, (count, most)


def test_the_style_writes_black_on_white():
    with mpl.rc_context():
        plots.plt.style.use(ROOT / "helpers" / "pixelwise.mplstyle")
        figure, axis = plots.plt.subplots()
        axis.plot([1, 2], label="a")
        axis.set(title="t", xlabel="x", ylabel="y")
        axis.legend()
        figure.canvas.draw()
        texts = [t for t in figure.findobj(mpl.text.Text) if t.get_text()]
        assert len(texts) > 8
        assert {to_hex(t.get_color()) for t in texts} == {"#000000"}
        assert to_hex(figure.get_facecolor()) == to_hex(axis.get_facecolor()) == "#ffffff"
        plots.plt.close(figure)


def test_lines_stand_out_from_white():
    """3:1 (WCAG 1.4.11) for the four colours that lines have; the other two light ones, black-edged."""
    ratios = [contrast(color, "white") for color in CYCLE]
    assert min(ratios[:4]) > 3
    pale = {f"C{k}" for k, ratio in enumerate(ratios) if ratio < 3}
    assert pale == {"C4", "C5"}
    for place, tree in code():
        named = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)} & pale
        assert not named, place


def test_series_differ_in_more_than_colour():
    """Where a loop takes its colours from the cycle, it takes a marker by the same count."""
    places = set()
    for place, tree in code():
        text = ast.unparse(tree)
        if re.search(r"""f['"]C\{""", text):
            places.add(place)
            assert re.search(r"""(['"][osD^]{2,}['"]|MARKERS)\[""", text), place
    assert len(places) >= 6

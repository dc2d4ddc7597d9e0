"""Every widget without a mouse, without motion, without good eyes: axe-core, keys, contrast, grey.

The sweep goes over JupyterLab, Notebook 7 and a page as the site has them; only the elements of the
widgets are looked at, the rest of JupyterLab and Notebook is theirs. What each control does is
tested widget by widget, in the other files of this kind.
"""

from __future__ import annotations

import io
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("pydensecrf", reason="pydensecrf2 is not installed")
pytest.importorskip("axe_playwright_python", reason="axe-core is not installed")
from axe_playwright_python.sync_playwright import Axe
from browser import (
    bare_page,
    change_theme,
    lab,
    poll,
    run_all,
    set_state,
    strangers,
    write_notebook,
)
from nbformat import v4
from PIL import Image
from playwright.sync_api import Browser, Locator, Page
from test_palettes import LUMINANCE, contrast, linear
from torch import nn

from helpers import static_widgets, widgets
from helpers.classes import STREETS
from helpers.crf import Params

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PAGE = Path(__file__).parents[1] / "docs" / "access.md"

SETUP = """
import numpy as np
import torch
from torch import nn

from helpers.classes import STREETS
from helpers.crf import Params
from helpers.models.deeplab import DeepLab
from helpers.models.dilated import DilatedStack
from helpers.models.unet import UNet
from helpers.widgets import *

rng = np.random.default_rng(0)
images = rng.random((2, 3, 4, 6), np.float32).repeat(8, 2).repeat(8, 3)
truths = rng.integers(0, 8, (2, 4, 6)).repeat(8, 1).repeat(8, 2)
shifted = np.roll(truths, 3, 2)
truths[0, :8, :8] = 255
torch.manual_seed(0)
unet, deeplab = UNet(8, widths=(8,) * 6), DeepLab(8, widths=(8,) * 6)
stack, conv = DilatedStack(8, (1, 2), width=8).eval(), nn.Conv2d(3, 8, 3, padding=1)
for layer in (unet.score, deeplab.score, conv):
    nn.init.normal_(layer.weight, std=0.5)
photo = (255 * images[0].transpose(1, 2, 0)).astype(np.uint8)
lines = {0: [[(4, 4), (4, 20)]], 1: [[(28, 4), (28, 40)]]}
"""

# name: how to make it, its main control (role, beginning of its name), a key that changes the picture
WIDGETS = {
    "MaskOverlay": (
        "MaskOverlay(images, truths, {'shifted': shifted}, STREETS)",
        ("slider", "Opacity", "ArrowRight"),
    ),
    "SkipExplorer": ("SkipExplorer(unet, images, truths, STREETS)", ("checkbox", "stride 2", " ")),
    "BranchExplorer": (
        "BranchExplorer(deeplab, images, truths, STREETS)",
        ("application", "Picture", "ArrowRight"),
    ),
    "UpsamplingExplorer": ("UpsamplingExplorer()", ("application", "Input", "ArrowDown")),
    "ReceptiveFieldExplorer": (
        "ReceptiveFieldExplorer(images, {'small': stack})",
        ("application", "Picture", "ArrowLeft"),
    ),
    "CRFPlayground": (
        "CRFPlayground({'conv': conv}, images, truths, STREETS, {'conv': Params(3, 4, 20, 1, 1)})",
        ("slider", "Iterations", "ArrowLeft"),
    ),
    "ScribbleSegmenter": (
        "ScribbleSegmenter(photo, strokes=lines, brush=3)",
        ("application", "Photo", "ArrowUp"),
    ),
}
FORMS = {
    "MaskOverlay": "overlay",
    "SkipExplorer": "skips",
    "BranchExplorer": "branches",
    "UpsamplingExplorer": "upsampling",
    "ReceptiveFieldExplorer": "field",
    "CRFPlayground": "crf",
    "ScribbleSegmenter": "scribble",
}
THEMES = ("light", "dark")

STOPS = """root => [...root.querySelectorAll("a[href], button, input, select, textarea, [tabindex]")]
  .filter((e) => !e.disabled && e.tabIndex >= 0 && e.checkVisibility() && (e.type !== "radio" || e.checked))"""
DIGEST = """root => [...root.querySelectorAll("canvas")].map((c) => c.toDataURL()).join()"""
# Colour of every text and of what lies behind it, as the page mixes them: [text, ink, ground]
INKS = """root => {
  const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const mix = (...coats) => {
    for (const coat of ["white", ...coats]) { pen.fillStyle = coat; pen.fillRect(0, 0, 1, 1); }
    return "#" + [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3).map((c) => c.toString(16).padStart(2, "0")).join("");
  };
  const found = [], walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let node; (node = walk.nextNode());) {
    const at = node.parentElement, style = getComputedStyle(at);
    if (!node.data.trim() || !at.checkVisibility() || at.closest(":disabled")) continue;
    if (style.textShadow !== "none") continue; // has a black edge of its own
    const grounds = [];
    for (let e = at; e; e = e.parentElement) grounds.unshift(getComputedStyle(e).backgroundColor);
    found.push([node.data.trim(), mix(...grounds, at.closest("svg") ? style.fill : style.color), mix(...grounds)]);
  }
  return found;
}"""
OUTLINE = """e => [getComputedStyle(e).outlineStyle, getComputedStyle(e).outlineColor, parseFloat(getComputedStyle(e).outlineWidth)]"""
MOVING = """root => [
  ...document.getAnimations().filter((a) => root.contains(a.effect.target)).map((a) => a.effect.target.outerHTML),
  ...[root, ...root.querySelectorAll("*")].filter((e) => [null, "::before", "::after"].some((part) => {
    const { transitionDuration, animationName } = getComputedStyle(e, part);
    return !/^0s(, 0s)*$/.test(transitionDuration) || animationName !== "none";
  })).map((e) => e.outerHTML)]"""


@dataclass
class Shown:
    """A page with the widgets `names`, and how it changes its theme."""

    front_end: str
    page: Page
    names: list[str]
    dress: Callable[[str], None]

    @property
    def stated(self) -> list[float]:
        """The least contrast of texts in each theme, as ``docs/access.md`` has it."""
        text = PAGE.read_text("utf-8")
        row = re.search(rf"^\| {self.front_end} \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE)
        return [float(number) for number in row.groups()]

    def root(self, name: str) -> Locator:
        """The form that a widget consists of, in sight."""
        form = self.page.locator(f"form.pixelwise-{FORMS[name]}")
        form.scroll_into_view_if_needed()
        return form

    def main(self, name: str) -> tuple[Locator, str]:
        """The main control of a widget, with the focus as keys give it, and its key."""
        _, (role, title, key) = WIDGETS[name]
        control = self.root(name).get_by_role(role, name=re.compile(f"^{title}")).first
        self.page.keyboard.press("Shift")  # with a key before it, the focus shows
        control.focus()
        return control, key


def in_jupyter(browser: Browser, folder: Path, front_end: str) -> Iterator[Shown]:
    write_notebook(folder / "all.ipynb", SETUP, *(made for made, _ in WIDGETS.values()))
    with lab(folder, front_end=front_end) as address:
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.set_default_timeout(120_000)  # on a busy machine, seven widgets take a while
        outside = strangers(page)
        title, where = {
            "jupyterlab": ("JupyterLab 4", "lab/tree"),
            "notebook": ("Notebook 7", "notebooks"),
        }[front_end]
        run_all(page, address, "all.ipynb", 300, where)
        shown = Shown(
            title,
            page,
            list(WIDGETS),
            lambda theme: change_theme(page, f"JupyterLab {theme.capitalize()}"),
        )
        for name in WIDGETS:
            shown.root(name).locator("canvas").first.wait_for()
        yield shown
        assert not outside
        page.close()


def on_the_site(browser: Browser, folder: Path) -> Iterator[Shown]:
    """The widgets that work without a kernel, in a page with the colours of the site's theme."""
    values: dict = {}
    exec(SETUP, values)
    names = [name for name in WIDGETS if getattr(widgets, name).alone]
    bundles = [eval(WIDGETS[name][0], values)._repr_mimebundle_()[0] for name in names]
    outputs = [
        v4.new_output(
            "display_data", data=data | {"image/png": b64encode(data["image/png"]).decode()}
        )
        for data in bundles
    ]
    book = v4.new_notebook(cells=[v4.new_code_cell(outputs=outputs)])
    static_widgets.embed(book)
    static_widgets.write(folder)
    styles = Path(find_spec("furo").origin).parent / "theme" / "furo" / "static" / "styles"
    sheets = [
        folder / "widgets.css",
        styles / "furo.css",
        static_widgets.HOST.with_name("site.css"),
    ]
    style = "\n".join(sheet.read_text("utf-8") for sheet in sheets)
    shapes = "\n".join(output.data["text/html"] for output in book.cells[0].outputs)
    (folder / "page.html").write_text(
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Widgets</title>'
        f'<style>{style}</style><body><a href="#">before</a>{shapes}<a href="#">after</a>'
        '<script src="widgets.js"></script>'
    )
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    page.goto((folder / "page.html").as_uri())
    page.evaluate("pixelwise.start()")
    yield Shown(
        "site",
        page,
        names,
        lambda theme: page.evaluate("t => { document.body.dataset.theme = t; }", theme),
    )
    page.close()


@pytest.fixture(scope="module", params=["site", "jupyterlab", "notebook"])
def shown(request, browser, tmp_path_factory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "site":
        pytest.importorskip("furo", reason="the theme of the site is not installed")
        yield from on_the_site(browser, folder)
    else:
        yield from in_jupyter(browser, folder, request.param)


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_and_texts_stand_out(shown, theme):
    """No finding of any weight; contrast as the page states it, also where axe-core cannot tell."""
    shown.dress(theme)
    found, faint = [], {}
    for name in shown.names:
        root = shown.root(name)
        marked = root.evaluate("root => { root.id = 'looked-at'; }")
        for fault in Axe().run(shown.page, "#looked-at").response["violations"]:
            found += [(name, fault["id"], node["html"][:200]) for node in fault["nodes"]]
        root.evaluate("root => { root.removeAttribute('id'); }", marked)
        texts = root.evaluate(INKS)
        assert len(texts) > 8
        faint[name] = min((contrast(ink, ground), text) for text, ink, ground in texts)
    assert found == []
    least = min(faint.values())
    assert least[0] >= 4.5, faint
    assert shown.stated[THEMES.index(theme)] == pytest.approx(least[0], abs=0.06), faint


@pytest.mark.parametrize("name", WIDGETS)
def test_every_widget_is_operated_by_keys_alone(shown, name):
    """Tab goes through all controls in order, and out at both ends; the main one answers its key."""
    if name not in shown.names:
        pytest.skip("needs Python: the site shows its picture")
    page, root = shown.page, shown.root(name)
    stops = root.evaluate_handle(STOPS)
    here = lambda: stops.evaluate("stops => stops.indexOf(document.activeElement)")  # noqa: E731
    count = stops.evaluate("stops => stops.length")
    stops.evaluate("stops => stops[0].focus()")
    visited = [here()]
    while visited[-1] >= 0 and len(visited) <= count + 3:
        page.keyboard.press("Tab")
        visited.append(here())
    assert visited == [*range(count), -1]
    assert not root.evaluate("root => root.contains(document.activeElement)")
    stops.evaluate("stops => stops[0].focus()")
    page.keyboard.press("Shift+Tab")
    assert not root.evaluate("root => root.contains(document.activeElement)")
    for _ in range(3):  # a cell, or a button of its toolbar, may stand before the widget
        page.keyboard.press("Tab")
        if here() >= 0:
            break
    assert here() == 0

    _, key = shown.main(name)
    seen = root.evaluate(DIGEST)
    page.keyboard.press(key)
    poll(lambda: root.evaluate(DIGEST) != seen, 20, f"{key!r} changes the picture")
    cells = page.locator(".jp-Cell").count()
    page.keyboard.type("abx")  # commands of JupyterLab and Notebook, were they to get through
    assert page.locator(".jp-Cell").count() == cells
    assert root.evaluate("root => root.contains(document.activeElement)")


@pytest.mark.parametrize("name", WIDGETS)
def test_every_control_has_a_role_and_a_name(shown, name):
    if name not in shown.names:
        pytest.skip("needs Python: the site shows its picture")
    root = shown.root(name)
    tree = root.aria_snapshot()
    kinds = "application|button|checkbox|combobox|img|radio|slider|spinbutton|textbox"
    controls = re.findall(rf"^ *- '?((?:{kinds})\b.*)", tree, re.MULTILINE)
    assert [line for line in controls if not re.match(r'\w+ "\w', line)] == []
    assert len(controls) >= root.evaluate_handle(STOPS).evaluate("stops => stops.length")
    # A screen reader hands its arrow keys to an application, and keeps them on an image.
    roles = "all => all.map((c) => [c.getAttribute('role'), c.tabIndex])"
    canvases = root.locator("canvas").evaluate_all(roles)
    assert {("application", 0), ("img", -1)} >= set(map(tuple, canvases))


@pytest.mark.parametrize("theme", THEMES)
def test_the_focus_shows(shown, theme):
    """An outline of 3 px, 3:1 against the page (WCAG 1.4.11)."""
    shown.dress(theme)
    for name in shown.names:
        control, _ = shown.main(name)
        style, color, width = control.evaluate(OUTLINE)
        ground = shown.root(name).evaluate(INKS)[0][2]
        ink = "#" + "".join(f"{int(c):02x}" for c in re.findall(r"\d+", color)[:3])
        assert (style, width) == ("solid", 3), name
        assert contrast(ink, ground) >= 3, (name, ink, ground)


def test_nothing_moves_for_who_asks_for_less_motion(shown):
    shown.page.emulate_media(reduced_motion="reduce")
    for name in shown.names:
        _, key = shown.main(name)
        shown.page.keyboard.press(key)
        assert shown.root(name).evaluate(MOVING) == [], name
    shown.page.emulate_media(reduced_motion=None)


def test_the_page_lists_the_keys_of_every_widget():
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert [name for name, _ in rows] == list(WIDGETS)
    assert set(WIDGETS) == set(widgets.__all__)
    for name, keys in rows:  # what a picture listens to is told, and nothing else
        source = str(getattr(widgets, name)._esm)
        own = source[source.index(static_end := "// The browser's half of") + len(static_end) :]
        assert ("arrows" in keys) == ("ARROWS[event.key]" in own), name
        assert ("Shift" in keys) == ("event.shiftKey" in own), name
        assert ("Space or Enter" in keys) == ('"Enter"' in own), name
        assert ("Delete" in keys) == ('"Delete"' in own), name
        assert ("digits" in keys) == ("Number(event.key)" in own), name


# In grey: a page with one widget, whose two classes are as light as each other

HALVES = np.repeat([[0, 1]], 24, 1).repeat(32, 0)  # sky, then building


def grey(canvas: Locator) -> np.ndarray:
    """What a canvas shows, as relative luminance in [0, 1]."""
    _, picture = canvas.evaluate("canvas => canvas.toDataURL()").split("base64,")
    shown = Image.open(io.BytesIO(b64decode(picture))).convert("RGB")
    return linear(np.asarray(shown) / 255) @ LUMINANCE


def halves(name: str) -> widgets.MaskOverlay:
    """The widget on a picture whose left half is sky, its right half building; some err throughout."""
    values: dict = {}
    exec(SETUP, values)
    images = np.full((1, 3, 32, 48), 0.6, np.float32)
    images[0, 0, :, 24:] = 0.7
    if name == "CRFPlayground":  # says what is right, or the other
        net = nn.Conv2d(3, 8, 1)
        nn.init.constant_(net.bias, -9)
        net.weight.data.zero_()[:2, 0, 0, 0] = values["torch"].tensor([-40.0, 40.0])
        net.bias.data[:2] = values["torch"].tensor([26.0, -26.0])
        return widgets.CRFPlayground(
            {"net": net}, images, HALVES[None], STREETS, {"net": Params(0, 1, 2, 0, 1)}
        )
    model = values["unet"] if name == "SkipExplorer" else values["deeplab"]
    return getattr(widgets, name)(model, images, HALVES[None], STREETS)


@pytest.mark.parametrize("name", ["SkipExplorer", "BranchExplorer", "CRFPlayground"])
def test_classes_that_are_alike_in_grey_have_a_line_between_them(browser, name):
    page = bare_page(browser, halves(name))
    set_state(page, opacity=1)
    shown = grey(page.locator("canvas").first)
    scale = shown.shape[1] // 48
    sky, building = (shown[2, scale * column] for column in (4, 44))
    line = shown[2, 23 * scale : 25 * scale].min()
    assert max(sky, building) / min(sky, building) < 1.5
    assert (min(sky, building) + 0.05) / (line + 0.05) >= 3
    page.close()


@pytest.mark.parametrize("name", ["SkipExplorer", "BranchExplorer"])
def test_wrong_pixels_stay_hatched_however_often_they_are_drawn(browser, name):
    page = bare_page(browser, halves(name))
    page.get_by_label("errors", exact=True).check()
    for opacity in (0.5, 1):
        set_state(page, opacity=opacity)
        shown = grey(page.locator("canvas").nth(1))
        blocks = shown.reshape(32, shown.shape[0] // 32, 48, -1).swapaxes(1, 2)
        wrong = blocks.max((2, 3)) == 1
        wrong[8:24, 12:36] = False  # there the ring of the chosen pixel lies
        assert wrong.sum() > 100
        assert blocks.min((2, 3))[wrong].max() < 0.2
    page.close()

"""UpsamplingExplorer in Chromium: equal to torch, drawn by pointer and keys, and in JupyterLab."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
import torch
from browser import (
    bare_page,
    lab,
    poll,
    run_all,
    run_last,
    set_state,
    strangers,
    write_notebook,
)

from helpers.upsampling import checkerboard
from helpers.widgets.upsampling_explorer import METHODS, UpsamplingExplorer

pytestmark = pytest.mark.browser
TRANSPOSED, RESIZE, SHUFFLE = "transposed convolution", "resize, then convolve", "pixel shuffle"
EVERY = [
    {"method": method, "kernel": kernel, "stride": stride, "init": init}
    for method, inits in METHODS.items()
    for init in inits or ["ones"]
    for stride in range(2, 5)
    for kernel in range(1, 7)
]
CELLS = np.random.default_rng(0).random((6, 6)).round(3)
RESULT = "document.querySelector('form').result"


@pytest.fixture
def alone(browser):
    """The explorer, with random cells, in a page without kernel and without Lab."""
    page = bare_page(browser, UpsamplingExplorer(cells=CELLS))
    page.set_viewport_size({"width": 1000, "height": 1000})
    thrown = []
    page.on("pageerror", lambda error: thrown.append(error))
    yield page
    assert not thrown
    page.close()


def canvas(page, name: str):
    """The canvas of "Input", "Output" or "Overlap"; a role and a name find it."""
    root = page.locator(".pixelwise-upsampling")
    return root.get_by_role("application", name=re.compile(f"^{name}"))


def colors(page, name: str, side: int) -> np.ndarray:
    """What a canvas shows in the upper left corner of each of its pixels, beside the number: int (side, side, 3)."""
    sample = """(canvas, side) => {
      const pen = canvas.getContext("2d"), step = canvas.width / side, shown = [];
      for (let y = 0; y < side; y++) for (let x = 0; x < side; x++)
        shown.push(...pen.getImageData((x + 0.1) * step, (y + 0.1) * step, 1, 1).data.slice(0, 3));
      return shown;
    }"""
    return np.array(canvas(page, name).evaluate(sample, side)).reshape(side, side, 3)


def place(page, name: str, column: float, row: float, side: int) -> tuple[float, float]:
    """Where in the page the middle of a pixel of a canvas lies."""
    box = canvas(page, name).bounding_box()
    return tuple(
        box[start] + (at + 0.5) * box["width"] / side for start, at in (("x", column), ("y", row))
    )


def cells(page) -> np.ndarray:
    return np.array(page.evaluate("model.get('cells')"))


def test_the_browser_computes_what_torch_computes(alone):
    found = alone.evaluate(
        """all => all.map((state) => {
          Object.entries(state).forEach(([k, v]) => model.set(k, v));
          return document.querySelector("form").result;
        })""",
        EVERY,
    )
    explorer = UpsamplingExplorer(cells=CELLS)
    for state, result in zip(EVERY, found, strict=True):
        explorer.set_trait("method", state["method"])
        for name in ("kernel", "stride", "init"):
            explorer.set_trait(name, state[name])
        output = explorer.output()
        side, case = len(output), str(state)
        values = np.reshape(result["values"], (side, side))
        np.testing.assert_allclose(values, output, rtol=0, atol=1e-5, err_msg=case)
        counts = np.reshape(result["counts"], (side, side))
        np.testing.assert_array_equal(counts, explorer.overlap(), err_msg=case)
        share = checkerboard(torch.from_numpy(output), explorer.stride)
        assert result["checkerboard"] == pytest.approx(share, abs=1e-5), case


def test_the_canvas_shows_the_values_and_negative_ones_in_blue(alone):
    explorer = UpsamplingExplorer(cells=CELLS, method=SHUFFLE, kernel=4, stride=3, init="random")
    set_state(alone, method=SHUFFLE, kernel=4, stride=3, init="random")
    output = explorer.output()[..., None]
    ink = np.where(output < 0, (86, 180, 233), (255, 255, 255))
    expected = ink * np.abs(output) / max(1, np.abs(output).max())
    np.testing.assert_allclose(colors(alone, "Output", 18), expected, atol=1)
    assert (output < -0.1).any()
    drawn = np.repeat(CELLS[..., None], 3, 2) * 255
    np.testing.assert_allclose(colors(alone, "Input", 6), drawn, atol=1)
    counts, shown = explorer.overlap(), colors(alone, "Overlap", 18).sum(2)
    for fewer, more in zip(np.unique(counts), np.unique(counts)[1:], strict=False):
        assert shown[counts == fewer].max() < shown[counts == more].min()  # brighter: more cells
    legend = alone.locator(".legend > span").all_inner_texts()
    assert [int(entry) for entry in legend if entry] == np.unique(counts).tolist()


def test_the_pointer_paints_with_the_ink(alone):
    alone.get_by_role("button", name="clear").click()
    assert not cells(alone).any()
    alone.get_by_role("slider", name="Ink").press("ArrowLeft")
    assert alone.evaluate("model.get('ink')") == pytest.approx(0.9)
    alone.mouse.move(*place(alone, "Input", 1, 4, 6))
    assert not cells(alone).any()  # pointing alone paints nothing
    alone.mouse.down()
    alone.mouse.move(*place(alone, "Input", 3, 4, 6), steps=8)
    alone.mouse.up()
    alone.mouse.move(*place(alone, "Input", 5, 5, 6))
    expected = np.zeros((6, 6))
    expected[4, 1:4] = 0.9
    np.testing.assert_allclose(cells(alone), expected)
    alone.mouse.move(*place(alone, "Output", 4, 2, 12))
    alone.mouse.down()
    alone.mouse.up()
    np.testing.assert_allclose(cells(alone), expected)  # the output is not for drawing


def test_keys_move_paint_and_erase(alone):
    alone.get_by_role("button", name="clear").click()
    grid, readout = canvas(alone, "Input"), alone.locator("output")
    set_state(alone, ink=0.5)
    grid.focus()
    assert readout.inner_text().startswith("Input row 2, column 2: 0.00.")
    alone.keyboard.press("ArrowRight")
    alone.keyboard.press("Space")
    assert readout.inner_text() == (
        "Input row 2, column 3: 0.50. Pixels it reaches: rows 3 to 5, columns 5 to 7."
    )
    alone.keyboard.press("ArrowDown")
    alone.keyboard.press("Enter")
    expected = np.zeros((6, 6))
    expected[2:4, 3] = 0.5
    np.testing.assert_array_equal(cells(alone), expected)
    alone.keyboard.press("Delete")
    expected[3, 3] = 0
    np.testing.assert_array_equal(cells(alone), expected)
    for _ in range(9):
        alone.keyboard.press("ArrowDown")
    assert readout.inner_text().startswith("Input row 5, column 3")  # it stays inside


def test_buttons_draw(alone):
    drawings = {
        "one dot": np.pad([[1]], ((2, 3), (2, 3))),
        "edge": np.repeat([[1, 1, 1, 0, 0, 0]], 6, 0),
        "flat": np.ones((6, 6)),
        "clear": np.zeros((6, 6)),
    }
    for name, expected in drawings.items():
        alone.get_by_role("button", name=name).click()
        np.testing.assert_array_equal(cells(alone), expected)


def test_the_readout_of_an_output_pixel_names_its_cells(alone):
    explorer, readout = UpsamplingExplorer(cells=CELLS), alone.locator("output")
    alone.mouse.move(*place(alone, "Overlap", 7, 5, 12))
    value = f"{explorer.output()[5, 7]:.2f}"
    assert readout.inner_text() == (
        f"Output row 5, column 7: {value}. Overlap 4, cells: rows 2 to 3, columns 3 to 4."
    )
    canvas(alone, "Output").press("ArrowLeft")
    assert "column 6" in readout.inner_text()
    assert readout.inner_text().endswith("Overlap 2, cells: rows 2 to 3, column 3.")
    set_state(alone, kernel=1)
    assert readout.inner_text() == "Output row 5, column 6: 0.00. Overlap 0, cells: none."
    set_state(alone, stride=4)
    for _ in range(25):
        canvas(alone, "Output").press("ArrowDown")
    set_state(alone, stride=2)
    assert "row 11, column 6" in readout.inner_text()  # the cursor stays on the smaller map


def test_every_control_has_a_name_and_changes_the_picture(alone):
    tree = alone.locator("form").aria_snapshot()
    controls = re.findall(r"- '?(?:combobox|slider|button|application|img)\b.*", tree)
    assert len(controls) == 12
    assert [
        c for c in controls if not re.match(r"- '?\w+ \"[A-Za-z]", c)
    ] == []  # none without a name
    seen = alone.evaluate(RESULT)["values"]
    alone.get_by_role("slider", name="Kernel").press("ArrowRight")
    assert alone.evaluate("model.get('kernel')") == 4
    assert (larger := alone.evaluate(RESULT)["values"]) != seen
    alone.get_by_role("combobox", name="First weights").select_option("random")
    assert (random := alone.evaluate(RESULT)["values"]) != larger
    alone.get_by_role("combobox", name="Method").select_option(SHUFFLE)
    assert alone.evaluate("model.get('method')") == SHUFFLE
    assert alone.evaluate(RESULT)["values"] != random
    alone.get_by_role("slider", name="Stride").press("ArrowRight")
    assert len(alone.evaluate(RESULT)["values"]) == 18**2


def test_what_a_method_does_not_use_is_disabled_and_says_so(alone):
    kernel = alone.get_by_role("slider", name="Kernel")
    init = alone.get_by_role("combobox", name="First weights")
    options = lambda: init.locator("option").all_inner_texts()  # noqa: E731
    assert kernel.is_enabled() and options() == ["ones", "bilinear", "random"]
    set_state(alone, method="nearest")
    assert kernel.is_disabled() and init.is_disabled()
    assert kernel.get_attribute("aria-valuetext") == "not in this method"
    assert options() == ["none in this method"]
    set_state(alone, method=TRANSPOSED, init="bilinear", stride=3)
    assert kernel.is_disabled() and init.is_enabled()
    assert kernel.get_attribute("aria-valuetext") == "5: set by the stride"
    set_state(alone, method=RESIZE)  # does not know bilinear weights
    assert kernel.is_enabled() and init.input_value() == "random"
    assert options() == ["ones ÷ kernel²", "random"]


@pytest.mark.parametrize(
    ("state", "overlap", "flat"),
    [
        ({"kernel": 3}, "1, 2, 4: uneven (the stride 2 does not divide the kernel 3)",
         "1.00 to 4.00 away from the border, checkerboard 0.19"),
        ({"kernel": 4}, "4: even (the stride 2 divides the kernel 4)",
         "4.00 away from the border, checkerboard 0.00"),
        ({"init": "bilinear", "stride": 3}, "1, 2, 4: uneven (the stride 3 does not divide the kernel 5)",
         "1.00 away from the border, checkerboard 0.00"),
        ({"method": RESIZE, "kernel": 4}, "4, 6, 9: uneven (each pixel adds up the whole kernel",
         "1.00 away from the border, checkerboard 0.00"),
    ],
)  # fmt: skip
def test_the_text_of_the_pictures_follows_the_state(alone, state, overlap, flat):
    set_state(alone, **state)
    assert overlap in canvas(alone, "Overlap").get_attribute("aria-label")
    spoken = canvas(alone, "Output").get_attribute("aria-label")
    assert f"A flat input would give {flat}" in spoken
    assert f"Output of {state.get('method', TRANSPOSED)}, stride {state.get('stride', 2)}" in spoken
    set_state(alone, cells=[[0.5] * 6] * 6)
    assert canvas(alone, "Output").get_attribute("aria-label") != spoken
    assert "36 above 0" in canvas(alone, "Input").get_attribute("aria-label")


@pytest.mark.parametrize("width", [1000, 700, 420])
def test_it_fits(alone, width):
    alone.set_viewport_size({"width": width, "height": 900})
    set_state(alone, method=SHUFFLE, kernel=6, stride=4)
    assert alone.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_the_explorer_lives_in_jupyterlab(browser, tmp_path):
    write_notebook(
        tmp_path / "explorer.ipynb",
        "from helpers.widgets.upsampling_explorer import UpsamplingExplorer\n"
        "explorer = UpsamplingExplorer()\nexplorer",
        "explorer.cells[2][2:5], explorer.method, explorer.init",
    )
    with lab(tmp_path) as address:
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        outside = strangers(page)
        run_all(page, address, "explorer.ipynb", seconds=60)
        page.wait_for_selector(".pixelwise-upsampling canvas")
        count = page.locator(".jp-Cell").count()
        canvas(page, "Input").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.type("abdx")  # commands of JupyterLab, were they to get through
        page.keyboard.press("Space")
        readout = page.locator(".pixelwise-upsampling output")
        assert readout.inner_text().startswith("Input row 2, column 3: 1.00.")
        assert page.locator(".jp-Cell").count() == count
        page.get_by_role("combobox", name="Method").select_option(SHUFFLE)
        last = run_last(page)  # Python holds the state that the keys made
        told = "([1.0, 1.0, 0.0], 'pixel shuffle', 'random')"
        poll(lambda: told in last.inner_text(), 30, "Python knows cells, method and first weights")
        assert not outside
        page.close()

"""Widgets in Chromium: alone in a bare page, in JupyterLab, and in notebook 01."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
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
from browser import colors as browser_colors

from helpers.classes import STREETS
from helpers.metrics import boundary_distance
from helpers.widgets import MaskOverlay

pytestmark = pytest.mark.browser
NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "01_dense_prediction.ipynb"

SYNTHETIC = """
import numpy as np
rng = np.random.default_rng(0)
truths = rng.integers(0, 8, (3, 3, 16)).repeat(8, 1).repeat(8, 2)
truths[1, :2, :3] = 255
images = rng.random((3, 3, 24, 128), np.float32)
predictions = {"shifted": np.roll(truths, 3, 2) % 8, "sky": np.zeros_like(truths)}
"""


@pytest.fixture(scope="module")
def synthetic() -> dict:
    values: dict = {}
    exec(SYNTHETIC, values)
    return values


@pytest.fixture
def alone(browser, synthetic):
    """The overlay in a page without kernel and without Lab: ``page``, and where its parts are."""
    names = ("images", "truths", "predictions")
    page = bare_page(browser, MaskOverlay(**{n: synthetic[n] for n in names}, classes=STREETS))
    yield page
    page.close()


def picture(page) -> str:
    """A hash of what the first overlay of the page shows."""
    url = page.locator(".pixelwise-overlay canvas").first.evaluate("c => c.toDataURL()")
    return hashlib.sha256(url.encode()).hexdigest()


def colors(page) -> np.ndarray:
    """What the canvas shows of every pixel of the picture: uint8 (24, 128, 3)."""
    return browser_colors(page.locator("canvas"), 24, 128)


def test_the_curtain_shows_left_and_right_of_it_what_was_chosen(alone, synthetic):
    truth, shifted = synthetic["truths"][1], synthetic["predictions"]["shifted"][1]
    set_state(alone, index=1, opacity=1, curtain=0.25, left="shifted", right="truth")
    shown = colors(alone)
    expected = STREETS.palette[np.where(np.arange(128) < 32, shifted, truth)]
    clear = np.abs(np.arange(128) - 31.5) > 3.5  # columns that neither curtain nor handle covers
    np.testing.assert_array_equal(shown[:, clear], expected[:, clear])


def test_a_class_that_is_switched_off_leaves_the_photo(alone, synthetic):
    set_state(alone, opacity=1, curtain=1, left="image")
    photo = colors(alone)
    set_state(alone, left="truth")
    alone.get_by_label("road").uncheck()
    assert alone.evaluate("model.get('hidden')") == ["road"]
    road = synthetic["truths"][0] == STREETS.index("road")
    expected = np.where(road[..., None], photo, STREETS.palette[synthetic["truths"][0]])
    np.testing.assert_array_equal(colors(alone)[:, :124], expected[:, :124])
    alone.get_by_role("button", name="show no class").click()
    np.testing.assert_array_equal(colors(alone)[:, :124], photo[:, :124])


@pytest.mark.parametrize("view", ["errors", "boundary errors"])
def test_errors_are_bright_and_everything_else_is_dark(alone, synthetic, view):
    truth, mask = synthetic["truths"][1], synthetic["predictions"]["shifted"][1]
    set_state(alone, index=1, opacity=1, curtain=1, left="shifted")
    alone.get_by_label(view, exact=True).check()
    wrong = (mask != truth) & (truth != 255)
    if view == "boundary errors":
        wrong &= boundary_distance(truth) < 2
    shown = colors(alone)[:, :124]
    np.testing.assert_array_equal((shown == (255, 255, 255)).all(2), wrong[:, :124])
    assert shown[~wrong[:, :124]].max() < 128
    alone.get_by_role("button", name="show no class").click()
    # The curtain's line, white too, stands at the right end.
    assert not (colors(alone)[:, :124] == (255, 255, 255)).all(2).any()


def test_controls_are_named_and_move_by_keyboard(alone):
    for name, trait in (("Curtain", "curtain"), ("Opacity", "opacity"), ("Picture", "index")):
        before, seen = alone.evaluate(f"model.get('{trait}')"), picture(alone)
        alone.get_by_role("slider", name=name).press("ArrowRight")
        assert alone.evaluate(f"model.get('{trait}')") > before, name
        assert picture(alone) != seen, name
    alone.get_by_role("combobox", name="Left").select_option("image")
    assert alone.evaluate("model.get('left')") == "image"
    spoken = alone.get_by_role("application").get_attribute("aria-label")
    assert "Picture 1, classes, opacity 61 %" in spoken
    assert "Curtain at 51 %: left of it image, right of it shifted" in spoken
    assert "no class" in spoken


def test_the_readout_follows_the_arrow_keys_and_stays_inside(alone, synthetic):
    canvas = alone.locator("canvas")
    canvas.press("ArrowRight")
    assert alone.locator("output").inner_text().startswith("Row 12, column 65 · truth: ")
    for _ in range(7):
        canvas.press("Shift+ArrowLeft")
    canvas.press("ArrowDown")
    truth, said = (synthetic[k] for k in ("truths", "predictions"))
    names = STREETS[truth[0, 13, 0]], STREETS[said["shifted"][0, 13, 0]]
    verdict = "✓" if names[0] == names[1] else "✗ wrong"
    expected = f"Row 13, column 0 · truth: {names[0]} · shifted: {names[1]} {verdict}"
    assert alone.locator("output").inner_text() == expected


def test_dragging_moves_the_curtain_and_pointing_reads_out(alone):
    box = alone.locator("canvas").bounding_box()
    at = lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])  # noqa: E731
    alone.mouse.move(*at(0.9, 0.5))
    assert alone.evaluate("model.get('curtain')") == 0.5  # pointing alone leaves it
    assert "Row 12, column 115" in alone.locator("output").inner_text()
    alone.mouse.down()
    alone.mouse.move(*at(0.2, 0.5))
    alone.mouse.up()
    assert alone.evaluate("model.get('curtain')") == pytest.approx(0.2, abs=0.01)


def test_scores_and_labels_fit_at_700_pixels(alone):
    alone.set_viewport_size({"width": 700, "height": 900})
    assert alone.evaluate("document.documentElement.scrollWidth") <= 700
    rows = alone.locator("tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == ["", "truth", "shifted"]
    assert rows[1].split("\t")[1:] == ["–"] * 3
    assert all(0 <= float(score) <= 1 for score in rows[2].split("\t")[1:])


@pytest.mark.slow
def test_the_overlay_lives_in_jupyterlab(browser, tmp_path):
    write_notebook(
        tmp_path / "overlay.ipynb",
        SYNTHETIC + "from helpers.classes import STREETS\nfrom helpers.widgets import MaskOverlay",
        "overlay = MaskOverlay(images, truths, predictions, STREETS)\noverlay",
        "overlay.opacity",
    )
    with lab(tmp_path) as address:
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        outside = strangers(page)
        run_all(page, address, "overlay.ipynb", seconds=60)
        page.wait_for_selector(".pixelwise-overlay canvas")
        cells = page.locator(".jp-Cell").count()
        for name in ("Opacity", "Curtain"):
            slider, seen = page.get_by_role("slider", name=name), picture(page)
            slider.focus()
            value = slider.input_value()
            page.keyboard.press("ArrowRight")
            page.keyboard.type("abdx")  # commands of JupyterLab, were they to get through
            poll(lambda seen=seen: picture(page) != seen, 5, f"{name} changes the picture")
            assert float(slider.input_value()) == pytest.approx(float(value) + 0.01)
        assert page.locator(".jp-Cell").count() == cells
        seen = picture(page)
        page.get_by_label("road").press("Space")
        poll(lambda: picture(page) != seen, 30, "a class switch changes the picture")
        page.locator(".pixelwise-overlay canvas").press("ArrowUp")
        assert "Row 11, column 64" in page.locator(".pixelwise-overlay output").inner_text()
        last = run_last(page)  # Python holds the state that the keys made
        poll(lambda: "0.61" in last.inner_text(), 30, "Python knows the opacity")
        assert not outside
        page.close()


@pytest.mark.slow
@pytest.mark.skipif(not NOTEBOOK.exists(), reason=f"{NOTEBOOK.name} is not there yet")
def test_notebook_01_runs_in_jupyterlab_and_its_slider_moves_the_picture(browser, tmp_path):
    shutil.copy(NOTEBOOK, tmp_path)
    with lab(tmp_path) as address:
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        outside = strangers(page)
        run_all(page, address, NOTEBOOK.name, seconds=300)
        overlay = page.locator(".pixelwise-overlay").first
        overlay.scroll_into_view_if_needed()
        seen = picture(page)
        overlay.get_by_role("slider", name="Opacity").press("ArrowRight")
        poll(lambda: picture(page) != seen, 30, "the slider changes the picture")
        assert not outside
        page.close()

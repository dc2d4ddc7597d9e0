"""SkipExplorer in Chromium: alone in a bare page, and in JupyterLab."""

from __future__ import annotations

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

from helpers.classes import IGNORE_INDEX, STREETS
from helpers.metrics import boundary_distance
from helpers.widgets.skip_explorer import NOTE, SkipExplorer, masks_without_skips

pytestmark = pytest.mark.browser

SYNTHETIC = """
import numpy as np
import torch
from helpers.models.unet import UNet

torch.manual_seed(0)
model = UNet(8, widths=(8,) * 6)
for weights in model.parameters():
    torch.nn.init.normal_(weights, std=0.5)
rng = np.random.default_rng(0)
images = rng.random((3, 3, 5, 7), np.float32).repeat(8, 2).repeat(8, 3)
truths = rng.choice([0, 1, 2, 3, 4, 5, 7], (3, 5, 7)).repeat(8, 1).repeat(8, 2)
truths[1, :8, :8] = 255
"""
H, W = 40, 56


@pytest.fixture(scope="module")
def synthetic() -> dict:
    values: dict = {}
    exec(SYNTHETIC, values)
    values["masks"] = masks_without_skips(values["model"], values["images"])
    return values


@pytest.fixture(scope="module")
def explorer(synthetic) -> SkipExplorer:
    return SkipExplorer(*(synthetic[n] for n in ("model", "images", "truths")), STREETS)


@pytest.fixture
def alone(browser, explorer):
    """The explorer in a page without kernel and without Lab."""
    page = bare_page(browser, explorer)
    yield page
    page.close()


def colors(page, panel: int) -> np.ndarray:
    """What a canvas shows of every pixel of the picture: uint8 (H, W, 3)."""
    return browser_colors(page.locator("canvas").nth(panel), H, W)


def cells(page) -> list[list[str]]:
    """The table's body: the name of a measure, then its four scores."""
    return [row.split("\t") for row in page.locator("tr").all_inner_texts()[2:]]


def check_choice(page, synthetic, explorer, index: int, kept: list[int]) -> None:
    """Pictures, scores and spoken text are those that Python knows for these skips."""
    assert page.evaluate("model.get('kept')") == kept
    masks = synthetic["masks"][:, index]
    for panel, mask in enumerate([synthetic["truths"][index], masks[31], masks[sum(kept)]]):
        np.testing.assert_array_equal(colors(page, panel), STREETS.palette[mask])
    one, every = explorer.table(index), explorer.table()
    whole, chosen = (1, 2, 4, 8, 16), tuple(kept)
    for name, *shown in cells(page):
        scores = [table[k][name] for table in (one, every) for k in (whole, chosen)]
        read = [None if text == "–" else float(text) for text in shown]
        np.testing.assert_allclose(np.array(read, float), np.array(scores, float), atol=5.1e-4)
    spoken = page.get_by_role("img").nth(2).get_attribute("aria-label")
    assert spoken.startswith(f"Picture {index}, chosen: {explorer.names[sum(kept)]}; classes")
    assert f"Chosen: {explorer.names[sum(kept)]}." in page.get_by_role("status").inner_text()


def test_switching_a_skip_by_pointer_and_by_keyboard(alone, synthetic, explorer):
    set_state(alone, opacity=1, index=1)
    check_choice(alone, synthetic, explorer, 1, [1, 2, 4, 8, 16])
    alone.get_by_role("checkbox", name="stride 1", exact=True).click()
    check_choice(alone, synthetic, explorer, 1, [2, 4, 8, 16])
    alone.get_by_role("checkbox", name="stride 8").press("Space")
    check_choice(alone, synthetic, explorer, 1, [2, 4, 16])
    alone.get_by_role("button", name="keep no skip").click()
    check_choice(alone, synthetic, explorer, 1, [])
    assert alone.get_by_role("checkbox", checked=True).count() == 0
    alone.get_by_role("checkbox", name="stride 16").press("Space")
    check_choice(alone, synthetic, explorer, 1, [16])
    alone.get_by_role("button", name="keep all skips").press("Enter")
    check_choice(alone, synthetic, explorer, 1, [1, 2, 4, 8, 16])
    alone.get_by_role("slider", name="Picture").press("ArrowRight")
    check_choice(alone, synthetic, explorer, 2, [1, 2, 4, 8, 16])


@pytest.mark.parametrize("view", ["errors", "boundary errors"])
def test_errors_are_bright_on_a_dark_photo_and_the_truth_keeps_its_colours(alone, synthetic, view):
    set_state(alone, opacity=1, index=1, kept=[1, 4])
    alone.get_by_label(view, exact=True).check()
    truth, masks = synthetic["truths"][1], synthetic["masks"][:, 1]
    band = boundary_distance(truth) < (2 if view == "boundary errors" else np.inf)
    for panel, mask in ((1, masks[31]), (2, masks[5])):
        wrong = (mask != truth) & (truth != IGNORE_INDEX) & band
        shown = colors(alone, panel)
        np.testing.assert_array_equal((shown == (255, 255, 255)).all(2), wrong)
        assert shown[~wrong].max() < 128
    np.testing.assert_array_equal(colors(alone, 0)[band], STREETS.palette[truth][band])
    spoken = alone.get_by_role("img").nth(2).get_attribute("aria-label")
    score = "IoU within 2 px" if view == "boundary errors" else "pixel accuracy"
    assert f"Picture 1, chosen: only strides 1, 4; {view}, opacity 100 %, {score} 0." in spoken


def test_every_control_has_a_name_and_opacity_moves_by_keyboard(alone):
    names = alone.locator("input, button").evaluate_all(
        "all => all.map((e) => e.ariaLabel ?? e.labels[0].textContent.trim())"
    )
    assert names[:7] == [*(f"stride {2**k}" for k in range(5)), "keep all skips", "keep no skip"]
    assert names[7:10] == ["classes", "errors", "boundary errors"]
    assert [name.split()[0] for name in names[10:]] == ["Picture", "Opacity"]
    before = colors(alone, 2)
    alone.get_by_role("slider", name="Opacity").press("ArrowLeft")
    assert alone.evaluate("model.get('opacity')") == pytest.approx(0.59)
    assert (colors(alone, 2) != before).any()
    alone.get_by_role("radio", name="classes").press("ArrowRight")
    assert alone.evaluate("model.get('view')") == "errors"


def test_it_fits_at_700_pixels_with_the_note_in_sight(alone):
    alone.set_viewport_size({"width": 700, "height": 900})
    assert alone.evaluate("document.documentElement.scrollWidth") <= 700
    boxes = [alone.locator("canvas").nth(i).bounding_box() for i in range(3)]
    assert len({(box["y"], box["width"]) for box in boxes}) == 1  # side by side, one scale
    assert alone.get_by_text(NOTE).is_visible()
    alone.set_viewport_size({"width": 420, "height": 900})
    assert alone.evaluate("document.documentElement.scrollWidth") <= 420


@pytest.mark.slow
def test_the_explorer_lives_in_jupyterlab(browser, tmp_path, synthetic):
    write_notebook(
        tmp_path / "skips.ipynb",
        SYNTHETIC + "from helpers.classes import STREETS\n"
        "from helpers.widgets.skip_explorer import SkipExplorer",
        "explorer = SkipExplorer(model, images, truths, STREETS)\nexplorer.opacity = 1\nexplorer",
        "explorer.kept",
    )
    with lab(tmp_path) as address:
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        outside = strangers(page)
        run_all(page, address, "skips.ipynb", seconds=60)
        page.wait_for_selector(".pixelwise-skips canvas")
        count = page.locator(".jp-Cell").count()
        page.get_by_role("checkbox", name="stride 4").focus()
        page.keyboard.press("Space")
        page.keyboard.type("abdx")  # commands of JupyterLab, were they to get through
        expected = STREETS.palette[synthetic["masks"][27, 0]]
        poll(lambda: (colors(page, 2) == expected).all(), 5, "the switch changes the picture")
        slider = page.locator(".pixelwise-skips").get_by_role("slider", name="Picture")
        slider.press("ArrowRight")
        expected = STREETS.palette[synthetic["masks"][27, 1]]
        poll(lambda: (colors(page, 2) == expected).all(), 5, "the slider changes the picture")
        assert page.locator(".jp-Cell").count() == count
        last = run_last(page)  # Python holds the state that the keys made
        poll(lambda: "[1, 2, 8, 16]" in last.inner_text(), 30, "Python knows the skips")
        assert not outside
        page.close()

"""BranchExplorer in Chromium: alone in a bare page, and in JupyterLab."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
import torch
from browser import (
    bare_page,
    colors,
    lab,
    poll,
    run_all,
    run_last,
    set_state,
    strangers,
    write_notebook,
)

from helpers.classes import STREETS
from helpers.models.deeplab import DeepLab
from helpers.widgets.branch_explorer import NOTE, BranchExplorer, masks_without_branches

pytestmark = pytest.mark.browser

SYNTHETIC = """
import numpy as np
import torch
from helpers.models.deeplab import DeepLab

rng = np.random.default_rng(0)
images = rng.random((3, 3, 8, 11), np.float32).repeat(8, 2).repeat(8, 3)
truths = rng.choice([0, 1, 2, 3, 4, 5, 7], (3, 8, 11)).repeat(8, 1).repeat(8, 2)
truths[1, :8, :8] = 255
torch.manual_seed(0)
model = DeepLab(8, widths=(8,) * 6)
torch.nn.init.normal_(model.score.weight, std=0.3)
for layer in model.modules():
    if isinstance(layer, torch.nn.BatchNorm2d):
        layer.momentum = 1.0
with torch.no_grad():
    model(torch.from_numpy(images))
"""
H, W = 64, 88  # the map covers 64 x 96: 4 x 6 cells of 16 pixels
NAMES = ["1x1", "rate 1", "rate 2", "rate 3", "image pooling"]
INKS = re.findall(r'"M[^"]*", "(#[0-9a-f]{6})"\]', BranchExplorer._esm)
MARGIN = 44  # pixels round the photo: half its longer side


@pytest.fixture(scope="module")
def synthetic() -> dict:
    values: dict = {}
    exec(SYNTHETIC, values)
    values["masks"], values["samples"] = masks_without_branches(values["model"], values["images"])
    return values


@pytest.fixture(scope="module")
def explorer(synthetic) -> BranchExplorer:
    return BranchExplorer(*(synthetic[n] for n in ("model", "images", "truths")), STREETS)


@pytest.fixture
def alone(browser, explorer):
    """The explorer in a page without kernel and without Lab; nothing in it may throw."""
    page = bare_page(browser, explorer)
    page.set_viewport_size({"width": 1000, "height": 1400})
    thrown = []
    page.on("pageerror", lambda error: thrown.append(error))
    yield page
    assert not thrown
    page.close()


def photo(page):
    """The canvas with the taps."""
    return page.get_by_role("application")


def press_on(page, canvas, row: float, column: float, margin: int = 0) -> None:
    """Click a pixel of the picture in a canvas that shows `margin` pixels round it."""
    box = canvas.bounding_box()
    size = box["width"] / (W + 2 * margin)
    page.mouse.click(
        box["x"] + (column + 0.5 + margin) * size, box["y"] + (row + 0.5 + margin) * size
    )


def chosen_pixel(page) -> tuple[int, int]:
    return tuple(page.evaluate("[model.get('row'), model.get('column')]"))


def number(kept: list[str]) -> int:
    return sum(1 << NAMES.index(name) for name in kept)


def check(page, synthetic, explorer, index: int, kept: list[str]) -> None:
    """Masks, probabilities, what each branch adds and the texts are those that Python knows."""
    assert page.evaluate("model.get('kept')") == kept
    row, column = chosen_pixel(page)
    choice, masks = number(kept), synthetic["masks"][:, index]
    y, x = np.ogrid[:H, :W]
    unmarked = np.hypot(y - row, x - column) > 6  # a ring marks the chosen pixel
    for panel, mask in enumerate([synthetic["truths"][index], masks[31], masks[choice]]):
        shown = colors(page.locator("canvas").nth(panel), H, W)
        np.testing.assert_array_equal(shown[unmarked], STREETS.palette[mask][unmarked])

    odds = synthetic["samples"][:, index, :, row // 8, column // 8] / 255
    body = page.locator(".probe tr").all_inner_texts()[1:]
    found = [[float(cell) for cell in line.split("\t")[-2:]] for line in body]
    assert [line.split("\t")[0] for line in body] == list(STREETS)
    np.testing.assert_allclose(found, odds[[31, choice]].T, rtol=0, atol=0.0051)
    bars = page.locator(".probe .bars i").evaluate_all("all => all.map((b) => b.style.width)")
    np.testing.assert_allclose(
        [float(bar[:-1]) for bar in bars], 100 * odds[[31, choice]].T.ravel(), atol=0.01
    )

    said = masks[choice][row, column]
    added = [odds[choice | 1 << k, said] - odds[choice & ~(1 << k), said] for k in range(5)]
    texts = page.locator(".parts label > span:last-child").all_inner_texts()
    shown = [float(text.replace("−", "-")) for text in texts]
    np.testing.assert_allclose(shown, added, rtol=0, atol=0.0051)
    for bar, gain in zip(page.locator(".adds i").all(), added, strict=True):
        left, width, kind = bar.evaluate("b => [b.style.left, b.style.width, b.className]")
        start, length = float(left[:-1]), float(width[:-1])
        ends = sorted((50, 50 + 50 * gain))
        np.testing.assert_allclose((start, start + length), ends, atol=0.01)
        assert kind == ("less" if gain < 0 else "more")
    assert f"“{STREETS[said]}”" in page.locator(".parts").inner_text()

    truth = synthetic["truths"][index, row, column]
    whole = masks[31][row, column]
    text = (
        f"Row {row}, column {column}: truth {'void' if truth == 255 else STREETS[truth]}; "
        f"all branches: {STREETS[whole]} {odds[31, whole]:.2f}; "
        f"chosen: {STREETS[said]} {odds[choice, said]:.2f}."
    )
    assert page.locator(".probe output").inner_text() == text
    assert f"Picture {index}. {text}" in photo(page).get_attribute("aria-label")
    spoken = page.get_by_role("img").nth(2).get_attribute("aria-label")
    assert spoken.startswith(f"Picture {index}, chosen: {explorer.names[choice]}; classes")


def test_muting_a_branch_by_pointer_and_by_keyboard(alone, synthetic, explorer):
    set_state(alone, opacity=1, index=1)
    check(alone, synthetic, explorer, 1, NAMES)
    alone.get_by_role("checkbox", name="1x1").click()
    check(alone, synthetic, explorer, 1, NAMES[1:])
    alone.get_by_role("checkbox", name="rate 2").press("Space")
    check(alone, synthetic, explorer, 1, ["rate 1", "rate 3", "image pooling"])
    alone.get_by_role("button", name="keep no branch").click()
    check(alone, synthetic, explorer, 1, [])
    alone.get_by_role("checkbox", name="image pooling").press("Space")
    check(alone, synthetic, explorer, 1, ["image pooling"])
    alone.get_by_role("slider", name="Picture").press("ArrowRight")
    check(alone, synthetic, explorer, 2, ["image pooling"])
    alone.get_by_role("button", name="keep all branches").press("Enter")
    check(alone, synthetic, explorer, 2, NAMES)


def test_the_pixel_is_chosen_by_pointer_on_any_picture(alone, synthetic, explorer):
    set_state(alone, opacity=1, index=1, kept=NAMES[:3])
    press_on(alone, photo(alone), 50, 9, MARGIN)
    assert chosen_pixel(alone) == (52, 12)
    check(alone, synthetic, explorer, 1, NAMES[:3])
    press_on(alone, photo(alone), -30, 3, MARGIN)  # beyond the photo: its nearest pixel
    assert chosen_pixel(alone) == (4, 4)
    check(alone, synthetic, explorer, 1, NAMES[:3])  # where the truth is void
    for panel in range(3):
        press_on(alone, alone.locator("canvas").nth(panel), 20 + 8 * panel, 87)
        assert chosen_pixel(alone) == (20 + 8 * panel, 84)
    alone.mouse.move(300, 300)  # pointing alone chooses nothing
    assert chosen_pixel(alone) == (36, 84)


def test_arrow_keys_move_the_pixel_and_stay_inside(alone, synthetic, explorer):
    set_state(alone, opacity=1, row=12, column=68)
    alone.evaluate("() => { window.heard = 0; window.onkeydown = () => { window.heard += 1; }; }")
    photo(alone).press("ArrowRight")
    photo(alone).press("ArrowDown")
    assert chosen_pixel(alone) == (20, 76)
    check(alone, synthetic, explorer, 0, NAMES)
    for key, times in (("ArrowRight", 3), ("ArrowUp", 4)):
        for _ in range(times):
            photo(alone).press(key)
    assert chosen_pixel(alone) == (4, 84)
    photo(alone).press("a")
    assert alone.evaluate("window.heard") == 0  # no key leaves the widget


@pytest.mark.parametrize("pixel", [(4, 4), (36, 52), (60, 84), (28, 4)])
def test_the_text_counts_the_taps_that_the_padding_leaves(alone, synthetic, pixel):
    set_state(alone, row=pixel[0], column=pixel[1])
    lines = alone.locator(".probe li").all_inner_texts()
    assert lines[0] == "1x1: 1 of 1 tap inside the map"
    assert lines[4] == "image pooling: the mean of all 24 cells"
    for rate in (1, 2, 3):
        layer = synthetic["model"].aspp.branches[f"rate {rate}"][0]
        ones = torch.ones(1, 1, 4, 6)
        padding, dilation = layer.padding, layer.dilation
        counts = torch.nn.functional.conv2d(
            ones, torch.ones(1, 1, 3, 3), padding=padding, dilation=dilation
        )
        count = int(counts[0, 0, pixel[0] // 16, pixel[1] // 16])
        assert lines[rate] == f"rate {rate}: {count} of 9 taps inside the map"
    assert "; ".join(lines) in photo(alone).get_attribute("aria-label")
    set_state(alone, kept=["rate 2"])
    assert alone.locator(".probe li").count() == 1
    set_state(alone, kept=[])
    assert alone.locator(".probe li").all_inner_texts() == ["no branch is kept"]


def test_the_taps_lie_where_the_convolution_reads(alone):
    inks = dict(zip(NAMES, [*INKS[:4], INKS[-1]], strict=True))
    sample = """(canvas, hex) => {
      const { width, height } = canvas, { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
      const ink = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)), found = [];
      for (let p = 0; p < width * height; p++)
        if (ink.every((c, i) => data[4 * p + i] === c)) found.push([Math.floor(p / width), p % width]);
      return [found, width];
    }"""
    set_state(alone, row=20, column=52, index=2)
    for name, hex_color in inks.items():
        set_state(alone, kept=[name])
        places, width = photo(alone).evaluate(sample, hex_color)
        scale = width / (W + 2 * MARGIN)
        places = (np.array(places) + 0.5) / scale - MARGIN  # rows and columns of the picture
        if name == "image pooling":  # the frame of the map, whose columns reach 96
            assert np.abs(places.min(0)).max() < 2
            assert np.abs(places.max(0) - (64, 96)).max() < 2
            continue
        rate = NAMES.index(name)  # 1x1 is number 0
        steps = 16 * rate * np.array([-1, 0, 1]) if rate else [0]
        taps = np.array([(24 + dy, 56 + dx) for dy in steps for dx in steps])
        seen = taps[(taps > -MARGIN).all(1) & (taps < (H + MARGIN, W + MARGIN)).all(1)]
        distance = np.abs(places[:, None] - taps).max(-1)
        assert distance.min(1).max() <= (8.5 if name == "1x1" else 6)  # no ink elsewhere
        near = np.abs(places[:, None] - seen).max(-1).min(0)
        assert near.max() <= 8  # and some at every tap
        set_state(alone, kept=[])
        ink, _ = photo(alone).evaluate(sample, hex_color)
        assert len(ink) < len(places) / 4


def test_a_branch_has_the_same_mark_beside_its_switch(alone):
    shapes = alone.locator(".parts .mark path:last-child").evaluate_all(
        "all => all.map((p) => [p.getAttribute('d'), p.getAttribute('stroke')])"
    )
    assert len({shape for shape, _ in shapes}) == len({ink for _, ink in shapes}) == 5


def test_every_control_has_a_name_and_what_a_branch_adds_is_told(alone):
    names = alone.locator("input, button").evaluate_all(
        "all => all.map((e) => e.ariaLabel ?? e.labels[0].textContent.trim())"
    )
    assert names[:7] == [*NAMES, "keep all branches", "keep no branch"]
    assert names[7:10] == ["classes", "errors", "boundary errors"]
    assert [name.split()[0] for name in names[10:]] == ["Picture", "Opacity"]
    told = alone.get_by_role("checkbox", name="rate 3").evaluate("box => box.ariaDescription")
    shown = alone.locator(".parts label > span:last-child").nth(3).inner_text()
    assert told.startswith(f"adds {shown} to the probability of ")
    assert alone.locator(".probe caption").inner_text() == "Probability of each class at this pixel"


@pytest.mark.parametrize("width", [1000, 700, 420])
def test_it_fits_with_the_note_in_sight(alone, width):
    alone.set_viewport_size({"width": width, "height": 900})
    assert alone.evaluate("document.documentElement.scrollWidth") <= width
    assert alone.get_by_text(NOTE).is_visible()


@pytest.mark.parametrize(
    "options",
    [{"rates": (), "image_pooling": False}, {"rates": (6, 12, 18, 24), "decoder": False}],
)
def test_few_branches_and_far_taps(browser, synthetic, options):
    model = DeepLab(8, widths=(8,) * 6, **options)
    explorer = BranchExplorer(model, synthetic["images"], synthetic["truths"], STREETS)
    page = bare_page(browser, explorer)
    assert page.get_by_role("checkbox", checked=True).count() == len(explorer.parts)
    lines = page.locator(".probe li").all_inner_texts()
    assert lines[0] == "1x1: 1 of 1 tap inside the map"
    assert all(line.endswith(": 1 of 9 taps inside the map") for line in lines[1:5])
    page.close()


@pytest.mark.slow
def test_the_explorer_lives_in_jupyterlab(browser, tmp_path, synthetic):
    write_notebook(
        tmp_path / "branches.ipynb",
        SYNTHETIC + "from helpers.classes import STREETS\n"
        "from helpers.widgets.branch_explorer import BranchExplorer",
        "explorer = BranchExplorer(model, images, truths, STREETS)\nexplorer.opacity = 1\nexplorer",
        "explorer.kept, explorer.row, explorer.column",
    )
    with lab(tmp_path) as address:
        page = browser.new_page(viewport={"width": 1200, "height": 1400})
        outside = strangers(page)
        run_all(page, address, "branches.ipynb", seconds=60)
        page.wait_for_selector(".pixelwise-branches canvas")
        count = page.locator(".jp-Cell").count()
        page.get_by_role("checkbox", name="rate 1").focus()
        page.keyboard.press("Space")
        page.keyboard.type("abdx")  # commands of JupyterLab, were they to get through
        canvas = page.locator(".pixelwise-branches [role=application]")
        canvas.focus()
        for key in ("ArrowLeft", "ArrowUp", "ArrowUp"):
            page.keyboard.press(key)
        readout = page.locator(".pixelwise-branches .probe output")
        poll(lambda: "Row 20, column 36:" in readout.inner_text(), 5, "the keys move the pixel")
        panel = page.locator(".pixelwise-branches canvas").nth(2)
        expected = STREETS.palette[synthetic["masks"][29, 0]][30:]  # below the ring
        poll(lambda: (colors(panel, H, W)[30:] == expected).all(), 5, "the switch mutes")
        assert page.locator(".jp-Cell").count() == count
        last = run_last(page)  # Python holds the state that the keys made
        told = "(['1x1', 'rate 2', 'rate 3', 'image pooling'], 20, 36)"
        poll(lambda: told in last.inner_text(), 30, "Python knows the branches and the pixel")
        assert not outside
        page.close()

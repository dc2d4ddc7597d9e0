"""ScribbleSegmenter in Chromium: drawing, asking one thing at a time, uploads, in JupyterLab."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("pydensecrf", reason="pydensecrf2 is not installed")
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
from PIL import Image

from helpers import photos
from helpers.classes import IGNORE_INDEX
from helpers.widgets.scribble_segmenter import COLORS, ScribbleSegmenter
from helpers.widgets.shared import as_json

pytestmark = pytest.mark.browser

SYNTHETIC = """
import numpy as np

photo = np.full((48, 64, 3), (40, 90, 200), np.uint8)
photo[12:36, 16:48] = (220, 140, 40)
"""
H, W = 48, 64
LINES = {0: [[(24, 28), (24, 36)]], 1: [[(3, 3), (3, 60)], [(45, 3), (45, 60)]]}
RECORD = """() => {
  window.asked = []; window.sent = [];
  model.on("change:asked", () => asked.push(model.get("strokes")));
  model.send = (content, callbacks, buffers) => sent.push([...new Uint8Array(buffers[0])]);
}"""
ANSWER = """([number, base64, told]) => {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  model.set("answer", [number, new DataView(bytes.buffer), told]);
}"""


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    values: dict = {}
    exec(SYNTHETIC, values)
    return values["photo"]


@pytest.fixture(scope="module")
def drawn(photo) -> ScribbleSegmenter:
    """With strokes and a mask."""
    return ScribbleSegmenter(photo, strokes=LINES, brush=3)


@pytest.fixture
def alone(browser, photo):
    """The segmenter, nothing drawn, without kernel and Lab; notes what it asks Python for."""
    yield from opened(browser, ScribbleSegmenter(photo, ["square", "ground", "sky"]))


@pytest.fixture
def finished(browser, drawn):
    """The same as a saved page: strokes and a mask are there."""
    yield from opened(browser, drawn)


def opened(browser, segmenter):
    page = bare_page(browser, segmenter)
    page.set_viewport_size({"width": 1100, "height": 1000})
    thrown = []
    page.on("pageerror", lambda error: thrown.append(error))
    page.evaluate(RECORD)
    yield page
    assert not thrown
    page.close()


def asked(page) -> list:
    """Strokes of every request, as [label, width, points]."""
    return page.evaluate("asked")


def spot(page, row: float, column: float) -> tuple[float, float]:
    """Where in the window the middle of a pixel of the photo lies."""
    box = page.get_by_role("application").bounding_box()
    step = box["width"] / W
    return box["x"] + (column + 0.5) * step, box["y"] + (row + 0.5) * step


def drag(page, *points: tuple[int, int]) -> None:
    page.mouse.move(*spot(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*spot(page, *point))
    page.mouse.up()


def answer(page, number: int, segmenter: ScribbleSegmenter | None = None) -> None:
    """What Python would say to request `number`: the mask of `segmenter`, or that there is none."""
    _, packed, told = segmenter.answer if segmenter else (0, b"", "Two labels at least.")
    page.evaluate(ANSWER, [number, as_json(packed)["base64"], told])


def says(page, text: str, where: str = "output") -> None:
    page.locator(where, has_text=text).wait_for(timeout=6000)


def exchange(page, segmenter: ScribbleSegmenter, number: int, script: str = "") -> None:
    """What Python says when it takes an upload; `script` runs before the picture is unpacked."""
    picture = as_json([*segmenter.picture[:3], number])
    page.evaluate("""([[rows, columns, { base64 }, number], script]) => {
      const { buffer } = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
      model.set("picture", [rows, columns, new DataView(buffer), number]);
      eval(script);
    }""", [picture, script])  # fmt: skip
    set_state(page, note=[number, "Photo reduced"])


def shown(page, height: int = H, width: int = W) -> np.ndarray:
    """The canvas as `colors` has it, once drawn."""
    page.evaluate("new Promise(requestAnimationFrame)")
    return colors(page.get_by_role("application"), height, width).astype(int)


def test_a_drag_is_a_stroke_and_python_is_asked(alone):
    drag(alone, (10, 20), (10, 30), (14, 33))
    assert asked(alone) == [[[0, 5, [[10, 20], [10, 30], [14, 33]]]]]
    assert alone.evaluate("model.get('asked')") == [1, 0]
    answer(alone, 1)
    says(alone, "1 stroke. Two labels at least.")
    alone.get_by_role("radio", name="ground").check()
    brush = alone.get_by_role("slider", name="Brush")
    brush.press("ArrowRight")
    drag(alone, (40, 5))  # a press is a dot
    assert asked(alone)[1][1] == [1, 6, [[40, 5]]]
    answer(alone, 2)
    drag(alone, (0, 0), (-30, -30))  # beyond the corner: it stays inside
    assert asked(alone)[2][2] == [1, 6, [[0, 0]]]
    alone.mouse.move(*spot(alone, 20, 20))  # no button pressed
    assert alone.locator(".place").inner_text() == "Cursor at row 0, column 0."


def test_the_keyboard_draws(alone):
    alone.get_by_role("application").focus()
    alone.keyboard.press("2")
    for key in ("ArrowUp", "Shift+ArrowLeft", "Space", "ArrowRight", "Shift+ArrowDown"):
        alone.keyboard.press(key)
    assert not asked(alone)
    says(alone, "Cursor at row 33, column 23.", ".place")
    says(alone, "0 strokes. Draw strokes of two labels at least. The brush is down.")
    alone.keyboard.press("Enter")
    assert asked(alone) == [[[1, 5, [[23, 22], [23, 23], [33, 23]]]]]
    answer(alone, 1)
    alone.keyboard.press("3")
    alone.keyboard.press("9")  # there is no such label
    alone.keyboard.press("Enter")
    alone.keyboard.press("Tab")  # leaving ends the stroke
    assert asked(alone)[1][1] == [2, 5, [[33, 23]]]
    assert alone.get_by_role("radio", name="sky").is_checked()
    for _ in range(7):
        alone.get_by_role("application").press("Shift+ArrowRight")
    says(alone, "column 63.", ".place")


def test_undo_and_clear(alone):
    undo, clear = (alone.get_by_role("button", name=name) for name in ("undo", "clear"))
    assert undo.is_disabled() and clear.is_disabled()
    one, two = [0, 5, [[10, 10]]], [0, 5, [[20, 20]]]
    for number, (_, _, [point]) in enumerate((one, two), 1):
        drag(alone, point)
        answer(alone, number)
    for button, left in ((undo, [one]), (clear, []), (undo, [one]), (undo, [])):
        button.click()
        assert asked(alone)[-1] == left
        answer(alone, len(asked(alone)))
    assert undo.is_disabled() and clear.is_disabled()


def test_one_request_is_in_flight_and_then_only_the_newest_is_sent(alone):
    points = [[row, 10] for row in (5, 10, 15, 20)]
    drag(alone, points[0])
    for point in points[1:]:
        drag(alone, point)
    alone.get_by_role("button", name="undo").click()
    assert len(asked(alone)) == 1
    says(alone, "3 strokes. Segmenting …")
    answer(alone, 0)  # an old one: what is waited for has number 1
    assert len(asked(alone)) == 1
    answer(alone, 1)
    poll(lambda: len(asked(alone)) == 2, 5, "the second request")
    assert asked(alone)[1] == [[0, 5, [point]] for point in points[:3]]
    drag(alone, points[3])
    alone.get_by_role("button", name="undo").click()
    answer(alone, 2)
    says(alone, "3 strokes. Two labels at least.")
    assert len(asked(alone)) == 2  # drawn and undone: nothing to ask


def test_strokes_and_photo_that_python_sets_are_shown(alone, photo, drawn):
    drag(alone, (10, 20))
    set_state(alone, strokes=photos.as_strokes(LINES, 3))
    answer(alone, 1, drawn)
    says(alone, "3 strokes. Segmented.")
    assert alone.get_by_role("button", name="undo").is_disabled()
    assert len(asked(alone)) == 1
    other = ScribbleSegmenter(np.full((20, 30, 3), 90, np.uint8))
    set_state(alone, strokes=[])
    exchange(alone, other, 1, "document.activeElement.blur()")  # or the cursor is drawn
    answer(alone, 1, other)
    says(alone, "0 strokes. Draw strokes of two labels at least.")
    says(alone, "Cursor at row 10, column 15.", ".place")
    assert abs(shown(alone, 20, 30) - 90).max() < 6


SPACE = """for (const _ of "du")
  document.querySelector("canvas").onkeydown(new KeyboardEvent("keydown", { key: " " }));"""


def test_no_stroke_on_one_photo_lands_on_the_next(alone):
    """Python had no strokes, so none of what it says is that there are none now."""
    other = ScribbleSegmenter(np.full((20, 30, 3), 90, np.uint8))
    choose = alone.get_by_label("Your own photo")
    choose.set_input_files([{"name": "x.jpg", "mimeType": "image/jpeg", "buffer": b"sea"}])
    says(alone, "Reading the photo …")
    drag(alone, (30, 30))
    alone.mouse.move(*spot(alone, 10, 10))
    alone.mouse.down()
    exchange(alone, other, 1, SPACE)  # one stroke begun before, one before it is unpacked
    alone.mouse.up()
    says(alone, "Photo reduced", ".note")
    says(alone, "Cursor at row 10, column 15.", ".place")
    says(alone, "0 strokes.")
    assert alone.get_by_role("button", name="undo").is_disabled()
    assert not asked(alone)
    alone.get_by_role("application").press("Space")
    alone.get_by_role("application").press("Space")
    assert asked(alone) == [[[0, 5, [[10, 15]]]]]
    assert alone.evaluate("model.get('asked')") == [1, 1]


def test_a_photo_that_never_comes_does_not_block_the_strokes(alone):
    choose = alone.get_by_label("Your own photo")
    choose.set_input_files([{"name": "x.jpg", "mimeType": "image/jpeg", "buffer": b"sea"}])
    says(alone, "The photo is not read yet: this needs a running kernel.")
    drag(alone, (30, 30))
    assert asked(alone) == [[[0, 5, [[30, 30]]]]]
    says(alone, "1 stroke. Segmenting …")
    answer(alone, 1)
    says(alone, "1 stroke. Two labels at least.")
    choose.set_input_files([{"name": "x.jpg", "mimeType": "image/jpeg", "buffer": b"sea"}])
    drag(alone, (10, 10))
    poll(lambda: len(asked(alone)) == 2, 6, "the stroke drawn while the photo was awaited")


def test_files_too_large_to_send_are_refused_here(alone):
    choose = alone.get_by_label("Your own photo")
    large = {"name": "x.jpg", "mimeType": "image/jpeg", "buffer": bytes(9_000_001)}
    choose.set_input_files([large])
    says(alone, "Not taken: this photo has 9.1 MB, and Jupyter carries 9 MB at most.", ".note")
    says(alone, "Save it smaller, as JPEG or with fewer pixels", ".note")
    drag(alone, (30, 30))
    assert len(asked(alone)) == 1 and not alone.evaluate("sent.length")
    answer(alone, 1)
    choose.set_input_files([large | {"buffer": bytes(9_000_000)}])
    poll(lambda: alone.evaluate("sent.length") == 1, 6, "the upload")
    assert alone.locator(".note").inner_text() == ""


def test_moving_is_not_announced(finished):
    finished.evaluate("""() => {
      window.told = [];
      const live = document.querySelector("output");
      new MutationObserver(() => told.push(live.textContent)).observe(live, { childList: true, subtree: true });
    }""")
    canvas = finished.get_by_role("application")
    for key in ("ArrowUp", "ArrowLeft", "Shift+ArrowLeft"):
        canvas.press(key)
    says(finished, "Cursor at row 23, column 21.", ".place")
    set_state(finished, brush=9)
    assert finished.evaluate("told") == []
    assert finished.locator(".place").get_attribute("aria-live") is None
    for key in ("Space", "ArrowLeft", "ArrowLeft", "Space"):
        canvas.press(key)
    assert finished.evaluate("told") == [
        "3 strokes. Segmented. The brush is down.",
        "4 strokes. Segmenting …",
    ]


def test_the_mask_is_built_once_and_drawn_once_a_frame(finished):
    finished.evaluate("""() => {
      window.count = { putImageData: 0, drawImage: 0 };
      for (const name in count) {
        const original = CanvasRenderingContext2D.prototype[name];
        CanvasRenderingContext2D.prototype[name] = function (...all) {
          count[name] += 1;
          return original.apply(this, all);
        };
      }
    }""")
    drag(finished, *[(row, 30) for row in range(5, 25)])
    shown(finished)
    assert finished.evaluate("count.putImageData") == 0
    finished.evaluate("count.drawImage = 0")
    finished.evaluate("for (let size = 2; size < 20; size++) model.set('brush', size)")
    shown(finished)
    assert finished.evaluate("count.drawImage") == 2  # photo and mask
    set_state(finished, view="cut-out")
    shown(finished)
    answer(finished, 1)
    shown(finished)
    assert finished.evaluate("count.putImageData") == 2  # another view, then no mask


@pytest.mark.parametrize("view", ["overlay", "cut-out"])
def test_the_canvas_shows_what_the_printed_twin_shows(finished, drawn, view):
    set_state(finished, view=view)
    panel = {"overlay": 1, "cut-out": 2}[view]
    printed = np.asarray(drawn.figure().axes[panel].images[0].get_array()).astype(int)
    rows, columns = np.indices((H, W))
    clear = (rows % 12 > 1) & (rows % 12 < 10) & (columns % 16 > 1) & (columns % 16 < 14)  # edges
    if view == "overlay":
        wide = photos.strokes((H, W), LINES, 17)  # with halos and numbers
        clear &= wide == IGNORE_INDEX
    assert clear.sum() > 500
    off = abs(shown(finished) - printed)[clear]
    assert off.max() < 16 and off.mean() < 3  # the photo loses a little on its way


def test_strokes_are_shown_in_their_colours_with_numbers(finished):
    seen = shown(finished)
    for label, (row, column) in ((0, (24, 34)), (1, (3, 40)), (1, (45, 40))):
        assert "#{:02X}{:02X}{:02X}".format(*seen[row, column]) == COLORS[label]
    body = seen[23:26]
    assert (body[:, 28:31] == 0).all(2).any()  # the outline of the number, at the start
    assert not (body[:, 31:36] == 0).all(2).any()


def test_a_saved_page_shows_the_mask_and_says_what_needs_a_kernel(finished):
    image = finished.get_by_role("application")
    told = image.get_attribute("aria-label")
    assert told == (
        "Photo of 48 × 64 pixels, labels over the photo. 3 strokes. Mask: object 25 %, "
        "background 75 %. Segmented. Now drawing object, 3 pixels wide. "
        "Cursor at row 24, column 32. Arrow keys move it."
    )
    drag(finished, (30, 30))
    says(finished, "4 strokes. Not segmented yet: this needs a running kernel.")
    assert "this needs a running kernel" in image.get_attribute("aria-label")
    assert "Mask: object 25 %" in image.get_attribute("aria-label")


def test_an_upload_goes_to_python_and_its_sentence_is_shown(finished):
    choose = finished.get_by_label("Your own photo")
    files = [{"name": "x.jpg", "mimeType": "image/jpeg", "buffer": b"a diary"}]
    choose.set_input_files(files)
    says(finished, "Reading the photo …")
    poll(lambda: finished.evaluate("sent") == [list(b"a diary")], 5, "the upload")
    drag(finished, (30, 30))
    assert not asked(finished)  # the photo may be another one soon
    set_state(finished, note=[1, "Not taken: source must be a photo"])
    assert finished.locator(".note").inner_text() == "Not taken: source must be a photo"
    assert len(asked(finished)) == 1
    answer(finished, 1)
    choose.set_input_files(files)  # the same file again
    poll(lambda: len(finished.evaluate("sent")) == 2, 5, "the second upload")
    assert finished.locator(".note").inner_text() == ""


def test_every_control_has_a_name(alone):
    tree = alone.locator("form").aria_snapshot()
    controls = re.findall(r"- '?(?:slider|button|radio|application)\b.*", tree)
    assert len(controls) == 1 + 3 + 2 + 2 + 2 + 1
    assert [c for c in controls if not re.match(r"- '?\w+ \"[\w]", c)] == []


@pytest.mark.parametrize("width", [1100, 760, 420])
def test_it_fits(alone, width):
    alone.set_viewport_size({"width": width, "height": 900})
    set_state(alone, note=[1, "Not taken: " + "source must be a photo of a kind " * 9])
    assert alone.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_the_segmenter_lives_in_jupyterlab(browser, tmp_path):
    write_notebook(
        tmp_path / "scribble.ipynb",
        SYNTHETIC + "from helpers.widgets import ScribbleSegmenter",
        "segmenter = ScribbleSegmenter(photo)\nsegmenter",
        "print('square', (segmenter.mask == 0).sum(), 'void', (segmenter.mask == 255).sum(),\n"
        "      'strokes', len(segmenter.strokes), segmenter.photo.shape, segmenter.asked[0])",
    )
    with lab(tmp_path, "JupyterLab Dark") as address:
        page = browser.new_page(viewport={"width": 1300, "height": 1100})
        outside = strangers(page)
        run_all(page, address, "scribble.ipynb", seconds=60)
        root = page.locator(".pixelwise-scribble")
        root.get_by_role("application").wait_for()
        root.scroll_into_view_if_needed()
        said = root.locator("output")
        tell = lambda text: said.get_by_text(text).wait_for(timeout=20_000)  # noqa: E731
        tell("0 strokes. Draw strokes of two labels at least.")
        count = page.locator(".jp-Cell").count()
        inside = root.get_by_role("application")
        box = inside.bounding_box()
        step = box["width"] / W

        def stroke(*points: tuple[int, int]) -> None:
            for place, (row, column) in enumerate(points):
                page.mouse.move(box["x"] + (column + 0.5) * step, box["y"] + (row + 0.5) * step)
                if not place:
                    page.mouse.down()
            page.mouse.up()

        stroke((24, 28), (24, 36))
        tell("1 stroke. Draw strokes of two labels at least. So far there is only object.")
        page.keyboard.press("2")
        page.keyboard.type("abdx")  # commands of JupyterLab, were they to get through
        stroke((3, 3), (3, 60))
        stroke((44, 3), (44, 60))
        tell("3 strokes. Segmented.")
        poll(lambda: "object 25 %" in inside.get_attribute("aria-label"), 20, "the mask")
        last = run_last(page)
        last.get_by_text(f"square {24 * 32} void 0 strokes 3 (48, 64, 3) 3").wait_for(
            timeout=20_000
        )
        data = io.BytesIO()
        Image.new("RGB", (960, 400), "teal").save(data, "JPEG")
        for name, content in (("diary.jpg", b"a diary"), ("sea.jpg", data.getvalue())):
            choose = root.get_by_label("Your own photo")
            choose.set_input_files([{"name": name, "mimeType": "image/jpeg", "buffer": content}])
            told = "Photo reduced from 960 × 400" if name == "sea.jpg" else "Not taken: source must"
            root.locator(".note").get_by_text(told).wait_for(timeout=20_000)
        tell("0 strokes. Draw strokes of two labels at least.")
        last = run_last(page)
        expected = f"square 0 void {200 * 480} strokes 0 (200, 480, 3)"
        last.get_by_text(expected).wait_for(timeout=20_000)
        assert page.locator(".jp-Cell").count() == count
        assert not outside
        page.close()

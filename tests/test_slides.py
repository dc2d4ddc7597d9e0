"""Decks: made of the notebooks' own cells, offline, and each slide fits its screen."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import poll, watched
from nbformat import from_dict

pytest.importorskip("nbconvert", reason="the extra `site` is not installed")

from helpers import slides
from helpers.notebook_rules import read
from helpers.run_notebooks import write

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def decks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decks")
    slides.build(NOTEBOOKS, folder)
    return folder


def test_a_deck_takes_its_slides_in_order_and_leaves_the_rest(new_notebook):
    nb = new_notebook("print(1)", "print(2)", "print(3)")
    kinds = ["slide", "skip", "slide", "-"]
    for cell, slide_type in zip(nb.cells, kinds, strict=True):
        cell.metadata["slideshow"] = {"slide_type": slide_type}
    nb.cells[2].metadata["teacher"] = {"ask": "Two?", "minutes": 1}
    cells = slides.prepare(nb).cells
    assert [cell.source for cell in cells[:-1]] == ["# A title", "print(2)", "print(3)"]
    assert cells[-1].metadata["slideshow"]["slide_type"] == "notes" and "Two?" in cells[-1].source


def test_a_picture_stands_alone_and_readers_instructions_go(new_notebook):
    nb = new_notebook("plots.show(figure)", "predict('00.a')")
    picture = {
        "output_type": "display_data",
        "metadata": {},
        "data": {"text/html": "<img alt='a'>"},
    }
    told = {"output_type": "stream", "name": "stdout", "text": ""}
    nb.cells[1].outputs = [from_dict(told | {"text": "0.5\n"}), from_dict(picture)]
    question = "Your guess? Put 1 in place of None and run this cell. (Or read on.)\n"
    result = "Result: 3. (No guess was recorded.)\n"
    nb.cells[2].outputs = [from_dict(told | {"text": question + result})]
    _, shown, vote = slides.prepare(nb).cells
    assert shown.metadata["transient"]["remove_source"]
    assert [output.output_type for output in shown.outputs] == ["display_data"]
    assert vote.outputs[0].text == "Result: 3.\n" and "transient" not in vote.metadata


def test_a_notebook_without_slides_is_refused(new_notebook, tmp_path):
    write(new_notebook("x = 1"), tmp_path / "empty.ipynb")
    with pytest.raises(ValueError, match=r"empty\.ipynb: no cell has the slide_type 'slide'"):
        slides.build([tmp_path / "empty.ipynb"], tmp_path)


def opened(browser, deck):
    """A deck at the size it was made for, ready and without motion."""
    viewport = dict(zip(("width", "height"), slides.SIZE, strict=True))
    page = watched(browser, viewport=viewport, reduced_motion="reduce")
    page.goto(deck.as_uri())
    page.wait_for_selector("body[data-ready=true]", timeout=60_000)
    return page


FITS = """() => {
  const slide = Reveal.getCurrentSlide(), { bottom, right } = document.querySelector(".reveal").getBoundingClientRect();
  return [...slide.querySelectorAll("*")].filter((e) => {
    if (e.closest("aside, mjx-assistive-mml, script") || !e.getClientRects().length) return false;
    const inner = e.closest(".pixelwise-widget");
    const box = (inner ?? e).getBoundingClientRect();
    return box.bottom > bottom + 1 || box.right > right + 1;
  }).map((e) => `${e.tagName}: ${e.textContent.slice(0, 60)}`);
}"""


@pytest.mark.browser
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_slide_of_a_deck_fits_and_nothing_is_asked_of_the_web(decks, browser, path):
    page = opened(browser, decks / f"{path.stem}.html")
    count = page.evaluate("Reveal.getTotalSlides()")
    assert count == sum(slides._kind(cell) == "slide" for cell in read(path).cells)
    for number in range(1, count + 1):
        page.evaluate("document.fonts.ready")
        too_large = page.evaluate(FITS)
        assert too_large == [], f"slide {number} of {path.stem}"
        words = page.evaluate("Reveal.getCurrentSlide().innerText.trim().length")
        drawn = page.evaluate("Reveal.getCurrentSlide().querySelectorAll('img, canvas').length")
        assert words + drawn, f"slide {number} of {path.stem} is empty"
        page.keyboard.press("ArrowRight")
    assert page.evaluate("Reveal.isLastSlide()")
    assert page.asked == [] and page.faults == []
    page.context.close()


@pytest.mark.browser
def test_an_explorer_on_a_slide_is_dragged_and_the_deck_stays_where_it_is(decks, browser):
    page = opened(browser, decks / "05_dilation.html")
    while not page.locator("section.present .pixelwise-widget canvas").count():
        assert not page.evaluate("Reveal.isLastSlide()"), "no explorer in the deck"
        page.keyboard.press("ArrowRight")
    here = page.evaluate("Reveal.getIndices().h")
    canvas = page.locator("section.present .pixelwise-widget canvas").first
    picture = "canvas => canvas.toDataURL()"
    before, box = canvas.evaluate(picture), canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    dragged = poll(lambda: (now := canvas.evaluate(picture)) != before and now, 10, "a new picture")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    poll(lambda: canvas.evaluate(picture) != dragged, 10, "the picture follows the arrow key")
    assert page.evaluate("Reveal.getIndices().h") == here
    page.context.close()


@pytest.mark.browser
def test_speaker_notes_are_in_the_deck_and_not_on_the_slide(decks, browser):
    page = opened(browser, decks / "01_dense_prediction.html")
    notes = page.evaluate("Reveal.getSlideNotes()")
    assert "Ask:" in notes and "min" in notes
    assert "Usual wrong answer" not in page.evaluate("Reveal.getCurrentSlide().innerText")
    page.context.close()

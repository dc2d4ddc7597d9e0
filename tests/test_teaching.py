"""What teachers get from the notebooks is complete, and says what the notebooks say."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from helpers import teaching
from helpers.exercises import EXERCISES
from helpers.notebook_rules import LINK, read, texts_of

ROOT = Path(__file__).parents[1]
PATHS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?")
NAMES = re.compile(r"FCN-\d+s|DeepLabv\d\+?|v\d\+?|`[^`]*`|\$[^$]*\$")  # digits that are no numbers


@pytest.fixture(params=PATHS.values(), ids=lambda path: path.stem)
def notebook(request):
    return read(request.param)


def kind(cell):
    return cell.metadata.get("slideshow", {}).get("slide_type", "-")


def slides(nb):
    """Cells of each slide."""
    found = []
    for cell in nb.cells:
        if kind(cell) == "slide":
            found.append([cell])
        elif kind(cell) != "skip":
            found[-1].append(cell)  # IndexError: the first cell must begin a slide or be skipped
    return found


def test_a_deck_has_a_sitting_of_slides_each_with_its_notes(notebook):
    found = slides(notebook)
    assert 15 <= len(found) <= 25
    for first, *_ in found:
        words = teaching.teacher(first)
        assert words["ask"].endswith("?"), words
        assert words["wrong"] and 0.5 <= words["minutes"] <= 5, words
    assert all(
        not teaching.teacher(c).keys() & {"ask", "minutes"}
        for c in notebook.cells
        if kind(c) != "slide"
    )


def test_every_prediction_has_its_discussion_and_nothing_else_has(notebook):
    for cell in notebook.cells:
        asks = cell.cell_type == "code" and re.search(r"^predict\(", cell.source, re.M)
        assert bool(asks) == ("discussion" in teaching.teacher(cell)), cell.source


def test_a_room_votes_before_it_sees_the_result(notebook):
    for slide in slides(notebook):
        source = "\n".join(cell.source for cell in slide if cell.cell_type == "code")
        asked, told = (
            set(re.findall(rf'\b{name}\(\s*"([\d.a-z]+)"', source))
            for name in ("predict", "outcome")
        )
        assert not asked & told, asked & told


def test_misconceptions_are_dispelled(notebook):
    assert 2 <= sum("dispels" in teaching.teacher(cell) for cell in notebook.cells) <= 5


def test_the_teachers_numbers_are_those_of_the_notebook(notebook):
    known = set()
    for cell in notebook.cells:
        shown = [text for output in cell.get("outputs", ()) for text in texts_of(output)]
        known |= {
            n.replace(",", "") for text in (cell.source, *shown) for n in NUMBER.findall(text)
        }
    for cell in notebook.cells:
        for key in ("ask", "wrong", "discussion", "dispels"):
            text = NAMES.sub("", teaching.teacher(cell).get(key, ""))
            told = {n.replace(",", "").rstrip(".") for n in NUMBER.findall(text)}
            assert told <= known, (
                f"{key} of {cell.id}: {told - known} stand nowhere in the notebook"
            )


def test_the_time_that_a_notebook_tells_is_the_reckoned_one(notebook):
    """Rounded up to five minutes; the README, and with it the course map, says the same."""
    told = int(re.search(r"\*\*Time\*\* (\d+) minutes", notebook.cells[0].source)[1])
    assert told == 5 * math.ceil(sum(s.self_study() for s in teaching.sections(notebook)) / 5)
    number = notebook.cells[0].source[2:4]
    row = re.search(rf"^\| {number} \|.*\| (\d+) \|$", (ROOT / "README.md").read_text(), re.M)
    assert int(row[1]) == told


def test_minutes_of_a_section_by_hand(new_notebook):
    nb = new_notebook("x = 1\n\ny = 2", 'predict("00.a", between=(0, 1))', 'check("a", f)')
    nb.cells[0].source = "# A title\n\n" + "word " * 147 + "\n\n## A *second*, (one)"
    nb.cells[1].outputs = []
    nb.cells[0].metadata["teacher"] = {"minutes": 1.5}
    first, second = teaching.sections(nb)
    assert (first.title, second.title, second.slug) == (
        "A title",
        "A *second*, (one)",
        "a-second-one",
    )
    assert first.cells == [] and len(second.cells) == 4  # a cell belongs to its last heading
    words = len(nb.cells[0].source.split()) / 150
    assert second.self_study() == pytest.approx(words + 4 / 20 + 1 + 6)
    assert second.lecture() == 1.5


def test_notes_of_a_slide_come_from_all_of_its_cells(new_notebook):
    first, second = new_notebook("x").cells
    first.metadata["teacher"] = {"ask": "Why?", "wrong": "Because.", "minutes": 2.5}
    second.metadata["teacher"] = {"discussion": "Most say yes.", "dispels": "All is well."}
    notes = teaching.notes_of([first, second])
    assert [part in notes for part in ("2.5 min", "Why?", "Because.", "Most say yes.")] == [
        True
    ] * 4
    assert "All is well." not in notes


def plan():
    """(sections linked to, minutes told) of each row of the plan of one lecture."""
    text = (ROOT / "docs" / "teaching.md").read_text("utf-8").partition("### A lab")[0]
    for row in re.findall(r"^\| \d\d \| (.+) \| ([\d.]+) \|$", text, re.M):
        yield [target for _, _, target in LINK.findall(row[0])], float(row[1])


def test_the_lecture_takes_the_minutes_of_its_sections():
    rows = list(plan())
    for links, minutes in rows:
        total = 0.0
        for link in links:
            name, slug = re.fullmatch(r"notebooks/(\w+)\.ipynb#(.+)", link).groups()
            total += sum(
                s.lecture() for s in teaching.sections(read(PATHS[name])) if s.slug == slug
            )
        assert total == minutes, links
    assert len(rows) > 3 and 70 <= sum(minutes for _, minutes in rows) <= 80  # the rest: votes


def test_the_guide_counts_the_exercises():
    text = (ROOT / "docs" / "teaching.md").read_text("utf-8")
    assert f"**Exercises** ({len(EXERCISES)}, one point each)" in text

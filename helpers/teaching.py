"""What teachers get out of the notebooks: speaker's notes, minutes, discussions, misconceptions.

It all stands in the metadata of cells, under ``teacher``, where students do not see it:

- ``ask``, ``wrong``, ``minutes`` on a cell that begins a slide: the question to ask, the usual wrong
  answer, and how long the slide takes;
- ``discussion`` on a cell with `helpers.predictions.predict`: what to say after the vote;
- ``dispels`` on a cell that dispels a misconception: the misconception.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from nbformat import NotebookNode

WORDS, LINES = 150, 20
"""Read in a minute; a line of code is looked at for three seconds."""

MINUTES = {"exercise": 6, "prediction": 1, "figure": 1, "widget": 4}

NOTES = {
    "minutes": "Minutes",
    "ask": "Ask",
    "wrong": "Usual wrong answer",
    "discussion": "After the vote",
    "dispels": "Dispels",
}
"""The keys under ``teacher``, and what they are called where a teacher reads them."""

_HEADING = re.compile(r"^#{1,2} (.+)$", re.MULTILINE)
_QUESTION = re.compile(r"^predict\(\s*\"(\d\d\.\w+)\"", re.MULTILINE)
_EXERCISE = re.compile(r"^check\(", re.MULTILINE)


@dataclass
class Section:
    """A heading of a notebook, and the cells under it."""

    title: str
    cells: list[NotebookNode] = field(default_factory=list)

    @property
    def slug(self) -> str:
        """The heading as the anchor of a page, as GitHub and MyST make it."""
        return re.sub(r"[^\w\- ]", "", self.title.lower()).strip().replace(" ", "-")

    def self_study(self) -> float:
        """Minutes for somebody who reads, guesses and solves: reckoned, see `MINUTES`."""
        minutes = 0.0
        for cell in self.cells:
            if cell.cell_type == "markdown":
                minutes += len(cell.source.split()) / WORDS
                continue
            minutes += sum(bool(line.strip()) for line in cell.source.splitlines()) / LINES
            minutes += len(_EXERCISE.findall(cell.source)) * MINUTES["exercise"]
            minutes += cell.source.count("predict(") * MINUTES["prediction"]
            for data in (output.get("data", {}) for output in cell.outputs):
                figure = "<img" in data.get("text/html", "")
                minutes += MINUTES["widget"] if "image/png" in data else figure * MINUTES["figure"]
        return minutes

    def lecture(self) -> float:
        """Minutes of its slides, as their notes say."""
        return sum(teacher(cell).get("minutes", 0) for cell in self.cells)


def teacher(cell: NotebookNode) -> dict:
    return cell.metadata.get("teacher", {})


def sections(nb: NotebookNode) -> list[Section]:
    """The sections of a notebook, the one under its title first.

    A cell belongs to the last heading in it or before it.
    """
    found: list[Section] = []
    for cell in nb.cells:
        titles = _HEADING.findall(cell.source) if cell.cell_type == "markdown" else []
        found += [Section(title) for title in titles]
        found[-1].cells.append(cell)
    return found


def notes_of(slide: Sequence[NotebookNode]) -> str:
    """Speaker's notes of the slide made of these cells, as Markdown; "" if there are none."""
    first = teacher(slide[0])
    lines = [f"**{first['minutes']:g} min**"] if "minutes" in first else []
    told = [("ask", first), ("wrong", first), *(("discussion", teacher(cell)) for cell in slide)]
    lines += [f"**{NOTES[key]}:** {words[key]}" for key, words in told if key in words]
    return "\n\n".join(lines)


def minutes(name: str, nb: NotebookNode) -> str:
    """A table of the minutes of each section of a notebook; `name` is its page."""
    lines = ["| section | slides | alone |", "|---|---:|---:|"]
    parts = sections(nb)
    for part in parts:
        lines.append(
            f"| [{part.title}](notebooks/{name}.ipynb#{part.slug}) | {part.lecture():g} | {part.self_study():.0f} |"
        )
    totals = sum(part.lecture() for part in parts), sum(part.self_study() for part in parts)
    return "\n".join([*lines, f"| **all** | **{totals[0]:g}** | **{totals[1]:.0f}** |"])


def discussions(name: str, nb: NotebookNode) -> str:
    """What to say after each vote of a notebook, as Markdown with links to the questions."""
    lines = []
    for part, cell in _cells(nb):
        keys = ", ".join(f"`{key}`" for key in _QUESTION.findall(cell.source))
        if "discussion" in teacher(cell):
            place = f"[{part.title}](notebooks/{name}.ipynb#{part.slug})"
            lines.append(f"{keys}, in {place}\n: {teacher(cell)['discussion']}\n")
    return "\n".join(lines)


def misconceptions(name: str, nb: NotebookNode) -> str:
    """Rows of a table: a misconception, and the place that dispels it."""
    rows = [
        f"| {teacher(cell)['dispels']} | [{name[:2]}, {part.title}](notebooks/{name}.ipynb#{part.slug}) |"
        for part, cell in _cells(nb)
        if "dispels" in teacher(cell)
    ]
    return "\n".join(rows)


def _cells(nb: NotebookNode) -> Iterator[tuple[Section, NotebookNode]]:
    return ((part, cell) for part in sections(nb) for cell in part.cells)

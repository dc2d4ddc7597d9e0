"""Slides of every notebook: ``python -m helpers.slides``, also ``make slides``.

A deck is made of the notebook's own cells. Their metadata say how: ``slideshow.slide_type``, as
JupyterLab and nbconvert know it ("slide" begins one, "skip" leaves a cell out, none goes on), and
``teacher``, the speaker's notes of a slide. Nothing is executed, and a deck asks for no network.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from nbconvert import SlidesExporter
from nbformat import NotebookNode, v4

from helpers import static_widgets, vendor
from helpers.files import replacing
from helpers.notebook_rules import ROOT, read, title_of
from helpers.run_notebooks import find
from helpers.teaching import notes_of, sections

DECK = ROOT / "docs" / "deck"
_QUESTION = re.compile(r"Your guess\? Put (.*) in place of None .*\n")
_RESULT = re.compile(r"(Result: .*) \(No guess was recorded\.\)")
"""What `helpers.predictions` prints for somebody at the keyboard; a room has its hands."""

_SENTENCE = re.compile(r"(?:Your guess|Result): .*")
WIDE = 84
"""Characters of a printed line that fit on a slide in its usual size."""

_TIME = re.compile(r"(?<=\*\*Time\*\* )\d+(?= minutes)")

_LINK = re.compile(r"\]\((\d\d_\w+)\.ipynb")

SIZE = (1280, 720)
"""Width and height of a slide in pixels, before it is scaled to the screen."""


def build(notebooks: list[Path], output: Path) -> None:
    """A deck ``NAME.html`` in `output` for each notebook, and ``vendor/`` that they share.

    Raises ``ValueError`` for a notebook without a cell that begins a slide.
    """
    vendor.mathjax(output / "vendor" / "mathjax")
    vendor.reveal(output / "vendor" / "reveal")
    static_widgets.write(output / "vendor")
    theme = output / "vendor" / "reveal" / "dist" / "theme"
    theme.mkdir(exist_ok=True)
    shutil.copyfile(DECK / "deck.css", theme / "deck.css")
    exporter = SlidesExporter(
        template_name=DECK.name,
        extra_template_basedirs=[str(DECK.parent)],
        reveal_url_prefix="vendor/reveal",
        exclude_anchor_links=True,
        reveal_theme="deck",
        reveal_width=str(SIZE[0]),
        reveal_height=str(SIZE[1]),
    )
    for path in notebooks:
        nb = prepare(read(path))
        if not any(_kind(cell) == "slide" for cell in nb.cells):
            raise ValueError(f"{path.name}: no cell has the slide_type 'slide'")
        nb.metadata["title"] = title_of(nb)
        page, _ = exporter.from_notebook_node(nb, {"metadata": {"name": path.stem}})
        with replacing(output / f"{path.stem}.html") as part:
            part.write_text(page, "utf-8")


def prepare(nb: NotebookNode) -> NotebookNode:
    """The notebook as its deck shows it, changed in place.

    A cell with a picture shows that alone, one with ``slideshow.show`` "output" all that came out,
    any other code cell its code, too. The time is that of the slides. Links to other notebooks lead to their decks; references stay in the
    notebook; the teacher's words follow each slide as its notes.
    """
    static_widgets.embed(nb)
    lecture = sum(section.lecture() for section in sections(nb))
    nb.cells[0].source = _TIME.sub(f"{lecture:.0f}", nb.cells[0].source)
    found: list[list[NotebookNode]] = [[]]  # cells slide by slide
    for cell in nb.cells:
        if _kind(cell) == "slide":
            found.append([])
        if cell.cell_type == "markdown":
            text = cell.source.partition("\n**References.**")[0]
            cell.source = _LINK.sub(r"](\1.html", text)
        else:
            _show_outputs(cell)
        if _kind(cell) != "skip":
            found[-1].append(cell)
    nb.cells = [cell for slide in found if slide for cell in (*slide, *_notes_cells(slide))]
    return nb


def _show_outputs(cell: NotebookNode) -> None:
    """What the deck shows of a code cell, changed in place."""
    alone = cell.metadata.get("slideshow", {}).get("show") == "output"
    pictures = [output for output in cell.outputs if _is_picture(output)]
    if alone or pictures:
        cell.metadata["transient"] = {"remove_source": True}
    cell.outputs = cell.outputs if alone else pictures or cell.outputs
    printed = [output for output in cell.outputs if "text" in output]
    for output in printed:
        question = "" if "Result: " in output.text else r"Your guess: \1.\n"
        output.text = _RESULT.sub(r"\1", _QUESTION.sub(question, output.text))
    if any(len(line) > WIDE for output in printed for line in output.text.splitlines()):
        cell.metadata["tags"] = [*cell.metadata.get("tags", ()), "wide"]
    if alone:
        cell.outputs = [part for output in cell.outputs for part in _spoken(output)]


def _spoken(output: NotebookNode) -> Iterator[NotebookNode]:
    """An output, with printed questions and results as sentences in large type."""
    if "text" not in output:
        yield output
        return
    for are_sentences, lines in groupby(output.text.splitlines(), _is_sentence):
        text = "\n".join(lines)
        if are_sentences:
            yield v4.new_output("display_data", {"text/markdown": f"**{text}**"})
        elif text.strip():
            yield v4.new_output("stream", name="stdout", text=f"{text}\n")


def _is_sentence(line: str) -> bool:
    return bool(_SENTENCE.fullmatch(line))


def _is_picture(output: NotebookNode) -> bool:
    return "<img" in output.get("data", {}).get("text/html", "")


def _kind(cell: NotebookNode) -> str:
    return cell.metadata.get("slideshow", {}).get("slide_type", "-")


def _notes_cells(slide: list[NotebookNode]) -> list[NotebookNode]:
    text = notes_of(slide)
    notes = {"slideshow": {"slide_type": "notes"}}
    return [v4.new_markdown_cell(text, metadata=notes)] if text else []


def main(arguments: list[str] | None = None) -> int:
    """Command line. Returns 0; bad usage exits with 2."""
    parser = argparse.ArgumentParser(prog="python -m helpers.slides", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "_build" / "slides")
    options = parser.parse_args(arguments)
    notebooks = find(ROOT / "notebooks")
    build(notebooks, options.output)
    print(f"{len(notebooks)} decks in {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

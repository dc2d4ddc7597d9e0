"""Copies of the course for a class and for its teacher: ``python -m helpers.student --help``.

``student/`` is for the class: the whole course without tests, outputs, solutions and the teacher's
notes. Where a check compares with the solution, this stays in ``helpers``, packed: nobody reads it
by chance and `solution` has nothing to print, but who wants to unpack it can.

``instructor/`` is for the teacher: the same notebooks with solutions, graded checks and notes, in
the source form of nbgrader 0.9 (cell metadata of schema version 3, solutions in the regions that
its ``ClearSolutions`` empties). Its ``nbgrader_config.py`` belongs beside the folder ``source/`` of
an nbgrader course: it keeps the notes out of what is released.

Copy both before you work in them: another run replaces them.
"""

from __future__ import annotations

import argparse
import copy
import re
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nbformat import NotebookNode, v4
from tqdm import tqdm

from helpers.exercise_sources import solutions, without_solutions
from helpers.notebook_rules import ROOT, read
from helpers.run_notebooks import chosen, write
from helpers.teaching import NOTES, teacher

MARKER = ".made-by-helpers-student"
SHIPPED = (
    *("LICENSE", "pyproject.toml", "constraints.txt", "environment.yml", "data/README.md"),
    *("data/camvid-sha256.txt", "data/study/*", "data/weights/*.safetensors", "helpers/**/*"),
)
OMITTED = re.compile(r"(^|/)(\.|__pycache__/)|^helpers/(student|exercise_sources)\.py$")
TARGETS = (
    *("help", "lab", "run", "train", "ladder", "crf", "study", "camvid-study", "overview"),
    *("camvid", "clean"),
)
CHECK = re.compile(r'^check\("(\w+)", (\w+)\)$', re.MULTILINE)
STUB = re.compile(r"^    \.\.\.  # your code$", re.MULTILINE)

NBGRADER_CONFIG = """\
# Lies beside the folder source/ of an nbgrader course (version 0.9).
c = get_config()
c.GenerateAssignment.preprocessors.insert(0, "nbconvert.preprocessors.TagRemovePreprocessor")
c.TagRemovePreprocessor.enabled = True
c.TagRemovePreprocessor.remove_cell_tags = {"teacher"}
c.ClearSolutions.code_stub = {"python": "...  # your code"}
"""

README = """\
# Pixelwise: semantic segmentation, hands-on

You build the networks that name every pixel of a picture, one idea at a time, and measure what each
idea does to the edges of things. `make lab` sets everything up and opens the course (`make lab
PYTHON=python3.12` with a Python of your choice). It takes Python 3.11 or 3.12, `make`, a C++
compiler and 7 GB of disk on Linux, 2 GB elsewhere; no GPU. With conda: `conda env create -f
environment.yml`. On Windows without make: `py -3.11 -m venv .venv`, then `.venv\\Scripts\\python -m
pip install -c constraints.txt -e .`, then `.venv\\Scripts\\jupyter lab notebooks`.

Under an exercise, `check(...)` names your mistake and `hint(...)` helps; your teacher has the
solutions. The code is under the [MIT licence](LICENSE), the data see [data/README.md](data/README.md).
"""


def student_notebook(nb: NotebookNode) -> NotebookNode:
    """The notebook as nobody has run it, without the teacher's keys; its stubs stay.

    Raises ``ValueError`` where a cell with a ``check(...)`` has none.
    """
    nb = copy.deepcopy(nb)
    for cell in nb.cells:
        for key in ("teacher", "slideshow"):
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if (call := CHECK.search(cell.source)) and len(STUB.findall(cell.source)) != 1:
                raise ValueError(f"before {call[0]} must be one stub, '...  # your code'")
    return nb


def instructor_notebook(nb: NotebookNode, bodies: dict[str, str]) -> NotebookNode:
    """`student_notebook` with the solutions `bodies`, a graded cell for each, and visible notes.

    Raises ``ValueError`` where a cell checks an exercise that is not in `bodies`.
    """
    cells = []
    for cell, original in zip(student_notebook(nb).cells, nb.cells, strict=True):
        cells.append(cell)
        if cell.cell_type == "code" and (call := CHECK.search(cell.source)):
            name, function = call.groups()
            if name not in bodies:
                raise ValueError(f"check must name one of {', '.join(bodies)}; got {name!r}")
            stub = cell.source[: call.start()].rstrip()
            region = f"    ### BEGIN SOLUTION\n{bodies[name]}\n    ### END SOLUTION"
            cell.source = STUB.sub(lambda _, region=region: region, stub)
            cell.metadata["nbgrader"] = _nbgrader(name, solution=True)
            graded = _nbgrader(f"{name}-check", grade=True, locked=True, points=1)
            source = f'from helpers.exercises import grade\n\ngrade("{name}", {function})'
            more = {"id": f"{cell.id}-check", "metadata": {"nbgrader": graded}}
            cells.append(v4.new_code_cell(source, **more))
        if notes := teacher(original):
            lines = [f"**{label}:** {notes[key]}" for key, label in NOTES.items() if key in notes]
            more = {"id": f"{cell.id}-teacher", "metadata": {"tags": ["teacher"]}}
            source = "\n\n".join(["### For the teacher", *lines])
            cells.append(v4.new_markdown_cell(source, **more))
    return v4.new_notebook(cells=cells, metadata=nb.metadata)


def _nbgrader(grade_id: str, **flags: bool | int) -> dict[str, str | bool | int]:
    flags = {"grade": False, "locked": False, "solution": False, "task": False} | flags
    return {"grade_id": grade_id, "schema_version": 3, **flags}


def student_makefile(text: str, first: str) -> str:
    """The Makefile with `TARGETS` alone; ``make lab`` opens the notebook `first`."""
    keep = [*TARGETS, ".PHONY", "$(VENV)/.lab"]
    targets = re.compile(r"^([^\s#:]+):(?!=)", re.MULTILINE)
    blocks = (block.strip("\n") for block in text.split("\n\n"))
    text = "\n\n".join(b for b in blocks if not (found := targets.search(b)) or found[1] in keep)
    text = re.sub(r"(?m)^\.PHONY:.*", f".PHONY: {' '.join(TARGETS)}", text)
    helped = re.compile(r'\t@echo "make (\S+).*\n?')
    text = helped.sub(lambda line: line[0] if line[1] in TARGETS else "", text)
    return text.replace("00_start_here.ipynb", first) + "\n"


def write_student(root: Path, notebooks: list[Path], folder: Path, hints: int) -> None:
    """The course at `root` for students, with `notebooks` alone and `hints` hints to an exercise."""
    paths = (path for pattern in SHIPPED for path in root.glob(pattern) if path.is_file())
    local = [path.relative_to(root) for path in paths]
    local = [path for path in local if not OMITTED.search(path.as_posix())]
    for path in tqdm(local, "copying", delay=1, disable=None):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, folder / path)
    for path in folder.glob("helpers/exercises/*.py"):
        source = without_solutions(path.read_text(encoding="utf-8"), hints)
        path.write_text(source, encoding="utf-8")
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    makefile = student_makefile(makefile, notebooks[0].name)
    (folder / "Makefile").write_text(makefile, encoding="utf-8", newline="\n")
    (folder / "README.md").write_text(README, encoding="utf-8")
    for path in notebooks:
        write(student_notebook(read(path)), folder / "notebooks" / path.name)


def write_instructor(root: Path, notebooks: list[Path], folder: Path) -> None:
    """The `notebooks` of the course at `root` for nbgrader; prints a line on each."""
    bodies = {}
    for path in sorted(root.glob("helpers/exercises/*.py")):
        bodies |= solutions(path.read_text(encoding="utf-8"))
    for path in notebooks:
        nb = instructor_notebook(read(path), bodies)
        write(nb, folder / path.name)
        graded = sum("nbgrader" in cell.metadata for cell in nb.cells) // 2
        notes = sum(cell.metadata.get("tags") == ["teacher"] for cell in nb.cells)
        print(f"{path.stem:24} {graded} exercises, {notes} notes for the teacher", flush=True)
    (folder / "nbgrader_config.py").write_text(NBGRADER_CONFIG, encoding="utf-8")


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new folder, with a marker, that takes the place of `path`, whole or not at all.

    Raises ``ValueError`` when what is at `path` has no marker: somebody else made it.
    """
    if path.exists() and not (path / MARKER).is_file():
        raise ValueError(f"{path} was not made by this command, so it is not replaced")
    new, old = (path.with_name(f".{uuid.uuid4().hex}.tmp") for _ in range(2))
    new.mkdir(parents=True)
    try:
        yield new
        (new / MARKER).write_text("Another run of helpers.student replaces this folder.\n")
        if path.exists():
            path.rename(old)
        new.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Command line. Returns 0; bad usage exits with 2, what cannot be copied or replaced with 1."""
    about = "Write the course for students, and its notebooks for their teacher."
    parser = argparse.ArgumentParser(prog="python -m helpers.student", description=about)
    parser.add_argument("--output", type=Path, default=root / "_build" / "student")
    parser.add_argument("--only", metavar="02", help="one notebook, by its number or file name")
    how = "how many hints of each exercise students get; the third often tells the answer (%(default)s)"
    parser.add_argument("--hints", type=int, choices=(3, 2, 0), default=3, help=how)
    options = parser.parse_args(arguments)

    paths = chosen(parser, root / "notebooks", options.only)
    output = options.output.resolve()
    if output.is_relative_to(root / "helpers"):
        parser.error(f"--output must not lie in what is copied, got {output}")
    try:
        with replacing_folder(output) as folder:
            write_student(root, paths, folder / "student", options.hints)
            write_instructor(root, paths, folder / "instructor")
    except ValueError as error:
        sys.exit(f"nothing was written: {error}")
    print(f"written to {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

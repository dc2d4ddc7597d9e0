"""The recipes of docs/contributing.md, followed to the letter in a copy of the course, work."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import pytest
from nbformat import v4

from helpers import site, slides
from helpers.exercise_sources import solutions
from helpers.notebook_rules import RULES, read
from helpers.run_notebooks import write
from helpers.student import instructor_notebook

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "contributing.md"
RECIPES = ("A notebook", "An exercise", "An architecture", "A data set")
FOLDERS = ("helpers", "notebooks", "tests", "docs", "data/study", "data/weights")

BLOCK = re.compile(
    r"^(?P<above>[^\n]+)\n\n(?P<indent> *)```(?P<kind>\w+)\n(?P<text>.*?)^(?P=indent)```$",
    re.M | re.S,
)
LINE = re.compile(r"in `([^`]+)`, (after|before) the line that begins with `([^`]+)`:$", re.I)
END = re.compile(r"at the end of `([^`]+)`:$")
CELL = re.compile(r"in a new cell before the last of `([^`]+)`:$")
FILE = re.compile(r"\. `([^`]+)`:$")


class Followed(NamedTuple):
    copy: Path
    problems: dict[str, str]
    """Of each recipe: what went otherwise than the page says, or ""."""
    written: set[Path]


def recipes(page: str) -> dict[str, list[tuple[str, str, str]]]:
    """(line above, kind, text) of the blocks in every section that has some."""
    parts = re.split(r"^## (.+)\n", page, flags=re.M)
    sections = {}
    for title, section in zip(parts[1::2], parts[2::2], strict=True):
        blocks = [
            (found["above"], found["kind"], re.sub(f"(?m)^{found['indent']}", "", found["text"]))
            for found in BLOCK.finditer(section)
        ]
        if section.count("```") != 2 * len(blocks):
            raise ValueError(f"{title}: a block has no line above it")
        if blocks:
            sections[title] = blocks
    return sections


def put(above: str, text: str, copy: Path) -> Path:
    """Write `text` where the line `above` says, and return the file."""
    if found := LINE.search(above):
        path, side, start = copy / found[1], found[2], found[3]
        lines = path.read_text("utf-8").splitlines(keepends=True)
        places = [k for k, line in enumerate(lines) if line.lstrip().startswith(start)]
        if len(places) != 1:
            raise ValueError(f"{len(places)} lines of {found[1]} begin with {start}")
        lines.insert(places[0] + (side == "after"), text)
        path.write_text("".join(lines), "utf-8")
    elif found := END.search(above):
        path = copy / found[1]
        path.write_text(path.read_text("utf-8") + text, "utf-8")
    elif found := CELL.search(above):
        path = copy / found[1]
        nb = read(path)
        nb.cells.insert(-1, v4.new_code_cell(text.rstrip()))
        write(nb, path)
    elif found := FILE.search(above):
        path = copy / found[1]
        if path.exists():
            raise ValueError(f"{found[1]} is there already")
        path.write_text(text, "utf-8")
    else:
        raise ValueError(f"no file for the block under {above!r}")
    return path


def commands(text: str) -> list[tuple[str, list[str]]]:
    """(command, lines that it prints) of a console block."""
    lines = text.splitlines()
    starts = [k for k, line in enumerate(lines) if line.startswith("$ ")]
    return [
        (lines[k][2:], list(takewhile(lambda line: line[:2] != "$ ", lines[k + 1 :])))
        for k in starts
    ]


def is_said(expected: list[str], printed: str) -> bool:
    """Whether the lines `expected` are printed in that order; blanks in a row count as one."""
    lines = iter([" ".join(line.split()) for line in printed.splitlines()])
    patterns = [".*".join(map(re.escape, line.split("..."))) for line in expected]
    return all(any(re.fullmatch(pattern, line) for line in lines) for pattern in patterns)


def run(command: str, copy: Path) -> subprocess.CompletedProcess:
    words = shlex.split(command)
    if words[0] == "python":
        words[0] = sys.executable
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIXELWISE_")}
    surroundings = kept | {"PYTHONPATH": str(copy)}
    return subprocess.run(words, cwd=copy, env=surroundings, capture_output=True, text=True)


def follow(blocks: list[tuple[str, str, str]], copy: Path, written: set[Path]) -> str:
    """Do what the blocks of a recipe say, up to the first that fails: why, or ""."""
    for above, kind, text in blocks:
        if kind != "console":
            try:
                written.add(put(above, text, copy))
            except (OSError, ValueError) as error:
                return str(error)
            continue
        for command, expected in commands(text):
            done = run(command, copy)
            if done.returncode or not is_said(expected, done.stdout):
                return f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return ""


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> Followed:
    """The course, and what became of it when all recipes were followed, one after the other."""
    copy = tmp_path_factory.mktemp("course")
    for name in FOLDERS:
        shutil.copytree(
            ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "local")
        )
    for path in (*ROOT.glob("*"), *ROOT.glob("data/*")):
        if path.is_file():
            shutil.copyfile(path, copy / path.relative_to(ROOT))
    written: set[Path] = set()
    sections = recipes(PAGE.read_text("utf-8"))
    problems = {title: follow(blocks, copy, written) for title, blocks in sections.items()}
    return Followed(copy, problems, written)


def test_all_blocks_of_the_page_are_in_the_four_recipes():
    assert tuple(recipes(PAGE.read_text("utf-8"))) == RECIPES


TRUE = "1. `a.py`:\n\n   ```python\n   print('one  two')\n   ```\n\n2. Run:\n\n   ```console\n   $ python a.py\n   one ...\n   ```\n"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("", "", ""),
        ("one ...", "two ...", "python a.py: exit code 0\none  two"),
        ("one ...", "one ...\n   three", "python a.py: exit code 0"),
        ("two')", "two'); exit(3)", "python a.py: exit code 3"),
        ("`a.py`:", "`b.txt`:", "b.txt is there already"),
        ("`a.py`:", "at the end of `a.py`:", "No such file or directory"),
        ("`a.py`:", "Here:", "no file for the block under '1. Here:'"),
        (
            "`a.py`:",
            "in `b.txt`, after the line that begins with `x`:",
            "2 lines of b.txt begin with x",
        ),
        (
            "`a.py`:",
            "in `b.txt`, before the line that begins with `z`:",
            "0 lines of b.txt begin with z",
        ),
    ],
)
def test_a_recipe_that_rots_is_noticed(tmp_path, old, new, problem):
    (tmp_path / "b.txt").write_text("x = 1\nx = 2\n")
    (blocks,) = recipes(f"## A recipe\n\n{TRUE.replace(old, new) if old else TRUE}").values()
    found = follow(blocks, tmp_path, set())
    assert problem in found and bool(problem) == bool(found)


def test_blocks_go_where_the_line_above_says(tmp_path):
    file = tmp_path / "b.txt"
    file.write_text("one\n  two\n")
    put("In `b.txt`, after the line that begins with `one`:", "after\n", tmp_path)
    put("so, in `b.txt`, before the line that begins with `two`:", "before\n", tmp_path)
    put("at the end of `b.txt`:", "end\n", tmp_path)
    assert file.read_text() == "one\nafter\nbefore\n  two\nend\n"


@pytest.mark.slow
@pytest.mark.parametrize("title", RECIPES)
def test_recipe_works(followed, title):
    if problem := followed.problems[title]:
        pytest.fail(problem)


@pytest.mark.slow
def test_what_the_recipes_leave_is_lint_free(followed):
    code = [str(path) for path in followed.written if path.suffix in (".py", ".ipynb")]
    for check in ("check", "format --check"):
        done = run(
            shlex.join(["python", "-m", "ruff", *check.split(), "--no-cache", *code]), followed.copy
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_notebook_is_on_the_map_and_has_slides(followed, tmp_path, monkeypatch):
    path = followed.copy / "notebooks" / "10_edges.ipynb"
    monkeypatch.setattr(site, "ROOT", followed.copy)
    cards = site.course_map(
        dict.fromkeys((p.stem for p in path.parent.glob("*.ipynb")), read(path))
    )
    assert '<a href="notebooks/10_edges.html">10 · Edges</a>' in cards
    slides.build([path], tmp_path)
    deck = (tmp_path / "10_edges.html").read_text("utf-8")
    assert (
        "bright lines where its classes meet" in deck and "how many belong to two classes?" in deck
    )


@pytest.mark.slow
def test_the_notebook_follows_the_rules_with_its_exercise_which_teachers_get_solved(followed):
    path = followed.copy / "notebooks" / "10_edges.ipynb"
    nb = read(path)
    assert [problem for rule in RULES for problem in rule(nb, path)] == []
    checked: list[str] = []
    exec(nb.cells[-2].source, {"check": lambda name, answer: checked.append(name)})
    assert checked == ["edge_share"]  # by the notebook's own `check`: the cell imports no other
    task = followed.copy / "helpers" / "exercises" / "nb10.py"
    copies = instructor_notebook(nb, solutions(task.read_text("utf-8")))
    assert any(
        "return (mask[:, 1:] != mask[:, :-1]).mean()" in cell.source for cell in copies.cells
    )

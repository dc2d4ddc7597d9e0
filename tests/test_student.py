"""Copies for a class: what students get works and tells no answer; the teacher's copy is all right."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import nbformat
import pytest
from nbconvert.exporters import NotebookExporter
from traitlets.config.loader import PyFileConfigLoader

from helpers import exercise_sources, student
from helpers.exercises import EXERCISES, check, core, grade, hint, solution
from helpers.notebook_rules import ROOT, read, valid_format
from helpers.student import main

STEMS = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
STUB = "    ...  # your code"
NOTES = {
    "ask": "Which of these cells would {} colour?",
    "wrong": "Most say that {} is red. Ask again.",
    "minutes": 2.5,
    "discussion": "Here {} parts the room. Let both sides speak.",
    "dispels": "People think that {} never happens.",
}

# Executes cells with the helpers of a copy: prints what is asked of each exercise, as JSON.
PLAY = """
import contextlib, io, json, sys

def said(do, *arguments):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        do(*arguments)
    return out.getvalue()

def play(cells):
    def run():
        try:
            for cell in cells:
                exec(cell, space)
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
    space = {}
    return said(run)

asked = json.load(sys.stdin)
from helpers.exercises import EXERCISES, check, hint, solution
played = {name: play(cells) for name, cells in asked["cells"].items()}
json.dump({
    "strangers": [m.__file__ for n, m in sys.modules.items() if n[:8] == "helpers." and asked["folder"] not in str(m.__file__)],
    "played": played,
    "solutions": {name: said(solution, name) for name in EXERCISES},
    "hints": {name: [said(hint, name) for _ in range(5)] for name in EXERCISES},
    "wrong": {name: [said(check, name, eval(answer)) for answer in asked["answers"]] for name in EXERCISES},
    "hidden": [n for n, task in EXERCISES.items() if task.solve is None],
}, sys.stdout)
"""


WRONG = ("lambda *given: given[0]", "lambda *given: 0", "lambda *given: given[-1]", "lambda: 0")


def play(folder: Path, cells: dict[str, list[str]]) -> dict:
    """What `PLAY` prints in the course at `folder`, where no bytecode is left behind."""
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PLAY],
        input=json.dumps({"cells": cells, "answers": WRONG, "folder": str(folder)}),
        cwd=folder / "notebooks",
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert not result["strangers"], "the helpers of another course were imported"
    return result


def exercise_cells(folder: Path) -> dict[str, tuple[str, str]]:
    """By exercise: the source of the cell with the learner's function, and that of the cell behind it."""
    found = {}
    for path in sorted(folder.glob("*.ipynb")):
        cells = [cell for cell in read(path).cells if cell.cell_type == "code"]
        for cell, after in zip(cells, [*cells[1:], None], strict=True):
            for name in re.findall(r'^check\("(\w+)"', cell.source, re.MULTILINE):
                found[name] = cell.source, ""
            for name in re.findall(r'^grade\("(\w+)"', after.source if after else "", re.MULTILINE):
                found[name] = cell.source, after.source
    return found


def imports_of(path: Path) -> str:
    """The imports of a notebook, in one piece."""
    sources = (cell.source for cell in read(path).cells if cell.cell_type == "code")
    code = "\n".join(line for source in sources for line in source.splitlines() if line[:1] != "%")
    nodes = (n for n in ast.parse(code).body if isinstance(n, ast.Import | ast.ImportFrom))
    return "\n".join(map(ast.unparse, nodes))


def texts(folder: Path) -> dict[str, str]:
    """All files under `folder` by their names, as text; of notebooks every string in them."""

    def strings(node) -> list[str]:
        if isinstance(node, dict):
            return [text for item in node.items() for part in item for text in strings(part)]
        if isinstance(node, list):
            return [text for part in node for text in strings(part)]
        return [str(node)]

    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_bytes().decode("utf-8", "replace")
            if path.suffix == ".ipynb":
                text = "\n".join(strings(read(path)))
            found[path.relative_to(folder).as_posix()] = text
    return found


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """This course with notes for the teacher in it, and with things that nobody must get."""
    folder = tmp_path_factory.mktemp("course")
    left_out = shutil.ignore_patterns("__pycache__", "local", "*.lock")
    for name in ("helpers", "notebooks", "data/study"):
        shutil.copytree(ROOT / name, folder / name, ignore=left_out)
    files = (
        "LICENSE Makefile README.md pyproject.toml constraints.txt environment.yml data/README.md"
    )
    weights = "data/weights/colour-streets-seed0.safetensors"
    (folder / "data/weights/local").mkdir(parents=True)
    for name in (*files.split(), "data/camvid-sha256.txt", weights):
        shutil.copy(ROOT / name, folder / name)
    for number, path in enumerate(sorted((folder / "notebooks").glob("*.ipynb"))):
        nb = read(path)
        exercise = next(cell for cell in nb.cells if STUB in cell.source)
        for cell, thing in ((nb.cells[0], f"thing {number}"), (exercise, f"work {number}")):
            notes = NOTES if cell is exercise else {"minutes": 1, "ask": NOTES["ask"]}
            notes = {k: v.format(thing) if isinstance(v, str) else v for k, v in notes.items()}
            cell.metadata["teacher"], cell.metadata["slideshow"] = notes, {"slide_type": "slide"}
        nbformat.write(nb, path)
    for name in (
        "helpers/__pycache__/iou.pyc",
        "helpers/exercises/__pycache__/iou.pyc",
        "helpers/.ipynb_checkpoints/iou.py",
        "data/study/.streets.csv.lock",
        "data/weights/local/own.safetensors",
        "data/cache/own.npz",
        "data/predictions.json",
        "tests/test_exercises.py",
        "docs/index.md",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("nobody must get this")
    return folder


@pytest.fixture(scope="module")
def copies(course, tmp_path_factory) -> Path:
    """The folder with both copies of `course`."""
    output = tmp_path_factory.mktemp("copies") / "out"
    assert main(["--output", str(output)], course) == 0
    return output


@pytest.fixture(scope="module")
def played(copies) -> dict:
    """The students' copy: the stubs, the teacher's solutions, the imports of every notebook."""
    taught = exercise_cells(copies / "instructor")
    cells = {name: list(pair) for name, pair in taught.items()}
    opening = "from helpers.exercises import check"
    for name, (stub, _) in exercise_cells(copies / "student/notebooks").items():
        cells[f"stub {name}"] = [opening, stub]
    for path in (copies / "student/notebooks").glob("*.ipynb"):
        cells[path.stem] = [imports_of(path)]
    return play(copies / "student", cells)


def test_every_exercise_is_in_both_copies(copies):
    assert set(exercise_cells(copies / "student/notebooks")) == set(EXERCISES)
    assert set(exercise_cells(copies / "instructor")) == set(EXERCISES)


@pytest.mark.parametrize("name", EXERCISES)
def test_a_students_stub_is_met_kindly(played, name):
    line = played["played"][f"stub {name}"]
    assert line.startswith(f"{name}: not tried yet (") and line.count("\n") == 1


@pytest.mark.parametrize("stem", STEMS)
def test_a_students_notebook_finds_what_it_imports(played, stem):
    assert played["played"][stem] == ""


@pytest.mark.parametrize("name", EXERCISES)
def test_the_teachers_answer_is_right_in_the_students_copy(played, name):
    assert played["played"][name].startswith(f"{name}: right. ")


@pytest.mark.parametrize("name", EXERCISES)
def test_the_teachers_cells_pass_and_fail_without_the_answer(copies, name, capsys):
    answer, graded = exercise_cells(copies / "instructor")[name]
    space = {}
    exec(answer, space)
    exec(graded, space)
    assert capsys.readouterr().out.startswith(f"{name}: right. ")
    assert "check(" not in answer and "check(" not in graded

    stub, _ = exercise_cells(copies / "student/notebooks")[name]
    space = {"check": lambda name, answer: None}
    exec(stub, space)
    with pytest.raises(AssertionError, match=f"^{name}: not tried yet"):
        exec(graded, space)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("name", EXERCISES)
def test_the_students_checks_say_what_those_of_the_course_say(played, name, capsys):
    for answer, said in zip(WRONG, played["wrong"][name], strict=True):
        check(name, eval(answer))
        assert said == capsys.readouterr().out


def test_students_get_hints_and_no_solution(played):
    for name, task in EXERCISES.items():
        assert played["solutions"][name].startswith(f"{name}: this copy has no solutions.")
        wanted = [f"Hint {k} of 3: {task.hints[k - 1]}\n" for k in (1, 2, 3, 3, 3)]
        assert played["hints"][name] == wanted


@pytest.mark.parametrize("count", [3, 2, 0])
def test_fewer_hints(course, tmp_path, count):
    chosen = ["--hints", str(count)] if count < 3 else []
    assert main(["--output", str(tmp_path / "out"), "--only", "01", *chosen], course) == 0
    given = {}
    for path in (tmp_path / "out/student/helpers/exercises").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "exercise":
                name, hints, solve = map(ast.literal_eval, node.args)
                given[name] = hints
                assert solve is None
    assert given == {name: task.hints[:count] for name, task in EXERCISES.items()}


def solution_nodes() -> list[tuple[Path, ast.FunctionDef]]:
    """The files and functions that `solution` prints."""
    found = []
    for task in EXERCISES.values():
        path = Path(task.solve.__code__.co_filename)
        functions = ast.parse(path.read_text()).body
        found += [(path, n) for n in functions if getattr(n, "name", "") == task.solve.__name__]
    return found


def plain(line: str) -> str:
    """Without what writing code anew may change: blanks, quotes and brackets."""
    return re.sub(r"[\s\"'()]", "", line)


def test_no_line_of_a_solution_is_left(course, copies):
    """Save for lines that the course has elsewhere, too, such as ``return out``, and as often."""
    solutions = solution_nodes()
    assert len(solutions) == len(EXERCISES)
    telling, hidden = set(), {}
    for path, function in solutions:
        lines = path.read_text().splitlines()
        span = range(function.body[0].lineno - 1, function.end_lineno)
        hidden.setdefault(path, set()).update(span)
        telling |= {plain(lines[k]) for k in span if len(plain(lines[k])) > 3}
        statements = (
            n for n in ast.walk(function) if isinstance(n, ast.stmt) and n is not function
        )
        telling |= {plain(ast.unparse(n).splitlines()[0]) for n in statements}
    elsewhere = texts(course)
    for path, span in hidden.items():
        name = path.relative_to(ROOT).as_posix()
        seen = (x for k, x in enumerate(elsewhere[name].splitlines()) if k not in span)
        elsewhere[name] = "\n".join(seen)
    for name, text in texts(copies / "student").items():
        there, here = ([plain(x) for x in t.splitlines()] for t in (elsewhere.get(name, ""), text))
        for line in telling:
            assert here.count(line) <= there.count(line), (name, line)


def test_nothing_that_students_do_not_need(course, copies):
    names = set(texts(copies / "student"))
    assert not any("nobody must get this" in text for text in texts(copies).values())
    folders = {part for name in names for part in Path(name).parts[:-1]}
    assert not folders & {"__pycache__", "tests", "docs", "local", "cache", "benchmarks"}
    assert {name for name in names if "exercise_sources" in name or "student.py" in name} == set()
    omitted = r"(?m)^\s*(from|import) helpers\b.*\b(student|exercise_sources)\b"
    assert not [n for n, t in texts(copies).items() if n[-3:] == ".py" and re.search(omitted, t)]
    here = str(ROOT), str(course), str(copies)
    assert not [folder for text in texts(copies).values() for folder in here if folder in text]


def test_all_that_students_need(copies):
    folder = copies / "student"
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    for package in project["tool"]["setuptools"]["packages"]:
        assert (folder / package.replace(".", "/") / "__init__.py").exists()
    for pattern in project["tool"]["setuptools"]["package-data"]["helpers"]:
        here = {p.relative_to(folder) for p in (folder / "helpers").glob(pattern)}
        assert here and here == {p.relative_to(ROOT) for p in (ROOT / "helpers").glob(pattern)}
    tracked = ["data/weights/colour-streets-seed0.safetensors", "data/study/streets.csv"]
    for name in (
        *tracked,
        "data/camvid-sha256.txt",
        "constraints.txt",
        "LICENSE",
        "environment.yml",
    ):
        assert (folder / name).exists()
    for target in re.findall(r"\]\(([^)]+)\)", (folder / "README.md").read_text()):
        assert (folder / target).exists()


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_the_students_makefile(copies, course, tmp_path):
    def make(*arguments: str, folder: Path = copies / "student") -> str:
        done = subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True)
        return done.stdout + done.stderr

    assert "jupyter lab notebooks/00_start_here.ipynb" in make("-n", "lab")
    told = re.findall(r"^make (\S+)", make("help"), re.MULTILINE)
    assert {"lab", "run", "camvid"} <= set(told) and not {"test", "bench", "student"} & set(told)
    for target in (*told, "help", "clean"):
        plan = make("-n", target)
        assert "***" not in plan
        for module in re.findall(r"-m (helpers\.\w+)", plan):
            assert (copies / "student" / f"{module.replace('.', '/')}.py").exists()
    for target in ("test", "student", "bench"):
        assert "No rule to make target" in make("-n", target)

    main(["--output", str(tmp_path / "out"), "--only", "02"], course)
    assert "notebooks/02_fcn.ipynb" in make("-n", "lab", folder=tmp_path / "out/student")


@pytest.mark.parametrize("stem", STEMS)
def test_a_students_notebook_is_the_course_as_nobody_has_run_it(course, copies, stem):
    path = copies / f"student/notebooks/{stem}.ipynb"
    original, nb = read(course / f"notebooks/{stem}.ipynb"), read(path)
    assert not list(valid_format(nb, path))
    assert nb.metadata == original.metadata
    for cell, was in zip(nb.cells, original.cells, strict=True):
        assert (cell.source, cell.id) == (was.source, was.id)
        assert cell.metadata == {
            k: v for k, v in was.metadata.items() if k not in ("teacher", "slideshow")
        }
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


def test_the_teachers_words_are_the_teachers(course, copies):
    words = []
    for path in (course / "notebooks").glob("*.ipynb"):
        notes = [cell.metadata.get("teacher", {}) for cell in read(path).cells]
        words += [str(v) for note in notes for k, v in note.items() if k != "minutes"]
    assert len(words) >= 5 * len(STEMS)
    taught = "\n".join(texts(copies / "instructor").values())
    assert all(word in taught for word in words)
    for name, text in texts(copies / "student").items():
        assert not [word for word in words if word in text], name
        assert not name.endswith(".ipynb") or '"teacher"' not in text


def test_notes_come_after_the_cell_that_they_are_on(copies):
    nb = read(copies / "instructor/01_dense_prediction.ipynb")
    titled = [k for k, cell in enumerate(nb.cells) if "### For the teacher" in cell.source]
    title, exercise = [
        k for k in titled if "thing 1" in nb.cells[k].source or "work 1" in nb.cells[k].source
    ]
    assert title == 1 and "thing 1" in nb.cells[1].source
    assert "BEGIN SOLUTION" in nb.cells[exercise - 2].source
    assert "grade(" in nb.cells[exercise - 1].source
    lines = nb.cells[exercise].source.split("\n\n")
    assert lines[:2] == ["### For the teacher", "**Minutes:** 2.5"]
    assert "**Dispels:** People think that work 1 never happens." in lines
    assert all(nb.cells[k].cell_type == "markdown" for k in titled)


# nbgrader 0.9, nbgraderformat: what its validator of version 3 asks of a cell's metadata.
SCHEMA = {
    "type": "object",
    "required": ["schema_version", "grade", "locked", "solution", "grade_id", "task"],
    "additionalProperties": False,
    "properties": {
        "schema_version": {"const": 3},
        "grade": {"type": "boolean"},
        "locked": {"type": "boolean"},
        "solution": {"type": "boolean"},
        "task": {"type": "boolean"},
        "grade_id": {"type": "string", "pattern": r"^[a-zA-Z0-9_\-]+$"},
        "points": {"type": "number", "minimum": 0},
    },
}


@pytest.mark.parametrize("stem", STEMS)
def test_nbgrader_can_read_the_teachers_notebook(copies, stem):
    path = copies / f"instructor/{stem}.ipynb"
    nb = read(path)
    assert not list(valid_format(nb, path))
    marked = [cell for cell in nb.cells if "nbgrader" in cell.metadata]
    assert marked
    for cell in marked:
        about = cell.metadata["nbgrader"]
        jsonschema.validate(about, SCHEMA)
        assert cell.cell_type == "code" and about["grade"] != about["solution"]
        assert about["grade"] == about["locked"] == ("points" in about)
        assert about["solution"] == ("### BEGIN SOLUTION" in cell.source)
        assert about["grade"] == ("grade(" in cell.source)
    ids = [cell.metadata["nbgrader"]["grade_id"] for cell in marked]
    assert len(set(ids)) == len(ids)
    for cell in nb.cells:
        assert "nbgrader" in cell.metadata or "SOLUTION" not in cell.source
        assert not cell.get("outputs")


def cleared(source: str, stub: str) -> str:
    """nbgrader's rule for a cell: the region between its marks becomes the stub, as indented as they."""
    region = r"^([ \t]*)### BEGIN SOLUTION\n.*?^\1### END SOLUTION$"
    return re.sub(region, rf"\g<1>{stub}", source, flags=re.MULTILINE | re.DOTALL)


def test_nbgrader_gives_the_students_stubs_and_leaves_the_notes_out(copies):
    config = PyFileConfigLoader(str(copies / "instructor/nbgrader_config.py")).load_config()
    stub = config.ClearSolutions.code_stub["python"]
    stubs = exercise_cells(copies / "student/notebooks")
    for name, (answer, _) in exercise_cells(copies / "instructor").items():
        learner = stubs[name][0].split("\n\n\ncheck(")[0]
        assert answer != learner and cleared(answer, stub) == learner

    exporter = NotebookExporter(config=config)
    for preprocessor in config.GenerateAssignment.preprocessors.get_value([]):
        exporter.register_preprocessor(preprocessor)
    for stem in STEMS:
        path = copies / f"instructor/{stem}.ipynb"
        released = nbformat.reads(exporter.from_filename(str(path))[0], as_version=4)
        kept = [cell.id for cell in read(path).cells if "For the teacher" not in cell.source]
        assert [cell.id for cell in released.cells] == kept


def test_a_line_on_each_notebook(course, tmp_path, capsys):
    main(["--output", str(tmp_path / "out"), "--only", "02"], course)
    line, last = capsys.readouterr().out.splitlines()
    notes = sum("teacher" in c.metadata for c in read(course / "notebooks/02_fcn.ipynb").cells)
    assert line.split() == f"02_fcn 3 exercises, {notes} notes for the teacher".split()
    assert last == f"written to {tmp_path / 'out'}"
    for name in ("student/notebooks", "instructor"):
        assert [p.name for p in (tmp_path / "out" / name).glob("*.ipynb")] == ["02_fcn.ipynb"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--only", "77"], "no notebook 77 in .*; there are: 00_start_here, 01_"),
        (["--hints", "1"], "invalid choice: 1"),
        (["--output", "{course}/helpers/out"], "--output must not lie in"),
    ],
)
def test_bad_usage(course, tmp_path, capsys, arguments, complaint):
    given = ["--output", str(tmp_path / "out"), *(a.format(course=course) for a in arguments)]
    with pytest.raises(SystemExit) as stopped:
        main(given, course)
    assert stopped.value.code == 2 and re.search(complaint, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_what_somebody_else_made_is_not_replaced(course, tmp_path):
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter.txt").write_text("years of work")
    link = tmp_path / "link"
    link.symlink_to(mine)
    (tmp_path / "file").write_text("also work")
    before = texts(tmp_path)
    for name in ("thesis", "link", "file"):
        with pytest.raises(SystemExit) as stopped:
            main(["--output", str(tmp_path / name), "--only", "00"], course)
        assert "was not made by this command" in stopped.value.code
    assert texts(tmp_path) == before


def test_its_own_copy_is_replaced_whole(course, tmp_path):
    output = tmp_path / "out"
    main(["--output", str(output), "--only", "00"], course)
    (output / "student/old.txt").write_text("old")
    (tmp_path / "link").symlink_to(output)
    main(["--output", str(tmp_path / "link"), "--only", "01"], course)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "out"]
    assert (tmp_path / "link").is_symlink()
    assert not (output / "student/old.txt").exists()
    assert [p.name for p in output.rglob("0*.ipynb")] == ["01_dense_prediction.ipynb"] * 2


@pytest.mark.parametrize("stage", ["student_notebook", "instructor_notebook", "replace"])
def test_a_run_that_breaks_off_leaves_the_old_copy(course, tmp_path, monkeypatch, stage):
    output = tmp_path / "out"
    main(["--output", str(output), "--only", "00"], course)
    before = texts(output)

    def stop(*_):
        raise KeyboardInterrupt

    if stage == "replace":
        rename, stopped = Path.rename, []

        def stop_once(path, to):
            if to == output and not stopped:  # the old copy is aside already
                stopped.append(path)
                stop()
            return rename(path, to)

        monkeypatch.setattr(Path, "rename", stop_once)
    else:
        monkeypatch.setattr(student, stage, stop)
    with pytest.raises(KeyboardInterrupt):
        main(["--output", str(output), "--only", "01"], course)
    assert texts(output) == before and [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("stub", "instead", "complaint"),
    [
        (
            STUB,
            "    return (mask == label).mean()",
            'before check("share", my_share) must be one stub',
        ),
        ('check("share"', 'check("shares"', "check must name one of share, blend, "),
    ],
)
def test_a_notebook_without_its_stub_is_refused(course, tmp_path, stub, instead, complaint):
    root, output = tmp_path / "course", tmp_path / "out"
    main(["--output", str(output), "--only", "00"], course)
    before = texts(output)
    shutil.copytree(course, root)
    path = root / "notebooks/00_start_here.ipynb"
    nb = read(path)
    cell = next(cell for cell in nb.cells if 'check("share"' in cell.source)
    cell.source = cell.source.replace(stub, instead)
    nbformat.write(nb, path)
    with pytest.raises(SystemExit) as stopped:
        main(["--output", str(output)], root)
    assert stopped.value.code.startswith(f"nothing was written: {complaint}")
    assert texts(output) == before


SOURCE = '''
from math import pi, tau
import torch.nn.functional as F
import unused

def area(r):
    """Not the learner's."""
    # a comment
    return F.relu(tau / 2 * r**2)

@exercise("area", ("One.", "Two.", "Three."), area)
def check_area(answer):
    return "So it is."
'''


def test_a_solution_brings_the_imports_that_it_needs():
    body = exercise_sources.solutions(SOURCE.replace('    """Not the learner\'s."""\n', ""))["area"]
    assert body.split("\n") == [
        "    from math import tau",
        "    import torch.nn.functional as F",
        "",
        "    return F.relu(tau / 2 * r**2)",
    ]


def test_a_solution_is_packed_only_where_its_check_needs_it():
    without = exercise_sources.without_solutions(SOURCE, 3)
    assert "r ** 2" not in without and "def area" not in without and "exec(" not in without
    needs = SOURCE.replace('"So it is."', "str(area(answer()))")
    packed = exercise_sources.without_solutions(needs, 1)
    assert "def area" not in packed and "('One.',), None)" in packed
    space = {"exercise": lambda *_: lambda check: check, "unused": None}
    exec(packed.replace("import unused", "").replace("F.relu", ""), space)
    space["F"] = type("F", (), {"relu": staticmethod(abs)})
    assert space["check_area"](lambda: 2) == str(abs(space["tau"] / 2 * 4))


def test_grade_prints_what_check_prints_or_raises_it(capsys):
    grade("share", EXERCISES["share"].solve)
    assert (
        capsys.readouterr().out
        == "share: right. Void counted for nothing, as in every score of this course.\n"
    )
    for answer, said in (
        (lambda mask, label: 3 / 8, "share: not yet. 3 of 8 counts the void"),
        (lambda mask, label: None, "share: not tried yet"),
        (lambda mask: 0, "share: your code raised TypeError"),
    ):
        with pytest.raises(AssertionError, match=f"^{said}"):
            grade("share", answer)
        assert not capsys.readouterr().out


def test_hint_and_solution_without_any(monkeypatch, capsys):
    task = core.Exercise("bare", (), None, lambda answer: "")
    monkeypatch.setitem(EXERCISES, "bare", task)
    hint("bare")
    solution("bare")
    assert re.match(
        r"bare: this copy has no hints\..*\nbare: this copy has no solutions\.",
        capsys.readouterr().out,
    )

"""Headless execution: what is written, what is refused, and that a re-run changes no byte."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from queue import Empty

import pytest

from helpers import run_notebooks
from helpers.notebook_rules import RULES, read
from helpers.run_notebooks import _in_slices, kernel_environment, main, write

ROOT = Path(__file__).parents[1]
WIDGET = """\
import anywidget
import ipywidgets

class Explorer(anywidget.AnyWidget):
    _esm = "export default { render({ el }) { el.textContent = 'drawn' } }"

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        view = bundle[0] if isinstance(bundle, tuple) else bundle
        return view | {"text/plain": "A road.", "image/png": "aGVsbG8h"}

Explorer()"""
LIVELY = (
    "import time\nprint('a', end='', flush=True)\ntime.sleep(0.3)\nprint('b')\n"
    "display(0.42)\nprint('c')",
    WIDGET,
    "ipywidgets.IntSlider(3)",
    "import os\nfrom pathlib import Path\n"
    "print(Path.cwd().name, os.environ['PIXELWISE_DATASET'])\n"
    "Path(os.environ['PIXELWISE_PREDICTIONS']).write_text('{}')",
    "from tqdm import tqdm\nfor _ in tqdm(range(2)):\n    pass",
)


@pytest.fixture
def folder(tmp_path):
    """An empty folder for notebooks; what is executed goes to ``out`` beside it."""
    (tmp_path / "notebooks").mkdir()
    return tmp_path / "notebooks"


@pytest.fixture
def execute(folder):
    """``execute(*arguments)``: the command line on ``folder``."""
    return lambda *arguments: main(["--output", str(folder.parent / "out"), *arguments], folder)


@pytest.fixture(scope="module")
def lively(tmp_path_factory, new_notebook):
    """(folder, bytes after the first, after the second execution) of a committed notebook."""
    folder = tmp_path_factory.mktemp("checkout") / "notebooks"
    folder.mkdir()
    path = folder / "00_lively.ipynb"
    nb = new_notebook(*LIVELY)
    nb.metadata.update(widgets={"stale": 1}, language_info={"name": "python", "version": "3.0"})
    nb.cells[1].metadata.execution = {"iopub.status.idle": "2026-01-01T00:00:00Z"}
    write(nb, path)
    runs = []
    for _ in range(2):
        assert main(["--commit"], folder) == 0
        runs.append(path.read_bytes())
    return folder, *runs


def test_two_executions_give_the_same_file(lively):
    _, first, second = lively
    assert first == second


def test_committed_notebook_follows_the_rules(lively):
    folder, _, _ = lively
    path = folder / "00_lively.ipynb"
    nb = read(path)
    assert [problem for rule in RULES for problem in rule(nb, path)] == []
    printed, widget, slider, surroundings, progress = (cell.outputs for cell in nb.cells[1:])
    assert [o.get("text") for o in printed] == ["ab\n", None, "c\n"]
    assert dict(widget[0].data) == {"text/plain": "A road.", "image/png": "aGVsbG8h"}
    assert list(slider[0].data) == ["text/plain"]
    assert surroundings[0].text == "notebooks streets\n"
    assert progress == []
    assert "version" not in nb.metadata.language_info
    assert "execution" not in nb.cells[1].metadata
    assert [p.name for p in folder.iterdir()] == ["00_lively.ipynb"]


def test_committed_notebook_passes_strict_nbval(lively):
    folder, _, _ = lively
    command = f"{sys.executable} -m pytest --nbval --nbval-current-env notebooks"
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder.parent)
    done = subprocess.run(command.split(), cwd=folder.parent, capture_output=True, text=True)
    assert f"{len(LIVELY)} passed" in done.stdout, done.stdout


def test_one_failure_does_not_stop_the_others(execute, folder, new_notebook, capsys):
    write(
        new_notebook("x = 6 * 7", "raise ValueError(f'no {x}')", "'never'"), folder / "00_a.ipynb"
    )
    write(new_notebook("import os\nos._exit(1)"), folder / "01_b.ipynb")
    write(new_notebook("print(1)"), folder / "02_c.ipynb")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert execute() == 1
    printed = capsys.readouterr().out
    assert "cell 3" in printed and "raise ValueError(f'no {x}')" in printed
    assert "ValueError: no 42" in printed and "\x1b" not in printed
    assert "Kernel died" in printed and "os._exit(1)" in printed
    lines = {line.split()[0]: line.split() for line in printed.splitlines() if " cells " in line}
    assert {name: line[-1] for name, line in lines.items()} == {
        "00_a": "failed", "01_b": "failed", "02_c": "ok"
    }  # fmt: skip
    assert lines["00_a"][1:3] == ["4", "cells"]
    assert [path.name for path in (folder.parent / "out").iterdir()] == ["02_c.ipynb"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_headlines_are_printed_under_the_line_of_their_notebook(
    execute, folder, new_notebook, capsys
):
    ladder = "from IPython.display import Markdown\nMarkdown('| net |\\n|---|')"
    nb = new_notebook("print('silent')", "print('mIoU 0.40\\nmIoU 0.14')", ladder)
    for cell in nb.cells[2:]:
        cell.metadata["tags"] = ["headline"]
    write(nb, folder / "01_a.ipynb")
    assert execute() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("ok")
    assert lines[1:5] == ["    mIoU 0.40", "    mIoU 0.14", "    | net |", "    |---|"]


def test_outputs_that_break_a_rule_are_not_committed(execute, folder, new_notebook, capsys):
    hidden = "import ipywidgets\nout = ipywidgets.Output()\nwith out:\n    1 / 0"
    loud = f"import sys\nprint('careful', file=sys.stderr)\nprint({str(ROOT)!r}, object())\n"
    path = folder / "00_a.ipynb"
    write(new_notebook(hidden, loud), path)
    before = path.read_bytes()
    assert execute("--commit") == 1
    printed = capsys.readouterr().out
    assert "an Output widget holds ZeroDivisionError: division by zero" in printed
    assert "cell 3 wrote to stderr: careful" in printed
    assert f"a path of this machine: {ROOT}" in printed and "a memory address: 0x" in printed
    assert path.read_bytes() == before


def test_a_cell_that_takes_too_long_fails(execute, folder, new_notebook, capsys, monkeypatch):
    monkeypatch.setattr(run_notebooks, "CELL_TIMEOUT", 1)
    write(new_notebook("import time\ntime.sleep(60)"), folder / "00_a.ipynb")
    assert execute() == 1
    assert "timed out" in (printed := capsys.readouterr().out) and "time.sleep(60)" in printed


@pytest.mark.parametrize("only", ["02", "02_c.ipynb"])
def test_only_one_notebook_on_another_data_set(execute, folder, new_notebook, only, monkeypatch):
    write(new_notebook("1 / 0"), folder / "00_a.ipynb")
    write(new_notebook("import os\nprint(os.environ['PIXELWISE_DATASET'])"), folder / "02_c.ipynb")
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    assert execute("--only", only, "--dataset", "camvid") == 0
    assert read(folder.parent / "out" / "02_c.ipynb").cells[1].outputs[0].text == "camvid\n"
    assert "02_c: cell 2 of 2" in terminal.getvalue()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "09"], "; there are: 00_a, 02_c"),
        (["--only", "0"], "no notebook 0 in"),
        (["--commit", "--dataset", "camvid"], "--commit keeps streets results only, got camvid"),
        (["--output", "notebooks"], "use --commit"),
    ],
)
def test_bad_usage_is_refused(execute, folder, new_notebook, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(folder.parent)
    for name in ("00_a", "02_c"):
        write(new_notebook(), folder / f"{name}.ipynb")
    with pytest.raises(SystemExit) as stop:
        execute(*arguments)
    assert stop.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_killed_write_leaves_the_old_notebook(folder, new_notebook, monkeypatch):
    path = folder / "00_a.ipynb"
    write(new_notebook("1"), path)
    before = path.read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write(new_notebook("2"), path)
    assert path.read_bytes() == before


def test_folders_are_meant_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIXELWISE_DATA", "photos")
    monkeypatch.delenv("PIXELWISE_CACHE", raising=False)
    environment = kernel_environment(tmp_path)
    assert environment["PIXELWISE_DATA"] == str(tmp_path / "photos")
    assert "PIXELWISE_CACHE" not in environment


def test_a_lost_wake_up_costs_half_a_second():
    """A channel whose reply is there, but shows only to a call that starts after it came."""
    began = time.monotonic()

    async def get_msg(timeout):
        if time.monotonic() > began + 0.1:
            return "reply"
        await asyncio.sleep(timeout)
        raise Empty

    assert asyncio.run(_in_slices(get_msg)()) == "reply"
    assert time.monotonic() - began < 1


def test_a_message_that_never_comes_ends_in_time():
    async def get_msg(timeout):
        await asyncio.sleep(timeout)
        raise Empty

    began = time.monotonic()
    with pytest.raises(Empty):
        asyncio.run(_in_slices(get_msg)(timeout=0.7))
    assert 0.6 < time.monotonic() - began < 1.4


def test_prints_inside_an_output_widget_do_not_stall(execute, folder, new_notebook, monkeypatch):
    sliced = []
    monkeypatch.setattr(
        run_notebooks, "_in_slices", lambda get: sliced.append(1) or _in_slices(get)
    )
    monkeypatch.setattr(run_notebooks, "CELL_TIMEOUT", 25)
    cell = "out = ipywidgets.Output()\nwith out:\n    print(1)\n    print(2)"
    write(new_notebook("import ipywidgets", *[cell] * 30), folder / "00_a.ipynb")
    began = time.monotonic()
    assert execute() == 0
    assert time.monotonic() - began < 25  # a stall, which comes now and then, lasts a whole timeout
    assert sliced == [1]

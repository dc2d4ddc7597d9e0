"""Rules for committed notebooks: every notebook follows them, and each rule rejects a bad one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from nbformat import v4

from helpers.notebook_rules import RULES, WIDGET_VIEW, read

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def by_name(value):
    return value.stem if isinstance(value, Path) else value.__name__


def ruff(path):
    command = [sys.executable, "-m", "ruff", "check", "--no-cache"]
    config = ["--config", str(ROOT / "pyproject.toml")]
    return subprocess.run([*command, *config, str(path)], capture_output=True, text=True)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
@pytest.mark.parametrize("rule", RULES, ids=by_name)
def test_notebook_follows(rule, path):
    problems = list(rule(read(path), path))
    assert problems == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_notebook_is_lint_free(path):
    done = ruff(path)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def good(new_notebook):
    """An executed notebook that follows every rule, close to the limits where there is one."""
    nb = new_notebook("print(1)", "\n\n".join(f"x = {i}" for i in range(35)), "undefined")
    nb.cells[0].source = (
        "# Title\n[a file](good.ipynb?x=1#part), [the web](https://example.org/a), [here](#title) "
        "![a road](good.ipynb) <img src='good.ipynb' alt='a road'> `a[0](b)` $a[0](b)$\n"
        "```\nhttp://example.org ![](missing.png)\n```"
    )
    for count, cell in enumerate(nb.cells[1:], 1):
        cell.execution_count = count
    data = "aGVsbG8h" * 150_000 + "+/home/ada"
    picture = f"<img alt='a road' src='data:image/png;base64,{data}'>"
    shown = {"text/plain": "0x7fff of /homepage, https://example.org/home/x", "text/html": picture}
    nb.cells[1].outputs = [v4.new_output("display_data", shown)]
    nb.cells[3].metadata.tags = ["raises-exception"]
    error = {"ename": "NameError", "evalue": "undefined", "traceback": ["NameError"]}
    nb.cells[3].outputs = [v4.new_output("error", **error)]
    nb.cells.append(v4.new_code_cell("train()", metadata={"tags": ["skip-execution"]}))
    return nb


def broken_rules(nb, folder):
    path = folder / "good.ipynb"
    path.touch()
    return [(rule.__name__, problem) for rule in RULES for problem in rule(nb, path)]


def test_a_good_notebook_breaks_no_rule(good, tmp_path):
    assert broken_rules(good, tmp_path) == []


def prose(text):
    return lambda nb: nb.cells.append(v4.new_markdown_cell(text))


def prints(text, name="stdout"):
    return lambda nb: nb.cells[1].outputs.append(v4.new_output("stream", name=name, text=text))


def displays(**data):
    data = {key.replace("_", "/"): value for key, value in data.items()}
    return lambda nb: nb.cells[1].outputs.append(v4.new_output("display_data", data))


def untag(nb):
    nb.cells[3].metadata.tags = []


def leave_widget_view(nb):
    nb.cells[1].outputs[0].data[WIDGET_VIEW] = {"model_id": "0"}


BAD = {
    "older format": (lambda nb: nb.update(nbformat_minor=4), "valid_format", "4.4"),
    "no cell id": (lambda nb: nb.cells[1].pop("id"), "valid_format", "'id'"),
    "id twice": (lambda nb: nb.cells[1].update(id=nb.cells[2].id), "valid_format", "twice"),
    "not in the schema": (lambda nb: nb.cells[1].update(colour=1), "valid_format", "colour"),
    "other kernel": (lambda nb: nb.metadata.pop("kernelspec"), "kernel_is_python3", "None"),
    "no title": (
        lambda nb: nb.cells[0].update(source="Words, and later\n# Title"), "title_first", "title"
    ),
    "code first": (lambda nb: nb.cells.pop(0), "title_first", "title"),
    "not executed": (
        lambda nb: nb.cells[3].update(execution_count=None), "executed_in_order", "cell 4"
    ),
    "executed twice": (
        lambda nb: nb.cells[3].update(execution_count=7), "executed_in_order", "expected 3"
    ),
    "widget state": (lambda nb: nb.metadata.update(widgets={}), "no_widget_state", "metadata"),
    "widget view": (leave_widget_view, "no_widget_state", "cell 2"),
    "an error": (untag, "no_errors", "NameError: undefined"),
    "a warning": (prints("UserWarning: odd", "stderr"), "no_errors", "UserWarning: odd"),
    "a progress bar": (prints("\r 50% 3.1 it/s\r     \r"), "no_progress_bars", "cell 2"),
    "this folder": (prints(f"{ROOT}/data"), "machine_independent", str(ROOT)),
    "somebody's home": (prints("in /home/ada/x.py"), "machine_independent", "/home/ada/x.py"),
    "a Windows home": (
        prints(r"in C:\Users\ada"), "machine_independent", r"C:\Users\ada"
    ),
    "a path in a table": (
        displays(text_html="<td>/Users/ada/x</td>"), "machine_independent", "/Users/ada/x"
    ),
    "an address": (
        prints("<object at 0x7f3a5c1d2e90>"), "machine_independent", "0x7f3a5c1d2e90"
    ),
    "an address in a result": (
        displays(text_plain="<X at 0x7f3a5c1d2e90>"), "machine_independent", "0x7f3a5c1d2e90"
    ),
    "no alternative text": (displays(text_html="<img src='x'>"), "images_have_alt", "cell 2"),
    "empty alternative text": (prose("<img alt=' ' src='good.ipynb'>"), "images_have_alt", "cell"),
    "empty in Markdown": (prose("![](good.ipynb)"), "images_have_alt", "cell 6"),
    "dead link": (prose("[next](03_unet.ipynb)"), "links_lead_somewhere", "03_unet.ipynb"),
    "dead picture": (prose("<img alt='a' src='no.png'>"), "links_lead_somewhere", "no.png"),
    "insecure link": (prose("[a](http://example.org)"), "links_lead_somewhere", "https"),
    "a long cell": (
        lambda nb: nb.cells[2].update(source=nb.cells[2].source + "\ny = 1"),
        "code_cells_short",
        "36 lines",
    ),
    "too large": (displays(image_png="aGVsbG8h" * 50_000), "small_enough", "1.60 MB"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_notebook_breaks_just_its_rule(good, tmp_path, bad):
    spoil, rule, words = BAD[bad]
    spoil(good)
    broken = broken_rules(good, tmp_path)
    assert [name for name, _ in broken] == [rule]
    assert words in broken[0][1]


def test_lint_looks_into_cells(good, tmp_path):
    path = tmp_path / "bad.ipynb"
    good.cells[1].source = "nowhere_defined"
    path.write_text(v4.writes(good))
    assert "F821" in ruff(path).stdout

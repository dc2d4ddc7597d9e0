"""The comparison of ``pytest --nbval``, run once: each case is a cell of one notebook."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat import v4

ROOT = Path(__file__).parents[1]
PICTURE = "<img alt='{alt}' src='data:image/png;base64,{data}'>"


def printed(text):
    return [v4.new_output("stream", name="stdout", text=text)]


def html(text):
    return [v4.new_output("display_data", {"text/plain": "a table", "text/html": text})]


def says(text):
    return f"print({text!r}, end='')"


def shows(text):
    data = {"text/plain": "a table", "text/html": text}
    return f"from IPython.display import display\ndisplay({data!r}, raw=True)"


def both(make, now, stored):
    """A cell that gives ``now`` where the notebook has ``stored``."""
    return {says: printed, shows: html}[make](stored), make(now)


TABLE = "<table>\n<tr><td>road</td><td>{iou}</td></tr>\n<tr><td>pole</td><td>0.10</td></tr></table>"
SAME = {
    "nothing changed": both(says, "mIoU 0.42 on 150 images", "mIoU 0.42 on 150 images"),
    "one unit up": both(says, "mIoU 0.43", "mIoU 0.42"),
    "one unit down": both(says, "mIoU 0.41.", "mIoU 0.42."),
    "one unit carries over": both(says, "1.00 and -0.300", "0.99 and -0.299"),
    "zero from both sides": both(says, "change -0.00", "change 0.00"),
    "one unit in the exponent form": both(says, "loss 1.25e-05", "loss 1.24e-05"),
    "one unit and a wider number": both(says, "| 10.0 %", "|  9.9 %"),
    "one unit across a power of ten": both(says, "loss 1.00e-04", "loss 9.99e-05"),
    "one unit of the finer number": both(says, "0.51 and 1.2", "0.5 and 1.21"),
    "one unit before a unit name": both(says, "2.5x", "2.4x"),
    "one unit in a table": both(shows, TABLE.format(iou="0.91"), TABLE.format(iou="0.90")),
    "other picture": both(
        shows, PICTURE.format(alt="mIoU", data="aGVs+/=="), PICTURE.format(alt="mIoU", data="bG8h")
    ),
    "same integers": both(says, "torch.Size([1, 8, 96, 128])", "torch.Size([1, 8, 96, 128])"),
    "scratch": (
        printed("streets True"),
        "import os\nguesses = os.environ['PIXELWISE_PREDICTIONS']\n"
        "print(os.environ['PIXELWISE_DATASET'], not os.path.exists(guesses), end='')",
    ),
}  # fmt: skip
DIFFERENT = {
    "two units": both(says, "mIoU 0.44", "mIoU 0.42"),
    "two units in the exponent form": both(says, "loss 1.26e-05", "loss 1.24e-05"),
    "two units in a table": both(shows, TABLE.format(iou="0.92"), TABLE.format(iou="0.90")),
    "two units of the finer number": both(says, "0.52", "0.5"),
    "one line of two": both(says, "road 0.43\npole 0.20", "road 0.42\npole 0.10"),
    "other integer": both(says, "150 images", "151 images"),
    "other integer before a full stop": both(says, "Labels run to 7.", "Labels run to 8."),
    "other integer in a shape": both(says, "torch.Size([1, 8])", "torch.Size([1, 9])"),
    "other version": both(says, "torch 2.14.1", "torch 2.15.1"),
    "other word": both(says, "road 0.42", "roads 0.42"),
    "other sign": both(says, "change 0.42", "change -0.42"),
    "number for nan": both(says, "IoU 0.00", "IoU nan"),
    "more blanks": both(says, "mIoU  0.42", "mIoU 0.42"),
    "other power of ten": both(says, "1.24e-04", "1.24e-05"),
    "one number more": both(says, "0.42 0.42", "0.42"),
    "other alternative text": both(
        shows, PICTURE.format(alt="a road", data="bG8h"), PICTURE.format(alt="a car", data="bG8h")
    ),
    "lost text": ([*printed("0.42")], "pass"),
    "lost display": (html("a") + html("b"), shows("a")),
    "extra text": ([], says("0.42")),
    "extra display": (html("a"), shows("a") + "\n" + shows("b")),
    "an error": (printed("0.42"), "print(0.42)\n1 / 0"),
}  # fmt: skip
CASES = SAME | DIFFERENT


@pytest.fixture(scope="module")
def report(tmp_path_factory, new_notebook):
    """(verdict per case, whole output) of nbval in a folder laid out and configured as ours."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    guesses = folder / "guesses.json"
    guesses.touch()
    nb = new_notebook(*(source for _, source in CASES.values()))
    for cell, (stored, _) in zip(nb.cells[1:], CASES.values(), strict=True):
        cell.update(outputs=stored, execution_count=1)
    (folder / "notebooks").mkdir()
    (folder / "notebooks" / "cases.ipynb").write_text(v4.writes(nb))
    command = f"{sys.executable} -m pytest -v --color=no --nbval --nbval-current-env notebooks"
    done = subprocess.run(
        command.split(),
        cwd=folder,
        env={**os.environ, "PIXELWISE_PREDICTIONS": str(guesses), "PIXELWISE_DATASET": "camvid"},
        capture_output=True,
        text=True,
    )
    verdicts = re.findall(r"::Cell (\d+) (PASSED|FAILED)", done.stdout)
    assert len(verdicts) == len(CASES), done.stdout + done.stderr
    names = list(CASES)
    return {names[int(number)]: verdict for number, verdict in verdicts}, done.stdout


@pytest.mark.parametrize("case", SAME)
def test_counts_as_equal(report, case):
    verdicts, output = report
    assert verdicts[case] == "PASSED", output


@pytest.mark.parametrize("case", DIFFERENT)
def test_counts_as_different(report, case):
    verdicts, _ = report
    assert verdicts[case] == "FAILED"


def test_the_diff_shows_the_lines_that_differ(report):
    _, output = report
    assert "-<td>0.90</td>\n+<td>0.92</td>" in output
    assert " road 0.42\n-pole 0.10\n+pole 0.20" in output
    assert "-loss 1.24e-05\n+loss 1.26e-05" in output
    assert "-Labels run to 8.\n+Labels run to 7." in output

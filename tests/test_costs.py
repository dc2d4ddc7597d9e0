"""What a notebook costs, against what its own kernel says of itself; and the page that tells it."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import pytest

from helpers import costs
from helpers.costs import as_markdown, keep, main, watched
from helpers.files import locked
from helpers.run_notebooks import size_of, write

ROOT = Path(__file__).parents[1]
MB = 1_000_000

# The last cell tells what the kernel knows of itself: `os.times` counts children that have ended,
# the child that lives counts itself. The cell that sleeps takes longer than all before it.
SOURCES = (
    "import json, os, resource, subprocess, sys, time\nbegan, held = time.time(), b'x' * 80_000_000",
    "burn = 'import time\\nwhile time.process_time() < {}: pass\\n'\n"
    "exec(burn.format(time.process_time() + 0.4))\n"
    "ended = subprocess.run([sys.executable, '-c', burn.format(0.4)])",
    "talk = 'print(time.process_time(), flush=True); input()'\n"
    "child = subprocess.Popen([sys.executable, '-c', burn.format(0.4) + talk],\n"
    "                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)\n"
    "alive = float(child.stdout.readline())",
    "time.sleep(1 + time.time() - began)\nslept = time.time() - began",
    "pages = int(open('/proc/self/statm').read().split()[1])\n"
    "seen = {'processor': sum([*os.times()[:4], alive]), 'memory': pages * resource.getpagesize()}\n"
    "_ = open('seen.json', 'w').write(json.dumps(seen | {'slept': slept}))",
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory, new_notebook):
    """The rows of a notebook that ran and one that failed, what the first saw itself, its file."""
    if sys.platform != "linux":
        pytest.skip("other systems do not count children that have ended")
    folder = tmp_path_factory.mktemp("costs")
    nb = new_notebook(*SOURCES)
    write(nb, folder / "01_busy.ipynb")
    write(new_notebook("1 / 0"), folder / "02_broken.ipynb")
    file = folder / "kept" / "costs.json"
    status = main([], folder, file)
    return status, json.loads(file.read_text()), json.loads((folder / "seen.json").read_text()), nb


def test_processor_seconds_are_those_of_the_kernel_and_its_children_dead_or_alive(measured):
    _, rows, seen, _ = measured
    assert seen["processor"] > 1.2
    assert seen["processor"] - 0.1 <= rows["01_busy"]["processor_s"] <= seen["processor"] + 1


def test_the_peak_is_at_least_what_the_kernel_holds_at_last(measured):
    _, rows, seen, _ = measured
    assert seen["memory"] > 80 * MB
    assert int(seen["memory"] / MB) <= rows["01_busy"]["memory_mb"] < 400


def test_the_slowest_cell_is_the_one_that_sleeps_and_the_clock_counts_it(measured):
    _, rows, seen, _ = measured
    assert rows["01_busy"]["slowest_cell"] == 5  # the title is the first
    assert seen["slept"] / 2 - 0.1 <= rows["01_busy"]["slowest_s"] <= rows["01_busy"]["wall_s"]
    assert rows["01_busy"]["wall_s"] >= round(seen["slept"], 1)


def test_the_file_is_as_large_as_it_is(measured):
    _, rows, _, nb = measured
    assert rows["01_busy"]["file_mb"] == round(size_of(nb), 2)


def test_a_row_tells_what_it_depends_on_and_not_where_it_was_measured(measured):
    _, rows, _, _ = measured
    assert {"cores", "python", "torch"} <= set(rows["01_busy"])
    assert rows["01_busy"]["python"] == sys.version.split()[0]
    values = [str(value) for value in rows["01_busy"].values()]
    assert platform.node() not in values and not any("/" in value for value in values)


def test_of_a_notebook_that_fails_nothing_is_kept(measured):
    status, rows, _, _ = measured
    assert status == 1
    assert list(rows) == ["01_busy"]


HOLD = """
import subprocess, sys
size, depth = int(sys.argv[1]), int(sys.argv[2])
held = bytearray(b"x") * size
below = depth and subprocess.Popen(
    [sys.executable, "-c", sys.argv[3], str(size), str(depth - 1), sys.argv[3]],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
if depth:
    below.stdout.readline()
print("holding", flush=True)
sys.stdin.readline()
"""


def test_memory_adds_up_over_children_and_their_children():
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(60 * MB), "2", HOLD],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        with watched(process.pid) as usage:
            assert process.stdout.readline() == "holding\n"
            time.sleep(3 * costs.INTERVAL)
        process.communicate("\n")
    assert 180 * MB <= usage.memory < 300 * MB


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc here")
def test_a_peak_between_two_looks_counts(monkeypatch):
    monkeypatch.setattr(costs, "INTERVAL", 3600)
    spike = "held = None\ninput()\nheld = bytearray(b'x') * 200_000_000\ndel held\nprint()\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", spike], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        with watched(process.pid) as usage:
            process.stdin.write("\n")
            process.stdin.flush()
            process.stdout.readline()
        process.communicate("\n")
    assert usage.memory >= 200 * MB


def test_a_process_that_dies_meanwhile_is_no_error():
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process,
        watched(process.pid) as usage,
    ):
        process.communicate(b"\n")
    assert usage.processor == 0 < usage.wall


def row(**changes) -> dict:
    return {
        "wall_s": 61.2, "processor_s": 100.4, "memory_mb": 1234, "file_mb": 0.5,
        "slowest_cell": 7, "slowest_s": 12.4, "cores": 2, "python": "3.11.7", "torch": "2.14.1",
    } | changes  # fmt: skip


def test_rows_are_merged_and_come_by_name(tmp_path):
    file = tmp_path / "study" / "costs.json"
    for name, memory in (("02_b", 1), ("00_a", 2), ("02_b", 3)):
        keep(name, row(memory_mb=memory), file)
    found = costs.read(file)
    assert [(name, r["memory_mb"]) for name, r in found.items()] == [("00_a", 2), ("02_b", 3)]


def test_nobody_else_writes_between_reading_and_writing(tmp_path, monkeypatch):
    file = tmp_path / "costs.json"

    def while_others_wait(_):
        with ThreadPoolExecutor() as other, pytest.raises(filelock.Timeout):
            other.submit(lambda: locked(file).acquire(timeout=0)).result()
        return {"00_a": row()}

    monkeypatch.setattr(costs, "read", while_others_wait)
    keep("01_b", row(), file)
    assert set(json.loads(file.read_text())) == {"00_a", "01_b"}


def test_the_table_adds_seconds_and_files_but_not_memory():
    rows = {"00_a": row(), "01_b": row(memory_mb=900, slowest_s=30.6, slowest_cell=3)}
    assert as_markdown(rows).splitlines() == [
        "| notebook | seconds | processor seconds | peak memory | file | slowest cell |",
        "|---|---:|---:|---:|---:|---:|",
        "| 00_a | 61 | 100 | 1,234 MB | 0.50 MB | 12 s (cell 7) |",
        "| 01_b | 61 | 100 | 900 MB | 0.50 MB | 31 s (cell 3) |",
        "| one after the other | 122 | 201 | 1,234 MB | 1.00 MB | 31 s |",
        "",
        "Measured with 2 cores, Python 3.11.7, PyTorch 2.14.1.",
    ]


def test_rows_of_two_machines_are_told_apart():
    last = as_markdown({"00_a": row(), "01_b": row(cores=16)}).splitlines()[-1]
    assert last == (
        "Measured with 16 cores, Python 3.11.7, PyTorch 2.14.1; "
        "2 cores, Python 3.11.7, PyTorch 2.14.1."
    )


def test_without_rows_it_says_how_to_get_them(tmp_path):
    with pytest.raises(ValueError, match="rows must hold at least one.*make costs"):
        as_markdown(costs.read(tmp_path / "nowhere.json"))


def test_an_unknown_notebook_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--only", "77"], tmp_path, tmp_path / "costs.json")
    assert stop.value.code == 2
    assert "no notebook 77" in capsys.readouterr().err


def page() -> str:
    return (ROOT / "docs" / "server.md").read_text(encoding="utf-8")


def test_the_page_shows_the_costs_that_are_kept():
    (shown,) = re.findall(r"<!-- costs -->\n(.*?)<!-- /costs -->", page(), re.DOTALL)
    wanted = as_markdown() if costs.FILE.exists() else ""
    assert shown.strip() == wanted


def test_the_page_is_short_and_names_files_that_are_there():
    text = page()
    assert text.startswith("# Running the course for many\n")
    prose = re.sub(r"<!-- costs -->.*?<!-- /costs -->", "", text, flags=re.DOTALL)
    assert len(prose.split()) < 850
    for name in re.findall(r"/opt/pixelwise/([\w./]+)", text):
        assert (ROOT / name).exists() or name.startswith(".venv"), name
    for module in re.findall(r"python -m helpers\.(\w+)", text):
        assert (ROOT / "helpers" / f"{module}.py").is_file(), module

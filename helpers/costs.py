"""What one student costs a server: ``python -m helpers.costs`` runs every notebook and measures it.

A server's memory limit binds a student's kernel together with the processes that it starts. So
memory is the resident memory (RSS) of that whole tree, added up ten times a second; its peak counts.
Pages that processes share count for each of them, which errs on the safe side. What the kernel
itself took between two looks is known to Linux (``VmHWM`` in ``/proc/PID/status``) and counts too.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import joblib
import psutil
from tqdm import tqdm

from helpers.files import DATA, locked, replacing
from helpers.notebook_rules import ROOT, size_of
from helpers.run_notebooks import NotebookFailedError, chosen, execute

FILE = DATA / "study" / "costs.json"
INTERVAL = 0.1  # seconds between two looks at the memory


@dataclass
class Usage:
    """What a process and those that it started took: seconds by the clock, of processors; bytes."""

    wall: float = 0.0
    processor: float = 0.0
    memory: int = 0


@contextmanager
def watched(pid: int) -> Iterator[Usage]:
    """The `Usage` of process `pid` and its descendants; filled in when the block ends.

    Seconds by the clock and the peak memory are those of the block. Processor seconds (user and
    system) are all that the processes took since they began: those alive at the end, and those that
    ended and were waited for, which macOS and Windows do not tell.
    """
    usage, stop = Usage(), threading.Event()
    root = psutil.Process(pid)

    def look() -> None:
        while True:
            usage.memory = max(usage.memory, _over_tree(root, lambda p: p.memory_info().rss))
            if stop.wait(INTERVAL):
                return

    thread = threading.Thread(target=look, daemon=True)
    begin = time.perf_counter()
    thread.start()
    try:
        yield usage
    finally:
        stop.set()
        thread.join()
        usage.wall = time.perf_counter() - begin
        usage.processor = _over_tree(root, lambda p: sum(p.cpu_times()[:4]))
        usage.memory = max(usage.memory, _high_water(pid))


def measure(path: Path) -> dict:
    """The row of the notebook at `path`: executed as `run_notebooks.execute` does, and watched.

    ``wall_s``, ``processor_s``, ``memory_mb`` (see `watched`), ``file_mb`` of the notebook with its
    outputs, ``slowest_cell`` (its number among all cells, from 1) and ``slowest_s``; then what they
    depend on: ``cores``, ``python`` and ``torch``. MB are millions of bytes. Raises
    ``NotebookFailedError``.
    """
    usages, times = [], []

    @contextmanager
    def watch(pid: int) -> Iterator[None]:
        with watched(pid) as usage:
            usages.append(usage)
            yield
            times.append(time.perf_counter())  # the end of the last cell

    nb = execute(path, on_cell=lambda *_: times.append(time.perf_counter()), watch=watch)
    (usage,) = usages
    seconds = [end - begin for begin, end in pairwise(times)]
    slowest = max(range(len(seconds)), key=seconds.__getitem__)
    return {
        "wall_s": round(usage.wall, 1),
        "processor_s": round(usage.processor, 1),
        "memory_mb": round(usage.memory / 1e6),
        "file_mb": round(size_of(nb), 2),
        "slowest_cell": slowest + 1,
        "slowest_s": round(seconds[slowest], 1),
        "cores": joblib.cpu_count(),
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
    }


def read(file: Path = FILE) -> dict[str, dict]:
    """The rows kept in `file` by the names of their notebooks; none where there is no file."""
    return json.loads(file.read_text()) if file.exists() else {}


def keep(name: str, row: dict, file: Path = FILE) -> None:
    """Put the `row` of notebook `name` into `file`, in place of an older one and beside the others."""
    with locked(file), replacing(file) as temporary:
        rows = dict(sorted((read(file) | {name: row}).items()))
        temporary.write_text(json.dumps(rows, indent=2) + "\n")


def as_markdown(rows: dict[str, dict] | None = None) -> str:
    """The costs as a Markdown table, a sentence on what they were measured with below it.

    `rows` defaults to what is kept. The last line has sums, and the largest of the memories: a
    student who shuts down one kernel before the next starts needs no more.
    """
    rows = read() if rows is None else rows
    if not rows:
        raise ValueError("rows must hold at least one notebook: `make costs` measures them")
    lines = [
        "| notebook | seconds | processor seconds | peak memory | file | slowest cell |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        slowest = f"{row['slowest_s']:.0f} s (cell {row['slowest_cell']})"
        lines.append(_line(name, row, slowest))
    total = {
        key: combine(row[key] for row in rows.values())
        for key, combine in {
            "wall_s": sum, "processor_s": sum, "memory_mb": max, "file_mb": sum, "slowest_s": max,
        }.items()
    }  # fmt: skip
    lines.append(_line("one after the other", total, f"{total['slowest_s']:.0f} s"))
    settings = sorted(
        {
            f"{row['cores']} cores, Python {row['python']}, PyTorch {row['torch']}"
            for row in rows.values()
        }
    )
    return "\n".join([*lines, "", f"Measured with {'; '.join(settings)}."])


def main(
    arguments: list[str] | None = None, folder: Path = ROOT / "notebooks", file: Path = FILE
) -> int:
    """Command line. Returns 0 if every notebook ran, 1 if one failed; bad usage exits with 2."""
    parser = argparse.ArgumentParser(prog="python -m helpers.costs", description=__doc__)
    parser.add_argument("--only", metavar="02", help="one notebook, by its number or file name")
    options = parser.parse_args(arguments)
    paths = chosen(parser, folder, options.only)
    failures = 0
    for path in tqdm(paths, desc="costs", unit="notebook", disable=None):
        try:
            keep(path.stem, measure(path), file)
        except NotebookFailedError as error:
            failures += 1
            tqdm.write(f"{path.stem} failed, nothing is kept of it\n{error}", file=sys.stderr)
    if rows := read(file):
        print(as_markdown(rows))
    return int(failures > 0)


def _line(name: str, row: dict, slowest: str) -> str:
    return (
        f"| {name} | {row['wall_s']:.0f} | {row['processor_s']:.0f} "
        f"| {row['memory_mb']:,} MB | {row['file_mb']:.2f} MB | {slowest} |"
    )


def _over_tree(root: psutil.Process, of: Callable[[psutil.Process], float]) -> float:
    """Sum of a quantity over `root` and its descendants, as far as they live."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += of(process)
    return total


def _high_water(pid: int) -> int:
    """The largest resident memory that Linux saw of the process, in bytes; 0 elsewhere."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return 1024 * int(found[1]) if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")

"""Execute notebooks without a browser: ``python -m helpers.run_notebooks --help``.

An executed notebook depends on its cells alone: no time stamps, no widget ids, no versions. So two
executions of an unchanged notebook give the same bytes, and a diff shows what really changed.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
from jupyter_client.client import KernelClient
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError
from nbclient.util import run_sync
from nbformat import NotebookNode

from helpers.files import replacing
from helpers.notebook_rules import OUTPUT_RULES, ROOT, WIDGET_VIEW, read, size_of

DEFAULT_DATASET = "streets"
CELL_TIMEOUT = 600  # seconds
_POLL = 0.5  # seconds
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
_LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}


class NotebookFailedError(Exception):
    """A notebook did not run to its end, or its outputs break a rule; the message says where."""


class HeadlessClient(NotebookClient):
    """A NotebookClient that does not stall on cells which print inside an Output widget.

    Such a cell makes nbclient write to the shell channel while it waits for a reply there; now and
    then the reply's wake-up is lost, and the wait lasts for ever (nbclient, issue 312). Waiting in
    short slices looks again.
    """

    async def async_start_new_kernel_client(self) -> KernelClient:
        client = await super().async_start_new_kernel_client()
        client.shell_channel.get_msg = _in_slices(client.shell_channel.get_msg)
        return client

    start_new_kernel_client = run_sync(async_start_new_kernel_client)


def _in_slices(get_msg: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def sliced(timeout: float | None = None) -> Any:
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        while True:
            left = deadline - time.monotonic()
            try:
                return await get_msg(timeout=max(0, min(_POLL, left)))
            except Empty:
                if left <= _POLL:
                    raise

    return sliced


def kernel_environment(scratch: Path, dataset: str = DEFAULT_DATASET) -> dict[str, str]:
    """Environment variables for a kernel that nobody watches.

    ``scratch`` is a folder for the guesses that ``predict`` records: a learner's own stay
    untouched, and an output never depends on them. Progress bars are off. Folders named relative
    to the working directory here are made absolute, since a kernel works in another one.
    """
    folders = {name: os.environ.get(name) for name in ("PIXELWISE_DATA", "PIXELWISE_CACHE")}
    return {
        "PIXELWISE_DATASET": dataset,
        "PIXELWISE_PREDICTIONS": str(scratch / "predictions.json"),
        "TQDM_DISABLE": "1",
        **{name: str(Path(folder).resolve()) for name, folder in folders.items() if folder},
    }


def stabilise(nb: NotebookNode) -> None:
    """Remove from an executed notebook, in place, what differs from run to run or does nothing.

    A widget keeps its picture and its sentence; the view is dropped, since the state that it would
    show is not in the file.
    """
    nb.metadata.pop("widgets", None)
    nb.metadata.update(nbformat.from_dict({"kernelspec": _KERNELSPEC, "language_info": _LANGUAGE}))
    for cell in nb.cells:
        cell.metadata.pop("execution", None)
        merged: list[NotebookNode] = []
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(WIDGET_VIEW, None)
            last = merged[-1] if merged else None
            if last and output.output_type == "stream" and output.name == last.get("name"):
                last.text += output.text  # where a print was split depends on timing
            else:
                merged.append(output)
        if cell.cell_type == "code":
            cell.outputs = merged


def swallowed_errors(widget_state: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Errors inside Output widgets: nbclient files them in the widget's state and runs on."""
    return [
        f"an Output widget holds {output['ename']}: {output['evalue']}"
        for state in widget_state.values()
        for output in state.get("outputs") or ()
        if state.get("_model_name") == "OutputModel" and output["output_type"] == "error"
    ]


def execute(
    path: Path,
    dataset: str = DEFAULT_DATASET,
    on_cell: Callable[[int, int], None] = lambda number, count: None,
    watch: Callable[[int], AbstractContextManager] = nullcontext,
) -> NotebookNode:
    """The notebook at ``path``, executed in its own folder and made stable; the file stays as is.

    ``on_cell(number, count)`` is called before each cell; ``watch``, given the process id of the
    kernel, is a context around all of them. Raises ``NotebookFailedError`` with the failing cell's
    source and error, or with the rules that the outputs break.
    """
    nb = read(path)
    client = HeadlessClient(
        nb,
        kernel_name=_KERNELSPEC["name"],
        resources={"metadata": {"path": str(path.parent)}},
        timeout=CELL_TIMEOUT,
        iopub_timeout=30,
        raise_on_iopub_timeout=True,
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
    )
    with tempfile.TemporaryDirectory() as scratch:
        environment = {**os.environ, **kernel_environment(Path(scratch), dataset)}
        with client.setup_kernel(env=environment), watch(client.km.provisioner.pid):
            for index, cell in enumerate(nb.cells):
                on_cell(index + 1, len(nb.cells))
                try:
                    client.execute_cell(cell, index, client.code_cells_executed + 1)
                except CellExecutionError as error:
                    text = _ANSI.sub("", str(error))
                    raise NotebookFailedError(f"cell {index + 1}: {text}") from error
                except (CellControlSignal, DeadKernelError) as error:
                    text = f"cell {index + 1}: {error}\n\n{cell.source}"
                    raise NotebookFailedError(text) from error
    stabilise(nb)
    problems = swallowed_errors(client.widget_state)
    problems += [problem for rule in OUTPUT_RULES for problem in rule(nb, path)]
    if problems:
        raise NotebookFailedError("\n".join(problems))
    return nb


def write(nb: NotebookNode, path: Path) -> None:
    """Write the notebook all at once: a killed run leaves the old file or the new one."""
    with replacing(path) as part:
        part.write_bytes(f"{nbformat.v4.writes(nb)}\n".encode())


def headlines(nb: NotebookNode) -> list[str]:
    """What cells tagged ``headline`` printed or showed as Markdown: what a headless run is asked for."""
    cells = [cell for cell in nb.cells if "headline" in cell.metadata.get("tags", ())]
    outputs = [out for cell in cells for out in cell.outputs]
    texts = [out.get("text") or out.get("data", {}).get("text/markdown", "") for out in outputs]
    return [line for text in texts for line in text.splitlines()]


def run(paths: list[Path], output: Path, dataset: str = DEFAULT_DATASET) -> bool:
    """Execute notebooks one after the other into ``output``; False if any of them failed."""
    output.mkdir(parents=True, exist_ok=True)
    failures = 0
    for path in paths:

        def show(number: int, count: int, name: str = path.stem) -> None:
            if sys.stderr.isatty():
                print(f"\r{name}: cell {number} of {count}\x1b[K\r", end="", file=sys.stderr)

        begin = time.monotonic()
        try:
            nb = execute(path, dataset, show)
            write(nb, output / path.name)
            result = f"{size_of(nb):5.2f} MB  ok" + "".join(
                f"\n    {line}" for line in headlines(nb)
            )
        except NotebookFailedError as error:
            failures += 1
            result = f"failed\n{error}\n"
        seconds = time.monotonic() - begin
        print(
            f"{path.stem:24} {len(read(path).cells):3} cells {seconds:6.1f} s  {result}", flush=True
        )
    return not failures


def find(folder: Path, only: str | None = None) -> list[Path]:
    """The notebooks in ``folder``, or the one with the number, name or file name ``only``.

    Raises ``ValueError`` where there is none, with the names of those that there are.
    """
    notebooks = sorted(folder.glob("*.ipynb"))
    paths = [p for p in notebooks if only in (None, p.stem, p.name, p.stem.split("_")[0])]
    if not paths:
        names = ", ".join(path.stem for path in notebooks) or "none"
        raise ValueError(f"no notebook {only or ''} in {folder}; there are: {names}")
    return paths


def chosen(parser: argparse.ArgumentParser, folder: Path, only: str | None) -> list[Path]:
    """`find` for a command line: where there is none, it ends as bad usage does."""
    try:
        return find(folder, only)
    except ValueError as error:
        parser.error(str(error))


def main(arguments: list[str] | None = None, folder: Path = ROOT / "notebooks") -> int:
    """Command line. Returns 0 if every notebook ran, 1 if one failed; bad usage exits with 2."""
    parser = argparse.ArgumentParser(prog="python -m helpers.run_notebooks", description=__doc__)
    parser.add_argument("--only", metavar="02", help="one notebook, by its number or file name")
    parser.add_argument("--dataset", default=DEFAULT_DATASET, help="what the notebooks load")
    parser.add_argument("--output", type=Path, default=ROOT / "_build" / "notebooks")
    parser.add_argument("--commit", action="store_true", help="replace the notebooks themselves")
    options = parser.parse_args(arguments)

    paths = chosen(parser, folder, options.only)
    if options.commit and options.dataset != DEFAULT_DATASET:
        parser.error(f"--commit keeps {DEFAULT_DATASET} results only, got {options.dataset}")
    if not options.commit and options.output.resolve() == folder.resolve():
        parser.error(f"--output must not be {folder}: use --commit to replace the notebooks")

    output = folder if options.commit else options.output
    fine = run(paths, output, options.dataset)
    print(f"written to {output}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())

"""What a committed notebook must look like; one function per rule.

A rule takes the notebook and the path of its file and yields one sentence per violation; all but
``valid_format`` rely on that one. The
runner applies ``OUTPUT_RULES`` to what it has just executed, the tests apply ``RULES`` to what is
committed.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat
from nbformat import NotebookNode
from nbformat.validator import iter_validate

ROOT = Path(__file__).resolve().parents[1]
MAX_MEGABYTES = 1.5
MAX_CODE_LINES = 35
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.pixelwise.widget+json"
"""In a saved output, beside the picture: what a page without a kernel needs to run the widget."""

Rule = Callable[[NotebookNode, Path], Iterator[str]]

BASE64 = re.compile(r"(?<=;base64,)[A-Za-z0-9+/=\s]+")
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{8,}")
# Folders that exist on one machine only. ("/" as a home, as in some containers, says nothing.)
_HERE = [ROOT, Path.home(), Path(tempfile.gettempdir())]
_FOLDERS = [
    *(rf"{re.escape(str(folder))}\b" for folder in _HERE if len(folder.parts) > 1),
    *("/home/", "/Users/", r"[A-Za-z]:\\+Users\\"),
]
MACHINE_PATH = re.compile(rf"(?<![\w.:/])(?:{'|'.join(_FOLDERS)})[^\s'\"<>]*")
CODE_OR_MATHS = re.compile(
    r"```.*?```|~~~.*?~~~|``.*?``|`[^`]*`|\$\$.*?\$\$|\$[^$\n]+\$", re.DOTALL
)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(\s*<?([^)\s>]*)>?[^)]*\)")
URL = re.compile(r"http://[^\s)>\"']+")


def read(path: Path) -> NotebookNode:
    """The notebook as the file has it: nothing is repaired or converted on the way."""
    return nbformat.reader.reads(path.read_text(encoding="utf-8"))


def title_of(nb: NotebookNode) -> str:
    """What stands in the heading of the first cell."""
    return nb.cells[0].source.splitlines()[0].removeprefix("# ")


def size_of(nb: NotebookNode) -> float:
    """Megabytes that the notebook takes as a file."""
    return len(nbformat.v4.writes(nb).encode()) / 1e6


def texts_of(output: NotebookNode) -> Iterator[str]:
    """Every text that an output shows, without the bytes of embedded pictures."""
    for mime, value in output.get("data", {}).items():
        if not mime.startswith("image/") and isinstance(value, str):
            yield BASE64.sub("", value)
    yield from (output[key] for key in ("text", "ename", "evalue") if key in output)
    yield from output.get("traceback", ())


def _code(nb: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    """(where, cell) of the code cells; a reader counts cells from 1, text included."""
    for number, cell in enumerate(nb.cells, 1):
        if cell.cell_type == "code":
            yield f"cell {number}", cell


def _prose(nb: NotebookNode) -> Iterator[tuple[str, str]]:
    """(where, text) of the Markdown cells, without code and formulas."""
    for number, cell in enumerate(nb.cells, 1):
        if cell.cell_type == "markdown":
            yield f"cell {number}", CODE_OR_MATHS.sub("", cell.source)


def _tagged(cell: NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", ())


class _Tags(HTMLParser):
    """Collects (tag, attributes) of every element in a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def valid_format(nb: NotebookNode, path: Path) -> Iterator[str]:
    """nbformat 4.5, and every cell has an id of its own (or review diffs lose track of cells)."""
    if (nb.nbformat, nb.get("nbformat_minor", 0)) < (4, 5):
        yield f"format is {nb.nbformat}.{nb.get('nbformat_minor')}, expected 4.5 (cell ids)"
        return
    for error in iter_validate(nb):
        yield f"not valid nbformat: {error.message[:200]}"
    ids = [cell.get("id") for cell in nb.cells]
    if twice := sorted({str(i) for i in ids if ids.count(i) > 1}):
        yield f"cell ids must differ from one another; twice: {', '.join(twice)}"


def kernel_is_python3(nb: NotebookNode, path: Path) -> Iterator[str]:
    name = nb.metadata.get("kernelspec", {}).get("name")
    if name != "python3":
        yield f"kernelspec must be python3, got {name}"


def title_first(nb: NotebookNode, path: Path) -> Iterator[str]:
    if not (nb.cells and nb.cells[0].cell_type == "markdown" and nb.cells[0].source[:2] == "# "):
        yield "the first cell must be Markdown that starts with a level-1 title ('# ...')"


def executed_in_order(nb: NotebookNode, path: Path) -> Iterator[str]:
    """Run once from top to bottom, outputs kept."""
    cells = [(where, cell) for where, cell in _code(nb) if not _tagged(cell, "skip-execution")]
    for count, (where, cell) in enumerate(cells, 1):
        if cell.execution_count != count:
            yield f"{where}: execution count is {cell.execution_count}, expected {count}"


def no_widget_state(nb: NotebookNode, path: Path) -> Iterator[str]:
    """Widget ids change on every run; without the state a view of it would be dead."""
    if "widgets" in nb.metadata:
        yield "metadata.widgets must not be committed"
    for where, cell in _code(nb):
        if any(WIDGET_VIEW in output.get("data", {}) for output in cell.outputs):
            yield f"{where}: a widget view without its state must not be committed"


def no_errors(nb: NotebookNode, path: Path) -> Iterator[str]:
    """Neither errors nor stderr (warnings, progress bars), unless tagged raises-exception."""
    for where, cell in _code(nb):
        for output in cell.outputs if not _tagged(cell, "raises-exception") else ():
            if output.output_type == "error":
                yield f"{where} raised {output.ename}: {output.evalue}"
            elif output.get("name") == "stderr":
                yield f"{where} wrote to stderr: {output.text.strip()[:300]}"


def no_progress_bars(nb: NotebookNode, path: Path) -> Iterator[str]:
    """A bar that redraws itself (carriage return) prints times, which differ on every run."""
    for where, cell in _code(nb):
        if any("\r" in output.get("text", "") for output in cell.outputs):
            yield f"{where}: the output holds a progress bar; headless it should be disabled"


def machine_independent(nb: NotebookNode, path: Path) -> Iterator[str]:
    """No output names a folder of this machine or a memory address."""
    for where, cell in _code(nb):
        text = "\n".join(text for output in cell.outputs for text in texts_of(output))
        if found := MACHINE_PATH.search(text):
            yield f"{where}: the output shows a path of this machine: {found[0]}"
        if found := ADDRESS.search(text):
            yield f"{where}: the output shows a memory address: {found[0]}"


def images_have_alt(nb: NotebookNode, path: Path) -> Iterator[str]:
    pages = list(_prose(nb))
    for where, cell in _code(nb):
        pages += [(where, output.get("data", {}).get("text/html", "")) for output in cell.outputs]
    for where, page in pages:
        alts = [at.get("alt") for tag, at in _Tags(page).found if tag == "img"]
        alts += [alt for bang, alt, _ in LINK.findall(page) if bang]
        if not all(alt and alt.strip() for alt in alts):
            yield f"{where}: a picture has no alternative text"


def links_lead_somewhere(nb: NotebookNode, path: Path) -> Iterator[str]:
    """Files linked to exist; the web is linked to by https."""
    for where, prose in _prose(nb):
        for url in URL.findall(prose):
            yield f"{where}: use https for {url}"
        targets = [target for _, _, target in LINK.findall(prose)]
        targets += [at.get("href") or at.get("src") or "" for _, at in _Tags(prose).found]
        for target in targets:
            file = unquote(re.split("[#?]", target)[0])
            if file and ":" not in file and not (path.parent / file).exists():
                yield f"{where}: links to {target}, which does not exist"


def code_cells_short(nb: NotebookNode, path: Path) -> Iterator[str]:
    for where, cell in _code(nb):
        lines = sum(bool(line.strip()) for line in cell.source.splitlines())
        if lines > MAX_CODE_LINES:
            yield f"{where} has {lines} lines of code, at most {MAX_CODE_LINES} are allowed"


def small_enough(nb: NotebookNode, path: Path) -> Iterator[str]:
    if (size := size_of(nb)) > MAX_MEGABYTES:
        yield f"the notebook takes {size:.2f} MB, at most {MAX_MEGABYTES} MB are allowed"


OUTPUT_RULES: tuple[Rule, ...] = (no_errors, no_progress_bars, machine_independent, small_enough)
RULES: tuple[Rule, ...] = (
    valid_format,
    kernel_is_python3,
    title_first,
    executed_in_order,
    no_widget_state,
    images_have_alt,
    links_lead_somewhere,
    code_cells_short,
    *OUTPUT_RULES,
)

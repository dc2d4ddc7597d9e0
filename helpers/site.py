"""The site over the executed notebooks: ``python -m helpers.site``, also ``make site``.

Pages come from ``docs/`` and ``notebooks/``; widgets go on without a kernel, and nothing is asked
of the network. The build fails on a warning of Sphinx, a dead link, a picture without a text or an
address of the web in a script, a style or a picture.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nbformat import NotebookNode
from nbformat import v4 as nbformat4
from PIL import Image

from helpers import slides, static_widgets, teaching, vendor
from helpers.notebook_rules import ROOT, read, title_of
from helpers.run_notebooks import find

_COVER = re.compile(r'<img alt="([^"]+)" src="data:image/\w+;base64,([^"]+)"')
_ROW = re.compile(r"^\| (\d\d) \| \[(.+?)\]\(notebooks/(.+?)\.ipynb\) \| (.+?) \| (\d+) \|$", re.M)


class SiteError(Exception):
    """The site has faults; the message lists them."""


def build(output: Path) -> None:
    """Build the site in `output`, decks in ``slides/`` included; an older site there is replaced.

    Raises `SiteError` for faults, or where `output` holds something that is no site.
    """
    if output.exists() and any(output.iterdir()):
        if not (output / ".buildinfo").exists():
            raise SiteError(f"{output} holds something that is no site: it is left as it is")
        shutil.rmtree(output)
    with tempfile.TemporaryDirectory() as scratch:
        sources = Path(scratch)
        stage(sources)
        command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-E"]
        done = subprocess.run([*command, str(sources), str(output)], capture_output=True, text=True)
        if done.returncode:
            raise SiteError(done.stderr.replace(f"{sources}/", ""))
    vendor.mathjax(output / "_static" / "mathjax")
    shutil.rmtree(output / ".doctrees", ignore_errors=True)
    slides.build(find(ROOT / "notebooks"), output / "slides")
    if problems := sorted(set(faults(output))):
        raise SiteError("\n".join(problems))


def stage(sources: Path) -> None:
    """Put into `sources` what Sphinx reads: ``docs/`` with its tables filled in, and the notebooks."""
    shutil.copytree(ROOT / "docs", sources, dirs_exist_ok=True)
    static_widgets.write(sources / "_static")
    notebooks = {path.stem: read(path) for path in find(ROOT / "notebooks")}
    (sources / "notebooks").mkdir()
    (sources / "_static" / "covers").mkdir()
    for name, nb in notebooks.items():
        static_widgets.embed(nb)
        _save_cover(nb, sources / "_static" / "covers" / f"{name}.webp")
        (sources / "notebooks" / f"{name}.ipynb").write_text(nbformat4.writes(nb), "utf-8")
    _fill(sources / "index.md", "map", course_map(notebooks))
    for table in (teaching.minutes, teaching.discussions):
        parts = (f"### {title_of(nb)}\n\n{table(name, nb)}" for name, nb in notebooks.items())
        _fill(sources / "teaching.md", table.__name__, "\n\n".join(parts))
    rows = "\n".join(teaching.misconceptions(name, nb) for name, nb in notebooks.items())
    header = "| what learners think | what to show them |\n|---|---|\n"
    _fill(sources / "teaching.md", "misconceptions", header + rows)


def course_map(notebooks: dict[str, NotebookNode]) -> str:
    """The course as a list of cards, from the table in the README: picture, question, minutes."""
    cards = []
    for number, title, name, question, minutes in _ROW.findall((ROOT / "README.md").read_text()):
        alt, _ = _cover(notebooks[name])
        cards.append(
            f'<li><a href="notebooks/{name}.html"><img alt="{alt}" src="_static/covers/{name}.webp"></a>'
            f'<p><a href="notebooks/{name}.html">{number} · {html.escape(title)}</a></p>'
            f"<p>{html.escape(question)}</p>"
            f'<p class="minutes">{minutes} minutes · <a href="slides/{name}.html">slides</a></p></li>'
        )
    return f'<ol class="course">\n{chr(10).join(cards)}\n</ol>'


def _cover(nb: NotebookNode) -> tuple[str, bytes]:
    """Text and bytes of the picture that stands for a notebook: of the cell tagged ``cover``."""
    for cell in nb.cells:
        if "cover" in cell.metadata.get("tags", ()):
            for output in cell.outputs:
                if found := _COVER.search(output.get("data", {}).get("text/html", "")):
                    return found[1], base64.b64decode(found[2])
    raise SiteError(f"{title_of(nb)}: no cell tagged 'cover' shows a picture")


def _save_cover(nb: NotebookNode, path: Path) -> None:
    picture = Image.open(io.BytesIO(_cover(nb)[1])).convert("RGB")
    picture.thumbnail((720, 480))
    picture.save(path, "WEBP", quality=85)


def _fill(page: Path, name: str, text: str) -> None:
    """Put `text` in place of the line ``<!-- name -->`` of `page`."""
    mark = f"<!-- {name} -->"
    content = page.read_text("utf-8")
    if content.count(mark) != 1:
        raise SiteError(f"{page.name} must hold {mark} once")
    page.write_text(content.replace(mark, text), "utf-8")


class _Page(HTMLParser):
    """Collects from a page its anchors, links, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.mute: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {value for key, value in attrs if key in ("id", "name") and value}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "img" and not (given.get("alt") or "").strip():
            self.mute.append((given.get("src") or "")[:60])
        if given.get("src"):
            self.loads.append(given["src"])
        if (
            tag == "link"
            and given.get("href")
            and given.get("rel") not in ("canonical", "next", "prev")
        ):
            self.loads.append(given["href"])


def faults(output: Path) -> Iterator[str]:
    """What is wrong with the pages in `output`, a sentence each."""
    pages = {path: _Page(path.read_text("utf-8")) for path in output.rglob("*.html")}
    for path, page in pages.items():
        where = path.relative_to(output)
        for source in page.mute:
            yield f"{where}: a picture has no alternative text: {source}"
        for address in page.loads:
            if urlsplit(address).scheme in ("http", "https") or address.startswith("//"):
                yield f"{where}: loads {address} from the web"
        for address in page.links + page.loads:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                yield f"{where}: {address[:80]} does not exist"
            elif parts.fragment and target in pages and not _has(pages[target], parts.fragment):
                yield f"{where}: {address} leads to no place in {target.name}"


def _has(page: _Page, fragment: str) -> bool:
    return unquote(fragment) in page.anchors or fragment.startswith("/")  # "#/3": a slide


def main(arguments: list[str] | None = None) -> int:
    """Command line. Returns 0, or 1 if the site has faults; bad usage exits with 2."""
    parser = argparse.ArgumentParser(prog="python -m helpers.site", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "_build" / "site")
    output = parser.parse_args(arguments).output
    try:
        build(output)
    except SiteError as error:
        print(error, file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file()) / 1e6
    print(f"{len(list(output.rglob('*.html')))} pages, {size:.1f} MB; open {output / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

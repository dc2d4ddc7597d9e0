"""Glossary, bibliography and list of figures say what the notebooks say, and link to it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from helpers.notebook_rules import BASE64, LINK, read, texts_of

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NOTEBOOKS = {path.stem: read(path) for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}

NAMES = r"[A-Z]\.(?:-[A-Z]\.)?(?: [A-Z]\.)* ([A-Z][\w-]+)"  # L.-C. Chen, M. A. Davis
ARXIV = r"\b\d{4}\.\d{4,5}\b"
YEAR = r"\b(?:19|20)\d\d\b"


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


def prose(nb):
    return "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")


def shown(text):
    """Without blocks of code, but with those of directives, ```{glossary} ... ```."""
    fence = re.compile(r"^ *```(\{)?.*?^ *```$", re.MULTILINE | re.DOTALL)
    return fence.sub(lambda block: block[0] if block[1] else "", text)


def headings(text):
    return re.findall(r"^#+ +(.+)$", shown(text), re.MULTILINE)


def slug(heading):
    """As GitHub and MyST make the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", re.sub(r"[*`]", "", heading).lower()).replace(" ", "-")


def links(text):
    """(notebook, anchor) of every link to the page of a notebook."""
    targets = [target for _, _, target in LINK.findall(shown(text))]
    inside = [t.removeprefix("notebooks/") for t in targets if t.startswith("notebooks/")]
    return [tuple(re.split(r"(?:\.ipynb)?(?:#|$)", t, maxsplit=1)) for t in inside]


def terms():
    """Term lines of each entry of the glossary."""
    (block,) = re.findall(r"^```\{glossary\}\n(.*?)^```", page("glossary.md"), re.M | re.DOTALL)
    heads = re.findall(r"(?:^\S.*\n)+(?=  \S)", block, re.MULTILINE)
    return [head.splitlines() for head in heads]


def cited(nb):
    """(surname, title, numbers) of the works in the reference list: numbers are years and arXiv's."""
    listed = prose(nb).partition("**References.**")[2]
    before, *rest = re.split(r'"([^"]+)"', listed)
    surname = None
    for title, after in zip(rest[::2], rest[1::2], strict=True):
        surname = (re.findall(NAMES, before) or [surname])[0]  # a second work of the same authors
        yield surname, title, re.findall(f"{ARXIV}|{YEAR}", re.split(NAMES, after)[0])
        before = after


def entries():
    return [line for line in page("bibliography.md").splitlines() if line.startswith("- ")]


def pictures():
    """How many pictures, widgets included, stand in each (notebook, section)."""
    found = Counter()
    for name, nb in NOTEBOOKS.items():
        section = None
        for cell in nb.cells:
            if cell.cell_type == "markdown":
                section = [section, *headings(cell.source)][-1]
            for output in cell.get("outputs", ()):
                data = output.get("data", {})
                count = data.get("text/html", "").count("<img") + ("image/png" in data)
                found.update({(name, slug(section)): count} if count else {})
    return found


def test_every_term_is_used_in_a_notebook():
    parts = [prose(nb) for nb in NOTEBOOKS.values()]
    outputs = (o for nb in NOTEBOOKS.values() for c in nb.cells for o in c.get("outputs", ()))
    parts += [BASE64.sub("", text) for output in outputs for text in texts_of(output)]
    text = "\n".join(parts)

    def used(term):
        return re.search(rf"(?<!\w){re.escape(term)}(?!\w)", text, re.IGNORECASE)

    assert [lines[0] for lines in terms() if not any(map(used, lines))] == []


def test_terms_are_unique_and_sorted():
    first = [lines[0].casefold() for lines in terms()]
    assert first == sorted(first) and len(first) >= 70
    counts = Counter(line.casefold() for lines in terms() for line in lines)
    assert [term for term, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.stem)
def test_links_lead_to_notebooks_and_their_headings(path):
    anchors = {name: {"", *map(slug, headings(prose(nb)))} for name, nb in NOTEBOOKS.items()}
    dead = [link for link in links(page(path.name)) if link[1] not in anchors.get(link[0], ())]
    assert dead == []


def test_links_of_the_bibliography_are_secure_and_single():
    urls = [u for *_, u in LINK.findall(page("bibliography.md")) if not u.startswith("notebooks/")]
    good = rf"https://(doi\.org/10\.\d+/\S+|arxiv\.org/abs/{ARXIV}|(?!doi|arxiv)[\w.-]+/\S+)"
    assert [url for url in urls if not re.fullmatch(good, url)] == []
    assert [url for url, count in Counter(urls).items() if count > 1] == []
    assert all("https://" in entry or "No DOI known" in entry for entry in entries())


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_references_of_a_notebook_are_in_the_bibliography(name):
    """One entry has the surname, all words of the title, year and arXiv number, and names it."""
    works = list(cited(NOTEBOOKS[name]))
    assert works and all(surname for surname, *_ in works)
    for surname, title, numbers in works:
        wanted = [surname, *re.findall(r"\w+", title), *numbers]
        holds = [e for e in entries() if all(re.search(rf"\b{w}\b", e, re.I) for w in wanted)]
        assert any((name, "") in links(entry) for entry in holds), (surname, title, numbers)


def test_papers_named_in_prose_and_helpers_are_in_the_bibliography():
    for name, nb in NOTEBOOKS.items():
        for work in re.findall(r"([A-Z]\w+) (?:et al\.|and [A-Z]\w+) \(?(\d{4})", prose(nb)):
            holds = [entry for entry in entries() if all(part in entry for part in work)]
            assert any((name, "") in links(entry) for entry in holds), (name, work)
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "helpers").rglob("*.py"))
    assert [n for n in re.findall(ARXIV, code) if f"/abs/{n}" not in page("bibliography.md")] == []


def test_every_figure_and_widget_is_listed_once():
    listed = Counter()
    for row in re.findall(r"^\| .*notebooks/.*$", page("figures.md"), re.MULTILINE):
        (link,) = links(row)
        listed[link] += len(re.findall(r"figure|widget", row.rsplit("|", 2)[1]))
    assert listed == pictures()

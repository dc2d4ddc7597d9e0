"""Sphinx extension: on each notebook's page, the first use of a term leads to the glossary.

The first formula in a line of text that is a symbol of the notation page leads there in the same
way. The notebooks themselves stay free of such links; headings, links and code are passed over.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

PASSED_OVER = (nodes.title, nodes.reference, nodes.literal, nodes.literal_block, nodes.raw)


def collect(app: Sphinx, doctree: nodes.document) -> None:
    """Remember the entries of the glossary, and give the symbols of the notation page anchors."""
    if app.env.docname == "glossary":
        entries = [  # synonyms stand above one definition
            {term.astext().lower(): term["ids"][0] for term in item.findall(nodes.term)}
            for item in doctree.findall(nodes.definition_list_item)
            if isinstance(item.parent.parent, addnodes.glossary)
        ]
        app.env.pixelwise_entries = entries
    if app.env.docname == "notation":
        app.env.pixelwise_symbols = symbols = []
        for row in list(doctree.findall(nodes.row)):
            notebook = row.children[-1].astext().strip()  # of its first use, such as "01"
            for symbol in list(row.children[0].findall(nodes.math)):
                anchor = f"symbol-{len(symbols)}"
                symbol.parent.insert(0, nodes.target("", "", ids=[anchor]))
                symbols.append((symbol.astext(), notebook, anchor))


def link_first_uses(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    if not docname.startswith("notebooks/"):
        return
    glossary = app.builder.get_relative_uri(docname, "glossary")
    _link_terms(doctree, glossary, app.env.pixelwise_entries)
    notation = app.builder.get_relative_uri(docname, "notation")
    number = docname.removeprefix("notebooks/")[:2]
    latest: dict[str, str] = {}  # a letter that has several meanings has the last one so far
    for symbol, notebook, anchor in sorted(app.env.pixelwise_symbols, key=lambda row: row[1]):
        if notebook <= number:
            latest[symbol] = anchor
    for symbol, anchor in latest.items():
        _link_symbol(doctree, symbol, f"{notation}#{anchor}")


def _link_terms(doctree: nodes.document, page: str, entries: list[dict[str, str]]) -> None:
    places = {
        term: (k, anchor) for k, entry in enumerate(entries) for term, anchor in entry.items()
    }
    longest_first = "|".join(re.escape(term) for term in sorted(places, key=len, reverse=True))
    pattern = re.compile(rf"(?<!\w)(?:{longest_first})(?!\w)", re.IGNORECASE)
    used: set[int] = set()
    for text in list(doctree.findall(nodes.Text)):
        if _inside(text, PASSED_OVER) or not _inside(text, (nodes.paragraph, nodes.list_item)):
            continue
        pieces: list[nodes.Node] = []
        end = 0
        for match in pattern.finditer(text):
            entry, anchor = places[match[0].lower()]
            if entry not in used:
                used.add(entry)
                link = nodes.reference("", match[0], internal=True, refuri=f"{page}#{anchor}")
                link["classes"].append("first-use")
                pieces += [nodes.Text(text[end : match.start()]), link]
                end = match.end()
        if pieces:
            text.parent.replace(text, [*pieces, nodes.Text(text[end:])])


def _link_symbol(doctree: nodes.document, symbol: str, uri: str) -> None:
    for formula in list(doctree.findall(nodes.math)):
        if formula.astext() == symbol and not _inside(formula, PASSED_OVER):
            link = nodes.reference("", "", internal=True, refuri=uri, classes=["first-use"])
            link["reftitle"] = f"{symbol}, in the notation"  # a formula alone names no link
            formula.replace_self(link)
            link += formula
            return


def _inside(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    while node := node.parent:
        if isinstance(node, kinds):
            return True
    return False


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", collect)
    app.connect("doctree-resolved", link_first_uses)
    return {"parallel_read_safe": False, "parallel_write_safe": True}

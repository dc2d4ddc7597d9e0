"""Widgets on pages without a kernel: the site and the slides.

A saved output carries the state of its widget (`helpers.widgets.shared.Still`). Here it becomes a
piece of HTML with the picture and that state, which ``docs/_static/host.js`` brings to life. All is
plain scripts, no modules, since a browser loads no module from a page that was opened as a file.
"""

from __future__ import annotations

import html
import json
from pathlib import Path

from nbformat import NotebookNode

from helpers import widgets
from helpers.notebook_rules import ROOT, WIDGET_STATE
from helpers.widgets.shared import Still

HOST = ROOT / "docs" / "_static" / "host.js"
_EXPORT = "\nexport default {"


def embed(nb: NotebookNode) -> None:
    """Turn the widgets and bare pictures in the outputs of `nb`, in place, into HTML with a text."""
    for cell in nb.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                output.data = {"text/html": _as_html(data), "text/plain": data["text/plain"]}


def _as_html(data: NotebookNode) -> str:
    text = html.escape(data["text/plain"])
    source = "data:image/png;base64," + data["image/png"].replace("\n", "")
    picture = f'<img alt="{text}" src="{source}" style="max-width: 100%">'
    if WIDGET_STATE not in data:
        return picture
    state = json.dumps(data[WIDGET_STATE], separators=(",", ":")).replace("</", "<\\/")
    script = f'<script type="application/json">{state}</script>'
    return f'<div class="pixelwise-widget">{picture}{script}</div>'


def scripts() -> str:
    """JavaScript that defines every widget that answers without a kernel, and the host of them all.

    ``pixelwise.start()`` brings those of the page to life; it returns a promise.
    """
    defined = [define(kind.script(), str(kind._esm)) for kind in _alone()]
    return "\n".join(["window.pixelwise = {};", *defined, HOST.read_text("utf-8")])


def define(name: str, source: str) -> str:
    """JavaScript that makes the widget of module `name`, whose browser half is `source`, known."""
    if source.count(_EXPORT) != 1:
        raise ValueError(f"{name}.js must export its default once, at the start of a line")
    body = source.replace(_EXPORT, "\nreturn {")
    return f"pixelwise.{name} = (() => {{\n{body}\n}})();"


def styles() -> str:
    """The style sheets of these widgets, each once."""
    return "\n".join(dict.fromkeys(str(kind._css) for kind in _alone()))


def write(folder: Path) -> None:
    """Put both into `folder`, as ``widgets.js`` and ``widgets.css``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "widgets.js").write_text(scripts(), "utf-8")
    (folder / "widgets.css").write_text(styles(), "utf-8")


def _alone() -> list[type[Still]]:
    kinds = [getattr(widgets, name) for name in widgets.__all__]
    return [kind for kind in kinds if kind.alone]

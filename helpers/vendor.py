"""Scripts of others that the site and the slides carry with them, so that they ask for nothing.

MathJax (in the package ``sphinx-mathjax-offline``) and reveal.js (in ``sphinx-revealjs``) come with
the extra ``site``; only the parts that are used are copied.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

MATHJAX = ("tex-chtml.js", "a11y/assistive-mml.js", "output/chtml/fonts/woff-v2")
REVEAL = ("dist/reveal.js", "dist/reveal.css", "plugin/notes/notes.js")


def mathjax(folder: Path) -> None:
    """MathJax 3 for TeX formulas into `folder`: ``tex-chtml.js`` and its fonts."""
    _copy(_package("sphinx-mathjax-offline") / "static" / "mathjax", MATHJAX, folder)


def reveal(folder: Path) -> None:
    """reveal.js with its speaker view into `folder`: ``dist/`` and ``plugin/``."""
    _copy(_package("sphinx_revealjs") / "_static" / "revealjs", REVEAL, folder)


def _package(name: str) -> Path:
    """Where a package lies. Raises ``ImportError`` that says how to install it."""
    spec = find_spec(name)
    if spec is None:
        raise ImportError(f"{name} is not installed: `make site` installs what the site needs")
    return Path(spec.submodule_search_locations[0])


def _copy(source: Path, parts: tuple[str, ...], folder: Path) -> None:
    for part in parts:
        target = folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source / part, target)

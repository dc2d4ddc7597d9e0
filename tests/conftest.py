"""Fixtures that several test files share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from nbformat import NotebookNode, v4


@pytest.fixture(scope="session")
def new_notebook() -> Callable[..., NotebookNode]:
    """``new_notebook(*sources)``: an unexecuted notebook with a title and these code cells."""

    def build(*sources: str) -> NotebookNode:
        code = [v4.new_code_cell(source) for source in sources]
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        return v4.new_notebook(
            cells=[v4.new_markdown_cell("# A title"), *code], metadata={"kernelspec": kernel}
        )

    return build


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A headless Chromium, or a skipped test where Playwright is not installed."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    from browser import chromium

    with chromium() as running:
        yield running

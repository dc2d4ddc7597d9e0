"""What ``pytest --nbval`` compares, and in which surroundings the notebooks run.

This file lies at the root because pytest loads it for ``notebooks/`` and ``tests/`` alike.
"""

from __future__ import annotations

import difflib
import os
import re
import tempfile
from decimal import Decimal
from pathlib import Path
from unittest import mock

import pytest
from nbval.plugin import IPyNbCell, IPyNbFile

from helpers.notebook_rules import BASE64, WIDGET_STATE
from helpers.run_notebooks import kernel_environment

# A number with decimals or an exponent, with the blanks that align it in a column. Whole numbers
# are counts and shapes, which are the same everywhere; so is the "2.14" in version 2.14.1.
ROUNDED = re.compile(r"(?<![\w.]) *[-+]?(?:\d+\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)(?!\.?\d)")


class Printed(str):
    """A printed text, equal to another up to one unit in the last digit of rounded numbers.

    Another processor adds in another order and rounds up what this one rounds down: 0.42 and 0.43
    are equal, 0.42 and 0.44 are not. Whole numbers, nan and words must match to the letter.
    """

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, str)
            and ROUNDED.split(self) == ROUNDED.split(other)
            and all(map(_close, ROUNDED.findall(self), ROUNDED.findall(other)))
        )

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None


def _close(one: str, other: str) -> bool:
    """Within a unit of the finer last digit; as wide as each other, or after as many blanks."""
    a, b = Decimal(one.strip()), Decimal(other.strip())
    unit = Decimal(1).scaleb(min(a.as_tuple().exponent, b.as_tuple().exponent))
    aligned = len(one) == len(other) or one.count(" ") == other.count(" ")
    return aligned and abs(a - b) <= unit


class Cell(IPyNbCell):
    """A cell whose texts are compared as ``Printed``, without the bytes of embedded pictures."""

    def sanitize(self, s):
        s = super().sanitize(s)
        return Printed(BASE64.sub("", s)) if isinstance(s, str) else s

    def format_output_compare(self, key, left, right):
        """Report the lines that count as different, and only those."""
        if not isinstance(left, str):
            return super().format_output_compare(key, left, right)
        was, now = (re.sub(r"(?<=>)(?=<)", "\n", text).splitlines() for text in (left, right))
        if len(was) == len(now):
            now = [old if Printed(old) == new else new for old, new in zip(was, now, strict=True)]
        diff = difflib.unified_diff(was, now, "in the notebook", "this run", lineterm="", n=1)
        self.comparison_traceback += [f"mismatch in {key!r}", *diff]


class Notebook(IPyNbFile):
    """A notebook whose kernel sees no recorded guesses of a learner."""

    def setup(self):
        # It holds photographs, whose bytes depend on the codec's version.
        self.skip_compare += (WIDGET_STATE,)
        self.scratch = tempfile.TemporaryDirectory()
        with mock.patch.dict(os.environ, kernel_environment(Path(self.scratch.name))):
            super().setup()

    def teardown(self):
        super().teardown()
        self.scratch.cleanup()

    def collect(self):
        for item in super().collect():
            kept = {name: getattr(item, name) for name in ("name", "cell_num", "cell", "options")}
            yield Cell.from_parent(self, **kept)


# What is compared was made from the shipped weights, whatever a learner's shell asks for.
os.environ.pop("PIXELWISE_RETRAIN", None)


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector):
    return [
        Notebook.from_parent(parent, path=file_path) if isinstance(node, IPyNbFile) else node
        for node in (yield)
    ]

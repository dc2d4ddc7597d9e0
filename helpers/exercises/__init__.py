"""Exercises: a check that names the mistake, three hints, a solution that the tests run.

In a notebook: ``check("iou", my_iou)``, ``hint("iou")`` (again for the next hint),
``solution("iou")``. Nothing here stops a notebook: an untouched stub gets a friendly line.
"""

from importlib import import_module
from pkgutil import iter_modules

from helpers.exercises.core import EXERCISES, check, grade, hint, solution

__all__ = ["EXERCISES", "check", "grade", "hint", "solution"]

for module in iter_modules(__path__, f"{__name__}."):
    import_module(module.name)  # exercises register themselves

"""Exercises: a check that names the mistake, three hints, a solution that the tests run.

In a notebook: ``check("iou", my_iou)``, ``hint("iou")`` (again for the next hint),
``solution("iou")``. Nothing here stops a notebook: an untouched stub gets a friendly line.
"""

from helpers.exercises import (  # they register themselves
    nb00,
    nb01,
    nb02,
    nb03,
    nb04,
    nb05,
    nb06,
    nb07,
    nb08,
    nb09,
)
from helpers.exercises.core import EXERCISES, check, hint, solution

__all__ = [
    "EXERCISES",
    "check",
    "hint",
    "nb00",
    "nb01",
    "nb02",
    "nb03",
    "nb04",
    "nb05",
    "nb06",
    "nb07",
    "nb08",
    "nb09",
    "solution",
]

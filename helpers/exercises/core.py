"""What an exercise is, and how it is checked; the exercises themselves are in ``nb00.py`` and so on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class Mistake(Exception):
    """The answer is wrong; the message says how, in the learner's terms."""


class NotTried(Exception):
    """The stub was left as it was."""


@dataclass
class Exercise:
    """One exercise. ``verify`` raises `Mistake`, or returns a line on why the answer is right.

    There are three hints and a solution, ``solve``; in a copy for students (`helpers.student`)
    fewer hints may be left, and ``solve`` is None.
    """

    name: str
    hints: tuple[str, ...]
    solve: Callable | None
    verify: Callable[[Callable], str]
    hints_given: int = field(default=0, compare=False)


EXERCISES: dict[str, Exercise] = {}


def exercise(name: str, hints: tuple[str, ...], solve: Callable | None) -> Callable:
    """Register the decorated function as the check of exercise `name`."""

    def register(verify: Callable[[Callable], str]) -> Callable:
        EXERCISES[name] = Exercise(name, hints, solve, verify)
        return verify

    return register


def check(name: str, answer: Callable) -> None:
    """Test `answer` and print one line on the outcome."""
    print(_outcome(name, answer)[1])


def grade(name: str, answer: Callable) -> None:
    """As `check`, but ``AssertionError`` with that line unless `answer` is right: for graded cells."""
    right, line = _outcome(name, answer)
    if not right:
        raise AssertionError(line)
    print(line)


def hint(name: str) -> None:
    """Print the next of the hints; after them the last again, with the way to a solution."""
    task = _find(name)
    count = len(task.hints)
    if not count:
        print(f"{name}: this copy has no hints. Ask your teacher.")
        return
    level = min(task.hints_given, count - 1)
    done = task.hints_given >= count
    more = f" solution({name!r}) prints an answer." if done and task.solve else ""
    task.hints_given += 1
    print(f"Hint {level + 1} of {count}: {task.hints[level]}{more}")


def solution(name: str) -> None:
    """Print the code of a solution; the tests run the same code."""
    solve = _find(name).solve
    if solve is None:
        print(f"{name}: this copy has no solutions. Ask your teacher, who has them.")
    else:
        print(inspect.getsource(solve).rstrip())


def run(answer: Callable, *arguments: Any) -> Any:
    """What `answer` returns; `NotTried` when it returns nothing, as an untouched stub does."""
    result = answer(*arguments)
    if result is None or result is ...:
        raise NotTried
    return result


def _outcome(name: str, answer: Callable) -> tuple[bool, str]:
    """Whether `answer` is right, and one line on it."""
    task = _find(name)
    try:
        if answer is None or answer is ...:
            raise NotTried
        praise = task.verify(answer)
    except NotTried:
        line = (
            "not tried yet (your function returned nothing). Fill in the stub, end it with "
            f"return, and run this cell again; or ask hint({name!r})."
        )
    except Mistake as mistake:
        line = f"not yet. {mistake}"
    except Exception as error:
        # The learner's own code may raise anything; the class must go on.
        line = f"your code raised {type(error).__name__}: {error}"
    else:
        return True, f"{name}: right. {praise}"
    return False, f"{name}: {line}"


def _find(name: str) -> Exercise:
    if name not in EXERCISES:
        raise ValueError(f"name must be one of {', '.join(EXERCISES)}; got {name!r}")
    return EXERCISES[name]

"""Guess first, look afterwards: a learner's guesses are recorded, then compared with the result.

Guesses live in one JSON file that git ignores, so that the closing notebook can show how a learner's
judgement has grown: ``data/predictions.json``, in a read-only course ``~/.pixelwise/predictions.json``.
``PIXELWISE_PREDICTIONS`` names another file.
"""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from helpers.files import DATA, own, replacing

DEFAULT_FILE = DATA / "predictions.json"


def predict(
    key: str,
    guess: float | str | None = None,
    *,
    between: tuple[float, float] | None = None,
    options: tuple[str, ...] | None = None,
) -> None:
    """Record `guess` under `key`: a number `between` two bounds, or one of `options`.

    ``None`` records nothing and says how to answer. ``ValueError`` when the guess does not fit, or
    when not exactly one of `between` and `options` is given.
    """
    if (between is None) == (options is None):
        raise ValueError("give exactly one of between=(low, high) and options=(...)")
    wanted = (
        f"a number from {between[0]:g} to {between[1]:g}"
        if between
        else "one of " + ", ".join(map(repr, options))
    )
    if guess is None:
        earlier = _read().get(key, {}).get("guess")
        if earlier is not None:
            print(f"Your earlier guess stands: {earlier}.")
        else:
            print(f"Your guess? Put {wanted} in place of None and run this cell. (Or read on.)")
        return
    if between:
        number = isinstance(guess, int | float) and not isinstance(guess, bool)
        if not number or not between[0] <= guess <= between[1]:
            raise ValueError(f"guess must be {wanted}, got {guess!r}")
        _record(key, {"guess": guess, "between": list(between)})
    else:
        if guess not in options:
            raise ValueError(f"guess must be {wanted}, got {guess!r}")
        _record(key, {"guess": guess, "options": list(options)})
    print(f"Noted: {guess}. Now see.")


def outcome(key: str, value: float | str, digits: int = 2) -> None:
    """Say what came out, beside the guess recorded under `key` if there is one."""
    if not isinstance(value, str) and not math.isfinite(value):
        raise ValueError(f"value must be finite, got {value!r}")
    shown = value if isinstance(value, str) else f"{value:.{digits}f}"
    entry = _read().get(key)
    if entry is None:
        print(f"Result: {shown}. (No guess was recorded.)")
        return
    entry["outcome"] = value if isinstance(value, str) else float(value)
    _record(key, entry)
    guess = entry["guess"]
    if isinstance(guess, str) or isinstance(value, str):
        print(
            f"Result: {shown}. You said {guess}: {'right' if guess == value else 'not this time'}."
        )
    else:
        print(f"Result: {shown}. You said {guess:g}: off by {abs(guess - value):.{digits}f}.")


@dataclass(frozen=True)
class Answer:
    """A guess and what came out: numbers with the bounds they were asked `between`, or `options`.

    The outcome may lie outside the bounds and need not be an option.
    """

    key: str
    guess: float | str
    outcome: float | str
    between: tuple[float, float] | None = None
    options: tuple[str, ...] = ()

    @property
    def notebook(self) -> str:
        """The part of the key before the dot: "06" of "06.taps"."""
        return self.key.partition(".")[0]


def answered() -> tuple[list[Answer], int]:
    """Every guess with its outcome, notebook by notebook, and how many wait for an outcome.

    An entry that makes no sense, edited by hand perhaps, is left out with a printed line.
    """
    answers, waiting = [], 0
    for key, entry in sorted(_read().items()):
        match entry if re.fullmatch(r"\d\d\.\w+", key) else None:
            case {"guess": _} if "outcome" not in entry:
                waiting += 1
            case {"guess": guess, "outcome": result, "between": [low, high]} if (
                all(map(_is_amount, (guess, result, low, high)))
                and low <= guess <= high
                and abs(result - guess) < 1000 * (high - low)
            ):
                answers.append(Answer(key, guess, result, between=(low, high)))
            case {"guess": guess, "outcome": str(result), "options": [*options]} if (
                all(isinstance(option, str) for option in options)
                and guess in options
                and len(set(options)) > 1
            ):
                answers.append(Answer(key, guess, result, options=tuple(options)))
            case _:
                print(f"The entry {key!r} is left out: it is no guess that fits, with its outcome.")
    return answers, waiting


def _file() -> Path:
    return Path(os.environ.get("PIXELWISE_PREDICTIONS") or own(DEFAULT_FILE))


def _is_amount(value: object) -> bool:
    """A number that can be reckoned with: no truth value, NaN or infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e100


def _read() -> dict[str, dict]:
    try:
        entries = json.loads(_file().read_text(encoding="utf-8"))
        if not isinstance(entries, dict):
            raise ValueError(f"expected a JSON object, got {entries!r}")
    except FileNotFoundError:
        return {}
    except ValueError:  # raised by json and by the decoding, too
        # Somebody's edit went wrong. Keep what they had, start afresh.
        kept = _file().replace(_file().with_suffix(".unreadable"))
        print(f"{_file().name} could not be read: it is now {kept.name}, and guesses start afresh.")
        return {}
    return entries


def _record(key: str, entry: dict) -> None:
    text = json.dumps(_read() | {key: entry}, indent=1)
    with replacing(_file()) as temporary:
        temporary.write_text(text, encoding="utf-8")

"""Comparing the tensors of learners with right ones, and naming the mistake that explains a wrong one."""

from __future__ import annotations

import operator
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from helpers.exercises.core import Mistake, run


def tensor_from(answer: Callable, *arguments: Any) -> Tensor:
    """What `answer` returns, as float64; arrays and lists will do. A changed argument is a mistake."""
    given = [argument for argument in arguments if isinstance(argument, Tensor | np.ndarray)]
    copies = deepcopy(given)
    with torch.no_grad():
        result = run(answer, *arguments)
    if not all(map(np.array_equal, given, copies)):
        raise Mistake("You changed a tensor or array that you got; others need it. Fill a new one.")
    try:
        got = torch.as_tensor(result)
    except (TypeError, ValueError, RuntimeError):
        raise Mistake(f"torch makes no tensor of the {type(result).__name__} you return.") from None
    if any(map(torch.is_tensor, given)) and not got.is_floating_point():
        raise Mistake(f"Your result is {got.dtype}: fractions are lost. Keep the input's dtype.")
    return got.detach().double()


def require_shape(
    got: Tensor, shape: tuple[int, ...], case: str, why: dict[tuple, str], otherwise: str
) -> None:
    """Raise `Mistake` unless `got` has `shape`; `why` explains wrong shapes, `otherwise` the rest."""
    came = tuple(got.shape)
    if came != tuple(shape):
        raise Mistake(
            f"{case}: expected shape {tuple(shape)}, got {came}. {why.get(came, otherwise)}"
        )


def compare(
    got: Tensor,
    want: Tensor,
    wrong: dict[str, Tensor],
    case: str,
    axes: tuple[str, ...] = ("image", "channel", "row", "column"),
) -> None:
    """Raise `Mistake` unless `got` is `want`, with the message of the wrong result that it is.

    Other mistakes are told by their first place, with the last of the names in `axes`.
    """
    unequal = ~torch.isclose(got, want.double(), atol=1e-5)
    if not unequal.any():
        return
    for message, result in wrong.items():
        if got.shape == result.shape and torch.allclose(got, result.double(), atol=1e-5):
            raise Mistake(message)
    place = tuple(unequal.nonzero()[0].tolist())
    names = axes[-want.ndim :]
    at = ", ".join(f"{name} {k}" for name, k in zip(names, place, strict=True))
    raise Mistake(f"{case}: at {at} you have {got[place]:.3g}, expected {want[place]:.3g}.")


def whole_numbers(result: Any) -> list[int]:
    """`result` as a list; `Mistake` unless it is a tuple, list or array of whole numbers."""
    try:
        items = [result[k] for k in range(len(result))]
    except (TypeError, LookupError):
        kind = type(result).__name__
        raise Mistake(f"Return the rates in a tuple or a list, not as {kind}.") from None
    try:
        return [operator.index(item) for item in items]
    except TypeError:
        raise Mistake(
            f"Rates are whole numbers, you return {items}: / makes floats, // does not."
        ) from None


def explain(got: Tensor, want: Tensor, wrong: dict[str, Tensor], cases: list[str]) -> None:
    """Raise `Mistake` unless the numbers `got` for all `cases` are those that we `want`.

    It says the message of the `wrong` numbers that they are, or names the first case that is off.
    """
    unequal = ~torch.isclose(got, want)
    if not unequal.any():
        return
    for message, result in wrong.items():
        if torch.allclose(got, result):
            raise Mistake(message)
    k = int(unequal.nonzero()[0])
    raise Mistake(f"{cases[k]}: you say {got[k]:.4g}, expected {want[k]:.4g}.")

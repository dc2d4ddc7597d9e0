"""How good a learner's guesses are: beside the outcomes, and beside somebody who guesses at random."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from helpers import plots, runs
from helpers.predictions import Answer

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
FEW = 5
"""With fewer guesses no interval is told: it would be as wide as the scale."""

ASKED = re.compile(
    r'\bpredict\(\s*"(\d\d\.\w+)"(?:,\s*guess=[^=]*between=\((-?[\d.]+), (-?[\d.]+)\))?'
)
SETTLED = re.compile(r'\boutcome\(\s*"(\d\d\.\w+)"')
RESULT = re.compile(r"^Result: (.+?)\. (?:\(No guess|You said)", re.MULTILINE)
MARKERS = "osD^vP*X<>"


def questions(folder: Path = NOTEBOOKS) -> dict[str, tuple[float, float, float] | None]:
    """The questions asked in the notebooks of `folder`, by key.

    Questions for a number whose result is stored in the notebook have (low, high, result), rounded
    as printed; all others ``None``, as those whose stored result is a word: it is that of an older
    question. A notebook that cannot be read asks nothing.
    """
    bounds, results = {}, {}
    for path in sorted(folder.glob("*.ipynb")):
        with suppress(ValueError):
            for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
                source = "".join(cell["source"])
                printed = "".join("".join(o.get("text", "")) for o in cell.get("outputs", ()))
                bounds |= {key: pair for key, *pair in ASKED.findall(source)}
                settled, shown = SETTLED.findall(source), RESULT.findall(printed)
                if len(settled) == len(shown):
                    for key, result in zip(settled, shown, strict=True):
                        with suppress(ValueError):
                            results[key] = float(result)
    return {
        key: (float(low), float(high), results[key]) if low and key in results else None
        for key, (low, high) in bounds.items()
    }


def shares(number: Answer) -> tuple[float, float]:
    """Guess and outcome on the scale where the bounds are 0 and 1."""
    low, high = number.between
    return (number.guess - low) / (high - low), (number.outcome - low) / (high - low)


def error(answer: Answer) -> float:
    """Distance of guess and outcome as a share of the range; of a choice 0 if right, 1 if wrong."""
    if answer.options:
        return float(answer.guess != answer.outcome)
    guess, outcome = shares(answer)
    return abs(guess - outcome)


def random_error(answer: Answer) -> float:
    """The `error` to expect, for this outcome, of somebody who guesses uniformly at random.

    For a choice 1 - 1 / number of options. For a number with the outcome at x in the range from 0
    to 1, the integral of |u - x| over u: (x² + (1 - x)²) / 2, that is 1/4 in the middle and 1/2 at
    the ends; for x beyond them |x - 1/2|.
    """
    if answer.options:
        return 1 - answer.options.count(answer.outcome) / len(answer.options)
    _, x = shares(answer)
    return (x**2 + (1 - x) ** 2) / 2 if 0 <= x <= 1 else abs(x - 0.5)


def mean_errors(answers: Sequence[Answer]) -> tuple[float, float]:
    """Means of `error` and `random_error`; ``ValueError`` without answers."""
    if not answers:
        raise ValueError("answers must hold at least one guess, got none")
    return tuple(float(np.mean([of(a) for a in answers])) for of in (error, random_error))


def skill(answers: Sequence[Answer]) -> float:
    """1 - mean error / mean error to expect at random: 1 for exact guesses, 0 for random ones.

    Never below -√2. Who always says the middle of the range is never below 0. ``ValueError``
    without answers.
    """
    mean, at_random = mean_errors(answers)
    return 1 - mean / at_random


def skill_margin(answers: Sequence[Answer]) -> float:
    """Half width of the 95 % interval of `skill`; ``ValueError`` for fewer than two answers.

    That of a ratio of means, linearised: Cochran, "Sampling Techniques" (1977), chapter 6.
    """
    mean, at_random = mean_errors(answers)
    rest = [error(a) - mean / at_random * random_error(a) for a in answers]
    return runs.interval(rest)[1] / at_random


def by_notebook(answers: Sequence[Answer]) -> dict[str, list[Answer]]:
    """The answers of each notebook, in order of the notebooks."""
    names = sorted({a.notebook for a in answers})
    return {name: [a for a in answers if a.notebook == name] for name in names}


def summary(answers: Sequence[Answer], waiting: int, asked: Collection[str]) -> str:
    """What `answers` say in up to four plain lines; `asked` are the keys of all questions."""
    wait = f" Guesses that wait for a result: {waiting}." if waiting else ""
    if not answers:
        return (
            "No guess of yours can be scored yet: put one in place of None in any cell with predict, "
            f"run it and the cells down to its result, and come back.{wait}"
        )
    lines = [f"Guesses with a result: {len(answers)}; the notebooks ask for {len(asked)}.{wait}"]
    if numbers := [a for a in answers if a.between]:
        mean, at_random = mean_errors(numbers)
        excess = [guess - outcome for guess, outcome in map(shares, numbers)]
        margin = runs.interval(excess)[1] if len(numbers) >= FEW else None
        lines.append(
            f"Numbers ({len(numbers)}): off by {mean:.2f} of the range on average, random guesses by "
            f"{at_random:.2f}: skill {_skill(numbers)} (0 random, 1 exact). "
            f"Guess minus result: {_signed(np.mean(excess), margin)} of the range."
        )
    if choices := [a for a in answers if a.options]:
        right, chance = (1 - mean for mean in mean_errors(choices))
        interval = ""
        if (n := len(choices)) >= FEW:
            low, high = stats.binomtest(round(right * n), n).proportion_ci(method="wilson")
            interval = f" (95 % interval {100 * low:.0f} to {100 * high:.0f} %)"
        lines.append(
            f"Choices ({n}): {100 * right:.0f} % right{interval}, by chance {100 * chance:.0f} %."
        )
    names = list(by_notebook(answers))
    middle = names[len(names) // 2]
    early = [a for a in answers if a.notebook < middle]
    late = [a for a in answers if a.notebook >= middle]
    if min(len(early), len(late)) >= FEW:
        lines.append(
            f"Before notebook {middle}: skill {_skill(early)}; from it on: {_skill(late)}. "
            "The questions differ, too, not only your practice."
        )
    return "\n".join(lines)


def figure(
    answers: Sequence[Answer], known: Mapping[str, tuple[float, float, float] | None]
) -> tuple[Figure, str]:
    """Numbers against their results beside the skill by notebook; and a text that describes it.

    Without answers: two invented learners before the results in `known`, which `questions` finds.
    One always says the middle of the range, one guesses uniformly at random.
    """
    figure, (left, right) = plots.plt.subplots(1, 2, figsize=(11, 4))
    if answers:
        numbers = [a for a in answers if a.between]
        words = [_scatter(left, numbers, "Your numbers"), _bars(right, by_notebook(answers))]
    else:
        asked = [(key, *entry) for key, entry in known.items() if entry]
        middle = [Answer(key, (low + high) / 2, x, (low, high)) for key, low, high, x in asked]
        # seed 1 happens to be typical: near skill 0, which is to be expected; seed 0 is far below
        draw = np.random.default_rng(1).uniform
        random = [replace(number, guess=draw(*number.between)) for number in middle]
        words = [
            _scatter(left, middle, "Invented: always the middle"),
            _scatter(right, random, "Invented: at random"),
        ]
    return figure, " ".join(words)


def _scatter(axis: Axes, numbers: Sequence[Answer], title: str) -> str:
    """Guess over result as shares of the range, in a shape and colour per notebook."""
    title += f", skill {_signed(skill(numbers))}" if numbers else ": none yet"
    ends = [end for number in numbers for end in shares(number)] + [0, 1]
    limits = min(ends) - 0.05, max(ends) + 0.05
    axis.set(title=title, xlabel="result, share of range", ylabel="guess, share of range",
             xlim=limits, ylim=limits, box_aspect=1)  # fmt: skip
    axis.axline((0, 0), slope=1, color="grey", linewidth=1)
    axis.text(0.03, 0.97, "too high", color="#555555", va="top", transform=axis.transAxes)
    axis.text(0.97, 0.03, "too low", color="#555555", ha="right", transform=axis.transAxes)
    for name, group in by_notebook(numbers).items():
        guesses, results = zip(*map(shares, group), strict=True)
        marker, color = MARKERS[int(name) % len(MARKERS)], f"C{int(name) % 7}"
        axis.plot(results, guesses, marker, color=color, markeredgecolor="black", label=name)
    if numbers:
        axis.legend(title="notebook", loc="center left", bbox_to_anchor=(1, 0.5), handletextpad=0)
    return f"{title}. Guess over result, points: {len(numbers)}, and the line where both are equal."


def _bars(axis: Axes, groups: Mapping[str, Sequence[Answer]]) -> str:
    """Skill by notebook, with the number of guesses under each name."""
    skills = [skill(group) for group in groups.values()]
    axis.bar(range(len(groups)), skills, width=0.6, edgecolor="black")
    axis.axhline(0, color="black", linewidth=1)
    axis.set_xticks(range(len(groups)), [f"{name}\n{len(group)}" for name, group in groups.items()])
    axis.set(title="Skill: 1 exact, 0 as good as random", xlabel="notebook, number of guesses",
             ylabel="skill", xlim=(-0.6, max(len(groups), 4) - 0.4),
             ylim=(min(-0.5, *skills) - 0.05, 1.05))  # fmt: skip
    told = (f"{name} {_signed(value)}" for name, value in zip(groups, skills, strict=True))
    return f"Skill by notebook: {', '.join(told)}."


def _skill(answers: Sequence[Answer]) -> str:
    return _signed(skill(answers), skill_margin(answers) if len(answers) >= FEW else None)


def _signed(value: float, margin: float | None = None) -> str:
    return f"{value:+z.2f}" + ("" if margin is None else f" ± {margin:.2f} (95 %)")

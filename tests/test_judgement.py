"""Scores of guesses agree with simulation and enumeration; the figure shows all it says."""

from __future__ import annotations

import ast
import itertools
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from helpers import judgement, plots
from helpers.judgement import (
    NOTEBOOKS,
    figure,
    questions,
    random_error,
    skill,
    skill_margin,
    summary,
)
from helpers.predictions import Answer


def number(guess, outcome, low=0.0, high=1.0, key="01.a"):
    return Answer(key, guess, outcome, between=(low, high))


def choice(guess, outcome, options="ab", key="01.a"):
    return Answer(key, guess, outcome, options=tuple(options))


def random_numbers(generator, count, outcomes=None):
    """A learner who guesses uniformly; outcomes anywhere in the range unless given."""
    outcomes = generator.random(count) if outcomes is None else outcomes
    return [number(g, x) for g, x in zip(generator.random(count), outcomes, strict=True)]


unit = st.floats(0, 1)
anywhere = st.floats(-3, 4)
numbers = st.builds(number, unit, anywhere)
choices = st.builds(choice, st.sampled_from("abc"), st.sampled_from("abcz"), st.just("abc"))


@pytest.fixture
def draw():
    """The axes and the words of ``figure(...)``; closed at the end."""

    def drawn(answers, known=None):
        made, words = figure(answers, known or {})
        made.canvas.draw()
        return made, words

    yield drawn
    plots.plt.close("all")


@pytest.mark.parametrize("low, high", [(0, 1), (-20, 40)])
@pytest.mark.parametrize("x", [-0.7, 0, 0.1, 0.5, 0.8, 1, 1.4])
def test_the_expected_error_of_a_random_number_is_what_simulation_gives(x, low, high):
    outcome = low + x * (high - low)
    guesses = np.random.default_rng(0).uniform(low, high, 40_000)
    errors = abs(guesses - outcome) / (high - low)
    expected = random_error(number(low, outcome, low, high))
    assert abs(errors.mean() - expected) < 5 * stats.sem(errors)


@pytest.mark.parametrize("options", ["ab", "abc", "abcde"])
@pytest.mark.parametrize("outcome", ["a", "b", "none of them"])
def test_the_expected_error_of_a_random_choice_is_the_mean_over_all_options(options, outcome):
    answers = [choice(option, outcome, options) for option in options]
    wrong = np.mean([answer.guess != outcome for answer in answers])
    assert judgement.error(answers[0]) == (outcome != "a")
    assert random_error(answers[0]) == pytest.approx(wrong)


@given(st.lists(numbers | choices, min_size=1))
def test_skill_is_one_for_exact_guesses_and_has_a_floor(answers):
    assert -math.sqrt(2) - 1e-9 <= skill(answers) <= 1
    exact = [number(x, x) for x in (0.0, 0.3, 1.0)] + [choice("a", "a")]
    assert skill(exact) == 1


def test_the_floor_of_skill_is_reached():
    assert skill([number(0, math.sqrt(0.5))]) == pytest.approx(-math.sqrt(2))


@given(st.lists(anywhere, min_size=1))
def test_the_middle_of_the_range_is_never_worse_than_random(outcomes):
    assert skill([number(0.5, x) for x in outcomes]) >= 0


@given(unit, anywhere, st.floats(-100, 100), st.floats(0.01, 100))
def test_units_do_not_matter(guess, outcome, low, width):
    scaled = number(low + guess * width, low + outcome * width, low, low + width)
    assert skill([scaled]) == pytest.approx(skill([number(guess, outcome)]), abs=1e-6)


@given(st.lists(st.sampled_from("abcd"), min_size=1))
def test_skill_of_choices_is_the_share_right_corrected_for_chance(guesses):
    right = guesses.count("a") / len(guesses)
    assert skill([choice(g, "a", "abcd") for g in guesses]) == pytest.approx((right - 0.25) / 0.75)


def test_random_guessers_have_skill_zero_and_an_interval_that_mostly_holds_it():
    generator = np.random.default_rng(0)
    learners = [random_numbers(generator, 20) for _ in range(500)]
    skills = np.array([skill(answers) for answers in learners])
    held = [abs(s) <= skill_margin(a) for s, a in zip(skills, learners, strict=True)]
    assert abs(skills.mean()) < 5 * stats.sem(skills)
    assert 0.9 < np.mean(held) < 0.98


def test_the_margin_agrees_with_the_bootstrap():
    generator = np.random.default_rng(0)
    answers = random_numbers(generator, 200)
    pairs = [[of(a) for a in answers] for of in (judgement.error, random_error)]
    peer = stats.bootstrap(
        pairs, lambda e, r, axis: 1 - e.mean(axis) / r.mean(axis), paired=True, vectorized=True,
        n_resamples=4000, method="percentile", rng=generator,
    ).confidence_interval  # fmt: skip
    assert skill_margin(answers) == pytest.approx((peer.high - peer.low) / 2, rel=0.1)


def test_no_answers_have_no_skill():
    with pytest.raises(ValueError, match="answers must hold at least one guess"):
        skill([])


def test_without_guesses_the_summary_is_one_line_that_says_how():
    text = summary([], 0, {"01.a"})
    assert "None" in text and "predict" in text and "\n" not in text
    assert summary([], 3, {}).endswith("Guesses that wait for a result: 3.")


def test_the_summary_counts_what_is_there():
    answers = [number(0.5, 0.4), choice("a", "a")]
    lines = summary(answers, 2, {"01.a", "01.b", "02.c"}).splitlines()
    assert re.findall(r"\d+", lines[0]) == ["2", "3", "2"]
    assert [line.split(":")[0] for line in lines[1:]] == ["Numbers (1)", "Choices (1)"]
    assert "±" not in " ".join(lines) and "interval" not in " ".join(lines)


@pytest.mark.parametrize("shift", [-0.25, 0.25])
def test_the_summary_tells_which_way_a_learner_errs(shift):
    outcomes = np.linspace(30, 70, 9)
    told = summary([number(x + 100 * shift, x, 0, 100) for x in outcomes], 0, {})
    assert f"off by 0.25 of the range on average, random guesses by {0.25 + 1 / 60:.2f}" in told
    assert f"Guess minus result: {shift:+.2f} ± 0.00" in told


@pytest.mark.parametrize(("right", "count"), [(0, 5), (4, 7), (12, 12)])
def test_the_interval_of_choices_is_that_of_wilson(right, count):
    answers = [choice("a", "a" if k < right else "b") for k in range(count)]
    z, p = stats.norm.ppf(0.975), right / count
    middle = (p + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    ends = f"{abs(100 * (middle - half)):.0f} to {100 * (middle + half):.0f} %"
    line = f"{100 * p:.0f} % right (95 % interval {ends}), by chance 50 %."
    assert line in summary(answers, 0, {})


def test_early_and_late_notebooks_are_compared_once_each_has_a_few():
    early = [number(0.0, 1.0, key=f"0{k}.a") for k in (0, 0, 0, 1, 1)]
    late = [number(0.5, 0.5, key=f"0{k}.a") for k in (4, 4, 6, 6, 6)]
    told = summary(early + late, 0, {}).splitlines()[-1]
    assert told.startswith(
        "Before notebook 04: skill -1.00 ± 0.00 (95 %); from it on: +1.00 ± 0.00 (95 %)."
    )
    assert "Before" not in summary(early[1:] + late, 0, {})
    assert "Before" not in summary(early, 0, {})


def test_every_question_of_the_course_is_found():
    bounds = {}
    for path in NOTEBOOKS.glob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "code" and "predict(" in source:
                for node in ast.walk(ast.parse(source)):
                    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "predict":
                        given = {k.arg: k.value for k in node.keywords}
                        bounds[node.args[0].value] = given.get("between")
    found = questions()
    assert bounds and set(found) == set(bounds)
    for key, node in bounds.items():
        assert (found[key] is None) == (node is None)
        if node is not None:
            assert found[key][:2] == ast.literal_eval(node)


def notebook(folder, *cells, name="01_a.ipynb"):
    """A notebook of code cells (source, printed)."""
    made = [
        {"cell_type": "code", "source": [source], "outputs": [{"text": [printed]}]}
        for source, printed in cells
    ]
    folder.joinpath(name).write_text(json.dumps({"cells": made}), encoding="utf-8")


ASKS = 'predict("01.a", guess=None, between=(-1, 4))\npredict(\n    "01.b",\n    guess="x", options=("x", "y")\n)'


@pytest.mark.parametrize("remark", ["(No guess was recorded.)", "You said 2: off by 0.50."])
def test_stored_results_are_read(remark, tmp_path):
    told = f"epoch 1\nResult: y. {remark}\nother 3\nResult: 1.50. {remark}\n"
    notebook(tmp_path, (ASKS, "Your guess?"), ('outcome("01.b", w)\noutcome("01.a", v)', told))
    assert questions(tmp_path) == {"01.a": (-1, 4, 1.5), "01.b": None}


def test_a_result_that_cannot_be_told_apart_is_not_used(tmp_path):
    told = "Result: 2. (No guess was recorded.)\n"
    notebook(tmp_path, (ASKS, ""), ('if v:\n    outcome("01.a", v)\noutcome("01.b", w)', told))
    tmp_path.joinpath("00_torn.ipynb").write_text('{"cells": [<<<<<<<')
    assert questions(tmp_path) == {"01.a": None, "01.b": None}
    assert questions(tmp_path / "nowhere") == {}


def test_a_stored_word_is_no_result_of_a_question_for_a_number(tmp_path):
    told = "Result: hurts. (No guess was recorded.)\n"
    notebook(tmp_path, (ASKS, ""), ('outcome("01.a", v)', told))
    assert questions(tmp_path)["01.a"] is None


LEARNERS = {
    "one number": [number(0.2, 0.9)],
    "one choice": [choice("a", "b")],
    "outcomes beyond the range": [number(0, 3.5), number(1, -2.5, key="07.a")],
    "many": [number(g, x, key=f"0{k}.a") for k, (g, x) in enumerate(itertools.product((0, 1, 0.3), (0, 0.6, 1)))]
    + [choice("a", "b", key="09.b")],
}  # fmt: skip
KNOWN = {"00.a": (0, 1, 0.9), "01.a": (-20, 40, -5), "02.b": None, "03.c": (1, 50, 55)}


@pytest.mark.parametrize("answers", [*LEARNERS.values(), []], ids=[*LEARNERS, "nobody"])
def test_nothing_is_cut_off(answers, draw):
    made, _ = draw(answers, KNOWN)
    inside = made.bbox.padded(0.5)
    for axis in made.axes:
        assert inside.containsx(axis.get_tightbbox().x0) and inside.containsx(
            axis.get_tightbbox().x1
        )
        assert inside.containsy(axis.get_tightbbox().y0) and inside.containsy(
            axis.get_tightbbox().y1
        )
        for line in axis.lines:
            if line.get_label()[0] != "_":
                assert all(axis.viewLim.contains(x, y) for x, y in line.get_xydata())
        for bar in axis.patches:
            assert axis.viewLim.containsy(bar.get_height())


def test_each_number_is_a_point_and_each_notebook_a_shape(draw):
    answers = [number(10 + k, 5 * k, 10, 30, key=f"{k:02d}.a") for k in range(10)]
    made, _ = draw(answers)
    lines = made.axes[0].get_legend_handles_labels()[0]
    assert [line.get_label() for line in lines] == [f"{k:02d}" for k in range(10)]
    points = np.concatenate([line.get_xydata() for line in lines])
    np.testing.assert_allclose(points, [[(5 * k - 10) / 20, k / 20] for k in range(10)])
    assert len({line.get_marker() for line in lines}) == 10


def test_the_bars_are_the_skill_of_each_notebook_as_the_words_say(draw):
    answers = [number(0, 0, key="01.a"), choice("a", "b", key="04.a"), choice("a", "a", key="04.b")]
    made, words = draw(answers)
    assert [bar.get_height() for bar in made.axes[1].patches] == [1, 0]
    assert [t.get_text() for t in made.axes[1].get_xticklabels()] == ["01\n1", "04\n2"]
    assert words.endswith("Skill by notebook: 01 +1.00, 04 +0.00.")
    assert "nvented" not in words


def test_without_numbers_the_figure_says_so(draw):
    made, words = draw([choice("a", "b")])
    assert made.axes[0].get_title() == "Your numbers: none yet" and "none yet" in words


def test_without_guesses_invented_learners_meet_the_real_results_and_are_called_so(draw):
    made, words = draw([], KNOWN)
    xs = [0.9, 0.25, 54 / 49]
    for axis in made.axes:
        assert axis.get_title().startswith("Invented") and axis.get_title() in words
        points = np.concatenate([line.get_xydata() for line in axis.get_legend_handles_labels()[0]])
        np.testing.assert_allclose(points[:, 0], xs)
    assert f"always the middle, skill {skill([number(0.5, x) for x in xs]):+.2f}" in words
    assert (points[:, 1] >= 0).all() and (points[:, 1] <= 1).all() and np.ptp(points[:, 1]) > 0.1
    again, _ = draw([], KNOWN)
    peers = [line.get_xydata() for line in again.axes[1].get_legend_handles_labels()[0]]
    np.testing.assert_array_equal(points, np.concatenate(peers))


def test_without_known_results_there_is_no_example(draw):
    made, _ = draw([], {"00.a": None})
    assert [axis.get_title().split(": ")[-1] for axis in made.axes] == ["none yet"] * 2

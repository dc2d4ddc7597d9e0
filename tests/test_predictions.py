"""Guesses: recorded, scored, kept apart from the run of a notebook, never lost."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers import predictions
from helpers.predictions import Answer, answered, outcome, predict


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "guesses.json"
    monkeypatch.setenv("PIXELWISE_PREDICTIONS", str(path))
    return path


def test_unanswered_it_says_how_and_writes_nothing(file, capsys):
    predict("a", between=(0, 1))
    outcome("a", 0.5)
    assert capsys.readouterr().out.splitlines() == [
        "Your guess? Put a number from 0 to 1 in place of None and run this cell. (Or read on.)",
        "Result: 0.50. (No guess was recorded.)",
    ]
    assert not file.exists()


def test_a_number_is_recorded_and_scored(file, capsys):
    predict("a", 0.8, between=(0, 1))
    outcome("a", 0.534)
    assert capsys.readouterr().out.splitlines()[-1] == "Result: 0.53. You said 0.8: off by 0.27."
    assert json.loads(file.read_text()) == {
        "a": {"guess": 0.8, "between": [0, 1], "outcome": 0.534}
    }


@pytest.mark.parametrize(("value", "verdict"), [("up", "right"), ("down", "not this time")])
def test_a_choice_is_recorded_and_scored(value, verdict, capsys):
    predict("b", "up", options=("up", "down"))
    outcome("b", value)
    assert capsys.readouterr().out.splitlines()[-1] == f"Result: {value}. You said up: {verdict}."


def test_a_guess_survives_running_the_cell_unanswered(capsys):
    predict("a", 0.8, between=(0, 1))
    predict("a", between=(0, 1))
    outcome("a", 0.8)
    assert "Your earlier guess stands: 0.8." in capsys.readouterr().out


def test_guesses_do_not_disturb_each_other(file):
    predict("a", 1, between=(0, 1))
    predict("b", "up", options=("up", "down"))
    assert set(json.loads(file.read_text())) == {"a", "b"}


@pytest.mark.parametrize("text", ["{ not json", '["a list"]', "3"])
def test_an_unreadable_file_is_kept_aside(text, file, capsys):
    file.parent.mkdir()
    file.write_text(text)
    predict("a", 1, between=(0, 1))
    assert json.loads(file.read_text()) == {"a": {"guess": 1, "between": [0, 1]}}
    assert file.with_suffix(".unreadable").read_text() == text
    assert "guesses.json could not be read: it is now guesses.unreadable" in capsys.readouterr().out


def test_nothing_half_written(file, monkeypatch):
    predict("a", 1, between=(0, 1))
    before = file.read_text()

    def fail(path, text, **_options):
        path.write_bytes(text[:5].encode())
        raise OSError("disk full")

    monkeypatch.setattr(predictions.Path, "write_text", fail)
    with pytest.raises(OSError, match="disk full"):
        predict("a", 0, between=(0, 1))
    assert file.read_text() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guess": 2, "between": (0, 1)}, "guess must be a number from 0 to 1, got 2"),
        ({"guess": "high", "between": (0, 1)}, "got 'high'"),
        ({"guess": True, "between": (0, 1)}, "got True"),
        ({"guess": float("nan"), "between": (0, 1)}, "got nan"),
        (
            {"guess": "left", "options": ("up", "down")},
            "guess must be one of 'up', 'down', got 'left'",
        ),
        ({"guess": 1}, "exactly one of"),
        ({"guess": 1, "between": (0, 1), "options": ("a",)}, "exactly one of"),
    ],
)
def test_bad_guesses_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        predict("a", **options)


def test_a_result_must_be_finite():
    with pytest.raises(ValueError, match="value must be finite, got nan"):
        outcome("a", float("nan"))


def test_answers_come_notebook_by_notebook_and_open_guesses_are_counted(capsys):
    predict("02.b", "up", options=("up", "down"))
    predict("01.a", 0.5, between=(-1, 1))
    predict("01.open", 0.5, between=(-1, 1))
    outcome("02.b", "down")
    outcome("01.a", 1.5)
    outcome("01.unasked", 1)
    capsys.readouterr()
    assert answered() == (
        [
            Answer("01.a", 0.5, 1.5, between=(-1, 1)),
            Answer("02.b", "up", "down", options=("up", "down")),
        ],
        1,
    )
    assert [answer.notebook for answer in answered()[0]] == ["01", "02"]
    assert not capsys.readouterr().out


def test_without_a_file_nothing_is_answered(file):
    assert answered() == ([], 0)
    assert not file.exists()


ODD = {
    "no key of the course": {"mine": {"guess": 1, "outcome": 1, "between": [0, 1]}},
    "no entry": {"01.a": 3},
    "no guess": {"01.a": {"outcome": 1, "between": [0, 1]}},
    "neither bounds nor options": {"01.a": {"guess": 1, "outcome": 1}},
    "guess below the bounds": {"01.a": {"guess": -1, "outcome": 1, "between": [0, 1]}},
    "guess beyond the bounds": {"01.a": {"guess": 2, "outcome": 1, "between": [0, 1]}},
    "bounds turned round": {"01.a": {"guess": 0.5, "outcome": 0.5, "between": [1, 0]}},
    "bounds that meet": {"01.a": {"guess": 1, "outcome": 1, "between": [1, 1]}},
    "three bounds": {"01.a": {"guess": 1, "outcome": 1, "between": [0, 1, 2]}},
    "a truth value": {"01.a": {"guess": True, "outcome": 1, "between": [0, 1]}},
    "not a number": {"01.a": {"guess": 1, "outcome": float("nan"), "between": [0, 1]}},
    "too large for a float": {"01.a": {"guess": 1, "outcome": 10**400, "between": [0, 10**401]}},
    "an outcome from elsewhere": {"01.a": {"guess": 1, "outcome": 5000, "between": [0, 1]}},
    "text for a number": {"01.a": {"guess": 1, "outcome": "up", "between": [0, 1]}},
    "number for a text": {"01.a": {"guess": "up", "outcome": 1, "options": ["up", "down"]}},
    "no such option": {"01.a": {"guess": "left", "outcome": "up", "options": ["up", "down"]}},
    "one option": {"01.a": {"guess": "up", "outcome": "up", "options": ["up"]}},
    "options of another kind": {"01.a": {"guess": "up", "outcome": "up", "options": ["up", []]}},
}


@pytest.mark.parametrize("entries", ODD.values(), ids=ODD)
def test_odd_entries_are_left_out_with_a_line_and_hide_no_other(entries, file, capsys):
    good = {"01.good": {"guess": 1, "outcome": 0, "between": [0, 1]}}
    file.parent.mkdir()
    file.write_text(json.dumps(entries | good))
    assert answered() == ([Answer("01.good", 1, 0, between=(0, 1))], 0)
    (line,) = capsys.readouterr().out.splitlines()
    assert repr(next(iter(entries))) in line and "left out" in line


amounts = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["up", "down"])
values = st.recursive(amounts, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
fields = st.sampled_from(["guess", "outcome", "between", "options"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(["01.a", "02.b", "c"]), st.dictionaries(fields, values)))
def test_whatever_the_file_holds_every_entry_is_an_answer_open_or_named(file, entries):
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(entries))
    printed = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", printed.append)
        answers, waiting = answered()
    assert len(answers) + waiting + len(printed) == len(entries)

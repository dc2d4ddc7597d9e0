"""Guesses: recorded, scored, kept apart from the run of a notebook, never lost."""

from __future__ import annotations

import json

import pytest

from helpers import predictions
from helpers.predictions import outcome, predict


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


def test_an_unreadable_file_is_kept_aside(file):
    file.parent.mkdir()
    file.write_text("{ not json")
    predict("a", 1, between=(0, 1))
    assert json.loads(file.read_text()) == {"a": {"guess": 1, "between": [0, 1]}}
    assert file.with_suffix(".unreadable").read_text() == "{ not json"


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

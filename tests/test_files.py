"""Files are written whole or not at all, by one process at a time where they are added to, and where
their user may write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from helpers import files
from helpers.files import locked, own, replacing

ROOT = Path(__file__).resolve().parents[1]
HOLD = """
import pathlib, sys, time
from helpers.files import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_keeps_other_processes_out_until_its_holder_dies(tmp_path):
    file = tmp_path / "deeper" / "rows.csv"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, file], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(filelock.Timeout):
                locked(file).acquire(timeout=0.2)
            with locked(file.with_name("others.csv")).acquire(timeout=0):
                pass  # another file is free
        finally:
            holder.kill()
    with locked(file).acquire(timeout=10):
        assert not file.exists()


def test_a_lock_where_no_folder_can_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        locked(tmp_path / "file" / "rows.csv")


def test_what_breaks_off_while_it_is_written_changes_nothing(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(file) as temporary:
        temporary.write_text("ne")
        raise KeyboardInterrupt
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_two_that_write_one_file_do_not_meet(tmp_path):
    file = tmp_path / "deeper" / "rows.csv"
    with replacing(file) as one, replacing(file) as two:
        two.write_text("two")
        one.write_text("one")
        assert not file.exists(), "nobody reads what is not whole"
    assert file.read_text() == "one"
    assert list(file.parent.iterdir()) == [file]


@pytest.fixture
def course(tmp_path, monkeypatch):
    """The ``data`` of a course, a home folder beside it, and what may not be written."""
    data, forbidden = tmp_path / "course" / "data", []
    data.mkdir(parents=True)
    monkeypatch.setattr(files, "DATA", data)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setattr(files.os, "access", lambda folder, _: folder not in forbidden)
    return data, forbidden


@pytest.mark.parametrize("name", ["predictions.json", "weights/local", "study/runs.json"])
def test_in_a_read_only_course_the_home_folder_stands_in(course, tmp_path, name):
    data, forbidden = course
    assert own(data / name) == data / name
    forbidden.append(data)  # the folders below are not there: the one above decides
    assert own(data / name) == tmp_path / "home" / ".pixelwise" / name


def test_a_folder_that_may_be_written_in_a_course_that_may_not_is_used(course):
    data, forbidden = course
    forbidden += [data, data / "weights"]
    (data / "weights" / "local").mkdir(parents=True)
    assert own(data / "weights" / "local") == data / "weights" / "local"


def test_files_outside_the_course_stay_where_they_are(course, tmp_path):
    _, forbidden = course
    forbidden.append(tmp_path)
    assert own(tmp_path / "elsewhere.json") == tmp_path / "elsewhere.json"

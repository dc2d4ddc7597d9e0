"""Files are written whole or not at all, and by one process at a time where they are added to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from helpers.files import locked, replacing

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

"""One course folder serves many users: read-only, or with a cache that all of a group may write.

Run by root, the users are real: processes with other user ids than the owner of the course. Run by
anybody else, they are two processes of that user, and the course is made read-only for him.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
USERS, GROUP = (65533, 65534), 65532
LONGEST = 300  # seconds

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "setuid"), reason="no user ids on this system"),
]

COMMON = """
import contextlib, hashlib, io, json, os, sys
import numpy as np, torch
from helpers import checkpoints, datasets, predictions, runs, scenes, training

assert datasets.__file__.startswith(os.environ["PYTHONPATH"]), datasets.__file__
# The interpreter may lie where a user may not go: what is imported late is imported now.
pair = torch.zeros(3, 4, 4), torch.zeros(4, 4, dtype=torch.long)
training.fit(torch.nn.Conv2d(3, 8, 1), [pair, pair], epochs=1, progress=False)
checkpoints.load_or_train("colour")
np.savez(file := io.BytesIO(), a=1), np.load(io.BytesIO(file.getvalue()))["a"]

datasets.STREETS_COUNT.update(train=4, val=2, test=2)
for name in ("known", "new", "homeless"):
    checkpoints.RECIPES[name] = checkpoints.Recipe(
        "colour", size=(32, 32), train_count=4, epochs=1, batch_size=2)
rendered, render = [], scenes.render
scenes.render = lambda *scene: rendered.append(scene) or render(*scene)

def digest(arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()

def scene(count):
    rendered.clear()
    data = datasets.load("streets", "val", count=count)
    return digest([data.images, data.masks, data.cues]), len(rendered)

def network(name):
    found = checkpoints.load_or_train(name, progress=False)
    return digest(found.model.cpu().state_dict().values()), found.trained_now

def table(key):
    made = []
    row = runs.kept(runs.STUDY / "runs.json", key, {"by": "us"}, lambda: made.append(1) or {"miou": 0.5})
    return row["miou"], bool(made)

def printed(action, *arguments, **options):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        result = action(*arguments, **options)
    return [result, out.getvalue()]

user, group, *caches = *map(int, sys.argv[1:3]), *sys.argv[3:]
if os.getuid() == 0 and user:
    os.setgroups([]), os.setgid(group), os.setuid(user)
print("ready", flush=True)
sys.stdin.readline()
"""

TEACHER = """
report = {"scenes": scene(2), "network": network("known"), "table": table("old")}
printed(predictions.predict, "01.pole", 0.25, between=(0, 1))
print(json.dumps(report))
"""

STUDENT = """
report = {"user": os.getuid()}
for attempt in ("first", "again"):
    report[attempt] = {
        "hit": printed(scene, 2), "miss": printed(scene, 3),
        "shipped": printed(network, "colour"), "known": printed(network, "known"),
        "new": printed(network, "new"),
        "old row": printed(table, "old"), "new row": printed(table, "mine"),
        "unasked": printed(predictions.outcome, "01.pole", 0.5),
        "guess": printed(predictions.predict, "01.area", user / 1e5, between=(0, 1)),
        "outcome": printed(predictions.outcome, "01.area", 0.5),
    }
os.environ["HOME"] = os.environ["LOCKED"]
report["homeless"] = printed(network, "homeless"), printed(table, "homeless")
savez = np.savez
def when_both_have_missed(*arguments, **arrays):
    print("missed", flush=True, file=sys.__stdout__)
    sys.stdin.readline()
    savez(*arguments, **arrays)
for cache in caches:
    os.environ["PIXELWISE_CACHE"] = cache
    np.savez = when_both_have_missed
    report[cache] = [printed(scene, 2)]
    np.savez = savez
    report[cache].append(printed(scene, 2))
print(json.dumps(report))
"""


def run_all(
    script: str, course: Path, users: dict[Path, tuple[int, int]], caches: Sequence[Path] = ()
) -> list[dict]:
    """Reports of `script`, run at once for every home folder and its (user, group) in `users`.

    All wait for each other before they begin, and before they write into each of `caches`.
    """
    with ExitStack() as stack:
        running = []
        for home, ids in users.items():
            surroundings = {
                **{k: v for k, v in os.environ.items() if not k.startswith("PIXELWISE_")},
                "HOME": str(home), "USER": f"user{ids[0]}", "PYTHONPATH": str(course),
                "LOCKED": str(course / "locked"),  # a home folder that its user may not write
                "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1",
            }  # fmt: skip
            process = subprocess.Popen(
                [sys.executable, "-c", COMMON + script, *map(str, (*ids, *caches))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True, cwd=home, env=surroundings,
            )  # fmt: skip
            running.append(stack.enter_context(process))
            alarm = threading.Timer(LONGEST, process.kill)  # nothing to read is then an end
            alarm.start()
            stack.callback(alarm.cancel)
            stack.callback(process.kill)
        for word in ("ready", *("missed" for _ in caches)):
            for process in running:
                assert process.stdout.readline() == f"{word}\n", process.stderr.read()
            for process in running:
                process.stdin.write("\n")
                process.stdin.flush()
        outputs = [process.communicate() for process in running]
        assert all(process.returncode == 0 for process in running), outputs
        return [json.loads(out) for out, _ in outputs]


def state(folder: Path) -> dict[str, tuple]:
    """All that a write would change: of every file and folder, who, when and what."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        s = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        found[str(path)] = s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_uid, s.st_mode, content
    return found


@pytest.fixture(scope="module")
def shared():
    """A folder that every user may enter, which those of pytest are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for place, _, _ in os.walk(folder):
        os.chmod(place, 0o755)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def homes(shared):
    """Home folders that nobody else may enter, and whose they are."""
    found = {}
    for user in USERS:
        home = shared / f"home-{user}"
        home.mkdir(mode=0o700)
        if os.getuid() == 0:
            os.chown(home, user, GROUP)
        found[home] = user, GROUP
    return found


@pytest.fixture(scope="module")
def course(shared):
    """A course folder as an administrator leaves it, and what he got from it himself."""
    folder = shared / "course"
    shutil.copytree(ROOT / "helpers", folder / "helpers", ignore=shutil.ignore_patterns("*.pyc"))
    (folder / "data" / "weights").mkdir(parents=True)
    (folder / "locked" / ".pixelwise" / "weights" / "local").mkdir(parents=True)
    shutil.copy(
        ROOT / "data" / "weights" / "colour-streets-seed0.safetensors", folder / "data" / "weights"
    )
    (teacher,) = run_all(TEACHER, folder, {shared: (0, 0)})
    for place, _, names in os.walk(folder):
        for path in (Path(place), *(Path(place, name) for name in names)):
            path.chmod(path.stat().st_mode & ~0o222)
    return folder, teacher


@pytest.fixture(scope="module")
def caches(shared):
    """Empty caches that both students may write: a folder of their group, and one like /tmp."""
    found = []
    for mode in (0o2775, 0o1777):
        cache = shared / f"cache-{mode:o}"
        cache.mkdir()
        if os.getuid() == 0:
            os.chown(cache, 0, GROUP)
        cache.chmod(mode)
        found.append(cache)
    return found


@pytest.fixture(scope="module")
def lesson(course, homes, caches):
    """What two students got at the same time, and the course folder before and after."""
    folder, teacher = course
    before = state(folder)
    students = run_all(STUDENT, folder, homes, caches)
    return teacher, students, before, state(folder)


def both(lesson, what: str, attempt: str = "first") -> list:
    """The answer of both students to `what`, which is the same for both; and what was printed."""
    one, two = (student[attempt][what] for student in lesson[1])
    assert one == two
    return one


def test_the_students_are_two_users(lesson):
    wanted = list(USERS) if os.getuid() == 0 else [os.getuid()] * 2
    assert [student["user"] for student in lesson[1]] == wanted


def test_scenes_of_the_shared_cache_are_read_and_not_rendered(lesson):
    made, rendered = lesson[0]["scenes"]
    assert rendered == 2
    for attempt in ("first", "again"):
        assert both(lesson, "hit", attempt) == [[made, 0], ""]


def test_scenes_that_the_cache_lacks_are_rendered_each_time_without_a_word(lesson):
    (first, rendered), words = both(lesson, "miss")
    assert (rendered, words) == (3, "")
    assert both(lesson, "miss", "again") == [[first, 3], ""]


def test_weights_of_the_course_are_loaded(lesson):
    assert both(lesson, "shipped")[0][1] is False
    trained, now = lesson[0]["network"]
    assert now
    assert both(lesson, "known") == [[trained, False], ""]


def test_a_new_network_is_trained_once_and_kept_at_home(lesson, homes):
    (first, now), words = both(lesson, "new")
    assert (now, words) == (True, "")
    assert both(lesson, "new", "again") == [[first, False], ""]
    for home in homes:
        kept = home / ".pixelwise" / "weights" / "local" / "new-streets-seed0.safetensors"
        assert kept.is_file()


def test_rows_of_a_study_are_read_and_new_ones_kept_at_home(lesson, homes):
    assert both(lesson, "old row") == [[0.5, False], ""]
    assert both(lesson, "new row") == [[0.5, True], ""]
    assert both(lesson, "new row", "again") == [[0.5, False], ""]
    for home in homes:
        assert list(json.loads((home / ".pixelwise" / "study" / "runs.json").read_text())) == [
            "mine"
        ]


def test_where_nothing_can_be_kept_the_course_goes_on_and_says_so(lesson):
    for student in lesson[1]:
        ((_, trained), words), (made, more) = student["homeless"]
        assert trained and words.startswith("homeless is trained, but could not be kept: ")
        assert made == [0.5, True] and more.startswith("homeless could not be kept: ")
        assert words.count("\n") == more.count("\n") == 1


def test_guesses_are_a_students_own(lesson, homes):
    for student, (home, (user, _)) in zip(lesson[1], homes.items(), strict=True):
        guess = user / 1e5
        assert student["first"]["guess"][1] == f"Noted: {guess}. Now see.\n"
        assert f"You said {guess:g}" in student["first"]["outcome"][1]
        entries = json.loads((home / ".pixelwise" / "predictions.json").read_text())
        assert entries == {"01.area": {"guess": guess, "between": [0, 1], "outcome": 0.5}}
    assert "No guess was recorded" in both(lesson, "unasked")[1], "that was the teacher's"


def test_nothing_in_the_course_is_written_or_touched(lesson):
    _, _, before, after = lesson
    assert after == before
    assert len([name for name in before if name.endswith(".npz")]) >= 3


def test_two_who_miss_at_once_in_a_cache_they_may_write_leave_one_whole_file(lesson, caches):
    made, _ = lesson[0]["scenes"]
    for cache in caches:
        for student in lesson[1]:
            assert student[str(cache)] == [[[made, 2], ""], [[made, 0], ""]]
        (file,) = cache.iterdir()
        assert re.fullmatch(r"streets-val-2-96x128-\w{12}\.npz", file.name)

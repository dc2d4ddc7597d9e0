"""One interface for all data: right shapes, right labels, masks that are never blended."""

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import tv_tensors

from helpers import camvid, datasets, scenes
from helpers.classes import CAMVID, IGNORE_INDEX, PETS, STREETS, VOC

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
REAL = Path(os.environ.get("PIXELWISE_DATA") or BESIDE)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Each test has a cache of its own and no data folder but the one it names."""
    monkeypatch.setenv("PIXELWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PIXELWISE_DATA", raising=False)
    monkeypatch.setattr(camvid, "DATA", tmp_path / "no data")
    return tmp_path / "cache"


@pytest.fixture
def rendered(monkeypatch):
    """Replaces the renderer by one that is quick and writes down what it was asked for."""
    asked = []

    def render(seed, index, size):
        asked.append((seed, index))
        flat = np.full(size, index % 8, np.uint8)
        return SimpleNamespace(image=np.stack([flat] * 3, -1), mask=flat, cue=flat // 4)

    monkeypatch.setattr(scenes, "render", render)
    return asked


# Streets


def test_streets_items_are_the_rendered_scenes():
    data = datasets.load("streets", "val", count=3, size=(48, 64))
    assert (data.name, data.split, data.size, len(data)) == ("streets", "val", (48, 64), 3)
    assert data.classes is STREETS
    for i, (image, mask) in enumerate(data):
        scene = scenes.render(datasets.STREETS_SEED, datasets.STREETS_RANGE + i, (48, 64))
        assert type(image) is type(mask) is torch.Tensor
        assert (image.dtype, mask.dtype) == (torch.float32, torch.int64)
        assert torch.equal((image * 255).round().byte().permute(1, 2, 0), torch.tensor(scene.image))
        assert np.array_equal(mask, scene.mask)
        assert data.cue(i).dtype == np.uint8 and np.array_equal(data.cue(i), scene.cue)
        assert image.min() >= 0 and image.max() <= 1 and mask.max() < len(STREETS)


def test_streets_defaults(rendered):
    lengths = {split: len(datasets.load("streets", split, (4, 4))) for split in camvid.SPLITS}
    assert lengths == {"train": 400, "val": 100, "test": 150}
    assert len(set(rendered)) == len(rendered) == 650
    assert datasets.load("streets", "val").size == (96, 128)


def test_no_scene_is_ever_in_two_splits(rendered):
    first = {}
    for split in camvid.SPLITS:
        datasets.load("streets", split, (4, 4), count=2)
        first[split] = rendered[-2][1]
        with pytest.raises(ValueError, match="count must be at most 1000000"):
            datasets.load("streets", split, (4, 4), count=datasets.STREETS_RANGE + 1)
    starts = sorted(first.values())
    assert min(np.diff(starts)) >= datasets.STREETS_RANGE
    assert {seed for seed, _ in rendered} == {datasets.STREETS_SEED}


def test_more_scenes_begin_with_the_same_ones(rendered):
    datasets.load("streets", "train", (4, 4), count=5)
    datasets.load("streets", "train", (4, 4), count=8)
    assert rendered[5:10] == rendered[:5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ade20k", "train"), "name must be one of streets, camvid, pets, voc.*; got 'ade20k'"),
        (("streets", "dev"), "split must be one of train, val, test; got 'dev'"),
        (("streets", "val", (96,)), r"size must be \(H, W\)"),
        (("streets", "val", 96), r"size must be \(H, W\)"),
        (("streets", "val", (96, 0)), r"size must be \(H, W\)"),
        (("streets", "val", (96, 128), None, 0), "count must be at least 1; got 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        datasets.load(*arguments)


def test_splits_and_classes(tmp_path):
    assert datasets.splits("streets") == ("train", "val", "test")
    assert datasets.splits("camvid", write_camvid(tmp_path / "camvid")) == ("train", "val")
    with pytest.raises(ValueError, match="name must be one of"):
        datasets.splits("ade20k")
    known = {"streets": STREETS, "camvid": CAMVID, "pets": PETS, "voc": VOC}
    assert {name: datasets.CLASSES[name] for name in known} == known


# the cache


def test_the_second_load_renders_nothing(rendered, cache):
    first = datasets.load("streets", "train", (4, 6), count=5)
    (file,) = cache.iterdir()
    assert file.name == f"streets-train-5-4x6-{scenes.fingerprint()[:12]}.npz"
    rendered.clear()
    again = datasets.load("streets", "train", (4, 6), count=5)
    assert rendered == []
    assert torch.equal(first.images, again.images) and torch.equal(first.masks, again.masks)
    assert first.images.stride() == again.images.stride()  # or networks round differently
    assert np.array_equal(first.cues, again.cues)


def test_another_renderer_is_another_cache(rendered, monkeypatch):
    datasets.load("streets", "train", (4, 6), count=5)
    monkeypatch.setattr(scenes, "fingerprint", lambda: "f" * 64)
    datasets.load("streets", "train", (4, 6), count=5)
    assert len(rendered) == 10


def spoil(file, how):
    whole = file.read_bytes()
    if how == "other arrays":
        np.savez(file.open("wb"), masks=np.zeros((2, 4, 6), np.uint8))
    elif how == "no masks":
        np.savez(file.open("wb"), images=np.zeros(3))
    elif how == "flipped bits":
        file.write_bytes(whole.replace(b"\1" * 8, b"\2" * 8))
    else:
        file.write_bytes({"empty": b"", "garbage": b"x" * 99, "truncated": whole[:700]}[how])


@pytest.mark.parametrize(
    "how", ["empty", "garbage", "truncated", "flipped bits", "other arrays", "no masks"]
)
def test_a_damaged_cache_is_made_again(rendered, cache, capsys, how):
    datasets.load("streets", "train", (4, 6), count=5)
    (file,) = cache.iterdir()
    good = file.read_bytes()
    spoil(file, how)
    assert file.read_bytes() != good
    assert len(datasets.load("streets", "train", (4, 6), count=5)) == 5
    note = capsys.readouterr().err
    assert note.count("\n") == 1 and file.name in note and "made again" in note
    datasets.load("streets", "train", (4, 6), count=5)
    assert len(rendered) == 10 and list(cache.iterdir()) == [file]


def test_a_cache_that_cannot_be_written_is_no_error(rendered, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("PIXELWISE_CACHE", str(tmp_path / "file" / "cache"))
    assert len(datasets.load("streets", "val", (4, 4), count=2)) == 2
    assert capsys.readouterr() == ("", "")  # and nothing is printed where no terminal is


def test_a_write_that_fails_leaves_no_file(rendered, cache, monkeypatch):
    def fails(file, **_):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fails)
    datasets.load("streets", "val", (4, 4), count=2)
    assert list(cache.iterdir()) == []


def test_writers_at_the_same_time_do_not_meet(rendered, cache, monkeypatch):
    barrier = threading.Barrier(4)
    savez, names = np.savez, set()

    def together(file, **arrays):
        names.add(file.name)
        barrier.wait(10)  # all have opened their file before any of them writes
        savez(file, **arrays)

    monkeypatch.setattr(np, "savez", together)
    load = lambda: datasets.load("streets", "val", (4, 4), count=20)  # noqa: E731
    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == 4 and len(list(cache.iterdir())) == 1
    rendered.clear()
    assert len(load()) == 20 and rendered == []


def test_progress_is_shown_on_request_only(rendered, capsys):
    datasets.load("streets", "val", (4, 4), count=2)
    assert capsys.readouterr().err == ""
    datasets.load("streets", "val", (4, 4), count=3, progress=True)
    assert "Streets val" in capsys.readouterr().err


# CamVid: folders as in the archive, made here


def write_camvid(folder, count=4, size=(36, 48), splits=("train", "val")):
    rng = np.random.default_rng(0)
    for split in splits:
        for kind, shape in (("", (*size, 3)), ("annot", size)):
            (folder / f"{split}{kind}").mkdir(parents=True)
            for i in range(count):
                array = rng.integers(0, 12, shape, dtype=np.uint8)
                Image.fromarray(array).save(folder / f"{split}{kind}" / f"frame_{i}.png")
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_camvid(tmp_path / "data" / "camvid")


def test_camvid_items_are_the_files(folder):
    data = datasets.load("camvid", "val", size=(36, 48), root=folder)
    assert (data.name, data.split, data.size, len(data)) == ("camvid", "val", (36, 48), 4)
    assert data.classes is CAMVID
    image, mask = data[2]
    pixels = np.asarray(Image.open(folder / "val/frame_2.png"))
    labels = np.asarray(Image.open(folder / "valannot/frame_2.png")).astype(int)
    assert type(image) is type(mask) is torch.Tensor
    assert (image.dtype, mask.dtype) == (torch.float32, torch.int64)
    assert np.allclose(image.permute(1, 2, 0) * 255, pixels, atol=1e-4)
    assert np.array_equal(mask, np.where(labels == 11, IGNORE_INDEX, labels))
    assert (mask == IGNORE_INDEX).any()


def test_camvid_is_found_in_every_place_that_is_promised(folder, tmp_path, monkeypatch):
    def found(root=None):
        return len(datasets.load("camvid", "train", (9, 12), root))

    assert found(folder) == found(folder.parent) == found(str(folder.parent)) == 4
    monkeypatch.setattr(camvid, "DATA", folder.parent)
    assert found() == 4
    monkeypatch.setenv("PIXELWISE_DATA", str(write_camvid(tmp_path / "env/camvid", 2).parent))
    assert found() == 2
    assert found(folder) == 4
    assert found(write_camvid(tmp_path / "archive/CamVid", 3).parent) == 3
    monkeypatch.setenv("PIXELWISE_DATA", str(tmp_path / "other data"))
    assert found() == 4


def test_a_wrong_folder_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PIXELWISE_DATA", str(tmp_path / "here"))
    for root in (None, tmp_path / "there"):
        with pytest.raises(FileNotFoundError, match="no CamVid frames") as error:
            datasets.load("camvid", "train", root=root)
        assert "PIXELWISE_DATA" in str(error.value)
        assert "python -m helpers.camvid" in str(error.value)
        assert str(root or tmp_path / "here") in str(error.value)


def test_download_happens_only_when_asked_and_needed(folder, tmp_path, monkeypatch):
    calls = []

    def download(root, progress):
        calls.append(root)
        return write_camvid(root / "camvid")

    monkeypatch.setattr(camvid, "download", download)
    datasets.load("camvid", "train", root=folder, download=True)
    assert calls == []
    empty = tmp_path / "empty"
    with pytest.raises(FileNotFoundError):
        datasets.load("camvid", "train", root=empty)
    assert len(datasets.load("camvid", "train", root=empty, download=True)) == 4
    assert calls == [empty]


def test_a_missing_split_says_which_are_there(folder):
    with pytest.raises(FileNotFoundError, match=r"'test' is not in .* splits there: train, val"):
        datasets.load("camvid", "test", root=folder)


@pytest.mark.parametrize("gone", ["trainannot/frame_1.png", "train/frame_1.png"])
def test_an_image_and_its_labels_come_together(folder, gone):
    (folder / gone).unlink()
    with pytest.raises(FileNotFoundError, match=r"same file names; frame_1\.png without a partner"):
        datasets.load("camvid", "train", root=folder)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((36, 48), 12, np.uint8), r"frame_1\.png: labels must be .*0\.\.11.*\[12\]"),
        (np.zeros((36, 48, 3), np.uint8), r"frame_1\.png: labels must be .*\(36, 48, 3\)"),
        (np.full((36, 48), 3, np.uint16), r"frame_1\.png: labels must be .*uint16.*\[3\]"),
        (np.zeros((36, 50), np.uint8), r"frame_1\.png is 36 x 48.*frame_1\.png is 36 x 50"),
    ],
)
def test_labels_are_checked(folder, labels, message):
    Image.fromarray(labels).save(folder / "trainannot/frame_1.png")
    with pytest.raises(ValueError, match=message):
        datasets.load("camvid", "train", root=folder)


@pytest.mark.parametrize("content", [b"", b"no png"])
def test_a_file_that_is_no_image_is_named(folder, content):
    (folder / "trainannot/frame_1.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"frame_1\.png cannot be read"):
        datasets.load("camvid", "train", root=folder)


def test_count_takes_frames_from_all_over_the_split(folder):
    every = datasets.load("camvid", "train", (36, 48), folder)
    some = datasets.load("camvid", "train", (36, 48), folder, count=2)
    assert torch.equal(some.masks, every.masks[::2])
    with pytest.raises(ValueError, match="count must be at most 4, the frames of train; got 5"):
        datasets.load("camvid", "train", root=folder, count=5)


def test_the_cache_follows_the_files(folder, monkeypatch):
    read, calls = datasets.read_pair, []

    def counted(*arguments):
        calls.append(arguments)
        return read(*arguments)

    monkeypatch.setattr(datasets, "read_pair", counted)
    before = datasets.load("camvid", "train", (36, 48), folder)
    assert torch.equal(datasets.load("camvid", "train", (36, 48), folder).images, before.images)
    assert len(calls) == 4
    Image.fromarray(np.full((36, 48), 5, np.uint8)).save(folder / "trainannot/frame_3.png")
    after = datasets.load("camvid", "train", (36, 48), folder)
    assert len(calls) == 8
    assert (after.masks[3] == 5).all() and torch.equal(after.masks[:3], before.masks[:3])


# resizing


@pytest.mark.parametrize("width", [128, 100, 47, 500])
def test_image_and_mask_keep_the_same_place_when_resized(tmp_path, width):
    """A ramp as image, the same ramp in steps as labels: each label tells where its pixel was."""
    x = np.arange(360)
    ramp = np.repeat((x / 2).astype(np.uint8)[None], 8, 0)
    steps = np.repeat((x // 33).astype(np.uint8)[None], 8, 0)
    Image.fromarray(np.stack([ramp] * 3, -1)).save(tmp_path / "image.png")
    Image.fromarray(steps).save(tmp_path / "mask.png")
    image, mask = datasets.read_pair(tmp_path / "image.png", tmp_path / "mask.png", (8, width))
    centre = (np.arange(width) + 0.5) * 360 / width  # of each new pixel, in the old picture
    clear = np.abs(centre / 33 - np.round(centre / 33)) > 1e-9  # a tie may fall either way
    assert np.array_equal(mask[0][clear], centre[clear] // 33)
    inner = slice(4, -4)  # at the frame the filter has only one side
    assert np.abs(image[0, 0].astype(float) * 2 + 0.5 - centre)[inner].max() < 2


def test_bilinear_masks_invent_labels_and_ours_do_not(tmp_path):
    """Sky (0) beside road (3): blended, the border claims building (1) and pole (2)."""
    labels = np.zeros((30, 40), np.uint8)
    labels[np.add.outer(np.arange(30), np.arange(40)) > 30] = 3
    labels[:10, :10] = 11  # void
    Image.fromarray(labels).save(tmp_path / "mask.png")
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(tmp_path / "image.png")
    blended = np.asarray(Image.fromarray(labels).resize((23, 17), Image.Resampling.BILINEAR))
    assert {1, 2} <= set(blended[10:].flatten().tolist())  # far from void
    _, mask = datasets.read_pair(tmp_path / "image.png", tmp_path / "mask.png", (17, 23))
    assert set(np.unique(mask)) == {0, 3, IGNORE_INDEX}


# transforms and tensors


def test_a_transform_gets_tv_tensors_and_items_stay_plain(rendered):
    got = []

    def transform(image, mask):
        got.extend((type(image), type(mask)))
        return image, mask

    data = datasets.load("streets", "val", (4, 6), count=2, transform=transform)
    image, mask = data[0]
    assert got == [tv_tensors.Image, tv_tensors.Mask]
    assert type(image) is type(mask) is torch.Tensor
    assert (image.dtype, mask.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("transform", [None, lambda image, mask: (1 - image, mask.flip(-1))])
def test_as_tensors_equals_the_items_in_a_row(transform):
    data = datasets.load("streets", "val", (32, 48), count=3, transform=transform)
    images, masks = datasets.as_tensors(data)
    items = [data[i] for i in range(3)]
    assert torch.equal(images, torch.stack([image for image, _ in items]))
    assert torch.equal(masks, torch.stack([mask for _, mask in items]))
    assert (images.dtype, masks.dtype) == (torch.float32, torch.int64)
    batch = next(iter(DataLoader(data, batch_size=3)))
    assert torch.equal(batch[0], images) and torch.equal(batch[1], masks)


H, W = 40, 60


def coordinates():
    """An image whose colour is the place of the pixel, a mask whose label is: 1000 + y W + x."""
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    image = torch.stack([(x + 1) / 100, (y + 1) / 100, torch.ones(H, W)])
    return tv_tensors.Image(image.float()), tv_tensors.Mask(1000 + y * W + x)


def test_augmented_image_and_mask_stay_aligned():
    torch.manual_seed(0)
    change = datasets.augment((H, W), color=0)
    shifts, flipped, padded = [], set(), 0
    for _ in range(60):
        image, mask = change(*coordinates())
        assert image.shape == (3, H, W) and mask.shape == (H, W)
        void = mask == IGNORE_INDEX
        assert torch.equal(image[2] == 0, void)  # black exactly where void
        assert set(mask[~void].tolist()) <= set(coordinates()[1].flatten().tolist())
        place, label = image * 100 - 1, mask - 1000
        inner = ~void & (label % W > 1) & (label % W < W - 2)
        inner &= (label // W > 1) & (label // W < H - 2)  # the filter has one side at the frame
        dx, dy = (place[0] - label % W)[inner], (place[1] - label // W)[inner]
        assert max(dx.abs().max(), dy.abs().max()) < 0.85  # of an old pixel
        flipped.add(bool((label[H // 2, W // 2 + 5] - label[H // 2, W // 2 - 5]) < 0))
        padded += bool(void.any())
        shifts.append(dy.mean())
    assert flipped == {True, False} and 5 < padded < 55
    assert abs(np.mean(shifts)) < 0.05  # and no drift: torchvision's mask rule has 0.2 and more


def test_augmentation_can_be_switched_off():
    for _ in range(10):
        image, mask = datasets.augment((H, W), flip=False, scale=(1, 1), color=0)(*coordinates())
        assert torch.equal(image, coordinates()[0]) and torch.equal(mask, coordinates()[1])


def test_colours_change_in_the_image_only():
    torch.manual_seed(0)
    image, mask = datasets.augment((H, W), flip=False, scale=(1, 1))(*coordinates())
    assert not torch.equal(image, coordinates()[0]) and torch.equal(mask, coordinates()[1])
    assert image.min() >= 0 and image.max() <= 1


def test_augmentation_follows_the_seed():
    data = datasets.load("streets", "val", (32, 48), count=2, transform=datasets.augment((32, 48)))

    def draw(seed):
        torch.manual_seed(seed)
        return datasets.as_tensors(data)[0]

    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))


# the real frames

real = pytest.mark.skipif(
    not (REAL / "camvid" / "train").is_dir(),
    reason="no CamVid frames: set PIXELWISE_DATA, or run python -m helpers.camvid",
)


@real
def test_real_camvid_has_the_known_shares_of_classes():
    data = datasets.load("camvid", "train", root=REAL)
    images, masks = datasets.as_tensors(data)
    assert images.shape == (367, 3, 96, 128) and 0.2 < images.mean() < 0.6
    share = torch.bincount(masks.flatten(), minlength=256)[: len(CAMVID)] / masks.numel() * 100
    known = [16.9, 23.3, 0.98, 31.7, 4.5, 9.7, 1.2, 1.1, 5.9, 0.64, 0.29]  # of the full frames
    assert share.tolist() == pytest.approx(known, abs=0.06)
    assert (masks == IGNORE_INDEX).double().mean() * 100 == pytest.approx(3.95, abs=0.02)


@real
def test_real_camvid_val_is_one_sequence_of_training():
    names = {
        split: [image.name for image, _ in camvid.frames(camvid.find(REAL), split)]
        for split in ("train", "val")
    }
    assert [len(names[split]) for split in names] == [367, 101]
    assert {name[:6] for name in names["val"]} == {"0016E5"}
    assert sum(name.startswith("0016E5") for name in names["train"]) == 204
    assert not set(names["train"]) & set(names["val"])


@real
def test_real_camvid_files_are_those_of_the_hash_list():
    hashes = camvid.read_hashes(Path(__file__).parents[1] / "data" / "camvid-sha256.txt")
    val = {name: value for name, value in hashes.items() if name.startswith("val")}
    assert camvid.wrong_files(camvid.find(REAL), val) == []

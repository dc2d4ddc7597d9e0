"""Public data in its published layout, made here, and a pretrained network in its published file."""

import hashlib
import shutil
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from statistics import median

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import OxfordIIITPet, voc
from torchvision.models import segmentation

from helpers import camvid, datasets, public, training
from helpers.classes import CAMVID, IGNORE_INDEX, PETS, STREETS, VOC

MOBILE, RESNET = public.NETWORKS
COCO_VOC = segmentation.DeepLabV3_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1
SIZES = ((40, 60), (61, 44), (50, 50))  # (H, W) of the pictures, in turn


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """Each test has a cache of its own and no data, weights or downloads but those it makes."""
    monkeypatch.setenv("PIXELWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PIXELWISE_DATA", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(camvid, "DATA", tmp_path / "no data")


def picture(rng, size):
    return Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))


def write_pets(root, trainval=("Abyssinian", "boxer", "great_pyrenees"), numbers=range(1, 8)):
    """As published, with breeds in turn; picture ``i`` of a list has size ``SIZES[i % 3]``."""
    rng, folder = np.random.default_rng(0), root / "oxford-iiit-pet"
    for name in ("images", "annotations/trimaps"):
        (folder / name).mkdir(parents=True)
    lists = {
        "trainval": [f"{breed}_{i}" for i in numbers for breed in trainval],
        "test": ["boxer_100", "Abyssinian_101"],
    }
    for subset, names in lists.items():
        lines = "".join(f"{name} {1 + name.startswith('b')} 1 1\n" for name in names)
        (folder / f"annotations/{subset}.txt").write_text(lines)
        for i, name in enumerate(names):
            picture(rng, SIZES[i % 3]).save(folder / f"images/{name}.jpg")
            trimap = rng.integers(1, 4, SIZES[i % 3], dtype=np.uint8)
            Image.fromarray(trimap).save(folder / f"annotations/trimaps/{name}.png")
    return folder


def write_voc(root, train=4, val=2):
    """As published: the label is the index of a palette, not its colour."""
    rng, folder = np.random.default_rng(0), root / "VOCdevkit/VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for split, count in (("train", train), ("val", val)):
        names = [f"2007_{split}_{i}" for i in range(count)]
        (folder / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join(names) + "\n")
        for i, name in enumerate(names):
            picture(rng, SIZES[i % 3]).save(folder / f"JPEGImages/{name}.jpg")
            save_voc(
                rng.choice([*range(21), 255], SIZES[i % 3]),
                folder / f"SegmentationClass/{name}.png",
            )
    return folder


def save_voc(labels, path):
    labels = Image.fromarray(np.asarray(labels, np.uint8))
    labels.putpalette([(37 * i + 11 * c) % 256 for i in range(256) for c in range(3)])
    labels.save(path)


WRITE = {"pets": write_pets, "voc": write_voc}


# Oxford-IIIT Pet


def test_pets_are_the_files_and_their_border_is_void(tmp_path):
    folder = write_pets(tmp_path)
    data = datasets.load("pets", "test", SIZES[0], tmp_path)
    assert (data.name, data.split, data.size, len(data)) == ("pets", "test", SIZES[0], 2)
    assert data.classes is PETS and data.classes.names == ("background", "pet")
    assert data.images.dtype == data.masks.dtype == torch.uint8
    trimap = np.asarray(Image.open(folder / "annotations/trimaps/boxer_100.png"))
    mask = data.masks[0].numpy()
    assert (mask[trimap == 1] == PETS.index("pet")).all()
    assert (mask[trimap == 2] == PETS.index("background")).all()
    assert (mask[trimap == 3] == IGNORE_INDEX).all()
    assert np.array_equal(
        data.images[0].permute(1, 2, 0), Image.open(folder / "images/boxer_100.jpg")
    )


def test_every_fifth_pet_of_a_breed_is_val(tmp_path):
    write_pets(tmp_path, numbers=range(3, 15))
    train, val = (public.files("pets", split, tmp_path) for split in ("train", "val"))
    assert len(set(train) | set(val)) == len(train) + len(val) == 36
    # each breed's list begins with number 3
    assert {image.stem for image, _ in val} == {
        f"{breed}_{i}" for breed in ("Abyssinian", "boxer", "great_pyrenees") for i in (7, 12)
    }
    listed = (tmp_path / "oxford-iiit-pet/annotations/trainval.txt").read_text().splitlines()
    order = [line.split()[0] for line in listed]
    for part in (train, val):
        places = [order.index(image.stem) for image, _ in part]
        assert places == sorted(places)
    assert all(image.stem == mask.stem for image, mask in train + val)


def test_pets_in_pairs_are_what_torchvision_gives(tmp_path):
    write_pets(tmp_path)
    peer = OxfordIIITPet(tmp_path, "test", target_types="segmentation")
    for (image, mask), (photo, trimap) in zip(
        public.files("pets", "test", tmp_path), peer, strict=True
    ):
        assert np.array_equal(Image.open(image), photo)
        assert np.array_equal(Image.open(mask), trimap)


# Pascal VOC


def test_voc_labels_are_indices_and_never_colours(tmp_path):
    folder = write_voc(tmp_path)
    data = datasets.load("voc", "train", SIZES[0], tmp_path)
    assert (data.name, data.split, len(data)) == ("voc", "train", 4) and data.classes is VOC
    for i in (0, 3):  # those of this size
        stored = Image.open(folder / f"SegmentationClass/2007_train_{i}.png")
        assert stored.mode == "P" and np.array_equal(data.masks[i], stored)
        photo = Image.open(folder / f"JPEGImages/2007_train_{i}.jpg")
        assert np.array_equal(data.images[i].permute(1, 2, 0), photo)
    assert set(data.masks[0].unique().tolist()) == {*range(21), IGNORE_INDEX}
    assert len(datasets.load("voc", "val", SIZES[0], tmp_path)) == 2


def test_voc_has_no_labels_for_test(tmp_path):
    with pytest.raises(ValueError, match="split must be one of train, val for voc; got 'test'"):
        datasets.load("voc", "test", root=tmp_path)
    assert datasets.splits("voc") == ("train", "val")
    assert datasets.splits("pets") == ("train", "val", "test")


# shape: scaled to cover, then cut


@pytest.mark.parametrize("old", [(40, 60), (61, 44), (50, 50), (9, 200)])
@pytest.mark.parametrize("new", [(24, 32), (32, 24), (17, 17), (80, 120)])
def test_pictures_cover_the_size_and_keep_their_proportions(tmp_path, old, new):
    """Ramps as image, the same ramps in steps as labels: each label tells where its pixel was.

    The labels of neighbouring steps are far apart, so that a blend of two names a third step.
    """
    rows, columns = np.indices(old)
    for axis, place in enumerate((rows, columns)):
        ramp = np.stack([place * 255 // max(old)] * 3, -1).astype(np.uint8)
        step = -(-old[axis] // 21)
        Image.fromarray(ramp).save(tmp_path / "image.png")
        save_voc(place // step * 8 % 21, tmp_path / "mask.png")
        image, mask = public.read_pair("voc", tmp_path / "image.png", tmp_path / "mask.png", new)
        assert image.shape == (3, *new) and mask.shape == new
        scale = min(old[0] / new[0], old[1] / new[1])  # old pixels to a new one, both ways alike
        offset = np.arange(new[axis]) + 0.5 - new[axis] / 2
        centre = old[axis] / 2 + offset * scale
        assert centre.min() >= 0 and centre.max() <= old[axis]
        clear = np.abs(centre / step - np.round(centre / step)) > 1e-5  # a tie may fall either way
        lines = np.moveaxis(mask, axis, 0)[clear]
        assert (lines == (centre[clear] // step * 8 % 21)[:, None]).all()
        inner = np.moveaxis(image[0], axis, 0)[3:-3]
        wanted = (centre[3:-3, None] - 0.5) * 255 / max(old)
        assert np.abs(inner - wanted).max() < 0.5 * 255 / max(old) + 2


def test_small_pictures_average_what_they_cover(tmp_path):
    fine = np.indices((80, 120)).sum(0) % 2 * 255
    Image.fromarray(np.stack([fine] * 3, -1).astype(np.uint8)).save(tmp_path / "image.png")
    save_voc(np.zeros((80, 120)), tmp_path / "mask.png")
    image, _ = public.read_pair("voc", tmp_path / "image.png", tmp_path / "mask.png", (8, 12))
    assert np.abs(image.astype(int) - 127).max() < 8


def test_a_folder_of_pairs_is_a_data_set_once_its_classes_have_a_name(tmp_path, monkeypatch):
    monkeypatch.setitem(datasets.CLASSES, "desk", PETS)
    rng = np.random.default_rng(0)
    labels = rng.choice(np.uint8([0, 1, 255]), (3, 20, 30))
    for folder in ("val", "valannot"):
        (tmp_path / "desk" / folder).mkdir(parents=True)
    for name, mask in zip("bca", labels, strict=True):
        picture(rng, (20, 30)).save(tmp_path / f"desk/val/{name}.png")
        Image.fromarray(mask).save(tmp_path / f"desk/valannot/{name}.png")
    data = datasets.load("desk", "val", (20, 30), tmp_path)
    assert (data.name, len(data), data.classes) == ("desk", 3, PETS)
    assert np.array_equal(data.masks, labels[[2, 0, 1]])
    first = np.asarray(Image.open(tmp_path / "desk/val/a.png"))
    assert np.array_equal(data.images[0].permute(1, 2, 0), first)

    (tmp_path / "desk/valannot/c.png").unlink()
    with pytest.raises(FileNotFoundError, match="desk must hold .* got 3 and 2 files, 1 without"):
        datasets.load("desk", "val", root=tmp_path)
    with pytest.raises(FileNotFoundError, match="train/ and trainannot/ .* got 0 and 0 files"):
        datasets.load("desk", "train", root=tmp_path)
    Image.fromarray(np.full((20, 30), 2, np.uint8)).save(tmp_path / "desk/valannot/c.png")
    with pytest.raises(ValueError, match=r"c.png: labels must be .* values 0, 1, 255; got .*\[2\]"):
        datasets.load("desk", "val", root=tmp_path)


# files that are not there, or not as they should be


@pytest.mark.parametrize(("name", "split"), [("pets", "val"), ("voc", "val")])
def test_data_is_found_in_every_place_that_is_promised(tmp_path, monkeypatch, name, split):
    place = public.FOLDERS[name][0]
    monkeypatch.setattr(camvid, "DATA", tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="download=True") as error:
        datasets.load(name, split)
    assert str(tmp_path / "data" / place) in str(error.value)
    assert "PIXELWISE_DATA" in str(error.value)
    for folder in ("data", "named", "asked"):
        WRITE[name](tmp_path / folder)
    found = lambda root=None: public.files(name, split, root)[0][0]  # noqa: E731
    assert found().is_relative_to(tmp_path / "data")
    monkeypatch.setenv("PIXELWISE_DATA", str(tmp_path / "named"))
    assert found().is_relative_to(tmp_path / "named")
    assert found(tmp_path / "asked").is_relative_to(tmp_path / "asked")
    assert len(datasets.identity(name)) == 64


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("pets", "images/boxer_2.jpg"),
        ("pets", "annotations/trimaps/boxer_2.png"),
        ("voc", "SegmentationClass/2007_train_1.png"),
    ],
)
def test_files_that_are_missing_are_counted_and_named(tmp_path, name, gone):
    folder = WRITE[name](tmp_path)
    (folder / gone).unlink()
    with pytest.raises(FileNotFoundError, match="1 of [0-9]+ files of train are missing") as error:
        datasets.load(name, "train", root=tmp_path)
    assert gone.rpartition("/")[2] in str(error.value) and str(folder) in str(error.value)


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("pets", "annotations/trainval.txt", "boxer_1 2\n"),
        ("pets", "annotations/trainval.txt", ""),
        ("voc", "ImageSets/Segmentation/train.txt", ""),
    ],
)
def test_a_damaged_list_is_said(tmp_path, name, file, content):
    folder = WRITE[name](tmp_path)
    (folder / file).write_text(content)
    with pytest.raises(ValueError, match="the list of train is damaged") as error:
        datasets.load(name, "train", root=tmp_path)
    assert str(folder) in str(error.value)


def test_a_list_that_is_not_there_is_a_data_set_that_is_not_there(tmp_path):
    (write_voc(tmp_path) / "ImageSets/Segmentation/train.txt").unlink()
    with pytest.raises(FileNotFoundError, match="no Pascal VOC 2012 in .*download=True"):
        datasets.load("voc", "train", root=tmp_path)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("pets", "images/Abyssinian_1.jpg"),
        ("pets", "annotations/trimaps/Abyssinian_1.png"),
        ("voc", "JPEGImages/2007_train_0.jpg"),
        ("voc", "SegmentationClass/2007_train_0.png"),
    ],
)
@pytest.mark.parametrize("keep", [0, 300])
def test_a_broken_file_is_named(tmp_path, name, file, keep):
    path = WRITE[name](tmp_path) / file
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=f"{path.name} cannot be read"):
        datasets.load(name, "train", root=tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full(SIZES[0], 21, np.uint8), r"train_0\.png: labels must be .*20, 255; .*\[21\]"),
        (np.zeros((*SIZES[0], 3), np.uint8), r"train_0\.png: labels must be .*\(40, 60, 3\)"),
        (np.zeros(SIZES[0], np.uint16), r"train_0\.png: labels must be .*uint16"),
        (np.zeros((40, 61), np.uint8), r"train_0\.jpg is 40 x 60.*train_0\.png is 40 x 61"),
    ],
)
def test_labels_are_checked(tmp_path, labels, message):
    folder = write_voc(tmp_path)
    Image.fromarray(labels).save(folder / "SegmentationClass/2007_train_0.png")
    with pytest.raises(ValueError, match=message):
        datasets.load("voc", "train", root=tmp_path)


@pytest.mark.parametrize("label", [0, 4, 255])
def test_a_trimap_has_three_labels(tmp_path, label):
    folder = write_pets(tmp_path)
    trimap = Image.fromarray(np.full(SIZES[0], label, np.uint8))
    trimap.save(folder / "annotations/trimaps/boxer_100.png")
    with pytest.raises(ValueError, match=rf"boxer_100\.png: .*values 1, 2, 3; .*\[{label}\]"):
        datasets.load("pets", "test", root=tmp_path)


def test_the_cache_follows_the_files(tmp_path, monkeypatch):
    read, calls = public.read_pair, []

    def counted(*arguments):
        calls.append(arguments)
        return read(*arguments)

    monkeypatch.setattr(public, "read_pair", counted)
    folder = write_voc(tmp_path)
    before = datasets.load("voc", "train", (24, 32), tmp_path)
    again = datasets.load("voc", "train", (24, 32), tmp_path)
    assert len(calls) == 4
    assert torch.equal(before.images, again.images) and torch.equal(before.masks, again.masks)
    save_voc(np.full(SIZES[0], 5), folder / "SegmentationClass/2007_train_3.png")
    after = datasets.load("voc", "train", (24, 32), tmp_path)
    assert len(calls) == 8
    assert (after.masks[3] == 5).all() and torch.equal(after.masks[:3], before.masks[:3])


# downloads, through torchvision's own code and from this machine


class Quiet(SimpleHTTPRequestHandler):
    seen: list

    def do_GET(self):
        self.seen.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """Serves a new folder: its path, its address, and the list of what was asked for."""
    folder, seen = tmp_path / "served", []
    folder.mkdir()
    handler = partial(type("Handler", (Quiet,), {"seen": seen}), directory=str(folder))
    service = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=service.serve_forever, args=(0.01,), daemon=True).start()
    yield folder, f"http://127.0.0.1:{service.server_port}", seen
    service.shutdown()
    service.server_close()


def publish(name, server, monkeypatch, md5=None):
    """Packs a data set as its authors do and tells torchvision that it is on this server."""
    folder, address, _ = server
    WRITE[name](folder)
    members = {
        "pets": {
            f"{part}.tar.gz": (f"oxford-iiit-pet/{part}", part)
            for part in ("images", "annotations")
        },
        "voc": {"VOCtrainval_11-May-2012.tar": ("VOCdevkit", "VOCdevkit")},
    }[name]
    for archive, (source, inside) in members.items():
        with tarfile.open(folder / archive, "w:gz" if archive.endswith("gz") else "w") as tar:
            tar.add(folder / source, inside)
    known = [
        (f"{address}/{archive}", md5 or hashlib.md5((folder / archive).read_bytes()).hexdigest())
        for archive in members
    ]
    monkeypatch.setattr(OxfordIIITPet, "_RESOURCES", known)
    monkeypatch.setitem(
        voc.DATASET_YEAR_DICT, "2012",
        voc.DATASET_YEAR_DICT["2012"] | {"url": known[0][0], "md5": known[0][1]},
    )  # fmt: skip
    return len(known)


@pytest.mark.parametrize("name", ["pets", "voc"])
def test_download_happens_only_when_asked_and_needed(tmp_path, server, monkeypatch, name):
    archives, root = publish(name, server, monkeypatch), tmp_path / "root"
    with pytest.raises(FileNotFoundError):
        datasets.load(name, "train", SIZES[0], root)
    assert server[2] == []
    got = datasets.load(name, "train", SIZES[0], root, download=True)
    assert torch.equal(got.masks, datasets.load(name, "train", SIZES[0], server[0]).masks)
    asked = len(server[2])
    assert asked >= archives
    for archive in root.rglob("*.tar*"):  # what is unpacked is enough
        archive.unlink()
    datasets.load(name, "val", SIZES[0], root, download=True)
    assert len(server[2]) == asked


@pytest.mark.parametrize("name", ["pets", "voc"])
@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_a_failed_download_is_told_in_plain_words(tmp_path, server, monkeypatch, name, how):
    publish(name, server, monkeypatch, md5="0" * 32 if how == "damaged" else None)
    if how == "gone":
        shutil.rmtree(server[0])
    root = tmp_path / "root"
    with pytest.raises(ConnectionError, match="could not be downloaded to .*Check the connection"):
        datasets.load(name, "train", root=root, download=True)


# CamVid as Streets


def camvid_like(masks):
    images = np.zeros((len(masks), 3, *masks.shape[1:]), np.uint8)
    flip = lambda image, mask: (image.flip(-1), mask.flip(-1))  # noqa: E731
    return datasets.SegmentationDataset("camvid", "val", CAMVID, images, masks, flip)


def test_camvid_takes_the_classes_of_streets_and_keeps_void():
    labels = [*range(11), 255]
    masks = np.random.default_rng(0).choice(np.array(labels, np.uint8), (2, 8, 9))
    dataset = camvid_like(masks.copy())
    streets = public.as_streets(dataset)
    assert isinstance(streets, datasets.SegmentationDataset) and streets.classes is STREETS
    assert (streets.split, streets.size, streets.masks.dtype) == ("val", (8, 9), torch.uint8)
    for old, new in zip(masks.flat, streets.masks.flatten().tolist(), strict=True):
        if old == IGNORE_INDEX:
            assert new == IGNORE_INDEX
        else:
            assert STREETS[new] == public.CAMVID_AS_STREETS[CAMVID[old]]
    assert torch.equal(streets[0][1], streets.masks[0].flip(-1).long())  # the transform came along
    assert dataset.classes is CAMVID and np.array_equal(dataset.masks, masks)


def test_the_mapping_follows_the_categories_of_cityscapes():
    """Its own table of categories, for the labels that have CamVid's names or their like."""
    category = {
        "sky": "sky", "building": "construction", "fence": "construction", "pole": "object",
        "traffic sign": "object", "vegetation": "nature", "car": "vehicle", "person": "human",
        "rider": "human",
    }  # fmt: skip
    like = {
        "tree": "vegetation",
        "sign": "traffic sign",
        "pedestrian": "person",
        "bicyclist": "rider",
    }
    streets = {
        "building": "construction", "pole": "object", "vegetation": "nature", "vehicle": "vehicle",
        "person": "human", "sky": "sky",
    }  # fmt: skip
    assert tuple(public.CAMVID_AS_STREETS) == CAMVID.names
    assert set(public.CAMVID_AS_STREETS.values()) == set(STREETS.names)
    for name, street in public.CAMVID_AS_STREETS.items():
        if name in ("road", "pavement"):  # the category "flat", which Streets splits
            assert street == name
        else:
            assert streets[street] == category[like.get(name, name)]


def test_only_camvid_becomes_streets():
    images, masks = np.zeros((1, 3, 4, 4), np.uint8), np.zeros((1, 4, 4), np.uint8)
    pets = datasets.SegmentationDataset("pets", "val", PETS, images, masks)
    with pytest.raises(ValueError, match="dataset must have the classes of CamVid; got background"):
        public.as_streets(pets)


# class weights


def slow_weights(masks, num_classes):
    """Pixel by pixel, image by image."""
    frequency = {}
    for c in range(num_classes):
        own = total = 0
        for mask in masks.tolist():
            pixels = [label for row in mask for label in row if label != 255]
            if c in pixels:
                own, total = own + pixels.count(c), total + len(pixels)
        if own:
            frequency[c] = own / total
    middle = median(frequency.values())
    return [middle / frequency[c] if c in frequency else 0.0 for c in range(num_classes)]


@pytest.mark.parametrize("num_classes", [2, 5, 6])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_class_weights_equal_those_counted_by_hand(num_classes, dtype):
    rng = np.random.default_rng(num_classes)
    for _ in range(20):
        masks = np.stack(
            [
                rng.choice([*rng.integers(0, num_classes, 3), 255], (5, 7), p=[0.6, 0.2, 0.1, 0.1])
                for _ in range(4)
            ]
        )
        weights = public.class_weights(torch.from_numpy(masks).to(dtype), num_classes)
        assert weights.dtype == torch.float32 and weights.shape == (num_classes,)
        assert weights.tolist() == pytest.approx(slow_weights(masks, num_classes), rel=1e-6)


def test_a_class_that_never_occurs_weighs_nothing_and_spoils_nothing():
    masks = torch.tensor([[[0, 0, 2, 255]]])
    weights = public.class_weights(masks, 4)
    assert weights[1] == weights[3] == 0
    loss = torch.nn.functional.cross_entropy(
        torch.zeros(1, 4, 1, 4), masks, weights, ignore_index=255, label_smoothing=0.1
    )
    assert torch.isfinite(loss)


def test_balanced_classes_weigh_one_and_void_is_no_pixel():
    masks = torch.arange(3).repeat(4)[None, None]
    assert public.class_weights(masks, 3).tolist() == [1, 1, 1]
    void = torch.full((1, 1, 12), 255)
    assert public.class_weights(torch.cat([masks, void], 1), 3).tolist() == [1, 1, 1]
    halves = torch.tensor([[[0, 0, 0, 1]], [[0, 0, 255, 255]]])  # 0: 5 of 6 pixels, 1: 1 of 4
    assert public.class_weights(halves, 2).tolist() == pytest.approx([0.65, 13 / 6])


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (torch.full((1, 2, 2), 3), r"labels from 0 to 2 or 255; got \[3\]"),
        (torch.full((1, 2, 2), -1), r"labels from 0 to 2 or 255; got \[-1\]"),
        (torch.full((1, 2, 2), 255), "all of them are void"),
    ],
)
def test_masks_without_a_class_are_refused(masks, message):
    with pytest.raises(ValueError, match=f"masks must have .*{message}"):
        public.class_weights(masks, 3)


# the pretrained network


@pytest.fixture(scope="module")
def peer():
    """torchvision's network with the head that only training uses, and moments of random images.

    With the moments that it is born with, its logits would be the same for every image.
    """
    torch.manual_seed(0)
    network = segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=21, aux_loss=True
    )
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network(torch.randn(4, 3, 64, 96))
    return network.eval()


@pytest.fixture(scope="module")
def file(peer, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "own.pth"
    torch.save(peer.state_dict(), path)
    return path


@pytest.fixture
def published(file, monkeypatch):
    """The name under which torchvision publishes ``file``, and how to tell it another address."""
    name = f"{MOBILE}-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth"

    def at(address):
        monkeypatch.setattr(COCO_VOC.value, "url", f"{address}/{name}")

    at("http://127.0.0.1:9")  # where nobody listens
    return name, at


def test_logits_are_those_of_torchvision(peer, file):
    torch.manual_seed(1)
    photos = torch.randint(256, (2, 3, 64, 96), dtype=torch.uint8)
    network = public.pretrained(weights=file)
    preset = COCO_VOC.transforms(resize_size=None)
    with torch.inference_mode():
        expected = peer(preset(photos))["out"]
        got = network(photos / 255)
    assert got.shape == (2, 21, 64, 96) and not network.training
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert (got[0] - got[1]).abs().max() > 0.1  # so that equality above means something
    masks = training.predict_masks(network, photos / 255)
    assert (masks == expected.argmax(1)).float().mean() > 0.999


def test_its_classes_are_those_of_voc(file):
    assert public.pretrained(weights=file).classes is VOC
    assert list(VOC)[1:] == COCO_VOC.meta["categories"][1:]


def test_random_numbers_go_on_as_if_nothing_was_built(file):
    torch.manual_seed(3)
    public.pretrained(weights=file)
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), after)


def test_resnet50_fits_too(tmp_path):
    with torch.device("meta"):
        network = segmentation.deeplabv3_resnet50(
            weights=None, weights_backbone=None, num_classes=21, aux_loss=True
        )
    state = {  # one number each: a file of some kilobytes
        key: torch.zeros((), dtype=value.dtype).expand(value.shape)
        for key, value in network.state_dict().items()
    }
    state["classifier.4.bias"] = torch.arange(21.0)
    torch.save(state, tmp_path / "resnet.pth")
    logits = public.pretrained(RESNET, tmp_path / "resnet.pth")(torch.rand(1, 3, 32, 40))
    torch.testing.assert_close(logits, torch.arange(21.0).view(1, 21, 1, 1).expand(1, 21, 32, 40))
    with pytest.raises(ValueError, match=f"resnet.pth is not made for {MOBILE}: [0-9]+ entries"):
        public.pretrained(MOBILE, tmp_path / "resnet.pth")


@pytest.mark.parametrize(
    "images",
    [torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)],
)
def test_images_are_checked(images):
    network = public.PretrainedNetwork(torch.nn.Identity(), [0.5] * 3, [0.5] * 3)
    with pytest.raises(ValueError, match=r"images must be float \(N, 3, H, W\).*got torch"):
        network(images)


def test_an_unknown_network_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(ValueError, match=f"name must be one of {MOBILE}, {RESNET}; got 'unet'"):
        public.pretrained("unet")
    with pytest.raises(FileNotFoundError, match="weights: no file .*none.pth"):
        public.pretrained(weights=tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda whole: b"", "is no file of PyTorch weights"),
        (lambda whole: b"<html>404</html>" * 9, "is no file of PyTorch weights"),
        (lambda whole: whole[: len(whole) // 2], "is no file of PyTorch weights"),
        (torch.zeros(3), "must hold tensors by their names"),
        ({0: torch.zeros(3)}, "must hold tensors by their names"),
        ({"model": {}}, "is not made for .*such as backbone"),
        (SimpleHTTPRequestHandler, "is no file of PyTorch weights"),  # code, which is not run
    ],
    ids=["empty", "page", "cut", "tensor", "numbers", "nested", "code"],
)
def test_a_wrong_file_is_refused(tmp_path, file, content, message):
    path = tmp_path / "wrong.pth"
    if callable(content) and not isinstance(content, type):
        path.write_bytes(content(file.read_bytes()))
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=f"weights: .*wrong.pth {message}"):
        public.pretrained(weights=path)


@pytest.mark.parametrize("change", ["unknown", "missing", "shape"])
def test_weights_must_fit_entry_by_entry(tmp_path, peer, change):
    state = dict(peer.state_dict())
    last = state.pop("classifier.4.bias")
    if change == "unknown":
        state |= {"classifier.4.bias": last, "extra": torch.zeros(1)}
    if change == "shape":
        state["classifier.4.bias"] = torch.zeros(20)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=": 1 entries are .* such as (extra|classifier.4.bias)$"):
        public.pretrained(weights=tmp_path / "other.pth")


def test_a_name_with_digits_vouches_for_the_file(tmp_path, file, published):
    right = shutil.copy(file, tmp_path / published[0])
    public.pretrained(weights=right)
    wrong = shutil.copy(file, tmp_path / "net-0123abcd.pth")
    with pytest.raises(ValueError, match="damaged: its SHA-256 begins with .*not with 0123abcd"):
        public.pretrained(weights=wrong)
    with right.open("r+b") as content:  # one bit of one weight
        content.seek(2_000_000)
        byte = content.read(1)[0]
        content.seek(2_000_000)
        content.write(bytes([byte ^ 1]))
    with pytest.raises(ValueError, match=f"{published[0]} is damaged"):
        public.pretrained(weights=right)


def test_the_published_file_is_looked_for_in_order(tmp_path, file, published, monkeypatch):
    """What is read is the first place that has it: the file there is damaged, and named."""
    monkeypatch.setenv("PIXELWISE_DATA", str(tmp_path / "named"))
    monkeypatch.setattr(camvid, "DATA", tmp_path / "data")
    for folder in ("torch/hub/checkpoints", "data/weights", "named/weights"):
        (tmp_path / folder).mkdir(parents=True)
        path = tmp_path / folder / published[0]
        path.write_bytes(b"damaged")
        with pytest.raises(ValueError, match=f"{path} is damaged"):
            public.pretrained()
        shutil.copy(file, path)
        public.pretrained()


def test_weights_are_downloaded_once_and_only_if_asked(tmp_path, file, published, server):
    folder, address, seen = server
    shutil.copy(file, folder / published[0])
    published[1](address)
    with pytest.raises(FileNotFoundError, match="is not on this machine, and download is False"):
        public.pretrained(download=False)
    assert seen == []
    first = public.pretrained()
    kept = tmp_path / "torch/hub/checkpoints" / published[0]
    assert kept.read_bytes() == file.read_bytes() and seen == [f"/{published[0]}"]
    second = public.pretrained(download=False)
    assert len(seen) == 1 and list(kept.parent.iterdir()) == [kept]
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


@pytest.mark.parametrize("how", ["nobody", "missing", "damaged"])
def test_without_weights_one_sentence_says_what_to_do(
    tmp_path, published, server, monkeypatch, how
):
    monkeypatch.setenv("PIXELWISE_DATA", str(tmp_path / "named"))
    if how != "nobody":
        published[1](server[1])
    if how == "damaged":
        (server[0] / published[0]).write_bytes(b"damaged")
    with pytest.raises(ConnectionError, match="could not be downloaded") as error:
        public.pretrained()
    assert f"fetch {COCO_VOC.url} where" in str(error.value)
    assert str(error.value).endswith(f"put it into {tmp_path / 'named/weights'}")
    assert not list((tmp_path / "torch").rglob("*.p*t*"))

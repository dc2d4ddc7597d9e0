"""Photos of a learner: what is read, what is refused, strokes, and masks from them."""

from __future__ import annotations

import io
import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from helpers import crf, photos
from helpers.classes import IGNORE_INDEX

CORNERS = np.zeros((16, 24, 3), np.uint8)  # red, green / blue, white in the four quarters
CORNERS[:8, :12], CORNERS[:8, 12:] = (255, 0, 0), (0, 255, 0)
CORNERS[8:, :12], CORNERS[8:, 12:] = (0, 0, 255), (255, 255, 255)


def saved(picture: np.ndarray | Image.Image, form: str = "PNG", **options: object) -> bytes:
    data = io.BytesIO()
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    image.save(data, form, **options)
    return data.getvalue()


# What undoes each orientation of EXIF, of which 1 is upright: so it is stored that way.
STORED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_photos_come_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(np.ascontiguousarray(STORED[orientation](CORNERS)), exif=exif)
    np.testing.assert_array_equal(photos.read(data), CORNERS)


def test_a_path_bytes_an_open_file_and_an_array_give_the_same(tmp_path, capsys):
    data = saved(CORNERS)
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    sources = [path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), CORNERS]
    for source in sources:
        photo = photos.read(source)
        np.testing.assert_array_equal(photo, CORNERS)
        assert photo.dtype == np.uint8 and photo.flags.writeable
    assert capsys.readouterr().out == ""


def test_large_photos_are_reduced_and_it_is_said(capsys):
    photo = photos.read(saved(Image.new("RGB", (300, 4000), "orange")))
    assert photo.shape == (480, 36, 3)
    assert capsys.readouterr().out == (
        "Photo reduced from 300 × 4000 to 36 × 480 pixels (width × height).\n"
    )
    assert (photo == (255, 165, 0)).all()
    assert photos.read(CORNERS, longest=12).shape == (8, 12, 3)
    assert photos.read(np.zeros((2, 4000, 3), np.uint8), 10).shape == (1, 10, 3)
    capsys.readouterr()
    assert photos.read(CORNERS, longest=24).shape == CORNERS.shape
    assert capsys.readouterr().out == ""


def test_every_kind_of_picture_becomes_rgb():
    grey = np.linspace(0, 255, 24 * 16).reshape(16, 24).astype(np.uint8)
    threefold = np.repeat(grey[..., None], 3, 2)
    np.testing.assert_array_equal(photos.read(saved(grey)), threefold)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    for form in ("PNG", "TIFF"):
        np.testing.assert_array_equal(photos.read(saved(deep, form)), threefold)
    deep = Image.fromarray(np.where(grey > 200, 65535, grey.astype(np.uint16) * 257 + 200))
    nearest = np.where(grey > 200, 255, grey + 1)
    np.testing.assert_array_equal(photos.read(saved(deep))[..., 0], nearest)
    palette = Image.fromarray(CORNERS).quantize(4)
    np.testing.assert_array_equal(photos.read(saved(palette)), CORNERS)
    bits = Image.fromarray(grey > 127)
    np.testing.assert_array_equal(photos.read(saved(bits)), (threefold > 127) * 255)
    cmyk = photos.read(saved(Image.fromarray(CORNERS).convert("CMYK"), "TIFF"))
    np.testing.assert_allclose(cmyk, CORNERS, atol=2)
    with pytest.raises(ValueError, match="source must be a whole photo, .* floats"):
        photos.read(saved(Image.fromarray(grey.astype(np.float32)), "TIFF"))


def test_transparency_is_laid_on_white():
    alpha = np.full((16, 24), 255, np.uint8)
    alpha[:8] = 0
    seen = np.dstack([CORNERS, alpha])
    expected = np.where((alpha == 0)[..., None], 255, CORNERS)
    np.testing.assert_array_equal(photos.read(saved(seen)), expected)
    alpha[:8] = 128
    half = photos.read(saved(np.dstack([CORNERS, alpha])))[0, 0]
    np.testing.assert_allclose(half, (255, 127, 127), atol=1)
    keyed = Image.fromarray(CORNERS).quantize(4)  # one colour of a palette is clear
    data = saved(keyed, transparency=keyed.getpixel((0, 0)))
    assert (photos.read(data)[:8, :12] == 255).all()


def test_of_an_animation_the_first_picture_is_taken():
    frames = [Image.new("RGB", (24, 16), color) for color in ("red", "blue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (photos.read(data) == (255, 0, 0)).all()


def claiming(width: int, height: int) -> bytes:
    """A PNG whose header says it is of that size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    check = struct.pack(">I", zlib.crc32(header))
    whole = saved(CORNERS)
    return whole[:12] + header + check + whole[33:]


NOISE = saved(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), "JPEG")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "source must be a photo, got 0 bytes"),
        (b"a diary, not a photo", "source must be a photo .JPEG.*got 20 bytes of something else"),
        (NOISE[: len(NOISE) // 2], "source must be a whole photo, .*truncated"),
        (saved(CORNERS)[:60], "source must be a whole photo, got one that fails"),
        (claiming(10_000, 10_000), "source must be a photo of fewer pixels: .*100000000 pixels"),
        (claiming(60_000, 60_000), "source must be a photo of fewer pixels: .*3600000000 pixels"),
        (io.StringIO("text"), "source must be a path, the bytes .* binary mode, got str"),
        (7, "source must be a path, the bytes of a photo .*, got int"),
        (None, "source must be .* got NoneType"),
        (CORNERS / 255, r"source must be uint8 \(H, W, 3\), got float64 \(16, 24, 3\)"),
        (CORNERS[..., 0], r"source must be uint8 \(H, W, 3\), got uint8 \(16, 24\)"),
        (CORNERS[:0], r"source must be uint8 \(H, W, 3\), got uint8 \(0, 24, 3\)"),
    ],
)
def test_what_is_no_photo_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        photos.read(source)


def test_folders_texts_and_missing_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="source must be a photo, got the folder '.*'"):
        photos.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file '.*cat.jpg'"):
        photos.read(tmp_path / "cat.jpg")
    (tmp_path / "cat.jpg").write_text("miaow")
    with pytest.raises(ValueError, match="got 5 bytes of something else"):
        photos.read(str(tmp_path / "cat.jpg"))


@pytest.mark.parametrize("longest", [0, -5, 480.0, True, "480", None])
def test_longest_is_a_number_of_pixels(longest):
    with pytest.raises(ValueError, match=f"longest must be a whole number .* got {longest!r}"):
        photos.read(CORNERS, longest)


def test_strokes_are_lines_of_their_width():
    scribbles = photos.strokes((20, 30, 3), {0: [[(5, 3), (5, 12)]], 2: [[(15, 20)]]}, width=3)
    expected = np.full((20, 30), IGNORE_INDEX)
    expected[4:7, 3:13] = 0
    expected[5, 2] = expected[5, 13] = 0  # round ends
    expected[14:17, 20] = expected[15, 19:22] = 2
    corners = [(14, 19), (14, 21), (16, 19), (16, 21)]
    expected[tuple(np.transpose(corners))] = scribbles[tuple(np.transpose(corners))]
    assert scribbles.dtype == np.uint8
    np.testing.assert_array_equal(scribbles, expected)


def test_later_strokes_cover_earlier_ones_and_end_at_the_border():
    first, second = (0, 5, [(10, 0), (10, 29)]), (1, 1, [(-5, 15), (50, 15)])
    scribbles = photos.strokes((20, 30), [first, second])
    assert (scribbles[:, 15] == 1).all()
    assert (photos.strokes((20, 30), [second, first])[8:13] == 0).all()
    assert photos.strokes((20, 30), {}).tolist() == [[IGNORE_INDEX] * 30] * 20
    assert photos.as_strokes({4: [[(1, 2)]]}, 7) == [[4, 7, [[1, 2]]]]


@pytest.mark.parametrize(
    "stroke",
    [
        (-1, 5, [(1, 2)]),
        (IGNORE_INDEX, 5, [(1, 2)]),
        (0.5, 5, [(1, 2)]),
        ("cat", 5, [(1, 2)]),
        (0, 0.5, [(1, 2)]),
        (0, np.inf, [(1, 2)]),
        (0, 1e9, [(1, 2)]),
        (0, 5, [(1, 1e9)]),
        (0, 5, [(-1e9, 2)]),
        (0, 5, []),
        (0, 5, [1, 2]),
        (0, 5, [(1, 2, 3)]),
        (0, 5, [(1, np.nan)]),
        (0, 5, None),
        [(1, 2), (3, 4)],
        5,
    ],
)
def test_strokes_that_are_none_are_refused(stroke):
    with pytest.raises(
        ValueError, match="lines must be of a label .* a width .* up to 1e.06 pixels"
    ):
        photos.strokes((20, 30), [stroke])


@pytest.mark.parametrize("lines", [5, None, {0: 5}])
def test_lines_come_in_one_of_two_forms(lines):
    with pytest.raises(ValueError, match=r"lines must be {label: .* after the other; got "):
        photos.strokes((20, 30), lines)


def test_strokes_are_plain_numbers_that_travel_as_json():
    lines = {np.int64(1): [np.array([[1, 2], [3, 4]])]}
    sent = json.dumps(photos.as_strokes(lines, np.int64(7)))
    assert json.loads(sent) == [[1, 7, [[1, 2], [3, 4]]]]
    assert photos.as_strokes([(0, np.float32(1.5), [(1, 2)])]) == [[0, 1.5, [[1, 2]]]]


H, W = 60, 80


@pytest.fixture
def lattice() -> None:
    """For tests that refine."""
    pytest.importorskip("pydensecrf", reason="pydensecrf2 is not installed")


@pytest.fixture(scope="module")
def disc() -> dict:
    """An orange disc on blue, with noise; a stroke on each."""
    truth = (np.hypot(*(np.indices((H, W)) - np.array([[[30]], [[40]]]))) > 20).astype(int)
    photo = np.array([(220, 140, 40), (40, 90, 200)])[truth]
    photo = photo + np.random.default_rng(0).normal(0, 6, photo.shape)
    lines = {0: [[(30, 32), (30, 48)]], 1: [[(4, 4), (4, 76)]]}
    return {
        "photo": photo.clip(0, 255).astype(np.uint8),
        "truth": truth,
        "scribbles": photos.strokes((H, W), lines, 3),
    }


def test_uniform_probabilities_where_nothing_is_drawn(disc):
    found = photos.scribble_probabilities(disc["photo"], disc["scribbles"])
    assert found.dtype == np.float32 and found.shape == (2, H, W)
    np.testing.assert_allclose(found.sum(0), 1, rtol=1e-6)
    assert (found[:, disc["scribbles"] == IGNORE_INDEX] == 0.5).all()
    for label in (0, 1):
        np.testing.assert_allclose(found[label, disc["scribbles"] == label], photos.SURE)


def test_labels_nobody_drew_are_nowhere(disc, lattice):
    scribbles = np.where(disc["scribbles"] == 1, 3, disc["scribbles"])
    found = photos.scribble_probabilities(disc["photo"], scribbles)
    assert found.shape == (4, H, W)
    assert not found[1:3].any()
    np.testing.assert_array_equal(
        found[[0, 3]], photos.scribble_probabilities(disc["photo"], disc["scribbles"])
    )
    assert set(np.unique(photos.segment(disc["photo"], scribbles))) == {0, 3}


def test_colors_tell_disc_and_ground_apart_without_any_crf(disc):
    found = photos.scribble_probabilities(disc["photo"], disc["scribbles"], colors=True)
    np.testing.assert_array_equal(found.argmax(0), disc["truth"])
    np.testing.assert_allclose(found.sum(0), 1, rtol=1e-6)
    alien = disc["photo"].copy()
    alien[50, 70] = 255  # white, which is in no stroke
    found = photos.scribble_probabilities(alien, disc["scribbles"], colors=True)
    np.testing.assert_allclose(found[:, 50, 70], 0.5, atol=1e-3)


@pytest.mark.parametrize("colors", [False, True])
def test_segmenting_recovers_the_disc(disc, colors, lattice):
    mask = photos.segment(disc["photo"], disc["scribbles"], colors=colors)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, disc["truth"])


def test_what_was_drawn_keeps_its_label(disc, lattice):
    wrong = disc["scribbles"].copy()
    wrong[30, 44] = 1  # a slip of one pixel, which the CRF would smooth away
    probabilities = photos.scribble_probabilities(disc["photo"], wrong)
    refined = crf.refine(disc["photo"], probabilities, photos.PARAMS, photos.ITERATIONS)
    assert refined[:, 30, 44].argmax() == 0
    assert photos.segment(disc["photo"], wrong)[30, 44] == 1


def test_params_and_iterations_go_to_the_crf(disc, lattice):
    off = crf.Params(0, 1, 1, 0, 1)
    mask = photos.segment(disc["photo"], disc["scribbles"], off, 0)
    assert (mask == np.where(disc["scribbles"] == 1, 1, 0)).all()
    with pytest.raises(ValueError, match="iterations must be a whole number from 0, got -1"):
        photos.segment(disc["photo"], disc["scribbles"], iterations=-1)


@pytest.mark.parametrize(
    ("argument", "spoil", "message"),
    [
        ("photo", lambda a: a / 255, r"photo must be uint8 \(H, W, 3\), got float64"),
        ("photo", lambda a: a[..., 0], r"photo must be uint8 \(H, W, 3\), got uint8 \(60, 80\)"),
        (
            "scribbles",
            lambda a: a[1:],
            r"scribbles must be integers \(60, 80\) .* int64 \(59, 80\)",
        ),
        ("scribbles", lambda a: a * 1.0, r"scribbles must be integers .* float64"),
        ("scribbles", lambda a: a * 0 + 255, "at least two labels, got nothing drawn"),
        ("scribbles", lambda a: np.where(a == 0, 255, a), "two labels, got only label 1"),
        ("scribbles", lambda a: np.where(a == 255, -1, a), r"255 where nothing .* \[-1, 0, 1\]"),
        ("scribbles", lambda a: a + 1, r"got \[1, 2, 256\]"),
    ],
)
def test_scribbles_that_do_not_fit_are_refused(disc, argument, spoil, message):
    parts = {"photo": disc["photo"], "scribbles": disc["scribbles"].astype(int)}
    parts[argument] = spoil(parts[argument])
    for function in (photos.scribble_probabilities, photos.segment):
        with pytest.raises(ValueError, match=message):
            function(**parts)

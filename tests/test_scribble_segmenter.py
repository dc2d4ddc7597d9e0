"""ScribbleSegmenter, the Python half: what it refuses, segments, reads, sends and prints."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from traitlets import TraitError

from helpers import crf, photos
from helpers.classes import IGNORE_INDEX
from helpers.widgets.scribble_segmenter import COLORS, ScribbleSegmenter

pytest.importorskip("pydensecrf", reason="pydensecrf2 is not installed")

H, W = 40, 60
LINES = {0: [[(20, 25), (20, 35)]], 1: [[(3, 3), (3, 56)], [(36, 3), (36, 56)]]}


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """An orange square on blue."""
    picture = np.full((H, W, 3), (40, 90, 200), np.uint8)
    picture[10:30, 20:40] = (220, 140, 40)
    return picture


@pytest.fixture(scope="module")
def square() -> np.ndarray:
    inside = np.ones((H, W), np.uint8)
    inside[10:30, 20:40] = 0
    return inside


def png(picture: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG")
    return data.getvalue()


def ask(segmenter: ScribbleSegmenter, number: int, strokes: list, photo: int = 0) -> None:
    """What the browser sends, drawn on photo number `photo`."""
    segmenter.set_state({"asked": [number, photo], "strokes": strokes})


def upload(segmenter: ScribbleSegmenter, data: bytes) -> None:
    segmenter._handle_custom_msg({}, [memoryview(data)])


@pytest.mark.parametrize(
    ("trait", "value", "message"),
    [
        ("label", 2, "label must be from 0 to 1; got 2"),
        ("brush", 0, "brush must be from 1 to 31; got 0"),
        ("opacity", 1.1, "opacity must be from 0 to 1; got 1.1"),
        ("view", "mask", "view must be one of overlay, cut-out; got 'mask'"),
        ("strokes", {2: [[(1, 2)]]}, r"strokes must be of 2 labels; got \[\[2, 5.0, "),
        ("strokes", 5, "lines must be {label: .* got 5"),
        ("strokes", [[0, 5, []]], r"lines must be of a label .* got \[0, 5, \[\]\]"),
    ],
)
def test_a_control_out_of_range_is_refused_and_stays(photo, trait, value, message):
    segmenter = ScribbleSegmenter(photo)
    before = getattr(segmenter, trait)
    with pytest.raises(ValueError, match=message):
        setattr(segmenter, trait, value)
    assert getattr(segmenter, trait) == before
    with pytest.raises(ValueError, match=message):
        ScribbleSegmenter(photo, **{trait: value})


@pytest.mark.parametrize("names", [["cat"], ["cat"] * 2, list("abcdefg"), [1, 2], "ab", 5, None])
def test_names_are_two_to_six(photo, names):
    with pytest.raises(ValueError, match="names must be 2 to 6 texts, all different; got "):
        ScribbleSegmenter(photo, names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"params": {"appearance_weight": 3}}, "params must be a crf.Params, got dict"),
        ({"iterations": -1}, "iterations must be a whole number from 0, got -1"),
        ({"iterations": 2.5}, "iterations must be a whole number from 0, got 2.5"),
    ],
)
def test_options_of_the_crf_are_checked_before_anything_is_drawn(photo, options, message):
    with pytest.raises(ValueError, match=message):
        ScribbleSegmenter(photo, **options)


@pytest.mark.parametrize("traits", [{"label": "cat"}, {"brush": 2.5}, {"view": 3}])
def test_traits_of_another_type_are_refused(photo, traits):
    with pytest.raises(TraitError):
        ScribbleSegmenter(photo, **traits)


def test_the_photo_is_whatever_photos_reads(photo, tmp_path, capsys):
    (tmp_path / "photo.png").write_bytes(png(photo))
    for source in (photo, png(photo), tmp_path / "photo.png"):
        np.testing.assert_array_equal(ScribbleSegmenter(source).photo, photo)
    assert ScribbleSegmenter(np.zeros((960, 400, 3), np.uint8)).photo.shape == (480, 200, 3)
    assert "reduced from 400 × 960" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"source must be uint8 \(H, W, 3\)"):
        ScribbleSegmenter(photo / 255)
    with pytest.raises(FileNotFoundError, match="nowhere.jpg"):
        ScribbleSegmenter(tmp_path / "nowhere.jpg")


def test_strokes_give_scribbles_and_a_mask(photo, square):
    segmenter = ScribbleSegmenter(photo, strokes=LINES, brush=3)
    np.testing.assert_array_equal(segmenter.scribbles, photos.strokes((H, W), LINES, 3))
    np.testing.assert_array_equal(segmenter.mask, square)
    number, packed, told = segmenter.answer
    assert (number, told) == (0, "")
    np.testing.assert_array_equal(np.frombuffer(zlib.decompress(packed), np.uint8), square.ravel())
    rows, columns, sent, number = segmenter.picture
    assert (rows, columns, number) == (H, W, 0)
    assert Image.open(io.BytesIO(sent)).size == (W, H)


def test_without_two_labels_there_is_no_mask_and_it_is_said(photo):
    segmenter = ScribbleSegmenter(photo, ["cat", "rest"])
    void = np.full((H, W), IGNORE_INDEX)
    np.testing.assert_array_equal(segmenter.scribbles, void)
    assert segmenter.answer == [0, b"", "Draw strokes of two labels at least."]
    ask(segmenter, 1, [[1, 5, [[3, 3]]]])
    said = "Draw strokes of two labels at least. So far there is only rest."
    assert segmenter.answer == [1, b"", said]
    ask(segmenter, 2, photos.as_strokes(LINES))
    assert (segmenter.mask != IGNORE_INDEX).all()
    ask(segmenter, 3, [])
    np.testing.assert_array_equal(segmenter.mask, void)
    assert segmenter.answer[:2] == [3, b""]


def test_python_answers_once_for_each_change(photo, monkeypatch):
    asked, original = [], photos.segment
    monkeypatch.setattr(photos, "segment", lambda *a: asked.append(a) or original(*a))
    off = crf.Params(0, 1, 1, 0, 1)
    segmenter = ScribbleSegmenter(photo, params=off, iterations=0)
    assert not asked
    ask(segmenter, 1, photos.as_strokes(LINES))
    assert len(asked) == 1 and asked[0][2:] == (off, 0)
    assert segmenter.answer[0] == 1
    segmenter.label = 1
    segmenter.view = "cut-out"
    assert len(asked) == 1
    segmenter.strokes = LINES  # the same
    assert len(asked) == 1
    segmenter.strokes = LINES | {0: [[(15, 25)]]}  # by Python
    assert len(asked) == 2 and segmenter.answer[0] == 1
    ask(segmenter, 2, segmenter.strokes)  # the same, but the browser waits for a number
    assert segmenter.answer[0] == 2


FAILURES = [
    (ImportError("refine needs the package"), "refine needs the package"),
    (TypeError("not a float"), "not a float"),
    (MemoryError(), "MemoryError"),
    (KeyboardInterrupt(), "KeyboardInterrupt"),
]


def failing(error: BaseException) -> Callable:
    def fail(*_arguments: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(("error", "sentence"), FAILURES)
def test_what_goes_wrong_on_the_way_is_told_to_the_browser(photo, monkeypatch, error, sentence):
    segmenter = ScribbleSegmenter(photo, strokes=LINES)
    monkeypatch.setattr(photos, "segment", failing(error))
    ask(segmenter, 1, photos.as_strokes(LINES, 9))
    assert segmenter.answer == [1, b"", sentence]
    assert (segmenter.mask == IGNORE_INDEX).all()  # not that of the strokes before
    with pytest.raises(type(error)):
        ScribbleSegmenter(photo, strokes=LINES)


@pytest.mark.parametrize(("error", "sentence"), FAILURES)
def test_whatever_fails_in_an_upload_is_told_and_changes_nothing(
    photo, square, monkeypatch, error, sentence
):
    segmenter = ScribbleSegmenter(photo, strokes=LINES)
    for broken in ("helpers.photos.read", "helpers.widgets.scribble_segmenter.encode"):
        with monkeypatch.context() as patch:
            patch.setattr(broken, lambda *_args, **_options: failing(error)())
            upload(segmenter, png(photo[:20]))
        assert segmenter.note[1] == f"Not taken: {sentence}"
    assert segmenter.note[0] == 2
    np.testing.assert_array_equal(segmenter.photo, photo)
    np.testing.assert_array_equal(segmenter.mask, square)
    segmenter._handle_custom_msg({}, [])
    assert segmenter.note == [3, "Not taken: list index out of range"]


def test_strokes_on_a_photo_that_is_gone_do_not_land_on_the_next(photo):
    segmenter = ScribbleSegmenter(photo)
    upload(segmenter, png(photo[:, :50]))
    ask(segmenter, 1, photos.as_strokes(LINES), photo=0)  # sent before the new photo was there
    assert segmenter.strokes == []
    assert segmenter.answer == [1, b"", "Draw strokes of two labels at least."]
    segmenter.strokes = LINES  # from Python they are meant for the photo that is there
    assert len(segmenter.strokes) == 3 and segmenter.mask.shape == (H, 50)
    ask(segmenter, 2, photos.as_strokes(LINES, 3), photo=1)
    assert len(segmenter.strokes) == 3 and segmenter.answer[::2] == [2, ""]


def test_an_upload_takes_the_place_of_the_photo(photo, capsys):
    segmenter = ScribbleSegmenter(photo, strokes=LINES)
    other = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    upload(segmenter, png(other))
    np.testing.assert_array_equal(segmenter.photo, other)
    assert segmenter.picture[:2] == [30, 50] and segmenter.picture[3] == 1
    assert segmenter.strokes == [] and segmenter.answer[1] == b""
    assert segmenter.mask.shape == (30, 50) and (segmenter.mask == IGNORE_INDEX).all()
    assert segmenter.note == [1, ""]
    upload(segmenter, png(np.zeros((400, 960, 3), np.uint8)))
    reduced = "Photo reduced from 960 × 400 to 480 × 200 pixels (width × height)."
    assert segmenter.note == [2, reduced]
    assert capsys.readouterr().out == ""  # it would go astray, in a log
    held = segmenter.get_state()
    assert not [name for name, value in held.items() if value == png(other)]


@pytest.mark.parametrize("data", [b"", b"a diary", png(np.zeros((20, 20, 3), np.uint8))[:50]])
def test_a_refused_upload_changes_nothing_and_says_why(photo, square, data):
    segmenter = ScribbleSegmenter(photo, strokes=LINES)
    before = segmenter.get_state(["strokes", "picture", "answer"])
    with pytest.raises(ValueError) as refusal:
        photos.read(data)
    for number in (1, 2):  # a second time too, although the sentence is the same
        upload(segmenter, data)
        assert segmenter.note == [number, f"Not taken: {refusal.value}"]
    assert segmenter.get_state(["strokes", "picture", "answer"]) == before
    np.testing.assert_array_equal(segmenter.photo, photo)
    np.testing.assert_array_equal(segmenter.mask, square)


def test_the_printed_twin_shows_strokes_labels_and_the_cut_out(photo, square):
    segmenter = ScribbleSegmenter(photo, ["square", "rest"], strokes=LINES, opacity=0.5)
    figure = segmenter.figure()
    drawn, labels, cut = (np.asarray(ax.images[0].get_array()).astype(int) for ax in figure.axes)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["strokes", "labels", "cut-out: square"]
    colors = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLORS])
    scribbles = segmenter.scribbles
    known = scribbles != IGNORE_INDEX
    np.testing.assert_array_equal(drawn[known], colors[scribbles[known]])
    np.testing.assert_array_equal(drawn[~known], photo[~known])
    np.testing.assert_allclose(labels, (colors[square] + photo) / 2, atol=1)
    np.testing.assert_array_equal(cut[square == 0], photo[square == 0])
    assert set(np.unique(cut[square == 1])) == {215, 245}
    assert figure.axes[1].collections  # the outline, for greyscale
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["square", "rest"]
    assert not plt.get_fignums()


def test_before_the_first_stroke_the_printed_twin_is_the_photo(photo):
    figure = ScribbleSegmenter(photo).figure()
    for ax in figure.axes:
        np.testing.assert_array_equal(ax.images[0].get_array(), photo)
        assert not ax.collections


def test_the_bundle_has_a_widget_a_sentence_and_a_picture(photo):
    data, _ = ScribbleSegmenter(photo, strokes=LINES)._repr_mimebundle_()
    assert data["text/plain"] == (
        "Scribble segmenter: a photo of 40 × 60 pixels, 3 strokes; object, background."
    )
    assert "application/vnd.jupyter.widget-view+json" in data
    assert Image.open(io.BytesIO(data["image/png"])).width == 864

"""Figures carry their text, and colours mean classes; test_palettes.py has the colours themselves."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import plots
from helpers.classes import STREETS, ClassSet


@pytest.fixture
def shown(monkeypatch):
    caught = []
    monkeypatch.setattr(plots, "display", lambda data, raw: caught.append(data))
    return caught


def test_a_figure_becomes_an_image_with_text_and_is_closed(shown):
    figure, axis = plots.plt.subplots()
    axis.plot([1, 2])
    plots.show(figure, 'A line that "rises" & more')
    assert shown[0]["text/plain"] == 'A line that "rises" & more'
    tag = shown[0]["text/html"]
    assert 'alt="A line that &quot;rises&quot; &amp; more"' in tag
    picture = Image.open(io.BytesIO(base64.b64decode(tag.split("base64,")[1].split('"')[0])))
    assert picture.size[0] > 100
    assert not plots.plt.get_fignums()


def test_the_same_figure_gives_the_same_bytes(shown):
    for _ in range(2):
        plots.show(plots.grid([{"a": np.zeros((4, 4, 3), np.uint8)}]), "Black.")
    assert shown[0] == shown[1]


def test_a_figure_without_text_is_refused():
    with pytest.raises(ValueError, match="alt must say"):
        plots.show(plots.plt.figure(), "  ")
    plots.plt.close("all")


def test_colorize_draws_each_class_in_its_colour_and_void_in_white():
    colors = plots.colorize(torch.tensor([[0, 7, 255]]), STREETS)
    assert colors.tolist() == [[[0x56, 0xB4, 0xE9], [0xF0, 0xE4, 0x42], [255, 255, 255]]]


def test_labels_without_a_class_are_named():
    with pytest.raises(ValueError, match=r"mask holds labels \[8, 9\]; expected 0 to 7 or 255"):
        plots.colorize(np.array([[0, 8, 9]]), STREETS)


def test_errors_are_white_on_dark_and_void_is_none():
    image = np.full((1, 3, 3), 200, np.uint8)
    got = plots.errors(image, np.array([[0, 1, 2]]), np.array([[0, 0, 255]]))
    assert got[0, 1].tolist() == [255, 255, 255]
    assert got[0, [0, 2]].max() <= 128


@pytest.mark.parametrize("opacity", [0.0, 0.25, 1.0])
def test_overlay_is_a_weighted_mean_and_leaves_void_alone(opacity):
    image = torch.full((3, 1, 2), 0.5)
    got = plots.overlay(image, np.array([[1, 255]]), STREETS, opacity)
    want = (1 - opacity) * 128 + opacity * np.array([0xE6, 0x9F, 0x00])
    assert np.abs(got[0, 0] - want).max() <= 1
    assert got[0, 1].tolist() == [128, 128, 128]


def test_pictures_in_every_common_form_agree():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    forms = [
        image,
        image / 255,
        torch.from_numpy(image).permute(2, 0, 1),
        torch.from_numpy(image).permute(2, 0, 1) / 255,
    ]
    for form in forms:
        assert (plots.as_picture(form) == image).all()
    with pytest.raises(ValueError, match=r"image must be .* got \(5, 7\)"):
        plots.as_picture(image[..., 0])


def test_class_sets_check_themselves():
    assert STREETS.index("pole") == 7
    with pytest.raises(ValueError, match="name must be one of sky, .*'lamp'"):
        STREETS.index("lamp")
    with pytest.raises(ValueError, match="2 names, 1 colors"):
        ClassSet(("a", "b"), ("#000000",))
    with pytest.raises(ValueError, match="differ from one another"):
        ClassSet(("a", "a"), ("#000000", "#FFFFFF"))

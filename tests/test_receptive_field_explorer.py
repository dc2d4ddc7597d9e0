"""ReceptiveFieldExplorer, the Python half: what it refuses, counts, answers, sends and prints."""

from __future__ import annotations

import io
import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from helpers.models.dilated import DilatedStack
from helpers.receptive_field import effective, theoretical
from helpers.widgets import receptive_field_explorer as module
from helpers.widgets.receptive_field_explorer import (
    PRESETS,
    ReceptiveFieldExplorer,
    layers_of,
    paths_to_image,
)

N, H, W = 2, 32, 48


class Whole(nn.Module):
    """Every output pixel sees the whole image, through its mean."""

    def __init__(self):
        super().__init__()
        self.score = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, images):
        scores = self.score(images)
        return scores + nn.functional.adaptive_avg_pool2d(scores.relu(), 1)


@pytest.fixture(scope="module")
def parts() -> dict:
    """Arguments of a small explorer: noise as images, two networks with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = {"dilated": DilatedStack(8, (1, 2), width=8), "whole": Whole()}
    images = np.random.default_rng(0).random((N, 3, H, W), np.float32)
    return {"images": images, "networks": {name: net.eval() for name, net in networks.items()}}


class Pair(nn.Module):
    def forward(self, images):
        return images * 2, images * 3


def random_stack(rng: np.random.Generator) -> list[list[int]]:
    count = rng.integers(1, 6)
    return rng.integers(1, (8, 4, 7), (count, 3)).tolist()


@pytest.mark.parametrize(
    ("trait", "value", "message"),
    [
        ("index", 2, "index must be from 0 to 1; got 2"),
        ("row", -1, "row must be from 0 to 31; got -1"),
        ("column", 48, "column must be from 0 to 47; got 48"),
        ("source", "unet", "source must be one of stack, dilated, whole; got 'unet'"),
        ("show", "holes", "show must be one of paths, heat; got 'holes'"),
        ("layers", [], r"layers must be 1 to 8 of \[kernel, stride, dilation\]; got \[\]"),
        ("layers", [[3, 1, 1]] * 9, "layers must be 1 to 8 of "),
        ("layers", [3, 3, 3], "layers must be 1 to 8 of "),
        ("layers", [[3, 1]], "layers must be 1 to 8 of "),
        ("layers", 3, "layers must be 1 to 8 of .*; got 3"),
        ("layers", [[8, 1, 1]], r"layers must have a kernel from 1 to 7; got 8 in \[8, 1, 1\]"),
        ("layers", [[3, 1, 1], [3, 0, 1]], "layers must have a stride from 1 to 4; got 0"),
        ("layers", [[3, 1, 17]], "layers must have a dilation from 1 to 16; got 17"),
        ("layers", [[3, 1, 1.5]], "layers must have a dilation from 1 to 16; got 1.5"),
        ("layers", [[3, True, 1]], "layers must have a stride from 1 to 4; got True"),
    ],
)
def test_a_control_out_of_range_is_refused_and_stays(parts, trait, value, message):
    parts = parts | {"networks": dict.fromkeys(["dilated", "whole"], nn.Conv2d(3, 8, 1))}
    explorer = ReceptiveFieldExplorer(**parts)
    before = getattr(explorer, trait)
    with pytest.raises(ValueError, match=message):
        setattr(explorer, trait, value)
    assert getattr(explorer, trait) == before
    with pytest.raises(ValueError, match=message):
        ReceptiveFieldExplorer(**parts, **{trait: value})


def test_networks_are_modules_with_names_of_their_own(parts):
    for networks in ({"stack": nn.Conv2d(3, 8, 1)}, {"unet": "weights.safetensors"}):
        with pytest.raises(ValueError, match=r"networks must be modules by a name other than"):
            ReceptiveFieldExplorer(parts["images"], networks)
    for network, gives in (
        (nn.Conv2d(3, 8, 1, stride=2), r"one map of 32 x 48.*'odd' gives \[\(16, 24\)\]"),
        (Pair(), r"'odd' gives \[\(32, 48\), \(32, 48\)\]"),
    ):
        with pytest.raises(ValueError, match=gives):
            ReceptiveFieldExplorer(parts["images"], {"odd": network})
    with pytest.raises(ValueError, match=r"images must lie in \[0, 1\]"):
        ReceptiveFieldExplorer(parts["images"] + 1)


def test_layers_of_any_kind_of_sequence_are_kept_as_numbers_that_can_be_sent(parts):
    for layers in ([(3, 1, 2)], np.array([[3, 1, 2]]), ((3, 1, 2),)):
        assert ReceptiveFieldExplorer(parts["images"], layers=layers).layers == [[3, 1, 2]]


@pytest.mark.parametrize("seed", range(12))
def test_paths_are_the_gradient_of_weights_of_one(seed):
    rng = np.random.default_rng(seed)
    layers, stack = random_stack(rng), nn.Sequential()
    for kernel, stride, dilation in layers:
        padding = dilation * (kernel - 1) // 2
        stack.append(nn.Conv2d(1, 1, kernel, stride, padding, dilation, bias=False))
        nn.init.ones_(stack[-1].weight)
    stack.double()
    image = torch.zeros(1, 1, 90, 101, dtype=torch.double, requires_grad=True)
    output = stack(image)[0, 0]
    jumps = np.cumprod([1, *(stride for _, stride, _ in layers)])
    # an odd reach cannot be padded alike on both sides: the cell moves by half a step
    first = sum(d * (k - 1) % 2 / 2 * jump for (k, _, d), jump in zip(layers, jumps, strict=False))
    for place in ((0, 0), tuple(n // 2 for n in output.shape), tuple(n - 1 for n in output.shape)):
        (wanted,) = torch.autograd.grad(output[place], image, retain_graph=True)
        pixel = tuple((np.array(place) * jumps[-1] + first).round().astype(int).clip(0, (89, 100)))
        counts, (top, left, bottom, right) = paths_to_image(layers, (90, 101), pixel)
        np.testing.assert_array_equal(counts, wanted[0, 0].numpy(), err_msg=f"{layers} {place}")
        rows, columns = np.nonzero(counts)
        assert top <= rows.min() <= rows.max() < bottom
        assert left <= columns.min() <= columns.max() < right


def test_a_pixel_belongs_to_the_nearest_cell():
    layers = [[3, 2, 1], [3, 2, 1]]  # cells centred on 0, 4, 8, ...
    boxes = [paths_to_image(layers, (40, 40), (row, 0))[1][0] for row in range(12, 21)]
    assert boxes == [9, 9, 13, 13, 13, 13, 17, 17, 17]
    assert paths_to_image(layers, (40, 40), (39, 0))[1] == (33, 0, 40, 4)  # the last is at 36


def test_boxes_are_those_of_the_formula_for_every_pixel(parts):
    explorer = ReceptiveFieldExplorer(**parts)
    for name, network in parts["networks"].items():
        field = theoretical(network, (H, W))
        _, _, rows, columns = explorer.boxes[name]
        for row in range(0, H, 5):
            for column in range(0, W, 7):
                box = field.box(row, column)
                assert (*rows[row], *columns[column]) == (box[0], box[2], box[1], box[3])
    assert explorer.boxes["dilated"][0] != [None, None]
    assert explorer.boxes["whole"][0] == [None, None]  # image pooling
    json.dumps(explorer.boxes, allow_nan=False)


def test_the_answer_is_the_gradient_of_the_chosen_pixel(parts):
    explorer = ReceptiveFieldExplorer(**parts, source="dilated", show="heat", index=1, row=3)
    explorer.column = 40
    assert explorer.answer[:4] == [1, "dilated", 3, 40]
    pictures = (parts["images"][1:] * 255).round() / np.float32(255)
    found = effective(parts["networks"]["dilated"], torch.from_numpy(pictures), (3, 40))
    levels, area, half, most = explorer.answer[4:]
    heat = (np.frombuffer(levels, np.uint8).reshape(H, W) / 255) ** 2
    np.testing.assert_allclose(heat, np.asarray(found.heat), atol=1 / 255)
    assert heat.max() == 1
    assert area == found.area
    assert half == pytest.approx(float(found.radius(0.5)))
    assert most == pytest.approx(float(found.radius(0.95)))
    assert 0 < half < most


def test_python_answers_once_and_only_when_heat_is_shown(parts, monkeypatch):
    asked = []
    original = module.effective
    monkeypatch.setattr(module, "effective", lambda *a: asked.append(a[2]) or original(*a))
    explorer = ReceptiveFieldExplorer(**parts, row=9)
    assert asked == [(9, 24)] * 2  # the start of every network, for a page without kernel
    assert [start[:4] for start in explorer.starts] == [
        [0, "dilated", 9, 24],
        [0, "whole", 9, 24],
    ]
    explorer.row = 10  # a stack needs no gradient
    explorer.show = "heat"
    explorer.source = "dilated"
    explorer.show = "paths"
    explorer.row = 11
    assert asked[2:] == [(10, 24)]
    explorer.show = "heat"
    assert asked[3:] == [(11, 24)]
    explorer.set_state({"row": 20, "column": 5})  # together, as a browser sends them
    assert asked[4:] == [(20, 5)]
    explorer.row = 20
    assert len(asked) == 5


def test_a_network_that_looks_nowhere_is_told_as_such(parts):
    dead = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU())
    nn.init.constant_(dead[0].bias, -100)
    explorer = ReceptiveFieldExplorer(parts["images"], {"dead": dead}, source="dead", show="heat")
    assert explorer.starts[0][5:] == [0, 0, 0]  # no NaN, which JSON lacks
    assert not any(explorer.starts[0][4])


def test_the_page_gets_few_bytes(parts):
    explorer = ReceptiveFieldExplorer(**parts)
    kept = {k: v for k, v in explorer.get_state().items() if not k.startswith("_")}
    assert len(repr(kept)) < 40_000


@pytest.mark.parametrize(
    ("rates", "size", "share"),
    [
        # shared table of notebook 05: receptive field and covered share of three 3x3 layers
        ((1, 1, 1), 7, "100"),
        ((2, 2, 2), 13, "29"),
        ((1, 2, 3), 13, "100"),
        ((1, 2, 5), 17, "100"),
        ((1, 2, 9), 25, "70.6"),
        ((2, 4, 8), 29, "26.8"),
        ((4, 4, 4), 25, "7.8"),
        ((3, 4, 5), 25, "70.6"),
    ],
)
def test_the_printed_twin_tells_size_and_covered_share(parts, rates, size, share):
    (ax,) = ReceptiveFieldExplorer(parts["images"]).figure([rates]).axes
    title = ax.get_title().splitlines()
    assert title[0] == "rates " + ", ".join(map(str, rates))
    assert title[1].startswith(f"{size} × {size} pixels, {share}")


def test_the_printed_twin_hatches_the_holes_and_tints_what_is_seen():
    photo = np.full((1, 3, 40, 40), 0.4, np.float32)
    explorer = ReceptiveFieldExplorer(photo, layers=layers_of((4, 4)), row=21, column=18)
    counts, (top, left, bottom, right) = paths_to_image(explorer.layers, (40, 40), (21, 18))
    (ax,) = explorer.figure().axes
    shown = ax.images[0].get_array().astype(int)
    inside = np.zeros((40, 40), bool)
    inside[top:bottom, left:right] = True
    holes = inside & (counts == 0)
    assert len(ax.collections[0].get_segments()) == holes.sum() == 17**2 - 25
    outside, brightness = ~inside, shown.sum(2)
    assert np.ptp(brightness[holes]) == 0
    assert brightness[holes].max() < brightness[outside].min() < 3 * 102
    assert brightness[outside].max() < brightness[counts > 0].min()
    warmth = shown[..., 0] - shown[..., 2]
    for fewer, more in ((0, 1), (1, 3), (3, 9)):  # 5 × 5 taps: 1 2 3 2 1 along each axis
        assert warmth[counts == fewer].max() < warmth[counts == more].min()
    frame = ax.patches[0].get_bbox()
    assert frame.extents.tolist() == [left - 0.5, top - 0.5, right - 0.5, bottom - 0.5]


def test_the_printed_twin_has_a_panel_for_each_setting(parts):
    explorer = ReceptiveFieldExplorer(**parts, row=30, column=2)
    stacks = [(1, 1), (2, 2), PRESETS[-1][1]]
    figure = explorer.figure(stacks, ["dilated", "whole"])
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[2].startswith("3×3/1 3×3/1 2×2/2 3×3/1 3×3/1 2×2/2\n16 × 16 pixels")
    assert titles[3].startswith("dilated: ") and "50 % within" in titles[3]
    assert titles[4].startswith("whole: the whole image\n")
    assert len(titles) == 5 and figure.get_size_inches()[0] == 10
    assert {ax.get_xlim() for ax in figure.axes} == {(-0.5, 47.5)}  # all of it: one sees the whole
    rings = [p.get_radius() for p in figure.axes[3].patches if hasattr(p, "get_radius")]
    *_, half, most = explorer.starts[0]
    assert sorted(set(rings)) == pytest.approx([half, most])
    assert not plt.get_fignums()
    with pytest.raises(ValueError, match=r"networks must be out of .*, got \['unet'\]"):
        explorer.figure(networks=["unet"])
    with pytest.raises(ValueError, match="stacks must have a dilation from 1 to 16; got 20"):
        explorer.figure([(1, 20)])


def test_a_small_box_is_printed_large(parts):
    (ax,) = ReceptiveFieldExplorer(parts["images"], row=0, column=47).figure([(1, 1)]).axes
    assert ax.get_xlim() == (23.5, 47.5) and ax.get_ylim() == (16 - 0.5, -0.5)


def test_the_bundle_has_a_widget_a_sentence_and_a_picture(parts):
    explorer = ReceptiveFieldExplorer(**parts)
    data, _ = explorer._repr_mimebundle_()
    assert data["text/plain"] == (
        "Receptive field explorer: 2 pictures of 32 × 48 pixels; a stack of layers, dilated, whole."
    )
    assert "application/vnd.jupyter.widget-view+json" in data
    assert Image.open(io.BytesIO(data["image/png"])).width == 432
    explorer.source = "dilated"
    assert explorer.still().axes[0].get_title().startswith("dilated")

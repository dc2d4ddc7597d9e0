"""UpsamplingExplorer, the Python half: what it refuses, what its layers give, what it prints."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from helpers.upsampling import overlap_counts
from helpers.widgets.upsampling_explorer import METHODS, UpsamplingExplorer, upsampling_layer

TRANSPOSED, RESIZE, SHUFFLE = "transposed convolution", "resize, then convolve", "pixel shuffle"
KERNELS, STRIDES = range(1, 7), range(2, 5)
EVERY = [
    (method, kernel, stride, init)
    for method, inits in METHODS.items()
    for init in inits or ["ones"]
    for stride in STRIDES
    for kernel in (KERNELS if inits and init != "bilinear" else [3])
]
CELLS = np.random.default_rng(0).random((6, 6)).round(3)


def enlarge(layer, cells) -> np.ndarray:
    with torch.no_grad():
        return layer(torch.as_tensor(cells, dtype=torch.float32)[None, None])[0, 0].numpy()


@pytest.mark.parametrize(
    ("trait", "value", "message"),
    [
        ("cells", [[0.0] * 6] * 5, r"cells must be 6 rows of 6 numbers, got shape \(5, 6\)"),
        ("cells", [[0.0] * 6] * 5 + [[0.0]], "cells must be 6 rows of 6 numbers: "),
        ("cells", "drawing", "cells must be 6 rows of 6 numbers: "),
        ("cells", np.full((6, 6), 1.5), r"cells must lie in \[0, 1\], got \[1.50, 1.50\]"),
        ("cells", np.full((6, 6), np.nan), r"cells must lie in \[0, 1\]"),
        ("ink", 1.2, "ink must be from 0 to 1; got 1.2"),
        ("method", "bicubic", "method must be one of nearest; bilinear; .*; got 'bicubic'"),
        ("kernel", 0, "kernel must be a whole number from 1 to 6; got 0"),
        ("kernel", 7, "kernel must be a whole number from 1 to 6; got 7"),
        ("stride", 1, "stride must be a whole number from 2 to 4; got 1"),
        ("init", "ICNR", f"init must be one of ones, bilinear, random for {TRANSPOSED}"),
    ],
)
def test_a_control_out_of_range_is_refused_and_stays(trait, value, message):
    explorer = UpsamplingExplorer()
    before = getattr(explorer, trait)
    with pytest.raises(ValueError, match=message):
        setattr(explorer, trait, value)
    assert getattr(explorer, trait) == before
    with pytest.raises(ValueError, match=message):
        UpsamplingExplorer(**{trait: value})


def test_a_layer_needs_settings_of_the_explorer():
    with pytest.raises(ValueError, match="kernel must be a whole number from 1 to 6; got 2.5"):
        upsampling_layer(TRANSPOSED, 2.5, 2, "ones")
    with pytest.raises(ValueError, match="init must be one of random, ICNR for pixel shuffle"):
        upsampling_layer(SHUFFLE, 3, 2, "ones")


def test_arrays_and_tensors_are_kept_as_numbers_that_can_be_sent():
    lists = CELLS.tolist()
    for cells in (CELLS, torch.from_numpy(CELLS), lists):
        assert UpsamplingExplorer(cells=cells).cells == lists


def test_first_weights_follow_a_method_that_does_not_know_them():
    explorer = UpsamplingExplorer(init="bilinear")
    explorer.method = RESIZE
    assert explorer.init == "random"
    explorer.init = "ones"
    explorer.method = "nearest"
    explorer.method = TRANSPOSED
    assert explorer.init == "ones"  # known all along
    assert UpsamplingExplorer(method=SHUFFLE).init == "random"
    assert UpsamplingExplorer(method=SHUFFLE, init="ICNR").init == "ICNR"


@pytest.mark.parametrize("setting", EVERY, ids=str)
def test_the_output_is_stride_times_the_input_and_its_middle_block_knows_no_border(setting):
    layer, stride = upsampling_layer(*setting), setting[2]
    small, large = enlarge(layer, np.ones((6, 6))), enlarge(layer, np.ones((18, 18)))
    assert small.shape == (6 * stride, 6 * stride)
    middle, same = (slice(c * stride, (c + 1) * stride) for c in (2, 8))
    np.testing.assert_allclose(small[middle, middle], large[same, same], atol=1e-5)


def test_each_method_agrees_with_another_way_to_say_it():
    for stride in STRIDES:
        get = lambda *s: enlarge(upsampling_layer(*s), CELLS)  # noqa: E731
        blocks = CELLS.repeat(stride, 0).repeat(stride, 1)
        np.testing.assert_allclose(get("nearest", 3, stride, "ones"), blocks, atol=1e-6)
        np.testing.assert_allclose(get(RESIZE, 1, stride, "ones"), blocks, atol=1e-6)
        np.testing.assert_allclose(get(TRANSPOSED, stride, stride, "ones"), blocks, atol=1e-6)
        tents, inside = get(TRANSPOSED, 3, stride, "bilinear"), slice(stride, -stride)
        smooth = get("bilinear", 3, stride, "ones")
        np.testing.assert_allclose(tents[inside, inside], smooth[inside, inside], atol=1e-6)
        corners = get("bilinear, align_corners", 3, stride, "ones")[:: 6 * stride - 1]
        np.testing.assert_allclose(corners[:, 0], CELLS[::5, 0], atol=1e-6)
        for kernel in KERNELS:  # ICNR: every block is of one value
            icnr = get(SHUFFLE, kernel, stride, "ICNR").reshape(6, stride, 6, stride)
            assert np.ptp(icnr, (1, 3)).max() < 1e-6


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_overlap_of_a_transposed_convolution_is_counted_as_in_the_helper(kernel, stride):
    explorer = UpsamplingExplorer(kernel=kernel, stride=stride, cells=np.ones((6, 6)))
    padding = max(0, (kernel - stride + 1) // 2)
    counts = overlap_counts((6, 6), kernel, stride, padding).numpy()
    overlap = explorer.overlap()
    rows, columns = np.minimum(counts.shape, overlap.shape)
    np.testing.assert_array_equal(overlap[:rows, :columns], counts[:rows, :columns])
    np.testing.assert_array_equal(explorer.output(), overlap)  # ones on ones: a count
    explorer.init = "random"
    np.testing.assert_array_equal(explorer.overlap(), overlap)  # no random weight is zero


def test_overlap_counts_the_cells_a_pixel_reads():
    middle = lambda **s: UpsamplingExplorer(**s).overlap()[6:8, 6:8].tolist()  # noqa: E731
    assert middle(method="nearest") == [[1, 1], [1, 1]]
    assert middle(method="bilinear") == [[4, 4], [4, 4]]
    assert middle(method=RESIZE, kernel=3) == [[4, 4], [4, 4]]
    assert middle(method=RESIZE, kernel=4) == [[9, 6], [6, 4]]
    assert middle(method=SHUFFLE, kernel=3) == [[9, 9], [9, 9]]


def test_random_weights_keep_the_size_of_the_map():
    noise = torch.randn(64, 1, 24, 24, generator=torch.Generator().manual_seed(1))
    for chosen in (TRANSPOSED, RESIZE, SHUFFLE):
        gains = []
        for method, kernel, stride, init in EVERY:
            if method == chosen and init == "random":
                layer = upsampling_layer(method, kernel, stride, init)
                with torch.no_grad():
                    gains.append(layer(noise)[..., 16:-16, 16:-16].square().mean())
        assert 0.6 < np.mean(gains) < 1.6, chosen


def test_the_page_gets_few_bytes():
    assert len(json.dumps(UpsamplingExplorer().get_state())) < 40_000


def test_the_bundle_has_a_widget_a_sentence_and_a_picture():
    explorer = UpsamplingExplorer(init="bilinear", stride=3)
    data, _ = explorer._repr_mimebundle_()
    assert data["text/plain"] == (
        "Upsampling explorer: 6 × 6 cells; transposed convolution, kernel 5, stride 3, bilinear."
    )
    assert "application/vnd.jupyter.widget-view+json" in data
    assert Image.open(io.BytesIO(data["image/png"])).size == (600, 258)
    explorer.method = "nearest"
    assert repr(explorer).endswith("cells; nearest, stride 3.")


def test_the_printed_twin_shows_input_output_and_overlap_of_each_setting():
    explorer = UpsamplingExplorer(cells=CELLS)
    figure = explorer.figure(
        [{}, {"method": SHUFFLE, "kernel": 4}, {"method": "nearest", "stride": 3}]
    )
    titles = [row.get_suptitle() for row in figure.subfigs]
    assert titles == [
        "transposed convolution, kernel 3, stride 2, ones",
        "pixel shuffle, kernel 4, stride 2, random",
        "nearest, stride 3",
    ]
    explorer.method, explorer.kernel = SHUFFLE, 4
    for row, values in zip(figure.subfigs[1].axes[:2], (CELLS, explorer.output()), strict=True):
        shown = np.asarray(row.images[0].get_array())
        brightest = max(1, np.abs(values).max())
        np.testing.assert_allclose(shown.max(2)[values >= 0], values[values >= 0] / brightest)
        below = values < 0
        assert (shown[below][:, 2] > shown[below][:, 0]).all()  # blue
        assert sum(len(lines.get_segments()) for lines in row.collections) == below.sum()
    assert below.any()
    overlap = explorer.overlap()
    written = [int(text.get_text()) for text in figure.subfigs[1].axes[2].texts]
    assert written == overlap.flatten().tolist()
    assert figure.subfigs[1].axes[2].get_title().endswith("away from the border: 16 (even)")
    first = [ax.get_title() for ax in figure.subfigs[0].axes]
    assert first[1].endswith(
        "checkerboard of a flat input: 0.19"
    )  # of 1, 2, 2, 4: 1 - 2.25² / 6.25
    assert first[2].endswith("away from the border: 1, 2, 4 (uneven)")


def test_the_twin_refuses_settings_that_do_not_exist():
    explorer = UpsamplingExplorer()
    with pytest.raises(ValueError, match=r"settings must be out of .*, got \['padding'\]"):
        explorer.figure([{"padding": 1}])
    with pytest.raises(ValueError, match="stride must be a whole number from 2 to 4; got 5"):
        explorer.figure([{"stride": 5}])
    with pytest.raises(ValueError, match="method must be one of"):
        explorer.figure([{"method": "bicubic"}])


def test_bilinear_equals_interpolate_at_both_corner_rules():
    cells = torch.as_tensor(CELLS, dtype=torch.float32)[None, None]
    for method, align in (("bilinear", False), ("bilinear, align_corners", True)):
        explorer = UpsamplingExplorer(cells=CELLS, method=method, stride=4)
        peer = F.interpolate(cells, size=(24, 24), mode="bilinear", align_corners=align)
        np.testing.assert_allclose(explorer.output(), peer[0, 0], atol=1e-6)

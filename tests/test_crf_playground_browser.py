"""CRFPlayground in Chromium: equal to Python, one request at a time, by keyboard, in JupyterLab."""

from __future__ import annotations

import re
import zlib
from dataclasses import astuple

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("pydensecrf", reason="pydensecrf2 is not installed")
from browser import (
    bare_page,
    colors,
    lab,
    poll,
    run_all,
    run_last,
    set_state,
    strangers,
    write_notebook,
)

from helpers import crf
from helpers.classes import IGNORE_INDEX, STREETS
from helpers.widgets.crf_playground import CRFPlayground, difference
from helpers.widgets.shared import as_json

pytestmark = pytest.mark.browser

SYNTHETIC = """
import numpy as np
import torch
from helpers.crf import Params
from helpers.classes import STREETS
from torch import nn

rng = np.random.default_rng(0)
images = rng.random((2, 3, 5, 7), np.float32).repeat(8, 2).repeat(8, 3)
images = 0.9 * images + 0.1 * rng.random(images.shape, np.float32)
truths = rng.integers(0, 8, (2, 10, 14)).repeat(4, 1).repeat(4, 2)
truths[:, :8, :8] = 255
torch.manual_seed(0)
networks = {"sharp": nn.Conv2d(3, 8, 3, padding=1), "dull": nn.Conv2d(3, 8, 5, padding=2)}
for network in networks.values():
    nn.init.normal_(network.weight, std=0.5)
params = {"sharp": Params(3, 4, 20, 1, 1), "dull": Params(10, 8, 30, 0, 1)}
"""
H, W = 40, 56
NEEDS_KERNEL = "Not inferred yet: this needs a running kernel. Still shown: "


@pytest.fixture(scope="module")
def synthetic() -> dict:
    values: dict = {}
    exec(SYNTHETIC, values)
    return values


@pytest.fixture
def playground(synthetic) -> CRFPlayground:
    names = ("networks", "images", "truths", "STREETS", "params")
    return CRFPlayground(*(synthetic[name] for name in names))


@pytest.fixture
def alone(browser, playground):
    """The playground in a page without kernel; ``sent`` lists what would go to one."""
    page = bare_page(browser, playground)
    page.set_viewport_size({"width": 1100, "height": 900})
    page.evaluate("""() => {
      window.sent = [];
      const names = ["request", "source", "index", "setting", "iterations", "view"];
      model.save_changes = () => sent.push(Object.fromEntries(names.map((name) => [name, model.get(name)])));
    }""")
    thrown = []
    page.on("pageerror", lambda error: thrown.append(error))
    yield page
    assert not thrown
    page.close()


def trait(page, name: str) -> object:
    return page.evaluate("name => model.get(name)", name)


def sent(page) -> list[dict]:
    return page.evaluate("sent")


def shown(page) -> dict:
    return page.evaluate("document.querySelector('form').result")


def slider(page, name: str):
    return page.get_by_role("slider", name=name)


def spoken(page, panel: int) -> str:
    return page.get_by_role("img").nth(panel).get_attribute("aria-label")


def answer(page, playground: CRFPlayground, message: dict) -> list:
    """What Python says to a message of the browser, brought there."""
    playground.set_state(message)
    tell = """([answer, base64]) => {
      const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
      model.set("answer", answer.with(4, new DataView(bytes.buffer)));
    }"""
    given = playground.answer
    page.evaluate(tell, [[*given[:4], None, *given[5:]], as_json(given[4])["base64"]])
    poll(lambda: shown(page)["exact"] or len(sent(page)) > message["request"], 10, "the answer")
    return given


def stop_the_clock(page) -> None:
    """From now on time passes in the page only by ``page.clock.run_for(milliseconds)``."""
    page.clock.install(time=0)
    page.clock.pause_at(1)


def answer_at_once(page) -> None:
    """From now on every request is answered, whatever it asks for."""
    page.evaluate("""() => { model.save_changes = () =>
      model.set("answer", model.get("answer").with(0, model.get("request"))); }""")


def check_pictures(page, synthetic: dict, given: list, step: int, view: str = "classes") -> None:
    """Pictures, counts, scores and spoken text are those that Python knows for this answer."""
    _, source, index, _, maps, energies, scores = given
    masks = np.frombuffer(zlib.decompress(maps), np.uint8).reshape(-1, H, W)
    truth = synthetic["truths"][index]
    for panel, mask in enumerate((masks[0], masks[step])):
        found = colors(page.locator("canvas").nth(panel), H, W).astype(int)
        if view == "classes":
            photo = synthetic["images"][index].transpose(1, 2, 0) * 255
            wanted = 0.4 * photo + 0.6 * STREETS.palette[mask]
            assert abs(found - wanted).mean() < 6  # photos lose a little on their way
        else:
            wrong = (mask != truth) & (truth != IGNORE_INDEX)
            np.testing.assert_array_equal((found == 255).all(2), wrong)
    kinds = difference(masks[0], masks[step], truth)
    found = colors(page.locator("canvas").nth(2), H, W)
    for kind, color in enumerate([(0x56, 0xB4, 0xE9), (0xD5, 0x5E, 0), (255, 255, 255)], 1):
        np.testing.assert_array_equal((found == color).all(2), kinds == kind)
    counts = [int((kinds == kind).sum()) for kind in (1, 2, 3)]
    assert re.findall(r"(\d+) px", page.locator(".changes").inner_text()) == list(map(str, counts))
    said = "{} pixels mended, {} spoilt, {} changed but wrong both times".format(*counts)
    times = "1 iteration" if step == 1 else f"{step} iterations"
    assert spoken(page, 0) == (
        f"Picture {index}, before: {source}; {view}; mean IoU {scores[0][0]:.3f}."
    )
    assert spoken(page, 1) == (
        f"Picture {index}, after: {times} of the CRF; {view}; mean IoU {scores[step][0]:.3f}."
    )
    assert spoken(page, 2) == f"Picture {index}, what changed; {said}."
    assert f"picture {index}, after {times}: {said}." in page.get_by_role("status").inner_text()
    pairs = [(scores[0][m], scores[step][m]) for m in (0, 1)] + [(energies[0], energies[step])]
    told = [f"{was:.3f} → {now:.3f}".replace("-", "−") for was, now in pairs]
    assert page.locator("dd").all_inner_texts() == told
    steps = ", ".join(f"{k}: {energy:.3f}".replace("-", "−") for k, energy in enumerate(energies))
    assert spoken(page, 3) == (
        f"Free energy per pixel in nats, by iteration: {steps}. Shown: iteration {step}."
    )


def test_pictures_scores_and_words_are_those_of_python(alone, synthetic, playground):
    check_pictures(alone, synthetic, playground.answer, 5)
    set_state(alone, view="errors", iterations=2)
    check_pictures(alone, synthetic, playground.answer, 2, "errors")


def test_tuned_answers_need_no_kernel(alone, synthetic, playground):
    stop_the_clock(alone)
    alone.get_by_role("combobox", name="Network").select_option("dull")
    slider(alone, "Picture").press("ArrowRight")
    slider(alone, "Iterations").press("ArrowLeft")
    alone.get_by_label("errors").check()
    assert trait(alone, "setting") == list(astuple(synthetic["params"]["dull"]))
    assert shown(alone)["exact"]
    check_pictures(alone, synthetic, [0, *playground.starts[3]], 4, "errors")
    assert len(sent(alone)) == 1  # and nothing after the request that none has answered
    alone.clock.run_for(1700)
    assert NEEDS_KERNEL not in alone.get_by_role("status").inner_text()


def test_without_a_kernel_a_line_says_so_and_what_is_shown(alone, synthetic, playground):
    alone.get_by_role("button", name="no CRF").press("Enter")
    line = f"{NEEDS_KERNEL}sharp with its tuned setting; picture 0, after 5 iterations: "
    alone.get_by_text(line).wait_for(timeout=5000)
    check_pictures(alone, synthetic, playground.answer, 5)
    slider(alone, "Picture").press("ArrowRight")
    alone.get_by_text(line.replace("picture 0", "picture 1")).wait_for(timeout=5000)
    alone.get_by_role("button", name="tuned for this network").press("Space")
    assert NEEDS_KERNEL not in alone.get_by_role("status").inner_text()
    slider(alone, "Iterations").press("End")
    alone.get_by_text(line.replace("picture 0", "picture 1")).wait_for(timeout=5000)


def test_one_request_is_on_its_way_and_only_the_newest_state_follows(alone, synthetic, playground):
    stop_the_clock(alone)
    weight = slider(alone, "appearance weight")
    weight.press("ArrowRight")
    first = sent(alone)
    assert [(one["request"], one["setting"][0]) for one in first] == [(1, 3.5)]
    for _ in range(5):
        weight.press("ArrowRight")
    slider(alone, "Picture").press("ArrowRight")
    alone.get_by_label("errors").check()
    assert sent(alone) == first  # the answer is late
    set_state(alone, setting=first[0]["setting"])  # the echo of the message comes before it
    assert weight.get_attribute("aria-valuetext") == "6.3"
    late = answer(alone, playground, first[0])
    assert late[:3] == [1, "sharp", 0]
    newest = sent(alone)[1:]
    assert newest == [
        {
            "request": 2,
            "source": "sharp",
            "index": 1,
            "setting": [6.3, 4, 20, 1, 1],
            "iterations": 5,
            "view": "errors",
        }
    ]
    assert not shown(alone)["exact"] and shown(alone)["index"] == 1
    given = answer(alone, playground, newest[0])
    assert given[:4] == [2, "sharp", 1, [6.3, 4, 20, 1, 1]]
    check_pictures(alone, synthetic, given, 5, "errors")
    own = "sharp with appearance 6.3, 4 px, 20 levels, smoothness 1, 1 px; picture 1, "
    assert alone.get_by_role("status").inner_text().startswith(own)
    assert len(sent(alone)) == 2
    weight.press("ArrowLeft")  # all is answered: the next one goes at once
    assert [one["request"] for one in sent(alone)] == [1, 2, 3]


def test_a_lost_answer_is_not_waited_for_longer_than_patience(alone, synthetic, playground):
    stop_the_clock(alone)
    weight = slider(alone, "appearance weight")
    weight.press("ArrowRight")
    alone.clock.run_for(1400)
    weight.press("ArrowRight")
    slider(alone, "Picture").press("ArrowRight")
    assert [one["request"] for one in sent(alone)] == [1]
    alone.clock.run_for(200)
    assert len(sent(alone)) == 1  # nobody asks twice by themselves
    weight.press("ArrowRight")
    again = sent(alone)[1:]
    assert [(one["request"], one["index"], one["setting"][0]) for one in again] == [(2, 1, 4.5)]
    weight.press("ArrowRight")
    assert len(sent(alone)) == 2  # which has its own patience
    assert not shown(alone)["exact"]
    answer(alone, playground, again[0])
    assert [(one["request"], one["setting"][0]) for one in sent(alone)[2:]] == [(3, 5)]
    check_pictures(alone, synthetic, answer(alone, playground, sent(alone)[2]), 5)


def test_what_python_sets_is_shown(alone, synthetic, playground):
    playground.setting = crf.Params(20, 3, 15, 0, 1)
    playground.iterations = 7
    state = playground.get_state(["setting", "iterations"])
    set_state(alone, **state)
    given = answer(alone, playground, {"request": 0})
    check_pictures(alone, synthetic, given, 7)
    assert slider(alone, "appearance weight").get_attribute("aria-valuetext") == "20"
    assert slider(alone, "smoothness weight").get_attribute("aria-valuetext") == "off"
    assert slider(alone, "Iterations").input_value() == "7"
    assert not sent(alone)


def test_an_overtaken_answer_is_not_shown(alone):
    alone.evaluate("""async () => {
      const read = Response.prototype.arrayBuffer, waits = [200, 0]; // the first takes longer to inflate
      Response.prototype.arrayBuffer = async function () {
        const wait = waits.shift(), data = await read.call(this);
        await new Promise((done) => setTimeout(done, wait));
        return data;
      };
      const [, source, index, , masks, energies, scores] = model.get("answer");
      for (const weight of [5, 9])
        model.set("answer", [0, source, index, [weight, 4, 20, 1, 1], masks, energies, scores]);
      await new Promise((done) => setTimeout(done, 500));
    }""")
    set_state(alone, setting=[5, 4, 20, 1, 1])
    assert not shown(alone)["exact"]
    set_state(alone, setting=[9, 4, 20, 1, 1])
    assert shown(alone)["exact"]


@pytest.mark.parametrize(
    ("name", "place", "key", "values", "texts"),
    [
        ("appearance weight", 0, "ArrowLeft", [0.11, 0.1, 0, 0], ["0.11", "0.1", "off", "off"]),
        ("appearance distance (sxy)", 1, "ArrowRight", [71, 79, 80, 80], ["71 px", "79 px", "80 px", "80 px"]),
        ("appearance colour (srgb)", 2, "ArrowLeft", [2.2, 2, 2], ["2.2 levels", "2 levels", "2 levels"]),
        ("smoothness weight", 3, "ArrowRight", [89, 100, 100], ["89", "100", "100"]),
        ("smoothness distance (sxy)", 4, "ArrowLeft", [0.45, 0.4, 0.4], ["0.45 px", "0.4 px", "0.4 px"]),
    ],
)  # fmt: skip
def test_sliders_move_by_factors_between_their_limits(alone, name, place, key, values, texts):
    setting = [3, 4, 20, 1, 1]
    setting[place] = [0.13, 63, 2.5, 79, 0.5][place]
    answer_at_once(alone)
    set_state(alone, setting=setting)
    for value, text in zip(values, texts, strict=True):
        slider(alone, name).press(key)
        assert trait(alone, "setting")[place] == value
        assert slider(alone, name).get_attribute("aria-valuetext") == text
    assert alone.get_by_text(texts[-1], exact=True).first.is_visible()


def test_a_value_between_two_places_moves_the_right_way(alone):
    answer_at_once(alone)
    for value in (0.05, 4.27, 6, 7.3, 55):
        for key, sign in (("ArrowLeft", -1), ("ArrowRight", 1)):
            set_state(alone, setting=[value, 4, 20, 1, 1])
            slider(alone, "appearance weight").press(key)
            assert sign * (trait(alone, "setting")[0] - value) > 0


def test_every_control_has_a_name(alone):
    tree = alone.locator("form").aria_snapshot()
    controls = re.findall(r"- '?(?:combobox|slider|button|radio|img)\b.*", tree)
    assert len(controls) == 1 + 7 + 2 + 2 + 4
    assert [c for c in controls if not re.match(r"- '?\w+ \"[\w]", c)] == []
    for slider in alone.get_by_role("slider").all():
        assert slider.get_attribute("aria-valuetext")


def test_keys_do_not_leave_the_widget(alone):
    alone.evaluate("() => { window.left = 0; document.body.onkeydown = () => { left += 1; }; }")
    slider(alone, "Picture").press("ArrowRight")
    assert trait(alone, "index") == 1 and alone.evaluate("left") == 0


@pytest.mark.parametrize("width", [1300, 760, 420])
def test_it_fits(alone, width):
    alone.set_viewport_size({"width": width, "height": 900})
    for view in ("classes", "errors"):
        set_state(alone, view=view, setting=[0.05, 79.5, 79.5, 99.5, 9.75])
        assert alone.evaluate("document.documentElement.scrollWidth") <= width
    spans = alone.locator("label b, label span").evaluate_all(
        "all => all.filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.textContent)"
    )
    assert not spans


@pytest.mark.slow
def test_the_playground_lives_in_jupyterlab(browser, tmp_path):
    write_notebook(
        tmp_path / "crf.ipynb",
        SYNTHETIC + "from helpers import crf\n"
        "from helpers.widgets import CRFPlayground\n"
        "asked, original = [], crf.refine_steps\n"
        "def refine_steps(*arguments):\n"
        "    asked.append(arguments[2])\n"
        "    return original(*arguments)\n"
        "crf.refine_steps = refine_steps",
        "playground = CRFPlayground(networks, images, truths, STREETS, params)\nplayground",
        "print(len(asked) - 4, playground.setting, playground.answer[1:4], playground.view)\n"
        "playground.source = 'dull'",
    )
    with lab(tmp_path) as address:
        page = browser.new_page(viewport={"width": 1300, "height": 1100})
        outside = strangers(page)
        run_all(page, address, "crf.ipynb", seconds=60)
        root = page.locator(".pixelwise-crf")
        root.get_by_role("img").first.wait_for()
        poll(lambda: root.get_by_role("combobox").input_value() == "dull", 20, "what Python set")
        cells = page.locator(".jp-Cell").count()
        before = colors(root.locator("canvas").nth(1), H, W)
        weight = root.get_by_role("slider", name="appearance weight")
        weight.focus()
        page.keyboard.type("abdx")  # commands of JupyterLab, were they to get through
        for _ in range(12):
            page.keyboard.press("ArrowLeft", delay=0)
        held = "document.querySelector('.pixelwise-crf').result"
        settled = f"{held}.exact && {held}.setting[0] === 2.5"
        poll(lambda: page.evaluate(settled), 30, "the picture of where the slider came to rest")
        assert (colors(root.locator("canvas").nth(1), H, W) != before).any()
        root.get_by_label("errors").check()
        assert "kernel" not in root.get_by_role("status").inner_text()
        last = run_last(page)
        told = re.compile(
            r"(\d+) Params\(appearance_weight=2.5, .*\['dull', 0, \[2.5, 8.0, 30.0, 0.0, 1.0\]\] errors"
        )
        poll(lambda: told.search(last.inner_text()), 30, "Python knows setting, answer and view")
        inferred = int(told.search(last.inner_text())[1])
        print(f"{inferred} of 12 moves inferred", end="; ")
        assert 1 <= inferred <= 12
        assert page.locator(".jp-Cell").count() == cells
        assert not outside
        page.close()

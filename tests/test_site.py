"""The site: complete, without a dead link, silent towards the web, alive from a folder, open to all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browser import poll, watched

pytest.importorskip("sphinx", reason="the extra `site` is not installed")

from helpers import site, static_widgets
from helpers.notebook_rules import WIDGET_STATE, read

ROOT = Path(__file__).parents[1]
NAMES = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
PAGES = sorted(path.stem for path in (ROOT / "docs").glob("*.md"))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The site, built once; `build` itself fails on warnings and on every fault below."""
    folder = tmp_path_factory.mktemp("site") / "site"
    site.build(folder)
    return folder


@pytest.fixture
def pages(tmp_path):
    """Two pages without a fault."""
    (tmp_path / "a.png").touch()
    (tmp_path / "one.html").write_text(
        "<h1 id='top'>One</h1><a href='two.html#low'>two</a><a href='#top'>up</a>"
        "<a href='https://example.org'>the web</a><img src='a.png' alt='a road'>"
    )
    (tmp_path / "two.html").write_text("<p id='low'>Two</p><script src='a.png'></script>")
    return tmp_path


def test_pages_without_faults_have_none(pages):
    assert list(site.faults(pages)) == []


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("<a href='three.html'>3</a>", "two.html: three.html does not exist"),
        ("<a href='one.html#end'>1</a>", "two.html: one.html#end leads to no place in one.html"),
        ("<a href='#high'>up</a>", "two.html: #high leads to no place in two.html"),
        ("<img src='a.png'>", "two.html: a picture has no alternative text: a.png"),
        ("<img src='a.png' alt=' '>", "two.html: a picture has no alternative text: a.png"),
        ("<img src='b.png' alt='b'>", "two.html: b.png does not exist"),
        ("<script src='https://example.org/x.js'></script>", "loads https://example.org/x.js"),
        ("<link rel='stylesheet' href='//example.org/x.css'>", "loads //example.org/x.css"),
        ("<img src='http://example.org/x.png' alt='x'>", "loads http://example.org/x.png"),
    ],
)
def test_a_fault_is_found(pages, bad, words):
    with (pages / "two.html").open("a") as page:
        page.write(bad)
    (found,) = site.faults(pages)
    assert words in found


def test_a_folder_that_is_no_site_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(site.SiteError, match="holds something that is no site"):
        site.build(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_the_site_is_complete_and_small(built):
    for name in (
        *PAGES,
        *(f"notebooks/{name}" for name in NAMES),
        *(f"slides/{name}" for name in NAMES),
    ):
        assert (built / f"{name}.html").stat().st_size > 2000, name
    assert sum(path.stat().st_size for path in built.rglob("*") if path.is_file()) < 40e6


def test_every_card_of_the_course_map_has_its_picture(built):
    home = (built / "index.html").read_text("utf-8")
    covers = re.findall(r'<img alt="([^"]{20,})" src="_static/covers/(\w+)\.webp"', home)
    assert [name for _, name in covers] == NAMES
    assert all(
        (built / "_static" / "covers" / f"{name}.webp").stat().st_size > 3000 for name in NAMES
    )


def test_a_term_leads_to_the_glossary_at_its_first_use_only(built):
    glossary = (built / "glossary.html").read_text("utf-8")
    for name in NAMES:
        page = (built / "notebooks" / f"{name}.html").read_text("utf-8")
        found = re.findall(
            r'<a class="[^"]*first-use[^"]*" href="\.\./glossary\.html#([^"]+)"', page
        )
        assert len(found) > 5 and len(found) == len(set(found)), name
        assert all(f'id="{anchor}"' in glossary for anchor in found)


def test_symbols_lead_to_the_notation(built):
    notation = (built / "notation.html").read_text("utf-8")
    linked = set()
    for name in NAMES:
        page = (built / "notebooks" / f"{name}.html").read_text("utf-8")
        found = re.findall(
            r'<a class="[^"]*first-use[^"]*" href="\.\./notation\.html#([^"]+)"', page
        )
        assert len(found) == len(set(found)), name
        linked |= set(found)
    assert len(linked) > 20 and all(f'id="{anchor}"' in notation for anchor in linked)


def test_students_see_nothing_of_the_teachers_notes_in_a_notebook_page(built):
    for name in NAMES:
        nb = read(ROOT / "notebooks" / f"{name}.ipynb")
        page = (built / "notebooks" / f"{name}.html").read_text("utf-8")
        asked = [
            cell.metadata["teacher"]["ask"]
            for cell in nb.cells
            if "ask" in cell.metadata.get("teacher", {})
        ]
        assert asked and not any(question in page for question in asked), name


def test_a_script_that_exports_otherwise_is_refused():
    with pytest.raises(ValueError, match=r"other\.js must export its default once"):
        static_widgets.define("other", "export const render = 1;")


def widgets_of(name):
    """How many outputs of a notebook carry the state of a widget."""
    nb = read(ROOT / "notebooks" / f"{name}.ipynb")
    return sum(WIDGET_STATE in o.get("data", {}) for c in nb.cells for o in c.get("outputs", ()))


QUICK = {"preload": False, "resultTypes": ["violations"]}
"""Of axe-core: no style sheets fetched, which a page opened as a file may not, and no passes listed."""


@pytest.fixture
def page(browser):
    page = watched(browser, viewport={"width": 1280, "height": 900})
    yield page
    page.context.close()


@pytest.mark.browser
@pytest.mark.parametrize(
    "name", [*PAGES, "search", "genindex", *(f"notebooks/{name}" for name in NAMES)]
)
def test_a_page_opened_from_its_folder_is_whole(built, page, name):
    """Widgets live, formulas are set, the web is not asked, and axe-core finds nothing serious."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.goto((built / f"{name}.html").as_uri())
    if name.startswith("notebooks/"):
        count = widgets_of(name.partition("/")[2])
        alive = page.locator(".pixelwise-widget[data-alive=true]")
        poll(lambda: alive.count() == count, 30, f"{count} widgets of {name}")
    if page.locator(".math").count():
        poll(
            lambda: page.locator("mjx-container").count() >= page.locator(".math").count(),
            30,
            "formulas",
        )
    assert page.locator("h1").count() == 1 or name == "search"
    broken = "all => all.filter((one) => one.complete && !one.naturalWidth).map((one) => one.src.slice(0, 80))"
    assert page.locator("img").evaluate_all(broken) == []
    assert page.asked == [] and page.faults == []
    found = axe.Axe().run(page, options=QUICK).response["violations"]
    assert [
        (v["id"], v["nodes"][0]["html"][:200])
        for v in found
        if v["impact"] in ("serious", "critical")
    ] == []
    assert page.asked == [] and page.faults == []


@pytest.mark.browser
@pytest.mark.parametrize(
    ("name", "key"), [("00_start_here", "ArrowRight"), ("05_dilation", "ArrowDown")]
)
def test_an_explorer_moves_without_a_kernel(built, page, name, key):
    page.goto((built / "notebooks" / f"{name}.html").as_uri())
    canvas = page.locator(".pixelwise-widget[data-alive=true] canvas").first
    canvas.scroll_into_view_if_needed()
    picture = "canvas => canvas.toDataURL()"
    state = "canvas => canvas.ariaLabel + canvas.closest('.pixelwise-widget').innerText"
    before, told = canvas.evaluate(picture), canvas.evaluate(state)
    canvas.focus()
    page.keyboard.press(key)
    poll(lambda: canvas.evaluate(picture) != before, 10, "another picture")
    assert canvas.evaluate(state) != told  # in words, too


@pytest.mark.browser
def test_search_finds_a_word_offline(built, page):
    page.goto((built / "search.html").as_uri() + "?q=dilation")
    results = page.locator("#search-results li a")
    poll(lambda: results.count(), 20, "search results")
    assert any("Dilation" in text for text in results.all_inner_texts())
    assert page.asked == []

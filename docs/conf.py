"""Settings of the site. It is built by ``python -m helpers.site`` (`make site`), from staged sources."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # first_use.py

project = "Pixelwise"
author = "the Pixelwise team"
extensions = ["myst_nb", "first_use"]
exclude_patterns = ["deck"]

nb_execution_mode = "off"  # the notebooks come with their outputs
nb_ipywidgets_js = {}  # widgets run by _static/host.js
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

smartquotes = False  # the glossary is matched to the letter

html_theme = "furo"
html_title = "Pixelwise"
html_static_path = ["_static"]
html_css_files = ["widgets.css", "site.css"]
html_js_files = ["widgets.js", ("start.js", {"defer": "defer"})]
html_copy_source = False
html_show_copyright = False
html_show_search_summary = False  # they would be fetched, which a page opened from disk may not
html_show_sourcelink = False
html_show_sphinx = False
mathjax_path = "mathjax/tex-chtml.js"  # a copy: see helpers/vendor.py
mathjax3_config = {
    "loader": {"load": ["a11y/assistive-mml"]},  # formulas that can be listened to
    "options": {"enableMenu": False, "enableAssistiveMml": True},
}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


def level_captions(app, pagename, templatename, context, doctree):
    """Say at which level the captions of the navigation are headings; Sphinx leaves that out."""
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace(
        'role="heading"', 'role="heading" aria-level="2"'
    )


def setup(app):
    app.connect("html-page-context", level_captions, priority=900)  # after furo has made it

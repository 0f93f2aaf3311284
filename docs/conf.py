"""Sphinx settings of the site: the chapters with their committed outputs, pages, model cards and the API.

The sources are the repository itself (``sphinx-build -c docs . OUT``), so that a link that works in the repository
works on the site. Nothing is executed, and no page loads anything from another host.
"""

import re
from pathlib import Path

project = "Qwen3-VL on vLLM, hands on"
author = "the authors of the course"
extensions = ["myst_nb", "autoapi.extension", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = [
    "README*.md",
    "CONTRIBUTING.md",
    "docs/**",
    "notebooks/[0-9]*.ipynb",
    "notebooks/exercises/*.ipynb",
    "data/**/README.md",
    "benchmarks/README.md",
]
exclude_patterns = ["docs/locale/**"]
#: Single backticks in docstrings.
default_role = "code"

# Chapters: as committed.
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js: dict[str, dict] = {}
myst_heading_anchors = 4
# Outputs in a format of Jupyter's alone, headings of README files that begin below the first level, shell lines with
# placeholders, and constants that autoapi cannot see.
suppress_warnings = [
    "mystnb.unknown_mime_type",
    "myst.header",
    "misc.highlighting_failure",
    "autoapi.python_import_resolution",
    "config.cache",
    "myst.xref_missing",  # anchors in HTML, which `course site` checks
]

# API: read from the sources, so that nothing heavy is imported.
autoapi_dirs = ["helpers", "toolkit"]
autoapi_root = "docs/api"
autoapi_options = ["members", "show-module-summary"]
autoapi_add_toctree_entry = False
autoapi_member_order = "bysource"

# Languages: catalogues in docs/locale.
language = "en"
locale_dirs = ["locale"]
html_search_language = "en"  # Sphinx's search for Chinese names a stemmer that it does not bring
gettext_compact = False

html_theme = "pydata_sphinx_theme"
html_title = project
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_extra_path = ["redirect"]
html_static_path = ["static"]
html_css_files = ["site.css"]
templates_path = ["templates"]
html_theme_options = {
    "navbar_align": "left",
    "navbar_end": ["languages.html", "theme-switcher"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "footer_start": [],
    "footer_end": [],
}


def _without_links_to_outputs(app, page, template, context, doctree):
    """A chapter links to the report that its run has written; whoever reads the site has none."""
    if "body" in context:
        context["body"] = re.sub(r'<a\b[^>]*href="[^"]*/outputs/[^"]*"[^>]*>(.*?)</a>', r"\1", context["body"])


def _without_empty_headers(app, page, template, context, doctree):
    """A table's empty corner is a cell: a screen reader would announce a header that says nothing."""
    if "body" in context:
        context["body"] = re.sub(r"<th\b([^>]*)>(?:<p></p>|&nbsp;|\s)*</th>", r"<td\1></td>", context["body"])


#: Language → what a screen reader says of the arrow that unfolds the navigation; the theme gives it no name.
UNFOLD = {"en": "more pages", "zh": "更多页面"}


def _name_arrows(app, exception):
    """Once all pages are written: the theme makes the navigation without asking anybody."""
    name = UNFOLD[app.config.language[:2]]
    for page in Path(app.outdir).rglob("*.html") if app.builder.format == "html" else ():
        text = page.read_text(encoding="utf-8")
        if "<summary><span" in text:
            page.write_text(text.replace("<summary><span", f'<summary aria-label="{name}"><span'), encoding="utf-8")


_as_written: dict[str, list[str]] = {}


def _keep_attribute(app, what, name, obj, options, lines):
    """Before napoleon, to which an attribute's text up to a colon is a type: "None: not measured" would be of None."""
    if what in ("attribute", "data"):
        _as_written[name] = list(lines)


def _put_back_attribute(app, what, name, obj, options, lines):
    """After napoleon."""
    if what in ("attribute", "data"):
        lines[:] = _as_written.pop(name, lines)


def setup(app):
    """Called by Sphinx."""
    app.connect("html-page-context", _without_links_to_outputs)
    app.connect("html-page-context", _without_empty_headers)
    app.connect("build-finished", _name_arrows)
    app.connect("autodoc-process-docstring", _keep_attribute, priority=100)
    app.connect("autodoc-process-docstring", _put_back_attribute, priority=900)

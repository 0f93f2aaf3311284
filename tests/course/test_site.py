"""The site's check of its pages, and what its settings name."""

import re
import runpy

import pytest

from course.manifest import load_manifest
from course.site import LANGUAGES, REQUIREMENTS, find_problems
from helpers.files import COURSE_ROOT

GOOD = '<a href="other.html#there">other</a><img src="a.png"><a href="https://example.org/">elsewhere</a>'


@pytest.fixture
def site(tmp_path):
    (tmp_path / "a.png").write_bytes(b"png")
    (tmp_path / "other.html").write_text('<h2 id="there">There</h2>')
    return tmp_path


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        (GOOD, None),
        ('<a href="#here">up</a><p id="here"></p>', None),
        ('<link rel="canonical" href="https://example.org/page.html">', None),
        ('<a href="missing.html">no</a>', "missing.html leads nowhere"),
        ('<a href="other.html#nowhere">no</a>', "no such place"),
        ('<img src="b.png">', "b.png leads nowhere"),
        ('<script src="https://cdn.example.org/x.js"></script>', "loads https://cdn.example.org/x.js"),
        ('<link rel="stylesheet" href="//fonts.example.org/x.css">', "loads //fonts.example.org/x.css"),
    ],
)
def test_a_page_loads_nothing_from_elsewhere_and_its_links_lead_somewhere(site, html, problem):
    (site / "page.html").write_text(html)
    found = list(find_problems(site))
    assert (found == []) if problem is None else (len(found) == 1 and problem in found[0])


def test_the_packages_of_the_site_are_locked():
    wanted = re.findall(r"^([\w-]+==[\w.]+)", (REQUIREMENTS.with_name("site.txt")).read_text(), re.MULTILINE)
    locked = REQUIREMENTS.read_text()
    assert wanted
    assert [pin for pin in wanted if f"\n{pin} " not in locked] == []


def test_the_landing_page_is_translated_and_lists_what_is_there():
    landing = (COURSE_ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for entry in re.findall(r"^\.\./([\w./-]+)$", landing, re.MULTILINE):
        assert (COURSE_ROOT / f"{entry}.md").is_file(), entry
    pages = {path.stem for path in (COURSE_ROOT / "docs").glob("*.md")} - {"index"}
    assert pages <= set(landing.splitlines())
    catalogue = COURSE_ROOT / "docs" / "locale" / "zh_CN" / "LC_MESSAGES" / "docs" / "index.po"
    untranslated = re.findall(r'msgid "[^"]+"\nmsgstr ""\n(?!")', catalogue.read_text(encoding="utf-8"))
    assert untranslated == []
    assert set(LANGUAGES) == {"en", "zh_CN"}


def test_the_chinese_readme_lists_every_chapter():
    chinese = (COURSE_ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
    assert [entry.file for entry in load_manifest().notebooks if f"](notebooks/{entry.file})" not in chinese] == []


def test_an_empty_corner_of_a_table_is_no_header():
    conf = runpy.run_path(str(COURSE_ROOT / "docs" / "conf.py"))
    context = {"body": '<th class="head"><p></p></th><th></th><th class="blank" >&nbsp;</th><th><p>seat</p></th>'}
    conf["_without_empty_headers"](None, "page", "page.html", context, None)
    assert context["body"] == '<td class="head"></td><td></td><td class="blank" ></td><th><p>seat</p></th>'


def test_a_colon_in_the_text_of_an_attribute_makes_no_type_of_what_stands_before_it():
    conf = runpy.run_path(str(COURSE_ROOT / "docs" / "conf.py"))
    handlers = []

    class App:
        def connect(self, event, handler, priority=500):
            handlers.append((priority, event, handler))

    conf["setup"](App())
    handlers.append((500, "autodoc-process-docstring", lambda *given: given[-1].insert(0, ":type: None")))  # napoleon
    for what, kept in (("attribute", True), ("data", True), ("function", False)):
        lines = ["None: not measured."]
        for _, event, handler in sorted(handlers, key=lambda one: one[0]):
            if event == "autodoc-process-docstring":
                handler(None, what, "a.b", None, None, lines)
        assert (lines == ["None: not measured."]) is kept

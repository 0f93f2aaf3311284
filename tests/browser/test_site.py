"""The site in a real browser, once `make site` has built it: readable by everybody, alone, in both languages."""

import pytest

from course.manifest import load_manifest
from helpers.files import COURSE_ROOT

SITE = COURSE_ROOT / "build" / "site"
CHAPTERS = [f"notebooks/{entry.file.replace('.ipynb', '.html')}" for entry in load_manifest().notebooks]
PAGES = ["docs/index.html", "README.html", "benchmarks/README.html", "data/models/tiny-qwen3-vl/README.html",
         "notebooks/exercises/02.html", "docs/api/toolkit/planner/index.html", "zh_CN/docs/index.html",
         "zh_CN/README.zh-CN.html", *CHAPTERS]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def site():
    if not (SITE / "index.html").is_file():
        pytest.skip("the site is not built: make site")


@pytest.mark.parametrize("name", PAGES)
def test_everybody_can_read_a_page_and_it_asks_no_other_host(look, name):
    found = look(SITE / name)
    assert found.violations == [] and found.width == 1100
    assert found.asked == [] and found.failures == []


@pytest.mark.parametrize("name", PAGES[:4])
def test_a_page_is_readable_in_the_dark_and_on_a_phone(look, name):
    found = look(SITE / name, "dark", width=375)
    assert found.violations == [] and found.width == 375


def test_the_language_switch_leads_to_the_same_page_and_back(browser):
    page = browser.new_page()
    page.goto((SITE / "docs" / "index.html").as_uri())
    page.get_by_role("link", name="中文").first.click()
    page.wait_for_url("**/zh_CN/docs/index.html")
    assert page.evaluate("document.documentElement.lang").startswith("zh")
    page.get_by_role("link", name="English").first.click()
    page.wait_for_url("**/site/docs/index.html")
    page.close()


def test_the_search_finds_a_chapter(browser):
    page = browser.new_page()
    page.goto((SITE / "search.html").as_uri() + "?q=M-RoPE")
    page.locator("#search-results li a").first.wait_for()
    found = page.locator("#search-results li a").evaluate_all("links => links.map(link => link.href)")
    assert any("/notebooks/" in url for url in found)
    page.close()

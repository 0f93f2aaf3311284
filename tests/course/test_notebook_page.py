"""Executed notebooks as pages."""

import re

from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_output

from course.notebook_page import write_page
from tests.support.throwaway import notebook, write

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def page_of(folder, *cells):
    """The page, made in a folder 'outputs' beside the notebooks."""
    output = folder / "outputs"
    output.mkdir()
    write(folder, "01_next.ipynb", notebook("print(1)"))
    assert write_page(write(output, "00_this.ipynb", notebook(*cells)), folder) == "00_this.html"
    return (output / "00_this.html").read_text(encoding="utf-8")


def test_nothing_is_asked_of_another_host(tmp_path):
    figure = new_code_cell("1", outputs=[new_output("display_data", {"image/png": PIXEL})])
    page = page_of(tmp_path, "# Title\n\nWith $x^2$.", "print(1)", figure)
    assert "<script" not in page and "@import" not in page
    assert not re.findall(r"""(?:src=|href=|url\()["']?(?:https?:)?//""", page)
    assert "<title>Title</title>" in page


def test_links_lead_from_where_the_page_lies(tmp_path):
    (tmp_path / "facts.md").write_text("facts")
    links = "[a](01_next.ipynb) [b](facts.md) [c](https://example.org/x) [d](#Title) [e](01_next.ipynb#Part)"
    page = page_of(tmp_path, f"# Title\n\n{links}", "link = 'href=\"facts.md\"'")
    for address in ("01_next.html", "../facts.md", "https://example.org/x", "#Title", "01_next.html#Part"):
        assert f'href="{address}"' in page
    assert page.count("../facts.md") == 1


def test_what_a_cell_says_of_its_images_is_their_alternative_text(tmp_path):
    outputs = [new_output("display_data", {"image/png": PIXEL}) for _ in range(2)]
    cell = new_code_cell("draw()", outputs=outputs, metadata={"alt": ["a line <up>", 'a "bar"']})
    page = page_of(tmp_path, "# Title", cell)
    assert [image["alt"] for image in BeautifulSoup(page, "html.parser").find_all("img")] == cell.metadata["alt"]


def test_a_page_that_cannot_be_made_fails_nothing(tmp_path):
    (tmp_path / "00_torn.ipynb").write_text("{")
    assert write_page(tmp_path / "00_torn.ipynb", tmp_path) is None
    assert not (tmp_path / "00_torn.html").exists()

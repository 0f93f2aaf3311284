"""The one Jinja environment."""

import pytest
from jinja2 import UndefinedError

from helpers.templates import render


def test_html_is_escaped_and_other_text_is_not(tmp_path):
    for name, text in (("a.html.jinja", "<p>&lt;b&gt;</p>\n"), ("a.md.jinja", "<p><b></p>\n")):
        (tmp_path / name).write_text("<p>{{ value }}</p>\n")
        assert render(tmp_path / name, value="<b>") == text


def test_a_missing_name_is_an_error_and_a_block_leaves_no_empty_line(tmp_path):
    template = tmp_path / "a.conf.jinja"
    template.write_text("{% if on %}\n  port {{ port }}\n{% endif %}\n")
    assert render(template, on=True, port=80) == "  port 80\n"
    with pytest.raises(UndefinedError, match="port"):
        render(template, on=True)


def test_filters_and_what_changes_every_value(tmp_path):
    (tmp_path / "a.html.jinja").write_text("{{ 'x'|twice }} {{ value }}")
    text = render(tmp_path / "a.html.jinja", {"twice": lambda text: text * 2}, lambda value: f"{value}!", value="<")
    assert text == "xx! &lt;!"

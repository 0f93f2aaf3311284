"""The check of prose: house terms and spelling, in what readers read and nowhere else."""

import pytest

from course import prose


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("The server shows a picture.", "'picture' → image"),
        ("It reaches 40 tokens a\nsecond.", "'tokens a second' → per second"),
        ("The Color of it", "British"),
        ("Leave out what nobody needs.", "omit"),
        ("A flag allows to stop it.", "let you"),
        ("This is a training on two cores.", "a training run"),
    ],
)
def test_a_discouraged_word_is_named_with_its_line_and_what_to_write(text, finding):
    (found,) = prose.discouraged({"page.md": f"First line.\n{text}"})
    assert found.startswith("page.md, line 2: '") and finding in found


@pytest.mark.parametrize(
    "text",
    ["a training run", "a blank image", "style='color: red'", "prefers-color-scheme", "Frames per second", "depicture"],
)
def test_terms_of_the_field_stay(text):
    assert list(prose.discouraged({"page.md": text})) == []


@pytest.mark.parametrize(
    "text",
    ["`picture`", "see [it](picture.md)", "https://example.org/picture", "```\na picture\n\n```", "``a picture``"],
)
def test_code_and_addresses_are_not_prose(text):
    assert list(prose.discouraged(prose.without_code({"page.md": text}))) == []


def test_a_misspelt_word_is_named_with_its_line():
    found = list(prose.find_problems({"a.md": "fine", "b.md": "`teh` is code\nand teh answer is not"}))
    assert found == ["b.md, line 2: teh → the"]


def test_of_a_module_docstrings_and_messages_are_read_on_their_lines():
    source = '"""One module of words."""\nname = "picture"\n# not a picture\nraise E(f"there is no picture {name}")\n'
    assert [line.strip() for line in prose.strings_of(source).split("\n")] == [
        "One module of words.", "", "", "there is no picture",
    ]  # fmt: skip


def test_pages_notebooks_and_modules_are_read():
    places = {place.partition(",")[0] for place, _ in prose.course_texts()}
    assert {"README.md", "docs/setup.md", "05_qwen2_vl_vs_qwen3_vl.ipynb", "course/lab.py"} <= places
    assert "README.zh-CN.md" not in places


def test_the_course_keeps_the_house_s_terms():
    assert list(prose.discouraged(prose.without_code(dict(prose.course_texts())))) == []

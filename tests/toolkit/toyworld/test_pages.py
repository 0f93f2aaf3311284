"""Pages: the same for the same seed, everything inside the sheet, and the answer is what is drawn."""

import random

import numpy as np
import pytest

from toolkit.grounding import read_layout
from toolkit.toyworld import make_item, pages

SEEDS = range(11_000_000, 11_000_060)


def facts_of(seed, difficulty=3):
    return pages.make_facts(random.Random(f"page-{seed}"), difficulty)


def test_the_same_seed_gives_the_same_page():
    first, again, other = make_item("page", SEEDS[0]), make_item("page", SEEDS[0]), make_item("page", SEEDS[1])
    assert first.record() == again.record() != other.record()
    assert [image.tobytes() for image in first.media.values()] == [image.tobytes() for image in again.media.values()]


@pytest.mark.parametrize("difficulty", [1, 2, 3])
def test_blocks_lie_on_the_page_and_apart_in_reading_order(difficulty):
    for seed in SEEDS:
        facts = facts_of(seed, difficulty)
        boxes = [element["box"] for element in pages.elements(facts)]
        for left, top, right, bottom in boxes:
            assert 0 <= left < right <= 1000 and 0 <= top < bottom <= 1000
        for place, (left, _, _, bottom) in enumerate(boxes):
            for other_left, other_top, *_ in boxes[place + 1 :]:
                assert other_left > left or other_top >= bottom  # further right, or below


def test_a_page_holds_what_its_difficulty_says():
    tags = [[block["tag"] for block in facts_of(SEEDS[0], difficulty)["blocks"]] for difficulty in (1, 2, 3)]
    assert tags[0] == ["h1", "p"]
    assert "table" in tags[1] and "form" not in tags[1]
    assert {"table", "form"} <= set(tags[2])
    assert {facts_of(seed)["columns"] for seed in SEEDS} == {1, 2}
    assert all(facts_of(seed, 2)["columns"] == 1 for seed in SEEDS)


def test_there_is_ink_inside_each_box_and_none_outside():
    for seed in SEEDS[:12]:
        facts = facts_of(seed)
        page = np.asarray(pages.draw(facts, seed).convert("L")) < 200
        for element in pages.elements(facts):
            left, top, right, bottom = (
                round(edge * side / 1000)
                for edge, side in zip(element["box"], (pages.WIDTH, pages.HEIGHT) * 2, strict=True)
            )
            assert page[top:bottom, left:right].any()
            page = page.copy()
            page[max(top - 2, 0) : bottom + 3, max(left - 2, 0) : right + 3] = False
        assert not page.any()


def test_the_answer_says_what_was_drawn():
    item = make_item("page", SEEDS[0])
    reading = read_layout(item.answer[0])
    assert not reading.problems
    for found, block in zip(reading.objects, item.facts["blocks"], strict=True):
        assert found.box
        assert [list(row) for row in found.rows] == block["rows"] if "rows" in block else found.text == block["text"]
    assert item.messages[0]["content"][1]["text"] == "qwenvl html"


def test_special_characters_survive():
    facts = {"columns": 1, "typeface": "sans", "blocks": [{"tag": "h1", "text": "Salt & <pepper>"}]}
    (heading,) = read_layout(pages.html_of(facts)).objects
    assert heading.text == "Salt & <pepper>"

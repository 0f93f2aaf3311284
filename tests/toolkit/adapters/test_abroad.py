"""Receipts from abroad: facts, image and answer say the same, and repeat."""

import json

import pytest
from PIL import Image

from helpers.errors import CourseError
from toolkit.adapters import write_receipts_abroad
from toolkit.toyworld import read_items


def test_the_answer_is_the_facts_in_another_form(items):
    for item in read_items(items):
        facts, answer = item["facts"], json.loads(item["answer"][0])
        assert list(answer) == ["shop", "date", "currency", "total"]
        assert answer["total"] == facts["total"].replace(",", ".")
        cents = [int(one["price"].replace(",", "")) for one in facts["items"]]
        assert sum(cents) == int(facts["total"].replace(",", ""))


def test_images_fit_whole_tokens_and_a_seed_gives_the_same_bytes(items, tmp_path):
    again = list(write_receipts_abroad(tmp_path, 6, seed=11_900_000))
    assert [dict(record) for record in again] == read_items(items)
    for record in again:
        (name,) = record["media"]
        assert (tmp_path / name).read_bytes() == (items / name).read_bytes()
        with Image.open(tmp_path / name) as image:
            assert not any(side % 32 for side in image.size)


def test_another_seed_gives_other_receipts(items, tmp_path):
    others = list(write_receipts_abroad(tmp_path, 6, seed=11_900_006))
    assert not {str(item["facts"]) for item in read_items(items)} & {str(item["facts"]) for item in others}


@pytest.mark.parametrize(("count", "seed"), [(0, 1), (3, -1)])
def test_nothing_to_draw_is_refused(count, seed, tmp_path):
    with pytest.raises(CourseError, match="Cannot make"):
        next(write_receipts_abroad(tmp_path, count, seed))

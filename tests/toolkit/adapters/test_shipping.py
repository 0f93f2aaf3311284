"""The card states origin and measurements; pickles and private paths are not shipped."""

import json

import pytest

from helpers.errors import CourseError
from toolkit.adapters import Origin, compare_answers, write_card

ORIGIN = Origin("tiny-qwen3-vl", "apache-2.0", "480 receipts drawn by the course", "apache-2.0")


@pytest.fixture
def scores():
    return compare_answers([{"task": "new", "answer": ["x"]}] * 20, ["y"] * 20, ["x"] * 20)


def write(folder, scores, origin=ORIGIN):
    return write_card(folder, "Receipts from abroad", origin, scores, made={"rank": 8}, date="2026-11-28")


def test_the_card_is_made_of_measurements(adapters, scores):
    text = write(adapters / "language", scores)
    assert (adapters / "language" / "README.md").read_text() == text
    assert text.startswith("---\nlicense: apache-2.0\nbase_model: tiny-qwen3-vl\nlibrary_name: peft")
    assert "| new | 20 | 0% | 100% | +100%" in text
    assert "480 receipts" in text
    assert "rank: 8" in text


def test_no_path_of_this_machine_is_shipped(adapters, scores):
    write(adapters / "language", scores)
    config = json.loads((adapters / "language" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny-qwen3-vl"


def test_pickles_are_refused(adapters, scores):
    (adapters / "language" / "training.pt").write_bytes(b"")
    with pytest.raises(CourseError, match="holds training"):
        write(adapters / "language", scores)


def test_an_origin_must_be_stated(adapters, scores):
    with pytest.raises(CourseError, match="data licence"):
        write(adapters / "language", scores, Origin("a", "b", "c", " "))

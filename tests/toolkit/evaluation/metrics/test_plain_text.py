"""Counts of how a text is written."""

from toolkit.evaluation.metrics.plain_text import measure_style
from toolkit.toyworld.items import read_items


def test_words_sentences_and_sections():
    style = measure_style("## Setting\n\nA man's dog runs. It is well-kept!\n\n- calm\n- warm")
    assert (style.words, style.sentences, style.sections) == (10, 5, 3)
    assert measure_style("").variety is None and measure_style("").words == 0


def test_variety_does_not_fall_with_length():
    sentence = " ".join(f"word{number}" for number in range(50))
    assert measure_style(sentence).variety == measure_style(f"{sentence} {sentence}").variety == 1.0
    assert measure_style("no no no no").variety == 0.25


def test_moods_are_checked_against_the_scene():
    facts = read_items("data/scenes")[0]["facts"]
    style = measure_style("The mood is warm and calm. The mood is gloomy.", facts)
    assert facts["light"] == "sunset" and (style.moods, style.moods_supported) == (3, 2)
    assert measure_style("A warm mood.").moods_supported == 0

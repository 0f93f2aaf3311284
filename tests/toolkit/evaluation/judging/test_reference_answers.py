"""Answers of known quality, over many scenes."""

import pytest

from helpers.errors import CourseError
from tests.support.judging import SCENES, scene_record
from toolkit.evaluation.judging.reference_answers import (
    ORACLE,
    REFERENCE_ANSWERS,
    blind_guess,
    pad,
    reference_pairs,
    swapped_attributes,
    verbose_liar,
)
from toolkit.evaluation.metrics.scene_facts import check
from toolkit.toyworld.items import make_item


def subject(kind, colour, position):
    return {
        "kind": kind, "colour": colour, "position": position, "pattern": "plain", "pose": "", "gear": None,
        "row": "front", "facing": "left", "x": 0, "ground": 0, "box": [0, 0, 1, 1],
    }  # fmt: skip


def two(first, second):
    facts = {"place": "park", "light": "noon", "weather": "clear", "landmark": None}
    return scene_record(0, facts | {"subjects": [subject(*first, "left"), subject(*second, "right")]})


def test_the_oracle_states_every_fact_and_every_other_answer_fewer():
    for item in SCENES:
        reports = {name: check(make(item) or "", item["facts"]) for name, make in REFERENCE_ANSWERS.items()}
        assert reports[ORACLE].f1 == 1
        assert all(report.f1 < 1 for name, report in reports.items() if name != ORACLE)


def test_the_same_item_has_the_same_answers_and_another_item_others():
    assert blind_guess(SCENES[0]) == blind_guess(SCENES[0]) != blind_guess(SCENES[1])
    assert verbose_liar(SCENES[0]) == verbose_liar(SCENES[0]) != verbose_liar(SCENES[1])


def test_the_liar_is_longer_than_the_truth_and_tells_none_of_it():
    for item in SCENES:
        lie, truth = verbose_liar(item), item["answer"][0]
        report = check(lie, item["facts"])
        assert len(lie.split()) > len(truth.split())
        assert report.contradicted >= 3
        stated = {fact.kind for fact in report.facts if fact.state == "stated"}
        assert not stated & {"object", "place", "light", "weather", "landmark"}


def test_swapping_exchanges_the_colours_and_nothing_else():
    swap = swapped_attributes(two(("ball", "red"), ("balloon", "blue")))
    assert swap.startswith("A blue ball is on the left and a red balloon is on the right. The scene is in a park at no")


def test_things_of_one_colour_change_places():
    swap = swapped_attributes(two(("ball", "red"), ("balloon", "red")))
    assert swap.startswith("A red ball is on the right and a red balloon is on the left.")


def test_what_cannot_be_swapped_is_no_answer():
    alone = scene_record(0, SCENES[0]["facts"] | {"subjects": SCENES[0]["facts"]["subjects"][:1]})
    assert swapped_attributes(alone) is None
    assert swapped_attributes(two(("ball", "red"), ("ball", "red"))) is None
    assert not [pair for pair in reference_pairs([alone]) if "swapped attributes" in (pair.first, pair.second)]


def test_each_pair_meets_once_an_item_and_places_are_shared_fairly():
    pairs = reference_pairs(SCENES)
    met = {(pair.item["item_id"], frozenset((pair.first, pair.second))) for pair in pairs}
    assert len(met) == len(pairs)
    firsts = [pair.first == ORACLE for pair in pairs if ORACLE in (pair.first, pair.second)]
    assert 0.4 < sum(firsts) / len(firsts) < 0.6


def test_padding_makes_longer_and_says_nothing_that_can_be_checked():
    for item in SCENES[:20]:
        before, after = (check(text, item["facts"]) for text in (item["answer"][0], pad(item["answer"][0])))
        assert (after.supported, after.contradicted, after.stated) == (
            before.supported,
            before.contradicted,
            before.stated,
        )
        assert len(pad(item["answer"][0])) > len(item["answer"][0]) + 200


def test_only_scenes_have_reference_answers():
    item = make_item("sentence", 11_000_001).record()
    for make in REFERENCE_ANSWERS.values():
        with pytest.raises(CourseError, match="not the facts of a scene"):
            make(item)

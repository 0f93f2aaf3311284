"""Answers as released models phrase them, with verdicts by hand: every grader agrees with the people who wrote them."""

from pathlib import Path

import pytest
import yaml

from helpers.errors import CourseError
from toolkit.evaluation.metrics import answer_tokens, grade
from toolkit.evaluation.metrics.scoring import score_answer
from toolkit.toyworld.questions import all_tasks

FILES = sorted((Path(__file__).parent / "fluent_answers").glob("*.yaml"))
#: Asked with the question of another task, whose answers are read the same way.
SAME_AS = {"pair_direction": "clip_direction", "pair_order": "clip_order"}
#: Scored otherwise: a page by `toolkit.grounding`, a window by what the clicks did.
SCORED_OTHERWISE = {"page", "window"}
#: Beside the toy world's own: of chapters 10 and 11, of photographs, and one that is asked about pairs.
ADDED = {"pair_speed", "receipt_adds_up", "receipt_abroad", "photo_exists", "photo_count", "photo_colour", "photo_text"}


def answers_of(file):
    """(record, verdict by hand, text) of each answer in a file; its items are of the task that it is named after."""
    for case in yaml.safe_load(file.read_text(encoding="utf-8")):
        message = [{"role": "user", "content": case["question"]}]
        record = {"item_id": "x", "task": file.stem, "messages": message, "facts": case.get("facts", {})}
        record["answer"] = [case.get("answer", "I can't tell.")]
        for answer in case["answers"]:
            ((verdict, text),) = answer.items()
            yield record, verdict, text


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_grader_agrees_with_the_verdicts_by_hand(file):
    answers = list(answers_of(file))
    assert len(answers) >= 25
    wrong = [
        f"{record['messages'][0]['content']} {text!r}: {by_hand} by hand, {verdict} by the grader"
        for record, by_hand, text in answers
        if (verdict := grade(record, text)) != by_hand
    ]
    agreement = 1 - len(wrong) / len(answers)
    assert agreement >= 0.97, f"{file.stem}: {agreement:.1%}\n" + "\n".join(wrong)


def test_every_task_has_answers():
    assert {file.stem for file in FILES} == all_tasks().keys() - SAME_AS.keys() - SCORED_OTHERWISE | ADDED


def test_every_task_has_a_limit_that_its_answers_fit_into():
    for file in FILES:
        longest = max(len(text.split()) for _, _, text in answers_of(file))
        assert answer_tokens(file.stem) >= max(200, 3 * longest), "words; a token is seldom shorter than a third of one"
    assert answer_tokens(*all_tasks().keys() - SCORED_OTHERWISE) == 512
    with pytest.raises(CourseError, match="no task 'scenes'"):
        answer_tokens("scene", "scenes")


def test_an_unreadable_answer_earns_nothing_and_is_counted():
    record, _, text = next(
        one for file in FILES if file.stem == "scene_count" for one in answers_of(file) if one[1] == "unreadable"
    )
    scores, _ = score_answer(record, text)
    assert (scores["right"], scores["parsed"]) == (0, 0)


def test_an_item_without_answers_has_no_verdict():
    with pytest.raises(CourseError, match="no right answer"):
        grade({"item_id": "x", "messages": [{"role": "user", "content": "Read it."}]}, "Some tea.")

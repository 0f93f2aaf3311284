"""Boxes, events and pages as released models write them, with verdicts by hand: the readers agree with them."""

from pathlib import Path

import pytest
import yaml

from toolkit.grounding import Found, overlaps, read_events, read_layout, read_objects
from toolkit.grounding.events import Event
from toolkit.grounding.page_scoring import score_page

FOLDER = Path(__file__).parent / "fluent_answers"
ANIMALS = [Found("dog", box=(100, 200, 300, 600)), Found("cat", box=(500, 250, 700, 650))]
EVENTS = [Event("walks", 0.5, 2), Event("waves", 2, 4)]
PAGE = read_layout(
    "# Prices\n\nFresh bread every day.\n\n"
    "\\begin{tabular}{lr} Tea & 2.50 \\\\ Milk & 1.10 \\end{tabular}\n\nClosed in July."
)


def found_all(found, true):
    if not found:
        return "unreadable"
    return "right" if min(overlaps(found, true)) >= 0.5 else "wrong"


def page(answer):
    reading = read_layout(answer)
    scores = score_page(reading, PAGE)
    known = {element.text for element in PAGE.objects} & {element.text for element in reading.objects}
    if not known and not scores["cells_found_twice"]:
        return "unreadable"
    errors = scores["edits"] / scores["characters"]
    whole = scores["cells_found_twice"] == scores["cells_both"] and scores["pairs_in_order"] == scores["pairs"]
    return "right" if errors <= 0.02 and whole else "wrong"


GRADERS = {
    "objects": lambda answer: found_all(read_objects(answer).objects, ANIMALS),
    "events": lambda answer: found_all(read_events(answer).objects, EVENTS),
    "page": page,
}


@pytest.mark.parametrize("task", GRADERS)
def test_the_reader_agrees_with_the_verdicts_by_hand(task):
    answers = [pair for one in yaml.safe_load((FOLDER / f"{task}.yaml").read_text("utf-8")) for pair in one.items()]
    assert len(answers) >= 25
    wrong = [
        f"{by_hand} by hand, {found} by the reader: {text!r}"
        for by_hand, text in answers
        if (found := GRADERS[task](text)) != by_hand
    ]
    agreement = 1 - len(wrong) / len(answers)
    assert agreement >= 0.97, f"{task}: {agreement:.1%}\n" + "\n".join(wrong)

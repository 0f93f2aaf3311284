"""What the tests of a chapter's checkers share: how many answers they try, and what is said of each."""

from collections import Counter

from toolkit.exercises import check
from toolkit.exercises.cards import cards_of


def verdict_on(exercise, answers, **context):
    """The verdict on answers: a tuple, or one answer."""
    return check(exercise, *(answers if isinstance(answers, tuple) else (answers,)), **context)


def too_few(chapter, right, wrong):
    """Exercises that are judged, but by which fewer than one other right or two wrong answers are tried.

    Args:
        chapter: such as ``"02"``.
        right, wrong: tuples that begin with the exercise.
    """
    judged = [exercise for exercise, card in cards_of(chapter).items() if card.kind != "open"]
    accepted, refused = Counter(row[0] for row in right), Counter(row[0] for row in wrong)
    return [exercise for exercise in judged if accepted[exercise] < 1 or refused[exercise] < 2]

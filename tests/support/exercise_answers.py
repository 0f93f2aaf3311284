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


class ChapterTests:
    """The tests of one chapter's checkers: ``class TestAnswers(ChapterTests)`` names the chapter and its answers.

    A row is an exercise, answers as `verdict_on` takes them and, of a wrong one, a word of what is said about it.
    """

    chapter: str
    right: list
    wrong: list
    as_given: list

    def pytest_generate_tests(self, metafunc):
        """Each row is a test of its own."""
        rows = {"right": self.right, "wrong": self.wrong, "given": self.as_given}
        for name in rows.keys() & set(metafunc.fixturenames):
            metafunc.parametrize(name, rows[name])

    def test_other_right_answers_pass(self, right):
        exercise, answers = right
        assert verdict_on(exercise, answers).state == "correct"

    def test_wrong_answers_get_a_useful_word(self, wrong):
        exercise, answers, word = wrong
        verdict = verdict_on(exercise, answers)
        assert verdict.state == "incorrect" and word in verdict.message

    def test_a_cell_that_behaves_as_given_is_not_attempted(self, given):
        exercise, answers = given
        assert verdict_on(exercise, answers).state == "not attempted"

    def test_every_checker_is_tried(self):
        assert too_few(self.chapter, self.right, self.wrong) == []

"""`check`: three states, one line, a record, and never a traceback of ours."""

import types
import warnings

import pytest

from helpers.errors import CourseError
from helpers.jsonl import read_rows
from toolkit.exercises import cards, check, checking, hint, solution
from toolkit.exercises.cards import Card
from toolkit.exercises.judging import call, describe, is_close, number

MADE_UP = {
    "1": {"kind": "code", "title": "Twice", "hints": ["Two.", "Times two.", "Multiply by 2."]},
    "2": {"kind": "open", "title": "Why?", "hints": ["Think.", "Think again."]},
    "3": {"kind": "predict", "title": "A list", "hints": ["One.", "Two."]},
}
EXPLANATION = "Because twice something is the same as adding it to itself."


def twice_is_right(function):
    return None if is_close(call(function, 4), 8) else "twice 4 is 8"


@pytest.fixture(autouse=True)
def made_up_chapter(monkeypatch):
    """Three exercises in place of a chapter's."""
    known = {
        f"99.{name}": Card(name=name, learner_minutes=1, explanation=EXPLANATION, **fields)
        for name, fields in MADE_UP.items()
    }
    checkers = types.SimpleNamespace(exercise_1=twice_is_right, exercise_3=lambda values: str(values[3]))
    monkeypatch.setattr(cards, "chapters", lambda: ["99"])
    monkeypatch.setattr(cards, "cards_of", lambda chapter: known)
    monkeypatch.setattr(checking, "import_module", lambda name: checkers)
    cards._shown.clear()


def raises(error):
    def function(value):
        raise error

    return function


@pytest.mark.parametrize(
    "answer",
    [
        ...,
        None,
        "",
        "  \n",
        [1, ...],
        {"role": ...},
        {"messages": [{"content": ...}]},
        (..., 2),
        lambda value: None,
        lambda value: ...,
        lambda value: value * ...,
        raises(NotImplementedError()),
    ],
)
def test_what_nobody_has_begun_is_not_attempted(answer):
    assert check("99.1", answer).state == "not attempted"


def test_without_an_answer_it_is_not_attempted():
    assert check("99.1").state == "not attempted"


@pytest.mark.parametrize("answer", [lambda value: 2 * value, lambda value: value + value, lambda *_, **__: 8.0])
def test_whatever_behaves_right_is_correct(answer, capsys):
    assert check("99.1", answer) == checking.Verdict("correct")
    assert capsys.readouterr().out == "99.1 correct\n"


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (lambda value: 9, "twice 4 is 8"),
        (lambda value: "8", "should be a number, not '8' (str)"),
        (lambda value: True, "should be a number"),
        (raises(ValueError("bad value\nsecond line")), "your function raised ValueError: bad value"),
        (raises(KeyError()), "your function raised KeyError"),
        (lambda: 8, "your function raised TypeError"),
        (8, "a function is expected, not 8 (int)"),
        ("text", "a function is expected, not 'text' (str)"),
    ],
)
def test_a_wrong_answer_gets_a_word_in_one_line_and_no_traceback(answer, word, capsys):
    verdict = check("99.1", answer)
    assert verdict.state == "incorrect" and word in verdict.message
    said = capsys.readouterr().out
    assert said == f"99.1 incorrect: {verdict.message}\n"


def test_an_answer_of_another_form_is_incorrect_whatever_the_checker_thinks_of_it():
    verdict = check("99.3", [1])
    assert verdict.state == "incorrect" and "another form than expected (IndexError" in verdict.message


def test_a_verdict_is_not_shown_a_second_time_by_the_notebook(capsys):
    assert check("99.1", ...)._ipython_display_() is None


def test_an_open_question_is_not_judged_and_says_so(capsys):
    assert check("99.2", ...).state == "not attempted"
    assert check("99.2", "Because.").state == "incorrect"
    verdict = check("99.2", "I think that it is so because of this and that.")
    assert verdict.state == "correct"
    assert "nobody has judged it" in verdict.message and EXPLANATION in verdict.message
    said = capsys.readouterr().out
    assert " ".join(said.split()).endswith(" ".join(verdict.message.split()))


def test_long_texts_are_printed_in_lines_that_fit_a_cell(monkeypatch, capsys):
    texts = {"explanation": "Words of five. " * 40, "hints": ["Another hint. " * 40]}
    long = cards.card_of("99.2").model_copy(update=texts)
    monkeypatch.setattr(cards, "cards_of", lambda chapter: {"99.2": long})
    monkeypatch.setattr(cards, "solution_code", lambda exercise: "answer = 42")
    check("99.2", "I think that it is so because of this and that.")
    hint("99.2")
    solution("99.2")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 20 and max(map(len, lines)) <= 76


def test_a_learners_copy_without_explanations_says_who_has_them(monkeypatch, capsys):
    kept = {name: card.model_copy(update={"explanation": None}) for name, card in cards.cards_of("99").items()}
    monkeypatch.setattr(cards, "cards_of", lambda chapter: kept)
    verdict = check("99.2", "I think that it is so because of this and that.")
    assert verdict == checking.Verdict(
        "correct", "nobody has judged it. Your teacher has a model answer to compare with"
    )
    capsys.readouterr()
    monkeypatch.setattr(cards, "solution_code", lambda exercise: "answer = 42")
    solution("99.2")
    assert capsys.readouterr().out == "answer = 42\n"


@pytest.mark.parametrize("exercise", ["99.9", "98.1", "99", "", "../x.1"])
def test_an_unknown_exercise_is_explained(exercise):
    for ask in (check, hint, solution):
        with pytest.raises(CourseError, match="There is no exercise"):
            ask(exercise)


def test_verdicts_are_recorded(log):
    for answer in (..., lambda value: 1, lambda value: 8):
        check("99.1", answer)
    check("99.3", ...)
    assert [row["state"] for row in read_rows(log)] == ["not attempted", "incorrect", "correct", "not attempted"]


def test_a_record_that_cannot_be_written_is_a_warning_and_no_error(log):
    log.mkdir(parents=True)
    with pytest.warns(UserWarning, match="not recorded"):
        assert check("99.1", lambda value: 8).state == "correct"


def test_a_record_that_is_switched_off_is_no_warning(log, monkeypatch):
    monkeypatch.setenv("COURSE_EXERCISES_LOG", "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check("99.1", lambda value: 8)
    assert not log.exists()


def test_each_hint_says_more_and_the_last_is_repeated(capsys):
    for _ in range(4):
        hint("99.1")
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == [f"99.1, hint {place} of 3: {text}" for place, text in enumerate(MADE_UP["1"]["hints"], 1)]
    assert said[3] == said[2]


def test_without_solutions_the_teacher_has_them(capsys):
    solution("99.1")
    assert capsys.readouterr().out == "99.1: this copy of the course comes without solutions. Ask your teacher.\n"


def test_long_values_are_shortened_in_messages():
    assert describe("x" * 200).endswith("... (str)") and len(describe("x" * 200)) < 80
    assert number(3) == 3.0

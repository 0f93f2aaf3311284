"""Metrics of answers as text: hand-worked examples, and every trap that is known to have fooled an evaluation kit."""

import pytest

from helpers.errors import CourseError
from toolkit.evaluation.metrics import text_metrics as text

# ---------------------------------------------------------------- error rates


def test_error_rates_of_hand_worked_examples():
    # kitten -> sitting: two substitutions and an insertion over seven characters
    assert text.cer(["kitten"], ["sitting"]) == pytest.approx(3 / 7)
    # jiwer's own example: 'duck' for 'world'
    assert text.wer(["hello duck"], ["hello world"]) == 0.5
    assert text.wer(["the cat  sat"], ["the cat sat"]) == 0


def test_an_error_rate_is_pooled_over_the_corpus():
    assert text.cer(["x", "abcdefghi"], ["a", "abcdefghi"]) == pytest.approx(1 / 10)


def test_an_error_rate_can_exceed_one():
    assert text.cer(["abcabc"], ["xy"]) == 3


def test_an_empty_reference_adds_edits_and_alone_has_no_rate():
    assert text.cer(["abc", "de"], ["", "de"]) == 1.5
    assert text.cer(["abc"], [""]) is None
    assert text.cer([""], [""]) is None
    assert text.cer([], []) is None


def test_spaces_and_line_breaks_count_as_characters():
    assert text.edits("a b", "ab") == text.edits("a\nb", "a b") == 1
    assert text.cer([" ab"], ["ab "]) == text.cer(["\nab"], ["ab "]) == pytest.approx(2 / 3)
    assert text.wer(["a  b\nc"], ["a b c "]) == 0


def test_graphemes_are_what_a_reader_takes_for_a_character():
    family = "👨‍👩‍👧"
    assert text.edits(family, "x") == 5
    assert text.edits(family, "x", "graphemes") == 1
    assert text.edits("e\u0301a", "ea", "graphemes") == 1


def test_columns_of_different_lengths_are_refused():
    for metric in (text.cer, text.wer, text.anls, text.cord_f1, text.pope, text.chair):
        with pytest.raises(CourseError, match="belong together"):
            metric(["a"], [])


# ---------------------------------------------------------------- ANLS


def test_half_of_the_characters_wrong_gives_no_similarity():
    assert text.similarity("ab", "ax") == 0
    assert text.similarity("abc", "abx") == pytest.approx(2 / 3)
    assert text.similarity("abcde", "abxye") == pytest.approx(0.6)


def test_similarity_ignores_case_and_runs_of_spaces():
    assert text.similarity("  Harbour  CAFE", "harbour cafe ") == 1
    assert text.similarity("", "") == 1
    assert text.similarity("", "a") == 0


def test_anls_takes_the_best_reference_and_the_mean_over_questions():
    assert text.anls(["abc", "zzz"], [["xyz", "abx"], ["abc"]]) == pytest.approx(1 / 3)
    assert text.anls([], []) is None


@pytest.mark.parametrize("accepted", [[], "abc"])
def test_anls_needs_references(accepted):
    with pytest.raises(CourseError, match="references"):
        text.anls(["abc"], [accepted])


# ---------------------------------------------------------------- exact match and JSON


def test_exact_match_is_by_character():
    assert text.exact_match(" noon\n", ["Noon.", "noon"])
    assert not text.exact_match("Noon", ["Noon.", "noon"])
    with pytest.raises(CourseError, match="list"):
        text.exact_match("o", "noon")


def test_a_reversed_sentence_may_stand_in_quotation_marks():
    for answer in ("cba", '"cba"', "“cba”", "'cba' "):
        assert text.reversal_match(answer, ["cba"])
    assert not text.reversal_match('"cba', ["cba"])
    assert not text.reversal_match("abc", ["cba"])
    assert text.reversal_match('"cba"', ['"cba"'])
    assert not text.reversal_match("cba", ['"cba"'])


@pytest.mark.parametrize(
    "answer",
    ["NaN", '{"a": NaN}', '{"a": 1', "[Infinity]", "1e999", '{"a": 1, "a": 2}', "{'a': 1}", 'Here: {"a": 1}',
     '{"a": 1} and more', "", "[" * 100_000, "[1,]"],
)  # fmt: skip
def test_what_is_not_json_is_none(answer):
    assert text.read_json(answer) is None


def test_the_whole_answer_is_json():
    assert text.read_json('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}


def test_a_code_block_is_json_only_where_allowed():
    answer = '```json\n{"a": 1}\n```'
    assert text.read_json(answer) is None
    assert text.read_json(answer, fenced=True) == {"a": 1}
    assert text.read_json(f"Here: {answer}", fenced=True) is None


def test_json_is_equal_whatever_the_order_of_keys():
    assert text.same_json(text.read_json('{"b": [1, 2], "a": null}'), {"a": None, "b": [1, 2]})
    assert not text.same_json({"b": [2, 1]}, {"b": [1, 2]})


@pytest.mark.parametrize("pair", [(1, True), (1, 1.0), (0, False), ("1", 1), (None, {})])
def test_json_of_another_type_is_not_equal(pair):
    assert not text.same_json(*pair)


def test_cord_f1_of_a_hand_worked_receipt():
    expected = {"menu": [{"name": "Tea", "price": "3.15"}, {"name": "Soap", "price": "2.00"}], "total": "5.15"}
    predicted = {"menu": [{"name": "Tea", "price": "3.15"}, {"name": "Soup", "price": "2.00"}]}
    # right: Tea, 3.15, 2.00; wrong: Soup; missing: Soap, total
    assert text.cord_f1([predicted], [expected]) == pytest.approx(3 / (3 + (1 + 2) / 2))
    assert text.cord_f1([None], [expected]) == 0
    assert text.cord_f1([{}], [{}]) is None


def test_cord_f1_does_not_see_which_price_belongs_to_which_name():
    expected = {"menu": [{"name": "Tea", "price": "3.15"}, {"name": "Soap", "price": "2.00"}]}
    swapped = {"menu": [{"name": "Tea", "price": "2.00"}, {"name": "Soap", "price": "3.15"}]}
    assert text.cord_f1([swapped], [expected]) == 1
    assert not text.same_json(swapped, expected)


def test_cord_f1_counts_repeats_and_is_pooled():
    assert text.cord_f1([["a", "a", "a"]], [["a"]]) == pytest.approx(0.5)
    assert text.cord_f1([["a"], ["b"] * 9], [["x"], ["b"] * 9]) == pytest.approx(0.9)


# ---------------------------------------------------------------- boxes


def test_boxes_overlap_by_hand():
    square = (0, 0, 10, 10)
    assert text.iou(square, square) == 1
    assert text.iou(square, (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert text.iou(square, (2, 2, 4, 7)) == text.iou((2, 2, 4, 7), square) == pytest.approx(10 / 100)
    for other in ((20, 20, 30, 30), (20, 0, 30, 10), (10, 0, 20, 10), (5, 5, 5, 5), (8, 8, 2, 2), (2, 8, 8, 2)):
        assert text.iou(square, other) == text.iou(other, square) == 0, other
    assert text.iou((10, 10, 0, 0), (10, 10, 0, 0)) == 0


def test_a_box_needs_four_numbers():
    assert text.read_box('{"bbox_2d": [1, 2, 3.5, 4]}') == (1, 2, 3.5, 4)
    for answer in (
        '{"bbox_2d": [1, 2, 3]}',
        '{"bbox_2d": [1, 2, 3, 4, 5]}',
        '{"bbox_2d": null}',
        '{"bbox_2d": [1, 2, true, 4]}',
        'A box: {"bbox_2d": [1, 2, 3, 4]}',
        "",
        '{"bbox_2d": ["1", "2", "3", "4"]}',
        '{"bbox_2d": [1, 2, 3, true]}',
        '{"bbox_2d": [1, 2, 3, NaN]}',
        f'{{"bbox_2d": [1, 2, 3, {"4" * 309}]}}',
        "[1,2,3,4]",
    ):
        assert text.read_box(answer) is None
    listed = '```json\n[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]\n```'
    assert text.read_box(listed) is None
    assert text.read_box(listed, fenced=True) == (1, 2, 3, 4)


# ---------------------------------------------------------------- yes or no


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("Yes", "yes"), ("no.", "no"), ("Yes, there is a dog.", "yes"), ("**No**", "no"), (" 'yes' ", "yes"),
        ("No, there is no dog.", "no"), ("Yes there is.", "yes"), ("No\n\nThe picture has a cat.", "no"),
        ("", None), ("Maybe", None), ("Yesterday.", None), ("No idea", None), ("Yes. No.", None), ("Yes or no?", None),
        ("Maybe yes.", None), ("not", None), ("yes", "yes"), ("Yes.", "yes"), (" YES! ", "yes"), ("no", "no"),
        ("No, nothing\nat all.", "no"),
        ("There is a dog.", None), ("I can't tell.", None), ("yes, yes.", "yes"), ("No - I see a cat", "no"),
    ],
)  # fmt: skip
def test_yes_and_no_are_read(answer, read):
    assert text.yes_or_no(answer) == read


def test_pope_of_a_hand_worked_example():
    said = ["yes", "yes", "no", "no", "yes", None]
    truth = ["yes", "no", "no", "yes", "yes", "yes"]
    found = text.pope(said, truth)
    assert found.accuracy == pytest.approx(3 / 6)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(2 / 4)
    assert found.f1 == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert found.unparsed == 1


def test_the_yes_ratio_is_of_the_predictions():
    found = text.pope(["yes"] * 4, ["yes", "no", "no", "no"])
    assert (found.yes_ratio, found.right_yes_ratio) == (1, 0.25)


def test_an_unparsed_answer_is_never_a_yes_or_a_no():
    found = text.pope([None] * 4, ["yes", "yes", "no", "no"])
    assert (found.accuracy, found.recall, found.f1) == (0, 0, 0)
    assert found.precision is None
    assert found.yes_ratio is None
    assert found.unparsed == found.n == 4


def test_texts_that_were_not_read_are_refused():
    with pytest.raises(CourseError, match="yes_or_no"):
        text.pope(["Yes, there is."], ["yes"])


# ---------------------------------------------------------------- objects


def test_chair_counts_repeats_and_captions():
    found = text.chair([["dog", "cat", "cat"], ["dog"]], [{"dog"}, {"dog", "ball"}])
    assert found.instances == pytest.approx(2 / 4)
    assert found.sentences == pytest.approx(1 / 2)
    assert found.recall == pytest.approx(2 / 3)


def test_chair_of_nothing_mentioned_is_no_value_and_no_recall():
    found = text.chair([[], []], [{"dog"}, {"cat"}])
    assert found.instances is None
    assert (found.sentences, found.recall) == (0, 0)
    assert text.chair([], []).sentences is None


def test_a_short_caption_wins_chair_and_loses_recall():
    there = [{"dog", "cat", "ball"}]
    short, long = text.chair([["dog"]], there), text.chair([["dog", "cat", "ball", "tree"]], there)
    assert short.instances < long.instances
    assert short.recall < long.recall

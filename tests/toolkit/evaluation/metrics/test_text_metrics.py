"""Metrics of answers as text: hand-worked examples, and every trap that is known to have fooled an evaluation kit."""

import pytest

from helpers.errors import CourseError
from toolkit.evaluation.metrics import text_metrics as text

# ---------------------------------------------------------------- copies


def test_spaces_and_line_breaks_count_as_characters():
    assert text.edits("kitten", "sitting") == 3
    assert text.edits("a b", "ab") == text.edits("a\nb", "a b") == 1
    assert text.edits("", "abc") == 3 and text.edits("", "") == 0


def test_exact_match_is_by_character():
    assert text.exact_match(" noon\n", ["Noon.", "noon"])
    assert not text.exact_match("Noon", ["Noon.", "noon"])
    with pytest.raises(CourseError, match="list"):
        text.exact_match("o", "noon")


def test_a_copy_may_stand_in_quotation_marks():
    for answer in ("cba", '"cba"', "“cba”", "'cba' ", "**cba**", "`cba`", "It is: cba.", "```\ncba\n```"):
        assert text.copied_line(answer) == "cba"
    assert text.copied_line('"cba') == '"cba'
    assert text.copied_line("'abc' in reverse is 'cba'.", "Write 'abc' in reverse.") == "cba"
    assert text.copied_line("First attempt: bca. Corrected: cba") == "cba"


def test_lines_are_copied_without_what_a_chat_model_puts_around_them():
    assert (
        text.copied_lines("Here it is:\n\n**Old Mill**  \n- Tea   3.15\n\n| TOTAL | 3.15 |")
        == "Old Mill\nTea 3.15\nTOTAL 3.15"
    )
    assert text.copied_lines("```\n2 x Tea 3.15\n```\nAnything else?") == "2 x Tea 3.15"


# ---------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    "answer",
    ["NaN", '{"a": NaN}', '{"a": 1', "[Infinity]", "1e999", '{"a": 1, "a": 2}', "{'a': 1}", 'Here: {"a": 1}',
     '{"a": 1} and more', "", "[" * 100_000, "[1,]"],
)  # fmt: skip
def test_what_is_not_json_is_none(answer):
    assert text.read_json(answer) is None


def test_the_whole_answer_is_json():
    assert text.read_json('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}


def test_json_is_found_in_code_blocks_and_prose():
    answer = '```json\n{"a": 1}\n```'
    assert text.read_json(answer) is None
    for whole in (answer, f"Here: {answer} Well?", 'It is {"a": 1}.', '{"b": 1} Wait: {"a": 1}'):
        assert text.find_json(whole) == {"a": 1}
    for torn in ('{"c": [{"a": 1}]', "{'c': [1]}", '{"a": 1, "a": 2}', "[1,]", "", "None."):
        assert text.find_json(torn) is None


def test_json_is_equal_whatever_the_order_of_keys():
    assert text.same_json(text.read_json('{"b": [1, 2], "a": null}'), {"a": None, "b": [1, 2]})
    assert not text.same_json({"b": [2, 1]}, {"b": [1, 2]})


@pytest.mark.parametrize("pair", [(1, True), (1, 1.0), (0, False), ("1", 1), (None, {})])
def test_json_of_another_type_is_not_equal(pair):
    assert not text.same_json(*pair)


def f1(predicted, expected):
    right, said, there = text.cord_overlap(predicted, expected)
    return text.share(2 * right, said + there)


def test_cord_f1_of_a_hand_worked_receipt():
    expected = {"menu": [{"name": "Tea", "price": "3.15"}, {"name": "Soap", "price": "2.00"}], "total": "5.15"}
    predicted = {"menu": [{"name": "Tea", "price": "3.15"}, {"name": "Soup", "price": "2.00"}]}
    # right: Tea, 3.15, 2.00; wrong: Soup; missing: Soap, total
    assert f1(predicted, expected) == pytest.approx(3 / (3 + (1 + 2) / 2))
    assert f1(None, expected) == 0
    assert f1({}, {}) is None
    assert f1(["a", "a", "a"], ["a"]) == pytest.approx(0.5), "repeats count"


def test_cord_f1_does_not_see_which_price_belongs_to_which_name():
    expected = {"menu": [{"name": "Tea", "price": "3.15"}, {"name": "Soap", "price": "2.00"}]}
    swapped = {"menu": [{"name": "Tea", "price": "2.00"}, {"name": "Soap", "price": "3.15"}]}
    assert f1(swapped, expected) == 1
    assert not text.same_json(swapped, expected)


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
        "",
        '{"bbox_2d": ["1", "2", "3", "4"]}',
        '{"bbox_2d": [1, 2, 3, true]}',
        '{"bbox_2d": [1, 2, 3, NaN]}',
        f'{{"bbox_2d": [1, 2, 3, {"4" * 309}]}}',
    ):
        assert text.read_box(answer) is None


def test_a_box_is_found_in_what_released_models_write():
    for answer in (
        '```json\n[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]\n```', 'A box: {"bbox": [1, 2, 3, 4]}', "[1,2,3,4]",
        "<|box_start|>(1,2),(3,4)<|box_end|>", '{"dog": [[1, 2], [3, 4]]}', '{"x1": 1, "y1": 2, "x2": 3, "y2": 4}',
    ):  # fmt: skip
        assert text.read_box(answer, "dog") == (1, 2, 3, 4), answer
    two = '[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}, {"bbox_2d": [5, 6, 7, 8], "label": "cat"}]'
    assert text.read_box(two, "cat") == (5, 6, 7, 8)
    assert text.read_box(two) is None

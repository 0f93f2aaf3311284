"""Boxes and points in answers as models write them: fenced, cut off, several, none, in prose, and wrong."""

import pytest

from toolkit.grounding import Found, read_objects

DOG = Found("dog", box=(10, 20, 300, 400))
CAT = Found("cat", box=(500, 20, 600, 90))
AS_JSON = '{"bbox_2d": [10, 20, 300, 400], "label": "dog"}'
OTHER = '{"bbox_2d": [500, 20, 600, 90], "label": "cat"}'


@pytest.mark.parametrize(
    ("answer", "objects", "problems"),
    [
        (AS_JSON, (DOG,), ()),
        (f"[{AS_JSON}, {OTHER}]", (DOG, CAT), ()),
        (f"```json\n[\n  {AS_JSON},\n  {OTHER}\n]\n```", (DOG, CAT), ()),
        (f"Here they are:\n{AS_JSON}\n{OTHER}\nAnything else?", (DOG, CAT), ()),
        (f"```json\n{AS_JSON}\n```\nand\n```json\n{OTHER}\n```", (DOG, CAT), ()),
        (f"<think>[1, 2, 3, 4]? {OTHER}</think>{AS_JSON}", (DOG,), ()),
        (f'{{"objects": [{AS_JSON}], "more": {{"found": {OTHER}}}}}', (DOG, CAT), ()),
        (f'```json\n[{AS_JSON}, {{"bbox_2d": [500, 20,', (DOG,), ("cut off",)),
        (f'[{AS_JSON}, {{"bbox_2d": [500, 20, 600, 90], "label": "ca', (DOG,), ("cut off",)),
        (f"[{AS_JSON}, {AS_JSON}, {AS_JSON}]", (DOG,), ("2 repeated",)),
        ('{"bbox_2d": [300, 400, 10, 20], "label": "dog"}', (DOG,), ("'dog': corners the wrong way round",)),
        ('{"bbox_2d": [NaN, 20, 300, 400], "label": "dog"}', (), ("'dog': not 4 finite numbers",)),
        ('{"bbox_2d": [10, 20, Infinity, 400], "label": "dog"}', (), ("'dog': not 4 finite numbers",)),
        ('{"bbox_2d": [10, 20, 1e999, 400]}', (), ("not 4 finite numbers",)),
        (f'{{"bbox_2d": [10, 20, 1{"0" * 400}, 400]}}', (), ("not 4 finite numbers",)),
        ('{"bbox_2d": [10, 20, 300], "label": "dog"}', (), ("'dog': not 4 finite numbers",)),
        ('{"bbox_2d": [10, 20, true, "x"], "label": "dog"}', (), ("'dog': not 4 finite numbers",)),
        ('{"bbox_2d": "somewhere"}', (), ("not 4 finite numbers",)),
        ('{"point_2d": [5, 6], "label": "nose"}', (Found("nose", point=(5, 6)),), ()),
        ('{"point_2d": [5], "label": "nose"}', (), ("'nose': not 2 finite numbers",)),
        (
            '{"bbox_2d": [[10, 20, 300, 400], [1, 2, 3, 4]], "label": "dog"}',
            (DOG, Found("dog", box=(1, 2, 3, 4))),
            (),
        ),
        ('{"bbox_2d": [10, 20, 300, 400], "text_content": "TOTAL"}', (Found("TOTAL", box=(10, 20, 300, 400)),), ()),
        ("<|box_start|>(10,20),(300,400)<|box_end|>", (Found("", box=(10, 20, 300, 400)),), ()),
        ("There is no dog in the image.", (), ()),
        ("[]", (), ()),
        ("", (), ()),
        ("I see [a dog] {here}.", (), ()),
    ],
)
def test_what_is_read_and_what_is_said_of_the_rest(answer, objects, problems):
    reading = read_objects(answer)
    assert reading.objects == objects
    assert reading.problems == problems


@pytest.mark.parametrize("answer", ["[" * 5000, '{"a":' * 3000, "{" * 5000, '[{"bbox_2d": ' * 2000])
def test_an_answer_that_never_ends_is_cut_off_and_nothing_worse(answer):
    assert read_objects(answer).objects == ()


def test_a_quoted_bracket_does_not_cut_off():
    assert read_objects('{"label": "a \\" [ sign", "bbox_2d": [1, 2, 3, 4]}').problems == ()


def test_a_box_has_a_middle():
    assert DOG.centre == (155, 210)
    assert Found("nose", point=(5, 6)).centre == (5, 6)
    assert Found("nothing").centre is None

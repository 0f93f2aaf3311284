"""The checkers of chapter 10 refuse plausible wrong answers and accept other right ones."""

import json
import math

from tests.support.exercise_answers import ChapterTests
from toolkit.agents import zoom_tool
from toolkit.agents.tools import run_call

FATES = {"a": "swallowed", "b": "thoughts in the text", "c": "lost", "d": "right"}


# 10.2
def by_place(deltas):
    calls = []
    for delta in deltas:
        if delta["name"]:
            calls.append([delta["name"], ""])
        calls[-1][1] += delta["arguments"]
    return [(name, json.loads(text or "{}")) for name, text in calls]


def first_piece_only(deltas):
    return [(delta["name"], json.loads(delta["arguments"] or "{}")) for delta in deltas if delta["name"]]


def unparsed(deltas):
    names, texts = {}, {}
    for delta in deltas:
        names.setdefault(delta["index"], delta["name"])
        texts[delta["index"]] = texts.get(delta["index"], "") + delta["arguments"]
    return [(names[index], texts[index]) for index in names]


def strict_json(deltas):
    return [(name, json.loads(text)) for name, text in unparsed(deltas)]


def only_the_first(deltas):
    return parsed([delta for delta in deltas if delta["index"] == 0])


def parsed(deltas):
    return [[name, json.loads(text or "{}")] for name, text in unparsed(deltas)]


# 10.3
def given_loop(ask, tools, most):
    results = []
    while isinstance(reply := ask(results), tuple):
        name, arguments = reply
        results.append(tools[name](**arguments))
    return reply


def looping(ask, tools, most, *, unknown=True, raising=True, last=None):
    results = []
    for _ in range(most):
        reply = ask(results)
        if isinstance(reply, str):
            return reply
        name, arguments = reply
        if name not in tools and unknown:
            results.append(f"Error: there is no tool {name}")
            continue
        try:
            results.append(tools[name](**arguments))
        except RuntimeError as error:
            if not raising:
                raise
            results.append(f"Error: {error}")
    return last


def silent_error(ask, tools, most):
    class Quiet(dict):
        def __missing__(self, name):
            return lambda **_: "no"

    return looping(ask, Quiet(look=tools["look"], broken=lambda: "no"), most, unknown=False)


def recursive(ask, tools, most, results=()):
    if most == 0:
        return None
    reply = ask(list(results))
    if isinstance(reply, str):
        return reply
    try:
        result = tools[reply[0]](**reply[1])
    except Exception as error:
        result = f"error: {error!r}"
    return recursive(ask, tools, most - 1, (*results, result))


# 10.4
def cropping(box, size, *, cut=True, check=True, least=1):
    left, top, right, bottom = (side * length / 1000 for side, length in zip(box, size * 2, strict=True))
    if cut:
        left, right = (min(max(side, 0), size[0]) for side in (left, right))
        top, bottom = (min(max(side, 0), size[1]) for side in (top, bottom))
    if check and not (right - left >= least and bottom - top >= least):
        return "refused"
    return [round(side) for side in (left, top, right, bottom)]


def swapping(box, size):
    return cropping([*map(min, box[:2], box[2:]), *map(max, box[:2], box[2:])], size)


def refusing_what_is_wrong(box, size):
    if box[0] >= box[2] or box[1] >= box[3]:
        return "refused"
    return cropping(box, size, check=False) if not math.isnan(sum(box)) else [0, 0, 1, 1]


WRONG = [
    ("10.1", FATES | {"a": "lost"}, "Instruct"),
    ("10.1", FATES | {"b": "right"}, "takes away"),
    ("10.1", FATES | {"c": "thoughts in the text"}, "notation"),
    ("10.1", FATES | {"d": "swallowed"}, "budget"),
    ("10.1", FATES | {"d": "fine"}, "none of"),
    ("10.1", {"a": "right"}, "a, b, c and d"),
    ("10.2", by_place, "JSONDecodeError"),
    ("10.2", first_piece_only, "one call"),
    ("10.2", unparsed, "one call"),
    ("10.2", only_the_first, "one after the other"),
    ("10.2", strict_json, "JSONDecodeError"),
    ("10.2", lambda deltas: 3, "list of pairs"),
    ("10.3", lambda ask, tools, most: looping(ask, tools, most, unknown=False), "KeyError"),
    ("10.3", lambda ask, tools, most: looping(ask, tools, most, raising=False), "RuntimeError"),
    ("10.3", lambda ask, tools, most: looping(ask, tools, 50), "for ever"),
    ("10.3", lambda ask, tools, most: looping(ask, tools, most, last="nothing"), "return None"),
    ("10.3", lambda ask, tools, most: looping(ask, tools, most - 1), "the fifth"),
    ("10.3", silent_error, "the word error"),
    ("10.4", lambda box, size: cropping(box, size, cut=False), "outside"),
    ("10.4", lambda box, size: cropping(box, size, least=0), "refused"),
    ("10.4", swapping, "reversed"),
    ("10.4", lambda box, size: [round(side) for side in box], "a box inside"),
    ("10.4", refusing_what_is_wrong, "a box outside"),
]
RIGHT = [
    ("10.1", dict(reversed(FATES.items()))),
    ("10.2", parsed),
    ("10.3", looping),
    ("10.3", recursive),
    ("10.4", lambda box, size: tuple(found) if isinstance(found := cropping(box, size), list) else found),
]
AS_GIVEN = [("10.3", given_loop)]


class TestAnswers(ChapterTests):
    chapter, right, wrong, as_given = "10", RIGHT, WRONG, AS_GIVEN


def test_the_courses_own_tool_refuses_what_the_exercise_refuses():
    from PIL import Image

    tool = zoom_tool(Image.new("RGB", (640, 480)), margin=0)
    for box in ([750, 500, 250, 1000], [500, 500, 500, 500]):
        assert run_call([tool], tool.name, json.dumps({"bbox_2d": box})).failed

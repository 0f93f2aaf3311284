"""Exercises of chapter 10: thinking and tools."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.exercises.judging import Mistake, NotAttempted, call, describe

FATES = ("right", "swallowed", "lost", "thoughts in the text")


def exercise_1(fates: Mapping[str, str]) -> str | None:
    """What becomes of four answers, by edition and parsers."""
    if not isinstance(fates, Mapping) or set(fates) != set("abcd"):
        raise Mistake(f"a dictionary with a, b, c and d is expected, not {describe(fates)}")
    if strange := [fate for fate in fates.values() if fate not in FATES]:
        return f"{strange[0]!r} is none of: {', '.join(FATES)}"
    wanted = {"a": "swallowed", "b": "thoughts in the text", "c": "lost", "d": "right"}
    words = {
        "a": "an Instruct edition writes no </think>, so where does the reasoning parser think that the thoughts end?",
        "b": "the call is found, but who takes away what stands before </think>?",
        "c": "which notation does qwen3_xml look for between the tags?",
        "d": "both parsers suit the edition; that the budget ended is another matter",
    }
    return next((f"{name}: {words[name]}" for name, fate in wanted.items() if fates[name] != fate), None)


def exercise_2(join_calls: Callable[[list[dict[str, Any]]], Any]) -> str | None:
    """Names and arguments of the calls in a stream's deltas."""
    for what, deltas, wanted in _streams():
        found = call(join_calls, copy.deepcopy(deltas))
        if not isinstance(found, list | tuple):
            raise Mistake(f"a list of pairs is expected, not {describe(found)}")
        if [tuple(one) if isinstance(one, list | tuple) else one for one in found] != wanted:
            return f"{what}: {wanted} is expected, yours is {describe(list(found))}"
    return None


def _streams() -> list[tuple[str, list[dict[str, Any]], list[tuple[str, Any]]]]:
    first = [_delta(0, "zoom"), _delta(0, None, '{"label": '), _delta(0, None, '"dog"}')]
    second = [_delta(1, "zoom"), _delta(1, None, '{"label"'), _delta(1, None, ': "cat"}')]
    mixed = [one for pair in zip(first, second, strict=True) for one in pair]
    dog, cat = ("zoom", {"label": "dog"}), ("zoom", {"label": "cat"})
    return [
        ("one call", first, [dog]),
        ("a name and arguments in one delta", [_delta(0, "look", '{"at": 3}')], [("look", {"at": 3})]),
        ("two calls, one after the other", first + second, [dog, cat]),
        ("two calls whose pieces alternate", mixed, [dog, cat]),
        ("no call", [], []),
        ("a call without arguments", [_delta(0, "clock")], [("clock", {})]),
    ]


def _delta(index: int, name: str | None, arguments: str = "") -> dict[str, Any]:
    return {"index": index, "name": name, "arguments": arguments}


@dataclass
class _Trial:
    """How a learner's loop did with a model that gives certain replies."""

    answer: Any = None
    raised: str = ""
    asked: int = 0
    told: tuple[Any, ...] = ()


def exercise_3(loop: Callable[..., Any]) -> str | None:
    """A loop that ends, and that runs only what it was given."""
    look = ("look", {"at": 1})
    unknown, broken = (_tried(loop, [(name, {}), "sorry"]) for name in ("nothing", "broken"))
    endless = _tried(loop, [look] * 100)
    if unknown.raised == "KeyError" and endless.asked > 50:
        raise NotAttempted("it still behaves as given: it never ends, and an unknown tool stops it with a KeyError")
    for what, trial in {"an unknown tool": unknown, "a tool that raises": broken}.items():
        if trial.raised:
            return f"{what}: your loop raised {trial.raised}; tell the model instead, and go on"
        if trial.answer != "sorry":
            return f"{what}: the loop goes on until the model answers; yours returned {describe(trial.answer)}"
        if not trial.told or "error" not in str(trial.told[-1]).lower():
            return f"{what}: the model should be told a text with the word error; it was told {trial.told[-1:]}"
    if endless.asked > 5 or endless.raised:
        return f"a model that calls for ever, most=5: it was asked {endless.asked} times {endless.raised}".strip()
    if endless.answer is not None:
        return f"a loop that ended at its limit has no answer: return None, not {describe(endless.answer)}"
    two = _tried(loop, [look, ("look", {"at": 2}), "done"])
    if (two.answer, two.told) != ("done", ("saw 1", "saw 2")):
        return f"two calls and an answer: it was told {two.told}, and your loop returned {describe(two.answer)}"
    last = _tried(loop, [*[look] * 4, "done"])
    return None if last.answer == "done" else f"the fifth of five requests may bring the answer; you asked {last.asked}"


def _look(at: int) -> str:
    return f"saw {at}"


def _broken() -> str:
    raise RuntimeError("out of order")


def _tried(loop: Callable[..., Any], replies: Sequence[Any]) -> _Trial:
    trial = _Trial()

    def ask(results: Sequence[str]) -> Any:
        trial.told = tuple(results)
        trial.asked += 1
        return replies[trial.asked - 1] if trial.asked <= len(replies) else "end of the trial"

    if not callable(loop):
        raise Mistake(f"a function is expected, not {describe(loop)}")
    try:
        trial.answer = loop(ask, {"look": _look, "broken": _broken}, 5)
    except NotImplementedError:
        raise NotAttempted("your function raises NotImplementedError") from None
    except Exception as error:
        trial.raised = type(error).__name__
    return trial


def exercise_4(crop_of: Callable[[Sequence[float], tuple[int, int]], Any]) -> str | None:
    """Pixels to cut out for a box that a model gave; the word "refused" for one that cannot be."""
    cases: list[tuple[str, list[float], tuple[int, int], Any]] = [
        ("a box inside", [250, 500, 750, 1000], (640, 480), [160, 240, 480, 480]),
        ("the whole image", [0, 0, 1000, 1000], (300, 200), [0, 0, 300, 200]),
        ("a box that reaches outside", [-100, 500, 1200, 1500], (200, 100), [0, 50, 200, 100]),
        ("reversed corners", [750, 500, 250, 1000], (640, 480), "refused"),
        ("a box outside", [1100, 0, 1300, 500], (640, 480), "refused"),
        ("a box without area", [500, 500, 500, 500], (640, 480), "refused"),
        ("a box of less than a pixel", [500, 500, 501, 501], (100, 100), "refused"),
        ("not a number", [math.nan, 0, 500, 500], (640, 480), "refused"),
    ]
    for what, box, size, wanted in cases:
        found = call(crop_of, list(box), size)
        same = found == wanted if isinstance(found, str) or isinstance(wanted, str) else list(found) == wanted
        if not same:
            return f"{what}, {box} on {size[0]} × {size[1]} pixels: {wanted} is expected, yours is {describe(found)}"
    return None

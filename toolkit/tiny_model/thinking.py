"""What the Thinking edition learns: what to think before an answer, and when to call the zoom tool.

Questions are those of the toy world. Where thinking helps, a short text in a fixed form comes before the answer
(`thought_of`); elsewhere it is empty. With the zoom tool at hand, a question about a pose is answered by a call, and
then from the enlarged part (`LESSONS`, ``zoom``).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from PIL import Image

from toolkit.grounding.closer import look_closer
from toolkit.tiny_model import dataset
from toolkit.tiny_model.dataset import Turn
from toolkit.tiny_model.zoom import OFFERED, zoom_call
from toolkit.toyworld import receipts, scenes, sentences
from toolkit.toyworld.items import VALIDATION_SEED, Question, kind_module
from toolkit.toyworld.questions import find_question

#: A sentence to reverse is cut into pieces of so many characters.
PIECE = 4
LOOK_CLOSER = "The {} is small. I look closer."
ADD = "Add {} and {}."
#: Of the sentences to reverse, how often a long one is drawn.
LONG_SENTENCES = 0.6
Lesson = tuple[str | None, list[Turn]]


# ---------------------------------------------------------------- thoughts


def thought_of(question: Question, facts: dict[str, Any]) -> str:
    """What is thought before the first answer to a question; nothing where thinking would not help."""
    if question.task == "sentence":
        return in_pieces(facts["sentence"])
    if question.task == "scene_count":
        return _listed(question.request, facts)
    if question.task == "clip_order":
        return _timed(facts)
    return added_up(facts) if question.task == "receipt_adds_up" else ""


def in_pieces(sentence: str) -> str:
    """Each piece of a sentence and the same in reverse, a line for each."""
    pieces = [sentence[start : start + PIECE] for start in range(0, len(sentence), PIECE)]
    return "\n".join(f"{piece}|{piece[::-1]}" for piece in pieces)


def _listed(request: str, facts: dict[str, Any]) -> str:
    """Every subject from left to right, then the back row; those that are asked for are numbered."""
    thoughts, count = [], 0
    for subject in facts["subjects"]:
        kind = subject["kind"]
        plural = {"woman": "women", "man": "men", "child": "children"}.get(kind, f"{kind}s")
        asked = scenes.KINDS[kind] == "person" if " people " in request else f" {plural} " in request
        count += asked
        thoughts.append(f"{kind} {count}" if asked else kind)
    return ", ".join(thoughts)


def _timed(facts: dict[str, Any]) -> str:
    """When each action begins, in seconds."""
    return ", ".join(f"{action['start']:.1f} {action['action']}" for action in facts["actions"])


def added_up(facts: dict[str, Any]) -> str:
    """The sum of a receipt's amounts, step by step, and then the printed total."""
    return f"{sums(receipts.amounts_of(facts))}\nTOTAL {_padded(_cents(facts['total']))}"


def sums(amounts: list[str]) -> str:
    """Amounts added one after the other: a line for each, with the sum of every column from the right, its carry
    included, and what these give."""
    lines, total = [], _cents(amounts[0])
    for amount in amounts[1:]:
        columns, carry = [], 0
        for place in range(4):
            column = total // 10**place % 10 + _cents(amount) // 10**place % 10 + carry
            columns.append(f"{column:02d}")
            carry = column // 10
        line = f"{_padded(total)}+{_padded(_cents(amount))}: {' '.join(columns)}: "
        total += _cents(amount)
        lines.append(line + _padded(total))
    return "\n".join(lines)


def _cents(amount: str) -> int:
    return int(amount.replace(".", ""))


def _padded(cents: int) -> str:
    """As 05.39, so that every column stands at its place."""
    return f"{cents // 100:02d}.{cents % 100:02d}"


# ---------------------------------------------------------------- lessons


def _zoom(rng: random.Random, seed: int, difficulty: int) -> Lesson:
    """A question about a pose, the call of the tool, and the answer from what it returns.

    The call shows the true box, the enlarged part a rough one, as the model's own boxes are. In some, what was thought
    before the call has been dropped, as a client does that does not send it back.
    """
    facts, question, subject = _posing(rng, difficulty)
    image = scenes.draw(facts, seed)
    call = zoom_call(subject["box"], subject["kind"])
    thinking: str | None = LOOK_CLOSER.format(subject["kind"])
    kept = rng.random() < 0.6
    asked = Turn(question.request, call, image, thinking=thinking if kept else None, learned=kept)
    return OFFERED, [asked, _from_close(question, image, subject, rng)]


def _close_up(rng: random.Random, seed: int, difficulty: int) -> Lesson:
    """Several questions about poses, each about an enlarged part that the user shows: cheap, without a whole image."""
    turns = []
    for _ in range(3):
        facts, question, subject = _posing(rng, difficulty)
        close = _from_close(question, scenes.draw(facts, seed), subject, rng)
        turns.append(replace(close, request=question.request, from_tool=False))
    return None, turns


def _from_close(question: Question, image: Image.Image, subject: dict[str, Any], rng: random.Random) -> Turn:
    close, _ = look_closer(image, _rough(subject["box"], rng))
    return Turn("", question.answers[0], close, thinking="", from_tool=True)


def _rough(box: list[int], rng: random.Random) -> list[float]:
    """A box whose sides are off by as much as a tiny model's are."""
    across, down = box[2] - box[0], box[3] - box[1]
    return [
        min(max(side + rng.gauss(0, 0.12) * length, 0), 1000)
        for side, length in zip(box, (across, down) * 2, strict=True)
    ]


def _posing(rng: random.Random, difficulty: int) -> tuple[dict[str, Any], Question, dict[str, Any]]:
    """Facts of a scene, its question about a pose, and the subject asked about."""
    while True:
        facts = scenes.make_facts(rng, difficulty)
        for question in scenes.questions(facts, rng):
            if question.task == "scene_pose":
                return facts, question, subject_of(question, facts)


def subject_of(question: Question, facts: dict[str, Any]) -> dict[str, Any]:
    """The one subject that a question about a pose names."""
    return next(subject for subject in facts["subjects"] if f" the {subject['kind']} " in question.request)


def _reverse(rng: random.Random, seed: int, difficulty: int) -> Lesson:
    facts = sentences.make_facts(rng, difficulty)
    while facts["length"] < 24 and rng.random() < LONG_SENTENCES:
        facts = sentences.make_facts(rng, difficulty)
    question = sentences.questions(facts, rng)[0]
    return None, [Turn(question.request, question.answers[0], thinking=thought_of(question, facts))]


def _adds_up(rng: random.Random, seed: int, difficulty: int) -> Lesson:
    facts = receipts.with_total(receipts.make_facts(rng, max(difficulty, 2)), rng)
    question = receipts.adds_up_question(facts)
    image = receipts.draw(facts, seed)
    return None, [Turn(question.request, question.answers[0], image, thinking=thought_of(question, facts))]


def _add(rng: random.Random, seed: int, difficulty: int) -> Lesson:
    """Amounts to add, without a receipt: cheap."""
    amounts = [f"{cents // 100}.{cents % 100:02d}" for cents in (_some_cents(rng) for _ in range(rng.randint(2, 4)))]
    text = sums(amounts)
    answer = f"{_cents(text[-5:]) / 100:.2f}."
    return None, [Turn(ADD.format(", ".join(amounts[:-1]), amounts[-1]), answer, thinking=text)]


def _some_cents(rng: random.Random) -> int:
    return rng.randint(10, 1999) if rng.random() < 0.6 else rng.randint(10, 399)


def _asked(kind: str, task: str) -> Callable[[random.Random, int, int], Lesson]:
    """A lesson of one question of a task."""

    def lesson(rng: random.Random, seed: int, difficulty: int) -> Lesson:
        while True:
            facts = kind_module(kind).make_facts(rng, difficulty)
            asked = [question for question in kind_module(kind).questions(facts, rng) if question.task == task]
            if asked:
                return None, [_with_medium(_thoughtful(asked[0], facts, False), kind, facts, seed, scenes.SIZE)]

    return lesson


#: What a preset that thinks may mix, beside the kinds of items.
LESSONS: dict[str, Callable[[random.Random, int, int], Lesson]] = {
    "zoom": _zoom,
    "close_up": _close_up,
    "reverse": _reverse,
    "adds_up": _adds_up,
    "add": _add,
    "count": _asked("scene", "scene_count"),
    "order": _asked("clip", "clip_order"),
}


def thoughtful_conversation(
    kind: str, seed: int, difficulty: int = 3, side: int = scenes.SIZE, apart: bool = False
) -> Lesson:
    """As `dataset.conversation`, for a model that thinks; ``kind`` may also be one of `LESSONS`.

    With half of the images the zoom tool is offered. Then a question about a pose is answered by a call.
    """
    rng = random.Random(f"thinking-{kind}-{seed}")
    if kind in LESSONS:
        return LESSONS[kind](rng, seed, difficulty)
    if kind == "sentence":
        facts = sentences.make_facts(rng, difficulty)
        reverse, daily = sentences.questions(facts, rng)
        return None, [_thoughtful(daily if rng.random() < 0.4 else reverse, facts, False)]
    facts = kind_module(kind).make_facts(rng, difficulty)
    offered = rng.random() < 0.5
    choose = dataset._independent_questions if apart else dataset._some_questions
    turns = [_thoughtful(question, facts, offered) for question in choose(kind, facts, rng)]
    turns[0] = _with_medium(turns[0], kind, facts, seed, side)
    return OFFERED if offered else None, turns


def _thoughtful(question: Question, facts: dict[str, Any], offered: bool) -> Turn:
    if offered and question.task == "scene_pose":
        subject = subject_of(question, facts)
        call = zoom_call(subject["box"], subject["kind"])
        return Turn(question.request, call, thinking=LOOK_CLOSER.format(subject["kind"]))
    return Turn(question.request, question.answers[0], thinking=thought_of(question, facts))


def _with_medium(turn: Turn, kind: str, facts: dict[str, Any], seed: int, side: int) -> Turn:
    times = dataset.sampled_times(facts["frames"], facts["fps"]) if kind == "clip" else ()
    return replace(turn, medium=dataset.draw_medium(kind, facts, seed, side), times=times)


def validation_lesson(task: str, number: int, difficulty: int = 3) -> Lesson:
    """Held-out item ``number`` of a task or lesson, as the model that thinks should write it."""
    seed = VALIDATION_SEED + number
    if task in LESSONS:
        return LESSONS[task](random.Random(f"thinking-{task}-{seed}"), seed, difficulty)
    kind = next(kind for kind, tasks in dataset.KIND_TASKS.items() if task in tasks)
    seed, facts, question = find_question(task, kind, seed, difficulty)
    return None, [_with_medium(_thoughtful(question, facts, False), kind, facts, seed, scenes.SIZE)]

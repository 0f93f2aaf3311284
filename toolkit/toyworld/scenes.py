"""Scenes: people, animals and things in a place, at a time of day, in some weather; facts, wording and questions.

The facts are drawn first (`make_facts`), then the image (`draw`) and the wording (`describe`) follow from them.
Coordinates are integers from 0 to 1000 across the image, as in Qwen3-VL's boxes.
"""

from __future__ import annotations

import json
import random
from typing import Any

from toolkit.toyworld.items import Question, closed_object
from toolkit.toyworld.scene_drawing import SIZE, box_of, draw
from toolkit.toyworld.world import COLOURS, FURS, WORLD

__all__ = [
    "AS_JSON", "COLOURS", "DESCRIBE", "FURS", "KINDS", "LANDMARKS", "LIGHTS", "PATTERNS", "PLACES", "POSES",
    "POSITIONS", "SIZE", "TASKS", "describe", "draw", "facts_as_json", "json_schema",
    "make_facts", "questions",
]  # fmt: skip

_WORDS = WORLD["scenes"]
TASKS, PLACES, LIGHTS, POSITIONS, PATTERNS = (
    tuple(_WORDS[name]) for name in ("tasks", "places", "lights", "positions", "patterns")
)
KINDS: dict[str, str] = _WORDS["kinds"]
POSES: dict[str, list[str]] = _WORDS["poses"]
LANDMARKS: dict[str, list[str]] = _WORDS["landmarks"]
DESCRIBE = "Describe this image."
AS_JSON = "Describe this image as JSON."


def make_facts(rng: random.Random, difficulty: int = 3) -> dict[str, Any]:
    """Place, light, weather, landmark, and the subjects from left to right.

    Difficulty 1: one or two subjects in plain clothes under a clear sky. 2: one to three, patterns, weather, a
    landmark. 3: also a subject in the back row, and dogs with a harness or a leash.
    """
    place = rng.choice(PLACES)
    count = rng.choices((1, 2, 3), weights=(3, 4, 0) if difficulty == 1 else (2, 5, 4))[0]
    subjects = [_make_subject(rng, position, difficulty) for position in sorted(rng.sample(range(3), count))]
    if difficulty == 3:
        _put_on_gear(rng, subjects)
        if rng.random() < 0.3:
            subjects.append(_make_back_subject(rng, rng.choice(subjects)))
    for subject in subjects:
        subject["box"] = box_of(subject)
    return {
        "place": place,
        "light": rng.choice(LIGHTS),
        "weather": _make_weather(rng, place) if difficulty > 1 else ("clear" if place != "room" else None),
        "landmark": {"name": rng.choice(LANDMARKS[place]), "x": rng.choice((350, 650)) + rng.randint(-40, 40)}
        if difficulty > 1 and rng.random() < 0.7
        else None,
        "subjects": subjects,
    }


def _make_subject(rng: random.Random, position: int, difficulty: int) -> dict[str, Any]:
    kind = rng.choice(tuple(KINDS))
    group = KINDS[kind]
    name = POSITIONS[position]
    return {
        "kind": kind,
        "colour": rng.choice(tuple(FURS if group == "animal" else COLOURS)),
        "pattern": rng.choice(PATTERNS) if group == "person" and difficulty > 1 else "plain",
        "pose": rng.choice(POSES[group]),
        "gear": None,
        "facing": rng.choice(("left", "right")),
        "position": name,
        "row": "front",
        "x": _WORDS["positions"][name]["centre"] + rng.randint(-30, 30),
        "ground": 890 + rng.randint(-30, 50),
    }


def _make_back_subject(rng: random.Random, front: dict[str, Any]) -> dict[str, Any]:
    """A smaller subject behind another, a little to one side so that it can be seen."""
    subject = _make_subject(rng, POSITIONS.index(front["position"]), 1)
    aside = rng.choice((-1, 1)) * rng.randint(105, 125)
    if not 80 < front["x"] + aside < 920:
        aside = -aside
    return subject | {"row": "back", "x": front["x"] + aside, "ground": 690 + rng.randint(-15, 15)}


def _put_on_gear(rng: random.Random, subjects: list[dict[str, Any]]) -> None:
    """A harness for some dogs; a leash where a person stands beside the only dog."""
    dogs = [subject for subject in subjects if subject["kind"] == "dog"]
    for dog in dogs:
        place = subjects.index(dog)
        near = [i for i in (place - 1, place + 1) if 0 <= i < len(subjects)]
        beside = [i for i in near if KINDS[subjects[i]["kind"]] == "person"]
        chance = rng.random()
        if chance < 0.4 and beside and len(dogs) == 1:
            dog["gear"], dog["holder"] = "leash", rng.choice(beside)
        elif chance < 0.7:
            dog["gear"] = "harness"


def _make_weather(rng: random.Random, place: str) -> str | None:
    if place == "room":
        return None
    return rng.choice(("clear", "clear", "cloudy", "snowy" if place == "snow" else "rainy"))


def describe(facts: dict[str, Any], wording: int = 0) -> str:
    """A description: subjects and what joins them, setting, light and mood, detail, composition.

    ``wording`` 0 is the reference; 1 begins with the setting; 2 is the short form without detail and composition.
    """
    parts = [_subject_words(subject) for subject in facts["subjects"]]
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    subjects = f"{listed[0].upper()}{listed[1:]}."
    for dog in facts["subjects"]:
        if dog["gear"] == "leash":
            subjects += f" The {facts['subjects'][dog['holder']]['kind']} holds the leash of the dog."
    sky = f" {_WORDS['weathers'][facts['weather']]}" if facts["weather"] else ""
    setting = f"The scene is {_WORDS['places'][facts['place']]} {_WORDS['lights'][facts['light']]}{sky}."
    moods = _WORDS["moods"]
    mood = f"The mood is {moods.get(facts['weather'], moods[facts['light']])}."
    detail = f"In the background there is {_a(facts['landmark']['name'])}." if facts["landmark"] else ""
    sentences = {
        0: (subjects, setting, mood, detail, _composition(facts)),
        1: (setting, mood, subjects, detail, _composition(facts)),
        2: (subjects, setting, mood),
    }[wording]
    return " ".join(sentence for sentence in sentences if sentence)


def _composition(facts: dict[str, Any]) -> str:
    taken = {subject["position"] for subject in facts["subjects"]}
    free = [words["empty"] for position, words in _WORDS["positions"].items() if position not in taken]
    if not free:
        return "The picture is filled from left to right."
    return f"The {' and the '.join(free)} {'is' if len(free) == 1 else 'are'} empty."


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _subject_words(subject: dict[str, Any]) -> str:
    side = ("in the back " if subject["row"] == "back" else "") + _WORDS["positions"][subject["position"]]["side"]
    group = KINDS[subject["kind"]]
    pose = f" is {subject['pose']}" if subject["pose"] else " is"
    if group == "person":
        pattern = "" if subject["pattern"] == "plain" else f"{subject['pattern']} "
        return f"a {subject['kind']} in a {pattern}{subject['colour']} shirt{pose} {side}"
    gear = f" with a {subject['gear']}" if subject["gear"] else ""
    return f"a {subject['colour']} {subject['kind']}{gear}{pose} {side}"


def facts_as_json(facts: dict[str, Any]) -> str:
    """The facts as the compact JSON that the tiny model learns to answer with."""
    subjects = [{"kind": s["kind"], "colour": s["colour"], "position": s["position"]} for s in facts["subjects"]]
    return json.dumps({"place": facts["place"], "light": facts["light"], "subjects": subjects})


def json_schema() -> dict[str, Any]:
    """JSON schema of `facts_as_json`, for structured output."""
    subject = closed_object({
        "kind": {"type": "string", "enum": list(KINDS)},
        "colour": {"type": "string", "enum": sorted({*COLOURS, *FURS})},
        "position": {"type": "string", "enum": list(POSITIONS)},
    })  # fmt: skip
    return closed_object({
        "place": {"type": "string", "enum": list(PLACES)},
        "light": {"type": "string", "enum": list(LIGHTS)},
        "subjects": {"type": "array", "items": subject, "minItems": 1, "maxItems": 4},
    })  # fmt: skip


def _short(task: str, request: str, answer: str) -> Question:
    """A question with a one-word answer; the bare word and the full stop are both accepted."""
    return Question(task, request, (f"{answer.capitalize()}.", answer, answer.capitalize()))


def questions(facts: dict[str, Any], rng: random.Random) -> list[Question]:
    """Description, JSON, and short questions of every task that applies; half of the existence questions get a no."""
    found = [
        Question("scene", DESCRIBE, tuple(describe(facts, wording) for wording in range(3))),
        Question("scene_json", AS_JSON, (facts_as_json(facts),)),
        _exists(facts, rng),
        _count(facts, rng),
        _short("scene_place", "Where is this?", _WORDS["places"][facts["place"]]),
        _short("scene_light", "What time of day is it?", facts["light"]),
    ]
    if facts["weather"]:
        found.append(_short("scene_weather", "What is the weather like?", facts["weather"]))
    front = [subject for subject in facts["subjects"] if subject["row"] == "front"]
    subject = rng.choice(front)
    side = _WORDS["positions"][subject["position"]]["side"]
    found.append(_short("scene_position", f"What is {side}?", _a(subject["kind"])))
    return found + _about_single_subjects(facts, front, rng)


def _about_single_subjects(facts: dict[str, Any], front: list[dict[str, Any]], rng: random.Random) -> list[Question]:
    """Questions that name a subject, so its kind must occur once only."""
    kinds = [subject["kind"] for subject in facts["subjects"]]
    found: list[Question] = []
    single = [subject for subject in facts["subjects"] if kinds.count(subject["kind"]) == 1]
    if not single:
        return found
    subject = rng.choice(single)
    kind = subject["kind"]
    worn = "'s shirt" if KINDS[kind] == "person" else ""
    found.append(_short("scene_colour", f"What colour is the {kind}{worn}?", subject["colour"]))
    found.append(_box(rng.choice(single)))
    posing = [subject for subject in single if subject["pose"]]
    if posing:
        subject = rng.choice(posing)
        found.append(_short("scene_pose", f"What is the {subject['kind']} doing?", subject["pose"]))
    in_front = [subject for subject in front if kinds.count(subject["kind"]) == 1]
    if in_front:
        subject = rng.choice(in_front)
        place = front.index(subject)
        neighbour = _a(front[place - 1]["kind"]) if place else "nothing"
        found.append(_short("scene_left", f"What is to the left of the {subject['kind']}?", neighbour))
    return found


def _box(subject: dict[str, Any]) -> Question:
    """Where a subject is, as Qwen3-VL writes boxes: left, top, right, bottom from 0 to 1000."""
    answer = json.dumps({"bbox_2d": subject["box"], "label": subject["kind"]})
    return Question("scene_box", f"Where is the {subject['kind']}? Answer with a box as JSON.", (answer,))


def _exists(facts: dict[str, Any], rng: random.Random) -> Question:
    """POPE's question; the thing that is not there is often one that resembles or accompanies what is there."""
    present = {subject["kind"] for subject in facts["subjects"]}
    absent = [kind for kind in KINDS if kind not in present]
    groups = {KINDS[kind] for kind in present}
    near = [kind for kind in absent if KINDS[kind] in groups] or absent
    if rng.random() < 0.5:
        asked, answer = rng.choice(sorted(present)), "yes"
    else:
        asked, answer = rng.choice(near if rng.random() < 0.6 else absent), "no"
    return _short("scene_exists", f"Is there {_a(asked)} in the image?", answer)


def _count(facts: dict[str, Any], rng: random.Random) -> Question:
    kinds = [subject["kind"] for subject in facts["subjects"]]
    if rng.random() < 0.5:
        answer = sum(KINDS[kind] == "person" for kind in kinds)
        return _short("scene_count", "How many people are there?", str(answer))
    asked = rng.choice(kinds) if rng.random() < 0.8 else rng.choice(tuple(KINDS))
    plural = {"woman": "women", "man": "men", "child": "children"}.get(asked, f"{asked}s")
    return _short("scene_count", f"How many {plural} are there?", str(kinds.count(asked)))

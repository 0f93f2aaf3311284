"""What a description of a toy scene asserts, judged against the scene's facts.

Objects that `scene_parser` finds are matched with the scene's subjects, and every assertion becomes a `Claim`. What the
rules cannot read, or the facts do not hold, is uncheckable, never contradicted.

Precision and recall over the facts of a generated scene follow PoSh's idea (arXiv 2510.19060); an object that is not
there is contradicted once, and its attributes have nothing to be checked against (as in DSG, arXiv 2310.18235).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from helpers.errors import CourseError
from toolkit.evaluation.metrics.scene_parser import Attribute, Reading, Thing, all_persons, read_assertions
from toolkit.evaluation.metrics.vocabulary import Token, object_names
from toolkit.toyworld.scenes import KINDS, POSITIONS

ClaimVerdict = Literal["supported", "contradicted", "uncheckable"]
State = Literal["stated", "contradicted", "omitted"]


@dataclass(frozen=True)
class Claim:
    """One assertion of a description."""

    start: int
    end: int
    """``text[start:end]`` is what asserts it."""
    text: str
    subject: str
    """What it is about: a word of the description, 'scene', or '' where the rules cannot tell."""
    kind: str
    """object, count, colour, pattern, pose, gear, holder, position, row, facing, left of, right of, behind,
    in front of, place, light, weather, landmark, empty, filled, mood."""
    value: str
    negated: bool
    verdict: ClaimVerdict
    about: tuple[int, ...] = ()
    """Places in ``facts["subjects"]``."""
    distinct: tuple = ()
    """Assertions of the same thing share this; saying it twice counts once."""


@dataclass(frozen=True)
class Fact:
    """Something that a description of the scene can state."""

    subject: int | None
    """Place in ``facts["subjects"]``; None for the scene."""
    kind: str
    value: str
    state: State


@dataclass(frozen=True)
class Report:
    """A description beside the facts."""

    claims: tuple[Claim, ...]
    """In the order of the text."""
    facts: tuple[Fact, ...]

    def claimed(self, verdict: ClaimVerdict) -> int:
        """How many distinct claims have this verdict."""
        return len({claim.distinct for claim in self.claims if claim.verdict == verdict})

    @property
    def supported(self) -> int:
        return self.claimed("supported")

    @property
    def contradicted(self) -> int:
        return self.claimed("contradicted")

    @property
    def stated(self) -> int:
        return sum(fact.state == "stated" for fact in self.facts)

    @property
    def precision(self) -> float | None:
        """Supported over checkable claims; None if there are none."""
        checked = self.supported + self.contradicted
        return self.supported / checked if checked else None

    @property
    def recall(self) -> float | None:
        """Stated facts over all; what is contradicted is not stated either, but it is not an omission."""
        return self.stated / len(self.facts) if self.facts else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; 0 where nothing that can be checked is said."""
        if self.recall is None:
            return None
        both = (self.precision or 0.0) + self.recall
        return 2 * (self.precision or 0.0) * self.recall / both if both else 0.0

    @property
    def objects(self) -> list[str]:
        """Objects that the description says are there, with repeats, in the scene's names: for CHAIR."""
        said = (claim for claim in self.claims if claim.kind in ("object", "landmark") and not claim.negated)
        return [claim.value for claim in said if claim.value in object_names() and claim.verdict != "uncheckable"]


def check(text: str, facts: dict[str, Any]) -> Report:
    """Read a description and compare it with the facts of its scene (`scenes.make_facts`).

    Raises:
        CourseError: facts that are not a scene's.
    """
    if not isinstance(facts.get("subjects"), list) or "place" not in facts:
        raise CourseError("These are not the facts of a scene.", "an item of another kind")
    return _Judge(facts, text).judge(read_assertions(text))


class FactCounts(NamedTuple):
    """How many facts a description states: F1 over many is 2 · Σ right / (Σ stated + Σ there)."""

    right: int
    """Facts of the scene that it states rightly."""
    stated: int
    """These, and the claims that the facts contradict."""
    there: int
    """All facts of the scene."""


def count_facts(text: str, facts: dict[str, Any]) -> FactCounts:
    """What a description states of its scene, in whatever words; a false claim counts even if the truth follows.

    Raises:
        CourseError: as `check`.
    """
    report = check(text, facts)
    return FactCounts(report.stated, report.stated + report.contradicted, len(report.facts))


def objects_there(facts: dict[str, Any]) -> set[str]:
    """Names of the objects in a scene, for CHAIR."""
    landmark = {facts["landmark"]["name"]} if facts.get("landmark") else set()
    return {subject["kind"] for subject in facts["subjects"]} | landmark


# ---------------------------------------------------------------- judging


class _Judge:
    """Matches the objects of a reading with the subjects of a scene, and gives every assertion its verdict."""

    def __init__(self, facts: dict[str, Any], text: str):
        self.facts, self.subjects, self.text = facts, facts["subjects"], text
        self.claims: list[Claim] = []
        self.states: dict[tuple, State] = dict.fromkeys(_scene_facts(facts), "omitted")

    def judge(self, reading: Reading) -> Report:
        self._match([thing for thing in reading.things if not thing.negation])
        for number, thing in enumerate(reading.things):
            (self._absence if thing.negation else self._thing)(number, thing)
        for attribute in reading.about_scene:
            self._about_scene(attribute)
        for attribute in reading.unbound:
            self._claim(attribute, "", "uncheckable", ("unbound", attribute.kind, attribute.values))
        values = _scene_facts(self.facts)
        facts = tuple(Fact(key[0], key[1], values[key], state) for key, state in self.states.items())
        claims = sorted(self.claims, key=lambda claim: (claim.start, claim.end))
        return Report(tuple(claims), facts)

    # ------------------------------------------------ matching

    def _match(self, things: list[Thing]) -> None:
        single = [thing for thing in things if not thing.plural]
        free = set(range(len(self.subjects)))
        for wide in (False, True):
            group = [thing for thing in single if thing.wide is wide]
            self._assign(group, free, lambda thing, subject: subject["kind"] in thing.kinds, 0)
        rest = [thing for thing in single if not thing.matches]
        for thing in rest:
            thing.same_group = True
        self._assign(rest, free, _of_one_group, 2)
        for thing in things:
            if thing.plural:
                thing.matches = [i for i, subject in enumerate(self.subjects) if subject["kind"] in thing.kinds]

    def _assign(
        self, things: list[Thing], free: set[int], fits: Callable[[Thing, dict[str, Any]], bool], least: float
    ) -> None:
        """Give each object at most one free subject, so that as much as possible of what is said of it holds."""
        if not things or not free:
            return
        places = sorted(free)
        scores = [
            [self._agreement(thing, place) - 0.01 * abs(row - column) if fits(thing, self.subjects[place]) else None
             for column, place in enumerate(places)]
            for row, thing in enumerate(things)
        ]  # fmt: skip
        for row, column in _best_pairs(scores):
            score = scores[row][column]
            if score is not None and score > least - 0.5 * (least > 0) - 99 * (least == 0):
                things[row].matches = [places[column]]
                free.discard(places[column])

    def _agreement(self, thing: Thing, place: int) -> float:
        total = 0.0
        for attribute in thing.attributes:
            verdict = "uncheckable" if attribute.rivals else self._attribute_verdict(attribute, [place])
            total += {"supported": 2, "contradicted": -1, "uncheckable": 0}[verdict]
        return total

    # ------------------------------------------------ objects

    def _thing(self, number: int, thing: Thing) -> None:
        verdict: ClaimVerdict = "supported" if thing.matches and not thing.same_group else "contradicted"
        value = self._named(thing)
        for token in thing.mentions:
            key = (number, "object")
            self._append(token, verdict, thing.matches, subject=token.word, kind="object", value=value, distinct=key)
        count = thing.number or (2 if thing.plural else None)
        if thing.plural and thing.number and thing.token.value[0]:
            right = len(thing.matches) == thing.number
            self._append_count(number, thing, str(thing.number), right)
        elif count and thing.number == 1:
            right = sum(subject["kind"] in thing.kinds for subject in self.subjects) == 1
            self._append_count(number, thing, "1", right)
        elif thing.plural and thing.matches:
            self._append_count(number, thing, "2 or more", len(thing.matches) >= 2)
        if verdict == "supported" and not thing.wide and (not thing.plural or thing.number == len(thing.matches)):
            for place in thing.matches:
                self._state(place, "object", True)
        elif thing.same_group and thing.matches:
            self._state(thing.matches[0], "object", False)
        for attribute in thing.attributes:
            self._attribute(number, thing, attribute)

    def _append_count(self, number: int, thing: Thing, value: str, right: bool) -> None:
        verdict: ClaimVerdict = "supported" if right else "contradicted"
        said = {"subject": thing.token.word, "kind": "count", "value": value, "distinct": (number, "count")}
        self._append(thing.token, verdict, thing.matches, **said)

    def _named(self, thing: Thing) -> str:
        """The scene's name for it: the kind that is there, of those that the word may mean."""
        if thing.wide:
            return "person" if all_persons(thing) else "animal"
        if thing.matches and not thing.same_group:
            return self.subjects[thing.matches[0]]["kind"]
        return next(kind for kind in KINDS if kind in thing.kinds)

    def _absence(self, number: int, thing: Thing) -> None:
        """'No red ball' holds unless there is one; 'a man without a ball' only says something if there is none."""
        there = [i for i, subject in enumerate(self.subjects) if subject["kind"] in thing.kinds]
        verdicts = {
            place: {self._attribute_verdict(attribute, [place]) for attribute in thing.attributes} for place in there
        }
        fitting = [place for place in there if "contradicted" not in verdicts[place]]
        verdict: ClaimVerdict
        if not fitting:
            verdict = "supported"
        elif thing.negation == "without" or any("uncheckable" in verdicts[place] for place in fitting):
            verdict = "uncheckable"
        else:
            verdict = "contradicted"
        value = self._named(thing)
        said = {"subject": thing.token.word, "kind": "object", "value": value, "distinct": (value, "absent", number)}
        self._append(thing.token, verdict, fitting, **said, negated=True)

    # ------------------------------------------------ attributes

    def _attribute(self, number: int, thing: Thing, attribute: Attribute) -> None:
        matches = thing.matches
        if thing.plural and thing.number and thing.number < len(matches):
            fitting = [place for place in matches if self._attribute_verdict(attribute, [place]) == "supported"]
            matches = fitting if len(fitting) >= thing.number else matches
        for rival in attribute.rivals:
            if self._attribute_verdict(attribute, rival.matches) == "supported":
                matches = rival.matches
        verdict = self._attribute_verdict(attribute, matches)
        other = id(attribute.other and attribute.other.entity)
        key = (number, attribute.kind, attribute.values, attribute.negated, other)
        self._claim(attribute, thing.token.word, verdict, key, tuple(matches))
        if verdict == "uncheckable" or attribute.negated:
            return
        kind = attribute.kind
        for place in matches:
            if kind == "holder":
                self._state_holder(place, verdict == "supported")
            elif kind == "behind":
                self._state(place, "row", verdict == "supported")
            else:
                self._state(place, kind, verdict == "supported")

    def _state_holder(self, person: int, right: bool) -> None:
        for place, subject in enumerate(self.subjects):
            if right and subject.get("holder") == person:
                self._state(place, "holder", True)

    def _attribute_verdict(self, attribute: Attribute, places: list[int]) -> ClaimVerdict:
        """Of several objects ('two red balls') it must hold for each."""
        if not places:
            return "uncheckable"
        verdicts = [self._holds(attribute, place) for place in places]
        if None in verdicts:
            return "uncheckable"
        right = not any(verdicts) if attribute.negated else all(verdicts)
        return "supported" if right else "contradicted"

    def _holds(self, attribute: Attribute, place: int) -> bool | None:
        """Whether an attribute is true of a subject; None if the facts do not say."""
        subject, kind, values = self.subjects[place], attribute.kind, attribute.values
        if attribute.other is not None:
            return self._relation_holds(kind, place, attribute.other)
        if kind == "holder":
            return any(other.get("holder") == place for other in self.subjects)
        if kind == "facing":
            return subject["facing"] in values if KINDS[subject["kind"]] == "animal" else None
        if kind == "gear":
            return subject["gear"] in values if KINDS[subject["kind"]] == "animal" else None
        if kind == "pattern":
            return subject["pattern"] in values if KINDS[subject["kind"]] == "person" else None
        if kind == "pose":
            return self._pose_holds(subject["pose"], values)
        if kind == "row":
            return self._row_holds(subject, values)
        if kind not in subject:
            return None
        right = subject[kind] in values
        return None if not right and (attribute.loose or subject[kind] in attribute.joint) else right

    def _pose_holds(self, pose: str, values: tuple[str, ...]) -> bool | None:
        if not pose:
            return None
        if pose not in values and "standing" in values and pose != "sitting":
            return None  # who waves or raises a paw is drawn standing
        return pose in values

    def _row_holds(self, subject: dict[str, Any], values: tuple[str, ...]) -> bool | None:
        """'In the background' of a scene with one row is a matter of taste."""
        if not any(other["row"] == "back" for other in self.subjects):
            return True if "front" in values else None
        return subject["row"] in values

    def _relation_holds(self, kind: str, place: int, other: Thing) -> bool | None:
        matches = other.entity.matches
        if len(matches) != 1 or matches[0] == place or other.entity.same_group:
            return None
        subject, second = self.subjects[place], self.subjects[matches[0]]
        if kind in ("left of", "right of"):
            return (subject["x"] < second["x"]) is (kind == "left of")
        if kind == "in front of":
            subject, second = second, subject
        if (subject["row"], second["row"]) == ("back", "front"):
            return True if subject["position"] == second["position"] else None
        return None if subject["row"] == second["row"] == "back" else False

    # ------------------------------------------------ the scene

    def _about_scene(self, attribute: Attribute) -> None:
        kind = attribute.kind
        right = self._scene_holds(attribute)
        verdict: ClaimVerdict = "uncheckable"
        if right is not None:
            verdict = "supported" if right is not attribute.negated else "contradicted"
        self._claim(attribute, "scene", verdict, ("scene", kind, attribute.values, attribute.negated))
        if right is not None and not attribute.negated:
            self._state(None, kind, right)

    def _scene_holds(self, attribute: Attribute) -> bool | None:
        kind, values = attribute.kind, attribute.values
        taken = {subject["position"] for subject in self.subjects}
        if kind == "empty":
            return None if len(values) > 1 else values[0] not in taken
        if kind == "filled":
            return taken == set(POSITIONS)
        if kind == "landmark":
            landmark = self.facts.get("landmark")
            if landmark and landmark["name"] in values:
                return True
            return None if "plant" in values and self.facts["place"] != "room" else False
        if kind == "mood" or self.facts.get(kind) is None:
            return None
        return self.facts[kind] in values

    # ------------------------------------------------ bookkeeping

    def _state(self, place: int | None, kind: str, right: bool) -> None:
        """Note what is said of a fact; once stated rightly, it remains stated."""
        key = (place, kind)
        if key in self.states and self.states[key] != "stated":
            self.states[key] = "stated" if right else "contradicted"

    def _claim(
        self, attribute: Attribute, subject: str, verdict: ClaimVerdict, distinct: tuple, about: tuple[int, ...] = ()
    ) -> None:
        value = attribute.token.word if not attribute.values or attribute.other else "/".join(attribute.values)
        said = {"subject": subject, "kind": attribute.kind, "value": value, "distinct": distinct}
        self._append(attribute.token, verdict, about, **said, negated=attribute.negated)

    def _append(self, token: Token, verdict: ClaimVerdict, about: Iterable[int], **said: Any) -> None:
        """Add a claim; ``said`` are its subject, kind, value, distinct and, if it is a denial, negated."""
        words = self.text[token.start : token.end]
        said = {"negated": False, "verdict": verdict, "about": tuple(about)} | said
        self.claims.append(Claim(token.start, token.end, words, **said))


def _scene_facts(facts: dict[str, Any]) -> dict[tuple[int | None, str], str]:
    """(subject or None, kind) -> value of everything that a description can state."""
    found: dict[tuple[int | None, str], str] = {}
    for place, subject in enumerate(facts["subjects"]):
        found[place, "object"] = subject["kind"]
        for kind in ("colour", "pattern", "pose", "gear", "position"):
            if subject[kind] and subject[kind] != "plain":
                found[place, kind] = subject[kind]
        if subject["row"] == "back":
            found[place, "row"] = "back"
        if subject.get("holder") is not None:
            found[place, "holder"] = facts["subjects"][subject["holder"]]["kind"]
    for kind in ("place", "light", "weather"):
        if facts.get(kind):
            found[None, kind] = facts[kind]
    if facts.get("landmark"):
        found[None, "landmark"] = facts["landmark"]["name"]
    return found


def _of_one_group(thing: Thing, subject: dict[str, Any]) -> bool:
    return any(KINDS[kind] == KINDS[subject["kind"]] for kind in thing.kinds)


def _best_pairs(scores: list[list[float | None]]) -> list[tuple[int, int]]:
    if len(scores) == len(scores[0]) == 1:
        return [(0, 0)]
    from scipy.optimize import linear_sum_assignment

    costs = [[1000.0 if score is None else -score for score in row] for row in scores]
    return [(int(row), int(column)) for row, column in zip(*linear_sum_assignment(costs), strict=True)]

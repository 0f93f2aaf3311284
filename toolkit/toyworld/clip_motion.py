"""Where the person of a clip is at any time, and what the body does.

Time is laid out in slots of half a second, and whatever happens fills whole slots. A model that looks twice a second
sees each slot exactly once, so that every fact can be seen: a wave is one slot with the arm up and one with the arm
down.
"""

from __future__ import annotations

from typing import Any, NamedTuple

#: Seconds.
SLOT = 0.5
#: Share of the image's width covered in one slot; from side to side it is `WAY`.
PACE = {"walks": 0.06, "runs": 0.12}
WAY = 0.48


class Moment(NamedTuple):
    """What can be seen of the person at one time."""

    way: float
    """How far to the right of the start; a share of the image's width."""
    facing: int
    """1 to the right, -1 to the left."""
    doing: str
    """An action, or "stands"."""
    slot: float
    """Slots since the action began."""
    carried: str | None


def _first_facing(facts: dict[str, Any]) -> int:
    """Towards where the first walk leads, or away from it if the person turns around before; else towards a thing."""
    facing = 1
    for action in facts["actions"]:
        if action["action"] == "turns around":
            facing = -facing
        elif "direction" in action:
            return facing * (1 if action["direction"] == "right" else -1)
    return 1 if facts["things"]["right"] else -1


def moment_at(facts: dict[str, Any], time: float) -> Moment:
    """What can be seen of the person ``time`` seconds into the clip."""
    way, facing, carried = 0.0, _first_facing(facts), None
    for action in facts["actions"]:
        if time < action["start"]:
            break
        name, slot = action["action"], (time - action["start"]) / SLOT
        over = time >= action["end"]
        if name in PACE:
            way += facing * PACE[name] * min(slot, (action["end"] - action["start"]) / SLOT)
        elif name == "turns around" and slot >= 1:
            facing = -facing
        elif name == "picks up" and slot >= 1:
            carried = action["thing"]
        if not over:
            return Moment(way, facing, name, slot, carried)
    return Moment(way, facing, "stands", 0.0, carried)


def start_of(facts: dict[str, Any], share: float) -> float:
    """Where the person starts, such that all walks end between the things; ``share`` is 0 to 1 of the space left.

    The space is calculated as if every walk were a run, so that a walker and a runner start at the same place.
    """
    reach = [0.0]
    for action in facts["actions"]:
        if "direction" in action:
            slots = (action["end"] - action["start"]) / SLOT
            length = min(PACE["runs"] * slots, WAY)
            reach.append(reach[-1] + (length if action["direction"] == "right" else -length))
    left, right = min(-min(reach), WAY), min(max(reach), WAY)
    return 0.5 - WAY / 2 + left + share * max(0.0, WAY - left - right)

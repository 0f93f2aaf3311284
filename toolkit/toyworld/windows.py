"""Windows of a program: buttons, fields and a list, drawn from facts, with tasks that a few clicks and words fulfil.

`act` executes an action as Qwen writes it in ``computer_use``: coordinates from 0 to 1000 across the window.
"""

from __future__ import annotations

import copy
import random
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from toolkit.toyworld.items import Question

TASKS = ("window",)
WIDTH, HEIGHT = 384, 256
BUTTONS = ("Save", "Cancel", "Print", "Help", "Send", "Delete", "Open", "Next")
FIELDS = {"Name": ("Ann", "Ben", "Cem"), "Town": ("Rome", "Oslo", "Lima"), "Table": ("4", "7", "12")}
CHOICES = ("Tea", "Coffee", "Soup", "Bread", "Rice", "Fish")
TITLES = ("Order", "Guest", "Letter", "Ticket")
_INK, _PAPER, _EDGE, _MARK = (30, 34, 42), (244, 245, 247), (150, 156, 166), (0, 114, 178)


def make_facts(rng: random.Random, difficulty: int = 3) -> dict[str, Any]:
    """The window with its elements, its state and the goal.

    Difficulty 1: press a button. 2: choose from the list, or press. 3: also fill in a field, then press.

    ``elements`` are ``{"kind": "button" | "field" | "choice", "name", "box"}``, boxes in thousandths. The state is
    ``pressed`` (names, in order), ``values`` (field → text), ``chosen`` and ``focus``.
    """
    elements: list[dict[str, Any]] = []
    for place, name in enumerate(rng.sample(list(FIELDS), 2)):
        elements.append({"kind": "field", "name": name, "box": [220, 190 + 150 * place, 560, 290 + 150 * place]})
    for place, name in enumerate(rng.sample(CHOICES, 3)):
        elements.append({"kind": "choice", "name": name, "box": [620, 180 + 110 * place, 950, 280 + 110 * place]})
    buttons = rng.sample(BUTTONS, 3)
    for place, name in enumerate(buttons):
        elements.append({"kind": "button", "name": name, "box": [60 + 310 * place, 800, 320 + 310 * place, 930]})
    state: dict[str, Any] = {"pressed": [], "values": {}, "chosen": None, "focus": None}
    goal: dict[str, Any] = {"pressed": rng.choice(buttons)}
    kind = rng.choice(("press", "choose", "fill")[:difficulty])
    if kind == "choose":
        goal = {"chosen": rng.choice([one["name"] for one in elements if one["kind"] == "choice"])}
    elif kind == "fill":
        field = rng.choice([one["name"] for one in elements if one["kind"] == "field"])
        goal |= {"field": field, "value": rng.choice(FIELDS[field])}
    return {"title": rng.choice(TITLES), "elements": elements, "state": state, "goal": goal}


def questions(facts: dict[str, Any], rng: random.Random) -> list[Question]:
    """The task in words; the answer is what the state must hold in the end."""
    goal = facts["goal"]
    if "chosen" in goal:
        return [Question("window", f"Choose {goal['chosen']} in the list.", (goal["chosen"],))]
    fill = f"Type {goal['value']} into {goal['field']}, then press" if "field" in goal else "Press"
    return [Question("window", f"{fill} {goal['pressed']}.", (goal["pressed"],))]


def draw(facts: dict[str, Any], seed: int) -> Image.Image:
    """The window in its present state, RGB; its colour follows the seed."""
    hue = random.Random(f"window-{seed}").choice(((38, 70, 83), (90, 60, 110), (60, 90, 50), (110, 70, 40)))
    image = Image.new("RGB", (WIDTH, HEIGHT), _PAPER)
    pen, font, state = ImageDraw.Draw(image), ImageFont.load_default(15), facts["state"]
    pen.rectangle((0, 0, WIDTH, 30), fill=hue)
    pen.text((10, 15), facts["title"], fill="white", font=font, anchor="lm")
    for one in facts["elements"]:
        left, top, right, bottom = box = _pixels(one["box"])
        middle = (top + bottom) / 2
        if one["kind"] == "button":
            last = state["pressed"][-1:] == [one["name"]]
            pen.rounded_rectangle(box, 6, fill=_MARK if last else hue, outline=_INK)
            pen.text(((left + right) / 2, middle), one["name"], fill="white", font=font, anchor="mm")
        elif one["kind"] == "field":
            pen.rectangle(box, fill="white", outline=_MARK if state["focus"] == one["name"] else _EDGE, width=2)
            pen.text((left - 8, middle), one["name"], fill=_INK, font=font, anchor="rm")
            pen.text((left + 6, middle), state["values"].get(one["name"], ""), fill=_INK, font=font, anchor="lm")
        else:
            chosen = state["chosen"] == one["name"]
            pen.rectangle(box, fill=_MARK if chosen else "white", outline=_EDGE)
            pen.text((left + 8, middle), one["name"], fill="white" if chosen else _INK, font=font, anchor="lm")
    return image


def _pixels(box: list[int]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return left * WIDTH / 1000, top * HEIGHT / 1000, right * WIDTH / 1000, bottom * HEIGHT / 1000


def act(facts: dict[str, Any], action: dict[str, Any]) -> dict[str, Any]:
    """The facts after an action; one that hits nothing leaves them as they are.

    Args:
        facts: as `make_facts` returns them; not changed.
        action: ``{"action": "left_click", "coordinate": [x, y]}`` or ``{"action": "type", "text": …}``. Any other
            name, such as ``wait``, does nothing here.
    """
    facts = copy.deepcopy(facts)
    state = facts["state"]
    if action["action"] == "type" and state["focus"]:
        state["values"][state["focus"]] = str(action.get("text", ""))[:20]
    hit = element_at(facts, action["coordinate"]) if action["action"] == "left_click" else None
    if hit and hit["kind"] == "button":
        state["pressed"].append(hit["name"])
    elif hit and hit["kind"] == "choice":
        state["chosen"] = hit["name"]
    if action["action"] == "left_click":
        state["focus"] = hit["name"] if hit and hit["kind"] == "field" else None
    return facts


def element_at(facts: dict[str, Any], point: list[float]) -> dict[str, Any] | None:
    """The element at a point in thousandths of the window, if there is one."""
    x, y = point
    inside = (one for one in facts["elements"] if one["box"][0] <= x <= one["box"][2])
    return next((one for one in inside if one["box"][1] <= y <= one["box"][3]), None)


def fulfilled(facts: dict[str, Any]) -> bool:
    """Whether the goal is reached, and nothing else was pressed on the way."""
    goal, state = facts["goal"], facts["state"]
    if "chosen" in goal:
        return state["chosen"] == goal["chosen"] and not state["pressed"]
    filled = "field" not in goal or state["values"] == {goal["field"]: goal["value"]}
    return filled and state["pressed"] == [goal["pressed"]]


def solve(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Actions that fulfil the task: the reference."""
    goal = facts["goal"]

    def click(name: str) -> dict[str, Any]:
        left, top, right, bottom = next(one["box"] for one in facts["elements"] if one["name"] == name)
        return {"action": "left_click", "coordinate": [(left + right) // 2, (top + bottom) // 2]}

    if "chosen" in goal:
        return [click(goal["chosen"])]
    typed = [click(goal["field"]), {"action": "type", "text": goal["value"]}] if "field" in goal else []
    return [*typed, click(goal["pressed"])]

"""Windows: drawn from facts, solved by their reference, used by a model through a tool."""

import json
import random
from pathlib import Path

import pytest
import yaml

from toolkit.agents import Desktop, Limits, run_tools
from toolkit.agents.models import Call, Reply
from toolkit.agents.tools import run_call
from toolkit.toyworld import windows


def made(number, difficulty=3):
    return windows.make_facts(random.Random(f"window-{number}"), difficulty)


def use(desktop, **action):
    return run_call([desktop.tool()], "computer_use", json.dumps(action))


def test_two_hundred_tasks_are_fulfilled_by_their_reference_and_by_nothing_before_its_end():
    kinds = set()
    for number in range(200):
        desktop = Desktop(made(number), number)
        for action in windows.solve(desktop.facts):
            assert not desktop.fulfilled
            assert not use(desktop, **action).failed
        assert desktop.fulfilled
        kinds.add(tuple(desktop.facts["goal"]))
    assert len(kinds) == 3


class Policy:
    """Takes the place of a model in the loop: its actions are given beforehand."""

    def __init__(self, actions):
        self.actions = list(actions)

    def ask(self, history, tools, tokens, seconds, choice):
        if not self.actions:
            return Reply("Done.", None, (), 1, False)
        return Reply(None, None, (Call("c", "computer_use", json.dumps(self.actions.pop(0))),), 1, False)

    def told(self, reply, results):
        return []


def tasks_done(policy):
    done = 0
    for number in range(200):
        desktop = Desktop(made(number), number)
        run = run_tools(Policy(policy(number, desktop.facts)), [], [desktop.tool()], Limits(steps=5))
        assert run.answer == "Done."
        done += desktop.fulfilled
    return done


def test_in_the_loop_a_perfect_policy_does_all_tasks_and_random_clicks_hardly_any():
    def three_clicks(number, facts):
        rng = random.Random(number)
        return [{"action": "left_click", "coordinate": [rng.randint(0, 1000), rng.randint(0, 1000)]} for _ in range(3)]

    assert tasks_done(lambda number, facts: windows.solve(facts)) == 200
    assert 0 < tasks_done(three_clicks) < 20


def test_the_same_seed_draws_the_same_window_and_a_click_is_seen():
    facts = made(1, 1)
    image = windows.draw(facts, 1)
    assert image.tobytes() == windows.draw(made(1, 1), 1).tobytes()
    assert not image.width % 32 and not image.height % 32
    assert windows.draw(windows.act(facts, windows.solve(facts)[0]), 1).tobytes() != image.tobytes()
    assert facts == made(1, 1)


def test_elements_do_not_overlap_and_all_lie_in_the_window():
    for number in range(50):
        boxes = [one["box"] for one in made(number)["elements"]]
        assert all(0 <= side <= 1000 for box in boxes for side in box)
        for place, (left, top, right, bottom) in enumerate(boxes):
            others = boxes[:place] + boxes[place + 1 :]
            assert all(right < box[0] or box[2] < left or bottom < box[1] or box[3] < top for box in others)


def test_a_wrong_button_on_the_way_fails_the_task():
    facts = made(3, 1)
    wrong = next(
        one for one in facts["elements"] if one["kind"] == "button" and one["name"] != facts["goal"]["pressed"]
    )
    click = {"action": "left_click", "coordinate": wrong["box"][:2]}
    for action in (click, *windows.solve(facts)):
        facts = windows.act(facts, action)
    assert not windows.fulfilled(facts)


@pytest.mark.parametrize(
    "action",
    [
        {"action": "left_click"},
        {"action": "left_click", "coordinate": [1, 2, 3]},
        {"action": "left_click", "coordinate": [1200, 0]},
        {"action": "left_click", "coordinate": ["a", 0]},
        {"action": "format_disk"},
        {},
    ],
)
def test_an_impossible_action_is_told_and_changes_nothing(action):
    desktop = Desktop(made(1), 1)
    before = desktop.screenshot().tobytes()
    assert use(desktop, **action).failed
    assert desktop.screenshot().tobytes() == before


def test_typing_without_focus_and_clicking_beside_everything_change_nothing():
    facts = made(2)
    for action in ({"action": "type", "text": "x"}, {"action": "left_click", "coordinate": [0, 999]}):
        assert windows.act(facts, action)["state"] == facts["state"]


FLUENT = yaml.safe_load(Path(__file__).with_name("fluent_window.yaml").read_text("utf-8"))


def test_calls_as_released_models_write_them_are_judged_as_by_hand():
    assert len(FLUENT) >= 25
    for case in FLUENT:
        ((by_hand, calls),) = case.items()
        desktop = Desktop(made(3, 1), 3)
        results = [run_call([desktop.tool()], "computer_use", call) for call in calls]
        found = "unreadable" if results[-1].failed else "right" if desktop.fulfilled else "wrong"
        assert found == by_hand, calls

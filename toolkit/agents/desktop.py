"""A drawn window as a tool: actions by Qwen's ``computer_use`` convention, and a screenshot after each."""

from __future__ import annotations

from typing import Any

from helpers.errors import CourseError
from toolkit.agents.tools import Result, Tool
from toolkit.toyworld import windows

_COORDINATE: dict[str, Any] = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": 1000},
    "minItems": 2,
    "maxItems": 2,
}
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "action": {"type": "string", "enum": ["left_click", "type", "terminate"]},
        "coordinate": {**_COORDINATE, "description": "x and y from 0 to 1000 of the window, for left_click"},
        "text": {"type": "string", "maxLength": 20, "description": "for type"},
    },
    "required": ["action"],
    "additionalProperties": False,
}


class Desktop:
    """A window that a model may use; ``facts`` holds its present state."""

    def __init__(self, facts: dict[str, Any], seed: int) -> None:
        self.facts, self.seed = facts, seed
        self.actions: list[dict[str, Any]] = []

    @property
    def fulfilled(self) -> bool:
        """Whether the task is done."""
        return windows.fulfilled(self.facts)

    def screenshot(self) -> Any:
        """The window as it is, an RGB image."""
        return windows.draw(self.facts, self.seed)

    def tool(self) -> Tool:
        """``computer_use`` on this window. It changes nothing but the drawing, so nobody has to approve."""
        words = "Use the mouse and the keyboard in the window; returns a screenshot."
        return Tool("computer_use", words, PARAMETERS, self._use)

    def _use(self, action: str, coordinate: list[int] | None = None, text: str = "") -> Result:
        if action == "left_click" and coordinate is None:
            raise CourseError("left_click needs a coordinate.", "", "Give x and y from 0 to 1000.")
        done = {"action": action, "coordinate": coordinate, "text": text}
        self.actions.append(done)
        self.facts = windows.act(self.facts, done)
        return Result("", self.screenshot(), action)

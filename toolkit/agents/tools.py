"""A tool: a function, the schema of its arguments, and what becomes of a call that a model made up."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError

if TYPE_CHECKING:
    from PIL import Image

#: Asked before a tool that changes something runs: the tool and its arguments.
Approve = Callable[["Tool", dict[str, Any]], bool]
#: Characters of an error that a model is told.
LONGEST_ERROR = 300


@dataclass(frozen=True)
class Result:
    """What a call gave."""

    text: str
    """Told to the model; an image may stand alone."""
    image: Image.Image | None = None
    """Shown to the model."""
    label: str = ""
    """Of the image, for a figure."""
    box: tuple[float, float, float, float] | None = None
    """Where the image lies on the user's, in its pixels."""
    failed: bool = False


@dataclass(frozen=True)
class Tool:
    """A function that a model may call."""

    name: str
    description: str
    parameters: dict[str, Any]
    """JSON schema of the arguments, an object."""
    function: Callable[..., Any] = field(repr=False)
    """Called with the arguments by name; returns a `Result`, or anything that JSON can hold."""
    changes: bool = False
    """Whether it changes something, and so needs approval."""

    def schema(self) -> dict[str, Any]:
        """As ``tools=[…]`` of the chat completions takes it. ``strict``: the server holds arguments to the schema."""
        described = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": {**described, "strict": True}}


def run_call(tools: Sequence[Tool], name: str, arguments: str, approve: Approve | None = None) -> Result:
    """Run one call. Nothing that a model writes raises here: what is wrong becomes a failed result.

    Args:
        tools: that it may use.
        name: of a tool, as the model wrote it.
        arguments: JSON, as the model wrote it.
        approve: says whether a tool that changes something may run; None: it may not.
    """
    tool = next((one for one in tools if one.name == name), None)
    if tool is None:
        return _failed(f"there is no tool {name!r}; there are: {', '.join(one.name for one in tools) or 'none'}")
    try:
        values = json.loads(arguments, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        return _failed(f"the arguments are not JSON: {error}")
    if wrong := _against(tool.parameters, values):
        return _failed(wrong)
    if tool.changes and not (approve and approve(tool, values)):
        return _failed(f"{name} changes something, and was not approved")
    try:
        found = tool.function(**values)
    except CourseError as error:
        return _failed(" ".join(filter(None, [error.what, error.remedy])))
    except Exception as error:
        return _failed(f"{type(error).__name__}: {error}")
    if isinstance(found, Result):
        return found
    return Result(found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str))


def _failed(why: str) -> Result:
    return Result(f"Error: {why[:LONGEST_ERROR]}", failed=True)


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _against(schema: dict[str, Any], values: Any) -> str:
    """What the first violation of the schema is, or nothing."""
    from jsonschema import Draft202012Validator

    if not isinstance(values, dict):
        return f"the arguments are no object but {json.dumps(values)[:40]}"
    error = next(iter(Draft202012Validator(schema).iter_errors(values)), None)
    return f"{'.'.join(map(str, error.absolute_path)) or 'arguments'}: {error.message}" if error else ""

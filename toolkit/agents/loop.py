"""A loop in which a model uses tools, bounded in steps, tokens and time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from helpers.errors import CourseError
from toolkit.agents.models import ChatModel, Reply, ResponsesModel
from toolkit.agents.tools import Approve, Result, Tool, run_call


@dataclass(frozen=True)
class Limits:
    """What a loop may cost; whichever is reached first ends it."""

    steps: int = 6
    """Requests."""
    tokens: int = 4096
    """Tokens that the model writes, in all requests together."""
    seconds: float = 120.0
    calls: int = 8
    """Calls in one reply; those beyond are refused."""

    def __post_init__(self) -> None:
        if min(self.steps, self.tokens, self.seconds, self.calls) <= 0:
            raise CourseError(f"{self} allows nothing.", "a limit of 0 or less", "give positive limits")


@dataclass(frozen=True)
class Step:
    """A reply, and the results of its calls in the same order."""

    reply: Reply
    results: tuple[Result, ...]


@dataclass
class Run:
    """How a loop went."""

    history: list[Any]
    """Messages or items, ready for another turn."""
    steps: list[Step] = field(default_factory=list)
    answer: str | None = None
    """None unless ``ended`` is "answered"."""
    ended: str = "answered"
    """Or "steps", "tokens", "seconds", "silent" (neither answer nor call), or "refused" (by the server)."""
    problem: str = ""
    """What the server said when it refused."""

    @property
    def tokens(self) -> int:
        """Tokens that the model wrote."""
        return sum(step.reply.tokens for step in self.steps)


def run_tools(
    model: ChatModel | ResponsesModel,
    history: Sequence[Any],
    tools: Sequence[Tool],
    limits: Limits = Limits(),
    *,
    first: Any = "auto",
    approve: Approve | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Run:
    """Ask, run the calls of the reply, tell their results and ask again, until the model answers or a limit is reached.

    Args:
        model: where to ask.
        history: messages to begin with; the list itself is not changed.
        tools: that the model may use. No other is ever run, whatever is written in a prompt, an image or a result.
        limits: what it may cost.
        first: ``tool_choice`` of the first request; later ones have "auto".
        approve: says whether a tool that changes something may run; None: it may not.
        clock: seconds; another one in tests.
    """
    from openai import APIStatusError, APITimeoutError

    run, begin = Run(list(history)), clock()
    for number in range(limits.steps):
        tokens, seconds = limits.tokens - run.tokens, limits.seconds - (clock() - begin)
        if tokens <= 0 or seconds <= 0:
            run.ended = "tokens" if tokens <= 0 else "seconds"
            return run
        try:
            reply = model.ask(run.history, tools, tokens, seconds, "auto" if number else first)
        except APITimeoutError:
            run.ended = "seconds"
            return run
        except APIStatusError as error:
            run.ended, run.problem = "refused", str(error)
            return run
        results = [run_call(tools, call.name, call.arguments, approve) for call in reply.calls[: limits.calls]]
        results += [Result("Error: too many calls at once", failed=True)] * (len(reply.calls) - len(results))
        run.steps.append(Step(reply, tuple(results)))
        run.history += model.told(reply, results)
        if not reply.calls:
            run.answer = None if reply.cut_off else reply.text
            run.ended = "tokens" if reply.cut_off else "answered" if reply.text else "silent"
            return run
    run.ended = "steps"
    return run

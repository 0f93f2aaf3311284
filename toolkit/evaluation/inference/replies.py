"""What an HTTP response from an endpoint means, as fields of a transcript."""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

#: Finish reasons other than a plain end. vLLM stops an answer that repeats itself: 'repetition'.
_STATUS_OF_FINISH = {
    "length": "truncated",
    "repetition": "truncated",
    "content_filter": "refused",
    "abort": "error",
    "error": "error",
}
_RETRIED = {408, 429, *range(500, 600)} - {501, 505}
_HOPELESS = {401, 403, 404}


@dataclass(frozen=True)
class AttemptOutcome:
    """What an attempt came to, as fields of a transcript, and what follows from it."""

    fields: dict[str, Any]
    retry: bool = False
    """Another attempt may succeed."""
    retry_after: float | None = None
    """Seconds that the server asks to wait."""
    reached: bool = True
    """Whether the server answered at all."""
    hopeless: bool = False
    """No other item will fare better."""


def failure(error: str, status: str = "error", **more: Any) -> AttemptOutcome:
    """The outcome of an attempt without an answer; ``more`` are further fields of `AttemptOutcome`."""
    return AttemptOutcome({"status": status, "error": error}, **more)


def split_reasoning(text: str, begun: bool = False) -> tuple[str | None, str]:
    """What a model wrote, parted into reasoning (None without any) and answer, at ``</think>``.

    Args:
        text: the opening ``<think>`` may be missing, since templates of thinking models end with it.
        begun: the prompt ended with ``<think>``, so that all is reasoning if nothing ends it.
    """
    begun = begun or text.lstrip().startswith("<think>")
    before, end, after = text.partition("</think>")
    if not (end or begun):
        return None, text
    return before.strip().removeprefix("<think>").strip() or None, after.lstrip()


def _read_answer(data: Any) -> dict[str, Any]:
    """Fields of a transcript from the body of a completed request."""
    try:
        choice = data["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        content, refusal = message.get("content"), message.get("refusal")
        told = message.get("reasoning") or message.get("reasoning_content")  # the older name
    except (LookupError, TypeError, AttributeError):
        return {"status": "error", "error": "The answer is not a chat completion."}
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    usage = data.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    fields: dict[str, Any] = {
        "finish_reason": None if reason is None else str(reason),
        "prompt_tokens": _count(usage.get("prompt_tokens")),
        "completion_tokens": _count(usage.get("completion_tokens")),
    }
    status = "refused" if refusal else _STATUS_OF_FINISH.get(str(reason), "ok")
    if status == "error":
        return fields | {"status": status, "error": f"The server ended the answer: {reason}."}
    reasoning, text = (str(told), str(content or "")) if told else split_reasoning(str(content or ""))
    return fields | answer_fields(status, reasoning, text or str(refusal or ""))


def answer_fields(status: str, reasoning: str | None, text: str) -> dict[str, Any]:
    """Status, reasoning and text of a transcript. Cut off without a word, a model has been thinking unseen."""
    reasoning = encodable(reasoning) if reasoning else None
    if not text and status != "refused" and (reasoning or status == "truncated"):
        return {"status": "thinking", "reasoning": reasoning}
    return {"status": status, "reasoning": reasoning, "text": encodable(text)}


def read_response(response: httpx.Response) -> AttemptOutcome:
    """What a response means, whatever its status and body."""
    if response.status_code == 200:
        try:
            return AttemptOutcome(_read_answer(response.json()))
        except (ValueError, RecursionError):
            return failure("The answer is not JSON.")
    kind, message = _error_of(response)
    error = f"HTTP {response.status_code}: {message}"
    if kind in ("content_filter", "content_policy_violation"):
        return failure(error, "refused")
    retry = response.status_code in _RETRIED
    wait = read_retry_after(response.headers.get("retry-after")) if retry else None
    return failure(error, retry=retry, retry_after=wait, hopeless=response.status_code in _HOPELESS)


def _error_of(response: httpx.Response) -> tuple[str, str]:
    """Code and message of an error's body."""
    try:
        data = response.json()
    except (ValueError, RecursionError):
        data = None
    inner = data.get("error", data) if isinstance(data, dict) else None
    if isinstance(inner, dict):
        return str(inner.get("code") or inner.get("type")), str(inner.get("message") or inner)
    return "", str(inner) if inner else response.text.strip() or response.reason_phrase


def read_retry_after(header: str | None, now: float | None = None) -> float | None:
    """Seconds to wait, from a ``Retry-After`` header: a number or a date (RFC 9110, 10.2.3); None if it has neither."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(header)
        except ValueError:
            return None
        seconds = date.timestamp() - (time.time() if now is None else now)
    return max(0.0, seconds) if seconds < float("inf") else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def encodable(text: str) -> str:
    """The text without lone surrogates, which JSON may hold and no file can."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

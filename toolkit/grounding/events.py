"""What happens in a video, and when, read from an answer."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.grounding.objects import Reading, is_cut_off, json_values

_STARTS = ("start", "start_time", "start_seconds", "begin", "from")
_ENDS = ("end", "end_time", "end_seconds", "finish", "to")
_LABELS = ("event", "label", "action", "description", "caption")
_TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)\s*(?:s|sec|seconds?)?")


@dataclass(frozen=True)
class Event:
    """Something that happens from ``start`` to ``end``, in seconds of the video."""

    label: str
    start: float
    end: float

    def iou(self, other: Event) -> float:
        """Temporal IoU: the time that both share over the time that both cover together, 0 to 1."""
        shared = min(self.end, other.end) - max(self.start, other.start)
        covered = max(self.end, other.end) - min(self.start, other.start)
        return max(shared, 0.0) / covered if covered > 0 else 0.0


def read_events(answer: str | Sequence[Mapping[str, Any]]) -> Reading:
    """The events of an answer, or of JSON that was read already, as `Event`.

    Times are seconds as numbers or text ('3.5 s'), or ``mm:ss.ff`` and ``hh:mm:ss``. An end before the start is put
    right, an event without two times is left out.
    """
    values = list(json_values(answer.rpartition("</think>")[2])) if isinstance(answer, str) else list(answer)
    events, problems = [], []
    while values:
        value = values.pop(0)
        if isinstance(value, list):
            values[:0] = value
        elif isinstance(value, Mapping):
            start, end = (next((value[key] for key in keys if key in value), None) for keys in (_STARTS, _ENDS))
            if start is None and end is None:
                values[:0] = [inner for inner in value.values() if isinstance(inner, list | Mapping)]
                continue
            label = next((str(value[key]) for key in _LABELS if key in value), "")
            times = seconds(start), seconds(end)
            if times[0] is None or times[1] is None:
                problems.append(f"'{label}': no start and end in seconds")
                continue
            if times[0] > times[1]:
                problems.append(f"'{label}': ends before it starts")
            events.append(Event(label, *sorted((times[0], times[1]))))
    if isinstance(answer, str) and is_cut_off(answer):
        problems.append("cut off")
    return Reading(tuple(events), tuple(problems))


def seconds(time: Any) -> float | None:
    """A time as seconds: a number, '3.5', '3.5 s', '01:05.25' or '1:00:05'; None for anything else or below 0."""
    if isinstance(time, str) and (found := _TIME.fullmatch(time.strip())):
        hours, minutes, rest = found.groups()
        return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(rest)
    if isinstance(time, bool) or not isinstance(time, int | float):
        return None
    return float(time) if math.isfinite(time) and time >= 0 else None

"""What the report says of all items together: the comparison row by row, its findings, the runs, and their claims."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolkit.evaluation.inference.visible import visible
from toolkit.evaluation.metrics.scoring import MEASURES, Measure, Scored
from toolkit.evaluation.report.wording import LABELS, STATUSES, figure, form_of, task_label


def comparison_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the comparison with its numbers as text, and its interval turned so that above 0 the first is better."""
    known = next((measure for measure in MEASURES if measure.name == row["measure"]), None)
    measure = known or Measure(row["measure"], row["title"], row["measure"], higher_is_better=None, bounded=False)
    numbers = {key: _number(row[key]) for key in ("first", "second", "difference", "low", "high", "worst", "best")}
    sign = {True: 1, False: -1, None: 0}[measure.higher_is_better]
    ends = [end for key in ("low", "difference", "high") if (end := numbers[key]) is not None]
    return {
        "task": row["task"],
        "task_label": task_label(row["task"]),
        "measure": measure,
        "points": form_of(measure.name) == "share",
        "n": int(row["n"]),
        "failed": [int(row["failed_first"]), int(row["failed_second"])],
        **{
            key: None if value is None else figure(value, measure.name, key not in ("first", "second"))
            for key, value in numbers.items()
        },
        "better": {"first is better": 0, "second is better": 1}.get(row["verdict"]),
        "verdict": row["verdict"],
        "interval": sorted(sign * end for end in ends) if sign and len(ends) == 3 else None,
    }


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def axis_scale(rows: Sequence[Mapping[str, Any]]) -> float:
    """Half the width of the plots' axis: the next tenth above all intervals, 1 at most."""
    ends = [abs(end) for row in rows if row["interval"] for end in row["interval"]]
    return min(1.0, max(1, math.ceil(10 * max(ends, default=0) - 1e-9)) / 10)


def findings(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """One sentence per task, on the first of its measures of which more or less is better."""
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task and row["measure"].higher_is_better is not None]
        if own:
            yield {"task": task_label(task), "row": own[0], "text": _sentence(own[0])}


def _sentence(row: Mapping[str, Any]) -> str:
    measure, unit = row["measure"], " points" if row["points"] else ""
    if None in (row["difference"], row["first"], row["second"]):
        return f"{measure.title} cannot be measured on {row['n']} items."
    what = "pair" if row["task"].startswith("pair_") else "item"
    asked = f"{row['n']} {what}{'s' * (row['n'] != 1)}"
    if any(row["failed"]):
        failed = " and ".join(
            f"{count} of {label}" for count, label in zip(row["failed"], LABELS, strict=True) if count
        )
        asked += f", without an answer {failed}"
    return (
        f"{measure.title}{'' if measure.higher_is_better else ' (less is better)'} {row['first']} for A and "
        f"{row['second']} for B, a difference of {row['difference']}{unit} "
        f"(95\N{NO-BREAK SPACE}% interval {row['low'] or '−∞'} to {row['high'] or '∞'}; {asked})."
    )


def run_facts(name: str, label: str, scored: Sequence[Scored]) -> dict[str, Any]:
    own = [answer for answer in scored if answer.run == name]
    answers = [answer.transcript for answer in own]
    statuses = Counter(answer.status for answer in answers)

    def told(key: str) -> str:
        values = dict.fromkeys(str(value) for answer in answers if (value := getattr(answer, key)) is not None)
        return ", ".join(values) or "not recorded"

    sampling = dict.fromkeys(json.dumps(answer.sampling, sort_keys=True, ensure_ascii=False) for answer in answers)
    days = sorted({answer.time[:10] for answer in answers})
    times = [
        answer.latency_seconds
        for answer in answers
        if answer.status not in ("error", "timeout") and answer.latency_seconds
    ]
    tokens = [answer.completion_tokens for answer in answers if answer.completion_tokens is not None]
    words = [len(answer.text.split()) for answer in answers if answer.text is not None]
    return {
        "name": visible(name),
        "label": label,
        "asked": len(answers),
        "statuses": {status: statuses[status] for status in ("ok", *STATUSES)},
        "facts": {
            "model": told("model"),
            "revision": told("revision"),
            "server": " ".join(told(key) for key in ("server", "server_version")).replace(" not recorded", ""),
            "device": told("device"),
            "dtype": told("dtype"),
            "sampling": "; ".join(sampling) or "not recorded",
            "seed": told("seed"),
            "asked on": " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "not recorded",
            "lines written by": told("origin"),
        },
        "latency": _median(times, "s"),
        "tokens": _median(tokens, ""),
        "words": _median(words, ""),
    }


def _median(values: Sequence[float], unit: str) -> str:
    if not values:
        return "not recorded"
    return f"{statistics.median(values):.2f} {unit}" if unit else f"{statistics.median(values):g}"


def claim_bars(name: str, scored: Sequence[Scored]) -> dict[str, list[tuple[str, int, float, float]]]:
    """What a run's descriptions claimed and stated: (verdict, count, begin, width), in per cent of a bar."""
    reports = [answer.report for answer in scored if answer.run == name and answer.report is not None]
    claimed = {
        verdict: sum(report.claimed(verdict) for report in reports)
        for verdict in ("supported", "contradicted", "uncheckable")
    }
    states = Counter(fact.state for report in reports for fact in report.facts)
    return {
        "claims": _stacked(claimed),
        "facts": _stacked({state: states[state] for state in ("stated", "contradicted", "omitted")}),
    }


def _stacked(counts: Mapping[str, int]) -> list[tuple[str, int, float, float]]:
    total, begin, parts = sum(counts.values()), 0.0, []
    for name, count in counts.items():
        width = 100 * count / total if total else 0.0
        parts.append((name, count, round(begin, 2), round(width, 2)))
        begin += width
    return parts if total else []

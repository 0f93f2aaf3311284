"""A batch run with a worker that is killed: does every image still have exactly one answer?

``python -m tests.toolkit.batch.kill_check --count 500 --record`` draws the images, runs the real engine in a Ray
actor, kills its process with SIGKILL when a third of the parts is written, stops the whole run when two thirds are,
calls it again, and appends what it saw to ``benchmarks/batch_check.json``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, append_entry
from helpers.machine import installed_versions
from helpers.provenance import PACKAGES, this_machine
from toolkit.batch.run import BatchOptions, BatchSummary, run_batch
from toolkit.batch.tasks import parts
from toolkit.toyworld.items import SAMPLE_SEED, write_items

RECORD = COURSE_ROOT / "benchmarks" / "batch_check.json"
#: Of the images; apart from those that other parts of the course draw.
SEED = SAMPLE_SEED + 900_000


class _Stopped(Exception):
    """Stands for the end of the whole run."""


class Disturbance:
    """Called with each part: kills the actor once, and stops the run once.

    Args:
        expected: parts that the whole run will have.
    """

    def __init__(self, expected: int):
        self.kill_at, self.stop_at = max(1, expected // 3), max(2, 2 * expected // 3)
        self.written = 0
        self.killed: list[str] = []

    def __call__(self, path: Path) -> None:
        """Count the part, and disturb where it is time."""
        self.written += 1
        if self.written >= self.kill_at and not self.killed:
            self.killed = kill_actors()
        if self.written == self.stop_at:
            raise _Stopped


def kill_actors() -> list[str]:
    """Send SIGKILL to the actors of Ray Data among this process's children; returns their names."""
    import psutil

    names = []
    for child in psutil.Process().children(recursive=True):
        words = child.cmdline()
        if words and words[0].startswith("ray::MapWorker"):
            names.append(words[0].strip())
            child.send_signal(signal.SIGKILL)
    return names


def run_check(count: int, batch_size: int, profile: str = "tiny") -> dict[str, Any]:
    """Draw images, describe them with both disturbances, and count.

    Args:
        count: images; one more is broken.
        batch_size: images per part.
        profile: of ``data/profiles.yaml``.

    Raises:
        CourseError: as `toolkit.batch.run.run_batch`; or nothing was killed, since the run is too short for that.
    """
    options = BatchOptions(batch_size=batch_size)
    with tempfile.TemporaryDirectory() as scratch:
        items, out = Path(scratch) / "items", Path(scratch) / "out"
        records = [item.record() for item in write_items("scene", count, SEED, items)]
        _add_broken(items, records)
        disturbance, began = Disturbance(-(-len(records) // batch_size)), time.perf_counter()
        try:
            run_batch(items, out, profile, options, on_part=disturbance)
            raise CourseError("The run was not stopped.", "too few parts", "give a larger --count")
        except _Stopped:
            first = {"rows_when_stopped": len(_rows(out)), "seconds": round(time.perf_counter() - began, 1)}
        if not disturbance.killed:
            raise CourseError("No worker was killed.", "none was found", "")
        second, third = (_seen(run_batch(items, out, profile, options)) for _ in range(2))
        rows = _rows(out)
    names, counts = {record["item_id"] for record in records}, Counter(row["item_id"] for row in rows)
    return {
        "items": len(names),
        "lost": len(names - set(counts)),
        "doubled": sum(count > 1 for count in counts.values()),
        "statuses": dict(Counter(row["status"] for row in rows)),
        "completion_tokens": sum(row["completion_tokens"] or 0 for row in rows),
        "first_call": first,
        "second_call": second,
        "third_call": third,
        "killed": disturbance.killed,
    }


def _seen(summary: BatchSummary) -> dict[str, Any]:
    asked = sum(summary.statuses.values())
    return {"there": summary.there, "asked": asked, "seconds": round(summary.seconds, 1)}


def _add_broken(items: Path, records: list[dict[str, Any]]) -> None:
    broken = json.loads(json.dumps(records[0]).replace(records[0]["item_id"], "broken"))
    (items / "broken.png").write_bytes((items / records[0]["media"][0]).read_bytes()[:200])
    with (items / "items.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(broken) + "\n")
    records.append(broken)


def _rows(out: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return [row for path in parts(out) for row in pq.read_table(path).to_pylist()]


def main(arguments: list[str] | None = None) -> int:
    """The command line; 1 if an item was lost or doubled."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.toolkit.batch.kill_check", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--count", type=int, default=500, help="images (default: 500)")
    parser.add_argument("--batch-size", type=int, default=25)
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--record", action="store_true", help="append to benchmarks/batch_check.json")
    given = parser.parse_args(arguments)
    words = ["python", "-m", "tests.toolkit.batch.kill_check", "--count", str(given.count)]
    words += ["--batch-size", str(given.batch_size), "--profile", given.profile, "--record"]
    entry = {
        "profile": given.profile,
        "images": given.count,
        "batch_size": given.batch_size,
        "actors": 1,
        **run_check(given.count, given.batch_size, given.profile),
        "command": shlex.join(words),
        "date": datetime.date.today().isoformat(),
        "machine": this_machine().model_dump(mode="json"),
        "versions": installed_versions((*PACKAGES, "ray", "pyarrow")),
    }
    if given.record:
        append_entry(RECORD, entry)
    print(json.dumps(entry, indent=1))
    return 1 if entry["lost"] or entry["doubled"] else 0


if __name__ == "__main__":
    sys.exit(main())

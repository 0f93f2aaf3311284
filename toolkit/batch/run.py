"""A batch run: Ray on this machine alone (or a cluster that is connected already), batches to actors, parts to disk."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from helpers.files import shown
from helpers.profiles import ActiveProfile, use_profile
from toolkit.batch.describer import Describer
from toolkit.batch.tasks import QUESTION, BatchTask, done_requests, fields_of, remaining_tasks, sole_writer, write_part
from toolkit.evaluation.inference.runner import RunSummary
from toolkit.evaluation.inference.transcripts import Transcript

#: Names and answers pass through it, no images. Ray takes no less than 75 MiB.
OBJECT_STORE_BYTES = 100 * 2**20
LOOPBACK = "127.0.0.1"
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's switch for loopback alone, named after the systems where that is the default; on Linux, it listens on all
    # interfaces otherwise, whatever address it is given.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_AUTH_MODE": "token",
}
#: Ray gives its own helpers 15 s to start, which a busy machine may miss once.
STARTS = 2


@dataclass(frozen=True)
class BatchOptions:
    """What a batch run asks, and how.

    Raises:
        CourseError: a number below 1.
    """

    actors: int = 1
    """Engines, each in a process of its own with one CPU, and one GPU where the profile runs on those."""
    batch_size: int = 32
    """Items that an engine gets at a time; a part holds as many, and a killed worker costs as many."""
    question: str = QUESTION
    """Asked about each image where there is no ``items.jsonl``."""
    limit: int | None = None
    """Look at the first so many items."""
    again: bool = False
    """Ask again what failed before; its error stays beside the new row."""
    retries: int = 3
    """How often a batch may lose its worker before the run gives up."""

    def __post_init__(self) -> None:
        for name in ("actors", "batch_size", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise CourseError(f"{name} {value} was refused.", "", "give 1 or more")


@dataclass
class BatchSummary(RunSummary):
    """What a call of `run_batch` did."""

    parts: int = 0
    """Files written."""

    def describe(self) -> str:
        return f"{super().describe()}; {self.parts} parts written in {self.seconds:.0f} s"


@contextlib.contextmanager
def local_ray(cpus: int = 1, gpus: int = 0) -> Iterator[Any]:
    """Ray on this machine, as ``with local_ray() as ray``: loopback only, with a token, no dashboard, no statistics
    sent, and nothing left behind. If Ray is connected to a cluster already, that is used, and stays.

    Ray hands out so many CPUs and GPUs; an actor takes one.

    Raises:
        CourseError: Ray is not installed, does not start, or was imported before and would listen on the network.
    """
    constants = sys.modules.get("ray._private.ray_constants")
    if constants and constants.ENABLE_RAY_CLUSTER and not sys.modules["ray"].is_initialized():
        raise CourseError(
            "Ray would listen on the network.",
            "it was imported before its settings were made, perhaps by vLLM",
            "restart the kernel; choose a profile (use_profile), which makes them, before importing vLLM or Ray",
        )
    with contextlib.ExitStack() as stack:
        stack.enter_context(_environment())
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise CourseError(
                "Ray Data cannot be imported.", str(error), "python -m course env shows what is installed"
            ) from None
        if not ray.is_initialized():
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
            stack.callback(ray.shutdown)
            _start(ray, folder, cpus, gpus)
            stack.enter_context(_quiet(ray))
        yield ray


def run_batch(
    items_folder: str | Path,
    out_folder: str | Path,
    profile: str | ActiveProfile = "auto",
    options: BatchOptions = BatchOptions(),
    *,
    describer: type[Any] = Describer,
    on_part: Callable[[Path], None] = lambda path: None,
) -> BatchSummary:
    """Ask a model about all images of a folder, and write the answers as Parquet parts as they come.

    It may be killed at any moment, and so may any worker: the same call goes on with what has no answer yet. An item
    has exactly one row, an answer or an error, however often it was tried.

    Args:
        items_folder: with ``items.jsonl`` and its images, or with images alone. On a cluster: one that all see.
        out_folder: for ``part-00000.parquet`` and so on; made if need be.
        profile: a name of ``data/profiles.yaml``, or a profile in use.
        describer: made with the profile and the folder in each actor, then called with batches; see `Describer`.
        on_part: called with each part when it is on disk.

    Raises:
        CourseError: an unusable folder, another run in the same folder, an engine that does not start, or a batch that
            lost its worker too often. What was answered is kept.
    """
    began, folder = time.perf_counter(), Path(items_folder).resolve()
    active = use_profile(profile, quiet=True) if isinstance(profile, str) else profile
    asked = fields_of(active)
    with sole_writer(out_folder):
        done = done_requests(out_folder, options.again)
        tasks, items = remaining_tasks(folder, asked, done, question=options.question, limit=options.limit)
        summary = BatchSummary(asked["run"], items, there=items - len(tasks))
        if tasks:
            gpus = int(active.device == "cuda")
            with local_ray(options.actors, options.actors * gpus) as ray, _told_plainly(ray, options.retries):
                blocks = math.ceil(len(tasks) / options.batch_size)
                rows = ray.data.from_items([task.row() for task in tasks], override_num_blocks=blocks)
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message=".*ray_remote_args")  # max_task_retries has no successor
                    answers = rows.map_batches(
                        describer,
                        fn_constructor_args=(active, folder),
                        batch_size=None,  # a block is a batch
                        batch_format="pyarrow",
                        compute=ray.data.ActorPoolStrategy(size=options.actors),
                        num_cpus=1,
                        num_gpus=gpus or None,
                        # Ray Data has no limit of its own: an image that kills its worker would be tried forever.
                        max_task_retries=options.retries,
                    )
                ready = answers.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
                for transcripts in _transcripts(ready, tasks, asked):
                    path = write_part(out_folder, transcripts)
                    summary.parts += 1
                    summary.statuses.update(transcript.status for transcript in transcripts)
                    on_part(path)
    summary.seconds = time.perf_counter() - began
    return summary


def _transcripts(blocks: Iterator[Any], tasks: list[BatchTask], asked: dict[str, Any]) -> Iterator[list[Transcript]]:
    """Of each block what is new: no item twice, come what may."""
    waiting = {task.item_id: task for task in tasks}
    for block in blocks:
        answers = [answer for answer in block.to_pylist() if answer["item_id"] in waiting]
        if answers:
            yield [waiting.pop(answer["item_id"]).transcript(asked, answer) for answer in answers]
    if waiting:
        raise CourseError(f"{len(waiting)} items came back without an answer.", "", "the same call goes on with them")


def _start(ray: Any, folder: str, cpus: int, gpus: int) -> None:
    import psutil

    mine = psutil.Process()
    before = set(mine.children(recursive=True))
    for start in range(1, STARTS + 1):
        try:
            ray.init(
                address="local", num_cpus=cpus, num_gpus=gpus, object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False, _node_ip_address=LOOPBACK, _temp_dir=folder, log_to_driver=False,
                logging_level=logging.ERROR,
            )  # fmt: skip
            return
        except Exception as error:  # Ray raises a bare Exception here
            for child in set(mine.children(recursive=True)) - before:
                with contextlib.suppress(psutil.Error):
                    child.kill()
            if start == STARTS:
                cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise CourseError("Ray did not start.", cause, "try again when the machine is less busy") from error


@contextlib.contextmanager
def _told_plainly(ray: Any, retries: int) -> Iterator[None]:
    try:
        yield
    except ray.exceptions.RayError as error:
        what, last = "A worker of the batch run failed.", str(error).strip().splitlines()[-1]
        remedy = "what was answered is kept"
        if isinstance(error, ray.exceptions.RayActorError | ray.exceptions.WorkerCrashedError):
            what = f"A batch lost its worker more than {retries} times."
            last = f"memory, or one image that kills it ({last})"
            remedy += ": call it again, with a smaller batch_size"
        raise CourseError(what, last, remedy) from error


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Ray's variables, and none of those that it adds left behind (its own debugger in the place of ``breakpoint()``).

    The token stays: Ray remembers the first one that a process had.
    """
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    before = dict(os.environ)
    os.environ.update(RAY_ENVIRONMENT)
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("RAY_") or name == "PYTHONBREAKPOINT"]:
            del os.environ[name]
            os.environ.update({name: before[name]} if name in before else {})


@contextlib.contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Ray Data without its progress bars and its log."""
    context, logger = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    before = context.enable_progress_bars, context.print_on_execution_start, logger.level
    context.enable_progress_bars = context.print_on_execution_start = False
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        context.enable_progress_bars, context.print_on_execution_start = before[:2]
        logger.setLevel(before[2])


def main(items: Path, out: Path, profile: str = "auto", options: BatchOptions = BatchOptions()) -> int:
    """``course batch``: `run_batch` with its progress; 1 if errors were recorded, 130 after an interruption, else 0."""
    try:
        summary = run_batch(items, out, profile, options, on_part=lambda path: print(shown(path), flush=True))
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
    print(summary.describe())
    return 1 if summary.statuses["error"] else 0

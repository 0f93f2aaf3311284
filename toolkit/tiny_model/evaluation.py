"""Measures a tiny model through vLLM on held-out items: greedy, float32, task by task, saved after each."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import shlex
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, shown, write_whole, writing
from helpers.machine import installed_versions
from helpers.profiles import TINY, use_profile
from helpers.provenance import this_machine
from toolkit.tiny_model.agreement import compare_with_transformers
from toolkit.tiny_model.held_out import (
    GUIDE_TASK,
    PAIR_TASKS,
    TASKS,
    Answer,
    HeldOut,
    held_out,
    trained_prompt,
    vllm_request,
)
from toolkit.tiny_model.patches import layout_of
from toolkit.tiny_model.scoring import all_scores, score_task
from toolkit.toyworld.items import VALIDATION_SEED, Clip, png_bytes

DIFFICULTY = 3
#: Requests that vLLM gets at a time; their images are drawn just before.
BATCH = 128
#: How many of the most probable tokens vLLM reports per token of an answer; for `agreement`.
LOGPROBS = 20
SHOWN_FAILURES = 6
#: Of the record, in the order of its file.
FIELDS = ("model", "setting", "versions", "machine", "date", "command", "minutes", "scores", "agreement", "tasks")
#: What makes a model: another one of these gives other answers.
MODEL_FILES = ("model.safetensors", "config.json", "tokenizer.json", "processor_config.json", "chat_template.jinja")


class Ask(Protocol):
    """Answers requests, one answer per request; with ``logprobs``, with the most probable tokens."""

    def __call__(self, items: Sequence[HeldOut], logprobs: bool = False) -> list[Answer]: ...


def evaluate(
    model: Path | None = None,
    count: int = 500,
    *,
    out: Path | None = None,
    tasks: Sequence[str] | None = None,
    agreement: int = 0,
    ask: Ask | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Scores on ``count`` held-out items per task, with seeds from `VALIDATION_SEED` on.

    Args:
        model: folder of the model; default: the bundled one.
        count: items per task (of pairs: pairs); 0 measures no task.
        out: JSON file, written after each task. If it holds tasks of the same model, number of items and versions,
            they are not measured again; other contents are replaced.
        tasks: some of `held_out.TASKS`; default: all.
        agreement: how many answers to compare with transformers, token by token; 0: none.
        ask: answers the requests; default: vLLM with the profile ``tiny``, started when it is needed.

    Returns:
        ``model``, ``setting``, ``versions``, ``machine``, ``date``, ``minutes``, ``command``; ``scores`` (name ->
        value, 95 % interval, number of items, target); ``tasks`` (per task its scores, which items were right, how
        many answers were cut off, and some failures); ``agreement`` if measured.

    Raises:
        CourseError: no model there, an unknown task, a negative count, an ``out`` that cannot be written, or an
            engine that makes another prompt of a request than the model was trained with.
    """
    folder = Path(model or COURSE_ROOT / "data" / TINY)
    wanted = _checked(tasks, count, agreement)
    active = use_profile("tiny", quiet=True)
    sampling = active.sampling_arguments()
    about = {
        "model": describe_model(folder),
        "setting": {
            "items_per_task": count,
            "first_seed": VALIDATION_SEED,
            "difficulty": DIFFICULTY,
            "decoding": "greedy",
            "max_tokens": sampling["max_tokens"],
            "dtype": active.profile.dtype[active.device],
        },
        "versions": installed_versions(("vllm", "torch", "transformers")),
        "machine": this_machine().describe(),
    }
    record = _resumed(out, about, keep_count=count == 0)
    command_line = _command_line(folder, count, out, tasks, agreement)
    engine: list[Ask] = [ask] if ask else []

    def ask_engine(items: Sequence[HeldOut], logprobs: bool = False) -> list[Answer]:
        if not engine:
            engine.append(VllmEngine(folder, active.engine_arguments(), sampling))
        return engine[0](items, logprobs=logprobs)

    for task in wanted if count else ():
        items = _items(task, count)
        fingerprint = _fingerprint(items)
        if record["tasks"].get(task, {}).get("fingerprint") == fingerprint:
            _say(quiet, f"{task}: measured before")
            continue
        record["tasks"][task] = {"fingerprint": fingerprint, **_measure(task, items, ask_engine, quiet)}
        record |= {"command": command_line, "date": _today()}
        _finish(record, out)
        values = [f"{name} {score['value']}" for name, score in record["tasks"][task]["scores"].items()]
        _say(quiet, f"{task}: {' · '.join(values)} ({record['tasks'][task]['seconds']:.0f} s)")
    if agreement:
        items = spread_items(agreement)
        answers = _in_batches(items, partial(ask_engine, logprobs=True), "vLLM", quiet)
        compared = compare_with_transformers(folder, items, answers, sampling["max_tokens"], quiet=quiet)
        record["agreement"] = {"command": command_line, "date": _today(), **compared}
    return _finish(record, out)


def as_markdown(evaluation: dict[str, Any]) -> str:
    """The scores as a Markdown table."""
    scores = evaluation["scores"]
    targets = any("target" in score for score in scores.values())
    lines = ["| score | value | 95 % interval | of |", "| --- | ---: | ---: | ---: |"]
    if targets:
        lines = [lines[0] + " target | |", lines[1] + " ---: | --- |"]
    for name, score in scores.items():
        low, high = score["interval"]
        value = "none" if score["value"] is None else f"{score['value']:.3f}"
        line = f"| {name} | {value} | {low:.3f} to {high:.3f} | {score['of']} |"
        if targets and "target" in score:
            direction, bound = score["target"]
            sign = "≥" if direction == "at least" else "≤"
            line += f" {sign} {bound:.2f} | {'reached' if score['reached'] else '**missed**'} |"
        elif targets:
            line += " | |"
        lines.append(line)
    return "\n".join(lines)


# ---------------------------------------------------------------- items


def _items(task: str, count: int) -> list[HeldOut]:
    numbers = range(1 if task == GUIDE_TASK else count)
    return [item for number in numbers for item in held_out(task, number, DIFFICULTY)]


def spread_items(count: int) -> list[HeldOut]:
    """So many items, taken from all tasks in turn, without pairs and the guides' sentence."""
    tasks = [task for task in TASKS if task not in PAIR_TASKS and task != GUIDE_TASK]
    return [held_out(tasks[index % len(tasks)], index // len(tasks), DIFFICULTY)[0] for index in range(count)]


def _fingerprint(items: list[HeldOut]) -> str:
    """Of all requests and accepted answers, and of the first image: changes when the world does."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps([item.seed, item.request, item.accepted]).encode())
    medium = items[0].medium()
    for image in medium.frames if isinstance(medium, Clip) else [medium] if medium else []:
        digest.update(png_bytes(image))
    return digest.hexdigest()[:16]


def _measure(task: str, items: list[HeldOut], ask: Ask, quiet: bool) -> dict[str, Any]:
    started = time.monotonic()
    answers = _in_batches(items, ask, task, quiet)
    texts = [answer.text for answer in answers]
    scores, right = score_task(task, items, texts)
    wrong = [(item, text) for item, text in zip(items, texts, strict=True) if text not in item.accepted]
    return {
        "seconds": round(time.monotonic() - started, 1),
        "scores": scores,
        "right": "".join("1" if is_right else "0" for is_right in right),
        "cut_off": sum(not answer.finished for answer in answers),
        "failures": [
            {
                "number": item.number,
                "seed": item.seed,
                "request": item.request,
                "right": item.accepted[0],
                "answer": text,
            }
            for item, text in wrong[:SHOWN_FAILURES]
        ],
    }


def _in_batches(items: list[HeldOut], ask: Ask, title: str, quiet: bool) -> list[Answer]:
    from tqdm import tqdm

    answers: list[Answer] = []
    with tqdm(total=len(items), desc=title, unit="answer", leave=False, disable=True if quiet else None) as bar:
        for start in range(0, len(items), BATCH):
            answers += ask(items[start : start + BATCH])
            bar.update(len(answers) - bar.n)
    return answers


# ---------------------------------------------------------------- vLLM


class VllmEngine:
    """Answers requests with ``vllm.LLM`` in this process."""

    def __init__(self, folder: Path, arguments: dict[str, Any], sampling: dict[str, Any]):
        from vllm import LLM, SamplingParams

        self.layout = layout_of(describe_model(folder)["family"])
        self.engine = LLM(**{**arguments, "model": str(folder)})
        self.tokenizer = self.engine.get_tokenizer()
        self.sampling = {False: SamplingParams(**sampling), True: SamplingParams(**sampling, logprobs=LOGPROBS)}

    def __call__(self, items: Sequence[HeldOut], logprobs: bool = False) -> list[Answer]:
        """One answer per item.

        Raises:
            CourseError: vLLM makes another prompt of the first item than the trainer does.
        """
        requests = [vllm_request(self.tokenizer, item, self.layout) for item in items]
        outputs = self.engine.generate(requests, self.sampling[logprobs], use_tqdm=False)
        self._check_prompt(items[0], outputs[0].prompt_token_ids)
        return [_as_answer(output.outputs[0]) for output in outputs]

    def _check_prompt(self, item: HeldOut, found: list[int]) -> None:
        if list(found) != trained_prompt(self.tokenizer, item, self.layout):
            raise CourseError(
                f"vLLM's prompt for {item.task} {item.number} is not what the model was trained with: "
                f"{self.tokenizer.decode(found)!r}",
                "another version of vLLM or transformers lays out images or videos differently",
                "install the pinned versions: make setup",
            )


def _as_answer(output: Any) -> Answer:
    logprobs = [{token: entry.logprob for token, entry in step.items()} for step in output.logprobs or []]
    text = output.text.rsplit("</think>", 1)[-1].lstrip("\n") if "</think>" in output.text else output.text
    return Answer(text, tuple(output.token_ids), output.finish_reason == "stop", logprobs)


# ---------------------------------------------------------------- the record


def describe_model(folder: Path) -> dict[str, Any]:
    """Name, family, number of parameters, and SHA-256 of the files that make up a model.

    Raises:
        CourseError: no model in the folder, or one that is not of the course's families.
    """
    from safetensors import safe_open

    missing = [name for name in MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise CourseError(
            f"There is no complete model in {shown(folder)}: {missing[0]} is missing.",
            "another folder, or a training run that has not saved yet",
            "name the folder that `python -m course train` wrote, with --model",
        )
    model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type", "")
    with safe_open(folder / "model.safetensors", "np") as weights:
        sizes = [weights.get_slice(key).get_shape() for key in weights.keys()]  # noqa: SIM118 - not a mapping
    return {
        "name": folder.resolve().name,
        "family": layout_of(model_type.replace("_", "-")).family,
        "parameters": sum(map(math.prod, sizes)),
        "sha256": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in MODEL_FILES},
    }


def _resumed(out: Path | None, about: dict[str, Any], keep_count: bool) -> dict[str, Any]:
    """What ``out`` holds, if it is about the same; else an empty record."""
    new = {**about, "command": "", "date": "", "tasks": {}}
    if out is None or not Path(out).exists():
        return new
    try:
        saved = json.loads(Path(out).read_text(encoding="utf-8"))
        if keep_count:
            new["setting"] = {**new["setting"], "items_per_task": saved["setting"]["items_per_task"]}
        same = all(saved[key] == new[key] for key in about)
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    return saved if same and "tasks" in saved else new


def _finish(record: dict[str, Any], out: Path | None) -> dict[str, Any]:
    """Bring what follows from the tasks up to date, and write it, whole or not at all."""
    tasks = {task: record["tasks"][task] for task in TASKS if task in record["tasks"]}
    record |= {
        "minutes": round(sum(task["seconds"] for task in tasks.values()) / 60, 1),
        "scores": all_scores(tasks),
        "tasks": tasks,
    }
    whole = {name: record[name] for name in FIELDS if name in record}
    if out is not None:
        out = Path(out)
        with writing(out, "choose another --out"):
            out.parent.mkdir(parents=True, exist_ok=True)
            write_whole(out, json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    return whole


def _checked(tasks: Sequence[str] | None, count: int, agreement: int) -> list[str]:
    if count < 0 or agreement < 0 or not (count or agreement):
        raise CourseError(f"Cannot measure {count} items per task.", "", "use --count 1 or more, or --agreement")
    unknown = [task for task in tasks or () if task not in TASKS]
    if unknown:
        raise CourseError(f"There is no task '{unknown[0]}'.", "a misspelt --tasks", f"use some of: {', '.join(TASKS)}")
    return [task for task in TASKS if tasks is None or task in tasks]


def _command_line(folder: Path, count: int, out: Path | None, tasks: Sequence[str] | None, agreement: int) -> str:
    words = ["python", "-m", "course", "evaluate-tiny", "--model", shown(folder.absolute()), "--count", str(count)]
    words += ["--tasks", ",".join(tasks)] if tasks is not None else []
    words += ["--agreement", str(agreement)] if agreement else []
    words += ["--out", shown(Path(out).absolute())] if out else []
    return shlex.join(words)


def _today() -> str:
    return datetime.datetime.now(tz=datetime.UTC).date().isoformat()


def _say(quiet: bool, text: str) -> None:
    if not quiet:
        print(text, flush=True)

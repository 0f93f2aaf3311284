"""``python -m benchmarks.thinking FOLDER``: what thinking and zooming bring a tiny model, on held-out items.

The bundled model and the Thinking edition in FOLDER (``course train --preset think``) answer the same items, offline
through ``vllm.LLM``; then the edition is served with its parsers, and asked about poses with the zoom tool at hand
(`toolkit.agents.run_tools`). Each task is written as it ends; the same command goes on where it stopped.
"""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.record import write_record
from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, shown
from helpers.profiles import TINY, use_profile
from toolkit.tiny_model.held_out import HeldOut, held_out

#: Who answered, in the record.
INSTRUCT, THINKING, ZOOMING = "instruct", "thinking", "thinking, with the zoom tool"
EXACT = ZOOMING + " on the true box"
#: Characters of the sentences that are long.
LONG = 33
#: Tokens of an answer, thoughts included, that are not cut off.
LONGEST = 512
TASKS = ("reverse", "scene_count", "clip_order", "receipt_adds_up", "scene_pose")
SERVER_FLAGS = ("--reasoning-parser", "qwen3", "--enable-auto-tool-choice", "--tool-call-parser", "hermes")


def items_of(task: str, how_many: int) -> list[HeldOut]:
    """Held-out items of a task of the tiny model, or of one of two that only this comparison has."""
    if task == "reverse":
        drawn = (held_out("sentence", number)[0] for number in count())
        return list(islice((item for item in drawn if item.facts["length"] >= LONG), how_many))
    if task == "receipt_adds_up":
        return list(islice(_receipts(), how_many))
    return [held_out(task, number)[0] for number in range(how_many)]


def _receipts() -> Iterator[HeldOut]:
    """Receipts, half of which have a wrong total."""
    from toolkit.toyworld import receipts

    for number in count():
        item = held_out("receipt_total", number)[0]
        facts = receipts.with_total(item.facts, random.Random(number))
        asked = receipts.adds_up_question(facts)
        yield HeldOut(asked.task, number, "receipt", item.seed, facts, asked.request, asked.answers)


def answer_all(who: str, folder: Path, out: Path, how_many: int) -> None:
    """Answer every task with one model, offline; those in the record are not asked again.

    To be run in a process of its own: an engine in the same process ends with it.
    """
    from toolkit.tiny_model.evaluation import BATCH, VllmEngine

    if all(who in _read(out)["tasks"].get(task, {}) for task in TASKS):
        return
    active = use_profile("tiny", quiet=True)
    engine = VllmEngine(folder, active.engine_arguments(), active.sampling_arguments(max_tokens=LONGEST))
    for task in TASKS:
        record = _read(out)
        if who in record["tasks"].get(task, {}):
            continue
        items = items_of(task, how_many)
        answers = [answer for at in range(0, how_many, BATCH) for answer in engine(items[at : at + BATCH])]
        right = [answer.text in item.accepted for item, answer in zip(items, answers, strict=True)]
        record["tasks"].setdefault(task, {})[who] = _scored(right, [len(answer.tokens) for answer in answers])
        _write(out, record)


def zoom_all(folder: Path, out: Path, how_many: int) -> None:
    """Ask the served Thinking edition about poses, and about numbers, where a closer look helps nothing."""
    from openai import OpenAI

    from helpers.server import serve
    from toolkit import agents
    from toolkit.agents.models import data_url

    limits = agents.Limits(steps=3, tokens=LONGEST, seconds=600)
    edition = replace(use_profile("tiny", quiet=True), model_path=str(folder))
    with serve(edition, extra_flags=SERVER_FLAGS) as server:
        client = OpenAI(base_url=server.base_url, api_key=server.api_key)
        model = agents.ChatModel(client, server.model_name, {"temperature": 0})

        def zoomed(item: HeldOut, exact: bool) -> Any:
            image = item.medium()
            content = [
                {"type": "image_url", "image_url": {"url": data_url(image)}},
                {"type": "text", "text": item.request},
            ]
            tool = agents.zoom_tool(image)
            if exact:  # whatever box the model asks for, it gets the true one
                box, look = true_box(item), tool.function
                tool = replace(tool, function=lambda bbox_2d, label="": look(box, label))
            return agents.run_tools(model, [{"role": "user", "content": content}], [tool], limits)

        for task, who in (("scene_pose", ZOOMING), ("scene_count", ZOOMING), ("scene_pose", EXACT)):
            record = _read(out)
            if who in record["tasks"].get(task, {}):
                continue
            items = items_of(task, how_many)
            with ThreadPoolExecutor(16) as pool:
                runs = list(pool.map(zoomed, items, [who == EXACT] * how_many))
            right = [(run.answer or "").strip() in item.accepted for item, run in zip(items, runs, strict=True)]
            calls = sum(len(step.reply.calls) for run in runs for step in run.steps)
            scored = _scored(right, [run.tokens for run in runs])
            record["tasks"].setdefault(task, {})[who] = scored | {"calls": calls / how_many}
            _write(out, record)


def true_box(item: HeldOut) -> list[int]:
    """Where the subject is that a question about a pose names."""
    from toolkit.tiny_model.thinking import subject_of
    from toolkit.toyworld.items import Question

    return subject_of(Question(item.task, item.request, item.accepted), item.facts)["box"]


def _scored(right: list[bool], tokens: list[int]) -> dict[str, Any]:
    written = sum(tokens) / len(tokens)
    share = sum(right) / len(right)
    return {"share": round(share, 4), "tokens": round(written, 1), "right": "".join(str(int(hit)) for hit in right)}


def _read(out: Path) -> dict[str, Any]:
    return json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {"tasks": {}}


def _count(record: dict[str, Any]) -> int:
    return len(next(iter(next(iter(record["tasks"].values())).values()))["right"])


def _write(out: Path, record: dict[str, Any]) -> None:
    for task in record["tasks"].values():
        for who, scored in task.items():
            if who != INSTRUCT and INSTRUCT in task:
                scored["gain"] = _gain(scored["right"], task[INSTRUCT]["right"])
    write_record(out, f"python -m benchmarks.thinking FOLDER --count {_count(record)}", {"tasks": record["tasks"]})


def _gain(better: str, worse: str) -> list[float]:
    """Mean difference of paired hits, and its 95 % interval."""
    from toolkit.evaluation.metrics.statistics import paired_bootstrap

    found = paired_bootstrap([int(hit) for hit in better], [int(hit) for hit in worse])
    return [round(each, 4) for each in (found.value, found.low, found.high)]


def main(
    folder: Annotated[Path, typer.Argument(help="of the Thinking edition")],
    how_many: Annotated[int, typer.Option("--count", min=1, help="items per task")] = 500,
    out: Annotated[Path | None, typer.Option(help="JSON; default: thinking.json in the folder")] = None,
) -> None:
    """Measure both editions, then the zoom tool."""
    out = out or folder / "thinking.json"
    if "<think>" not in (folder / "tokenizer.json").read_text(encoding="utf-8"):
        raise CourseError(
            f"{shown(folder)} holds no Thinking edition.",
            "its vocabulary has no <think>",
            "train one: course train --preset think --start-from data/models/tiny-qwen3-vl --out DIR",
        )
    for who, model in ((INSTRUCT, COURSE_ROOT / "data" / TINY), (THINKING, folder)):
        process = multiprocessing.get_context("spawn").Process(target=answer_all, args=(who, model, out, how_many))
        process.start()
        process.join()
        if process.exitcode:
            raise typer.Exit(1)
    zoom_all(folder, out, how_many)


if __name__ == "__main__":
    typer.run(main)

"""The model card: written from what was measured, the training's log, the preset and a person's notes."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from helpers.errors import CourseError
from helpers.files import first_mistake, read_yaml, shown, write_whole, writing
from helpers.templates import render

TEMPLATE = Path(__file__).with_name("model_card.md.j2")
CARD, NOTES, EVALUATION = "README.md", "card.yaml", "evaluation.json"
#: Lines of the log that are shown, at most.
CURVE_LINES = 12


class Stage(BaseModel):
    """An earlier stage of the training; the next one continued from its result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str
    """Of ``data/training.yaml``; its log is ``stages/<preset>/training_log.jsonl`` in the model's folder."""
    steps: int = Field(gt=0)
    note: str = ""
    """What the preset does not say: where it was cut, on what it ran."""


class Notes(BaseModel):
    """``card.yaml``: what only a person can say about a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str = "cpu"
    """Of ``data/training.yaml``; a ``training.pt`` beside the model knows better."""
    seed: int = 0
    processes: int = 1
    trained: datetime.date
    trained_on: str
    """The machine, and what else ran on it."""
    stages: list[Stage] = []
    """Earlier ones, the first to begin with first."""
    weaknesses: list[str] = Field(min_length=1)
    remarks: list[str] = []
    """Paragraphs for the recipe."""


def read_notes(folder: Path) -> Notes:
    """``card.yaml`` of a model's folder.

    Raises:
        CourseError: missing, not YAML, or a key that is unknown, missing or wrong; the message names it.
    """
    path = Path(folder) / NOTES
    if not path.is_file():
        raise CourseError(
            f"There is no {NOTES} in {shown(path.parent)}.",
            "the card also says what nobody can measure",
            "write it, with the keys preset, trained (a date), trained_on (the machine) and weaknesses (a list)",
        )
    try:
        return Notes(**read_yaml(path))
    except (ValidationError, TypeError) as error:
        raise CourseError(f"{shown(path)} cannot be used.", first_mistake(error), "fix that key") from None


def write_card(folder: Path, evaluation: dict[str, Any] | None = None) -> Path:
    """Write ``README.md`` into a model's folder, and say where.

    Args:
        folder: of the model; its ``config.json``, ``training_log.jsonl`` and ``card.yaml`` are read, and
            ``training.pt`` if it is there.

    Raises:
        CourseError: one of these files is missing or wrong, or the measurement is of other weights than the folder's.
    """
    folder = Path(folder)
    text = render(TEMPLATE, **_facts(folder, evaluation or _read_evaluation(folder)))
    page = folder / CARD
    with writing(page):
        write_whole(page, text.strip() + "\n")
    return page


def _read_evaluation(folder: Path) -> dict[str, Any]:
    path = folder / EVALUATION
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise CourseError(
            f"There is no readable {EVALUATION} in {shown(folder)}.",
            "the model has not been measured",
            f"measure it: python -m course evaluate-tiny --model {folder} --out {path}",
        ) from None


def _facts(folder: Path, evaluation: dict[str, Any]) -> dict[str, Any]:
    """Everything that the template shows."""
    from toolkit.tiny_model.agreement import as_text
    from toolkit.tiny_model.evaluation import as_markdown, describe_model
    from toolkit.tiny_model.held_out import TASKS
    from toolkit.tiny_model.training_log import LOG_FILE, read_log
    from toolkit.toyworld import foreign

    notes = read_notes(folder)
    model = describe_model(folder)
    if "model" not in evaluation or evaluation["model"]["sha256"] != model["sha256"]:
        raise CourseError(
            f"{EVALUATION} is not about the model in {shown(folder)}.",
            "the weights changed after they were measured",
            "measure them again",
        )
    log = read_log(folder)
    if not log:
        raise CourseError(f"There is no {LOG_FILE} in {shown(folder)}.", "", "copy it there from the training")
    scores, agreement = evaluation["scores"], evaluation.get("agreement")
    items = evaluation["setting"]["items_per_task"]
    unparsed = {name: score["unparsed"] for name, score in scores.items() if score.get("unparsed")}
    cut_off = {task: record["cut_off"] for task, record in evaluation["tasks"].items() if record["cut_off"]}
    return {
        "model": model,
        "megabytes": (folder / "model.safetensors").stat().st_size / 1e6,
        "examples": _examples(),
        "refusal": foreign.ANSWER,
        "foreign": scores.get("foreign images, says it can't tell"),
        "refused": scores.get("scenes, wrongly says it can't tell"),
        "notes": notes,
        "world": _world(),
        "last": log[-1],
        "curve": curve(log),
        "scores": as_markdown(evaluation),
        "targets": targets_reached(scores),
        "unmeasured": ", ".join(task for task in TASKS if task not in evaluation["tasks"]),
        "unparsed": ", ".join(f"{count} of {items} ({name})" for name, count in unparsed.items()),
        "cut_off": ", ".join(f"{count} ({task})" for task, count in cut_off.items()),
        "says_yes": scores.get("question, is there (POPE), says yes"),
        "agreement": agreement,
        "agreement_text": as_text(agreement).replace("\n", "\n\n") if agreement else "",
        **_shape(json.loads((folder / "config.json").read_text(encoding="utf-8"))),
        **_training(folder, notes, model["family"], log[-1]["step"]),
        **{key: evaluation[key] for key in ("setting", "versions", "machine", "date", "minutes", "command")},
    }


def targets_reached(scores: dict[str, Any]) -> str:
    """Which targets are reached and which are missed, by name."""
    named: dict[bool, list[str]] = {True: [], False: []}
    for name, score in scores.items():
        if "reached" in score:
            named[score["reached"]].append(name)
    total = len(named[True]) + len(named[False])
    if not total:
        return ""
    if not named[False]:
        return f"All {total} are reached."
    return f"Reached are {len(named[True])} of {total}; missed are: {'; '.join(named[False])}."


def curve(log: list[dict[str, Any]]) -> str:
    """The learning curve as a Markdown table: some lines of the log, evenly spread, the last among them."""
    from toolkit.tiny_model.scoring import WORDS

    columns = {title: key for title, key in WORDS["curve"].items() if key in log[-1]}
    lines = [
        "| minutes | steps | examples | training loss | " + " | ".join(columns) + " |",
        "| ---: |" + " ---: |" * (3 + len(columns)),
    ]
    count = min(CURVE_LINES, len(log))
    for number in range(1, count + 1):
        line = log[round(number * len(log) / count) - 1]
        values = [f"{line['minutes']:.0f}", f"{line['step']:,}", f"{line['examples']:,}", f"{line['loss']:.3f}"]
        values += [f"{line[key]:.3f}" if key in line else "" for key in columns.values()]
        lines.append("| " + " | ".join(values) + " |")
    return "\n".join(lines)


# ---------------------------------------------------------------- the model and its world


def _shape(config: dict[str, Any]) -> dict[str, Any]:
    """Text model and vision tower, in the words of both families."""
    text, vision = config["text_config"], config["vision_config"]
    # Qwen2-VL calls the tower's own width embed_dim, and hidden_size what its merger gives.
    width = vision.get("embed_dim", vision["hidden_size"])
    return {
        "config": config,
        "text": text | {"head_dim": text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]},
        "vision": {"intermediate_size": width * vision.get("mlp_ratio", 0), **vision, "width": width},
        "rope": text.get("rope_parameters") or {},
        "deepstack": [index + 1 for index in vision.get("deepstack_visual_indexes", ())],
    }


def _examples() -> list[tuple[str, str]]:
    """Request and right answer of a held-out item of each task of the toy world, fit for a cell of a table."""
    from toolkit.tiny_model.dataset import TASKS
    from toolkit.tiny_model.held_out import held_out
    from toolkit.toyworld import foreign

    items = [held_out(task, 0)[0] for task in TASKS if task not in foreign.TASKS]
    return [(_cell(item.request), _cell(item.accepted[0])) for item in items]


def _cell(text: str) -> str:
    return f"`{text}`".replace("\n", "` / `").replace("|", "\\|")


def _world() -> dict[str, Any]:
    from helpers.media import SAMPLED_FPS
    from toolkit.toyworld import clips, foreign, items, receipt_drawing, receipts, scenes, sentences

    modules = {"clips": clips, "foreign": foreign, "seeds": items, "receipts": receipts, "scenes": scenes}
    return modules | {"drawing": receipt_drawing, "sentences": sentences, "fps": SAMPLED_FPS}


# ---------------------------------------------------------------- the training


def _training(folder: Path, notes: Notes, family: str, steps: int) -> dict[str, Any]:
    """The recipe: from the training's saved state, else from the notes."""
    from toolkit.tiny_model.checkpoint import STATE_FILE, read_state
    from toolkit.tiny_model.optimizers import ADAM_BETAS, MAX_GRADIENT_NORM, MIN_LR_FACTOR
    from toolkit.tiny_model.presets import Preset, find_preset

    preset, seed, processes = find_preset(notes.preset), notes.seed, notes.processes
    if (folder / STATE_FILE).is_file():
        run = read_state(folder / STATE_FILE)["run"]
        preset, seed, processes = Preset(**run["preset"]), run["seed"], run["processes"]

    def command(preset: Preset, steps: int, continues: bool) -> str:
        text = f"python -m course train --family {family} --preset {preset.name} --out DIR"
        text += " --start-from THE-STAGE-BEFORE" if continues else ""
        text += f" --seed {seed}" if seed else ""
        return text + (f" --steps {steps}" if steps != preset.steps else "")

    earlier = [(find_preset(stage.preset), stage) for stage in notes.stages]
    return {
        "preset": preset,
        "seed": seed,
        "batch_size": preset.batch_size * processes,
        "apart": any(phase.apart for phase in preset.phases),
        "train_command": command(preset, steps, bool(earlier)),
        "stages": [(command(own, stage.steps, n > 0), stage.note) for n, (own, stage) in enumerate(earlier)],
        "adam_betas": ADAM_BETAS,
        "max_gradient_norm": MAX_GRADIENT_NORM,
        "min_lr_factor": MIN_LR_FACTOR,
    }

"""The model card: written from what was measured, the training's log, the preset and a few words of a person."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from helpers.errors import CourseError
from helpers.files import first_mistake, read_yaml, shown, write_whole
from helpers.templates import render

if TYPE_CHECKING:
    from toolkit.tiny_model.presets import Preset

TEMPLATE = Path(__file__).with_name("model_card.md.j2")
CARD, NOTES, EVALUATION = "README.md", "card.yaml", "evaluation.json"
#: At most so many lines of the log are shown.
CURVE_LINES = 12
#: Title of a column of the learning curve, and the field of the log.
CURVE = {
    "describe scene": "scene_exact",
    "scene JSON": "scene_json_exact",
    "is there": "scene_exists_exact",
    "read receipt": "receipt_exact",
    "receipt JSON": "receipt_json_exact",
    "describe clip": "clip_exact",
    "intention": "clip_intention_exact",
    "reverse": "sentence_exact",
    "foreign": "foreign_exact",
}


class Stage(BaseModel):
    """An earlier stage of the training; the next one went on from its result."""

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
        raise CourseError(f"{shown(path)} cannot be used.", first_mistake(error), "mend that key") from None


def write_card(folder: Path, evaluation: dict[str, Any] | None = None) -> Path:
    """Write ``README.md`` into a model's folder, and say where.

    Args:
        folder: of the model; its ``config.json``, ``training_log.jsonl`` and ``card.yaml`` are read, and
            ``training.pt`` if it is there.
        evaluation: what was measured; default: the folder's ``evaluation.json``.

    Raises:
        CourseError: one of these files is missing or wrong, or the measurement is of other weights than the folder's.
    """
    folder = Path(folder)
    text = render(TEMPLATE, **_facts(folder, evaluation or _read_evaluation(folder)))
    page = folder / CARD
    try:
        write_whole(page, text.strip() + "\n")
    except OSError as error:
        raise CourseError(f"Cannot write {shown(page)}: {error.strerror}.", "a read-only or full disk") from None
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
    from toolkit.tiny_model.presets import find_preset
    from toolkit.tiny_model.training_log import read_log
    from toolkit.toyworld import foreign

    notes = read_notes(folder)
    model = describe_model(folder)
    if "model" not in evaluation or evaluation["model"]["sha256"] != model["sha256"]:
        raise CourseError(
            f"{EVALUATION} is not about the model in {shown(folder)}.",
            "the weights changed after they were measured",
            "measure them again",
        )
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    log = read_log(folder)
    if not log:
        raise CourseError(f"There is no training_log.jsonl in {shown(folder)}.", "", "copy it there from the training")
    preset, seed, processes = _run(folder, notes)
    scores = evaluation["scores"]
    agreement = evaluation.get("agreement")
    return {
        "title": f"tiny-{model['family']}",
        "model": model,
        "release": {"qwen3-vl": "Qwen3-VL", "qwen2-vl": "Qwen2-VL"}[model["family"]],
        "megabytes": (folder / "model.safetensors").stat().st_size / 1e6,
        "stock_class": config["architectures"][0],
        "traits": _traits(config),
        "vocabulary": config["text_config"]["vocab_size"],
        "examples": _examples(),
        "refusal": foreign.ANSWER,
        "foreign": scores.get("foreign pictures, says it can't tell"),
        "refused": scores.get("scenes, wrongly says it can't tell"),
        "share": lambda score: f"{score['value']:.1%} ({score['of']} items)",
        "notes": notes,
        "world": _world(),
        "train_command": _train_command(model["family"], preset, seed, log[-1]["step"], bool(notes.stages)),
        "stages": [
            (_train_command(model["family"], find_preset(stage.preset), seed, stage.steps, number > 0), stage.note)
            for number, stage in enumerate(notes.stages)
        ],
        "recipe": _recipe(config, preset, seed, processes, notes, log[-1]),
        "phases": [_phase(phase) for phase in preset.phases],
        "apart": _any_apart(preset),
        "held_out_items": preset.held_out_items,
        "held_out_items_at_end": preset.held_out_items_at_end,
        "curve": curve(log),
        **{key: evaluation[key] for key in ("setting", "versions", "machine", "date", "minutes", "command")},
        "scores": as_markdown(evaluation),
        "targets": verdict(scores),
        "unmeasured": ", ".join(task for task in TASKS if task not in evaluation["tasks"]),
        "unparsed": ", ".join(
            f"{score['unparsed']} of {evaluation['setting']['items_per_task']} ({name})"
            for name, score in scores.items()
            if score.get("unparsed")
        ),
        "cut_off": ", ".join(
            f"{record['cut_off']} ({task})" for task, record in evaluation["tasks"].items() if record["cut_off"]
        ),
        "says_yes": scores.get("question, is there (POPE), says yes"),
        "agreement": agreement,
        "agreement_text": as_text(agreement).replace("\n", "\n\n") if agreement else "",
    }


def verdict(scores: dict[str, Any]) -> str:
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
    columns = {title: key for title, key in CURVE.items() if key in log[-1]}
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


def _traits(config: dict[str, Any]) -> str:
    text, vision = config["text_config"], config["vision_config"]
    rope = text.get("rope_parameters") or {}
    parts = [f"{'interleaved ' if rope.get('mrope_interleaved') else ''}M-RoPE"]
    if "deepstack_visual_indexes" in vision:
        parts += ["deepstack", "textual timestamps"]
    merge = vision["spatial_merge_size"]
    return ", ".join([*parts, f"patches of {vision['patch_size']} pixels merged {merge} × {merge}"])


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
    from toolkit.toyworld import clips, foreign, items, receipts, scenes, sentences

    return {
        "scene_side": scenes.SIZE,
        "subjects": len(scenes.KINDS),
        "places": len(scenes.PLACES),
        "receipt_width": receipts.WIDTH,
        "receipt_height": receipts.TALLEST,
        "shops": len(receipts.SHOPS),
        "goods": len(receipts.GOODS),
        "typefaces": len(receipts.TYPEFACES),
        "clip_side": clips.SIZE,
        "fps": SAMPLED_FPS,
        "longest": sentences.LONGEST[max(sentences.LONGEST)],
        "looks": ", ".join(foreign.LOOKS),
        "validation_seed": items.VALIDATION_SEED,
        "sample_seed": items.SAMPLE_SEED,
    }


# ---------------------------------------------------------------- the training


def _run(folder: Path, notes: Notes) -> tuple[Preset, int, int]:
    """Preset, seed and number of processes of the training: from its saved state, else from the notes."""
    from toolkit.tiny_model.checkpoint import STATE_FILE
    from toolkit.tiny_model.presets import Preset, find_preset

    if not (folder / STATE_FILE).is_file():
        return find_preset(notes.preset), notes.seed, notes.processes
    import torch

    run = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)["run"]
    return Preset(**run["preset"]), run["seed"], run["processes"]


def _train_command(family: str, preset: Preset, seed: int, steps: int, goes_on: bool) -> str:
    command = f"python -m course train --family {family} --preset {preset.name} --out DIR"
    command += " --start-from THE-STAGE-BEFORE" if goes_on else ""
    command += f" --seed {seed}" if seed else ""
    return command + (f" --steps {steps}" if steps != preset.steps else "")


def _recipe(
    config: dict[str, Any], preset: Preset, seed: int, processes: int, notes: Notes, last: dict[str, Any]
) -> list[tuple[str, str]]:
    from toolkit.tiny_model.optimizers import ADAM_BETAS, MAX_GRADIENT_NORM, MIN_LR_FACTOR

    text, vision = config["text_config"], config["vision_config"]
    heads = text["num_attention_heads"]
    head = text.get("head_dim") or text["hidden_size"] // heads
    # Qwen2-VL calls the tower's own width embed_dim, and hidden_size what its merger gives.
    wide = vision.get("embed_dim", vision["hidden_size"])
    mlp = vision.get("intermediate_size") or wide * vision["mlp_ratio"]
    layers = [str(index + 1) for index in vision.get("deepstack_visual_indexes", ())]
    deepstack = f", deepstack after layers {', '.join(layers)}" if layers else ""
    return [
        (
            "text",
            f"hidden {text['hidden_size']}, {text['num_hidden_layers']} layers, {heads} query and "
            f"{text['num_key_value_heads']} KV heads of {head}, MLP {text['intermediate_size']}, "
            f"{'tied' if config.get('tie_word_embeddings') else 'untied'} embeddings, "
            f"context {text['max_position_embeddings']:,}",
        ),
        ("vision", f"hidden {wide}, {vision['depth']} layers, {vision['num_heads']} heads, MLP {mlp}{deepstack}"),
        (
            "optimizers",
            f"Muon (peak {preset.muon_learning_rate:g}, weight decay {preset.muon_weight_decay:g}) for the matrices of "
            f"blocks, layers and mergers; AdamW (peak {preset.learning_rate:g}, weight decay {preset.weight_decay:g}, "
            f"betas {ADAM_BETAS[0]:g} and {ADAM_BETAS[1]:g}) for the rest; gradient norm {MAX_GRADIENT_NORM:g}",
        ),
        ("schedule", f"{preset.warm_up_steps:,} steps of warm-up, then a cosine to {MIN_LR_FACTOR:.0%} of the peak"),
        (
            "seen",
            f"{last['examples']:,} {'examples' if _any_apart(preset) else 'conversations'} in "
            f"{last['step']:,} steps of {preset.batch_size * processes}, "
            f"no example twice{' within the last stage' if notes.stages else f'; weights from seed {seed}'}",
        ),
        (
            "time",
            f"{last['minutes']:.0f} minutes, drawing and held-out measuring included, on {notes.trained_on}; "
            f"{notes.trained}",
        ),
    ]


def _any_apart(preset: Preset) -> bool:
    """Whether some examples are more than one conversation."""
    return any(phase.apart for phase in preset.phases)


def _phase(phase: Any) -> dict[str, str]:
    def listed(weights: dict[Any, float]) -> str:
        return ", ".join(f"{name} ({weight:g})" for name, weight in weights.items())

    return {
        "until": f"{phase.until:.0%}",
        "mixture": listed(phase.mixture),
        "difficulty": listed(phase.difficulty),
        "sides": listed(phase.sides),
        "apart": f"{phase.apart:.0%}",
    }

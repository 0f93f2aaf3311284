"""Launch recipes (``data/recipes.yaml``): read, checked, and the one chosen that does what is wanted on given cards."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from helpers.files import COURSE_ROOT, read_entries, read_yaml
from helpers.model_facts import ModelFacts
from helpers.profiles import FORBIDDEN_ARGUMENTS
from toolkit.planner.estimates import batch_defaults
from toolkit.planner.hardware import GpuSpec
from toolkit.planner.lora_slots import NO_ADAPTERS, LoraSlots
from toolkit.planner.memory import EngineSettings, MemoryPlan, Workload, plan_memory
from toolkit.planner.parallel import Layout

RECIPES_FILE = COURSE_ROOT / "data" / "recipes.yaml"
LOCALHOST = "127.0.0.1"
PORT = 8000
#: Inside a container, whose port is published on purpose.
EVERYWHERE = "0.0.0.0"  # noqa: S104
#: vLLM's own limit of images and of videos in a prompt, where nobody sets one (``MultiModalConfig``).
NO_LIMIT = 999
Weights = Literal["bf16", "fp8", "awq"]
#: A format of weights in a recipe -> its name in `toolkit.planner.weights`.
PLANNED_AS: dict[Weights, str] = {"bf16": "bfloat16", "fp8": "fp8", "awq": "awq"}
#: Formats that a family was released in, besides BF16, with what the checkpoint's name ends in.
RELEASED: dict[str, dict[Weights, str]] = {
    "qwen3-vl": {"fp8": "-FP8"},
    "qwen2.5-vl": {"awq": "-AWQ"},
    "qwen2-vl": {"awq": "-AWQ"},
}


class RecipeState(BaseModel):
    """Whether anybody has run a recipe: where, when and with which version; why not, or why it failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    is_: Literal["verified", "failing", "untested"] = Field(alias="is")
    where: str = ""
    when: str = ""
    version: str = ""
    reason: str = ""

    @model_validator(mode="after")
    def _has_evidence(self) -> Self:
        needed = {"verified": ("where", "when", "version"), "failing": ("where", "when", "version", "reason")}
        for name in needed.get(self.is_, ("reason",)):
            if not getattr(self, name):
                raise ValueError(f"'{self.is_}' needs '{name}'")
        return self


class Recipe(BaseModel):
    """One launch; the fields are explained in ``data/recipes.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    gpus: tuple[str, ...] = Field(min_length=1)
    count: int = Field(ge=1)
    model: str
    weights: Weights
    checkpoint: str
    flags: tuple[str, ...]
    environment: dict[str, str] = {}
    why: dict[str, str]
    trades: str
    differs: tuple[str, ...] = ()
    source: str = Field(pattern=r"^(https://\S+|computed)$")
    state: RecipeState

    @field_validator("flags")
    @classmethod
    def _no_flag_of_the_course(cls, flags: tuple[str, ...]) -> tuple[str, ...]:
        for flag in flags:
            name = flag.split()[0].split("=")[0].split(".")[0] if flag.strip() else flag
            if not name.startswith("--"):
                raise ValueError(f"'{flag}' does not begin with '--'")
            if name.removeprefix("--").replace("-", "_") in FORBIDDEN_ARGUMENTS:
                raise ValueError(f"'{name}' is set by the course, or never")
        return flags

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        names = [*(words[0] for words in self._split()), *self.environment]
        if missing := [name for name in names if not self.why.get(name)]:
            raise ValueError(f"'{missing[0]}' has no reason")
        if unused := sorted(set(self.why) - set(names)):
            raise ValueError(f"a reason is given for '{unused[0]}', which is not used")
        degree = self.value("--tensor-parallel-size", int) or 1
        if degree != self.count:
            raise ValueError(f"{self.count} GPUs, but --tensor-parallel-size {degree}")
        return self

    @property
    def words(self) -> list[str]:
        """The flags as the arguments of a process."""
        return [word for words in self._split() for word in words]

    @property
    def context(self) -> int | None:
        """``--max-model-len`` in tokens; None where the model's own context counts."""
        return self.value("--max-model-len", int)

    @property
    def sequences(self) -> int | None:
        """``--max-num-seqs``; None where vLLM's default counts."""
        return self.value("--max-num-seqs", int)

    @property
    def most_pixels(self) -> int | None:
        """What images are scaled down to; None where the processor's own limit counts."""
        settings = self.value("--mm-processor-kwargs", json.loads) or {}
        return settings.get("images_kwargs", {}).get("size", {}).get("longest_edge")

    def most(self, modality: str) -> int:
        """How many items of a modality, 'image' or 'video', a prompt may hold."""
        if "--language-model-only" in self.words:
            return 0
        limit = (self.value("--limit-mm-per-prompt", json.loads) or {}).get(modality, NO_LIMIT)
        return limit["count"] if isinstance(limit, dict) else limit

    def launch(self) -> Launch:
        """What is to be started."""
        return Launch(self.checkpoint, tuple(self.words), dict(self.environment), self.count, self.vendor)

    @property
    def vendor(self) -> Literal["nvidia", "amd"]:
        """Whose cards it is for."""
        return vendor_of(self.gpus[0])

    def value(self, flag: str, read: Callable[[str], Any] = str) -> Any:
        """A flag's value, read by ``read``; None if the recipe does not have the flag."""
        text = next((words[1] for words in self._split() if words[0] == flag and len(words) > 1), None)
        return None if text is None else read(text)

    def _split(self) -> list[list[str]]:
        return [shlex.split(flag) for flag in self.flags]


@dataclass(frozen=True)
class Launch:
    """A checkpoint with everything that its server is started with, on any of the ways to start it."""

    checkpoint: str
    """Repository on a hub."""
    flags: tuple[str, ...] = ()
    """Of ``vllm serve``, as words, without model, address, port and key."""
    environment: Mapping[str, str] = field(default_factory=dict)
    gpus: int = 1
    vendor: Literal["nvidia", "amd"] = "nvidia"

    def command(self, model: str | None = None, host: str = LOCALHOST, port: int = PORT) -> list[str]:
        """``vllm serve`` as the arguments of a process.

        Args:
            model: a folder to load from, while clients still name the checkpoint; None: the checkpoint itself.
            host: address to listen on.
        """
        served = ["--served-model-name", self.checkpoint] if model else []
        address = ["--host", host, "--port", str(port)]
        return ["vllm", "serve", model or self.checkpoint, *served, *address, *self.flags]

    def shell(self) -> str:
        """What a person types on a machine of their own. The key is not a flag: everybody on the machine sees those."""
        key = 'export VLLM_API_KEY="$(openssl rand -hex 32)"  # clients send it\n'
        assignments = "".join(f"{name}={shlex.quote(value)} \\\n" for name, value in self.environment.items())
        return key + assignments + in_lines(self.command())


def load_recipes(path: Path = RECIPES_FILE) -> dict[str, Recipe]:
    """The recipes by name, in the file's order.

    Raises:
        CourseError: the file is missing or broken, a flag has no reason, or a claim no evidence; the message names the
            recipe and the key.
    """
    data = read_yaml(path)
    shared = {key: data.get(key) or {} for key in ("reasons", "environment")}
    return read_entries(path, "recipe", partial(_build, shared))


def common_environment() -> dict[str, str]:
    """Variables that every recipe has, and any other launch should have."""
    return dict(read_yaml(RECIPES_FILE).get("environment") or {})


def foreign_variables() -> dict[str, str]:
    """Variables that recipes may set although vLLM's list lacks them, each with who reads it."""
    return dict(read_yaml(RECIPES_FILE).get("foreign_variables") or {})


def with_parsers(launch: Launch, thinking: bool, tools: bool) -> tuple[Launch, tuple[str, ...]]:
    """The launch with the parsers that an edition and its use need, and a line about each."""
    parsers = read_yaml(RECIPES_FILE)["parsers"]
    needed = [parsers[name] for name, wanted in (("thinking", thinking), ("tools", tools)) if wanted]
    words = [word for parser in needed for flag in parser["flags"] for word in flag.split()]
    notes = tuple(f"{' '.join(parser['flags'])}: {parser['why']}." for parser in needed)
    return replace(launch, flags=(*launch.flags, *words)), notes


def with_adapters(launch: Launch, workload: Workload) -> tuple[Launch, tuple[str, ...]]:
    """The launch with the flags that the workload's LoRA adapters need, and a line about each."""
    if not (slots := workload.slots).count:
        return launch, ()
    known = read_yaml(RECIPES_FILE)["adapters"]
    needed = [known["lora"], *([known["tower"]] if slots.tower else [])]
    words = [word for adapters in needed for word in adapters["flags"]]
    words += ["--max-loras", str(slots.count), "--max-lora-rank", str(slots.rank)]
    notes = tuple(f"{' '.join(adapters['flags'])}: {adapters['why']}." for adapters in needed)
    return replace(launch, flags=(*launch.flags, *words)), notes


def fitting_recipes(
    recipes: Mapping[str, Recipe],
    gpu: GpuSpec,
    count: int,
    facts: ModelFacts,
    workload: Workload,
    weights: Weights | None = None,
) -> list[Recipe]:
    """The recipes for these GPUs and this model that serve the workload, the preferred one first.

    ``weights=None``: any format, first the one of the first recipe that is listed, which suits the GPUs best. Of one
    format, a recipe that refuses the videos or images that are not wanted comes first.
    Whether the KV cache also holds the context for all users is for the plan to say.
    """
    sequences = batch_defaults(gpu)[1]
    fitting = [
        recipe
        for recipe in recipes.values()
        if gpu.name in recipe.gpus
        and (recipe.count, recipe.model, weights or recipe.weights) == (count, facts.name, recipe.weights)
        and (workload.context or 0) <= (recipe.context or facts.context)
        and (workload.images or 0) <= recipe.most("image")
        and (not workload.video or recipe.most("video") > 0)
        and (workload.users or 0) <= (recipe.sequences or sequences)
    ]
    unwanted = [name for name, value in (("video", workload.video), ("image", workload.images)) if value in (0, False)]
    return sorted(
        fitting,
        key=lambda recipe: (
            recipe.weights != fitting[0].weights,
            sum(recipe.most(name) > 0 for name in unwanted),
        ),
    )


def surplus(recipe: Recipe, workload: Workload, context: int) -> tuple[list[str], list[str]]:
    """What a recipe serves beyond a workload, in words, and the flags that hold it to that; both may be empty.

    vLLM takes the last of two equal flags, so these belong at the end of the recipe's command. ``context`` is the
    model's own, in tokens.
    """
    words, flags = [], []
    longest = recipe.context or context
    if workload.context is not None and workload.context < longest:
        words.append(f"contexts up to {longest:,} tokens")
        flags += ["--max-model-len", str(workload.context)]
    limits = {}
    if workload.images is not None and workload.images < (most := recipe.most("image")):
        words.append("any number of images" if most == NO_LIMIT else f"{most} images")
        limits["image"] = workload.images
    if workload.video is False and recipe.most("video"):
        words.append("videos")
        limits["video"] = 0
    if limits:
        limits = (recipe.value("--limit-mm-per-prompt", json.loads) or {}) | limits
        flags += ["--limit-mm-per-prompt", json.dumps(limits)]
    return words, flags


def plan_recipe(recipe: Recipe, facts: ModelFacts, gpu: GpuSpec, slots: LoraSlots = NO_ADAPTERS) -> MemoryPlan:
    """The memory that a recipe takes on one of its GPUs, with the facts of its model.

    Raises:
        CourseError: as `toolkit.planner.memory.plan_memory`.
    """
    if "VLLM_ALLOW_LONG_MAX_MODEL_LEN" in recipe.environment:  # positions are stretched
        facts = replace(facts, context=recipe.context or facts.context)
    return plan_memory(
        facts,
        gpu,
        recipe.count,
        weights=PLANNED_AS[recipe.weights],
        layout=Layout(
            tensor_parallel=recipe.count,
            expert_parallel="--enable-expert-parallel" in recipe.words,
            whole_vision=recipe.value("--mm-encoder-tp-mode") == "data",
        ),
        workload=Workload(
            context=recipe.context,
            images=recipe.most("image"),
            video=recipe.most("video") > 0,
            users=recipe.sequences,
            slots=slots,
        ),
        engine=EngineSettings(
            utilization=recipe.value("--gpu-memory-utilization", float) or EngineSettings.utilization,
            max_pixels=recipe.most_pixels,
        ),
    )


def vendor_of(gpu: str) -> Literal["nvidia", "amd"]:
    """Whose card it is, by its name: AMD's are called MI300X, MI355X, Radeon."""
    return "amd" if re.search(r"\bMI\d{3}|radeon|instinct", gpu, re.IGNORECASE) else "nvidia"


def format_of(checkpoint: str) -> str:
    """Format of a checkpoint's weights, by how its name ends, as `toolkit.planner.weights` calls it."""
    endings = {ending.lower(): weights for released in RELEASED.values() for weights, ending in released.items()}
    found = [weights for ending, weights in endings.items() if checkpoint.lower().rstrip("/").endswith(ending)]
    return PLANNED_AS[found[0] if found else "bf16"]


def in_lines(words: Sequence[str]) -> str:
    """A command for a shell, one option with its value on a line."""
    lines: list[list[str]] = [[]]
    for word in words:
        if word.startswith("-") and lines[-1]:
            lines.append([])
        lines[-1].append(word)
    return " \\\n  ".join(shlex.join(line) for line in lines)


def _build(shared: dict[str, dict[str, Any]], **fields: Any) -> Recipe:
    environment = {**shared["environment"], **(fields.get("environment") or {})}
    used = {str(flag).split()[0] for flag in fields.get("flags") or [] if str(flag).split()} | set(environment)
    reasons = {name: reason for name, reason in shared["reasons"].items() if name in used}
    why = {**reasons, **(fields.get("why") or {})}
    return Recipe(**{**fields, "environment": environment, "why": why})

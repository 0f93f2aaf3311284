"""What to start on given GPUs: a recipe where one is about them, else flags that follow from the memory plan."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from helpers.errors import CourseError
from helpers.model_facts import ModelFacts, find_model_facts
from toolkit.planner.hardware import GpuSpec, as_gpu
from toolkit.planner.manifests import compose, compose_text, docker_run, kubernetes, kubernetes_text
from toolkit.planner.memory import GIB, EngineSettings, MemoryPlan, Workload
from toolkit.planner.options import best_layout, suggestions
from toolkit.planner.parallel import Layout
from toolkit.planner.recipes import (
    PLANNED_AS,
    RELEASED,
    Launch,
    Recipe,
    Weights,
    common_environment,
    fitting_recipes,
    load_recipes,
    plan_recipe,
    surplus,
    vendor_of,
    with_adapters,
    with_parsers,
)
from toolkit.planner.weights import stage_weights

#: What a composed command allows in a prompt where nothing is asked for.
IMAGES = 4
#: A context shorter than this is not chosen without being asked for.
SHORTEST_CONTEXT = 8192
#: More cards than that are no plan but a typing mistake.
MOST_CARDS = 1024
#: A checkpoint that nobody has released under Qwen's name.
OWN = "YOUR-ORGANISATION"
#: What suggestions change -> the option of ``course plan`` for it.
OPTIONS = {
    "max_model_len": "--context",
    "max_num_seqs": "--max-num-seqs",
    "max_num_batched_tokens": "--max-num-batched-tokens",
    "kv_cache": "--kv-cache-dtype",
    "max_pixels": "--max-pixels",
    "weights": "--weights",
    "count": "--count",
}


@dataclass(frozen=True)
class Recommendation:
    """A plan for some GPUs, and what to start there."""

    model: str
    recipe: Recipe | None
    """None: flags were composed from the plan."""
    plan: MemoryPlan
    launch: Launch | None
    """None: it does not fit."""
    weights_gib: float
    """Of the whole checkpoint."""
    notes: tuple[str, ...] = ()
    """Where the recipe is not just what was asked for."""

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON data: the command as words, manifests as mappings, ``docker run`` as lines of a shell."""
        plan, launch = self.plan, self.launch
        return {
            "model": self.model,
            "gpu": plan.setup.gpu.name,
            "count": plan.setup.count,
            "recipe": self.recipe and self.recipe.model_dump(by_alias=True, mode="json"),
            "notes": list(self.notes),
            "fits": plan.fits,
            "verdict": plan.describe(),
            "memory": plan.rows(),
            "kv_cache_tokens": plan.kv_cache_tokens,
            "largest_context": plan.largest_context,
            "requests_of_full_length": plan.concurrent_requests(),
            "suggestions": [suggestion.change for suggestion in suggestions(plan)],
            "command": launch and launch.command(),
            "environment": launch and dict(launch.environment),
            "docker": launch and docker_run(launch),
            "compose": launch and compose(launch),
            "kubernetes": launch and kubernetes(launch, self.weights_gib),
        }

    def as_text(self, users: int | None = None) -> str:
        """The same for people."""
        plan, launch = self.plan, self.launch
        rows = plan.rows()
        width = max(len(row["part"]) for row in rows)
        parts = ["\n".join(f"{row['part']:<{width}}  {row['GiB']:>7.2f} GiB" for row in rows), plan.describe()]
        if users and plan.fits:
            parts.append(_about_users(plan, users))
        if not plan.fits:
            parts.append(self._changes())
        if launch:
            sections = {
                "On this machine": launch.shell(),
                "In a container": docker_run(launch),
                "compose.yaml": compose_text(launch),
                "kubernetes.yaml": kubernetes_text(launch, self.weights_gib),
            }
            parts.append("\n".join([self._origin(), *self.notes]))
            parts += [f"== {title}\n{text.rstrip()}" for title, text in sections.items()]
        return "\n\n".join(parts)

    def _changes(self) -> str:
        found = suggestions(self.plan)
        if not found:
            return "No single change makes it fit."
        return "\n".join(["It would fit with:", *(f"  - {one.change}{_options(self.plan, one.plan)}" for one in found)])

    def _origin(self) -> str:
        recipe = self.recipe
        if recipe is None:
            return "No recipe is about this: the flags follow from the plan, and nobody has tried them."
        state = recipe.state
        seen = f"{state.is_} ({state.where}, {state.when}, vLLM {state.version})" if state.where else state.is_
        lines = [
            f"Recipe {recipe.name}: {recipe.title}",
            f"  state: {seen}{f'; {state.reason}' if state.reason else ''}",
        ]
        lines += [f"  {name}: {reason}" for name, reason in recipe.why.items()]
        lines += [f"  gives up: {recipe.trades}", *(f"  differs: {difference}" for difference in recipe.differs)]
        return "\n".join([*lines, f"  source: {recipe.source}"])


def _options(before: MemoryPlan, after: MemoryPlan) -> str:
    """Options of ``course plan`` that make the difference."""
    old, new = before.setup, after.setup
    words = [
        f"{flag} {getattr(new, name)}" for name, flag in OPTIONS.items() if getattr(old, name) != getattr(new, name)
    ]
    words += ["--video no"] if old.video and not new.video else []
    return f" ({' '.join(words)})" if words and old.facts == new.facts else ""


def recommend(
    gpu: GpuSpec | str,
    count: int,
    model: str,
    workload: Workload | None = None,
    weights: Weights | None = None,
    engine: EngineSettings | None = None,
) -> Recommendation:
    """Choose a recipe, or compose flags where none is about these GPUs or options of the engine are given.

    Args:
        gpu: a name, as for `toolkit.planner.find_gpu`, or what that returns.
        model: entry of ``data/models.yaml``, or its Thinking edition.
        weights: 'bf16', 'fp8' or 'awq'; None: what suits the GPUs.

    Raises:
        CourseError: no such GPU, model or format, a count that is none, a context beyond the model's.
    """
    gpu, workload, facts = as_gpu(gpu), workload or Workload(), find_model_facts(model)
    if not 1 <= count <= MOST_CARDS:
        raise CourseError(f"{count:,} cards were refused.", "", f"give 1 to {MOST_CARDS:,}; several machines: Cluster")
    recipes = fitting_recipes(load_recipes(), gpu, count, facts, workload, weights)
    recipes = recipes if engine in (None, EngineSettings()) else []
    plans = [(recipe, plan) for recipe in recipes if (plan := plan_recipe(recipe, facts, gpu, workload.slots)).fits]
    notes: tuple[str, ...] = (f"{gpu.name}: {gpu.note}.",) if gpu.note else ()
    if plans:
        # A plan without a margin is the last resort.
        recipe, plan = min(plans, key=lambda planned: planned[1].narrow)
        notes += _notes(*plans[0], recipe, workload, facts)
        stored, launch = recipe.weights, recipe.launch()
    else:
        recipe, (stored, plan) = None, _composed_plan(gpu, count, facts, workload, weights, engine)
        ending = {"bf16": "", **RELEASED[facts.family]}.get(stored)
        checkpoint = f"{facts.name}{ending}"
        if ending is None:
            checkpoint = f"{OWN}/{facts.name.rpartition('/')[2]}-{stored.upper()}"
            notes += (f"Qwen has not released this model in {stored}: put the name of a checkpoint for {checkpoint}.",)
        launch = Launch(checkpoint, tuple(plan.setup.serve_flags()), common_environment(), count, vendor_of(gpu.name))
    if is_thinking := "-thinking" in model.lower():
        thinking = replace(facts, name=facts.name.replace("-Instruct", "-Thinking"))
        plan = replace(plan, setup=replace(plan.setup, facts=thinking))
        launch = replace(launch, checkpoint=launch.checkpoint.replace("-Instruct", "-Thinking"))
    launch, about_parsers = with_parsers(launch, is_thinking, workload.tools)
    launch, about_adapters = with_adapters(launch, workload)
    notes += about_parsers + about_adapters
    return Recommendation(model, recipe, plan, launch if plan.fits else None, _checkpoint_gib(facts, stored), notes)


def _notes(
    first: Recipe, first_plan: MemoryPlan, recipe: Recipe, workload: Workload, facts: ModelFacts
) -> tuple[str, ...]:
    notes = []
    if first.name != recipe.name:
        spare = f"{first_plan.spare_bytes / GIB:.2f} GiB per GPU"
        notes.append(f"Recipe {first.name} would come first, but it fits only narrowly ({spare} to spare).")
    words, flags = surplus(recipe, workload, facts.context)
    if words:
        notes.append(
            f"{recipe.name} serves more than was asked for: {', '.join(words)}. To have that refused, end the command "
            f"with: {shlex.join(flags)}"
        )
    return tuple(notes)


def _composed_plan(
    gpu: GpuSpec,
    count: int,
    facts: ModelFacts,
    workload: Workload,
    weights: Weights | None,
    engine: EngineSettings | None,
) -> tuple[Weights, MemoryPlan]:
    """The first plan with a margin: BF16 before smaller formats, the whole context before less, the shortest last.

    If none has a margin, the one with the most to spare; if none fits, the whole context in the first format.
    """
    workload = replace(workload, images=IMAGES if workload.images is None else workload.images)

    def plan(stored: Weights, context: int) -> MemoryPlan:
        planned_as = "float16" if stored == "bf16" and not gpu.bfloat16 else PLANNED_AS[stored]
        asked = replace(workload, context=context)
        return best_layout(facts, gpu, count, weights=planned_as, workload=asked, engine=engine)

    def plans(stored: Weights) -> Iterator[MemoryPlan]:
        """With shorter contexts where users or a margin ask for it, then the whole one."""
        whole = plan(stored, workload.context or facts.context)
        if workload.context is None and not whole.problems and (workload.users or not _is_safe(whole)):
            held = (whole.blocks - 1) * whole.block_tokens  # vLLM keeps one block back
            # What is only estimated may turn out twice as large.
            doubt = -(-sum(whole.estimated.values()) * whole.setup.max_model_len // whole.one_request)
            users = -(-(workload.users or 1) // whole.setup.layout.data_parallel)
            for tokens in (held - doubt, held):
                length = tokens // users // 1024 * 1024
                if SHORTEST_CONTEXT <= length < facts.context:
                    yield plan(stored, length)
        yield whole

    formats = _formats(gpu, facts, weights)
    planned = [(stored, candidate) for stored in formats for candidate in plans(stored)]
    if workload.context is None and not any(_is_safe(candidate) for _, candidate in planned):
        planned += [(stored, plan(stored, SHORTEST_CONTEXT)) for stored in formats]
    if safe := next((pair for pair in planned if _is_safe(pair[1])), None):
        return safe
    return max((pair for pair in planned if pair[1].fits), key=lambda pair: pair[1].spare_bytes, default=planned[0])


def _is_safe(plan: MemoryPlan) -> bool:
    return plan.fits and not plan.narrow


def _formats(gpu: GpuSpec, facts: ModelFacts, weights: Weights | None) -> list[Weights]:
    released = RELEASED.get(facts.family, {})
    if weights and weights not in ("bf16", "awq", *released):  # AWQ checkpoints are made by others, too
        raise CourseError(f"{facts.name} was not released in {weights}.", "", "use bf16, awq or a released format")
    if weights:
        return [weights]
    return ["bf16", *(stored for stored in released if stored != "fp8" or gpu.fp8 != "no")]


def _checkpoint_gib(facts: ModelFacts, weights: Weights) -> float:
    return sum(stage_weights(facts, Layout(), PLANNED_AS[weights]).values()) / GIB


def _about_users(plan: MemoryPlan, users: int) -> str:
    copies, together = plan.setup.layout.data_parallel, plan.concurrent_requests()
    if together >= users:
        return f"{users} users: each may use the whole context of {plan.setup.max_model_len:,} tokens at the same time."
    most = min(users, plan.setup.max_num_seqs * copies)
    whom = f"all {users}" if most == users else f"{most}, as many as are answered at once (--max-num-seqs),"
    return (
        f"{users} users: {together} of them may use the whole context at the same time, or {whom} about "
        f"{plan.kv_cache_tokens // -(-most // copies):,} tokens each. Beyond that, requests wait."
    )

"""``python -m course plan``: does it fit, and what starts it, on a machine, in a container or in a cluster."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from helpers.errors import CourseError
from helpers.model_facts import ModelFacts, find_model_facts, load_catalogue
from toolkit.planner.hardware import Gpu, find_gpu, load_gpus
from toolkit.planner.manifests import compose, compose_text, docker_run, kubernetes, kubernetes_text
from toolkit.planner.memory import GIB, MemoryPlan
from toolkit.planner.options import Suggestion, best_layout, suggestions
from toolkit.planner.parallel import Layout
from toolkit.planner.recipes import (
    PLANNED_AS,
    RELEASED,
    Launch,
    Recipe,
    Wanted,
    Weights,
    common_environment,
    fitting_recipes,
    load_recipes,
    plan_recipe,
    surplus,
    vendor_of,
)
from toolkit.planner.weights import stage_weights

#: What a composed command allows in a prompt where nothing is asked for.
PICTURES = 4
#: A context shorter than this is not chosen without being asked for.
SHORTEST_CONTEXT = 8192
#: What suggestions change that this command has no option for.
NO_OPTION = ("kv_cache", "max_pixels", "max_num_batched_tokens", "max_num_seqs")


@dataclass(frozen=True)
class Answer:
    """A plan for some cards, and what to start there."""

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
            "suggestions": [one.change for one in suggestions(plan)],
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
        wide = max(len(row["part"]) for row in rows)
        parts = ["\n".join(f"{row['part']:<{wide}}  {row['GiB']:>7.2f} GiB" for row in rows), plan.describe()]
        if users and plan.fits:
            parts.append(_about_users(plan, users))
        if not plan.fits:
            parts.append(self._changes())
        if launch:
            parts += [
                "\n".join([self._origin(), *self.notes]),
                _section("On this machine", launch.shell()),
                _section("In a container", docker_run(launch)),
                _section("compose.yaml", compose_text(launch)),
                _section("kubernetes.yaml", kubernetes_text(launch, self.weights_gib)),
            ]
        return "\n\n".join(parts)

    def _changes(self) -> str:
        found = suggestions(self.plan)
        if not found:
            return "No single change makes it fit."
        by_flags = next((one for one in found if self._needs_flags(one)), None)
        lines = ["It would fit with:"]
        for one in found:
            lines.append(f"  - {one.change}")
            if one is by_flags:
                flags = shlex.join(one.plan.setup.serve_flags())
                lines.append(f"    (plan has no option for that; flags of vLLM's server: {flags})")
        return "\n".join(lines)

    def _needs_flags(self, one: Suggestion) -> bool:
        return any(getattr(one.plan.setup, name) != getattr(self.plan.setup, name) for name in NO_OPTION)

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
        lines += [f"  gives up: {recipe.trades}", *(f"  differs: {one}" for one in recipe.differs)]
        return "\n".join([*lines, f"  source: {recipe.source}"])


def answer(gpu: Gpu, count: int, model: str, wanted: Wanted | None = None) -> Answer:
    """Choose a recipe, or compose flags where none is about these cards.

    Args:
        gpu: from `toolkit.planner.hardware.find_gpu`.
        count: of cards.
        model: entry of ``data/models.yaml``, as `find_model` gives it.
        wanted: what is to be served.

    Raises:
        CourseError: no such model or format, a count below 1, a context beyond the model's.
    """
    wanted = wanted or Wanted()
    facts = find_model_facts(model)
    if count < 1:
        raise CourseError(f"{count} cards were refused.", "", "give 1 or more")
    recipes = fitting_recipes(load_recipes(), gpu, count, model, wanted, facts.context)
    plans = [(recipe, plan) for recipe in recipes if (plan := plan_recipe(recipe, facts, gpu)).fits]
    if plans:
        # A plan without a margin is the last resort.
        recipe, plan = min(plans, key=lambda one: one[1].narrow)
        notes = _notes(plans, recipe, wanted, facts)
        return Answer(model, recipe, plan, recipe.launch(), _checkpoint_gib(facts, recipe.weights), notes)
    weights, plan = _composed_plan(gpu, count, facts, wanted)
    checkpoint = model + ("" if weights == "bf16" else RELEASED[facts.family][weights])
    launch = Launch(checkpoint, tuple(plan.setup.serve_flags()), common_environment(), count, vendor_of(gpu.name))
    return Answer(model, None, plan, launch if plan.fits else None, _checkpoint_gib(facts, weights))


def find_model(name: str) -> tuple[str, Weights | None]:
    """Entry of ``data/models.yaml`` and, if the name says so, the format: '235b', '30b-a3b', '8b-fp8', a hub id.

    Raises:
        CourseError: unknown, or short for several; with the names that are near.
    """
    asked, weights = name.lower().strip(), None
    for ending in ("fp8", "awq"):
        if asked.endswith(f"-{ending}"):
            asked, weights = asked.removesuffix(f"-{ending}"), ending
    shorts = {_short(model): model for model in load_catalogue()}
    known = {**shorts, **{model.lower(): model for model in shorts.values()}}
    known |= {model.lower().rpartition("/")[2]: model for model in shorts.values()}
    found = {known[asked]} if asked in known else {model for short, model in shorts.items() if short.startswith(asked)}
    if asked and len(found) == 1:
        return found.pop(), weights
    near = sorted(_short(model) for model in found) or get_close_matches(asked, shorts, 3, 0.4) or list(shorts)
    what = f"'{name}' could be several models." if asked and found else f"No model '{name}' is known."
    raise CourseError(what, "it is not in data/models.yaml" if not found else "", f"use one of: {', '.join(near)}")


def own_cards() -> tuple[Gpu, int]:
    """The kind and number of this machine's NVIDIA cards.

    Raises:
        CourseError: none are found, or of several kinds.
    """
    from helpers.machine import ask_nvidia_smi

    smi = ask_nvidia_smi()
    if not smi.gpus:
        raise CourseError("This machine has no NVIDIA GPU to plan for.", smi.problem, "name a card: --gpu H100")
    if len({one.name for one in smi.gpus}) > 1:
        names = ", ".join(sorted({one.name for one in smi.gpus}))
        raise CourseError(f"This machine has cards of several kinds: {names}.", "", "name one with --gpu and --count")
    try:
        return find_gpu(smi.gpus[0].name), len(smi.gpus)
    except CourseError:
        memory = max(smi.gpus[0].memory_gib, 0.1)
        return Gpu(name=smi.gpus[0].name, memory=memory, told_by="nvidia-smi"), len(smi.gpus)


def command(
    gpu: str = "auto",
    count: int | None = None,
    model: str = "4b",
    context: int | None = None,
    images: int | None = None,
    video: str | None = None,
    users: int | None = None,
    weights: str | None = None,
    as_json: bool = False,
) -> int:
    """``python -m course plan``: print memory, command, ``docker run``, Compose file and Kubernetes manifests.

    Returns:
        0, or 1 if it does not fit.

    Raises:
        CourseError: an unknown card, model or format, or a number out of range.
    """
    name, format_in_name = find_model(model)
    asked = Wanted(context, images, _yes_or_no(video), users, _format(weights) or format_in_name)
    if count is not None and count < 1:
        raise CourseError(f"{count} cards were refused.", "", "give 1 or more")
    if gpu == "auto":
        card, found = own_cards()
    else:
        card, found = _card(gpu), 1
    result = answer(card, count or found, name, asked)
    print(json.dumps(result.as_dict(), indent=2) if as_json else result.as_text(users))
    return 0 if result.plan.fits else 1


def _card(name: str) -> Gpu:
    try:
        return find_gpu(name)
    except CourseError as error:
        near = get_close_matches(name.lower(), [known.lower() for known in load_gpus()], 3, 0.5)
        if not near:
            raise
        names = ", ".join(known for known in load_gpus() if known.lower() in near)
        raise CourseError(
            error.what, error.cause, f"did you mean {names}? Or give its memory, such as '24 GiB'"
        ) from None


def _notes(
    plans: list[tuple[Recipe, MemoryPlan]], recipe: Recipe, wanted: Wanted, facts: ModelFacts
) -> tuple[str, ...]:
    notes = []
    first, plan = plans[0]
    if first.name != recipe.name:
        spare = f"{plan.spare_bytes / GIB:.2f} GiB a GPU"
        notes.append(f"Recipe {first.name} would come first, but it fits only narrowly ({spare} to spare).")
    words, flags = surplus(recipe, wanted, facts.context)
    if words:
        notes.append(
            f"{recipe.name} serves more than was asked for: {', '.join(words)}. To have that refused, end the command "
            f"with: {shlex.join(flags)}"
        )
    return tuple(notes)


def _composed_plan(gpu: Gpu, count: int, facts: ModelFacts, wanted: Wanted) -> tuple[Weights, MemoryPlan]:
    """The first plan with a margin: BF16 before smaller formats, the whole context before less, the shortest last.

    If none has a margin, the one with the most to spare; if none fits, the whole context in the first format.
    """
    settings = {
        "images": PICTURES if wanted.images is None else wanted.images,
        "video": wanted.video is not False,
        "max_num_seqs": wanted.users,
    }
    formats: dict[Weights, dict[str, Any]] = {}
    for weights in _formats(gpu, facts, wanted):
        planned_as = "float16" if weights == "bf16" and not gpu.bfloat16 else PLANNED_AS[weights]
        formats[weights] = {**settings, "weights": planned_as}
    plans = [(name, plan) for name, given in formats.items() for plan in _contexts(gpu, count, facts, wanted, given)]
    if wanted.context is None and not any(_is_safe(plan) for _, plan in plans):
        plans += [
            (name, best_layout(facts, gpu, count, max_model_len=SHORTEST_CONTEXT, **given))
            for name, given in formats.items()
        ]
    if safe := next((one for one in plans if _is_safe(one[1])), None):
        return safe
    return max((one for one in plans if one[1].fits), key=lambda one: one[1].spare_bytes, default=plans[0])


def _is_safe(plan: MemoryPlan) -> bool:
    return plan.fits and not plan.narrow


def _contexts(
    gpu: Gpu, count: int, facts: ModelFacts, wanted: Wanted, settings: dict[str, Any]
) -> Iterator[MemoryPlan]:
    """Plans with shorter contexts where users or a margin ask for it, then the whole one."""
    plan = best_layout(facts, gpu, count, max_model_len=wanted.context or facts.context, **settings)
    if wanted.context is None and not plan.problems and (wanted.users or not _is_safe(plan)):
        held = (plan.blocks - 1) * plan.block_tokens  # vLLM keeps one block back
        # What is only estimated may turn out twice as large.
        doubt = -(-sum(plan.estimated.values()) * plan.setup.max_model_len // plan.one_request)
        users = -(-(wanted.users or 1) // plan.setup.layout.data_parallel)
        for tokens in (held - doubt, held):
            length = tokens // users // 1024 * 1024
            if SHORTEST_CONTEXT <= length < facts.context:
                yield best_layout(facts, gpu, count, max_model_len=length, **settings)
    yield plan


def _formats(gpu: Gpu, facts: ModelFacts, wanted: Wanted) -> list[Weights]:
    released = RELEASED.get(facts.family, {})
    if wanted.weights and wanted.weights not in ("bf16", *released):
        there = ", ".join(["bf16", *released])
        raise CourseError(f"{facts.name} was not released in {wanted.weights}.", "", f"use one of: {there}")
    if wanted.weights:
        return [wanted.weights]
    return ["bf16", *(name for name in released if name != "fp8" or gpu.fp8 != "no")]


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


def _short(model: str) -> str:
    """'Qwen/Qwen3-VL-235B-A22B-Instruct' -> '235b-a22b'; Qwen2-VL keeps its family's name."""
    return model.rpartition("/")[2].lower().removeprefix("qwen3-vl-").removesuffix("-instruct")


def _yes_or_no(text: str | None) -> bool | None:
    if text is None or text.lower() in ("yes", "no"):
        return None if text is None else text.lower() == "yes"
    raise CourseError(f"--video {text} was refused.", "", "give yes or no, or leave it out")


def _format(text: str | None) -> Weights | None:
    if text is None or text.lower() in PLANNED_AS:
        return text and text.lower()
    raise CourseError(f"--weights {text} was refused.", "", f"use one of: {', '.join(PLANNED_AS)}")


def _section(title: str, text: str) -> str:
    return f"== {title}\n{text.rstrip()}"

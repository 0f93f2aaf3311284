"""What would go wrong with an adapter, found before a server is asked to load it, or in the server's log afterwards."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.errors import CourseError
from toolkit.planner.lora_slots import RANKS

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TOWER = ".visual."
_KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
#: Features of PEFT that vLLM 0.32 refuses, by field of the configuration.
_REFUSED = {"use_dora": "DoRA", "modules_to_save": "whole modules beside LoRA (modules_to_save)", "lora_bias": "biases"}
_IGNORED_MODULE = re.compile(r"no matching PunicaWrapper is found; (\S+) will be ignored")


@dataclass(frozen=True)
class AdapterFacts:
    """What an adapter's folder holds."""

    name: str
    rank: int
    modules: int
    in_tower: int
    """Of the modules, those of the vision tower and its mergers."""
    parameters: int
    notes: tuple[str, ...] = ()
    """What is no fault, but may be one."""


def check_adapter(
    folder: str | Path, base: str | Path, *, root: str | Path | None = None, max_rank: int = 16, tower: bool = False
) -> AdapterFacts:
    """Whether vLLM will load an adapter for this base, and use all of it.

    Args:
        folder: of the adapter.
        base: folder of the model that is served.
        root: the only folder from which adapters may come; None: any. Give it wherever a client names the path.
        max_rank: of the server (``--max-lora-rank``; vLLM's default is 16).
        tower: whether the server has ``--enable-tower-connector-lora``.

    Raises:
        CourseError: a folder outside ``root``, a file that is missing or torn, pickled weights, an adapter for another
            model, modules that the base does not have, a rank or a feature that the server refuses, or a part that it
            would silently ignore.
    """
    folder, base = Path(folder), Path(base)
    if root is not None and not folder.resolve().is_relative_to(Path(root).resolve()):
        remedy = "move the adapter there; never pass a client's path on to a server"
        raise CourseError(f"{folder.name} is outside {Path(root).name}, the folder of adapters.", "", remedy)
    config = _config(folder)
    shapes = _shapes(folder)
    rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
    if rank > max_rank:
        needed = next((value for value in RANKS if value >= rank), rank)
        remedy = f"start the server with --max-lora-rank {needed}, or train with a smaller r"
        raise CourseError(f"{folder.name} has rank {rank}; the server takes {max_rank} at most.", "", remedy)
    _compare_shapes(folder.name, shapes, base)
    in_tower = [module for module, side in shapes if side == "A" and TOWER in module]
    modules = sum(side == "A" for _, side in shapes)
    if in_tower and not tower:
        raise CourseError(
            f"{len(in_tower)} of the {modules} modules of {folder.name} belong to the vision tower or its mergers.",
            "without a flag the server ignores them, answers, and logs no more than warnings",
            "start it with --enable-tower-connector-lora, then pass tower=True here",
        )
    parameters = sum(rows * columns for rows, columns in shapes.values())
    return AdapterFacts(folder.name, rank, modules, len(in_tower), parameters, _notes(config, base))


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(config, dict) or not isinstance(config.get("r"), int):
            raise ValueError
    except FileNotFoundError:
        remedy = "name the folder that model.save_pretrained wrote, with both files"
        raise CourseError(
            f"There is no {CONFIG} in {folder.name}.", "another folder, or a copy cut off", remedy
        ) from None
    except (OSError, ValueError):
        raise CourseError(
            f"{folder.name}/{CONFIG} cannot be read.", "damaged", "save or copy the adapter again"
        ) from None
    for field, what in _REFUSED.items():
        if config.get(field):
            raise CourseError(
                f"{folder.name} has {what}, which vLLM does not serve.", "", "merge it into the base instead"
            )
    if config.get("bias", "none") != "none":
        raise CourseError(f"{folder.name} trained biases, which vLLM does not serve.", "", 'train with bias="none"')
    return config


def _shapes(folder: Path) -> dict[tuple[str, str], tuple[int, int]]:
    """(module, side) → shape of each matrix; only the file's header is read."""
    from safetensors import SafetensorError, safe_open

    path = folder / WEIGHTS
    if not path.is_file():
        pickled = [name for name in ("adapter_model.bin", "adapter_model.pt") if (folder / name).exists()]
        cause = f"{pickled[0]} is a pickle, which may run code when it is read" if pickled else "a copy cut off"
        remedy = "save it with model.save_pretrained, whose default is safetensors"
        raise CourseError(f"There is no {WEIGHTS} in {folder.name}.", cause, remedy)
    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        remedy = "copy it again, and compare sizes or checksums"
        raise CourseError(f"{folder.name}/{WEIGHTS} cannot be read.", "a torn download or copy", remedy) from None
    found = {
        (match["module"], match["side"]): shape for name, shape in shapes.items() if (match := _KEY.fullmatch(name))
    }
    if not found or len(found) % 2:
        remedy = "print the model's module names, and check target_modules against them before training"
        raise CourseError(f"{folder.name} holds no complete LoRA.", "target_modules that match nothing", remedy)
    return found


def _compare_shapes(name: str, shapes: Mapping[tuple[str, str], tuple[int, ...]], base: Path) -> None:
    own = base_shapes(base)
    missing = sorted({module for module, _ in shapes if f"{module}.weight" not in own})
    if missing:
        remedy = "train on the base that you serve; print its module names to see what target_modules can match"
        what = f"{base.name} has no module {missing[0]}, which {name} adapts ({len(missing)} such modules)."
        raise CourseError(what, "an adapter of another base or architecture", remedy)
    for (module, side), shape in shapes.items():
        out, width = own[f"{module}.weight"]
        fits = shape[1] == width if side == "A" else shape[0] == out
        if not fits:
            sizes = f"{shape[1] if side == 'A' else shape[0]} instead of {width if side == 'A' else out}"
            remedy = "serve the base that adapter_config.json names, or train on this one"
            raise CourseError(
                f"{name} does not fit {base.name}: {module} is {sizes} wide.", "another size of model", remedy
            )


def base_shapes(base: Path) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor of a model's folder, from the headers of its files.

    Raises:
        CourseError: no safetensors there, or one that cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, tuple[int, ...]] = {}
    try:
        for path in sorted(base.glob("*.safetensors")):
            with safe_open(path, framework="numpy") as file:
                found |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        found = {}
    if not found:
        raise CourseError(
            f"No readable weights in {base.name}.", "no safetensors there, or a torn file", "course download"
        )
    return found


def _notes(config: Mapping[str, Any], base: Path) -> tuple[str, ...]:
    named = str(config.get("base_model_name_or_path") or "")
    notes = []
    if Path(named).name != base.name:
        notes.append(f"it names the base {Path(named).name or 'nothing'}; you serve {base.name}")
    if named.startswith("/"):
        notes.append("base_model_name_or_path is a path of one machine; write the model's name before you share it")
    return tuple(notes)


def ignored_modules(log: str | Path, folder: str | Path) -> list[str]:
    """The modules of an adapter that a running server ignores, by its log (``Server.log_path``); none is what you want.

    Without ``--enable-tower-connector-lora`` vLLM names, at its start, each module of the tower that it will ignore in
    adapters. It accepts such an adapter, and answers.

    Raises:
        CourseError: as `check_adapter`, of files that are missing or torn.
    """
    text = Path(log).read_text(encoding="utf-8", errors="replace")
    ignored = tuple(f".{module}" for module in set(_IGNORED_MODULE.findall(text)))
    modules = sorted({module for module, _ in _shapes(Path(folder))})
    return [module for module in modules if ignored and f".{module}".endswith(ignored)]

"""Profiles: one name that decides everything that differs between machines (``data/profiles.yaml``)."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, OUTPUTS, read_entries
from helpers.machine import card_gib, installed_version, query_cards
from helpers.model_facts import read_model_facts
from helpers.rehearsal import shape_folder

Device = Literal["cpu", "cuda"]
TINY = "models/tiny-qwen3-vl"
PROFILES_FILE = COURSE_ROOT / "data" / "profiles.yaml"
REHEARSED_TOKENS = 16
#: A socket's path has at most 107 bytes, of which vLLM's random name takes 37.
SOCKET_FOLDER_BYTES = 70
#: vLLM refuses bfloat16 below this compute capability.
BFLOAT16_CAPABILITY = 8.0
QUIET_LOGGERS = ("torch.utils.flop_counter", "torch.utils.cpp_extension", "torch._library.triton")
#: In miniature on a CPU: a cache for ten requests of 8,192 tokens, and no start with the largest image and video.
SMALL_ENGINE = {
    "kv_cache_memory_bytes": 2**28,
    "limit_mm_per_prompt": {
        "image": {"count": 4, "width": 512, "height": 512},
        "video": {"count": 1, "num_frames": 8, "width": 256, "height": 256},
    },
}
#: Set by the course itself: a profile that overrode them would make the course unsafe.
FORBIDDEN_ARGUMENTS = {"trust_remote_code", "allowed_local_media_path", "host", "port", "api_key"}


class Profile(BaseModel):
    """A model and the settings to run it with; the fields are explained in ``data/profiles.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    model: str
    source: Literal["bundled", "hub"]
    revision: str | None = None
    family: Literal["qwen3-vl", "qwen2-vl"]
    devices: list[Device] = Field(min_length=1)
    dtype: dict[Device, Literal["float32", "bfloat16", "float16", "auto"]]
    max_model_len: int = Field(gt=0)
    parameters_billions: float = Field(gt=0)
    needs_gib: float = Field(gt=0)
    engine: dict[str, Any] = {}
    cpu_engine: dict[str, Any] = {}
    cuda_engine: dict[str, Any] = {}
    environment: dict[str, str] = {}
    cpu_environment: dict[str, str] = {}
    sampling: dict[str, Any] = {}
    vendor: dict[str, Any] = {}
    rival: str | None = None
    rehearse: bool = False
    small: bool = False
    """Rehearsed in miniature (`helpers.rehearsal`)."""


@dataclass(frozen=True)
class ActiveProfile:
    """A profile chosen for this machine."""

    profile: Profile
    device: Device
    model_path: str
    """A local folder if there is one, else the hub id."""

    @property
    def served_name(self) -> str:
        """The model's name for clients: the last part of its id or folder."""
        return self.profile.model.rstrip("/").rsplit("/", 1)[-1]

    @property
    def label(self) -> str:
        """Printed before an answer, so that nobody mistakes where it comes from."""
        if self.profile.rehearse:
            return f"{self.served_name}, random weights: noise"
        return "tiny model" if self.profile.source == "bundled" else self.served_name

    def engine_arguments(self) -> dict[str, Any]:
        """Keywords for ``vllm.LLM``."""
        profile = self.profile
        arguments: dict[str, Any] = {
            "model": self.model_path,
            "dtype": profile.dtype.get(self.device, "auto"),
            "max_model_len": profile.max_model_len,
            "seed": 0,
            "generation_config": "vllm",
            **profile.engine,
            **(profile.cpu_engine if self.device == "cpu" else profile.cuda_engine),
        }
        if profile.source == "hub" and profile.revision and not Path(self.model_path).is_dir():
            arguments["revision"] = profile.revision
        if profile.rehearse:
            arguments["load_format"] = "dummy"
        if profile.small and self.device == "cpu":
            arguments |= SMALL_ENGINE
        return arguments

    def serve_flags(self) -> list[str]:
        """The same arguments as flags for ``vllm serve``, without model, host, port and key."""
        arguments = {key: value for key, value in self.engine_arguments().items() if key != "model"}
        return [*as_flags(arguments), "--served-model-name", self.served_name]

    def sampling_arguments(self, **changes: Any) -> dict[str, Any]:
        """Keywords for ``vllm.SamplingParams``, changed. A rehearsal's answer never ends by itself, so it is short."""
        sampling = {**self.profile.sampling, **changes}
        if self.profile.rehearse:
            sampling["max_tokens"] = min(sampling.get("max_tokens", REHEARSED_TOKENS), REHEARSED_TOKENS)
        return sampling

    def environment(self) -> dict[str, str]:
        """Variables that must be set before ``vllm`` is imported."""
        extra = self.profile.cpu_environment if self.device == "cpu" else {}
        if len(os.fsencode(tempfile.gettempdir())) > SOCKET_FOLDER_BYTES:
            extra = extra | {"VLLM_RPC_BASE_PATH": "/tmp"}  # noqa: S108 - vLLM adds a random name
        return {**self.profile.environment, **extra}

    def describe(self) -> str:
        """One line: which profile runs, which model, on which device."""
        profile, size = self.profile, self.profile.parameters_billions
        count = f"{size:.3g} billion" if size >= 0.1 else f"{size * 1000:.3g} million"
        how = "IN MINIATURE, " if profile.small else ""
        state = f", REHEARSED {how}WITH RANDOM WEIGHTS: answers are noise" if profile.rehearse else ""
        if not state and profile.source == "bundled":
            state = "; it knows the toy world and nothing else"
        dtype = profile.dtype.get(self.device, "auto")
        return f"profile {profile.name}: {profile.title} ({count} parameters, {dtype}) on {self.device}{state}"


def as_flags(arguments: Mapping[str, Any]) -> list[str]:
    """Keywords of ``vllm.LLM`` as flags for ``vllm serve``; None is omitted."""
    flags: list[str] = []
    for key, value in arguments.items():
        flag = "--" + key.replace("_", "-")
        if isinstance(value, bool):
            flags.append(flag if value else flag.replace("--", "--no-", 1))
        elif value is not None:
            flags += [flag, json.dumps(value) if isinstance(value, dict | list) else str(value)]
    return flags


def load_profiles(path: Path | None = None) -> dict[str, Profile]:
    """Read and check the profiles, from small to large.

    Raises:
        CourseError: as `read_entries`, or a key that profiles may not set.
    """
    path = Path(path or PROFILES_FILE)
    profiles = read_entries(path, "profile", Profile)
    for name, profile in profiles.items():
        engine_keys = {*profile.engine, *profile.cpu_engine, *profile.cuda_engine}
        if forbidden := sorted(engine_keys & FORBIDDEN_ARGUMENTS):
            raise CourseError(
                f"{path.name}: profile '{name}' sets '{forbidden[0]}', which is not allowed.",
                "the course itself sets address, key and media folder, and never runs a checkpoint's own code",
                "remove that key",
            )
        if profile.rival and (profile.rival not in profiles or profiles[profile.rival].family == profile.family):
            raise CourseError(
                f"{path.name}: profile '{name}' cannot have the rival '{profile.rival}'.",
                "that profile does not exist, or is of the same family",
                "name a profile of the other family, or null",
            )
    return profiles


def models_folder() -> Path:
    """The folder for downloads, each in ``<org>/<name>``: ``COURSE_MODELS_DIR``, else ``data/models``."""
    return Path(os.environ.get("COURSE_MODELS_DIR") or COURSE_ROOT / "data" / "models")


def hub_is_off() -> bool:
    """Whether the hubs' libraries are set not to use the network."""
    values = {os.environ.get(key, "").lower() for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
    return bool(values & {"1", "true", "yes", "on"})


def local_model(profile: Profile) -> Path | None:
    """The profile's folder on this disk, or None if its weights are not there."""
    above = COURSE_ROOT / "data" if profile.source == "bundled" else models_folder()
    folder = above / profile.model
    complete = (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
    return folder if complete else None


def gpu_memory_gib() -> float | None:
    """Memory of the largest visible NVIDIA GPU in GiB, or None without a usable one. Needs no torch.

    Respects ``CUDA_VISIBLE_DEVICES``, which ``nvidia-smi`` itself ignores. A card without memory of its own uses the
    machine's.
    """
    return max(map(card_gib, _of_visible_cards("memory.total")), default=None)


def _lacks_bfloat16() -> bool:
    """Whether a visible card is older than bfloat16, such as a T4 (7.5)."""
    known = [float(cap) for cap in _of_visible_cards("compute_cap") if cap.replace(".", "", 1).isdigit()]
    return min(known, default=BFLOAT16_CAPABILITY) < BFLOAT16_CAPABILITY


def _of_visible_cards(field: str) -> list[str]:
    cards, _ = query_cards(f"index,uuid,{field}")
    return [value for _, _, value in _visible(cards, os.environ.get("CUDA_VISIBLE_DEVICES"))]


def _visible(cards: list[list[str]], wanted: str | None) -> list[list[str]]:
    """Those that ``CUDA_VISIBLE_DEVICES`` names by number or UUID (or its beginning); all if it is not set.

    As in CUDA, an entry that names no card, such as -1, ends the list. Which card a MIG slice belongs to is not known.
    """
    if wanted is None:
        return cards
    chosen: list[list[str]] = []
    for entry in map(str.strip, wanted.split(",")):
        if entry.startswith("MIG-"):
            return cards
        named = [card for card in cards if card[0] == entry or (entry.startswith("GPU-") and card[1].startswith(entry))]
        if len(named) != 1:
            break
        chosen += named
    return chosen


def find_device() -> Device:
    """'cuda' with vLLM's CUDA build and an NVIDIA GPU, else 'cpu'. ``COURSE_DEVICE`` overrides it."""
    wanted = os.environ.get("COURSE_DEVICE")
    if wanted in get_args(Device):
        return cast(Device, wanted)
    if wanted:
        raise CourseError(f"COURSE_DEVICE is '{wanted}'.", "it must be cpu or cuda", "unset it, or set one of them")
    return "cuda" if "cpu" not in installed_version("vllm") and gpu_memory_gib() else "cpu"


def use_profile(name: str = "auto", *, rehearse: bool | None = None, quiet: bool = False) -> ActiveProfile:
    """Choose a profile for this machine, set its environment variables, and print one line about it.

    Args:
        name: a profile's name, or 'auto': ``COURSE_PROFILE`` if set, else the largest profile whose model is on disk
            and fits, else 'tiny'.
        rehearse: random weights (``load_format="dummy"``); None reads ``COURSE_REHEARSE``. With that set to 1, a
            released model is rehearsed in miniature, so that the whole course passes on a CPU; else, or with
            ``full``, in its real size. `helpers.rehearsal` writes the shape to ``outputs/shapes``.
        quiet: print nothing.

    Variables that are already set are kept.

    Raises:
        CourseError: unknown name, a model that is not on disk while the hub is switched off, or a device that the
            profile does not support.
    """
    profiles = load_profiles()
    device = find_device()
    wanted = os.environ.get("COURSE_REHEARSE", "").strip().lower()
    small = wanted in {"1", "true", "yes"}
    if rehearse is None:
        rehearse = small or wanted == "full"
    if name == "auto":
        name = os.environ.get("COURSE_PROFILE") or "auto"
    profile = _largest_that_fits(profiles, device) if name == "auto" else profiles.get(name)
    if profile is None:
        raise CourseError(
            f"There is no profile '{name}'.",
            "a misspelt parameter 'profile' or environment variable COURSE_PROFILE",
            f"use one of: auto, {', '.join(profiles)}",
        )
    rehearse = rehearse or profile.rehearse
    if device not in profile.devices and not rehearse:
        raise CourseError(
            f"Profile '{profile.name}' does not run on {device}.",
            "it needs an NVIDIA GPU and the CUDA set of packages",
            "use profile 'tiny', or set COURSE_REHEARSE=1 to try it with random weights",
        )
    if device == "cuda" and profile.dtype.get("cuda") == "bfloat16" and _lacks_bfloat16():
        profile = profile.model_copy(update={"dtype": {**profile.dtype, "cuda": "float16"}})
    if "://" in os.environ.get("VLLM_PORT", ""):
        print(f"ignored VLLM_PORT={os.environ.pop('VLLM_PORT')}: Kubernetes sets it for a service that is named vllm")
    active = _located(profile, device, rehearse, small)
    for key, value in active.environment().items():
        os.environ.setdefault(key, value)
    quiet_imports()
    warnings.filterwarnings("ignore", "`torch.distributed.reduce_op` is deprecated", FutureWarning)  # vLLM looks at it
    if not quiet:
        print(active.describe())
    return active


def quiet_imports() -> None:
    """Before torch or vLLM is imported: keep them from reporting that a CPU has neither Triton nor CUDA."""
    for logger in QUIET_LOGGERS:
        logging.getLogger(logger).setLevel(logging.ERROR)


def _largest_that_fits(profiles: dict[str, Profile], device: Device) -> Profile:
    memory = gpu_memory_gib() if device == "cuda" else None
    chosen = profiles["tiny"] if "tiny" in profiles else next(iter(profiles.values()))
    for profile in profiles.values():
        fits = device in profile.devices and (memory is None or profile.needs_gib <= memory)
        instruct = profile.family == "qwen3-vl" and not profile.name.endswith("-thinking")
        if fits and instruct and local_model(profile):
            chosen = profile
    return chosen


def _located(profile: Profile, device: Device, rehearse: bool, small: bool) -> ActiveProfile:
    small = rehearse and small and profile.source == "hub"
    profile = profile.model_copy(update={"rehearse": rehearse, "small": small})
    active = ActiveProfile(profile, device, _model_location(profile))
    if not small:
        return active
    size = read_model_facts(Path(active.model_path)).parameters() / 1e9
    needs = {"parameters_billions": size, "needs_gib": 4.0}  # as the tiny model
    return replace(active, profile=profile.model_copy(update=needs))


def _model_location(profile: Profile) -> str:
    folder = local_model(profile)
    if folder is not None and not profile.small:
        return str(folder)
    if profile.rehearse and profile.source == "hub":
        stand_in = COURSE_ROOT / "data" / "models" / f"tiny-{profile.family}"
        return str(shape_folder(profile.model, stand_in, OUTPUTS / "shapes", small=profile.small))
    if profile.source == "bundled":
        raise CourseError(
            f"The bundled model data/{profile.model} is missing or incomplete.",
            "an incomplete checkout, or its files were moved",
            f"restore it with: git checkout -- data/{profile.model}",
        )
    if hub_is_off():
        raise CourseError(
            f"{profile.model} is not on this disk.",
            "the hub is switched off (HF_HUB_OFFLINE)",
            f"python -m course download --profile {profile.name}, on a machine with network access",
        )
    return profile.model

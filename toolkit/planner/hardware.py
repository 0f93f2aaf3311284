"""GPUs that a plan can be made for (``data/gpus.yaml``)."""

from __future__ import annotations

import math
import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, read_entries

GPUS_FILE = COURSE_ROOT / "data" / "gpus.yaml"
#: Share of the driver's total that a program on the GPU can see, where only that total is known. The T4 has the
#: lowest share among the GPUs of which both are known: 14.76 of 15 GiB.
VISIBLE_SHARE = 0.98


class GpuSpec(BaseModel):
    """One kind of GPU; the fields are explained in ``data/gpus.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    memory: float = Field(gt=0)
    told_by: Literal["cuda", "nvidia-smi", "datasheet", "user"] = "user"
    family: str = ""
    compute_capability: str = ""
    fp8: Literal["compute", "weights", "no"] = "compute"
    bfloat16: bool = True
    interconnect: str = ""
    source: str = ""

    @property
    def visible_gib(self) -> float:
        """GiB that a program on the GPU sees: what ``gpu_memory_utilization`` is a share of."""
        return self.memory * (VISIBLE_SHARE if self.told_by == "nvidia-smi" else 1)

    def budget(self, utilization: float) -> int:
        """Bytes that vLLM takes at most, at this ``gpu_memory_utilization``.

        Raises:
            CourseError: not above 0, or above 1.
        """
        if not 0 < utilization <= 1:
            raise CourseError(
                f"A memory utilization of {utilization} was refused.",
                "it is the share of a card's memory that the engine may take",
                "give more than 0 and at most 1; vLLM's default is 0.92",
            )
        return math.ceil(self.visible_gib * 2**30 * utilization)


def load_gpus() -> dict[str, GpuSpec]:
    """The GPUs by name, from small to large.

    Raises:
        CourseError: the file is missing or broken; the message names the key.
    """
    return read_entries(GPUS_FILE, "gpu", GpuSpec)


def find_gpu(name: str) -> GpuSpec:
    """A GPU by name ('H100', 'NVIDIA H100 80GB HBM3', '4090'), or by size alone ('24 GiB').

    Of the known names that occur in the given one, the longest counts; else the given one may be a part of one name.

    Raises:
        CourseError: neither known nor a size, or it could be several.
    """
    known = load_gpus()
    if size := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:gib|gb|g)\s*", name, re.IGNORECASE):
        return GpuSpec(name=f"{float(size[1]):g} GiB card", memory=float(size[1]), told_by="nvidia-smi")
    asked = set(_words(name))
    within = [gpu for gpu in known.values() if asked >= set(_words(gpu.name))]
    around = [gpu for gpu in known.values() if asked and asked <= set(_words(gpu.name))]
    if within:
        return max(within, key=lambda gpu: len(gpu.name))
    if len(around) == 1:
        return around[0]
    names = ", ".join(gpu.name for gpu in around or known.values())
    raise CourseError(
        f"The card '{name}' could be several." if around else f"No card '{name}' is known.",
        "" if around else "it is not in data/gpus.yaml",
        f"give its memory, such as '24 GiB', or one of: {names}",
    )


def as_gpu(gpu: GpuSpec | str) -> GpuSpec:
    """The GPU itself, or the one of that name."""
    return find_gpu(gpu) if isinstance(gpu, str) else gpu


def _words(name: str) -> list[str]:
    # '80GB' and '80G' are the same word, and so are '5060Ti' and '5060 Ti'.
    parts = re.findall(r"\d+|[a-z]+", re.sub(r"(\d+)\s*gi?b\b", r"\1g", name.lower()))
    return [part for part in parts if part not in {"nvidia", "geforce", "amd", "instinct", "tesla"}]

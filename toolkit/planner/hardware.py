"""GPUs that a plan can be made for (``data/gpus.yaml``)."""

from __future__ import annotations

import math
import re
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, read_entries

GPUS_FILE = COURSE_ROOT / "data" / "gpus.yaml"
#: Share of the driver's total that a program on the GPU can see, where only that total is known. The T4 has the
#: lowest share among the GPUs of which both are known: 14.76 of 15 GiB.
VISIBLE_SHARE = 0.98
#: Words of a driver's name that do not decide what card it is: makers, form factors, kinds of memory, editions of equal
#: memory.
NOISE = re.compile(
    r"\b(nvidia|geforce|amd|radeon|instinct|tesla|quadro|generation|graphics|sxm\d?|pcie|oam|vf|hbm\d?e?|blackwell|"
    r"workstation|server|edition|max-q)\b"
)
MEMORY = re.compile(r"\b(\d+(?:\.\d+)?)\s*(?:gib|gb|g)\b", re.IGNORECASE)


class GpuSpec(BaseModel):
    """One kind of GPU; the fields are explained in ``data/gpus.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    memory: float = Field(gt=0)
    told_by: Literal["cuda", "nvidia-smi", "user"] = "user"
    family: str = ""
    compute_capability: str = ""
    fp8: Literal["compute", "weights", "no"] = "compute"
    bfloat16: bool = True
    interconnect: str = ""
    source: str = ""
    note: str = ""

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

    def with_memory(self, gib: float) -> GpuSpec:
        """The same card with another memory, in GiB as a program on it sees it.

        Raises:
            CourseError: not a size that a card has.
        """
        if not 0.5 <= gib <= 10_000:
            raise CourseError(f"A card of {gib:g} GiB was refused.", "", "give its memory in GiB, such as 15.5")
        near = abs(gib / self.visible_gib - 1) < 0.05
        name = self.name if near else f"{self.name} of {gib:g} GiB"
        return self.model_copy(update={"name": name, "memory": gib, "told_by": "user"})


def load_gpus() -> dict[str, GpuSpec]:
    """The GPUs by name, from small to large.

    Raises:
        CourseError: the file is missing or broken; the message names the key.
    """
    return read_entries(GPUS_FILE, "gpu", GpuSpec)


def find_gpu(name: str) -> GpuSpec:
    """A GPU by its name ('H100', 'NVIDIA H100 80GB HBM3', '4090'), or by size alone ('24 GiB').

    A name must be that of one card: what is added to a known one ('H100 NVL', '4090 Laptop GPU', a MIG slice) makes it
    another card. A size within the name must be the card's.

    Raises:
        CourseError: neither known nor a size, or it could be several; with the names that are near.
    """
    known = load_gpus()
    if size := MEMORY.fullmatch(name.strip()):
        blank = GpuSpec(name=f"{float(size[1]):g} GiB card", memory=1)
        return blank.with_memory(float(size[1])).model_copy(update={"name": blank.name, "told_by": "nvidia-smi"})
    if re.search(r"[,+;]", name):
        raise CourseError(f"'{name}' names several cards.", *UNEQUAL)
    if exact := next((gpu for gpu in known.values() if gpu.name.lower() == name.lower().strip()), None):
        return exact
    asked, sizes = _words(name), [float(size) for size in MEMORY.findall(name)]
    alike = [gpu for gpu in known.values() if asked and asked in (_words(gpu.name), _words(gpu.name) - {"rtx"})]
    fitting = [gpu for gpu in alike if all(0.9 <= gpu.memory / (size or 1) <= 1.02 for size in sizes)]
    if len(fitting) == 1 and (sizes or not MEMORY.search(fitting[0].name)):  # else there are others of that name
        return fitting[0]
    near = [gpu.name for gpu in fitting or alike] or _near(name, asked)
    cause = (
        "it is not in data/gpus.yaml, and the nearest names are other cards" if near else "it is not in data/gpus.yaml"
    )
    if "mig" in asked:
        cause = "a MIG slice has a part of the card's memory"
    raise CourseError(
        f"The card '{name}' could be several." if len(fitting) > 1 else f"No card '{name}' is known.",
        "" if len(fitting) > 1 else cause,
        f"give its memory, such as --gpu '24 GiB', or a card of: {', '.join(near or known)}",
    )


#: Why cards of several kinds are no plan, and what to do.
UNEQUAL = (
    "vLLM cuts a model into equal parts, so the smallest card would decide, and the slowest would be waited for",
    "plan each kind for itself, with --gpu and --count, and start one server on each (CUDA_VISIBLE_DEVICES)",
)


def _near(name: str, asked: frozenset[str]) -> list[str]:
    """Cards that share most words, or else letters, with a name."""
    lower = {gpu.lower(): gpu for gpu in load_gpus()}
    shared = {gpu: len(asked & _words(gpu)) / len(asked | _words(gpu)) for gpu in lower.values()}
    best = sorted((gpu for gpu in shared if shared[gpu] >= 0.5), key=lambda gpu: -shared[gpu])[:4]
    return best or [lower[one] for one in get_close_matches(name.lower(), lower, 3, 0.5)]


def measured_gpu(name: str, memory: float, capability: str) -> GpuSpec:
    """A card of this machine, with the memory that was measured and what its compute capability says.

    It keeps the name of `load_gpus`, by which recipes are found, only if its memory is about that card's. Name and GiB
    are those of nvidia-smi; an unknown capability is ''.
    """
    number = float(capability) if re.fullmatch(r"\d+\.\d+", capability) else 9.0
    fp8: Literal["compute", "weights", "no"] = "compute" if number >= 8.9 else "weights" if number >= 7.5 else "no"
    facts: dict[str, Any] = {"memory": max(memory, 0.5), "told_by": "nvidia-smi", "compute_capability": capability}
    card = GpuSpec(name=name, fp8=fp8, bfloat16=number >= 8.0, **facts)
    for known in load_gpus().values():
        same = _words(name) in (_words(known.name), _words(known.name) - {"rtx"})
        if same and abs(card.visible_gib / known.visible_gib - 1) < 0.05:
            return known.model_copy(update=facts)
    return card


def as_gpu(gpu: GpuSpec | str) -> GpuSpec:
    """The GPU itself, or the one of that name."""
    return find_gpu(gpu) if isinstance(gpu, str) else gpu


def _words(name: str) -> frozenset[str]:
    """What distinguishes a card: letters and numbers without memory, maker and form factor."""
    name = re.sub(r"[-_/]", " ", name.lower().replace("max-q", " "))
    name = NOISE.sub(" ", MEMORY.sub(" ", name))
    return frozenset(re.findall(r"\d+|[a-z]+", name))

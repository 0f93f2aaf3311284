"""What this machine could reach, measured beside what the served engine does reach, one request at a time."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.setting import Found, Setting
from helpers.errors import CourseError
from toolkit.speed.results import Figure


def measure(setting: Setting) -> Found:
    from helpers.model_facts import find_model_facts
    from helpers.profiles import as_flags
    from helpers.server import serve
    from toolkit.speed import bench_serve, best_of, decode_reach, measure_limits, prefill_reach
    from toolkit.speed.vllm_bench import random_requests
    from toolkit.speed.workload import NO_CACHES

    active, prompt, answer = setting.active, 1024, 64
    # With billions of parameters a request takes half a minute on a CPU: 12 of them would take too long.
    small = active.device != "cpu" or active.profile.parameters_billions < 1
    requests, warmups = (10, 2) if small else (3, 1)
    facts = find_model_facts(active.model_path)
    dtype: Any = active.profile.dtype.get(active.device, "auto")
    if dtype == "auto":
        raise CourseError(f"The profile '{active.profile.name}' does not name its data type.", "", "set its dtype")
    threads = int(number) if (number := os.environ.get("OMP_NUM_THREADS", "")).isdigit() and int(number) else None
    options = random_requests(requests, 1, prompt_tokens=prompt, answer_tokens=answer)
    with serve(active, extra_flags=as_flags(NO_CACHES)) as server:
        before = measure_limits(threads, device=active.device, dtype=dtype)
        run = bench_serve(server, active.model_path, options, warmups=warmups)
        after = measure_limits(threads, device=active.device, dtype=dtype)
    limits = best_of(before, after)
    frame = run.answered()
    length = float(frame["prompt_tokens"].median())
    measured = {
        "prefill": length / (frame["first_text_ms"].median() / 1000),
        "decode": 1000 / frame["tpot_ms"].median(),
    }
    reaches = {
        "prefill": prefill_reach(facts, limits, round(length)),
        "decode": decode_reach(facts, limits, round(length + answer / 2)),
    }
    where = f"{limits.threads} thread{'s' if limits.threads > 1 else ''}, {limits.dtype}; before and after the run"
    figures = []
    for name, kind, unit in (
        ("memory bandwidth", "bytes_per_second", "GB/s"),
        ("arithmetic", "flops_per_second", "GFLOP/s"),
    ):
        low, high = sorted(getattr(seen, kind) / 1e9 for seen in (before, after))
        value = getattr(limits, kind) / 1e9
        figures.append(Figure(name=name, value=value, unit=unit, low=low, high=high, about=where))
    for name, reach in reaches.items():
        most = f"limited by {reach.limit}: {reach.bytes_per_token / 1e6:.3g} MB and "
        most += f"{reach.flops_per_token / 1e6:.3g} MFLOP per token"
        speed, share = measured[name], 100 * reach.share(measured[name])
        figures += [
            Figure(name=f"{name}, at most", value=reach.tokens_per_second, unit="tokens/s", about=most),
            Figure(name=f"{name}, measured", value=speed, unit="tokens/s", about="one request at a time, median"),
            Figure(name=f"{name}, share", value=share, unit="%"),
        ]
    notes = [
        "Prefill is measured by the time to the first text, so the server's own work on a request is in it.",
        f"Weights take {facts.weight_bytes(dtype) / 2**20:.0f} MiB; what fits in a cache of the processor is not bound "
        "by the bandwidth of memory.",
    ]
    if max(reach.share(measured[name]) for name, reach in reaches.items()) > 1:
        notes.append("A share above 100 %: the machine was busy while its limits were measured, or a cache helped.")
    sizes = {"prompt tokens": length, "answer tokens": answer, "array bytes": limits.array_bytes}
    return Found(run.command, figures, settings={**sizes, "matrix": limits.matrix}, notes=notes)

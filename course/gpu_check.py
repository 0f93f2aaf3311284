"""``course gpu-check``: what only a machine with an NVIDIA GPU can show, in one command, one dated JSON and one page.

On other machines the parts that need no GPU run, and the record says which were left out, and why.
"""

from __future__ import annotations

import configparser
import datetime
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course.manifest import MANIFEST_FILE, load_manifest
from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, OUTPUTS
from helpers.machine import installed_version
from helpers.profiles import ActiveProfile, find_device, gpu_memory_gib, load_profiles, local_model, use_profile
from helpers.provenance import describe_versions, these_versions, this_machine
from helpers.templates import render

TEMPLATE = Path(__file__).with_name("gpu_check.md.j2")
#: Static checks of notebooks, flags and recipes against the vLLM that is installed here.
DRIFT = (
    "tests/notebooks/test_drift.py",
    "tests/notebooks/test_serve_flags.py",
    "tests/notebooks/test_engines.py",
    "tests/toolkit/planner/test_recipes.py",
)
#: Committed outputs are a CPU's. On a GPU the device's name differs, sums are rounded otherwise, and where two words
#: are all but equally likely the other one may win. So the device and all decimals after the first are not compared,
#: and this share of the compared cells has to be equal.
EQUAL_CELLS = 0.95
NOT_COMPARED = {"the device": (r"\b(cpu|cuda)\b", "<device>"), "decimals after the first": (r"(\d\.\d)\d+", r"\1")}
#: Tokens of KV cache: the planner may be off by this share of what the engine finds.
PLANNER_SHARE = 0.1
CACHE_LINE = re.compile(r"KV cache size: ([\d,]+) tokens")


@dataclass(frozen=True)
class Check:
    """What to check, and where the record goes."""

    profiles: tuple[str, ...]
    with_weights: bool
    folder: Path

    def settings_of(self, name: str) -> ActiveProfile:
        """The profile as it is run: with its weights if that is asked for, else with random ones."""
        bundled = load_profiles()[name].source == "bundled"
        return use_profile(name, rehearse=not (bundled or self.with_weights), quiet=True)


def run_check(profiles: str, with_weights: bool, folder: Path = OUTPUTS / "gpu-check") -> int:
    """Run all parts that this machine can run, and write the record.

    Args:
        profiles: names, separated by commas.
        with_weights: run released models as they are; their weights have to be on this disk.
        folder: for the JSON, the page and executed notebooks.

    Returns:
        0 if what ran passed, also where parts were left out; else 1.

    Raises:
        CourseError: an unknown profile, or weights that are not on this disk; nothing has run then.
    """
    known = load_profiles()
    names = tuple(name.strip() for name in profiles.split(",") if name.strip())
    if unknown := [name for name in names if name not in known]:
        raise CourseError(f"There is no profile '{unknown[0]}'.", "a misspelt name", f"use some of: {', '.join(known)}")
    if absent := [name for name in names if with_weights and not local_model(known[name])]:
        raise CourseError(
            f"The weights of profile {absent[0]} are not on this disk.",
            "--with-weights takes models that are there",
            f"python -m course download --profile {absent[0]}",
        )
    check = Check(names, with_weights, folder)
    folder.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = about(check)
    reason = why_no_gpu()
    for name, (needs_gpu, what, run) in PARTS.items():
        if needs_gpu and reason:
            record["left out"][name] = f"{what}: {reason}"
            print(f"left out  {name}: {what} ({reason})", flush=True)
            continue
        print(f"running   {name}: {what}", flush=True)
        part = run(check)
        record["parts"][name] = part
        print(f"{'passed' if part['passed'] else 'FAILED':<10}{name}", flush=True)
    file = folder / f"{record['date']}-gpu-check.json"
    file.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    file.with_suffix(".md").write_text(as_page(record), encoding="utf-8")
    print(f"\n{file}\n{file.with_suffix('.md')}", flush=True)
    return int(not all(part["passed"] for part in record["parts"].values()))


def why_no_gpu() -> str:
    """What is absent for the parts that need a GPU; '' if nothing is."""
    if find_device() == "cuda":
        return ""
    if gpu_memory_gib() is None:
        return "no NVIDIA GPU: nvidia-smi is absent or lists none"
    return f"no CUDA build of vLLM: {installed_version('vllm')} is installed, or COURSE_DEVICE is cpu"


def about(check: Check) -> dict[str, Any]:
    """The record before any part has run: date, machine, versions and command."""
    flag = " --with-weights" if check.with_weights else ""
    return {
        "date": datetime.date.today().isoformat(),
        "machine": this_machine().describe(),
        "versions": these_versions(),
        "command": f"python -m course gpu-check --profiles {','.join(check.profiles)}{flag}",
        "left out": {},
        "parts": {},
    }


def check_drift(check: Check) -> dict[str, Any]:
    """Flags, keywords, recipes and engines of the notebooks against the installed build."""
    return _pytest(check.folder / "drift.xml", *DRIFT)


def check_notebooks(check: Check) -> dict[str, Any]:
    """Every notebook on every profile, by papermill; minutes of each, and what models with their weights answered."""
    from course.notebook_runner import run_notebooks
    from course.results import NotebookResult, RunSettings

    rows: list[dict[str, Any]] = []
    answers: list[dict[str, str]] = []
    for name in check.profiles:
        active, last = check.settings_of(name), list[NotebookResult]()
        rehearsed = active.profile.rehearse
        settings = RunSettings(name, active.served_name, active.device, rehearsed, active.describe())
        os.environ["COURSE_REHEARSE"] = "full" if rehearsed else ""  # for kernels
        # Their own parameters, also in a rehearsal: there is time, and minutes are wanted.
        entries = [entry.model_copy(update={"rehearsal": {}}) for entry in load_manifest().notebooks]

        def keep(results: list[NotebookResult], last: list[NotebookResult] = last, **_: object) -> None:
            last[:] = results

        run_notebooks(entries, MANIFEST_FILE.parent, check.folder / name, settings, keep)
        rows += [
            {
                "profile": name + ("-rehearsed" if rehearsed else ""),
                "notebook": result.entry.stem,
                "status": result.status,
                "minutes": round(result.seconds / 60, 1),
                "failure": result.failure.what if result.failure else "",
            }
            for result in last
        ]
        if check.with_weights and active.profile.source == "hub":
            files = [check.folder / name / result.executed for result in last if result.executed]
            answers += [answer for file in files for answer in answers_in(file, active.label)]
    passed = all(row["status"] in ("passed", "skipped") for row in rows)
    return {"passed": passed, "rows": rows, "answers": answers}


def answers_in(file: Path, label: str) -> list[dict[str, str]]:
    """What an executed notebook printed after a model's label, and in which cell."""
    import nbformat

    mark = f"[{label}] "
    return [
        {"model": label, "notebook": file.stem, "cell": cell.id, "answer": line.removeprefix(mark)}
        for cell in nbformat.read(file, 4).cells
        for output in cell.get("outputs", [])
        for line in output.get("text", "").splitlines()
        if line.startswith(mark)
    ]


def check_outputs(check: Check) -> dict[str, Any]:
    """``pytest --nbval`` of the tiny model on the GPU against the committed outputs, within `EQUAL_CELLS`."""
    rules = configparser.RawConfigParser()
    rules.read(COURSE_ROOT / "tests" / "nbval_sanitize.cfg", encoding="utf-8")
    for title, (pattern, stand_in) in NOT_COMPARED.items():
        rules[title] = {"regex": pattern, "replace": stand_in}
    sanitize = (check.folder / "sanitize.cfg").resolve()
    with sanitize.open("w", encoding="utf-8") as file:
        rules.write(file)
    words = ["--nbval", "notebooks", "--nbval-sanitize-with", str(sanitize), "--nbval-current-env"]
    part = _pytest(check.folder / "outputs.xml", *words)
    equal = 1 - len(part["failed"]) / max(1, part["tests"])
    return {**part, "equal": round(equal, 3), "passed": bool(part["tests"]) and equal >= EQUAL_CELLS}


def check_planner(check: Check) -> dict[str, Any]:
    """The KV cache that each profile's server finds on this card, against the planner's."""
    from helpers.model_facts import find_model_facts
    from helpers.server import serve
    from toolkit.planner import EngineSettings, Workload, find_gpu, plan_memory

    rows: list[dict[str, Any]] = []
    for name in check.profiles:
        active = check.settings_of(name)
        if active.profile.source == "bundled":
            continue  # its cache is whatever is left of a share
        engine, limits = active.engine_arguments(), active.profile.engine["limit_mm_per_prompt"]
        longest, users = active.profile.max_model_len, engine["max_num_seqs"]
        work = Workload(context=longest, images=limits["image"], video=bool(limits["video"]), users=users)
        settings = EngineSettings(utilization=engine["gpu_memory_utilization"])
        facts, card = find_model_facts(active.profile.model), find_gpu(f"{gpu_memory_gib():.2f} GiB")
        planned = plan_memory(facts, card, workload=work, engine=settings)
        with serve(active, quiet=True) as server:
            log = server.log_path.read_text(errors="replace") if server.log_path else ""
        found = CACHE_LINE.search(log)
        tokens = int(found[1].replace(",", "")) if found else 0
        off = planned.kv_cache_tokens / tokens - 1 if tokens else 1.0
        rows.append({"profile": name, "planned": planned.kv_cache_tokens, "engine": tokens, "off": round(off, 3)})
    return {"passed": all(abs(row["off"]) <= PLANNER_SHARE for row in rows), "rows": rows}


def _pytest(report: Path, *words: str) -> dict[str, Any]:
    """Run pytest; how many tests ran, which failed, and whether none did."""
    report = report.resolve()
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words, f"--junitxml={report}"]
    done = subprocess.run(command, cwd=COURSE_ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if not report.is_file():
        return {"passed": False, "tests": 0, "failed": [f"pytest ended with {done.returncode}: {done.stderr[-500:]}"]}
    tree = ElementTree.parse(report)  # noqa: S314 - pytest has just written it
    cases = [case for case in tree.iter("testcase") if case.find("skipped") is None]
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    names = [f"{case.get('classname')}::{case.get('name')}" for case in failed]
    return {"passed": done.returncode == 0, "tests": len(cases), "failed": names}


def as_page(record: dict[str, Any]) -> str:
    """The record in Markdown. GPU minutes go to ``notebooks/course.yaml``, what ran to the states of recipes."""
    titles = {name: what for name, (_, what, _) in PARTS.items()}
    filters = {"versions": describe_versions}
    return render(TEMPLATE, filters, record=record, titles=titles, equal_cells=EQUAL_CELLS)


#: Name → whether it needs a GPU, what it is, and what runs it.
PARTS: dict[str, tuple[bool, str, Callable[[Check], dict[str, Any]]]] = {
    "drift": (False, "notebooks, flags and recipes against the installed vLLM", check_drift),
    "notebooks": (True, "every notebook on every profile", check_notebooks),
    "outputs": (True, "the tiny model's answers against the committed ones", check_outputs),
    "planner": (True, "the planner against the engine's own KV cache", check_planner),
    "gpu tests": (
        True,
        "the tests marked 'gpu'",
        lambda check: _pytest(check.folder / "gpu.xml", "tests", "-m", "gpu"),
    ),
}

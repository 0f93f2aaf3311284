"""The room's server, sized by the planner: which model, and what starts it for everybody."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from helpers.errors import CourseError
from helpers.files import write_whole
from toolkit.planner import Workload, recommend
from toolkit.planner.cli import find_model, own_gpus
from toolkit.planner.hardware import as_gpu
from toolkit.planner.manifests import compose
from toolkit.planner.recipes import EVERYWHERE, PORT, in_lines

if TYPE_CHECKING:
    from toolkit.planner.recommendation import Recommendation

MOST_SEATS = 500
#: Candidates, the most able first.
MODELS = ("30b-a3b", "8b", "4b", "2b")
#: Longest prompt with its answer, and images in it; as the profiles have it.
CONTEXT, IMAGES = 8192, 4
#: What each seat must get at the same time: an image of 1,000 tokens, a question, an answer of 256, and as much again.
TOKENS_PER_SEAT = 2048
KEY = ': "${VLLM_API_KEY:?set it first; clients send it: export VLLM_API_KEY=...}"'


@dataclass(frozen=True)
class SeatServer:
    seats: int
    plan: Recommendation | None
    """None: the tiny model, on the CPU of any machine."""

    @property
    def summary(self) -> str:
        if self.plan is None:
            return f"The tiny model on a CPU, for {self.seats} seats: every request is answered, as a tiny model can."
        memory, setup = self.plan.plan, self.plan.plan.setup
        tokens = memory.kv_cache_tokens
        return (
            f"{self.model} on {setup.count} × {setup.gpu.name}, for {self.seats} seats: the KV cache holds {tokens:,} "
            f"tokens, {tokens // self.seats:,} per seat if all ask at once; up to {setup.max_num_seqs} requests are "
            "answered at the same time. Computed, not measured."
        )

    @property
    def model(self) -> str:
        """The name that clients send."""
        return self.plan.launch.checkpoint if self.plan and self.plan.launch else "tiny-qwen3-vl"

    @property
    def port(self) -> int:
        """Where it listens."""
        return PORT

    @property
    def command(self) -> str:
        """For a shell, with the key in ``VLLM_API_KEY``; every address, since the seats are other machines."""
        if self.plan is None or self.plan.launch is None:
            words = ["course", "serve", "--profile", "tiny", "--host", EVERYWHERE, "--port", str(PORT)]
            return f'COURSE_SERVER_KEY="$VLLM_API_KEY" {in_lines(words)}'
        launch = self.plan.launch
        variables = "".join(f"{name}={shlex.quote(value)} \\\n  " for name, value in launch.environment.items())
        return variables + in_lines(launch.command(host=EVERYWHERE))

    def write(self, folder: Path) -> None:
        """``start.sh``, ``.env.example`` and, for a GPU, ``compose.yaml``. None of them holds a key."""
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "start.sh", f"#!/bin/sh\n# {self.summary}\nset -eu\n{KEY}\n{self.command}\n")
        (folder / "start.sh").chmod(0o755)
        write_whole(folder / ".env.example", "# Copy to .env, which stays on this machine.\nVLLM_API_KEY=choose-one\n")
        if self.plan and self.plan.launch:
            contents = compose(self.plan.launch)
            for service in contents["services"].values():
                service["ports"] = [f"{PORT}:{PORT}"]  # the seats are other machines
            weights = f"hf download {self.model} --local-dir data/models/{self.model}"
            head = (
                f"# {self.summary}\n# {weights}\n# cp .env.example .env, choose a key in it, and: docker compose up\n"
            )
            write_whole(folder / "compose.yaml", head + yaml.safe_dump(contents, sort_keys=False, width=1000))


def size_server(seats: int, gpu: str = "auto", count: int | None = None, model: str | None = None) -> SeatServer:
    """The most able model that fits with room for all seats; or whether the given one does.

    Args:
        seats: how many learners may ask at once.
        gpu: a card of ``data/gpus.yaml``, '24 GiB', 'auto' for this machine's, or 'none' for the tiny model.
        count: how many of them; None: one, or all of this machine.
        model: as for ``course plan``; None: chosen.

    Raises:
        CourseError: a number out of range, an unknown card or model, or nothing fits; with what would.
    """
    if not 1 <= seats <= MOST_SEATS:
        raise CourseError(f"{seats} seats were refused.", "", f"give 1 to {MOST_SEATS}")
    if gpu == "none":
        return SeatServer(seats, None)
    try:
        spec, found = own_gpus() if gpu == "auto" else (as_gpu(gpu), 1)
    except CourseError as error:
        remedy = f"{error.remedy}; or --gpu none for the tiny model"
        raise CourseError(error.what, error.cause, remedy) from None
    workload = Workload(context=CONTEXT, images=IMAGES, video=True, users=seats)
    tried = []
    for name in [model] if model else MODELS:
        hub_id, weights = find_model(name)
        plan = recommend(spec, count or found, hub_id, workload, weights)
        tokens = plan.plan.kv_cache_tokens if plan.plan.fits else 0
        if plan.launch and not plan.plan.narrow and tokens >= seats * TOKENS_PER_SEAT:
            return SeatServer(seats, plan)
        tried.append(f"{name}: room for {tokens // TOKENS_PER_SEAT} seats" if tokens else f"{name} does not fit")
    raise CourseError(
        f"No server for {seats} seats fits on {count or found} × {spec.name}.",
        f"each seat needs {TOKENS_PER_SEAT:,} tokens of KV cache at the same time ({'; '.join(tried)})",
        "take a larger card or more of them (--count), a smaller --model, or fewer seats that share a screen",
    )

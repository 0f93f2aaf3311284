"""A launch as ``docker run``, as a Compose file and as Kubernetes manifests.

What all three share: a pinned image, an ordinary user without capabilities where the image has one, weights read from a
folder that the server cannot write to, no hub contacted while serving, the key from outside and never in a file, and
shared memory for the processes of a tensor-parallel engine. None of it has been run on a GPU by this course: the files
are checked against the schemas in ``data/schemas``.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from helpers.templates import render
from toolkit.planner.recipes import EVERYWHERE, PORT, Launch, in_lines

VLLM_VERSION = "0.32.0"
#: Folder of weights inside a container; each checkpoint lies in <org>/<name>, as ``course download`` puts it.
MODELS = "/models"
#: The user 'vllm' that the CUDA image brings since github.com/vllm-project/vllm/pull/40275. A number that the image
#: does not know ends the start: torch asks for the user's name (github.com/ai-dynamo/dynamo/pull/12457).
USER = 2000
#: Upper limit of /dev/shm, not a reservation: NCCL and vLLM's message queue between the processes of an engine.
SHARED_MEMORY_GIB = 16
#: The largest checkpoint takes its time to be read from a network disk.
START_SECONDS, PROBE_SECONDS = 3600, 10
#: Besides the weights: tokenizer, configuration, and what a download needs until it is complete.
DISK_SHARE, DISK_SPARE_GIB = 1.1, 5
NOT_ASKED = "/metrics, /health, /tokenize and others answer without the key: admit only those who may see them."


@dataclass(frozen=True)
class Platform:
    """What differs between the makers of GPUs."""

    image: str
    resource: str
    """Kubernetes' name of one GPU, as the maker's device plugin announces it."""
    user: int | None
    """Number of an ordinary user that the image knows; None: root, without capabilities."""


PLATFORMS = {
    "nvidia": Platform(f"vllm/vllm-openai:v{VLLM_VERSION}", "nvidia.com/gpu", USER),
    "amd": Platform(f"vllm/vllm-openai-rocm:v{VLLM_VERSION}", "amd.com/gpu", None),
}


def container_command(launch: Launch) -> list[str]:
    """``vllm serve`` inside a container: every address, since only the published port leads in."""
    return launch.command(model=f"{MODELS}/{launch.checkpoint}", host=EVERYWHERE, port=PORT)


def docker_run(launch: Launch) -> str:
    """The shell lines that fetch the weights into ``data/models`` and start a container."""
    return _rendered("docker_run.sh", launch).strip()


def compose(launch: Launch) -> dict[str, Any]:
    """The contents of a ``compose.yaml``; the key comes from the variable VLLM_API_KEY or a file ``.env`` beside it."""
    return yaml.safe_load(_rendered("compose.yaml", launch))


def kubernetes(launch: Launch, weights_gib: float) -> list[dict[str, Any]]:
    """A claim for the weights, the server, and its address inside the cluster.

    The key is read from a Secret that is made by hand, so that it lies in no file (see `kubernetes_text`). The claim
    follows from the checkpoint's size in GiB.
    """
    folder = shlex.quote(f"{MODELS}/{launch.checkpoint}")
    download = f"hf download {shlex.quote(launch.checkpoint)} --local-dir {folder}"
    fetch = f"test -f {folder}/complete || {{ {download} && touch {folder}/complete; }}"
    disk = int(weights_gib * DISK_SHARE + DISK_SPARE_GIB) + 1
    return list(yaml.safe_load_all(_rendered("kubernetes.yaml", launch, fetch=fetch, disk_gib=disk)))


def compose_text(launch: Launch) -> str:
    """`compose` as a file, with what to do first."""
    head = [
        f"hf download {launch.checkpoint} --local-dir data/models/{launch.checkpoint}",
        'export VLLM_API_KEY="$(openssl rand -hex 32)" && docker compose up',
        NOT_ASKED,
    ]
    return _commented(head) + _yaml(compose(launch))


def kubernetes_text(launch: Launch, weights_gib: float) -> str:
    """`kubernetes` as a file, with what to do first."""
    head = [
        f'kubectl create secret generic {service_name(launch)} --from-literal=api-key="$(openssl rand -hex 32)"',
        NOT_ASKED,
    ]
    return _commented(head) + "---\n".join(_yaml(part) for part in kubernetes(launch, weights_gib))


def service_name(launch: Launch) -> str:
    """The checkpoint's name as a DNS label: lower case, letters, digits and dashes, at most 50 characters."""
    name = launch.checkpoint.rstrip("/").rsplit("/", 1)[-1].lower()
    return re.sub(r"[^a-z0-9]+", "-", name)[:50].strip("-")


def _rendered(template: str, launch: Launch, **values: Any) -> str:
    return render(
        Path(__file__).with_name(f"{template}.j2"),
        filters={"quoted": shlex.quote, "in_lines": in_lines},
        launch=launch,
        name=service_name(launch),
        platform=PLATFORMS[launch.vendor],
        command=container_command(launch),
        environment={"HF_HUB_OFFLINE": "1", **launch.environment},
        port=PORT,
        models=MODELS,
        shared_memory_gib=SHARED_MEMORY_GIB,
        start_seconds=START_SECONDS,
        probe_seconds=PROBE_SECONDS,
        **values,
    )


def _yaml(data: dict[str, Any]) -> str:
    return yaml.dump(data, Dumper=_Plain, sort_keys=False, width=1000, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    """Writes what occurs twice twice, instead of a reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _commented(lines: list[str]) -> str:
    return "".join(f"# {line}\n" for line in lines)

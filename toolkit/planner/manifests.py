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
from typing import Any

import yaml

from toolkit.planner.recipes import EVERYWHERE, PORT, Launch, in_lines

VLLM_VERSION = "0.32.0"
#: Folder of weights inside a container; each checkpoint lies in <org>/<name>, as `python -m course download` puts it.
MODELS = "/models"
#: The user 'vllm' that the CUDA image brings since github.com/vllm-project/vllm/pull/40275. A number that the image
#: does not know ends the start: torch asks for the user's name (github.com/ai-dynamo/dynamo/pull/12457).
USER = 2000
#: Ceiling of /dev/shm, not a reservation: NCCL and vLLM's message queue between the processes of an engine.
SHARED_MEMORY_GIB = 16
#: The largest checkpoint takes its time to be read from a network disk.
START_SECONDS, PROBE_SECONDS = 3600, 10
#: Beside the weights: tokenizer, configuration, and what a download needs until it is complete.
DISK_SHARE, DISK_SPARE_GIB = 1.1, 5
#: Needs no curl in the image; ends with an error on any answer but 2xx.
_ASK = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{PORT}/health', timeout=5)"
NOT_ASKED = "/metrics, /health, /tokenize and others answer without the key: admit only those who may see them."


@dataclass(frozen=True)
class Platform:
    """What differs between the makers of cards."""

    image: str
    resource: str
    """Kubernetes' name of one card, as the maker's device plugin announces it."""
    user: int | None
    """Number of an ordinary user that the image knows; None: root, without capabilities."""


PLATFORMS = {
    "nvidia": Platform(f"vllm/vllm-openai:v{VLLM_VERSION}", "nvidia.com/gpu", USER),
    "amd": Platform(f"vllm/vllm-openai-rocm:v{VLLM_VERSION}", "amd.com/gpu", None),
}


def container_command(launch: Launch) -> list[str]:
    """``vllm serve`` inside a container: every address, since only the published port leads in."""
    return launch.command(model=f"{MODELS}/{launch.checkpoint}", host=EVERYWHERE, port=PORT)


def docker_run(launch: Launch, folder: str = "$PWD/data/models") -> str:
    """The shell lines that fetch the weights and start a container on this machine.

    Args:
        launch: what to start.
        folder: of weights on the machine, in terms of a shell.
    """
    platform = PLATFORMS[launch.vendor]
    options = [["--name", service_name(launch)], ["--init"], *_isolation(launch), *_devices(launch)]
    options += [["--publish", f"127.0.0.1:{PORT}:{PORT}"], ["--env", "VLLM_API_KEY"]]
    options += [["--env", f"{name}={value}"] for name, value in _environment(launch).items()]
    command = container_command(launch)
    options += [["--entrypoint", command[0]]]
    lines = ["docker run --rm", *(in_lines(option) for option in options)]
    # Double quotes: the shell is to fill the folder in.
    lines += [f'--volume "{folder}:{MODELS}:ro"', platform.image, in_lines(command[1:])]
    return "\n".join(
        [
            f'hf download {launch.checkpoint} --local-dir "{folder}/{launch.checkpoint}"',
            'export VLLM_API_KEY="$(openssl rand -hex 32)"  # clients send it',
            " \\\n  ".join(lines),
        ]
    )


def compose(launch: Launch) -> dict[str, Any]:
    """The contents of a ``compose.yaml``; the key comes from the variable VLLM_API_KEY or a file ``.env`` beside it."""
    platform, command = PLATFORMS[launch.vendor], container_command(launch)
    service: dict[str, Any] = {
        "image": platform.image,
        "entrypoint": command[:1],
        "command": [_literal(word) for word in command[1:]],
        "init": True,
        "restart": "unless-stopped",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "ports": [f"127.0.0.1:{PORT}:{PORT}"],
        "environment": {
            "VLLM_API_KEY": "${VLLM_API_KEY:?set it, or write it into .env}",
            **{name: _literal(value) for name, value in _environment(launch).items()},
        },
        "volumes": [{"type": "bind", "source": "${MODELS:-./data/models}", "target": MODELS, "read_only": True}],
        "healthcheck": {
            "test": ["CMD", "python3", "-c", _ASK],
            "interval": "30s",
            "timeout": f"{PROBE_SECONDS}s",
            "start_period": f"{START_SECONDS}s",
        },
    }
    if platform.user is not None:
        service["user"] = str(platform.user)
    if launch.vendor == "amd":
        service |= {"devices": ["/dev/kfd", "/dev/dri"], "group_add": ["video"], "ipc": "host"}
    else:
        gpus = {"driver": "nvidia", "count": launch.gpus, "capabilities": ["gpu"]}
        service |= {
            "shm_size": f"{SHARED_MEMORY_GIB}gb",
            "deploy": {"resources": {"reservations": {"devices": [gpus]}}},
        }
    return {"name": "qwen3-vl", "services": {service_name(launch): service}}


def kubernetes(launch: Launch, weights_gib: float) -> list[dict[str, Any]]:
    """A claim for the weights, the server, and its address inside the cluster.

    The key is read from a Secret that is made by hand, so that it lies in no file (see `kubernetes_text`).

    Args:
        launch: what to start.
        weights_gib: size of the checkpoint, for the claim.
    """
    name = service_name(launch)
    labels = {"app.kubernetes.io/name": name}
    disk = int(weights_gib * DISK_SHARE + DISK_SPARE_GIB) + 1
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": f"{name}-weights", "labels": labels},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": f"{disk}Gi"}}},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": 1,
            # The old pod has to give its cards back before the new one can have them.
            "strategy": {"type": "Recreate"},
            "progressDeadlineSeconds": 2 * START_SECONDS,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _pod(launch, name)},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "type": "ClusterIP",
            "selector": labels,
            "ports": [{"name": "http", "port": PORT, "targetPort": "http"}],
        },
    }
    return [claim, deployment, service]


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


def _pod(launch: Launch, name: str) -> dict[str, Any]:
    platform = PLATFORMS[launch.vendor]
    locked = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    security: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}
    if platform.user is not None:
        security |= {"runAsNonRoot": True, "runAsUser": platform.user, "fsGroup": platform.user}
    key = {"secretKeyRef": {"name": name, "key": "api-key"}}
    settings = [{"name": key, "value": value} for key, value in _environment(launch).items()]
    command = container_command(launch)
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # else the cluster adds variables of its own, which vLLM may take for settings
        "terminationGracePeriodSeconds": 60,
        "securityContext": security,
        "initContainers": [
            {
                "name": "weights",
                "image": platform.image,
                "command": ["sh", "-c", _fetch(launch)],
                "env": [{"name": "HF_HOME", "value": "/tmp/huggingface"}],  # noqa: S108
                "securityContext": locked,
                "volumeMounts": [{"name": "weights", "mountPath": MODELS}],
            }
        ],
        "containers": [
            {
                "name": "vllm",
                "image": platform.image,
                "command": command[:2],
                "args": command[2:],
                "env": [{"name": "VLLM_API_KEY", "valueFrom": key}, *settings],
                "ports": [{"name": "http", "containerPort": PORT}],
                "resources": {
                    # One process for each card, one for the engine, one for the address.
                    "requests": {"cpu": str(2 + launch.gpus)},
                    "limits": {platform.resource: str(launch.gpus)},
                },
                "securityContext": locked,
                "startupProbe": _probe(START_SECONDS // PROBE_SECONDS),
                "readinessProbe": _probe(3),
                "livenessProbe": _probe(6),
                "volumeMounts": [
                    {"name": "weights", "mountPath": MODELS, "readOnly": True},
                    {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108
                ],
            }
        ],
        "volumes": [
            {"name": "weights", "persistentVolumeClaim": {"claimName": f"{name}-weights"}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": f"{SHARED_MEMORY_GIB}Gi"}},
        ],
    }


def _fetch(launch: Launch) -> str:
    """Once and for all: a restart neither needs the hub nor finds other weights there."""
    folder = shlex.quote(f"{MODELS}/{launch.checkpoint}")
    download = f"hf download {shlex.quote(launch.checkpoint)} --local-dir {folder}"
    return f"test -f {folder}/complete || {{ {download} && touch {folder}/complete; }}"


def _probe(failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": "/health", "port": "http"},
        "periodSeconds": PROBE_SECONDS,
        "timeoutSeconds": PROBE_SECONDS,
        "failureThreshold": failures,
    }


def _environment(launch: Launch) -> dict[str, str]:
    return {"HF_HUB_OFFLINE": "1", **launch.environment}


def _isolation(launch: Launch) -> list[list[str]]:
    user = PLATFORMS[launch.vendor].user
    options = [] if user is None else [["--user", str(user)]]
    return [*options, ["--cap-drop", "ALL"], ["--security-opt", "no-new-privileges"]]


def _devices(launch: Launch) -> list[list[str]]:
    if launch.vendor == "amd":
        return [["--device=/dev/kfd"], ["--device=/dev/dri"], ["--group-add", "video"], ["--ipc=host"]]
    return [["--gpus", str(launch.gpus)], ["--shm-size", f"{SHARED_MEMORY_GIB}g"]]


def _literal(text: str) -> str:
    return text.replace("$", "$$")  # Compose fills in what follows a single one


def _yaml(data: dict[str, Any]) -> str:
    return yaml.dump(data, Dumper=_Plain, sort_keys=False, width=1000, allow_unicode=True)


class _Plain(yaml.SafeDumper):
    """Writes what occurs twice twice, instead of a reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _commented(lines: list[str]) -> str:
    return "".join(f"# {line}\n" for line in lines)

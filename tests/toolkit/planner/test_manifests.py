"""Manifests: valid by the schemas of Compose and Kubernetes, least privilege, and no key in any file."""

import json
import shlex
import subprocess

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from helpers.files import COURSE_ROOT
from toolkit.planner import manifests
from toolkit.planner.manifests import (
    compose,
    compose_text,
    container_command,
    docker_run,
    kubernetes,
    kubernetes_text,
    service_name,
)
from toolkit.planner.recipes import Launch, load_recipes

LAUNCHES = {name: recipe.launch() for name, recipe in load_recipes().items()}
NVIDIA = [name for name, launch in LAUNCHES.items() if launch.vendor == "nvidia"]
SCHEMAS = COURSE_ROOT / "data" / "schemas"
COMPOSE = Draft202012Validator(json.loads((SCHEMAS / "compose.json").read_text()))
KUBERNETES = json.loads((SCHEMAS / "kubernetes-1.37.json").read_text())
#: What gives a container more of its host than it needs.
PRIVILEGES = ("--privileged", "--network=host", "/dev/mem", "SYS_ADMIN", "SYS_PTRACE", "unconfined", "hostNetwork")


def check_kubernetes(part):
    schema = {"$ref": f"#/$defs/{part['kind']}", "$defs": KUBERNETES["$defs"], "required": ["apiVersion", "kind"]}
    Draft202012Validator(schema).validate(part)


def shell_words(launch):
    """The words of `docker run` as a shell would hand them over."""
    return shlex.split(docker_run(launch).split("\n", 2)[2].replace("\\\n", " "))


def options(words, name):
    given = [words[place + 1] for place, word in enumerate(words) if word == name]
    return given + [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]


@pytest.mark.parametrize("name", LAUNCHES)
def test_every_recipe_gives_valid_files(name):
    launch = LAUNCHES[name]
    composed, clustered = compose(launch), kubernetes(launch, 100)
    COMPOSE.validate(composed)
    for part in clustered:
        check_kubernetes(part)
    assert yaml.safe_load(compose_text(launch)) == composed
    assert list(yaml.safe_load_all(kubernetes_text(launch, 100))) == clustered
    assert [part["kind"] for part in clustered] == ["PersistentVolumeClaim", "Deployment", "Service"]


def test_the_schemas_refuse_what_is_wrong():
    """Trimmed schemas that take anything would prove nothing."""
    launch = LAUNCHES["4b-32gb"]
    service = service_name(launch)
    for change in ({"shm_sizes": "1gb"}, {"ports": 8000}, {"deploy": {"resources": {"reservation": {}}}}):
        wrong = compose(launch)
        wrong["services"][service] |= change
        with pytest.raises(ValidationError):
            COMPOSE.validate(wrong)
    pod_changes = (
        {"securityContexts": {}},
        {"containers": {}},
        {"hostNetwork": "yes"},
        {"volumes": [{"emptydir": {}}]},
    )
    for change in pod_changes:
        wrong = kubernetes(launch, 100)[1]
        wrong["spec"]["template"]["spec"] |= change
        with pytest.raises(ValidationError):
            check_kubernetes(wrong)
    wrong = kubernetes(launch, 100)[1]
    wrong["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["httpget"] = {}
    with pytest.raises(ValidationError):
        check_kubernetes(wrong)


@pytest.mark.parametrize("name", LAUNCHES)
def test_all_three_start_the_same_server(name):
    launch = LAUNCHES[name]
    wanted = container_command(launch)
    assert wanted[2] == f"/models/{launch.checkpoint}"
    assert wanted[-len(launch.flags) :] == list(launch.flags)
    words = shell_words(launch)
    image = next(place for place, word in enumerate(words) if word.startswith("vllm/vllm-openai"))
    assert options(words[:image], "--entrypoint") + words[image + 1 :] == wanted
    (service,) = compose(launch)["services"].values()
    assert service["entrypoint"] + service["command"] == wanted
    (container,) = kubernetes(launch, 100)[1]["spec"]["template"]["spec"]["containers"]
    assert container["command"] + container["args"] == wanted
    environment = {"HF_HUB_OFFLINE": "1", **launch.environment}
    assert {f"{key}={value}" for key, value in environment.items()} | {"VLLM_API_KEY"} == set(options(words, "--env"))
    assert service["environment"].items() >= environment.items()
    assert {one["name"]: one["value"] for one in container["env"] if "value" in one} == environment
    assert words[image] == service["image"] == container["image"]


@pytest.mark.parametrize("name", LAUNCHES)
def test_least_privilege(name):
    launch = LAUNCHES[name]
    texts = (docker_run(launch), compose_text(launch), kubernetes_text(launch, 100))
    assert not [word for word in PRIVILEGES for text in texts if word in text]
    words = shell_words(launch)
    assert options(words, "--publish") == ["127.0.0.1:8000:8000"]
    assert options(words, "--cap-drop") == ["ALL"]
    assert options(words, "--volume") == ["$PWD/data/models:/models:ro"]
    (service,) = compose(launch)["services"].values()
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    assert service["volumes"][0]["read_only"]
    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    pod = kubernetes(launch, 100)[1]["spec"]["template"]["spec"]
    for container in (*pod["containers"], *pod["initContainers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts == {"/models": True, "/dev/shm": False}
    assert kubernetes(launch, 100)[2]["spec"]["type"] == "ClusterIP"


@pytest.mark.parametrize("name", NVIDIA)
def test_nvidia_cards_and_an_ordinary_user(name):
    launch = LAUNCHES[name]
    words = shell_words(launch)
    assert (options(words, "--gpus"), options(words, "--user")) == ([str(launch.gpus)], ["2000"])
    assert options(words, "--shm-size") == ["16g"]
    (service,) = compose(launch)["services"].values()
    (devices,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert (devices["count"], service["user"], service["shm_size"]) == (launch.gpus, "2000", "16gb")
    pod = kubernetes(launch, 100)[1]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": str(launch.gpus)}


def test_amd_cards_get_their_devices_and_nothing_else():
    launch = LAUNCHES["235b-mi300x"]
    words = shell_words(launch)
    assert sorted(options(words, "--device")) == ["/dev/dri", "/dev/kfd"]
    assert options(words, "--group-add") == ["video"]
    assert "--ipc=host" in words
    assert "--gpus" not in words
    (service,) = compose(launch)["services"].values()
    assert (service["devices"], service["ipc"]) == (["/dev/kfd", "/dev/dri"], "host")
    pod = kubernetes(launch, 100)[1]["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"amd.com/gpu": "4"}


def test_the_pod_is_asked_for_its_health_and_the_key_comes_from_a_secret():
    launch = LAUNCHES["235b-h100-fp8"]
    claim, deployment, service = kubernetes(launch, 235.5)
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": "http"}
    assert container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"] >= 3600
    key = next(one for one in container["env"] if one["name"] == "VLLM_API_KEY")
    assert key["valueFrom"]["secretKeyRef"] == {"name": service_name(launch), "key": "api-key"}
    assert f"create secret generic {service_name(launch)} --from-literal=api-key=" in kubernetes_text(launch, 1)
    assert claim["spec"]["resources"]["requests"]["storage"] == "265Gi", "a tenth and 5 GiB more than the weights"
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert pod["volumes"][1]["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]


def test_weights_are_fetched_once(tmp_path, monkeypatch):
    """A restart must not find others, and must not need the hub; an interrupted download goes on."""
    (tmp_path / "bin").mkdir()
    hub = tmp_path / "bin" / "hf"
    hub.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\nmkdir -p "$4"\nexit $STATUS\n')
    hub.chmod(0o755)
    monkeypatch.setattr(manifests, "MODELS", str(tmp_path / "models"))
    (fetch,) = kubernetes(LAUNCHES["4b-32gb"], 8)[1]["spec"]["template"]["spec"]["initContainers"]
    ends = []
    for status in ("1", "0", "1"):
        environment = {"PATH": f"{hub.parent}:/usr/bin:/bin", "STATUS": status}
        ends.append(subprocess.run(fetch["command"], env=environment, timeout=60).returncode)
    assert ends == [1, 0, 0]
    calls = (tmp_path / "calls").read_text().splitlines()
    model = "Qwen/Qwen3-VL-4B-Instruct"
    assert calls == [f"download {model} --local-dir {tmp_path}/models/{model}"] * 2


def test_names_are_dns_labels_and_dollars_stay_dollars():
    launch = Launch("Some_Org/A.Very_Long--Name" + "x" * 60, ("--chat-template", "$x"), {"A": "$b"})
    assert service_name(launch).startswith("a-very-long-name")
    assert len(service_name(launch) + "-weights") <= 63
    (service,) = compose(launch)["services"].values()
    assert (service["command"][-1], service["environment"]["A"]) == ("$$x", "$$b")
    assert shell_words(launch)[-1] == "$x"

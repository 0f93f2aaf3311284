"""The container files name what is there, and agree with each other."""

import json
import re

from course.setup_checks import NUMA_REMEDY
from helpers.files import COURSE_ROOT

DOCKERFILE = (COURSE_ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_image_copies_what_set_up_needs():
    copied = {word for line in re.findall(r"^COPY \S+ (.*) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()}
    assert [name for name in copied if not (COURSE_ROOT / name).exists()] == []
    assert {"course", "helpers", "toolkit", "packaging", "requirements", "pyproject.toml"} <= copied


def test_the_image_has_the_library_that_the_engine_loads():
    (package,) = re.findall(r"apt-get install (\w+)", NUMA_REMEDY)
    assert f" {package} " in DOCKERFILE


def test_the_development_container_uses_the_image_s_user_and_environment():
    container = json.loads((COURSE_ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert f"USER {container['remoteUser']}\n" in DOCKERFILE
    assert f"WORKDIR {container['workspaceFolder']}\n" in DOCKERFILE
    (venv,) = re.findall(r"COURSE_VENV=(\S+)", DOCKERFILE)
    assert container["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"] == f"{venv}/bin/python"
    assert (COURSE_ROOT / ".devcontainer" / container["build"]["dockerfile"]).resolve() == COURSE_ROOT / "Dockerfile"

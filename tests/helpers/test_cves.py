"""The pinned vLLM is at or above every release that mends a published weakness."""

import re

import pytest
from packaging.version import Version

from helpers.files import COURSE_ROOT, read_yaml
from toolkit.planner.manifests import PLATFORMS, VLLM_VERSION

CVES = read_yaml(COURSE_ROOT / "data" / "cves.yaml")["cves"]
PINNED_IN = ["requirements.txt", "requirements-cpu.txt", "requirements/lock-cpu.txt", "requirements/lock-cuda.txt"]


def pinned(name):
    text = (COURSE_ROOT / name).read_text()
    return set(re.findall(r"^vllm(?:-cpu)?==([\w.]+)", text, re.MULTILINE))


@pytest.mark.parametrize("cve", CVES)
def test_the_pin_is_at_or_above_the_fix(cve):
    entry = CVES[cve]
    assert set(entry) - {"fixed_in", "above"} == {"what", "source"}
    for name in PINNED_IN:
        for version in pinned(name):
            if "above" in entry:
                assert Version(version) > Version(entry["above"]), f"{name}: {cve}"
            else:
                assert Version(version) >= Version(entry["fixed_in"]), f"{name}: {cve}"


def test_requirements_locks_and_images_pin_the_same_version():
    for name in PINNED_IN:
        assert pinned(name) == {VLLM_VERSION}, name
    assert all(platform.image.endswith(f":v{VLLM_VERSION}") for platform in PLATFORMS.values())

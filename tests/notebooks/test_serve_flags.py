"""The table of flags in notebook 03: complete for every profile, and true for the installed version."""

import re

import pytest
import yaml

from helpers.profiles import COURSE_ROOT, ActiveProfile, load_profiles
from helpers.server import COURSE_FLAGS
from tests.notebooks import drift

FLAGS = yaml.safe_load((COURSE_ROOT / "data" / "serve_flags.yaml").read_text())


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", load_profiles())
def test_every_flag_of_a_profiles_server_is_explained(name, device):
    active = ActiveProfile(load_profiles()[name].model_copy(update={"rehearse": True}), device, "a/model")
    words = [*active.serve_flags(), *COURSE_FLAGS, "--host", "--port", "--allowed-local-media-path"]
    flags = {word for word in words if word.startswith("--")}
    assert flags <= set(FLAGS["used"])


def test_what_the_table_says_of_each_flag_is_true(accepted):
    known = accepted["flags"]["serve"]
    for flag in FLAGS["used"]:
        assert drift.known_flag(flag, known), f"{flag} is not accepted any more"
    for entry in FLAGS["guides"]:
        assert set(entry) == {"flag", "status", "today"}
        assert entry["status"] in {"works", "changed", "gone", "never"}
        for flag in re.findall(r"(?<=\s)--[\w.-]+|^--[\w.-]+", entry["flag"]):
            if flag not in ("--model", "--host"):
                assert drift.known_flag(flag, known) == (entry["status"] != "gone"), flag

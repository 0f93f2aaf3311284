import pytest

from helpers import profiles
from helpers.profiles import use_profile
from toolkit.agents import thinking_edition


@pytest.fixture(autouse=True)
def set_free(monkeypatch):
    for name in ("COURSE_PROFILE", "COURSE_REHEARSE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COURSE_DEVICE", "cpu")


def test_a_released_models_edition_is_rehearsed_as_the_model_is():
    found = thinking_edition(use_profile("4b", rehearse=True, quiet=True))
    assert (found.profile.name, found.profile.rehearse) == ("4b-thinking", True)
    assert found.served_name == "Qwen3-VL-4B-Thinking"


def test_where_there_is_none_the_model_itself_is_taken(monkeypatch):
    older = use_profile("qwen2-vl-2b", rehearse=True, quiet=True)
    assert thinking_edition(older) is older
    tiny = use_profile("tiny", quiet=True)
    monkeypatch.setattr(profiles, "local_model", lambda profile: None)
    monkeypatch.setattr("toolkit.agents.editions.local_model", lambda profile: None)
    assert thinking_edition(tiny) is tiny

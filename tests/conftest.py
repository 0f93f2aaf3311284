"""Shared by all tests: what the markers mean, and the one server of the test session."""

import os
import secrets

import pytest

from toolkit.batch.run import RAY_ENVIRONMENT

# Session fixtures in modules of their own: one server, and one look at what the installed libraries accept.
pytest_plugins = ["tests.support.accepted_fixture", "tests.support.server_fixture"]

MARKERS = {
    "gpu": "needs an NVIDIA GPU and vLLM's CUDA build",
    "engine": "starts the vLLM engine with the bundled model (tens of seconds)",
    "slow": "takes more than about ten seconds",
}


def pytest_configure(config):
    """Make the markers known, and keep Ray on this machine whichever test imports it first: vLLM does."""
    os.environ.update(RAY_ENVIRONMENT)
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def what_a_gpu_test_lacks() -> str:
    """What is absent for tests marked ``gpu``, or '' if nothing is."""
    from importlib.metadata import PackageNotFoundError, version

    from helpers.profiles import gpu_memory_gib

    if gpu_memory_gib() is None:
        return "no NVIDIA GPU: nvidia-smi is absent or lists none"
    try:
        if "cpu" in version("vllm"):
            return f"vLLM's CUDA build: {version('vllm')} is installed"
    except PackageNotFoundError:
        return "vllm"
    return ""


@pytest.fixture(autouse=True)
def environment_as_before():
    """What a test sets in the environment, as `use_profile` does, is gone after it: the next may start an engine."""
    before = os.environ.copy()
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def closed_figures():
    """No window is opened, and no figure stays open; for a module: ``pytestmark = mark.usefixtures(...)``."""
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


def pytest_collection_modifyitems(items):
    """Skip tests marked ``gpu`` where there is none, and say what is absent."""
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if wanting and (absent := what_a_gpu_test_lacks()):
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason=f"absent: {absent}"))

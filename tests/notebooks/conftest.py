"""Shared by the tests of what notebooks teach: what the installed versions accept."""

import hashlib
import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from helpers.files import COURSE_ROOT
from tests.notebooks import accepted as accepted_module


@pytest.fixture(scope="session")
def accepted(request):
    """What the installed versions accept; kept in pytest's cache, if there is one, until a version changes."""
    question = hashlib.sha256(Path(accepted_module.__file__).read_bytes())
    for package in ("vllm", "openai", "huggingface-hub", "modelscope", "qwen-vl-utils"):
        try:
            question.update(f"{package} {version(package)}".encode())
        except PackageNotFoundError:
            question.update(f"{package} absent".encode())
    key = f"drift/{question.hexdigest()[:16]}"
    cache = getattr(request.config, "cache", None)  # switched off where the cache plugin is
    known = cache.get(key, None) if cache else None
    if known is None:
        command = [sys.executable, "-m", accepted_module.__name__]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=COURSE_ROOT, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        known = json.loads(done.stdout)
        if cache:
            cache.set(key, known)
    return known

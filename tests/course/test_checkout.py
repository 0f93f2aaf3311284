"""What git writes into a working tree: on every machine the same bytes."""

import subprocess

import pytest

from helpers.files import COURSE_ROOT

BINARY = {".jpg", ".mp4", ".png", ".safetensors"}


def test_a_checkout_that_converts_line_endings_changes_nothing(tmp_path):
    """Git for Windows sets ``core.autocrlf=true``: scripts then fail in WSL, and models fail their verification."""
    if not (COURSE_ROOT / ".git").exists():
        pytest.skip("absent: this folder is no git checkout")
    command = ["git", "-c", "core.autocrlf=true", "checkout-index", "--all", f"--prefix={tmp_path}/"]
    subprocess.run(command, cwd=COURSE_ROOT, check=True)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    text = [path for path in files if path.suffix not in BINARY]
    assert len(text) > 100 and len(files) > len(text)
    assert [str(path.relative_to(tmp_path)) for path in text if b"\r\n" in path.read_bytes()] == []
    binary = [path.relative_to(tmp_path) for path in files if path.suffix in BINARY]
    assert [str(name) for name in binary if (tmp_path / name).read_bytes() != (COURSE_ROOT / name).read_bytes()] == []

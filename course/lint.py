"""The static checks: style, format, prose, imports and types; one line each, and a tool's findings if it has any."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from helpers.files import COURSE_ROOT

#: What is checked → the tool's command; the tools' settings are in pyproject.toml.
TOOLS = {
    "ruff check": ["ruff", "check", "--quiet", "."],
    "ruff format": ["ruff", "format", "--quiet", "--check", "."],
    "prose": ["python", "-m", "course.prose"],
    "import-linter": ["lint-imports"],
    "mypy": ["mypy", "--no-error-summary"],
}


def lint() -> int:
    """Run all tools; 0 if none found anything, else 1."""
    failed = False
    for name, command in TOOLS.items():
        began = time.monotonic()
        program = Path(sys.executable).with_name(command[0])
        done = subprocess.run([program, *command[1:]], cwd=COURSE_ROOT, capture_output=True, text=True, check=False)
        failed |= done.returncode != 0
        verdict = "failed" if done.returncode else "passed"
        print(f"{name:<14} {verdict} in {time.monotonic() - began:.1f} s", flush=True)
        if done.returncode:
            print(done.stdout.strip(), done.stderr.strip(), sep="\n", flush=True)
    return int(failed)

"""The house: small modules, small helpers, small faces, light imports, and tests that stand on their own."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Lines.
MODULE, HELPERS = 450, 4_500
FACE = 16
HEAVY = {"torch", "vllm", "transformers", "pandas", "matplotlib"}
PACKAGES = ["helpers", *(f"toolkit.{path.parent.name}" for path in sorted(ROOT.glob("toolkit/*/__init__.py")))]


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def imported_by(path: Path) -> set[str]:
    """Full names of the modules, or of what is imported from them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_no_module_is_too_long():
    modules = [path for top in ("helpers", "toolkit", "course", "benchmarks") for path in (ROOT / top).rglob("*.py")]
    long = {str(path.relative_to(ROOT)): lines_of(path) for path in modules if lines_of(path) > MODULE}
    assert long == {}, f"at most {MODULE} lines"


def test_the_helpers_stay_small_and_flat():
    assert not list((ROOT / "helpers").glob("*/*.py"))
    assert sum(map(lines_of, (ROOT / "helpers").glob("*.py"))) <= HELPERS


def test_no_test_module_imports_another():
    found = {
        str(path.relative_to(ROOT)): sorted(borrowed)
        for path in (ROOT / "tests").rglob("*.py")
        if (borrowed := {name for name in imported_by(path) if ".test_" in f".{name}"})
    }
    assert found == {}, "shared pieces go to tests/support or a conftest.py"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_face_is_small_and_has_what_it_promises(package):
    module = importlib.import_module(package)
    names = getattr(module, "__all__", [])
    assert len(names) <= FACE
    assert [name for name in names if not hasattr(module, name)] == []
    assert module.__doc__


@pytest.mark.parametrize("code", [*(f"import {package}" for package in PACKAGES), "import course.cli"])
def test_importing_a_package_imports_nothing_heavy(code):
    check = f"{code}; import sys; print(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_help_of_the_command_line_imports_nothing_heavy():
    check = f"""
import runpy, sys
sys.argv = ["course", "--help"]
try:
    runpy.run_module("course")
except SystemExit as end:
    print(end.code, *({HEAVY!r} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.split() == ["0"]
    assert "Commands:" in done.stdout


@pytest.mark.parametrize("script", ["bootstrap", "setup_checks"])
def test_set_up_needs_only_the_standard_library(script):
    ours = {"course", "setup_checks"}
    imported = {name.split(".")[0] for name in imported_by(ROOT / "course" / f"{script}.py")}
    assert imported - ours <= set(sys.stdlib_module_names)

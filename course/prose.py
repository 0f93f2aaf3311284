"""Prose held against a spelling list and the house's terms: Markdown, notebooks' prose, docstrings and messages.

``python -m course.prose`` prints a line for each finding; the terms are in ``house_terms.yaml``.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from helpers.files import COURSE_ROOT, read_yaml

TERMS_FILE = Path(__file__).with_name("house_terms.yaml")
FOLDERS = ("course", "helpers", "toolkit", "benchmarks")
PAGES = ("*.md", "docs/*.md", "data/*/README.md", "data/models/tiny-*/README.md", "packaging/*/*.md")
#: What is not prose: blocks and pieces of code, addresses, what Markdown links to.
NO_PROSE = re.compile(r"```.*?```|``.+?``|`[^`\n]+`|<!--.*?-->|\]\([^)]*\)|https?://\S+", re.DOTALL)
#: Modules whose strings are words to recognise or to draw, wrong ones among them.
WORD_LISTS = ("toolkit/toyworld/*", "toolkit/evaluation/metrics/*", "toolkit/tiny_model/dataset.py")
#: Words that codespell takes for mistakes.
KNOWN = "ans,te,fo,nd,ot,hel,thi"


def find_problems(texts: Mapping[str, str]) -> Iterator[str]:
    """Discouraged words, then misspelt ones.

    Args:
        texts: place, such as a file or a cell → text; lines are counted from its beginning.
    """
    prose = without_code(texts)
    yield from discouraged(prose)
    yield from misspelt(prose)


def discouraged(prose: Mapping[str, str]) -> Iterator[str]:
    """A line for each word of the house's list."""
    terms = read_yaml(TERMS_FILE)
    every = re.compile(
        "|".join(rf"(?P<t{number}>\b(?:{term})\b)".replace(" ", r"\s+") for number, term in enumerate(terms)),
        re.IGNORECASE,
    )
    wanted = list(terms.values())
    for place, text in prose.items():
        for found in every.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            said = " ".join(found.group().split())
            yield f"{place}, line {line}: '{said}' → {wanted[int((found.lastgroup or '')[1:])]}"


def without_code(texts: Mapping[str, str]) -> dict[str, str]:
    """The texts with spaces for code and addresses; lines stay where they are."""
    return {
        place: NO_PROSE.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text) for place, text in texts.items()
    }


def misspelt(prose: Mapping[str, str]) -> Iterator[str]:
    """A line for each word that codespell knows as a mistake."""
    with tempfile.TemporaryDirectory() as folder:
        places = {Path(folder, f"{number}.txt"): place for number, place in enumerate(prose)}
        for file, place in places.items():
            file.write_text(prose[place], encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "codespell_lib", "--ignore-words-list", KNOWN, folder],
            capture_output=True,
            text=True,
            check=False,
        )
    for found in re.finditer(r"^(.+?):(\d+): (.+)$", done.stdout, re.MULTILINE):
        yield f"{places[Path(found[1])]}, line {found[2]}: {found[3].replace('==>', '→')}"
    if done.returncode and not done.stdout:
        yield f"codespell failed: {done.stderr.strip()}"


def course_texts() -> Iterator[tuple[str, str]]:
    """All prose of the course with its place."""
    for pattern in PAGES:
        for path in sorted(COURSE_ROOT.glob(pattern)):
            if not path.name.endswith(".zh-CN.md"):
                yield str(path.relative_to(COURSE_ROOT)), path.read_text(encoding="utf-8")
    for path in sorted((COURSE_ROOT / "notebooks").rglob("*.ipynb")):
        for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
            if cell["cell_type"] == "markdown":
                yield f"{path.name}, cell {number}", "".join(cell["source"])
    for folder in FOLDERS:
        for path in sorted((COURSE_ROOT / folder).rglob("*.py")):
            name = path.relative_to(COURSE_ROOT)
            if not any(name.match(pattern) for pattern in WORD_LISTS):
                yield str(name), strings_of(path.read_text(encoding="utf-8"))


def strings_of(source: str) -> str:
    """The docstrings and messages of a module: its strings of several words, each on the line on which it begins."""
    lines: dict[int, str] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count(" ") > 1:
            for number, line in enumerate(node.value.split("\n"), start=node.lineno):
                lines[number] = f"{lines.get(number, '')} {line}"
    return "\n".join(lines.get(number, "") for number in range(1, max(lines, default=0) + 1))


def main() -> int:
    """Print what is found; 1 if anything is."""
    problems = list(find_problems(dict(course_texts())))
    for problem in problems:
        print(problem)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())

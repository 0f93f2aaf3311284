"""The marks in the code of a solution, which are those of otter-grader's ``assign``.

* ``answer = 42  # SOLUTION`` becomes ``answer = ...``
* the lines between ``# BEGIN SOLUTION`` and ``# END SOLUTION`` become ``...``, or ``name = ...`` if they are one
  assignment to a name
* with ``NO PROMPT`` after ``SOLUTION``, nothing is left

A text between the lines ``\"\"\" # BEGIN PROMPT`` and ``\"\"\"  # END PROMPT`` is what the learner gets instead of the
block before it: a cell to mend, say.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from textwrap import dedent

_LINE = re.compile(r"^(?P<before>(?P<indent>\s*).*?)\s*# ?SOLUTION(?P<none> NO PROMPT)?\s*$")
_ASSIGNMENT = re.compile(r"^\s*[\w., ]+?=(?!=)")
_BEGIN = re.compile(r"^(?P<indent>\s*)# ?BEGIN SOLUTION(?P<none> NO PROMPT)?\s*$")
_END = re.compile(r"^\s*# ?END SOLUTION\s*$")
_BEGIN_PROMPT = re.compile(r'^\s*"""\s*# ?BEGIN PROMPT\s*$')
_END_PROMPT = re.compile(r'^\s*"""\s*;?\s*# ?END PROMPT\s*$')


def for_learner(source: str) -> str:
    """A solution's code with the solution blanked.

    Raises:
        ValueError: a block without its end, or an end without its beginning.
    """
    return "\n".join(_blanked(source.splitlines()))


def solved(source: str) -> str:
    """A solution's code without marks and prompts, for people."""
    kept, in_prompt = [], False
    for line in source.splitlines():
        if _BEGIN_PROMPT.match(line) or _END_PROMPT.match(line):
            in_prompt = bool(_BEGIN_PROMPT.match(line))
        elif not in_prompt and not _BEGIN.match(line) and not _END.match(line):
            marked = _LINE.match(line)
            kept.append(marked["before"] if marked else line)
    return "\n".join(kept)


def _blanked(lines: list[str]) -> Iterator[str]:
    rest = iter(enumerate(lines))
    for place, line in rest:
        if begin := _BEGIN.match(line):
            block = _until(_END, rest, "BEGIN SOLUTION")
            following = place + len(block) + 2
            has_prompt = following < len(lines) and _BEGIN_PROMPT.match(lines[following])
            if not begin["none"] and not has_prompt:
                yield begin["indent"] + _placeholder(block)
        elif _BEGIN_PROMPT.match(line):
            yield from _until(_END_PROMPT, rest, "BEGIN PROMPT")
        elif _END.match(line) or _END_PROMPT.match(line):
            raise ValueError(f"line {place + 1} ends a block that does not begin: {line.strip()}")
        elif marked := _LINE.match(line):
            if not marked["none"]:
                name = _ASSIGNMENT.match(line)
                yield f"{name[0]} ..." if name else f"{marked['indent']}..."
        else:
            yield line


def _until(end: re.Pattern[str], rest: Iterator[tuple[int, str]], begun: str) -> list[str]:
    block: list[str] = []
    for _, line in rest:
        if end.match(line):
            return block
        block.append(line)
    raise ValueError(f"a block has no end: {begun}")


def _placeholder(block: list[str]) -> str:
    """``...``, or ``name = ...`` for a block that is one assignment: the cell's other lines then find the name."""
    statements = ast.parse(dedent("\n".join(block))).body
    if len(statements) == 1 and isinstance(statement := statements[0], ast.Assign):
        target = statement.targets[0]
        if isinstance(target, ast.Name):
            return f"{target.id} = ..."
    return "..."

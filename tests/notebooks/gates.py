"""Static gates for notebooks: each is a function from a notebook to a list of findings, empty if all is well.

A finding says which cell (counted from 0, all kinds of cells) and what to do. No gate runs code or needs an engine.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

MAX_BYTES = 1_000_000
MAX_CODE_LINES = 25
#: What a reader has to know of ours to follow a notebook.
MAX_PACKAGES, MAX_NAMES = 3, 12
ROOT = Path(__file__).resolve().parents[2]
#: Least share of the printing code cells that nbval compares.
MIN_COMPARED = 0.70
#: Tags that take a cell's output out of the comparison.
UNCOMPARED_TAGS = {"nbval-ignore-output", "nbval-skip"}

_SECRETS = re.compile(
    r"(?<![\w.])/(?:root|home|Users|mnt|opt|srv|tmp|work\w*)/\w|\bhf_[A-Za-z0-9]{8,}|\bsk-[A-Za-z0-9_-]{8,}|\bms-[0-9a-f]{8}-|\bgh[pousr]_[A-Za-z0-9]{8,}"
    r"|https?://[^/\s'\"]*(?:pypi|registry|artifactory|nexus|proxy)[^/\s'\"]*"
)
_BACKGROUND = re.compile(r"^\s*!.*&\s*$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
_TRUST = re.compile(r"trust[-_]remote[-_]code")


def code_cells(notebook: NotebookNode) -> list[tuple[int, NotebookNode]]:
    """(Place, cell) of each code cell."""
    return [(place, cell) for place, cell in enumerate(notebook.cells) if cell.cell_type == "code"]


def tags_of(cell: NotebookNode) -> list[str]:
    """The cell's tags."""
    return cell.metadata.get("tags", [])


def as_python(source: str) -> str:
    """A cell's code with IPython's magics turned into calls; a cell in another language becomes a comment."""
    from IPython.core.inputtransformer2 import TransformerManager

    return TransformerManager().transform_cell(source)


def validates(path: Path) -> list[str]:
    """Parses as JSON and as a notebook of format 4, with unique cell ids."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        ids = [cell.get("id") for cell in notebook.get("cells", [])]  # read before validate, which mends doubles
        nbformat.validate(notebook)
    except (ValueError, nbformat.ValidationError) as error:
        return [f"is no valid notebook: {str(error).splitlines()[0]}"]
    return [] if None not in ids and len(set(ids)) == len(ids) else ["cell ids are missing or not unique"]


def has_its_parts(notebook: NotebookNode, *, last: bool = False, exercises: bool = False) -> list[str]:
    """Opens with what the reader will be able to do, minutes and needs; closes with what was learned and what is next.

    Args:
        notebook: the notebook.
        last: the last notebook of the course may link to the README instead of to a next notebook.
        exercises: need no summary of what was learned.
    """
    if len(notebook.cells) < 3:
        return ["has fewer than three cells"]
    first, final, findings = notebook.cells[0], notebook.cells[-1], []
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        findings.append("cell 0: does not open with a title, '# ...'")
    opening = first.source.lower()
    for pattern, meaning in [
        (r"(you will|you can|able to)", "what the reader will be able to do"),
        (r"minute", "the minutes it takes"),
        (r"\bneeds?\b", "what it needs"),
    ]:
        if not re.search(pattern, opening):
            findings.append(f"cell 0: does not say {meaning}")
    place = len(notebook.cells) - 1
    if final.cell_type != "markdown":
        return [*findings, f"cell {place}: the last cell is no prose with a summary and the next link"]
    if not exercises and not re.search(r"learned|learnt|summary|takeaway", final.source.lower()):
        findings.append(f"cell {place}: the last cell does not say what was learned")
    links = [link for link in _LINK.findall(final.source) if not link.startswith(("http://", "https://", "#"))]
    if not links:
        findings.append(f"cell {place}: the last cell has no link to what comes next")
    onward = [link for link in links if link.endswith(".ipynb")]
    if not onward and not last:
        findings.append(f"cell {place}: the last cell does not link to a next notebook")
    return findings


def links_resolve(notebook: NotebookNode, folder: Path) -> list[str]:
    """Each relative link in prose leads to a file."""
    findings = []
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type != "markdown":
            continue
        for link in _LINK.findall(cell.source):
            target = link.split("#")[0]
            if target and not re.match(r"[a-z]+:", target) and not (folder / target).exists():
                findings.append(f"cell {place}: the link to {target} leads nowhere")
    return findings


def parameters_are_literals(notebook: NotebookNode) -> list[str]:
    """One cell tagged 'parameters', of plain assignments of literals; the first is ``profile = "auto"``."""
    tagged = [(place, cell) for place, cell in code_cells(notebook) if "parameters" in tags_of(cell)]
    if len(tagged) != 1:
        return [f"has {len(tagged)} cells tagged 'parameters' instead of one"]
    place, cell = tagged[0]
    names, findings = [], []
    for statement in ast.parse(cell.source).body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or not isinstance(target, ast.Name):
            findings.append(f"cell {place}, line {statement.lineno}: only 'name = literal' is a parameter")
            continue
        names.append(target.id)
        try:
            value = ast.literal_eval(statement.value)
        except (ValueError, TypeError):
            findings.append(f"cell {place}: the parameter '{target.id}' is not a literal; derive it in the next cell")
            continue
        if target.id == "profile" and value != "auto":
            findings.append(f"cell {place}: the parameter 'profile' is {value!r}, not 'auto'")
    if not findings and names[:1] != ["profile"]:
        findings.append(f"cell {place}: 'profile' is not the first parameter")
    return findings


def starts_nothing_in_the_background(notebook: NotebookNode) -> list[str]:
    """No ``! ... &``: IPython refuses it, and nobody would stop it."""
    findings = []
    for place, cell in code_cells(notebook):
        is_shell = re.match(r"%%(bash|sh|script)\b", cell.source)
        in_shell = is_shell and re.search(r"^%%.*--bg|[^&]&\s*$", cell.source, re.MULTILINE)
        if in_shell or _BACKGROUND.search(cell.source):
            findings.append(f"cell {place}: starts a background process with '&'")
    return findings


def never_trusts_remote_code(notebook: NotebookNode) -> list[str]:
    """Code neither sets ``trust_remote_code`` nor passes ``--trust-remote-code``; commands in prose do not either."""
    findings = []
    for place, cell in enumerate(notebook.cells):
        text = cell.source if cell.cell_type == "code" else "\n".join(fenced_blocks(cell.source))
        if _TRUST.search(text):
            findings.append(f"cell {place}: sets trust_remote_code; vLLM and transformers know these models")
    return findings


def fenced_blocks(markdown: str) -> list[str]:
    """The contents of the code fences in prose."""
    return [block[1] for block in re.findall(r"^(```+|~~~+)[^\n]*\n(.*?)^\1", markdown, re.MULTILINE | re.DOTALL)]


def code_parses(notebook: NotebookNode) -> list[str]:
    """Each code cell is Python, once magics are transformed."""
    findings = []
    for place, cell in code_cells(notebook):
        try:
            ast.parse(as_python(cell.source), feature_version=(3, 11))
        except SyntaxError as error:
            findings.append(f"cell {place}, line {error.lineno}: {error.msg}")
    return findings


def ours(notebook: NotebookNode) -> set[tuple[str, str]]:
    """(Module, name) of everything that is imported from this course; ``import module`` has no name."""
    found = set()
    for _, cell in code_cells(notebook):
        for node in ast.walk(ast.parse(as_python(cell.source))):
            if isinstance(node, ast.Import):
                found |= {(alias.name, "") for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found |= {(node.module or "", alias.name) for alias in node.names}
    return {pair for pair in found if pair[0].split(".")[0] in {"helpers", "toolkit", "course", "benchmarks", "tests"}}


def imports_little_of_ours(notebook: NotebookNode) -> list[str]:
    """At most 12 names from at most 3 of our packages: helpers, and the faces of the toolkit's."""
    names = ours(notebook)
    dotted = {f"{module}.{name}" if module == "toolkit" else module for module, name in names}
    packages = {".".join(module.split(".")[: 2 if module.startswith("toolkit") else 1]) for module in dotted}
    findings = [
        f"imports from {module}, which is no face: only helpers and packages of the toolkit have one"
        for module in sorted(dotted)
        if not module.startswith("helpers") and not (module.startswith("toolkit.") and _is_package(module))
    ]
    if len(packages) > MAX_PACKAGES:
        findings.append(f"imports from {len(packages)} of our packages ({', '.join(sorted(packages))}); at most 3")
    if len(names) > MAX_NAMES:
        listed = ", ".join(sorted(name or module for module, name in names))
        findings.append(
            f"imports {len(names)} of our names ({listed}); at most {MAX_NAMES}: call the library itself, or import "
            "the package, `from toolkit import evaluation`"
        )
    return findings


def _is_package(module: str) -> bool:
    return (ROOT / module.replace(".", "/") / "__init__.py").is_file()


def cells_fit_a_screen(notebook: NotebookNode) -> list[str]:
    """No code cell has more lines than a screen shows."""
    return [
        f"cell {place}: {len(cell.source.splitlines())} lines of code; {MAX_CODE_LINES} fit on a screen"
        for place, cell in code_cells(notebook)
        if len(cell.source.splitlines()) > MAX_CODE_LINES
    ]


def outputs_are_committed_in_order(notebook: NotebookNode) -> list[str]:
    """Executed once from top to bottom: counts 1, 2, ... n, and at least one output."""
    counts = [cell.execution_count for _, cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        return [f"is not executed once from top to bottom (counts {counts}); use: course execute"]
    return [] if any(cell.outputs for _, cell in code_cells(notebook)) else ["has no committed output"]


def texts_of(output: NotebookNode) -> list[str]:
    """All texts in an output, pictures apart."""
    data = [value for kind, value in output.get("data", {}).items() if not kind.startswith("image/p")]
    texts = [output.get("text", ""), *(value if isinstance(value, str) else json.dumps(value) for value in data)]
    return ["".join(text) for text in texts if text]


def outputs_hold_no_error(notebook: NotebookNode) -> list[str]:
    """No cell ends in an error, unless it says that it will: tag 'raises-exception'."""
    findings = []
    for place, cell in code_cells(notebook):
        expected = "raises-exception" in tags_of(cell)
        texts = [text for output in cell.outputs for text in texts_of(output)]
        if any(output.output_type == "error" for output in cell.outputs) and not expected:
            findings.append(f"cell {place}: its output is an error")
        elif any("Traceback (most recent call last)" in text for text in texts):
            findings.append(f"cell {place}: its output shows a traceback")
    return findings


def outputs_hold_nothing_private(notebook: NotebookNode) -> list[str]:
    """No output shows a path of one machine, a package index, a key or a token; nothing is on stderr."""
    findings = []
    for place, cell in code_cells(notebook):
        for output in cell.outputs:
            shown = [*texts_of(output), *output.get("traceback", []), output.get("evalue", "")]
            found = next((match[0] for text in shown if (match := _SECRETS.search(text))), None)
            if found:
                findings.append(f"cell {place}: its output shows '{found}'")
            if output.get("name") == "stderr":
                findings.append(f"cell {place}: stderr is committed; quiet it at its source")
    return findings


def figures_are_described(notebook: NotebookNode) -> list[str]:
    """Each image has a text for those who do not see it: in the cell's metadata, or in the markup of its output."""
    findings = []
    for place, cell in code_cells(notebook):
        images = sum("image/png" in output.get("data", {}) for output in cell.outputs)
        texts = cell.metadata.get("alt", [])
        if images != len(texts) or any(not 40 <= len(text) <= 300 for text in texts):
            findings.append(
                f"cell {place}: shows {images} images and describes {len(texts)}; "
                "its metadata's 'alt' lists a text of 40 to 300 characters for each"
            )
        markup = "".join("".join(output.get("data", {}).get("text/html", "")) for output in cell.outputs)
        if any(not re.search(r'\balt="[^"]', tag) for tag in re.findall(r"<img\b[^>]*>", markup)):
            findings.append(f"cell {place}: an <img> in its output has no alt text")
    undescribed = [place for place, cell in enumerate(notebook.cells) if "![](" in cell.source]
    return findings + [f"cell {place}: an image in its prose has no alt text" for place in undescribed]


def enough_is_compared(notebook: NotebookNode) -> list[str]:
    """nbval compares at least 70 % of the code cells that print."""
    printing = [cell for _, cell in code_cells(notebook) if any(not _is_picture(output) for output in cell.outputs)]
    compared = [cell for cell in printing if not _uncompared(cell)]
    if printing and len(compared) / len(printing) < MIN_COMPARED:
        return [f"only {len(compared)} of {len(printing)} printing cells are compared by nbval"]
    return []


def _is_picture(output: NotebookNode) -> bool:
    """nbval does not compare pictures, nor are they what is printed."""
    return any(kind.startswith("image/") for kind in output.get("data", {}))


def _uncompared(cell: NotebookNode) -> bool:
    in_comments = re.search(r"^\s*#\s*(NBVAL_IGNORE_OUTPUT|NBVAL_SKIP)\s*$", cell.source, re.MULTILINE)
    return bool(in_comments) or bool(UNCOMPARED_TAGS & set(tags_of(cell)))


def is_small(path: Path) -> list[str]:
    """The file can be read in a browser and in a diff."""
    size = path.stat().st_size
    return [f"has {size:,} bytes; at most {MAX_BYTES:,}"] if size > MAX_BYTES else []


def ruff_is_content(path: Path) -> list[str]:
    """``ruff check`` and ``ruff format --check`` find nothing."""
    findings = []
    for arguments in (["check", "--output-format=concise"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            findings.append(f"ruff {arguments[0]}: {done.stdout.strip()} {done.stderr.strip()}".strip())
    return findings


#: The gates that look at one notebook alone.
ALL = [
    parameters_are_literals,
    starts_nothing_in_the_background,
    never_trusts_remote_code,
    code_parses,
    imports_little_of_ours,
    cells_fit_a_screen,
    outputs_are_committed_in_order,
    outputs_hold_no_error,
    outputs_hold_nothing_private,
    figures_are_described,
    enough_is_compared,
]

"""Runs a notebook of exercises as a learner gets it, in this process and without engines."""

import ast

import nbformat

from course.landing import read_verdicts


def run_as_given(path, log):
    """Exercise → state, after all cells but those tagged ``engine`` have run; what those define is None.

    Args:
        path: of the notebook.
        log: the file that ``COURSE_EXERCISES_LOG`` names.
    """
    names = {"__name__": "exercises", "display": lambda *_: None}
    for place, cell in enumerate(nbformat.read(path, 4).cells):
        if cell.cell_type != "code":
            continue
        if "engine" in cell.metadata.get("tags", []):
            names |= dict.fromkeys(_defined_in(cell.source))
            continue
        exec(compile(cell.source, f"{path.name}, cell {place}", "exec"), names)
    return read_verdicts(log)


def _defined_in(source):
    tree = ast.parse(source)
    yield from (node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
    yield from (node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))
    yield from ((alias.asname or alias.name).split(".")[0] for node in imports for alias in node.names)

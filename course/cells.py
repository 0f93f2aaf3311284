"""What the code of a notebook's cells says about itself."""

from __future__ import annotations

import ast


def parsed(source: str) -> ast.Module:
    """The cell as a syntax tree; an empty one for shell lines and magics."""
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.Module(body=[], type_ignores=[])


def headline(source: str) -> str:
    """The first line of code that is not a comment or an import, else the first line; 60 characters at most."""
    lines = [line.strip() for line in source.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    chosen = next((line for line in lines if not line.startswith(("import ", "from "))), lines[0] if lines else "")
    return chosen if len(chosen) <= 60 else chosen[:57] + "..."


def packages(*nodes: ast.AST) -> list[str]:
    """Top-level names of the modules that some statements import."""
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return [module.split(".")[0] for module in modules]

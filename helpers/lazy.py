"""The face of a package: names that are imported when they are first used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package whose ``__all__`` maps names to its modules.

    In the package's ``__init__.py``::

        __getattr__, __dir__ = lazy_names(__name__, {"run_items": "inference.runner"})

    Args:
        package: its ``__name__``.
        names: public name → module that defines it, relative to the package.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{names[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted(names)

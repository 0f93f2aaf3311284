"""The one Jinja environment: a name that a template lacks is an error, and HTML is escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def render(
    template: Path,
    /,
    filters: Mapping[str, Callable[..., Any]] | None = None,
    finalize: Callable[[Any], Any] | None = None,
    **values: Any,
) -> str:
    """Fill in a template; the text ends as the file does.

    Args:
        template: its file. Values are escaped if ``.html`` is among its suffixes.
        filters: more filters, by name.
        finalize: changes every value before it is escaped and written.
        values: what the template names; it may name nothing else.

    Raises:
        jinja2.UndefinedError: the template names something that is not among the values.
    """
    environment = _environment(template.parent, ".html" in template.suffixes, finalize)
    environment.filters |= filters or {}
    return environment.get_template(template.name).render(values)


@lru_cache(maxsize=8)
def _environment(folder: Path, escaped: bool, finalize: Callable[[Any], Any] | None) -> Environment:
    """Kept, and with it the compiled templates, for thousands of prompts are made from one."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),  # beside this module: what all pages share
        autoescape=escaped,  # noqa: S701 - texts that are no HTML have no markup
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )

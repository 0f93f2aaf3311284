"""The one Jinja environment: a name that a template lacks is an error, and HTML is escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


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
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=".html" in template.suffixes,  # noqa: S701 - other texts have no markup
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= filters or {}
    return environment.get_template(template.name).render(values)

"""Commands for teachers: ``workshop``, ``preflight`` and ``seats``."""

from __future__ import annotations

from typing import Annotated

import typer

Url = Annotated[str, typer.Argument(help="the server, such as http://gpu-machine:8000")]
Key = Annotated[
    str | None, typer.Option(help="its API key; better in the variable than typed", envvar="COURSE_SERVER_KEY")
]


def preflight(
    url: Url,
    key: Key = None,
    model: Annotated[str | None, typer.Option(help="the name that must be served; default: any")] = None,
    seat: Annotated[str | None, typer.Option(help="what the teacher calls this seat; default: host name")] = None,
    clients: Annotated[int | None, typer.Option(help="teachers: send the load of so many seats instead")] = None,
    timeout: Annotated[float, typer.Option(help="seconds to wait for an answer")] = 120,
) -> int:
    """Check that this seat and the server are ready.

    Ends with status 1 if a check fails. With --clients, so many clients send text, image, structured and streaming
    requests at once, and the waits are reported.
    """
    from course.workshop.preflight import Target, run_preflight

    target = Target.of(url, key, timeout)
    if clients is None:
        return run_preflight(target, model, seat)
    from course.workshop.clients import run_clients

    return run_clients(target, clients, model)

"""Commands for teachers: ``workshop``, ``preflight`` and ``seats``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Url = Annotated[str, typer.Argument(help="the server, such as http://gpu-machine:8000")]
Key = Annotated[
    str | None, typer.Option(help="its API key; better in the variable than typed", envvar="COURSE_SERVER_KEY")
]


def workshop(
    seats: Annotated[int, typer.Option(help="how many learners")],
    out: Annotated[Path, typer.Option(help="folder to make; the same command resumes")],
    gpu: Annotated[str, typer.Option(help="the server's card, auto for this machine's, none: the tiny model")] = "auto",
    count: Annotated[int | None, typer.Option(help="number of cards; default: 1, or all of this machine")] = None,
    model: Annotated[str | None, typer.Option(help="as of plan; default: the most able that fits")] = None,
    wheels: Annotated[bool, typer.Option(help="all packages, for seats without an index (3.1 GB)")] = True,
) -> int:
    """Teachers: make a workshop in a folder.

    Student package, packages to install offline, instructor guide, and a server sized for the room.
    """
    from course.workshop.box import Order, make_box

    return make_box(Order(seats, gpu, count, model), out, wheels)


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


def seats(
    url: Url,
    key: Key = None,
    seats: Annotated[int | None, typer.Option(min=1, help="how many are expected")] = None,
    log: Annotated[Path | None, typer.Option(help="the server's log; default: that of a server started here")] = None,
    port: Annotated[int, typer.Option(help="of the page on 127.0.0.1; 0: a free one")] = 0,
    once: Annotated[bool, typer.Option("--once", help="print once and end")] = False,
) -> int:
    """Teachers: watch the queue, and which seats are ready.

    Prints a table every five seconds, and shows it as a page on 127.0.0.1. A seat that has run preflight stands in the
    server's log.
    """
    from course.workshop.preflight import Target
    from course.workshop.seats import Room, seat_log, watch_room

    target = Target.of(url, key, timeout=10)
    return watch_room(Room(target, seats, seat_log(log, target)), port, once)

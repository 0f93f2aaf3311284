"""What a notebook adds to serving: servers that vanish between two cells, and cells that are run again."""

from __future__ import annotations

import dis
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from helpers.errors import CourseError

if TYPE_CHECKING:
    from helpers.server import Server

_watched: WeakSet[Server] = WeakSet()


def explain_if_lost(server: Server) -> None:
    """In a notebook, show one message instead of a client's long traceback if this server no longer answers."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    if shell:
        import httpx
        import openai

        _watched.add(server)
        shell.set_custom_exc((openai.APIError, httpx.TransportError), _show)


def assigned_next(frame: FrameType) -> Any:
    """What the global variable holds to which the statement now running in this frame will assign its call's result."""
    following = (step for step in dis.get_instructions(frame.f_code) if step.offset > frame.f_lasti)
    step = next(following, None)
    stores = step is not None and step.opname in ("STORE_NAME", "STORE_GLOBAL")
    return frame.f_globals.get(step.argval) if step and stores else None


def _show(shell: Any, kind: type[BaseException], error: Any, trace: Any, tb_offset: int | None = None) -> None:
    try:
        url = str(error.request.url)
        for server in _watched:
            if url.startswith(f"{server.root_url}/"):
                server.check()
    except CourseError as lost:
        kind, error, trace = type(lost), lost, None
    except (RuntimeError, AttributeError):  # an error without a request
        pass
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset, running_compiled_code=True)

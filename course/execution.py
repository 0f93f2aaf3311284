"""Executes one notebook with papermill, in a kernel of this interpreter."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course.failures import diagnose
from course.results import RunSettings
from course.watch import Watch
from helpers.files import search_path

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: Seconds that a kernel has to start; on a busy machine Python itself takes a while.
KERNEL_START_SECONDS = 120
_ENGINE = "course"


def execute(folder: Path, target: Path, settings: RunSettings | None, watch: Watch) -> NotebookNode | None:
    """Execute the notebook that ``watch`` follows and fill in its result.

    Args:
        folder: where the notebook lies, which is also the kernel's working directory.
        target: the executed notebook, written cell by cell.
        settings: ``profile`` is injected as a parameter, and those of a rehearsal; without settings nothing is.
        watch: closed at the end.

    Returns:
        The executed notebook if it ran to its end.

    Raises:
        KeyboardInterrupt: ``Ctrl-C``, or the watch was interrupted; the result says so and the kernel has been stopped.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    _register_engine()
    result = watch.result
    environment = {**os.environ, "PYTHONPATH": search_path(os.environ)}
    parameters = {"profile": settings.profile} if settings else None
    if settings and parameters and settings.rehearse:
        environment["COURSE_REHEARSE"] = os.environ.get("COURSE_REHEARSE") or "1"
        parameters |= result.entry.rehearsal
    result.executed = target.name
    # Papermill rereads what it wrote; a leftover of an earlier run must not be taken for this one's result.
    target.unlink(missing_ok=True)
    try:
        return papermill.execute_notebook(
            folder / result.entry.file,
            target,
            parameters=parameters,
            engine_name=_ENGINE,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            watch=watch,
            # Not papermill's cwd, which is this whole process's.
            start={"env": environment, "cwd": str(folder.resolve())},
        )
    except PapermillExecutionError as error:
        cell = f"In [{error.exec_count}]" if error.exec_count else ""
        result.failure = diagnose(error.ename, error.evalue, "\n".join(error.traceback), cell=cell, source=error.source)
    except (DeadKernelError, asyncio.CancelledError):
        if watch.interrupted.is_set():  # nbclient takes a cancelled cell for a dead kernel
            raise watch.note_interruption() from None
        result.failure = watch.kernel_failure()
    except CellTimeoutError:
        result.failure = watch.timeout_failure()
    except KeyboardInterrupt:
        raise watch.note_interruption() from None
    except Exception as error:
        result.failure = diagnose(type(error).__name__, str(error), cell=watch.prompt, source=watch.source)
    finally:
        watch.close()
        if result.status == "running":
            result.status = "failed" if result.failure else "passed"
        if not target.is_file():
            result.executed = None
    return None


def _register_engine() -> None:
    """Teach papermill an engine of ours: same client, but this interpreter's kernel, our time-outs and our progress."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import DeadKernelError
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
    from traitlets import default

    log = logging.getLogger(__name__)
    log.addHandler(logging.NullHandler())
    log.propagate = False

    class CourseKernelManager(AsyncKernelManager):
        @default("kernel_spec_manager")
        def _this_interpreter(self) -> KernelSpecManager:
            # A kernel called python3 may be installed for the user and belong to another environment.
            return KernelSpecManager(parent=self, kernel_dirs=[])

    class CourseClient(PapermillNotebookClient):
        def papermill_execute_cells(self) -> None:
            try:
                super().papermill_execute_cells()
            except DeadKernelError:
                # The reason of its death is known only until the manager cleans up.
                process = getattr(self.km.provisioner, "process", None)
                self.nb_man.watch.exit_code = process.returncode if process else None
                raise

    class WatchedExecution(NotebookExecutionManager):
        watch: Watch

        def cell_start(self, cell: NotebookNode, cell_index: int | None = None, **options: Any) -> None:
            super().cell_start(cell, cell_index, **options)
            self.watch.cell_started(cell)

        def cell_complete(self, cell: NotebookNode, cell_index: int | None = None, **options: Any) -> None:
            self.watch.cell_over()
            super().cell_complete(cell, cell_index, **options)
            if sys.exc_info()[0] is None:  # papermill calls this from a 'finally', also when the kernel is dead
                self.watch.cell_finished(cell)

    class CourseEngine(NBClientEngine):
        @classmethod
        def execute_notebook(
            cls, nb: NotebookNode, kernel_name: str, output_path: str | None = None, **options: Any
        ) -> NotebookNode:
            watch: Watch = options["watch"]
            manager = WatchedExecution(nb, output_path=output_path, progress_bar=False)
            manager.watch = watch
            manager.notebook_start()
            watch.started(nb)
            client = CourseClient(
                manager,
                kernel_manager_class=CourseKernelManager,
                kernel_name=kernel_name,
                startup_timeout=KERNEL_START_SECONDS,
                timeout_func=watch.allowed,
                coalesce_streams=True,
                record_timing=False,
                log=log,
            )
            try:
                client.execute(**options["start"], stdout=watch.kernel_log, stderr=watch.kernel_log)
            finally:
                manager.notebook_complete()
            return nb

    papermill_engines.register(_ENGINE, CourseEngine)

"""JupyterLab as ``course lab`` starts it, in a folder of its own, and notebooks in it as a browser sees them."""

import contextlib
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil

from helpers.files import COURSE_ROOT
from tests.support.ended import assert_ended

#: What a prompt says: nothing, waiting or running, or a number once the cell has run.
PROMPTS = "[...document.querySelectorAll('.jp-NotebookPanel .jp-CodeCell .jp-InputPrompt')].map(p => p.textContent)"
FILLED = "document.querySelector('.jp-NotebookPanel .jp-CodeCell .cm-content')?.textContent.trim()"
IDLE = "document.querySelector('.jp-NotebookPanel .jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle'"

#: Outputs whose right side a reader does not see: [cell, element, pixels too wide].
CUT_OFF = """
[...document.querySelectorAll('.jp-NotebookPanel .jp-OutputArea-output')].flatMap(box =>
  [...box.querySelectorAll('table, pre, img, svg')].map(inner => [
    [...document.querySelectorAll('.jp-NotebookPanel .jp-Cell')].indexOf(box.closest('.jp-Cell')), inner.tagName,
    Math.round(inner.getBoundingClientRect().right - box.getBoundingClientRect().right)])).filter(found => found[2] > 1)
"""


@dataclass
class Lab:
    """A running JupyterLab."""

    address: str
    """With the token."""
    place: Path
    """The folder that holds my-course."""
    server: psutil.Process

    def url(self, path: str = "") -> str:
        """Of a file in the learner's folder; of the landing page without one. Each is a workspace of its own."""
        if not path:
            return self.address
        front, _, token = self.address.partition("/lab/tree/")
        name = re.sub(r"\W", "", path)
        return f"{front}/lab/workspaces/{name}/tree/my-course/{path}?{token.partition('?')[2]}"

    def children(self) -> set[int]:
        """Kernels, and what they have started."""
        return {child.pid for child in self.server.children(recursive=True)}


@contextlib.contextmanager
def running_lab(folder: Path):
    """Start JupyterLab with a course of links in that folder and none of the user's settings; stop it at the end."""
    place = folder / "course"
    place.mkdir()
    for entry in COURSE_ROOT.iterdir():
        if not entry.name.startswith(".") and entry.name not in ("outputs", "my-course", "build"):
            (place / entry.name).symlink_to(entry)
    own = {f"JUPYTER_{kind}_DIR": str(folder / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    own |= {
        "COURSE_ROOT": str(place),
        "COURSE_OUTPUTS": str(place / "outputs"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "course", "lab", "--no-browser"],
        env=os.environ | own, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        said = []
        for line in server.stdout:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/\S*token=\w+", line):
                yield Lab(found.group(), place, psutil.Process(server.pid))
                break
        else:
            raise AssertionError("JupyterLab did not start:\n" + "".join(said))
    finally:
        left = psutil.Process(server.pid).children(recursive=True)
        server.terminate()
        try:
            server.wait(timeout=60)
        finally:
            server.kill()
            for process in left:  # of a test that failed: what a kernel started would outlive it
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            server.stdout.close()


class LabNotebook:
    """A notebook that is open in a page of JupyterLab.

    Args:
        page: Playwright's; closed by whoever made it.
        lab: the server.
        file: in my-course.
        limit: seconds that all its cells may take together.
    """

    def __init__(self, page: Any, lab: Lab, file: str, limit: float = 60):
        self.page, self.lab, self.limit = page, lab, limit * 1000
        self.path = lab.place / "my-course" / file
        self.others = lab.children()
        self.count = sum(cell.cell_type == "code" for cell in nbformat.read(self.path, 4).cells)
        page.goto(lab.url(file))
        self.wait_until_idle()

    def menu(self, name: str, entry: str) -> None:
        """Choose from a menu. An entry's text is followed by its keys; of several, the first that begins so."""
        self.page.get_by_role("menuitem", name=name, exact=True).click()
        self.page.get_by_role("menuitem", name=re.compile("^" + re.escape(entry))).first.click()

    def wait(self, condition: str) -> None:
        """Until an expression of JavaScript is true; ``prompts`` and ``idle`` are this notebook's."""
        self.page.wait_for_function(
            f"() => {{ const prompts = {PROMPTS}, idle = {IDLE}; return {condition} }}", timeout=self.limit
        )

    def wait_until_idle(self) -> None:
        # Until the file is read, a notebook with one empty cell stands in its place, idle as well.
        self.wait(f"prompts.length === {self.count} && {FILLED} && idle")

    def start_all(self) -> None:
        """Clear the outputs, then run all cells; the first of them has begun when this returns."""
        self.menu("Edit", "Clear Outputs of All Cells")
        self.wait("prompts.every(p => !/\\d/.test(p))")
        self.menu("Run", "Run All Cells")
        self.wait("prompts.some(p => /[*\\d]/.test(p))")

    def wait_for_end(self) -> None:
        """Until all cells have run, or none of them will any more."""
        self.wait("idle && !prompts.some(p => p.includes('*'))")

    def saved(self) -> Any:
        """Save it, and read what was saved; nothing is saved that is as it was read.

        With COURSE_SCREENSHOTS=FOLDER, what the window shows is saved, too.
        """
        with self.page.expect_response(lambda answer: answer.request.method == "PUT" and self.path.name in answer.url):
            self.menu("File", "Save Notebook")
        if folder := os.environ.get("COURSE_SCREENSHOTS"):
            self.page.screenshot(path=f"{folder}/{self.path.stem}-{time.monotonic_ns()}.png")
        return nbformat.read(self.path, 4)

    def cut_off(self) -> list[list[Any]]:
        """Tables, texts and images of outputs that are wider than this window shows; cells count from 0."""
        return self.page.evaluate(CUT_OFF)

    def interrupt(self) -> None:
        self.menu("Kernel", "Interrupt Kernel")

    def restart(self) -> None:
        """A new kernel; what the old one had started has ended."""
        before = self.lab.children() - self.others
        self.menu("Kernel", "Restart Kernel…")
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        assert_ended(before, seconds=60)
        self.wait_until_idle()

    def shut_down(self) -> None:
        """End the kernel; it and what it had started have ended."""
        before = self.lab.children() - self.others
        self.menu("Kernel", "Shut Down Kernel")
        assert_ended(before, seconds=60)


def errors(notebook: Any) -> list[str]:
    """Errors in outputs of cells that are not meant to fail."""
    return [
        f"{cell.source.splitlines()[0]}: {output.ename}: {output.evalue}"
        for cell in notebook.cells
        if cell.cell_type == "code" and "raises-exception" not in cell.metadata.get("tags", ())
        for output in cell.outputs
        if output.output_type == "error"
    ]


def unfinished(notebook: Any) -> list[str]:
    """Code cells to which no kernel has replied since they were opened, with their number, None if they never ran."""
    return [
        f"{cell.source.splitlines()[0]}: In [{cell.execution_count}]"
        for cell in notebook.cells
        if cell.cell_type == "code" and cell.source and "shell.execute_reply" not in cell.metadata.get("execution", {})
    ]

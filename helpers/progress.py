"""One line of progress, in a notebook, in a terminal and in a log."""

import sys
from typing import TextIO


class ProgressLine:
    """One line that is rewritten: a display in a notebook, a terminal line, or a plain line per change in a log."""

    def __init__(self, quiet: bool = False, stream: TextIO | None = None):
        self._quiet, self._last, self._handle, self._stream = quiet, "", None, stream or sys.stderr
        shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
        self._in_notebook = type(shell).__name__ == "ZMQInteractiveShell"

    def show(self, text: str, *, last: bool = False) -> None:
        """Replace the line; a log gets only what stands before an ellipsis, and only when that changes."""
        phase = text if last else text.partition(" … ")[0]
        if self._quiet:
            return
        if self._in_notebook:
            self._display(text)
        elif self._stream.isatty():
            print(f"\r\x1b[2K{text}", end="\n" if last else "", file=self._stream, flush=True)
        elif phase and (last or phase != self._last):
            print(phase, file=self._stream, flush=True)
            self._last = phase

    def close(self, text: str) -> None:
        """Leave ``text`` as the last word."""
        self.show(text, last=True)

    def _display(self, text: str) -> None:
        from IPython.display import display

        data = {"text/plain": text}
        if self._handle is None:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)

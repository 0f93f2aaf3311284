"""What the course shows to its users instead of a traceback."""


class CourseError(Exception):
    """An ordinary mistake or shortage, explained: what happened, why, and what to do.

    ``str(error)`` is the whole message, one to three lines; the command line and the notebooks print it without a
    traceback wall.
    """

    def __init__(self, what: str, cause: str = "", remedy: str = ""):
        super().__init__(what, cause, remedy)
        self.what, self.cause, self.remedy = what, cause, remedy

    def __str__(self) -> str:
        lines = [self.what]
        if self.cause:
            lines.append(f"Likely cause: {self.cause}")
        if self.remedy:
            lines.append(f"What to do: {self.remedy}")
        return "\n".join(lines)

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: in a notebook the message is shown instead of a traceback."""
        return [f"CourseError: {self}"]


class Interrupted(KeyboardInterrupt):
    """A user's interrupt during a wait of ours: a notebook shows one line, not our own code."""

    def _render_traceback_(self) -> list[str]:
        return [f"Interrupted: {self}"]

"""The one exception that the course shows to its users."""


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

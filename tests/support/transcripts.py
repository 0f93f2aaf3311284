"""A transcript to change one field of."""

from toolkit.evaluation.inference.transcripts import Medium, Transcript, TranscriptWriter

PICTURE = Medium(path="a.png", sha256="0" * 64, width=64, height=32)
SAMPLING = {"temperature": 0.0, "top_p": 1.0, "max_completion_tokens": 16, "seed": 0}


def transcript(item="a", status="ok", **fields):
    failed = status in ("error", "timeout")
    given = {
        "run": "r", "item_id": item, "model": "m", "media": (PICTURE,), "request_hash": "f" * 64, "sampling": SAMPLING,
        "status": status, "text": None if failed else "A dog.", "error": "HTTP 500: no" if failed else None,
        "time": "2026-01-02T03:04:05.678+00:00", "origin": "run",
    }  # fmt: skip
    return Transcript(**given | fields)


def line(transcript):
    """A transcript as it stands in a file."""
    return transcript.model_dump_json().encode() + b"\n"


def append(path, transcripts):
    """Write transcripts to a file, and return how many."""
    with TranscriptWriter(path) as writer:
        return len([writer.append(one) for one in transcripts])

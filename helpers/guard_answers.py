"""What a client reads about its own mistake: a status below 500 and the reason, where vLLM has another."""

import json
import os
import re
from pathlib import PurePath
from traceback import walk_tb
from typing import Any

#: Exceptions of the media loader that the request causes, by name (nothing is imported for it), and the answer.
CLIENT_EXCEPTIONS = {
    "DecompressionBombError": (413, "The image has too many pixels to be opened."),
    "FileNotFoundError": (404, "There is no such file in the media folder."),
    "IsADirectoryError": (400, "The address leads to a folder, not to a file."),
    "PermissionError": (403, "The server may not read that file."),
    "ClientConnectorError": (424, "The address of the image or video cannot be reached."),
    "ClientConnectorDNSError": (424, "The address of the image or video cannot be reached."),
    "ClientConnectorSSLError": (424, "The host of the image or video speaks no TLS that the server understands."),
    "ServerDisconnectedError": (424, "The host of the image or video closed the connection without an answer."),
    "ClientPayloadError": (424, "The host of the image or video sent less than it announced, or something garbled."),
}
#: What vLLM's video loader raises, by accident, for a video that it cannot sample; from elsewhere they are not the
#: client's mistakes.
LOADER_EXCEPTIONS = {"ZeroDivisionError", "RuntimeError"}
VIDEO_LOADER = ("vllm", "multimodal", "video.py")
UNUSABLE_VIDEO = (400, "The video has fewer than two frames: send it as an image, or send a longer one.")
#: What fails in this file, or is called from it, was about the request's image or video.
MEDIA_FETCHER = ("vllm", "multimodal", "media", "connector.py")
SILENT_HOST = (424, "The host of the image or video did not answer in time.")
#: Libraries that decode what a client sent: whatever else they raise, the file is damaged, or of an unknown kind.
DECODERS = ("PIL", "cv2", "av")
#: In vLLM's report that the processor refused; the request's own pixels follow, then its settings.
REFUSED_BY_PROCESSOR, SETTINGS = "Processor on data=", " with kwargs="
UNUSABLE_MEDIA = (
    "The model's processor refused the image or video. Usual causes: too few frames (two at least), or too long a "
    "shape (one side at most 200 times the other)."
)
#: vLLM's word for a request that its engine gave up; with one engine, only a grammar is given up.
FAILED = "Internal server error"
NO_GRAMMAR = "The server could not make a grammar of the schema, pattern or choices: it is endless, or too large."
#: What vLLM says of some failures, and what it leaves out.
ADDITIONS = {
    "cannot identify image file": " A web address may also have answered with a page, with nothing, or with a redirect "
    "that this server does not follow.",
    "Failed to fetch media from URL: Invalid URL (parameter=image_url, value=https": " The same is said of a host "
    "whose certificate is not trusted.",
}


def answer_for(error: Exception) -> tuple[int, str] | None:
    """Status and message for an exception that the request caused; None for any other."""
    name = type(error).__name__
    if name in CLIENT_EXCEPTIONS:
        return CLIENT_EXCEPTIONS[name]
    if name in LOADER_EXCEPTIONS and _came_through(error, VIDEO_LOADER):
        return UNUSABLE_VIDEO
    if _came_through(error, MEDIA_FETCHER):
        return _media_answer(error)
    return None


def _media_answer(error: Exception) -> tuple[int, str] | None:
    if isinstance(error, TimeoutError):  # aiohttp's are of that class, too
        return SILENT_HOST
    library = type(error).__module__.partition(".")[0]
    if library == "aiohttp":
        status = getattr(error, "status", 0)
        said = f"answered with status {status}" if status else f"could not be read from ({type(error).__name__})"
        return 424, f"The host of the image or video {said}."
    if isinstance(error, ConnectionError):
        return CLIENT_EXCEPTIONS["ServerDisconnectedError"]
    if isinstance(error, OSError) and error.errno:
        return 400, f"The address does not lead to a file: {os.strerror(error.errno)}."
    if isinstance(error, RuntimeError) and _came_through(error, ("pathlib.py",)):
        return 400, "The address leads round in circles: a loop of symbolic links."
    if not isinstance(error, MemoryError) and (library in DECODERS or _came_from_decoder(error)):
        return (
            400,
            f"The image or video is damaged, or of a kind that the server cannot decode ({type(error).__name__}).",
        )
    return None


def _files(error: Exception) -> list[tuple[str, ...]]:
    return [PurePath(frame.f_code.co_filename).parts for frame, _ in walk_tb(error.__traceback__)]


def _came_through(error: Exception, file: tuple[str, ...]) -> bool:
    """Whether a function of the file, given by the end of its path, stands in the trace."""
    return any(parts[-len(file) :] == file for parts in _files(error))


def _came_from_decoder(error: Exception) -> bool:
    return any(parts[-2:-1] == (library,) for parts in _files(error)[-1:] for library in DECODERS)


def better(status: int, body: bytes, *, constrained: bool) -> tuple[int, str] | None:
    """Status and message in the place of an error of vLLM's; None where that says what can be said.

    ``constrained``: the request has a schema, pattern or choices.
    """
    try:
        message: Any = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(message, str):
        return None
    if REFUSED_BY_PROCESSOR in message:
        settings = message.rpartition(SETTINGS)[2] if SETTINGS in message else ""
        settings = settings.replace("'return_tensors': 'pt'", "").strip("{}, ")  # always there
        return status, UNUSABLE_MEDIA + (
            f" Or it does not take these settings together: {settings}." if settings else ""
        )
    if status == 500 and constrained and message == FAILED:
        return 400, NO_GRAMMAR
    added = "".join(addition for words, addition in ADDITIONS.items() if words in message)
    if status == 501 or added:
        return 400 if status == 501 else status, message + added
    return None


def in_stream(message: dict[str, Any]) -> dict[str, Any]:
    """The same for an error that comes as an event after status 200."""
    if not re.search(f'"message": ?"{FAILED}"'.encode(), message.get("body", b"")):
        return message
    error = {"message": NO_GRAMMAR, "type": "BadRequestError", "param": None, "code": 400}
    return message | {"body": b"data: " + json.dumps({"error": error}).encode() + b"\n\n"}

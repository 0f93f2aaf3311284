"""The two model hubs behind one small interface: list a repository's files, and fetch some of them.

The hubs' own libraries (``huggingface_hub``, ``modelscope``) do the downloading; this module covers only how they
differ: how a revision is resolved, which hashes a hub publishes, and what its errors mean.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, read_yaml

#: What vLLM and transformers read. Of the weights only safetensors: .bin, .pth and ONNX repeat the same numbers.
ALLOW_PATTERNS = ["*.json", "*.txt", "*.jinja", "model*.safetensors", "README.md", "LICENSE*"]
#: Subfolders hold other formats of the same weights (onnx/, original/, gguf/).
IGNORE_PATTERNS = ["*/*"]
#: Incomplete large files from Hugging Face are kept here, in the model's folder, for the next run.
PARTIAL_FOLDER = Path(".cache") / "partial"
ERRORS_FILE = COURSE_ROOT / "data" / "hub_errors.yaml"
#: Names of the libraries' exceptions that mean that the hub cannot be reached.
NETWORK_ERRORS = {"ConnectError", "ConnectTimeout", "NetworkError", "ConnectionError", "TimeoutException", "Timeout"}
NETWORK_ERRORS |= {"ReadError", "RemoteProtocolError", "OfflineModeIsEnabled", "TransportError"}

Entry = TypeVar("Entry")
HashKind = Literal["sha256", "git-sha1"]


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository as its hub describes it. ``size`` in bytes."""

    path: str
    size: int
    hash_kind: HashKind
    digest: str


@dataclass(frozen=True)
class Snapshot:
    """The wanted files of a repository at one revision."""

    source: str
    repo_id: str
    revision: str
    """What was asked for: a branch, a tag or a commit."""
    commit: str | None
    """The commit that it resolves to, if the hub says so."""
    files: tuple[RemoteFile, ...]

    @property
    def is_pinned(self) -> bool:
        """Whether ``revision`` is a commit, which cannot move, rather than a branch or tag."""
        return is_commit(self.revision)


class Hub(Protocol):
    """What a download needs from a hub."""

    name: str
    default_branch: str
    login: str
    """The command that logs in."""

    def list_files(self, repo_id: str, revision: str) -> Snapshot:
        """The wanted files with sizes and hashes; nothing is written."""

    def fetch(self, snapshot: Snapshot, files: list[RemoteFile], folder: Path) -> None:
        """Put these files into ``folder``; partial downloads are resumed."""

    def bytes_waiting(self, file: RemoteFile, folder: Path) -> int:
        """Bytes already fetched by an earlier, incomplete download of this file."""


def is_commit(revision: str) -> bool:
    """Whether a revision is a full commit hash."""
    return bool(re.fullmatch(r"[0-9a-f]{40}", revision))


class HuggingFace:
    """huggingface.co, or the server that ``HF_ENDPOINT`` names."""

    name = "huggingface"
    default_branch = "main"
    login = "hf auth login"

    def __init__(self) -> None:
        # Passed to every call, because the library reads the variable only once, on import.
        self.endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")

    def list_files(self, repo_id: str, revision: str) -> Snapshot:
        """Raises: CourseError (no network, unknown repository or revision, no access)."""
        from huggingface_hub import HfApi

        with _as_course_errors(self, repo_id, revision):
            info = HfApi(endpoint=self.endpoint).model_info(repo_id, revision=revision, files_metadata=True)
        siblings = _wanted(info.siblings or [], lambda sibling: sibling.rfilename)
        # Large files are in LFS and have a sha256; small ones are in git and have its blob hash.
        files = tuple(
            RemoteFile(sibling.rfilename, sibling.lfs.size, "sha256", sibling.lfs.sha256)
            if sibling.lfs
            else RemoteFile(sibling.rfilename, sibling.size or 0, "git-sha1", sibling.blob_id or "")
            for sibling in siblings
        )
        return Snapshot(self.name, repo_id, revision, info.sha, files)

    def fetch(self, snapshot: Snapshot, files: list[RemoteFile], folder: Path) -> None:
        """Large files first, each resumed at its last byte; then ``snapshot_download`` completes the folder.

        huggingface_hub 2.4 resumes after a lost connection within one call, but discards an incomplete file when the
        process ends. Its ``http_get`` can start in the middle of a file, so large files are fetched with that.

        Raises: CourseError.
        """
        from huggingface_hub import snapshot_download

        revision = snapshot.commit or snapshot.revision
        with _as_course_errors(self, snapshot.repo_id, revision):
            for file in files:
                if file.hash_kind == "sha256":
                    self._continue_large_file(snapshot.repo_id, revision, file, folder)
            snapshot_download(
                snapshot.repo_id,
                revision=revision,
                local_dir=folder,
                allow_patterns=[file.path for file in files],
                endpoint=self.endpoint,
            )

    def bytes_waiting(self, file: RemoteFile, folder: Path) -> int:
        """See :class:`Hub`."""
        partial = self._partial(file, folder)
        return partial.stat().st_size if partial.is_file() else 0

    @staticmethod
    def _partial(file: RemoteFile, folder: Path) -> Path:
        return folder / PARTIAL_FOLDER / f"{file.path}.{file.digest[:16]}"  # another version has a file of its own

    def _continue_large_file(self, repo_id: str, revision: str, file: RemoteFile, folder: Path) -> None:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers

        partial = self._partial(file, folder)
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        if partial.stat().st_size > file.size:
            partial.write_bytes(b"")
        with partial.open("r+b") as handle:
            done = handle.seek(0, os.SEEK_END)
            if done < file.size:
                url = hf_hub_url(repo_id, file.path, revision=revision, endpoint=self.endpoint)
                # Requested on every run: large files have signed URLs that expire.
                location = get_hf_file_metadata(url, endpoint=self.endpoint).location
                headers = build_hf_headers()
                if not location.startswith(self.endpoint):
                    headers.pop("authorization", None)  # the token must not reach the storage behind the hub
                http_get(
                    location,
                    handle,
                    resume_size=done,
                    headers=headers,
                    expected_size=file.size,
                    displayed_filename=file.path,
                )
        partial.replace(folder / file.path)


class ModelScope:
    """modelscope.cn, or the server that ``MODELSCOPE_ENDPOINT`` (older: ``MODELSCOPE_DOMAIN``) names."""

    name = "modelscope"
    default_branch = "master"
    login = "modelscope login --token <token>"

    def __init__(self) -> None:
        # None: the library tries modelscope.cn first, then modelscope.ai.
        self.endpoint = os.environ.get("MODELSCOPE_ENDPOINT") or os.environ.get("MODELSCOPE_DOMAIN") or None
        if self.endpoint and "://" not in self.endpoint:
            self.endpoint = f"https://{self.endpoint}"

    def list_files(self, repo_id: str, revision: str) -> Snapshot:
        """Raises: CourseError (no network, unknown repository or revision, no access)."""
        from modelscope.hub.api import HubApi

        with _as_course_errors(self, repo_id, revision):
            self.endpoint = self.endpoint or HubApi().resolve_endpoint_for_read(repo_id)
            api = HubApi(endpoint=self.endpoint)
            # The public list_repo_files drops the commits that the listing contains.
            entries = api.legacy.list_repo_files(repo_id, "model", revision=revision)
        entries = _wanted((entry for entry in entries if entry.get("Type") != "tree"), lambda entry: entry["Path"])
        files = tuple(RemoteFile(entry["Path"], entry["Size"], "sha256", entry["Sha256"]) for entry in entries)
        # The listing gives the commit that last changed each file; the newest of them is the state listed.
        newest = sorted(entries, key=lambda entry: entry.get("CommittedDate") or 0, reverse=True)[:1]
        commit = next(filter(is_commit, (revision, *(entry.get("Revision") or "" for entry in newest))), None)
        return Snapshot(self.name, repo_id, revision, commit, files)

    def fetch(self, snapshot: Snapshot, files: list[RemoteFile], folder: Path) -> None:
        """``modelscope.snapshot_download``; it resumes its own ``*.incomplete`` files and checks each sha256.

        Raises: CourseError.
        """
        from modelscope import snapshot_download

        with _as_course_errors(self, snapshot.repo_id, snapshot.revision):
            snapshot_download(
                snapshot.repo_id,
                revision=snapshot.commit or snapshot.revision,
                local_dir=str(folder),
                allow_patterns=[file.path for file in files],
                endpoint=self.endpoint,
            )

    def bytes_waiting(self, file: RemoteFile, folder: Path) -> int:
        """See :class:`Hub`."""
        # A single stream leaves <name>.incomplete; parallel parts leave <name>_<first byte>_<last byte>.
        parts = [folder / f"{file.path}.incomplete", *folder.glob(f"{file.path}_*_*")]
        return sum(part.stat().st_size for part in parts if part.is_file())


HUBS: dict[str, type[HuggingFace] | type[ModelScope]] = {hub.name: hub for hub in (HuggingFace, ModelScope)}


def find_hub(source: str) -> Hub:
    """The hub named 'huggingface' or 'modelscope'.

    Raises:
        CourseError: any other name.
    """
    if source not in HUBS:
        known = ", ".join(HUBS)
        raise CourseError(f"There is no hub named '{source}'.", "a misspelt --source", f"use one of: {known}")
    return HUBS[source]()


def _wanted(entries: Iterable[Entry], path: Callable[[Entry], str]) -> list[Entry]:
    from huggingface_hub.utils import filter_repo_objects

    return list(filter_repo_objects(entries, allow_patterns=ALLOW_PATTERNS, ignore_patterns=IGNORE_PATTERNS, key=path))


@contextmanager
def _as_course_errors(hub: Hub, repo_id: str, revision: str) -> Iterator[None]:
    """Translate what the libraries raise; an unknown error keeps its own message."""
    loggers = [logging.getLogger(name) for name in ("modelscope", "modelscope_hub", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)  # they repeat the error at length
    try:
        yield
    except CourseError:
        raise
    except Exception as error:
        explained = _explain(error, hub, repo_id, revision)
        raise explained from (None if explained.cause else error)  # an unknown error keeps its traceback
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _explain(error: Exception, hub: Hub, repo_id: str, revision: str) -> CourseError:
    chain = list(_causes(error))
    kinds = {kind.__name__ for cause in chain for kind in type(cause).__mro__}
    status = next((code for cause in chain if (code := _status(cause))), None)
    if any(isinstance(cause, OSError) and cause.errno == errno.ENOSPC for cause in chain):
        meaning: str | None = "full disk"
    else:
        meaning = _meaning(kinds, status, may_lack_revision=hub.name == "modelscope" and revision != hub.default_branch)
    if meaning is None:
        return CourseError(f"{hub.name}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    entry = read_yaml(ERRORS_FILE)["errors"][meaning]
    values = {"hub": hub.name, "branch": hub.default_branch, "login": hub.login, "repo": repo_id, "revision": revision}
    values |= {"other": next(name for name in HUBS if name != hub.name), "status": str(status or 401)}
    return CourseError(*(entry[part].format(**values) for part in ("what", "cause", "remedy")))


def _meaning(kinds: set[str], status: int | None, may_lack_revision: bool) -> str | None:
    """Key in ``data/hub_errors.yaml``. ModelScope answers 404 to an unknown revision as well as to an unknown model."""
    if "FileIntegrityError" in kinds:
        return "damaged"
    if "GatedRepoError" in kinds or status in {401, 403}:
        return "no access"
    not_found = "RepositoryNotFoundError" in kinds or status == 404
    if "RevisionNotFoundError" in kinds or (not_found and may_lack_revision):
        return "no such revision"
    if not_found:
        return "no such model"
    if status and status >= 500:
        return "hub in trouble"
    return "no connection" if kinds & NETWORK_ERRORS else None


def _causes(error: BaseException | None, depth: int = 0) -> Iterator[BaseException]:
    if error is None or depth > 8:
        return
    yield error
    for failed in getattr(error, "failed_files", {}).values():
        yield from _causes(failed, depth + 1)
    yield from _causes(error.__cause__ or error.__context__, depth + 1)


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    return getattr(error, "status_code", None) or getattr(response, "status_code", None)

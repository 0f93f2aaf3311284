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
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from helpers.errors import CourseError
from helpers.files import COURSE_ROOT, read_yaml

#: What vLLM and transformers read. Of the weights only safetensors: .bin, .pth and ONNX repeat the same numbers.
ALLOW_PATTERNS = ["*.json", "*.txt", "*.jinja", "model*.safetensors", "README.md", "LICENSE*"]
#: Subfolders hold other formats of the same weights (onnx/, original/, gguf/).
IGNORE_PATTERNS = ["*/*"]
#: Incomplete large files from Hugging Face are kept here, in the model's folder, for the next run.
PARTIAL_FOLDER = Path(".cache") / "partial"
ERRORS_FILE = COURSE_ROOT / "data" / "hub_errors.yaml"
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
    """The wanted files of a repository at a revision: the branch, tag or commit that was asked for.

    ``commit`` is what it resolves to, if the hub says so.
    """

    source: str
    repo_id: str
    revision: str
    commit: str | None
    files: tuple[RemoteFile, ...]

    @property
    def is_pinned(self) -> bool:
        """Whether ``revision`` is a commit, which cannot move, rather than a branch or tag."""
        return is_commit(self.revision)


def is_commit(revision: str) -> bool:
    """Whether a revision is a full commit hash."""
    return bool(re.fullmatch(r"[0-9a-f]{40}", revision))


class HuggingFace:
    """huggingface.co, or the server that ``HF_ENDPOINT`` names. Raises: CourseError, if that is no address."""

    name = "huggingface"
    default_branch = "main"
    login = "hf auth login"
    """The command that logs in."""
    address_variables: tuple[str, ...] = ("HF_ENDPOINT",)
    token_variables = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
    certificate_variables = ("SSL_CERT_FILE", "SSL_CERT_DIR")

    def __init__(self) -> None:
        # Passed to every call, because the library reads the variable only once, on import.
        self.endpoint = _address_in("HF_ENDPOINT") or "https://huggingface.co"

    @property
    def has_token(self) -> bool:
        """Whether a token is sent, from the environment or an earlier login."""
        from huggingface_hub import get_token

        return bool(get_token())

    def list_files(self, repo_id: str, revision: str) -> Snapshot:
        """The wanted files with sizes and hashes; nothing is written.

        Raises:
            CourseError: what the hub or the way to it refuses; see ``data/hub_errors.yaml``.
        """
        from huggingface_hub import HfApi

        with _as_course_errors(self, repo_id, revision):
            info = HfApi(endpoint=self.endpoint).model_info(repo_id, revision=revision, files_metadata=True)
        # Large files are in LFS and have a sha256; small ones are in git and have its blob hash.
        files = tuple(
            RemoteFile(file.rfilename, file.lfs.size, "sha256", file.lfs.sha256)
            if file.lfs
            else RemoteFile(file.rfilename, file.size or 0, "git-sha1", file.blob_id or "")
            for file in _wanted(info.siblings or [], lambda file: file.rfilename)
        )
        return Snapshot(self.name, repo_id, revision, info.sha, files)

    def fetch(self, snapshot: Snapshot, files: list[RemoteFile], folder: Path) -> None:
        """Put these files into ``folder``: large ones first, each resumed at its last byte, then the rest.

        huggingface_hub 2.4 resumes after a lost connection within one call, but discards an incomplete file when the
        process ends. Its ``http_get`` can start in the middle of a file, so large files are fetched with that.

        Raises:
            CourseError: as `list_files`.
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
        """Bytes already fetched by an earlier, incomplete download of this file."""
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
    address_variables = ("MODELSCOPE_ENDPOINT", "MODELSCOPE_DOMAIN")
    token_variables = ("MODELSCOPE_API_TOKEN",)
    certificate_variables = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")

    def __init__(self) -> None:
        # None: the library tries modelscope.cn first, then modelscope.ai. It takes a bare host name for https.
        found = (_address_in(name, scheme="https://") for name in self.address_variables)
        self.endpoint = next(filter(None, found), None)

    @property
    def has_token(self) -> bool:
        """Whether the environment has a token; one of an earlier login is not looked for."""
        return any(map(os.environ.get, self.token_variables))

    def list_files(self, repo_id: str, revision: str) -> Snapshot:
        """As `HuggingFace.list_files`."""
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
        """As `HuggingFace.fetch`; the library resumes its own ``*.incomplete`` files and checks each sha256."""
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
        """As `HuggingFace.bytes_waiting`."""
        # A single stream leaves <name>.incomplete; parallel parts leave <name>_<first byte>_<last byte>.
        parts = [folder / f"{file.path}.incomplete", *folder.glob(f"{file.path}_*_*")]
        return sum(part.stat().st_size for part in parts if part.is_file())


Hub = HuggingFace | ModelScope
HUBS: dict[str, type[Hub]] = {hub.name: hub for hub in (HuggingFace, ModelScope)}


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
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)  # the libraries repeat the error at length
    try:
        yield
    except CourseError:
        raise
    except Exception as error:
        explained = _explain(error, hub, repo_id, revision)
        raise explained from (None if explained.cause else error)  # an unknown error keeps its traceback
    finally:
        logging.disable(before)


def _address_in(variable: str, scheme: str = "") -> str | None:
    """The address of a hub in a variable of the environment, without a slash at its end; None if it is not set."""
    given = os.environ.get(variable)
    if not given:
        return None
    address = given if "://" in given else scheme + given
    parts = urlsplit(address)
    if re.search(r"\s", given) or parts.scheme not in {"http", "https"} or not parts.netloc:
        raise CourseError(
            f"{variable}={given!r} is not the address of a hub.",
            "a blank, or no http:// or https:// in front",
            f"set it to an address such as https://hf-mirror.com, or unset it: unset {variable}",
        )
    return address.rstrip("/")


def _explain(error: Exception, hub: Hub, repo_id: str, revision: str) -> CourseError:
    chain = list(_causes(error))
    status = next((code for cause in chain if (code := _status(cause))), None)
    facts = {kind.__name__ for cause in chain for kind in type(cause).__mro__} | {status} | set(_findings(chain, hub))
    if hub.name == "modelscope" and revision != hub.default_branch and 404 in facts:
        facts.add("RevisionNotFoundError")  # it answers 404 to an unknown revision as well as to an unknown model
    if status:
        facts.add("server trouble" if status >= 500 else "refusal" if status >= 400 else "answer")
    entries = read_yaml(ERRORS_FILE)["errors"].values()
    entry: dict[str, Any] | None = next((one for one in entries if facts & set(one["signs"])), None)
    if entry is None:
        return CourseError(f"{hub.name}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    token = next(filter(os.environ.get, hub.token_variables), "")
    values = {"hub": hub.name, "branch": hub.default_branch, "login": hub.login, "repo": repo_id, "revision": revision}
    values |= {"other": next(name for name in HUBS if name != hub.name), "status": str(status or 401)}
    values |= {"token": token or "the login stored here", "removal": f"unset {token}" if token else "hf auth logout"}
    values |= {"certificates": hub.certificate_variables[0], "lost": ", ".join(_lost_certificates(hub))}
    values |= {"path": next((str(name) for one in chain if (name := getattr(one, "filename", None))), "A file")}
    asked = [f"{name} says {os.environ[name]}" for name in hub.address_variables if os.environ.get(name)]
    values |= {"asked": "; ".join(["", *asked])}
    return CourseError(*(entry[part].format(**values) for part in ("what", "cause", "remedy")))


def _findings(chain: list[BaseException], hub: Hub) -> Iterator[str]:
    """What neither a status nor the kind of an exception says."""
    numbers = {cause.errno for cause in chain if isinstance(cause, OSError)}
    if errno.ENOSPC in numbers:
        yield "full disk"
    if numbers & {errno.EACCES, errno.EPERM, errno.EROFS}:
        yield "not writable"
    if {FileNotFoundError, OSError} & set(map(type, chain)) and _lost_certificates(hub):
        yield "lost certificates"
    words = " ".join(map(str, chain)).lower()
    if "socks" in words or "scheme for proxy" in words:
        yield "socks"
    if hub.has_token and 401 in map(_status, chain):
        yield "refused token"


def _lost_certificates(hub: Hub) -> list[str]:
    """Variables that name a file of certificates that is not there."""
    given = {name: os.environ.get(name) for name in hub.certificate_variables}
    return [f"{name}={path}" for name, path in given.items() if path and not Path(path).exists()]


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

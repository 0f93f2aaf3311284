"""Bring a model onto this disk and verify it: plan, check the free space, fetch, verify, record.

``course-lock.json`` beside the model records what was fetched: hub, commit, and size and hash of every file. Later
downloads use that commit, and ``verify_only`` needs no network.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from helpers.errors import CourseError
from helpers.files import write_whole
from helpers.hubs import HashKind, Hub, RemoteFile, Snapshot, find_hub, is_commit
from helpers.machine import free_disk_bytes
from helpers.profiles import COURSE_ROOT, hub_is_off, load_profiles, models_folder, use_profile

LOCK_FILE = "course-lock.json"
#: The bundled model's manifest, in coreutils format: `sha256sum --check SHA256SUMS` reads it too.
MANIFEST_FILE = "SHA256SUMS"
#: Kept free in addition to the download, in bytes: a full disk breaks more than a download.
SPARE_BYTES = 1 << 30


class Damage(NamedTuple):
    """A file that is missing or wrong, and how."""

    file: RemoteFile
    problem: str

    def __str__(self) -> str:
        return f"{self.file.path}: {self.problem}"


def find_damage(folder: Path, files: Iterable[RemoteFile], *, progress: bool = False) -> list[Damage]:
    """Compare files on disk with their expected size and hash; ``progress`` shows a bar in bytes on stderr."""
    from tqdm import tqdm

    files, found = list(files), []
    total = sum(file.size for file in files)
    with tqdm(total=total, unit="B", unit_scale=True, desc="Verifying", disable=not progress, leave=False) as bar:
        for file in files:
            path = folder / file.path
            if not path.is_file():
                found.append(Damage(file, "missing"))
            elif (size := path.stat().st_size) != file.size:
                found.append(Damage(file, f"{size:,} bytes instead of {file.size:,}"))
            elif hash_file(path, file.hash_kind, bar.update) != file.digest:
                found.append(Damage(file, f"its {file.hash_kind} differs"))
    return found


def hash_file(path: Path, kind: HashKind = "sha256", report: Callable[[int], object] = lambda count: None) -> str:
    """Hex digest of a file; 'git-sha1' is git's blob hash, whose input starts with a header that gives the size."""
    digest = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
    if kind == "git-sha1":
        digest.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
            report(len(block))
    return digest.hexdigest()


def read_manifest(folder: Path) -> list[RemoteFile]:
    """The files of a bundled model from its ``SHA256SUMS``.

    The format has no sizes: those of the files on disk are used (0 if missing), and the hash decides.

    Raises:
        CourseError: no manifest, a malformed line, or a path outside the folder.
    """
    manifest = folder / MANIFEST_FILE
    restore = f"git checkout -- data/models/{folder.name}"
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except OSError:
        raise CourseError(f"{folder.name}/{MANIFEST_FILE} is missing.", "a partial checkout", restore) from None
    files = []
    for number, line in enumerate(lines, 1):
        digest, _, name = line.partition(" ")
        name = name.lstrip(" *")
        if not name or len(digest) != 64 or Path(name).is_absolute() or ".." in Path(name).parts:
            raise CourseError(f"{folder.name}/{MANIFEST_FILE}, line {number}: not '<sha256>  <file>'.", "", restore)
        path = folder / name
        files.append(RemoteFile(name, path.stat().st_size if path.is_file() else 0, "sha256", digest.lower()))
    return files


def check_free_space(needed: int, folder: Path) -> int:
    """Return the free bytes on the disk that holds or will hold ``folder``.

    Raises:
        CourseError: no folder can be there, or fewer than ``needed`` bytes plus a reserve of 1 GiB are free.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "it belongs to another user, or to a disk that is read-only" if there.is_dir() else "it is a file"
        raise CourseError(f"Nothing can be put into {there}.", why, "choose another folder with --folder")
    free = free_disk_bytes(folder)
    if needed and free < needed + SPARE_BYTES:
        raise CourseError(
            f"Not enough disk space: {_gib(needed)} still to download, {_gib(free)} free.",
            f"this is the disk of {folder}; 1 GiB is kept in reserve. Nothing was written",
            "free some space, or choose another disk with --folder or COURSE_MODELS_DIR",
        )
    return free


def read_lock(folder: Path) -> Snapshot | None:
    """What was downloaded into this folder; None if nothing was.

    Raises:
        CourseError: the lock file is damaged.
    """
    path = folder / LOCK_FILE
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(RemoteFile(**file) for file in data.pop("files"))
        return Snapshot(files=files, **data)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CourseError(
            f"{folder.name}/{LOCK_FILE} cannot be used.", str(error), f"delete {path} and download again"
        ) from None


def plan_download(repo_id: str, folder: Path, source: str = "huggingface", revision: str | None = None) -> Snapshot:
    """What a download would fetch, with sizes and hashes; nothing is written.

    Args:
        repo_id: the hub's id, e.g. 'Qwen/Qwen3-VL-4B-Instruct'.
        folder: where the model lies or will lie, without subfolders for hub or revision.
        source: 'huggingface' or 'modelscope'.
        revision: branch, tag or commit; None takes the commit recorded for this hub by the lock file in ``folder``,
            else the hub's default branch, resolved to its current commit.

    Raises:
        CourseError: no network, no access, unknown name or revision, or nothing that the course needs.
    """
    hub, lock = find_hub(source), read_lock(folder)
    locked = lock.commit if lock and (lock.source, lock.repo_id) == (source, repo_id) else None
    snapshot = hub.list_files(repo_id, revision or locked or hub.default_branch)
    if not snapshot.files:
        raise CourseError(f"{repo_id} has no file that the course needs.", "not a model repository", "check its page")
    return snapshot


def download_model(
    repo_id: str, folder: Path, source: str = "huggingface", revision: str | None = None, *, quiet: bool = False
) -> Snapshot:
    """Fetch the missing or damaged files of a model into ``folder``, verify all of them, and write the lock file.

    Arguments as for `plan_download`; ``quiet`` prints nothing.

    Raises:
        CourseError: as `plan_download` and `check_free_space`, or damage that a second attempt did not fix.
    """
    say: Callable[[str], None] = (lambda line: None) if quiet else print
    hub = find_hub(source)
    check_free_space(0, folder)
    snapshot = plan_download(repo_id, folder, source, revision)
    say(_revision_note(snapshot, recorded=snapshot.is_pinned and not revision))
    damage = find_damage(folder, snapshot.files, progress=not quiet)
    needed = sum(max(0, item.file.size - hub.bytes_waiting(item.file, folder)) for item in damage)
    free = check_free_space(needed, folder)
    total = f"{len(snapshot.files)} files, {_gib(sum(file.size for file in snapshot.files))}"
    say(f"{total}; to fetch: {len(damage)} files, {_gib(needed)}; free: {_gib(free)}")
    if damage:
        _repair(hub, snapshot, damage, folder, say)
    write_whole(folder / LOCK_FILE, json.dumps(asdict(snapshot), indent=2) + "\n")
    say(f"Verified: {len(snapshot.files)} of {len(snapshot.files)} files have the expected size and hash.")
    return snapshot


def _repair(hub: Hub, snapshot: Snapshot, damage: list[Damage], folder: Path, say: Callable[[str], None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if wrong := [item for item in damage if item.problem != "missing"]:
        say(f"Damaged, fetching again: {'; '.join(map(str, wrong))}")
    for attempt in ("Arrived damaged, fetching again", ""):
        files = [item.file for item in damage]
        for file in files:  # a wrong file must not remain where a model is loaded from
            (folder / file.path).unlink(missing_ok=True)
        hub.fetch(snapshot, files, folder)
        damage = find_damage(folder, files)
        if not damage:
            return
        if attempt:
            say(f"{attempt}: {'; '.join(map(str, damage))}")
    for item in damage:
        (folder / item.file.path).unlink(missing_ok=True)
    raise CourseError(
        f"{snapshot.repo_id}: the downloaded files do not match what {hub.name} lists: {'; '.join(map(str, damage))}.",
        "a proxy or mirror is delivering damaged files, or the repository is being changed right now",
        "try again later, or use the other hub; the damaged files were removed, the good ones kept",
    )


def verify_local(folder: Path, *, quiet: bool = False) -> list[RemoteFile]:
    """Check a model on disk against its lock file or bundled manifest. Needs no network.

    Raises:
        CourseError: neither is there, or files are damaged; the message names each of them.
    """
    lock = read_lock(folder)
    if lock is None and not (folder / MANIFEST_FILE).is_file():
        cause = f"neither {LOCK_FILE} nor {MANIFEST_FILE} is in the folder: it was not downloaded by this course"
        raise CourseError(
            f"There is no record of what {folder.name} should contain.",
            cause if folder.is_dir() else "the model has not been downloaded yet",
            "download it once with network access; files that are already there and match are kept",
        )
    files = list(lock.files) if lock else read_manifest(folder)
    if damage := find_damage(folder, files, progress=not quiet):
        cause = "an edit, an interrupted copy, or a failing disk"
        remedy = "download or copy it again: only these files are fetched"
        if not lock and folder.resolve().is_relative_to(COURSE_ROOT.resolve()):
            names = " ".join(f"data/models/{folder.name}/{item.file.path}" for item in damage)
            remedy = f"git checkout -- {names}"
            if any(_has_other_line_ends(folder, item.file) for item in damage):
                cause = "line endings changed to CRLF, by git's core.autocrlf or by an editor"
                # What git itself converted looks unchanged to it: it restores only what is missing.
                remedy = f"rm -f {names}; {remedy}"
        raise CourseError(
            f"{folder.name}: {len(damage)} of {len(files)} files are damaged: {'; '.join(map(str, damage))}.",
            cause,
            remedy,
        )
    if not quiet:
        print(f"Verified: {len(files)} of {len(files)} files of {folder.name} have the recorded hash.")
    return files


def _has_other_line_ends(folder: Path, file: RemoteFile) -> bool:
    """Whether a file has the recorded hash once its CRLF are LF."""
    if file.hash_kind != "sha256" or not (folder / file.path).is_file():
        return False
    return hashlib.sha256((folder / file.path).read_bytes().replace(b"\r\n", b"\n")).hexdigest() == file.digest


def copy_bundled(bundle: Path, folder: Path, *, quiet: bool = False) -> list[RemoteFile]:
    """The same steps for the bundled model: check the space, copy what is missing or damaged, verify.

    Raises:
        CourseError: the bundle itself is damaged, or too little space.
    """
    files = verify_local(bundle, quiet=True)
    damage = find_damage(folder, files)
    needed = sum(item.file.size for item in damage)
    check_free_space(needed, folder)
    for item in damage:
        if item.problem != "missing" and not quiet:
            print(f"Damaged, copied again: {item}")
        target = folder / item.file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle / item.file.path, target)
    shutil.copyfile(bundle / MANIFEST_FILE, folder / MANIFEST_FILE)
    if not quiet:
        print(f"{len(files)} files; copied: {len(damage)}")
    return verify_local(folder, quiet=quiet)


def download_profile(
    profile: str = "auto",
    source: str = "huggingface",
    folder: Path | None = None,
    revision: str | None = None,
    verify_only: bool = False,
) -> None:
    """Bring a profile's model onto this disk and verify it, as ``course download`` does.

    Args:
        profile: a profile's name, or 'auto'.
        source: 'huggingface' or 'modelscope'.
        folder: target; default ``models_folder()/<org>/<name>``, where the profiles look for it.
        revision: branch, tag or commit; a branch is resolved again and replaces the recorded commit.
        verify_only: only compare the files with their record, without network, as does ``HF_HUB_OFFLINE=1``.

    Raises:
        CourseError: an unknown profile, or as for `download_model` and `verify_local`.
    """
    profiles = load_profiles()
    chosen = use_profile(profile, quiet=True).profile if profile == "auto" else profiles.get(profile)
    if chosen is None:
        raise CourseError(f"There is no profile '{profile}'.", "a misspelt name", f"use: auto, {', '.join(profiles)}")
    if chosen.source == "bundled":
        bundle = COURSE_ROOT / "data" / chosen.model
        print(f"Profile {chosen.name}: its model comes with the course; there is nothing to download.")
        read_manifest(bundle)
        if folder is None or verify_only:
            verify_local(Path(folder or bundle))
        else:
            copy_bundled(bundle, Path(folder))
        return
    target = Path(folder) if folder else models_folder() / chosen.model
    if verify_only or hub_is_off():
        verify_local(target)
        return
    wanted = revision
    if wanted is None and chosen.revision and is_commit(chosen.revision) and source == "huggingface":
        wanted = chosen.revision  # a profile's pin is a commit of Hugging Face
    download_model(chosen.model, target, source, wanted)
    print(f"Model folder: {target}")


def _revision_note(snapshot: Snapshot, *, recorded: bool) -> str:
    where = f"{snapshot.repo_id} on {snapshot.source}, "
    if snapshot.is_pinned:
        return f"{where}commit {snapshot.revision[:12]}" + (f", as recorded in {LOCK_FILE}" if recorded else "")
    resolved = f"{LOCK_FILE} will record the files' hashes"
    if snapshot.commit:
        resolved = f"today it is commit {snapshot.commit[:12]}, which {LOCK_FILE} will record"
    return f"{where}revision '{snapshot.revision}' (unpinned: a branch moves; {resolved})"


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**27 else f"{count / 2**20:.1f} MiB"

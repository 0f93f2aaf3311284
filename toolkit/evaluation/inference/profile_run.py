"""A profile's model asked about a folder of items: its server, its sampling fields, its revision."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from helpers.errors import CourseError
from helpers.files import shown
from toolkit.evaluation.inference.requests import check_items, sampling_fields
from toolkit.evaluation.inference.runner import ATTEMPTS, CONCURRENCY, TIMEOUT_SECONDS, all_settled, run_items

if TYPE_CHECKING:
    from helpers.profiles import ActiveProfile

#: Fields of a ``generation_config.json`` that can be sent with a request.
VENDOR_FIELDS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def model_revision(active: ActiveProfile) -> str | None:
    """What a profile's weights are: the commit that was downloaded, else a hash of the files on this disk.

    'random weights' for a rehearsal, whose answers must not pass for the model's; None if they are not on this disk.
    """
    from helpers.download import hash_file, read_lock

    folder = Path(active.model_path)
    if active.profile.rehearse:
        return "random weights"
    if not folder.is_dir():
        return None
    if (lock := read_lock(folder)) and lock.commit:
        return lock.commit
    hashes = {file.name: hash_file(file) for file in sorted(folder.glob("*.safetensors"))}
    return f"sha256:{hashlib.sha256(json.dumps(hashes).encode()).hexdigest()}" if hashes else None


def command(
    profile: str,
    items: Path,
    out: Path,
    concurrency: int = CONCURRENCY,
    run: str | None = None,
    url: str | None = None,
    key: str | None = None,
    model: str | None = None,
    attempts: int = ATTEMPTS,
    timeout: float = TIMEOUT_SECONDS,
    limit: int | None = None,
    rehearse: bool = False,
    sampling: Literal["profile", "vendor"] = "profile",
    revision: str | None = None,
) -> int:
    """Ask a profile's model about a folder's items; ``python -m course evaluate run``.

    Args:
        profile: a name of ``data/profiles.yaml``, or auto; its sampling fields are sent.
        items: folder with ``items.jsonl``.
        out: file of transcripts.
        concurrency: see `run_items`; so are attempts and limit.
        run: see `run_items`.
        url: of an endpoint that runs already; None starts the profile's server, and stops it at the end. An endpoint
            may fill in what is not sent from the checkpoint: see `SamplingFields`.
        key: that the endpoint asks for.
        model: its name at the endpoint; None is the profile's.
        attempts: see `run_items`.
        timeout: seconds for one attempt.
        limit: the first so many items only.
        rehearse: the real size with random weights.
        sampling: ``profile`` sends the profile's fields; ``vendor`` those of the checkpoint's own
            ``generation_config.json`` (see `vendor_sampling`), all of them explicitly, too.
        revision: of the weights at ``url``, which an endpoint does not tell.

    Returns:
        0 if every item has an answer, 1 if some failed, 130 after an interruption.

    Raises:
        CourseError: as `run_items`, `helpers.profiles.use_profile` and `helpers.server.serve`.
    """
    from helpers.profiles import use_profile

    if sampling not in ("profile", "vendor"):
        raise CourseError(f"There are no sampling fields '{sampling}'.", "", "use profile or vendor")
    options = {"attempts": attempts, "timeout_seconds": timeout, "limit": limit, "run": run}
    check_items(items, limit)  # before a server is started for them
    active = use_profile(profile, rehearse=True if rehearse else None)
    arguments = active.sampling_arguments()
    fields = sampling_fields(vendor_sampling(active.model_path, arguments) if sampling == "vendor" else arguments)
    try:
        if url:
            summary = asyncio.run(
                run_items(
                    items, out, url, key, model or active.served_name, fields, concurrency, revision=revision, **options
                )
            )
        elif done := all_settled(items, out, active.served_name, fields, model_revision(active), run, limit):
            summary = done
        else:
            from helpers.server import serve

            with serve(active, api_key=key) as server:
                summary = asyncio.run(
                    run_items(
                        items, out, server.base_url, server.api_key, server.model_name, fields, concurrency,
                        **options, **_own_server(active),
                    )
                )  # fmt: skip
    except KeyboardInterrupt:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    print(summary.describe())
    return 1 if summary.failures else 0


def vendor_sampling(model: str | Path, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint's own sampling defaults, in the place of ``arguments``'s; length and seed stay.

    A ``generation_config.json`` without ``do_sample`` means greedy decoding, as in transformers.

    Args:
        model: folder of the model.
        arguments: keywords of ``vllm.SamplingParams``.

    Raises:
        CourseError: the model is not on this disk.
    """
    file = Path(model) / "generation_config.json"
    if not file.is_file():
        raise CourseError(
            f"There is no generation_config.json in {shown(Path(model))}.", "the model is not on this disk",
            "fetch it: python -m course download --help",
        )  # fmt: skip
    vendor = json.loads(file.read_text(encoding="utf-8"))
    chosen = {key: vendor[key] for key in VENDOR_FIELDS if vendor.get(key) is not None}
    if not vendor.get("do_sample"):
        chosen["temperature"] = 0.0
    kept = {key: arguments[key] for key in ("max_tokens", "seed") if key in arguments}
    return {"temperature": 1.0, "top_p": 1.0} | chosen | kept


def _own_server(active: ActiveProfile) -> dict[str, Any]:
    dtype = active.profile.dtype.get(active.device, "auto")
    return {"revision": model_revision(active), "device": active.device, "dtype": dtype}

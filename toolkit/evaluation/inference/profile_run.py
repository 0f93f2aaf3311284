"""A profile's model asked about a folder of items: its server, its sampling fields, its revision."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import CourseError
from helpers.files import shown
from toolkit.evaluation.inference.client import DEFAULT_POLICY, Endpoint, RequestPolicy
from toolkit.evaluation.inference.requests import SamplingFields, check_items, sampling_fields
from toolkit.evaluation.inference.runner import RunSummary, all_settled, run_items

if TYPE_CHECKING:
    from helpers.profiles import ActiveProfile
    from helpers.server import Server

#: Fields of a ``generation_config.json`` that can be sent with a request.
VENDOR_FIELDS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def model_revision(active: ActiveProfile) -> str | None:
    """What a profile's weights are: the commit that was downloaded, else a hash of the files on this disk.

    'random weights' for a rehearsal, whose answers must not pass for the model's. Of a model that vLLM itself fetches,
    the hub's name of the revision. None of a folder without weights.
    """
    from helpers.download import hash_file, read_lock

    folder = Path(active.model_path)
    if active.profile.rehearse:
        return "random weights"
    if not folder.is_dir():
        return f"hub: {active.profile.revision or 'main'}"
    if (lock := read_lock(folder)) and lock.commit:
        return lock.commit
    hashes = {file.name: hash_file(file) for file in sorted(folder.glob("*.safetensors"))}
    return f"sha256:{hashlib.sha256(json.dumps(hashes).encode()).hexdigest()}" if hashes else None


def endpoint_of(server: Server, active: ActiveProfile) -> Endpoint:
    """The endpoint of a server of ours, with what transcripts record of the profile's weights, device and dtype."""
    return Endpoint(
        server.base_url, server.model_name, server.api_key, revision=model_revision(active), device=active.device,
        dtype=active.profile.dtype.get(active.device, "auto"),
    )  # fmt: skip


@dataclass(frozen=True)
class RunOptions:
    """What `main` is to ask of whom: the options of ``course evaluate run``, which explains them."""

    profile: str
    items: Path
    out: Path
    url: str | None = None
    key: str | None = None
    model: str | None = None
    revision: str | None = None
    run: str | None = None
    limit: int | None = None
    policy: RequestPolicy = DEFAULT_POLICY
    rehearse: bool = False
    sampling: str = "profile"
    max_tokens: int | None = None


def main(options: RunOptions) -> int:
    """``course evaluate run``: ask a profile's model; 0, 1 if some items failed, or 130 after an interruption.

    Raises:
        CourseError: as `run_items`, `helpers.profiles.use_profile` and `helpers.server.serve`.
    """
    from helpers.profiles import use_profile

    if options.sampling not in ("profile", "vendor"):
        raise CourseError(f"There are no sampling fields '{options.sampling}'.", "", "use profile or vendor")
    check_items(options.items, options.limit)  # before a server is started for them
    active = use_profile(options.profile, rehearse=True if options.rehearse else None)
    fields = active.sampling_arguments()
    if options.sampling == "vendor":
        fields = vendor_sampling(active.model_path, fields, active.profile.vendor)
    if options.max_tokens:
        fields["max_tokens"] = options.max_tokens
    try:
        summary = _ask(options, active, sampling_fields(fields))
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
    print(summary.describe())
    return 1 if summary.failures else 0


def _ask(options: RunOptions, active: ActiveProfile, sampling: SamplingFields) -> RunSummary:
    items, out, run, limit = options.items, options.out, options.run, options.limit

    def ask(endpoint: Endpoint) -> RunSummary:
        return asyncio.run(run_items(items, out, endpoint, sampling, options.policy, run, limit))

    if options.url:
        return ask(Endpoint(options.url, options.model or active.served_name, options.key, options.revision))
    if done := all_settled(items, out, active.served_name, sampling, model_revision(active), run, limit):
        return done
    from helpers.server import serve

    with serve(active, api_key=options.key) as server:
        return ask(endpoint_of(server, active))


def vendor_sampling(
    model: str | Path, arguments: Mapping[str, Any], further: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a model's vendor recommends, in the place of ``arguments``'s sampling; length and seed stay.

    A ``generation_config.json`` without ``do_sample`` means greedy decoding, as in transformers.

    Args:
        arguments: keywords of ``vllm.SamplingParams``.
        further: what the vendor recommends elsewhere, such as Qwen's presence penalty (``vendor`` in
            ``data/profiles.yaml``); left out where the model decodes greedily.

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
    chosen |= (further or {}) if vendor.get("do_sample") else {"temperature": 0.0}
    kept = {key: arguments[key] for key in ("max_tokens", "seed") if key in arguments}
    return {"temperature": 1.0, "top_p": 1.0} | chosen | kept

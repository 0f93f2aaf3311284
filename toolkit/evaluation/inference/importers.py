"""Transcripts from the logs of other tools: lmms-eval and Inspect.

Both tools may put an error where an answer belongs. Here an error becomes the status and never the text; what a log
does not say is None. Formats: lmms-eval's ``lmms_eval/evaluator.py`` and ``loggers/evaluation_tracker.py`` (commit
75571cf); Inspect's ``inspect_ai/log/_log.py``, ``log/_recorders`` and ``model/_model_output.py`` (commit 499e615).
"""

from __future__ import annotations

import datetime
import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from helpers.errors import CourseError
from helpers.files import first_mistake, shown
from toolkit.evaluation.inference.replies import encodable
from toolkit.evaluation.inference.transcripts import Transcript, append, read_transcripts, request_hash

LMMS_EVAL, INSPECT_AI = "lmms-eval", "inspect_ai"
#: Other tools' names of sampling fields -> those of OpenAI's API, so that runs can be compared.
_FIELDS = {"max_new_tokens": "max_completion_tokens", "max_tokens": "max_completion_tokens", "until": "stop",
           "stop_seqs": "stop"}  # fmt: skip


def _item_id(task: str, name: Any) -> str:
    """An item's own name; a mere number says nothing without the task."""
    return f"{task}-{name}" if isinstance(name, int) or str(name).isdigit() else str(name)


def _utc(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.UTC).isoformat(timespec="milliseconds")


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _outcome(status: str, words: str) -> dict[str, Any]:
    """Status with text or error, as it demands."""
    return {"status": status, "error" if status in ("error", "timeout") else "text": encodable(words)}


# ---------------------------------------------------------------- lmms-eval

_SAMPLES = re.compile(r"(?P<date>.+?)_samples_(?P<task>.+)\.jsonl")
#: What lmms-eval's API models return in place of an answer (models/chat/openai.py, async_openai.py, gemini.py).
_FAILURES = re.compile(
    r"\[LMMS_EVAL_(REQUEST_FAILED after \d+ retries|BUDGET_EXCEEDED)\]"
    r"|Error: can only concatenate str \(not \"NoneType\"\) to str$"
)


def read_lmms_eval(path: str | Path, *, model: str | None = None, run: str | None = None) -> Iterator[Transcript]:
    """The answers in a log of lmms-eval, ``<date>_samples_<task>.jsonl``, one at a time.

    Model, sampling fields and time come from ``<date>_results.json`` beside it. The log holds no finish reasons: an
    answer of as many tokens as the limit allows counts as truncated, and is 'ok' where tokens or limit are not known.
    Latency, media and errors of models that return '' are not in it. A task with repeats gives a run for each:
    ``<run>-repeat-2`` and so on. The text is the model's, before filters; a sample that is there once for each filter
    counts once. Items are named ``<task>-<doc_id>``.

    Args:
        path: the samples' file.
        model: its name; needed where the file of results is not there or does not say it.
        run: name of the run; None makes one of model and task.

    Raises:
        CourseError: unreadable files; an unknown model; a line that is no sample (its number is named), or that holds
            no text to score: likelihoods of given choices, or several rounds.
    """
    path = Path(path)
    found = _SAMPLES.fullmatch(path.name)
    if not found:
        raise CourseError(
            f"{path.name} is no log of lmms-eval's.", "another file", "give <date>_samples_<task>.jsonl (--log_samples)"
        )
    about = _LmmsEval.read(path, found["date"], found["task"], model, run)
    seen = set()
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            sample = json.loads(line)
            texts, doc = about.texts(sample), sample["doc_id"]
        except (ValueError, LookupError, TypeError) as error:
            why = error.msg if isinstance(error, json.JSONDecodeError) else f"{error}"
            raise CourseError(f"{path.name} line {number} is no sample of lmms-eval's.", why) from None
        if texts is None:
            raise CourseError(
                f"{path.name} line {number} has no single answer.",
                "the task scores given choices by likelihood, or asks in rounds; or it has repeats, and the file of "
                "results, which says so, is not there",
                "import a task that generates text, and keep <date>_results.json beside its samples",
            )
        if doc in seen:
            continue
        seen.add(doc)
        for repeat, text in enumerate(texts):
            yield about.transcript(sample, doc, repeat, text)


def _lines(path: Path) -> Iterator[bytes]:
    with _open(path) as file:
        yield from file


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise CourseError(
            f"{shown(path)} cannot be read: {error.strerror}.", "a misspelt path", "look at the path"
        ) from None


@dataclass(frozen=True)
class _LmmsEval:
    """What all samples of a log have in common."""

    task: str
    model: str
    run: str
    server: str | None
    revision: str | None
    dtype: str | None
    device: str | None
    sampling: dict[str, Any]
    repeats: int
    time: str

    @classmethod
    def read(cls, path: Path, date: str, task: str, model: str | None, run: str | None) -> _LmmsEval:
        beside = path.with_name(f"{date}_results.json")
        results = _json(_open(beside).read(), beside.name) if beside.is_file() else {}
        config, of_task = _mapping(results.get("config")), _mapping(_mapping(results.get("configs")).get(task))
        arguments = _arguments(config.get("model_args"))
        model = model or results.get("model_name") or arguments.get("pretrained") or arguments.get("model")
        if not model:
            raise CourseError(
                f"{path.name} does not say which model answered.",
                f"{beside.name} is not beside it, or has no model's name",
                "put it there, or name the model",
            )
        sampling = _mapping(of_task.get("generation_kwargs")) | _arguments(config.get("gen_kwargs"))
        server = config.get("model")
        return cls(
            task=task,
            model=str(model),
            run=run or f"{model}-{task}",
            server=server if isinstance(server, str) else None,
            revision=arguments.get("revision"),
            dtype=arguments.get("dtype") or arguments.get("torch_dtype"),
            device=config.get("device"),
            sampling={_FIELDS.get(key, key): value for key, value in sampling.items()},
            repeats=_count(of_task.get("repeats")) or 1,
            time=_moment(date, _mapping(config.get("resolved_cli_args")).get("timezone")),
        )

    def texts(self, sample: Mapping[str, Any]) -> list[str | None] | None:
        """The model's texts, one for each repeat, None where it was not asked; None if they are not one text each."""
        value = sample["resps"] if "resps" in sample else sample["filtered_resps"]
        while isinstance(value, list) and len(value) == 1:
            value = value[0]
        if value == []:  # the budget of tokens was spent
            return [None] * self.repeats
        if isinstance(value, list) and len(value) == self.repeats:
            texts = [one[0] if isinstance(one, list) and len(one) == 1 else one for one in value]
        else:
            texts = [value]
        return texts if all(isinstance(text, str) for text in texts) else None

    def transcript(self, sample: Mapping[str, Any], doc: Any, repeat: int, text: str | None) -> Transcript:
        counts = sample.get("token_counts")
        tokens = _mapping(counts[repeat]) if isinstance(counts, list) and len(counts) > repeat else {}
        used, limit = _count(tokens.get("output_tokens")), _count(self.sampling.get("max_completion_tokens"))
        status = "truncated" if used is not None and limit is not None and used >= limit else "ok"
        if text is None or _FAILURES.match(text):
            status, text = "error", text or "The log holds no answer."
        asked = {"role": "user", "content": str(sample.get("input")), "doc_hash": sample.get("doc_hash")}
        return Transcript(
            run=self.run if repeat == 0 else f"{self.run}-repeat-{repeat + 1}",
            item_id=_item_id(self.task, doc),
            model=self.model,
            revision=self.revision,
            server=self.server,
            device=self.device,
            dtype=self.dtype,
            request_hash=request_hash([asked], [], self.sampling, self.revision, self.model),
            sampling=self.sampling,
            seed=_count(self.sampling.get("seed")),
            prompt_tokens=_count(tokens.get("input_tokens")),
            completion_tokens=used,
            time=self.time,
            origin=LMMS_EVAL,
            **_outcome(status, text),
        )


def _arguments(written: Any) -> dict[str, Any]:
    """``a=1,b=x`` of lmms-eval's command line as {'a': 1, 'b': 'x'}."""
    if not isinstance(written, str):
        return _mapping(written)
    pairs = (part.partition("=") for part in written.split(",") if "=" in part)
    return {key.strip(): _value(value) for key, _, value in pairs}


def _value(word: str) -> Any:
    if word in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[word]
    try:
        return json.loads(word)
    except ValueError:
        return word


def _moment(date: str, zone: str | None) -> str:
    """When the log was begun, in UTC; without a zone if the zone is not known; as written if it is no such date."""
    import zoneinfo

    try:
        moment = datetime.datetime.strptime(date, "%Y%m%d_%H%M%S")
    except ValueError:
        return date
    try:
        return _utc(moment.replace(tzinfo=zoneinfo.ZoneInfo(zone))) if zone else moment.isoformat()
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return moment.isoformat()


# ---------------------------------------------------------------- Inspect

#: Fields of Inspect's GenerateConfig that an answer does not depend on.
_NOT_SAMPLING = {"max_retries", "timeout", "attempt_timeout", "max_connections", "adaptive_connections", "cache_prompt",
                 "batch", "cache", "extra_headers", "extra_body"}  # fmt: skip
_TRUNCATED = ("max_tokens", "length", "model_length")
_MONOLITH = re.compile(r"samples/.+_epoch_\d+\.json", re.DOTALL)
_SHELL = re.compile(r"samples/.+_epoch_\d+/sample\.json", re.DOTALL)
_ATTACHMENT = "attachment://"
_ZSTANDARD = 93


def read_inspect_ai(path: str | Path, *, run: str | None = None) -> Iterator[Transcript]:
    """The answers in a log of Inspect's, ``.eval`` or ``.json``, one at a time.

    A sample gives one transcript, and one before it for each error after which it was retried. Later epochs are runs of
    their own: ``<run>-epoch-2`` and so on. The text is the last output's completion, without the model's reasoning
    where Inspect keeps that apart. An invalidated sample, and one without an answer, is an error. A sample that a limit
    ended is truncated, or has timed out if there is no text. Items have the samples' names, numbers with the task's
    name before them. Of an ``.eval``, one sample is in memory at a time; a ``.json`` is read whole.

    Args:
        path: the log.
        run: name of the run; None makes one of model and task.

    Raises:
        CourseError: an unreadable file, no log of Inspect's, or one without samples.
    """
    path = Path(path)
    with _open(path) as file:
        zipped = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        header, samples = _zipped(file, path) if zipped else _whole(file, path)
        about = _Inspect.read(header, path, run)
        count = 0
        for sample, attachment in samples:
            count += 1
            try:
                found = list(about.transcripts(sample, attachment))
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise CourseError(f"Sample {count} in {path.name} cannot be read.", first_mistake(error)) from None
            yield from found
    if not count:
        raise CourseError(
            f"{path.name} holds no samples.",
            _mapping(header.get("error")).get("message") or f"the status of the log is '{header.get('status')}'",
            "import a log whose evaluation has got so far (and was not run with --no-log-samples)",
        )


_Samples = Iterator[tuple[dict[str, Any], Callable[[str], str]]]
"""Samples, each with what finds its attachments by their names."""


def _whole(file: BinaryIO, path: Path) -> tuple[dict[str, Any], _Samples]:
    log = _json(file.read(), path.name)
    samples = log.pop("samples", None) or []
    return log, ((sample, lambda name, sample=sample: sample["attachments"][name]) for sample in samples)


def _zipped(file: BinaryIO, path: Path) -> tuple[dict[str, Any], _Samples]:
    try:
        archive = zipfile.ZipFile(file)
        entries = {entry.filename: entry for entry in archive.infolist()}  # of two, the later counts
    except (zipfile.BadZipFile, OSError) as error:
        raise CourseError(f"{path.name} is damaged: {error}.", "it was cut off", "copy it again") from None
    header = next((name for name in ("header.json", "_journal/start.json") if name in entries), None)
    if not header:
        raise CourseError(f"{path.name} is no log of Inspect's.", "a zip file of something else")

    def read(name: str) -> Any:
        return _json(
            _entry(archive, file, entries[name], path), f"{path.name}, {name}", Mapping if name == header else object
        )

    def samples() -> _Samples:
        for name in entries:
            if _MONOLITH.fullmatch(name):
                sample = read(name)
                yield sample, lambda key, sample=sample: sample["attachments"][key]
            elif _SHELL.fullmatch(name):
                prefix = f"{name.removesuffix('sample.json')}attachments/"
                yield read(name), lambda key, prefix=prefix: _chunked(entries, read, prefix, int(key))

    return read(header), samples()


def _chunked(entries: Mapping[str, Any], read: Callable[[str], Any], prefix: str, number: int) -> str:
    """An attachment of a sample that is stored in chunks, each named by the number of its first."""
    starts = [int(name[len(prefix) : -len(".json")]) for name in entries if name.startswith(prefix)]
    start = max(one for one in starts if one <= number)
    return read(f"{prefix}{start}.json")[number - start]


def _entry(archive: zipfile.ZipFile, file: BinaryIO, entry: zipfile.ZipInfo, path: Path) -> bytes:
    """An entry's bytes. Inspect compresses with Zstandard, which Python's zipfile reads from 3.14 on only."""
    try:
        if entry.compress_type != _ZSTANDARD:
            return archive.read(entry)
        import pyarrow

        file.seek(entry.header_offset)
        head = file.read(30)
        file.seek(int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little"), 1)
        packed = pyarrow.BufferReader(file.read(entry.compress_size))
        content = pyarrow.CompressedInputStream(packed, "zstd").read()
    except (zipfile.BadZipFile, OSError, zlib.error, NotImplementedError) as error:
        raise CourseError(f"{entry.filename} in {path.name} is damaged: {error}.", "", "copy the log again") from None
    if zlib.crc32(content) != entry.CRC:
        raise CourseError(f"{entry.filename} in {path.name} is damaged.", "its checksum differs", "copy the log again")
    return content


@dataclass(frozen=True)
class _Inspect:
    """What all samples of a log have in common."""

    task: str
    model: str
    run: str
    server: str | None
    revision: str | None
    sampling: dict[str, Any]
    created: str

    @classmethod
    def read(cls, header: Mapping[str, Any], path: Path, run: str | None) -> _Inspect:
        spec = _mapping(header.get("eval"))
        if not isinstance(spec.get("model"), str) or not isinstance(spec.get("task"), str):
            raise CourseError(
                f"{path.name} is no log of Inspect's.", "it does not name a task and a model", "give an .eval or .json"
            )
        server, _, model = spec["model"].partition("/") if "/" in spec["model"] else ("", "", spec["model"])
        settings = _mapping(spec.get("model_generate_config")) | {
            key: value
            for key, value in _mapping(_mapping(header.get("plan")).get("config")).items()
            if value is not None
        }
        sampling = {_FIELDS.get(key, key): value for key, value in settings.items() if key not in _NOT_SAMPLING}
        sampling |= _mapping(settings.get("extra_body"))
        arguments = _mapping(spec.get("model_args"))
        return cls(
            task=spec["task"].rpartition("/")[2],
            model=model,
            run=run or f"{model}-{spec['task'].rpartition('/')[2]}",
            server=server or None,
            revision=arguments.get("revision") if isinstance(arguments.get("revision"), str) else None,
            sampling={key: value for key, value in sampling.items() if value is not None},
            created=str(spec.get("created") or ""),
        )

    def transcripts(self, sample: Mapping[str, Any], attachment: Callable[[str], str]) -> Iterator[Transcript]:
        epoch, output = _count(sample.get("epoch")) or 1, _mapping(sample.get("output"))
        asked = sample.get("input")
        messages = asked if isinstance(asked, list) else [{"role": "user", "content": asked}]
        messages = [{key: one.get(key) for key in ("role", "content")} for one in messages]  # ids are random
        common = {
            "run": self.run if epoch == 1 else f"{self.run}-epoch-{epoch}",
            "item_id": _item_id(self.task, sample["id"]),
            "model": self.model,
            "revision": self.revision,
            "server": self.server,
            "request_hash": request_hash(messages, [], self.sampling, self.revision, self.model),
            "sampling": self.sampling,
            "seed": _count(self.sampling.get("seed")),
            "time": _iso(sample.get("started_at") or self.created),
            "origin": INSPECT_AI,
        }
        retries = sample.get("error_retries") or []
        for attempt, error in enumerate(retries, start=1):
            message = str(_mapping(error).get("message") or "unknown error")
            yield Transcript(**common, attempt=attempt, **_outcome("error", message))
        usage, seconds = _mapping(output.get("usage")), output.get("time")
        outcome = _sample_outcome(sample, output, attachment)
        if outcome["status"] in ("error", "timeout"):
            usage, seconds = {}, None  # those of an earlier answer
        yield Transcript(
            **common,
            attempt=len(retries) + 1,
            prompt_tokens=_prompt_tokens(usage),
            completion_tokens=_count(usage.get("output_tokens")),
            latency_seconds=float(seconds) if isinstance(seconds, int | float) else None,
            **outcome,
        )


def _sample_outcome(
    sample: Mapping[str, Any], output: Mapping[str, Any], attachment: Callable[[str], str]
) -> dict[str, Any]:
    """Status, finish reason, and text or error."""
    if error := sample.get("error"):
        return _outcome("error", str(_mapping(error).get("message") or "unknown error"))
    if invalid := sample.get("invalidation"):
        return _outcome("error", f"Invalidated: {_mapping(invalid).get('reason') or 'no reason given'}")
    limit = _mapping(sample.get("limit"))
    choice = _mapping(next(iter(output.get("choices") or []), None))
    reason = choice.get("stop_reason")
    content = _mapping(choice.get("message")).get("content")
    text = _resolved(output.get("completion") or _text(content), attachment)
    # Providers put a server's refusal of a request, such as a prompt that is too long, in place of an answer
    # (model/_providers/vllm.py, model/_openai.py). Such an output has no usage: no token was generated.
    not_generated = reason in ("model_length", "content_filter") and not output.get("usage")
    if limit and (not choice or not text):
        kind = "timeout" if limit.get("type") in ("time", "working") else "error"
        return _outcome(kind, f"The sample's limit was reached: {limit.get('type')} {limit.get('limit')}.")
    if not choice:
        return _outcome("error", str(output.get("error") or "The log holds no answer."))
    finish = {"finish_reason": reason}
    if reason == "content_filter" and (not_generated or output.get("error")):
        return finish | {"status": "refused", "error": encodable(str(output.get("error") or text or "no reason given"))}
    if output.get("error") or not_generated:
        return finish | _outcome("error", str(output.get("error") or text or "no reason given"))
    if reason == "content_filter" or _refused(content):
        return finish | {"status": "refused", "text": encodable(text)}
    if limit:
        return {"finish_reason": f"limit: {limit.get('type')}"} | _outcome("truncated", text)
    return finish | _outcome("truncated" if reason in _TRUNCATED else "ok", text)


def _text(content: Any) -> str:
    """As Inspect's ``ChatMessage.text``."""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content or [] if part.get("type") == "text")


def _refused(content: Any) -> bool:
    return isinstance(content, list) and any(part.get("refusal") for part in content)


def _resolved(text: str, attachment: Callable[[str], str]) -> str:
    return attachment(text.removeprefix(_ATTACHMENT)) if text.startswith(_ATTACHMENT) else text


def _prompt_tokens(usage: Mapping[str, Any]) -> int | None:
    """All of them: Inspect counts cached ones apart."""
    if _count(usage.get("input_tokens")) is None:
        return None
    kinds = ("input_tokens", "input_tokens_cache_read", "input_tokens_cache_write")
    return sum(_count(usage.get(kind)) or 0 for kind in kinds)


def _iso(written: str) -> str:
    try:
        moment = datetime.datetime.fromisoformat(written)
    except ValueError:
        return written
    return _utc(moment) if moment.tzinfo else moment.isoformat()


def _json(content: bytes, name: str, kind: type = Mapping) -> Any:
    """Parsed; NaN and Infinity, which both tools may write, are taken.

    Raises:
        CourseError: no JSON, or another kind of value.
    """
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CourseError(f"{name} is not JSON: {error}.", "a damaged file, or another one") from None
    if not isinstance(data, kind):
        raise CourseError(f"{name} is not what it should be.", "a JSON list or value, and no mapping")
    return data


# ---------------------------------------------------------------- the command


def command(source: str, file: Path, out: Path, model: str | None = None, run: str | None = None) -> int:
    """Append another tool's answers to a file of transcripts; ``python -m course evaluate import``.

    All of the log is read before the first line is written, so a log that cannot be imported leaves nothing behind.

    Args:
        source: lmms-eval or inspect-ai.
        file: the log.
        out: file of transcripts; it may hold other runs.
        model: see `read_lmms_eval`.
        run: name of the run.

    Raises:
        CourseError: an unknown source; a run of that name in the file already; or as the readers and `append`.
    """
    readers = {
        "lmms-eval": lambda: read_lmms_eval(file, model=model, run=run),
        "inspect-ai": lambda: read_inspect_ai(file, run=run),
    }
    if source not in readers:
        raise CourseError(f"There is no import from '{source}'.", "", f"use one of: {', '.join(readers)}")
    if model and source != "lmms-eval":
        raise CourseError("Inspect's logs name the model.", "--model was given", "leave it out; --run names the run")
    statuses = Counter((one.run, one.status) for one in readers[source]())
    runs = {name for name, _ in statuses}
    there = {one.run for one in read_transcripts(out)} if out.exists() else set()
    if twice := sorted(runs & there):
        raise CourseError(
            f"{shown(out)} has a run '{twice[0]}' already.",
            "the log was imported before, or another log of the same model and task",
            "give --run another name, or --out another file",
        )
    append(out, readers[source]())
    for name in sorted(runs):
        counts = ", ".join(f"{count} {status}" for (one, status), count in sorted(statuses.items()) if one == name)
        print(f"{name}: {counts}")
    return 0

"""What differs between two runs beside the model's family, read from their transcripts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache

from toolkit.evaluation.inference.transcripts import Transcript
from toolkit.evaluation.metrics.scoring import Scored, runs_of

#: Numbers of parameters closer than this are one size.
SAME_SIZE = 1.05


def find_confounds(scored: Sequence[Scored]) -> list[str]:
    """What differs between the runs beside the model's family, in sentences, read from the transcripts themselves.

    Sampling fields, server, device, number format and pixels should not differ, and are named if they do; sizes are
    told where the catalogue or the bundled model knows them.
    """
    runs = runs_of(scored)
    told = []
    for title, read in _FIELDS.items():
        values = {run: sorted({read(answer.transcript) for answer in scored if answer.run == run}) for run in runs}
        if len({tuple(found) for found in values.values()}) > 1:
            listed = "; ".join(f"{run}: {' and '.join(found)}" for run, found in values.items())
            told.append(f"{title} differs. {listed}.")
    media: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    asked: dict[str, set[str]] = defaultdict(set)
    for answer in scored:
        media[answer.item["item_id"]].add(tuple(medium.sha256 for medium in answer.transcript.media))
        asked[answer.run].add(answer.item["item_id"])
    if changed := sum(len(shown) > 1 for shown in media.values()):
        told.append(f"The media of {changed} items are not the same bytes in all runs.")
    if len({frozenset(items) for items in asked.values()}) > 1:
        told.append("The runs were not asked the same items; only those that both were asked are compared.")
    sizes = {run: _parameters(next(answer for answer in scored if answer.run == run).transcript.model) for run in runs}
    known = [size for size in sizes.values() if size]
    if known and max(known) > SAME_SIZE * min(known):
        listed = "; ".join(f"{run}: {size / 1e9:.4g} billion" for run, size in sizes.items() if size)
        told.append(f"The models are not of one size. Parameters: {listed}.")
    told.append(
        "Training differs: what a model has seen, for how long and how it was tuned is part of every difference "
        "shown here, and no comparison of finished models can part it from the architecture."
    )
    return told


_FIELDS: dict[str, Callable[[Transcript], str]] = {
    "What was sent as sampling fields": lambda transcript: str(dict(sorted(transcript.sampling.items()))),
    "The server": lambda transcript: f"{transcript.server or 'unknown'} {transcript.server_version or ''}".strip(),
    "The device": lambda transcript: transcript.device or "unknown",
    "The number format": lambda transcript: transcript.dtype or "unknown",
}


@cache
def _parameters(model: str) -> int | None:
    """Parameters of a model of the catalogue, or of a bundled one."""
    from helpers.files import COURSE_ROOT
    from helpers.model_facts import find_model_facts, load_catalogue, read_model_facts

    bundled = COURSE_ROOT / "data" / "models" / model
    if (bundled / "config.json").is_file():
        return read_model_facts(bundled).parameters()
    names = {name.rsplit("/", 1)[-1]: name for name in load_catalogue()}
    name = names.get(model.rsplit("/", 1)[-1])
    return find_model_facts(name).parameters() if name else None

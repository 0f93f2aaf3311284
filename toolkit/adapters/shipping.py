"""What belongs in a folder that is given away: a model card made of measurements, and no path of this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.errors import CourseError
from helpers.files import write_whole
from helpers.provenance import describe_versions, these_versions, this_machine
from toolkit.adapters.checking import CONFIG, WEIGHTS

if TYPE_CHECKING:
    import pandas

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


@dataclass(frozen=True)
class Origin:
    """Where a model comes from; a card that does not say so is refused."""

    base: str
    base_licence: str
    """An identifier of SPDX, such as ``apache-2.0``."""
    data: str
    """What it was trained on, and how much of it."""
    data_licence: str


def write_card(
    folder: str | Path, title: str, origin: Origin, scores: pandas.DataFrame, *, made: Mapping[str, object], date: str
) -> str:
    """Write README.md beside the weights, from what was measured, and return its text.

    Of an adapter, ``base_model_name_or_path`` becomes the base's name: PEFT has put a path of this machine there.

    Args:
        folder: of the adapter, or of a merged or quantised model.
        scores: as `compare_answers` gives them.
        made: settings of the training, by name.
        date: of the measurement, YYYY-MM-DD.

    Raises:
        CourseError: weights that are no safetensors, or an origin that is not stated.
    """
    folder = Path(folder)
    pickles = sorted(
        path.name for path in folder.iterdir() if path.suffix in _PICKLES and path.name != "training_args.bin"
    )
    if pickles:
        remedy = "ship safetensors only; move the state of the training elsewhere"
        raise CourseError(f"{folder.name} holds {pickles[0]}.", "a pickle, which may run code when it is read", remedy)
    missing = [name for name, value in vars(origin).items() if not value.strip()]
    if missing:
        raise CourseError(f"The card lacks the {missing[0].replace('_', ' ')}.", "", "state it, or do not ship")
    is_adapter = (folder / WEIGHTS).is_file()
    if is_adapter:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        config["base_model_name_or_path"] = origin.base
        write_whole(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    lines = ["---", f"license: {origin.base_licence}", f"base_model: {origin.base}"]
    lines += ["library_name: peft" if is_adapter else "library_name: transformers", "pipeline_tag: image-text-to-text"]
    lines += ["---", "", f"# {title}", "", "## Where it comes from", ""]
    lines += [f"- base: {origin.base} ({origin.base_licence})", f"- data: {origin.data} ({origin.data_licence})"]
    lines += ["", "## How it was made", "", *(f"- {name}: {value}" for name, value in made.items())]
    lines += ["", "## What it can do, and what it has forgotten", ""]
    lines += [
        "| task | items | before | after | difference, 95 % interval | |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in scores.itertuples():
        interval = f"{row.difference:+.0%}, {row.low:+.0%} to {row.high:+.0%}"
        lines.append(f"| {row.task} | {row.n} | {row.before:.0%} | {row.after:.0%} | {interval} | {row.verdict} |")
    where = f"Greedy, {date}, {this_machine().describe()}; {describe_versions(these_versions())}."
    text = "\n".join([*lines, "", where, "", "Measured on items of its own world only; nothing else was tried.", ""])
    write_whole(folder / "README.md", text)
    return text

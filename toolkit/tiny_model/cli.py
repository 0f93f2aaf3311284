"""``python -m course evaluate-tiny``: measures a tiny model, shows its scores, writes its card."""

from __future__ import annotations

from pathlib import Path

from helpers.files import shown
from toolkit.tiny_model.agreement import as_text
from toolkit.tiny_model.evaluation import as_markdown, evaluate
from toolkit.tiny_model.model_card import read_notes, write_card


def main(model: Path | None, count: int, out: Path | None, tasks: str | None, agreement: int, card: Path | None) -> int:
    """Measure, print the table, and write what is asked for."""
    if card:
        read_notes(card)  # a mistake in it is better known before the measuring than after
        if not model:
            print(f"Written: {shown(write_card(card))}")
            return 0
    chosen = [name.strip() for name in tasks.split(",") if name.strip()] if tasks is not None else None
    evaluation = evaluate(model, count, out=out, tasks=chosen, agreement=agreement)
    print(as_markdown(evaluation))
    if "agreement" in evaluation:
        print(as_text(evaluation["agreement"]))
    if card:
        print(f"Written: {shown(write_card(card, evaluation))}")
    return 0

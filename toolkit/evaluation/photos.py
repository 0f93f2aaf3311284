"""Real photographs with facts, ``data/photos``: items to ask about, and which facts a description mentions.

``python -m toolkit.evaluation.photos`` writes ``items.jsonl`` from ``photos.yaml``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from helpers.files import COURSE_ROOT, write_whole
from toolkit.evaluation.metrics.answer_text import affirmed, plain, statements
from toolkit.evaluation.metrics.text_metrics import copied_lines

PHOTOS = COURSE_ROOT / "data" / "photos"


def photo_records(folder: Path = PHOTOS) -> Iterator[dict[str, Any]]:
    """Items in the form of ``items.jsonl``: a description of each photograph, then its questions."""
    import yaml

    for photo in yaml.safe_load((folder / "photos.yaml").read_text(encoding="utf-8")):
        name = Path(photo["file"]).stem
        kind = "video" if photo["file"].endswith(".mp4") else "image"
        asked: list[tuple[str, str, Any]] = [("photo", f"Describe this {kind}.", [])]
        asked += [(question["task"], question["ask"], question["answer"]) for question in photo["questions"]]
        for number, (task, request, answer) in enumerate(asked):
            yield {
                "item_id": f"photo-{name}" + (f"-{number}" if number else ""),
                "kind": "photo",
                "task": task,
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": f"{kind}_url", f"{kind}_url": {"url": photo["file"]}},
                            {"type": "text", "text": request},
                        ],
                    }
                ],
                "media": [photo["file"]],
                "answer": answer,
                "facts": {"said": photo["facts"]} if task == "photo" else {},
            }


def mentioned(text: str, facts: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Whether a description mentions each fact: one of its sentences holds a word of every group.

    It counts what is said and not denied, and cannot see a false statement: recall, without precision.

    Args:
        facts: with ``words``, groups of alternatives ('red|reddish').
    """
    sentences = [affirmed(statement) for statement in statements(plain(text))]
    return [any(all(_holds(sentence, group) for group in fact["words"]) for sentence in sentences) for fact in facts]


def page_text(text: str) -> str:
    """The text that an answer hands over, in one line: where a page breaks its lines is nobody's mistake.

    Without '>', which begins a line of Python's shell and a quotation in Markdown.
    """
    return " ".join(copied_lines(text).replace(">", " ").split())


def _holds(sentence: str, group: str) -> bool:
    return any(
        re.search(rf"(?<!\w){re.escape(word)}(?!\w)", sentence) for word in group.replace('"', "").lower().split("|")
    )


def main() -> None:
    lines = (json.dumps(record, ensure_ascii=False) for record in photo_records())
    write_whole(PHOTOS / "items.jsonl", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""What an answer commits to, apart from how a chat model dresses it: Markdown, steps, second thoughts, denials.

The readers of all tasks share this. An answer becomes plain text (`plain`); of that, what stands after a final-answer
mark or a correction counts first (`parts`); and of a statement, what it does not deny (`affirmed`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from types import SimpleNamespace

from helpers.files import COURSE_ROOT, read_yaml

#: Of all readers of answers, by module.
PATTERNS = read_yaml(COURSE_ROOT / "data" / "answer_patterns.yaml")


def patterns(module: str) -> SimpleNamespace:
    """The compiled expressions of a module, by name."""
    return SimpleNamespace(**{name: re.compile("".join(parts)) for name, parts in PATTERNS[module].items()})


_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»", "„": "“"}
_RE = patterns("answer_text")
_DRESS = [(re.compile(pattern, re.MULTILINE), words) for pattern, words in PATTERNS["dress"]]
_HAN_DIGITS = {digit: f" {value} " for value, digits in enumerate(
    ("零〇", "一", "二两", "三", "四", "五", "六", "七", "八", "九", "十")) for digit in digits}  # fmt: skip


def without_thoughts(text: str) -> str:
    """The answer that follows a model's thoughts, which end in ``</think>``."""
    return _RE.thought.sub("", text).strip()


def blocks(text: str) -> list[str]:
    """The contents of Markdown's code blocks; one may lack its end."""
    return [found[1] for found in _RE.fence.finditer(text) if found[1].strip()]


def plain(text: str) -> str:
    """The words alone: no thoughts, Markdown or LaTeX; straight quotes, and digits instead of Chinese numerals."""
    text = unicodedata.normalize("NFKC", without_thoughts(text)).translate(str.maketrans("‘’“”", "''\"\""))
    for pattern, words in _DRESS:
        text = pattern.sub(words, text)
    return "".join(_HAN_DIGITS.get(letter, letter) for letter in text).strip()


def parts(text: str) -> Iterator[str]:
    """A plain text from what commits most to what commits least: after a final-answer mark, after a correction, all."""
    for mark in (_RE.final, _RE.correction):
        ends = [found.end() for found in mark.finditer(text)]
        if ends and text[ends[-1] :].strip(" .*\n"):
            yield text[ends[-1] :].strip()
    yield "".join(_kept(text)).strip()


def _kept(text: str) -> Iterator[str]:
    """The clauses of a text without first impressions that are taken back."""
    clauses = _RE.clause_end.split(text)
    for place, clause in enumerate(clauses):
        if taken_back := _RE.at_first.search(clause):
            yield clause[taken_back.end() :]
        elif not (_RE.thought_first.search(clause) and "".join(clauses[place + 1 :]).strip()):
            yield clause


def statements(text: str) -> list[str]:
    """Sentences, lines, and what semicolons separate."""
    return [statement.strip() for statement in _RE.statement.split(text) if statement and statement.strip()]


def affirmed(text: str) -> str:
    """In lower case, without what is denied: 'It is blue, not red.' is 'it is blue, .'"""
    return _RE.denied.sub(" ", text.lower().replace("not only", "").replace("no doubt", ""))


def denied(text: str) -> str:
    """In lower case, what is denied and nothing else."""
    return " ; ".join(found[0] for found in _RE.denied.finditer(text.lower().replace("not only", "")))


def refuses(text: str) -> bool:
    """Whether an answer says that one can't tell, cannot read it, does not know, and so on."""
    return bool(_RE.refused.search(plain(text).lower()))


def yes_no_words(text: str) -> set[str]:
    """What an answer says outright: 'yes', 'no', both, or neither."""
    return {"no" if word.startswith("no") else "yes" for word in _RE.yes_no.findall(text.lower())}


def unquoted(text: str) -> str:
    """The text without surrounding white space and one pair of quotation marks."""
    text = text.strip()
    if len(text) >= 2 and _QUOTES.get(text[0]) == text[-1]:
        return text[1:-1]
    return text


def words_of(text: str) -> list[str]:
    """In lower case; 'well-kept' and 'dog's' are one word each."""
    return [word.lower() for word in _RE.word.findall(text)]

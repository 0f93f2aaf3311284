"""What an answer commits to, apart from how a chat model dresses it: Markdown, steps, second thoughts, denials.

The readers of all tasks share this. An answer becomes plain text (`plain`); of that, what stands after a final-answer
mark or a correction counts first (`parts`); and of a statement, what it does not deny (`affirmed`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»", "„": "“"}
_THOUGHT = re.compile(r"^.*</think>", re.DOTALL)
_FENCE = re.compile(r"(?:```|~~~)[A-Za-z]*[ \t]*\n(.*?)\n?[ \t]*(?:```|~~~|\Z)", re.DOTALL)
#: Written by Markdown and LaTeX around the words -> what stays of it.
_DRESS = tuple(
    (re.compile(pattern, re.MULTILINE), words)
    for pattern, words in (
        (r"\\boxed\{([^{}]*)\}", r"\nAnswer: \1\n"),
        (r"\\(?:text|mathbf|textbf)\{([^{}]*)\}", r"\1"),
        (r"\$\$", ""),
        (r"(?:```|~~~)\w*", ""),
        (r"^[ \t]*\|?[ \t]*:?-{3,}[-:| \t]*$\n?", ""),
        (r"[ \t]*\|[ \t]*", " "),
        (r"^[ \t]*(?:#{1,6}|>|[-*•](?=[ \t])|\d+[.)](?=[ \t]+\S))[ \t]*", ""),
        (r"(\*\*|__)(?=\S)(.{1,400}?)(?<=\S)\1", r"\2"),
        (r"\*(?=\S)([^*\n]+?)(?<=\S)\*", r"\1"),
        (r"`([^`\n]+)`", r"\1"),
    )
)
_HAN_DIGITS = {digit: f" {value} " for value, digits in enumerate(
    ("零〇", "一", "二两", "三", "四", "五", "六", "七", "八", "九", "十")) for digit in digits}  # fmt: skip
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_STATEMENT = re.compile(r"(?<=[.!?;])\s+|[。！？；\n]+")
_FINAL = re.compile(
    r"\b(?:(?:final |my |the )*answer|conclusion|verdict|result|in (?:short|summary|conclusion))\b\s*(?:is\b|[:：,])\s*"
    r"|答案\s*(?:是|[:：])\s*",
    re.IGNORECASE,
)
_CORRECTION = re.compile(
    r"\b(?:wait|corrected|correction|scratch that|sorry|on second thoughts?|actually|in fact|after another look|"
    r"(?:check|look|looking) (?:it )?again|(?:on|at) (?:a )?closer (?:inspection|look)|looking (?:more )?closely)\b"
    r"[\s,.:…–—]*",
    re.IGNORECASE,
)
#: A first impression: taken back by 'but' in the same sentence, or in the next one if it says who thought so.
_AT_FIRST = re.compile(
    r"\b(?:at first|initially|first (?:read|thought|took|counted)|looks? as if)\b.*?\bbut\b", re.IGNORECASE
)
_THOUGHT_FIRST = re.compile(
    r"\b(?:i (?:initially|first) \w+|(?:at )?first,? i thought|first (?:attempt|draft)|my first (?:reading|guess))\b",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"(?<=[.;\n])")
#: A denial reaches to the end of its clause.
_DENIED = re.compile(
    r"(?:\b(?:not|never|without|neither|nor|no|none|cannot|unable|impossible|hard to|difficult to)\b|n't\b)"
    r"(?:(?!\b(?:but|and|so|while|whereas|because|instead|only|just|though|although|however|until)\b|\.(?!\w))"
    r"[^,;:!?()\n–—])*"
)
_REFUSED = re.compile(
    r"\b(?:(?:ca(?:n't|nnot|n not)|could(?:n't| not)|(?:not |un)able to|impossible to|(?:hard|difficult) to|"
    r"not possible to)(?! (?:see|find|spot|detect|identify) (?:an?|any)\b)|do(?:n't| not) know|not sure|no idea|"
    r"unknown|(?:un|not )clear|there(?: is|'s| are) no (?:\w+ )?(?:receipt|text|image|video))\b"
)


def without_thoughts(text: str) -> str:
    """The answer that follows a model's thoughts, which end in ``</think>``."""
    return _THOUGHT.sub("", text).strip()


def blocks(text: str) -> list[str]:
    """The contents of Markdown's code blocks; one may lack its end."""
    return [found[1] for found in _FENCE.finditer(text) if found[1].strip()]


def plain(text: str) -> str:
    """The words alone: no thoughts, Markdown or LaTeX; straight quotes, and digits instead of Chinese numerals."""
    text = unicodedata.normalize("NFKC", without_thoughts(text)).translate(str.maketrans("‘’“”", "''\"\""))
    for pattern, words in _DRESS:
        text = pattern.sub(words, text)
    return "".join(_HAN_DIGITS.get(letter, letter) for letter in text).strip()


def parts(text: str) -> Iterator[str]:
    """A plain text from what commits most to what commits least: after a final-answer mark, after a correction, all."""
    for mark in (_FINAL, _CORRECTION):
        ends = [found.end() for found in mark.finditer(text)]
        if ends and text[ends[-1] :].strip(" .*\n"):
            yield text[ends[-1] :].strip()
    yield "".join(_kept(text)).strip()


def _kept(text: str) -> Iterator[str]:
    """The clauses of a text without first impressions that are taken back."""
    clauses = _CLAUSE_END.split(text)
    for place, clause in enumerate(clauses):
        if taken_back := _AT_FIRST.search(clause):
            yield clause[taken_back.end() :]
        elif not (_THOUGHT_FIRST.search(clause) and "".join(clauses[place + 1 :]).strip()):
            yield clause


def statements(text: str) -> list[str]:
    """Sentences, lines, and what semicolons separate."""
    return [statement.strip() for statement in _STATEMENT.split(text) if statement and statement.strip()]


def affirmed(text: str) -> str:
    """In lower case, without what is denied: 'It is blue, not red.' is 'it is blue, .'"""
    return _DENIED.sub(" ", text.lower().replace("not only", "").replace("no doubt", ""))


def denied(text: str) -> str:
    """In lower case, what is denied and nothing else."""
    return " ; ".join(found[0] for found in _DENIED.finditer(text.lower().replace("not only", "")))


def refuses(text: str) -> bool:
    """Whether an answer says that one can't tell, cannot read it, does not know, and so on."""
    return bool(_REFUSED.search(plain(text).lower()))


def unquoted(text: str) -> str:
    """The text without surrounding white space and one pair of quotation marks."""
    text = text.strip()
    if len(text) >= 2 and _QUOTES.get(text[0]) == text[-1]:
        return text[1:-1]
    return text


def words_of(text: str) -> list[str]:
    """In lower case; 'well-kept' and 'dog's' are one word each."""
    return [word.lower() for word in _WORD.findall(text)]

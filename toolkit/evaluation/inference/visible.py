"""Text that a model, a file or a server wrote, made safe to show: nothing in it acts unseen."""

from __future__ import annotations

import unicodedata

#: Changes of direction: an answer must not turn around the text beside it.
_DIRECTION = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x061C, 0x200E, 0x200F}


def visible(text: str) -> str:
    """The text with control characters as Unicode's symbols for them ('␛'), others that act unseen as '⟨U+202E⟩'.

    Line breaks and tabs stay; a carriage return with its line feed becomes one line break.
    """
    text = text.replace("\r\n", "\n")
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    code = ord(character)
    if character in "\n\t":
        return character
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if code in _DIRECTION or unicodedata.category(character) in ("Cc", "Cs") or code in (0x2028, 0x2029):
        return f"⟨U+{code:04X}⟩"
    return character

"""One spelling for one text: what a turn's fields look like before anything else sees them."""

import unicodedata
from typing import Final

# Control, format (zero-width characters, bidi marks, joiners), surrogate, private-use, unassigned.
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})

_FINAL_PUNCTUATION: Final = " .!?…~"

_FEW: Final = 8
"""Kinds of characters that are replaced one after the other."""


def normalize(text: str) -> str:
    """`text` in NFC on one line: invisible and invalid characters dropped, white space collapsed.

    White space (line ends and tabs too) becomes one space, so that no field can begin a new line in a
    prompt. Lone surrogates, which cannot be encoded as UTF-8, are dropped like controls. Idempotent.
    """
    if not text.isprintable():  # else there is nothing to drop
        others = {char: _in_place_of(char) for char in set(text) if not char.isprintable()}
        if len(others) <= _FEW:  # five times as fast: a body of line ends must not hold up the event loop
            for char, other in others.items():
                text = text.replace(char, other)
        else:
            text = text.translate({ord(char): other for char, other in others.items()})
    return " ".join(unicodedata.normalize("NFC", text).split())


def _in_place_of(char: str) -> str:
    if char.isspace():
        return " "
    return "" if unicodedata.category(char) in _DROPPED else char


def without_final_punctuation(text: str) -> str:
    """`text` without the marks at its end; a text of nothing but marks stays as it is."""
    return text.rstrip(_FINAL_PUNCTUATION) or text

"""One spelling for one text: what a turn's fields look like before anything else sees them."""

import unicodedata
from typing import Final

# Control, format (zero-width characters, bidi marks, joiners), surrogate, private-use, unassigned.
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})

_FINAL_MARKS: Final = " .!?…~,;:"


def normalize(text: str) -> str:
    """`text` in NFC on one line: invisible and invalid characters dropped, white space collapsed.

    White space (line ends and tabs too) becomes one space, so that no field can begin a new line in a
    prompt. Lone surrogates, which cannot be encoded as UTF-8, are dropped like controls. Idempotent.
    """
    if text.isprintable():  # nothing to drop: no need to look at each character
        return " ".join(unicodedata.normalize("NFC", text).split())
    kept = "".join(
        " " if char.isspace() else char for char in text if char.isspace() or unicodedata.category(char) not in _DROPPED
    )
    return " ".join(unicodedata.normalize("NFC", kept).split())


def without_final_punctuation(text: str) -> str:
    """`text` without the marks that end it; a text of nothing but marks stays as it is. Idempotent."""
    return text.rstrip(_FINAL_MARKS) or text

"""One spelling for one text: what a turn's fields look like before anything else sees them."""

import unicodedata

# Control, format (zero-width characters, bidi marks, joiners), surrogate, private-use, unassigned.
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})


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

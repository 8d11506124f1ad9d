"""When a tier is asked although one before it has answered."""

import re
import unicodedata
from typing import Final

from emotion_svc.routing.tiers_file import AskedWhen
from emotion_svc.schema import Reason, Turn, Verdict

_NOT_LATIN: Final = re.compile(r"[^\x00-\u024f\u1e00-\u1eff]")
"""Characters beyond Basic Latin to Latin Extended-B and Latin Extended Additional, where all Vietnamese letters are
(turns are in NFC). Most of them are no letters (emoji, quotation marks), so each is looked at a second time."""


def why_asked(asked_when: AskedWhen | None, turn: Turn, best: Verdict) -> Reason | None:
    """Why a tier should be asked after `best`; None where it should not."""
    if asked_when is None:
        return None
    if asked_when.outside_knowledge and (best.truncated or has_foreign_letters(turn)):
        return "outside_knowledge"
    if asked_when.longer_than_chars is not None and _longest(turn) > asked_when.longer_than_chars:
        return "outside_knowledge"
    if best.family_confidence < asked_when.emotion_below or best.learn_score_confidence < asked_when.learn_score_below:
        return "low_confidence"
    return None


def has_foreign_letters(turn: Turn) -> bool:
    """Whether a field has a letter that is not Latin (Vietnamese is)."""
    return any(
        char.isalpha() and not unicodedata.name(char, "").startswith("LATIN")
        for text in _texts(turn)
        if not text.isascii()
        for char in _NOT_LATIN.findall(text)
    )


def _longest(turn: Turn) -> int:
    return max(len(text) for text in _texts(turn))


def _texts(turn: Turn) -> tuple[str, str, str]:
    return turn.previous_question, turn.previous_answer, turn.response

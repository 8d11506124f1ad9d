"""What an answer's text says, and whether it is right."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pydantic import ValidationError

from emotion_svc.schema import ALL_ANSWERS, Answer, Example
from emotion_svc.taxonomy import FAMILY_OF, Family


class Meaning(NamedTuple):
    """What an answer says, whichever of a family's labels it names."""

    family: Family
    learn_score: bool


def meaning_of(text: str, *, exact: bool) -> Meaning | None:
    """What a text says; None where it is no answer (`exact`: one of `schema.ALL_ANSWERS` to the letter)."""
    if exact and text not in ALL_ANSWERS:
        return None
    try:
        answer = Answer.model_validate_json(text)
    except ValidationError:
        return None
    return Meaning(FAMILY_OF[answer.emotion], answer.learn_score)


class Right(NamedTuple):
    """Shares of the answers: those that are one, those with the gold family, and those with the gold learn_score."""

    valid: float
    family: float
    learn_score: float


def right_of(said: Sequence[Meaning | None], gold: Sequence[Example]) -> Right:
    """Answers to the turns of `gold`, in the same order; what is no answer is wrong in both slots."""
    rows = [
        (False, False, False)
        if meant is None
        else (True, meant.family == example.emotion, meant.learn_score == example.learn_score)
        for meant, example in zip(said, gold, strict=True)
    ]
    return Right(*map(float, np.mean(rows, axis=0)))

"""When a later tier is asked although one has answered."""

import pytest

from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.routing.conditions import has_foreign_letters, why_asked
from emotion_svc.routing.tiers_file import AskedWhen
from emotion_svc.schema import Reason, Turn, Verdict
from tests.routing.plays import CHINESE, TURN


def verdict(*, emotion: float = 0.9, learn_score: float = 0.9, truncated: bool = False) -> Verdict:
    plain = ScriptedEngine()._verdict(TURN)
    sure = {"family_confidence": emotion, "learn_score_probability": learn_score, "truncated": truncated}
    return plain.model_copy(update=sure)


def turn(response: str) -> Turn:
    return Turn(previous_question="", previous_answer="", response=response)


@pytest.mark.parametrize(
    ("asked_when", "asked_of", "after", "why"),
    [
        (None, CHINESE, verdict(emotion=0.1), None),
        (AskedWhen(), CHINESE, verdict(emotion=0.1), None),
        (AskedWhen(emotion_below=0.6), TURN, verdict(emotion=0.59), "low_confidence"),
        (AskedWhen(emotion_below=0.6), TURN, verdict(emotion=0.6), None),
        (AskedWhen(emotion_below=0.6), TURN, verdict(learn_score=0.5), None),
        (AskedWhen(learn_score_below=0.6), TURN, verdict(learn_score=0.59), "low_confidence"),
        (AskedWhen(learn_score_below=0.6), TURN, verdict(learn_score=0.41), "low_confidence"),
        (AskedWhen(learn_score_below=0.6), TURN, verdict(learn_score=0.39), None),
        (AskedWhen(outside_knowledge=True), CHINESE, verdict(), "outside_knowledge"),
        (AskedWhen(outside_knowledge=True), TURN, verdict(), None),
        (AskedWhen(outside_knowledge=True), TURN, verdict(truncated=True), "outside_knowledge"),
        (AskedWhen(longer_than_chars=5), turn("a" * 6), verdict(), "outside_knowledge"),
        (AskedWhen(longer_than_chars=6), turn("a" * 6), verdict(), None),
    ],
)
def test_one_condition_that_holds_is_enough(
    asked_when: AskedWhen | None, asked_of: Turn, after: Verdict, why: Reason | None
) -> None:
    assert why_asked(asked_when, asked_of, after) == why


@pytest.mark.parametrize(
    "text",
    [
        "Đúng rồi, giỏi quá!",
        "ĂÂĐÊÔƠƯ ắằẳẵặ ỹ",
        "naïve café",
        "😀 “well” – 5 €…",
        "3 × 4 = 12",
        "a\u0323\u0302",
        "½ ① ²",
    ],
)
def test_vietnamese_other_latin_letters_and_signs_are_known(text: str) -> None:
    assert not has_foreign_letters(turn(text))


@pytest.mark.parametrize("text", ["对", "say кот please", "แมว", "ねこ", "α", "قط", "𓀀"])
@pytest.mark.parametrize("field", ["previous_question", "previous_answer", "response"])
def test_one_letter_of_another_script_is_enough_in_any_field(text: str, field: str) -> None:
    assert has_foreign_letters(Turn.model_validate({**TURN.model_dump(), field: text}))

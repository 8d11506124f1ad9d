import json

import pytest
from pydantic import ValidationError

from emotion_svc.schema import ALL_ANSWERS, Answer, Example, Turn, Verdict
from emotion_svc.taxonomy import LABELS

FIELDS = {"previous_question": "Con mèo tiếng Anh là gì?", "previous_answer": "cat", "response": "Chính xác!"}


def test_a_turn_is_normalized_when_it_is_made() -> None:
    turn = Turn(previous_question=" a\n", previous_answer="\x00", response="Đu\u0301ng\u200b rồi")
    assert turn == Turn(previous_question="a", previous_answer="", response="Đúng rồi")


@pytest.mark.parametrize("field", ["previous_question", "previous_answer"])
def test_question_and_answer_may_be_empty(field: str) -> None:
    assert getattr(Turn.model_validate(FIELDS | {field: ""}), field) == ""


@pytest.mark.parametrize("response", ["", "   ", "\u200b", "\x00\n"])
def test_a_response_without_a_visible_character_is_refused(response: str) -> None:
    with pytest.raises(ValidationError, match="response"):
        Turn.model_validate(FIELDS | {"response": response})


@pytest.mark.parametrize("value", [None, 1, 1.5, True, b"cat", ["cat"], {"text": "cat"}])
@pytest.mark.parametrize("field", FIELDS)
def test_a_field_that_is_no_text_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        Turn.model_validate(FIELDS | {field: value})


@pytest.mark.parametrize("field", FIELDS)
def test_a_missing_field_is_refused(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        Turn.model_validate({name: text for name, text in FIELDS.items() if name != field})


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="mood"):
        Turn.model_validate(FIELDS | {"mood": "happy"})


def test_a_turn_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Turn.model_validate(FIELDS).response = "x"  # type: ignore[misc]


def test_the_digest_names_a_turn_and_depends_on_each_field() -> None:
    turns = [Turn.model_validate(FIELDS)] + [Turn.model_validate(FIELDS | {name: "other"}) for name in FIELDS]
    moved = Turn(previous_question="a", previous_answer="b c", response="d")
    same_words = Turn(previous_question="a b", previous_answer="c", response="d")
    digests = {turn.digest for turn in [*turns, moved, same_words]}
    assert len(digests) == 6
    assert all(len(digest) == 32 for digest in digests)
    assert Turn.model_validate(FIELDS).digest == turns[0].digest


def test_there_are_46_answers_compact_and_in_this_key_order() -> None:
    assert len(set(ALL_ANSWERS)) == 2 * len(LABELS) == 46
    assert '{"emotion":"playful_3","learn_score":false}' in ALL_ANSWERS
    assert [Answer.model_validate_json(text).model_dump_json() for text in ALL_ANSWERS] == list(ALL_ANSWERS)


@pytest.mark.parametrize(
    "text",
    [
        '{"emotion":"joy","learn_score":true}',
        '{"emotion":"happy","learn_score":"true"}',
        '{"emotion":"happy","learn_score":1}',
        '{"emotion":"happy"}',
        '{"emotion":"happy","learn_score":true,"sure":1}',
    ],
)
def test_what_is_no_answer_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Answer.model_validate_json(text)


def test_the_confidence_of_learn_score_is_that_of_the_chosen_value() -> None:
    verdict = Verdict(
        answer=Answer(emotion="sad", learn_score=False),
        family="sad",
        emotion_posterior=dict.fromkeys(LABELS, 1 / 23),
        family_confidence=1 / 23,
        learn_score_probability=0.2,
        engine="scripted",
        model_digest="0",
    )
    assert verdict.learn_score_confidence == 0.8
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


def test_an_example_holds_a_turn_and_its_gold_label() -> None:
    line = {"id": "x", **FIELDS, "emotion": "thats_right", "also": ["proud"], "learn_score": True, "slice": "core"}
    example = Example.model_validate_json(json.dumps(line))
    assert example.turn == Turn.model_validate(FIELDS)


def test_gold_names_a_family_and_not_a_label() -> None:
    line = {"id": "x", **FIELDS, "emotion": "happy_2", "learn_score": True, "slice": "core"}
    with pytest.raises(ValidationError, match="emotion"):
        Example.model_validate(line)

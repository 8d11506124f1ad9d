"""The answer language is exactly the 46 answers, and every one of them can be said."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.decoding.index import AnswerIndex
from emotion_svc.decoding.language import FORCED_OPENING, answer_regex, continuation_regex
from emotion_svc.schema import ALL_ANSWERS, Answer
from emotion_svc.taxonomy import LABELS

EOS = 0
CHARACTERS = sorted(set("".join(ALL_ANSWERS)))
ONE_CHARACTER_TOKENS = {char.encode(): [number] for number, char in enumerate(CHARACTERS, 1)}


def said_by(index: AnswerIndex, state: int | None = None, so_far: bytes = b"") -> Iterator[str]:
    """Every string that the index can produce, by walking all of its paths."""
    state = index.initial_state if state is None else state
    if index.is_complete(state):
        yield so_far.decode()
    for token_id, after in index.allowed(state).items():
        yield from said_by(index, after, so_far + index.text_of([token_id]))


def test_the_language_is_exactly_the_46_answers() -> None:
    index = AnswerIndex(ONE_CHARACTER_TOKENS, EOS)
    said = list(said_by(index))
    assert sorted(said) == sorted(ALL_ANSWERS)
    assert len(set(said)) == len(LABELS) * 2 == 46


def test_the_regex_is_the_one_that_outlines_makes_of_the_schema() -> None:
    from outlines.types import JsonSchema
    from outlines.types.dsl import to_regex

    assert to_regex(JsonSchema(Answer, whitespace_pattern="")) == f"({answer_regex()})"


def test_what_follows_the_forced_opening_is_the_rest_of_the_same_answers() -> None:
    index = AnswerIndex(ONE_CHARACTER_TOKENS, EOS, continuation_regex())
    assert sorted(FORCED_OPENING + rest for rest in said_by(index)) == sorted(ALL_ANSWERS)


@pytest.mark.parametrize("answer", ALL_ANSWERS)
def test_every_answer_matches_the_regex(answer: str) -> None:
    assert re.fullmatch(answer_regex(), answer)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"emotion":"happy"}',
        '{"emotion": "happy","learn_score":true}',
        '{"emotion":"happy","learn_score":True}',
        '{"emotion":"happy","learn_score":"true"}',
        '{"emotion":"joyful","learn_score":true}',
        '{"emotion":"happy_3","learn_score":true}',
        '{"learn_score":true,"emotion":"happy"}',
        '{"emotion":"happy","learn_score":true}\n',
        ' {"emotion":"happy","learn_score":true}',
        '{"emotion":"happy","learn_score":true}{"emotion":"sad","learn_score":true}',
        '{"emotion":"happy","learn_score":true,"x":1}',
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    assert not re.fullmatch(answer_regex(), text)


@given(st.sampled_from(ALL_ANSWERS), st.integers(0, 45), st.sampled_from(CHARACTERS))
def test_changing_one_character_leaves_the_language_or_gives_another_answer(answer: str, at: int, char: str) -> None:
    at %= len(answer)
    changed = answer[:at] + char + answer[at + 1 :]
    assert bool(re.fullmatch(answer_regex(), changed)) == (changed in ALL_ANSWERS)

"""Answers as text: which texts are one, and what the log-probabilities of its pieces say."""

import itertools
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.decoding.spoken import TextStep, certain, read_answer, spoken_posteriors
from emotion_svc.schema import ALL_ANSWERS, Answer
from emotion_svc.taxonomy import LABELS

SAD = Answer(emotion="sad", learn_score=True)
SPACE = st.text(" \t\r\n", max_size=3)


@given(answer=st.sampled_from(ALL_ANSWERS), spaces=st.lists(SPACE, min_size=9, max_size=9), is_turned=st.booleans())
def test_white_space_and_the_order_of_keys_do_not_count(answer: str, spaces: list[str], is_turned: bool) -> None:
    fields = json.loads(answer)
    (key, value), (other_key, other_value) = [*fields.items()][:: -1 if is_turned else 1]
    pieces = [
        "{",
        json.dumps(key),
        ":",
        json.dumps(value),
        ",",
        json.dumps(other_key),
        ":",
        json.dumps(other_value),
        "}",
    ]
    text = "".join(space + piece for space, piece in zip(spaces, pieces, strict=True))
    assert read_answer(text) == Answer.model_validate(fields)
    assert read_answer(text.removesuffix("}"), brace_may_be_missing=True) == Answer.model_validate(fields)
    assert read_answer(text.removesuffix("}")) is None


@given(text=st.text() | st.recursive(st.none() | st.booleans() | st.text(), st.lists).map(json.dumps))
def test_any_other_text_is_none(text: str) -> None:
    assert read_answer(text, brace_may_be_missing=True) is None


@pytest.mark.parametrize(
    "said", [answer + "x" for answer in ALL_ANSWERS[:2]] + ["x" + ALL_ANSWERS[0], ALL_ANSWERS[0] * 2]
)
def test_one_answer_and_something_else_is_none(said: str) -> None:
    assert read_answer(said) is None


def cut(text: str, places: list[int]) -> list[str]:
    marks = sorted({0, *(place % len(text) for place in places), len(text)})
    return [text[start:end] for start, end in itertools.pairwise(marks)]


@given(answer=st.sampled_from(ALL_ANSWERS), places=st.lists(st.integers(0, 60)))
def test_however_an_answer_is_cut_into_certain_tokens_it_is_certain(answer: str, places: list[int]) -> None:
    steps = [TextStep(piece, {piece: 0.0, "Sure": -0.1}) for piece in cut(answer, places)]
    found = spoken_posteriors([*steps, TextStep("<|end|>", {"<|end|>": 0.0})])
    assert found is not None
    expected = certain(Answer.model_validate_json(answer))
    assert found.emotion == pytest.approx(expected.emotion)
    assert found.learn_score_true == pytest.approx(expected.learn_score_true)


@given(
    answer=st.sampled_from(ALL_ANSWERS),
    places=st.lists(st.integers(0, 60)),
    others=st.lists(
        st.tuples(st.sampled_from(["h", "happy", '"', "true", "false}", "t", "{", "s", " ", "x"]), st.floats())
    ),
)
def test_posteriors_sum_to_one_whatever_a_host_tells(
    answer: str, places: list[int], others: list[tuple[str, float]]
) -> None:
    told = {text: logprob for text, logprob in others if not math.isnan(logprob)}
    found = spoken_posteriors([TextStep(piece, told | {piece: -0.7}) for piece in cut(answer, places)])
    assert found is not None
    assert found.emotion.sum() == pytest.approx(1)
    assert (found.emotion >= 0).all()
    assert 0 <= found.learn_score_true <= 1 + 1e-9


def test_probability_that_cannot_go_on_to_an_answer_is_left_out() -> None:
    steps = [
        TextStep('{"emotion": "', {}),
        TextStep("sad", {"sad": math.log(0.3), "afraid": math.log(0.1), "joyful": math.log(0.6)}),
        TextStep('", "learn_score": ', {}),
        TextStep("true}", {"true}": math.log(0.2), "false}": math.log(0.05), "maybe": math.log(0.75)}),
    ]
    found = spoken_posteriors(steps)
    assert found is not None
    assert {LABELS[place]: found.emotion[place] for place in found.emotion.nonzero()[0]} == {
        "sad": pytest.approx(0.75),
        "afraid": pytest.approx(0.25),
    }
    assert found.learn_score_true == pytest.approx(0.8)


@pytest.mark.parametrize(
    "pieces", [[], ['{"emotion":"sad",'], ['{"learn_score":true,"emotion":"sad"}'], ["Sure: ", ALL_ANSWERS[0]]]
)
def test_what_does_not_spell_an_answer_in_our_order_has_no_posteriors(pieces: list[str]) -> None:
    assert spoken_posteriors([TextStep(piece, {piece: 0.0}) for piece in pieces]) is None

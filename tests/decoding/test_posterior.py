"""Posteriors from logits, and from the tokens of small vocabularies made by hand."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.decoding.index import AnswerIndex
from emotion_svc.decoding.language import FORCED_OPENING, continuation_regex
from emotion_svc.decoding.posterior import Floats, Slot, Step, family_posterior, slot_posterior, softmax
from emotion_svc.schema import ALL_ANSWERS
from emotion_svc.taxonomy import FAMILIES, LABELS, LABELS_OF

EOS = 0
WHOLE_LABELS = {label.encode(): [number] for number, label in enumerate(LABELS, 1)} | {
    b'","learn_score":': [50],
    b"true}": [51],
    b"false}": [52],
}
LETTERS = {char.encode(): [number] for number, char in enumerate(sorted(set("".join(ALL_ANSWERS))), 1)}
PIECES = LETTERS | {b"happy": [60], b"th": [61], b"pro": [62], b'","': [63], b"learn_score": [64]}
BEHIND_HAPPY = '{"emotion":"happy","learn_score":'


def index_of(vocabulary: dict[bytes, list[int]], said: str = FORCED_OPENING) -> AnswerIndex:
    return AnswerIndex(vocabulary, EOS, continuation_regex(said))


def step(vocabulary: dict[bytes, list[int]], taken: str, shares: dict[str, float]) -> Step:
    """A step that took `taken`, with the probability of each token."""
    return Step(vocabulary[taken.encode()][0], {vocabulary[t.encode()][0]: log(p) for t, p in shares.items()})


def of(posterior: Floats, label: str) -> float:
    return dict(zip(map(str, LABELS), map(float, posterior), strict=True))[label]


def test_a_label_of_one_token_has_exactly_the_probability_of_its_token() -> None:
    shares = {"happy": 0.5, "happy_2": 0.125, "sad": 0.375}
    posterior = slot_posterior(
        "emotion", index_of(WHOLE_LABELS), [step(WHOLE_LABELS, "happy", shares)], said=FORCED_OPENING
    )
    assert {label: pytest.approx(of(posterior, label)) for label in shares} == shares
    assert posterior.sum() == pytest.approx(1)


def test_a_token_that_was_not_taken_is_shared_by_the_families_that_it_leaves_open() -> None:
    posterior = slot_posterior(
        "emotion",
        index_of(PIECES),
        [step(PIECES, "happy", {"happy": 0.5, "th": 0.3, "pro": 0.2})],
        said=FORCED_OPENING,
    )
    assert of(posterior, "happy") == of(posterior, "happy_2") == pytest.approx(0.25)
    assert of(posterior, "thinking") == pytest.approx(0.15)
    assert of(posterior, "thats_right") == of(posterior, "thats_right_2") == pytest.approx(0.075)
    assert of(posterior, "proud") == of(posterior, "proud_2") == pytest.approx(0.1)


def test_a_shorter_spelling_of_the_same_labels_counts_as_taken() -> None:
    steps = [
        step(PIECES, "happy", {"happy": 0.6, "h": 0.2, "s": 0.2}),
        step(PIECES, "_", {"_": 0.25, '","': 0.5, '"': 0.25}),
    ]
    posterior = slot_posterior("emotion", index_of(PIECES), steps, said=FORCED_OPENING)
    assert of(posterior, "happy") == pytest.approx(0.8 * 0.75)
    assert of(posterior, "happy_2") == pytest.approx(0.8 * 0.25)


def test_the_value_is_read_behind_the_label_whether_one_or_many_tokens_follow() -> None:
    at_once = step(WHOLE_LABELS, "true}", {"true}": 0.75, "false}": 0.25})
    behind = slot_posterior("learn_score", index_of(WHOLE_LABELS, BEHIND_HAPPY), [at_once], said=BEHIND_HAPPY)
    whole = [
        step(WHOLE_LABELS, "happy", {"happy": 0.5, "sad": 0.5}),
        step(WHOLE_LABELS, '","learn_score":', {'","learn_score":': 1.0}),
        at_once,
    ]
    from_the_start = slot_posterior("learn_score", index_of(WHOLE_LABELS), whole, said=FORCED_OPENING)
    assert behind == pytest.approx([0.25, 0.75])
    assert from_the_start == pytest.approx([0.25, 0.75])


def test_a_temperature_flattens_the_step() -> None:
    steps = [step(WHOLE_LABELS, "happy", {"happy": 0.8, "sad": 0.2})]
    posterior = slot_posterior("emotion", index_of(WHOLE_LABELS), steps, said=FORCED_OPENING, temperature=2.0)
    assert of(posterior, "happy") == pytest.approx(2 / 3)  # sqrt(0.8) against sqrt(0.2)


def test_nothing_said_leaves_all_families_equal() -> None:
    posterior = slot_posterior("emotion", index_of(WHOLE_LABELS), [], said=FORCED_OPENING)
    assert family_posterior(posterior) == pytest.approx([1 / len(FAMILIES)] * len(FAMILIES))


def test_a_token_outside_the_grammar_is_refused() -> None:
    index = index_of(WHOLE_LABELS)
    outside = step(WHOLE_LABELS, "happy", {"happy": 0.5, "true}": 0.5})
    with pytest.raises(ValueError, match="grammar"):
        slot_posterior("emotion", index, [outside], said=FORCED_OPENING)


def test_a_token_that_was_taken_without_probability_is_refused() -> None:
    impossible = Step(1, {1: float("-inf"), 2: 0.0})
    with pytest.raises(ValueError, match="token 1"):
        slot_posterior("emotion", index_of(WHOLE_LABELS), [impossible], said=FORCED_OPENING)


def test_a_masked_token_with_no_probability_is_no_matter() -> None:
    masked = Step(1, {1: 0.0, 51: float("-inf")})
    assert of(slot_posterior("emotion", index_of(WHOLE_LABELS), [masked], said=FORCED_OPENING), "happy") == 1


@given(st.data(), st.sampled_from(("emotion", "learn_score")), st.floats(0.2, 5))
def test_posteriors_of_any_answer_by_any_model_sum_to_one(data: st.DataObject, slot: Slot, temperature: float) -> None:
    index = index_of(PIECES)
    answer = data.draw(st.sampled_from(ALL_ANSWERS)).removeprefix(FORCED_OPENING)
    steps, state, at = [], index.initial_state, 0
    while at < len(answer):
        allowed = index.allowed(state)
        fitting = [t for t in sorted(allowed) if answer[at:].startswith(index.text_of([t]).decode())]
        taken = data.draw(st.sampled_from(fitting))
        logits = data.draw(st.lists(st.floats(-30, 30), min_size=len(allowed), max_size=len(allowed)))
        steps.append(Step(taken, dict(zip(allowed, np.log(softmax(np.array(logits))).tolist(), strict=True))))
        at, state = at + len(index.text_of([taken])), allowed[taken]
    posterior = slot_posterior(slot, index, steps, said=FORCED_OPENING, temperature=temperature)
    assert (posterior >= 0).all()
    assert posterior.sum() == pytest.approx(1)
    if slot == "emotion":
        families = family_posterior(posterior)
        assert families.sum() == pytest.approx(1)
        for family, probability in zip(FAMILIES, families, strict=True):
            assert probability == pytest.approx(sum(of(posterior, label) for label in LABELS_OF[family]))


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=30), st.floats(0.01, 100))
def test_softmax_sums_to_one_and_does_not_overflow(logits: list[float], temperature: float) -> None:
    assert softmax(np.array(logits), temperature).sum() == pytest.approx(1)

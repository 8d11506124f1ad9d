"""Augmentation changes texts, never labels; rules for joined responses follow docs/annotation.md."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.schema import ResponseExample
from emotion_svc.taxonomy import FAMILIES, FAMILY_OF, LABELS, Family
from emotion_svc.train.batches import label_target
from emotion_svc.train.config import AugmentConfig
from emotion_svc.train.samples import Sample, gold, join, strip_diacritics, taught, vary


def response(emotion: Family, text: str = "câu này") -> ResponseExample:
    return ResponseExample(response=text, emotion=emotion)


@pytest.mark.parametrize(
    ("first", "second", "wins"),
    [
        ("noisy", "thats_right", "noisy"),
        ("happy", "noisy", "noisy"),
        ("thats_right", "playful", "thats_right"),
        ("encouraging", "no_problem", "encouraging"),
        ("playful", "curious", "playful"),
        ("sad", "sad", "sad"),
    ],
)
def test_of_two_intents_the_earlier_rule_wins(first: Family, second: Family, wins: Family) -> None:
    joined = join(response(first), response(second))
    assert joined is not None
    assert joined.emotion == wins


@pytest.mark.parametrize(("first", "second"), [("sad", "happy"), ("curious", "worry"), ("calm", "excited")])
def test_where_the_rules_ask_which_takes_up_more_words_nothing_is_joined(first: Family, second: Family) -> None:
    assert join(response(first), response(second)) is None


def test_diacritics_are_stripped_to_what_is_typed_without_them() -> None:
    assert strip_diacritics("Đọc lại nhé, cậu ơi! ướt") == "Doc lai nhe, cau oi! uot"


@given(st.text(), st.text(), st.text(min_size=1), st.integers())
def test_varying_a_sample_never_empties_the_response_or_changes_its_targets(q: str, a: str, r: str, seed: int) -> None:
    sample = Sample(q, a, r, gold("happy", ["proud"]), 1.0)
    varied = vary(sample, AugmentConfig(word_dropout=0.5, no_diacritics=0.5), random.Random(seed))
    assert varied.response
    assert (varied.emotion, varied.learn_score) == (sample.emotion, sample.learn_score)


@given(st.sampled_from(FAMILIES))
def test_a_familys_share_is_spread_evenly_over_its_labels(family: Family) -> None:
    target = label_target(Sample("", "", "x", gold(family), None))
    shares = [share for share, label in zip(target, LABELS, strict=True) if FAMILY_OF[label] == family]
    assert sum(target) == pytest.approx(1)
    assert sum(shares) == pytest.approx(1)
    assert len(set(shares)) == 1


def test_a_teachers_opinion_takes_its_share_of_the_target() -> None:
    opinion = np.full((1, len(FAMILIES)), 1 / len(FAMILIES))
    [sample] = taught([Sample("", "", "x", gold("sad"), None)], opinion, 0.4)
    assert sample.emotion["sad"] == pytest.approx(0.6 + 0.4 / 16)
    assert sample.emotion["happy"] == pytest.approx(0.4 / 16)

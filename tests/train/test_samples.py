"""Augmentation changes texts, never labels; rules for joined responses follow docs/annotation.md."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.schema import Example, ResponseExample
from emotion_svc.taxonomy import FAMILIES, FAMILY_OF, LABELS, Family
from emotion_svc.train.batches import label_target
from emotion_svc.train.config import AugmentConfig, DataConfig
from emotion_svc.train.samples import (
    Corpus,
    Sample,
    by_fold,
    from_turn,
    gold,
    join,
    make_epoch,
    splice,
    strip_diacritics,
    taught,
    vary,
)
from emotion_svc.train.wording import fold_of


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


def test_every_sample_knows_the_fold_of_the_text_that_it_comes_from() -> None:
    """The double that reads a response must not have been fitted on it."""
    texts = [f"câu số {number} đây" for number in range(200)]
    turns = [
        Example(
            id=f"t{number}", previous_question="q", previous_answer="a", response=text, emotion="sad", also=[],
            learn_score=False, slice="core",
        )
        for number, text in enumerate(texts[:100])
    ]  # fmt: skip
    corpus = Corpus(turns, [ResponseExample(response=text, emotion="sad") for text in texts[100:]], None)
    data = DataConfig(joined=50, exercises=0, crops=0, teacher_share=0.0)
    plain = AugmentConfig(word_dropout=0.0, no_diacritics=0.0, no_final_punctuation=0.0)
    samples = make_epoch(corpus, data, plain, random.Random(1))
    written = [sample for sample in samples if sample.response in texts]
    joined = [sample for sample in samples if sample.response not in texts]
    assert (len(written), len(joined)) == (300, 50)
    assert all(sample.fold == fold_of(sample.response) for sample in written)
    for sample in joined:
        first, second = sample.response.split(" đây ", 1)
        assert {fold_of(f"{first} đây"), fold_of(second)} == {sample.fold}
    assert from_turn(turns[0]).fold is None  # a held-out turn is read by the voter that is shipped


@given(st.integers())
def test_spliced_texts_are_of_one_fold(seed: int) -> None:
    texts = [f"mot{number} hai{number} ba{number} bon{number}" for number in range(50)]
    folds = {text: fold_of(text) for text in texts}
    rng = random.Random(seed)
    sample = splice(texts, rng.choice(by_fold(texts)), rng)
    assert {fold for text, fold in folds.items() if set(text.split()) & set(sample.response.split())} == {sample.fold}

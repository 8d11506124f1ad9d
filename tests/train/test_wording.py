"""The voter that reads wording: it learns, it survives int8, and no double knows the lines that it is to read."""

import numpy as np
import pytest

from emotion_svc.data import read_responses
from emotion_svc.schema import ResponseExample
from emotion_svc.taxonomy import FAMILIES
from emotion_svc.train.samples import by_fold
from emotion_svc.train.wording import FOLDS, Voters, fit, fold_of, quantized
from tests.paths import ROOT

TWO_FAMILIES = fit([("chúc mừng nhé", "happy"), ("buồn quá đi", "sad")] * 20)
LINES = read_responses(sorted((ROOT / "train_data" / "responses").glob("*.jsonl")))[:1_500]


@pytest.fixture(scope="module")
def voters() -> Voters:
    return Voters([], LINES)


def test_it_knows_the_lines_that_it_was_fitted_on_and_its_doubles_do_not(voters: Voters) -> None:
    def right(line: ResponseExample, fold: int | None) -> bool:
        return voters.opinion(line.response, fold).first == line.emotion

    assert np.mean([right(line, None) for line in LINES]) > 0.99
    unseen = np.mean([right(line, fold_of(line.response)) for line in LINES])
    assert 0.5 < unseen < 0.9
    seen = np.mean([right(line, (fold_of(line.response) + 1) % FOLDS) for line in LINES])
    assert seen > 0.99


def test_int8_is_within_half_a_step_of_each_weight() -> None:
    rng = np.random.default_rng(0)
    weights, bias = rng.normal(size=(len(FAMILIES), 1 << 10)), rng.normal(size=len(FAMILIES))
    voter = quantized(weights, np.ones(1 << 10, dtype=np.float16), bias)
    assert np.abs(voter.weights * voter.scale - weights.T).max() <= np.abs(weights).max() / 127 / 2 + 1e-6


@pytest.mark.parametrize("text", ["chúc mừng nhé", "buồn quá đi", "chúc cậu ngủ ngon", "hôm nay buồn ghê", "xyz"])
def test_a_family_without_lines_is_never_the_likeliest(text: str) -> None:
    assert TWO_FAMILIES.opinion(text).first == ("sad" if "buồn" in text else "happy") or text == "xyz"
    assert {TWO_FAMILIES.opinion(text).first, TWO_FAMILIES.opinion(text).second} == {"happy", "sad"}


@pytest.mark.parametrize("other", ["giỏi quá", "  GIỎI   quá ", "Giỏi, quá…"])
def test_the_same_words_in_another_dress_are_in_the_same_fold(other: str) -> None:
    assert fold_of(other) == fold_of("Giỏi quá!")


def test_texts_of_a_fold_are_those_that_its_double_has_not_seen() -> None:
    texts = [line.response for line in LINES]
    folds = by_fold(texts)
    assert [fold.number for fold in folds] == list(range(FOLDS))
    assert sorted(place for fold in folds for place in fold.places) == list(range(len(texts)))
    assert all(fold_of(texts[place]) == fold.number for fold in folds for place in fold.places)

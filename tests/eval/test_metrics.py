"""The measures against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.eval.metrics import (
    Prediction,
    Table,
    bootstrap,
    calibration_error,
    f1,
    mcnemar,
    risk_coverage,
)
from emotion_svc.schema import Example
from emotion_svc.taxonomy import Family


def example(emotion: Family, *, also: tuple[Family, ...] = (), learn_score: bool = False) -> Example:
    return Example(
        id="x", previous_question="", previous_answer="", response="r", emotion=emotion, also=also,
        learn_score=learn_score, slice="core",
    )  # fmt: skip


def said(family: Family, *, learn_score: bool = False, sure: float = 0.9) -> Prediction:
    return Prediction(family, learn_score, sure, sure)


def test_a_defensible_family_is_no_strict_hit() -> None:
    table = Table([example("proud", also=("thats_right",)), example("sad")], [said("thats_right"), said("sad")])
    assert table.emotion_right.tolist() == [False, True]
    assert table.emotion_defensible.tolist() == [True, True]


def test_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    gold, guess = np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool)
    assert f1(gold, guess) == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert f1(gold, np.zeros(5, bool)) == 0


def test_a_family_that_is_said_but_never_gold_scores_nothing() -> None:
    table = Table([example("sad")], [said("worry")])
    assert table.family_f1() == {"sad": 0.0, "worry": 0.0}
    assert table.confusions() == [("sad", "worry", 1)]


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    right = np.array([True] * 8 + [False] * 2)
    assert calibration_error([0.8] * 10, right) == pytest.approx(0)
    assert calibration_error([1.0] * 10, right) == pytest.approx(0.2)


def test_mcnemar_counts_only_the_turns_where_the_two_differ() -> None:
    both = np.ones(50, bool)
    assert mcnemar(both, both) == 1
    better, worse = np.array([True] * 10), np.array([False] * 10)
    assert mcnemar(better, worse) == pytest.approx(2 / 2**10)
    assert mcnemar(np.concatenate((both, better)), np.concatenate((both, worse))) == pytest.approx(2 / 2**10)


def test_answering_fewer_turns_lowers_the_risk_when_confidence_means_something() -> None:
    points = risk_coverage([0.5, 0.6, 0.9, 0.95], np.array([False, True, True, True]))
    assert [tuple(point) for point in points] == [(0.5, 1, 0.25), (0.6, 0.75, 0), (0.9, 0.5, 0), (0.95, 0.25, 0)]


@given(st.lists(st.booleans(), min_size=5, max_size=40))
def test_an_interval_holds_its_value(hits: list[bool]) -> None:
    table = Table([example("sad")] * len(hits), [said("sad" if hit else "worry") for hit in hits])
    interval = bootstrap(table, lambda t: float(t.emotion_right.mean()), rounds=50)
    assert interval.low <= interval.value + 1e-9
    assert interval.high >= interval.value - 1e-9

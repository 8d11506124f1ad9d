"""The report: every figure with its interval, the threshold for handing over, the curve as a picture."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from emotion_svc.cli import main
from emotion_svc.errors import SetupError
from emotion_svc.eval.metrics import Prediction, Table, difference, family_f1_intervals, mcnemar, share
from emotion_svc.eval.report import RISK_LEFT, Report, compare, handover, make_report, recommend, to_markdown
from emotion_svc.schema import Example
from emotion_svc.taxonomy import FAMILIES
from tests.paths import EVAL_DATA


def example(number: int) -> Example:
    return Example(
        id=str(number),
        previous_question="",
        previous_answer="",
        response=f"câu {number}",
        emotion=FAMILIES[number % len(FAMILIES)],
        learn_score=number % 2 == 0,
        slice="core",
    )


GOLD = [example(number) for number in range(160)]
RIGHT = [Prediction(e.emotion, e.learn_score, 0.9, 0.9) for e in GOLD]


def unsure_and_wrong(every: int) -> list[Prediction]:
    """Right and sure, except that each `every`-th is unsure and wrong in both slots."""
    return [
        p
        if number % every
        else Prediction(FAMILIES[(number + 1) % len(FAMILIES)], not p.learn_score, 0.4 + number / 1000, 0.6)
        for number, p in enumerate(RIGHT)
    ]


def report(predictions: list[Prediction]) -> Report:
    kept = np.array([number % 20 > 0 for number in range(len(GOLD))])
    return make_report(
        GOLD,
        predictions,
        engine="scripted",
        model="table",
        model_digest="-",
        gold="gold.jsonl",
        steadiness={"upper case": kept},
        latency_ms=np.linspace(1, 2, 101),
    )


def test_the_threshold_is_the_lowest_that_halves_the_risk() -> None:
    threshold, kept, wrong, given = recommend(Table(GOLD, unsure_and_wrong(10)))
    # 16 of 160 are wrong, the unsure ones; with the seven surest of them kept the risk is 7 of 151.
    assert threshold == pytest.approx(0.4 + 90 / 1000)
    assert kept.value == pytest.approx(151 / 160)
    assert wrong.value == pytest.approx(7 / 151)
    assert wrong.value <= RISK_LEFT * 16 / 160 < 8 / 152
    assert kept.low < kept.value < kept.high
    assert not given


def test_a_good_model_hands_over_something_and_a_perfect_one_nothing() -> None:
    assert recommend(Table(GOLD, unsure_and_wrong(160))).kept.value == pytest.approx(159 / 160)
    assert recommend(Table(GOLD, RIGHT)).kept.value == 1


def test_where_no_threshold_halves_the_risk_the_one_with_the_least_is_taken() -> None:
    surest_are_wrong = [p._replace(family="sad", family_confidence=1 - n / 1000) for n, p in enumerate(RIGHT)]
    _, kept, wrong, _ = recommend(Table(GOLD[:10], surest_are_wrong[:10]))
    assert (kept.value, wrong.value) == (1, 1)


def test_a_given_threshold_is_shown_as_it_is() -> None:
    threshold, kept, wrong, given = handover(Table(GOLD, unsure_and_wrong(10)), 0.535, given=True)
    assert (threshold, given) == (0.535, True)
    assert kept.value == pytest.approx(146 / 160)  # the two surest of the 16 wrong ones are kept
    assert wrong.value == pytest.approx(2 / 146)


def test_a_threshold_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(SetupError, match=r"a threshold of 0\.95 keeps no turn; the surest one here has 0\.900"):
        handover(Table(GOLD, RIGHT), 0.95, given=True)


def test_every_figure_of_the_report_has_its_interval() -> None:
    text = to_markdown(report(unsure_and_wrong(10)))
    assert "| same family after: upper case | 95.0% [" in text
    assert "| in process, one turn at a time: p50 / p99 | 1.50 [" in text
    rows = [line for line in text.splitlines() if line.startswith(tuple(f"| {family} |" for family in FAMILIES))]
    assert len(rows) == len(FAMILIES)
    assert all("[" in row for row in rows)


def test_the_handover_is_told_in_words_with_what_it_keeps_and_what_stays_wrong() -> None:
    text = to_markdown(report(unsure_and_wrong(10)))
    assert "under **0.490** (the lowest that leaves at most 50% of the risk, chosen on these turns): that keeps" in text
    assert "that keeps 94.4% [" in text
    assert "of the kept ones 4.6% [" in text
    assert "| 100% | 0.400 | 10.0% |" in text


def test_a_family_interval_holds_its_value_and_is_a_point_where_all_is_right() -> None:
    for family, interval in family_f1_intervals(Table(GOLD, unsure_and_wrong(10)), rounds=200).items():
        assert interval.low <= interval.value <= interval.high, family
    assert {tuple(i) for i in family_f1_intervals(Table(GOLD, RIGHT), rounds=50).values()} == {(1.0, 1.0, 1.0)}


def test_a_rare_family_that_is_always_right_keeps_its_interval_at_1() -> None:
    said = [*RIGHT[:15], RIGHT[15]._replace(family="happy")]  # one turn of each family, the last one wrong
    intervals = family_f1_intervals(Table(GOLD[:16], said))
    assert tuple(intervals["sad"]) == (1, 1, 1)
    assert tuple(intervals["thinking"]) == (0, 0, 0)
    assert (intervals["happy"].low, intervals["happy"].high) == (0, 1)


def test_two_systems_are_compared_in_both_slots_with_interval_and_p_value() -> None:
    ours, theirs = RIGHT, unsure_and_wrong(10)
    compared = compare(GOLD, ours, theirs)
    assert compared.keys() == {"emotion", "learn_score"}
    for slot in compared.values():
        assert slot.ours.value == 1
        assert slot.difference.value == pytest.approx(0.1)
        assert 0 < slot.difference.low < 0.1 < slot.difference.high
        assert slot.p == pytest.approx(2 / 2**16)
    text = to_markdown(report(ours).model_copy(update={"against": {"the rival": compared}}))
    assert "Against the rival:\n\n| slot | ours | its |" in text
    assert "| learn_score | 100.0% [100.0%, 100.0%] | 90.0% [" in text


def test_a_difference_is_of_the_same_turns() -> None:
    first, second = np.array([True, False] * 50), np.array([True, False] * 50)
    assert tuple(difference(first, second)) == (0, 0, 0)
    assert mcnemar(first, second) == 1
    assert share(first).low < 0.5 < share(first).high


@pytest.mark.parametrize(("suffix", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_curve_is_drawn_as_png_or_svg(tmp_path: Path, suffix: str, begins: bytes) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib (extra 'train')")
    from emotion_svc.eval.plot import plot_risk_coverage

    out = tmp_path / f"curve.{suffix}"
    plot_risk_coverage(report(unsure_and_wrong(10)), out)
    assert out.read_bytes().startswith(begins)


def test_another_kind_of_picture_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["eval", str(EVAL_DATA / "dev.jsonl"), "--plot", str(tmp_path / "curve.gif")])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "expected a file that ends in .png or .svg, found 'curve.gif'" in done.stderr

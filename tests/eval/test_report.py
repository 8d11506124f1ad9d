"""The report: every figure with its interval, the threshold for handing over, the curve as a picture."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from emotion_svc.cli import main
from emotion_svc.eval.metrics import Prediction, Table, difference, family_f1_intervals, mcnemar, share
from emotion_svc.eval.report import RISK_TARGET, Report, compare, make_report, recommend, to_markdown
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


def test_the_threshold_is_the_lowest_that_keeps_the_risk_at_its_aim() -> None:
    threshold, kept, wrong = recommend(Table(GOLD, unsure_and_wrong(10)))
    # 16 of 160 are wrong, the unsure ones; with the two surest of them kept the risk is 2 of 146.
    assert threshold == pytest.approx(0.4 + 140 / 1000)
    assert kept.value == pytest.approx(146 / 160)
    assert wrong.value == pytest.approx(2 / 146)
    assert wrong.value <= RISK_TARGET < 3 / 147
    assert kept.low < kept.value < kept.high


def test_where_no_threshold_meets_the_aim_the_one_with_the_least_risk_is_taken() -> None:
    said = [p._replace(family="sad", family_confidence=number / 200) for number, p in enumerate(RIGHT)]
    _, kept, wrong = recommend(Table(GOLD, said))
    assert wrong.value > RISK_TARGET
    assert kept.value < 1


def test_every_figure_of_the_report_has_its_interval() -> None:
    text = to_markdown(report(unsure_and_wrong(10)))
    assert "| same family after: upper case | 95.0% [" in text
    assert "| in process, one turn at a time: p50 / p99 | 1.50 [" in text
    rows = [line for line in text.splitlines() if line.startswith(tuple(f"| {family} |" for family in FAMILIES))]
    assert len(rows) == len(FAMILIES)
    assert all("[" in row for row in rows)


def test_the_handover_is_told_in_words_with_what_it_keeps_and_what_stays_wrong() -> None:
    text = to_markdown(report(unsure_and_wrong(10)))
    assert "under **0.540**: that keeps 91.2% [" in text
    assert "of the kept ones 1.4% [" in text
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

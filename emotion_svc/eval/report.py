"""The scores of one engine on one gold file: as data, and as Markdown for people."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict

from emotion_svc.errors import SetupError
from emotion_svc.eval.metrics import (
    Bools,
    Floats,
    Interval,
    Prediction,
    RiskPoint,
    Table,
    bootstrap,
    calibration_error,
    difference,
    family_f1_intervals,
    mcnemar,
    risk_coverage,
    share,
)
from emotion_svc.schema import Example, Slice
from emotion_svc.taxonomy import Family

RISK_LEFT: Final = 0.5
"""The recommended threshold leaves at most this part of the risk of answering all turns. An aim that is no part of it
(2 % of the answered turns) is met by a good model that hands over nothing."""


class SliceScore(BaseModel):
    """One slice: how many turns, and the shares that are right."""

    model_config = ConfigDict(frozen=True)

    turns: int
    emotion: Interval
    learn_score: Interval


class Milliseconds(NamedTuple):
    """A time and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


class Handover(NamedTuple):
    """What a confidence threshold does: turns under it go to a larger model, the others are answered.

    `kept` is the share of turns that are answered, `wrong` the share of these with a wrong family. Where the threshold
    is not `given`, it was chosen on the same turns, so on others expect `wrong` to be somewhat higher.
    """

    threshold: float
    kept: Interval
    wrong: Interval
    given: bool


class Comparison(NamedTuple):
    """One slot of two systems on the same turns: both accuracies, their difference, and McNemar's p-value."""

    ours: Interval
    theirs: Interval
    difference: Interval
    p: float


class Report(BaseModel):
    """All figures of one engine on one gold file."""

    model_config = ConfigDict(frozen=True)

    engine: str
    model: str
    model_digest: str
    gold: str
    turns: int
    unanswered: dict[str, int] = {}
    """Turns beside these that the host did not answer, by the kind of its failure; in no figure."""
    emotion_accuracy: Interval
    emotion_defensible: Interval
    emotion_macro_f1: Interval
    family_f1: dict[Family, Interval]
    learn_score_accuracy: Interval
    learn_score_f1: Interval
    slices: dict[str, SliceScore]
    emotion_ece: Interval
    learn_score_ece: Interval
    confusions: list[tuple[Family, Family, int]]
    handover: Handover
    risk_coverage: list[RiskPoint]
    steadiness: dict[str, Interval] = {}
    p50_ms: Milliseconds | None = None
    p99_ms: Milliseconds | None = None
    against: dict[str, dict[str, Comparison]] = {}
    """By what the rival is: each slot of ours and of its."""


def make_report(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    engine: str,
    model: str,
    model_digest: str,
    gold: str,
    steadiness: Mapping[str, Bools] | None = None,
    latency_ms: Floats | None = None,
    threshold: float | None = None,
    unanswered: Mapping[str, int] | None = None,
) -> Report:
    """Measures predictions against gold.

    Args:
        examples: the gold turns.
        predictions: what was said of them, same order.
        engine: who said it; with `model` and `model_digest`.
        model: its name.
        model_digest: its digest.
        gold: the file that the turns are from.
        steadiness: for each way to rewrite a turn, whether its family stayed (see `run.steadiness`).
        latency_ms: the time of each turn, alone.
        threshold: under which a turn is handed over; one is recommended where it is None.
        unanswered: how many other turns got no answer, by the kind of failure.

    Raises:
        SetupError: no turn has a confidence at or over the threshold.
    """
    table = Table(examples, predictions)
    slices: dict[str, Table] = {name: table.where(lambda e, name=name: e.slice == name) for name in get_args(Slice)}  # type: ignore[misc]
    slices["hard"] = table.where(lambda e: e.hard)
    return Report(
        engine=engine,
        model=model,
        model_digest=model_digest,
        gold=gold,
        unanswered=dict(unanswered or {}),
        turns=len(examples),
        emotion_accuracy=bootstrap(table, lambda t: float(t.emotion_right.mean())),
        emotion_defensible=bootstrap(table, lambda t: float(t.emotion_defensible.mean())),
        emotion_macro_f1=bootstrap(table, lambda t: float(np.mean([*t.family_f1().values()])), rounds=300),
        family_f1=family_f1_intervals(table),
        learn_score_accuracy=bootstrap(table, lambda t: float(t.learn_score_right.mean())),
        learn_score_f1=bootstrap(table, lambda t: t.learn_score_f1()),
        slices={name: _slice_score(part) for name, part in slices.items() if part.examples},
        emotion_ece=bootstrap(table, emotion_ece),
        learn_score_ece=bootstrap(table, learn_score_ece),
        confusions=table.confusions()[:10],
        handover=recommend(table) if threshold is None else handover(table, threshold, given=True),
        risk_coverage=_curve(table),
        steadiness={name: share(kept) for name, kept in (steadiness or {}).items()},
        p50_ms=None if latency_ms is None else _percentile(latency_ms, 50),
        p99_ms=None if latency_ms is None else _percentile(latency_ms, 99),
    )


def emotion_ece(table: Table) -> float:
    """Calibration error of the family's confidence."""
    return calibration_error([p.family_confidence for p in table.predictions], table.emotion_right)


def learn_score_ece(table: Table) -> float:
    """Calibration error of the confidence in `learn_score`."""
    return calibration_error([p.learn_score_confidence for p in table.predictions], table.learn_score_right)


def _curve(table: Table) -> list[RiskPoint]:
    return risk_coverage([p.family_confidence for p in table.predictions], table.emotion_right)


def recommend(table: Table) -> Handover:
    """The lowest threshold at which at most `RISK_LEFT` of the risk of answering all turns is left.

    Where there is none, the one with the least risk: hand over all but the surest turns.
    """
    points = _curve(table)
    aim = RISK_LEFT * points[0].risk
    fitting = [point for point in points if point.risk <= aim]
    best = fitting[0] if fitting else min(points, key=lambda point: (point.risk, point.threshold))
    return handover(table, best.threshold, given=False)


def handover(table: Table, threshold: float, *, given: bool) -> Handover:
    """What a threshold keeps, and how much of that is wrong.

    Raises:
        SetupError: it keeps nothing.
    """
    kept = np.array([p.family_confidence >= threshold for p in table.predictions])
    if not kept.any():
        surest = max(p.family_confidence for p in table.predictions)
        raise SetupError(f"a threshold of {threshold:g} keeps no turn; the surest one here has {surest:.3f}")
    return Handover(threshold, share(kept), share(~table.emotion_right[kept]), given)


def _percentile(times_ms: Floats, percent: float) -> Milliseconds:
    rows = np.random.default_rng(0).integers(0, times_ms.size, (1000, times_ms.size))
    low, high = np.quantile(np.percentile(times_ms[rows], percent, axis=1), (0.025, 0.975))
    return Milliseconds(float(np.percentile(times_ms, percent)), float(low), float(high))


def _slice_score(table: Table) -> SliceScore:
    return SliceScore(
        turns=len(table.examples),
        emotion=bootstrap(table, lambda t: float(t.emotion_right.mean()), rounds=500),
        learn_score=bootstrap(table, lambda t: float(t.learn_score_right.mean()), rounds=500),
    )


def compare(
    examples: Sequence[Example], said: Sequence[Prediction], rival: Sequence[Prediction]
) -> dict[str, Comparison]:
    """Both slots of two systems on the same turns."""
    ours, theirs = Table(examples, said), Table(examples, rival)
    return {
        name: Comparison(share(x), share(y), difference(x, y), mcnemar(x, y))
        for name, x, y in (
            ("emotion", ours.emotion_right, theirs.emotion_right),
            ("learn_score", ours.learn_score_right, theirs.learn_score_right),
        )
    }


def to_markdown(report: Report) -> str:
    """The report as tables."""
    lines = [
        f"{report.turns} turns of `{report.gold}`, engine `{report.engine}`, model `{report.model}` "
        f"({report.model_digest}). Brackets hold 95 % bootstrap intervals.",
        *_unanswered_lines(report),
        "",
        "| measure | value |",
        "|---|---|",
        f"| emotion accuracy (family, strict) | {report.emotion_accuracy} |",
        f"| … counting defensible families | {report.emotion_defensible} |",
        f"| emotion macro-F1 | {report.emotion_macro_f1} |",
        f"| learn_score accuracy | {report.learn_score_accuracy} |",
        f"| learn_score F1 of true | {report.learn_score_f1} |",
        f"| expected calibration error, emotion | {report.emotion_ece} |",
        f"| expected calibration error, learn_score | {report.learn_score_ece} |",
    ]
    lines += [f"| same family after: {name} | {kept} |" for name, kept in report.steadiness.items()]
    if report.p50_ms is not None and report.p99_ms is not None:
        lines.append(f"| in process, one turn at a time: p50 / p99 | {report.p50_ms} / {report.p99_ms} ms |")
    lines += _handover_lines(report)
    lines += _comparison_lines(report)
    lines += ["", "| slice | turns | emotion | learn_score |", "|---|---|---|---|"]
    lines += [f"| {n} | {s.turns} | {s.emotion} | {s.learn_score} |" for n, s in report.slices.items()]
    lines += ["", "| family | F1 |", "|---|---|"]
    lines += [f"| {family} | {score} |" for family, score in report.family_f1.items()]
    lines += ["", "Most frequent confusions (gold → said): "]
    lines[-1] += ", ".join(f"{gold} → {said} ({count})" for gold, said, count in report.confusions) + "."
    return "\n".join(lines) + "\n"


def _unanswered_lines(report: Report) -> list[str]:
    if not report.unanswered:
        return []
    count, kinds = sum(report.unanswered.values()), counted(report.unanswered)
    return ["", f"**{count} further turns got no answer ({kinds}) and are in no figure.**"]


def counted(failures: Mapping[str, int]) -> str:
    """How often each kind of failure came, in words."""
    return ", ".join(f"{kind} {count}" for kind, count in failures.items())


def _handover_lines(report: Report) -> list[str]:
    """The threshold as a sentence, and the risk-coverage curve at some of its points."""
    threshold, kept, wrong, given = report.handover
    why = "as given" if given else f"the lowest that leaves at most {RISK_LEFT:.0%} of the risk, chosen on these turns"
    lines = [
        "",
        f"Hand a turn to a larger model where the family's confidence is under **{threshold:.3f}** ({why}): that keeps "
        f"{kept} of the turns here, and of the kept ones {wrong} have a wrong family (of all turns "
        f"{1 - report.emotion_accuracy.value:.1%}).",
        "",
        "| turns kept | from confidence | wrong families among them |",
        "|---|---|---|",
    ]
    for coverage in (1.0, 0.95, 0.9, 0.8, 0.7, 0.5):
        point = min(report.risk_coverage, key=lambda point: abs(point.coverage - coverage))
        lines.append(f"| {point.coverage:.0%} | {point.threshold:.3f} | {point.risk:.1%} |")
    return lines


def _comparison_lines(report: Report) -> list[str]:
    lines = []
    for name, compared in report.against.items():
        lines += ["", f"Against {name}:", "", "| slot | ours | its | difference | McNemar p |", "|---|---|---|---|---|"]
        lines += [f"| {slot} | {c.ours} | {c.theirs} | {c.difference} | {c.p:.4f} |" for slot, c in compared.items()]
    return lines

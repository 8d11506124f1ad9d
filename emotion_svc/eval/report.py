"""The scores of one engine on one gold file: as data, and as Markdown for people."""

from collections.abc import Sequence
from typing import Final, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict

from emotion_svc.eval.metrics import (
    Interval,
    Prediction,
    Table,
    bootstrap,
    calibration_error,
    mcnemar,
    risk_coverage,
)
from emotion_svc.schema import Example, Slice
from emotion_svc.taxonomy import Family

RISK_TARGET: Final = 0.02
"""The recommended threshold keeps the share of wrong families among the answered turns at or under this."""


class SliceScore(BaseModel):
    """One slice: how many turns, and the shares that are right."""

    model_config = ConfigDict(frozen=True)

    turns: int
    emotion: Interval
    learn_score: Interval


class Report(BaseModel):
    """All figures of one engine on one gold file."""

    model_config = ConfigDict(frozen=True)

    engine: str
    model: str
    model_digest: str
    gold: str
    turns: int
    emotion_accuracy: Interval
    emotion_defensible: Interval
    emotion_macro_f1: Interval
    family_f1: dict[Family, float]
    learn_score_accuracy: Interval
    learn_score_f1: Interval
    slices: dict[str, SliceScore]
    emotion_ece: Interval
    learn_score_ece: Interval
    confusions: list[tuple[Family, Family, int]]
    recommended_threshold: float
    coverage_at_threshold: float
    steadiness: dict[str, float] = {}
    p50_ms: float | None = None
    p99_ms: float | None = None


def make_report(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    engine: str,
    model: str,
    model_digest: str,
    gold: str,
    steadiness: dict[str, float] | None = None,
    latency_ms: tuple[float, float] | None = None,
) -> Report:
    """Measures predictions against gold. `latency_ms` is (p50, p99)."""
    table = Table(examples, predictions)
    slices: dict[str, Table] = {name: table.where(lambda e, name=name: e.slice == name) for name in get_args(Slice)}  # type: ignore[misc]
    slices["hard"] = table.where(lambda e: e.hard)
    threshold, coverage = recommend(table)
    return Report(
        engine=engine,
        model=model,
        model_digest=model_digest,
        gold=gold,
        turns=len(examples),
        emotion_accuracy=bootstrap(table, lambda t: float(t.emotion_right.mean())),
        emotion_defensible=bootstrap(table, lambda t: float(t.emotion_defensible.mean())),
        emotion_macro_f1=bootstrap(table, lambda t: float(np.mean([*t.family_f1().values()])), rounds=300),
        family_f1={family: round(score, 4) for family, score in table.family_f1().items()},
        learn_score_accuracy=bootstrap(table, lambda t: float(t.learn_score_right.mean())),
        learn_score_f1=bootstrap(table, lambda t: t.learn_score_f1()),
        slices={name: _slice_score(part) for name, part in slices.items() if part.examples},
        emotion_ece=bootstrap(table, emotion_ece),
        learn_score_ece=bootstrap(table, learn_score_ece),
        confusions=table.confusions()[:10],
        recommended_threshold=threshold,
        coverage_at_threshold=coverage,
        steadiness=steadiness or {},
        p50_ms=latency_ms[0] if latency_ms else None,
        p99_ms=latency_ms[1] if latency_ms else None,
    )


def emotion_ece(table: Table) -> float:
    """Calibration error of the family's confidence."""
    return calibration_error([p.family_confidence for p in table.predictions], table.emotion_right)


def learn_score_ece(table: Table) -> float:
    """Calibration error of the confidence in `learn_score`."""
    return calibration_error([p.learn_score_confidence for p in table.predictions], table.learn_score_right)


def recommend(table: Table) -> tuple[float, float]:
    """The lowest confidence at which at most `RISK_TARGET` of the answered turns are wrong, and its coverage."""
    points = risk_coverage([p.family_confidence for p in table.predictions], table.emotion_right)
    fitting = [point for point in points if point.risk <= RISK_TARGET]
    best = fitting[0] if fitting else points[-1]
    return round(best.threshold, 3), round(best.coverage, 3)


def _slice_score(table: Table) -> SliceScore:
    return SliceScore(
        turns=len(table.examples),
        emotion=bootstrap(table, lambda t: float(t.emotion_right.mean()), rounds=500),
        learn_score=bootstrap(table, lambda t: float(t.learn_score_right.mean()), rounds=500),
    )


def compare(examples: Sequence[Example], ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> str:
    """One line: both accuracies on the same turns, and McNemar's p-values."""
    a, b = Table(examples, ours), Table(examples, theirs)
    parts = [
        f"{name}: {x.mean():.1%} against {y.mean():.1%} (McNemar p = {mcnemar(x, y):.4f})"
        for name, x, y in (
            ("emotion", a.emotion_right, b.emotion_right),
            ("learn_score", a.learn_score_right, b.learn_score_right),
        )
    ]
    return "; ".join(parts)


def to_markdown(report: Report) -> str:
    """The report as tables."""
    lines = [
        f"{report.turns} turns of `{report.gold}`, engine `{report.engine}`, model `{report.model}` "
        f"({report.model_digest}). Brackets hold 95 % bootstrap intervals.",
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
        f"| confidence threshold for at most {RISK_TARGET:.0%} wrong families | {report.recommended_threshold} "
        f"(keeps {report.coverage_at_threshold:.0%} of turns) |",
    ]
    lines += [f"| same family after: {name} | {share:.1%} |" for name, share in report.steadiness.items()]
    if report.p50_ms is not None and report.p99_ms is not None:
        lines.append(f"| in process, one turn at a time: p50 / p99 | {report.p50_ms:.2f} / {report.p99_ms:.2f} ms |")
    lines += ["", "| slice | turns | emotion | learn_score |", "|---|---|---|---|"]
    lines += [f"| {n} | {s.turns} | {s.emotion} | {s.learn_score} |" for n, s in report.slices.items()]
    lines += ["", "| family | F1 |", "|---|---|"]
    lines += [f"| {family} | {score:.1%} |" for family, score in report.family_f1.items()]
    lines += ["", "Most frequent confusions (gold → said): "]
    lines[-1] += ", ".join(f"{gold} → {said} ({count})" for gold, said, count in report.confusions) + "."
    return "\n".join(lines) + "\n"

"""Loads and samples as a measurement would give them."""

from collections.abc import Sequence

from emotion_svc.bench.load import Load, Reply, Sample
from emotion_svc.bench.measure import Round
from emotion_svc.schema import ALL_ANSWERS, Example
from emotion_svc.taxonomy import Family

ANSWER = ALL_ANSWERS[0]
"""Of the family happy, with learn_score true."""


def gold(emotion: Family = "happy", learn_score: bool = True) -> Example:
    return Example(
        id="made", previous_question="", previous_answer="", response="Chào cậu!",
        emotion=emotion, learn_score=learn_score, slice="core",
    )  # fmt: skip


def sample(latency_ms: float, place: int = 0, **reply: object) -> Sample:
    return Sample(place=place, latency_s=latency_ms / 1e3, reply=Reply.model_validate({"text": ANSWER} | reply))


def one_round(samples: Sequence[Sample], elapsed_s: float = 1.0, cpu_s: float = 0.0) -> Round:
    return Round(Load(samples=list(samples), elapsed_s=elapsed_s), cpu_s, 0)

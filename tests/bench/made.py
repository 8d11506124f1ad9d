"""Loads and samples as a measurement would give them."""

from collections.abc import Sequence

from emotion_svc.bench.load import Load, Reply, Sample
from emotion_svc.bench.measure import Round
from emotion_svc.schema import ALL_ANSWERS

ANSWER = ALL_ANSWERS[0]


def sample(latency_ms: float, place: int = 0, **reply: object) -> Sample:
    return Sample(place=place, latency_s=latency_ms / 1e3, reply=Reply.model_validate({"text": ANSWER} | reply))


def one_round(samples: Sequence[Sample], elapsed_s: float = 1.0, cpu_s: float = 0.0) -> Round:
    return Round(Load(samples=list(samples), elapsed_s=elapsed_s), cpu_s, 0)

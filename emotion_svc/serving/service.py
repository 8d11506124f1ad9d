"""What every wire calls: turns in, verdicts out, with admission before and metrics after the engine."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from emotion_svc.engines.factory import running
from emotion_svc.errors import EngineUnavailable
from emotion_svc.routing.router import Router
from emotion_svc.schema import Timings, Turn, Verdict
from emotion_svc.serving.limits import Admission
from emotion_svc.serving.metrics import Metrics
from emotion_svc.serving.notes import Fact, note


class Answered(NamedTuple):
    """Verdicts in the order of the turns, and the timings of the slowest of them."""

    verdicts: list[Verdict]
    slowest: Timings


class Service:
    """A router that is sent work only while it is ready, and no more than the service takes."""

    def __init__(self, engine: Router, admission: Admission, metrics: Metrics) -> None:
        self._engine, self._admission, self._metrics = engine, admission, metrics
        self._is_ready = False

    @asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        """Ready inside, with the engine started and past its canary. Raises `errors.SetupError`."""
        async with running(self._engine):
            self._metrics.saw_engine(self._engine)
            self._is_ready = True
            self._metrics.is_ready()
            try:
                yield
            finally:
                self._is_ready = False
                self._metrics.is_stopping()

    @property
    def engine(self) -> Router:
        """The engine, which is the router.

        Raises:
            EngineUnavailable: it is not ready.
        """
        if not self._is_ready:
            raise EngineUnavailable("the engine is not ready: it is starting or stopping; come back later")
        return self._engine

    async def classify(self, turns: Sequence[Turn], *, budget_ms: float | None = None) -> Answered:
        """Verdicts for the turns, in the same order.

        Args:
            turns: the turns.
            budget_ms: what the request may take, where that is less than the router's deadline.

        Raises:
            DeadlineExceeded: no tier answered in time, and none is a safety net.
            EngineUnavailable: the engine is not ready, or failed.
            Overloaded: there is more in work than the service takes.
        """
        engine = self.engine
        with self._admission.places(len(turns)):
            verdicts = await engine.classify(turns, budget_ms=budget_ms)
        answered = Answered(verdicts, _slowest([verdict.timings for verdict in verdicts]))
        self._metrics.saw_verdicts(*answered)
        note(**_facts(answered))
        return answered


def _facts(answered: Answered) -> dict[str, Fact]:
    """For the request's line in the log. Of a batch: its tiers and reasons, and the timings of its slowest turn."""
    ways = {(verdict.tier or verdict.engine, verdict.reason or "first") for verdict in answered.verdicts}
    stages = {name: round(milliseconds, 3) for name, milliseconds in answered.slowest}
    tiers, reasons = (",".join(sorted(set(names))) for names in zip(*ways, strict=True)) if ways else ("", "")
    return {"turns": len(answered.verdicts), "tier": tiers, "reason": reasons, **stages}


def _slowest(timings: Sequence[Timings]) -> Timings:
    if len(timings) == 1:
        return timings[0]
    return Timings(
        queue_ms=max((t.queue_ms for t in timings), default=0.0),
        tokenize_ms=max((t.tokenize_ms for t in timings), default=0.0),
        infer_ms=max((t.infer_ms for t in timings), default=0.0),
    )

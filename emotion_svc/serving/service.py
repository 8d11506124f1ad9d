"""What every wire calls: turns in, verdicts out, with admission before and metrics after the engine."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from emotion_svc.engines.base import Engine
from emotion_svc.errors import EngineUnavailable
from emotion_svc.routing.router import Router
from emotion_svc.schema import Timings, Turn, Verdict
from emotion_svc.serving.limits import Admission
from emotion_svc.serving.metrics import Metrics

_NOT_READY: Final = "the engine is not ready: it is starting or stopping; come back later"


class Answered(NamedTuple):
    """Verdicts in the order of the turns, and the timings of the slowest of them."""

    verdicts: list[Verdict]
    slowest: Timings


class Service:
    """A router that is sent work only while it is ready, and no more than the service takes."""

    def __init__(self, router: Router, admission: Admission, metrics: Metrics) -> None:
        self._router, self._admission, self._metrics = router, admission, metrics
        self._is_ready = False

    @asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        """Ready inside, with the tiers started and past their canaries. Raises `errors.ServiceError`."""
        self._router.report_to(self._metrics)
        async with self._router:
            self._metrics.saw_engine(self._router.head)
            self._is_ready = True
            try:
                yield
            finally:
                self._is_ready = False

    @property
    def engine(self) -> Engine:
        """The first tier's engine, whose model gives the service its name.

        Raises:
            EngineUnavailable: it is not ready.
        """
        if not self._is_ready:
            raise EngineUnavailable(_NOT_READY)
        return self._router.head

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
        if not self._is_ready:
            raise EngineUnavailable(_NOT_READY)
        with self._admission.places(len(turns)):
            verdicts = await self._router.classify(turns, budget_ms=budget_ms)
        answered = Answered(verdicts, _slowest([verdict.timings for verdict in verdicts]))
        self._metrics.saw_verdicts(*answered)
        return answered


def _slowest(timings: Sequence[Timings]) -> Timings:
    if len(timings) == 1:
        return timings[0]
    return Timings(
        queue_ms=max((t.queue_ms for t in timings), default=0.0),
        tokenize_ms=max((t.tokenize_ms for t in timings), default=0.0),
        infer_ms=max((t.infer_ms for t in timings), default=0.0),
    )

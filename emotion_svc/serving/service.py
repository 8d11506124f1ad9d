"""What every wire calls: turns in, verdicts out. Repeated turns are remembered, the others admitted to an engine."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

from emotion_svc.errors import Overloaded
from emotion_svc.routing.router import Router
from emotion_svc.schema import Timings, Turn, Verdict
from emotion_svc.serving.admission import Admission
from emotion_svc.serving.budget import Budget
from emotion_svc.serving.cache import turn_key
from emotion_svc.serving.metrics import Metrics
from emotion_svc.serving.notes import Fact, note
from emotion_svc.serving.once import Once
from emotion_svc.serving.readiness import Readiness
from emotion_svc.serving.registry import Registry


class Answered(NamedTuple):
    """Verdicts in the order of the turns, the timings of the slowest of them, and the router of their model.

    The router may be closed as soon as the caller waits for anything else. `stand_in` is the default model's name where
    it has answered for a model that is loading.
    """

    verdicts: list[Verdict]
    slowest: Timings
    router: Router
    stand_in: str | None = None


class Service:
    """The models of the registry, which are sent each turn once, and no more than they answer in time.

    Args:
        registry: the models.
        once: what is remembered, and what is under way.
        admission: the places of those turns that an engine must answer.
        readiness: is told how the default model's calls end.
        metrics: sees what was answered.
    """

    def __init__(
        self, registry: Registry, once: Once, admission: Admission, readiness: Readiness, metrics: Metrics
    ) -> None:
        self.models, self.readiness = registry, readiness
        self._once, self._admission, self._metrics = once, admission, metrics

    @asynccontextmanager
    async def ready(self) -> AsyncIterator[None]:
        """Ready inside, with the default model started and past its canary. Raises `errors.SetupError`."""
        async with self.models.ready():
            self.readiness.begin()
            try:
                yield
            finally:
                self.readiness.end()

    async def classify(
        self, turns: Sequence[Turn], *, deadline_ms: int | None = None, model: str | None = None
    ) -> Answered:
        """Verdicts for the turns, in the same order.

        Args:
            turns: in any number.
            deadline_ms: how long the answer may take, where that is less than the service allows.
            model: a name of the registry; the default model for None.

        Raises:
            UnknownModel: nothing is served under this name.
            EngineUnavailable: the engine is not ready, or failed; `ModelUnavailable` for one of the further models.
            Overloaded: there is more in work than the service takes, or than lets it answer in time.
        """
        began = time.perf_counter()
        budget = Budget.of(self.models.default.deadline_ms, deadline_ms, len(turns))
        async with self.models.use(model, budget) as (name, router, stands_in):
            is_default = router is self.models.default
            watching = self.readiness.watching if is_default else partial(self.models.watching, router)
            keys = [turn_key(name, router.model_digest, turn) for turn in turns]

            async def compute(anew: Sequence[Turn]) -> list[Verdict]:
                expected_ms = router.expected_ms(len(anew))
                places = self._admission.places(len(anew), expected_ms=expected_ms, budget_ms=budget.left_ms)
                with places, watching():
                    return await router.classify(anew, budget_ms=budget.to_answer_ms)

            try:
                by_key = await self._once.verdicts(dict(zip(keys, turns, strict=True)), budget, compute)
            except Overloaded as error:
                self._metrics.saw_overload(error, time.perf_counter() - began)
                raise
        verdicts = [by_key[key] for key in keys]
        slowest = _slowest([verdict.timings for verdict in verdicts])
        answered = Answered(verdicts, slowest, router, name if stands_in else None)
        self._metrics.saw_verdicts(answered.verdicts, answered.slowest)
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

"""The way of a turn through the tiers: in order, inside the request's time, and never without an answer.

The first tier is always asked. A later one is asked where its condition holds for the answer so far, or where no
tier before it gave one. What has not answered in time is cancelled and the best answer so far goes out.

The **safety net** (the first embedded tier) is never cut off. It refuses only turns that no tier before it could
answer, and that would be late in its line. Where it is not the first tier, it begins early enough to end in time
(`latency.RecentLatency.lead_s`), whatever the tiers before it are doing. It does not begin together with them: that
would double the work of each turn, for the few turns that need it.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Final, NamedTuple

from emotion_svc.engines.base import CANARY, Engine, KeepsLine
from emotion_svc.engines.presets import Price
from emotion_svc.errors import DeadlineExceeded, EngineUnavailable, Overloaded, ServiceError
from emotion_svc.routing.breaker import Clock
from emotion_svc.routing.conditions import why_asked
from emotion_svc.routing.hedge import Hedge
from emotion_svc.routing.observer import Observer, Unobserved
from emotion_svc.routing.tier import Failure, Tier, TierPlan
from emotion_svc.routing.tiers_file import DEADLINE_MS
from emotion_svc.schema import Reason, Turn, Verdict

_LEAST_S: Final = 0.001
"""No tier is asked with less time than this: no host can use it, and a paid one would be paid."""


class Router:
    """Tiers as one engine.

    Args:
        tiers: in the order in which they are asked.
        safety_net: the one of them that is waited for even after the deadline; None where there is none.
        deadline_ms: how long a request may take that says nothing else.
        clock: tells the time, in seconds; the tiers' own.
    """

    def __init__(
        self,
        tiers: Sequence[Tier],
        safety_net: Tier | None,
        *,
        deadline_ms: float = DEADLINE_MS,
        clock: Clock = time.monotonic,
    ) -> None:
        assert tiers
        assert safety_net is None or safety_net in tiers
        self._tiers, self._net, self._clock = tuple(tiers), safety_net, clock
        self._before_net = self._tiers[: self._tiers.index(safety_net)] if safety_net is not None else self._tiers
        self.deadline_ms = deadline_ms
        self._observer: Observer = Unobserved()
        self._unanswered = 0
        self._proof: Verdict | None = None

    @classmethod
    def around(
        cls, engine: Engine, *, name: str | None = None, deadline_ms: float = DEADLINE_MS, price: Price | None = None
    ) -> "Router":
        """One engine alone: nothing stands in for it, so it is waited for. Its tier has the `name`, or the engine's.

        What its calls cost at a `price` is counted, and capped by nothing.
        """
        tier = Tier(TierPlan(name or engine.name, price=price), engine)
        return cls([tier], tier, deadline_ms=deadline_ms)

    @property
    def head(self) -> Engine:
        """The first tier's engine, which gives the service its model's name."""
        return self._tiers[0].engine

    @property
    def name(self) -> str:
        """The kind of the first tier's engine."""
        return self.head.name

    @property
    def tier_names(self) -> tuple[str, ...]:
        """The names of the tiers, in their order."""
        return tuple(tier.name for tier in self._tiers)

    @property
    def is_uncapped(self) -> bool:
        """Whether calls cost money without a cap on the day's spend."""
        return any(tier.is_uncapped for tier in self._tiers)

    @property
    def gains_by_batches(self) -> bool:
        """Whether turns in one call are cheaper than each in its own: those of the embedded engine share passes."""
        return any(isinstance(tier.engine, KeepsLine) for tier in self._tiers)

    @property
    def model_name(self) -> str:
        """The model of the first tier."""
        return self.head.model_name

    @property
    def model_digest(self) -> str:
        """The digest of the first tier's model."""
        return self.head.model_digest

    def expected_ms(self, turns: int) -> float:
        """How long the safety net would take for so many turns; 0 while it is idle.

        While another tier stands before it, which may answer, nothing is expected (0).
        """
        line = self._net.line if self._net is not None and self._all_falls_on_net else None
        return line.expected_ms(turns) if line is not None else 0.0

    @property
    def _all_falls_on_net(self) -> bool:
        """Whether a turn that came now would be sent to no tier before the safety net."""
        return not any(tier.may_answer for tier in self._before_net)

    def report_to(self, observer: Observer) -> None:
        """Tells `observer` what happens from now on."""
        self._observer = observer
        for tier in self._tiers:
            tier.report_to(observer)

    async def start(self) -> None:
        """Starts every tier and lets it answer the canary.

        With a safety net, another tier may be silent now: it is left alone and probed later.

        Raises:
            ServiceError: the safety net, or any tier where there is none, does not answer.
            SetupError: a tier can never work.
        """
        try:
            for tier in self._tiers:
                if tier is self._net or self._net is None:
                    proof = await tier.start()
                    self._proof = self._proof or proof
                else:
                    await tier.start_if_reachable()
            if self._net is not None and self._net is not self._tiers[0]:
                await self._net.prime()
        except BaseException:
            await self.close()
            raise

    async def answers_canary(self) -> bool:
        """Whether any tier answers the canary now; finding out may take seconds."""
        for tier in self._tiers:
            if await tier.answers_canary():
                return True
        return False

    async def close(self) -> None:
        """Closes every tier."""
        for tier in self._tiers:
            await tier.close()

    async def classify(self, turns: Sequence[Turn], *, budget_ms: float | None = None) -> list[Verdict]:
        """Verdicts for the turns, in the same order; each goes its own way, all at the same time.

        Args:
            turns: the turns.
            budget_ms: what the request may take, in place of the deadline: less, or more for a batch.

        Raises:
            DeadlineExceeded: there is no safety net, and nobody answered in time.
            Overloaded: there is no safety net, and all places are taken; or a turn that only the safety net could
                answer would have waited in its line until it was late.
            EngineUnavailable: no tier can answer now.
        """
        if self._proof is not None and len(turns) == 1 and turns[0] is CANARY:
            return [self._proof]  # whoever starts an engine asks it this; every tier was asked at start
        first, rest = self._tiers[0], self._tiers[1:]
        until = self._clock() + (self.deadline_ms if budget_ms is None else budget_ms) / 1e3
        if first is not self._net:
            # As where the net is the first tier: one that nobody else could answer may be refused in its line.
            may_refuse = len(turns) == 1 and self._all_falls_on_net
            return await _all([self._find_way(turn, until, self._tiers, may_refuse=may_refuse) for turn in turns])
        try:
            verdicts = await first.answer(turns, until - self._clock())
        except Overloaded:  # there is no time left for another tier, either
            raise
        except ServiceError as error:
            if not rest:
                raise
            failure = Failure("failed", error)
            return await _all([self._find_way(turn, until, rest, failure) for turn in turns])
        if not rest:
            return [self._sent(_Best(first, "first", verdict)) for verdict in verdicts]
        return await _all(
            [
                self._hand_on(turn, until, rest, _Best(first, "first", verdict))
                for turn, verdict in zip(turns, verdicts, strict=True)
            ]
        )

    async def _find_way(
        self,
        turn: Turn,
        until: float,
        tiers: Sequence[Tier],
        failure: Failure | None = None,
        *,
        may_refuse: bool = False,
    ) -> Verdict:
        """The first answer, and what comes of it. `failure` is that of the tier before."""
        within_s = until - self._clock() if may_refuse else None
        hedge = Hedge(self._net, turn, within_s) if self._net is not None and self._net in tiers else None
        self._unanswered += 1
        try:
            if hedge is not None:
                hedge.begin_after(until - self._clock() - hedge.tier.latency.lead_s(self._unanswered))
            for place, tier in enumerate(tiers, 1):
                if hedge is not None and tier is hedge.tier:
                    outcome = await hedge.outcome()
                else:
                    outcome = await self._ask(tier, turn, until)
                if not isinstance(outcome, Failure):
                    best, rest = _Best(tier, failure.trouble if failure else "first", outcome), tiers[place:]
                    break
                failure = outcome
            else:
                raise _no_answer(failure)
        finally:
            self._unanswered -= 1
            if hedge is not None:
                hedge.drop()
        return await self._hand_on(turn, until, rest, best)

    async def _hand_on(self, turn: Turn, until: float, tiers: Sequence[Tier], best: "_Best") -> Verdict:
        """Asks each tier whose condition holds for the best answer so far."""
        for tier in tiers:
            why = why_asked(tier.plan.asked_when, turn, best.verdict)
            if why is None:
                continue
            outcome = await self._ask(tier, turn, until)
            best = best._replace(reason=outcome.trouble) if isinstance(outcome, Failure) else _Best(tier, why, outcome)
        return self._sent(best)

    async def _ask(self, tier: Tier, turn: Turn, until: float) -> Verdict | Failure:
        left_s = until - self._clock()
        return await tier.ask(turn, left_s) if left_s >= _LEAST_S else Failure("deadline")

    def _sent(self, best: "_Best") -> Verdict:
        self._observer.saw_answer(best.tier.name, best.reason)
        return best.verdict.model_copy(update={"tier": best.tier.name, "reason": best.reason})


class _Best(NamedTuple):
    """The best answer so far, whose it is, and why it would go out."""

    tier: Tier
    reason: Reason
    verdict: Verdict


def _no_answer(last: Failure | None) -> ServiceError:
    """What the caller is told where no tier answered: what kept the last one from it."""
    assert last is not None
    if isinstance(last.error, ServiceError):
        return last.error
    match last.trouble:
        case "deadline":
            return DeadlineExceeded("no tier answered in time; give more time, or add an embedded tier as safety net")
        case "busy":
            return Overloaded("all places of the last tier are taken; come back later")
        case trouble:
            return EngineUnavailable(f"no tier can answer now (the last one: {trouble}); come back later")


async def _all(ways: Sequence[Coroutine[Any, Any, Verdict]]) -> list[Verdict]:
    """All verdicts; where one fails, the others are given up."""
    if len(ways) == 1:
        return [await ways[0]]
    tasks = [asyncio.create_task(way) for way in ways]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()

"""A tier: an engine with its place in the cascade, its deadline, its breaker and its price."""

import asyncio
import logging
import sys
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Final, NamedTuple

from emotion_svc.engines.base import CANARY, Engine, HasPlaces, KeepsLine, check_canary
from emotion_svc.engines.presets import Price
from emotion_svc.errors import (
    EngineUnavailable,
    HostFailed,
    Overloaded,
    ServiceError,
    SetupError,
    TurnRefused,
)
from emotion_svc.routing.breaker import DEFAULT_POLICY, Breaker, BreakerPolicy, Clock, State
from emotion_svc.routing.latency import RecentLatency
from emotion_svc.routing.observer import Observer, Trouble, Unobserved
from emotion_svc.routing.purse import Purse
from emotion_svc.routing.spend import Spend
from emotion_svc.routing.tiers_file import AskedWhen
from emotion_svc.schema import Turn, Verdict

logger = logging.getLogger(__name__)

_PATIENCE_S: Final = 5.0
"""What a host may take for the canary, at start and when it is probed: connecting and loading included."""

_FAIR_SHARE: Final = 0.5
"""A host that was given less than this part of the tier's deadline is not blamed for being late: neither a caller in a
hurry nor a slow spend file must open the breaker for all."""

_PRIMING: Final = 8
"""Canaries at start that tell how long the safety net takes."""


class Failure(NamedTuple):
    """A tier gave no answer. `error` is what it raised, where it was asked and raised."""

    trouble: Trouble
    error: Exception | None = None


class _Sent:
    """When the engine was first sent a turn; None before."""

    at: float | None = None


class TierPlan(NamedTuple):
    """What is set for a tier.

    Attributes:
        deadline_s: how long a turn may take here; None for all that the request has.
        concurrency: how many turns may be here at a time; None for as many as the engine takes.
        retries: whether a call is made once more where the host may be tried again at once.
        price: None where calls are free.
    """

    name: str
    asked_when: AskedWhen | None = None
    deadline_s: float | None = None
    concurrency: int | None = None
    retries: bool = False
    price: Price | None = None


class Tier:
    """Asks one engine, in time or not at all.

    Args:
        plan: what is set for it.
        engine: the engine, not started.
        clock: tells the time, in seconds.
        spend: the day's spend; needed where the plan has a price.
    """

    def __init__(
        self,
        plan: TierPlan,
        engine: Engine,
        *,
        clock: Clock = time.monotonic,
        spend: Spend | None = None,
        policy: BreakerPolicy = DEFAULT_POLICY,
    ) -> None:
        self.plan, self.engine = plan, engine
        self.line: KeepsLine | None = engine if isinstance(engine, KeepsLine) else None
        self.latency = RecentLatency()
        self.breaker = Breaker(clock, self._told_state, policy)
        self._clock, self._purse = clock, Purse(plan.name, plan.price, spend)
        self._observer: Observer = Unobserved()
        self._under_way: set[asyncio.Task[Any]] = set()
        self._places = asyncio.Semaphore(_places_of(plan, engine))

    @property
    def name(self) -> str:
        """Its name in the configuration, verdicts and metrics."""
        return self.plan.name

    @property
    def is_uncapped(self) -> bool:
        """Whether its calls cost money, and nothing caps what they do in a day."""
        return self._purse.is_uncapped

    @property
    def may_answer(self) -> bool:
        """Whether a turn that came now would be sent to the engine: not left alone, not full, not out of money."""
        return self.breaker.is_closed and not self._places.locked() and not self._purse.is_shut

    def report_to(self, observer: Observer) -> None:
        """Tells `observer` what happens from now on, and how the breaker stands."""
        self._observer = observer
        observer.saw_breaker(self.name, self.breaker.state)
        self._purse.report_to(observer)

    async def start(self) -> Verdict:
        """Starts the engine and lets it answer the canary, whose verdict this is.

        Raises:
            ServiceError: it does not answer.
        """
        await self.engine.start()
        proof = await self._pass_canary()
        if isinstance(proof, Failure):
            raise EngineUnavailable(f"tier '{self.name}' cannot be tried out: the day's spend cap is reached")
        return proof

    async def start_if_reachable(self) -> None:
        """As `start`, but a host that does not answer now is left to the breaker, which has it probed later.

        Raises:
            SetupError: the engine cannot work, whatever the host does.
        """
        await self.engine.start()
        outcome = await self._outcome(self._begin(self._pass_canary()), _PATIENCE_S)
        if not isinstance(outcome, Failure) or outcome.trouble == "spend_cap":
            return
        if isinstance(outcome.error, SetupError):
            raise outcome.error
        kind = outcome.error.kind if isinstance(outcome.error, ServiceError) else outcome.trouble
        logger.warning(
            "a tier does not answer; the service starts without it",
            extra={"fields": {"tier": self.name, "kind": kind}},
        )
        self.breaker.open()

    async def prime(self) -> None:
        """Answers the canary a few times, so that `latency` knows something before the first turn."""
        for _ in range(_PRIMING):
            await self.answer([CANARY])

    async def answer(self, turns: Sequence[Turn], within_s: float | None = None) -> list[Verdict]:
        """Verdicts without any deadline: what the safety net is asked. Raises as the engine.

        With `within_s`, an engine that has a line refuses who would wait in it too long.
        """
        begun = self._clock()
        try:
            if within_s is not None and self.line is not None:
                verdicts = await self.line.classify_within(turns, within_s)
            else:
                verdicts = await self.engine.classify(turns)
        except asyncio.CancelledError:
            self._observer.saw_call(self.name, "not_needed", self._clock() - begun, len(turns))
            raise
        except Overloaded:  # refused in the engine's line, which is no failure of the engine
            self._observer.saw_call(self.name, "busy", self._clock() - begun, len(turns))
            raise
        except Exception:
            self._observer.saw_call(self.name, "failed", self._clock() - begun, len(turns))
            raise
        seconds = self._clock() - begun
        if len(turns) == 1:
            self.latency.saw(seconds)
        self._observer.saw_call(self.name, "answered", seconds, len(turns))
        for verdict in verdicts:
            self._purse.count(verdict, self._observer)
        return verdicts

    async def answers_canary(self) -> bool:
        """Whether it answers the canary now. One that is left alone is probed where that is due."""
        if self.breaker.is_probe_due:
            self.breaker.begin_probe()
            # A probe that is given up in the middle would leave the breaker half open.
            await asyncio.shield(self._begin(self._probe()))
            return self.breaker.is_closed
        if not self.breaker.is_closed:
            return False
        outcome = await self._outcome(self._begin(self._pass_canary()), _PATIENCE_S)
        return not isinstance(outcome, Failure)

    async def ask(self, turn: Turn, within_s: float) -> Verdict | Failure:
        """The verdict, if it comes within so many seconds and the tier's own deadline. Raises nothing.

        The tier's deadline begins with the turn's place. A turn waits for one only as long as the whole deadline fits
        behind it: sent with less, it would be late, and the host would be blamed for it.
        """
        arrived = begun = self._clock()
        deadline_s = within_s if self.plan.deadline_s is None else self.plan.deadline_s
        try:
            refusal = await self._take_place(within_s - deadline_s)
            if refusal is not None:
                self._observer.saw_call(self.name, refusal, 0.0)
                return Failure(refusal)
            begun = self._clock()
            allowed_s = min(within_s - (begun - arrived), deadline_s)
            until, sent = begun + allowed_s, _Sent()
            call = self._begin(self._call(turn, until, sent))
            # Its place is free when it has really ended, which may be after nobody waits for it any more.
            call.add_done_callback(lambda _: self._places.release())
            outcome = await self._outcome(call, allowed_s)
            if sent.at is None and isinstance(outcome, Failure) and outcome.trouble == "deadline":
                outcome = Failure("spend_cap")  # the time went by before the spend file gave leave
        except asyncio.CancelledError:
            self._observer.saw_call(self.name, "not_needed", self._clock() - begun)
            raise
        told = outcome.trouble if isinstance(outcome, Failure) else "answered"
        self._observer.saw_call(self.name, told, self._clock() - begun)
        if not isinstance(outcome, Failure):
            self.breaker.call_succeeded()
            return _with_wait(outcome, begun - arrived)
        if outcome.trouble == "failed":
            is_hosts_failure = not isinstance(outcome.error, TurnRefused)
        else:
            had_its_time = sent.at is not None and until - sent.at >= _FAIR_SHARE * deadline_s
            is_hosts_failure = outcome.trouble == "deadline" and had_its_time
        if is_hosts_failure:
            self.breaker.call_failed(_retry_after_s(outcome.error))
        return outcome

    async def close(self) -> None:
        """Gives up what is under way and closes the engine."""
        for task in list(self._under_way):
            task.cancel()
        await self.engine.close()
        await self._purse.close()

    async def _take_place(self, patience_s: float) -> Trouble | None:
        """Takes a place, and waits so long for one; or says why there is none."""
        if self._is_left_alone():
            return "breaker_open"
        try:
            async with asyncio.timeout(patience_s):
                await self._places.acquire()
        except TimeoutError:
            return "busy"
        if self._is_left_alone():  # since this one waits
            self._places.release()
            return "breaker_open"
        return None

    def _is_left_alone(self) -> bool:
        # A child's turn never waits for a probe: the canary goes, and the turn goes on without this tier.
        if self.breaker.is_probe_due:
            self.breaker.begin_probe()
            self._begin(self._probe())
        return not self.breaker.is_closed

    async def _call(self, turn: Turn, until: float, sent: "_Sent") -> Verdict | Failure:
        """One call, and a second one where the first failed and may be made again at once."""
        try:
            return await self._call_once(turn, sent)
        except HostFailed as error:
            wait_s = error.retry_after_s or 0.0
            if not self.plan.retries or not error.may_try_again_now or self._clock() + wait_s >= until:
                raise
        await asyncio.sleep(wait_s)
        return await self._call_once(turn, sent)

    async def _call_once(self, turn: Turn, sent: "_Sent") -> Verdict | Failure:
        leave = await self._purse.leave_for(self.engine, turn)
        if leave is None:
            return Failure("spend_cap")
        sent.at = self._clock() if sent.at is None else sent.at
        return await self._purse.pay(leave, self._classify(turn), self._observer)

    async def _classify(self, turn: Turn) -> Verdict:
        [verdict] = await self.engine.classify([turn])
        return verdict

    async def _probe(self) -> None:
        # Not the tier's deadline: the connection is made anew. One that is only ever fast enough for probes is left
        # alone for longer each time (`Breaker`).
        outcome = await self._outcome(self._begin(self._pass_canary()), _PATIENCE_S)
        if isinstance(outcome, Failure):
            self.breaker.probe_failed(_retry_after_s(outcome.error))
        else:
            self.breaker.probe_succeeded()

    async def _pass_canary(self) -> Verdict | Failure:
        leave = await self._purse.leave_for(self.engine, CANARY)
        if leave is None:
            return Failure("spend_cap")
        return await self._purse.pay(leave, check_canary(self.engine), self._observer)

    async def _outcome(self, task: "asyncio.Task[Verdict | Failure]", within_s: float) -> Verdict | Failure:
        """What the task gives in time; nobody waits for a task that is late, not even for its end."""
        try:
            await asyncio.wait({task}, timeout=within_s)
        finally:
            if not task.done():
                task.cancel()
        if not task.done():
            return Failure("deadline")
        if task.cancelled():
            return Failure("failed")
        error = task.exception()
        if error is None:
            return task.result()
        if not isinstance(error, Exception):
            raise error
        if not isinstance(error, ServiceError):
            # A defect of one tier must not cost the answer of another; the log has its place.
            logger.error("unexpected", exc_info=error, extra={"fields": {"tier": self.name}})
        return Failure("failed", error)

    def _begin(self, call: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(call)
        self._under_way.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # of one that was given up, nobody else would look

    def _told_state(self, state: State) -> None:
        self._observer.saw_breaker(self.name, state)
        if state != "half_open":
            event = "a tier is left alone for a while" if state == "open" else "a tier is asked again"
            logger.warning(event, extra={"fields": {"tier": self.name}})


def _places_of(plan: TierPlan, engine: Engine) -> int:
    """More than the engine takes at a time would wait in it, inside their deadline."""
    own = engine.places if isinstance(engine, HasPlaces) else sys.maxsize
    return min(plan.concurrency or own, own)


def _with_wait(verdict: Verdict, seconds: float) -> Verdict:
    queue_ms = verdict.timings.queue_ms + seconds * 1e3
    return verdict.model_copy(update={"timings": verdict.timings.model_copy(update={"queue_ms": queue_ms})})


def _retry_after_s(error: Exception | None) -> float:
    return (error.retry_after_s or 0.0) if isinstance(error, HostFailed) else 0.0

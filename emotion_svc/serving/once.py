"""Each turn once: its verdict is remembered, or comes from a computation under way, or is computed now."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from emotion_svc.schema import Turn, Verdict
from emotion_svc.serving.budget import Budget
from emotion_svc.serving.cache import VerdictCache
from emotion_svc.serving.metrics import Metrics

Compute = Callable[[Sequence[Turn]], Awaitable[list[Verdict]]]


class Once:
    """Answers turns from the cache and shares what is computed at the same time."""

    def __init__(self, cache: VerdictCache, metrics: Metrics) -> None:
        self._cache, self._metrics = cache, metrics
        self._flights: dict[bytes, _Flight] = {}

    async def verdicts(self, turns: dict[bytes, Turn], budget: Budget, compute: Compute) -> dict[bytes, Verdict]:
        """Verdicts by key. `compute` is called once, with those turns that nobody has asked before; not for none.

        A computation goes on as long as anybody waits for it, and is cancelled with its last caller. One that was
        begun for another request is shared where its budget covers this one's (`Budget.covers`). Raises what
        `compute` raises, for all who share it.
        """
        found: dict[bytes, Verdict] = {}
        flights: dict[bytes, _Flight] = {}
        own: dict[bytes, Turn] = {}
        for key, turn in turns.items():
            if (verdict := self._cache.get(key)) is not None:
                found[key] = verdict
            elif (flight := self._flights.get(key)) is not None and flight.budget.covers(budget):
                flights[key] = flight
            else:
                own[key] = turn
        self._metrics.saw_lookups(hit=len(found), shared=len(flights), miss=len(own))
        if own:
            flights |= dict.fromkeys(own, self._start(own, budget, compute))
        waited_for = set(flights.values())
        for flight in waited_for:
            flight.waiting += 1
        try:
            for flight in waited_for:
                await asyncio.shield(flight.task)
        finally:
            for flight in waited_for:
                flight.waiting -= 1
                if not flight.waiting and not flight.task.done():
                    self._forget(flight)  # at once: nobody may join what is being cancelled
                    flight.task.cancel()
        return found | {key: flight.task.result()[key] for key, flight in flights.items()}

    def _start(self, turns: dict[bytes, Turn], budget: Budget, compute: Compute) -> "_Flight":
        flight = _Flight(tuple(turns), budget, asyncio.create_task(self._fly(turns, compute)))
        self._flights |= dict.fromkeys(turns, flight)
        flight.task.add_done_callback(lambda _: self._forget(flight))
        return flight

    async def _fly(self, turns: dict[bytes, Turn], compute: Compute) -> dict[bytes, Verdict]:
        verdicts = dict(zip(turns, await compute(list(turns.values())), strict=True))
        for key, verdict in verdicts.items():
            self._cache.put(key, verdict)
        self._metrics.saw_cache(self._cache.taken_bytes)
        return verdicts

    def _forget(self, flight: "_Flight") -> None:
        for key in flight.keys:
            if self._flights.get(key) is flight:  # and not a later one with another budget
                del self._flights[key]
        if flight.task.done() and not flight.task.cancelled():
            flight.task.exception()  # seen, also where all who would have raised it were cancelled


class _Flight:
    """A computation under way. Compared by identity."""

    def __init__(self, keys: tuple[bytes, ...], budget: Budget, task: "asyncio.Task[dict[bytes, Verdict]]") -> None:
        self.keys, self.budget, self.task = keys, budget, task
        self.waiting = 0

"""Puts calls that come at the same time into one batch, and never waits to fill one."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from emotion_svc.errors import EngineUnavailable
from emotion_svc.schema import Turn, Verdict

Compute = Callable[[Sequence[Turn]], list[Verdict]]


class _Waiting(NamedTuple):
    turns: Sequence[Turn]
    since: float
    result: "asyncio.Future[list[Verdict]]"


class Batcher:
    """Runs `compute` on one thread; what arrives while it is busy goes together into the next batch.

    An idle batcher starts at once, so a single caller never pays for batching. Calls whose caller has gone
    (a cancelled future) are skipped.

    Args:
        compute: turns to verdicts in the same order; called from one thread at a time.
        max_turns: the most turns in one batch; a larger call is a batch of its own.
    """

    def __init__(self, compute: Compute, max_turns: int) -> None:
        self._compute, self._max_turns = compute, max_turns
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedded")
        self._queue: deque[_Waiting] = deque()
        self._runner: asyncio.Task[None] | None = None
        self._closed = False

    async def classify(self, turns: Sequence[Turn]) -> list[Verdict]:
        """Verdicts for the turns, in the same order.

        Raises:
            EngineUnavailable: the batcher is closed.
        """
        if self._closed:
            raise EngineUnavailable("the embedded engine is closed")
        if not turns:
            return []
        waiting = _Waiting(turns, time.perf_counter(), asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        return await waiting.result

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next_batch():
            started = time.perf_counter()
            turns = [turn for call in batch for turn in call.turns]
            try:
                verdicts = await loop.run_in_executor(self._thread, self._compute, turns)
            except Exception as error:  # noqa: BLE001 whatever failed, every caller in the batch must hear of it
                for call in batch:
                    if not call.result.done():
                        call.result.set_exception(error)
                continue
            for call in batch:
                own, verdicts = verdicts[: len(call.turns)], verdicts[len(call.turns) :]
                if not call.result.done():
                    call.result.set_result([_with_queue_time(v, (started - call.since) * 1e3) for v in own])

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._queue and (not batch or size + len(self._queue[0].turns) <= self._max_turns):
            call = self._queue.popleft()
            if not call.result.done():
                batch.append(call)
                size += len(call.turns)
        return batch

    async def close(self) -> None:
        """Answers what is queued, then ends the thread."""
        self._closed = True
        if self._runner is not None:
            await self._runner
        self._thread.shutdown()


def _with_queue_time(verdict: Verdict, queue_ms: float) -> Verdict:
    return verdict.model_copy(update={"timings": verdict.timings.model_copy(update={"queue_ms": queue_ms})})

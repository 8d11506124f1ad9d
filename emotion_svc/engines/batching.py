"""Puts calls that come at the same time into few passes, never waits to fill one, and keeps single turns quick.

Two lines: single turns stand in one, calls of several turns in the other. A pass is short, and takes single turns
first; what room they leave, and at least one place, goes to the long calls, which take turns among each other. So a
single turn waits for a pass or two, whatever batches are worked on, and a batch always gets on.

A single turn that has waited so long that its answer would be late is refused when it could be taken: to compute it
would only make the next ones late, too.

A single turn that comes alone stands in no line: it is computed where it was asked, on the event loop. To hand it to a
thread, which wakes on another core with cold caches, and back takes a third of what the turn itself does.
"""

import asyncio
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from emotion_svc.errors import EngineUnavailable, Overloaded
from emotion_svc.schema import Turn, Verdict

Compute = Callable[[Sequence[Turn]], list[Verdict]]

_AT_ONCE_S: Final = 0.001
"""Who was taken within this time did not wait: however slow the machine is, an idle one answers."""

_LOOKS: Final = 2
"""Rounds of the event loop in which whoever has come meanwhile is read before a turn counts as alone."""

_BRIEF: Final = 500
"""Characters of the longest turn that the event loop computes: some 3 ms, in which it does nothing else."""

_DUE: Final = 0.75
"""The part of its time after which a turn's answer counts as late here: its caller waits for what stands before and
behind this line, too, and what is late is later by half a pass and more."""

_NICE: Final = 10
"""Priority of the threads that compute: each step down is worth a tenth less of a core that is wanted by several."""

_MEMORY_TURNS: Final = 32
"""The time per turn is an average in which a turn loses weight over so many later ones: soon enough to follow a
machine that slows down, and not upset for long by one pass in which it stood still."""


class _Call:
    """One caller's turns. They are taken shortest first: turns of like length share a pass, so little is padded."""

    def __init__(self, turns: Sequence[Turn], within_s: float | None) -> None:
        self.since = time.perf_counter()
        self.until = float("inf") if within_s is None else self.since + within_s
        self.result: asyncio.Future[list[Verdict]] = asyncio.get_running_loop().create_future()
        self._turns = turns
        self._untaken = deque(sorted(range(len(turns)), key=lambda place: _characters(turns[place])))
        self._verdicts: dict[int, Verdict] = {}

    @property
    def untaken(self) -> int:
        """How many turns are in no pass yet."""
        return len(self._untaken)

    def take(self, room: int) -> "_Piece":
        """The next turns, at most `room`."""
        places = [self._untaken.popleft() for _ in range(min(room, self.untaken))]
        return _Piece(self, places, [self._turns[place] for place in places])

    def put(self, places: Sequence[int], verdicts: Sequence[Verdict]) -> None:
        """What came of a piece; after the last one, the call has its result."""
        self._verdicts.update(zip(places, verdicts, strict=True))
        if len(self._verdicts) == len(self._turns) and not self.result.done():
            self.result.set_result([self._verdicts[place] for place in range(len(self._turns))])


class _Piece(NamedTuple):
    """What of a call goes into one pass: `turns`, which have these `places` in the call."""

    call: _Call
    places: list[int]
    turns: list[Turn]


class _Pass(NamedTuple):
    """A pass that runs: since when (`time.perf_counter`), and how many turns are in it."""

    began: float
    turns: int


class Batcher:
    """Runs `compute` on its threads; what arrives while all are busy goes together into the next passes.

    A free thread starts at once, so a single caller never pays for batching. Calls whose caller has gone
    (a cancelled future) are skipped, and of a call that is under way, what is left.

    Args:
        compute: turns to verdicts in the same order; called from `threads` threads at a time.
        max_turns: the most turns in one pass, at least 2.
        threads: the most passes at a time.
    """

    def __init__(self, compute: Compute, max_turns: int, threads: int = 1) -> None:
        self._compute, self._max_turns = compute, max_turns
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="embedded", initializer=_give_way)
        self._max_passes = threads
        self._single: deque[_Call] = deque()
        self._long: deque[_Call] = deque()
        self._pace, self._share = _Pace(), Share()
        self._passes: set[_Pass] = set()
        self._runners: set[asyncio.Task[None]] = set()
        self._arriving = 0
        self._closed = False

    async def classify(self, turns: Sequence[Turn], within_s: float | None = None) -> list[Verdict]:
        """Verdicts for the turns, in the same order.

        Args:
            turns: in any number.
            within_s: when a single turn that had to wait is of use no more, in seconds from now.

        Raises:
            EngineUnavailable: the batcher is closed.
            Overloaded: a single turn has waited so long that it would be answered too late.
        """
        if not turns:
            return []
        is_alone = len(turns) == 1 and _characters(turns[0]) <= _BRIEF and await self._is_alone()
        if self._closed:
            raise EngineUnavailable("the embedded engine is closed")
        if is_alone:
            return self._here(turns, within_s)
        call = _Call(turns, within_s)
        (self._single if len(turns) == 1 else self._long).append(call)
        self._runners = {runner for runner in self._runners if not runner.done()}
        for _ in range(min(self._max_passes - len(self._runners), -(-len(turns) // self._max_turns))):
            self._runners.add(asyncio.create_task(self._run()))
        verdicts = await call.result
        if len(turns) == 1:
            self._saw(time.perf_counter() - call.since, within_s)
        return verdicts

    def _saw(self, took_s: float, within_s: float | None) -> None:
        """A single turn was answered. A time that is shorter than a pass is missed on an idle machine, too."""
        if within_s is not None and within_s > self._pass_s:
            self._share.saw(took_s / within_s)

    async def _is_alone(self) -> bool:
        self._arriving += 1
        try:
            for _ in range(_LOOKS):
                if not self._is_idle:
                    return False
                await asyncio.sleep(0)
            return self._is_idle and self._arriving == 1
        finally:
            self._arriving -= 1

    @property
    def _is_idle(self) -> bool:
        return not (self._passes or self._single or self._long)

    def _here(self, turns: Sequence[Turn], within_s: float | None) -> list[Verdict]:
        started = time.perf_counter()
        verdicts = self._compute(turns)
        took_s = time.perf_counter() - started
        self._pace.saw(len(turns), took_s * 1e3)
        self._saw(took_s, within_s)
        return verdicts

    def expected_ms(self, turns: int) -> float:
        """Within what time a call of so many turns would be answered, all but surely, if it came now.

        From what stands before it, the recent time per turn, and how many answers came late.

        Nothing is expected (0) of an idle batcher: a call gains nothing by coming back later.
        """
        if self._is_idle:
            return 0.0
        if turns == 1:
            before = len(self._single)
            if self._long:  # every pass is full, and leaves one place to the long calls
                before = self._max_turns * -(-(before + 1) // (self._max_turns - 1)) - 1
        else:  # the long calls take turns: one with more left is met as often as this one comes
            before = len(self._single) + sum(min(call.untaken, turns) for call in self._long)
        now, pace = time.perf_counter(), self._pace.ms_per_turn
        running_ms = sum(max(0.0, one.turns * pace - (now - one.began) * 1e3) for one in self._passes)
        return (running_ms + (before + turns) * pace) / self._max_passes / self._share.now

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while pieces := self._next_pass():
            started = time.perf_counter()
            turns = [turn for piece in pieces for turn in piece.turns]
            self._passes.add(running := _Pass(started, len(turns)))
            try:
                verdicts = await loop.run_in_executor(self._threads, self._compute, turns)
            except Exception as error:  # noqa: BLE001 whatever failed, every caller in the pass must hear of it
                for piece in pieces:
                    if not piece.call.result.done():
                        piece.call.result.set_exception(error)
                continue
            finally:
                self._passes.discard(running)
            self._pace.saw(len(turns), (time.perf_counter() - started) * 1e3)
            for call, places, own in pieces:
                done, verdicts = verdicts[: len(own)], verdicts[len(own) :]
                call.put(places, [_with_queue_time(verdict, (started - call.since) * 1e3) for verdict in done])

    def _next_pass(self) -> list[_Piece]:
        self._refuse_late()
        self._single = deque(call for call in self._single if not call.result.done())
        self._long = deque(call for call in self._long if not call.result.done())
        waiting = len(self._single) + sum(call.untaken for call in self._long)
        free = self._max_passes - len(self._passes)
        turns = min(self._max_turns, -(-waiting // free))  # what other free threads may take is left to them
        for_single = max(1, turns - bool(self._long))
        pieces = [self._single.popleft().take(1) for _ in range(min(for_single, len(self._single)))]
        room = turns - len(pieces)
        while self._long and room:
            call = self._long.popleft()
            pieces.append(call.take(room))
            room -= len(pieces[-1].turns)
            if call.untaken:
                self._long.append(call)
        return pieces

    @property
    def _pass_s(self) -> float:
        return self._max_turns * self._pace.ms_per_turn / 1e3

    def _refuse_late(self) -> None:
        now = time.perf_counter()
        for call in self._single:
            has_waited = now - call.since > _AT_ONCE_S
            until = call.since + self._share.now * (call.until - call.since)
            if has_waited and now + self._pass_s > until and not call.result.done():
                waited_ms = (now - call.since) * 1e3
                call.result.set_exception(
                    Overloaded(f"too late after {waited_ms:.0f} ms behind other turns; come back later", where="line")
                )

    async def close(self) -> None:
        """Answers what is queued, then ends the threads."""
        self._closed = True
        await asyncio.gather(*self._runners)
        self._threads.shutdown()


class _Pace:
    """The recent time per turn: an exponentially weighted average over turns, in milliseconds."""

    def __init__(self) -> None:
        self.ms_per_turn = 0.0
        self._ms = self._turns = 0.0
        self._is_warm = False

    def saw(self, turns: int, ms: float) -> None:
        """A pass took so long. The first one is cold, and says nothing about those to come."""
        if self._is_warm:
            kept = (1 - 1 / _MEMORY_TURNS) ** turns
            # Both sums fade alike, so that passes of many turns and of few are weighed by their turns.
            self._ms, self._turns = self._ms * kept + ms, self._turns * kept + turns
            self.ms_per_turn = self._ms / self._turns
        self._is_warm = True


class Share:
    """How much of its time a turn may be expected to need. Times swing, and no estimate knows by how much.

    So it is found by trial, as TCP finds its window: less by a twentieth for a late answer, more by a two-thousandth
    for one in time, so that one in a hundred is late. All of it where none is.
    """

    LEAST: Final = 0.3

    def __init__(self) -> None:
        self.now = 1.0

    def saw(self, part: float) -> None:
        """A turn was answered after this part of its time."""
        self.now = max(self.LEAST, 0.95 * self.now) if part > _DUE else min(1.0, self.now + 0.0005)


def _give_way() -> None:
    """Lets the event loop go before this thread, which else keeps it from reading and answering for milliseconds."""
    if sys.platform == "linux":  # elsewhere a thread has no priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _characters(turn: Turn) -> int:
    return len(turn.previous_question) + len(turn.previous_answer) + len(turn.response)


def _with_queue_time(verdict: Verdict, queue_ms: float) -> Verdict:
    return verdict.model_copy(update={"timings": verdict.timings.model_copy(update={"queue_ms": queue_ms})})

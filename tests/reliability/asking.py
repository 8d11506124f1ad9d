"""Callers that keep a pace and look at every answer: its status, whether it is one of ours, whose it is, how long."""

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from math import ceil
from typing import Final, NamedTuple

import httpx

from emotion_svc.schema import ALL_ANSWERS

WAIT_S: Final = 60
"""Far more than any answer or recovery takes; it only ends what would hang."""


class Reply(NamedTuple):
    """What became of one turn. `tier` and `reason` are empty where there was no verdict."""

    status: int
    is_valid: bool
    tier: str
    reason: str
    seconds: float


class Callers:
    """Ask one service turns that nobody asked before, so that none is answered from what is remembered."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=WAIT_S)
        self._numbers = itertools.count()
        self.replies: list[Reply] = []
        """All of them, in the order in which they came."""
        self.late_s: list[float] = []
        """How much later than it was due each turn was asked: what the machine is busy with shows here first."""

    async def __aenter__(self) -> "Callers":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def ask(self) -> Reply:
        """Asks one turn."""
        turn = {
            "previous_question": "Con mèo tiếng Anh là gì?",
            "previous_answer": "cat",
            "response": f"Chính xác, cat đó! Lần thứ {next(self._numbers)} rồi.",
        }
        began = time.perf_counter()
        answer = await self._client.post("/v1/classify?detail=true", json=turn)
        seconds = time.perf_counter() - began
        verdict = answer.json() if answer.status_code == 200 else {}
        is_valid = json.dumps(verdict.get("answer"), separators=(",", ":")) in ALL_ANSWERS
        reply = Reply(answer.status_code, is_valid, verdict.get("tier", ""), verdict.get("reason", ""), seconds)
        self.replies.append(reply)
        return reply

    async def at_pace(
        self, count: int, per_second: float, midway: Callable[[], Awaitable[None]] | None = None
    ) -> list[Reply]:
        """Asks so many turns at even distances, whatever became of those before; after half of them awaits `midway`."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        asked = []
        for number in range(count):
            await asyncio.sleep(began + number / per_second - loop.time())
            self.late_s.append(max(0.0, loop.time() - began - number / per_second))
            asked.append(asyncio.create_task(self.ask()))
            if midway is not None and number == count // 2:
                await midway()
        return await asyncio.gather(*asked)

    async def until_answered_by(self, tier: str) -> float:
        """Asks one turn after the other until this tier answers; gives the seconds that it took.

        Raises:
            TimeoutError: it did not within `WAIT_S`.
        """
        began = time.perf_counter()
        async with asyncio.timeout(WAIT_S):
            while (await self.ask()).tier != tier:
                pass
        return time.perf_counter() - began


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]

"""A small open-loop load: requests go out when they are due, whatever became of those before.

Answers are timed from when a request was due, not from when it could be sent: what waits in the generator has waited.
"""

import asyncio
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import httpx

_CONNECTIONS = 64
"""Far more than are busy while the service keeps its time; a request that finds none free waits, and is timed."""
_STEP_S = 0.005


class Shot(NamedTuple):
    """What became of one request."""

    status: int
    seconds: float


class _Connection(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Load:
    """Sends turns that were never asked before, so that none is answered from the cache; each has `deadline_ms`."""

    def __init__(self, url: httpx.URL, deadline_ms: int) -> None:
        assert url.port is not None
        self._host, self._port, self.deadline_ms = url.host, url.port, deadline_ms
        self._numbers = itertools.count()
        self._idle: asyncio.LifoQueue[_Connection] = asyncio.LifoQueue()

    async def __aenter__(self) -> "Load":
        for _ in range(_CONNECTIONS):
            self._idle.put_nowait(_Connection(*await asyncio.open_connection(self._host, self._port)))
        return self

    async def __aexit__(self, *_: object) -> None:
        while not self._idle.empty():
            connection = self._idle.get_nowait()
            connection.writer.close()
            await connection.writer.wait_closed()

    async def closed(self, callers: int, seconds: float) -> list[Shot]:
        """So many callers, each of whom asks again as soon as it is answered."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds

        async def call() -> list[Shot]:
            shots = []
            while (due := loop.time()) < until:
                shots.append(await self._shoot(due))
            return shots

        return [shot for shots in await asyncio.gather(*(call() for _ in range(callers))) for shot in shots]

    async def open(self, per_second: float, seconds: float) -> list[Shot]:
        """So many requests a second, at even distances."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        shots = []
        for number in range(int(per_second * seconds)):
            due = began + number / per_second
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            shots.append(asyncio.create_task(self._shoot(due)))
        return await asyncio.gather(*shots)

    async def held_up(self, seconds: float) -> list[float]:
        """How late this loop itself was at each of its steps, in seconds, the least first: no fault of a service."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        late = []
        while (due := loop.time() + _STEP_S) < until:
            await asyncio.sleep(_STEP_S)
            late.append(loop.time() - due)
        return sorted(late)

    async def _shoot(self, due: float) -> Shot:
        connection = await self._idle.get()
        reader, writer = connection
        writer.write(self._request())
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        self._idle.put_nowait(connection)
        return Shot(int(head.split(b" ", 2)[1]), asyncio.get_running_loop().time() - due)

    def _request(self) -> bytes:
        turn = {
            "previous_question": "Con mèo tiếng Anh là gì?",
            "previous_answer": "cat",
            "response": f"Chính xác, lần thứ {next(self._numbers)} rồi đó! Giỏi quá!",
        }
        body = json.dumps(turn, ensure_ascii=False).encode()
        return b"POST /v1/classify HTTP/1.1\r\nhost: x\r\nx-deadline-ms: %d\r\ncontent-length: %d\r\n\r\n%s" % (
            self.deadline_ms,
            len(body),
            body,
        )


def accepted(shots: Sequence[Shot]) -> list[float]:
    """The seconds of those that were answered, the shortest first."""
    return sorted(shot.seconds for shot in shots if shot.status == 200)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The value under which so many percent lie (nearest rank)."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def statuses(shots: Sequence[Shot]) -> dict[int, int]:
    """How many of each."""
    return {status: sum(1 for _ in same) for status, same in _grouped(shots)}


def _grouped(shots: Sequence[Shot]) -> Iterator[tuple[int, Iterator[Shot]]]:
    by_status = sorted(shots, key=lambda shot: shot.status)
    yield from itertools.groupby(by_status, key=lambda shot: shot.status)

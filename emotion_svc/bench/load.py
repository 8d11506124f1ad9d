"""A closed loop of clients: each asks its next turn as soon as it has the answer to its last one."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from pydantic import BaseModel, ConfigDict

from emotion_svc.schema import Turn


class Reply(BaseModel):
    """What came back for one turn. Times in seconds since the turn was sent; None where they cannot be seen.

    `first_token_s` is known where an answer comes token by token, `infer_s` where the answer says how long the model
    took, `took_s` over HTTP: there the latency is without what the client does before and after.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    first_token_s: float | None = None
    tokens: int | None = None
    infer_s: float | None = None
    took_s: float | None = None


class Sample(BaseModel):
    """One answered turn; `place` is its place in the order of turns."""

    model_config = ConfigDict(frozen=True)

    place: int
    latency_s: float
    reply: Reply


class Load(BaseModel):
    """All turns that were answered while the clients ran, and how long they ran."""

    model_config = ConfigDict(frozen=True)

    samples: list[Sample]
    elapsed_s: float


Ask = Callable[[Turn], Awaitable[Reply]]


async def press(asks: Sequence[Ask], turns: Sequence[Turn], *, first: int, seconds: float) -> Load:
    """Runs one client for each of `asks`, side by side.

    The turns are taken in their order, from place `first` on and round the end. No turn is begun after `seconds`; what
    was begun is waited for, and every client answers at least one.
    """
    samples: list[Sample] = []
    places = iter(range(first, first + 2**31))

    async def run(ask: Ask, until: float) -> None:
        while True:
            place = next(places) % len(turns)
            asked = time.perf_counter()
            reply = await ask(turns[place])
            answered = time.perf_counter()
            latency_s = answered - asked if reply.took_s is None else reply.took_s
            samples.append(Sample(place=place, latency_s=latency_s, reply=reply))
            if answered >= until:
                return

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for ask in asks:
            group.create_task(run(ask, started + seconds))
    return Load(samples=samples, elapsed_s=time.perf_counter() - started)

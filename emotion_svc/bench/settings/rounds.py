"""Rounds over configurations side by side: each round goes through all of them, so that a drift hits all alike."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from emotion_svc.bench.http_client import Connection
from emotion_svc.bench.settings.asking import Model, Reply, ask
from emotion_svc.bench.settings.catalog import Anchor
from emotion_svc.bench.settings.figures import Figures, figures_of
from emotion_svc.bench.settings.server import Server
from emotion_svc.errors import EngineUnavailable
from emotion_svc.schema import Turn

_ROUND: Final = 5
"""Turns that one configuration is asked before it is the next one's turn."""


class Turns(NamedTuple):
    """What every configuration is asked: not counted, one at a time, several at a time."""

    warm_up: list[Turn]
    one_by_one: list[Turn]
    load: list[Turn]


class Candidate(NamedTuple):
    """A configuration with the server that has it. `salt` is its own part of that server's prefix cache."""

    anchor: Anchor
    server: Server
    salt: str


class Measured(NamedTuple):
    """Replies in the order of the turns, and what follows from them."""

    replies: list[Reply]
    figures: Figures


async def measure(
    candidates: Sequence[Candidate], model: Model, turns: Turns, clients: int
) -> list[Measured | EngineUnavailable]:
    """All candidates over the same turns: one at a time in rounds, then by several clients.

    One that refuses a request, or ends, is asked no more; in its place stands its error.
    """
    replies: list[list[Reply]] = [[] for _ in candidates]
    speeds = [0.0 for _ in candidates]
    errors: dict[int, EngineUnavailable] = {}

    async def step(place: int, start: int) -> None:
        candidate = candidates[place]
        if start < 0:
            await _ask_all(candidate, model, turns.warm_up, 0)
        elif start < len(turns.one_by_one):
            replies[place] += await _ask_all(candidate, model, turns.one_by_one[start : start + _ROUND], start)
        else:
            speeds[place] = await _throughput(candidate, model, turns.load, clients)

    for start in range(-_ROUND, len(turns.one_by_one) + _ROUND, _ROUND):
        places = range(len(candidates))
        # Every second round goes backwards, so that none always follows the same one.
        for place in reversed(places) if start // _ROUND % 2 else places:
            if place not in errors:
                try:
                    await step(place, start)
                except EngineUnavailable as error:
                    errors[place] = error
    return [
        errors.get(place) or Measured(mine, figures_of(mine, speed))
        for place, (mine, speed) in enumerate(zip(replies, speeds, strict=True))
    ]


async def _ask_all(candidate: Candidate, model: Model, turns: Sequence[Turn], first: int) -> list[Reply]:
    [connection] = await candidate.server.connections(1)
    return [
        await ask(connection, model, turn, candidate.anchor.asking, seed=number, salt=candidate.salt)
        for number, turn in enumerate(turns, first)
    ]


async def _throughput(candidate: Candidate, model: Model, turns: Sequence[Turn], clients: int) -> float:
    """Turns a second, with so many clients that each ask their next turn as soon as they have an answer."""
    waiting = iter(enumerate(turns))

    async def client(connection: Connection) -> None:
        for number, turn in waiting:
            await ask(connection, model, turn, candidate.anchor.asking, seed=number, salt=candidate.salt)

    connections = await candidate.server.connections(clients)
    started = time.perf_counter()
    await asyncio.gather(*map(client, connections))
    return len(turns) / (time.perf_counter() - started)

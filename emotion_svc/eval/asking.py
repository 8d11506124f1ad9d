"""Asks an engine one gold turn at a time, so that one that its host does not answer costs no other."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tqdm.asyncio import tqdm

from emotion_svc.engines.base import Engine
from emotion_svc.errors import HostFailed
from emotion_svc.schema import Turn, Verdict

_PAUSES_S: Final = (1.0, 4.0, 16.0)
"""Before each further attempt, where the host names no time."""
_LONGEST_PAUSE_S: Final = 60.0
_AT_ONCE: Final = 32
"""Turns under way: as many as the remote engine has calls."""

Sleep = Callable[[float], Awaitable[None]]


async def ask_each(engine: Engine, turns: Sequence[Turn], sleep: Sleep = asyncio.sleep) -> list[Verdict | HostFailed]:
    """What the engine says of each turn, in their order, or how its host failed in the end.

    Whoever fails in a way that may pass is asked again up to three times, after the time that its host names.

    Raises:
        ServiceError: the engine failed otherwise; nothing of it is kept.
    """
    places = asyncio.Semaphore(_AT_ONCE)

    async def ask(turn: Turn) -> Verdict | HostFailed:
        async with places:
            for pause_s in (*_PAUSES_S, None):
                try:
                    [verdict] = await engine.classify([turn])
                except HostFailed as error:
                    if pause_s is None or not error.may_try_again_now:
                        return error
                    named_s = error.retry_after_s
                else:
                    return verdict
                await sleep(pause_s if named_s is None else min(named_s, _LONGEST_PAUSE_S))
        raise AssertionError("the last attempt returns")

    # disable=None: no bar where stderr is no terminal.
    return list(await tqdm.gather(*map(ask, turns), unit=" turns", disable=None))

"""The safety net's call for one turn: it begins by itself in time, or at once when it is wanted."""

import asyncio

from emotion_svc.errors import Overloaded, ServiceError
from emotion_svc.routing.tier import Failure, Tier
from emotion_svc.schema import Turn, Verdict


class Hedge:
    """One call to the safety net, that may turn out not to be needed.

    Args:
        tier: the safety net.
        turn: the turn.
        within_s: when an answer that had to wait in the net's line is of use no more; None for never.
    """

    def __init__(self, tier: Tier, turn: Turn, within_s: float | None = None) -> None:
        self.tier, self._turn, self._within_s = tier, turn, within_s
        self._timer: asyncio.TimerHandle | None = None
        self._call: asyncio.Task[list[Verdict]] | None = None

    def begin_after(self, seconds: float) -> None:
        """Begins after so many seconds; at once where there are none left."""
        if seconds > 0:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._begin)
        else:
            self._begin()

    async def outcome(self) -> Verdict | Failure:
        """The verdict, however long it takes; begins now if it has not. Raises defects and `Overloaded` alone."""
        if self._call is None:
            self._begin()
        assert self._call is not None
        try:
            [verdict] = await self._call
        except Overloaded:
            raise
        except ServiceError as error:
            return Failure("failed", error)
        return verdict

    def drop(self) -> None:
        """Gives up what is not needed any more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._call is not None and not self._call.done():
            self._call.cancel()

    def _begin(self) -> None:
        if self._call is None:
            self._call = asyncio.create_task(self.tier.answer([self._turn], self._within_s))
            self._call.add_done_callback(_look_at)


def _look_at(call: asyncio.Task[list[Verdict]]) -> None:
    """Of a call that fails when it is not needed any more, nobody else would look at the error."""
    if not call.cancelled():
        call.exception()

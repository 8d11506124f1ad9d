"""What a tier's calls cost: reserved before, settled after, told to whoever counts."""

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from datetime import date
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from emotion_svc.engines.presets import Price
from emotion_svc.errors import AnswerRefused, HostBusy, HostRefuses, HostUnreachable
from emotion_svc.routing.observer import Observer
from emotion_svc.routing.spend import Reservation, Spend, SpendError
from emotion_svc.schema import TokenUsage, Turn, Verdict

logger = logging.getLogger(__name__)

_PROMPT_TOKENS: Final = 4096
"""More than our instructions and the schema of an answer have, in any tokenizer."""
_ANSWER_TOKENS: Final = 1024
"""More than any preset lets a host say, reasoning included."""


_NOTHING: Final = TokenUsage(prompt_tokens=0, completion_tokens=0)


@runtime_checkable
class BoundsUsage(Protocol):
    """An engine that can say the most that a turn may be billed with."""

    def most_tokens(self, turn: Turn) -> TokenUsage:
        """No call for this turn is billed with more."""


class Leave(NamedTuple):
    """Leave to make one call. `reservation` is None where calls are free."""

    reservation: Reservation | None


class Purse:
    """One tier's access to the day's spend.

    The file may be slow, and its lock held by another process. A verdict never waits for the books: what a call did
    cost is settled after it, and a reservation whose caller has gone is given back, both in tasks of their own.

    Args:
        tier: the tier's name.
        price: None where its calls are free.
        spend: what all tiers have spent, and the cap; without it paid calls are counted, and nothing caps them.
    """

    def __init__(self, tier: str, price: Price | None, spend: Spend | None) -> None:
        self._tier, self._price, self._spend = tier, price, spend
        self.is_shut = False
        """Whether the last call that asked for leave did not get it."""
        self._told_on: date | None = None
        self._file_fails = False
        self._under_way: set[asyncio.Task[Any]] = set()
        self._given_up = 0

    @property
    def is_uncapped(self) -> bool:
        """Whether calls have a price, and nothing caps what they cost."""
        return self._price is not None and self._spend is None

    def report_to(self, observer: Observer) -> None:
        """Lets `observer` watch the day's spend, if calls cost anything."""
        if (spend := self._spend) is not None:
            observer.watch_spend(lambda: spend.today().usd, spend.cap_usd)

    async def leave_for(self, engine: object, turn: Turn) -> Leave | None:
        """Leave to make one call; None where the day's spend could go beyond the cap, or is not known (in time)."""
        if self._price is None or self._spend is None:
            return Leave(None)
        leave = await self._reserve(self._price, self._spend, engine, turn)
        self.is_shut = leave is None
        return leave

    async def _reserve(self, price: Price, spend: Spend, engine: object, turn: Turn) -> Leave | None:
        if self._given_up:  # one that nobody waits for any more still waits for the file: so would this one
            return None
        most_usd = price.usd(_most_tokens(engine, turn))
        reserving = self._begin(asyncio.to_thread(spend.reserve, self._tier, most_usd))
        try:
            reservation = await asyncio.shield(reserving)  # no thread can be called back
        except asyncio.CancelledError:
            self._given_up += 1
            self._begin(self._give_back(spend, reserving))
            raise
        except SpendError:
            self._tell_that_the_file_fails()
            return None
        if self._file_fails:
            self._file_fails = False
            logger.warning("the spend file works again", extra={"fields": {"tier": self._tier}})
        if reservation is None:
            self._tell_that_the_cap_is_reached(spend)
            return None
        return Leave(reservation)

    async def pay(self, leave: Leave, call: Awaitable[Verdict], observer: Observer) -> Verdict:
        """Awaits the call; what it did cost is settled after. Raises what the call raises."""
        usage: TokenUsage | None = None
        try:
            verdict = await call
        except (HostBusy, HostRefuses):  # turned away at the door
            usage = _NOTHING
            raise
        except HostUnreachable as error:
            usage = None if error.was_sent else _NOTHING
            raise
        except AnswerRefused as error:  # no use to us, but billed
            if error.prompt_tokens or error.completion_tokens:
                usage = TokenUsage(prompt_tokens=error.prompt_tokens, completion_tokens=error.completion_tokens)
            raise
        else:
            usage = verdict.usage
            return verdict
        finally:
            self._book(leave.reservation, usage, observer)

    def count(self, verdict: Verdict, observer: Observer) -> None:
        """Tells what an answer cost for which nobody asked for leave: that of an engine alone, which nothing caps."""
        self._book(None, verdict.usage, observer)

    async def close(self) -> None:
        """Brings the books to their end."""
        while self._under_way:
            await asyncio.gather(*self._under_way, return_exceptions=True)

    def _book(self, reservation: Reservation | None, usage: TokenUsage | None, observer: Observer) -> None:
        if reservation is None or self._price is None or self._spend is None:
            if usage is not None:
                observer.saw_usage(self._tier, usage, 0.0 if self._price is None else self._price.usd(usage))
            return
        if usage is None:  # cut off, or not counted: it may be billed, so the reservation stays
            observer.saw_usage(self._tier, None, reservation.usd)
            return
        usd = self._price.usd(usage)
        observer.saw_usage(self._tier, usage, usd)
        self._begin(self._settle(self._spend, reservation, usage, usd))

    async def _give_back(self, spend: Spend, reserving: "asyncio.Task[Reservation | None]") -> None:
        try:
            reservation = await reserving
        except SpendError:  # nothing was reserved
            self._tell_that_the_file_fails()
            return
        finally:
            self._given_up -= 1
        if reservation is not None:
            await self._settle(spend, reservation, _NOTHING, 0.0)

    async def _settle(self, spend: Spend, reservation: Reservation, usage: TokenUsage, usd: float) -> None:
        try:
            await asyncio.to_thread(spend.settle, reservation, usage, usd)
        except SpendError:
            logger.exception("the spend file fails; a call was not settled", extra={"fields": {"tier": self._tier}})

    def _begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    def _tell_that_the_file_fails(self) -> None:
        if self._file_fails:  # it is told once, and again when it works: calls may come by the hundred
            return
        self._file_fails = True
        logger.exception("the spend file fails; a paid tier is not asked", extra={"fields": {"tier": self._tier}})

    def _tell_that_the_cap_is_reached(self, spend: Spend) -> None:
        day = spend.day()
        if self._told_on != day:
            self._told_on = day
            logger.warning(
                "the day's spend cap is reached; the tier is closed until midnight UTC",
                extra={"fields": {"tier": self._tier, "cap_usd": spend.cap_usd}},
            )


def _most_tokens(engine: object, turn: Turn) -> TokenUsage:
    if isinstance(engine, BoundsUsage):
        return engine.most_tokens(turn)
    # No tokenizer makes more tokens than there are bytes.
    fields = sum(len(text.encode()) for text in (turn.previous_question, turn.previous_answer, turn.response))
    return TokenUsage(prompt_tokens=_PROMPT_TOKENS + fields, completion_tokens=_ANSWER_TOKENS)

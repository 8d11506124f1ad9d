"""What the tiers tell to whoever counts: metrics implement it, so that routing knows no metrics library."""

from collections.abc import Callable
from typing import Literal, Protocol

from emotion_svc.routing.breaker import State
from emotion_svc.schema import Reason, TokenUsage

Trouble = Literal["deadline", "failed", "breaker_open", "busy", "spend_cap"]
"""Why a tier gave no answer: its time was over, it failed, or it was not asked at all."""

Outcome = Literal["answered", "not_needed"] | Trouble
"""How asking a tier ended. `not_needed`: another one answered first, or the caller has gone."""


class Observer(Protocol):
    """Is told what happens, at once and on the event loop: it must not wait."""

    def saw_answer(self, tier: str, reason: Reason) -> None:
        """A turn's answer went out."""

    def saw_call(self, tier: str, outcome: Outcome, seconds: float, turns: int = 1) -> None:
        """A tier was asked for one turn or a batch of them, which took so long together; or would have been."""

    def saw_breaker(self, tier: str, state: State) -> None:
        """A breaker moved."""

    def saw_usage(self, tier: str, usage: TokenUsage | None, usd: float) -> None:
        """A call ended. `usage` is None where the host did not count: then `usd` is the most it can have cost."""

    def watch_spend(self, today_usd: Callable[[], float], cap_usd: float) -> None:
        """Where to ask what all tiers and all workers have spent and reserved since midnight UTC, and the day's cap.

        Asking reads a small file; `spend.SpendError` or OSError where it cannot be read.
        """


class Unobserved:
    """Nobody counts."""

    def saw_answer(self, tier: str, reason: Reason) -> None:
        """Forgets it."""

    def saw_call(self, tier: str, outcome: Outcome, seconds: float, turns: int = 1) -> None:
        """Forgets it."""

    def saw_breaker(self, tier: str, state: State) -> None:
        """Forgets it."""

    def saw_usage(self, tier: str, usage: TokenUsage | None, usd: float) -> None:
        """Forgets it."""

    def watch_spend(self, today_usd: Callable[[], float], cap_usd: float) -> None:
        """Never asks."""

"""How long a request may take: `deadline_ms` of settings or tiers file, lowered by the header `X-Deadline-Ms`."""

import re
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from fastapi import Request

from emotion_svc.errors import InvalidTurn
from emotion_svc.serving.openai_errors import Refused, is_openai

TURNS_PER_DEADLINE: Final = 8
"""A batch has one deadline's time for so many turns or a part of them: two passes of the embedded engine, which
does more than that in 50 ms while it does nothing else."""

_TO_SEND_MS, _TO_SEND_SHARE = 2.0, 0.04
"""What it takes to send an answer once it is known, and the most of a request's time that is kept back for it."""

_HEADER: Final = "X-Deadline-Ms"
_MILLISECONDS: Final = re.compile(r"[1-9][0-9]{0,8}")

DEADLINE_PARAMETER: Final[dict[str, Any]] = {
    "name": _HEADER,
    "in": "header",
    "schema": {"type": "integer", "minimum": 1},
    "description": "How long the answer may take, in whole milliseconds from when the request has been read. It lowers "
    "what the service allows, and never raises it.",
}
"""For the OpenAPI document. FastAPI is not told: for a header of its own it documents a status that is never sent."""


def asked_deadline_ms(request: Request) -> int | None:
    """What the header asks for, or None without one.

    Raises:
        InvalidTurn, Refused: it is no whole number above 0; which of them depends on the wire.
    """
    sent = request.headers.get(_HEADER)
    if sent is None:
        return None
    if not _MILLISECONDS.fullmatch(sent):
        kind = Refused if is_openai(request.scope) else InvalidTurn
        raise kind(
            f"{_HEADER}: expected a whole number of milliseconds, at least 1 and of at most 9 digits, found "
            f"{len(sent)} characters that are none"
        )
    return int(sent)


class Budget(NamedTuple):
    """The time that one request has.

    Args:
        per_turn_ms: what a single turn would have; which answer is good enough to be waited for hangs on it.
        total_ms: what the request has: more for a batch.
        ends_at: when it ends, on the clock.
        clock: in seconds.
    """

    per_turn_ms: float
    total_ms: float
    ends_at: float
    clock: Callable[[], float]

    @classmethod
    def of(
        cls, deadline_ms: float, asked_ms: int | None, turns: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> "Budget":
        """The time from now for so many turns, where `asked_ms` may lower what `deadline_ms` allows."""
        total_ms = deadline_ms * max(1, -(-turns // TURNS_PER_DEADLINE))
        per_turn_ms = deadline_ms
        if asked_ms is not None:
            total_ms, per_turn_ms = min(total_ms, asked_ms), min(per_turn_ms, asked_ms)
        return cls(per_turn_ms, total_ms, clock() + total_ms / 1e3, clock)

    @property
    def left_ms(self) -> float:
        """What is left of it, at least 0."""
        return max(0.0, (self.ends_at - self.clock()) * 1e3)

    @property
    def to_answer_ms(self) -> float:
        """What is left for engines to answer in, so that the answer is sent before the end."""
        return max(0.0, self.left_ms - min(_TO_SEND_MS, _TO_SEND_SHARE * self.total_ms))

    def covers(self, other: "Budget") -> bool:
        """Whether a computation in this budget serves a request with the other: as thorough, and there in time."""
        return self.per_turn_ms >= other.per_turn_ms and self.ends_at <= other.ends_at

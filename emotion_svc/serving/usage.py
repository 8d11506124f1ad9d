"""How many tokens a request is said to have cost, which OpenAI's clients count.

Counted are the turn's three fields, which are all that the model reads of a request, and the answer. Where the
engine cannot say how many tokens they are, a token stands for four bytes of UTF-8, rounded up.
"""

from typing import NamedTuple, Protocol, runtime_checkable

from emotion_svc.engines.base import Engine
from emotion_svc.routing.router import Router
from emotion_svc.schema import Answer, Turn
from emotion_svc.serving.intake import FIELDS

_BYTES_PER_TOKEN = 4


@runtime_checkable
class CountsTokens(Protocol):
    """An engine that can say how many tokens of its model a turn and an answer are."""

    def count_tokens(self, turn: Turn, answer: Answer) -> tuple[int, int]:
        """Tokens of the turn as the model reads it, without the system prompt, and of the answer."""


class Usage(NamedTuple):
    """Tokens that were read, and tokens of the answer."""

    read: int
    answered: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.read + self.answered


def usage_of(engine: Engine, turn: Turn, answer: Answer) -> Usage:
    """The tokens of a turn and its answer; of several tiers, as the first one counts."""
    counting = engine.head if isinstance(engine, Router) else engine
    if isinstance(counting, CountsTokens):
        return Usage(*counting.count_tokens(turn, answer))
    return Usage(sum(_estimate(getattr(turn, field)) for field in FIELDS), _estimate(answer.model_dump_json()))


def _estimate(text: str) -> int:
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)

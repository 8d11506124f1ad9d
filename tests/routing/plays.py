"""Engines that answer, fail, hang or are slow as they are told, and what is asked of them."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.errors import AnswerRefused, HostBroken, HostBusy, HostRefuses, HostUnreachable, TurnRefused
from emotion_svc.routing.breaker import State
from emotion_svc.routing.observer import Outcome
from emotion_svc.schema import Reason, TokenUsage, Turn, Verdict

TURN = Turn(previous_question="Con mèo tiếng Anh là gì?", previous_answer="cat", response="Chính xác, cat đó!")
CHINESE = TURN.model_copy(update={"response": "对，就是猫!"})

FAILURES = {
    "unreachable": HostUnreachable("broke off"),
    "never reached": HostUnreachable("no connection", was_sent=False),
    "busy": HostBusy("429"),
    "broken": HostBroken("500"),
    "refuses": HostRefuses("401"),
    "turn refused": TurnRefused("413", 60.0),
    "garbage": AnswerRefused("no answer of ours", prompt_tokens=100, completion_tokens=9),
    "defect": RuntimeError("a defect"),
}


class Play(NamedTuple):
    """What an engine does with one call: after `seconds`, it answers, or raises."""

    seconds: float = 0.0
    error: Exception | None = None
    confidence: float = 0.9
    usage: TokenUsage | None = None
    minds_cancel: bool = True


FOREVER = 1e6
OK = Play()
HANGS = Play(FOREVER)
FAILS = Play(error=FAILURES["broken"])


class PlayingEngine(ScriptedEngine):
    """Plays its plays one after the other, and the last one again and again. The canary is answered at once."""

    def __init__(self, *plays: Play, name: str = "playing", canary: Iterable[Play] = ()) -> None:
        super().__init__()
        self.name = name
        self.calls: list[float] = []
        """When each call came, canaries not counted."""
        self.billed: list[TokenUsage] = []
        """What a host would bill, for calls that it was left alone with, too."""
        self._plays, self._canary = _and_again(plays or (OK,)), _and_again((*canary, OK))

    async def classify(self, turns: Sequence[Turn]) -> list[Verdict]:
        if not turns:
            return []
        is_canary = turns[0].previous_question == "What color is the sky?"
        play = next(self._canary if is_canary else self._plays)
        if play.usage is not None and not _is_free(play.error):
            self.billed.append(play.usage)
        if not is_canary:
            self.calls.append(asyncio.get_running_loop().time())
        await _pass(play)
        if play.error is not None:
            raise play.error
        verdicts = await super().classify(turns)
        sure = {"family_confidence": play.confidence, "usage": play.usage, "engine": self.name}
        return [verdict.model_copy(update=sure) for verdict in verdicts]


def _is_free(error: Exception | None) -> bool:
    return isinstance(error, HostBusy | HostRefuses) or (isinstance(error, HostUnreachable) and not error.was_sent)


async def _pass(play: Play) -> None:
    until = asyncio.get_running_loop().time() + play.seconds
    while (left := until - asyncio.get_running_loop().time()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            if play.minds_cancel:
                raise


def _and_again(plays: Sequence[Play]) -> Iterator[Play]:
    yield from plays
    while True:
        yield plays[-1]


class Seen:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, Reason]] = []
        self.calls: list[tuple[str, Outcome]] = []
        """One for each turn."""
        self.timed: list[tuple[str, Outcome]] = []
        """One for each time that was told: a batch has one."""
        self.states: list[tuple[str, State]] = []
        self.usd: list[float] = []

    def saw_answer(self, tier: str, reason: Reason) -> None:
        self.answers.append((tier, reason))

    def saw_call(self, tier: str, outcome: Outcome, seconds: float, turns: int = 1) -> None:
        self.calls += [(tier, outcome)] * turns
        self.timed.append((tier, outcome))

    def saw_breaker(self, tier: str, state: State) -> None:
        self.states.append((tier, state))

    def saw_usage(self, tier: str, usage: TokenUsage | None, usd: float) -> None:
        self.usd.append(usd)

    def watch_spend(self, today_usd: Callable[[], float], cap_usd: float) -> None:
        self.today_usd, self.cap_usd = today_usd, cap_usd

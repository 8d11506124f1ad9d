"""An engine that answers from a table: for tests of everything that stands before an engine."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from emotion_svc.decoding.choice import make_verdict
from emotion_svc.decoding.posterior import Posteriors
from emotion_svc.errors import EngineUnavailable
from emotion_svc.schema import Answer, Turn, Verdict
from emotion_svc.taxonomy import LABELS

DEFAULT: Final = Answer(emotion="happy", learn_score=False)


class ScriptedEngine:
    """Answers each response with what `table` says, else with `DEFAULT`.

    Args:
        table: from response text to answer, or to the exception to raise.
        delay_s: how long each call takes.
        confidence: the probability that the answer's label and value get.
    """

    name = "scripted"
    model_name = "scripted"
    model_digest = "0" * 16

    def __init__(
        self,
        table: Mapping[str, Answer | Exception] | None = None,
        *,
        delay_s: float = 0.0,
        confidence: float = 0.9,
    ) -> None:
        self._table, self._delay_s, self._confidence = dict(table or {}), delay_s, confidence
        self._running = False
        self.seen: list[Turn] = []

    async def start(self) -> None:
        """Becomes ready."""
        self._running = True

    async def close(self) -> None:
        """Stops answering."""
        self._running = False

    async def classify(self, turns: Sequence[Turn]) -> list[Verdict]:
        """The table's answers, in order."""
        if not self._running:
            raise EngineUnavailable("the scripted engine is not started; call start() first")
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        self.seen += turns
        return [self._verdict(turn) for turn in turns]

    def _verdict(self, turn: Turn) -> Verdict:
        answer = self._table.get(turn.response, DEFAULT)
        if isinstance(answer, Exception):
            raise answer
        emotion = np.full(len(LABELS), (1 - self._confidence) / (len(LABELS) - 1))
        emotion[LABELS.index(answer.emotion)] = self._confidence
        value = self._confidence if answer.learn_score else 1 - self._confidence
        return make_verdict(
            answer.emotion, Posteriors(emotion, value), engine=self.name, model_digest=self.model_digest
        )

"""Further models for the tests: engines that load when they are let, a clock, and a models file."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.routing.router import Router
from emotion_svc.schema import Answer, Turn, Verdict
from emotion_svc.serving.budget import Budget
from emotion_svc.serving.registry import Registry

IDLE_S = 100.0
TURN = {"previous_question": "Con mèo?", "previous_answer": "cat", "response": "Chính xác!"}
LINES = "Previous Question: Con mèo?\nPrevious Answer: cat\nResponse to check: Chính xác!"
MESSAGES: Any = [{"role": "user", "content": LINES}]
ALIAS = "HuggingFaceTB/SmolLM2-135M-Instruct"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Loading(ScriptedEngine):
    """Its start ends when it is let, or as the error that it is given."""

    model_name = "big-one"
    model_digest = "1" * 16

    def __init__(self, error: Exception | None = None, *, let: bool = True) -> None:
        super().__init__({"Chính xác!": Answer(emotion="proud", learn_score=False)})
        self._error, self.let, self.is_closed = error, asyncio.Event(), False
        if let:
            self.let.set()

    async def start(self) -> None:
        await self.let.wait()
        if self._error is not None:
            raise self._error
        await super().start()

    async def close(self) -> None:
        self.is_closed = True
        await super().close()


class OffGrammar(Loading):
    async def classify(self, turns: Sequence[Turn]) -> list[Verdict]:
        return [
            verdict.model_copy(update={"emotion_posterior": dict.fromkeys(verdict.emotion_posterior, 0.0)})
            for verdict in await super().classify(turns)
        ]


class Made:
    """Makes engines in the order given, and keeps them."""

    def __init__(self, *engines: Loading) -> None:
        self.engines, self.count = engines, 0

    def __call__(self) -> Router:
        self.count += 1
        return Router.around(self.engines[self.count - 1])


async def name_of_user(registry: Registry, name: str | None, budget: Budget) -> str:
    async with registry.use(name, budget) as used:
        return used.name


PLENTY = Budget.of(60_000, None, clock=lambda: 0.0)  # it never ends


FILE = """
[[models]]
name = "again"
model = "{model}"
aliases = ["someone/again"]

[[models]]
name = "broken"
model = "/nowhere"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "models.toml"
    path.write_text(text, encoding="utf-8")
    return path

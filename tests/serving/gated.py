"""An engine that answers when the test lets it."""

import asyncio
from collections.abc import Sequence

from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.schema import Turn, Verdict


class Gated(ScriptedEngine):
    """Answers the canary at once, and everything else when it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.opened = asyncio.Semaphore(0), asyncio.Event()

    async def classify(self, turns: Sequence[Turn]) -> list[Verdict]:
        if self.seen:
            self.entered.release()
            await self.opened.wait()
        return await super().classify(turns)

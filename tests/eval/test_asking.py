"""Gold turns are asked one by one: who fails is asked again where that may help, and costs no other its answer."""

import pytest

from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.errors import EngineUnavailable, HostBusy, HostFailed, TurnRefused
from emotion_svc.eval.asking import ask_each
from emotion_svc.schema import Turn, Verdict


class Failing(ScriptedEngine):
    """Fails so many times for each turn, before it answers."""

    def __init__(self, times: int, error: Exception) -> None:
        super().__init__()
        self._times, self._error, self.asked = times, error, 0

    async def classify(self, turns: list[Turn]) -> list[Verdict]:  # type: ignore[override]
        self.asked += 1
        if self.asked <= self._times:
            raise self._error
        return await super().classify(turns)


TURN = Turn(previous_question="", previous_answer="", response="vui ghê")


async def asked(engine: ScriptedEngine) -> tuple[list[Verdict | HostFailed], list[float]]:
    paused: list[float] = []

    async def sleep(seconds: float) -> None:
        paused.append(seconds)

    await engine.start()
    return await ask_each(engine, [TURN], sleep), paused


async def test_who_is_busy_is_asked_again_after_growing_pauses() -> None:
    [verdict], paused = await asked(Failing(3, HostBusy("busy")))
    assert isinstance(verdict, Verdict)
    assert paused == [1, 4, 16]


async def test_or_after_the_time_that_it_names() -> None:
    [verdict], paused = await asked(Failing(1, HostBusy("busy", 7)))
    assert isinstance(verdict, Verdict)
    assert paused == [7]
    _, paused = await asked(Failing(1, HostBusy("busy", 86_400)))
    assert paused == [60]


async def test_who_fails_four_times_has_failed() -> None:
    engine = Failing(9, HostBusy("busy"))
    [failure], _ = await asked(engine)
    assert isinstance(failure, HostBusy)
    assert engine.asked == 4


async def test_who_will_not_take_the_turn_is_not_asked_again() -> None:
    engine = Failing(9, TurnRefused("not this one"))
    [failure], paused = await asked(engine)
    assert isinstance(failure, TurnRefused)
    assert (engine.asked, paused) == (1, [])


async def test_an_engine_that_is_out_of_order_ends_it() -> None:
    with pytest.raises(EngineUnavailable, match="dead"):
        await asked(Failing(9, EngineUnavailable("dead")))

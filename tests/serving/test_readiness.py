"""An engine that fails for good takes the process out of service; one that answers again brings it back."""

import asyncio
from collections.abc import Callable, Iterator, Sequence

import httpx
import pytest

from emotion_svc.engines.factory import running
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.errors import DeadlineExceeded, EngineUnavailable, Overloaded
from emotion_svc.routing.router import Router
from emotion_svc.schema import Turn, Verdict
from emotion_svc.serving.metrics import Metrics
from emotion_svc.serving.readiness import Readiness
from tests.routing.plays import FAILS, OK, PlayingEngine
from tests.routing.routers import POLICY, tier
from tests.routing.virtual import now, run
from tests.serving.test_operations import metric

TURN = {"previous_question": "", "previous_answer": "", "response": "Xin chào!"}
DEAD = EngineUnavailable("vLLM failed (EngineDeadError)")
ENOUGH = 5


class Mortal(ScriptedEngine):
    """Answers nothing while it is dead, the canary neither."""

    is_dead = False

    async def classify(self, turns: Sequence[Turn]) -> list[Verdict]:
        if self.is_dead:
            raise DEAD
        return await super().classify(turns)


class Canary:
    """Answered or not as the list says, and in the end by the last of it; remembers when it was asked."""

    def __init__(self, *answered: bool) -> None:
        self._answered, self.asked_at = list(answered), list[float]()

    async def __call__(self) -> bool:
        self.asked_at.append(now())
        return self._answered.pop(0) if len(self._answered) > 1 else self._answered[0]


def told_to_be_ready(client: httpx.Client) -> Iterator[bool]:
    """What /readyz says, as often as it is asked."""
    for _ in range(5000):
        yield client.get("/readyz").status_code == 200
    pytest.fail("it never changes")


def fail(readiness: Readiness, error: Exception = DEAD, times: int = ENOUGH) -> None:
    for _ in range(times):
        with pytest.raises(type(error)), readiness.watching():
            raise error


def is_ready(readiness: Readiness) -> bool:
    try:
        readiness.check()
    except EngineUnavailable:
        return False
    return True


def test_an_engine_that_has_died_takes_the_process_out_of_service_until_it_answers(
    serve: Callable[..., httpx.Client],
) -> None:
    engine = Mortal()
    client = serve(engine, cache_bytes=0)
    engine.is_dead = True
    for _ in range(ENOUGH):
        assert client.get("/readyz").status_code == 200
        assert client.post("/v1/classify", json=TURN).status_code == 503
    assert False in told_to_be_ready(client)
    assert client.get("/readyz").json()["error"]["kind"] == "engine_unavailable"
    assert client.get("/healthz").status_code == 200
    assert metric(client.get("/metrics").text, "emotion_svc_ready") == 0
    engine.is_dead = False
    assert client.post("/v1/classify", json=TURN).status_code == 200
    assert client.get("/readyz").status_code == 200
    assert metric(client.get("/metrics").text, "emotion_svc_ready") == 1


def test_without_any_request_a_canary_brings_it_back(serve: Callable[..., httpx.Client]) -> None:
    engine = Mortal()
    client = serve(engine)
    engine.is_dead = True
    for _ in range(ENOUGH):
        client.post("/v1/classify", json=TURN)
    assert False in told_to_be_ready(client)
    engine.is_dead = False
    assert True in told_to_be_ready(client)


def test_turns_that_fail_by_themselves_are_no_reason_as_the_canary_shows() -> None:
    async def main() -> None:
        canary = Canary(True)
        readiness = Readiness(canary, Metrics())
        readiness.begin()
        for asked in range(3):
            fail(readiness)
            await asyncio.sleep(1)
            assert len(canary.asked_at) == asked + 1
            assert is_ready(readiness)

    run(main())


@pytest.mark.parametrize("error", [DEAD, RuntimeError("a defect")])
def test_failures_count_in_a_row(error: Exception) -> None:
    async def main() -> None:
        canary = Canary(False)
        readiness = Readiness(canary, Metrics())
        readiness.begin()
        fail(readiness, error, ENOUGH - 1)
        with readiness.watching():
            pass
        fail(readiness, error, ENOUGH - 1)
        await asyncio.sleep(1)
        assert canary.asked_at == []
        fail(readiness, error, 1)
        await asyncio.sleep(1)
        assert canary.asked_at
        assert not is_ready(readiness)
        readiness.end()

    run(main())


@pytest.mark.parametrize("error", [Overloaded("full"), DeadlineExceeded("late"), asyncio.CancelledError()])
def test_what_says_nothing_about_the_engine_does_not_count(error: BaseException) -> None:
    async def main() -> None:
        readiness = Readiness(Canary(False), Metrics())
        readiness.begin()
        for _ in range(10 * ENOUGH):
            with pytest.raises(type(error)), readiness.watching():
                raise error
        await asyncio.sleep(1)
        assert is_ready(readiness)

    run(main())


def test_the_canary_is_asked_again_after_pauses_that_grow_to_ten_seconds() -> None:
    async def main() -> None:
        canary = Canary(*[False] * 7, True)
        readiness = Readiness(canary, Metrics())
        readiness.begin()
        fail(readiness)
        await asyncio.sleep(40)
        assert not is_ready(readiness)
        await asyncio.sleep(10)
        assert is_ready(readiness)
        assert canary.asked_at == [0, 1, 3, 7, 15, 25, 35, 45]

    run(main())


def test_an_engine_that_answers_while_the_process_stops_does_not_make_it_ready() -> None:
    async def main() -> None:
        metrics = Metrics()
        readiness = Readiness(Canary(False), metrics)
        readiness.begin()
        fail(readiness)
        await asyncio.sleep(1)
        readiness.end()
        with readiness.watching():
            pass
        fail(readiness)
        assert metric(metrics.render().decode(), "emotion_svc_ready") == 0
        await asyncio.sleep(1)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_one_tier_that_answers_the_canary_is_enough_and_one_that_is_left_alone_is_probed_when_that_is_due() -> None:
    async def main() -> None:
        hosts = [tier("one", FAILS, canary=[OK, FAILS]), tier("two", FAILS, canary=[OK, FAILS, OK])]
        async with running(Router(hosts, None, clock=now)) as router:
            for _ in range(POLICY.failures):
                with pytest.raises(EngineUnavailable):
                    await router.classify([Turn(**TURN)])
            assert not await router.answers_canary()  # their breakers are open
            await asyncio.sleep(POLICY.pause_s)
            assert not await router.answers_canary()
            await asyncio.sleep(2 * POLICY.pause_s)
            assert await router.answers_canary()
            assert [host.breaker.state for host in hosts] == ["closed", "open"]

    run(main())


def test_a_probe_that_nobody_waits_for_any_more_comes_to_its_end() -> None:
    async def main() -> None:
        slow = OK._replace(seconds=1.0)
        host = tier("host", canary=[OK, slow])
        async with running(Router([host], None, clock=now)) as router:
            host.breaker.open()
            await asyncio.sleep(POLICY.pause_s)
            asking = asyncio.create_task(router.answers_canary())
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.sleep(2 * slow.seconds)
            assert host.breaker.is_closed

    run(main())


async def test_the_only_tier_answers_the_canary_or_does_not() -> None:
    engine = Mortal()
    async with running(Router.around(engine)) as router:
        assert await router.answers_canary()
        engine.is_dead = True
        assert not await router.answers_canary()
    assert not await Router.around(PlayingEngine()).answers_canary()  # not started

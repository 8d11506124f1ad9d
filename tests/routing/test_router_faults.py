"""Tiers that fail, in virtual time: retry, breaker, probe, callers who leave, and hosts that are down at the start."""

import asyncio
from typing import Any

import pytest

from emotion_svc.engines.factory import running
from emotion_svc.errors import CanaryFailed, EngineUnavailable, HostBusy
from emotion_svc.routing.router import Router
from tests.routing.plays import FAILS, FAILURES, HANGS, OK, TURN, Play, Seen
from tests.routing.routers import (
    UNSURE,
    WHEN_UNSURE,
    ask,
    calls,
    net_first,
    one,
    tier,
)
from tests.routing.virtual import now, run

# Retry, breaker, probe


@pytest.mark.parametrize(
    ("failure", "retry", "way"),
    [
        ("broken", True, ("host", "low_confidence")),
        ("unreachable", True, ("host", "low_confidence")),
        ("broken", False, ("net", "failed")),
        ("refuses", True, ("net", "failed")),
        ("garbage", True, ("net", "failed")),
        ("defect", True, ("net", "failed")),
    ],
)
def test_what_may_be_tried_again_is_tried_once_more(failure: str, retry: bool, way: tuple[str, str]) -> None:
    host = tier("host", Play(error=FAILURES[failure]), OK, asked_when=WHEN_UNSURE, retries=retry)
    assert one(net_first(host, plays=[UNSURE])).ways == [way]


def test_a_call_is_tried_again_only_once() -> None:
    router = net_first(tier("host", FAILS, FAILS, OK, asked_when=WHEN_UNSURE, retries=True), plays=[UNSURE])
    assert one(router).ways == [("net", "failed")]
    assert len(calls(router, "host")) == 2


@pytest.mark.parametrize(("wait_s", "way"), [(0.01, ("host", "low_confidence")), (0.06, ("net", "failed"))])
def test_a_host_that_names_a_time_is_tried_again_after_it_where_there_is_time(
    wait_s: float, way: tuple[str, str]
) -> None:
    busy = Play(error=HostBusy("429", wait_s))
    sent = one(net_first(tier("host", busy, OK, asked_when=WHEN_UNSURE, retries=True), plays=[UNSURE]))
    assert sent.ways == [way]
    assert sent.ms == pytest.approx(13 if way[0] == "host" else 3)


def test_a_host_that_hangs_again_and_again_is_left_alone_and_costs_no_time_any_more() -> None:
    async def main() -> None:
        async with running(net_first(tier("host", HANGS, asked_when=WHEN_UNSURE), plays=[UNSURE])) as router:
            sent = [await ask(router) for _ in range(5)]
            assert [s.ways[0][1] for s in sent] == ["deadline"] * 3 + ["breaker_open"] * 2
            assert sent[-1].ms == pytest.approx(3)

    run(main())


def test_turns_that_a_host_refuses_say_nothing_about_it_and_a_key_that_it_refuses_does() -> None:
    async def main(failure: str) -> object:
        host = tier("host", *[Play(error=FAILURES[failure])] * 5, OK, asked_when=WHEN_UNSURE)
        async with running(net_first(host, plays=[UNSURE])) as router:
            ways = [(await ask(router)).ways[0] for _ in range(6)]
            assert ways[0] == ("net", "failed")
            return ways[-1]

    assert run(main("turn refused")) == ("host", "low_confidence")
    assert run(main("refuses")) == ("net", "breaker_open")


def test_it_is_probed_with_the_canary_while_turns_go_on_and_asked_again_when_it_answers() -> None:
    seen = Seen()
    host = tier("host", FAILS, FAILS, FAILS, OK, canary=[OK, Play(0.3)], asked_when=WHEN_UNSURE)

    async def main() -> None:
        async with running(net_first(host, plays=[UNSURE])) as router:
            router.report_to(seen)
            for _ in range(3):
                await ask(router)
            await asyncio.sleep(1)
            probing = await ask(router)
            assert probing.ways == [("net", "breaker_open")]
            assert probing.ms == pytest.approx(3)
            await asyncio.sleep(0.3)
            assert (await ask(router)).ways == [("host", "low_confidence")]

    run(main())
    assert [state for name, state in seen.states if name == "host"] == ["closed", "open", "half_open", "closed"]


def test_a_caller_in_a_hurry_does_not_open_the_breaker_for_all() -> None:
    async def main() -> None:
        host = tier("host", Play(0.03), asked_when=WHEN_UNSURE, deadline_s=0.05)
        async with running(net_first(host, plays=[UNSURE])) as router:
            for _ in range(10):
                assert (await ask(router, budget_ms=20)).ways == [("net", "deadline")]
            assert (await ask(router)).ways == [("host", "low_confidence")]

    run(main())


def test_a_caller_that_goes_away_frees_its_place_and_blames_nobody() -> None:
    seen = Seen()

    async def main() -> None:
        host = tier("host", *[HANGS] * 5, OK, asked_when=WHEN_UNSURE, concurrency=1)
        async with running(net_first(host, plays=[UNSURE])) as router:
            router.report_to(seen)
            for _ in range(5):
                caller = asyncio.create_task(router.classify([TURN]))
                await asyncio.sleep(0.01)
                caller.cancel()
                await asyncio.sleep(0.001)
            assert (await ask(router)).ways == [("host", "low_confidence")]

    run(main())
    assert seen.calls.count(("host", "not_needed")) == 5


# Start


@pytest.mark.parametrize("canary", [FAILS, HANGS])
def test_a_host_that_is_down_at_start_is_probed_later(canary: Play, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        host = tier("host", OK, canary=[canary], asked_when=WHEN_UNSURE)
        async with running(net_first(host, plays=[UNSURE])) as router:
            assert (await ask(router)).ways == [("net", "breaker_open")]
            await asyncio.sleep(1)
            await ask(router)
            await asyncio.sleep(0)
            assert (await ask(router)).ways == [("host", "low_confidence")]

    run(main())
    assert "a tier does not answer; the service starts without it" in caplog.messages


@pytest.mark.parametrize(
    ("router", "error"),
    [
        (lambda: net_first(tier("host", canary=[Play(error=CanaryFailed("outside"))])), CanaryFailed),
        (lambda: Router([tier("host", canary=[FAILS])], None, clock=now), EngineUnavailable),
        (lambda: net_first(plays=[OK], deadline_ms=50), None),
    ],
)
def test_what_can_never_work_or_has_no_safety_net_fails_the_start(router: Any, error: type[Exception] | None) -> None:
    async def main() -> None:
        async with running(router()):
            pass

    if error is None:
        run(main())
    else:
        with pytest.raises(error):
            run(main())

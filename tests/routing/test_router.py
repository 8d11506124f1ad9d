"""A turn's way through the tiers, in virtual time: who is asked, who answers, when, and why."""

import asyncio

import pytest

from emotion_svc.engines.factory import running
from emotion_svc.errors import DeadlineExceeded, EngineUnavailable, Overloaded, ServiceError
from emotion_svc.routing.router import Router
from emotion_svc.schema import ALL_ANSWERS, Turn
from tests.routing.plays import CHINESE, FAILS, FAILURES, HANGS, OK, TURN, Play, Seen
from tests.routing.routers import (
    SURE,
    UNSURE,
    WHEN_UNSURE,
    ask,
    calls,
    net_first,
    net_last,
    one,
    tier,
)
from tests.routing.virtual import now, run

# The cascade


def test_a_sure_answer_of_the_first_tier_goes_out_and_nobody_else_is_asked() -> None:
    router = net_first(tier("host", asked_when=WHEN_UNSURE))
    assert one(router).ways == [("net", "first")]
    assert calls(router, "host") == []


@pytest.mark.parametrize(
    ("plays", "turn", "reason"), [(UNSURE, TURN, "low_confidence"), (SURE, CHINESE, "outside_knowledge")]
)
def test_a_turn_is_handed_on_where_the_condition_holds(plays: Play, turn: Turn, reason: str) -> None:
    sent = one(net_first(tier("host", Play(0.02), asked_when=WHEN_UNSURE), plays=[plays]), turn)
    assert sent.ways == [("host", reason)]
    assert sent.ms == pytest.approx(23)


def test_each_turn_of_a_batch_goes_its_own_way_at_the_same_time() -> None:
    router = net_first(tier("host", Play(0.02), asked_when=WHEN_UNSURE))
    sent = one(router, TURN, CHINESE, TURN, CHINESE)
    assert sent.ways == [("net", "first"), ("host", "outside_knowledge")] * 2
    assert sent.ms == pytest.approx(23)


def test_a_third_tier_is_asked_after_the_second_one() -> None:
    router = net_first(
        tier("cheap", Play(0.01, confidence=0.5), asked_when=WHEN_UNSURE),
        tier("strong", Play(0.01), asked_when=WHEN_UNSURE),
        plays=[UNSURE],
    )
    assert one(router).ways == [("strong", "low_confidence")]


def test_a_tier_without_a_condition_is_asked_only_where_nobody_has_answered() -> None:
    spare = tier("spare")
    assert one(net_first(spare, plays=[UNSURE])).ways == [("net", "first")]
    assert one(net_first(tier("spare"), plays=[FAILS])).ways == [("spare", "failed")]


def test_no_turns_give_no_verdicts() -> None:
    async def main() -> None:
        for router in (net_first(), net_first(tier("a")), net_last(tier("b"))):
            async with running(router):
                assert await router.classify([]) == []

    run(main())


# The deadline, and the safety net


@pytest.mark.parametrize(
    ("play", "reason", "ms"),
    [
        (HANGS, "deadline", 50),
        (Play(0.0471), "deadline", 50),
        (FAILS, "failed", 3),
        (Play(0.0469), "low_confidence", 49.9),
    ],
)
def test_what_has_not_answered_in_time_is_left_and_the_best_answer_goes_out(play: Play, reason: str, ms: float) -> None:
    sent = one(net_first(tier("host", play, asked_when=WHEN_UNSURE), plays=[UNSURE]))
    assert sent.ways == [("host" if reason == "low_confidence" else "net", reason)]
    assert sent.ms == pytest.approx(ms)


def test_a_tier_has_a_deadline_of_its_own() -> None:
    sent = one(net_first(tier("host", HANGS, asked_when=WHEN_UNSURE, deadline_s=0.02), plays=[UNSURE]))
    assert sent.ways == [("net", "deadline")]
    assert sent.ms == pytest.approx(23)


@pytest.mark.parametrize(("budget_ms", "ms"), [(20, 20), (1000, 1000), (0, 3), (None, 50)])
def test_a_caller_may_have_less_time_and_a_batch_more(budget_ms: float | None, ms: float) -> None:
    sent = one(net_first(tier("host", HANGS, asked_when=WHEN_UNSURE), plays=[UNSURE]), budget_ms=budget_ms)
    assert sent.ways == [("net", "deadline")]
    assert sent.ms == pytest.approx(ms)


def test_the_only_answer_is_waited_for_however_late_it_is() -> None:
    sent = one(net_first(plays=[Play(0.5)]))
    assert sent.ways == [("net", "first")]
    assert sent.ms == pytest.approx(500)


def test_the_safety_net_begins_just_in_time_and_answers_at_the_deadline() -> None:
    router = net_last(tier("big", HANGS))
    sent = one(router)
    assert sent.ways == [("net", "deadline")]
    assert sent.ms == pytest.approx(50)
    [begun] = calls(router, "net")
    [asked] = calls(router, "big")
    assert (begun - asked) * 1e3 == pytest.approx(50 - 3 - 5)  # the deadline, its own time, the margin


def test_a_first_tier_that_answers_in_time_costs_the_safety_net_nothing() -> None:
    router = net_last(tier("big", Play(0.01)))
    assert one(router).ways == [("big", "first")]
    assert calls(router, "net") == []


def test_a_first_tier_that_answers_after_the_net_but_in_time_still_wins() -> None:
    router = net_last(tier("big", Play(0.049)))
    sent = one(router)
    assert sent.ways == [("big", "first")]
    assert sent.ms == pytest.approx(49)
    assert len(calls(router, "net")) == 1


def test_the_safety_net_begins_at_once_where_a_tier_fails_at_once() -> None:
    sent = one(net_last(tier("big", FAILS)))
    assert sent.ways == [("net", "failed")]
    assert sent.ms == pytest.approx(3)


def test_the_safety_net_begins_at_once_where_there_is_little_time() -> None:
    router = net_last(tier("big", HANGS))
    sent = one(router, budget_ms=8)
    assert sent.ways == [("net", "deadline")]
    assert calls(router, "net") == calls(router, "big")
    assert sent.ms == pytest.approx(8)


def test_the_safety_net_begins_earlier_where_many_turns_may_need_it() -> None:
    router = net_last(tier("big", HANGS))
    assert one(router, *[TURN] * 8).ways == [("net", "deadline")] * 8
    asked = calls(router, "big")[0]
    waits = [round((begun - asked) * 1e3) for begun in sorted(calls(router, "net"), reverse=True)]
    assert waits == [42, 39, 36, 33, 30, 27, 24, 21]


def test_a_safety_net_in_the_middle_is_followed_by_those_that_know_more() -> None:
    net = tier("net", UNSURE, canary=[SURE] * 9)
    router = Router([tier("big", FAILS), net, tier("host", asked_when=WHEN_UNSURE)], net, clock=now)
    assert one(router).ways == [("host", "low_confidence")]


def test_a_tier_that_will_not_be_cancelled_holds_nobody_up() -> None:
    stubborn = tier("host", Play(1.0, minds_cancel=False), asked_when=WHEN_UNSURE, concurrency=1)

    async def main() -> None:
        async with running(net_first(stubborn, plays=[UNSURE])) as router:
            assert (await ask(router)).ms == pytest.approx(50)
            again = await ask(router)
            assert again.ways == [("net", "busy")]
            assert again.ms == pytest.approx(3)
            await asyncio.sleep(1)
            assert (await ask(router)).ways == [("net", "deadline")]

    run(main())


# Without a safety net


@pytest.mark.parametrize(
    ("play", "error"), [(HANGS, DeadlineExceeded), (FAILS, EngineUnavailable), (Play(0.06), DeadlineExceeded)]
)
def test_without_a_safety_net_a_deadline_is_an_error(play: Play, error: type[ServiceError]) -> None:
    async def main() -> float:
        async with running(Router([tier("host", play)], None, clock=now)) as router:
            begun = now()
            with pytest.raises(error):
                await router.classify([TURN])
            return now() - begun

    assert run(main()) <= 0.05 + 1e-9


def test_without_a_safety_net_full_places_are_an_overload_and_an_open_breaker_says_so() -> None:
    async def main() -> None:
        async with running(Router([tier("host", HANGS, concurrency=1)], None, clock=now)) as router:
            first = asyncio.create_task(router.classify([TURN]))
            await asyncio.sleep(0)
            with pytest.raises(Overloaded, match="all places"):
                await router.classify([TURN])
            with pytest.raises(DeadlineExceeded):
                await first
            for _ in range(2):
                await asyncio.sleep(0.001)  # the place is free when the call that was given up has ended
                with pytest.raises(DeadlineExceeded):
                    await router.classify([TURN])
            with pytest.raises(EngineUnavailable, match="breaker_open"):
                await router.classify([TURN])

    run(main())


def test_a_defect_of_a_tier_costs_no_answer_where_another_can_give_one() -> None:
    assert one(net_last(tier("big", Play(error=FAILURES["defect"])))).ways == [("net", "failed")]


# What is told


def test_every_answer_and_every_call_is_told() -> None:
    seen = Seen()

    async def main() -> None:
        async with running(net_first(tier("host", OK, HANGS, asked_when=WHEN_UNSURE), plays=[SURE, UNSURE])) as router:
            router.report_to(seen)
            for _ in range(3):
                await ask(router)

    run(main())
    assert seen.answers == [("net", "first"), ("host", "low_confidence"), ("net", "deadline")]
    host, net = [how for name, how in seen.calls if name == "host"], [how for name, how in seen.calls if name == "net"]
    assert (host, net) == (["answered", "deadline"], ["answered"] * 3)


def test_a_turn_that_the_engines_line_refuses_is_told_as_one_for_which_there_was_no_place() -> None:
    seen = Seen()

    async def main() -> None:
        async with running(net_first(plays=[Play(error=Overloaded("too late"))])) as router:
            router.report_to(seen)
            with pytest.raises(Overloaded):
                await ask(router)

    run(main())
    assert seen.calls == [("net", "busy")]


@pytest.mark.parametrize(
    ("play", "outcome"),
    [(SURE, "answered"), (FAILS, "failed"), (Play(error=Overloaded("too late")), "busy"), (HANGS, "not_needed")],
)
def test_of_a_batch_every_turn_is_told_and_its_time_once(play: Play, outcome: str) -> None:
    seen = Seen()

    async def main() -> None:
        async with running(net_first(plays=[play])) as router:
            router.report_to(seen)
            caller = asyncio.create_task(router.classify([TURN, CHINESE, TURN]))
            await asyncio.wait({caller}, timeout=1)
            caller.cancel()
            await asyncio.gather(caller, return_exceptions=True)

    run(main())
    assert seen.calls == [("net", outcome)] * 3
    assert seen.timed == [("net", outcome)]


def test_every_answer_is_one_of_the_46() -> None:
    [verdict] = one(net_first()).verdicts
    assert verdict.answer.model_dump_json() in ALL_ANSWERS

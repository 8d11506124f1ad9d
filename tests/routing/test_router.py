"""A turn's way through the tiers, in virtual time: who is asked, who answers, when, and why."""

import asyncio
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from emotion_svc.engines.factory import running
from emotion_svc.engines.presets import Price
from emotion_svc.errors import CanaryFailed, DeadlineExceeded, EngineUnavailable, HostBusy, Overloaded, ServiceError
from emotion_svc.routing.breaker import BreakerPolicy
from emotion_svc.routing.router import Router
from emotion_svc.routing.spend import Spend, read_spend
from emotion_svc.routing.tier import Tier, TierPlan
from emotion_svc.routing.tiers_file import AskedWhen
from emotion_svc.schema import ALL_ANSWERS, TokenUsage, Turn, Verdict
from tests.routing.plays import CHINESE, FAILS, FAILURES, HANGS, OK, TURN, Play, PlayingEngine, Seen
from tests.routing.virtual import now, run

UNSURE = Play(0.003, confidence=0.5)
SURE = Play(0.003, confidence=0.9)
WHEN_UNSURE = AskedWhen(emotion_below=0.6, outside_knowledge=True)
DAY = date(2026, 11, 21)
PRICE = Price(input_usd=1.0, output_usd=10.0)
USED = TokenUsage(prompt_tokens=1000, completion_tokens=20)
POLICY = BreakerPolicy(failures=3, pause_s=1.0)


def tier(name: str, *plays: Play, canary: Sequence[Play] = (), spend: Spend | None = None, **plan: Any) -> Tier:
    return Tier(
        TierPlan(name, **plan), PlayingEngine(*plays, name=name, canary=canary), clock=now, spend=spend, policy=POLICY
    )


def net_first(*others: Tier, plays: Sequence[Play] = (SURE,), deadline_ms: float = 50) -> Router:
    net = tier("net", *plays)
    return Router([net, *others], net, deadline_ms=deadline_ms, clock=now)


def net_last(*others: Tier, plays: Sequence[Play] = (SURE,), deadline_ms: float = 50) -> Router:
    net = tier("net", *plays, canary=[SURE] * 9)
    return Router([*others, net], net, deadline_ms=deadline_ms, clock=now)


def calls(router: Router, name: str) -> list[float]:
    engine = next(tier.engine for tier in router._tiers if tier.name == name)
    assert isinstance(engine, PlayingEngine)
    return engine.calls


class Sent:
    """What came back, and after how long."""

    def __init__(self, verdicts: list[Verdict], seconds: float) -> None:
        self.verdicts, self.ms = verdicts, seconds * 1e3
        self.ways = [(verdict.tier, verdict.reason) for verdict in verdicts]


async def ask(router: Router, *turns: Turn, budget_ms: float | None = None) -> Sent:
    begun = now()
    verdicts = await router.classify(turns or [TURN], budget_ms=budget_ms)
    return Sent(verdicts, now() - begun)


def one(router: Router, *turns: Turn, budget_ms: float | None = None) -> Sent:
    """Starts the router and asks it once."""

    async def main() -> Sent:
        async with running(router):
            return await ask(router, *turns, budget_ms=budget_ms)

    return run(main())


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


# Money


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "spend.json"


def paid(file: Path, *plays: Play, cap_usd: float, **plan: Any) -> Tier:
    spend = Spend(file, cap_usd, lambda: DAY)
    return tier("host", *plays, spend=spend, price=PRICE, asked_when=WHEN_UNSURE, **plan)


def spent(file: Path) -> float:
    return read_spend(file, DAY).usd


def test_a_paid_call_costs_what_the_host_counted(file: Path) -> None:
    sent = one(net_first(paid(file, Play(usage=USED), cap_usd=1), plays=[UNSURE]))
    assert sent.ways == [("host", "low_confidence")]
    # The canary's tokens were not counted, so its reservation stays.
    [of_host] = read_spend(file, DAY).tiers.values()
    assert (of_host.calls, of_host.prompt_tokens, of_host.completion_tokens) == (2, 1000, 20)


def test_a_tier_whose_next_call_could_pass_the_cap_is_closed_until_the_day_ends(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with running(net_first(paid(file, Play(usage=USED), cap_usd=0.035), plays=[UNSURE])) as router:
            sent = [(await ask(router)).ways[0] for _ in range(20)]
            assert sent[0] == ("host", "low_confidence")
            assert sent[-1] == ("net", "spend_cap")

    run(main())
    assert spent(file) <= 0.035
    assert caplog.messages.count("the day's spend cap is reached; the tier is closed until midnight UTC") == 1


@pytest.mark.parametrize(
    ("play", "usd"),
    [
        (Play(usage=USED), 0.0012),
        (Play(error=FAILURES["busy"]), 0),
        (Play(error=FAILURES["refuses"]), 0),
        (Play(error=FAILURES["never reached"]), 0),
        (Play(error=FAILURES["unreachable"]), None),
        (Play(error=FAILURES["garbage"]), 0.00019),
        (FAILS, None),
        (HANGS, None),
        (OK, None),
    ],
)
def test_what_may_be_billed_stays_reserved(file: Path, play: Play, usd: float | None) -> None:
    async def main() -> float:
        async with running(net_first(paid(file, play, cap_usd=1), plays=[UNSURE])) as router:
            canary_usd = spent(file)
            await ask(router)
            return spent(file) - canary_usd

    most = 0.0145  # 4,096 tokens and the turn's bytes in, 1,024 out
    assert run(main()) == pytest.approx(usd if usd is not None else most, rel=0.02)


def test_a_retry_is_paid_for_too(file: Path) -> None:
    router = net_first(paid(file, FAILS, OK, cap_usd=0.03, retries=True), plays=[UNSURE])
    assert one(router).ways == [("net", "spend_cap")]
    assert len(calls(router, "host")) == 1  # the canary and this one have used the cap up
    assert 0.02 < spent(file) <= 0.03


def test_a_spend_file_that_fails_closes_the_paid_tier(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    def damage() -> None:
        file.write_text("damaged")

    async def main() -> None:
        async with running(net_first(paid(file, cap_usd=1), plays=[UNSURE])) as router:
            damage()
            assert (await ask(router)).ways == [("net", "spend_cap")]

    run(main())
    assert "the spend file fails; a paid tier is not asked" in caplog.messages


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

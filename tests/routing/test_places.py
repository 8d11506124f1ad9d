"""What waits for a place at a tier, and for how long: in virtual time, and once with a real host."""

import asyncio
from collections.abc import Sequence

import pytest

from emotion_svc.engines.factory import running
from emotion_svc.engines.presets import find_preset
from emotion_svc.engines.remote import RemoteEngine
from emotion_svc.routing.router import Router
from emotion_svc.routing.tier import Tier, TierPlan
from emotion_svc.schema import Turn, Verdict
from tests.routing.plays import FAILS, HANGS, TURN, Play, PlayingEngine, Seen
from tests.routing.routers import POLICY, ask, calls, net_last
from tests.routing.virtual import now, run
from tests.upstream import Upstream, after, says

HEALTHY = Play(0.04)
BATCH_MS = 1600
"""What 256 turns have, where one has 50 ms."""


class Narrow(PlayingEngine):
    """Lets so many calls through; more wait in it."""

    def __init__(self, places: int, *plays: Play) -> None:
        super().__init__(*plays, name="host")
        self.places, self._free = places, asyncio.Semaphore(places)

    async def classify(self, turns: Sequence[Turn]) -> list[Verdict]:
        async with self._free:
            return await super().classify(turns)


def host(places: int, *plays: Play, concurrency: int | None = None) -> Tier:
    plan = TierPlan("host", deadline_s=0.05, concurrency=concurrency)
    return Tier(plan, Narrow(places, *plays), clock=now, policy=POLICY)


@pytest.mark.parametrize("concurrency", [None, 32, 200])
def test_a_batch_of_more_turns_than_a_host_has_places_is_answered_by_it_and_the_breaker_stays_closed(
    concurrency: int | None,
) -> None:
    seen, tier = Seen(), host(32, HEALTHY, concurrency=concurrency)

    async def main() -> None:
        async with running(net_last(tier)) as router:
            router.report_to(seen)
            sent = await ask(router, *[TURN] * 256, budget_ms=BATCH_MS)
            assert sent.ways == [("host", "first")] * 256
            assert sent.ms == pytest.approx(8 * 40)
            waits = sorted({round(verdict.timings.queue_ms) for verdict in sent.verdicts})
            assert waits == [0, 40, 80, 120, 160, 200, 240, 280]

    run(main())
    assert [state for name, state in seen.states if name == "host"] == ["closed"]


def test_a_turn_that_has_no_time_to_wait_for_a_place_goes_on_at_once() -> None:
    seen = Seen()

    async def main() -> None:
        async with running(net_last(host(1, HEALTHY))) as router:
            router.report_to(seen)
            sent = await asyncio.gather(*(ask(router) for _ in range(9)))
            assert [one.ways for one in sent] == [[("host", "first")], *[[("net", "busy")]] * 8]
            assert [round(one.ms) for one in sent] == [40, *[3] * 8]

    run(main())
    assert [state for name, state in seen.states if name == "host"] == ["closed"]


def test_a_turn_waits_for_a_place_as_long_as_the_tiers_whole_deadline_fits_behind() -> None:
    async def main() -> None:
        async with running(net_last(host(1, HEALTHY))) as router:
            sent = await ask(router, *[TURN] * 4, budget_ms=50 + 80)
            assert sent.ways == [("host", "first")] * 2 + [("net", "busy")] * 2
            assert sent.ms <= 130

    run(main())


@pytest.mark.parametrize(("play", "ms"), [(HANGS, 50), (FAILS, 3)])
def test_nobody_waits_for_a_place_at_a_tier_that_is_left_alone_meanwhile(play: Play, ms: float) -> None:
    async def main() -> None:
        router = net_last(host(3, play))
        async with running(router):
            sent = await ask(router, *[TURN] * 30, budget_ms=BATCH_MS)
            assert ("net", "breaker_open") in sent.ways
            assert len(calls(router, "host")) <= 6
            assert sent.ms == pytest.approx(ms, abs=4)

    run(main())


def test_a_caller_that_goes_away_while_it_waits_leaves_the_place_to_the_next() -> None:
    seen = Seen()

    async def main() -> None:
        async with running(net_last(host(1, HEALTHY))) as router:
            router.report_to(seen)
            first, gone, last = (asyncio.create_task(ask(router, budget_ms=1000)) for _ in range(3))
            await asyncio.sleep(0.02)
            gone.cancel()
            assert [(await one).ways for one in (first, last)] == [[("host", "first")]] * 2
            assert (await last).ms == pytest.approx(80)

    run(main())
    assert seen.calls.count(("host", "not_needed")) == 1


class Counting(RemoteEngine):
    """Counts who is in it."""

    now = most = 0

    async def classify(self, turns: Sequence[Turn]) -> list[Verdict]:
        self.now += len(turns)
        self.most = max(self.most, self.now)
        try:
            return await super().classify(turns)
        finally:
            self.now -= len(turns)


async def test_a_real_host_that_takes_its_time_answers_a_large_batch_and_nobody_waits_inside_the_deadline() -> None:
    with Upstream(after(0.04, says('{"emotion":"sad","learn_score":true}'))) as upstream:
        engine = Counting(find_preset("vllm", model="m", base_url=upstream.url))
        tier = Tier(TierPlan("host", deadline_s=60), engine)  # however busy this machine is
        net = Tier(TierPlan("net"), PlayingEngine())
        async with running(Router([tier, net], net)) as router:
            turns = [TURN.model_copy(update={"response": f"Bạn số {number} giỏi quá!"}) for number in range(256)]
            verdicts = await router.classify(turns, budget_ms=32 * 60_000)
    assert {(verdict.tier, verdict.reason) for verdict in verdicts} == {("host", "first")}
    assert tier.breaker.is_closed
    assert engine.most == engine.places == 32

"""What a service refuses when all turns fall on the safety net, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from emotion_svc.engines.factory import running
from emotion_svc.errors import Overloaded
from emotion_svc.routing.router import Router
from emotion_svc.routing.spend import Spend
from emotion_svc.routing.tier import Tier, TierPlan
from emotion_svc.schema import Turn, Verdict
from tests.routing.plays import FAILS, HANGS, OK, TURN, Play, PlayingEngine
from tests.routing.routers import DAY, PRICE, WHEN_UNSURE, ask, calls, tier
from tests.routing.virtual import now, run


class Line(PlayingEngine):
    """An engine whose line is 70 ms long, and who says so; what must not wait so long is refused."""

    def __init__(self) -> None:
        super().__init__(Play(0.07), canary=[OK] * 9)
        self.within_s: list[float] = []

    def expected_ms(self, turns: int) -> float:
        return 70.0 * turns

    async def classify_within(self, turns: Sequence[Turn], within_s: float) -> list[Verdict]:
        self.within_s.append(within_s)
        raise Overloaded("too late")


def router_of(*before: Tier, behind: Sequence[Tier] = ()) -> tuple[Router, Line]:
    line = Line()
    net = Tier(TierPlan("net"), line, clock=now)
    return Router([*before, net, *behind], net, clock=now), line


async def fails(router: Router) -> None:
    for _ in range(3):
        await ask(router)


async def is_full(router: Router) -> None:
    asyncio.get_running_loop().create_task(ask(router))
    await asyncio.sleep(0.001)


async def is_out_of_money(router: Router) -> None:
    await ask(router)


@pytest.mark.parametrize(
    ("befall", "play", "concurrency", "cap_usd"),
    [(fails, FAILS, None, None), (is_full, HANGS, 1, None), (is_out_of_money, OK, None, 0.02)],
)
def test_where_no_tier_before_it_could_take_a_turn_the_net_refuses_as_if_it_were_alone(
    tmp_path: Path,
    befall: Callable[[Router], Awaitable[None]],
    play: Play,
    concurrency: int | None,
    cap_usd: float | None,
) -> None:
    spend = None if cap_usd is None else Spend(tmp_path / "spend.json", cap_usd, lambda: DAY)
    price = None if cap_usd is None else PRICE
    big = tier("big", play, concurrency=concurrency, spend=spend, price=price)
    behind = tier("behind", asked_when=WHEN_UNSURE)
    router, line = router_of(big, behind=[behind])

    async def main() -> None:
        async with running(router):
            assert router.expected_ms(2) == 0
            await befall(router)
            assert router.expected_ms(2) == 140
            with pytest.raises(Overloaded, match="too late"):
                await ask(router)
            assert line.within_s == [pytest.approx(0.05)]
            assert calls(router, "behind") == []
            assert [way[0] for way in (await ask(router, TURN, TURN)).ways] == ["net", "net"]

    run(main())


def test_while_one_tier_before_it_may_answer_the_net_refuses_nothing() -> None:
    router, line = router_of(tier("dead", canary=[FAILS]), tier("slow", HANGS))

    async def main() -> None:
        async with running(router):
            assert router.expected_ms(1) == 0
            assert (await ask(router)).ways == [("net", "deadline")]

    run(main())
    assert line.within_s == []


def test_a_net_that_is_first_refuses_in_its_line_and_asks_nobody_else_for_what_is_late() -> None:
    router, line = router_of(behind=[tier("host", asked_when=WHEN_UNSURE)])

    async def main() -> None:
        async with running(router):
            with pytest.raises(Overloaded, match="too late"):
                await ask(router)

    run(main())
    assert line.within_s == [pytest.approx(0.05)]
    assert calls(router, "host") == []

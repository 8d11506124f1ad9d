"""Whatever the tiers do: each request ends in time with a valid answer, and no paid call goes beyond the cap."""

import asyncio
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.engines.factory import running
from emotion_svc.engines.presets import Price
from emotion_svc.routing.breaker import BreakerPolicy
from emotion_svc.routing.router import Router
from emotion_svc.routing.spend import Spend, read_spend
from emotion_svc.routing.tier import Tier, TierPlan
from emotion_svc.routing.tiers_file import AskedWhen
from emotion_svc.schema import ALL_ANSWERS, TokenUsage, Turn
from tests.routing.plays import CHINESE, FAILURES, TURN, Play, PlayingEngine
from tests.routing.virtual import now, run

DEADLINE_S, NET_S, MARGIN_S = 0.05, 0.003, 0.005
DAY = date(2026, 11, 21)
PRICE = Price(input_usd=1.0, output_usd=10.0)

usages = st.none() | st.builds(TokenUsage, prompt_tokens=st.integers(0, 4000), completion_tokens=st.integers(0, 1000))
plays = st.builds(
    Play,
    seconds=st.sampled_from([0.0, 0.001, 0.01, 0.04, 0.049, 0.05, 0.051, 0.2, 1e6]),
    error=st.none() | st.sampled_from([*FAILURES.values()]),
    confidence=st.sampled_from([0.2, 0.5, 0.9, 1.0]),
    usage=usages,
    minds_cancel=st.sampled_from([True, True, True, False]),
).map(lambda play: play if play.minds_cancel or play.seconds < 1 else play._replace(minds_cancel=True))
conditions = st.none() | st.builds(
    AskedWhen,
    emotion_below=st.sampled_from([0.0, 0.6, 1.0]),
    learn_score_below=st.sampled_from([0.0, 1.0]),
    outside_knowledge=st.booleans(),
)


class Other(NamedTuple):
    """A tier that is not the safety net."""

    plan: TierPlan
    plays: Sequence[Play]
    canary: Sequence[Play]


class Request(NamedTuple):
    after_s: float
    turns: Sequence[Turn]
    budget_ms: float | None


others = st.builds(
    Other,
    plan=st.builds(
        TierPlan,
        name=st.just("other"),
        asked_when=conditions,
        deadline_s=st.sampled_from([None, 0.01, 0.05]),
        concurrency=st.sampled_from([None, 1, 3]),
        retries=st.booleans(),
        price=st.sampled_from([None, PRICE]),
    ),
    plays=st.lists(plays, min_size=1, max_size=6),
    canary=st.lists(plays, max_size=2),
)
requests = st.builds(
    Request,
    after_s=st.sampled_from([0.0, 0.0, 0.01, 0.1, 1.0, 5.0]),
    turns=st.lists(st.sampled_from([TURN, CHINESE]), min_size=1, max_size=3),
    budget_ms=st.sampled_from([None, 20.0, 50.0, 1000.0]),
)


@given(
    others=st.lists(others, max_size=3),
    net_at=st.integers(0, 3),
    net_confidence=st.sampled_from([0.3, 0.9]),
    requests=st.lists(requests, min_size=1, max_size=8),
    cap_usd=st.sampled_from([0.0, 0.02, 0.05, 1.0]),
)
def test_every_request_ends_in_time_with_a_valid_answer_and_the_cap_holds(
    tmp_path_factory: pytest.TempPathFactory,
    others: list[Other],
    net_at: int,
    net_confidence: float,
    requests: list[Request],
    cap_usd: float,
) -> None:
    file: Path = tmp_path_factory.mktemp("spend") / "spend.json"
    spend = Spend(file, cap_usd, lambda: DAY)
    sure = Play(NET_S, confidence=net_confidence)
    net = Tier(TierPlan("net"), PlayingEngine(sure, canary=[sure] * 9), clock=now)
    policy = BreakerPolicy(failures=2)
    tiers = [
        Tier(plan._replace(name=f"other{place}"), PlayingEngine(*does, canary=canary), clock=now, spend=spend,
             policy=policy)
        for place, (plan, does, canary) in enumerate(others)
    ]  # fmt: skip
    tiers.insert(min(net_at, len(tiers)), net)
    names = {tier.name for tier in tiers}

    async def ask(router: Router, request: Request) -> None:
        await asyncio.sleep(request.after_s)
        begun = now()
        verdicts = await router.classify(request.turns, budget_ms=request.budget_ms)
        allowed_s = DEADLINE_S if request.budget_ms is None else request.budget_ms / 1e3
        assert now() - begun <= allowed_s + 1e-6
        assert len(verdicts) == len(request.turns)
        for verdict in verdicts:
            assert verdict.answer.model_dump_json() in ALL_ANSWERS
            assert verdict.tier in names
            assert verdict.reason is not None
        assert spend.today().usd <= cap_usd + 1e-9

    async def main() -> None:
        async with running(Router(tiers, net, deadline_ms=DEADLINE_S * 1e3, clock=now)) as router:
            await asyncio.gather(*(ask(router, request) for request in requests))

    run(main())
    assert read_spend(file, DAY).usd <= cap_usd + 1e-9
    billed = [usage for tier in tiers if tier.plan.price is not None for usage in playing(tier).billed]
    assert sum(map(PRICE.usd, billed)) <= cap_usd + 1e-9


def playing(tier: Tier) -> PlayingEngine:
    assert isinstance(tier.engine, PlayingEngine)
    return tier.engine

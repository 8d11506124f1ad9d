"""Routers of tiers that play what they are told, in virtual time, and what comes back from them."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from emotion_svc.engines.factory import running
from emotion_svc.engines.presets import Price
from emotion_svc.routing.breaker import BreakerPolicy
from emotion_svc.routing.router import Router
from emotion_svc.routing.spend import Spend
from emotion_svc.routing.tier import Tier, TierPlan
from emotion_svc.routing.tiers_file import AskedWhen
from emotion_svc.schema import TokenUsage, Turn, Verdict
from tests.routing.plays import TURN, Play, PlayingEngine
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

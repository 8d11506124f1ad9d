"""The books of a paid tier are kept beside its calls: real threads, a real file and its lock."""

import asyncio
import fcntl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest

from emotion_svc.engines.factory import running
from emotion_svc.engines.presets import Price
from emotion_svc.routing.breaker import BreakerPolicy
from emotion_svc.routing.router import Router
from emotion_svc.routing.spend import Reservation, Spend, read_spend
from emotion_svc.routing.tier import Tier, TierPlan
from emotion_svc.routing.tiers_file import AskedWhen
from emotion_svc.schema import TokenUsage, Turn, Verdict
from tests.routing.plays import OK, TURN, Play, PlayingEngine
from tests.upstream import WAIT_S

DAY = date(2026, 11, 21)
PRICE = Price(input_usd=1.0, output_usd=10.0)
USED = TokenUsage(prompt_tokens=1000, completion_tokens=20)
USED_USD = 0.0012


class GatedSpend(Spend):
    """Reads and writes its file only while the gate is open."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, 1.0, lambda: DAY)
        self.is_open, self.waits = threading.Event(), threading.Event()
        self.is_open.set()

    def reserve(self, tier: str, usd: float) -> Reservation | None:
        self._pass_gate()
        return super().reserve(tier, usd)

    def settle(self, reservation: Reservation, usage: TokenUsage, usd: float) -> None:
        self._pass_gate()
        super().settle(reservation, usage, usd)

    def _pass_gate(self) -> None:
        self.waits.set()
        assert self.is_open.wait(WAIT_S)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "spend.json"


def host(spend: Spend, engine: PlayingEngine, deadline_s: float) -> Tier:
    plan = TierPlan("host", AskedWhen(emotion_below=1.0), deadline_s, price=PRICE)
    return Tier(plan, engine, spend=spend, policy=BreakerPolicy(failures=2))


def net_first(paid: Tier) -> Router:
    net = Tier(TierPlan("net"), PlayingEngine())
    return Router([net, paid], net, deadline_ms=WAIT_S * 1e3)


def usd(file: Path) -> float:
    return read_spend(file, DAY).usd


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """What another process does that was stopped in the middle."""
    with file.with_name(file.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def test_an_answer_in_hand_does_not_wait_for_the_books_which_are_brought_to_their_end(file: Path) -> None:
    class ClosesBehind(PlayingEngine):
        """Closes the gate while it answers."""

        async def classify(self, turns: Sequence[Turn]) -> list[Verdict]:
            if turns[0] is TURN:
                spend.is_open.clear()
            return await super().classify(turns)

    spend = GatedSpend(file)
    play = Play(usage=USED)
    async with running(net_first(host(spend, ClosesBehind(play, canary=[play]), deadline_s=5))) as router:
        [verdict] = await router.classify([TURN])
        assert (verdict.tier, verdict.reason) == ("host", "low_confidence")
        assert usd(file) > 2 * USED_USD  # nothing is settled yet
        spend.is_open.set()
    assert usd(file) == pytest.approx(2 * USED_USD)  # the canary, too


async def test_a_lock_that_another_process_holds_is_no_failure_of_the_host_and_holds_up_only_the_first(
    file: Path,
) -> None:
    paid = host(Spend(file, 1.0, lambda: DAY), PlayingEngine(OK), deadline_s=0.1)
    async with running(net_first(paid)) as router:
        of_canary = usd(file)  # its tokens were not counted, so its reservation stays
        with locked(file):
            verdicts = [(await router.classify([TURN]))[0] for _ in range(5)]
            assert [(verdict.tier, verdict.reason) for verdict in verdicts] == [("net", "spend_cap")] * 5
        assert paid.breaker.is_closed
    assert usd(file) == of_canary


async def test_what_was_reserved_for_a_caller_that_has_gone_is_given_back_and_the_host_is_not_asked(
    file: Path,
) -> None:
    spend, engine = GatedSpend(file), PlayingEngine(OK)
    async with running(net_first(host(spend, engine, deadline_s=WAIT_S))) as router:
        of_canary = usd(file)
        spend.is_open.clear()
        spend.waits.clear()
        caller = asyncio.create_task(router.classify([TURN]))
        assert await asyncio.to_thread(spend.waits.wait, WAIT_S)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        spend.is_open.set()
    assert engine.calls == []
    assert usd(file) == pytest.approx(of_canary)

"""What a paid tier costs, in virtual time: counted, reserved, capped."""

from pathlib import Path
from typing import Any

import pytest

from emotion_svc.engines.factory import running
from emotion_svc.routing.router import Router
from emotion_svc.routing.spend import Spend, read_spend
from emotion_svc.routing.tier import Tier
from tests.routing.plays import FAILS, FAILURES, HANGS, OK, TURN, Play, PlayingEngine, Seen
from tests.routing.routers import DAY, PRICE, UNSURE, USED, WHEN_UNSURE, ask, calls, net_first, one, tier
from tests.routing.virtual import run


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


def test_a_spend_file_that_goes_on_failing_is_told_once_and_again_when_it_works(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def damage(text: bytes) -> None:
        file.write_bytes(text)

    def repair() -> None:
        file.unlink()

    async def main() -> None:
        async with running(net_first(paid(file, cap_usd=1), plays=[UNSURE])) as router:
            for text in (b"damaged", b"\xff\xfe\x00", b"damaged"):
                damage(text)
                assert (await ask(router)).ways == [("net", "spend_cap")]
            repair()
            assert (await ask(router)).ways == [("host", "low_confidence")]

    run(main())
    told = [message for message in caplog.messages if "spend file" in message]
    assert told == ["the spend file fails; a paid tier is not asked", "the spend file works again"]


async def test_what_one_priced_engine_alone_costs_is_counted_though_nothing_caps_it() -> None:
    seen = Seen()
    router = Router.around(PlayingEngine(Play(0, usage=USED), name="host"), price=PRICE)
    async with running(router):
        router.report_to(seen)
        await router.classify([TURN])
    assert seen.usd == [pytest.approx(0.0012)]

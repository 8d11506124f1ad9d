"""The service with tiers, over sockets: a real embedded model, and a real host that behaves as it is told."""

import json
import math
import re
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from emotion_svc.config import Settings
from emotion_svc.errors import SetupError
from emotion_svc.routing.build import create_router
from emotion_svc.routing.spend import DaySpend, TierSpend, read_spend
from emotion_svc.schema import ALL_ANSWERS
from tests.serving.process import WAIT_S, Process
from tests.serving.test_operations import metric
from tests.upstream import Behaviour, Upstream, breaks, hangs, says, status

KNOWN = {"previous_question": "Con mèo tiếng Anh là gì?", "previous_answer": "cat", "response": "Chính xác, cat đó!"}
CHINESE = KNOWN | {"response": "对，就是猫!"}
AFRAID = '{"emotion":"afraid","learn_score":false}'
DEADLINE_MS = 1000
"""Long enough for a busy machine; what is late, is late by far more."""

TIERS = f"""
deadline_ms = {DEADLINE_MS}
spend_cap_usd_per_day = CAP

[[tiers]]
name = "small"
engine = "embedded"

[[tiers]]
name = "host"
engine = "remote"
preset = "groq"
base_url = "URL"
asked_when = {{{{ outside_knowledge = true }}}}
deadline_ms = 500
"""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(says(AFRAID)) as upstream:
        yield upstream


@pytest.fixture
def settings(tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Settings with a tiers file for the upstream: `settings(cap_usd)`."""

    def make(cap_usd: float = 1.0, text: str = TIERS) -> Settings:
        monkeypatch.setenv("GROQ_API_KEY", "k")
        file = tmp_path / "tiers.toml"
        file.write_text(
            text.replace("{{", "{").replace("}}", "}").replace("CAP", str(cap_usd)).replace("URL", upstream.url)
        )
        return Settings(tiers=file, spend_file=tmp_path / "spend.json", cache_bytes=0)

    return make


def way(client: httpx.Client, turn: dict[str, str]) -> tuple[str, str]:
    reply = client.post("/v1/classify?detail=true", json=turn)
    assert reply.status_code == 200
    verdict = reply.json()
    assert json.dumps(verdict["answer"], separators=(",", ":")) in ALL_ANSWERS
    return verdict["tier"], verdict["reason"]


def test_a_turn_outside_what_the_model_knows_goes_to_the_host_and_the_answer_says_why(
    serve: Callable[..., httpx.Client], settings: Callable[..., Settings]
) -> None:
    client = serve(create_router(settings()), cache_bytes=0)
    assert way(client, KNOWN) == ("small", "first")
    assert way(client, CHINESE) == ("host", "outside_knowledge")
    assert client.post("/v1/classify", json=CHINESE).json() == json.loads(AFRAID)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [(hangs, "deadline"), (status(500, {}), "failed"), (breaks, "failed"), (says("joy"), "failed")],
)
def test_whatever_the_host_does_the_answer_is_there(
    serve: Callable[..., httpx.Client],
    settings: Callable[..., Settings],
    upstream: Upstream,
    behaviour: Behaviour,
    reason: str,
) -> None:
    client = serve(create_router(settings()), cache_bytes=0)
    upstream.behaviour = behaviour
    assert way(client, CHINESE) == ("small", reason)


def test_a_host_that_is_down_at_start_does_not_stop_the_service_and_is_found_when_it_is_back(
    serve: Callable[..., httpx.Client], settings: Callable[..., Settings], upstream: Upstream
) -> None:
    router = create_router(settings())
    upstream.stop()
    client = serve(router)
    assert way(client, CHINESE) == ("small", "breaker_open")
    upstream.start()
    until = time.monotonic() + 30
    while way(client, CHINESE) == ("small", "breaker_open"):
        assert time.monotonic() < until
    assert way(client, CHINESE) == ("host", "outside_knowledge")


def test_the_metrics_say_who_answered_why_and_what_it_cost(
    serve: Callable[..., httpx.Client], settings: Callable[..., Settings], upstream: Upstream
) -> None:
    client = serve(create_router(settings()), cache_bytes=0)
    for turn in (KNOWN, CHINESE, KNOWN):
        way(client, turn)
    upstream.behaviour = status(429, {"retry-after": "60"})
    assert way(client, CHINESE) == ("small", "failed")
    assert way(client, CHINESE) == ("small", "breaker_open")
    text = client.get("/metrics").text
    for name, value in {
        'emotion_svc_tier_answers_total{reason="first",tier="small"}': 2,
        'emotion_svc_tier_answers_total{reason="outside_knowledge",tier="host"}': 1,
        'emotion_svc_tier_answers_total{reason="failed",tier="small"}': 1,
        'emotion_svc_tier_answers_total{reason="breaker_open",tier="small"}': 1,
        'emotion_svc_tier_calls_total{outcome="answered",tier="small"}': 5,
        'emotion_svc_tier_calls_total{outcome="answered",tier="host"}': 1,
        'emotion_svc_tier_calls_total{outcome="failed",tier="host"}': 1,
        'emotion_svc_tier_calls_total{outcome="breaker_open",tier="host"}': 1,
        'emotion_svc_tier_seconds_count{tier="host"}': 1,
        'emotion_svc_tier_breaker{tier="small"}': 0,
        'emotion_svc_tier_breaker{tier="host"}': 2,
    }.items():
        assert metric(text, name) == value, name
    usd = metric(text, 'emotion_svc_tier_usd_total{by="count",tier="host"}')
    assert metric(text, 'emotion_svc_tier_paid_calls_total{by="count",tier="host"}') == 1
    assert metric(text, "emotion_svc_spend_today_usd") > usd > 0


def test_the_cap_closes_the_paid_tier_also_after_a_restart(
    serve: Callable[..., httpx.Client], settings: Callable[..., Settings]
) -> None:
    capped = settings(0.01)
    client = serve(create_router(capped), cache_bytes=0)
    ways = [way(client, CHINESE) for _ in range(40)]
    assert ways[0] == ("host", "outside_knowledge")
    assert ways[-1] == ("small", "spend_cap")
    again = serve(create_router(capped), cache_bytes=0)
    assert capped.spend_file is not None
    spent = read_spend(capped.spend_file, datetime.now(UTC).date()).usd
    assert 0 < spent <= 0.01
    text = again.get("/metrics").text  # before anything is asked
    assert metric(text, "emotion_svc_spend_today_usd") == pytest.approx(spent)
    assert metric(text, "emotion_svc_spend_cap_usd") == 0.01
    assert way(again, CHINESE) == ("small", "spend_cap")


def test_a_new_day_begins_with_nothing_spent(
    serve: Callable[..., httpx.Client], settings: Callable[..., Settings]
) -> None:
    capped = settings(0.01)
    assert capped.spend_file is not None
    yesterday = DaySpend(day=datetime.now(UTC).date() - timedelta(days=1), tiers={"host": TierSpend(calls=9, usd=0.01)})
    capped.spend_file.write_text(yesterday.model_dump_json(), encoding="utf-8")
    client = serve(create_router(capped), cache_bytes=0)
    assert metric(client.get("/metrics").text, "emotion_svc_spend_today_usd") < 0.01
    assert way(client, CHINESE) == ("host", "outside_knowledge")


def test_a_spend_file_that_cannot_be_read_is_told_as_no_number(
    serve: Callable[..., httpx.Client], settings: Callable[..., Settings]
) -> None:
    capped = settings()
    client = serve(create_router(capped), cache_bytes=0)
    assert capped.spend_file is not None
    known = capped.spend_file.read_text(encoding="utf-8")
    assert metric(client.get("/metrics").text, "emotion_svc_spend_today_usd") > 0
    capped.spend_file.write_text("damaged", encoding="utf-8")
    assert math.isnan(metric(client.get("/metrics").text, "emotion_svc_spend_today_usd"))
    capped.spend_file.write_text(known, encoding="utf-8")
    assert metric(client.get("/metrics").text, "emotion_svc_spend_today_usd") > 0


def test_a_whole_process_with_workers_serves_the_tiers_of_the_file_under_one_cap(
    settings: Callable[..., Settings], upstream: Upstream
) -> None:
    capped = settings(0.01)
    process = Process("--workers", "2", tiers=str(capped.tiers), spend_file=str(capped.spend_file), cache_bytes="0")
    try:
        with httpx.Client(base_url=process.url, timeout=WAIT_S) as client:
            assert way(client, KNOWN) == ("small", "first")
            ways = [way(client, CHINESE) for _ in range(60)]
    finally:
        log = process.stop(signal.SIGTERM)
    assert ways[0] == ("host", "outside_knowledge")
    assert ways[-1] == ("small", "spend_cap")
    assert "the day's spend cap is reached; the tier is closed until midnight UTC" in log
    assert not re.search("[对猫]", log)
    assert "\\u5bf9" not in log


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TIERS.replace("spend_cap_usd_per_day = CAP", ""), "spend_cap_usd_per_day: missing; tier 'host' costs money"),
        (TIERS.replace('"groq"', '"grok"'), "no such preset: 'grok'; there are: "),
        (TIERS.replace('"embedded"', '"embeded"'), "tiers.0 (small).engine: Input should be 'embedded', 'vllm' or"),
    ],
)
def test_a_file_that_cannot_be_is_told_at_start(settings: Callable[..., Settings], text: str, told: str) -> None:
    with pytest.raises(SetupError, match=re.escape(told)):
        create_router(settings(text=text))


def test_a_paid_tier_needs_a_place_for_the_days_spend(settings: Callable[..., Settings]) -> None:
    with pytest.raises(SetupError, match="set EMOTION_SVC_SPEND_FILE to a file that can be written"):
        create_router(settings().model_copy(update={"spend_file": None}))

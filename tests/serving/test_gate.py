"""How often a client may come, and how many of its requests are in flight."""

import asyncio
import hashlib
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI, RateLimitError

from emotion_svc.config import Settings
from emotion_svc.serving.app import create_app
from emotion_svc.serving.rates import RateLimiter
from emotion_svc.serving.wires import EXAMPLE_TURN
from tests.serving.gated import Gated

KEYS = ",".join(
    f"{name}:{hashlib.sha256(name.encode()).hexdigest()}{limit}" for name, limit in (("robot", ":2"), ("ops", ""))
)


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_a_full_bucket_holds_the_requests_of_one_minute_and_fills_again() -> None:
    clock = Clock()
    rates = RateLimiter(clock=clock)
    assert [rates.wait_s("a", 3) for _ in range(3)] == [0, 0, 0]
    assert rates.wait_s("a", 3) == pytest.approx(20)
    clock.now += 19.9
    assert rates.wait_s("a", 3) == pytest.approx(0.1)
    clock.now += 0.1
    assert rates.wait_s("a", 3) == 0
    assert rates.wait_s("b", 3) == 0


@given(per_minute=st.integers(1, 5000), pauses=st.lists(st.floats(0, 30), max_size=60))
def test_never_more_than_a_bucket_and_what_flows_in_meanwhile(per_minute: int, pauses: list[float]) -> None:
    clock = Clock()
    rates = RateLimiter(clock=clock)
    began, taken = clock.now, 0
    for pause in pauses:
        clock.now += pause
        wait = rates.wait_s("a", per_minute)
        taken += wait == 0
        assert taken <= per_minute + (clock.now - began) * per_minute / 60 + 1e-3
        if wait:  # what was told holds
            clock.now += wait + 1e-6
            assert rates.wait_s("a", per_minute) == 0
            taken += 1


def test_only_so_many_clients_are_remembered_and_idle_ones_go_first() -> None:
    clock = Clock()
    rates = RateLimiter(max_clients=2, clock=clock)
    rates.wait_s("idle", 1)
    clock.now += 60
    rates.wait_s("a", 1)
    rates.wait_s("b", 1)
    assert rates.wait_s("a", 1) > 0
    rates.wait_s("c", 1)  # forgets a, who is known longest
    assert rates.wait_s("b", 1) > 0
    assert rates.wait_s("a", 1) == 0


def ask(client: httpx.Client, key: str | None = None, address: str | None = None) -> httpx.Response:
    headers = {}
    if key:
        headers["authorization"] = f"Bearer {key}"
    if address:
        headers["x-forwarded-for"] = address
    return client.post("/v1/classify", json=EXAMPLE_TURN, headers=headers)


def test_a_key_has_its_own_limit_and_the_others_are_not_touched(serve: Callable[..., httpx.Client]) -> None:
    client = serve(keys=KEYS)
    assert [ask(client, "robot").status_code for _ in range(3)] == [200, 200, 429]
    assert [ask(client, "ops").status_code for _ in range(5)] == [200] * 5
    refused = ask(client, "robot")
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert (refused.json()["error"]["kind"], refused.json()["error"]["retryable"]) == ("rate_limit_exceeded", True)
    text = client.get("/metrics").text
    assert 'emotion_svc_rate_limited_total{client="robot"} 2.0' in text
    assert 'emotion_svc_refused_total{reason="rate_limit_exceeded"} 2.0' in text
    assert 'emotion_svc_requests_total{status="429",wire="/v1/classify"} 2.0' in text


def test_who_is_not_let_in_is_counted_under_the_path_only_where_we_serve_it(serve: Callable[..., httpx.Client]) -> None:
    client = serve(keys=KEYS)
    assert ask(client).status_code == client.post("/v1/anything").status_code == 401
    text = client.get("/metrics").text
    assert 'emotion_svc_requests_total{status="401",wire="/v1/classify"} 1.0' in text
    assert 'emotion_svc_requests_total{status="401",wire="unknown"} 1.0' in text
    assert "anything" not in text


def test_a_key_without_a_limit_has_that_of_the_settings(serve: Callable[..., httpx.Client]) -> None:
    client = serve(keys=KEYS, client_requests_per_minute=1)
    assert [ask(client, "ops").status_code for _ in range(2)] == [200, 429]
    assert [ask(client, "robot").status_code for _ in range(3)] == [200, 200, 429]


def test_the_openai_client_sees_a_rate_limit(serve: Callable[..., httpx.Client]) -> None:
    url = f"{serve(keys=KEYS).base_url}/v1"
    with OpenAI(base_url=url, api_key="robot", max_retries=0) as openai:
        assert [len(openai.models.list().data) for _ in range(2)] == [2, 2]
        with pytest.raises(RateLimitError) as raised:
            openai.models.list()
    assert raised.value.code == "rate_limit_exceeded"
    assert int(raised.value.response.headers["retry-after"]) >= 1


def test_what_operators_ask_is_not_limited(serve: Callable[..., httpx.Client]) -> None:
    client = serve(client_requests_per_minute=1)
    for path in ("/healthz", "/readyz", "/metrics", "/docs"):
        assert [client.get(path).status_code for _ in range(3)] == [200] * 3


def test_without_keys_a_client_is_an_address_and_the_metrics_do_not_hold_it(serve: Callable[..., httpx.Client]) -> None:
    client = serve(client_requests_per_minute=1)
    assert [ask(client).status_code for _ in range(2)] == [200, 429]
    text = client.get("/metrics").text
    assert 'emotion_svc_rate_limited_total{client="anonymous"} 1.0' in text
    assert "127.0.0.1" not in text


def test_the_address_that_a_trusted_proxy_names_is_the_clients(serve: Callable[..., httpx.Client]) -> None:
    client = serve(client_requests_per_minute=1, trusted_proxies=("127.0.0.0/8",))
    addresses = ["192.0.2.1", "192.0.2.2", "2001:db8:0:1::1", "192.0.2.1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"]
    answered = [ask(client, address=address).status_code for address in addresses]
    assert answered == [200, 200, 200, 429, 429, 200]  # of IPv6 a client has a whole network


def test_nobody_else_is_believed_about_an_address(serve: Callable[..., httpx.Client]) -> None:
    client = serve(client_requests_per_minute=1)
    assert [ask(client, address=f"192.0.2.{i}").status_code for i in range(2)] == [200, 429]


async def test_a_client_has_only_so_many_requests_in_flight_and_the_others_are_not_touched() -> None:
    engine = Gated()
    app = create_app(engine, Settings(keys=KEYS, client_in_flight=1))
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:

        async def send(key: str) -> httpx.Response:
            turn = EXAMPLE_TURN | {"previous_answer": key}  # equal turns would be computed once
            return await client.post("/v1/classify", json=turn, headers={"authorization": f"Bearer {key}"})

        first = asyncio.create_task(send("ops"))
        await engine.entered.acquire()
        refused = await send("ops")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["error"]["kind"] == "too_many_at_once"
        other = asyncio.create_task(send("robot"))
        await engine.entered.acquire()

        engine.opened.set()
        assert [(await first).status_code, (await other).status_code] == [200, 200]
        assert (await send("ops")).status_code == 200

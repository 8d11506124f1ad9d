"""Bodies over the limit and work over the limit."""

import asyncio
import json
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from emotion_svc.config import Settings
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.serving.app import create_app
from tests.serving.gated import Gated

TURN = {"previous_question": "", "previous_answer": "", "response": "Xin chào!"}
OTHER, THIRD = TURN | {"response": "Tạm biệt!"}, TURN | {"response": "Hẹn gặp lại!"}
MIB = 1024 * 1024


def chunks(total: int, size: int = 64 * 1024) -> Iterator[bytes]:
    yield b'{"response":"'
    for _ in range(total // size):
        yield b"a" * size


def test_a_body_over_the_limit_is_refused_with_the_limit(client: httpx.Client) -> None:
    answer = client.post("/v1/classify", content=b"a" * (2 * MIB))
    assert answer.status_code == 413
    assert answer.json()["error"]["message"] == f"body: {2 * MIB} bytes; the limit is {MIB} bytes"


def test_a_body_that_does_not_say_its_length_is_counted(client: httpx.Client) -> None:
    answer = client.post("/v1/classify", content=chunks(2 * MIB))
    assert answer.status_code == 413
    assert answer.json()["error"]["message"] == f"body: more than {MIB} bytes; the limit is {MIB} bytes"


def test_a_body_of_exactly_the_limit_is_read(client: httpx.Client) -> None:
    assert client.post("/v1/classify", content=b" " * MIB).status_code == 422
    assert client.post("/v1/classify", content=b" " * (MIB + 1)).status_code == 413


def test_the_connection_can_be_used_again_after_a_refusal(client: httpx.Client) -> None:
    assert client.post("/v1/classify", content=b"a" * (2 * MIB)).status_code == 413
    assert client.post("/v1/classify", json=TURN).status_code == 200


def test_a_body_without_end_is_cut_off(client: httpx.Client) -> None:
    host, port = str(client.base_url.host), client.base_url.port
    assert port is not None
    with socket.create_connection((host, port), timeout=10) as sock:
        sock.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(ConnectionError):
            sock.sendall((b"10000\r\n" + b"a" * 0x10000 + b"\r\n") * 1024)
    assert client.post("/v1/classify", json=TURN).status_code == 200


def test_bodies_that_come_slowly_have_a_bound_together_and_keep_no_turn_out(serve: Callable[..., httpx.Client]) -> None:
    limit, places = 4_096, 32
    client = serve(max_body_bytes=limit, receive_timeout_s=60.0)
    host, port = client.base_url.host, client.base_url.port
    body = json.dumps(TURN).encode().ljust(limit)
    head = f"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: {limit}\r\n\r\n".encode()
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection((host, port), timeout=60)) for _ in range(places + 8)]
        for sock in slow:
            sock.sendall(head + body[:-1])
        refused: set[socket.socket] = set()
        while len(refused) < 8:  # all of a refused body is read, for as long as that is taken
            refused.update(select.select(set(slow) - refused, [], [], 60)[0])
            assert refused, "none is refused"
            assert client.post("/v1/classify", json=TURN).status_code == 200
        for sock in refused:
            answer = sock.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1\r\n" in answer
            assert b"the limit is 131072; come back later" in answer
        for sock in set(slow) - refused:
            sock.sendall(body[-1:])
            assert sock.recv(65_536).startswith(b"HTTP/1.1 200 ")
        again = stack.enter_context(socket.create_connection((host, port), timeout=60))
        again.sendall(head + body[:9])
        again.sendall(body[9:])
        assert again.recv(65_536).startswith(b"HTTP/1.1 200 ")
    assert 'emotion_svc_refused_total{reason="overloaded"} 8.0' in client.get("/metrics").text


def test_a_caller_that_goes_away_in_the_middle_disturbs_nobody(serve: Callable[..., httpx.Client]) -> None:
    engine = ScriptedEngine()
    client = serve(engine)
    assert client.base_url.port is not None
    with socket.create_connection((client.base_url.host, client.base_url.port)) as sock:
        sock.sendall(b'POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"response"')
    gone = 'emotion_svc_requests_total{status="499",wire="/v1/classify"} 1.0'
    assert any(gone in client.get("/metrics").text for _ in range(500))
    assert client.post("/v1/classify", json=TURN).status_code == 200
    assert len(engine.seen) == 2  # the canary and the one above


async def test_work_over_the_limit_is_refused_at_once_and_can_come_back_later() -> None:
    gate = Gated()
    app = create_app(gate, Settings(max_in_flight=2, max_batch=2))
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        waiting = asyncio.create_task(client.post("/v1/classify/batch", json={"turns": [TURN, OTHER]}))
        await gate.entered.acquire()

        refused = await client.post("/v1/classify", json=THIRD)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        problem = refused.json()["error"]
        assert (problem["kind"], problem["retryable"]) == ("overloaded", True)
        assert "2 turns are in work, and the limit is 2" in problem["message"]

        gate.opened.set()
        assert (await waiting).status_code == 200
        assert (await client.post("/v1/classify", json=TURN)).status_code == 200

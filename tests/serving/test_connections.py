"""Callers that are slow, endless or gone, over a socket."""

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import httpx
import pytest

from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.schema import Turn, Verdict
from tests.serving.conftest import START_S
from tests.serving.gated import Gated

TURN = {"previous_question": "", "previous_answer": "", "response": "Xin chào!"}
SOON = {"receive_timeout_s": 0.2}
BEGUN = b"POST /v1/classify HTTP/1.1\r\nHost: x\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
HUGE = b"x-a: " + b"a" * 200_000


@contextmanager
def connection(client: httpx.Client) -> Iterator[socket.socket]:
    assert client.base_url.port is not None
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=START_S) as sock:
        yield sock


def answer_to(client: httpx.Client, sent: bytes) -> bytes:
    """All that comes until the other side closes."""
    with connection(client) as sock:
        sock.sendall(sent)
        return b"".join(iter(lambda: sock.recv(65_536), b""))


def metric(client: httpx.Client, line: str) -> bool:
    """Whether the metrics come to have this line."""
    return any(f"\n{line}\n" in client.get("/metrics").text for _ in range(2000))


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/classify/batch", "/v1/chat/completions", "/v1/decisions"])
def test_a_body_that_stalls_is_cut_off_and_told_why(serve: Callable[..., httpx.Client], path: str) -> None:
    client = serve(**SOON)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n".encode()
    answer = answer_to(client, head + b'{"response"')
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert b"body: 11 bytes of it came within 0.2 s, which is the limit" in answer
    assert metric(client, 'emotion_svc_refused_total{reason="too_slow"} 1.0')


def test_a_body_that_trickles_has_no_more_time_than_one_that_stalls(serve: Callable[..., httpx.Client]) -> None:
    client = serve(**SOON)
    with connection(client) as sock:
        sock.settimeout(0.02)
        sock.sendall(BEGUN + b"Transfer-Encoding: chunked\r\n\r\n")
        answer = b""
        while not answer:
            sock.sendall(b"1\r\na\r\n")
            try:
                answer = sock.recv(65_536)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("sent", [BEGUN, b"P", b"\r\n", b"GET /healthz HTTP/1.1\r\nX-A: " + b"a" * 10_000])
def test_headers_that_stall_are_cut_off(serve: Callable[..., httpx.Client], sent: bytes) -> None:
    assert answer_to(serve(**SOON), sent).startswith(b"HTTP/1.1 408 ")


def test_a_connection_on_which_nothing_comes_is_closed(serve: Callable[..., httpx.Client]) -> None:
    assert answer_to(serve(**SOON), b"") == b""


def test_headers_that_stall_after_an_answer_are_cut_off(serve: Callable[..., httpx.Client]) -> None:
    with connection(serve(**SOON)) as sock:
        sock.sendall(HEALTH)
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200 ")
        sock.sendall(b"GET /heal")
        assert sock.recv(65_536).startswith(b"HTTP/1.1 408 ")
        assert sock.recv(65_536) == b""


def test_between_two_requests_a_connection_may_be_idle_for_longer(serve: Callable[..., httpx.Client]) -> None:
    client = serve(**SOON)
    with connection(client) as sock:
        for _ in range(2):
            sock.sendall(HEALTH)
            assert sock.recv(65_536).startswith(b"HTTP/1.1 200 ")
            assert answer_to(client, b"GET /heal").startswith(b"HTTP/1.1 408 ")  # so much time is over now


@pytest.mark.parametrize(
    "sent",
    [
        BEGUN + HUGE,
        b"GET /" + b"a" * 200_000,
        BEGUN + b"x: y\r\n" * 50_000,
        BEGUN + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + HUGE,
        BEGUN + b"Transfer-Encoding: chunked\r\n\r\n1;a=" + b"a" * 200_000,
    ],
    ids=["a header", "a path", "many headers", "a trailer", "a chunk's extension"],
)
def test_what_is_no_body_has_a_limit_too(serve: Callable[..., httpx.Client], sent: bytes) -> None:
    client = serve()
    with connection(client) as sock:
        try:
            sock.sendall(sent)
            got = sock.recv(65_536)
        except ConnectionError:  # it was closed while we sent
            got = b""
    assert got == b"" or got.startswith(b"HTTP/1.1 431 ")
    assert client.post("/v1/classify", json=TURN).status_code == 200


def test_a_body_in_many_small_chunks_is_read(client: httpx.Client) -> None:
    text = b'{"previous_question":"","previous_answer":"","response":"' + b"a" * 1000 + b'"}'
    chunks = (text[place : place + 1] for place in range(len(text)))
    assert client.post("/v1/classify", content=chunks).status_code == 200


class Slow(Gated):
    """Tells what became of its work."""

    def __init__(self) -> None:
        super().__init__()
        self.cancelled = 0

    async def classify(self, turns: Sequence[Turn]) -> list[Verdict]:
        try:
            return await super().classify(turns)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/chat/completions"])
def test_a_caller_that_goes_away_frees_its_place(serve: Callable[..., httpx.Client], path: str) -> None:
    engine = Slow()
    client = serve(engine, max_in_flight=1, max_batch=1, client_in_flight=1)
    message = {"role": "user", "content": "Response to check: Xin chào!"}
    body = httpx.Request(
        "POST", "http://x", json={"model": "scripted", "messages": [message]} if "chat" in path else TURN
    )
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body.content)}\r\n\r\n".encode()
    with connection(client) as sock:
        sock.sendall(head + body.content)
        assert metric(client, "emotion_svc_turns_in_flight 1.0")
        assert client.post("/v1/classify", json=TURN).status_code == 429
    assert metric(client, "emotion_svc_turns_in_flight 0.0")
    assert metric(client, f'emotion_svc_requests_total{{status="499",wire="{path}"}} 1.0')
    assert engine.cancelled == 1
    engine.opened.set()
    assert client.post("/v1/classify", json=TURN).status_code == 200


def test_a_caller_that_has_its_answer_may_go(serve: Callable[..., httpx.Client]) -> None:
    client = serve(ScriptedEngine())
    for _ in range(20):
        with httpx.Client(base_url=client.base_url) as once:
            assert once.post("/v1/classify", json=TURN).status_code == 200
    assert metric(client, 'emotion_svc_requests_total{status="200",wire="/v1/classify"} 20.0')
    assert 'status="499"' not in client.get("/metrics").text


def test_the_rest_of_a_body_that_was_refused_has_a_time_too(serve: Callable[..., httpx.Client]) -> None:
    client = serve(keys=f"robot:{'0' * 64}", **SOON)
    answer = answer_to(client, BEGUN + b"Content-Length: 100\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert answer.count(b"HTTP/1.1") == 1

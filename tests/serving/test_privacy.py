"""A child's words reach no log, metric, trace or error: a marker is put everywhere and looked for everywhere."""

import asyncio
import io
import json
import logging
import socket
from collections.abc import Callable, Iterator

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from emotion_svc.config import Settings
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.errors import EngineUnavailable
from emotion_svc.serving.logs import JsonLines
from tests.serving.conftest import listening
from tests.serving.process import Process

MARK = "Zanzibar"
TURN = {"previous_question": MARK, "previous_answer": MARK, "response": MARK}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that any logger says at any level, as the service writes it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(1)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


LINES = f"Previous Question: {MARK}\nPrevious Answer: {MARK}\nResponse to check: {MARK}"
CHAT = {
    "model": "scripted",
    "messages": [{"role": "system", "content": MARK}, {"role": "user", "content": LINES}],
    "user": MARK,
    "stop": [MARK],
}
QUESTION = {"type": "predicate", "name": "learn_score", "instructions": MARK}
FACE = {
    "type": "choice",
    "name": "emotion",
    "instructions": MARK,
    "choices": [{"value": MARK, MARK: MARK}],
    MARK: 1,
}
DECISION = {"model": "scripted", "input": LINES, "questions": [QUESTION], "safety_identifier": MARK}

BODIES = {
    "a turn": json.dumps(TURN),
    "an unknown field": json.dumps(TURN | {MARK: MARK}),
    "a key and a value that are swapped": json.dumps({"response": "Giỏi quá!", MARK: 1}),
    "wrong types": json.dumps({name: [MARK, {MARK: MARK}] for name in TURN}),
    "a bare text": json.dumps(MARK),
    "no JSON": '{"response": "' + MARK,
    "a surrogate and no JSON": '{"response": "\\ud800' + MARK,
    "a long field": json.dumps(TURN | {"response": MARK * 1000}),
    "a long body": json.dumps(TURN | {"response": MARK * 200_000}),
    "a batch": json.dumps({"turns": [TURN, TURN]}),
    "a batch with a bad turn": json.dumps({"turns": [TURN, {"response": MARK}]}),
    "a batch with unknown fields": json.dumps({"turns": [TURN, TURN | {MARK: 1}], MARK: 1}),
    "a chat": json.dumps(CHAT),
    "a streamed chat": json.dumps(CHAT | {"stream": True}),
    "a chat with an unknown model": json.dumps(CHAT | {"model": MARK}),
    "a chat without a turn": json.dumps(CHAT | {"messages": [{"role": "user", "content": MARK}]}),
    "a chat of no form": json.dumps(CHAT | {"messages": [{"role": MARK, "content": [{MARK: MARK}]}]}),
    "a chat with a constraint": json.dumps(CHAT | {"response_format": {"type": MARK}}),
    "a chat with wrong types": json.dumps({name: {MARK: MARK} for name in CHAT} | {MARK: 1}),
    "a chat with unknown fields": json.dumps(CHAT | {"stream": True, "stream_options": {MARK: 1}, MARK: 1}),
    "a decision": json.dumps(DECISION),
    "a decision about anything": json.dumps(DECISION | {"questions": [QUESTION | {"name": MARK, MARK: MARK}]}),
    "a decision with unknown fields": json.dumps(DECISION | {"questions": [FACE], MARK: 1}),
    "a decision of no form": json.dumps(DECISION | {"input": [{"role": "user", "content": [{MARK: MARK}]}]}),
}


PATHS = (
    "/v1/classify",
    "/v1/classify?detail=true",
    "/v1/classify/batch",
    f"/v1/{MARK}",
    f"/v1/classify?a={MARK}",
    f"/v1/classify?{MARK}=1",
    f"/v1/classify?model={MARK}",
    "/v1/chat/completions",
    "/v1/decisions",
    f"/v1/models?{MARK}={MARK}",
)


HEADER_NAMES = (
    "accept", "accept-language", "authorization", "baggage", "content-type", "cookie", "forwarded", "from", "host",
    "origin", "referer", "tracestate", "traceparent", "user-agent", "via", "x-deadline-ms", "x-forwarded-for",
    "x-forwarded-proto", "x-real-ip", MARK,
)  # fmt: skip
"""What proxies, browsers and clients send, and one that nobody knows."""
HEADERS = dict.fromkeys(HEADER_NAMES, MARK) | {"x-request-id": f"{MARK} {MARK}", "authorization": f"Bearer {MARK}"}
"""A plain word is a fine id of a request, and is given back as one; a sentence is none."""

REQUESTS = {
    "no HTTP": f"{MARK}\r\n\r\n",
    "an unknown method": f"{MARK} /v1/classify HTTP/1.1\r\n\r\n",
    "a wrong version": f"POST /{MARK} HTTP/{MARK}\r\n\r\n",
    "a wrong header": f"POST / HTTP/1.1\r\n{MARK} {MARK}: {MARK}\r\n\r\n",
    "a wrong length": f"POST / HTTP/1.1\r\nContent-Length: {MARK}\r\n\r\n",
    "a wrong chunk": f"POST /v1/classify HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{MARK}\r\n",
    "another protocol": f"GET /{MARK} HTTP/1.1\r\nUpgrade: {MARK}\r\nConnection: upgrade, close\r\n\r\n",
    "a websocket": f"GET /{MARK} HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n\r\n",
    "a path that is no text": f"GET /%ff{MARK} HTTP/1.1\r\nConnection: close\r\n\r\n",
    "half a header": f"POST / HTTP/1.1\r\nx: {MARK}",
    "half a body": f"POST /v1/classify HTTP/1.1\r\nContent-Length: 99\r\n\r\n{MARK}",
}


def send(url: httpx.URL, request: str) -> str:
    """The answer to these bytes, after which nothing more is sent."""
    assert url.port is not None
    with socket.create_connection((url.host, url.port), timeout=30) as sock:
        sock.sendall(request.encode())
        return b"".join(iter(lambda: sock.recv(65_536), b"")).decode()


def replies(client: httpx.Client) -> Iterator[tuple[str, str]]:
    """What comes back for every body on every path, with every header and with none, and for what is no request."""
    for name, body in BODIES.items():
        for path in PATHS:
            for headers in ({}, HEADERS):
                reply = client.post(path, content=body, headers=headers)
                yield f"{name}, sent to {path}", f"{reply.text} {reply.headers}"
    for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/v1/models", f"/v1/models/{MARK}"):
        reply = client.get(f"{path}?{MARK}={MARK}", headers=HEADERS)
        yield path, f"{reply.text} {reply.headers}"
    for name, request in REQUESTS.items():
        yield name, send(client.base_url, request)


PROXIED = Settings(
    receive_timeout_s=0.2, trusted_proxies=("127.0.0.1",), cors_origins=("https://x",), client_in_flight=1
)
LOCKED = Settings(receive_timeout_s=0.2, keys=f"robot:{'0' * 64}", keys_cover="all")


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        (PROXIED, None),
        (PROXIED, EngineUnavailable("no engine")),
        (PROXIED, RuntimeError(f"cannot tokenize {MARK}")),
        (LOCKED, None),
    ],
    ids=["answered", "an engine that is gone", "a defect", "no key"],
)
def test_no_word_of_a_turn_leaves_but_to_the_engine(
    settings: Settings, log: io.StringIO, capfd: pytest.CaptureFixture[str], answer: Exception | None
) -> None:
    engine = ScriptedEngine({MARK: answer} if answer else {})
    exporter, tracing = InMemorySpanExporter(), TracerProvider()
    tracing.add_span_processor(SimpleSpanProcessor(exporter))
    with listening(engine, settings, tracing=tracing) as client:
        for name, reply in replies(client):
            assert MARK not in reply, name
        assert MARK not in client.get("/metrics").text
    spans = exporter.get_finished_spans()
    assert len(spans) > len(BODIES) * len(PATHS)
    assert not [span for span in spans if MARK in span.to_json() or MARK in str(span.context.trace_state)]
    logged = log.getvalue()
    assert '"event": "request"' in logged
    assert MARK not in logged
    assert MARK not in "".join(capfd.readouterr())


def test_an_exception_is_logged_by_type_and_place(serve: Callable[..., httpx.Client], log: io.StringIO) -> None:
    client = serve(ScriptedEngine({MARK: RuntimeError(MARK)}))
    client.post("/v1/classify", json=TURN, headers={"x-request-id": "r-1"})
    [line] = [line for line in map(json.loads, log.getvalue().splitlines()) if line["event"] == "unexpected"]
    assert (line["level"], line["error"], line["request_id"]) == ("error", "RuntimeError", "r-1")
    assert any("scripted.py" in place for place in line["where"])


def test_each_request_has_one_line_in_the_log(client: httpx.Client, log: io.StringIO) -> None:
    client.post("/v1/classify", json=TURN, headers={"x-request-id": "r-2"})
    client.get("/healthz")  # its line comes after the one above
    lines = [line for line in map(json.loads, log.getvalue().splitlines()) if line.get("request_id") == "r-2"]
    [line] = [line for line in lines if line["level"] != "debug"]
    assert line["event"] == "request"
    assert (line["method"], line["wire"], line["status"]) == ("POST", "/v1/classify", 200)
    assert line["ms"] > 0


async def test_an_exception_that_nobody_caught_is_logged_without_its_text(log: io.StringIO) -> None:
    loop = asyncio.get_running_loop()
    loop.call_exception_handler({"message": f"exception={MARK!r}", "exception": RuntimeError(MARK)})
    [line] = [line for line in map(json.loads, log.getvalue().splitlines()) if line["level"] == "error"]
    assert (line["logger"], line["error"]) == ("asyncio", "RuntimeError")
    assert MARK not in log.getvalue()


def test_a_process_prints_no_word_of_a_turn_at_its_highest_log_level(start: Callable[..., Process]) -> None:
    process = start(log_level="debug", receive_timeout_s="0.2")
    with httpx.Client(base_url=process.url) as client:
        for name, reply in replies(client):
            assert MARK not in reply, name
        assert MARK not in client.get("/metrics").text
    log = process.stop()
    events = {json.loads(line)["event"] for line in log.splitlines()}
    assert {"begun", "request", "Invalid HTTP request received.", "headers did not come in time"} <= events
    assert MARK not in log + "".join(process.greeting)

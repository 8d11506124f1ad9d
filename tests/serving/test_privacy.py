"""A child's words reach no log, no metric and no error: a marker is put everywhere and looked for everywhere."""

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator

import httpx
import pytest

from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.errors import EngineUnavailable
from emotion_svc.serving.logs import JsonLines

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
DECISION = {"model": "scripted", "input": LINES, "questions": [QUESTION], "safety_identifier": MARK}

BODIES = {
    "a turn": json.dumps(TURN),
    "an unknown field": json.dumps(TURN | {f"{MARK} {MARK}": MARK}),
    "wrong types": json.dumps({name: [MARK, {MARK: MARK}] for name in TURN}),
    "a bare text": json.dumps(MARK),
    "no JSON": '{"response": "' + MARK,
    "a surrogate and no JSON": '{"response": "\\ud800' + MARK,
    "a long field": json.dumps(TURN | {"response": MARK * 1000}),
    "a long body": json.dumps(TURN | {"response": MARK * 200_000}),
    "a batch": json.dumps({"turns": [TURN, TURN]}),
    "a batch with a bad turn": json.dumps({"turns": [TURN, {"response": MARK}]}),
    "a chat": json.dumps(CHAT),
    "a streamed chat": json.dumps(CHAT | {"stream": True}),
    "a chat with an unknown model": json.dumps(CHAT | {"model": MARK}),
    "a chat without a turn": json.dumps(CHAT | {"messages": [{"role": "user", "content": MARK}]}),
    "a chat of no form": json.dumps(CHAT | {"messages": [{"role": MARK, "content": [{MARK: MARK}]}]}),
    "a chat with a constraint": json.dumps(CHAT | {"response_format": {"type": MARK}}),
    "a chat with wrong types": json.dumps({name: {f"{MARK} {MARK}": MARK} for name in CHAT}),
    "a decision": json.dumps(DECISION),
    "a decision about anything": json.dumps(DECISION | {"questions": [QUESTION | {"name": MARK, f"{MARK}!": MARK}]}),
    "a decision of no form": json.dumps(DECISION | {"input": [{"role": "user", "content": [{MARK: MARK}]}]}),
}


PATHS = (
    "/v1/classify",
    "/v1/classify?detail=true",
    "/v1/classify/batch",
    f"/v1/{MARK}",
    f"/v1/classify?a={MARK}",
    "/v1/chat/completions",
    "/v1/decisions",
    f"/v1/models?{MARK}={MARK}",
)


@pytest.mark.parametrize("answer", [None, EngineUnavailable("no engine"), RuntimeError(f"cannot tokenize {MARK}")])
def test_no_word_of_a_turn_leaves_but_to_the_engine(
    serve: Callable[..., httpx.Client], log: io.StringIO, answer: Exception | None
) -> None:
    engine = ScriptedEngine({MARK: answer} if answer else {})
    client = serve(engine)
    for name, body in BODIES.items():
        for path in PATHS:
            reply = client.post(path, content=body)
            assert MARK not in f"{reply.text} {reply.headers}", f"{name}, sent to {path}"
    assert MARK not in client.get("/metrics").text
    ours = [line for line in log.getvalue().splitlines() if not json.loads(line)["logger"].startswith("http")]
    assert '"event": "request"' in "".join(ours)
    assert MARK not in "".join(ours)


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

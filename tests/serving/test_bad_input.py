"""What is no turn is refused with its field and a reason, and never repeated. Nothing is computed for it."""

import json
from collections.abc import Iterator

import httpx
import pytest

from emotion_svc.engines.scripted import ScriptedEngine

WORD = "xylophone"
TURN = {"previous_question": WORD, "previous_answer": WORD, "response": WORD}


def without(field: str) -> dict[str, str]:
    return {name: text for name, text in TURN.items() if name != field}


@pytest.fixture(autouse=True)
def _nothing_is_computed(scripted_engine: ScriptedEngine, client: httpx.Client) -> Iterator[None]:
    before = len(scripted_engine.seen)
    yield
    assert len(scripted_engine.seen) == before


def refused(answer: httpx.Response, status: int, kind: str) -> str:
    """The message of a problem, which repeats no text of the turn."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert WORD not in answer.text
    [(key, problem)] = answer.json().items()
    assert key == "error"
    assert problem["kind"] == kind
    assert problem["retryable"] is False
    message: str = problem["message"]
    return message


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (without("response"), "response: missing"),
        (without("previous_answer"), "previous_answer: missing"),
        ({}, "previous_question: missing; previous_answer: missing; response: missing"),
        (TURN | {"mood": 1}, f"body: an unknown field (4 characters; known are {', '.join(TURN)})"),
        (TURN | {WORD: "response"}, "body: an unknown field (9 characters; known are"),
        (TURN | {"\ud800": WORD}, "body: an unknown field (1 characters; known are"),
        (without("response") | {"reponse": WORD}, "response: missing; body: an unknown field (7 characters"),
        (TURN | {"response": None}, "response: expected a text, found null"),
        (TURN | {"response": 7}, "response: expected a text, found a number"),
        (TURN | {"response": True}, "response: expected a text, found a boolean"),
        (TURN | {"previous_question": [WORD]}, "previous_question: expected a text, found a list"),
        (TURN | {"previous_answer": {"text": WORD}}, "previous_answer: expected a text, found an object"),
        (TURN | {"response": ""}, "response: expected a text that is not empty"),
        (TURN | {"response": " \u200b\n"}, "response: expected a text that is not empty"),
        ([TURN], "body: expected an object, found a list"),
        (WORD, "body: expected an object, found a text"),
        (None, "body: expected an object, found null"),
        (dict.fromkeys([WORD, "b", "c"], 1), "body: 3 unknown fields (9, 1, 1 characters; known are"),
        (dict.fromkeys("abcdefg", 1), "body: 7 unknown fields (1, 1, 1, 1, 1, … characters; known are"),
    ],
)
def test_what_is_no_turn_is_refused_with_the_field_and_what_was_expected(
    client: httpx.Client, body: object, reason: str
) -> None:
    message = refused(client.post("/v1/classify", content=json.dumps(body)), 422, "invalid_turn")
    assert reason in message
    assert "a turn is an object with previous_question, previous_answer, response" in message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        WORD.encode(),
        b'{"response": "' + WORD.encode() + b'",}',
        b'{"response": "' + WORD.encode() + b'\x00"}',
        b'{"response": "\xff"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 100_000,
    ],
)
@pytest.mark.parametrize("path", ["/v1/classify", "/v1/classify/batch"])
def test_what_is_no_json_is_refused(client: httpx.Client, path: str, body: bytes) -> None:
    message = refused(client.post(path, content=body), 422, "invalid_turn")
    assert f"body: expected JSON, found {len(body)} bytes that are none" in message


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "turns: missing"),
        (TURN, "turns: missing; body: 3 unknown fields (17, 15, 8 characters; known are turns)"),
        ({"turns": TURN}, "turns: expected a list, found an object"),
        ({"turns": None}, "turns: expected a list, found null"),
        ({"turns": [TURN, WORD]}, "turns.1: expected an object, found a text"),
        ({"turns": [TURN, TURN, without("response")]}, "turns.2.response: missing"),
        ({"turns": [TURN], WORD: 1}, "body: an unknown field (9 characters; known are turns)"),
        ({"turns": [TURN, TURN | {WORD: 1}]}, "turns.1: an unknown field (9 characters; known are previous_question,"),
        ({"turns": [{}, {}]}, "turns.1.previous_answer: missing; and 1 more"),
        ([TURN], "body: expected an object, found a list"),
    ],
)
def test_one_bad_turn_refuses_the_batch_and_is_named(client: httpx.Client, body: object, reason: str) -> None:
    message = refused(client.post("/v1/classify/batch", json=body), 422, "invalid_turn")
    assert reason in message
    assert 'a batch is {"turns": [turn, …]}' in message


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("detail=maybe", "query.detail: expected true or false, found a text"),
        ("detial=true", "query: an unknown field (6 characters; known are detail, model)"),
        (f"detail={WORD}", "query.detail: expected true or false, found a text"),
        (f"{WORD}%20{WORD}=1", "query: an unknown field (19 characters; known are detail, model)"),
    ],
)
def test_an_option_that_does_not_exist_is_refused(client: httpx.Client, query: str, reason: str) -> None:
    assert refused(client.post(f"/v1/classify?{query}", json=TURN), 422, "invalid_turn") == reason


@pytest.mark.parametrize("field", TURN)
def test_a_field_over_the_limit_is_refused_with_the_limit(client: httpx.Client, field: str) -> None:
    answer = client.post("/v1/classify", json=TURN | {field: WORD * 445})
    assert refused(answer, 413, "too_large") == f"{field}: 4005 characters; the limit is 4000"


def test_characters_are_counted_as_they_were_sent(client: httpx.Client) -> None:
    answer = client.post("/v1/classify", json=TURN | {"response": "a" + " " * 4000})
    assert refused(answer, 413, "too_large") == "response: 4001 characters; the limit is 4000"


def test_a_long_field_in_a_batch_is_named(client: httpx.Client) -> None:
    answer = client.post("/v1/classify/batch", json={"turns": [TURN, TURN | {"response": WORD * 500}]})
    assert refused(answer, 413, "too_large") == "turns.1.response: 4500 characters; the limit is 4000"


def test_a_batch_over_the_limit_is_refused_with_the_limit(client: httpx.Client) -> None:
    answer = client.post("/v1/classify/batch", json={"turns": [TURN] * 257})
    assert refused(answer, 413, "too_large") == "turns: 257 turns; the limit is 256"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_wrong_method_is_refused_and_the_right_one_is_named(client: httpx.Client, method: str) -> None:
    answer = client.request(method, "/v1/classify")
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/classify/", f"/{WORD}", "/v1/classify/batch/x", "/redoc"])
def test_an_unknown_path_is_not_found(client: httpx.Client, path: str) -> None:
    refused(client.post(path, json=TURN), 404, "not_found")

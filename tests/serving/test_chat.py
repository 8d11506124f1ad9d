"""The chat wire, over a socket: which words hold a turn, what is taken, what is refused and in which form."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.errors import DeadlineExceeded, EngineUnavailable, Overloaded, ServiceError
from emotion_svc.schema import Answer, Turn

WORD = "xylophone"
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
LINES = "Previous Question: Con mèo tiếng Anh là gì?\nPrevious Answer: cat\nResponse to check: Chính xác, cat đó!"
TURN = Turn(previous_question="Con mèo tiếng Anh là gì?", previous_answer="cat", response="Chính xác, cat đó!")
REQUEST: dict[str, Any] = {
    "model": MODEL,
    "messages": [
        {"role": "system", "content": "You are an emotion classifier. Answer in JSON. " * 40},
        {"role": "user", "content": LINES},
    ],
    "temperature": 0,
    "max_tokens": 50,
    "stop": ["}"],
    "top_p": 1,
    "stream": False,
}


def saying(content: object, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **fields}


def ask(client: httpx.Client, body: object) -> httpx.Response:
    return client.post("/v1/chat/completions", content=json.dumps(body))


def refused(answer: httpx.Response, status: int, param: str | None = None, code: str = "invalid_request") -> str:
    """The message of an error in OpenAI's form, which repeats no text of the turn."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert WORD not in answer.text
    [(key, error)] = answer.json().items()
    assert key == "error"
    assert set(error) == {"message", "type", "param", "code"}
    fault = "server_error" if status >= 500 else "invalid_request_error"
    assert (error["type"], error["param"], error["code"]) == (fault, param, code)
    message: str = error["message"]
    return message


def test_the_robots_present_request_gets_a_whole_completion(client: httpx.Client) -> None:
    answer = ask(client, REQUEST)
    assert answer.status_code == 200
    assert answer.headers["server-timing"].startswith("queue;dur=")
    completion = answer.json()
    assert completion.pop("id").startswith("chatcmpl-")
    assert completion.pop("created") > 1_700_000_000
    assert completion == {
        "object": "chat.completion",
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": '{"emotion":"thats_right","learn_score":true}',
                    "refusal": None,
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        # The fields have 29, 3 and 22 bytes and the answer 44; four make a token.
        "usage": {"prompt_tokens": 8 + 1 + 6, "completion_tokens": 11, "total_tokens": 26},
        "system_fingerprint": "0" * 16,
    }


def test_a_stream_is_events_up_to_done(client: httpx.Client) -> None:
    answer = ask(client, REQUEST | {"stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("\n\n")
    events = answer.text.removesuffix("\n\n").split("\n\n")
    assert all(event.startswith("data: ") for event in events)
    assert events.pop() == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert [(chunk["choices"][0]["delta"], chunk["choices"][0]["finish_reason"]) for chunk in chunks] == [
        ({"role": "assistant", "content": ""}, None),
        ({"content": '{"emotion":"thats_right","learn_score":true}'}, None),
        ({}, "stop"),
    ]
    assert not any("usage" in chunk for chunk in chunks)


class CountingEngine(ScriptedEngine):
    def count_tokens(self, turn: Turn, answer: Answer) -> tuple[int, int]:
        return len(turn.response.split()), 4


def test_an_engine_that_counts_tokens_is_asked(serve: Callable[..., httpx.Client]) -> None:
    usage = ask(serve(CountingEngine()), REQUEST).json()["usage"]
    assert usage == {"prompt_tokens": 4, "completion_tokens": 4, "total_tokens": 8}


@pytest.mark.parametrize(
    "text",
    [
        LINES,
        LINES.replace("\n", "\r\n"),
        LINES.replace("\n", "\r"),
        LINES.replace("\n", "\n\n"),
        LINES.upper().replace("CON MÈO TIẾNG ANH LÀ GÌ?", TURN.previous_question)
        .replace(": CAT", ": cat")
        .replace("CHÍNH XÁC, CAT ĐÓ!", TURN.response),
        "  previous   question :Con mèo tiếng Anh là gì?  \n\tprevious answer:cat\n\n response\u00a0to check :  "
        "Chính xác, cat đó!  ",
        "Judge this turn.\n\n" + LINES,
        "Response to check: Chính xác, cat đó!\nPrevious Answer: cat\nPrevious Question: Con mèo tiếng Anh là gì?",
        "Previous Question: Con mèo\ntiếng Anh\nlà gì?\nPrevious Answer:\ncat\nResponse to check:\n"
        "Chính xác,\n\ncat đó!\n",
        [{"type": "text", "text": LINES}],
        [{"type": "text", "text": line} for line in LINES.split("\n")],
    ],
    ids=[
        "lines", "CRLF", "CR", "empty lines", "capitals", "spaces", "words before", "other order", "fields over lines",
        "a part", "parts",
    ],
)  # fmt: skip
def test_however_the_lines_are_written_it_is_the_same_turn(
    client: httpx.Client, scripted_engine: ScriptedEngine, text: object
) -> None:
    assert ask(client, saying(text)).status_code == 200
    assert scripted_engine.seen[-1] == TURN


@pytest.mark.parametrize(
    ("text", "turn"),
    [
        ("Response to check: Hi!", ("", "", "Hi!")),
        ("Previous Answer: cat\nResponse to check: Hi!", ("", "cat", "Hi!")),
        ("Previous Question:\nPrevious Answer:\nResponse to check: Hi!", ("", "", "Hi!")),
        ("Previous Question: Response to check: x\nResponse to check: Hi!", ("Response to check: x", "", "Hi!")),
        ("PREVIOUſ ANSWER: a\nResponse to chec\u212a: Hi!", ("", "a", "Hi!")),
        ("Response to check: One.\nTwo: three.\nFour.", ("", "", "One. Two: three. Four.")),
        (
            "Previous Question: q\nPrevious Answer: a\nResponse to check: Hi\nPrevious Answer: b\nResponse to check: c",
            ("q", "a", "Hi Previous Answer: b Response to check: c"),
        ),
    ],
    ids=[
        "response alone",
        "no question",
        "empty fields",
        "a name in a line",
        "odd capitals",
        "several lines",
        "names again",
    ],
)
def test_what_stands_between_the_names_is_the_field(
    client: httpx.Client, scripted_engine: ScriptedEngine, text: str, turn: tuple[str, str, str]
) -> None:
    assert ask(client, saying(text)).status_code == 200
    seen = scripted_engine.seen[-1]
    assert (seen.previous_question, seen.previous_answer, seen.response) == turn


def test_only_the_last_message_is_used(client: httpx.Client, scripted_engine: ScriptedEngine) -> None:
    messages = [
        {"role": "developer", "content": "Previous Question: no"},
        {"role": "user", "content": "Response to check: no"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": LINES},
    ]
    assert ask(client, {"model": MODEL, "messages": messages}).status_code == 200
    assert scripted_engine.seen[-1] == TURN


@pytest.mark.parametrize(
    "text",
    ["", WORD, f"Previous Question: {WORD}", "Response to check:", "Response to check: \u200b\n", f"Response: {WORD}",
     f"{WORD} Response to check: {WORD}", f"Previous Question: {WORD} / Response to check: {WORD}"],
)  # fmt: skip
def test_a_message_that_holds_no_turn_is_refused_and_told_the_form(client: httpx.Client, text: str) -> None:
    message = refused(ask(client, saying(text)), 400, "messages")
    assert "'Response to check: …', which is not empty" in message


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "messages: expected a list that is not empty"),
        (WORD, "messages: expected a list, found a text"),
        ([WORD], "messages.0: expected an object, found a text"),
        ([{"role": "user"}], "messages: expected the content of the user's message to be a text"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": WORD}}]}], "parts of the type text"),
        ([{"role": "user", "content": [WORD]}], "parts of the type text"),
        ([{"role": "system", "content": LINES}], "expected the last message to be the user's"),
        ([{"role": "user", "content": LINES}, {"role": "assistant", "content": WORD}], "the last message to be the"),
        (
            [{"role": "tool", "content": WORD}, {"role": "user", "content": LINES}],
            "messages.0: expected a message with",
        ),
        ([{"role": WORD, "content": LINES}], "messages.0: expected a message with the role system, developer, user"),
    ],
)
def test_messages_of_another_form_are_refused(client: httpx.Client, messages: object, reason: str) -> None:
    assert reason in refused(ask(client, {"model": MODEL, "messages": messages}), 400, "messages")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("temperature", "warm", "expected a number, found a text"),
        ("temperature", 3, "expected a number that is at most 2"),
        ("temperature", float("nan"), "expected a number that is"),
        ("top_p", -0.1, "expected a number that is at least 0"),
        ("max_tokens", 0, "expected a number that is at least 1"),
        ("max_tokens", 1.5, "expected a whole number, found a number"),
        ("stop", 7, "stop.text: expected a text, found a number"),
        ("stop", [7], "stop.list.0: expected a text, found a number"),
        ("stream", "yes", "expected true or false, found a text"),
        ("metadata", WORD, "expected an object, found a text"),
        ("model", None, "expected a text, found null"),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused_and_named(
    client: httpx.Client, field: str, value: object, reason: str
) -> None:
    message = refused(ask(client, REQUEST | {field: value}), 400, field)
    assert message.startswith(field)
    assert reason in message


def test_an_unknown_field_is_refused(client: httpx.Client) -> None:
    message = refused(ask(client, REQUEST | {"tempreature": 0}), 400)
    assert message.startswith("body: an unknown field (11 characters; known are model, messages, stream,")
    assert "(11 characters;" in refused(ask(client, REQUEST | {"guided_wish": 0}), 400)
    message = refused(ask(client, REQUEST | {"stream": True, "stream_options": {"pace": 1}}), 400, "stream_options")
    assert message == ("stream_options: an unknown field (4 characters; known are include_usage, include_obfuscation)")


def test_stream_options_without_a_stream_are_refused(client: httpx.Client) -> None:
    options = {"stream_options": {"include_usage": True}}
    assert 'only together with "stream": true' in refused(ask(client, REQUEST | options), 400, "stream_options")


@pytest.mark.parametrize("body", [b"", b"{", WORD.encode(), b'"x"', b"[]", b"null", b"[" * 100_000, b'{"\xff": 1}'])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/decisions"])
def test_what_is_no_object_is_refused(client: httpx.Client, path: str, body: bytes) -> None:
    message = refused(client.post(path, content=body), 400)
    assert message == f"body: expected a JSON object, found {len(body)} bytes that are none"


@pytest.mark.parametrize("name", [WORD, "", "gpt-4", "\ud800", MODEL.lower()])
def test_an_unknown_model_is_not_found_and_the_known_ones_are_listed(client: httpx.Client, name: str) -> None:
    message = refused(ask(client, REQUEST | {"model": name}), 404, "model", "model_not_found")
    assert f"there are scripted, {MODEL}" in message


def test_a_field_over_the_limit_is_refused_with_the_limit(client: httpx.Client) -> None:
    answer = ask(client, saying("Response to check: " + "a" * 4000))
    assert refused(answer, 413, code="too_large") == "response: 4001 characters; the limit is 4000"


def test_a_message_over_the_limit_is_refused_before_it_is_read(client: httpx.Client) -> None:
    answer = ask(client, saying(LINES + "\n" * 20_000))
    message = f"messages: the message has {len(LINES) + 20_000} characters; the limit is 12200"
    assert refused(answer, 413, code="too_large") == message


def test_a_body_over_the_limit_is_refused_with_the_limit(client: httpx.Client) -> None:
    message = refused(ask(client, saying("a" * 2**20)), 413, code="too_large")
    assert message.endswith("the limit is 1048576 bytes")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/decisions", "/v1/models"])
def test_a_wrong_method_is_refused_in_the_same_form(client: httpx.Client, path: str) -> None:
    answer = client.delete(path)
    refused(answer, 405, code="method_not_allowed")
    assert answer.headers["allow"] in {"POST", "GET"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("error", [EngineUnavailable("gone"), DeadlineExceeded("late"), Overloaded("full", 7)])
def test_an_error_of_the_engine_has_the_same_form_in_a_stream_too(
    serve: Callable[..., httpx.Client], error: ServiceError, stream: bool
) -> None:
    client = serve(ScriptedEngine({TURN.response: error}))
    answer = ask(client, REQUEST | {"stream": stream})
    assert refused(answer, error.status, code=error.kind) == str(error)
    assert answer.headers["retry-after"] == ("7" if error.kind == "overloaded" else "1")


def test_a_defect_has_the_same_form(serve: Callable[..., httpx.Client]) -> None:
    client = serve(ScriptedEngine({TURN.response: RuntimeError(WORD)}))
    refused(ask(client, REQUEST), 500, code="internal")

"""Whatever is sent to the OpenAI wires, the answer is a valid answer or an error in OpenAI's form, never a defect."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotion_svc.schema import ALL_ANSWERS
from emotion_svc.serving.chat_request import ChatRequest
from emotion_svc.serving.constraints import CONSTRAINTS
from tests.serving.test_chat import LINES, MODEL, REQUEST
from tests.serving.test_decisions import FACE, RIGHT
from tests.serving.test_fuzz import JSON, TEXT

NAME = st.sampled_from(["Previous Question:", "previous answer :", " RESPONSE TO CHECK:", "\n", "\r", ""])
WORDS = st.lists(NAME | TEXT, max_size=8).map("".join) | st.just(LINES)
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "input_text", "input_json", "image_url"])},
    optional={"text": WORDS | JSON, "data": JSON | st.dictionaries(st.sampled_from(["response"]), TEXT)},
)
CONTENT = WORDS | st.lists(PART, max_size=3) | JSON
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "assistant", "tool"]) | JSON, "content": CONTENT}
)
MESSAGES = st.lists(MESSAGE | st.fixed_dictionaries({"role": st.just("user"), "content": CONTENT}), max_size=3) | JSON
FIELDS = st.dictionaries(st.sampled_from([*ChatRequest.model_fields, *CONSTRAINTS]) | TEXT, JSON, max_size=3)
QUESTION = st.sampled_from([FACE, RIGHT]) | st.builds(
    lambda question, more: question | more,
    st.sampled_from([FACE, RIGHT]),
    st.dictionaries(st.sampled_from(["type", "name", "choices", "instructions"]), JSON),
)
MODELS = st.just(MODEL) | TEXT

KINDS = {400: "invalid_request", 404: "model_not_found", 413: "too_large"}


def assert_openai_error(answer: httpx.Response) -> None:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == KINDS[answer.status_code]


def assert_chat_answer_or_error(answer: httpx.Response) -> None:
    if answer.status_code != 200:
        assert_openai_error(answer)
    elif answer.headers["content-type"].startswith("text/event-stream"):
        assert answer.text.endswith("data: [DONE]\n\n")
    else:
        assert answer.json()["choices"][0]["message"]["content"] in ALL_ANSWERS


@given(messages=MESSAGES, fields=FIELDS, model=MODELS, stream=st.booleans())
@settings(max_examples=300)
def test_any_chat_gets_an_answer_or_an_error(
    client: httpx.Client, messages: Any, fields: dict[str, Any], model: str, stream: bool
) -> None:
    body = {"model": model, "messages": messages, "stream": stream} | fields
    assert_chat_answer_or_error(client.post("/v1/chat/completions", content=json.dumps(body)))


@given(field=st.sampled_from([*ChatRequest.model_fields, *CONSTRAINTS]), value=JSON)
@settings(max_examples=300)
def test_any_value_of_any_field_gets_an_answer_or_an_error(client: httpx.Client, field: str, value: Any) -> None:
    assert_chat_answer_or_error(client.post("/v1/chat/completions", content=json.dumps(REQUEST | {field: value})))


@given(found=WORDS | MESSAGES, questions=st.lists(QUESTION, max_size=3) | JSON, fields=FIELDS, model=MODELS)
@settings(max_examples=300)
def test_any_decision_gets_an_answer_or_an_error(
    client: httpx.Client, found: Any, questions: Any, fields: dict[str, Any], model: str
) -> None:
    body = {"model": model, "input": found, "questions": questions} | fields
    answer = client.post("/v1/decisions", content=json.dumps(body))
    if answer.status_code == 200:
        assert len(answer.json()["answers"]) == len(questions)
    else:
        assert_openai_error(answer)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/decisions"])
@given(body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=200)
def test_any_bytes_get_an_error(client: httpx.Client, path: str, body: bytes) -> None:
    assert_openai_error(client.post(path, content=body))

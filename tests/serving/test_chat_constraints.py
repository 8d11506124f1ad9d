"""What a chat request may ask of the answer's form: nothing, or just our answer. Over a socket."""

import json
from typing import Any

import httpx
import pytest

from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.schema import Answer
from emotion_svc.serving.constraints import is_schema_of_answer
from emotion_svc.taxonomy import FAMILIES, LABELS
from tests.serving.test_chat import REQUEST, WORD, ask, refused

SCHEMA = Answer.model_json_schema()
BARE_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"learn_score": {"type": "boolean"}, "emotion": {"$ref": "#/$defs/Face"}},
    "$defs": {"Face": {"enum": sorted(LABELS)}},
    "required": ["learn_score", "emotion"],
}


def as_format(schema: object) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "text"}},
        {"response_format": as_format(SCHEMA)},
        {"response_format": as_format(BARE_SCHEMA)},
        {"structured_outputs": {"json": SCHEMA}},
        {"structured_outputs": {"json_object": True}},
        {"guided_json": SCHEMA},
        {"guided_json": json.dumps(SCHEMA)},
        {"n": 1, "logprobs": False, "top_logprobs": 0, "logit_bias": {}, "tools": [], "tool_choice": "none"},
        dict.fromkeys(("response_format", "structured_outputs", "guided_regex", "tools", "n", "logprobs"), None),
        {"temperature": 0.7, "top_p": 0.9, "max_tokens": 1, "stop": "}", "seed": 7, "user": WORD},
        {"max_completion_tokens": 5, "presence_penalty": 0, "frequency_penalty": 0.5, "top_k": -1, "min_p": 0.0},
        dict.fromkeys(("temperature", "top_p", "max_tokens", "stop", "stream", "stream_options", "seed"), None),
        {"metadata": {"robot": "7"}, "reasoning_effort": "low", "prompt_cache_key": "k", "repetition_penalty": 1.1},
    ],
)
def test_what_asks_for_nothing_else_is_taken_and_the_answer_is_whole(
    client: httpx.Client, fields: dict[str, Any]
) -> None:
    answer = ask(client, REQUEST | fields)
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == '{"emotion":"thats_right","learn_score":true}'


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("response_format", {"type": "json_schema"}),
        ("response_format", {"type": WORD}),
        ("response_format", WORD),
        ("response_format", as_format({"type": "object", "properties": {"mood": {"type": "string"}}})),
        ("structured_outputs", {"regex": "yes|no"}),
        ("structured_outputs", {"choice": list(FAMILIES)}),
        ("structured_outputs", {"json": SCHEMA, "regex": WORD}),
        ("structured_outputs", {}),
        ("guided_json", {"type": "string"}),
        ("guided_json", WORD),
        ("guided_json", "[" * 100_000),
        ("guided_regex", ".*"),
        ("guided_choice", [WORD]),
        ("guided_grammar", WORD),
        ("guided_decoding_backend", "outlines"),
        ("tools", [{"type": "function", "function": {"name": WORD}}]),
        ("tool_choice", "required"),
        ("functions", [{"name": WORD}]),
        ("function_call", {"name": WORD}),
        ("n", 2),
        ("n", 0),
        ("n", True),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("logit_bias", {"50256": -100}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": WORD}),
        ("min_tokens", 3),
        ("store", True),
    ],
)
def test_what_asks_for_another_answer_is_refused_and_named(
    client: httpx.Client, scripted_engine: ScriptedEngine, field: str, value: object
) -> None:
    before = len(scripted_engine.seen)
    message = refused(ask(client, REQUEST | {field: value}), 400, field)
    assert message.startswith(f"{field}: ")
    assert len(scripted_engine.seen) == before


@pytest.mark.parametrize(
    "schema",
    [
        SCHEMA | {"additionalProperties": True},
        SCHEMA | {"required": ["emotion"]},
        SCHEMA | {"minProperties": 3},
        SCHEMA | {"type": "array"},
        SCHEMA | {"properties": {"emotion": SCHEMA["properties"]["emotion"]}, "required": ["emotion"]},
        SCHEMA | {"properties": SCHEMA["properties"] | {"why": {"type": "string"}}},
        SCHEMA | {"properties": SCHEMA["properties"] | {"emotion": {"type": "string"}}},
        SCHEMA | {"properties": SCHEMA["properties"] | {"emotion": {"enum": list(FAMILIES)}}},
        SCHEMA | {"properties": SCHEMA["properties"] | {"emotion": {"enum": [1, None]}}},
        SCHEMA | {"properties": SCHEMA["properties"] | {"emotion": {"$ref": "#/$defs/Nowhere"}}},
        SCHEMA | {"properties": SCHEMA["properties"] | {"learn_score": {"type": "integer"}}},
        SCHEMA | {"properties": SCHEMA["properties"] | {"learn_score": True}},
        {}, True, None, [], {"properties": []},
    ],
)  # fmt: skip
def test_a_schema_of_anything_else_is_none_of_the_answer(schema: object) -> None:
    assert not is_schema_of_answer(schema)

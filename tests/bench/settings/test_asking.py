"""The requests of the study; they need the tokenizer as transformers loads it, which comes with vLLM."""

import json
from typing import Any

import pytest

from emotion_svc.bench.settings.anchors import plain, tuned
from emotion_svc.bench.settings.asking import Model
from emotion_svc.bench.settings.catalog import Asking
from emotion_svc.engines.base import CANARY
from emotion_svc.modeldir import SHIPPED
from emotion_svc.schema import ALL_ANSWERS
from tests.engines.marks import NEEDS_VLLM

pytestmark = [*NEEDS_VLLM]

PLAIN, TUNED = plain("float16").asking, tuned({}).asking


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(SHIPPED)


def body(model: Model, asking: Asking) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(model.body(CANARY, asking, seed=1, salt="s"))
    return found


def test_the_plain_request_is_text_under_a_schema_with_room_for_50_tokens(model: Model) -> None:
    request = body(model, PLAIN)
    assert request["prompt"].endswith(f"Response to check: {CANARY.response}\n\nAnswer:\n")
    assert request["response_format"]["type"] == "json_schema"
    assert request["max_tokens"] == 50
    assert {"temperature", "stop", "stop_token_ids"}.isdisjoint(request)


def test_the_tuned_request_begins_the_answer_and_leaves_the_model_three_tokens(model: Model) -> None:
    request = body(model, TUNED)
    assert request["prompt"][-1:] == model.whole.prefix_ids
    assert request["max_tokens"] == 3
    assert len(request["stop_token_ids"]) == 2
    assert len(request["allowed_token_ids"]) == 23 + 1 + 2 + 1  # labels, skeleton, values, end
    assert request["temperature"] == 0


def test_for_a_schema_the_computed_limit_is_the_longest_answer_and_the_stop_its_brace(model: Model) -> None:
    request = body(model, PLAIN._replace(max_tokens="computed", stops=True))
    assert request["max_tokens"] == max(map(len, ALL_ANSWERS))
    assert (request["stop"], request["include_stop_str_in_output"]) == (["}"], True)


@pytest.mark.parametrize(
    ("text", "asking", "valid"),
    [
        ('{"emotion": "happy", "learn_score": true}', PLAIN, True),
        ('{"emotion": "happy", "learn_score": tr', PLAIN, False),
        ('{"emotion": "glad", "learn_score": true}', PLAIN, False),
        ('happy","learn_score":true}', TUNED, True),
        ('happy","learn_score":t', TUNED, True),
        ('happy","learn_score":', TUNED, False),
        ("glad", TUNED, False),
    ],
)
def test_an_answer_is_valid_when_it_is_whole_or_can_end_in_one_way_only(
    model: Model, text: str, asking: Asking, valid: bool
) -> None:
    assert model.is_valid(text, asking) is valid

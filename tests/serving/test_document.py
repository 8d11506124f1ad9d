"""The OpenAPI document is true: whatever it allows or forbids is answered as it says, and never with a defect.

Schemathesis makes the requests, with a seed and a bound, and runs all of its checks but two: that what the document
forbids is refused and that what it allows is answered. A JSON schema cannot say what a turn is (a response with a
visible character, after normalization), nor which message of a chat holds one; test_bad_input.py does.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import settings
from schemathesis.checks import negative_data_rejection, positive_data_acceptance

from emotion_svc.config import Settings
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.serving.app import create_app
from emotion_svc.serving.gate import HEALTH_PATHS
from tests.serving.conftest import listening

OPEN = schemathesis.openapi.from_dict(create_app(ScriptedEngine(), Settings()).openapi())
LEFT_OUT = [negative_data_rejection, positive_data_acceptance]


@OPEN.parametrize()
@settings(max_examples=40)
def test_every_answer_is_one_that_the_document_has(client: httpx.Client, case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(base_url=str(client.base_url), excluded_checks=LEFT_OUT)


LOCKED = Settings(keys=f"robot:{hashlib.sha256(b'k').hexdigest()}", keys_cover="all")
CLOSED = schemathesis.openapi.from_dict(create_app(ScriptedEngine(), LOCKED).openapi())


@pytest.fixture(scope="module")
def locked() -> Iterator[httpx.Client]:
    with listening(ScriptedEngine(), LOCKED) as client:
        yield client


@CLOSED.parametrize()
@settings(max_examples=5)
def test_without_a_key_every_answer_is_the_refusal_that_it_has(
    locked: httpx.Client, case: schemathesis.Case[Any]
) -> None:
    answer = case.call_and_validate(base_url=str(locked.base_url), excluded_checks=LEFT_OUT)
    assert (answer.status_code == 401) == (case.path not in HEALTH_PATHS)

"""The decisions wire, over a socket: what can be asked about a turn, and with which probabilities."""

import json
from typing import Any

import httpx
import pytest

from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.schema import Turn
from emotion_svc.taxonomy import FAMILIES, LABELS
from tests.serving.test_chat import LINES, MODEL, TURN, WORD, refused

FACE: Any = {
    "type": "choice",
    "name": "emotion",
    "instructions": "Which face?",
    "choices": [{"value": label} for label in LABELS],
}
FAMILY: Any = FACE | {"choices": [{"value": family, "description": "a face"} for family in reversed(FAMILIES)]}
RIGHT: Any = {
    "type": "predicate",
    "name": "learn_score",
    "instructions": [{"type": "input_text", "text": "The child is right."}],
}
REQUEST: dict[str, Any] = {"model": MODEL, "input": LINES, "questions": [FACE, RIGHT]}
FIELDS = TURN.model_dump()


def ask(client: httpx.Client, body: object) -> httpx.Response:
    return client.post("/v1/decisions", content=json.dumps(body))


def test_both_questions_are_answered_in_their_order(client: httpx.Client) -> None:
    answer = ask(client, REQUEST)
    assert answer.status_code == 200
    assert answer.headers["server-timing"].startswith("queue;dur=")
    decision = answer.json()
    assert set(decision) == {"answers", "model", "usage"}
    face, right = decision["answers"]
    probabilities = face.pop("probabilities")
    assert face == {
        "type": "choice",
        "name": "emotion",
        "choice": "thats_right",
        "confidence": pytest.approx(0.9045, abs=1e-3),
    }
    assert [row["value"] for row in probabilities] == list(LABELS)
    assert sum(row["probability"] for row in probabilities) == pytest.approx(1)
    assert max(probabilities, key=lambda row: row["probability"])["value"] == "thats_right"
    assert right == {"type": "predicate", "name": "learn_score", "probability": pytest.approx(0.9)}
    assert decision["model"] == MODEL
    assert decision["usage"] == {
        "input_tokens": 15,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 11,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 26,
    }
    assert [row["name"] for row in ask(client, REQUEST | {"questions": [RIGHT, FACE]}).json()["answers"]] == [
        "learn_score",
        "emotion",
    ]


@pytest.mark.parametrize("question", [FACE, FAMILY, RIGHT], ids=["labels", "families", "learn_score"])
def test_a_question_may_be_asked_alone(client: httpx.Client, question: dict[str, Any]) -> None:
    [answer] = ask(client, REQUEST | {"questions": [question]}).json()["answers"]
    assert (answer["type"], answer["name"]) == (question["type"], question["name"])


def test_families_are_answered_with_their_sums_in_the_order_of_the_question(client: httpx.Client) -> None:
    [answer] = ask(client, REQUEST | {"questions": [FAMILY]}).json()["answers"]
    assert answer["choice"] == "thats_right"
    probabilities = {row["value"]: row["probability"] for row in answer["probabilities"]}
    assert list(probabilities) == list(reversed(FAMILIES))
    assert sum(probabilities.values()) == pytest.approx(1)
    assert probabilities["thats_right"] == pytest.approx(answer["confidence"])
    assert probabilities["playful"] == pytest.approx(3 * probabilities["calm"])  # it has three labels


@pytest.mark.parametrize(
    "found",
    [
        LINES,
        [{"role": "user", "content": LINES}],
        [{"type": "message", "role": "system", "content": "no"}, {"type": "message", "role": "user", "content": LINES}],
        [{"role": "user", "content": [{"type": "input_text", "text": LINES}]}],
        [{"role": "user", "content": [{"type": "input_text", "text": line} for line in LINES.split("\n")]}],
        [{"role": "user", "content": [{"type": "input_json", "data": FIELDS}]}],
    ],
    ids=["a text", "a message", "messages", "a part", "parts", "JSON"],
)
def test_however_the_input_is_given_it_is_the_same_turn(
    client: httpx.Client, scripted_engine: ScriptedEngine, found: object
) -> None:
    assert ask(client, REQUEST | {"input": found}).status_code == 200
    assert scripted_engine.seen[-1] == TURN


def test_a_name_inside_a_json_field_is_text(client: httpx.Client, scripted_engine: ScriptedEngine) -> None:
    fields = FIELDS | {"previous_answer": "x\nResponse to check: y"}
    found = [{"role": "user", "content": [{"type": "input_json", "data": fields}]}]
    assert ask(client, REQUEST | {"input": found}).status_code == 200
    assert scripted_engine.seen[-1] == Turn.model_validate(fields)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (WORD, "expected a turn, each name at the start of a line"),
        (7, "found a number"),
        ([], "expected the last message to be the user's"),
        ([{"role": "assistant", "content": LINES}], "expected the last message to be the user's"),
        ([{"type": "function_call", "role": "user", "content": LINES}], "input.0: expected a message"),
        ([{"role": "user", "content": []}], "input: expected a text, parts of the type input_text, or one input_json"),
        ([{"role": "user", "content": [{"type": "input_image", "image_url": WORD}]}], "expected a text, parts of the"),
        ([{"role": "user", "content": [{"type": "text", "text": LINES}]}], "expected a text, parts of the type input"),
        ([{"role": "user", "content": [{"type": "input_json", "data": {"response": WORD}}]}], "the data of input_json"),
        ([{"role": "user", "content": [{"type": "input_json", "data": FIELDS | {WORD: WORD}}]}], "the data of input_j"),
        ([{"role": "user", "content": [{"type": "input_json", "data": [FIELDS]}]}], "the data of input_json"),
    ],
)
def test_an_input_without_a_turn_is_refused_and_told_the_form(client: httpx.Client, found: object, reason: str) -> None:
    assert reason in refused(ask(client, REQUEST | {"input": found}), 400, "input")


@pytest.mark.parametrize(
    "questions",
    [
        [],
        WORD,
        [WORD],
        [{}],
        [FACE, RIGHT, FACE],
        [FACE, FAMILY],
        [RIGHT, RIGHT],
        [FACE | {"name": "mood"}],
        [{key: value for key, value in FACE.items() if key != "name"}],
        [{key: value for key, value in FACE.items() if key != "instructions"}],
        [FACE | {"choices": FACE["choices"][1:]}],
        [FACE | {"choices": [*FACE["choices"], {"value": WORD}]}],
        [FACE | {"choices": [*FACE["choices"], FACE["choices"][0]]}],
        [FACE | {"choices": [*FACE["choices"][1:], {"value": True}]}],
        [FACE | {"choices": []}],
        [FACE | {"weight": 1}],
        [RIGHT | {"name": "is_happy"}],
        [RIGHT | {"name": "emotion"}],
        [{"type": "score", "name": "emotion", "instructions": "How happy?", "levels": [{"label": "1"}]}],
        [RIGHT, {"type": WORD}],
    ],
)
def test_any_other_question_is_refused_and_told_what_can_be_asked(client: httpx.Client, questions: object) -> None:
    message = refused(ask(client, REQUEST | {"questions": questions}), 400, "questions")
    assert (
        "what can be asked, alone or together: a choice named 'emotion' whose values are the labels (happy," in message
    )
    assert message.endswith("and a predicate named 'learn_score'")


def test_what_keeps_books_is_taken_and_what_is_unknown_refused(client: httpx.Client) -> None:
    books = {"prompt_cache_key": "k", "prompt_cache_options": {"mode": "explicit"}, "safety_identifier": None}
    assert ask(client, REQUEST | books).status_code == 200
    assert refused(ask(client, REQUEST | {"temperature": 0}), 400) == (
        "body: an unknown field (11 characters; known are model, input, questions, prompt_cache_key, "
        "prompt_cache_options, safety_identifier)"
    )
    option = FACE["choices"][0] | {"weight": 1}
    message = refused(ask(client, REQUEST | {"questions": [FACE | {"choices": [option]}]}), 400, "questions")
    assert message.startswith(
        "questions.0.choice.choices.0: an unknown field (6 characters; known are value, description); what can"
    )


def test_an_unknown_model_and_a_long_field_are_refused_as_in_a_chat(client: httpx.Client) -> None:
    refused(ask(client, REQUEST | {"model": WORD}), 404, "model", "model_not_found")
    long = [{"role": "user", "content": [{"type": "input_json", "data": FIELDS | {"response": WORD * 500}}]}]
    refused(ask(client, REQUEST | {"input": long}), 413, code="too_large")

"""Whatever is sent, the answer is a valid answer or a problem, and never a defect."""

import json

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotion_svc.schema import ALL_ANSWERS
from emotion_svc.serving.intake import FIELDS

TEXT = st.text(st.characters(), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT | st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=12,
)
NEARLY_A_TURN = st.fixed_dictionaries(
    {}, optional={"previous_question": TEXT | JSON, "previous_answer": TEXT, "response": TEXT | JSON, "turns": JSON}
)
TURN = st.fixed_dictionaries({"previous_question": TEXT, "previous_answer": TEXT, "response": TEXT})
BATCH = st.fixed_dictionaries({"turns": st.lists(TURN | NEARLY_A_TURN, max_size=4)})

KINDS = {413: "too_large", 422: "invalid_turn"}
PATHS = pytest.mark.parametrize("path", ["/v1/classify", "/v1/classify/batch"])


def assert_answer_or_problem(answer: httpx.Response) -> None:
    if answer.status_code == 200:
        rows = answer.json().get("answers", [answer.json()])
        assert all(json.dumps(row, separators=(",", ":")) in ALL_ANSWERS for row in rows)
    else:
        assert answer.json()["error"]["kind"] == KINDS[answer.status_code]


@PATHS
@given(body=JSON | NEARLY_A_TURN | TURN | BATCH)
@settings(max_examples=200)
def test_any_json_gets_an_answer_or_a_problem(client: httpx.Client, path: str, body: object) -> None:
    assert_answer_or_problem(client.post(path, content=json.dumps(body)))


@PATHS
@given(body=st.binary(max_size=200))
def test_any_bytes_get_a_problem(client: httpx.Client, path: str, body: bytes) -> None:
    assert_answer_or_problem(client.post(path, content=body))


@given(turn=TURN)
def test_a_turn_is_answered_unless_its_response_has_no_visible_character(
    client: httpx.Client, turn: dict[str, str]
) -> None:
    answer = client.post("/v1/classify", content=json.dumps(turn))
    if answer.status_code != 200:
        assert answer.json()["error"]["message"].startswith("response: expected a text that is not empty;")

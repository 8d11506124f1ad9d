"""The native wires, over a socket."""

import unicodedata

import httpx
import pytest

from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.schema import Turn, Verdict

TURN = {"previous_question": "Con mèo tiếng Anh là gì?", "previous_answer": "cat", "response": "Chính xác, cat đó!"}
COMFORT = {"previous_question": "", "previous_answer": "", "response": "Đừng buồn nhé."}
UNKNOWN = {"previous_question": "", "previous_answer": "", "response": "Xin chào!"}


def test_a_turn_is_answered_with_the_two_keys_alone(client: httpx.Client) -> None:
    answer = client.post("/v1/classify", json=TURN)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == b'{"emotion":"thats_right","learn_score":true}'


def test_with_detail_the_whole_verdict_is_answered(client: httpx.Client) -> None:
    verdict = Verdict.model_validate_json(client.post("/v1/classify?detail=true", json=TURN).content)
    assert verdict.answer.model_dump() == {"emotion": "thats_right", "learn_score": True}
    assert (verdict.family, verdict.engine, verdict.model_digest) == ("thats_right", "scripted", "0" * 16)
    assert sum(verdict.emotion_posterior.values()) == pytest.approx(1)
    assert verdict.learn_score_probability == pytest.approx(0.9)
    assert not verdict.truncated


def test_a_batch_is_answered_in_its_order(client: httpx.Client) -> None:
    answer = client.post("/v1/classify/batch", json={"turns": [COMFORT, TURN, UNKNOWN, TURN]})
    assert answer.status_code == 200
    assert [row["emotion"] for row in answer.json()["answers"]] == [
        "encouraging",
        "thats_right",
        "happy",
        "thats_right",
    ]


def test_a_batch_with_detail_holds_verdicts(client: httpx.Client) -> None:
    rows = client.post("/v1/classify/batch?detail=1", json={"turns": [TURN, COMFORT]}).json()["answers"]
    assert [Verdict.model_validate(row).family for row in rows] == ["thats_right", "encouraging"]


@pytest.mark.parametrize("turns", [[], [TURN] * 256])
def test_a_batch_may_be_empty_or_full(client: httpx.Client, turns: list[dict[str, str]]) -> None:
    answer = client.post("/v1/classify/batch", json={"turns": turns})
    assert answer.status_code == 200
    assert len(answer.json()["answers"]) == len(turns)


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/classify/batch"])
def test_each_answer_says_where_the_time_went(client: httpx.Client, path: str) -> None:
    body = {"turns": [TURN]} if path.endswith("batch") else TURN
    stages = dict(stage.split(";dur=") for stage in client.post(path, json=body).headers["server-timing"].split(", "))
    assert list(stages) == ["queue", "tokenize", "infer"]
    assert all(float(ms) >= 0 for ms in stages.values())


@pytest.mark.parametrize("sent", ["abc-123", "a" * 64, "7f3c:1.2_x"])
def test_a_sane_request_id_comes_back(client: httpx.Client, sent: str) -> None:
    assert client.post("/v1/classify", json=TURN, headers={"x-request-id": sent}).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "a" * 65, "two words", "<script>", "chào"])
def test_any_other_request_id_is_replaced(client: httpx.Client, sent: str) -> None:
    answers = [client.get("/healthz", headers={b"x-request-id": sent.encode()}) for _ in range(2)]
    first, second = (answer.headers["x-request-id"] for answer in answers)
    assert first != second
    assert len(first) == len(second) == 16


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", None])
def test_what_is_json_is_taken_whatever_it_is_called(client: httpx.Client, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    body = '{"previous_question":"","previous_answer":"","response":"Đừng buồn nhé."}'.encode()
    assert client.post("/v1/classify", content=body, headers=headers).json()["emotion"] == "encouraging"


@pytest.mark.parametrize(
    "response",
    [
        b"\xc4\x90\xe1\xbb\xabng bu\xe1\xbb\x93n nh\xc3\xa9.",
        unicodedata.normalize("NFD", "Đừng buồn nhé.").encode(),
        b"\\u0110\\u1eebng bu\\u1ed3n nh\\u00e9.",
        "Đừng \\ud83d buồn \\udc00 nhé.".encode(),
        "\\u0000Đừng\\u0007 buồn\\u001b nhé.".encode(),
        "\\u200bĐừng \\n buồn\ufeff nhé.\u200d".encode(),
        b"\xed\xa0\xbd" + "Đừng buồn nhé.".encode(),
    ],
    ids=["NFC", "NFD", "escaped", "lone surrogates", "NUL and controls", "zero width", "surrogate as bytes"],
)
def test_however_a_text_is_spelt_it_is_the_same_turn(
    client: httpx.Client, scripted_engine: ScriptedEngine, response: bytes
) -> None:
    body = b'{"previous_question":"","previous_answer":"","response":"' + response + b'"}'
    assert client.post("/v1/classify", content=body).json() == {"emotion": "encouraging", "learn_score": False}
    assert scripted_engine.seen[-1] == Turn.model_validate(COMFORT)
